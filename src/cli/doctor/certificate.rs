//! The client certificate: a pair, whose it is, how long it lasts, and whether Wise takes it.

use std::sync::Arc;

use http::StatusCode;

use super::bench::{Bench, GetError, Host, PROFILES};
use super::check::{Check, Finding, Group};
use super::network::{certificate_facts, day};
use super::rounds::Rounds;
use crate::clock::System;
use crate::config::{Lane, Mtls};
use crate::tls::{Finding as Flaw, Identity};
use crate::upstream::{Answer, OnceError};
use crate::wise::headers::X_TRACE_ID;

const PAIR: &str = "certificate.pair";
const DAYS: &str = "certificate.days";
pub(super) const ACCEPTED: &str = "certificate.accepted";

/// Files, key, name and days: what can be known on this machine.
pub(super) async fn inspect(rounds: &mut Rounds, bench: &mut Bench) {
    let Some(files) = bench.config.mtls.clone() else {
        return;
    };
    pair(rounds, bench, files).await;
    let flaws = bench.identity.as_ref().map_or_else(Vec::new, |identity| {
        identity.check(&System, bench.client_id())
    });
    name(rounds, bench, &flaws).await;
    days(rounds, bench, &flaws).await;
}

/// Certificate and key can be read and belong together. Without that the proxy does not start.
async fn pair(rounds: &mut Rounds, bench: &mut Bench, files: Mtls) {
    let wants_passphrase = files.key_passphrase.is_some();
    let check = Check::new(Group::Certificate, PAIR, "the client certificate")
        .after(wants_passphrase.then_some("secret.mtls.key_passphrase"));
    let csr = bench.command("csr --organisation \"NAME\"");
    let install = bench.command("cert install FILE");
    let load = move || {
        let passphrase = match files.passphrase() {
            Ok(passphrase) => passphrase,
            Err(error) => {
                let text = format!("mtls.key_passphrase: {error}");
                return (Finding::advised(&text, "say where the passphrase is"), None);
            }
        };
        match Identity::load(&files.certificate, &files.key, passphrase.as_ref()) {
            Ok(identity) => {
                let leaf = identity.certificate();
                let text = format!(
                    "{} and its key ({}), issued by {}",
                    files.certificate.display(),
                    leaf.key_kind,
                    leaf.issuer
                );
                let found = Finding::good(text)
                    .fact("certificate", certificate_facts(leaf))
                    .fact("chain_length", identity.chain_length());
                (found, Some(Arc::new(identity)))
            }
            Err(error) => {
                let finding =
                    Finding::advised(&error.to_string(), "name the right files under [mtls]");
                let finding = if !files.key.exists() {
                    finding.hint(format!(
                        "{csr} makes the key and what Wise's Developer Hub signs"
                    ))
                } else if !files.certificate.exists() {
                    finding.hint(format!(
                        "paste the CSR into Wise's Developer Hub, then {install}"
                    ))
                } else {
                    finding
                };
                (finding, None)
            }
        }
    };
    bench.identity = rounds.fetch(check, load).await;
}

async fn name(rounds: &mut Rounds, bench: &Bench, flaws: &[Flaw]) {
    let check = Check::new(Group::Certificate, "certificate.name", "whose it is").after([PAIR]);
    let leaf = bench.identity.as_ref().map(|it| it.certificate());
    let work = async {
        let found = leaf.and_then(|leaf| leaf.common_name.as_deref());
        let flaw = flaws.iter().find(|flaw| match flaw {
            Flaw::WrongName { .. } | Flaw::NotForClients => true,
            Flaw::Expired { .. } | Flaw::NotYetValid { .. } | Flaw::ExpiresSoon { .. } => false,
        });
        let finding = match flaw {
            None => Finding::good(format!("CN = {}, the client id", found.unwrap_or("-"))),
            Some(flaw) => Finding::warning(
                flaw.to_string(),
                format!(
                    "{} shows it; install the one that Wise gave out for this client id: {}",
                    bench.command("cert show"),
                    bench.command("cert install FILE"),
                ),
            ),
        };
        let finding = finding.fact("common_name", found);
        (finding.fact("client_id", bench.client_id()), None::<()>)
    };
    rounds.check(check, work).await;
}

