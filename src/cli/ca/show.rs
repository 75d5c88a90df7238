//! `ca show`: what the local authority may vouch for, and for how long.

use super::super::args::Global;
use super::super::cert::date;
use super::super::failure::{Exit, Failure};
use super::super::report;
use super::{facts, uncovered, warn_uncovered};
use crate::clock::System;
use crate::tls::{Authority, Pair, Vouching};

pub(super) fn run(global: &Global, json: bool) -> Result<(), Failure> {
    let config = &global.load()?.config;
    let place = Pair::from(&config.ca);
    let vouching = Vouching::read(&place.certificate)?;
    let uncovered = uncovered(config, &vouching);
    // Whoever may read the certificate need not be allowed to read the key.
    let key = Authority::load(&place).map(drop);
    let days = vouching.certificate.days_left(&System);
    if json {
        let mut facts = facts(&place, &vouching);
        facts["not_covered"] = uncovered.clone().into();
        let problem = key.as_ref().err().map(ToString::to_string);
        facts["problem"] = problem.into();
        report::json(&facts)?;
    } else {
        let hosts = match &vouching.hosts {
            Some(hosts) => hosts.join(", "),
            None => "any host at all".to_owned(),
        };
        let rows = [
            ("subject", vouching.certificate.subject.clone()),
            ("hosts", hosts),
            ("valid from", date(vouching.certificate.not_before)),
            (
                "valid until",
                format!(
                    "{} ({days} days left)",
                    date(vouching.certificate.not_after)
                ),
            ),
            ("SHA-256", vouching.certificate.fingerprint.clone()),
            ("certificate", place.certificate.display().to_string()),
            ("key", place.key.display().to_string()),
        ];
        let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
        report::data(&report::table(&rows))?;
        warn_uncovered(global, &uncovered);
    }
    key?;
    if days < 0 {
        return Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!("the local authority has ended"),
        )
        .hint(format!("make another: {}", global.spell("ca init --force"))));
    }
    Ok(())
}
