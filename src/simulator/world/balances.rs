//! Balances: money that was put in, moved, and spent, with a line for each change.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::time::SystemTime;

use http::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::Call;
use super::money;
use super::quotes::Quotes;
use crate::simulator::errors;
use crate::simulator::reply::Reply;
use crate::simulator::reply::empty;
use crate::simulator::reply::json_reply;
use crate::simulator::times;

const FIRST: u64 = 200_001;
/// A million in each currency, as sandbox accounts have.
const SEED: i64 = 100_000_000;
/// Balances a new account has.
const OPEN: [&str; 3] = ["EUR", "GBP", "USD"];

#[derive(Default)]
pub(super) struct Balances {
    all: BTreeMap<u64, Balance>,
    /// Answers to calls with `X-idempotence-uuid`, by profile and value.
    done: HashMap<(u64, String), Value>,
    movements: u64,
}

pub(super) struct Balance {
    id: u64,
    pub(super) profile: u64,
    pub(super) currency: &'static str,
    kind: String,
    name: Option<String>,
    pub(super) cents: i64,
    created: SystemTime,
    modified: SystemTime,
    pub(super) lines: Vec<Line>,
}

/// One line of a statement.
pub(super) struct Line {
    pub(super) at: SystemTime,
    pub(super) cents: i64,
    pub(super) running: i64,
    pub(super) reference: String,
    pub(super) description: &'static str,
}

impl Balances {
    pub(super) fn new(profiles: impl Iterator<Item = u64>, now: SystemTime) -> Self {
        let mut balances = Self::default();
        for profile in profiles {
            for currency in OPEN {
                let id = balances.insert(profile, currency, "STANDARD", None, now);
                balances.change(id, SEED, "TOPUP-1", "Simulated money", now);
            }
        }
        balances
    }

    pub(super) fn find(&self, profile: u64, id: u64) -> Option<&Balance> {
        self.all
            .get(&id)
            .filter(|balance| balance.profile == profile)
    }

    pub(super) fn credit(&mut self, profile: u64, currency: &'static str, cents: i64) {
        if let Some(id) = self.standard(profile, currency) {
            let now = self
                .all
                .get(&id)
                .map_or(SystemTime::UNIX_EPOCH, |balance| balance.modified);
            self.change(id, cents, "REFUND", "Refund", now);
        }
    }

    /// Adds money from nowhere; `false` when there is no such balance.
    pub(super) fn top_up(
        &mut self,
        profile: u64,
        id: u64,
        cents: i64,
        now: SystemTime,
    ) -> Option<Value> {
        self.find(profile, id)?;
        self.change(id, cents, "TOPUP", "Simulated top-up", now);
        self.find(profile, id).map(Balance::json)
    }

    /// Takes money out; `false`, and nothing happened, when there is too little.
    pub(super) fn debit(
        &mut self,
        profile: u64,
        currency: &str,
        cents: i64,
        reference: &str,
        now: SystemTime,
    ) -> bool {
        let id = self.standard(profile, currency);
        let enough = id
            .and_then(|id| self.all.get(&id))
            .filter(|balance| balance.cents >= cents);
        let Some(id) = enough.map(|balance| balance.id) else {
            return false;
        };
        self.change(id, -cents, reference, "Sent money", now);
        true
    }

    pub(super) fn open(&mut self, call: &Call<'_>) -> Reply {
        let key = match call.idempotence() {
            Ok(id) => (call.profile(), id.to_owned()),
            Err(refusal) => return *refusal,
        };
        if let Some(done) = self.done.get(&key) {
            return json_reply(StatusCode::CREATED, done);
        }
        let bad =
            |path, message| errors::field(StatusCode::BAD_REQUEST, "NOT_VALID", path, message);
        let Some(currency) = call.body["currency"].as_str().and_then(money::currency) else {
            return bad("currency", "Currency is not supported");
        };
        let name = call.body["name"].as_str();
        let kind = match call.body["type"].as_str() {
            Some("STANDARD") if self.standard(call.profile(), currency).is_some() => {
                return bad(
                    "currency",
                    "A standard balance in this currency is open already",
                );
            }
            Some("STANDARD") => "STANDARD",
            Some("SAVINGS") if name.is_some() => "SAVINGS",
            Some("SAVINGS") => return bad("name", "A savings balance needs a name"),
            Some(_) | None => return bad("type", "Type must be STANDARD or SAVINGS"),
        };
        let id = self.insert(call.profile(), currency, kind, name, call.now);
        let json = self.all.get(&id).map_or(Value::Null, Balance::json);
        self.done.insert(key, json.clone());
        json_reply(StatusCode::CREATED, &json)
    }

    pub(super) fn list(&self, call: &Call<'_>) -> Reply {
        let Some(types) = call.query("types") else {
            return errors::field(
                StatusCode::BAD_REQUEST,
                "NotNull",
                "types",
                "Required parameter 'types' is not present",
            );
        };
        let list: Vec<Value> = self
            .all
            .values()
            .filter(|balance| balance.profile == call.profile())
            .filter(|balance| types.split(',').any(|kind| kind == balance.kind))
            .map(Balance::json)
            .collect();
        json_reply(StatusCode::OK, &list.into())
    }

    pub(super) fn read(&self, call: &Call<'_>) -> Reply {
        match self.find(call.profile(), call.found.id("balanceId")) {
            Some(balance) => json_reply(StatusCode::OK, &balance.json()),
            None => call.missing("Balance"),
        }
    }

