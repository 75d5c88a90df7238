//! Which fields pass, in both directions.
//!
//! Hop-by-hop fields and those that `Connection` names stay behind (RFC 9110 §7.6.1). Ours are put
//! in last, so that no request can name them away or double them.

use http::header::{
    AUTHORIZATION, CONNECTION, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version, request};

use crate::wise::headers::X_WISE_PROFILE;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Fields that concern one connection only, whatever `Connection` says.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HTTP2_SETTINGS,
    PROXY_AUTHENTICATE,
];

/// Fields of a request that are ours to set or to read, never to forward.
const OURS: [HeaderName; 4] = [AUTHORIZATION, PROXY_AUTHORIZATION, HOST, X_WISE_PROFILE];

/// What [`request()`] puts in; made once.
#[derive(Debug)]
pub(crate) struct Stamps {
    /// For requests that came over HTTP/1 and HTTP/2 (RFC 9110 §7.6.3: the version received).
    via: [HeaderValue; 2],
    user_agent: HeaderValue,
}

impl Default for Stamps {
    fn default() -> Self {
        Self {
            via: ["1.1 wise-auth-proxy", "2 wise-auth-proxy"].map(HeaderValue::from_static),
            user_agent: HeaderValue::from_static(concat!(
                "wise-auth-proxy/",
                env!("CARGO_PKG_VERSION")
            )),
        }
    }
}

/// Whether the application waits for `100 Continue` before it sends the body.
pub(crate) fn waits_for_continue(headers: &HeaderMap) -> bool {
    let expect = headers.get(EXPECT).map(HeaderValue::as_bytes);
    expect.is_some_and(|expect| expect.eq_ignore_ascii_case(b"100-continue"))
}

/// Makes a request's fields fit to leave.
///
/// Idempotent. What it leaves out is put in for each attempt by [`credential`].
pub(crate) fn request(head: &mut request::Parts, stamps: &Stamps) {
    let headers = &mut head.headers;
    drop_hop_by_hop(headers);
    for name in &OURS {
        headers.remove(name);
    }
    let via = &stamps.via[usize::from(head.version == Version::HTTP_2)];
    if !headers.get_all(VIA).iter().any(|one| one == via) {
        headers.append(VIA, via.clone());
    }
    if !headers.contains_key(USER_AGENT) {
        headers.insert(USER_AGENT, stamps.user_agent.clone());
    }
}

/// Puts the credential in, as the only one.
pub(crate) fn credential(headers: &mut HeaderMap, authorization: HeaderValue) {
    headers.insert(AUTHORIZATION, authorization);
}

/// Makes an answer's fields fit to be handed down.
pub(crate) fn response(headers: &mut HeaderMap) {
    drop_hop_by_hop(headers);
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn through(headers: HeaderMap) -> HeaderMap {
        let mut head = http::Request::new(()).into_parts().0;
        head.headers = headers;
        request(&mut head, &Stamps::default());
        head.headers
    }

    fn leave(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let mut headers = through(headers);
        credential(&mut headers, HeaderValue::from_static("Bearer ours"));
        headers
    }

    #[test]
    fn exactly_one_authorization_leaves_and_it_is_ours() {
        for fields in [
            &[
                ("authorization", "Bearer theirs"),
                ("authorization", "Basic x"),
            ][..],
            &[
                ("connection", "authorization, close"),
                ("authorization", "Bearer theirs"),
            ],
            &[("proxy-authorization", "Basic x")],
        ] {
            let headers = leave(fields);
            let sent: Vec<_> = headers.get_all(AUTHORIZATION).iter().collect();
            assert_eq!(sent, ["Bearer ours"], "{fields:?}");
            assert!(!headers.contains_key(PROXY_AUTHORIZATION));
        }
    }

    #[test]
    fn what_connection_names_stays_behind() {
        let headers = leave(&[
            ("connection", "X-Hop , keep-alive"),
            ("x-hop", "1"),
            ("x-end", "2"),
        ]);
        assert!(!headers.contains_key("x-hop") && !headers.contains_key(CONNECTION));
        assert_eq!(headers["x-end"], "2");
    }

    #[test]
    fn wise_words_of_the_application_pass() {
        for name in [
            "x-2fa-approval",
            "x-signature",
            "one-time-token",
            "x-tw-jose-method",
            "accept-encoding",
            "x-idempotence-uuid",
            "x-external-correlation-id",
            "accept-minor-version",
            "cookie",
        ] {
            assert_eq!(leave(&[(name, "v")])[name], "v", "{name}");
        }
    }

    #[test]
    fn the_applications_user_agent_wins_over_ours() {
        assert_eq!(leave(&[("user-agent", "legacy/1")])[USER_AGENT], "legacy/1");
        assert!(
            leave(&[])[USER_AGENT]
                .to_str()
                .unwrap()
                .starts_with("wise-auth-proxy/")
        );
    }

    proptest! {
        #[test]
        fn the_policy_is_idempotent_and_no_hop_by_hop_field_survives(
            named in "[a-z-]{1,12}(, ?[a-z-]{1,12}){0,4}",
            names in proptest::collection::vec("[a-z][a-z-]{0,12}", 0..12),
        ) {
            let mut headers = HeaderMap::new();
            headers.append(CONNECTION, HeaderValue::from_str(&named).unwrap());
            for name in HOP_BY_HOP {
                headers.append(name, HeaderValue::from_static("x"));
            }
            for name in &names {
                headers.append(HeaderName::try_from(name.as_str()).unwrap(), HeaderValue::from_static("v"));
            }
            let headers = through(headers);
            for name in HOP_BY_HOP.iter().chain(&OURS) {
                prop_assert!(!headers.contains_key(name), "{name} survived");
            }
            for name in named.split(',').map(str::trim) {
                prop_assert!(matches!(name, "via" | "user-agent") || !headers.contains_key(name));
            }
            let once = headers.clone();
            prop_assert_eq!(once, through(headers));
        }
    }
}
