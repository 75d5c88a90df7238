//! What holds of every path, however odd: called by the fuzzers and on their kept inputs.

use http::Method;

use super::routes::{CLIENT_ONLY, CredentialKind, oauth_credential, unversioned};

/// Every path gets exactly one credential: the one that a plain reading of the table gives, and
/// the same under every version.
///
/// The input is one byte for the method, then the path.
pub(crate) fn route_table(input: &[u8]) {
    let Some((&method, path)) = input.split_first() else {
        return;
    };
    let Ok(path) = std::str::from_utf8(path) else {
        return;
    };
    let method = &METHODS[usize::from(method) % METHODS.len()];
    let found = oauth_credential(method, path);
    assert_eq!(found, read_plainly(method, path), "{method} {path:?}");
    match unversioned(path) {
        Some(tail) => {
            assert!(path.ends_with(tail) && tail.starts_with('/'), "{path:?}");
            for version in ["v1", "v4", "v12", "2026Q1", "2031Q4"] {
                let other = oauth_credential(method, &format!("/{version}{tail}"));
                assert_eq!(other, found, "{method} {path:?} under {version}");
            }
        }
        None => assert_eq!(found, CredentialKind::User, "{method} {path:?}"),
    }
}

const METHODS: [Method; 8] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
    Method::TRACE,
];

/// The table once more, by lists of segments instead of one pass over the text.
fn read_plainly(method: &Method, path: &str) -> CredentialKind {
    let segments: Vec<&str> = path.split('/').collect();
    let ["", version, tail @ ..] = segments.as_slice() else {
        return CredentialKind::User;
    };
    let listed = is_version(version)
        && CLIENT_ONLY.iter().any(|endpoint| {
            let pattern: Vec<&str> = endpoint.path.split('/').skip(1).collect();
            let methods = endpoint.methods;
            (methods.is_empty() || methods.contains(method)) && covers(&pattern, tail)
        });
    if listed {
        CredentialKind::Client
    } else {
        CredentialKind::User
    }
}

fn covers(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**"], [first, ..]) => !first.is_empty(),
        (["*", pattern @ ..], [one, path @ ..]) => !one.is_empty() && covers(pattern, path),
        ([word, pattern @ ..], [one, path @ ..]) => word == one && covers(pattern, path),
        ([], _) | (_, []) => false,
    }
}

/// `v` and up to three digits, or a year and its quarter.
fn is_version(segment: &str) -> bool {
    let digits = |text: &str| text.chars().all(|letter| letter.is_ascii_digit());
    if let Some(number) = segment.strip_prefix('v') {
        return digits(number) && !number.is_empty() && number.len() <= 3;
    }
    let Some((year, quarter)) = segment.split_once('Q') else {
        return false;
    };
    digits(year) && year.len() == 4 && ["1", "2", "3", "4"].contains(&quarter)
}