async fn days(rounds: &mut Rounds, bench: &Bench, flaws: &[Flaw]) {
    let check = Check::new(Group::Certificate, DAYS, "how long it lasts")
        .after([PAIR])
        .serving([Lane::OAuthMtls]);
    let work = async {
        let Some(identity) = &bench.identity else {
            return (Finding::skipped("there is no certificate"), None::<()>);
        };
        let (leaf, left) = (identity.certificate(), identity.days_left(&System));
        let until = day(leaf.not_after);
        let next = renewal(bench);
        let finding = flaws.iter().find_map(|flaw| match flaw {
            Flaw::Expired { .. } => Some(Finding::failed(
                format!("it ended on {until}; Wise refuses every connection under it"),
                &next,
            )),
            Flaw::NotYetValid { .. } => Some(Finding::failed(
                format!("it is not valid before {}", day(leaf.not_before)),
                "check this machine's clock with `date -u`; if it is right, wait",
            )),
            Flaw::ExpiresSoon { within, .. } => Some(Finding::warning(
                format!(
                    "{} left, until {until} (the notice of {within} days)",
                    days_of(left)
                ),
                &next,
            )),
            Flaw::WrongName { .. } | Flaw::NotForClients => None,
        });
        let good = || Finding::good(format!("{} left, until {until}", days_of(left)));
        let finding = finding.unwrap_or_else(good).fact("days_left", left);
        (finding, None)
    };
    rounds.check(check, work).await;
}

/// How the next certificate is made, beside the one in use.
fn renewal(bench: &Bench) -> String {
    format!(
        "make the next one beside it: {}; have the hub sign the CSR, then {}",
        bench.command("csr --renew"),
        bench.command("cert install FILE"),
    )
}

fn days_of(left: i64) -> String {
    match left {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// Wise lets it in. In TLS 1.3 a server judges after the handshake, so only an answer proves it.
pub(super) async fn accepted(rounds: &mut Rounds, bench: &Bench) {
    if bench.config.mtls.is_none() {
        return;
    }
    let check = Check::new(Group::Certificate, ACCEPTED, "whether Wise takes it")
        .after([PAIR, DAYS, "tls.mtls"])
        .serving([Lane::OAuthMtls])
        .over_network();
    let work = async {
        let finding = match bench.get(Host::Mtls, PROFILES, None).await {
            Ok(answer) => answered(bench, &answer),
            Err(GetError::NoAnswer(error)) => unanswered(bench, &error),
            Err(no_way @ GetError::NoWay(_)) => no_way.finding(bench),
        };
        (finding, None::<()>)
    };
    rounds.check(check, work).await;
}

/// What the first answer after the handshake says about the certificate.
fn answered(bench: &Bench, answer: &Answer) -> Finding {
    let status = answer.status;
    // The edge's own pages; a body of Wise's is never shown.
    let page = String::from_utf8_lossy(&answer.body);
    let edge = page.contains("SSL certificate");
    let finding = if edge {
        Finding::failed(
            format!(
                "the edge says {status}: it got no certificate from us, or one it does not take"
            ),
            mismatch(bench),
        )
    } else if status == StatusCode::FORBIDDEN {
        Finding::failed(
            format!(
                "Wise answers {status} to every request under it: it is revoked, or not this client's"
            ),
            mismatch(bench),
        )
    } else if status.is_server_error() {
        Finding::warning(
            format!("the handshake is done, and Wise has trouble of its own ({status})"),
            format!("run {} again in a while", bench.command("doctor")),
        )
    } else {
        let next = if status == StatusCode::UNAUTHORIZED {
            ", and asks for a token next"
        } else {
            ""
        };
        Finding::good(format!("Wise takes it{next} ({})", status.as_u16()))
    };
    let trace = answer.headers.get(X_TRACE_ID);
    finding
        .fact("status", status.as_u16())
        .fact("trace_id", trace.and_then(|id| id.to_str().ok()))
}

fn unanswered(bench: &Bench, error: &OnceError) -> Finding {
    match error {
        OnceError::CertificateRefused(failure) => {
            Finding::failed(format!("Wise refuses it: {failure}"), mismatch(bench))
        }
        OnceError::NotSent(_) | OnceError::AnswerLost(_) => Finding::failed(
            format!(
                "the connection ended before an answer came ({error}); a server may refuse a certificate this way"
            ),
            mismatch(bench),
        ),
        OnceError::TooBig => Finding::good("Wise takes it, and answers at length"),
    }
}

fn mismatch(bench: &Bench) -> String {
    format!(
        "{} shows it: it must be the unexpired certificate that the Developer Hub of {} gave out \
         for client id {}; if it is, ask Wise with its serial number and the report of {}",
        bench.command("cert show"),
        bench.config.environment,
        bench.client_id().unwrap_or("-"),
        bench.command("doctor --report FILE"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_said_as_people_say_them() {
        assert_eq!(days_of(0), "less than a day");
        assert_eq!(days_of(1), "1 day");
        assert_eq!(days_of(30), "30 days");
    }
}
