//! What the files of a configuration say: how to type its commands, its request, its certificate.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use super::super::args::LOGIN_REDIRECT;
use super::super::callback::loopback;
use super::evidence::{Certificate, Request, Typed};
use super::record::Begun;
use crate::clock::System;
use crate::config::{Config, DoorAddress, Hosts};
use crate::tls::{Finding, Identity};

/// A path as it is typed from here.
pub(super) fn short(path: &Path) -> PathBuf {
    let here = std::path::absolute(".").unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).to_owned()
}

/// How commands are typed for this configuration. `status`: of the running proxy.
pub(super) fn typed(
    config: &Config,
    begun: Option<&Begun>,
    named: Option<PathBuf>,
    status: Option<&Value>,
) -> Typed {
    let redirect = config.oauth.as_ref();
    let redirect = redirect.and_then(|oauth| oauth.redirect_uri.clone());
    let redirect = redirect.unwrap_or_else(|| LOGIN_REDIRECT.to_owned());
    let site = site(&config.hosts);
    Typed {
        config: named,
        organisation: begun.and_then(|begun| begun.organisation.clone()),
        country: begun.and_then(|begun| begun.country.clone()),
        hub: format!("{site}/developer-hub"),
        settings: format!("{site}/settings"),
        paste: loopback(&redirect).is_none(),
        redirect,
        door: door(config, status),
    }
}

/// Wise's web site: where its authorisation page is.
pub(super) fn site(hosts: &Hosts) -> &str {
    let page = hosts.authorise.as_str();
    page.split_once("/oauth/").map_or(page, |(site, _)| site)
}

/// The first door: as the running proxy says it, or as configured.
fn door(config: &Config, status: Option<&Value>) -> Option<String> {
    let shown = status.and_then(|status| status["doors"][0].as_str());
    let door = match shown {
        Some(door) => door.to_owned(),
        None => match &config.doors.first()?.address {
            DoorAddress::Tcp(address) => address.to_string(),
            DoorAddress::Unix { path, .. } => path.display().to_string(),
        },
    };
    let socket = door.strip_prefix("unix:").map(str::to_owned);
    Some(socket.unwrap_or(door))
}

/// A path that may be looked at from here.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The private key and the request beside it, where `csr` puts them.
pub(super) fn request(config: &Config) -> Request {
    let Some(mtls) = &config.mtls else {
        return Request::Unconfigured;
    };
    let csr = mtls.key.with_extension("csr");
    let (key, csr_there) = (short(&mtls.key), is_there(&csr));
    match (is_there(&mtls.key), csr_there) {
        (true, true) => Request::Made { csr: short(&csr) },
        (true, false) => Request::KeyOnly { key },
        (false, _) => Request::None { key },
    }
}

/// When the pair in use was put in its place, by the younger of its files.
pub(super) fn installed(config: &Config) -> Option<SystemTime> {
    let mtls = config.mtls.as_ref()?;
    let placed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    Some(placed(&mtls.certificate)?.max(placed(&mtls.key)?))
}

/// Whether the certificate is one that Wise can take from this client today.
pub(super) fn certificate(config: &Config) -> Certificate {
    let Some(mtls) = &config.mtls else {
        return Certificate::Unconfigured;
    };
    if !is_there(&mtls.certificate) {
        let path = short(&mtls.certificate);
        return Certificate::Missing { path };
    }
    let passphrase = match mtls.passphrase() {
        Ok(passphrase) => passphrase,
        Err(error) => return Certificate::Unusable(format!("mtls.key_passphrase: {error}")),
    };
    let identity = match Identity::load(&mtls.certificate, &mtls.key, passphrase.as_ref()) {
        Ok(identity) => identity,
        Err(error) => return Certificate::Unusable(error.to_string()),
    };
    let client_id = config.oauth.as_ref().map(|oauth| oauth.client_id.as_str());
    let findings = identity.check(&System, client_id);
    let mut grave = findings.iter().filter(|finding| match finding {
        Finding::Expired { .. }
        | Finding::NotYetValid { .. }
        | Finding::WrongName { .. }
        | Finding::NotForClients => true,
        Finding::ExpiresSoon { .. } => false,
    });
    if let Some(finding) = grave.next() {
        return Certificate::Unusable(finding.to_string());
    }
    let name = identity.certificate().common_name.clone();
    Certificate::Installed(format!(
        "certificate {}, {} days left",
        name.unwrap_or_default(),
        identity.days_left(&System)
    ))
}
