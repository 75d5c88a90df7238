//! The kinds of values, each with the words that say what would be right.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use http::uri::PathAndQuery;

use super::leaf::Leaf;
use super::url;
use super::{
    AccessLog, Environment, EventKind, HttpVersion, JoseMethod, KeyHash, Lane, LogFormat, Measure,
    Origin, ProfileId, Roots, SigningAlgorithm, TokenUrl,
};

/// Bytes, as a size such as `"8 MiB"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size(pub(super) usize);

/// Permissions of a file, in octal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mode(pub(super) u32);

/// A name of a grant.
#[derive(Clone, Debug)]
pub(super) struct GrantName(pub(super) String);

/// A name of a caller or policy.
#[derive(Clone, Debug)]
pub(super) struct Name(pub(super) String);

/// A file or `off`.
#[derive(Clone, Debug)]
pub(super) struct FileOrOff(pub(super) Option<PathBuf>);

/// An id of a key, as Wise wants them.
#[derive(Clone, Debug)]
pub(super) struct Kid(pub(super) String);

/// An id of a webhook subscription, as Wise hands them out.
#[derive(Clone, Debug)]
pub(super) struct Subscription(pub(super) String);

/// A path of a URL.
#[derive(Clone, Debug)]
pub(super) struct Place(pub(super) String);

/// Where an application takes webhooks: an `http` URL.
#[derive(Clone, Debug)]
pub(super) struct Hook(pub(super) Origin, pub(super) String);

/// A host name without scheme and port, in lower case.
#[derive(Clone, Debug)]
pub(super) struct HostName(pub(super) String);

/// Log directives.
#[derive(Clone, Debug)]
pub(super) struct Level(pub(super) String);

/// Where a door listens, with its path as typed.
#[derive(Clone, Debug)]
pub(super) enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// An address or `off`.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddressOrOff(pub(super) Option<SocketAddr>);

/// An `https` page, or an `http` one; without query.
#[derive(Clone, Debug)]
pub(super) struct Page(pub(super) Origin, pub(super) String);

/// A redirect address, kept as typed: Wise compares it letter by letter.
#[derive(Clone, Debug)]
pub(super) struct Redirect(pub(super) String);

macro_rules! words {
    ($type:ty, $right:literal, $($word:literal => $value:expr),+) => {
        impl Leaf for $type {
            const RIGHT: &'static str = $right;
            const WORDS: &'static [&'static str] = &[$($word),+];

            fn text(text: &str) -> Option<Self> {
                match text {
                    $($word => Some($value),)+
                    _ => None,
                }
            }
        }
    };
}

impl Leaf for EventKind {
    const RIGHT: &'static str = "the name of an event, such as \"grant_dead\"";

    fn text(text: &str) -> Option<Self> {
        Self::named(text)
    }
}

words!(Environment, "\"sandbox\", \"production\" or \"custom\"",
    "sandbox" => Self::Sandbox, "production" => Self::Production, "custom" => Self::Custom);
words!(Lane, "\"personal\", \"oauth\" or \"oauth-mtls\"",
    "personal" => Self::Personal, "oauth" => Self::OAuth, "oauth-mtls" => Self::OAuthMtls);
words!(Roots, "\"system\", \"bundled\" or \"only-extra\"",
    "system" => Self::System, "bundled" => Self::Bundled, "only-extra" => Self::OnlyExtra);
words!(HttpVersion, "\"auto\", \"1.1\" or \"2\", in quotes",
    "auto" => Self::Auto, "1.1" => Self::Http1, "2" => Self::Http2);
words!(Measure, "\"auto\", \"required\" or \"off\"",
    "auto" => Self::Auto, "required" => Self::Required, "off" => Self::Off);
words!(LogFormat, "\"human\" or \"json\"",
    "human" => Self::Human, "json" => Self::Json);

impl Leaf for SigningAlgorithm {
    const RIGHT: &'static str =
        "\"ES256\", \"ES384\", \"ES512\", \"PS256\", \"PS384\" or \"PS512\"";
    const WORDS: &'static [&'static str] = &["ES256", "ES384", "ES512", "PS256", "PS384", "PS512"];

    fn text(text: &str) -> Option<Self> {
        Self::named(text)
    }
}

