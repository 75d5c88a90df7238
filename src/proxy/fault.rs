//! What the application sees when we fail: RFC 9457 problem documents that never look like
//! Wise's own errors, with an RFC 9209 `Proxy-Status` field.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, PROXY_AUTHENTICATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::guard::{Reason, Refusal, Stranger};
use crate::proxy::jose::Trouble;
use crate::tls::HandshakeFailure;
use crate::upstream::{AcquireError, DialError};
use crate::wise::ProfileId;

/// Why a request got no answer from Wise.
///
/// The texts inside are our own words, host names and profile ids: never a header, a token or a
/// body.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    BadRequest(&'static str),
    #[error("the request names the host `{0}`, which this door does not serve")]
    WrongHost(String),
    #[error("the request targets `{0}`, and only Wise's hosts are reached through here")]
    ForeignTarget(String),
    #[error("the request comes from a web page of another origin")]
    ForeignOrigin,
    #[error("{0}")]
    CallerUnknown(Stranger),
    #[error("{0}")]
    NotAllowed(&'static str),
    #[error("{0}")]
    Refused(Box<Refusal>),
    #[error("{}", .0.detail())]
    NoTunnel(NoTunnel),
    #[error("the request names the host `{host}` inside a tunnel to `{tunnel}`")]
    OutsideTunnel { host: String, tunnel: String },
    #[error("this door speaks TLS, and the request came without")]
    WithoutTls,
    #[error("no grant acts for profile {0}")]
    NoGrantForProfile(ProfileId),
    #[error("no grant has been authorised yet")]
    NoGrant,
    #[error("Wise has ended the grant `{grant}`: {reason}")]
    ReauthorisationRequired { grant: String, reason: String },
    #[error("there is no live token for `{grant}`: {reason}")]
    TokenUnavailable { grant: String, reason: String },
    #[error(transparent)]
    Dial(DialError),
    #[error("Wise refused our client certificate ({0})")]
    ClientCertificateRejected(String),
    #[error("Wise closed the connection or broke the protocol before it answered")]
    UpstreamBroken,
    #[error("Wise did not answer in time")]
    UpstreamTimeout,
    #[error("the request's body stopped arriving")]
    RequestTimeout,
    #[error("too many requests at once")]
    Overloaded,
    #[error("every connection that applications may have is open")]
    Crowded,
    #[error("the proxy is shutting down")]
    ShuttingDown,
    #[error("requests must be recorded, and the record cannot be written")]
    AuditUnavailable,
    #[error("{0}")]
    Jose(Box<Trouble>),
}

/// Why a CONNECT opens no tunnel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoTunnel {
    /// The door's settings do not say `connect`.
    NotOffered,
    /// It came behind another request, on a connection that HTTP has for itself.
    Late,
    Http2,
    Inside,
    /// It was open when the door's settings ceased to offer it.
    Withdrawn,
}

impl NoTunnel {
    fn detail(self) -> &'static str {
        match self {
            Self::NotOffered => "CONNECT is not offered at this door",
            Self::Late => "CONNECT came behind another request",
            Self::Http2 => "CONNECT is not offered over HTTP/2",
            Self::Inside => "CONNECT is not offered inside a tunnel",
            Self::Withdrawn => "this door does not offer the tunnel any more",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::NotOffered | Self::Withdrawn => {
                "set `connect = true` for the door and make a local authority: `wise-auth-proxy ca init`"
            }
            Self::Late => "open a connection of its own for it",
            Self::Http2 => "ask for the tunnel over HTTP/1.1; inside, HTTP/2 is welcome",
            Self::Inside => "send the request itself; the tunnel is open already",
        }
    }
}

/// Whose move it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Blame {
    /// The application's request.
    Application,
    /// Our configuration, grants or load.
    Proxy,
    /// Wise, or the network to it.
    Wise,
}

