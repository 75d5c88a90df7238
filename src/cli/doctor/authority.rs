//! The local authority of doors that offer CONNECT: there, for Wise's hosts and for nothing else, and
//! not about to end.

use std::path::Path;

use super::bench::Bench;
use super::check::{Check, Finding, Group};
use super::rounds::Rounds;
use crate::clock::System;
use crate::tls::{Authority, Pair, TlsError, Vouching};

/// Days before its end at which a new one is due: applications must be given it.
const NOTICE: i64 = 30;

pub(super) async fn look(rounds: &mut Rounds, bench: &Bench) {
    if !bench.config.doors.iter().any(|door| door.connect) {
        return;
    }
    let check = Check::new(Group::Doors, "ca", "the local authority");
    let place = Pair::from(&bench.config.ca);
    let hosts = bench.config.hosts.names();
    let (init, again) = (bench.command("ca init"), bench.command("ca init --force"));
    let work = move || judge(&place, &hosts, &init, &again);
    rounds.look(check, work).await;
}

fn judge(place: &Pair, hosts: &[String], init: &str, again: &str) -> Finding {
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    if !is_there(&place.certificate) && !is_there(&place.key) {
        return Finding::failed(
            "a door offers CONNECT, and there is no local authority",
            format!("make one: {init}"),
        );
    }
    let vouching = match Authority::load(place) {
        Ok(authority) => authority.vouching,
        Err(error) => return broken(&error, again),
    };
    weigh(&vouching, hosts, again)
        .fact("certificate", place.certificate.display().to_string())
        .fact("hosts", &vouching.hosts)
        .fact("days_left", vouching.certificate.days_left(&System))
        .fact("fingerprint_sha256", &vouching.certificate.fingerprint)
}

fn broken(error: &TlsError, again: &str) -> Finding {
    let text = error.to_string();
    match text.rsplit_once("; ") {
        Some((text, hint)) => Finding::failed(text, hint),
        None => Finding::failed(text.clone(), format!("make another: {again}")),
    }
}

fn weigh(vouching: &Vouching, hosts: &[String], again: &str) -> Finding {
    let days = vouching.certificate.days_left(&System);
    let mut uncovered = hosts.iter().filter(|host| !vouching.covers(host));
    if days < 0 {
        return Finding::failed(
            "the local authority has ended, and applications refuse what it vouches for",
            format!("make another, and have applications trust it: {again}"),
        );
    }
    if let Some(host) = uncovered.next() {
        return Finding::failed(
            format!("the local authority may not vouch for {host}"),
            format!("make another, and have applications trust it: {again}"),
        );
    }
    let until = format!("{days} days left");
    if days < NOTICE {
        return Finding::warning(
            format!("the local authority ends soon: {until}"),
            format!("make another, and have applications trust it before: {again}"),
        );
    }
    match &vouching.hosts {
        Some(hosts) => Finding::good(format!("vouches for {}; {until}", hosts.join(", "))),
        None => Finding::warning(
            "the local authority could vouch for any host: its certificate is not bound to Wise's",
            format!("take one of `ca init`'s, which is: {again}"),
        ),
    }
}
