//! When to renew and when to try again: pure functions of what is known.

use std::time::Duration;

use crate::tokens::token::Lifetime;

/// A random number from -1 to 1, so that many proxies do not ask at the same moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jitter(f64);

impl Jitter {
    /// From the system's randomness; none where that fails, since spreading is only a courtesy.
    pub(super) fn random() -> Self {
        let mut bytes = [0; 4];
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            return Self(0.0);
        }
        Self(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX) * 2.0 - 1.0)
    }
}

/// When a token is renewed, by the boot clock: at `share` of its life, ± 5 %.
///
/// Never within a second of its start: answers with tiny lifetimes must not make us hammer.
pub(super) fn renewal_due(life: &Lifetime, share: f64, jitter: Jitter) -> Duration {
    let share = (share * (1.0 + 0.05 * jitter.0)).clamp(0.0, 1.0);
    let after = life.length.mul_f64(share).max(SPACING).min(life.length);
    life.ends.saturating_sub(life.length.saturating_sub(after))
}

/// How long to wait before the next try after `failures` in a row (1 and up).
///
/// Doubles from 1 s to 60 s, ± 20 %. A quarter of what is `left` of the living token is the most
/// while it lives, so that tries become denser towards its end; without one the most is 20 s.
/// What the server `asked` for is honoured up to five minutes.
pub(super) fn retry_delay(
    failures: u32,
    left: Duration,
    asked: Option<Duration>,
    jitter: Jitter,
) -> Duration {
    let ceiling = if left.is_zero() {
        WITHOUT_TOKEN
    } else {
        (left / 4).clamp(FIRST_RETRY, LAST_RETRY)
    };
    let delay = doubled(FIRST_RETRY, failures)
        .min(ceiling)
        .mul_f64(1.0 + 0.2 * jitter.0)
        .clamp(FIRST_RETRY, LAST_RETRY);
    delay.max(asked.unwrap_or_default().min(LONGEST_ASKED))
}

/// How long to wait after a refusal that only an operator can cure: 30 s to 5 min, ± 20 %.
pub(super) fn refused_delay(failures: u32, jitter: Jitter) -> Duration {
    doubled(FIRST_AFTER_REFUSAL, failures)
        .min(LONGEST_ASKED)
        .mul_f64(1.0 + 0.2 * jitter.0)
}

fn doubled(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(1 << failures.saturating_sub(1).min(16))
}

const SPACING: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
const WITHOUT_TOKEN: Duration = Duration::from_secs(20);
const LONGEST_ASKED: Duration = Duration::from_secs(300);
const FIRST_AFTER_REFUSAL: Duration = Duration::from_secs(30);
