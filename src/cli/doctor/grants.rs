//! Each grant: its record, its tokens' time, whose it is, and whether Wise agrees.
//!
//! Records are read and never changed, and no refresh token is ever shown to anybody.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::bench::Bench;
use super::check::{Check, Finding, Group};
use super::membership::{accepted, profile};
use super::network::{day, moment};
use super::rounds::Rounds;
use crate::clock::{Clock as _, System};
use crate::config::{Grant, Lane, LaneSet};
use crate::credentials::{FileStore, Record, StoreError};

pub(super) const OAUTH: [Lane; 2] = [Lane::OAuth, Lane::OAuthMtls];

/// Looks at all of them, and names those whose token Wise does not know.
pub(super) async fn look<'a>(
    rounds: &mut Rounds,
    bench: &'a Bench,
    store: Option<&FileStore>,
) -> Vec<&'a Grant> {
    let mut unknown = Vec::new();
    if bench.config.oauth.is_none() {
        return unknown;
    }
    for grant in &bench.config.grants {
        rounds.keep_private(grant.profile.iter().map(ToString::to_string));
        let record = record(rounds, bench, grant, store).await;
        if let Some(record) = &record {
            rounds.keep_private(private(record));
            token(rounds, bench, grant, record).await;
            let known = accepted(rounds, bench, grant, store).await;
            unknown.extend((known == Some(false)).then_some(grant));
            profile(rounds, bench, grant, record, store).await;
        }
    }
    unknown
}

pub(super) fn record_id(grant: &Grant) -> String {
    format!("grant.{}.record", grant.name)
}

pub(super) fn token_id(grant: &Grant) -> String {
    format!("grant.{}.token", grant.name)
}

pub(super) fn accepted_id(grant: &Grant) -> String {
    format!("grant.{}.accepted", grant.name)
}

/// The OAuth lane by which Wise is asked: the one of the switch, else one of a door's, else the
/// one that a switch would take.
pub(super) fn lane(bench: &Bench) -> Option<Lane> {
    let best_of = |lanes: LaneSet| OAUTH.into_iter().rev().find(|lane| lanes.contains(*lane));
    let switched = Some(bench.lane).filter(|lane| lane.is_oauth());
    let pinned = || best_of(bench.lanes_in_use());
    let allowed = || best_of(bench.config.switch.lanes);
    switched.or_else(pinned).or_else(allowed)
}

fn private(record: &Record) -> Vec<String> {
    let user = record.user.iter();
    let user = user.flat_map(|user| user.name.clone().into_iter().chain([user.id.clone()]));
    let profile = record.profile.iter().map(ToString::to_string);
    user.chain(profile).collect()
}

async fn record(
    rounds: &mut Rounds,
    bench: &Bench,
    grant: &Grant,
    store: Option<&FileStore>,
) -> Option<Record> {
    let name = grant.name.clone();
    let check = Check::new(Group::Grants, record_id(grant), format!("grant {name}"));
    let check = check.after(["store.directory"]).serving(OAUTH);
    let login = bench.command(&format!("login --grant {name}"));
    let restore = bench.command(&format!("token restore {name}"));
    let client = bench.client_id().unwrap_or_default().to_owned();
    let (store, wanted) = (store.cloned(), grant.profile.clone());
    let read = move || {
        let found = store.map_or(Ok(None), |store| store.peek(&name));
        let record = match found {
            Ok(Some(record)) => record,
            Ok(None) => {
                let text = "nobody has logged in for it yet";
                return (Finding::failed(text, login), None);
            }
            Err(error) => return (unopened(&error, &login, &restore), None),
        };
        let user = record.user.as_ref();
        let by = user.map_or_else(String::new, |user| {
            format!(" by {}", user.name.as_ref().unwrap_or(&user.id))
        });
        let profile = record.profile.as_ref();
        let profile = profile.map_or_else(String::new, |id| format!(" for profile {id}"));
        let (generation, granted) = (record.generation, day(record.granted));
        let text = format!("granted{by}{profile} on {granted}, generation {generation}");
        let other = wanted.as_ref().zip(record.profile.as_ref());
        let finding = if record.client_id != client {
            Finding::failed(
                format!(
                    "{text}; it belongs to client {}, not to {client}",
                    record.client_id
                ),
                format!("give oauth.client_id back its old value, or {login}"),
            )
        } else if let Some((wanted, found)) = other.filter(|(wanted, found)| wanted != found) {
            Finding::failed(
                format!("{text}; the configuration says profile {wanted}"),
                format!("correct the grant's profile to {found}, or {login} and pick {wanted}"),
            )
        } else {
            Finding::good(text)
        };
        let finding = finding
            .fact("generation", record.generation)
            .fact("granted", moment(record.granted))
            .fact("profile", record.profile.as_ref().map(ToString::to_string));
        (finding, Some(record))
    };
    rounds.fetch(check, read).await
}