/// The kinds of problem, as they end the `type` and label the metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    BadRequest,
    WrongHost,
    CallerUnknown,
    NotAllowed,
    NoGrant,
    ReauthorisationRequired,
    TokenUnavailable,
    UpstreamUnreachable,
    TlsFailed,
    ClientCertificateRejected,
    UpstreamBroken,
    UpstreamTimeout,
    RequestTimeout,
    Overloaded,
    ShuttingDown,
    AuditUnavailable,
    BodyTooLarge,
    RateLimited,
    TooManyAtOnce,
    FundingCap,
    FundingUnrecorded,
    JoseUnsealed,
    JoseUnverified,
}

impl Kind {
    /// Names in the order of the variants.
    pub(crate) const NAMES: &'static [&'static str] = &[
        "bad-request",
        "wrong-host",
        "caller-unknown",
        "not-allowed",
        "no-grant",
        "reauthorisation-required",
        "token-unavailable",
        "upstream-unreachable",
        "tls-failed",
        "client-certificate-rejected",
        "upstream-broken",
        "upstream-timeout",
        "request-timeout",
        "overloaded",
        "shutting-down",
        "audit-unavailable",
        "body-too-large",
        "rate-limited",
        "too-many-at-once",
        "funding-cap",
        "funding-unrecorded",
        "jose-unsealed",
        "jose-unverified",
    ];

    pub(crate) const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// What a caller may show (RFC 6750 §3, RFC 7617 §2.1).
const CHALLENGES: [&str; 2] = [
    "Bearer realm=\"wise-auth-proxy\"",
    "Basic realm=\"wise-auth-proxy\", charset=\"UTF-8\"",
];

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

