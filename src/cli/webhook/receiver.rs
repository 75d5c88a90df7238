//! Which URLs Wise delivers to.

use std::net::IpAddr;

use anyhow::anyhow;

use super::super::failure::{Exit, Failure};
use crate::config::Environment;

/// What is wrong with a receiver's URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum Unfit {
    #[error("is no URL")]
    NoUrl,
    #[error("does not begin with https://")]
    NotHttps,
    #[error("has a user name or a password")]
    Credentials,
    #[error("has a query")]
    Query,
    #[error("has a fragment")]
    Fragment,
    #[error("has an IP address in the place of a domain name")]
    Address,
    #[error("has no domain name that everybody can look up")]
    NoDomain,
    #[error("names a port other than 443")]
    Port,
}

/// Checks a URL by Wise's rules. On this machine a simulator of a custom environment may listen:
/// what it takes is its own affair.
pub(super) fn check(url: &str, environment: Environment) -> Result<(), Failure> {
    let Err(unfit) = judge(url) else {
        return Ok(());
    };
    if environment == Environment::Custom && is_here(url) {
        return Ok(());
    }
    // The URL is not repeated: what is wrong with it may be the password in it.
    let hint = match unfit {
        Unfit::Credentials => {
            "Wise sends no credentials to a receiver: its signature says whose a delivery is"
        }
        Unfit::Query | Unfit::Fragment => "tell receivers apart by their paths",
        Unfit::Port => "have port 443 forwarded to the receiver",
        Unfit::Address | Unfit::NoDomain => {
            "give the receiver a public domain name, and a certificate of a public authority"
        }
        Unfit::NoUrl | Unfit::NotHttps => "write it as https://hooks.example.com/wise",
    };
    Err(Failure::new(
        Exit::Usage,
        anyhow!("the URL {unfit}: Wise does not deliver there"),
    )
    .hint(hint))
}

