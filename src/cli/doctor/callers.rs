//! Each caller can be known, and none of its keys ends unnoticed.

use std::time::{Duration, SystemTime};

use super::bench::Bench;
use super::check::{Check, Finding, Group};
use super::grants::span;
use super::rounds::Rounds;
use crate::clock::{Clock as _, System};
use crate::config::Caller;
use crate::guard::Callers;

/// A key's end is told this long before.
const SOON: Duration = Duration::from_hours(30 * 24);

pub(super) async fn look(rounds: &mut Rounds, bench: &Bench) {
    for caller in bench.config.callers.clone() {
        let name = caller.name.clone();
        let rotate = bench.command(&format!("caller rotate {name}"));
        let check = Check::new(
            Group::Doors,
            format!("caller.{name}"),
            format!("the caller {name}"),
        );
        // Without its key nothing more is known of it.
        let key = format!("secret.caller.{name}.key");
        let check = check.after(caller.key.is_some().then_some(key));
        let look = move || {
            let finding = match Callers::read(std::slice::from_ref(&caller)) {
                Ok(callers) => {
                    let known = callers.iter().next();
                    let by = known.map(|(_, known)| known.known_by()).unwrap_or_default();
                    keys(&caller, System.wall(), &rotate).fact("known_by", by)
                }
                Err(error) => {
                    let otherwise = "see that the proxy's user may read it";
                    Finding::advised(&error.to_string(), otherwise)
                }
            };
            (finding, None::<()>)
        };
        rounds.fetch(check, look).await;
    }
}

/// What of the caller's keys wants to be known.
fn keys(caller: &Caller, now: SystemTime, rotate: &str) -> Finding {
    let name = &caller.name;
    let otherwise =
        !(caller.users.is_empty() && caller.groups.is_empty() && caller.certificates.is_empty());
    let lasting = caller.key.is_some() || caller.hashes.iter().any(|hash| hash.until.is_none());
    let last = caller.hashes.iter().filter_map(|hash| hash.until).max();
    let last = last.map(|last| (last, last.duration_since(now)));
    match last {
        Some((_, Err(_))) if !lasting && !otherwise => Finding::failed(
            format!("{name} has no key that has not ended: nothing of it is let in"),
            format!("{rotate}, and give the application the new key"),
        ),
        Some((until, Ok(left))) if !lasting && left <= SOON => Finding::warning(
            format!("the last key of {name} ends in {}", span(left)),
            format!("{rotate}, and give the application the new key"),
        )
        .fact("ends", humantime::format_rfc3339_seconds(until).to_string()),
        Some((until, Ok(left))) if left <= SOON => {
            let until = humantime::format_rfc3339_seconds(until).to_string();
            Finding::good(format!("{name} can be known"))
                .detail(format!(
                    "a key before its newest goes on until {until}: the application must have the \
                     newest by then"
                ))
                .fact("ends", until)
        }
        Some(_) | None => Finding::good(format!("{name} can be known")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;
    use crate::config::KeyHash;

    fn state(days: &[Option<i64>], users: &[&str]) -> (State, bool) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365);
        let at = |days: i64| {
            let distance = Duration::from_hours(24 * days.unsigned_abs());
            if days < 0 {
                now - distance
            } else {
                now + distance
            }
        };
        let caller = Caller {
            name: "payroll".into(),
            key: None,
            hashes: days
                .iter()
                .map(|days| KeyHash {
                    digest: [0; 32],
                    until: days.map(at),
                })
                .collect(),
            users: users.iter().map(|user| (*user).to_owned()).collect(),
            groups: Vec::new(),
            certificates: Vec::new(),
            policy: None,
        };
        let finding = keys(&caller, now, "rotate");
        (finding.state, !finding.details.is_empty())
    }

    #[test]
    fn a_key_that_ends_within_a_month_is_told_and_none_left_is_a_failure() {
        assert_eq!(state(&[None], &[]), (State::Good, false));
        assert_eq!(state(&[Some(31)], &[]), (State::Good, false));
        assert_eq!(state(&[Some(29)], &[]), (State::Warning, false));
        assert_eq!(
            state(&[Some(29), None], &[]),
            (State::Good, true),
            "an overlap"
        );
        assert_eq!(state(&[Some(-1)], &[]), (State::Failed, false));
        assert_eq!(state(&[Some(-1), None], &[]), (State::Good, false));
        assert_eq!(state(&[Some(-1)], &["payroll"]), (State::Good, false));
    }
}