impl Fault {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::BadRequest(_) | Self::WithoutTls => Kind::BadRequest,
            Self::WrongHost(_)
            | Self::ForeignTarget(_)
            | Self::OutsideTunnel { .. }
            | Self::ForeignOrigin => Kind::WrongHost,
            Self::CallerUnknown(_) => Kind::CallerUnknown,
            Self::NotAllowed(_) | Self::NoTunnel(_) => Kind::NotAllowed,
            Self::Refused(refusal) => kind_of(&refusal.reason),
            Self::NoGrantForProfile(_) | Self::NoGrant => Kind::NoGrant,
            Self::ReauthorisationRequired { .. } => Kind::ReauthorisationRequired,
            Self::TokenUnavailable { .. } => Kind::TokenUnavailable,
            Self::Dial(error) => match error {
                DialError::Tls { failure, .. } if failure.is_client_certificate_rejected() => {
                    Kind::ClientCertificateRejected
                }
                DialError::Tls { .. } | DialError::NoHttp2 { .. } => Kind::TlsFailed,
                DialError::Dns { .. }
                | DialError::DnsTimeout { .. }
                | DialError::Refused { .. }
                | DialError::Unreachable { .. }
                | DialError::Timeout { .. }
                | DialError::Via { .. }
                | DialError::ViaBroken { .. } => Kind::UpstreamUnreachable,
            },
            Self::ClientCertificateRejected(_) => Kind::ClientCertificateRejected,
            Self::UpstreamBroken => Kind::UpstreamBroken,
            Self::UpstreamTimeout => Kind::UpstreamTimeout,
            Self::RequestTimeout => Kind::RequestTimeout,
            Self::Overloaded | Self::Crowded => Kind::Overloaded,
            Self::ShuttingDown => Kind::ShuttingDown,
            Self::AuditUnavailable => Kind::AuditUnavailable,
            Self::Jose(trouble) => trouble.kind(),
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::WithoutTls => StatusCode::BAD_REQUEST,
            Self::WrongHost(_) | Self::OutsideTunnel { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::ForeignTarget(_)
            | Self::ForeignOrigin
            | Self::NotAllowed(_)
            | Self::NoTunnel(_) => StatusCode::FORBIDDEN,
            Self::CallerUnknown(_) => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Self::Refused(refusal) => status_of(&refusal.reason),
            Self::NoGrantForProfile(_)
            | Self::NoGrant
            | Self::ReauthorisationRequired { .. }
            | Self::TokenUnavailable { .. }
            | Self::Overloaded
            | Self::Crowded
            | Self::ShuttingDown
            | Self::AuditUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Dial(_) | Self::ClientCertificateRejected(_) | Self::UpstreamBroken => {
                StatusCode::BAD_GATEWAY
            }
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Jose(trouble) => trouble.status(),
        }
    }

    pub(crate) fn blame(&self) -> Blame {
        match self {
            Self::BadRequest(_)
            | Self::WrongHost(_)
            | Self::ForeignTarget(_)
            | Self::ForeignOrigin
            | Self::CallerUnknown(_)
            | Self::NotAllowed(_)
            | Self::Refused(_)
            | Self::NoTunnel(_)
            | Self::OutsideTunnel { .. }
            | Self::WithoutTls
            | Self::RequestTimeout => Blame::Application,
            Self::NoGrantForProfile(_)
            | Self::NoGrant
            | Self::ReauthorisationRequired { .. }
            | Self::ClientCertificateRejected(_)
            | Self::Overloaded
            | Self::Crowded
            | Self::ShuttingDown
            | Self::AuditUnavailable => Blame::Proxy,
            Self::TokenUnavailable { .. }
            | Self::Dial(_)
            | Self::UpstreamBroken
            | Self::UpstreamTimeout => Blame::Wise,
            Self::Jose(trouble) => trouble.blame(),
        }
    }

    /// When it makes sense to try again; `None`: not without a change.
    pub(crate) fn retry(&self) -> Option<Duration> {
        match self {
            Self::TokenUnavailable { .. } => Some(Duration::from_secs(5)),
            Self::Refused(refusal) => refusal.reason.wait(),
            Self::Jose(trouble) => trouble.retry().map(Duration::from_secs),
            Self::Overloaded | Self::Crowded | Self::ShuttingDown | Self::AuditUnavailable => {
                Some(Duration::from_secs(1))
            }
            Self::BadRequest(_)
            | Self::WrongHost(_)
            | Self::ForeignTarget(_)
            | Self::ForeignOrigin
            | Self::CallerUnknown(_)
            | Self::NotAllowed(_)
            | Self::NoTunnel(_)
            | Self::OutsideTunnel { .. }
            | Self::WithoutTls
            | Self::NoGrantForProfile(_)
            | Self::NoGrant
            | Self::ReauthorisationRequired { .. }
            | Self::Dial(_)
            | Self::ClientCertificateRejected(_)
            | Self::UpstreamBroken
            | Self::UpstreamTimeout
            | Self::RequestTimeout => None,
        }
    }

    /// What to do about it.
    fn hint(&self) -> String {
        match self {
            Self::BadRequest(_) => "send a well-formed HTTP/1.1 or HTTP/2 request".into(),
            Self::WrongHost(_) => {
                "use the door's address as base URL, or add the name to the door's `hosts`".into()
            }
            Self::ForeignTarget(_) => {
                "send other traffic around this proxy, for example with no_proxy".into()
            }
            Self::ForeignOrigin => {
                "web pages may not use this proxy; call it from a program".into()
            }
            Self::CallerUnknown(stranger) => stranger.hint(),
            Self::NotAllowed(_) => {
                "send it through a door that allows it, or around this proxy".into()
            }
            Self::Refused(refusal) => refusal.reason.hint(&refusal.policy),
            Self::NoTunnel(why) => why.hint().into(),
            Self::OutsideTunnel { host, .. } => {
                format!("open a tunnel to `{host}` for it")
            }
            Self::WithoutTls => "say https:// instead of http://".into(),
            Self::NoGrantForProfile(profile) => {
                format!("authorise it: `wise-auth-proxy login --profile {profile}`")
            }
            Self::NoGrant => "authorise one: `wise-auth-proxy login`".into(),
            Self::ReauthorisationRequired { grant, .. } => format!(
                "authorise again: `wise-auth-proxy login --grant {grant}`; until then \
                 `wise-auth-proxy switch personal --reason …` if that lane is configured"
            ),
            Self::TokenUnavailable { .. } => {
                "the proxy keeps trying; see `wise-auth-proxy status`".into()
            }
            Self::Dial(error) => match error {
                DialError::Dns { .. } | DialError::DnsTimeout { .. } => {
                    "check the host name in [wise] and the machine's DNS".into()
                }
                DialError::Refused { .. }
                | DialError::Unreachable { .. }
                | DialError::Timeout { .. } => {
                    "check the way to Wise: firewall, upstream.via, upstream.resolve".into()
                }
                DialError::Via { .. } | DialError::ViaBroken { .. } => {
                    "check upstream.via and upstream.via_credentials".into()
                }
                DialError::Tls { failure, .. } => failure.hint().into(),
                DialError::NoHttp2 { .. } => "set upstream.http to \"auto\" or \"1.1\"".into(),
            },
            Self::ClientCertificateRejected(_) => {
                "check it: `wise-auth-proxy cert show`; it must be Wise's for this client id, \
                 unexpired and unrevoked"
                    .into()
            }
            Self::UpstreamBroken => {
                "nothing was sent again; ask Wise whether the request was carried out before \
                 repeating a payment"
                    .into()
            }
            Self::UpstreamTimeout => {
                "the request may have been carried out; ask Wise before repeating a payment".into()
            }
            Self::RequestTimeout => "send the body without pauses".into(),
            Self::Overloaded => "slow down, or raise upstream.max_connections".into(),
            Self::Crowded => "keep fewer connections open, or raise runtime.max_connections".into(),
            Self::ShuttingDown => "try again; another instance may serve".into(),
            Self::AuditUnavailable => {
                "free space for audit.file, or mend it: `wise-auth-proxy status` says what is wrong"
                    .into()
            }
            Self::Jose(trouble) => trouble.hint(),
        }
    }

    /// The error type of RFC 9209 §2.3.
    fn proxy_error(&self) -> &'static str {
        match self {
            Self::BadRequest(_) | Self::WithoutTls | Self::RequestTimeout => "http_request_error",
            Self::WrongHost(_)
            | Self::ForeignTarget(_)
            | Self::ForeignOrigin
            | Self::CallerUnknown(_)
            | Self::NotAllowed(_)
            | Self::Refused(_)
            | Self::NoTunnel(_)
            | Self::OutsideTunnel { .. } => "http_request_denied",
            Self::NoGrantForProfile(_) | Self::NoGrant | Self::ReauthorisationRequired { .. } => {
                "proxy_configuration_error"
            }
            Self::TokenUnavailable { .. } | Self::ShuttingDown | Self::AuditUnavailable => {
                "proxy_internal_error"
            }
            Self::Dial(error) => match error {
                DialError::Dns { .. } => "dns_error",
                DialError::DnsTimeout { .. } => "dns_timeout",
                DialError::Refused { .. } => "connection_refused",
                DialError::Unreachable { kind, .. } => unreachable_by(*kind),
                DialError::Timeout { .. } => "connection_timeout",
                DialError::Via { .. } | DialError::ViaBroken { .. } => "destination_unavailable",
                DialError::Tls { failure, .. } => failure.proxy_status(),
                DialError::NoHttp2 { .. } => "tls_protocol_error",
            },
            Self::ClientCertificateRejected(_) => "tls_alert_received",
            Self::UpstreamBroken => "http_response_incomplete",
            Self::UpstreamTimeout => "http_response_timeout",
            Self::Overloaded | Self::Crowded => "connection_limit_reached",
            Self::Jose(trouble) => trouble.proxy_error(),
        }
    }

    /// What the application's call is about, in a few words.
    fn title(&self) -> &'static str {
        match self.kind() {
            Kind::BadRequest => "The request is malformed",
            Kind::WrongHost => "This host is not served here",
            Kind::CallerUnknown => "The caller is unknown",
            Kind::NotAllowed => "This is not allowed here",
            Kind::NoGrant => "No grant for this request",
            Kind::ReauthorisationRequired => "The grant has ended",
            Kind::TokenUnavailable => "No live token",
            Kind::UpstreamUnreachable => "Wise cannot be reached",
            Kind::TlsFailed => "No secure connection to Wise",
            Kind::ClientCertificateRejected => "Wise refused the client certificate",
            Kind::UpstreamBroken => "Wise's answer broke off",
            Kind::UpstreamTimeout => "Wise did not answer in time",
            Kind::RequestTimeout => "The request's body did not arrive",
            Kind::Overloaded => "Too much at once",
            Kind::ShuttingDown => "Shutting down",
            Kind::AuditUnavailable => "The request cannot be recorded",
            Kind::BodyTooLarge => "The request is too large",
            Kind::RateLimited => "Too many requests",
            Kind::TooManyAtOnce => "Too many requests at once",
            Kind::FundingCap => "Too many fundings",
            Kind::FundingUnrecorded => "The funding cannot be written down",
            Kind::JoseUnsealed => "The request could not be signed or encrypted",
            Kind::JoseUnverified => "Wise's answer is not verified",
        }
    }

    /// Fields of the answer.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        let mut status = String::from("wise-auth-proxy; error=");
        let _ = write!(
            status,
            "{}; details=\"{}\"",
            self.proxy_error(),
            self.kind().name()
        );
        if let Ok(status) = HeaderValue::from_str(&status) {
            headers.insert(PROXY_STATUS, status);
        }
        if let Some(after) = self.retry() {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self {
            Self::CallerUnknown(_) => {
                for challenge in CHALLENGES {
                    headers.append(PROXY_AUTHENTICATE, HeaderValue::from_static(challenge));
                }
            }
            Self::BadRequest(_)
            | Self::WithoutTls
            | Self::NoTunnel(_)
            | Self::Crowded
            | Self::ShuttingDown
            | Self::RequestTimeout => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::WrongHost(_)
            | Self::ForeignTarget(_)
            | Self::ForeignOrigin
            | Self::OutsideTunnel { .. }
            | Self::NotAllowed(_)
            | Self::Refused(_)
            | Self::NoGrantForProfile(_)
            | Self::NoGrant
            | Self::ReauthorisationRequired { .. }
            | Self::TokenUnavailable { .. }
            | Self::Dial(_)
            | Self::ClientCertificateRejected(_)
            | Self::UpstreamBroken
            | Self::UpstreamTimeout
            | Self::Overloaded
            | Self::AuditUnavailable
            | Self::Jose(_) => {}
        }
        headers
    }

    /// The problem document (RFC 9457 §3).
    pub(crate) fn document(&self) -> Bytes {
        let mut document = problem(
            self.kind(),
            self.status(),
            self.title(),
            &self.to_string(),
            &self.hint(),
        );
        if let Self::Refused(refusal) = self {
            document["policy"] = refusal.policy.as_str().into();
            document["reason"] = refusal.reason.name().into();
            if let Reason::Denied { rule, .. } = &refusal.reason {
                document["rule"] = rule.as_str().into();
            }
        }
        Bytes::from(document.to_string())
    }

    /// The whole answer, where no HTTP library writes it. `closes`: nothing is read after it.
    pub(crate) fn answer(&self, closes: bool) -> Vec<u8> {
        let mut headers = self.headers();
        if closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let status = self.status();
        let reason = status.canonical_reason().unwrap_or_default();
        written(status.as_u16(), reason, &headers, &self.document())
    }
}

