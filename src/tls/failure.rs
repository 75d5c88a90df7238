use std::error::Error;
use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};

/// Why TLS with Wise failed, sorted by what an operator has to look at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HandshakeFailure {
    /// Nobody we trust vouches for the server's certificate.
    UnknownCa,
    /// The server's certificate is for other names.
    WrongName,
    /// The server's certificate has ended, or our clock runs ahead.
    Expired,
    /// The server's certificate has not begun, or our clock runs behind.
    NotYetValid,
    /// The server's certificate is bad in another way.
    BadCertificate,
    /// The server said that our certificate is missing or not good enough.
    ClientCertificateRejected(Alert),
    /// No version of TLS, cipher suite or parameter that both sides accept.
    Incompatible,
    /// The server ended it with an alert of another kind.
    Alert(Alert),
    /// What answers does not speak TLS.
    NotTls,
    /// The server hung up.
    Closed,
    /// The server broke the protocol.
    Broken,
}

/// A TLS alert as received.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Alert {
    /// The code on the wire.
    pub code: u8,
    /// The name of RFC 8446 §6, or `unknown`.
    pub name: &'static str,
}

impl HandshakeFailure {
    /// Finds a TLS failure anywhere in an error and its causes; `None` when TLS was not it.
    ///
    /// With TLS 1.3 the server judges our certificate after the handshake has ended for us, so
    /// the alert arrives inside the error of the first read, wrapped by whoever was reading.
    pub(crate) fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return Some(Self::of(error));
            }
            next = match error.downcast_ref::<io::Error>() {
                // `source` of an `io::Error` skips the error that it holds.
                Some(error) => match error.get_ref() {
                    Some(inner) => Some(inner),
                    None => return None,
                },
                None => error.source(),
            };
        }
        None
    }

    /// What an error of the handshake itself means, when `find` is no certain answer: a peer
    /// that hangs up in the middle leaves an error of the socket only.
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "kinds of I/O error are an open list"
    )]
    pub(crate) fn during_handshake(error: &io::Error) -> Self {
        Self::find(error).unwrap_or(match error.kind() {
            io::ErrorKind::InvalidData => Self::Broken,
            _ => Self::Closed,
        })
    }

    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "rustls's errors are an open list"
    )]
    fn of(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => match error {
                // An authority made anew under its old name signs with another key.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownCa,
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::WrongName,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::Expired
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                _ => Self::BadCertificate,
            },
            rustls::Error::NoCertificatesPresented | rustls::Error::UnsupportedNameType => {
                Self::BadCertificate
            }
            rustls::Error::AlertReceived(alert) => Self::of_alert(*alert),
            rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerSentHelloRetryRequestWithUnknownExtension,
            ) => Self::Broken,
            rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => {
                Self::Incompatible
            }
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge,
            ) => Self::NotTls,
            _ => Self::Broken,
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "alerts are an open list")]
    fn of_alert(description: AlertDescription) -> Self {
        let alert = Alert::from(description);
        match description {
            // What a server may say about a client's certificate (RFC 8446 §6.2). `unknown_ca`
            // from the server means that it does not know the issuer of ours.
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::NoCertificate
            | AlertDescription::CertificateRequired => Self::ClientCertificateRejected(alert),
            AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
            | AlertDescription::NoApplicationProtocol => Self::Incompatible,
            AlertDescription::CloseNotify | AlertDescription::UserCanceled => Self::Closed,
            _ => Self::Alert(alert),
        }
    }

    /// Whether our certificate is at fault, in the server's eyes.
    pub(crate) fn is_client_certificate_rejected(self) -> bool {
        matches!(self, Self::ClientCertificateRejected(_))
    }

    #[cfg(test)]
    /// The alert that was received, if one was kept.
    pub(crate) fn alert(self) -> Option<Alert> {
        match self {
            Self::ClientCertificateRejected(alert) | Self::Alert(alert) => Some(alert),
            Self::UnknownCa
            | Self::WrongName
            | Self::Expired
            | Self::NotYetValid
            | Self::BadCertificate
            | Self::Incompatible
            | Self::NotTls
            | Self::Closed
            | Self::Broken => None,
        }
    }

    /// The error type for `Proxy-Status` (RFC 9209 §2.3).
    pub(crate) fn proxy_status(self) -> &'static str {
        match self {
            Self::UnknownCa
            | Self::WrongName
            | Self::Expired
            | Self::NotYetValid
            | Self::BadCertificate => "tls_certificate_error",
            Self::ClientCertificateRejected(_) | Self::Alert(_) => "tls_alert_received",
            Self::Incompatible | Self::NotTls | Self::Broken => "tls_protocol_error",
            Self::Closed => "connection_terminated",
        }
    }

    /// What to look at.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::UnknownCa => {
                "if this host uses a private CA, name its certificate in `extra_ca`; if not, something between here and Wise is opening the connection"
            }
            Self::WrongName => "check the configured host, and `upstream.resolve` if it is set",
            Self::Expired | Self::NotYetValid => {
                "check this machine's clock; if it is right, tell Wise"
            }
            Self::BadCertificate => "something between here and Wise may be opening the connection",
            Self::ClientCertificateRejected(_) => {
                "run `cert show`: it must be the unexpired certificate that Wise issued for this client id and environment"
            }
            Self::Incompatible => {
                "TLS 1.2 or 1.3 is needed; something between here and Wise may be too old"
            }
            Self::Alert(_) => "check the configured host; the server gave no better reason",
            Self::NotTls => "check host and port: they must be an HTTPS address",
            Self::Closed => {
                "check firewalls and proxies between here and Wise; the server may also refuse the client certificate this way"
            }
            Self::Broken => "something between here and Wise may be damaging the connection",
        }
    }
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCa => {
                f.write_str("no trusted authority vouches for the server's certificate")
            }
            Self::WrongName => f.write_str("the server's certificate is for another name"),
            Self::Expired => f.write_str("the server's certificate has expired"),
            Self::NotYetValid => f.write_str("the server's certificate is not valid yet"),
            Self::BadCertificate => f.write_str("the server's certificate cannot be accepted"),
            Self::ClientCertificateRejected(alert) => {
                write!(
                    f,
                    "the server rejected our client certificate ({})",
                    alert.name
                )
            }
            Self::Incompatible => {
                f.write_str("the server and this program share no TLS version or parameters")
            }
            Self::Alert(alert) => write!(f, "the server ended the TLS handshake ({})", alert.name),
            Self::NotTls => f.write_str("the server does not speak TLS"),
            Self::Closed => f.write_str("the server hung up during the TLS handshake"),
            Self::Broken => f.write_str("the server broke the TLS protocol"),
        }
    }
}