words!(JoseMethod, "\"jws\", \"jwe\" or \"jws+jwe\"",
    "jws" => Self::Jws, "jwe" => Self::Jwe, "jws+jwe" => Self::JwsJwe);

impl Leaf for Place {
    const RIGHT: &'static str = "a path without query, such as \"/wise/transfers\"";

    fn text(text: &str) -> Option<Self> {
        let path: PathAndQuery = text.parse().ok()?;
        let fits = text.starts_with('/') && path.query().is_none() && path.path() == text;
        fits.then(|| Self(text.to_owned()))
    }
}

impl Leaf for SocketAddr {
    const RIGHT: &'static str = "an address and port, such as \"0.0.0.0:8443\"";

    fn text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Leaf for Hook {
    const RIGHT: &'static str = "an http URL such as \"http://127.0.0.1:9000/wise\"";

    fn text(text: &str) -> Option<Self> {
        let (origin, path) = url::parse(text)?;
        (!origin.tls).then_some(Self(origin, path))
    }
}

impl Leaf for Kid {
    const RIGHT: &'static str =
        "the UUID under which Wise has the key, in quotes; `jose register` writes it";

    fn text(text: &str) -> Option<Self> {
        super::is_key_id(text).then(|| Self(text.to_ascii_lowercase()))
    }
}

impl Leaf for Subscription {
    const RIGHT: &'static str =
        "the UUID of a subscription, in quotes; `webhook list` shows those there are";

    fn text(text: &str) -> Option<Self> {
        super::is_key_id(text).then(|| Self(text.to_ascii_lowercase()))
    }
}

impl Leaf for String {
    const RIGHT: &'static str = "a text in quotes, not empty";

    fn text(text: &str) -> Option<Self> {
        let fits = !text.trim().is_empty() && !text.contains(char::is_control);
        fits.then(|| text.to_owned())
    }
}

impl Leaf for bool {
    const RIGHT: &'static str = "true or false";
    const TYPES: &'static [&'static str] = &["boolean"];

    fn text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn boolean(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl Leaf for usize {
    const RIGHT: &'static str = "a whole number";
    const TYPES: &'static [&'static str] = &["integer"];

    fn text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn integer(number: u64) -> Option<Self> {
        number.try_into().ok()
    }
}

impl Leaf for f64 {
    const RIGHT: &'static str = "a number such as 0.5";
    const TYPES: &'static [&'static str] = &["number"];

    fn text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn integer(number: u64) -> Option<Self> {
        u32::try_from(number).ok().map(Self::from)
    }

    fn float(number: f64) -> Option<Self> {
        Some(number)
    }
}

impl Leaf for Duration {
    const RIGHT: &'static str = "a duration in quotes with its unit, such as \"30s\" or \"10m\"";

    fn text(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok()
    }
}

impl Leaf for Size {
    const RIGHT: &'static str = "a size in quotes, such as \"8 MiB\", or a number of bytes";
    const TYPES: &'static [&'static str] = &["string", "integer"];

    fn text(text: &str) -> Option<Self> {
        let size = bytesize::ByteSize::from_str(text).ok()?;
        Self::integer(size.as_u64())
    }

    fn integer(number: u64) -> Option<Self> {
        number.try_into().ok().map(Self)
    }
}

impl Leaf for PathBuf {
    const RIGHT: &'static str = "a path in quotes";

    fn text(text: &str) -> Option<Self> {
        String::text(text).map(Self::from)
    }
}

impl Leaf for Mode {
    const RIGHT: &'static str = "octal permissions in quotes, such as \"0660\"";

    fn text(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let digits_only = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u32::from_str_radix(digits, 8).ok()?;
        (digits_only && mode <= 0o777 && mode & 0o600 == 0o600).then_some(Self(mode))
    }
}

impl Leaf for IpAddr {
    const RIGHT: &'static str = "an IP address in quotes, such as \"192.0.2.10\"";

    fn text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Leaf for Listen {
    const RIGHT: &'static str =
        "an IP address with a port, such as \"127.0.0.1:8080\", or \"unix:\" and a path";

    fn text(text: &str) -> Option<Self> {
        match text.strip_prefix("unix:") {
            Some(path) => PathBuf::text(path).map(Self::Unix),
            None => text.parse().ok().map(Self::Tcp),
        }
    }
}

impl Leaf for AddressOrOff {
    const RIGHT: &'static str =
        "a loopback address with a port, such as \"127.0.0.1:8081\", or \"off\"";

