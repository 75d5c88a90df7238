//! `ca init`, `ca show` and `ca export`: the local authority of doors that offer CONNECT.

mod export;
mod init;
mod platforms;
mod show;

use serde_json::{Value, json};

use super::args::{CaCommand, Global};
use super::cert::date;
use super::failure::Failure;
use super::report;
use crate::clock::System;
use crate::config::Config;
use crate::tls::{Pair, Vouching};

pub(crate) use platforms::Platform;

pub(crate) fn run(global: &Global, command: &CaCommand) -> Result<(), Failure> {
    match command {
        CaCommand::Init(args) => init::run(global, args),
        CaCommand::Show { json } => show::run(global, *json),
        CaCommand::Export(args) => export::run(global, args),
    }
}

/// What there is to know about it, for programs.
fn facts(place: &Pair, vouching: &Vouching) -> Value {
    json!({
        "certificate": place.certificate,
        "key": place.key,
        "subject": vouching.certificate.subject,
        "hosts": vouching.hosts,
        "not_before": date(vouching.certificate.not_before),
        "not_after": date(vouching.certificate.not_after),
        "days_left": vouching.certificate.days_left(&System),
        "fingerprint_sha256": vouching.certificate.fingerprint,
    })
}

/// The hosts of Wise's that it may not vouch for.
fn uncovered(config: &Config, vouching: &Vouching) -> Vec<String> {
    let mut names = config.hosts.names();
    names.retain(|name| !vouching.covers(name));
    names
}

fn warn_uncovered(global: &Global, hosts: &[String]) {
    if !hosts.is_empty() {
        report::say(&format!(
            "warning: it may not vouch for {}; {} makes another",
            hosts.join(", "),
            global.spell("ca init --force")
        ));
    }
}