impl From<AlertDescription> for Alert {
    #[allow(clippy::wildcard_enum_match_arm, reason = "alerts are an open list")]
    fn from(description: AlertDescription) -> Self {
        let name = match description {
            AlertDescription::CloseNotify => "close_notify",
            AlertDescription::UnexpectedMessage => "unexpected_message",
            AlertDescription::BadRecordMac => "bad_record_mac",
            AlertDescription::RecordOverflow => "record_overflow",
            AlertDescription::HandshakeFailure => "handshake_failure",
            AlertDescription::NoCertificate => "no_certificate",
            AlertDescription::BadCertificate => "bad_certificate",
            AlertDescription::UnsupportedCertificate => "unsupported_certificate",
            AlertDescription::CertificateRevoked => "certificate_revoked",
            AlertDescription::CertificateExpired => "certificate_expired",
            AlertDescription::CertificateUnknown => "certificate_unknown",
            AlertDescription::IllegalParameter => "illegal_parameter",
            AlertDescription::UnknownCA => "unknown_ca",
            AlertDescription::AccessDenied => "access_denied",
            AlertDescription::DecodeError => "decode_error",
            AlertDescription::DecryptError => "decrypt_error",
            AlertDescription::ProtocolVersion => "protocol_version",
            AlertDescription::InsufficientSecurity => "insufficient_security",
            AlertDescription::InternalError => "internal_error",
            AlertDescription::InappropriateFallback => "inappropriate_fallback",
            AlertDescription::UserCanceled => "user_canceled",
            AlertDescription::NoRenegotiation => "no_renegotiation",
            AlertDescription::MissingExtension => "missing_extension",
            AlertDescription::UnsupportedExtension => "unsupported_extension",
            AlertDescription::UnrecognisedName => "unrecognized_name",
            AlertDescription::BadCertificateStatusResponse => "bad_certificate_status_response",
            AlertDescription::UnknownPSKIdentity => "unknown_psk_identity",
            AlertDescription::CertificateRequired => "certificate_required",
            AlertDescription::NoApplicationProtocol => "no_application_protocol",
            _ => "unknown",
        };
        Self {
            code: description.into(),
            name,
        }
    }
}