fn judge(url: &str) -> Result<(), Unfit> {
    let printable = |byte: u8| byte.is_ascii_graphic();
    if url.is_empty() || !url.bytes().all(printable) || url.contains(['\\', '"', '<', '>', '`']) {
        return Err(Unfit::NoUrl);
    }
    let (scheme, rest) = url.split_once("://").ok_or(Unfit::NoUrl)?;
    if !scheme.eq_ignore_ascii_case("https") {
        return Err(Unfit::NotHttps);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // First: whatever else is wrong, this is not for anybody's logs.
    if authority.contains('@') {
        return Err(Unfit::Credentials);
    }
    if path.contains('#') {
        return Err(Unfit::Fragment);
    }
    if path.contains('?') {
        return Err(Unfit::Query);
    }
    if authority.starts_with('[') {
        return Err(Unfit::Address);
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    if is_address(host) {
        return Err(Unfit::Address);
    }
    if !is_domain(host) {
        return Err(Unfit::NoDomain);
    }
    match port {
        None | Some("443") => Ok(()),
        Some(_) => Err(Unfit::Port),
    }
}

/// A name whose last label is a number is an IPv4 address to everybody who reads URLs (WHATWG,
/// "ends in a number"), also as `127.1` or `0x7f000001`.
fn is_address(host: &str) -> bool {
    let last = host
        .trim_end_matches('.')
        .rsplit('.')
        .next()
        .unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_number = |text: &str, of: fn(&u8) -> bool| text.bytes().all(|byte| of(&byte));
    host.parse::<IpAddr>().is_ok()
        || !last.is_empty() && is_number(last, u8::is_ascii_digit)
        || hexadecimal.is_some_and(|digits| is_number(digits, u8::is_ascii_hexdigit))
}

/// RFC 1123 §2.1, with a dot.
fn is_domain(host: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.contains('.') && host.split('.').all(label)
}

/// On loopback, without what would be wrong everywhere.
fn is_here(url: &str) -> bool {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest.filter(|rest| !rest.contains(['@', '?', '#', '\\'])) else {
        return false;
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        Some(_) | None => authority,
    };
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

/// Whether two URLs lead to the same receiver, however they are spelled.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    plain(one) == plain(other)
}

fn plain(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
    let authority = match scheme.as_str() {
        "https" => authority.strip_suffix(":443").unwrap_or(&authority),
        _ => &authority,
    };
    let path = if path.is_empty() { "/" } else { path };
    format!("{scheme}://{authority}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_wise_delivers_to_passes() {
        for url in [
            "https://hooks.example.com/wise",
            "https://hooks.example.com",
            "https://hooks.example.com:443/",
            "HTTPS://Hooks.Example.com/a/b:c@d",
            "https://xn--bcher-kva.example/wise",
            "https://1hooks.example.com/",
        ] {
            assert_eq!(judge(url), Ok(()), "{url}");
        }
        for (url, unfit) in [
            ("", Unfit::NoUrl),
            ("hooks.example.com/wise", Unfit::NoUrl),
            ("https://hooks.example.com/a b", Unfit::NoUrl),
            ("https://bücher.example/", Unfit::NoUrl),
            ("https://hooks.example.com\\@evil.example/", Unfit::NoUrl),
            ("http://hooks.example.com/", Unfit::NotHttps),
            ("ftp://hooks.example.com/", Unfit::NotHttps),
            ("https://user@hooks.example.com/", Unfit::Credentials),
            ("https://user:pass@hooks.example.com/?q", Unfit::Credentials),
            ("https://hooks.example.com/?a=b", Unfit::Query),
            ("https://hooks.example.com?", Unfit::Query),
            ("https://hooks.example.com/#a", Unfit::Fragment),
            ("https://192.0.2.1/", Unfit::Address),
            ("https://192.0.2.1:443/", Unfit::Address),
            ("https://[2001:db8::1]/", Unfit::Address),
            ("https://127.1/", Unfit::Address),
            ("https://0x7f000001/", Unfit::Address),
            ("https://2130706433/", Unfit::Address),
            ("https://a.b.0x7f/", Unfit::Address),
            ("https://localhost/", Unfit::NoDomain),
            ("https:///wise", Unfit::NoDomain),
            ("https://-a.example/", Unfit::NoDomain),
            ("https://hooks..example/", Unfit::NoDomain),
            ("https://hooks.example.com:8443/", Unfit::Port),
            ("https://hooks.example.com:/", Unfit::Port),
            ("https://hooks.example.com:0443/", Unfit::Port),
        ] {
            assert_eq!(judge(url), Err(unfit), "{url}");
        }
    }

    #[test]
    fn this_machine_is_a_receiver_of_a_custom_environment_alone() {
        for here in [
            "https://localhost:8443/hook",
            "http://127.0.0.1:9000/",
            "https://[::1]/",
        ] {
            assert!(check(here, Environment::Custom).is_ok(), "{here}");
            assert!(check(here, Environment::Production).is_err(), "{here}");
            assert!(check(here, Environment::Sandbox).is_err(), "{here}");
        }
        for beyond in [
            "http://127.0.0.1@evil.example/",
            "http://127.0.0.1/?a",
            "https://10.0.0.1/",
        ] {
            assert!(check(beyond, Environment::Custom).is_err(), "{beyond}");
        }
    }

    #[test]
    fn a_refusal_does_not_repeat_a_password() {
        let url = "https://user:hunter2@hooks.example.com/";
        let failure = check(url, Environment::Production).unwrap_err();
        assert!(!format!("{failure:?}").contains("hunter2"));
    }

    #[test]
    fn receivers_are_told_apart_by_where_they_are() {
        let url = "https://hooks.example.com/wise";
        assert!(is_same(url, "HTTPS://Hooks.example.com:443/wise"));
        assert!(is_same("https://a.example", "https://a.example/"));
        for other in [
            "https://hooks.example.com/Wise",
            "https://hooks.example.com/wise/",
            "https://hooks.example.com:8443/wise",
            "http://hooks.example.com/wise",
        ] {
            assert!(!is_same(url, other), "{other}");
        }
    }
}
