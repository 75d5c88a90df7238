//! `cert install`, `cert rollback` and `cert show`: the client certificate.

mod install;
mod opening;
mod rollback;
mod show;

use std::time::SystemTime;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::args::{CertCommand, Global};
use super::failure::Failure;
use super::report;
use crate::clock::System;
use crate::config::Config;
use crate::tls::{Finding, Identity, Pair};

pub(crate) fn run(global: &Global, command: &CertCommand) -> Result<(), Failure> {
    match command {
        CertCommand::Install(args) => install::run(global, args),
        CertCommand::Rollback(args) => rollback::run(global, args),
        CertCommand::Show { json } => show::run(global, *json),
    }
}

fn client_id(config: &Config) -> Option<&str> {
    config.oauth.as_ref().map(|oauth| oauth.client_id.as_str())
}

fn warn(findings: &[Finding]) {
    for finding in findings {
        report::say(&format!("warning: {finding}"));
    }
}

/// Whose certificate is where, and for how long.
fn tell(identity: &Identity, place: &std::path::Path) {
    let leaf = identity.certificate();
    report::say(&format!(
        "the certificate of {} is in {}, valid until {} ({} days)",
        leaf.common_name.as_deref().unwrap_or("nobody"),
        place.display(),
        date(leaf.not_after),
        identity.days_left(&System),
    ));
}

/// What became of it, for programs. `kept`: the pair before.
fn outcome(
    global: &Global,
    identity: &Identity,
    place: &Pair,
    findings: &[Finding],
    kept: Option<&Pair>,
) -> Value {
    let leaf = identity.certificate();
    let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
    json!({
        "certificate": place.certificate,
        "key": place.key,
        "common_name": leaf.common_name,
        "serial": leaf.serial,
        "not_after": date(leaf.not_after),
        "days_left": identity.days_left(&System),
        "fingerprint_sha256": leaf.fingerprint,
        "findings": findings,
        "previous": kept.map(|kept| json!({ "certificate": kept.certificate, "key": kept.key })),
        "next": { "command": global.typed("reload") },
    })
}

/// When a running proxy takes it.
fn tell_when(global: &Global, config: Option<&Config>) {
    let reload = global.spell("reload");
    report::say(&match config {
        Some(config) => format!(
            "a running proxy takes it by itself within {}; {reload} does it at once",
            humantime::format_duration(config.runtime.reload_interval)
        ),
        None => format!("{reload} has a running proxy take it at once"),
    });
}

pub(super) fn date(at: SystemTime) -> String {
    OffsetDateTime::from(at)
        .format(&Rfc3339)
        .unwrap_or_default()
}
