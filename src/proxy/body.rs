//! Bodies on their way through, as streams: nothing is collected, back-pressure passes both ways.
//!
//! A request's body is kept while it streams (cheap clones of its pieces) until Wise has answered,
//! so that a request refused with a 401 can be sent again. It is kept up to a limit per request
//! and a budget per worker; what is larger is not sent twice.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::guard::Refusal;
use crate::proxy::policy;
use crate::upstream::{AnswerBody, ConnectionError};

/// A body of our making leaves in pieces of this size.
const PIECE: usize = 64 * 1024;

/// How much of an unwanted body is read on, and for how long.
const DRAIN_LIMIT: usize = 16 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the application's body broke off")]
    Application(#[source] hyper::Error),
    #[error("Wise's body broke off")]
    Wise(#[source] ConnectionError),
    #[error("Wise ended the stream before its answer was whole")]
    WiseCut,
    #[error("Wise's body stopped arriving")]
    WiseStalled,
    #[error("the request is being sent again on another connection")]
    Superseded,
    #[error("the application's body is longer than a policy lets pass")]
    TooLarge,
}

/// Bytes that a worker may keep for one purpose, such as replays, all requests together.
#[derive(Debug)]
pub(crate) struct Budget(Cell<usize>);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Cell::new(bytes))
    }

    pub(super) fn take(&self, bytes: usize) -> bool {
        let left = self.0.get();
        let fits = bytes <= left;
        if fits {
            self.0.set(left - bytes);
        }
        fits
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.0.set(self.0.get() + bytes);
    }
}

/// A request's body, as the application sends it and as we keep it.
///
/// One at a time of the [`Upload`]s made from it is current; the others have been superseded.
#[derive(Debug)]
pub(crate) struct Source {
    /// `None`: all of it is kept; it is of our making.
    incoming: RefCell<Option<Incoming>>,
    /// The application sends the body only after `100 Continue`, which it hears when the body is
    /// first read.
    waits_for_continue: bool,
    /// The body has been read from.
    begun: Cell<bool>,
    kept: RefCell<Kept>,
    budget: Rc<Budget>,
    limit: usize,
    /// Which attempt is current.
    attempt: Cell<u32>,
    /// When the body last moved, and whether it is the application that we wait for.
    moved: Cell<Instant>,
    waits_for_application: Cell<bool>,
    ended: Cell<bool>,
    /// The application broke off, or what it sent is no body.
    broken: Cell<bool>,
    /// Who waits for the body now; woken when superseded, to let go of its connection.
    reader: RefCell<Option<Waker>>,
    /// How long policies let it be.
    caps: RefCell<Vec<Cap>>,
    /// Bytes read so far; counted where there is a cap.
    read: Cell<usize>,
    /// A cap was met: what was read last, and what comes, does not leave.
    refused: RefCell<Option<Refusal>>,
}

/// How long a policy lets a body be whose length nobody announced.
pub(crate) struct Cap {
    pub(crate) limit: usize,
    /// Told once, when the body turns out to be longer; `None`: it may go on all the same.
    pub(crate) exceeded: Box<dyn Fn() -> Option<Refusal>>,
}

impl std::fmt::Debug for Cap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cap")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Kept {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// Nothing more is kept: Wise has answered, or the body is too large.
    given_up: bool,
}

#[derive(Clone, Debug)]
enum Piece {
    Data(Bytes),
    Trailers(Box<HeaderMap>),
}

impl Piece {
    fn length(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }
}

impl Source {
    pub(crate) fn new(
        incoming: Incoming,
        waits_for_continue: bool,
        budget: Rc<Budget>,
        limit: usize,
    ) -> Rc<Self> {
        // What is known to be too large need not be kept to its limit first.
        let given_up = incoming.size_hint().lower() > limit as u64;
        let kept = Kept {
            given_up,
            ..Kept::default()
        };
        Rc::new(Self::with(
            Some(incoming),
            waits_for_continue,
            kept,
            budget,
            limit,
        ))
    }

