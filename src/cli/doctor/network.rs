//! The way to each host: its name, a connection, a handshake, each step by itself.

use std::net::IpAddr;
use std::time::SystemTime;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::bench::{Bench, Host, VIA};
use super::check::{Check, Finding, Group};
use super::rounds::Rounds;
use crate::config::{Environment, Lane, Origin};
use crate::tls::{Certificate, HandshakeFailure, RootSet, Shown};
use crate::upstream::{DialError, Session, addresses, greet, reach};

/// Both names of Wise's guide for the mutual-TLS host; either may be the one that answers.
const MTLS_NAMES: [&str; 2] = ["api-mtls.wise.com", "api-mtls.transferwise.com"];

pub(super) async fn look(rounds: &mut Rounds, bench: &mut Bench) {
    roots(rounds, bench).await;
    for host in bench.hosts() {
        names(rounds, bench, host).await;
        connection(rounds, bench, host).await;
        handshake(rounds, bench, host).await;
    }
    other_name(rounds, bench).await;
}

/// Whom we believe to be Wise.
async fn roots(rounds: &mut Rounds, bench: &mut Bench) {
    let check = Check::new(Group::Tls, "tls.roots", "the trusted authorities");
    let trust = bench.config.trust.clone();
    let load = move || match RootSet::load(&trust) {
        Ok(roots) => {
            let count = roots.count();
            let found = Finding::good(match count {
                1 => "1 authority is trusted".to_owned(),
                count => format!("{count} authorities are trusted"),
            });
            (found.fact("count", count), Some(roots))
        }
        Err(error) => (
            Finding::advised(&error.to_string(), "correct wise.roots or wise.extra_ca"),
            None,
        ),
    };
    bench.roots = rounds.fetch(check, load).await;
}

async fn names(rounds: &mut Rounds, bench: &Bench, host: Host) {
    let origin = bench.origin(host);
    let check = step(bench, Group::Names, "dns", host, &[]).after([VIA]);
    let work = async {
        let endpoint = match bench.bare(origin) {
            Ok(endpoint) => endpoint,
            Err(finding) => return (finding, None::<()>),
        };
        let (name, fixed) = endpoint.first_hop();
        let through = if endpoint.via.is_some() {
            ", the proxy on the way out"
        } else {
            ""
        };
        let found = match addresses(&endpoint).await {
            Ok(found) => found,
            Err(error) => {
                let finding = Finding::failed(
                    format!("the name {name}{through} could not be resolved: {error}"),
                    format!(
                        "see what `getent hosts {name}` says; check the name in the configuration \
                         and this machine's DNS"
                    ),
                );
                return (finding, None);
            }
        };
        let list: Vec<_> = found.iter().map(ToString::to_string).collect();
        let how = match (fixed, name.parse::<IpAddr>()) {
            (Some(_), _) => ", fixed by upstream.resolve",
            (None, Ok(_)) => ", as written",
            (None, Err(_)) => "",
        };
        let text = format!("{name}{through}: {}{how}", list.join(", "));
        let inside = through.is_empty() && fixed.is_none() && bench.expects_public_addresses();
        let finding = if inside && found.iter().any(|address| is_private(*address)) {
            Finding::warning(
                text + "; this is an address of a private network, not one of Wise's",
                format!("compare with what `dig +short {name} @1.1.1.1` says"),
            )
        } else {
            Finding::good(text)
        };
        (finding.fact("name", name).fact("addresses", list), None)
    };
    rounds.check(check, work).await;
}

async fn connection(rounds: &mut Rounds, bench: &Bench, host: Host) {
    let origin = bench.origin(host);
    let check = step(bench, Group::Connections, "tcp", host, &["dns"]);
    let work = async {
        let endpoint = match bench.bare(origin) {
            Ok(endpoint) => endpoint,
            Err(finding) => return (finding, None::<()>),
        };
        let finding = match reach(&endpoint, bench.connect_timeout()).await {
            Ok(address) => Finding::good(format!("{address} answers")).fact("address", address),
            Err(error) => unreached(&error, origin),
        };
        (finding, None)
    };
    rounds.check(check, work).await;
}

async fn handshake(rounds: &mut Rounds, bench: &Bench, host: Host) {
    let origin = bench.origin(host);
    let check = step(bench, Group::Tls, "tls", host, &["tcp"]).after(["tls.roots"]);
    let work = async {
        if !origin.tls {
            let text = format!("{origin}: none, since http:// stands in the configuration");
            return (Finding::good(text), None::<()>);
        }
        let (endpoint, watch) = match bench.way(host) {
            Ok(way) => way,
            Err(finding) => return (finding, None),
        };
        let greeted = greet(&endpoint, bench.connect_timeout()).await;
        (greeted_by(bench, host, greeted, &watch.shown()), None)
    };
    rounds.check(check, work).await;
}

