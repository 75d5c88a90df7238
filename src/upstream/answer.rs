//! Wise's answers, over either version of HTTP.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::upstream::http2::Streamed;

/// A connection to Wise broke, or one of its streams.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    #[error(transparent)]
    Http2(#[from] h2::Error),
    #[error(transparent)]
    Io(std::io::Error),
}

/// The body of an answer of Wise's.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    Http1(Incoming),
    Http2(Streamed),
    Begun(Box<Begun>),
}

/// An answer's body that was begun to be read: what was read, and the rest of it.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    read: VecDeque<Bytes>,
    bytes: u64,
    /// `None`: there is no more.
    rest: Option<AnswerBody>,
    /// Why there is no more, where that is no end.
    broken: Option<ConnectionError>,
    /// Behind the body.
    trailers: Option<http::HeaderMap>,
}

impl AnswerBody {
    /// Reads it to its end, so that its connection can go on, if that comes before `limit` bytes and
    /// within `time`. Returns the same body, and whether all of it was read.
    ///
    /// Not cancel safe: what was read is lost.
    pub(crate) async fn ahead(self, limit: u64, time: Duration) -> (Self, bool) {
        let mut begun = Begun::default();
        let mut rest = self;
        let deadline = Instant::now() + time;
        let is_whole = loop {
            if begun.bytes > limit {
                break false;
            }
            let next = std::future::poll_fn(|cx| Pin::new(&mut rest).poll_frame(cx));
            let Ok(frame) = tokio::time::timeout_at(deadline, next).await else {
                break false;
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    begun.bytes += data.len() as u64;
                    begun.read.push_back(data);
                }
                Some(Ok(Err(frame))) => begun.trailers = frame.into_trailers().ok(),
                Some(Err(error)) => {
                    begun.broken = Some(error);
                    return (Self::Begun(Box::new(begun)), false);
                }
                // A stream that was reset with NO_ERROR has ended early.
                None => break !matches!(rest, Self::Http2(_)) || rest.is_end_stream(),
            }
        };
        begun.rest = (!is_whole).then_some(rest);
        (Self::Begun(Box::new(begun)), is_whole)
    }
}

impl Begun {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionError>>> {
        if let Some(data) = self.read.pop_front() {
            self.bytes -= data.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(rest) = &mut self.rest {
            return Pin::new(rest).poll_frame(cx);
        }
        Poll::Ready(
            self.trailers
                .take()
                .map(|fields| Ok(Frame::trailers(fields))),
        )
    }

    fn is_end_stream(&self) -> bool {
        let is_over = self.rest.as_ref().is_none_or(Body::is_end_stream);
        self.read.is_empty() && self.trailers.is_none() && self.broken.is_none() && is_over
    }

    fn size_hint(&self) -> SizeHint {
        let Some(rest) = &self.rest else {
            return SizeHint::with_exact(self.bytes);
        };
        let mut hint = SizeHint::new();
        let of_rest = rest.size_hint();
        hint.set_lower(self.bytes + of_rest.lower());
        if let Some(upper) = of_rest.upper() {
            hint.set_upper(self.bytes + upper);
        }
        hint
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = ConnectionError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionError>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Begun(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
            Self::Begun(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
            Self::Begun(body) => body.size_hint(),
        }
    }
}