    /// A body of our making, which is whole.
    pub(crate) fn of_bytes(mut bytes: Bytes) -> Rc<Self> {
        let mut kept = Kept::default();
        // In pieces, so that it is seen to move where the way to Wise is slow.
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            kept.pieces.push_back(Piece::Data(piece));
        }
        let body = Self::with(None, false, kept, Rc::new(Budget::new(0)), 0);
        body.ended.set(true);
        Rc::new(body)
    }

    fn with(
        incoming: Option<Incoming>,
        waits_for_continue: bool,
        kept: Kept,
        budget: Rc<Budget>,
        limit: usize,
    ) -> Self {
        Self {
            incoming: RefCell::new(incoming),
            waits_for_continue,
            begun: Cell::new(false),
            kept: RefCell::new(kept),
            budget,
            limit,
            attempt: Cell::new(0),
            moved: Cell::new(Instant::now()),
            waits_for_application: Cell::new(false),
            ended: Cell::new(false),
            broken: Cell::new(false),
            reader: RefCell::default(),
            caps: RefCell::default(),
            read: Cell::new(0),
            refused: RefCell::default(),
        }
    }

    /// Has the body broken off before a byte beyond the cap leaves: what is sent on then has no
    /// end, so nobody can take it for whole.
    pub(crate) fn cap(&self, cap: Cap) {
        self.caps.borrow_mut().push(cap);
    }

    /// How long the body is at least, by what was said of it.
    pub(crate) fn announced(&self) -> u64 {
        let incoming = self.incoming.borrow();
        incoming.as_ref().map_or(0, |it| it.size_hint().lower())
    }

    /// The refusal of a body that turned out to be too long.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refused.borrow().clone()
    }

    /// Whether the piece that was just read may leave.
    fn fits(&self, length: usize) -> bool {
        let mut caps = self.caps.borrow_mut();
        if caps.is_empty() {
            return true;
        }
        let read = self.read.get().saturating_add(length);
        self.read.set(read);
        let mut refused = self.refused.borrow_mut();
        caps.retain(|cap| {
            let exceeded = read > cap.limit;
            if exceeded && refused.is_none() {
                *refused = (cap.exceeded)();
            }
            !exceeded
        });
        refused.is_none()
    }

    /// A body for one more attempt, from the first byte; `None` if the bytes are gone.
    ///
    /// The attempt before is superseded. This one repeats what was kept, streams on, and goes on
    /// keeping.
    pub(crate) fn upload(self: &Rc<Self>, gate: Option<Arc<Gate>>) -> Option<Upload> {
        let attempt = self.attempt.get() + 1;
        let kept = self.kept.borrow();
        if attempt > 1 && kept.given_up {
            return None;
        }
        let again = kept.pieces.clone();
        drop(kept);
        self.attempt.set(attempt);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Some(Upload(Some(Streamed {
            source: Rc::clone(self),
            attempt,
            again,
            gate,
        })))
    }

    /// Whether every byte that has left is still at hand.
    pub(crate) fn is_whole(&self) -> bool {
        !self.kept.borrow().given_up
    }

    /// Whether all of it is at hand, so that waiting cannot lose a byte: it has come and was kept, or
    /// the application has not begun, because it waits for Wise's word.
    pub(crate) fn is_held(&self) -> bool {
        let not_begun = self.waits_for_continue && !self.begun.get();
        self.is_whole() && (self.is_over() || not_begun)
    }

    /// Wise has answered: nothing will be sent again, so nothing needs keeping.
    pub(crate) fn forget(&self) {
        let mut kept = self.kept.borrow_mut();
        kept.given_up = true;
        kept.pieces.clear();
        self.budget.give_back(std::mem::take(&mut kept.bytes));
    }

    /// How long the body has stood still, and whether it is the application that we wait for.
    pub(crate) fn still(&self) -> (Duration, bool) {
        (
            self.moved.get().elapsed(),
            self.waits_for_application.get() && !self.ended.get(),
        )
    }

    /// Whether the application's last byte has been read.
    pub(crate) fn is_over(&self) -> bool {
        self.ended.get() || self.is_end_of_stream()
    }

    /// Whether the body can never be whole, because of the application.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Whether nothing comes after what was read.
    fn is_end_of_stream(&self) -> bool {
        let incoming = self.incoming.borrow();
        incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn keep(&self, piece: Piece) {
        let mut kept = self.kept.borrow_mut();
        if kept.given_up {
            return;
        }
        let bytes = piece.length();
        if kept.bytes + bytes > self.limit || !self.budget.take(bytes) {
            drop(kept);
            self.forget();
            return;
        }
        kept.bytes += bytes;
        kept.pieces.push_back(piece);
    }

    pub(crate) fn waits_for_continue(&self) -> bool {
        self.waits_for_continue
    }

    /// Reads on, for a while, what nobody wants any more: an application that is still sending
    /// when its answer has come reads that answer only if its connection is not reset under it.
    pub(crate) fn drain(self: Rc<Self>) {
        // A connection to Wise that still takes the body reads it; so does nobody who never asked.
        let taken = Rc::strong_count(&self) > 1;
        let held_back = self.waits_for_continue && !self.begun.get();
        if taken || held_back || self.is_over() {
            return;
        }
        self.forget();
        self.caps.borrow_mut().clear();
        self.refused.borrow_mut().take();
        tokio::task::spawn_local(async move {
            let reading = async {
                let mut left = DRAIN_LIMIT;
                while let Some(Ok(frame)) = std::future::poll_fn(|cx| self.poll_fresh(cx)).await {
                    let length = frame.data_ref().map_or(0, Bytes::len);
                    let Some(less) = left.checked_sub(length) else {
                        return;
                    };
                    left = less;
                }
            };
            let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
        });
    }

    fn poll_fresh(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.begun.set(true);
        let polled = match self.incoming.borrow_mut().as_mut() {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => Poll::Ready(None),
        };
        self.waits_for_application.set(polled.is_pending());
        if polled.is_ready() {
            self.moved.set(Instant::now());
        } else {
            *self.reader.borrow_mut() = Some(cx.waker().clone());
        }
        if self.refused.borrow().is_some() {
            return Poll::Ready(Some(Err(BodyError::TooLarge)));
        }
        polled.map(|frame| match frame {
            Some(Ok(mut frame)) => {
                if let Some(data) = frame.data_ref() {
                    if !self.fits(data.len()) {
                        self.forget();
                        return Some(Err(BodyError::TooLarge));
                    }
                    self.keep(Piece::Data(data.clone()));
                } else if let Some(trailers) = frame.trailers_mut() {
                    policy::trailers(trailers);
                    self.keep(Piece::Trailers(Box::new(trailers.clone())));
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                self.broken.set(true);
                Some(Err(BodyError::Application(error)))
            }
            None => {
                self.ended.set(true);
                None
            }
        })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.kept.borrow_mut().bytes);
        self.budget.give_back(bytes);
    }
}