/// In production, the name for the mutual-TLS host that is not in use.
async fn other_name(rounds: &mut Rounds, bench: &Bench) {
    let Some(origin) = other_mtls(bench.config.environment, &bench.config.hosts.mtls) else {
        return;
    };
    let own_passed = rounds.passed("tls.mtls") || rounds.is_offline();
    let check = Check::new(Group::Tls, "tls.mtls-other", origin.host.clone())
        .after(["tls.roots"])
        .serving([Lane::OAuthMtls])
        .over_network();
    let work = async {
        let (endpoint, watch) = match bench.way_to(&origin, bench.identity.as_deref()) {
            Ok(way) => way,
            Err(finding) => return (finding, None::<()>),
        };
        let greeted = greet(&endpoint, bench.connect_timeout()).await;
        let shown = watch.shown();
        let name = &origin.host;
        let finding = match &greeted {
            Err(error) if !is_about_our_certificate(error, &shown) => {
                Finding::skipped(format!("{name} is not used, and does not answer: {error}"))
            }
            Ok(_) | Err(_) if own_passed => {
                let how = settled(greeted.as_ref().ok(), &shown);
                let text = format!("{name} is not used, and answers too: {how}");
                chain_lines(Finding::good(text), &shown.chain)
            }
            Ok(_) | Err(_) => chain_lines(
                Finding::warning(
                    format!("{name} answers, the name in use does not"),
                    format!("set `mtls = \"{origin}\"` under [wise] and reload"),
                ),
                &shown.chain,
            ),
        };
        (with_facts(finding, greeted.ok().as_ref(), &shown), None)
    };
    rounds.check(check, work).await;
}

/// The other of Wise's two names, where one of them is in use.
fn other_mtls(environment: Environment, mtls: &Origin) -> Option<Origin> {
    let production = environment == Environment::Production;
    let known = MTLS_NAMES.contains(&mtls.host.as_str());
    let other = MTLS_NAMES.into_iter().find(|name| *name != mtls.host)?;
    (production && known).then(|| Origin {
        host: other.to_owned(),
        ..mtls.clone()
    })
}

/// A step of the way to a host, after others of the same way.
fn step(bench: &Bench, group: Group, what: &str, host: Host, after: &[&str]) -> Check {
    let name = host.name();
    let doing = format!("{} ({})", bench.origin(host).host, what.to_uppercase());
    Check::new(group, format!("{what}.{name}"), doing)
        .after(after.iter().map(|step| format!("{step}.{name}")))
        .serving(bench.lanes_of(host))
        .over_network()
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
        }
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unique_local()
                || address.is_unicast_link_local()
        }
    }
}

/// What to do about a connection that did not come about.
fn unreached(error: &DialError, origin: &Origin) -> Finding {
    let (host, port) = (&origin.host, origin.port);
    let hint = match error {
        DialError::Dns { .. } | DialError::DnsTimeout { .. } => {
            format!("see what `getent hosts {host}` says; check this machine's DNS")
        }
        DialError::Refused { .. } => format!(
            "nothing listens there, or a firewall answers in its place: check host and port, and \
             try `nc -vz {host} {port}`"
        ),
        DialError::Unreachable { .. } | DialError::Timeout { .. } => format!(
            "let connections to {host} port {port} out through the firewall, or name your proxy in \
             upstream.via; `nc -vz {host} {port}` tries it"
        ),
        DialError::Via { .. } => {
            "ask who runs the proxy in upstream.via to let this host through; a 407 wants \
             upstream.via_credentials"
                .to_owned()
        }
        DialError::ViaBroken { .. } => {
            "check upstream.via: it must be an HTTP proxy that knows CONNECT".to_owned()
        }
        DialError::NoHttp2 { .. } => "set `http = \"auto\"` under [upstream]".to_owned(),
        DialError::Tls { failure, .. } => failure.hint().to_owned(),
    };
    Finding::failed(error.to_string(), hint)
}

/// A handshake that ended over our certificate says good things about the server.
fn is_about_our_certificate(error: &DialError, shown: &Shown) -> bool {
    match error {
        // In TLS 1.2 a server has shown and proven everything before it judges us, and has
        // several words for a certificate that is missing, or none at all.
        DialError::Tls { failure, .. } => {
            shown.believed
                && shown.version.is_some()
                && shown.asked.is_some()
                && matches!(
                    failure,
                    HandshakeFailure::ClientCertificateRejected(_)
                        | HandshakeFailure::Alert(_)
                        | HandshakeFailure::Closed
                )
        }
        DialError::Dns { .. }
        | DialError::DnsTimeout { .. }
        | DialError::Refused { .. }
        | DialError::Unreachable { .. }
        | DialError::Timeout { .. }
        | DialError::Via { .. }
        | DialError::ViaBroken { .. }
        | DialError::NoHttp2 { .. } => false,
    }
}