fn unopened(error: &StoreError, login: &str, restore: &str) -> Finding {
    let text = error.to_string();
    let (text, advice) = text
        .rsplit_once("; ")
        .unwrap_or((&text, "look at the store"));
    let hint = match error {
        StoreError::Corrupt { .. } => {
            format!("{restore} goes back to the record before; if that is no use, {login}")
        }
        StoreError::WrongKey { .. } => {
            format!("give the store its old seal key back (store.seal_key), or {login}")
        }
        StoreError::BadName
        | StoreError::Loose { .. }
        | StoreError::BadKey { .. }
        | StoreError::KeyMissing { .. }
        | StoreError::Gone { .. }
        | StoreError::NewerVersion { .. }
        | StoreError::Busy { .. }
        | StoreError::DiskFull { .. }
        | StoreError::ReadOnly { .. }
        | StoreError::Io { .. }
        | StoreError::NoRandomness => advice.to_owned(),
    };
    Finding::failed(text, hint)
}

/// How long the tokens last: by the word of the proxy that keeps them, else by the record.
async fn token(rounds: &mut Rounds, bench: &Bench, grant: &Grant, record: &Record) {
    let check = Check::new(
        Group::Grants,
        token_id(grant),
        format!("grant {}", grant.name),
    )
    .after([record_id(grant)])
    .serving(OAUTH);
    let work = async {
        let kept = bench
            .running
            .as_ref()
            .and_then(|status| kept(status, &grant.name));
        let finding = match kept {
            Some(kept) => as_kept(bench, grant, kept),
            None => as_stored(bench, grant, record),
        };
        let finding = finding
            .fact("expires", moment(record.expires))
            .fact("refresh_token_since", moment(record.issued))
            .fact("refresh_token_until", record.refresh_expires.map(moment));
        (finding, None::<()>)
    };
    rounds.check(check, work).await;
}

/// What the running proxy says of a grant.
fn kept<'a>(status: &'a Value, grant: &str) -> Option<&'a Value> {
    let tokens = status["tokens"].as_array()?;
    tokens.iter().find(|token| token["grant"] == grant)
}

fn as_kept(bench: &Bench, grant: &Grant, kept: &Value) -> Finding {
    let login = bench.command(&format!("login --grant {}", grant.name));
    let reason = kept["reason"]
        .as_str()
        .unwrap_or("the proxy gives no reason");
    let (reason, advice) = reason.rsplit_once("; ").unwrap_or((reason, ""));
    let trouble = kept["last_error"]["text"].as_str();
    let finding = match kept["state"].as_str() {
        Some("dead") => Finding::failed(format!("the grant is over: {reason}"), login),
        Some("live") if kept["unsaved"] == true => Finding::failed(
            "the newest tokens are in the proxy's memory only; a restart now may lose the grant",
            "make the store writable and leave the proxy running: it saves them by itself; see \
             store.durable",
        ),
        Some("live") => {
            let left = kept["seconds_left"].as_u64().unwrap_or_default();
            let next = kept["next_renewal_in"].as_u64();
            let next = next.map_or_else(String::new, |next| {
                format!(", renewal in {}", span(Duration::from_secs(next)))
            });
            let text = format!(
                "the proxy keeps it alive: {} left{next}",
                span(Duration::from_secs(left))
            );
            Finding::good(text).fact("seconds_left", left)
        }
        _ => Finding::failed(
            format!("the proxy has no token: {reason}"),
            match (kept["absence"].as_str(), advice) {
                (Some("never_logged_in" | "other_client" | "other_profile"), _) => login,
                (_, advice) if advice.contains("tried again") || advice.is_empty() => {
                    format!("mend what fails here; {} shows it", bench.command("status"))
                }
                (_, advice) => advice.to_owned(),
            },
        ),
    };
    let finding = finding.fact("state", &kept["state"]);
    match trouble {
        Some(trouble) => {
            let at = kept["last_error"]["at"].as_str().unwrap_or_default();
            finding.detail(format!("last failure at {at}: {trouble}"))
        }
        None => finding,
    }
}

fn as_stored(bench: &Bench, grant: &Grant, record: &Record) -> Finding {
    let now = System.wall();
    let ago = |then: SystemTime| span(now.duration_since(then).unwrap_or_default());
    let refresh = match record.refresh_expires {
        Some(end) => format!("until {}", day(end)),
        None => "without a known end".to_owned(),
    };
    if record.refresh_expires.is_some_and(|end| end <= now) {
        return Finding::failed(
            format!("the refresh token ended, {refresh}"),
            bench.command(&format!("login --grant {}", grant.name)),
        );
    }
    let refresh = format!("refresh token since {}, {refresh}", day(record.issued));
    match record.expires.duration_since(now) {
        Ok(left) if !left.is_zero() => {
            let text = format!("{} left; {refresh}", span(left));
            Finding::good(text).fact("seconds_left", left.as_secs())
        }
        _ => Finding::warning(
            format!(
                "the access token ended {} ago; {refresh}",
                ago(record.expires)
            ),
            format!("{} renews it as it starts", bench.command("run")),
        )
        .fact("seconds_left", 0),
    }
}

/// In the two largest units.
pub(super) fn span(time: Duration) -> String {
    let whole = Duration::from_secs(time.as_secs());
    let text = humantime::format_duration(whole).to_string();
    let units: Vec<_> = text.split(' ').take(2).collect();
    units.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_said_in_two_units() {
        assert_eq!(span(Duration::from_millis(43_199_900)), "11h 59m");
        assert_eq!(span(Duration::ZERO), "0s");
    }
}
