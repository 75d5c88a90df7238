//! One request on a connection of its own, for what is asked rarely: exchanges and who-am-I.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HOST, USER_AGENT};
use http::uri::{self, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::de::IgnoredAny;
use time::PrimitiveDateTime;

use crate::tls::HandshakeFailure;
use crate::upstream::dial::{DialError, Dialled, dial};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::last_word::{Heard, LastWord};
use crate::upstream::resolve::Resolver;
use crate::upstream::token_endpoint::HTTP_DATE;
use crate::wise::wire;

/// Longest answer that is read.
const LONGEST: usize = 64 * 1024;

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// When the server sent it, by its own clock.
    pub(crate) fn date(&self) -> Option<SystemTime> {
        let text = self.headers.get(DATE)?.to_str().ok()?;
        let date = PrimitiveDateTime::parse(text.trim(), HTTP_DATE).ok()?;
        Some(date.assume_utc().into())
    }
}

/// No whole answer came. Every text is safe to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OnceError {
    /// Wise has certainly not read a request.
    #[error("{0}")]
    NotSent(String),
    /// Nor here: the server refused our certificate, in the handshake or right after it.
    #[error("Wise refused our client certificate: {0}")]
    CertificateRefused(HandshakeFailure),
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
    /// Without one Wise answers, and does nothing.
    pub(super) authorization: Option<HeaderValue>,
    /// Type and bytes of the body, where there is one.
    pub(super) body: Option<(HeaderValue, Bytes)>,
    /// Further fields; they win over ours.
    pub(super) fields: HeaderMap,
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
        fields: HeaderMap::new(),
    };
    let resolver = Resolver::new(Duration::ZERO);
    ask(endpoint, &resolver, connect_timeout, question).await
}

/// GETs without any credential: whoever answers has let our certificate in and misses a token.
///
/// Bounds dialling by `connect_timeout` and nothing else. Cancel safe.
pub(crate) async fn knock(
    endpoint: &Endpoint,
    path: PathAndQuery,
    connect_timeout: Duration,
) -> Result<Answer, OnceError> {
    let question = Question {
        method: Method::GET,
        path,
        authorization: None,
        body: None,
        fields: HeaderMap::new(),
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
        fields: HeaderMap::new(),
    };
    let resolver = Resolver::new(Duration::ZERO);
    ask(endpoint, &resolver, connect_timeout, question).await
}

/// Sends a request with its path, its fields and, where they say its type, its body.
///
/// Bounds dialling by `connect_timeout` and nothing else. Cancel safe.
pub(crate) async fn send(
    endpoint: &Endpoint,
    request: Request<Bytes>,
    connect_timeout: Duration,
) -> Result<Answer, OnceError> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.into_parts().path_and_query;
    let kind = head.headers.remove(CONTENT_TYPE);
    let question = Question {
        method: head.method,
        path: path.unwrap_or_else(|| PathAndQuery::from_static("/")),
        authorization: None,
        body: kind.map(|kind| (kind, body)),
        fields: head.headers,
    };
    let resolver = Resolver::new(Duration::ZERO);
    ask(endpoint, &resolver, connect_timeout, question).await
}

/// Dials, asks, reads the whole answer and hangs up.
async fn ask(
    endpoint: &Endpoint,
    resolver: &Resolver,
    connect_timeout: Duration,
    question: Question,
) -> Result<Answer, OnceError> {
    let dialled = open(endpoint, resolver, connect_timeout).await?;
    ask_on(dialled, endpoint, question).await
}

/// Dials. Whatever goes wrong, nothing was sent.
pub(super) async fn open(
    endpoint: &Endpoint,
    resolver: &Resolver,
    connect_timeout: Duration,
) -> Result<Dialled, OnceError> {
    let dialled = dial(endpoint, resolver, connect_timeout).await;
    dialled.map_err(|error| {
        if let DialError::Tls { failure, .. } = &error
            && failure.is_client_certificate_rejected()
        {
            return OnceError::CertificateRefused(*failure);
        }
        OnceError::NotSent(error.to_string())
    })
}

/// Asks on a connection to this endpoint, reads the whole answer and hangs up.
pub(super) async fn ask_on(
    dialled: Dialled,
    endpoint: &Endpoint,
    question: Question,
) -> Result<Answer, OnceError> {
    let not_sent = |error: hyper::Error| OnceError::NotSent(error.to_string());
    let word = LastWord::default();
    let io = TokioIo::new(Heard::new(dialled.stream, word.clone()));
    let request = question.request(endpoint, dialled.http2);
    if dialled.http2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io)
            .await
            .map_err(not_sent)?;
        let work = async { hear(sender.try_send_request(request).await, &word).await };
        alongside(connection, work).await
    } else {
        let (mut sender, connection) = http1::handshake(io).await.map_err(not_sent)?;
        let work = async { hear(sender.try_send_request(request).await, &word).await };
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

async fn hear<B>(
    answer: Result<Response<Incoming>, TrySendError<B>>,
    word: &LastWord,
) -> Result<Answer, OnceError> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let sent = error.message().is_none();
            return Err(lost(error.error(), word, sent));
        }
    };
    let (head, body) = answer.into_parts();
    let body = read(body, head.status == StatusCode::OK).await?;
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
    })
}

/// Reads a body to its end, or to that of an object of JSON if it is a `success`.
///
/// An object says itself where it ends. A last chunk, an END_STREAM or a `close_notify` that never
/// comes after it must not cost a refresh token.
async fn read(mut body: Incoming, success: bool) -> Result<Bytes, OnceError> {
    let mut text = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(OnceError::AnswerLost("its body broke off".into()));
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if text.len() + data.len() > LONGEST {
            return Err(OnceError::TooBig);
        }
        text.extend_from_slice(&data);
        let closes = text.trim_ascii_end().ends_with(b"}");
        if success && closes && wire::object::<IgnoredAny>(&text).is_some() {
            break;
        }
    }
    Ok(text.freeze())
}

/// No answer came, although the request has left, or part of it, or because it has not.
fn lost(error: &hyper::Error, word: &LastWord, sent: bool) -> OnceError {
    match HandshakeFailure::find(error).or_else(|| word.heard()) {
        // In TLS 1.3 our certificate is judged after our side of the handshake is done; a server
        // that refuses it has read no request.
        Some(failure) if failure.is_client_certificate_rejected() => {
            OnceError::CertificateRefused(failure)
        }
        Some(_) | None if sent => OnceError::AnswerLost(error.to_string()),
        Some(_) | None => OnceError::NotSent(error.to_string()),
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
            headers.insert(CONTENT_TYPE, kind);
        }
        let agent = concat!("wise-auth-proxy/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.extend(self.fields);
        // Scheme and authority come together or not at all, and the path is there: this cannot
        // fail.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        request
    }
}
