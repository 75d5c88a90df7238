//! When a delivery is tried again: a minute after the first attempt, then twice as long each time;
//! after the eleventh once a day, until there were twenty-five.

use std::time::Duration;
use std::time::SystemTime;

use crate::simulator::times;

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
const DOUBLING: u32 = 11;
const MOST: u32 = 25;
/// Answers that are hardly ever right later.
const HOPELESS: [u16; 9] = [400, 401, 403, 404, 405, 409, 410, 417, 422];
const MOST_HOPELESS: u32 = 3;

/// How long Wise waits after its `attempts`-th attempt; `None` when that was the last.
pub(super) fn pause(attempts: u32, status: Option<u16>) -> Option<Duration> {
    let hopeless = status.is_some_and(|status| HOPELESS.contains(&status));
    if attempts >= MOST || (hopeless && attempts >= MOST_HOPELESS) {
        return None;
    }
    if attempts >= DOUBLING {
        return Some(DAY);
    }
    let doubled = MINUTE * 2_u32.saturating_pow(attempts.saturating_sub(1));
    Some(doubled.min(DAY))
}

/// `Retry-After`, in seconds or as a date.
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = times::read_http(value.trim())?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// A pause of Wise's in the time of this simulator, whose minutes last `minute` milliseconds.
pub(super) fn scaled(pause: Duration, minute: u64) -> Duration {
    let milliseconds = pause.as_millis() * u128::from(minute) / MINUTE.as_millis();
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_twenty_five_attempts_over_two_weeks() {
        let pauses: Vec<Duration> = (1..=MOST)
            .map_while(|attempts| pause(attempts, Some(503)))
            .collect();
        assert_eq!(pauses.len(), 24, "a pause after each attempt but the last");
        assert_eq!(pauses[0], MINUTE);
        assert_eq!(pauses[9], MINUTE * 512);
        assert!(pauses[10..].iter().all(|pause| *pause == DAY));
        let days = pauses.iter().sum::<Duration>().as_secs() / DAY.as_secs();
        assert_eq!(days, 14);
    }

    #[test]
    fn some_answers_end_it_after_three_attempts() {
        for status in HOPELESS {
            assert!(pause(2, Some(status)).is_some(), "{status}");
            assert_eq!(pause(3, Some(status)), None, "{status}");
        }
        for status in [Some(500), Some(302), Some(429), None] {
            assert!(pause(3, status).is_some(), "{status:?}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = times::read_http("Fri, 11 Apr 2025 03:43:28 GMT").unwrap();
        let after = |value| retry_after(value, now);
        assert_eq!(after("120"), Some(Duration::from_mins(2)));
        assert_eq!(
            after("Fri, 11 Apr 2025 03:44:28 GMT"),
            Some(Duration::from_mins(1))
        );
        assert_eq!(
            after("Fri, 11 Apr 2025 03:00:00 GMT"),
            Some(Duration::ZERO),
            "a date that is over"
        );
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn a_minute_lasts_as_long_as_it_is_told_to() {
        assert_eq!(scaled(MINUTE * 4, 20), Duration::from_millis(80));
        assert_eq!(scaled(DAY, 60_000), DAY);
    }
}
