//! Rates, currencies and quotes.

use std::collections::HashMap;
use std::time::Duration;
use std::time::SystemTime;

use http::StatusCode;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use super::Call;
use super::money;
use crate::simulator::errors;
use crate::simulator::reply::Refusable;
use crate::simulator::reply::Reply;
use crate::simulator::reply::json_reply;
use crate::simulator::times;

#[derive(Default)]
pub(super) struct Quotes {
    all: HashMap<String, Quote>,
}

#[derive(Clone)]
pub(super) struct Quote {
    id: String,
    profile: Option<u64>,
    source: &'static str,
    target: &'static str,
    source_cents: i64,
    target_cents: i64,
    rate: i64,
    by_source: bool,
    created: SystemTime,
    recipient: Option<u64>,
    /// The transfer that used it.
    transfer: Option<u64>,
}

/// The quoted rate is held this long.
const HELD: Duration = Duration::from_mins(30);

impl Quotes {
    pub(super) fn find(&self, id: &str) -> Option<&Quote> {
        self.all.get(id)
    }

    /// One transfer per quote.
    pub(super) fn uses(&mut self, id: &str, transfer: u64) {
        if let Some(quote) = self.all.get_mut(id) {
            quote.transfer = Some(transfer);
        }
    }

    pub(super) fn create(&mut self, call: &Call<'_>) -> Reply {
        match Quote::read(call.body, Some(call.profile()), call.now) {
            Ok(quote) => {
                let reply = json_reply(StatusCode::OK, &quote.json());
                self.all.insert(quote.id.clone(), quote);
                reply
            }
            Err(refusal) => *refusal,
        }
    }

    pub(super) fn read(&self, call: &Call<'_>) -> Reply {
        match self.mine(call) {
            Some(quote) => json_reply(StatusCode::OK, &quote.json()),
            None => call.missing("Quote"),
        }
    }

    pub(super) fn patch(&mut self, call: &Call<'_>) -> Reply {
        let media_type = call.header("content-type").unwrap_or_default();
        if !media_type.starts_with("application/merge-patch+json") {
            let now = times::nanoseconds(call.now);
            let message = "Content type not supported";
            return errors::spring(StatusCode::UNSUPPORTED_MEDIA_TYPE, message, call.path, &now);
        }
        let Some(quote) = self.mine(call).cloned() else {
            return call.missing("Quote");
        };
        let mut body = json!({"sourceCurrency": quote.source, "targetCurrency": quote.target});
        let amount = if quote.by_source {
            "sourceAmount"
        } else {
            "targetAmount"
        };
        let cents = if quote.by_source {
            quote.source_cents
        } else {
            quote.target_cents
        };
        body[amount] = money::number(cents);
        if let Some(changes) = call.body.as_object() {
            // Naming one amount replaces the other.
            for (name, other) in [
                ("sourceAmount", "targetAmount"),
                ("targetAmount", "sourceAmount"),
            ] {
                if changes.get(name).is_some_and(|value| !value.is_null()) {
                    body[other] = Value::Null;
                }
            }
            for (key, value) in changes {
                body[key] = value.clone();
            }
        }
        match Quote::read(&body, quote.profile, call.now) {
            Ok(mut changed) => {
                changed.id.clone_from(&quote.id);
                changed.transfer = quote.transfer;
                changed.recipient = call.body["targetAccount"].as_u64().or(quote.recipient);
                let reply = json_reply(StatusCode::OK, &changed.json());
                self.all.insert(quote.id, changed);
                reply
            }
            Err(refusal) => *refusal,
        }
    }

    fn mine(&self, call: &Call<'_>) -> Option<&Quote> {
        self.find(call.found.text("quoteId")?)
            .filter(|quote| quote.profile == Some(call.profile()))
    }
}

