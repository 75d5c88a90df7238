//! Answers: how a body is made, including the ones that misbehave on purpose.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http::header::CONTENT_TYPE;
use http_body::Body as _;
use http_body::Frame;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use serde_json::Value;

use super::listener::Connection;

/// Any body the simulator sends. A broken answer is made by cutting the connection, so a body
/// itself never fails.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Any answer the simulator sends.
pub(super) type Reply = Response<Body>;

/// Work that may end early with an answer of its own.
pub(super) type Refusable<T> = Result<T, Box<Reply>>;

/// One thing a scripted body does.
#[derive(Debug)]
pub(super) enum Step {
    /// Sends these bytes.
    Chunk(Bytes),
    /// Waits before going on.
    Wait(Duration),
    /// Ends the connection here; `true` with a TCP reset.
    Cut(Arc<Connection>, bool),
    /// Ends the body with trailers.
    Trailers(HeaderMap),
}

pub(super) fn empty(status: StatusCode) -> Reply {
    with_body(status, Full::new(Bytes::new()).boxed_unsync())
}

pub(super) fn json_reply(status: StatusCode, value: &Value) -> Reply {
    typed(status, "application/json", value.to_string())
}

pub(super) fn text(status: StatusCode, text: &str) -> Reply {
    typed(status, "text/plain;charset=UTF-8", text.to_owned())
}

pub(super) fn html(status: StatusCode, page: String) -> Reply {
    typed(status, "text/html;charset=utf-8", page)
}

pub(super) fn typed(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Reply {
    let mut reply = with_body(status, Full::new(body.into()).boxed_unsync());
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// Another body under a head that is there already.
pub(super) fn again(head: http::response::Parts, body: Bytes) -> Reply {
    Response::from_parts(head, Full::new(body).boxed_unsync())
}

/// An answer whose body is played step by step, without a declared length.
pub(super) fn scripted(
    status: StatusCode,
    content_type: &'static str,
    steps: impl Iterator<Item = Step> + Send + 'static,
) -> Reply {
    let frames = stream::unfold(steps, |mut steps| async move {
        loop {
            match steps.next()? {
                Step::Chunk(bytes) => return Some((Ok(Frame::data(bytes)), steps)),
                Step::Wait(pause) => tokio::time::sleep(pause).await,
                Step::Trailers(trailers) => return Some((Ok(Frame::trailers(trailers)), steps)),
                Step::Cut(connection, reset) => {
                    // What was handed over so far leaves first; then the line goes dead.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    connection.cut(reset);
                    std::future::pending::<()>().await;
                }
            }
        }
    });
    let mut reply = with_body(status, StreamBody::new(frames).boxed_unsync());
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// The answer to a HEAD: the length, and nothing of that length. hyper sees to it in HTTP/1.1 only.
pub(super) fn without_body(mut reply: Reply) -> Reply {
    let length = reply.body().size_hint().exact();
    if let Some(length) = length
        && !reply.headers().contains_key(CONTENT_LENGTH)
    {
        let length = HeaderValue::from(length);
        reply.headers_mut().insert(CONTENT_LENGTH, length);
    }
    *reply.body_mut() = Full::new(Bytes::new()).boxed_unsync();
    reply
}

fn with_body(status: StatusCode, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply
}