    pub(super) fn close(&mut self, call: &Call<'_>) -> Reply {
        let id = call.found.id("balanceId");
        match self.find(call.profile(), id) {
            None => call.missing("Balance"),
            Some(balance) if balance.cents != 0 => errors::field(
                StatusCode::BAD_REQUEST,
                "balance.not-empty",
                "balanceId",
                "Only an empty balance can be closed",
            ),
            Some(_) => {
                self.all.remove(&id);
                empty(StatusCode::NO_CONTENT)
            }
        }
    }

    /// Converts by a quote, or moves between two balances of one currency.
    pub(super) fn movement(&mut self, call: &Call<'_>, quotes: &Quotes) -> Reply {
        let profile = call.profile();
        let key = match call.idempotence() {
            Ok(id) => (profile, id.to_owned()),
            Err(refusal) => return *refusal,
        };
        if let Some(done) = self.done.get(&key) {
            return json_reply(StatusCode::CREATED, done);
        }
        let bad =
            |path, message| errors::field(StatusCode::BAD_REQUEST, "NOT_VALID", path, message);
        let (kind, from, to, out, gain, rate) = if let Some(id) = call.body["quoteId"].as_str() {
            let Some(quote) = quotes
                .find(id)
                .filter(|quote| quote.profile() == Some(profile))
            else {
                return bad("quoteId", "Quote not found");
            };
            let (Some(from), Some(to)) = (
                self.standard(profile, quote.source_currency()),
                self.standard(profile, quote.target_currency()),
            ) else {
                return bad("quoteId", "There is no balance in that currency");
            };
            (
                "CONVERSION",
                from,
                to,
                quote.source_cents(),
                quote.target_cents(),
                Some(quote.rate()),
            )
        } else {
            let id = |name: &str| {
                call.body[name]
                    .as_u64()
                    .filter(|id| self.find(profile, *id).is_some())
            };
            let (Some(from), Some(to)) = (id("sourceBalanceId"), id("targetBalanceId")) else {
                return bad("sourceBalanceId", "Balance not found");
            };
            let Some(cents) =
                money::cents(&call.body["amount"]["value"]).filter(|cents| *cents > 0)
            else {
                return bad("amount", "Amount must be greater than zero");
            };
            let currency = |id| self.all.get(&id).map(|balance: &Balance| balance.currency);
            if currency(from) != currency(to) {
                return bad("targetBalanceId", "Balances must have the same currency");
            }
            ("TRANSFER", from, to, cents, cents, None)
        };
        if self
            .all
            .get(&from)
            .is_none_or(|balance| balance.cents < out)
        {
            let message = "Balance has not enough money";
            return errors::field(
                StatusCode::UNPROCESSABLE_ENTITY,
                "balance.insufficient-funds",
                "amount",
                message,
            );
        }
        self.movements += 1;
        let id = 30_000_000 + self.movements;
        let reference = format!("{kind}-{id}");
        self.change(from, -out, &reference, "Moved money", call.now);
        self.change(to, gain, &reference, "Moved money", call.now);
        let shown = |id: u64, cents: i64| {
            self.all.get(&id).map_or(Value::Null, |balance| {
                money::amount(cents, balance.currency)
            })
        };
        let after = |id: u64| {
            self.all.get(&id).map_or(Value::Null, |balance| {
                json!({"id": id, "value": money::number(balance.cents), "currency": balance.currency})
            })
        };
        let json = json!({
            "id": id,
            "type": kind,
            "state": "COMPLETED",
            "balancesAfter": [after(from), after(to)],
            "creationTime": times::milliseconds(call.now),
            "sourceAmount": shown(from, out),
            "targetAmount": shown(to, gain),
            "rate": rate.map_or(Value::Null, money::rate_number),
        });
        self.done.insert(key, json.clone());
        json_reply(StatusCode::CREATED, &json)
    }

    fn insert(
        &mut self,
        profile: u64,
        currency: &'static str,
        kind: &str,
        name: Option<&str>,
        now: SystemTime,
    ) -> u64 {
        let id = self.all.keys().next_back().map_or(FIRST, |last| last + 1);
        let balance = Balance {
            id,
            profile,
            currency,
            kind: kind.to_owned(),
            name: name.map(str::to_owned),
            cents: 0,
            created: now,
            modified: now,
            lines: Vec::new(),
        };
        self.all.insert(id, balance);
        id
    }

    fn standard(&self, profile: u64, currency: &str) -> Option<u64> {
        self.all
            .values()
            .find(|balance| {
                balance.profile == profile
                    && balance.currency == currency
                    && balance.kind == "STANDARD"
            })
            .map(|balance| balance.id)
    }

    fn change(
        &mut self,
        id: u64,
        cents: i64,
        reference: &str,
        description: &'static str,
        at: SystemTime,
    ) {
        if let Some(balance) = self.all.get_mut(&id) {
            balance.cents += cents;
            balance.modified = at;
            let (running, reference) = (balance.cents, reference.to_owned());
            balance.lines.push(Line {
                at,
                cents,
                running,
                reference,
                description,
            });
        }
    }
}

impl Balance {
    pub(super) fn json(&self) -> Value {
        let amount = money::amount(self.cents, self.currency);
        json!({
            "id": self.id,
            "currency": self.currency,
            "type": self.kind,
            "name": self.name,
            "icon": null,
            "investmentState": "NOT_INVESTED",
            "amount": amount,
            "reservedAmount": money::amount(0, self.currency),
            "cashAmount": amount,
            "totalWorth": amount,
            "creationTime": times::milliseconds(self.created),
            "modificationTime": times::milliseconds(self.modified),
            "visible": true,
        })
    }
}
