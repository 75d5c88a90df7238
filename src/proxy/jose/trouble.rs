//! Why a request was not carried, or its answer not handed on.

use http::StatusCode;

use crate::jose::JoseError;
use crate::proxy::fault::{Blame, Kind};

/// What went wrong with a signed or encrypted body. No text holds anything of it.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(
        "the request's body is longer than {0} bytes, and is held whole to be signed or encrypted"
    )]
    TooLarge(usize),
    #[error(
        "the request's body has a Content-Encoding, and what is signed or encrypted must be plain"
    )]
    Encoded,
    #[error(
        "other requests that are signed or encrypted fill all the memory that there is for bodies"
    )]
    NoRoom,
    #[error("the request was not sent: {0}")]
    Unsealed(Unsealed),
    #[error("Wise's answer to {operation} was not handed on: {why}")]
    Unverified { operation: String, why: Unverified },
}

/// Why a request could not be signed or encrypted.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Unsealed {
    #[error("Wise's key for it cannot be had: {0}")]
    NoKey(String),
    #[error("{0}")]
    Failed(JoseError),
}

/// What is wrong with an answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Unverified {
    #[error("it is not encrypted as it must be")]
    NotEncrypted,
    #[error("it is not signed as it must be")]
    NotSigned,
    #[error("its signature does not fit any key that Wise hands out")]
    Forged,
    #[error("it is signed in a way that is not understood ({0})")]
    Unsupported(JoseError),
    #[error("it cannot be decrypted with the key that Wise was told to encrypt it to")]
    Undecryptable,
    #[error("it cannot be verified, because Wise's key cannot be had: {0}")]
    NoKey(String),
    #[error("it is longer than {0} bytes")]
    TooLarge(usize),
    #[error("it has a Content-Encoding that nobody asked for")]
    Encoded,
    #[error("there is no memory left to read it into")]
    NoRoom,
    #[error("the cryptography library failed")]
    Failed,
}

impl Trouble {
    pub(in crate::proxy) fn kind(&self) -> Kind {
        match self {
            Self::TooLarge(_) => Kind::BodyTooLarge,
            Self::Encoded => Kind::BadRequest,
            Self::NoRoom => Kind::Overloaded,
            Self::Unsealed(_) => Kind::JoseUnsealed,
            Self::Unverified { .. } => Kind::JoseUnverified,
        }
    }

    pub(in crate::proxy) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NoRoom | Self::Unsealed(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unverified { .. } => StatusCode::BAD_GATEWAY,
        }
    }

    pub(in crate::proxy) fn blame(&self) -> Blame {
        match self {
            Self::TooLarge(_) | Self::Encoded => Blame::Application,
            Self::NoRoom | Self::Unsealed(Unsealed::Failed(_)) => Blame::Proxy,
            Self::Unsealed(Unsealed::NoKey(_)) | Self::Unverified { .. } => Blame::Wise,
        }
    }

    /// Seconds until it makes sense to try again.
    pub(in crate::proxy) fn retry(&self) -> Option<u64> {
        match self {
            Self::NoRoom => Some(1),
            Self::Unsealed(_) => Some(5),
            Self::TooLarge(_) | Self::Encoded | Self::Unverified { .. } => None,
        }
    }

    pub(in crate::proxy) fn proxy_error(&self) -> &'static str {
        match self {
            Self::TooLarge(_) | Self::Encoded => "http_request_error",
            Self::NoRoom | Self::Unsealed(_) => "proxy_internal_error",
            Self::Unverified { why, .. } => match why {
                Unverified::TooLarge(_) => "http_response_body_size",
                Unverified::Encoded => "http_response_content_coding",
                Unverified::NotEncrypted
                | Unverified::NotSigned
                | Unverified::Forged
                | Unverified::Unsupported(_)
                | Unverified::Undecryptable
                | Unverified::NoKey(_)
                | Unverified::NoRoom
                | Unverified::Failed => "http_protocol_error",
            },
        }
    }

    pub(in crate::proxy) fn hint(&self) -> String {
        let why = match self {
            Self::TooLarge(_) => return "send less, or raise jose.max_body".into(),
            Self::Encoded => return "send the body without compression".into(),
            Self::NoRoom => return "slow down, or send shorter bodies".into(),
            Self::Unsealed(_) => {
                return "nothing was sent, so it may be sent again; `wise-auth-proxy jose test` says \
                        what is in the way"
                    .into();
            }
            Self::Unverified { why, .. } => why,
        };
        let check = match why {
            Unverified::NotEncrypted | Unverified::NotSigned => {
                "see with `wise-auth-proxy jose test` whether Wise speaks JOSE with this client id, \
                 and take the operation out of [[jose.route]] if it does not for this one"
            }
            Unverified::Forged | Unverified::Unsupported(_) => {
                "see with `wise-auth-proxy jose list` whose keys Wise hands out, and tell Wise"
            }
            Unverified::Undecryptable => {
                "see with `wise-auth-proxy jose test` whether jose.encryption_key is the key that \
                 Wise has as jose.encryption_kid"
            }
            Unverified::NoKey(_) => "`wise-auth-proxy jose test` says what is in the way",
            Unverified::TooLarge(_) => "raise jose.max_body",
            Unverified::Encoded => "tell Wise",
            Unverified::NoRoom => "lower jose.max_body, or send fewer such requests at once",
            Unverified::Failed => "report it",
        };
        format!(
            "Wise may have carried the request out: ask Wise before repeating a payment; {check}"
        )
    }
}
