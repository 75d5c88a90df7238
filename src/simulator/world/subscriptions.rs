//! Webhook subscriptions of the application and of profiles.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use super::Call;
use super::events::Event;
use super::events::Kind;
use super::events::TransferState;
use crate::simulator::errors;
use crate::simulator::reply::Reply;
use crate::simulator::reply::empty;
use crate::simulator::reply::json_reply;
use crate::simulator::times;
use crate::simulator::webhooks::Receivers;

#[derive(Default)]
pub(in crate::simulator) struct Subscriptions {
    all: BTreeMap<String, Subscription>,
}

/// Who wants which event where.
#[derive(Clone, Debug)]
pub(in crate::simulator) struct Subscription {
    pub(in crate::simulator) id: String,
    scope: Scope,
    name: String,
    pub(in crate::simulator) version: &'static str,
    pub(in crate::simulator) url: String,
    pub(in crate::simulator) mtls: bool,
    json: Value,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Scope {
    Application,
    Profile(u64),
}

impl Subscriptions {
    /// The subscriptions that an event goes to.
    pub(in crate::simulator) fn matching(&self, event: &Event) -> Vec<Subscription> {
        self.all
            .values()
            .filter(|subscription| {
                if let Some((_, tested)) = &event.test {
                    return *tested == subscription.id;
                }
                let heard = match subscription.scope {
                    Scope::Application => true,
                    Scope::Profile(profile) => event.profile == Some(profile),
                };
                heard && subscription.name == event.name
            })
            .cloned()
            .collect()
    }

    pub(in crate::simulator) fn find(&self, id: &str) -> Option<Subscription> {
        self.all.get(id).cloned()
    }

    pub(in crate::simulator) fn contains(&self, id: &str) -> bool {
        self.all.contains_key(id)
    }

    pub(super) fn answer(&mut self, call: &Call<'_>, outbox: &mut Vec<Event>) -> Reply {
        let scope = match call.found.text("profileId") {
            Some(_) => Scope::Profile(call.profile()),
            None => Scope::Application,
        };
        let Some(id) = call.found.text("subscriptionId") else {
            if call.found.endpoint.method == "POST" {
                return self.create(call, scope);
            }
            let of_scope = self.all.values().filter(|its| its.scope == scope);
            let list: Vec<Value> = of_scope.map(|its| its.json.clone()).collect();
            return json_reply(StatusCode::OK, &list.into());
        };
        let Some(subscription) = self.all.get(id).filter(|its| its.scope == scope) else {
            return call.missing("Subscription");
        };
        match call.found.endpoint.method {
            "DELETE" => {
                self.all.remove(id);
                empty(StatusCode::NO_CONTENT)
            }
            "POST" => test(call, subscription, outbox),
            _ => json_reply(StatusCode::OK, &subscription.json),
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
        let Some(kind) = Kind::find(trigger).filter(|kind| kind.is_for(&scope)) else {
            return bad(
                "trigger_on",
                "Not an event that this scope can subscribe to",
            );
        };
        let delivery = &call.body["delivery"];
        let Some(version) = kind.version(delivery["version"].as_str()) else {
            return bad("delivery.version", "The event has no such schema version");
        };
        let url = delivery["url"].as_str().unwrap_or_default();
        if !is_receiver(url, call.faults.webhook.receivers) {
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
            "delivery": {"version": version, "url": url},
            "scope": {"domain": domain, "id": owner},
            "created_by": {"type": creator, "id": created_by},
            "created_at": times::seconds(call.now),
        });
        let mtls = delivery["mtls_enabled"].as_bool();
        if let Some(mtls) = mtls {
            json["delivery"]["mtls_enabled"] = mtls.into();
        }
        let reply = json_reply(StatusCode::OK, &json);
        let subscription = Subscription {
            id: id.clone(),
            scope,
            name: trigger.to_owned(),
            version,
            url: url.to_owned(),
            mtls: mtls == Some(true),
            json,
        };
        self.all.insert(id, subscription);
        reply
    }
}

/// Sends a sample, marked as a test, and says under which id.
fn test(call: &Call<'_>, subscription: &Subscription, outbox: &mut Vec<Event>) -> Reply {
    let delivery = Uuid::new_v4().to_string();
    let sample = TransferState {
        id: 111,
        profile: 222,
        recipient: 333,
        now: "processing",
        before: Some("incoming_payment_waiting"),
        occurred: call.now,
    };
    outbox.push(Event {
        name: subscription.name.clone(),
        test: Some((delivery.clone(), subscription.id.clone())),
        ..sample.event()
    });
    let answer = json!([{"delivery_id": delivery, "created_at": times::seconds(call.now)}]);
    json_reply(StatusCode::OK, &answer)
}

/// A name without credentials, port 443, no query; on wish also this machine, on any port.
fn is_receiver(url: &str, receivers: Receivers) -> bool {
    let secure = url.strip_prefix("https://");
    let bare = url.strip_prefix("http://");
    let Some(rest) = secure.or(bare) else {
        return false;
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') || url.contains(['?', '#']) {
        return false;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let here = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
    match receivers {
        Receivers::LoopbackHttp if here => return true,
        Receivers::Loopback if here => return secure.is_some(),
        Receivers::Public | Receivers::Loopback | Receivers::LoopbackHttp => {}
    }
    let host = host.strip_suffix(":443").unwrap_or(host);
    secure.is_some()
        && host.contains('.')
        && host.parse::<std::net::IpAddr>().is_err()
        && !host.contains([':', '['])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wises_kind_of_receiver_is_taken() {
        let public = |url| is_receiver(url, Receivers::Public);
        assert!(public("https://hooks.example.com/wise"));
        assert!(public("https://hooks.example.com:443/wise"));
        for url in [
            "http://hooks.example.com/",
            "https://192.0.2.1/",
            "https://[2001:db8::1]/",
            "https://hooks.example.com:8443/",
            "https://hooks.example.com/?a=b",
            "https://user@hooks.example.com/",
            "https://localhost:8443/",
            "https://127.0.0.1/",
        ] {
            assert!(!public(url), "{url}");
            let here = url.contains("localhost") || url.contains("127.0.0.1");
            assert_eq!(is_receiver(url, Receivers::Loopback), here, "{url}");
        }
        let bare = "http://127.0.0.1:9000/hook";
        assert!(!is_receiver(bare, Receivers::Loopback));
        assert!(is_receiver(bare, Receivers::LoopbackHttp));
        assert!(!is_receiver(
            "http://127.0.0.1:9000@elsewhere/",
            Receivers::LoopbackHttp
        ));
        assert!(!is_receiver(
            "http://hooks.example.com/",
            Receivers::LoopbackHttp
        ));
    }
}