/// A policy's refusal, as applications see it. A caller's own limits are 429, whatever they limit:
/// the proxy could serve, and another caller is served.
fn kind_of(reason: &Reason) -> Kind {
    match reason {
        Reason::Ambiguous(_)
        | Reason::NotAllowed
        | Reason::Denied { .. }
        | Reason::Profile(_)
        | Reason::Grant
        | Reason::NoProfile
        | Reason::Lane(_) => Kind::NotAllowed,
        Reason::BodyTooLarge(_) => Kind::BodyTooLarge,
        Reason::TooMany { .. } => Kind::RateLimited,
        Reason::TooManyAtOnce(_) => Kind::TooManyAtOnce,
        Reason::FundingCap { .. } => Kind::FundingCap,
        Reason::FundingUnrecorded(_) => Kind::FundingUnrecorded,
    }
}

fn status_of(reason: &Reason) -> StatusCode {
    match reason {
        Reason::Ambiguous(_)
        | Reason::NotAllowed
        | Reason::Denied { .. }
        | Reason::Profile(_)
        | Reason::Grant
        | Reason::NoProfile
        | Reason::Lane(_) => StatusCode::FORBIDDEN,
        Reason::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::TooMany { .. } | Reason::TooManyAtOnce(_) | Reason::FundingCap { .. } => {
            StatusCode::TOO_MANY_REQUESTS
        }
        Reason::FundingUnrecorded(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn problem(
    kind: Kind,
    status: StatusCode,
    title: &str,
    detail: &str,
    hint: &str,
) -> serde_json::Value {
    serde_json::json!({
        "type": format!("urn:wise-auth-proxy:problem:{}", kind.name()),
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
        "hint": hint,
    })
}

/// RFC 9209's word for a connection that did not come about.
fn unreachable_by(kind: std::io::ErrorKind) -> &'static str {
    use std::io::ErrorKind;
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "the list is the standard library's and grows"
    )]
    match kind {
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "destination_ip_unroutable",
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => "connection_terminated",
        ErrorKind::TimedOut => "connection_timeout",
        _ => "destination_unavailable",
    }
}

