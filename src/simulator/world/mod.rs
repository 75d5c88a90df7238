//! The world behind the API: one person with a personal and some business profiles, money in a
//! few currencies, and what they do with it. In memory, consistent, deterministic but for ids.

mod balances;
mod challenges;
mod events;
mod money;
mod pins;
mod profiles;
mod quotes;
mod recipients;
mod signatures;
mod simulation;
mod statements;
mod subscriptions;
mod switches;
mod transfers;

use std::collections::HashMap;
use std::time::SystemTime;

use http::HeaderMap;
use http::StatusCode;
use serde_json::Value;
use serde_json::json;

use self::balances::Balances;
use self::challenges::Challenges;
pub(super) use self::challenges::Protected;
pub(super) use self::challenges::Shown;
pub(super) use self::challenges::Verdict;
pub(super) use self::events::Event;
pub(super) use self::events::What;
pub(super) use self::events::body as event_body;
use self::pins::Pins;
use self::profiles::Profiles;
use self::quotes::Quotes;
use self::recipients::Recipients;
pub use self::signatures::KeyRefused;
pub(super) use self::subscriptions::Subscription;
use self::subscriptions::Subscriptions;
pub use self::switches::ChallengeKind;
pub use self::switches::ScaFaults;
pub use self::switches::ScaSigning;
use self::transfers::Transfers;
use super::endpoints::Found;
use super::errors;
use super::faults::Faults;
use super::gate::Caller;
use super::reply::Refusable;
use super::reply::Reply;
use super::reply::empty;
use super::reply::json_reply;
use super::reply::typed;
use super::times;
use super::tokens::Tokens;

/// All that the API can show or change.
pub(super) struct World {
    profiles: Profiles,
    balances: Balances,
    quotes: Quotes,
    recipients: Recipients,
    transfers: Transfers,
    pub(super) subscriptions: Subscriptions,
    pub(super) challenges: Challenges,
    pins: Pins,
    /// What happened and was not yet sent to subscribers.
    pub(super) outbox: Vec<Event>,
}

/// One admitted call with its body read.
pub(super) struct Call<'a> {
    pub(super) found: &'a Found,
    pub(super) path: &'a str,
    pub(super) query: &'a HashMap<String, String>,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a Value,
    pub(super) caller: Caller,
    pub(super) now: SystemTime,
    pub(super) faults: &'a Faults,
    pub(super) client_id: &'a str,
}

impl Call<'_> {
    fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn profile(&self) -> u64 {
        self.found.id("profileId")
    }

    /// The profile it means when it names none.
    fn default_profile(&self) -> u64 {
        match self.caller {
            Caller::User { profile } => profile,
            Caller::Personal | Caller::Client | Caller::Nobody => profiles::PERSONAL,
        }
    }

    /// Spring's JSON 404 for things that are not there.
    fn missing(&self, what: &str) -> Reply {
        let now = times::nanoseconds(self.now);
        errors::spring(
            StatusCode::NOT_FOUND,
            &format!("{what} not found"),
            self.path,
            &now,
        )
    }

    fn foreign(&self) -> Reply {
        errors::foreign_profile(&times::nanoseconds(self.now))
    }

    /// The idempotency header some calls demand.
    fn idempotence(&self) -> Refusable<&str> {
        let id = self
            .header("x-idempotence-uuid")
            .filter(|id| !id.is_empty());
        id.ok_or_else(|| {
            let message = "Missing request header 'X-idempotence-uuid'";
            let status = StatusCode::BAD_REQUEST;
            Box::new(errors::field(
                status,
                "NotNull",
                "X-idempotence-uuid",
                message,
            ))
        })
    }
}

impl World {
    pub(super) fn new(business: &[u64], now: SystemTime) -> Self {
        let profiles = Profiles::new(business, now);
        let balances = Balances::new(profiles.owned().map(|profile| profile.id), now);
        Self {
            profiles,
            balances,
            quotes: Quotes::default(),
            recipients: Recipients::default(),
            transfers: Transfers::default(),
            subscriptions: Subscriptions::default(),
            challenges: Challenges::default(),
            pins: Pins::default(),
            outbox: Vec::new(),
        }
    }

    /// Whether the account holder has this profile.
    pub(super) fn owns(&self, profile: u64) -> bool {
        self.profiles.owned().any(|known| known.id == profile)
    }

    /// Whether `caller` may touch this profile.
    pub(super) fn may_use(&self, caller: Caller, profile: u64) -> bool {
        match caller {
            Caller::Personal => self.owns(profile),
            Caller::User { profile: own } => own == profile,
            Caller::Client => self.profiles.find(profile).is_some(),
            Caller::Nobody => false,
        }
    }

    /// The profiles a person can pick on the authorise page, business ones first.
    pub(super) fn choices(&self) -> Vec<(u64, String, &'static str)> {
        let mut choices: Vec<_> = self
            .profiles
            .owned()
            .map(|profile| (profile.id, profile.name.clone(), profile.kind.word()))
            .collect();
        choices.sort_by_key(|(id, _, kind)| (*kind, *id));
        choices
    }

