//! When to renew and when to try again: pure functions of what is known.

use std::time::Duration;

use crate::sync::fill;
use crate::tokens::token::Lifetime;

/// A random number from -1 to 1, so that many proxies do not ask at the same moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jitter(f64);

impl Jitter {
    /// From the system's randomness; none where that fails, since spreading is only a courtesy.
    pub(super) fn random() -> Self {
        let mut bytes = [0; 4];
        if fill(&mut bytes).is_err() {
            return Self(0.0);
        }
        Self(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX) * 2.0 - 1.0)
    }
}

/// Tries in a row that failed, and what follows from them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retry {
    failures: u32,
    /// No try of our own before this reading of the boot clock.
    rests_until: Duration,
    /// It is the server's wish, which binds forced renewals as well.
    asked: bool,
}

impl Retry {
    /// Notes one more failure; `left` is what the living token has. Returns the wait.
    pub(super) fn failed(
        &mut self,
        now: Duration,
        left: Duration,
        asked: Option<Duration>,
        jitter: Jitter,
    ) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let delay = retry_delay(self.failures, left, asked, jitter);
        self.rest(now, delay, asked.is_some())
    }

    /// Notes a refusal that only an operator can cure. Returns the wait.
    pub(super) fn refused(&mut self, now: Duration, jitter: Jitter) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let delay = refused_delay(self.failures, jitter);
        self.rest(now, delay, false)
    }

    /// Whether the last try failed.
    pub(super) fn is_running(&self) -> bool {
        self.failures > 0
    }

    /// `due`, or later if there is to be no try until then.
    pub(super) fn not_before(&self, due: Duration) -> Duration {
        due.max(self.rests_until)
    }

    /// Whether the server has asked for a rest that is not over.
    pub(super) fn binds(&self, now: Duration) -> bool {
        self.asked && now < self.rests_until
    }

    /// Whether the pause after a failure is not over.
    pub(super) fn rests(&self, now: Duration) -> bool {
        now < self.rests_until
    }

    fn rest(&mut self, now: Duration, delay: Duration, asked: bool) -> Duration {
        self.rests_until = now.saturating_add(delay);
        self.asked = asked;
        delay
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
fn retry_delay(failures: u32, left: Duration, asked: Option<Duration>, jitter: Jitter) -> Duration {
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
fn refused_delay(failures: u32, jitter: Jitter) -> Duration {
    doubled(FIRST_AFTER_REFUSAL, failures)
        .min(LONGEST_ASKED)
        .mul_f64(1.0 + 0.2 * jitter.0)
}

fn doubled(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(1 << failures.saturating_sub(1).min(16))
}

const SPACING: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_mins(1);
const WITHOUT_TOKEN: Duration = Duration::from_secs(20);
const LONGEST_ASKED: Duration = Duration::from_mins(5);
const FIRST_AFTER_REFUSAL: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::tokens::token::Moment;

    fn life(seconds: i64) -> Lifetime {
        let asked = Moment {
            wall: SystemTime::UNIX_EPOCH,
            boot: START,
        };
        Lifetime::answered(asked, Some(seconds))
    }

    const START: Duration = Duration::from_secs(1_000);
    const TICK: Duration = Duration::from_nanos(1);

    proptest! {
        #[test]
        fn renewal_is_due_near_its_share_of_life_and_never_after_the_end(
            seconds in -10..1_000_000_i64,
            share in 0.01..0.99_f64,
            jitter in -1.0..=1.0_f64,
        ) {
            let life = life(seconds);
            let due = renewal_due(&life, share, Jitter(jitter));
            prop_assert!(due <= life.ends);
            prop_assert!(due >= START + SPACING.min(life.length), "no hammering");
            let exact = (life.length.as_secs_f64() * share).max(1.0);
            let after = due.as_secs_f64() - START.as_secs_f64();
            prop_assert!((after - exact).abs() <= exact * 0.05 + 0.001, "{after} for {exact}");
        }

        #[test]
        fn a_retry_waits_within_its_bounds_and_as_long_as_it_was_asked(
            failures in 1..1_000_u32,
            left in 0..50_000_u64,
            asked in prop::option::of(0..100_000_u64),
            jitter in -1.0..=1.0_f64,
        ) {
            let left = Duration::from_secs(left);
            let asked = asked.map(Duration::from_secs);
            let delay = retry_delay(failures, left, asked, Jitter(jitter));
            prop_assert!(delay >= FIRST_RETRY);
            prop_assert!(delay >= asked.unwrap_or_default().min(LONGEST_ASKED));
            prop_assert!(delay <= LAST_RETRY.max(asked.unwrap_or_default().min(LONGEST_ASKED)));
            if asked.is_none() && left.is_zero() {
                prop_assert!(delay <= WITHOUT_TOKEN.mul_f64(1.2), "back soon after an outage");
            }
            if asked.is_none() && left >= Duration::from_secs(2) {
                prop_assert!(delay < left, "one more try before the end");
            }
        }

        #[test]
        fn less_life_left_never_means_less_eager(
            failures in 1..20_u32,
            short in 1..20_000_u64,
            more in 0..20_000_u64,
            jitter in -1.0..=1.0_f64,
        ) {
            let delay = |left| retry_delay(failures, Duration::from_secs(left), None, Jitter(jitter));
            prop_assert!(delay(short) <= delay(short + more));
        }

        #[test]
        fn each_failure_in_a_row_waits_at_least_as_long_as_the_one_before(
            failures in 1..1_000_u32,
            left in 0..50_000_u64,
            jitter in -1.0..=1.0_f64,
        ) {
            let (left, jitter) = (Duration::from_secs(left), Jitter(jitter));
            let delay = |failures| retry_delay(failures, left, None, jitter);
            prop_assert!(delay(failures) <= delay(failures + 1));
            prop_assert!(refused_delay(failures, jitter) <= refused_delay(failures + 1, jitter));
        }

        #[test]
        fn an_outage_is_met_with_few_tries_the_last_of_them_just_before_the_end(
            seconds in 5..90_000_i64,
            share in 0.1..0.9_f64,
            jitters in prop::collection::vec(-1.0..=1.0_f64, 1..50),
        ) {
            let life = life(seconds);
            let mut jitters = jitters.into_iter().cycle().map(Jitter);
            let mut now = renewal_due(&life, share, jitters.next().unwrap());
            let down = life.left(now);
            let mut retry = Retry::default();
            let (mut tries, mut last) = (0, now);
            while now < life.ends {
                (tries, last) = (tries + 1, now);
                let delay = retry.failed(now, life.left(now), None, jitters.next().unwrap());
                prop_assert!(delay >= SPACING, "a storm: {delay:?}");
                prop_assert!(retry.is_running() && retry.not_before(now) == now + delay);
                now += delay;
            }
            // Doubling at first, then one a minute, then a quarter of what is left each time.
            prop_assert!(tries <= 40 + down.as_secs() / 48, "{tries} tries in {down:?}");
            prop_assert!(life.ends.saturating_sub(last) <= Duration::from_secs(2), "gave up at {last:?}");
            // The token is gone: whenever the endpoint comes back, somebody asks soon.
            for jitter in jitters.take(50) {
                let delay = retry.failed(now, life.left(now), None, jitter);
                prop_assert!(delay >= SPACING && delay <= WITHOUT_TOKEN.mul_f64(1.2));
                now += delay;
            }
        }

        #[test]
        fn what_the_server_asked_for_binds_until_it_is_over_and_a_refusal_binds_nobody(
            before in 0..20_u32,
            now in 0..u64::MAX / 2,
            left in 0..50_000_u64,
            asked in 0..100_000_u64,
            due in 0..u64::MAX / 2,
            jitter in -1.0..=1.0_f64,
        ) {
            let (now, due) = (Duration::from_millis(now), Duration::from_millis(due));
            let (left, asked) = (Duration::from_secs(left), Duration::from_secs(asked));
            let mut retry = Retry::default();
            for _ in 0..before {
                retry.failed(now, left, None, Jitter(jitter));
                prop_assert!(!retry.binds(now), "a wait of our own can be overruled");
            }
            let delay = retry.failed(now, left, Some(asked), Jitter(jitter));
            let wished = asked.min(LONGEST_ASKED);
            prop_assert!(retry.not_before(due) >= due.max(now + wished));
            prop_assert!(retry.binds(now) && retry.binds(now + wished.saturating_sub(TICK)));
            prop_assert!(!retry.binds(now + delay), "for ever is not asked for");
            retry.refused(now, Jitter(jitter));
            prop_assert!(!retry.binds(now));
        }

        #[test]
        fn a_restart_moves_no_renewal(
            seconds in 1..90_000_i64,
            share in 0.01..0.99_f64,
            jitter in -1.0..=1.0_f64,
            age in 0..100_000_u64,
            boot in 0..10_000_000_u64,
        ) {
            let before = life(seconds);
            let age = Duration::from_secs(age).min(before.length);
            let now = Moment {
                wall: before.issued + age,
                boot: Duration::from_secs(boot) + before.length,
            };
            let after = Lifetime::stored(now, before.issued, before.expires);
            let (jitter, at) = (Jitter(jitter), START + age);
            let (before, after) = (
                renewal_due(&before, share, jitter).as_secs_f64() - at.as_secs_f64(),
                renewal_due(&after, share, jitter).as_secs_f64() - now.boot.as_secs_f64(),
            );
            prop_assert!((before - after).abs() < 1e-3, "{before} s became {after} s");
        }

        #[test]
        fn refusals_are_tried_again_slowly(failures in 1..1_000_u32, jitter in -1.0..=1.0_f64) {
            let delay = refused_delay(failures, Jitter(jitter));
            prop_assert!((24.0..=360.0).contains(&delay.as_secs_f64()), "{delay:?}");
        }
    }

    #[test]
    fn delays_double() {
        let delays = [1, 2, 3, 4, 5, 6, 7, 8].map(|failures| {
            retry_delay(failures, Duration::from_hours(6), None, Jitter(0.0)).as_secs()
        });
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn random_jitter_spreads_within_its_bounds() {
        let drawn: Vec<f64> = (0..100).map(|_| Jitter::random().0).collect();
        assert!(drawn.iter().all(|jitter| (-1.0..=1.0).contains(jitter)));
        assert!(drawn.iter().any(|jitter| *jitter > 0.2));
        assert!(drawn.iter().any(|jitter| *jitter < -0.2));
    }
}
