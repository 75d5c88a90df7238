//! From a URL as typed to an origin.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::Uri;

use super::Origin;

impl Origin {
    /// Whether the host is this machine by its name or address.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, tls } = self;
        let (scheme, usual) = if *tls { ("https", 443) } else { ("http", 80) };
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]")?;
        } else {
            write!(f, "{scheme}://{host}")?;
        }
        if *port == usual {
            return Ok(());
        }
        write!(f, ":{port}")
    }
}

/// Origin, and path with query. Refuses user information, which would end up in logs, fragments,
/// and every scheme but `http` and `https`.
pub(crate) fn parse(text: &str) -> Option<(Origin, String)> {
    if text.contains('#') {
        return None;
    }
    let uri: Uri = text.parse().ok()?;
    let tls = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let authority = uri.authority()?;
    if authority.as_str().contains('@') {
        return None;
    }
    let host = authority.host();
    let host = match host
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
    {
        Some(inner) => inner.parse::<Ipv6Addr>().ok()?.to_string(),
        None if is_host(host) => host.to_ascii_lowercase(),
        None => return None,
    };
    let port = match authority.as_str().get(authority.host().len()..)? {
        "" if tls => 443,
        "" => 80,
        rest => rest
            .strip_prefix(':')?
            .parse()
            .ok()
            .filter(|&port| port != 0)?,
    };
    let path = uri
        .path_and_query()
        .map_or_else(|| "/".to_owned(), ToString::to_string);
    Some((Origin { host, port, tls }, path))
}

/// Whether the text is a DNS name or an IPv4 address (RFC 1123 §2.1).
pub(super) fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_origin_and_path() {
        for (text, host, port, tls, path) in [
            ("https://api.wise.com", "api.wise.com", 443, true, "/"),
            ("https://API.wise.com/", "api.wise.com", 443, true, "/"),
            ("https://a:8443/oauth?x=1", "a", 8443, true, "/oauth?x=1"),
            ("http://[::1]:80/t", "::1", 80, false, "/t"),
            ("http://127.0.0.1", "127.0.0.1", 80, false, "/"),
        ] {
            let (origin, found) = parse(text).unwrap();
            let wanted = Origin {
                host: host.to_owned(),
                port,
                tls,
            };
            assert_eq!((origin, found.as_str()), (wanted, path), "{text}");
        }
    }

    #[test]
    fn what_is_no_plain_url_is_refused() {
        for text in [
            "",
            "api.wise.com",
            "ftp://api.wise.com",
            "https://user:password@api.wise.com",
            "https://api.wise.com:0",
            "https://api.wise.com:",
            "https://api.wise.com:99999",
            "https://api..wise.com",
            "https://-api.wise.com",
            "https://api.wise.com/#x",
            "https:///x",
            "https://[::1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