fn greeted_by(
    bench: &Bench,
    host: Host,
    greeted: Result<Session, DialError>,
    shown: &Shown,
) -> Finding {
    let origin = bench.origin(host);
    let name = &origin.host;
    let finding = match &greeted {
        Err(error) if !is_about_our_certificate(error, shown) => {
            let finding = unreached(error, origin);
            match shown.chain.first() {
                Some(leaf) if !shown.believed => {
                    finding.detail(format!("it shows a certificate issued by {}", leaf.issuer))
                }
                _ => finding,
            }
        }
        Ok(_) if host == Host::Mtls && shown.asked.is_none() => Finding::warning(
            format!(
                "{name}: {}; it does not ask for a client certificate, so it is no mutual-TLS host",
                settled(greeted.as_ref().ok(), shown)
            ),
            "check wise.mtls, and whether something between here and Wise opens the connection",
        ),
        Ok(_) | Err(_) => {
            Finding::good(format!("{name}: {}", settled(greeted.as_ref().ok(), shown)))
        }
    };
    let finding = chain_lines(finding, &shown.chain);
    with_facts(finding, greeted.ok().as_ref(), shown)
}

/// Version, protocol, and what the server wants of us.
fn settled(session: Option<&Session>, shown: &Shown) -> String {
    let version = session
        .and_then(|session| session.version)
        .or(shown.version);
    let mut words = vec![version.unwrap_or("TLS").to_owned()];
    if let Some(session) = session {
        words.push(match session.alpn.as_deref() {
            Some("h2") => "HTTP/2".to_owned(),
            Some("http/1.1") | None => "HTTP/1.1".to_owned(),
            Some(other) => other.to_owned(),
        });
    }
    if shown.asked.is_some() {
        words.push("asks for a client certificate".to_owned());
    }
    words.join(", ")
}

fn chain_lines(finding: Finding, chain: &[Certificate]) -> Finding {
    chain.iter().fold(finding, |finding, link| {
        finding.detail(format!(
            "{}, issued by {}, until {}",
            link.subject,
            link.issuer,
            day(link.not_after)
        ))
    })
}

fn with_facts(finding: Finding, session: Option<&Session>, shown: &Shown) -> Finding {
    let chain: Vec<Value> = shown.chain.iter().map(certificate_facts).collect();
    let version = session
        .and_then(|session| session.version)
        .or(shown.version);
    finding
        .fact("version", version)
        .fact("alpn", session.and_then(|session| session.alpn.as_deref()))
        .fact(
            "suite",
            session.and_then(|session| session.suite.as_deref()),
        )
        .fact("believed", shown.believed)
        .fact("asks_for_certificate", shown.asked.is_some())
        .fact("accepted_authorities", &shown.asked)
        .fact("chain", chain)
}

/// A certificate as programs read it.
pub(super) fn certificate_facts(certificate: &Certificate) -> Value {
    json!({
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": certificate.serial,
        "not_before": moment(certificate.not_before),
        "not_after": moment(certificate.not_after),
        "fingerprint_sha256": certificate.fingerprint,
        "key_kind": certificate.key_kind,
    })
}

/// RFC 3339.
pub(super) fn moment(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let whole = at.replace_nanosecond(0).unwrap_or(at);
    whole.format(&Rfc3339).unwrap_or_default()
}

/// The day alone.
pub(super) fn day(at: SystemTime) -> String {
    OffsetDateTime::from(at).date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(host: &str) -> Origin {
        Origin {
            host: host.into(),
            port: 443,
            tls: true,
        }
    }

    #[test]
    fn in_production_the_other_name_of_the_mutual_tls_host_is_tried_too() {
        let [one, other] = MTLS_NAMES;
        for (used, tried) in [(one, other), (other, one)] {
            let found = other_mtls(Environment::Production, &origin(used));
            assert_eq!(found, Some(origin(tried)));
        }
        let gateway = origin("wise.gateway.example");
        assert_eq!(other_mtls(Environment::Production, &gateway), None);
        assert_eq!(other_mtls(Environment::Custom, &origin(one)), None);
        let sandbox = origin("api-mtls.wise-sandbox.com");
        assert_eq!(other_mtls(Environment::Sandbox, &sandbox), None);
    }

    #[test]
    fn an_address_of_ones_own_network_is_told_from_one_of_wises() {
        for private in [
            "10.1.2.3",
            "127.0.0.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "0.0.0.0",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in ["104.18.10.1", "2606:4700::1"] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }
}
