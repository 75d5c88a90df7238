use std::time::Duration;

use super::chain::Certificate;
use super::identity::{Finding, findings};
use crate::clock::Clock;

/// From this notice on a certificate is spoken of every day.
const DAILY_FROM: i64 = 7;

const DAY: Duration = Duration::from_hours(24);

/// Remembers what was said of a certificate's end, so that each threshold is said once, and from
/// seven days on once a day.
///
/// Thresholds are of the wall clock. Days between reminders are of the clock that never jumps: a
/// wall clock that is set back and forth says nothing twice.
#[derive(Debug, Default)]
pub(crate) struct Reminder {
    said: Option<Said>,
}

#[derive(Debug)]
struct Said {
    fingerprint: String,
    /// Days of the threshold; 0: it has ended.
    threshold: i64,
    /// Of the boot clock.
    at: Duration,
}

impl Reminder {
    /// What is to be said of this certificate now, if anything is.
    pub(crate) fn due(&mut self, certificate: &Certificate, clock: &dyn Clock) -> Option<Finding> {
        let (threshold, finding) = findings(certificate, clock.wall(), None)
            .into_iter()
            .find_map(|finding| Some((threshold(&finding)?, finding)))?;
        let now = clock.boot();
        if let Some(said) = &self.said
            && said.fingerprint == certificate.fingerprint
            && said.threshold <= threshold
        {
            let rested = now.saturating_sub(said.at) >= DAY;
            // A clock that was set back says nothing until it is past what was said.
            if said.threshold < threshold || threshold > DAILY_FROM || !rested {
                return None;
            }
        }
        self.said = Some(Said {
            fingerprint: certificate.fingerprint.clone(),
            threshold,
            at: now,
        });
        Some(finding)
    }
}

fn threshold(finding: &Finding) -> Option<i64> {
    match finding {
        Finding::Expired { .. } => Some(0),
        Finding::ExpiresSoon { within, .. } => Some(*within),
        Finding::NotYetValid { .. } | Finding::WrongName { .. } | Finding::NotForClients => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::clock::Manual;

    const HOUR: Duration = Duration::from_hours(1);

    fn certificate(name: &str, end: SystemTime) -> Certificate {
        Certificate {
            common_name: Some("acme".to_owned()),
            organisation: None,
            country: None,
            subject: "CN=acme".to_owned(),
            issuer: "CN=Wise".to_owned(),
            serial: "01".to_owned(),
            not_before: SystemTime::UNIX_EPOCH,
            not_after: end,
            fingerprint: name.to_owned(),
            key_kind: "P-256".to_owned(),
            authority: false,
            for_clients: true,
        }
    }

    fn moment() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000)
    }

    /// Looks once an hour and returns what was said, as (days since the start, threshold).
    fn said(
        reminder: &mut Reminder,
        of: &Certificate,
        clock: &Manual,
        days: u32,
    ) -> Vec<(u32, i64)> {
        let mut said = Vec::new();
        for hour in 0..days * 24 {
            if let Some(finding) = reminder.due(of, clock) {
                said.push((hour / 24, threshold(&finding).unwrap()));
            }
            clock.advance(HOUR);
        }
        said
    }

    #[test]
    fn a_year_has_one_word_at_each_threshold_and_one_a_day_in_its_last_week() {
        let end = moment() + 40 * DAY;
        let (clock, mut reminder) = (Manual::at(moment()), Reminder::default());

        let said = said(&mut reminder, &certificate("a", end), &clock, 43);

        // An hour after the threshold, because at the moment itself so many days are left.
        let expected = [
            (10, 30),
            (26, 14),
            (33, 7),
            (34, 7),
            (35, 7),
            (36, 7),
            (37, 7),
            (38, 7),
            (39, 1),
            (40, 0),
            (41, 0),
            (42, 0),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_restart_says_the_present_threshold_once() {
        let of = certificate("a", moment() + 20 * DAY);
        let clock = Manual::at(moment());
        for _ in 0..2 {
            let mut reminder = Reminder::default();
            assert_eq!(said(&mut reminder, &of, &clock, 1), [(0, 30)]);
        }
    }

    #[test]
    fn a_new_certificate_is_another_matter() {
        let clock = Manual::at(moment());
        let mut reminder = Reminder::default();
        let (old, new) = (moment() + 5 * DAY, moment() + 365 * DAY);
        assert!(reminder.due(&certificate("old", old), &clock).is_some());
        assert_eq!(reminder.due(&certificate("new", new), &clock), None);
        // As after a rollback.
        assert_eq!(reminder.due(&certificate("old", old), &clock), None);
        let other = certificate("other", moment() + 13 * DAY);
        assert!(reminder.due(&other, &clock).is_some());
    }

    #[test]
    fn a_clock_that_jumps_says_nothing_twice() {
        let mut reminder = Reminder::default();
        let of = certificate("a", moment() + 6 * DAY);
        let mut said = 0;
        for _ in 0..100 {
            for days in [0, 20] {
                // Each boot clock stands where `Manual` begins.
                let clock = Manual::at(moment() - days * DAY);
                said += u32::from(reminder.due(&of, &clock).is_some());
            }
        }
        assert_eq!(said, 1);
    }
}