impl Quote {
    fn read(body: &Value, profile: Option<u64>, now: SystemTime) -> Refusable<Self> {
        let bad = |code, path, message| {
            Box::new(errors::field(StatusCode::BAD_REQUEST, code, path, message))
        };
        let currency = |key: &'static str| {
            body[key]
                .as_str()
                .and_then(money::currency)
                .ok_or_else(|| bad("CurrencyCode", key, "Invalid currency"))
        };
        let (source, target) = (currency("sourceCurrency")?, currency("targetCurrency")?);
        let rate = money::rate(source, target).unwrap_or(money::MILLION);
        let amount = |key: &'static str| {
            if body[key].is_null() {
                return Ok(None);
            }
            money::cents(&body[key])
                .filter(|cents| *cents > 0)
                .map(Some)
                .ok_or_else(|| bad("error.greaterThanZero", key, "must be greater than zero"))
        };
        let (source_cents, target_cents, by_source) =
            match (amount("sourceAmount")?, amount("targetAmount")?) {
                (Some(_), Some(_)) => {
                    let message = "Only one of sourceAmount and targetAmount";
                    return Err(bad(
                        "error.quote.amount.onlySingle",
                        "sourceAmount",
                        message,
                    ));
                }
                (None, None) => {
                    let message = "One of sourceAmount and targetAmount is needed";
                    return Err(bad("NotNull", "sourceAmount", message));
                }
                (Some(cents), None) => (
                    cents,
                    money::exchanged((cents - fee(cents)).max(0), rate),
                    true,
                ),
                (None, Some(cents)) => {
                    let net = money::needed(cents, rate);
                    (net + fee(net), cents, false)
                }
            };
        Ok(Self {
            id: Uuid::new_v4().to_string(),
            profile,
            source,
            target,
            source_cents,
            target_cents,
            rate,
            by_source,
            created: now,
            recipient: body["targetAccount"].as_u64(),
            transfer: None,
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn profile(&self) -> Option<u64> {
        self.profile
    }

    pub(super) fn transfer(&self) -> Option<u64> {
        self.transfer
    }

    pub(super) fn source_currency(&self) -> &'static str {
        self.source
    }

    pub(super) fn target_currency(&self) -> &'static str {
        self.target
    }

    pub(super) fn source_cents(&self) -> i64 {
        self.source_cents
    }

    pub(super) fn target_cents(&self) -> i64 {
        self.target_cents
    }

    pub(super) fn rate(&self) -> i64 {
        self.rate
    }

    pub(super) fn is_expired(&self, now: SystemTime) -> bool {
        now >= self.created + HELD
    }

    fn json(&self) -> Value {
        let expires = times::seconds(self.created + HELD);
        let status = if self.transfer.is_some() {
            "ACCEPTED"
        } else {
            "PENDING"
        };
        let fee = fee(self.source_cents);
        let mut json = json!({
            "id": self.id,
            "sourceCurrency": self.source,
            "targetCurrency": self.target,
            "sourceAmount": money::number(self.source_cents),
            "targetAmount": money::number(self.target_cents),
            "payOut": "BANK_TRANSFER",
            "rate": money::rate_number(self.rate),
            "createdTime": times::seconds(self.created),
            "user": 9_889_627,
            "profile": self.profile,
            "rateType": "FIXED",
            "rateExpirationTime": expires,
            "providedAmountType": if self.by_source { "SOURCE" } else { "TARGET" },
            "status": status,
            "expirationTime": expires,
            "paymentOptions": [{
                "payIn": "BALANCE",
                "payOut": "BANK_TRANSFER",
                "disabled": false,
                "fee": {"transferwise": money::number(fee), "payIn": money::number(0), "total": money::number(fee)},
                "sourceAmount": money::number(self.source_cents),
                "sourceCurrency": self.source,
                "targetAmount": money::number(self.target_cents),
                "targetCurrency": self.target,
            }],
            "notices": [],
        });
        if let Some(recipient) = self.recipient {
            json["targetAccount"] = recipient.into();
        }
        json
    }
}

/// Thirty hundredths and four tenths of a percent.
fn fee(cents: i64) -> i64 {
    30 + cents / 250
}

/// A quote for nobody in particular, which is not kept.
pub(super) fn illustrate(call: &Call<'_>) -> Reply {
    match Quote::read(call.body, None, call.now) {
        Ok(quote) => json_reply(StatusCode::OK, &quote.json()),
        Err(refusal) => *refusal,
    }
}

pub(super) fn currencies(call: &Call<'_>) -> Reply {
    // Only to show that Accept-Language arrived.
    let german = call
        .header("accept-language")
        .is_some_and(|language| language.starts_with("de"));
    let list: Vec<Value> = money::known()
        .map(|(code, name)| {
            let name = if german && code == "USD" {
                "US-Dollar"
            } else {
                name
            };
            json!({"code": code, "symbol": code, "name": name, "supportsDecimals": true})
        })
        .collect();
    json_reply(StatusCode::OK, &list.into())
}

pub(super) fn rates(call: &Call<'_>) -> Reply {
    let asked = [call.query("source"), call.query("target")];
    if asked
        .into_iter()
        .flatten()
        .any(|code| money::currency(code).is_none())
    {
        let now = times::nanoseconds(call.now);
        let status = StatusCode::BAD_REQUEST;
        return errors::spring(status, "Invalid parameters", call.path, &now);
    }
    let [source, target] = asked;
    let time = times::offset(call.now);
    let mut list = Vec::new();
    for (from, _) in money::known().filter(|(code, _)| source.is_none_or(|source| source == *code))
    {
        for (to, _) in
            money::known().filter(|(code, _)| target.is_none_or(|target| target == *code))
        {
            if from != to {
                let rate = money::rate(from, to).map_or(Value::Null, money::rate_number);
                list.push(json!({"rate": rate, "source": from, "target": to, "time": time}));
            }
        }
    }
    json_reply(StatusCode::OK, &list.into())
}
