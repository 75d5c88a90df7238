//! Where a request wants to go, and whether that is a place we serve.

use std::net::IpAddr;

use http::header::{HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Uri, Version, request};

use crate::config::{Door, DoorAddress, Hosts};
use crate::proxy::browser;
use crate::proxy::fault::{Fault, NoTunnel};
use crate::proxy::peer::Tunnel;

/// Path and query of a request whose host was found to be ours. Of an application's
/// request only [`Rules::admit`] makes one.
#[derive(Clone, Debug)]
pub(crate) struct Target(PathAndQuery);

impl Target {
    /// The target of a request of our own.
    pub(super) fn of_ours(path_and_query: PathAndQuery) -> Self {
        Self(path_and_query)
    }

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
    /// Ports that a target in absolute-form may name; others are other servers.
    ports: Vec<u16>,
    /// The door's port is the kernel's choice, which the settings do not know.
    any_port: bool,
    /// The door speaks TLS.
    tls: bool,
    /// Hosts and ports of Wise's that CONNECT may name; `None`: the door does not offer it.
    tunnels: Option<(Vec<String>, Vec<u16>)>,
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
        let mut ports = vec![80, 443, hosts.plain.port, hosts.mtls.port];
        let (addresses, any_port) = match &door.address {
            DoorAddress::Tcp(address) => {
                ports.push(address.port());
                (vec![address.ip()], address.port() == 0)
            }
            DoorAddress::Unix { .. } => (Vec::new(), false),
        };
        Self {
            names,
            addresses,
            ports,
            any_port,
            tls: door.tls.is_some(),
            tunnels: door.connect.then(|| {
                let ports = vec![443, hosts.plain.port, hosts.mtls.port];
                (hosts.names(), ports)
            }),
        }
    }

    /// Checks framing, method, host and origin, and hands out the target.
    ///
    /// Origin-form and absolute-form are accepted (RFC 9112 §3.2.1, §3.2.2); in absolute-form the
    /// target's authority counts and `Host` is ignored, as the RFC wants, but must be well-formed.
    /// Inside a tunnel nothing is served but the host that it leads to.
    pub(crate) fn admit(
        &self,
        head: &request::Parts,
        tunnel: Option<&Tunnel>,
    ) -> Result<Target, Fault> {
        check_framing(&head.headers)?;
        if head.version == Version::HTTP_2 {
            check_values(&head.headers)?;
        }
        if tunnel.is_some_and(|tunnel| !self.offers(tunnel)) {
            return Err(Fault::NoTunnel(NoTunnel::Withdrawn));
        }
        if head.method == Method::CONNECT {
            return Err(Fault::NoTunnel(match &self.tunnels {
                None => NoTunnel::NotOffered,
                Some(_) if tunnel.is_some() => NoTunnel::Inside,
                Some(_) if head.version == Version::HTTP_2 => NoTunnel::Http2,
                Some(_) => NoTunnel::Late,
            }));
        }
        if head.method == Method::TRACE {
            return Err(Fault::NotAllowed("TRACE would echo the credential"));
        }
        let host = host(&head.headers, &head.uri, head.version)?;
        if let Some(tunnel) = tunnel
            && !without_port(host).eq_ignore_ascii_case(&tunnel.host)
        {
            return Err(Fault::OutsideTunnel {
                host: printable(host),
                tunnel: tunnel.host.clone(),
            });
        }
        let absolute = head.version < Version::HTTP_2 && head.uri.authority().is_some();
        let port_is_ours = !absolute || head.uri.authority().is_none_or(|host| self.at(host));
        if !self.serves(host) || !port_is_ours {
            let name = printable(host);
            return Err(if absolute {
                Fault::ForeignTarget(name)
            } else {
                Fault::WrongHost(name)
            });
        }
        let secure = self.tls || tunnel.is_some();
        if browser::is_of_another_origin(&head.headers, host)
            || secure && browser::is_of_plain_origin(&head.headers)
        {
            return Err(Fault::ForeignOrigin);
        }
        target(&head.uri, absolute)
    }

    /// Checks a CONNECT and hands out the host of Wise's that it names, in lower case.
    pub(crate) fn admit_tunnel(&self, head: &request::Parts) -> Result<String, Fault> {
        check_framing(&head.headers)?;
        let Some((hosts, ports)) = &self.tunnels else {
            return Err(Fault::NoTunnel(NoTunnel::NotOffered));
        };
        let authority = host(&head.headers, &head.uri, head.version)?;
        // Authority-form, with the port (RFC 9112 §3.2.3).
        let port = head.uri.port_u16();
        let bare = head.uri.scheme().is_none() && head.uri.path_and_query().is_none();
        let (Some(port), true) = (port, bare) else {
            return Err(Fault::BadRequest(
                "the target of CONNECT is not a host and a port",
            ));
        };
        let name = without_port(authority).to_ascii_lowercase();
        if !hosts.contains(&name) || !ports.contains(&port) {
            return Err(Fault::ForeignTarget(printable(authority)));
        }
        if browser::is_of_another_origin(&head.headers, authority) {
            return Err(Fault::ForeignOrigin);
        }
        Ok(name)
    }

    /// Whether a tunnel could be had still. It may have been opened under other settings.
    pub(crate) fn offers(&self, tunnel: &Tunnel) -> bool {
        let tunnels = self.tunnels.as_ref();
        tunnels.is_some_and(|(hosts, _)| hosts.contains(&tunnel.host))
    }

    /// Whether an authority is at a port where we or Wise may be. An application that sends
    /// everything through us means another server by `http://localhost:6379`.
    fn at(&self, authority: &Authority) -> bool {
        let port = authority.port_u16();
        self.any_port || port.is_none_or(|port| self.ports.contains(&port))
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
}

