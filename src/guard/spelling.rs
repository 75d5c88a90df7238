//! What beside its path makes a request one that two servers could read differently: an odd method,
//! and the ways in which some frameworks are told another method or path.

use http::HeaderMap;

use crate::guard::path::Decoded;

/// Fields by which some servers take a request for one of another method or path. In some an
/// underscore is as good as a hyphen.
const OVERRIDES: [&str; 5] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// A method that is not all upper-case letters. Methods differ by case (RFC 9110 §9.1), but not for
/// every server.
pub(super) fn odd_method(method: &str) -> Option<&'static str> {
    let is_plain = method.bytes().all(|letter| letter.is_ascii_uppercase());
    (!is_plain).then_some("its method is not all upper-case letters")
}

/// Whether a field asks for another method or path than the request.
pub(crate) fn doubt_in_fields(headers: &HeaderMap) -> Option<&'static str> {
    let overrides = |name: &str| {
        let plain = |letter| if letter == b'_' { b'-' } else { letter };
        // Nearly every field is told by its first letter.
        name.starts_with('x')
            && OVERRIDES
                .iter()
                .any(|it| it.len() == name.len() && name.bytes().map(plain).eq(it.bytes()))
    };
    headers
        .keys()
        .any(|name| overrides(name.as_str()))
        .then_some("a field asks for another method or path")
}

/// Whether the query asks for another method than the request.
pub(crate) fn doubt_in_query(query: Option<&str>) -> Option<&'static str> {
    let overrides = |pair: &str| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        let lower = Decoded::new(name).map(|letter| letter.to_ascii_lowercase());
        lower.eq(*b"_method")
    };
    let mut pairs = query?.split(['&', ';']);
    pairs
        .any(overrides)
        .then_some("its query asks for another method")
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_method_has_upper_case_letters_only() {
        for method in ["GET", "POST", "PROPFIND", "X"] {
            assert_eq!(odd_method(method), None, "{method}");
        }
        for method in ["post", "Post", "POSt", "PO_ST", "POST1", "M-SEARCH"] {
            assert!(odd_method(method).is_some(), "{method}");
        }
    }

    #[test]
    fn a_field_that_asks_for_another_method_or_path_is_seen_however_it_is_written() {
        let doubt = |name: &str| {
            let name: HeaderName = name.parse().unwrap();
            doubt_in_fields(&HeaderMap::from_iter([(
                name,
                HeaderValue::from_static("x"),
            )]))
        };
        for name in [
            "X-HTTP-Method-Override",
            "x-http-method",
            "X-Method-Override",
            "X_HTTP_Method_Override",
            "x_http-method",
            "X-Original-URL",
            "X_Original_Url",
            "x-rewrite-url",
        ] {
            assert!(doubt(name).is_some(), "{name}");
        }
        for name in [
            "x-wise-profile",
            "x-http-methods",
            "http-method",
            "x-original-urn",
        ] {
            assert_eq!(doubt(name), None, "{name}");
        }
    }

    #[test]
    fn a_query_that_asks_for_another_method_is_seen() {
        for query in [
            "_method=DELETE",
            "a=b&_method=put",
            "a=b;_Method",
            "%5fmeth%6Fd=x",
        ] {
            assert!(doubt_in_query(Some(query)).is_some(), "{query}");
        }
        for query in ["", "method=x", "payment_method=_method", "_methods=1"] {
            assert_eq!(doubt_in_query(Some(query)), None, "{query}");
        }
        assert_eq!(doubt_in_query(None), None);
    }
}
