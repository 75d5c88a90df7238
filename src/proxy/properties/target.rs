use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HOST, ORIGIN, PROXY_AUTHORIZATION, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method, Uri, Version, request};

use super::{all, fields, map, untrimmed};
use crate::config::{self, Hosts, KeyHash, Origin};
use crate::guard::{self, Callers};
use crate::proxy::door::Door;
use crate::proxy::fault::Fault;
use crate::proxy::peer::Peer;
use crate::proxy::target::Target;

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A door lets in exactly the requests that a plain reading of the RFCs and of its names lets in,
/// and hands on path and query byte for byte.
///
/// The input is a head as HTTP/1.1 writes it, with line breaks of one byte; `HTTP/2` at the end of
/// its first line makes it one of HTTP/2.
pub(crate) fn request_target(input: &[u8]) {
    let Some(head) = Head::read(input) else {
        return;
    };
    let expected = head.target();
    let parts = head.parts();
    let found = admitted(&OPEN, &parts);
    match (&expected, &found) {
        (Some(expected), Ok(target)) => {
            let passed = target.path_and_query().as_str();
            assert_eq!(passed.as_bytes(), expected, "path and query changed");
            let hostile = |byte: u8| byte <= b' ' || byte == 0x7f;
            assert!(!passed.bytes().any(hostile), "{passed:?} breaks a line");
        }
        (None, Err(fault)) => {
            assert!([400, 403, 421].contains(&fault.status().as_u16()));
            let document: serde_json::Value =
                serde_json::from_slice(&fault.document()).expect("a problem document is JSON");
            let detail = document["detail"].as_str().expect("a text");
            assert!(detail.bytes().all(|byte| (b' '..0x7f).contains(&byte)));
        }
        (Some(_), Err(fault)) => panic!("refused, and is well-formed and ours: {fault}"),
        (None, Ok(target)) => panic!("let in to {target:?}, which nothing names"),
    }

    let keyed = admitted(&KEYED, &parts).is_ok();
    assert_eq!(keyed, expected.is_some() && head.shows_key(), "the key");
}

fn admitted(door: &Door, parts: &request::Parts) -> Result<Target, Fault> {
    let admitted = door.admit(parts, &Peer::local(), &CALLERS, SystemTime::UNIX_EPOCH);
    admitted.map(|(target, _)| target)
}

const KEY: &str = "open sesame";

/// Names that the doors answer to, besides loopback ones.
const NAMES: [&str; 4] = [
    "api.wise.com",
    "api-mtls.wise.com",
    "api-mtls.transferwise.com",
    "wise-proxy",
];
/// Ports where we or Wise may be.
const PORTS: [u16; 3] = [80, 443, 8080];
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);

static CALLERS: LazyLock<Callers> = LazyLock::new(|| {
    let caller = config::Caller {
        name: CALLER.into(),
        key: None,
        hashes: vec![KeyHash {
            digest: guard::digest(KEY.as_bytes()),
            until: None,
        }],
        users: Vec::new(),
        groups: Vec::new(),
        certificates: Vec::new(),
        policy: None,
    };
    Callers::read(&[caller]).expect("a caller that needs no look-up")
});
static OPEN: LazyLock<Door> = LazyLock::new(|| door(None));
static KEYED: LazyLock<Door> = LazyLock::new(|| door(Some(CALLER)));

const CALLER: &str = "payroll";

fn door(caller: Option<&str>) -> Door {
    let origin = |host: &str| Origin {
        host: host.into(),
        port: 443,
        tls: true,
    };
    let [plain, mtls, alias, own] = NAMES;
    let hosts = Hosts {
        plain: origin(plain),
        mtls: origin(mtls),
        aliases: vec![alias.into()],
        authorise: String::new(),
        token_url: None,
    };
    let config = config::Door {
        hosts: vec![own.into()],
        callers: caller.map(|name| vec![name.to_owned()]),
        ..config::Door::loopback(SocketAddr::from((ADDRESS, 8080)))
    };
    Door::new(&config, &hosts, &CALLERS, None)
}

