//! Requests over one HTTP/2 connection.
//!
//! hyper's client hands a request through a channel to one task, which spawns another to wait for
//! the answer. Here the request's own task puts its head onto the connection and hears the answer
//! from it; the connection's task, woken by the first of many requests, writes them all at once.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{PingPong, Reason, RecvStream, SendStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Interval;

use crate::upstream::answer::ConnectionError;
use crate::upstream::gather::Gathering;
use crate::upstream::io::Verdict;

/// Streams that one connection carries before another is dialled, whatever Wise allows.
pub(super) const STREAMS: u8 = 100;

/// What Wise may send ahead on one stream. A connection's window holds all its streams' windows:
/// applications that do not read their answers cannot use up what the others' answers need.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;

/// While this much of a request's body waits to leave, no more is taken from the application: what
/// waits longer has left the processor's cache, and lies in memory for every upload at once.
const SEND_AHEAD: usize = 64 * 1024;

/// A connection with requests on it is asked for a sign of life after two of these without a byte,
/// and given up after a third.
const BEAT: Duration = Duration::from_secs(10);
const QUIET_BEATS: u8 = 2;

/// Where new requests go onto a connection.
pub(super) struct Sender(RefCell<SendRequest<Bytes>>);

/// How much a connection carries, and may.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) streams: Cell<usize>,
    /// As of the connection's last turn: Wise may change its mind at any time.
    pub(super) allowed: Cell<usize>,
}

/// The connection takes no requests. Nothing of this one has left; its body comes back.
pub(super) struct Refused<B> {
    pub(super) error: h2::Error,
    pub(super) unsent: B,
}

/// Starts HTTP/2. The second part runs the connection and ends with it.
pub(super) async fn handshake<T>(
    io: T,
    verdict: Verdict,
    load: Rc<Load>,
) -> Result<(Sender, impl Future<Output = Option<ConnectionError>>), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (io, outbox) = Gathering::new(io);
    let (sender, mut connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(usize::from(STREAMS))
        .max_header_list_size(64 * 1024)
        .max_send_buffer_size(SEND_AHEAD)
        .enable_push(false)
        .handshake(io)
        .await?;
    let tell = |allowed: usize, load: &Load| load.allowed.set(allowed.min(usize::from(STREAMS)));
    tell(connection.max_concurrent_send_streams(), &load);
    let mut pulse = connection
        .ping_pong()
        .map(|pings| Pulse::new(pings, verdict));
    let driver = std::future::poll_fn(move |cx| {
        let ended = Pin::new(&mut connection).poll(cx);
        if let Poll::Ready(Err(error)) = outbox.poll_drain(cx) {
            return Poll::Ready(Some(ConnectionError::Io(error)));
        }
        tell(connection.max_concurrent_send_streams(), &load);
        if let Poll::Ready(ended) = ended {
            return Poll::Ready(ended.err().map(ConnectionError::Http2));
        }
        if let Some(pulse) = &mut pulse
            && pulse.poll(cx, load.streams.get() > 0).is_ready()
        {
            let silent = std::io::ErrorKind::TimedOut;
            return Poll::Ready(Some(ConnectionError::Io(silent.into())));
        }
        Poll::Pending
    });
    Ok((Sender(RefCell::new(sender)), driver))
}

impl Sender {
    /// Whether the connection takes new requests.
    pub(super) fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        // Requests go out by clones, so here nothing is ever pending.
        !matches!(self.0.borrow_mut().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    /// Puts a request onto the connection.
    pub(super) fn send<B>(&self, request: Request<B>) -> Result<Answering<B>, Refused<B>>
    where
        B: Body<Data = Bytes>,
    {
        let (mut head, body) = request.into_parts();
        set_length(&mut head.headers, &head.method, &body.size_hint());
        let ends = body.is_end_stream();
        let mut sender = self.0.borrow().clone();
        match sender.send_request(Request::from_parts(head, ()), ends) {
            Ok((answer, stream)) => Ok(Answering {
                answer,
                upload: (!ends).then(|| Upload::new(stream, body)),
            }),
            Err(error) => Err(Refused {
                error,
                unsent: body,
            }),
        }
    }
}

/// A request on its connection, until the head of its answer is there. Dropped before, its stream
/// is reset.
pub(super) struct Answering<B> {
    answer: ResponseFuture,
    upload: Option<Upload<B>>,
}

impl<B> Future for Answering<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
{
    type Output = Result<Response<RecvStream>, h2::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this
            .upload
            .as_mut()
            .is_some_and(|upload| upload.poll(cx).is_ready())
        {
            this.upload = None;
        }
        let answer = ready!(Pin::new(&mut this.answer).poll(cx));
        // What is left of the body leaves while the answer comes.
        if let Some(mut upload) = this.upload.take_if(|_| answer.is_ok()) {
            tokio::task::spawn_local(std::future::poll_fn(move |cx| upload.poll(cx)));
        }
        Poll::Ready(answer)
    }
}

