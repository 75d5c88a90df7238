//! What Wise saw of a request, put into words that hold no secret.

use crate::simulator::{Credential, Door, Recorded};

/// The credential as what it is.
pub(super) fn credential(request: &Recorded) -> String {
    match &request.credential {
        Credential::None => "none".to_owned(),
        Credential::Several => "several at once".to_owned(),
        Credential::Basic => "client id and secret".to_owned(),
        Credential::Personal => "personal token".to_owned(),
        Credential::User {
            generation, live, ..
        } => format!("user access token, generation {generation}{}", dead(*live)),
        Credential::Client { generation, live } => {
            format!(
                "client credentials token, generation {generation}{}",
                dead(*live)
            )
        }
        Credential::Unknown => "something Wise never issued".to_owned(),
    }
}

fn dead(live: bool) -> &'static str {
    if live { "" } else { ", dead" }
}

/// The host of the listener it came through.
pub(super) fn host(request: &Recorded) -> &'static str {
    match request.door {
        Door::Plain => super::stage::PLAIN,
        Door::Mtls => super::stage::MTLS,
        Door::Control => "the simulator's control address",
    }
}

/// `TLSv1_3`, or that there was none.
pub(super) fn tls(request: &Recorded) -> &str {
    let session = request.tls.as_ref();
    session.map_or("none", |session| session.version.as_str())
}

/// The CN of the client certificate, or that there was none.
pub(super) fn certificate(request: &Recorded) -> String {
    let session = request.tls.as_ref();
    let certificate = session.and_then(|session| session.client_certificate.as_ref());
    certificate.map_or_else(
        || "none".to_owned(),
        |certificate| format!("CN={}", certificate.common_name),
    )
}

/// Where, over what, and with whose certificate.
pub(super) fn arrival(request: &Recorded) -> String {
    format!(
        "{}, {}, {}, client certificate {}",
        host(request),
        request.version,
        tls(request).replace("TLSv1_", "TLS 1."),
        certificate(request)
    )
}

/// The head as it arrived, with the credential as what it is.
pub(super) fn head(request: &Recorded) -> String {
    let mut lines = Vec::new();
    if request.version == "HTTP/2.0" {
        lines.push(format!(":method: {}", request.method));
        lines.push(":scheme: https".to_owned());
        let authority = request.authority.as_deref().unwrap_or_default();
        lines.push(format!(":authority: {authority}"));
        lines.push(format!(":path: {}", request.target));
    } else {
        let Recorded {
            method,
            target,
            version,
            ..
        } = request;
        lines.push(format!("{method} {target} {version}"));
    }
    for (name, value) in &request.headers.0 {
        lines.push(match name.as_str() {
            "authorization" => {
                let scheme = value.split(' ').next().unwrap_or_default();
                format!("{name}: {scheme} <{}>", credential(request))
            }
            "proxy-authorization" | "cookie" => format!("{name}: <not shown>"),
            _ => format!("{name}: {value}"),
        });
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::{BodySeen, Headers};

    fn request(version: &str) -> Recorded {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Recorded {
            sequence: 1,
            door: Door::Mtls,
            connection: 1,
            remote_port: 1,
            version: version.to_owned(),
            method: "GET".to_owned(),
            target: "/v2/profiles".to_owned(),
            authority: Some("api-mtls.wise.test:1".to_owned()),
            headers: Headers(vec![
                header("accept", "*/*"),
                header("authorization", "Bearer MARKER"),
                header("proxy-authorization", "Basic MARKER"),
            ]),
            tls: None,
            credential: Credential::User {
                grant: 1,
                profile: 30_000_000,
                generation: 2,
                live: true,
            },
            body: BodySeen::default(),
            customer_transaction_id: None,
            status: None,
        }
    }

    #[test]
    fn a_head_shows_the_credential_as_what_it_is() {
        insta::assert_snapshot!(head(&request("HTTP/1.1")), @"
        GET /v2/profiles HTTP/1.1
        accept: */*
        authorization: Bearer <user access token, generation 2>
        proxy-authorization: <not shown>
        ");
    }

    #[test]
    fn no_head_shows_a_secret() {
        for version in ["HTTP/1.1", "HTTP/2.0"] {
            assert!(!head(&request(version)).contains("MARKER"));
        }
    }
}
