//! Whether a web page sent a request. Programs are welcome, pages are not: a page of anybody's can
//! make the browser of somebody on this machine call us.

use http::header::ORIGIN;
use http::{HeaderMap, HeaderValue};

/// Whether a browser says that the request comes from a page of another origin than `host`, the
/// authority that the request names.
///
/// A program sends neither field. `Origin` must be ours to the port, for whoever serves another
/// port of this machine is somebody else. `Sec-Fetch-Site` may say `none` (a person typed the
/// address) or `same-origin`; what it may say one day, we refuse.
pub(crate) fn is_of_another_origin(headers: &HeaderMap, host: &str) -> bool {
    // A look at each name costs less than a search for each of the two.
    headers.iter().any(|(name, value)| match name.as_str() {
        "origin" => !is_origin_of(value, host),
        "sec-fetch-site" => !matches!(value.as_bytes(), b"none" | b"same-origin"),
        _ => false,
    })
}

/// Whether an `Origin` is the web's at `host`: `app://localhost` is a page inside some other program.
fn is_origin_of(origin: &HeaderValue, host: &str) -> bool {
    let authority = origin.to_str().ok().and_then(|text| {
        let plain = text.strip_prefix("http://");
        plain.or_else(|| text.strip_prefix("https://"))
    });
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// Whether the page came without TLS: where we speak TLS, such a page is of another origin,
/// whatever host it says.
pub(crate) fn is_of_plain_origin(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    origins.any(|origin| !origin.as_bytes().starts_with(b"https://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(fields: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        is_of_another_origin(&headers, "localhost:8080")
    }

    #[test]
    fn a_program_and_a_page_of_our_own_are_welcome() {
        for fields in [
            &[][..],
            &[("origin", "http://localhost:8080")],
            &[("origin", "http://LOCALHOST:8080")],
            &[("sec-fetch-site", "none")],
            &[
                ("sec-fetch-site", "same-origin"),
                ("origin", "http://localhost:8080"),
            ],
        ] {
            assert!(!foreign(fields), "{fields:?}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_foreign() {
        for fields in [
            &[("origin", "https://evil.test")][..],
            &[("origin", "null")],
            &[("origin", "")],
            &[("origin", "http://localhost:3000")],
            &[("origin", "app://localhost:8080")],
            &[("origin", "http://localhost")],
            &[("origin", "http://localhost:8080.evil.test")],
            &[("origin", "https://api.wise.com")],
            &[
                ("origin", "http://localhost:8080"),
                ("origin", "https://evil.test"),
            ],
            &[("origin", "http://localhost:8080 https://evil.test")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "Same-Origin")],
            &[("sec-fetch-site", "something-new")],
            &[
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-site", "cross-site"),
            ],
        ] {
            assert!(foreign(fields), "{fields:?}");
        }
    }
}