/// Holds a body back until Wise says `100 Continue`, or a while has passed.
///
/// Opened from hyper's informational callback, which demands `Send + Sync`: hence the atomics, on
/// a path that only requests with `Expect` take.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: AtomicBool,
    waiting: std::sync::Mutex<Option<Waker>>,
}

impl Gate {
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Release);
        let waiting = self
            .waiting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.open.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        let mut waiting = self
            .waiting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *waiting = Some(cx.waker().clone());
        drop(waiting);
        // It may have opened between the look and the registration.
        if self.open.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// One attempt's request body; `None` inside: the request has no body.
#[derive(Debug)]
pub(crate) struct Upload(Option<Streamed>);

#[derive(Debug)]
struct Streamed {
    source: Rc<Source>,
    attempt: u32,
    /// What an earlier attempt has taken from the application already.
    again: VecDeque<Piece>,
    gate: Option<Arc<Gate>>,
}

impl Upload {
    pub(crate) fn empty() -> Self {
        Self(None)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        if body.source.attempt.get() != body.attempt {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let Some(gate) = &body.gate {
            std::task::ready!(gate.poll(cx));
            body.gate = None;
        }
        match body.again.pop_front() {
            Some(Piece::Data(data)) => {
                // Wise takes it: no less than what comes from the application now.
                body.source.moved.set(Instant::now());
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Piece::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(*trailers)))),
            None => body.source.poll_fresh(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|body| body.again.is_empty() && body.source.is_end_of_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            Some(body) => match body.source.incoming.borrow().as_ref() {
                Some(incoming) if body.attempt == 1 => incoming.size_hint(),
                // Unknown: the request's own Content-Length, if it had one, still frames it.
                Some(_) => SizeHint::default(),
                None => {
                    SizeHint::with_exact(body.again.iter().map(Piece::length).sum::<usize>() as u64)
                }
            },
        }
    }
}

