//! How long a connection may keep us waiting for the application.
//!
//! hyper's own timer watches request heads of HTTP/1 only, and takes an idle connection for a slow
//! head. This one knows whose turn it is: while we or Wise are at work nothing is overdue. It also
//! knows when a connection may be put to rest, to be a mere socket until its next request.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use crate::proxy::body::BodyError;
use crate::proxy::reply::Reply;

/// Between two requests a connection is put to rest after this long. A client in full swing never
/// pauses so long; the buffers of one that does are of more use to others.
const REST: Duration = Duration::from_millis(40);

/// A rest that ends sooner was in vain: this client asks at a steady pace, and its connection rests
/// after four times as long the next time, up to this long.
const SHORT: Duration = Duration::from_secs(1);

/// What the time has come for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing is under way, and nothing is left over from what was.
    Rest,
    /// The application has kept us waiting too long.
    End,
}

/// The limits of one connection, and where it stands.
#[derive(Debug)]
pub(crate) struct Patience {
    /// For the head of the first request, from the start; for that of a later one over HTTP/1,
    /// from its first byte.
    head: Duration,
    /// Without a request, or with an answer that the application does not take.
    idle: Duration,
    /// When the application last did something that counts, as far as the clock was read: reading
    /// it is left to whoever waits, for most requests are over before anybody does.
    since: Cell<Instant>,
    stirred: Cell<bool>,
    /// Requests that are not over, and those of them on which we or Wise are at work.
    open: Cell<usize>,
    at_work: Cell<usize>,
    /// The version of the last request; `None` before the first.
    version: Cell<Option<Version>>,
    /// The next head has begun, and when.
    head_begun: Cell<bool>,
    head_since: Cell<Option<Instant>>,
    /// The socket takes no more for the moment.
    pub(crate) full: Cell<bool>,
    /// A request's body was not read to its end, so that the next byte may be no request's.
    leftover: Cell<bool>,
    /// After how long the connection is put to rest.
    rest_after: Cell<Duration>,
    /// Since when it rests.
    rests: Cell<Option<Instant>>,
}

impl Patience {
    pub(crate) fn new(head: Duration, idle: Duration) -> Rc<Self> {
        Rc::new(Self {
            head,
            idle,
            since: Cell::new(Instant::now()),
            stirred: Cell::new(false),
            open: Cell::new(0),
            at_work: Cell::new(0),
            version: Cell::new(None),
            head_begun: Cell::new(false),
            head_since: Cell::new(None),
            full: Cell::new(false),
            leftover: Cell::new(false),
            rest_after: Cell::new(REST.min(idle)),
            rests: Cell::new(None),
        })
    }

    /// Bytes came. Over HTTP/2 they need not be a request's, so there they count for nothing.
    pub(crate) fn heard(&self) {
        let http1 = self.version.get().is_some_and(|it| it < Version::HTTP_2);
        if http1 && self.open.get() == 0 {
            self.head_begun.set(true);
        }
    }

    /// A request's head is here.
    pub(crate) fn begins(self: &Rc<Self>, version: Version) -> Turn {
        self.version.set(Some(version));
        self.head_begun.set(false);
        self.head_since.set(None);
        self.open.set(self.open.get() + 1);
        self.at_work.set(self.at_work.get() + 1);
        Turn {
            patience: Rc::clone(self),
            ours: true,
            whole: false,
        }
    }

    /// Puts the connection to rest.
    pub(crate) fn rest(&self) {
        self.rests.set(Some(Instant::now()));
    }

    /// Whether the connection rests, or is just being put to rest.
    pub(crate) fn rests(&self) -> bool {
        self.rests.get().is_some()
    }

    /// Ends the connection's rest, if it rests.
    pub(crate) fn wake(&self) {
        let Some(since) = self.rests.take() else {
            return;
        };
        if since.elapsed() < SHORT {
            let longer = self.rest_after.get() * 4;
            self.rest_after.set(longer.min(SHORT).min(self.idle));
        }
    }

