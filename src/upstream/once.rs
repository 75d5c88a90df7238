//! One request on a connection of its own, for what is asked rarely: exchanges and who-am-I.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT};
use http::uri::{self, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::tls::HandshakeFailure;
use crate::upstream::dial::dial;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::resolve::Resolver;

/// Longest answer that is read.
const LONGEST: usize = 64 * 1024;

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// No whole answer came. Every text is safe to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OnceError {
    /// Wise has certainly not read a request.
    #[error("{0}")]
    NotSent(String),
    /// The request has left, or part of it.
    #[error("the answer was lost: {0}")]
    AnswerLost(String),
    /// The answer is longer than such an answer can be.
    #[error("the answer is larger than {} KiB", LONGEST / 1024)]
    TooBig,
}

/// What is asked.
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) authorization: Option<HeaderValue>,
    /// Type and bytes of the body, where there is one.
    pub(super) body: Option<(HeaderValue, Bytes)>,
}

/// GETs a JSON document.
///
/// Bounds dialling by `connect_timeout` and nothing else. Cancel safe.
pub(crate) async fn get(
    endpoint: &Endpoint,
    path: PathAndQuery,
    authorization: HeaderValue,
    connect_timeout: Duration,
) -> Result<Answer, OnceError> {
    let question = Question {
        method: Method::GET,
        path,
        authorization: Some(authorization),
        body: None,
    };
    let resolver = Resolver::new(Duration::ZERO);
    ask(endpoint, &resolver, connect_timeout, question).await
}

/// POSTs a JSON document.
///
/// Bounds dialling by `connect_timeout` and nothing else. Cancel safe.
pub(crate) async fn post(
    endpoint: &Endpoint,
    path: PathAndQuery,
    authorization: Option<HeaderValue>,
    body: Bytes,
    connect_timeout: Duration,
) -> Result<Answer, OnceError> {
    let json = HeaderValue::from_static("application/json");
    let question = Question {
        method: Method::POST,
        path,
        authorization,
        body: Some((json, body)),
    };
    let resolver = Resolver::new(Duration::ZERO);
    ask(endpoint, &resolver, connect_timeout, question).await
}

/// Dials, asks, reads the whole answer and hangs up.
pub(super) async fn ask(
    endpoint: &Endpoint,
    resolver: &Resolver,
    connect_timeout: Duration,
    question: Question,
) -> Result<Answer, OnceError> {
    let not_sent = |error: &dyn std::fmt::Display| OnceError::NotSent(error.to_string());
    let dialled = dial(endpoint, resolver, connect_timeout)
        .await
        .map_err(|error| not_sent(&error))?;
    let io = TokioIo::new(dialled.stream);
    let request = question.request(endpoint, dialled.http2);
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

async fn hear<B>(answer: Result<Response<Incoming>, TrySendError<B>>) -> Result<Answer, OnceError> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if error.message().is_some() => {
            return Err(OnceError::NotSent(error.error().to_string()));
        }
        Err(error) => return Err(lost(error.error())),
    };
    let (head, body) = answer.into_parts();
    let body = match Limited::new(body, LONGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(OnceError::TooBig),
        Err(_) => return Err(OnceError::AnswerLost("its body broke off".into())),
    };
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
    })
}

/// The request has left, or part of it, and no answer came.
fn lost(error: &hyper::Error) -> OnceError {
    match HandshakeFailure::find(error) {
        // In TLS 1.3 our certificate is judged after our side of the handshake is done; a server
        // that refuses it has read no request.
        Some(failure) if failure.is_client_certificate_rejected() => {
            OnceError::NotSent(format!("Wise refused our client certificate: {failure}"))
        }
        Some(_) | None => OnceError::AnswerLost(error.to_string()),
    }
}

impl Question {
    fn request(self, endpoint: &Endpoint, http2: bool) -> Request<Full<Bytes>> {
        let (kind, body) = self.body.unzip();
        let mut request = Request::new(Full::new(body.unwrap_or_default()));
        *request.method_mut() = self.method;
        let mut parts = uri::Parts::default();
        parts.path_and_query = Some(self.path);
        let headers = request.headers_mut();
        if http2 {
            parts.scheme = Some(endpoint.scheme.clone());
            parts.authority = Some(endpoint.authority.clone());
        } else {
            headers.insert(HOST, endpoint.host.clone());
        }
        if let Some(authorization) = self.authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(kind) = kind {
            headers.insert(http::header::CONTENT_TYPE, kind);
        }
        let agent = concat!("wise-auth-proxy/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        // Scheme and authority come together or not at all, and the path is there: this cannot
        // fail.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        request
    }
}