/// The whole answer to a request so malformed that it never became one; `status` is hyper's.
pub(crate) fn unparsed(status: u16) -> Option<Vec<u8>> {
    let (reason, detail, hint) = match status {
        400 => (
            "Bad Request",
            "the request is not well-formed HTTP",
            "see RFC 9112",
        ),
        413 => (
            "Content Too Large",
            "the request's content is too large",
            "send less",
        ),
        414 => (
            "URI Too Long",
            "the request's target is too long",
            "shorten path and query",
        ),
        431 => (
            "Request Header Fields Too Large",
            "the request's header fields are too many or too long",
            "send fewer or shorter fields, or raise runtime.max_header_size",
        ),
        _ => return None,
    };
    let fault = Fault::BadRequest(detail);
    let code = StatusCode::from_u16(status).ok()?;
    let body = problem(fault.kind(), code, fault.title(), detail, hint).to_string();
    Some(written(status, reason, &fault.headers(), body.as_bytes()))
}

/// A whole answer over HTTP/1.1.
fn written(status: u16, reason: &str, headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status} {reason}\r\n").into_bytes();
    for (name, value) in headers {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    answer.extend_from_slice(body);
    answer
}

impl From<AcquireError> for Fault {
    fn from(error: AcquireError) -> Self {
        match error {
            AcquireError::Dial(error) => Self::Dial(error),
            AcquireError::Overloaded => Self::Overloaded,
        }
    }
}

/// Sorts a failure on a connection that was up, by what TLS said about it.
///
/// In TLS 1.3 our certificate is judged after our side of the handshake is done: the alert meets
/// the first read.
pub(crate) fn of_send(tls: Option<HandshakeFailure>) -> Fault {
    match tls {
        Some(failure) if failure.is_client_certificate_rejected() => {
            Fault::ClientCertificateRejected(failure.to_string())
        }
        Some(_) | None => Fault::UpstreamBroken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What end-to-end tests cannot bring about without asking somebody's name server.
    #[test]
    fn a_name_that_does_not_resolve_says_what_to_check() {
        let fault = Fault::Dial(DialError::Dns {
            host: "api.wise.test".into(),
        });
        let headers = fault.headers();
        let document: serde_json::Value = serde_json::from_slice(&fault.document()).unwrap();
        assert_eq!(fault.status(), 502);
        assert_eq!(
            headers["proxy-status"],
            "wise-auth-proxy; error=dns_error; details=\"upstream-unreachable\""
        );
        assert_eq!(
            document["type"],
            "urn:wise-auth-proxy:problem:upstream-unreachable"
        );
        assert_eq!(
            document["hint"],
            "check the host name in [wise] and the machine's DNS"
        );
    }
}
