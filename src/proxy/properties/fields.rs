use http::header::{AUTHORIZATION, CONNECTION, USER_AGENT, VIA};
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

/// Of a request passes exactly what is neither hop-by-hop, nor named by `Connection`, nor ours;
/// what leaves has one `Authorization`, which is ours; a second pass changes nothing. Of an answer
/// passes what is not hop-by-hop.
///
/// The input is lines `name: value`. An odd number of bytes makes it a request of HTTP/2.
pub fn header_policy(input: &[u8]) {
    let came = fields(input.split(|byte| *byte == b'\n'));
    let http2 = input.len() % 2 == 1;

    let left = requested(&map(&came), http2);
    let mut expected: Vec<_> = came
        .iter()
        .filter(|(name, _)| !stays(&came, name) && !TO_US.contains(&name.as_str()))
        .cloned()
        .collect();
    let via = if http2 {
        "2 wise-auth-proxy"
    } else {
        "1.1 wise-auth-proxy"
    };
    if !all(&expected, &VIA).any(|value| value == via) {
        expected.push((VIA, HeaderValue::from_static(via)));
    }
    if all(&expected, &USER_AGENT).next().is_none() {
        let agent = concat!("wise-auth-proxy/", env!("CARGO_PKG_VERSION"));
        expected.push((USER_AGENT, HeaderValue::from_static(agent)));
    }
    assert_eq!(left, map(&expected), "of {came:?}");
    assert_eq!(requested(&left, http2), left, "a second pass of {came:?}");

    let mut leaving = left.clone();
    policy::credential(&mut leaving, HeaderValue::from_static("Bearer ours"));
    let shown: Vec<_> = leaving.get_all(AUTHORIZATION).iter().collect();
    assert_eq!(shown, ["Bearer ours"]);
    leaving.remove(AUTHORIZATION);
    assert_eq!(leaving, left, "the credential pushed something out");

    let mut answer = map(&came);
    policy::response(&mut answer);
    let expected: Vec<_> = came
        .iter()
        .filter(|(name, _)| !stays(&came, name))
        .cloned()
        .collect();
    assert_eq!(answer, map(&expected), "of the answer {came:?}");
}

fn requested(headers: &HeaderMap, http2: bool) -> HeaderMap {
    let mut head = http::Request::new(()).into_parts().0;
    head.version = if http2 {
        Version::HTTP_2
    } else {
        Version::HTTP_11
    };
    head.headers = headers.clone();
    policy::request(&mut head, &Stamps::default());
    head.headers
}

/// Whether a field concerns this connection only.
fn stays(came: &[(HeaderName, HeaderValue)], name: &HeaderName) -> bool {
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
            &["via", "user-agent", "cookie", "content-length", "close"],
        ];
        prop_oneof![
            2 => select(known.concat()).prop_map(str::to_owned),
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
