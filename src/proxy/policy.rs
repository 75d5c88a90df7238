//! Which fields pass, in both directions.
//!
//! Hop-by-hop fields and those that `Connection` names stay behind (RFC 9110 §7.6.1). Ours are put
//! in last, so that no request can name them away or double them.

use http::header::{AUTHORIZATION, CONNECTION, COOKIE, EXPECT, USER_AGENT, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, Version, request};

/// Fields that concern one connection only, whatever `Connection` says.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "proxy-authenticate",
];

/// Fields of a request that are ours to set or to read, never to forward.
const OURS: [&str; 4] = [
    "authorization",
    "proxy-authorization",
    "host",
    "x-wise-profile",
];

/// Fields that mean nothing behind a body, and harm where they are taken to mean something: they
/// frame a message or say how to read it (RFC 9110 §6.5.1).
const NEVER_BEHIND: [&str; 7] = [
    "content-length",
    "content-type",
    "content-encoding",
    "content-range",
    "cookie",
    "expect",
    "trailer",
];

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

impl Stamps {
    /// Who we are, in requests of our own.
    pub(crate) fn user_agent(&self) -> HeaderValue {
        self.user_agent.clone()
    }
}

/// Whether the application waits for `100 Continue` before it sends the body. HTTP/1.0 has no such
/// word (RFC 9110 §10.1.1).
pub(crate) fn waits_for_continue(headers: &HeaderMap, version: Version) -> bool {
    let expect = headers.get(EXPECT).map(HeaderValue::as_bytes);
    version > Version::HTTP_10
        && expect.is_some_and(|expect| expect.eq_ignore_ascii_case(b"100-continue"))
}

/// Makes a request's fields fit to leave.
///
/// Idempotent. What it leaves out is put in for each attempt by [`credential`].
pub(crate) fn request(head: &mut request::Parts, stamps: &Stamps) {
    let headers = &mut head.headers;
    drop_hop_by_hop(headers);
    let seen = Seen::among(headers);
    if seen.underscores {
        drop_look_alikes(headers);
    }
    for (name, _) in OURS.iter().zip(seen.ours).filter(|(_, seen)| *seen) {
        headers.remove(*name);
    }
    if seen.expect && head.version <= Version::HTTP_10 {
        headers.remove(EXPECT);
    }
    if seen.cookies {
        join_cookies(headers);
    }
    let via = &stamps.via[usize::from(head.version == Version::HTTP_2)];
    if !(seen.via && headers.get_all(VIA).iter().any(|one| one == via)) {
        headers.append(VIA, via.clone());
    }
    if !seen.user_agent {
        headers.insert(USER_AGENT, stamps.user_agent.clone());
    }
}

/// Which fields there are that want something done. A look at each name costs less than a search for
/// each that could be there.
#[derive(Debug, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "a set, of what has nothing to do with one another"
)]
struct Seen {
    ours: [bool; OURS.len()],
    underscores: bool,
    expect: bool,
    cookies: bool,
    via: bool,
    user_agent: bool,
}

impl Seen {
    fn among(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for name in headers.keys().map(HeaderName::as_str) {
            match name {
                "expect" => seen.expect = true,
                "cookie" => seen.cookies = true,
                "via" => seen.via = true,
                "user-agent" => seen.user_agent = true,
                _ => match OURS.iter().position(|ours| *ours == name) {
                    Some(position) => seen.ours[position] = true,
                    None => seen.underscores |= name.contains('_'),
                },
            }
        }
        seen
    }
}

