//! Where a request wants to go, and whether that is a place we serve.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri, Version, request};

use crate::config::{Door, DoorAddress, Hosts};
use crate::proxy::fault::Fault;

/// Path and query of a request whose host was found to be ours. Only [`Rules::admit`] makes one.
#[derive(Clone, Debug)]
pub(crate) struct Target(PathAndQuery);

impl Target {
    pub(crate) fn path_and_query(&self) -> &PathAndQuery {
        &self.0
    }

    pub(crate) fn path(&self) -> &str {
        self.0.path()
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.0.query()
    }
}

/// The names a door answers to.
///
/// A web page can make a browser connect to localhost under a name of its own (DNS rebinding), so
/// a request must name a host that only a program configured for us would name.
#[derive(Debug)]
pub(crate) struct Rules {
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Rules {
    pub(crate) fn new(door: &Door, hosts: &Hosts) -> Self {
        let mut names = vec![
            "localhost".to_owned(),
            hosts.plain.host.clone(),
            hosts.mtls.host.clone(),
        ];
        names.extend(hosts.aliases.iter().cloned());
        names.extend(door.hosts.iter().cloned());
        let addresses = match &door.address {
            DoorAddress::Tcp(address) => vec![address.ip()],
            DoorAddress::Unix { .. } => Vec::new(),
        };
        Self { names, addresses }
    }

    /// Checks framing, method, host and origin, and hands out the target.
    ///
    /// Origin-form and absolute-form are accepted (RFC 9112 §3.2.1, §3.2.2); in absolute-form the
    /// target's authority counts and `Host` is ignored, as the RFC wants.
    pub(crate) fn admit(&self, head: &request::Parts) -> Result<Target, Fault> {
        check_framing(&head.headers)?;
        if head.method == Method::CONNECT {
            return Err(Fault::NotAllowed("CONNECT is not offered at this door"));
        }
        if head.method == Method::TRACE {
            return Err(Fault::NotAllowed("TRACE would echo the credential"));
        }
        let host = host(&head.headers, &head.uri, head.version)?;
        if !self.serves(host) {
            let name = printable(host);
            let absolute = head.version < Version::HTTP_2 && head.uri.authority().is_some();
            return Err(if absolute {
                Fault::ForeignTarget(name)
            } else {
                Fault::WrongHost(name)
            });
        }
        self.check_origin(&head.headers)?;
        match head.uri.path_and_query() {
            Some(target) if target.as_str().starts_with('/') => Ok(Target(target.clone())),
            // `http://host?query` has an empty path, which is sent as `/` (RFC 9112 §3.2.1), and
            // which `Display` writes so.
            Some(query) if head.uri.scheme().is_some() => {
                let target = query.to_string().try_into().map_err(|_| NEITHER_FORM)?;
                Ok(Target(target))
            }
            _ => Err(NEITHER_FORM),
        }
    }

    fn serves(&self, host: &str) -> bool {
        let name = without_port(host);
        let bracketed = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        let address = match bracketed {
            Some(name) => name.parse().map(IpAddr::V6),
            None => name.parse().map(IpAddr::V4),
        };
        match address {
            Ok(address) => address.is_loopback() || self.addresses.contains(&address),
            Err(_) => self
                .names
                .iter()
                .any(|ours| ours.eq_ignore_ascii_case(name)),
        }
    }

    /// A program sends no `Origin`; a browser's page does, and must be one of our own hosts.
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Fault> {
        for origin in headers.get_all(ORIGIN) {
            // Of the web alone: `app://localhost` is a page inside some other program.
            let host = origin.to_str().ok().and_then(|origin| {
                origin
                    .strip_prefix("http://")
                    .or_else(|| origin.strip_prefix("https://"))
            });
            if !host.is_some_and(|host| self.serves(host)) {
                return Err(Fault::ForeignOrigin);
            }
        }
        let mut sites = headers.get_all("sec-fetch-site").iter();
        let cross = sites.any(|site| site == "cross-site");
        if cross {
            Err(Fault::ForeignOrigin)
        } else {
            Ok(())
        }
    }
}

const NEITHER_FORM: Fault =
    Fault::BadRequest("the request target is neither origin-form nor absolute-form");

/// `chunked`, once, is the only transfer coding that we undo. Another would be lost on the way, and
/// a list is what two servers may read differently (RFC 9112 §6.1). A length beside it never gets
/// here: hyper drops it and closes the connection after the answer (§6.3).
fn check_framing(headers: &HeaderMap) -> Result<(), Fault> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = codings.next().is_none_or(|coding| {
        coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    });
    if chunked && codings.next().is_none() {
        Ok(())
    } else {
        Err(Fault::BadRequest(
            "the transfer coding is not exactly `chunked`",
        ))
    }
}

