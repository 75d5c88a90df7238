//! The token endpoint: one POST per exchange, on a connection of its own.
//!
//! Exchanges are hours apart, so there is no pool: a connection carries one exchange, and is idle
//! only for the moment in which the requests before it are answered.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{DATE, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use time::PrimitiveDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::secret::{NotAHeaderValue, Secret};
use crate::tokens::{Exchange, ExchangeError, Garbled, GrantRequest};
use crate::upstream::dial::Dialled;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::once::{Answer, OnceError, Question, ask_on, open};
use crate::upstream::resolve::Resolver;
use crate::wise::wire::{self, TokenAnswer, TokenRefusal};

/// Where exchanges go and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Aim {
    endpoint: Arc<Endpoint>,
    path: PathAndQuery,
    client_id: String,
    /// HTTP Basic with client id and secret (RFC 6749 §2.3.1), sensitive.
    authorization: HeaderValue,
}

impl Aim {
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        path: PathAndQuery,
        client_id: &str,
        client_secret: &Secret,
    ) -> Result<Self, NotAHeaderValue> {
        let authorization = client_secret.basic(client_id)?;
        Ok(Self {
            endpoint,
            path,
            client_id: client_id.to_owned(),
            authorization,
        })
    }
}

/// The token endpoint of the lane in use.
#[derive(Debug)]
pub(crate) struct TokenEndpoint {
    aim: ArcSwap<Aim>,
    resolver: Resolver,
    connect_timeout: Duration,
}

impl TokenEndpoint {
    pub(crate) fn new(aim: Aim, connect_timeout: Duration, dns_ttl: Duration) -> Self {
        let resolver = Resolver::new(dns_ttl);
        Self {
            aim: ArcSwap::from_pointee(aim),
            resolver,
            connect_timeout,
        }
    }

    /// Sends later exchanges elsewhere, or as somebody else; one under way is not moved.
    pub(crate) fn aim(&self, aim: Aim) {
        self.aim.store(Arc::new(aim));
    }
}

/// A connection to the token endpoint, and as whom to ask there.
pub(crate) struct Opened {
    aim: Arc<Aim>,
    dialled: Dialled,
}

impl Opened {
    async fn post(self, form: Bytes) -> Result<Answer, ExchangeError> {
        let Self { aim, dialled } = self;
        let urlencoded = HeaderValue::from_static("application/x-www-form-urlencoded");
        let question = Question {
            method: Method::POST,
            path: aim.path.clone(),
            authorization: Some(aim.authorization.clone()),
            body: Some((urlencoded, form)),
            fields: HeaderMap::new(),
        };
        let answer = ask_on(dialled, &aim.endpoint, question).await;
        answer.map_err(failed)
    }
}

fn failed(error: OnceError) -> ExchangeError {
    match error {
        OnceError::NotSent(why) => ExchangeError::NotSent(why),
        refused @ OnceError::CertificateRefused(_) => ExchangeError::NotSent(refused.to_string()),
        OnceError::AnswerLost(why) => ExchangeError::AnswerLost(why),
        OnceError::TooBig => ExchangeError::Garbled(Garbled::TooBig),
    }
}

impl Exchange for TokenEndpoint {
    type Connection = Opened;

    async fn connect(&self) -> Result<Opened, ExchangeError> {
        let aim = self.aim.load_full();
        let dialled = open(&aim.endpoint, &self.resolver, self.connect_timeout).await;
        let dialled = dialled.map_err(failed)?;
        Ok(Opened { aim, dialled })
    }

    async fn exchange_on(
        &self,
        connection: Opened,
        grant: GrantRequest,
    ) -> Result<TokenAnswer, ExchangeError> {
        let form = form(&connection.aim.client_id, &grant);
        let heard = connection.post(form).await?;
        if heard.status == StatusCode::OK {
            return understand(&heard.body);
        }
        let status = heard.status.as_u16();
        Err(refused(status, &heard.headers, &heard.body))
    }
}

/// What an answer other than 200 means.
pub(super) fn refused(status: u16, headers: &HeaderMap, body: &Bytes) -> ExchangeError {
    let refusal: Option<TokenRefusal> = wire::object(body);
    let error = refusal.as_ref().map(|refusal| refusal.error.as_str());
    ExchangeError::answered(status, error, retry_after(headers))
}

pub(super) fn understand(body: &Bytes) -> Result<TokenAnswer, ExchangeError> {
    if body.is_empty() {
        return Err(ExchangeError::Garbled(Garbled::Empty));
    }
    // serde's own message could quote the body, which holds tokens.
    wire::object(body).ok_or(ExchangeError::Garbled(Garbled::NotJson))
}

/// Seconds, or a date, which counts from the answer's own: the two clocks need not agree
/// (RFC 9110 §10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let after = text(RETRY_AFTER)?.trim();
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| PrimitiveDateTime::parse(text, HTTP_DATE).ok();
    let wait = date(after)? - date(text(DATE)?.trim())?;
    Some(wait.try_into().unwrap_or_default())
}