    /// Answers a call.
    pub(super) fn answer(&mut self, call: &Call<'_>, tokens: &mut Tokens) -> Reply {
        let endpoint = call.found.endpoint;
        match (endpoint.method, endpoint.path) {
            ("GET", "/me") => self.profiles.me(call.caller),
            ("GET", "/users/{userId}") => self.profiles.user(call),
            ("GET", "/profiles") => self.profiles.list(call.caller),
            ("GET", "/profiles/{profileId}") => self.profiles.read(call),
            ("POST", "/user/signup/registration_code") => self.profiles.sign_up(call, tokens),
            ("POST", "/users/exists") => profiles::exists(call, tokens),
            ("GET", "/authenticated/playground") => {
                json_reply(StatusCode::OK, &json!({"authenticated": true}))
            }
            ("GET", "/currencies") => quotes::currencies(call),
            ("GET", "/rates") => quotes::rates(call),
            ("POST", "/quotes") => quotes::illustrate(call),
            ("POST", "/profiles/{profileId}/quotes") => self.quotes.create(call),
            ("GET", "/profiles/{profileId}/quotes/{quoteId}") => self.quotes.read(call),
            ("PATCH", "/profiles/{profileId}/quotes/{quoteId}") => self.quotes.patch(call),
            ("POST", "/accounts") => {
                let profile = call.body["profile"].as_u64();
                let profile = profile.unwrap_or_else(|| call.default_profile());
                if !self.may_use(call.caller, profile) {
                    return call.foreign();
                }
                self.recipients.create(call, profile)
            }
            ("GET", "/accounts") => {
                let profile = call.query("profile").or(call.query("profileId"));
                let profile = profile
                    .and_then(|profile| profile.parse().ok())
                    .unwrap_or_else(|| call.default_profile());
                if !self.may_use(call.caller, profile) {
                    return call.foreign();
                }
                self.recipients.list(call, profile)
            }
            (method @ ("GET" | "DELETE"), "/accounts/{accountId}") => {
                match self.recipients.owner(call.found.id("accountId")) {
                    None => call.missing("Recipient"),
                    Some(profile) if !self.may_use(call.caller, profile) => call.foreign(),
                    Some(_) if method == "DELETE" => self.recipients.deactivate(call),
                    Some(_) => self.recipients.read(call),
                }
            }
            ("GET" | "POST", "/quotes/{quoteId}/account-requirements") => {
                match self
                    .quotes
                    .find(call.found.text("quoteId").unwrap_or_default())
                {
                    Some(quote) => recipients::requirements(quote.target_currency()),
                    None => call.missing("Quote"),
                }
            }
            (_, path) if path.starts_with("/transfers") => self.transfer(call),
            ("POST", "/profiles/{profileId}/transfers/{transferId}/payments") => self.fund(call),
            ("POST", "/profiles/{profileId}/balances") => self.balances.open(call),
            ("GET", "/profiles/{profileId}/balances") => self.balances.list(call),
            ("GET", "/profiles/{profileId}/balances/{balanceId}") => self.balances.read(call),
            ("DELETE", "/profiles/{profileId}/balances/{balanceId}") => self.balances.close(call),
            ("POST", "/profiles/{profileId}/balance-movements") => {
                self.balances.movement(call, &self.quotes)
            }
            ("GET", "/profiles/{profileId}/balance-statements/{balanceId}/statement.{format}") => {
                statements::statement(call, &self.balances, &self.profiles)
            }
            (_, path) if path.starts_with("/simulation/") => self.simulate(call),
            (_, path) if path.contains("/subscriptions") => {
                self.subscriptions.answer(call, &mut self.outbox)
            }
            (_, path) if path.starts_with("/one-time-token/") => self.challenges.answer(call),
            (_, "/profiles/{profileId}/pin" | "/profiles/{profileId}/pin/verify") => {
                self.pins.answer(call, &mut self.challenges)
            }
            _ => generic(call),
        }
    }
}

/// Operations of the reference without behaviour here: the documented status and a plausible body.
fn generic(call: &Call<'_>) -> Reply {
    let endpoint = call.found.endpoint;
    let status = StatusCode::from_u16(endpoint.status).unwrap_or(StatusCode::OK);
    if status == StatusCode::NO_CONTENT {
        return empty(status);
    }
    if endpoint.is_pdf() {
        return typed(
            status,
            "application/pdf",
            statements::pdf("Wise (simulated)", 1_024),
        );
    }
    let what = endpoint
        .path
        .rsplit('/')
        .find(|segment| !segment.contains('{'))
        .unwrap_or_default();
    let mut body = json!({"simulated": true, "type": what});
    if endpoint.method != "GET" && call.body.is_object() {
        body["request"] = call.body.clone();
    }
    json_reply(status, &body)
}