/// The authority that the request names.
fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri, version: Version) -> Result<&'a str, Fault> {
    let mut fields = headers.get_all(HOST).iter();
    let field = match fields.next() {
        Some(field) => Some(
            field
                .to_str()
                .map_err(|_| Fault::BadRequest("Host is not a host"))?,
        ),
        None => None,
    };
    if fields.next().is_some() {
        return Err(Fault::BadRequest("there is more than one Host field"));
    }
    match (uri.authority(), field) {
        (Some(authority), field) => {
            if authority.as_str().contains('@') {
                return Err(Fault::BadRequest(
                    "the request target holds user information",
                ));
            }
            if version == Version::HTTP_2 && field.is_some_and(|field| field != authority.as_str())
            {
                return Err(Fault::BadRequest("Host differs from :authority"));
            }
            Ok(authority.as_str())
        }
        (None, Some(field)) => Ok(field),
        (None, None) => Err(Fault::BadRequest("there is no Host field")),
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') =>
        {
            if name.starts_with('[') || !name.contains(':') {
                name
            } else {
                host
            }
        }
        _ => host,
    }
}

/// A host from a request, fit for an error message.
fn printable(host: &str) -> String {
    host.chars()
        .take(80)
        .map(|c| if c.is_ascii_graphic() { c } else { '?' })
        .collect()
}

