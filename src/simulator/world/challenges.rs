//! Strong customer authentication: one-time tokens, and the two ways to clear them. The new way
//! is a human: a code, or an approval that the control API plays. The old way is a signature over
//! the token by a key that was uploaded before.

use std::collections::HashMap;
use std::time::Duration;
use std::time::SystemTime;

use http::Method;
use http::StatusCode;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use super::Call;
use super::signatures::Keys;
use super::switches::ChallengeKind;
use super::switches::ScaFaults;
use super::switches::ScaSigning;
use crate::simulator::errors;
use crate::simulator::gate;
use crate::simulator::gate::Caller;
use crate::simulator::reply::Refusable;
use crate::simulator::reply::Reply;
use crate::simulator::reply::json_reply;
use crate::simulator::times;

#[derive(Default)]
pub(in crate::simulator) struct Challenges {
    open: HashMap<String, Challenge>,
    /// How many there have been.
    count: u64,
    pub(in crate::simulator) keys: Keys,
    failures: u32,
    locked_until: Option<SystemTime>,
    /// When the statements of a profile were last approved.
    statements: HashMap<String, SystemTime>,
}

struct Challenge {
    number: u64,
    request: Protected,
    /// Kinds still to be cleared.
    left: Vec<ChallengeKind>,
    opened: SystemTime,
}

/// The request that a token is for, and no other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::simulator) struct Protected {
    pub(in crate::simulator) caller: Caller,
    pub(in crate::simulator) method: Method,
    /// Of the operation, without a version.
    pub(in crate::simulator) template: &'static str,
    pub(in crate::simulator) profile: String,
    /// With its query, as sent.
    pub(in crate::simulator) target: String,
    /// SHA-256 of the body as sent.
    pub(in crate::simulator) body: String,
}

/// What a caller shows to get past a challenge.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulator) struct Shown<'a> {
    pub(in crate::simulator) token: Option<&'a str>,
    pub(in crate::simulator) signature: Option<&'a str>,
}

/// Whether a protected request may go on.
#[derive(Debug, Eq, PartialEq)]
pub(in crate::simulator) enum Verdict {
    /// Somebody was strongly authenticated for it.
    Approved,
    /// Nobody need be, for now.
    Exempt,
    /// With this token, unless there are none for a while.
    Rejected(Option<String>),
}

/// The code of every sandbox.
const CODE: &str = "111111";
const MOST_FAILURES: u32 = 5;
const LOCKED: Duration = Duration::from_mins(15);
const MEMORY: Duration = Duration::from_hours(24 * 90);
const USER: u64 = 9_889_627;

impl Challenges {
    /// Decides on a protected request; a token that lets it through is used up.
    pub(in crate::simulator) fn judge(
        &mut self,
        request: &Protected,
        shown: Shown<'_>,
        rules: &ScaFaults,
        now: SystemTime,
    ) -> Verdict {
        let statement = gate::is_statement(request.template) && rules.statement_memory;
        if let Some(token) = shown.token {
            if self.clears(token, request, shown.signature, rules, now) {
                self.failures = 0;
                if statement {
                    self.statements.insert(request.profile.clone(), now);
                }
                return Verdict::Approved;
            }
        } else if statement && self.remembers(&request.profile, now) {
            return Verdict::Exempt;
        }
        if self.is_locked(now) {
            return Verdict::Rejected(None);
        }
        let token = Uuid::new_v4().to_string();
        self.count += 1;
        let challenge = Challenge {
            number: self.count,
            request: request.clone(),
            left: rules.challenges.clone(),
            opened: now,
        };
        self.open.insert(token.clone(), challenge);
        Verdict::Rejected(Some(token))
    }

    fn clears(
        &mut self,
        token: &str,
        request: &Protected,
        signature: Option<&str>,
        rules: &ScaFaults,
        now: SystemTime,
    ) -> bool {
        let Some(challenge) = self.find(token, rules, now) else {
            return false;
        };
        if rules.identical && challenge.request != *request {
            return false;
        }
        if challenge.left.is_empty() {
            return self.open.remove(token).is_some();
        }
        let Some(signature) = signature else {
            return false;
        };
        let allowed = match rules.signing {
            ScaSigning::Off => false,
            ScaSigning::Personal => request.caller == Caller::Personal,
            ScaSigning::Anyone => true,
        };
        // Locked out is locked out, however good the signature.
        if !allowed || self.is_locked(now) {
            return false;
        }
        self.open.remove(token);
        let good = self.keys.signed(token, signature);
        if !good {
            self.failed(now);
        }
        good
    }

    fn find(&self, token: &str, rules: &ScaFaults, now: SystemTime) -> Option<&Challenge> {
        let challenge = self.open.get(token)?;
        (remaining(challenge, rules, now) > 0).then_some(challenge)
    }

    fn remembers(&self, profile: &str, now: SystemTime) -> bool {
        let approved = self.statements.get(profile);
        approved.is_some_and(|approved| now < *approved + MEMORY)
    }

    fn is_locked(&self, now: SystemTime) -> bool {
        self.locked_until.is_some_and(|until| now < until)
    }

    fn failed(&mut self, now: SystemTime) {
        self.failures += 1;
        if self.failures >= MOST_FAILURES {
            self.failures = 0;
            self.locked_until = Some(now + LOCKED);
        }
    }

