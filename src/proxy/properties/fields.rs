use http::header::{AUTHORIZATION, CONNECTION, COOKIE, EXPECT, USER_AGENT, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::{all, fields, map};
use crate::proxy::policy::{self, Stamps};

/// What may never pass, in lower case (RFC 9110 §7.6.1, RFC 9113 §8.2.2).
const NEVER: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "proxy-authenticate",
];

/// What an application says to us alone.
const TO_US: [&str; 4] = [
    "authorization",
    "proxy-authorization",
    "host",
    "x-wise-profile",
];

/// What frames or explains a message, and means nothing behind its body.
const NOT_BEHIND: [&str; 7] = [
    "content-length",
    "content-type",
    "content-encoding",
    "content-range",
    "cookie",
    "expect",
    "trailer",
];

type Field = (HeaderName, HeaderValue);

/// Of a request passes exactly what is neither hop-by-hop, nor named by `Connection`, nor ours, nor
/// looks like one of those; what leaves has one `Authorization`, which is ours; a second pass
/// changes nothing. Behind a body passes less, and of an answer what is not hop-by-hop.
///
/// The input is lines `name: value`; its length says the version of HTTP.
pub(crate) fn header_policy(input: &[u8]) {
    let came = fields(input.split(|byte| *byte == b'\n'));
    let version = match input.len() % 4 {
        0 | 1 => Version::HTTP_11,
        2 => Version::HTTP_2,
        _ => Version::HTTP_10,
    };

    let left = requested(&map(&came), version);
    let expected = passes(&came, version);
    assert_eq!(left, map(&expected), "of {came:?}");
    assert_eq!(requested(&left, version), left, "a second pass of {came:?}");

    let mut leaving = left.clone();
    policy::credential(&mut leaving, HeaderValue::from_static("Bearer ours"));
    let shown: Vec<_> = leaving.get_all(AUTHORIZATION).iter().collect();
    assert_eq!(shown, ["Bearer ours"]);
    leaving.remove(AUTHORIZATION);
    assert_eq!(leaving, left, "the credential pushed something out");

    let mut behind = map(&came);
    policy::trailers(&mut behind);
    let expected = came
        .iter()
        .filter(|(name, _)| end_to_end(&came, name) && !NOT_BEHIND.contains(&name.as_str()));
    let expected: Vec<Field> = expected.cloned().collect();
    assert_eq!(behind, map(&expected), "behind the body {came:?}");

    let mut answer = map(&came);
    policy::response(&mut answer);
    let expected = came.iter().filter(|(name, _)| !stays(&came, name));
    let expected: Vec<Field> = expected.cloned().collect();
    assert_eq!(answer, map(&expected), "of the answer {came:?}");
}

fn requested(headers: &HeaderMap, version: Version) -> HeaderMap {
    let mut head = http::Request::new(()).into_parts().0;
    head.version = version;
    head.headers = headers.clone();
    policy::request(&mut head, &Stamps::default());
    head.headers
}

/// What of a request passes, and what is added to it.
fn passes(came: &[Field], version: Version) -> Vec<Field> {
    let no_expect = version == Version::HTTP_10;
    let mut passes: Vec<Field> = came
        .iter()
        .filter(|(name, _)| end_to_end(came, name) && !(no_expect && *name == EXPECT))
        .cloned()
        .collect();
    // HTTP/1 has one field for all cookies.
    let cookies: Vec<_> = all(&passes, &COOKIE).map(HeaderValue::as_bytes).collect();
    if let [_, _, ..] = cookies.as_slice() {
        let whole = HeaderValue::from_bytes(&cookies.join(&b"; "[..])).expect("of values");
        passes.retain(|(name, _)| *name != COOKIE);
        passes.push((COOKIE, whole));
    }
    let via = if version == Version::HTTP_2 {
        "2 wise-auth-proxy"
    } else {
        "1.1 wise-auth-proxy"
    };
    if !all(&passes, &VIA).any(|value| value == via) {
        passes.push((VIA, HeaderValue::from_static(via)));
    }
    if all(&passes, &USER_AGENT).next().is_none() {
        let agent = concat!("wise-auth-proxy/", env!("CARGO_PKG_VERSION"));
        passes.push((USER_AGENT, HeaderValue::from_static(agent)));
    }
    passes
}

/// Whether a field of a request is meant for Wise, and cannot be taken there for one that is not.
fn end_to_end(came: &[Field], name: &HeaderName) -> bool {
    let read_as = name.as_str().replace('_', "-");
    let barred = [&NEVER[..], &TO_US].concat();
    let looks =
        read_as != name.as_str() && (barred.contains(&&*read_as) || read_as == "content-length");
    !stays(came, name) && !TO_US.contains(&name.as_str()) && !looks
}

/// Whether a field concerns this connection only.
fn stays(came: &[Field], name: &HeaderName) -> bool {
    let named = |value: &HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        text.split(',')
            .any(|one| one.trim_matches([' ', '\t']) == name.as_str())
    };
    NEVER.contains(&name.as_str()) || all(came, &CONNECTION).any(named)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn name() -> impl Strategy<Value = String> {
        let known = [
            &NEVER[..],
            &TO_US,
            &NOT_BEHIND,
            &["via", "user-agent", "close"],
        ]
        .concat();
        prop_oneof![
            2 => select(known.clone()).prop_map(str::to_owned),
            1 => select(known).prop_map(|name| name.replace('-', "_")),
            1 => "[a-z][a-z0-9_-]{0,6}",
        ]
    }

    fn line() -> impl Strategy<Value = String> {
        let listed = prop::collection::vec((name(), select(vec![",", ", ", " ,\t", ",,"])), 1..5);
        prop_oneof![
            3 => (name(), "[ -~\u{e9}]{0,12}").prop_map(|(name, value)| format!("{name}: {value}")),
            1 => listed.prop_map(|names| {
                let names = names.into_iter().flat_map(|(name, comma)| [name, comma.to_owned()]);
                format!("Connection: {}", names.collect::<String>())
            }),
            1 => select(vec!["via: 1.1 wise-auth-proxy", "via: 2 wise-auth-proxy"]).prop_map(str::to_owned),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn exactly_what_is_end_to_end_and_not_ours_passes(lines in prop::collection::vec(line(), 0..12)) {
            header_policy(lines.join("\n").as_bytes());
        }
    }
}