#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, reason = "a test's helper fails the test")]
pub(crate) fn target_of(path_and_query: &str) -> Target {
    Target(path_and_query.parse().unwrap())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Origin;

    fn rules() -> Rules {
        let origin = |host: &str| Origin {
            host: host.into(),
            port: 443,
            tls: true,
        };
        let hosts = Hosts {
            plain: origin("api.wise.com"),
            mtls: origin("api-mtls.wise.com"),
            aliases: vec!["api-mtls.transferwise.com".into()],
            authorise: String::new(),
            token_url: None,
        };
        let address = SocketAddr::from(([10, 1, 2, 3], 8080));
        let mut door = Door::loopback(address);
        door.hosts = vec!["wise-proxy".into()];
        Rules::new(&door, &hosts)
    }

    fn ask(target: &str, host: Option<&str>, origin: Option<&str>) -> Result<Target, Fault> {
        let mut request = http::Request::builder().uri(target);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        rules().admit(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_door_answers_to_loopback_names_to_wise_and_to_its_own() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "[::1]",
            "api.wise.com",
            "api-mtls.wise.com:443",
            "api-mtls.transferwise.com",
            "wise-proxy:8080",
            "10.1.2.3:8080",
        ] {
            let target = ask("/v1/me?x=1", Some(host), None).unwrap();
            assert_eq!(target.path_and_query(), "/v1/me?x=1", "{host}");
        }
    }

    #[test]
    fn a_name_that_a_page_could_rebind_is_misdirected() {
        for host in [
            "evil.test",
            "localhost.evil.test",
            "10.1.2.4",
            "api.wise.com.evil.test",
            "[::2]",
            "evil.localhost",
            // Not as the grammar writes an address (RFC 3986 §3.2.2).
            "::1",
            "[127.0.0.1]",
            "[[::1]]",
            "127.1",
            "",
        ] {
            let fault = ask("/v1/me", Some(host), None).unwrap_err();
            assert_eq!(
                (fault.status().as_u16(), fault.kind().name()),
                (421, "wrong-host"),
                "{host}"
            );
        }
    }

    #[test]
    fn absolute_form_reaches_wise_only_and_ignores_host() {
        let target = ask("http://api.wise.com/v1/me", Some("evil.test"), None).unwrap();
        assert_eq!(target.path_and_query(), "/v1/me");
        let target = ask("https://api.wise.com/v1/me", None, None).unwrap();
        assert_eq!(target.path_and_query(), "/v1/me");
        let fault = ask("http://169.254.169.254/latest", Some("localhost"), None).unwrap_err();
        assert_eq!(
            (fault.status().as_u16(), fault.kind().name()),
            (403, "wrong-host")
        );
        let fault = ask("http://a:b@api.wise.com/", None, None).unwrap_err();
        assert_eq!(fault.kind().name(), "bad-request");
    }

    #[test]
    fn an_empty_path_is_sent_as_a_slash_and_a_host_alone_is_no_target() {
        for (target, sent) in [
            ("http://api.wise.com", "/"),
            ("http://api.wise.com?x=1", "/?x=1"),
        ] {
            let found = ask(target, None, None).unwrap();
            assert_eq!(found.path_and_query(), sent, "{target}");
        }
        let fault = ask("api.wise.com", Some("localhost"), None).unwrap_err();
        assert_eq!(fault.kind().name(), "bad-request");
    }

    #[test]
    fn a_page_of_another_origin_is_forbidden() {
        for origin in [
            "https://evil.test",
            "null",
            "http://localhost.evil.test:80",
            "app://localhost",
        ] {
            let fault = ask("/v1/me", Some("localhost"), Some(origin)).unwrap_err();
            assert_eq!(
                (fault.status().as_u16(), fault.kind().name()),
                (403, "wrong-host"),
                "{origin}"
            );
        }
        assert!(ask("/v1/me", Some("localhost"), Some("http://localhost:8080")).is_ok());
    }

    #[test]
    fn only_chunked_and_only_once_is_a_transfer_coding() {
        let ask = |codings: &[&str]| {
            let mut request = http::Request::builder().header(HOST, "localhost");
            for coding in codings {
                request = request.header(TRANSFER_ENCODING, *coding);
            }
            rules().admit(&request.body(()).unwrap().into_parts().0)
        };
        for codings in [&[][..], &["chunked"], &["Chunked"]] {
            assert!(ask(codings).is_ok(), "{codings:?}");
        }
        for codings in [
            &["gzip, chunked"][..],
            &["chunked, chunked"],
            &["identity", "chunked"],
            &["chunked", "chunked"],
            &["chunked;x=1"],
            &[""],
        ] {
            let fault = ask(codings).unwrap_err();
            assert_eq!(fault.kind().name(), "bad-request", "{codings:?}");
        }
    }

    #[test]
    fn a_request_without_a_host_is_malformed() {
        assert_eq!(
            ask("/v1/me", None, None).unwrap_err().kind().name(),
            "bad-request"
        );
    }

    proptest! {
        #[test]
        fn no_host_leaves_the_allowlist(host in "[a-z0-9.:\\[\\]@-]{1,40}") {
            if ask("/", Some(&host), None).is_ok() {
                let name = without_port(&host).trim_matches(['[', ']']).to_owned();
                let loopback = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
                let known = ["localhost", "api.wise.com", "api-mtls.wise.com",
                    "api-mtls.transferwise.com", "wise-proxy", "10.1.2.3"];
                prop_assert!(loopback || known.contains(&name.as_str()), "{host}");
            }
        }
    }
}
