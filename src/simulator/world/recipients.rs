//! Recipient accounts.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::Call;
use super::money;
use crate::simulator::errors;
use crate::simulator::reply::Reply;
use crate::simulator::reply::json_reply;

const FIRST: u64 = 40_000_000;

#[derive(Default)]
pub(super) struct Recipients {
    all: BTreeMap<u64, Recipient>,
}

struct Recipient {
    profile: u64,
    json: Value,
}

impl Recipients {
    pub(super) fn owner(&self, id: u64) -> Option<u64> {
        self.all.get(&id).map(|recipient| recipient.profile)
    }

    pub(super) fn create(&mut self, call: &Call<'_>, profile: u64) -> Reply {
        let bad = |code, path, message| errors::field(StatusCode::BAD_REQUEST, code, path, message);
        let Some(currency) = call.body["currency"].as_str().and_then(money::currency) else {
            return bad("NOT_VALID", "currency", "Please specify a valid currency");
        };
        let Some(name) = call.body["accountHolderName"]
            .as_str()
            .filter(|name| !name.is_empty())
        else {
            return bad(
                "NOT_VALID",
                "accountHolderName",
                "Please enter the account holder's full name",
            );
        };
        let Some(kind) = call.body["type"].as_str() else {
            return bad("NOT_VALID", "type", "Please specify the account type");
        };
        let details = &call.body["details"];
        let digits = |key: &str| {
            let text = details[key].as_str().unwrap_or_default();
            text.chars().filter(char::is_ascii_digit).count()
        };
        if kind == "sort_code" && digits("sortCode") != 6 {
            return bad("NOT_VALID", "sortCode", "Please enter a valid sort code");
        }
        let id = self.all.keys().next_back().map_or(FIRST, |last| last + 1);
        let json = json!({
            "id": id,
            "creatorId": 41_000_000,
            "profileId": profile,
            "name": {"fullName": name},
            "currency": currency,
            "country": country(currency),
            "type": camel(kind),
            "active": true,
            "ownedByCustomer": call.body["ownedByCustomer"].as_bool().unwrap_or(false),
            "details": details,
            "hash": format!("{id:032x}"),
        });
        let reply = json_reply(StatusCode::OK, &json);
        self.all.insert(id, Recipient { profile, json });
        reply
    }

    pub(super) fn list(&self, call: &Call<'_>, profile: u64) -> Reply {
        let number = |name| call.query(name).and_then(|text| text.parse::<u64>().ok());
        let size = number("size").unwrap_or(20).clamp(1, 20);
        let from = number("seekPosition").unwrap_or(0);
        let wanted = call.query("currency");
        let mut matching = self
            .all
            .range(from..)
            .filter(|(_, recipient)| recipient.profile == profile)
            .filter(|(_, recipient)| recipient.json["active"] == true)
            .filter(|(_, recipient)| {
                wanted.is_none_or(|wanted| recipient.json["currency"] == wanted)
            });
        let content: Vec<Value> = matching
            .by_ref()
            .take(usize::try_from(size).unwrap_or(20))
            .map(|(_, recipient)| recipient.json.clone())
            .collect();
        let next = matching.next().map_or(0, |(id, _)| *id);
        json_reply(
            StatusCode::OK,
            &json!({
                "content": content,
                "seekPositionForNext": next,
                "seekPositionForCurrent": from,
                "size": size,
                "sort": {"empty": false, "sorted": true, "unsorted": false},
            }),
        )
    }

    pub(super) fn read(&self, call: &Call<'_>) -> Reply {
        match self.all.get(&call.found.id("accountId")) {
            Some(recipient) => json_reply(StatusCode::OK, &recipient.json),
            None => call.missing("Recipient"),
        }
    }

    pub(super) fn deactivate(&mut self, call: &Call<'_>) -> Reply {
        match self.all.get_mut(&call.found.id("accountId")) {
            Some(recipient) => {
                recipient.json["active"] = false.into();
                json_reply(StatusCode::OK, &recipient.json)
            }
            None => call.missing("Recipient"),
        }
    }
}

/// The form for a recipient in `currency`.
pub(super) fn requirements(currency: &str) -> Reply {
    let (kind, title, keys): (&str, &str, &[&str]) = match currency {
        "GBP" => (
            "sort_code",
            "Local bank account",
            &["sortCode", "accountNumber"],
        ),
        "USD" => (
            "aba",
            "Local bank account",
            &["abartn", "accountNumber", "accountType"],
        ),
        "AUD" => (
            "australian",
            "Local bank account",
            &["bsbCode", "accountNumber"],
        ),
        _ => ("iban", "Bank account with IBAN", &["IBAN"]),
    };
    let fields: Vec<Value> = keys
        .iter()
        .map(|key| {
            json!({
                "name": key,
                "group": [{
                    "key": key,
                    "name": key,
                    "type": "text",
                    "refreshRequirementsOnChange": false,
                    "required": true,
                    "displayFormat": null,
                    "example": "",
                    "minLength": null,
                    "maxLength": null,
                    "validationRegexp": null,
                    "validationAsync": null,
                    "valuesAllowed": null,
                }],
            })
        })
        .collect();
    let form = json!([{"type": kind, "title": title, "usageInfo": null, "fields": fields}]);
    json_reply(StatusCode::OK, &form)
}

fn country(currency: &str) -> Value {
    match currency {
        "GBP" => "GB".into(),
        "USD" => "US".into(),
        "CHF" => "CH".into(),
        "PLN" => "PL".into(),
        "AUD" => "AU".into(),
        "CAD" => "CA".into(),
        "SGD" => "SG".into(),
        _ => Value::Null,
    }
}

/// `sort_code` goes in, `SortCode` comes out.
fn camel(kind: &str) -> String {
    kind.split('_')
        .map(|word| {
            let (head, tail) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
            head.to_uppercase() + tail
        })
        .collect()
}
