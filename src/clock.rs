//! Wall time and boot time as an argument, so that a test can move them.

use std::fmt::Debug;
#[cfg(test)]
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

/// Where the program reads the time.
///
/// Two readings, because neither alone is safe for a token: the wall clock means something to
/// other processes and after a restart, but jumps; the boot clock never jumps and counts
/// suspended time, but dies with the machine.
pub(crate) trait Clock: Debug + Send + Sync {
    /// The wall clock.
    fn wall(&self) -> SystemTime;
    /// Time since some fixed moment of this boot; counts suspension (`CLOCK_BOOTTIME`).
    fn boot(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct System;

impl Clock for System {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    fn wall(&self) -> SystemTime {
        skewed(SystemTime::now(), "wall")
    }

    fn boot(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
        skewed(Duration::new(seconds, nanos), "boot")
    }
}

#[cfg(not(feature = "failpoints"))]
fn skewed<T>(now: T, _: &str) -> T {
    now
}

/// A clock that a test has moved.
#[cfg(feature = "failpoints")]
fn skewed<T>(now: T, clock: &str) -> T
where
    T: std::ops::Add<Duration, Output = T> + std::ops::Sub<Duration, Output = T>,
{
    let (forward, back) = crate::failpoint::skew(clock);
    now + forward - back
}

/// A clock that stands still until a test moves it.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Manual {
    now: Mutex<(SystemTime, Duration)>,
}

#[cfg(test)]
impl Manual {
    /// A clock whose wall reads `wall`.
    pub(crate) fn at(wall: SystemTime) -> Self {
        Self {
            now: Mutex::new((wall, Duration::from_secs(1_000))),
        }
    }

    /// Moves both readings forward, as passing time does.
    pub(crate) fn advance(&self, by: Duration) {
        let mut now = self
            .now
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        now.0 += by;
        now.1 += by;
    }
}

#[cfg(test)]
impl Clock for Manual {
    fn wall(&self) -> SystemTime {
        self.now
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .0
    }

    fn boot(&self) -> Duration {
        self.now
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .1
    }
}
