//! `cert show`: the pair in use, the one that is to follow it and the one before.

use std::path::Path;

use anyhow::anyhow;
use serde_json::{Value, json};

use super::super::args::Global;
use super::super::csr::no_mtls;
use super::super::failure::{Exit, Failure};
use super::super::{report, spelling};
use super::{client_id, date};
use crate::clock::System;
use crate::config::Config;
use crate::secret::Secret;
use crate::tls::{Certificate, Identity, Pair, Severity, inspect};

pub(super) fn run(global: &Global, json: bool) -> Result<(), Failure> {
    let config = &global.load()?.config;
    let files = config.mtls.as_ref().ok_or_else(no_mtls)?;
    let place = Pair::from(files);
    let passphrase = files.passphrase();
    let opens = passphrase.as_ref().ok().and_then(Option::as_ref);
    // The identity knows its leaf by the key; without a usable key the file still tells a lot.
    let identity = match &passphrase {
        Ok(_) => Identity::load(&place.certificate, &place.key, opens).map_err(Failure::from),
        Err(error) => Err(
            Failure::new(Exit::Config, anyhow!("mtls.key_passphrase: {error}"))
                .hint("without it the key cannot be looked at; run this as the proxy's user"),
        ),
    };
    let leaf = match &identity {
        Ok(identity) => identity.certificate().clone(),
        Err(_) => first(inspect(&place.certificate)?, &place.certificate)?,
    };
    let findings = identity
        .as_ref()
        .map(|identity| identity.check(&System, client_id(config)))
        .unwrap_or_default();
    let grave = findings
        .iter()
        .any(|finding| finding.severity() == Severity::Error);
    let mut findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
    let broken = identity.as_ref().err();
    findings.extend(broken.map(|failure| failure.error.to_string()));
    let neighbours = [
        Neighbour::of(&place.next(), opens),
        Neighbour::of(&place.previous(), opens),
    ];
    if json {
        let [next, previous] = neighbours.map(|it| it.map(|it| it.json()));
        report::json(&json!({
            "certificate": place.certificate,
            "key": place.key,
            "subject": leaf.subject,
            "common_name": leaf.common_name,
            "organisation": leaf.organisation,
            "client_id": client_id(config),
            "issuer": leaf.issuer,
            "serial": leaf.serial,
            "not_before": date(leaf.not_before),
            "not_after": date(leaf.not_after),
            "days_left": leaf.days_left(&System),
            "fingerprint_sha256": leaf.fingerprint,
            "key_kind": leaf.key_kind,
            "chain_length": identity.as_ref().ok().map(Identity::chain_length),
            "findings": findings,
            "next": next,
            "previous": previous,
        }))?;
    } else {
        let mut rows = rows(config, &leaf);
        for (name, neighbour) in ["next", "previous"].into_iter().zip(&neighbours) {
            let row = |it: &Neighbour| vec![name.to_owned(), it.text(global, name)];
            rows.extend(neighbour.as_ref().map(row));
        }
        report::data(&report::table(&rows))?;
        for finding in findings.iter().filter(|_| broken.is_none() && !grave) {
            report::say(&format!("warning: {finding}"));
        }
    }
    match identity {
        Err(failure) => Err(failure),
        Ok(_) if grave => Err(Failure::advised(
            Exit::Failed,
            &*Box::<dyn std::error::Error + Send + Sync>::from(findings.swap_remove(0)),
            "install another with `cert install`",
        )),
        Ok(_) => Ok(()),
    }
}

/// A pair beside the one in use.
struct Neighbour {
    pair: Pair,
    has_request: bool,
    /// `None`: there is a key and no certificate.
    leaf: Option<Certificate>,
    /// Why it cannot be put to use.
    problem: Option<String>,
}

impl Neighbour {
    /// `None`: there is no such pair.
    fn of(pair: &Pair, passphrase: Option<&Secret>) -> Option<Self> {
        let is_there = |path: &Path| path.symlink_metadata().is_ok();
        let has_certificate = is_there(&pair.certificate);
        if !has_certificate && !is_there(&pair.key) {
            return None;
        }
        let (leaf, problem) = if has_certificate {
            match Identity::load(&pair.certificate, &pair.key, passphrase) {
                Ok(identity) => (Some(identity.certificate().clone()), None),
                Err(error) => {
                    let chain = inspect(&pair.certificate).unwrap_or_default();
                    (chain.into_iter().next(), Some(error.to_string()))
                }
            }
        } else {
            (None, None)
        };
        Some(Self {
            has_request: is_there(&pair.request()),
            pair: pair.clone(),
            leaf,
            problem,
        })
    }

    fn json(&self) -> Value {
        let leaf = self.leaf.as_ref();
        json!({
            "certificate": self.pair.certificate,
            "key": self.pair.key,
            "request": self.has_request.then(|| self.pair.request()),
            "common_name": leaf.and_then(|leaf| leaf.common_name.as_ref()),
            "serial": leaf.map(|leaf| &leaf.serial),
            "not_after": leaf.map(|leaf| date(leaf.not_after)),
            "days_left": leaf.map(|leaf| leaf.days_left(&System)),
            "fingerprint_sha256": leaf.map(|leaf| &leaf.fingerprint),
            "problem": self.problem,
        })
    }

    fn text(&self, global: &Global, name: &str) -> String {
        let file = self.pair.certificate.display();
        if let Some(problem) = &self.problem {
            return format!("cannot be put to use: {problem}");
        }
        let Some(leaf) = &self.leaf else {
            let request = if self.has_request {
                format!("; its request is {}", self.pair.request().display())
            } else {
                String::new()
            };
            let key = self.pair.key.display();
            return format!("{key} waits for its certificate{request}");
        };
        let days = leaf.days_left(&System);
        let verb = match name {
            "previous" if days < 0 => return format!("{} ended {}", file, date(leaf.not_after)),
            "previous" => format!("{} goes back to it", global.spell("cert rollback")),
            _ => {
                let install = global.spell(&format!(
                    "cert install {}",
                    spelling::path(&self.pair.certificate)
                ));
                format!("{install} puts it to use")
            }
        };
        let until = date(leaf.not_after);
        format!("valid until {until} ({days} days left); {verb}")
    }
}

fn first(certificates: Vec<Certificate>, path: &Path) -> Result<Certificate, Failure> {
    certificates.into_iter().next().ok_or_else(|| {
        let text = format!("{} holds no certificate", path.display());
        Failure::new(Exit::Failed, anyhow::Error::msg(text))
            .hint("put there what Wise gave out, with `cert install`")
    })
}

fn rows(config: &Config, leaf: &Certificate) -> Vec<Vec<String>> {
    let name = leaf.common_name.as_deref().unwrap_or("none");
    let name = match client_id(config) {
        Some(id) if id == name => format!("{name}, the client id"),
        Some(id) => format!("{name}, NOT the client id {id}"),
        None => name.to_owned(),
    };
    let days = leaf.days_left(&System);
    [
        ("subject", leaf.subject.clone()),
        ("common name", name),
        ("issuer", leaf.issuer.clone()),
        ("serial", leaf.serial.clone()),
        ("valid from", date(leaf.not_before)),
        (
            "valid until",
            format!("{} ({days} days left)", date(leaf.not_after)),
        ),
        ("SHA-256", leaf.fingerprint.clone()),
        ("key", leaf.key_kind.clone()),
    ]
    .into_iter()
    .map(|(name, value)| vec![name.to_owned(), value])
    .collect()
}