/// Path and query, as they will leave.
fn target(uri: &Uri, absolute: bool) -> Result<Target, Fault> {
    const NO_FORM: Fault =
        Fault::BadRequest("the request target is neither origin-form nor absolute-form");
    if uri.authority().is_some() && uri.scheme().is_none() {
        // Authority-form is for CONNECT alone (RFC 9112 §3.2.3).
        return Err(NO_FORM);
    }
    if let Some(scheme) = uri.scheme()
        && ![Scheme::HTTP, Scheme::HTTPS].contains(scheme)
    {
        return Err(Fault::BadRequest("the request target is no HTTP resource"));
    }
    let Some(target) = uri.path_and_query() else {
        return Err(NO_FORM);
    };
    if !target.as_str().is_ascii() {
        // The `http` crate lets UTF-8 pass; no URI holds it (RFC 3986 §2).
        return Err(Fault::BadRequest(
            "the request target holds bytes beyond ASCII; percent-encode them",
        ));
    }
    if target.as_str().starts_with('/') {
        return Ok(Target(target.clone()));
    }
    if target.as_str().starts_with('?') && absolute {
        // `http://host?query` has an empty path, which is sent as `/` (RFC 9112 §3.2.1).
        let rooted = PathAndQuery::from_maybe_shared(format!("/{}", target.as_str()));
        return rooted.map(Target).map_err(|_| NO_FORM);
    }
    Err(NO_FORM)
}

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

/// HTTP/1's parser trims what surrounds a value; HTTP/2 has nothing to trim (RFC 9113 §8.2.1), so
/// there it is a malformed request.
fn check_values(headers: &HeaderMap) -> Result<(), Fault> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = |value: &[u8]| is_blank(value.first()) || is_blank(value.last());
    if headers.values().any(|value| padded(value.as_bytes())) {
        return Err(Fault::BadRequest(
            "a field's value begins or ends with white space",
        ));
    }
    Ok(())
}

/// The authority that the request names.
fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri, version: Version) -> Result<&'a str, Fault> {
    const NO_HOST: Fault = Fault::BadRequest("there is no Host field");
    const INVALID: Fault = Fault::BadRequest("Host is not a host");
    let mut fields = headers.get_all(HOST).iter();
    let field = match fields.next() {
        Some(field) => Some(field.to_str().map_err(|_| INVALID)?),
        None => None,
    };
    if fields.next().is_some() {
        return Err(Fault::BadRequest("there is more than one Host field"));
    }
    if field.is_some_and(|field| !is_host_and_port(field)) {
        return Err(INVALID);
    }
    match (uri.authority(), field) {
        (Some(authority), field) => {
            if authority.as_str().contains('@') {
                return Err(Fault::BadRequest(
                    "the request target holds user information",
                ));
            }
            if !is_host_and_port(authority.as_str()) {
                return Err(Fault::BadRequest("the request target names no host"));
            }
            if version == Version::HTTP_2 && field.is_some_and(|field| field != authority.as_str())
            {
                return Err(Fault::BadRequest("Host differs from :authority"));
            }
            // Absolute-form spares nobody the field (RFC 9112 §3.2).
            if version == Version::HTTP_11 && field.is_none() {
                return Err(NO_HOST);
            }
            Ok(authority.as_str())
        }
        (None, Some(field)) => Ok(field),
        (None, None) => Err(NO_HOST),
    }
}