    /// A rest would lose something.
    pub(crate) fn never_rest(&self) {
        self.leftover.set(true);
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.get() == 0 && !self.head_begun.get() && self.version.get().is_some()
    }

    /// Counts from now again.
    pub(crate) fn renew(&self) {
        self.stirred.set(true);
    }

    /// Waits until something is due. Must be polled whenever the connection is, by one task; the
    /// timer is touched only when it would ring too late, or far too early.
    pub(crate) async fn due(&self) -> Due {
        let mut alarm = std::pin::pin!(sleep_until(self.since.get() + self.head));
        let mut armed = false;
        std::future::poll_fn(|cx| {
            loop {
                // While somebody is at work the alarm only has to ring some time, to look again.
                let at_work = self.at_work.get() > 0;
                if at_work && armed && !alarm.is_elapsed() {
                    return Poll::Pending;
                }
                let now = Instant::now();
                let (due, what) = if at_work {
                    (now + self.idle, Due::End)
                } else {
                    self.next(now)
                };
                if due <= now {
                    return Poll::Ready(what);
                }
                // Putting it off costs little, and spares a connection in full swing its alarms.
                let late = alarm.deadline() + REST / 2;
                if alarm.is_elapsed() || due < alarm.deadline() || due > late {
                    alarm.as_mut().reset(due);
                }
                armed = true;
                std::task::ready!(alarm.as_mut().poll(cx));
            }
        })
        .await
    }

    /// What the application's time will be up for, and when.
    fn next(&self, now: Instant) -> (Instant, Due) {
        if self.stirred.take() {
            self.since.set(now);
        }
        if self.head_begun.get() && self.head_since.get().is_none() {
            self.head_since.set(Some(now));
        }
        if self.version.get().is_none() {
            return (self.since.get() + self.head, Due::End);
        }
        match self.head_since.get() {
            Some(since) if self.open.get() == 0 => (since + self.head, Due::End),
            _ if self.may_rest() => (self.since.get() + self.rest_after.get(), Due::Rest),
            _ => (self.since.get() + self.idle, Due::End),
        }
    }

    /// Whether the next byte that comes will be a request's first, on a connection of HTTP/1 that
    /// has nothing to write. An HTTP/2 connection is more than its requests.
    fn may_rest(&self) -> bool {
        let http1 = self.version.get().is_some_and(|it| it < Version::HTTP_2);
        let settled = !self.leftover.get() && !self.full.get() && self.rests.get().is_none();
        http1 && settled && self.is_idle()
    }
}

/// One request, and whose turn it is in it. Dropped when it is over.
#[derive(Debug)]
pub(crate) struct Turn {
    patience: Rc<Patience>,
    ours: bool,
    /// The request was read to its end.
    whole: bool,
}

impl Turn {
    fn is_ours(&mut self, ours: bool) {
        let at_work = &self.patience.at_work;
        match (self.ours, ours) {
            (false, true) => at_work.set(at_work.get() + 1),
            (true, false) => at_work.set(at_work.get() - 1),
            _ => {}
        }
        self.ours = ours;
        self.patience.renew();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.is_ours(false);
        if !self.whole {
            self.patience.never_rest();
        }
        self.patience.open.set(self.patience.open.get() - 1);
    }
}

/// An answer's body that keeps account of whose turn it is: ours while it has nothing to hand
/// down, the application's while it has.
#[derive(Debug)]
pub(crate) struct Paced {
    /// Boxed: an answer is moved from hand to hand until hyper has it where it stays.
    reply: Box<Reply>,
    turn: Turn,
}

impl Paced {
    pub(crate) fn new(reply: Box<Reply>, mut turn: Turn) -> Self {
        turn.is_ours(false);
        Self { reply, turn }
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.turn.whole = self.reply.finish();
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut *self.reply).poll_frame(cx);
        self.turn.is_ours(polled.is_pending());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.reply.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.reply.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(30);
    const IDLE: Duration = Duration::from_mins(2);

