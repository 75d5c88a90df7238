//! `cert install` and `cert show`: the client certificate.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::args::{CertCommand, Global};
use super::csr::no_mtls;
use super::failure::{Exit, Failure};
use super::report;
use crate::clock::System;
use crate::config::{Config, Mtls};
use crate::tls::{Certificate, Identity, Severity, Target, inspect, install};

/// No certificate with its chain is longer.
const LONGEST: u64 = 1 << 20;

pub(crate) fn run(global: &Global, command: &CertCommand) -> Result<(), Failure> {
    match command {
        CertCommand::Install {
            file,
            key,
            certificate,
        } => put(global, file, key.as_deref(), certificate.as_deref()),
        CertCommand::Show { json } => show(&global.load()?.config, *json),
    }
}

fn put(
    global: &Global,
    file: &Path,
    key: Option<&Path>,
    certificate: Option<&Path>,
) -> Result<(), Failure> {
    let config = match global.load() {
        Ok(loaded) => Some(loaded.config),
        // Everything is said on the command line; a broken configuration need not stop it.
        Err(_) if key.is_some() && certificate.is_some() => {
            report::say(
                "warning: the configuration cannot be used, so the common name is not compared \
                 with oauth.client_id",
            );
            None
        }
        Err(failure) => return Err(failure),
    };
    let mtls = config.as_ref().and_then(|config| config.mtls.as_ref());
    let place = |named: Option<&Path>, own: fn(&Mtls) -> &PathBuf| {
        named
            .map(Path::to_owned)
            .or_else(|| mtls.map(own).cloned())
            .ok_or_else(no_mtls)
    };
    let made_with = place(key, |mtls| &mtls.key)?;
    let certificate = place(certificate, |mtls| &mtls.certificate)?;
    let key = mtls.map_or(&made_with, |mtls| &mtls.key);
    let (pem, origin) = read(file)?;
    let target = Target {
        certificate: &certificate,
        key,
    };
    let client_id = config.as_ref().and_then(client_id);
    let installed = install(&pem, &origin, &made_with, target, &System, client_id)?;
    for finding in &installed.findings {
        report::say(&format!("warning: {finding}"));
    }
    let leaf = installed.identity.certificate();
    report::say(&format!(
        "the certificate of {} is in {}, valid until {} ({} days)",
        leaf.common_name.as_deref().unwrap_or("nobody"),
        certificate.display(),
        date(leaf.not_after),
        installed.identity.days_left(&System),
    ));
    let interval = config.map(|config| config.runtime.reload_interval);
    report::say(&match interval {
        Some(interval) => format!(
            "a running proxy takes it by itself within {}; `wise-auth-proxy reload` does it at once",
            humantime::format_duration(interval)
        ),
        None => "`wise-auth-proxy reload` has a running proxy take it at once".to_owned(),
    });
    Ok(())
}

fn client_id(config: &Config) -> Option<&str> {
    config.oauth.as_ref().map(|oauth| oauth.client_id.as_str())
}

fn read(file: &Path) -> Result<(Vec<u8>, PathBuf), Failure> {
    let failed = |error: std::io::Error, name: &str| {
        let error = anyhow::Error::new(error).context(format!("cannot read {name}"));
        Failure::new(Exit::Failed, error)
            .hint("name the file that Wise's Developer Hub gave you, or `-` for standard input")
    };
    if file == Path::new("-") {
        let name = "standard input";
        let mut pem = Vec::new();
        let read = std::io::stdin().take(LONGEST).read_to_end(&mut pem);
        read.map_err(|error| failed(error, name))?;
        return Ok((pem, name.into()));
    }
    let name = file.display().to_string();
    let opened = std::fs::File::open(file).map_err(|error| failed(error, &name))?;
    let mut pem = Vec::new();
    let read = opened.take(LONGEST).read_to_end(&mut pem);
    read.map_err(|error| failed(error, &name))?;
    Ok((pem, file.to_owned()))
}

fn show(config: &Config, json: bool) -> Result<(), Failure> {
    let files = config.mtls.as_ref().ok_or_else(no_mtls)?;
    // The identity knows its leaf by the key; without a usable key the file still tells a lot.
    let identity = Identity::load(&files.certificate, &files.key);
    let leaf = match &identity {
        Ok(identity) => identity.certificate().clone(),
        Err(_) => first(inspect(&files.certificate)?, &files.certificate)?,
    };
    let findings = identity
        .as_ref()
        .map(|identity| identity.check(&System, client_id(config)))
        .unwrap_or_default();
    let days = identity
        .as_ref()
        .ok()
        .map(|identity| identity.days_left(&System));
    let grave = findings
        .iter()
        .any(|finding| finding.severity() == Severity::Error);
    let mut findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
    let broken = identity.as_ref().err();
    findings.extend(broken.map(ToString::to_string));
    if json {
        report::json(&json!({
            "certificate": files.certificate,
            "key": files.key,
            "subject": leaf.subject,
            "common_name": leaf.common_name,
            "organisation": leaf.organisation,
            "client_id": client_id(config),
            "issuer": leaf.issuer,
            "serial": leaf.serial,
            "not_before": date(leaf.not_before),
            "not_after": date(leaf.not_after),
            "days_left": days,
            "fingerprint_sha256": leaf.fingerprint,
            "key_kind": leaf.key_kind,
            "chain_length": identity.as_ref().ok().map(Identity::chain_length),
            "findings": findings,
        }))?;
    } else {
        report::data(&report::table(&rows(config, &leaf, days)))?;
        for finding in findings.iter().filter(|_| broken.is_none() && !grave) {
            report::say(&format!("warning: {finding}"));
        }
    }
    match identity {
        Err(error) => Err(error.into()),
        Ok(_) if grave => Err(Failure::advised(
            Exit::Failed,
            &*Box::<dyn std::error::Error + Send + Sync>::from(findings.swap_remove(0)),
            "install another with `cert install`",
        )),
        Ok(_) => Ok(()),
    }
}

fn first(certificates: Vec<Certificate>, path: &Path) -> Result<Certificate, Failure> {
    certificates.into_iter().next().ok_or_else(|| {
        let text = format!("{} holds no certificate", path.display());
        Failure::new(Exit::Failed, anyhow::Error::msg(text))
            .hint("put there what Wise gave out, with `cert install`")
    })
}

fn rows(config: &Config, leaf: &Certificate, days: Option<i64>) -> Vec<Vec<String>> {
    let name = leaf.common_name.as_deref().unwrap_or("none");
    let name = match client_id(config) {
        Some(id) if id == name => format!("{name}, the client id"),
        Some(id) => format!("{name}, NOT the client id {id}"),
        None => name.to_owned(),
    };
    let days = days.map_or_else(String::new, |days| format!(" ({days} days left)"));
    [
        ("subject", leaf.subject.clone()),
        ("common name", name),
        ("issuer", leaf.issuer.clone()),
        ("serial", leaf.serial.clone()),
        ("valid from", date(leaf.not_before)),
        ("valid until", format!("{}{days}", date(leaf.not_after))),
        ("SHA-256", leaf.fingerprint.clone()),
        ("key", leaf.key_kind.clone()),
    ]
    .into_iter()
    .map(|(name, value)| vec![name.to_owned(), value])
    .collect()
}

fn date(at: SystemTime) -> String {
    OffsetDateTime::from(at)
        .format(&Rfc3339)
        .unwrap_or_default()
}