    fn text(text: &str) -> Option<Self> {
        match text {
            "off" => Some(Self(None)),
            address => address.parse().ok().map(|address| Self(Some(address))),
        }
    }
}

impl Leaf for Origin {
    const RIGHT: &'static str = "scheme, host and perhaps a port, such as \"https://api.wise.com\"";

    fn text(text: &str) -> Option<Self> {
        let (origin, path) = url::parse(text)?;
        (path == "/").then_some(origin)
    }
}

impl Leaf for TokenUrl {
    const RIGHT: &'static str = "a URL such as \"https://api.wise.com/oauth/token\"";

    fn text(text: &str) -> Option<Self> {
        let (origin, path) = url::parse(text)?;
        Some(Self { origin, path })
    }
}

impl Leaf for Page {
    const RIGHT: &'static str =
        "a URL without query, such as \"https://wise.com/oauth/authorize/\"";

    fn text(text: &str) -> Option<Self> {
        let (origin, path) = url::parse(text)?;
        (!path.contains('?')).then(|| Self(origin, text.to_owned()))
    }
}

impl Leaf for Redirect {
    const RIGHT: &'static str = "the redirect address as on file at Wise, such as \
                                 \"http://127.0.0.1:8976/callback\"";

    fn text(text: &str) -> Option<Self> {
        url::parse(text).map(|_| Self(text.to_owned()))
    }
}

impl Leaf for ProfileId {
    const RIGHT: &'static str = "a profile id: a number, or 1 to 64 letters, digits or hyphens";
    const TYPES: &'static [&'static str] = &["integer", "string"];

    fn text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn integer(number: u64) -> Option<Self> {
        number.to_string().parse().ok()
    }
}

const NAME: &str = "1 to 64 lower-case letters, digits, hyphens or underscores";

fn is_name(text: &str) -> bool {
    let fits = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

impl Leaf for GrantName {
    const RIGHT: &'static str = NAME;

    fn text(text: &str) -> Option<Self> {
        is_name(text).then(|| Self(text.to_owned()))
    }
}

impl Leaf for Name {
    const RIGHT: &'static str = NAME;

    fn text(text: &str) -> Option<Self> {
        is_name(text).then(|| Self(text.to_owned()))
    }
}

impl Leaf for KeyHash {
    const RIGHT: &'static str = "\"sha256:\" and 64 hexadecimal digits, perhaps with an end such as \
                                 \"sha256:… until 2027-01-31T00:00:00Z\"; `caller add` writes it";

    fn text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Leaf for FileOrOff {
    const RIGHT: &'static str = "the path of a file, or \"off\"";

    fn text(text: &str) -> Option<Self> {
        match text {
            "off" => Some(Self(None)),
            // Words that mean something else than a file of that name.
            "on" | "true" | "false" | "none" | "stdout" | "stderr" => None,
            path => PathBuf::text(path).map(|path| Self(Some(path))),
        }
    }
}

impl Leaf for HostName {
    const RIGHT: &'static str =
        "a host name without scheme and port, such as \"wise-proxy.internal\"";

    fn text(text: &str) -> Option<Self> {
        url::is_host(text).then(|| Self(text.to_ascii_lowercase()))
    }
}

impl Leaf for Level {
    const RIGHT: &'static str = "off, error, warn, info, debug or trace, or directives such as \
                                 \"info,wise_auth_proxy::tokens=debug\"";

    fn text(text: &str) -> Option<Self> {
        let level =
            |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word.trim());
        let target = |word: &str| {
            let word = word.trim();
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
        };
        text.split(',')
            .all(|directive| match directive.split_once('=') {
                Some((name, word)) => target(name) && level(word),
                None => level(directive),
            })
            .then(|| Self(text.to_owned()))
    }
}

impl Leaf for AccessLog {
    const RIGHT: &'static str = "\"stderr\", \"off\" or the path of a file";

    fn text(text: &str) -> Option<Self> {
        match text {
            "off" => Some(Self::Off),
            "stderr" => Some(Self::Stderr),
            // Words that mean something else than a file of that name.
            "stdout" | "on" | "true" | "false" | "none" => None,
            path => PathBuf::text(path).map(Self::File),
        }
    }
}
