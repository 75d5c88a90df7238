//! Whether a worker's loop still turns. The worker beats; whoever wants to know looks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A pulse that has ended in order.
const ENDED: u64 = u64::MAX;

/// One worker's pulse. A worker that panics, or that something holds up, stops beating.
#[derive(Debug)]
pub(crate) struct Pulse {
    born: Instant,
    /// Milliseconds since `born`, plus one; 0: never.
    last: AtomicU64,
    first: Notify,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self {
            born: Instant::now(),
            last: AtomicU64::new(0),
            first: Notify::new(),
        }
    }

    pub(crate) fn beat(&self) {
        self.beat_at(Instant::now());
    }

    fn beat_at(&self, now: Instant) {
        let passed = now.saturating_duration_since(self.born).as_millis();
        let passed = u64::try_from(passed).unwrap_or(ENDED - 2);
        if self.last.swap(passed + 1, Ordering::Relaxed) == 0 {
            self.first.notify_one();
        }
    }

    /// The worker has done all its work: its silence means nothing from now on.
    pub(crate) fn end(&self) {
        self.last.store(ENDED, Ordering::Relaxed);
    }

    /// Waits for the first beat. One may wait.
    pub(crate) async fn begun(&self) {
        self.first.notified().await;
    }

    /// Whether the loop has ever turned.
    pub(crate) fn has_begun(&self) -> bool {
        self.last.load(Ordering::Relaxed) != 0
    }

    /// How long ago the loop turned last.
    pub(crate) fn silence(&self) -> Duration {
        self.silence_at(Instant::now())
    }

    fn silence_at(&self, now: Instant) -> Duration {
        let last = match self.last.load(Ordering::Relaxed) {
            ENDED => return Duration::ZERO,
            last => Duration::from_millis(last.saturating_sub(1)),
        };
        now.saturating_duration_since(self.born)
            .saturating_sub(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_that_never_began_grows_silent_and_one_that_ended_does_not() {
        let pulse = Pulse::new();
        let later = pulse.born + Duration::from_secs(3);
        assert!(!pulse.has_begun());
        assert_eq!(pulse.silence_at(later), Duration::from_secs(3));
        pulse.end();
        assert_eq!(pulse.silence_at(later), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_beat_ends_the_silence_and_wakes_who_waits_for_the_first() {
        let pulse = Pulse::new();
        let later = pulse.born + Duration::from_secs(3);
        pulse.beat_at(later);
        assert_eq!(pulse.silence_at(later), Duration::ZERO);
        assert!(pulse.has_begun());
        pulse.begun().await;
    }
}