/// Whether a text is `uri-host [ ":" port ]` (RFC 9110 §7.2). It may be empty.
fn is_host_and_port(text: &str) -> bool {
    let (host, port) = match text.rfind(':') {
        Some(at) if !text[at..].contains(']') => (&text[..at], &text[at + 1..]),
        _ => (text, ""),
    };
    let is_host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal.is_some_and(|literal| {
            let is_literal = |byte: u8| byte.is_ascii_alphanumeric() || b".:%-_~".contains(&byte);
            !literal.is_empty() && literal.bytes().all(is_literal)
        }),
        None => host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(&byte)),
    };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_host && (port.is_empty() || is_port)
}

/// A host of an authority without its port.
pub(crate) fn without_port(host: &str) -> &str {
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

#[cfg(any(test, feature = "fuzzing"))]
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

    fn ask(target: &str, host: Option<&str>) -> Result<Target, Fault> {
        let mut request = http::Request::builder().uri(target);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        rules().admit(&request.body(()).unwrap().into_parts().0, None)
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
            let target = ask("/v1/me?x=1", Some(host)).unwrap();
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
            "[127.0.0.1]",
            "127.1",
            "",
        ] {
            let fault = ask("/v1/me", Some(host)).unwrap_err();
            assert_eq!(
                (fault.status().as_u16(), fault.kind().name()),
                (421, "wrong-host"),
                "{host}"
            );
        }
    }

    #[test]
    fn absolute_form_reaches_wise_only_and_ignores_host() {
        for target in [
            "http://api.wise.com/v1/me",
            "https://api.wise.com:443/v1/me",
        ] {
            let target = ask(target, Some("evil.test")).unwrap();
            assert_eq!(target.path_and_query(), "/v1/me");
        }
        let target = ask("http://localhost:8080?x=1", Some("localhost")).unwrap();
        assert_eq!(
            target.path_and_query(),
            "/?x=1",
            "an empty path is sent as /"
        );
        for target in [
            "http://169.254.169.254/latest",
            "http://localhost:6379/",
            "http://api.wise.com:8443/v1/me",
        ] {
            let fault = ask(target, Some("localhost")).unwrap_err();
            assert_eq!(
                (fault.status().as_u16(), fault.kind().name()),
                (403, "wrong-host"),
                "{target}"
            );
        }
        for (target, host) in [
            ("http://a:b@api.wise.com/", Some("localhost")),
            ("ftp://api.wise.com/", Some("localhost")),
            ("api.wise.com:443", Some("localhost")),
            ("https://api.wise.com/v1/me", None),
            ("https://api.wise.com/v1/me", Some("not a host")),
        ] {
            let fault = ask(target, host).unwrap_err();
            assert_eq!(fault.kind().name(), "bad-request", "{target} {host:?}");
        }
    }

    #[test]
    fn a_host_that_is_none_is_malformed() {
        for host in [
            "a b",
            "localhost/x",
            "localhost, localhost",
            "localhost:x",
            "user@localhost",
            "[::1",
            "[]:80",
            "localhost:80:80",
            "localhost:65536",
        ] {
            let fault = ask("/v1/me", Some(host)).unwrap_err();
            assert_eq!(fault.kind().name(), "bad-request", "{host}");
        }
    }

    #[test]
    fn a_target_beyond_ascii_is_malformed() {
        let fault = ask("/v1/\u{e9}", Some("localhost")).unwrap_err();
        assert_eq!(fault.kind().name(), "bad-request");
    }

    #[test]
    fn a_value_with_white_space_around_it_is_malformed_over_http2() {
        for (value, welcome) in [("a b", true), (" a", false), ("a\t", false)] {
            let request = http::Request::builder().version(Version::HTTP_2);
            let request = request.uri("http://localhost/").header("x", value);
            let admitted = rules().admit(&request.body(()).unwrap().into_parts().0, None);
            assert_eq!(admitted.is_ok(), welcome, "{value:?}");
        }
    }

    #[test]
    fn only_chunked_and_only_once_is_a_transfer_coding() {
        let ask = |codings: &[&str]| {
            let mut request = http::Request::builder().header(HOST, "localhost");
            for coding in codings {
                request = request.header(TRANSFER_ENCODING, *coding);
            }
            rules().admit(&request.body(()).unwrap().into_parts().0, None)
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
            ask("/v1/me", None).unwrap_err().kind().name(),
            "bad-request"
        );
    }

    proptest! {
        #[test]
        fn no_host_leaves_the_allowlist(host in "[a-z0-9.:\\[\\]@-]{1,40}") {
            if ask("/", Some(&host)).is_ok() {
                let name = without_port(&host).trim_matches(['[', ']']).to_owned();
                let loopback = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
                let known = ["localhost", "api.wise.com", "api-mtls.wise.com",
                    "api-mtls.transferwise.com", "wise-proxy", "10.1.2.3"];
                prop_assert!(loopback || known.contains(&name.as_str()), "{host}");
            }
        }
    }
}