/// A head as written, beside what hyper's parsers make of it.
struct Head<'a> {
    method: Method,
    target: &'a [u8],
    uri: Uri,
    version: Version,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl<'a> Head<'a> {
    /// `None` for what never reaches a door, because it does not parse.
    fn read(input: &'a [u8]) -> Option<Self> {
        let mut lines = input.split(|byte| *byte == b'\n');
        let mut words = lines.next()?.split(|byte| *byte == b' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() {
            return None;
        }
        Some(Self {
            method: Method::from_bytes(method).ok()?,
            target,
            uri: Uri::try_from(target).ok()?,
            version: match version {
                b"HTTP/1.1" => Version::HTTP_11,
                b"HTTP/2" => Version::HTTP_2,
                _ => return None,
            },
            fields: if version == b"HTTP/2" {
                untrimmed(lines)
            } else {
                fields(lines)
            },
        })
    }

    fn parts(&self) -> request::Parts {
        let mut parts = http::Request::new(()).into_parts().0;
        parts.method = self.method.clone();
        parts.uri = self.uri.clone();
        parts.version = self.version;
        parts.headers = map(&self.fields);
        parts
    }

    /// Path and query to be forwarded; `None` where the request must be refused.
    fn target(&self) -> Option<Vec<u8>> {
        if self.method == Method::CONNECT || self.method == Method::TRACE {
            return None;
        }
        let padded = |value: &HeaderValue| value.as_bytes() != value.as_bytes().trim_ascii();
        if self.version == Version::HTTP_2 && self.fields.iter().any(|(_, value)| padded(value)) {
            return None;
        }
        let codings: Vec<_> = all(&self.fields, &TRANSFER_ENCODING).collect();
        if !matches!(codings.as_slice(), [] | [_])
            || codings
                .iter()
                .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        {
            return None;
        }
        // What stands behind `#` never leaves, nor is it looked at (RFC 9112 §3.2).
        let target = self.target.split(|byte| *byte == b'#').next()?;
        let target = std::str::from_utf8(target)
            .ok()
            .filter(|text| text.is_ascii())?;
        let hosts: Vec<&str> = all(&self.fields, &HOST)
            .map(|host| host.to_str().ok().filter(|host| port(host).is_some()))
            .collect::<Option<_>>()?;
        let field = match hosts.as_slice() {
            [] => None,
            [host] => Some(*host),
            [_, _, ..] => return None,
        };

        let (host, rest) = if target.starts_with('/') {
            (field?, target)
        } else {
            let (scheme, behind) = target.split_once("://")?;
            if !["http", "https"]
                .iter()
                .any(|known| scheme.eq_ignore_ascii_case(known))
            {
                return None;
            }
            let end = behind.find(['/', '?']).unwrap_or(behind.len());
            let (authority, rest) = behind.split_at(end);
            let named = port(authority)?;
            if self.version == Version::HTTP_2 {
                if field.is_some_and(|field| field != authority) || rest.starts_with('?') {
                    return None;
                }
            } else {
                // The field is a must, and another port is another server.
                field?;
                if !named.is_empty() && !PORTS.contains(&named.parse().ok()?) {
                    return None;
                }
            }
            (authority, rest)
        };
        let slash = if rest.starts_with('/') { "" } else { "/" };
        (ours(host) && self.is_no_page_but_of(host)).then(|| format!("{slash}{rest}").into_bytes())
    }

    /// Whether the request comes from a program, or from a page that we are the origin of.
    fn is_no_page_but_of(&self, host: &str) -> bool {
        let own = |origin: &HeaderValue| {
            let same = |scheme: &str| format!("{scheme}://{}", host.to_ascii_lowercase());
            let (scheme, rest) = origin.to_str().ok()?.split_once("://")?;
            let origin = format!("{scheme}://{}", rest.to_ascii_lowercase());
            Some(origin == same("http") || origin == same("https"))
        };
        all(&self.fields, &ORIGIN).all(|origin| own(origin) == Some(true))
            && all(&self.fields, &SEC_FETCH_SITE)
                .all(|site| site == "none" || site == "same-origin")
    }

    fn shows_key(&self) -> bool {
        let shows = |value: &HeaderValue| {
            let value = value.as_bytes();
            let Some(space) = value.iter().position(|byte| *byte == b' ') else {
                return false;
            };
            let (scheme, shown) = (&value[..space], value[space..].trim_ascii());
            if scheme.eq_ignore_ascii_case(b"bearer") {
                shown == KEY.as_bytes()
            } else if scheme.eq_ignore_ascii_case(b"basic") {
                let pair = STANDARD.decode(shown).unwrap_or_default();
                let colon = pair.iter().position(|byte| *byte == b':');
                colon.is_some_and(|colon| match (&pair[..colon], &pair[colon + 1..]) {
                    (user, b"") => user == KEY.as_bytes(),
                    (_, password) => password == KEY.as_bytes(),
                })
            } else {
                false
            }
        };
        [PROXY_AUTHORIZATION, AUTHORIZATION]
            .iter()
            .any(|name| all(&self.fields, name).any(shows))
    }
}