/// A body of known length says so, even over a framing of its own: servers behind Wise's edge may
/// speak HTTP/1 (RFC 9113 §8.1.1; for an empty body RFC 9110 §8.6).
fn set_length(headers: &mut HeaderMap, method: &Method, size: &SizeHint) {
    let Some(length) = size.exact() else { return };
    let means_something = [Method::POST, Method::PUT, Method::PATCH].contains(method);
    if (length > 0 || means_something) && !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// A request's body on its way onto its stream.
struct Upload<B> {
    stream: SendStream<Bytes>,
    body: B,
    /// Read from the body, and waiting for room; whether it is the last.
    held: Option<(Bytes, bool)>,
}

impl<B> Upload<B> {
    fn new(stream: SendStream<Bytes>, body: B) -> Self {
        let held = None;
        Self { stream, body, held }
    }
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// Ready when there is nothing more to send. What went wrong, the answer's side tells.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Wise wants no more of it, or the connection is gone.
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(());
            }
            let needs_room = self.held.as_ref().is_some_and(|(data, _)| !data.is_empty());
            while needs_room && self.stream.capacity() == 0 {
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(()),
                }
            }
            if let Some((data, last)) = self.held.take()
                && (self.stream.send_data(data, last).is_err() || last)
            {
                return Poll::Ready(());
            }
            // Room is asked for only with the data in hand: a body that pauses must not hold what
            // the other streams' bodies need.
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.stream.reserve_capacity(data.len().min(1));
                        let last = self.body.is_end_stream();
                        if !data.is_empty() || last {
                            self.held = Some((data, last));
                        }
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.stream.reserve_capacity(0);
                            let _ = self.stream.send_trailers(trailers);
                            return Poll::Ready(());
                        }
                    }
                },
                Some(Err(_)) => {
                    // Half a request, which Wise must not take for a whole one.
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(());
                }
                None => {
                    let _ = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(());
                }
            }
        }
    }
}

/// The body of an answer that came over HTTP/2.
#[derive(Debug)]
pub(crate) struct Streamed {
    stream: RecvStream,
    /// By `Content-Length`, as far as it is known.
    left: Option<u64>,
    /// Only trailers may follow.
    over: bool,
}

impl Streamed {
    pub(super) fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
        let length = headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok());
        let left = match length.and_then(|it| it.parse().ok()) {
            None if stream.is_end_stream() => Some(0),
            known => known,
        };
        let over = false;
        Self { stream, left, over }
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        // A reset without an error is an early end and no failure (RFC 9113 §8.1); that the answer
        // is not whole shows by `is_end_stream`.
        let is_early_end = |error: &h2::Error| error.reason() == Some(Reason::NO_ERROR);
        if !self.over {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let length = data.len();
                    let _ = self.stream.flow_control().release_capacity(length);
                    self.left = self.left.map(|left| left.saturating_sub(length as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) if is_early_end(&error) => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.over = true,
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => Poll::Ready(trailers.map(|fields| Ok(Frame::trailers(fields)))),
            Err(error) if is_early_end(&error) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Notices that nobody is at the other end any more.
struct Pulse {
    pings: PingPong,
    verdict: Verdict,
    beat: Interval,
    /// Beats without a byte, with requests waiting.
    quiet: u8,
}

impl Pulse {
    fn new(pings: PingPong, verdict: Verdict) -> Self {
        let first = tokio::time::Instant::now() + BEAT;
        let mut beat = tokio::time::interval_at(first, BEAT);
        // A process that was stopped has not been listening either.
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self {
            pings,
            verdict,
            beat,
            quiet: 0,
        }
    }

    /// Ready when the other end is gone.
    fn poll(&mut self, cx: &mut Context<'_>, busy: bool) -> Poll<()> {
        // Only to take the answer to our ping off the connection.
        let _ = self.pings.poll_pong(cx);
        while self.beat.poll_tick(cx).is_ready() {
            if self.verdict.has_heard() || !busy {
                self.quiet = 0;
                continue;
            }
            self.quiet += 1;
            match self.quiet {
                QUIET_BEATS => drop(self.pings.send_ping(h2::Ping::opaque())),
                quiet if quiet > QUIET_BEATS => return Poll::Ready(()),
                _ => {}
            }
        }
        Poll::Pending
    }
}

/// Whether Wise's HTTP/2 says that it did nothing with a request.
pub(super) fn was_not_processed(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    let going = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    error.is_remote() && (refused || going)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A body without end, and how much of it was taken.
    struct Endless(Rc<Cell<usize>>);

    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let piece = Bytes::from_static(&[0; 16 * 1024]);
            self.0.set(self.0.get() + piece.len());
            Poll::Ready(Some(Ok(Frame::data(piece))))
        }
    }

    #[tokio::test]
    async fn a_body_that_cannot_leave_is_not_taken_from_the_application() {
        let window = 1 << 30;
        let (ours, theirs) = tokio::io::duplex(16 * 1024);
        let mut wise = h2::server::Builder::new();
        wise.initial_window_size(window)
            .initial_connection_window_size(window);
        let ours = handshake(ours, Verdict::default(), Rc::default()).await;
        let (sender, driver) = ours.ok().unwrap();
        let taken = Rc::new(Cell::new(0));
        let request = Request::post("http://wise.test/").body(Endless(Rc::clone(&taken)));
        let mut answer = sender.send(request.unwrap()).ok().unwrap();
        let mut driver = std::pin::pin!(driver);

        // Wise reads until it has the request's head and we have its windows, and then no more.
        let heard = async {
            let mut wise = wise.handshake::<_, Bytes>(theirs).await.unwrap();
            let request = wise.accept().await.unwrap().unwrap();
            (wise, request)
        };
        let _wise = tokio::select! {
            wise = heard => wise,
            _ = &mut driver => panic!("the connection ended"),
        };
        let mut cx = Context::from_waker(Waker::noop());
        let mut before = None;
        while before.replace(taken.get()) != Some(taken.get()) {
            assert!(Pin::new(&mut answer).poll(&mut cx).is_pending());
            assert!(driver.as_mut().poll(&mut cx).is_pending());
        }
        // Beside what waits: a piece more, what the pipe and Wise hold, and what is gathered.
        let around = 16 * 1024 + 2 * 64 * 1024 + crate::upstream::buffers::SIZE;
        assert!(taken.get() >= SEND_AHEAD, "{} bytes", taken.get());
        assert!(taken.get() <= SEND_AHEAD + around, "{} bytes", taken.get());
    }
}
