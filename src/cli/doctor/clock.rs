//! This machine's clock against Wise's.

use std::time::{Duration, SystemTime};

use super::bench::{Bench, Host, PROFILES};
use super::check::{Check, Finding, Group};
use super::network::moment;
use super::rounds::Rounds;
use crate::clock::{Clock as _, System};

/// `Date` has whole seconds, and an answer takes its time.
const FINE: Duration = Duration::from_secs(10);

/// Beyond this it is more than an untidy log.
const GRAVE: Duration = Duration::from_mins(5);

pub(super) async fn compare(rounds: &mut Rounds, bench: &Bench) {
    // Any host of Wise's will do, and the plain one asks for no certificate.
    let host = if rounds.passed("tls.plain") || !rounds.passed("tls.mtls") {
        Host::Plain
    } else {
        Host::Mtls
    };
    let check = Check::new(Group::Clock, "clock.wise", "the clock against Wise's")
        .after([format!("tls.{}", host.name())])
        .over_network();
    let work = async {
        let (asked, before) = (System.wall(), System.boot());
        // Without a credential: this asks for the head of an answer, whatever it says.
        let answer = match bench.get(host, PROFILES, None).await {
            Ok(answer) => answer,
            Err(error) => return (error.finding(bench), None::<()>),
        };
        let took = System.boot().saturating_sub(before);
        let name = &bench.origin(host).host;
        let Some(date) = answer.date() else {
            let finding = Finding::warning(
                format!("{name} says no time (no usable Date)"),
                "see that what answers there is Wise; compare the clock with `date -u`",
            );
            return (finding, None);
        };
        (judged(asked + took / 2, date), None)
    };
    rounds.check(check, work).await;
}

fn judged(ours: SystemTime, theirs: SystemTime) -> Finding {
    let (off, which) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let whole = Duration::from_secs(off.as_secs());
    let text = format!("{} {which} Wise's", humantime::format_duration(whole));
    let hint = "set the clock, and keep it set: `timedatectl set-ntp true`; `timedatectl status` \
                shows it, `chronyc tracking` where chrony keeps it";
    let finding = if off <= FINE {
        Finding::good("agrees with Wise's to a few seconds")
    } else if off <= GRAVE {
        Finding::warning(
            format!(
                "{text}: times in logs and the audit log are off, and a certificate that has just been issued may not be valid yet here"
            ),
            hint,
        )
    } else {
        Finding::failed(
            format!(
                "{text}: certificates are judged by a wrong time, and after a restart tokens are taken to live longer or shorter than they do"
            ),
            hint,
        )
    };
    let signed = i64::try_from(off.as_secs()).unwrap_or(i64::MAX);
    let signed = if which == "behind" { -signed } else { signed };
    finding
        .fact("wise", moment(theirs))
        .fact("here", moment(ours))
        .fact("seconds_ahead", signed)
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    #[test]
    fn a_clock_is_judged_by_what_it_breaks_whichever_way_it_is_off() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        for (seconds, state) in [
            (0, State::Good),
            (10, State::Good),
            (11, State::Warning),
            (300, State::Warning),
            (301, State::Failed),
            (90_000, State::Failed),
        ] {
            let off = Duration::from_secs(seconds);
            assert_eq!(judged(now + off, now).state, state, "{seconds} s ahead");
            assert_eq!(judged(now - off, now).state, state, "{seconds} s behind");
        }
        let behind = judged(now - Duration::from_secs(3_700), now);
        assert!(
            behind.text.starts_with("1h 1m 40s behind Wise's: "),
            "{behind:?}"
        );
        assert_eq!(behind.facts["seconds_ahead"], -3_700);
    }
}
