//! Time that a request spends with somebody else, counted wherever the wait ends.

use std::time::Duration;

use tokio::time::Instant;

/// Dropping it adds the time since it began.
pub(super) struct Elsewhere<'a> {
    spent: &'a mut Duration,
    began: Instant,
}

impl<'a> Elsewhere<'a> {
    pub(super) fn begin(spent: &'a mut Duration) -> Self {
        Self {
            spent,
            began: Instant::now(),
        }
    }
}

impl Drop for Elsewhere<'_> {
    fn drop(&mut self) {
        *self.spent += self.began.elapsed();
    }
}
