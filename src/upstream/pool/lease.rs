use std::error::Error as StdError;
use std::rc::{Rc, Weak};
use std::task::Poll;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::Either;
use http::{Request, Response};
use http_body::Body;
use hyper::client::conn::http1;
use tokio::time::Instant;

use super::{Idle, Inner, Origin, Pool, SendError, Shared};
use crate::upstream::AnswerBody;
use crate::upstream::http2::{self, Refused, Streamed};
use crate::upstream::io::Verdict;

/// The right to send one request.
///
/// Dropped before the answer was read to its end, an HTTP/1.1 connection closes: what is left on
/// it belongs to nobody.
pub(crate) struct Lease<B>(Option<Kind<B>>);

pub(super) enum Kind<B> {
    Http1(Whole<B>),
    Http2(Stream<B>),
}

pub(super) struct Whole<B> {
    pub(super) sender: http1::SendRequest<B>,
    pub(super) verdict: Verdict,
    pub(super) origin: Origin,
    pub(super) pool: Weak<Inner<B>>,
}

pub(super) struct Stream<B> {
    pub(super) shared: Rc<Shared>,
    pub(super) pool: Weak<Inner<B>>,
}

impl<B> std::fmt::Debug for Lease<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}

impl<B> Lease<B> {
    pub(super) fn of(kind: Kind<B>) -> Self {
        Self(Some(kind))
    }
}

impl<B> Lease<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    /// Whether requests must carry scheme and authority instead of `Host`.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.0, Some(Kind::Http2(_)))
    }

    /// Whether its connection carries so many requests that another should be at hand soon.
    pub(super) fn is_crowded(&self) -> bool {
        match &self.0 {
            Some(Kind::Http2(stream)) => !stream.shared.has_room(),
            Some(Kind::Http1(_)) | None => false,
        }
    }

    /// Sends the request and waits for the answer's head.
    ///
    /// Errors: `unsent` holds the request's body if nothing of the request has left.
    /// Cancel safe: dropping the future closes an HTTP/1.1 connection and resets an HTTP/2 stream.
    ///
    /// No `async fn`: its future would keep room for the request, which is gone by then.
    pub(crate) fn send(
        &mut self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<AnswerBody>, SendError<B>>> {
        match &mut self.0 {
            Some(Kind::Http1(whole)) => {
                let verdict = &whole.verdict;
                let sending = whole
                    .sender
                    .try_send_request(request)
                    .map(|sent| match sent {
                        Ok(answer) => Ok(answer.map(AnswerBody::Http1)),
                        Err(mut refused) => Err(SendError {
                            unsent: refused.take_message().map(Request::into_body),
                            was_not_processed: false,
                            tls: verdict.tls(),
                            error: refused.into_error().into(),
                        }),
                    });
                Either::Left(sending)
            }
            Some(Kind::Http2(stream)) => {
                let verdict = &stream.shared.verdict;
                let failed = |error: h2::Error, unsent| SendError {
                    unsent,
                    was_not_processed: http2::was_not_processed(&error),
                    tls: verdict.tls(),
                    error: error.into(),
                };
                Either::Right(match stream.shared.sender.send(request) {
                    Ok(answering) => Either::Left(answering.map(move |answer| {
                        let (head, body) =
                            answer.map_err(|error| failed(error, None))?.into_parts();
                        let body = AnswerBody::Http2(Streamed::new(body, &head.headers));
                        Ok(Response::from_parts(head, body))
                    })),
                    Err(Refused { error, unsent }) => {
                        Either::Right(std::future::ready(Err(failed(error, Some(unsent)))))
                    }
                })
            }
            None => unreachable!("a lease is emptied only by finish, which consumes it"),
        }
    }

    /// The request has waited in vain. Its connection takes no new one: where it leads to nobody any
    /// more, every next request would wait as long. Those already on it may be answered yet.
    pub(crate) fn distrust(&self) {
        if let Some(Kind::Http2(stream)) = &self.0 {
            stream.shared.distrusted.set(true);
        }
    }

    /// The answer was read to its end: the connection may serve the next request.
    pub(crate) fn finish(mut self) {
        let Some(Kind::Http1(mut whole)) = self.0.take_if(|kind| matches!(kind, Kind::Http1(_)))
        else {
            return; // HTTP/2: dropping the stream is all there is to do.
        };
        let Some(pool) = whole.pool.upgrade().map(Pool) else {
            return;
        };
        if whole.verdict.is_unwritable() {
            return; // The answer was its last word.
        }
        let (now, age) = (Instant::now(), pool.0.limits.age);
        let state = pool.0.state.borrow();
        if !whole.origin.is_fit(now, age, state.addresses.as_deref()) {
            return;
        }
        drop(state);
        whole.origin.used = true;
        let mut lease = Self::of(Kind::Http1(whole));
        if lease.is_ready() {
            pool.offer(lease);
            return;
        }
        // The request's body is still leaving, or the connection has not been polled since.
        tokio::task::spawn_local(async move {
            if lease.until_ready().await {
                pool.offer(lease);
            }
        });
    }

    fn is_ready(&self) -> bool {
        match &self.0 {
            Some(Kind::Http1(whole)) => whole.sender.is_ready(),
            Some(Kind::Http2(_)) | None => false,
        }
    }

    async fn until_ready(&mut self) -> bool {
        std::future::poll_fn(|cx| match &mut self.0 {
            Some(Kind::Http1(whole)) => whole.sender.poll_ready(cx).map(|ready| ready.is_ok()),
            Some(Kind::Http2(_)) | None => Poll::Ready(false),
        })
        .await
    }

    /// Puts an HTTP/1.1 connection on the shelf, unless the pool is out of service.
    pub(super) fn shelve(mut self) {
        let Some(Kind::Http1(whole)) = self.0.take() else {
            return;
        };
        let Some(pool) = whole.pool.upgrade() else {
            return;
        };
        let mut state = pool.state.borrow_mut();
        if !state.retired {
            let since = Instant::now();
            state.idle.push(Idle {
                sender: whole.sender,
                verdict: whole.verdict,
                origin: whole.origin,
                since,
            });
        }
    }
}

impl<B> Drop for Stream<B> {
    fn drop(&mut self) {
        let streams = &self.shared.load.streams;
        streams.set(streams.get() - 1);
        if streams.get() == 0 {
            self.shared.since.set(Instant::now());
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.serve_streams();
        }
    }
}