    /// A human approves: everything that is open, or one token, or one kind of challenge of it.
    /// Returns how many tokens are cleared by it.
    pub(in crate::simulator) fn approve(
        &mut self,
        token: Option<&str>,
        kind: Option<ChallengeKind>,
    ) -> usize {
        let mut cleared = 0;
        for (known, challenge) in &mut self.open {
            if token.is_some_and(|token| token != known) || challenge.left.is_empty() {
                continue;
            }
            match kind {
                None => challenge.left.clear(),
                Some(kind) => challenge.left.retain(|left| *left != kind),
            }
            cleared += usize::from(challenge.left.is_empty());
        }
        cleared
    }

    /// Forgets failed attempts and what is remembered of statements.
    pub(in crate::simulator) fn forgive(&mut self) {
        (self.failures, self.locked_until) = (0, None);
        self.statements.clear();
    }

    /// What the control API shows, oldest first.
    pub(in crate::simulator) fn list(&self, rules: &ScaFaults, now: SystemTime) -> Vec<Value> {
        let mut open: Vec<_> = self.open.iter().collect();
        open.sort_by_key(|(_, challenge)| challenge.number);
        open.into_iter()
            .map(|(token, challenge)| {
                json!({
                    "oneTimeToken": token,
                    "method": challenge.request.method.as_str(),
                    "target": challenge.request.target,
                    "actionType": action(challenge),
                    "challenges": challenge.left,
                    "validity": remaining(challenge, rules, now),
                })
            })
            .collect()
    }

    /// `/v1/one-time-token/…`
    pub(super) fn answer(&mut self, call: &Call<'_>) -> Reply {
        let path = call.found.endpoint.path;
        if path.ends_with("/verify") {
            let right = call.body["otpCode"] == CODE;
            return self.attempt(call, right, "otpCode", ChallengeKind::is_phone);
        }
        let properties = match self.properties(call) {
            Ok((_, properties)) => properties,
            Err(refusal) => return *refusal,
        };
        if path.ends_with("/trigger") {
            let number = json!({"obfuscatedPhoneNo": "*********8888"});
            return json_reply(StatusCode::OK, &number);
        }
        json_reply(
            StatusCode::OK,
            &json!({"oneTimeTokenProperties": properties}),
        )
    }

    /// An attempt of the user's at one kind of challenge.
    pub(super) fn attempt(
        &mut self,
        call: &Call<'_>,
        right: bool,
        field: &str,
        clears: fn(ChallengeKind) -> bool,
    ) -> Reply {
        let token = match self.properties(call) {
            Ok((token, _)) => token,
            Err(refusal) => return *refusal,
        };
        if self.is_locked(call.now) {
            return errors::forbidden(call.path, &times::nanoseconds(call.now));
        }
        if !right {
            self.failed(call.now);
            return errors::field(StatusCode::BAD_REQUEST, "NOT_VALID", field, "Wrong code");
        }
        self.failures = 0;
        if let Some(challenge) = self.open.get_mut(&token) {
            challenge.left.retain(|left| !clears(*left));
        }
        match self.properties(call) {
            Ok((_, properties)) => json_reply(StatusCode::OK, &properties),
            Err(refusal) => *refusal,
        }
    }

    /// The token that a call names, and how its challenges stand.
    fn properties(&self, call: &Call<'_>) -> Refusable<(String, Value)> {
        let rules = &call.faults.sca;
        let token = call.header("one-time-token").unwrap_or_default();
        let Some(challenge) = self.find(token, rules, call.now) else {
            let message = "One time token not found";
            let status = StatusCode::BAD_REQUEST;
            let refusal = errors::field(status, "NOT_VALID", "One-Time-Token", message);
            return Err(Box::new(refusal));
        };
        let challenges: Vec<Value> = challenge.left.iter().map(|kind| describe(*kind)).collect();
        let properties = json!({
            "oneTimeToken": token,
            "challenges": challenges,
            "validity": remaining(challenge, rules, call.now),
            "actionType": action(challenge),
            "userId": USER,
        });
        Ok((token.to_owned(), properties))
    }
}

fn describe(kind: ChallengeKind) -> Value {
    let alternatives: Vec<ChallengeKind> = if kind.is_phone() {
        let phones = [
            ChallengeKind::Sms,
            ChallengeKind::Voice,
            ChallengeKind::Whatsapp,
        ];
        phones.into_iter().filter(|other| *other != kind).collect()
    } else {
        Vec::new()
    };
    json!({
        "primaryChallenge": {"type": kind, "viewData": {"attributes": {"userId": USER}}},
        "alternatives": alternatives,
        "required": true,
        "passed": false,
    })
}

/// Seconds left.
fn remaining(challenge: &Challenge, rules: &ScaFaults, now: SystemTime) -> u64 {
    let age = now.duration_since(challenge.opened).unwrap_or_default();
    u64::from(rules.validity).saturating_sub(age.as_secs())
}

fn action(challenge: &Challenge) -> &'static str {
    if gate::is_statement(challenge.request.template) {
        "BALANCE__GET_STATEMENT"
    } else {
        "TRANSFER__FUND"
    }
}