    /// The connection has its turn, as it has whenever bytes come or go.
    async fn turn(patience: &Patience) {
        let mut due = std::pin::pin!(patience.due());
        std::future::poll_fn(|cx| {
            assert!(due.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }

    /// How long until the application is overdue.
    async fn left(patience: &Patience) -> Duration {
        let now = Instant::now();
        if patience.due().await == Due::Rest {
            patience.rest();
            assert_eq!(patience.due().await, Due::End);
        }
        now.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_head_has_its_time_from_the_start_whatever_trickles_in() {
        let patience = Patience::new(HEAD, IDLE);
        tokio::time::advance(HEAD / 2).await;
        patience.heard();
        assert_eq!(left(&patience).await.as_secs(), 15);
        assert!(!patience.is_idle(), "nothing to be polite about");
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_head_has_its_time_from_its_first_byte() {
        let patience = Patience::new(HEAD, IDLE);
        drop(patience.begins(Version::HTTP_11));
        assert!(patience.is_idle());
        patience.rest();
        turn(&patience).await;
        tokio::time::advance(IDLE / 2).await;
        patience.heard();
        turn(&patience).await;
        tokio::time::advance(HEAD / 2).await;
        patience.heard();
        assert_eq!(left(&patience).await.as_secs(), 15);
    }

    #[tokio::test(start_paused = true)]
    async fn over_http2_only_requests_keep_an_idle_connection_open() {
        let patience = Patience::new(HEAD, IDLE);
        drop(patience.begins(Version::HTTP_2));
        turn(&patience).await;
        tokio::time::advance(IDLE / 2).await;
        patience.heard();
        assert_eq!(left(&patience).await.as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn while_we_are_at_work_nothing_is_overdue() {
        let patience = Patience::new(HEAD, IDLE);
        let mut turn = patience.begins(Version::HTTP_11);
        let waited = tokio::time::timeout(IDLE * 10, patience.due()).await;
        assert!(waited.is_err());
        turn.is_ours(false);
        assert_eq!(left(&patience).await.as_secs(), 120, "now it is its turn");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_rests_when_nothing_is_left_over() {
        let patience = Patience::new(HEAD, IDLE);
        let mut turn = patience.begins(Version::HTTP_11);
        turn.whole = true;
        drop(turn);
        assert_eq!(patience.due().await, Due::Rest);
        patience.rest();
        assert_eq!(patience.due().await, Due::End, "it rests already");

        let rests = |version, whole, full| async move {
            let patience = Patience::new(HEAD, IDLE);
            let mut turn = patience.begins(version);
            turn.whole = whole;
            drop(turn);
            patience.full.set(full);
            patience.due().await == Due::Rest
        };
        assert!(rests(Version::HTTP_11, true, false).await);
        assert!(!rests(Version::HTTP_2, true, false).await);
        assert!(
            !rests(Version::HTTP_11, false, false).await,
            "half a body is left"
        );
        assert!(
            !rests(Version::HTTP_11, true, true).await,
            "an answer is on its way"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_woken_soon_rests_later() {
        let patience = Patience::new(HEAD, IDLE);
        let mut rested_after = Vec::new();
        for rest in [60, 60, 60, 60, 2_000, 60].map(Duration::from_millis) {
            let mut turn = patience.begins(Version::HTTP_11);
            turn.whole = true;
            drop(turn);
            let silent = Instant::now();
            assert_eq!(patience.due().await, Due::Rest);
            rested_after.push(silent.elapsed().as_millis());
            patience.rest();
            tokio::time::advance(rest).await;
            patience.wake();
        }
        assert_eq!(rested_after, [40, 160, 640, 1_000, 1_000, 1_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_at_work_excuses_the_connection() {
        let patience = Patience::new(HEAD, IDLE);
        let mut taken = patience.begins(Version::HTTP_2);
        taken.is_ours(false);
        let working = patience.begins(Version::HTTP_2);
        let waited = tokio::time::timeout(IDLE * 10, patience.due()).await;
        assert!(waited.is_err());
        drop(working);
        assert_eq!(left(&patience).await.as_secs(), 120);
        drop(taken);
    }
}
