//! What Wise says about a grant: whose token it is, and which profiles that user has.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::bench::{Bench, Host, PROFILES};
use super::check::{Check, Finding, Group};
use super::grants::{OAUTH, accepted_id, lane, token_id};
use super::lanes;
use super::rounds::Rounds;
use crate::clock::{Clock as _, System};
use crate::config::{Grant, Lane};
use crate::credentials::{FileStore, Record};
use crate::upstream::Answer;

const ME: &str = "/v1/me";

/// New tokens are on the disk this soon after they came.
const SAVE: Duration = Duration::from_secs(2);

/// From one look at the store to the next.
const LOOK: Duration = Duration::from_millis(50);

/// Whether Wise knows the token, and whose it says it is. `Some(false)`: it does not know it.
pub(super) async fn accepted(
    rounds: &mut Rounds,
    bench: &Bench,
    grant: &Grant,
    store: Option<&FileStore>,
) -> Option<bool> {
    let lane = lane(bench)?;
    let host = Host::of(lane);
    let check = Check::new(
        Group::Grants,
        accepted_id(grant),
        format!("grant {} at Wise", grant.name),
    )
    .after([token_id(grant)].into_iter().chain(host.ground()))
    .serving(OAUTH)
    .over_network();
    let mut learnt = None;
    let work = async {
        let answer = match ask(bench, lane, ME, grant, store).await {
            Ok(answer) => answer,
            Err(finding) => return (finding, None),
        };
        let unknown = answer.status == StatusCode::UNAUTHORIZED;
        let finding = match read(bench, grant, lane, ME, &answer) {
            Ok(me) => {
                learnt = who(&me);
                let user = learnt.as_deref().unwrap_or("an unknown user");
                Finding::good(format!("the token acts for {user}"))
            }
            Err(finding) => finding,
        };
        let known = Some(!unknown);
        (finding.fact("lane", lane), known)
    };
    let known = rounds.check(check, work).await;
    rounds.keep_private(learnt);
    known
}

/// GETs with the newest token there is, which is not Wise's last word while a proxy renews it.
pub(super) async fn ask(
    bench: &Bench,
    lane: Lane,
    path: &'static str,
    grant: &Grant,
    store: Option<&FileStore>,
) -> Result<Answer, Finding> {
    let Some(mut record) = newest(grant, store) else {
        return Err(Finding::skipped("not asked: there is no token"));
    };
    loop {
        if record.expires <= System.wall() {
            let text = "not asked: the access token has ended";
            return Err(Finding::skipped(text));
        }
        let bearer = record.access_token.bearer();
        let bearer = bearer.map_err(|error| Finding::failed(error.to_string(), "log in again"))?;
        let answer = bench.get(Host::of(lane), path, Some(bearer)).await;
        let answer = answer.map_err(|error| error.finding(bench))?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        match renewed(bench, grant, store, &record).await {
            Some(newer) => record = newer,
            None => return Ok(answer),
        }
    }
}

fn newest(grant: &Grant, store: Option<&FileStore>) -> Option<Record> {
    store?.peek(&grant.name).ok().flatten()
}

