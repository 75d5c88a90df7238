//! How many requests one caller has going, how fast they come, and what a cap that is only tried out
//! would let pass.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::guard::caps::HOUR;

/// What is remembered of one caller under one policy. Shared by the workers, and by the
/// configurations that follow each other.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// When the next request is due if all came evenly (GCRA's theoretical arrival time), in
    /// nanoseconds of the boot clock.
    due: AtomicU64,
    at_once: AtomicU32,
    /// When each funding of the last hour ends to count, under a cap that refuses nothing: so it
    /// costs no disk, and a restart forgets it.
    fundings: Mutex<VecDeque<Duration>>,
}

impl State {
    /// Lets a request pass, or says after how long one would.
    ///
    /// An even flow of `per_minute` passes whole; after a pause so does a burst of a tenth of that.
    pub(super) fn take(&self, per_minute: u32, now: Duration) -> Result<(), Duration> {
        let now = nanos(now);
        let apart = nanos(Duration::from_mins(1)) / u64::from(per_minute.max(1));
        let burst = u64::from((per_minute / 10).max(1));
        let ahead = apart * burst;
        let mut due = self.due.load(Ordering::Relaxed);
        loop {
            // A slower rate before must not make anybody wait for longer than this one asks.
            let bounded = due.clamp(now, now + ahead);
            let next = bounded + apart;
            let passes = next <= now + ahead;
            let new = if passes { next } else { bounded };
            let (old, order) = (due, Ordering::Relaxed);
            match self.due.compare_exchange_weak(old, new, order, order) {
                Ok(_) if passes => return Ok(()),
                Ok(_) => return Err(Duration::from_nanos(next - now - ahead)),
                Err(other) => due = other,
            }
        }
    }

    /// Counts a funding, or says after how long one would fit.
    pub(super) fn try_funding(&self, per_hour: u32, now: Duration) -> Result<(), Duration> {
        let mut tried = self.fundings.lock().unwrap_or_else(PoisonError::into_inner);
        while tried.front().is_some_and(|ends| *ends <= now) {
            tried.pop_front();
        }
        let limit = usize::try_from(per_hour).unwrap_or(usize::MAX);
        if tried.len() < limit {
            tried.push_back(now + HOUR);
            return Ok(());
        }
        // The one whose end makes room; with no room at all, an hour from now.
        let last = tried.len().checked_sub(limit.max(1));
        let frees = last.and_then(|last| tried.get(last));
        Err(frees.map_or(HOUR, |ends| ends.saturating_sub(now)))
    }

    /// Takes a place; false: that many were taken already.
    pub(super) fn enter(state: &Arc<Self>, limit: u32) -> (Place, bool) {
        let before = state.at_once.fetch_add(1, Ordering::AcqRel);
        (Place(Arc::clone(state)), before < limit)
    }
}

/// A request that is being served. Dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Place(Arc<State>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::AcqRel);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1000);

    #[test]
    fn a_burst_of_a_tenth_passes_and_then_an_even_flow() {
        let state = State::default();
        for _ in 0..60 {
            state.take(600, START).unwrap();
        }
        let wait = state.take(600, START).unwrap_err();
        assert_eq!(
            wait,
            Duration::from_millis(100),
            "600 a minute: ten a second"
        );
        state.take(600, START + wait).unwrap();
        state.take(600, START + wait).unwrap_err();
        let mut passed = 0;
        for step in 0..60_000 {
            // A thousand attempts a second for a minute.
            let now = START + wait + Duration::from_millis(step);
            passed += u32::from(state.take(600, now).is_ok());
        }
        assert!((598..=600).contains(&passed), "{passed}");
    }

    #[test]
    fn a_small_rate_lets_one_pass_at_once() {
        let state = State::default();
        state.take(2, START).unwrap();
        assert_eq!(state.take(2, START).unwrap_err(), Duration::from_secs(30));
    }

    #[test]
    fn threads_that_race_share_one_rate() {
        let state = State::default();
        let passed: u32 = std::thread::scope(|scope| {
            let go = || (0..500).filter(|_| state.take(1000, START).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(go)).collect();
            threads
                .into_iter()
                .map(|thread| u32::try_from(thread.join().unwrap()).unwrap())
                .sum()
        });
        assert_eq!(
            passed, 100,
            "a tenth of a minute's worth, and the clock stands still"
        );
    }

    #[test]
    fn a_rate_that_was_raised_is_not_waited_for_as_the_old_one() {
        let state = State::default();
        state.take(1, START).unwrap();
        let later = START + Duration::from_secs(7);
        let wait = state.take(60_000, later).unwrap_err();
        assert_eq!(wait, Duration::from_millis(1));
        state.take(60_000, later + wait).unwrap();
    }

    #[test]
    fn a_cap_that_is_tried_out_counts_as_one_in_force() {
        let state = State::default();
        let apart = Duration::from_mins(10);
        state.try_funding(2, START).unwrap();
        state.try_funding(2, START + apart).unwrap();
        let wait = state.try_funding(2, START + 2 * apart).unwrap_err();
        assert_eq!(wait, Duration::from_mins(40));
        state.try_funding(2, START + 2 * apart + wait).unwrap();
        let wait = state.try_funding(1, START + 2 * apart + wait).unwrap_err();
        assert_eq!(wait, HOUR, "the last of them, under a smaller cap");
        let none = State::default().try_funding(0, START).unwrap_err();
        assert_eq!(none, HOUR);
    }

    #[test]
    fn a_place_is_free_again_when_it_is_left() {
        let state = Arc::new(State::default());
        let (first, fits) = State::enter(&state, 1);
        assert!(fits);
        let (second, fits) = State::enter(&state, 1);
        assert!(!fits);
        drop(second);
        drop(first);
        assert!(State::enter(&state, 1).1);
    }
}