/// Makes the fields behind a request's body fit to leave.
pub(crate) fn trailers(fields: &mut HeaderMap) {
    drop_hop_by_hop(fields);
    drop_look_alikes(fields);
    for name in OURS.into_iter().chain(NEVER_BEHIND) {
        fields.remove(name);
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
    let is_hop_by_hop = |name: &HeaderName| HOP_BY_HOP.contains(&name.as_str());
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Servers behind CGI's conventions take `X_Y` for `X-Y`, so what may not leave under its own name
/// may not leave under that one.
fn drop_look_alikes(headers: &mut HeaderMap) {
    let is_ours = |name: &HeaderName| {
        let dashed = name.as_str().replace('_', "-");
        let mut known = OURS.into_iter().chain(HOP_BY_HOP).chain(["content-length"]);
        known.any(|known| known == dashed)
    };
    let look_alikes: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().contains('_') && is_ours(name))
        .cloned()
        .collect();
    for name in look_alikes {
        headers.remove(name);
    }
}

/// HTTP/2 may split cookies into several fields, HTTP/1 may not (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, whole);
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
            &[("proxy_authorization", "Basic x"), ("http2_settings", "x")],
        ] {
            let headers = leave(fields);
            let sent: Vec<_> = headers.get_all(AUTHORIZATION).iter().collect();
            assert_eq!(sent, ["Bearer ours"], "{fields:?}");
            assert!(!headers.contains_key("proxy-authorization"));
            assert!(headers.keys().all(|name| !name.as_str().contains('_')));
        }
    }

    #[test]
    fn a_field_with_an_underscore_of_its_own_passes() {
        assert_eq!(leave(&[("x_custom", "v")])["x_custom"], "v");
    }

    #[test]
    fn nothing_that_frames_or_authorises_leaves_behind_a_body() {
        let mut fields = HeaderMap::new();
        let known = OURS.into_iter().chain(HOP_BY_HOP).chain(NEVER_BEHIND);
        for name in known {
            fields.append(name, HeaderValue::from_static("x"));
        }
        fields.append("transfer_encoding", HeaderValue::from_static("chunked"));
        fields.append("x-checksum", HeaderValue::from_static("1"));
        trailers(&mut fields);
        let left: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-checksum"]);
    }

    #[test]
    fn cookies_leave_in_one_field() {
        let headers = leave(&[("cookie", "a=1"), ("cookie", "b=2; c=3")]);
        let cookies: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
    }

    #[test]
    fn only_http_1_1_and_later_wait_for_a_word_to_go_on() {
        let mut headers = HeaderMap::new();
        headers.insert(EXPECT, HeaderValue::from_static("100-Continue"));
        assert!(waits_for_continue(&headers, Version::HTTP_11));
        assert!(!waits_for_continue(&headers, Version::HTTP_10));
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

    /// Names that a caller may try, in forms that a server may read as one of ours.
    fn tempting() -> impl Strategy<Value = String> {
        let known: Vec<String> = HOP_BY_HOP
            .into_iter()
            .chain(OURS)
            .chain(["content-length", "cookie", "expect", "via"])
            .map(str::to_owned)
            .collect();
        let known = proptest::sample::select(known);
        let form = |(name, form): (String, u8)| match form {
            0 => name.to_ascii_uppercase(),
            1 => name.replace('-', "_"),
            _ => name,
        };
        prop_oneof![
            (known, 0..4_u8).prop_map(form),
            "[A-Za-z][A-Za-z0-9_-]{0,14}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn whatever_a_head_says_exactly_one_authorization_leaves_and_it_is_ours(
            fields in proptest::collection::vec((tempting(), "[ -~]{0,20}"), 0..24),
            named in proptest::collection::vec(tempting(), 0..6),
            version in proptest::sample::select(
                vec![Version::HTTP_10, Version::HTTP_11, Version::HTTP_2]
            ),
        ) {
            let mut head = http::Request::new(()).into_parts().0;
            head.version = version;
            head.headers.append(CONNECTION, HeaderValue::from_str(&named.join(", ")).unwrap());
            for (name, value) in &fields {
                let name = HeaderName::try_from(name.as_str()).unwrap();
                head.headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
            }
            request(&mut head, &Stamps::default());
            for name in HOP_BY_HOP.iter().chain(&OURS) {
                prop_assert!(!head.headers.contains_key(*name), "{name} survived");
            }
            credential(&mut head.headers, HeaderValue::from_static("Bearer ours"));
            let mut credentials = Vec::new();
            for (name, value) in &head.headers {
                let dashed = name.as_str().replace('_', "-");
                if matches!(&*dashed, "authorization" | "proxy-authorization") {
                    credentials.push(value);
                }
            }
            prop_assert_eq!(credentials, ["Bearer ours"]);
        }

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
                prop_assert!(!headers.contains_key(*name), "{name} survived");
            }
            for name in named.split(',').map(str::trim) {
                prop_assert!(matches!(name, "via" | "user-agent") || !headers.contains_key(name));
            }
            let once = headers.clone();
            prop_assert_eq!(once, through(headers));
        }
    }
}