/// The port of `uri-host [ ":" port ]` (RFC 9110 §7.2), perhaps empty; `None` for any other text.
fn port(text: &str) -> Option<&str> {
    let (host, behind, marks) = if let Some(rest) = text.strip_prefix('[') {
        let (literal, behind) = rest.split_once(']')?;
        (literal, behind, ".:%-_~")
    } else {
        let (host, behind) = text.split_at(text.find(':').unwrap_or(text.len()));
        (host, behind, "-._~%!$&'()*+;=")
    };
    let fits = |letter: char| letter.is_ascii_alphanumeric() || marks.contains(letter);
    let is_host = host.chars().all(fits) && !(text.starts_with('[') && host.is_empty());
    let port = match behind {
        "" => "",
        behind => behind.strip_prefix(':')?,
    };
    let digits = port.chars().all(|letter| letter.is_ascii_digit());
    let number = port.is_empty() || port.parse::<u16>().is_ok();
    (is_host && digits && number).then_some(port)
}

/// Whether a host is one of our names or addresses, whatever its port.
fn ours(host: &str) -> bool {
    let is_ours = |address: IpAddr| address.is_loopback() || address == IpAddr::V4(ADDRESS);
    if let Some(literal) = host.strip_prefix('[') {
        let literal = literal.split(']').next().unwrap_or_default();
        return literal
            .parse()
            .is_ok_and(|address: Ipv6Addr| is_ours(address.into()));
    }
    let name = host.split(':').next().unwrap_or_default();
    let mut names = NAMES.into_iter().chain(["localhost"]);
    names.any(|known| known.eq_ignore_ascii_case(name))
        || name
            .parse()
            .is_ok_and(|address: Ipv4Addr| is_ours(address.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// A host with a port, ours or nearly so.
    fn host() -> impl Strategy<Value = String> {
        let names = vec![
            "localhost",
            "LocalHost",
            "127.0.0.1",
            "127.1",
            "0x7f.0.0.1",
            "10.1.2.3",
            "10.1.2.4",
            "[::1]",
            "::1",
            "[::1",
            "[[::1]]",
            "[127.0.0.1]",
            "[::ffff:127.0.0.1]",
            "[::1%25lo]",
            "api.wise.com",
            "API.wise.com",
            "api.wise.com.",
            "api.wise.com.evil.test",
            "evil.test",
            "localhost@evil.test",
            "evil.test@localhost",
            "wise-proxy",
            "",
            "*",
            "169.254.169.254",
            "api.wise.com,evil.test",
            "localhost\u{e9}",
        ];
        let ports = vec!["", ":8080", ":", ":443", ":0", ":x", ":80:80", ":99999"];
        (select(names), select(ports)).prop_map(|(name, port)| format!("{name}{port}"))
    }

    fn path() -> impl Strategy<Value = String> {
        let begins = select(vec!["/", "", "//", "/../", "/%2e%2e/", "*", "?", "/v1/"]);
        let rest = "[a-z0-9/?#%&=.;:@\\\\\"{}|~\u{e9}-]{0,12}";
        (begins, rest).prop_map(|(begins, rest)| format!("{begins}{rest}"))
    }

    fn target() -> impl Strategy<Value = String> {
        let schemes = select(vec![
            "http://", "https://", "HTTP://", "hTTps://", "ftp://", "//", "",
        ]);
        prop_oneof![
            3 => path(),
            2 => (schemes, host(), path()).prop_map(|(scheme, host, path)| format!("{scheme}{host}{path}")),
        ]
    }

    fn line() -> impl Strategy<Value = String> {
        let origins = select(vec![
            "http://",
            "https://",
            "null",
            "app://",
            "https://x@",
            "",
        ]);
        let codings = vec![
            "chunked",
            "Chunked",
            "gzip, chunked",
            "chunked, chunked",
            "",
            "identity",
        ];
        let sites = vec!["cross-site", "same-origin", "none"];
        let keys = vec![
            "Bearer open sesame",
            "bearer  open sesame ",
            "Bearer wrong",
            "Basic !",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "Basic b3BlbiBzZXNhbWU=",
            "Basic b3BlbiBzZXNhbWU6",
            "Basic b3BlbiBzZXNhbWU6eA==",
            "open sesame",
        ];
        prop_oneof![
            4 => host().prop_map(|host| format!("host: {host}")),
            1 => (origins, host()).prop_map(|(scheme, host)| format!("origin: {scheme}{host}")),
            1 => select(codings).prop_map(|coding| format!("transfer-encoding: {coding}")),
            1 => select(sites).prop_map(|site| format!("sec-fetch-site: {site}")),
            1 => select(keys.clone()).prop_map(|key| format!("authorization: {key}")),
            1 => select(keys).prop_map(|key| format!("proxy-authorization: {key}")),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn a_door_lets_in_what_the_rfcs_and_its_names_let_in(
            method in select(vec!["GET", "HEAD", "POST", "OPTIONS", "DELETE", "CONNECT", "TRACE"]),
            target in target(),
            version in select(vec!["HTTP/1.1", "HTTP/2"]),
            lines in prop::collection::vec(line(), 0..4),
        ) {
            let head = format!("{method} {target} {version}\n{}", lines.join("\n"));
            request_target(head.as_bytes());
        }
    }
}
