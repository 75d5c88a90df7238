//! Timers that are kept for the next request.
//!
//! Most waits are over long before their time is up, and setting a timer for each costs more than
//! looking at one that is set already: it goes into the runtime's wheel and out of it again, past
//! timers of others that lie in no cache. A kept one stays in the wheel with the deadline of some
//! wait that is over. It rings too early at worst, and is put off then.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A worker's kept timers; as many as there were ever waits at once.
#[derive(Debug, Default)]
pub(crate) struct Alarms(RefCell<Vec<Pin<Box<Sleep>>>>);

impl Alarms {
    /// Awaits `work` until `deadline`. `None`: it is not done by then, and may be awaited on.
    ///
    /// Cancel safe if `work` is.
    pub(crate) fn until<'a, F: Future + Unpin>(
        &'a self,
        deadline: Instant,
        work: &'a mut F,
    ) -> impl Future<Output = Option<F::Output>> {
        Until {
            alarms: self,
            alarm: None,
            deadline,
            work,
        }
    }

    fn take(&self, deadline: Instant) -> Pin<Box<Sleep>> {
        let kept = self.0.borrow_mut().pop();
        kept.unwrap_or_else(|| Box::pin(sleep_until(deadline)))
    }
}

struct Until<'a, F> {
    alarms: &'a Alarms,
    /// `None`: there was nothing to wait for yet.
    alarm: Option<Pin<Box<Sleep>>>,
    deadline: Instant,
    work: &'a mut F,
}

impl<F: Future + Unpin> Future for Until<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(done) = Pin::new(&mut *this.work).poll(cx) {
            return Poll::Ready(Some(done));
        }
        let (deadline, alarms) = (this.deadline, this.alarms);
        let alarm = this.alarm.get_or_insert_with(|| alarms.take(deadline));
        loop {
            // Set for somebody who had more time, or rung for somebody who had less.
            if alarm.deadline() > deadline || (alarm.is_elapsed() && alarm.deadline() < deadline) {
                alarm.as_mut().reset(deadline);
            }
            ready!(alarm.as_mut().poll(cx));
            if alarm.deadline() >= deadline {
                return Poll::Ready(None);
            }
        }
    }
}

impl<F> Drop for Until<'_, F> {
    fn drop(&mut self) {
        self.alarms.0.borrow_mut().extend(self.alarm.take());
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_own_deadline_whatever_its_alarm_was_set_for() {
        let alarms = Alarms::default();
        let began = Instant::now();
        // None; of a longer wait that is over; of a shorter one; one that has rung meanwhile.
        for (after, wait) in [(0, 10), (0, 60), (0, 30), (0, 59), (100, 60)] {
            tokio::time::sleep(Duration::from_secs(after)).await;
            // A moment of waiting sets the alarm.
            let mut moment = Box::pin(tokio::time::sleep(Duration::from_millis(1)));
            let done = alarms.until(Instant::now() + LONG, &mut moment).await;
            assert!(done.is_some());
            let (now, wait) = (Instant::now(), Duration::from_secs(wait));
            let done = alarms.until(now + wait, &mut pending::<()>()).await;
            assert!(done.is_none());
            let waited = now.elapsed();
            assert!(
                waited >= wait && waited < wait + Duration::from_millis(2),
                "{waited:?}"
            );
        }
        assert!(began.elapsed() > LONG);
        assert_eq!(alarms.0.borrow().len(), 1, "one at a time needs one");
    }

    #[tokio::test(start_paused = true)]
    async fn waits_at_once_have_an_alarm_each() {
        let alarms = Alarms::default();
        let (mut never, mut nothing) = (pending::<()>(), pending::<()>());
        let now = Instant::now();
        let first = alarms.until(now + LONG, &mut never);
        let second = alarms.until(now + 2 * LONG, &mut nothing);
        let (first, second) =
            tokio::join!(async { (first.await, now.elapsed().as_secs()) }, async {
                (second.await, now.elapsed().as_secs())
            },);
        assert_eq!((first, second), ((None, 60), (None, 120)));
        assert_eq!(alarms.0.borrow().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_at_once_sets_none() {
        let alarms = Alarms::default();
        let mut ready = poll_fn(|_| Poll::Ready(7));
        let done = alarms.until(Instant::now() + LONG, &mut ready).await;
        assert_eq!(done, Some(7));
        assert!(alarms.0.borrow().is_empty());
    }
}