/// The one form of a date that may still be sent (RFC 9110 §5.6.7).
pub(super) const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// The form of each grant (RFC 6749 §4 and §6; Wise, "OAuth token").
fn form(client_id: &str, grant: &GrantRequest) -> Bytes {
    let mut form = form_urlencoded::Serializer::new(String::new());
    match grant {
        GrantRequest::ClientCredentials => form.append_pair("grant_type", "client_credentials"),
        GrantRequest::AuthorizationCode { code, redirect_uri } => form
            .append_pair("grant_type", "authorization_code")
            .append_pair("client_id", client_id)
            .append_pair("code", code.expose())
            .append_pair("redirect_uri", redirect_uri),
        GrantRequest::RegistrationCode {
            email,
            registration_code,
        } => form
            .append_pair("grant_type", "registration_code")
            .append_pair("client_id", client_id)
            .append_pair("email", email)
            .append_pair("registration_code", registration_code.expose()),
        GrantRequest::RefreshToken(token) => form
            .append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", token.expose()),
    };
    Bytes::from(form.finish())
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read as _};

    use http::uri::{Authority, Scheme};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::{HttpVersion, Origin};

    /// A token endpoint's listener, and the way there.
    async fn endpoint(http: HttpVersion) -> (TcpListener, TokenEndpoint) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint {
            id: 0,
            origin: Origin {
                host: "127.0.0.1".into(),
                port: listener.local_addr().unwrap().port(),
                tls: false,
            },
            scheme: Scheme::HTTP,
            authority: Authority::from_static("127.0.0.1"),
            host: HeaderValue::from_static("127.0.0.1"),
            tls: None,
            http,
            fixed: None,
            via: None,
        };
        let path = PathAndQuery::from_static("/oauth/token");
        let aim = Aim::new(Arc::new(endpoint), path, "client", &Secret::new("secret")).unwrap();
        let tokens = TokenEndpoint::new(aim, Duration::from_secs(10), Duration::ZERO);
        (listener, tokens)
    }

    #[tokio::test]
    async fn a_connection_says_nothing_until_something_is_asked_on_it() {
        for http in [HttpVersion::Http1, HttpVersion::Http2] {
            let (listener, tokens) = endpoint(http).await;
            let (connection, accepted) = tokio::join!(tokens.connect(), listener.accept());
            let wise = accepted.unwrap().0.into_std().unwrap();
            let nothing = (&wise).read(&mut [0; 64]).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock, "{http:?}");

            let mut wise = TcpStream::from_std(wise).unwrap();
            let mut heard = Vec::new();
            let asked = tokens.exchange_on(connection.unwrap(), GrantRequest::ClientCredentials);
            tokio::select! {
                _ = asked => panic!("nobody has answered"),
                read = wise.read_buf(&mut heard) => assert_ne!(read.unwrap(), 0, "{http:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_whole_object_is_an_answer_however_its_body_ends() {
        let object = r#"{"access_token":"t","refresh_token":"r"}"#;
        let chunk = |text: &str| {
            let length = text.len();
            format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{text}\r\n")
        };
        let long = |text: &str| format!("content-length: 1000\r\n\r\n{text}");
        let half = &object[..20];
        for (answer, closes, whole) in [
            (chunk(object), true, true),
            (chunk(object), false, true),
            (long(object), true, true),
            (long(object), false, true),
            (chunk(half), true, false),
            (long(half), true, false),
        ] {
            let (listener, tokens) = endpoint(HttpVersion::Http1).await;
            let (connection, accepted) = tokio::join!(tokens.connect(), listener.accept());
            let (mut wise, _) = accepted.unwrap();
            let asked = tokens.exchange_on(connection.unwrap(), GrantRequest::ClientCredentials);
            let answers = async {
                let mut heard = Vec::new();
                while !heard.ends_with(b"client_credentials") {
                    assert_ne!(wise.read_buf(&mut heard).await.unwrap(), 0);
                }
                let answer = format!("HTTP/1.1 200 OK\r\n{answer}");
                wise.write_all(answer.as_bytes()).await.unwrap();
                (!closes).then_some(wise)
            };
            let (told, _open) = tokio::join!(asked, answers);
            match told {
                Ok(tokens) => {
                    assert!(whole, "{answer}");
                    assert_eq!(tokens.refresh_token.as_deref(), Some("r"));
                }
                Err(error) => {
                    assert!(!whole, "{answer}: {error}");
                    assert!(matches!(error, ExchangeError::AnswerLost(_)), "{error}");
                }
            }
        }
    }

    #[test]
    fn a_rest_is_asked_for_in_seconds_or_until_a_date() {
        let now = Some("Wed, 25 Nov 2026 13:00:00 GMT");
        let minutes = |minutes| Some(Duration::from_mins(minutes));
        for (after, date, wanted) in [
            ("120", None, minutes(2)),
            ("Wed, 25 Nov 2026 13:03:00 GMT", now, minutes(3)),
            ("Thu, 26 Nov 2026 13:00:00 GMT", now, minutes(24 * 60)),
            ("Wed, 25 Nov 2026 12:00:00 GMT", now, minutes(0)),
            ("Wed, 25 Nov 2026 13:03:00 GMT", None, None),
            ("soon", now, None),
            ("-1", now, None),
            ("", now, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(after));
            if let Some(date) = date {
                headers.insert(DATE, HeaderValue::from_static(date));
            }
            assert_eq!(retry_after(&headers), wanted, "{after}");
        }
    }
}
