//! The admin key, and how often a wrong one may be shown.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::admin::control::Control;
use crate::secret::Secret;

/// Wrong keys within [`SPAN`]; after them no key is looked at, the right one included.
const MOST: usize = 5;
const SPAN: Duration = Duration::from_mins(1);

/// What came of a key that was shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Right,
    Wrong,
    /// Not looked at: too many were wrong lately.
    TooMany {
        /// Until one may be shown again.
        wait: Duration,
    },
}

/// The wrong keys of the last minute. Whoever guesses at a key of 16 characters needs longer than
/// there is; whoever knows it has the command as well while guessing goes on.
#[derive(Debug, Default)]
pub(crate) struct Guesses(Mutex<VecDeque<Duration>>);

impl Guesses {
    /// Compares in time that does not depend on what is in the keys. `now`: the boot clock.
    pub(super) fn judge(&self, shown: &Secret, key: &Secret, now: Duration) -> Verdict {
        // Held meanwhile, so that many at once are no more than many in a row.
        let mut wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while wrong.front().is_some_and(|first| *first + SPAN <= now) {
            wrong.pop_front();
        }
        if let Some(first) = wrong.front()
            && wrong.len() >= MOST
        {
            let wait = (*first + SPAN).saturating_sub(now);
            return Verdict::TooMany { wait };
        }
        if shown.matches(key) {
            return Verdict::Right;
        }
        wrong.push_back(now);
        Verdict::Wrong
    }
}

impl Control {
    /// Whether the lane can be changed from the page at all.
    pub(super) fn has_key(&self) -> bool {
        self.notes().admin_key.is_some()
    }

    /// What a key that was shown is worth. Without a key there is no right one.
    pub(super) fn try_key(&self, shown: &Secret) -> Verdict {
        let key = self.notes().admin_key.clone();
        key.map_or(Verdict::Wrong, |key| {
            self.guesses.judge(shown, &key, self.clock.boot())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn judge(guesses: &Guesses, shown: &str, now: Duration) -> Verdict {
        guesses.judge(&Secret::new(shown), &Secret::new("the right one"), now)
    }

    #[test]
    fn the_right_key_is_right_as_often_as_it_is_shown() {
        let guesses = Guesses::default();
        for _ in 0..100 {
            assert_eq!(judge(&guesses, "the right one", NOW), Verdict::Right);
        }
        for wrong in ["", "the right on", "the right one ", "THE RIGHT ONE"] {
            assert_eq!(judge(&guesses, wrong, NOW), Verdict::Wrong, "{wrong:?}");
        }
    }

    #[test]
    fn after_five_wrong_keys_none_is_looked_at_for_the_rest_of_the_minute() {
        let guesses = Guesses::default();
        for second in 0..5 {
            let now = NOW + Duration::from_secs(second);
            assert_eq!(judge(&guesses, "wrong", now), Verdict::Wrong);
        }
        let later = NOW + Duration::from_secs(10);
        let wait = Duration::from_secs(50);
        for shown in ["wrong", "the right one"] {
            assert_eq!(judge(&guesses, shown, later), Verdict::TooMany { wait });
        }
        // A minute after the first wrong one there is room for one more, and only one.
        let minute = NOW + SPAN;
        assert_eq!(judge(&guesses, "the right one", minute), Verdict::Right);
        assert_eq!(judge(&guesses, "wrong", minute), Verdict::Wrong);
        assert_ne!(judge(&guesses, "the right one", minute), Verdict::Right);
    }
}