/// The record after `spent`. A running proxy may have renewed it between our look and our question,
/// and its next one is on the disk a moment after.
async fn renewed(
    bench: &Bench,
    grant: &Grant,
    store: Option<&FileStore>,
    spent: &Record,
) -> Option<Record> {
    let until = System.boot() + bench.running.as_ref().map_or(Duration::ZERO, |_| SAVE);
    loop {
        let newer = newest(grant, store).filter(|newer| newer.supersedes(spent));
        if newer.is_some() || System.boot() >= until {
            return newer;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether the profile is among those that the token's user has.
pub(super) async fn profile(
    rounds: &mut Rounds,
    bench: &Bench,
    grant: &Grant,
    record: &Record,
    store: Option<&FileStore>,
) {
    let Some(lane) = lane(bench) else { return };
    let check = Check::new(
        Group::Grants,
        format!("grant.{}.profile", grant.name),
        format!("the profiles of grant {}", grant.name),
    )
    .after([accepted_id(grant)])
    .serving(OAUTH)
    .over_network();
    let mut learnt = Vec::new();
    let work = async {
        let list = match ask(bench, lane, PROFILES, grant, store).await {
            Ok(answer) => read(bench, grant, lane, PROFILES, &answer),
            Err(finding) => Err(finding),
        };
        let finding = match list {
            Ok(list) => {
                let list = list.as_array().cloned().unwrap_or_default();
                learnt = list.iter().flat_map(names).collect();
                belongs(bench, grant, record, &list)
            }
            Err(finding) => finding,
        };
        (finding.fact("lane", lane), None::<()>)
    };
    rounds.check(check, work).await;
    rounds.keep_private(learnt);
}

fn read(
    bench: &Bench,
    grant: &Grant,
    lane: Lane,
    path: &str,
    answer: &Answer,
) -> Result<Value, Finding> {
    let status = answer.status;
    if status.is_success() {
        return serde_json::from_slice(&answer.body).map_err(|_| {
            Finding::failed(
                format!("{path} answers {status} and no JSON"),
                "see that what answers there is Wise, and no page of something in between",
            )
        });
    }
    Err(match status {
        StatusCode::UNAUTHORIZED => Finding::failed(
            format!("Wise no longer knows the access token ({path}: 401)"),
            if bench.running.is_some() {
                format!(
                    "{} renews it; if that says `invalid_grant`, {}",
                    bench.command(&format!("token refresh {}", grant.name)),
                    bench.command(&format!("login --grant {}", grant.name))
                )
            } else {
                format!(
                    "a renewal may bring a new one: {}; if the log then says `invalid_grant`, {}",
                    bench.command("run"),
                    bench.command(&format!("login --grant {}", grant.name))
                )
            },
        ),
        StatusCode::FORBIDDEN => lanes::forbidden(bench, lane, &grant.name),
        status => Finding::warning(
            format!("{path} answers {status}"),
            format!("run {} again in a while", bench.command("doctor")),
        ),
    })
}

fn belongs(bench: &Bench, grant: &Grant, record: &Record, list: &[Value]) -> Finding {
    let wanted = grant.profile.as_ref().or(record.profile.as_ref());
    let id = |profile: &Value| text(&profile["id"]);
    let seen: Vec<String> = list.iter().filter_map(id).collect();
    let seen = seen.join(", ");
    let Some(wanted) = wanted else {
        return Finding::warning(
            "no profile is known for this grant",
            format!("set the grant's `profile` to the one that was picked, of: {seen}"),
        );
    };
    let mut own = list.iter();
    match own.find(|profile| id(profile).as_deref() == Some(wanted.as_str())) {
        Some(one) => {
            let kind = text(&one["type"]).map(|kind| kind.to_lowercase());
            let what: Vec<_> = [kind, name(one)].into_iter().flatten().collect();
            Finding::good(format!(
                "profile {wanted} is among the user's ({})",
                what.join(", ")
            ))
        }
        None => Finding::failed(
            format!(
                "profile {wanted} is not among the user's: {}",
                or_none(&seen)
            ),
            format!(
                "another profile was picked at the login, or another person logged in: {} and pick {wanted}, or correct the grant's `profile`",
                bench.command(&format!("login --grant {}", grant.name))
            ),
        ),
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

fn who(me: &Value) -> Option<String> {
    text(&me["name"])
        .or_else(|| text(&me["email"]))
        .or_else(|| text(&me["id"]))
}

/// What a report leaves out of a profile.
fn names(profile: &Value) -> Vec<String> {
    [text(&profile["id"]), name(profile)]
        .into_iter()
        .flatten()
        .collect()
}

fn name(profile: &Value) -> Option<String> {
    let own = ["fullName", "businessName"].iter();
    let mut own = own.filter_map(|key| text(&profile[key]));
    own.next().or_else(|| text(&profile["details"]["name"]))
}

/// A text, or a number as one; nothing that is empty, and no control character.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.replace(char::is_control, " "),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.trim().is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_profile_has_a_name_whichever_way_wise_says_it() {
        for (profile, wanted) in [
            (json!({"fullName": "Ada Example"}), Some("Ada Example")),
            (json!({"businessName": "Acme\u{1b} Ltd"}), Some("Acme  Ltd")),
            (json!({"details": {"name": "Acme"}}), Some("Acme")),
            (json!({"fullName": " "}), None),
        ] {
            assert_eq!(name(&profile).as_deref(), wanted);
        }
        assert_eq!(text(&json!(30_000_000)).as_deref(), Some("30000000"));
    }
}
