//! What Wise sees when a delivery is not taken: problem documents, as applications see them.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

/// Wise's own shortest wait is a minute; who tries sooner is not Wise.
const RETRY: u16 = 60;

/// Why a delivery is not taken.
///
/// Wise tries again some two weeks, but after 400, 403, 404 and 405 only twice more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// No path of this webhook.
    Elsewhere,
    /// No POST.
    Method,
    NoDeliveryId,
    NoSignature,
    BadSignature,
    /// The body broke off.
    Broken,
    /// Signed with another key, or over another body.
    Forged,
    /// Wise's, but of a subscription that is none of ours.
    Strange,
    /// The connection's client certificate will not do, or not any more.
    Uncertified,
    TooLarge(usize),
    TooSlow,
    /// As many are kept as may be.
    Full,
    /// The queue does not take it just now.
    Unavailable,
    Crowded,
}

impl Fault {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Elsewhere => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoDeliveryId | Self::NoSignature | Self::BadSignature | Self::Broken => {
                StatusCode::BAD_REQUEST
            }
            Self::Strange => StatusCode::FORBIDDEN,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            // A forger learns nothing from it, and Wise tries again for two weeks: a key that was
            // rotated, or a wrong environment, loses nothing that is mended by then.
            Self::Forged | Self::Uncertified | Self::Full | Self::Unavailable | Self::Crowded => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// End of the problem's type.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Elsewhere => "no-such-webhook",
            Self::Method => "method-not-allowed",
            Self::NoDeliveryId | Self::NoSignature | Self::BadSignature | Self::Broken => {
                "bad-delivery"
            }
            Self::Forged => "signature-wrong",
            Self::Strange => "subscription-unknown",
            Self::Uncertified => "certificate-unknown",
            Self::TooLarge(_) => "delivery-too-large",
            Self::TooSlow => "request-timeout",
            Self::Full => "queue-full",
            Self::Unavailable => "queue-unavailable",
            Self::Crowded => "overloaded",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Elsewhere => "No webhook is taken here",
            Self::Method => "Webhooks come by POST",
            Self::NoDeliveryId | Self::NoSignature | Self::BadSignature | Self::Broken => {
                "The delivery is malformed"
            }
            Self::Forged => "The signature is wrong",
            Self::Strange => "The subscription is unknown",
            Self::Uncertified => "The client certificate will not do",
            Self::TooLarge(_) => "The delivery is too large",
            Self::TooSlow => "The delivery did not arrive",
            Self::Full | Self::Unavailable => "The delivery cannot be kept",
            Self::Crowded => "Too much at once",
        }
    }

    fn detail(self) -> String {
        match self {
            Self::Elsewhere => "this path is no webhook's".into(),
            Self::Method => "another method than POST".into(),
            Self::NoDeliveryId => {
                "X-Delivery-Id is missing, repeated, or no word of at most 128 characters".into()
            }
            Self::NoSignature => "X-Signature-SHA256 is missing or repeated".into(),
            Self::BadSignature => "X-Signature-SHA256 is no base64".into(),
            Self::Broken => "the body broke off".into(),
            Self::Forged => "none of the keys that are believed here has signed this body".into(),
            Self::Strange => "its subscription_id is none whose deliveries are taken here".into(),
            Self::Uncertified => {
                "it has none of the names that are asked for, has ended, or its authority was \
                 withdrawn"
                    .into()
            }
            Self::TooLarge(most) => format!("the body is longer than {most} bytes"),
            Self::TooSlow => "the body did not arrive in time".into(),
            Self::Full => "as many deliveries are kept as may be".into(),
            Self::Unavailable => "the disk does not take it".into(),
            Self::Crowded => "too many deliveries are on their way in".into(),
        }
    }

    const fn hint(self) -> &'static str {
        match self {
            Self::Elsewhere => "compare the subscription's URL with webhook.path",
            Self::Method | Self::NoDeliveryId | Self::NoSignature | Self::BadSignature => {
                "send it as Wise sends webhooks of version 2 and later"
            }
            Self::Broken | Self::TooSlow => "send it again, whole and without pauses",
            Self::Forged => "compare webhook.signature_key and the environment with who sends",
            Self::Strange => {
                "compare webhook.subscriptions with `wise-auth-proxy webhook list` of whoever owns it"
            }
            Self::Uncertified => {
                "compare webhook.client_ca and webhook.client_names with who sends"
            }
            Self::TooLarge(_) => "raise webhook.max_body",
            Self::Full | Self::Unavailable | Self::Crowded => "nothing was kept; send it again",
        }
    }

    pub(crate) fn answer(self) -> Response<Full<Bytes>> {
        let status = self.status();
        let document = serde_json::json!({
            "type": format!("urn:wise-auth-proxy:problem:{}", self.kind()),
            "title": self.title(),
            "status": status.as_u16(),
            "detail": self.detail(),
            "hint": self.hint(),
        });
        let mut answer = Response::new(Full::new(Bytes::from(document.to_string())));
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, problem);
        match self {
            Self::Method => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            Self::Forged | Self::Full | Self::Unavailable | Self::Crowded => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY));
            }
            // Another connection may show another one.
            Self::Uncertified => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY));
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            // What is left of the body is not read.
            Self::TooLarge(_) | Self::TooSlow | Self::Broken => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::Elsewhere
            | Self::NoDeliveryId
            | Self::NoSignature
            | Self::BadSignature
            | Self::Strange => {}
        }
        answer
    }
}