/// An answer's body, which fails when it stands still for too long or ends before its end.
#[derive(Debug)]
pub(crate) struct Download {
    incoming: AnswerBody,
    http2: bool,
    longest_silence: Duration,
    /// Made only once the body has made us wait.
    alarm: Option<Pin<Box<Sleep>>>,
    /// The alarm is set. An application that pauses is not a Wise that stalls, so it is set anew
    /// whenever a wait begins.
    waits: bool,
    /// Why it has broken off; told at the next turn.
    broken: Option<BodyError>,
}

impl Download {
    pub(crate) fn new(response: Response<AnswerBody>, longest_silence: Duration) -> Self {
        let http2 = response.version() == Version::HTTP_2;
        Self {
            incoming: response.into_body(),
            http2,
            longest_silence,
            alarm: None,
            waits: false,
            broken: None,
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    /// The next piece. What broke the body off is told a turn late: hyper drops what it has not
    /// written when a body fails, and an application that gets not even the head of an answer
    /// takes the connection for a stale one, on which some clients repeat a POST by themselves.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let error = match std::task::ready!(self.poll_incoming(cx)) {
            Some(Err(error)) => error,
            // A stream that was reset with NO_ERROR has ended early.
            None if self.http2 && !self.incoming.is_end_stream() => BodyError::WiseCut,
            whole => return Poll::Ready(whole),
        };
        self.broken = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.waits = false;
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Wise)))
            }
            Poll::Pending => {
                let silence = self.longest_silence;
                let alarm = self
                    .alarm
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(silence)));
                if !self.waits {
                    self.waits = true;
                    alarm.as_mut().reset(Instant::now() + silence);
                }
                std::task::ready!(alarm.as_mut().poll(cx));
                Poll::Ready(Some(Err(BodyError::WiseStalled)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const SILENCE: Duration = Duration::from_mins(1);

    /// A large body over a slow line is on its way for longer than Wise may take to answer.
    #[tokio::test(start_paused = true)]
    async fn what_is_at_hand_moves_as_it_is_taken() {
        let source = Source::of_bytes(Bytes::from(vec![0; 2 * PIECE + 1]));
        for _attempt in 0..2 {
            let mut upload = source.upload(None).unwrap();
            assert_eq!(upload.size_hint().exact(), Some(2 * PIECE as u64 + 1));
            for length in [PIECE, PIECE, 1] {
                tokio::time::advance(SILENCE).await;
                let frame = upload.frame().await.unwrap().unwrap();
                assert_eq!(frame.into_data().unwrap().len(), length);
                assert_eq!(source.still(), (Duration::ZERO, false));
            }
            assert!(upload.is_end_stream());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_silence_while_we_wait_for_wise_counts_as_a_stall() {
        let (ours, mut wise) = tokio::io::duplex(4096);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours))
            .await
            .unwrap();
        let tasks = tokio_util::task::TaskTracker::new();
        tasks.spawn(connection);
        let speak = async {
            wise.read_u8().await.unwrap(); // The request is here.
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\nfirst";
            wise.write_all(head).await.unwrap();
        };
        let asking = sender.send_request(http::Request::new(Empty::<Bytes>::new()));
        let (answer, ()) = tokio::join!(asking, speak);
        let mut download = Download::new(answer.unwrap().map(AnswerBody::Http1), SILENCE);
        let mut next = async || std::future::poll_fn(|cx| download.poll_frame(cx)).await;
        assert_eq!(next().await.unwrap().unwrap().into_data().unwrap(), "first");

        // The second piece makes us wait, so the alarm is there.
        let speak = async {
            tokio::time::sleep(SILENCE / 2).await;
            wise.write_all(b"other").await.unwrap();
        };
        let (second, ()) = tokio::join!(next(), speak);
        assert_eq!(second.unwrap().unwrap().into_data().unwrap(), "other");

        // The application pauses for long; Wise has the rest at hand when it reads on.
        tokio::time::advance(SILENCE * 3).await;
        let speak = async { wise.write_all(b"third").await.unwrap() };
        let (third, ()) = tokio::join!(next(), speak);
        assert_eq!(third.unwrap().unwrap().into_data().unwrap(), "third");
    }
}
