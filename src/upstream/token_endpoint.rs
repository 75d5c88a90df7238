//! The token endpoint: one POST per exchange, on a connection of its own.
//!
//! Exchanges are hours apart, so there is no pool: nothing idle to break, and what has been sent
//! is never in doubt.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::uri::{self, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::secret::{NotAHeaderValue, Secret};
use crate::tls::HandshakeFailure;
use crate::tokens::{Exchange, ExchangeError, Garbled, GrantRequest};
use crate::upstream::dial::dial;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::resolve::Resolver;
use crate::wise::wire::{TokenAnswer, TokenRefusal};

/// Longest answer that is read.
const LONGEST: usize = 64 * 1024;

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

    async fn post(&self, aim: &Aim, form: Bytes) -> Result<Heard, ExchangeError> {
        let not_sent = |error: &dyn std::fmt::Display| ExchangeError::NotSent(error.to_string());
        let dialled = dial(&aim.endpoint, &self.resolver, self.connect_timeout)
            .await
            .map_err(|error| not_sent(&error))?;
        let io = TokioIo::new(dialled.stream);
        let request = request(aim, form, dialled.http2);
        if dialled.http2 {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(|error| not_sent(&error))?;
            let work = async { hear(sender.try_send_request(request).await).await };
            alongside(connection, work).await
        } else {
            let (mut sender, connection) = http1::handshake(io)
                .await
                .map_err(|error| not_sent(&error))?;
            let work = async { hear(sender.try_send_request(request).await).await };
            alongside(connection, work).await
        }
    }
}

impl Exchange for TokenEndpoint {
    async fn exchange(&self, grant: GrantRequest) -> Result<TokenAnswer, ExchangeError> {
        let aim = self.aim.load_full();
        let heard = self.post(&aim, form(&aim.client_id, &grant)).await?;
        if heard.status == StatusCode::OK {
            return understand(&heard.body);
        }
        let refusal: Option<TokenRefusal> = serde_json::from_slice(&heard.body).ok();
        let error = refusal.as_ref().map(|refusal| refusal.error.as_str());
        Err(ExchangeError::answered(
            heard.status.as_u16(),
            error,
            retry_after(&heard.headers),
        ))
    }
}

struct Heard {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Drives the connection while the work goes on. Its end does not end the work: what has been
/// read by then is still on its way to us.
async fn alongside<T>(connection: impl Future, work: impl Future<Output = T>) -> T {
    let driven = async {
        let _ = connection.await;
        std::future::pending::<std::convert::Infallible>().await
    };
    tokio::select! {
        biased;
        done = work => done,
        never = driven => match never {},
    }
}

async fn hear<B>(
    answer: Result<Response<Incoming>, hyper::client::conn::TrySendError<B>>,
) -> Result<Heard, ExchangeError> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if error.message().is_some() => {
            return Err(ExchangeError::NotSent(error.error().to_string()));
        }
        Err(error) => return Err(lost(error.error())),
    };
    let (head, body) = answer.into_parts();
    let body = match Limited::new(body, LONGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(ExchangeError::Garbled(Garbled::TooBig));
        }
        Err(_) => return Err(ExchangeError::AnswerLost("its body broke off".into())),
    };
    Ok(Heard {
        status: head.status,
        headers: head.headers,
        body,
    })
}

/// The request has left, or part of it, and no answer came.
fn lost(error: &hyper::Error) -> ExchangeError {
    match HandshakeFailure::find(error) {
        // In TLS 1.3 our certificate is judged after our side of the handshake is done; a server
        // that refuses it has read no request.
        Some(failure) if failure.is_client_certificate_rejected() => {
            ExchangeError::NotSent(format!("Wise refused our client certificate: {failure}"))
        }
        Some(_) | None => ExchangeError::AnswerLost(error.to_string()),
    }
}

fn understand(body: &Bytes) -> Result<TokenAnswer, ExchangeError> {
    if body.is_empty() {
        return Err(ExchangeError::Garbled(Garbled::Empty));
    }
    // serde's own message could quote the body, which holds tokens.
    serde_json::from_slice(body).map_err(|_| ExchangeError::Garbled(Garbled::NotJson))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

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

fn request(aim: &Aim, form: Bytes, http2: bool) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(form));
    *request.method_mut() = Method::POST;
    let mut parts = uri::Parts::default();
    parts.path_and_query = Some(aim.path.clone());
    let headers = request.headers_mut();
    if http2 {
        parts.scheme = Some(aim.endpoint.scheme.clone());
        parts.authority = Some(aim.endpoint.authority.clone());
    } else {
        headers.insert(HOST, aim.endpoint.host.clone());
    }
    headers.insert(AUTHORIZATION, aim.authorization.clone());
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let urlencoded = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(CONTENT_TYPE, urlencoded);
    let agent = concat!("wise-auth-proxy/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    // Scheme and authority come together or not at all, and the path is there: this cannot fail.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    request
}
