//! Webhook subscriptions of the application and of profiles. Nothing is delivered.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use super::Call;
use crate::simulator::errors;
use crate::simulator::reply::Reply;
use crate::simulator::reply::empty;
use crate::simulator::reply::json_reply;
use crate::simulator::times;

#[derive(Default)]
pub(super) struct Subscriptions {
    all: BTreeMap<String, (Scope, Value)>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Scope {
    Application,
    Profile(u64),
}

impl Subscriptions {
    pub(super) fn answer(&mut self, call: &Call<'_>) -> Reply {
        let scope = match call.found.text("profileId") {
            Some(_) => Scope::Profile(call.profile()),
            None => Scope::Application,
        };
        let Some(id) = call.found.text("subscriptionId") else {
            if call.found.endpoint.method == "POST" {
                return self.create(call, scope);
            }
            let of_scope = self.all.values().filter(|(its, _)| *its == scope);
            let list: Vec<Value> = of_scope.map(|(_, json)| json.clone()).collect();
            return json_reply(StatusCode::OK, &list.into());
        };
        let Some((_, json)) = self.all.get(id).filter(|(its, _)| *its == scope) else {
            return call.missing("Subscription");
        };
        match call.found.endpoint.method {
            "DELETE" => {
                self.all.remove(id);
                empty(StatusCode::NO_CONTENT)
            }
            "POST" => json_reply(
                StatusCode::OK,
                &json!([{
                    "delivery_id": Uuid::new_v4().to_string(),
                    "created_at": times::seconds(call.now),
                }]),
            ),
            _ => json_reply(StatusCode::OK, json),
        }
    }

    fn create(&mut self, call: &Call<'_>, scope: Scope) -> Reply {
        let bad =
            |path, message| errors::field(StatusCode::BAD_REQUEST, "NOT_VALID", path, message);
        let (Some(name), Some(trigger)) =
            (call.body["name"].as_str(), call.body["trigger_on"].as_str())
        else {
            return bad("name", "name and trigger_on are needed");
        };
        let delivery = &call.body["delivery"];
        let url = delivery["url"].as_str().unwrap_or_default();
        if !is_receiver(url) {
            return bad(
                "delivery.url",
                "An https URL with a domain name and no query is needed",
            );
        }
        let id = Uuid::new_v4().to_string();
        let (domain, owner, creator) = match scope {
            Scope::Application => ("application", call.client_id.to_owned(), "application"),
            Scope::Profile(profile) => ("profile", profile.to_string(), "user"),
        };
        let created_by = if creator == "user" {
            "9889627".to_owned()
        } else {
            owner.clone()
        };
        let mut json = json!({
            "id": id,
            "name": name,
            "trigger_on": trigger,
            "delivery": {"version": delivery["version"].as_str().unwrap_or("2.0.0"), "url": url},
            "scope": {"domain": domain, "id": owner},
            "created_by": {"type": creator, "id": created_by},
            "created_at": times::seconds(call.now),
        });
        if let Some(mtls) = delivery["mtls_enabled"].as_bool() {
            json["delivery"]["mtls_enabled"] = mtls.into();
        }
        let reply = json_reply(StatusCode::OK, &json);
        self.all.insert(id, (scope, json));
        reply
    }
}

fn is_receiver(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://") else {
        return false;
    };
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.strip_suffix(":443").unwrap_or(host);
    host.contains('.')
        && host.parse::<std::net::IpAddr>().is_err()
        && !host.contains([':', '@', '['])
        && !url.contains('?')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wises_kind_of_receiver_is_taken() {
        assert!(is_receiver("https://hooks.example.com/wise"));
        assert!(is_receiver("https://hooks.example.com:443/wise"));
        for url in [
            "http://hooks.example.com/",
            "https://192.0.2.1/",
            "https://hooks.example.com:8443/",
            "https://hooks.example.com/?a=b",
            "https://user@hooks.example.com/",
        ] {
            assert!(!is_receiver(url), "{url}");
        }
    }
}
