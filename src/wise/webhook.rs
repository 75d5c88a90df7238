//! Webhook subscriptions (Wise, "Webhooks" and API reference): events, addresses, wire formats.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::ProfileId;

/// One kind of event.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Event {
    /// As `trigger_on` and `event_type` spell it.
    pub(crate) name: &'static str,
    /// Whether a profile can subscribe to it.
    pub(crate) profile: bool,
    /// Whether an application can.
    pub(crate) application: bool,
    /// Schema versions, oldest first; none where Wise's pages name none.
    pub(crate) versions: &'static [&'static str],
}

/// The schema version that Wise is retiring, of every event that has it.
const RETIRING: &str = "2.0.0";

/// The version that is asked for where nobody says another.
const USUAL: &str = "4.0.0";

const OLD_AND_NEW: &[&str] = &["2.0.0", "4.0.0"];

const fn both(name: &'static str, versions: &'static [&'static str]) -> Event {
    Event {
        name,
        profile: true,
        application: true,
        versions,
    }
}

const fn application(name: &'static str, versions: &'static [&'static str]) -> Event {
    Event {
        name,
        profile: false,
        application: true,
        versions,
    }
}

/// Every event of the API reference (August 2026), and `balances#credit`, which stands in older
/// tables alone and still in subscriptions.
#[rustfmt::skip]
pub(crate) const EVENTS: &[Event] = &[
    both("account-details-payment#state-change", OLD_AND_NEW),
    both("balances#update", &["2.1.0", "2.2.0", "3.0.0", "4.0.0"]),
    both("hold-limit-breach#update", &["4.0.0"]),
    both("incoming-transfer#credited", &["4.0.0"]),
    both("recipients#state-change", &["4.0.0"]),
    both("swift#message-received", &["4.0.0"]),
    both("swift-in#credit", &["3.0.0", "4.0.0", "4.1.0", "4.2.0", "4.3.0"]),
    both("transfers#active-cases", OLD_AND_NEW),
    both("transfers#payout-failure", &["2.0.0", "4.0.0", "5.0.0"]),
    both("transfers#refund", OLD_AND_NEW),
    both("transfers#state-change", OLD_AND_NEW),
    application("account-details-order#order-state-change", OLD_AND_NEW),
    application("balances#account-state-change", OLD_AND_NEW),
    application("batch-payment-initiations#state-change", OLD_AND_NEW),
    application("bulk-settlement#payment-received", &["2.0.0", "3.0.0", "4.0.0"]),
    application("cards#3ds-challenge", &["2.0.0", "2.1.0", "4.0.0"]),
    application("cards#card-order-status-change", &["2.0.0", "2.1.0", "4.0.0"]),
    application("cards#card-production-status-change", &["2.0.0", "2.1.0", "4.0.0"]),
    application("cards#card-status-change", &["2.0.0", "2.1.0", "4.0.0"]),
    application("cards#manual-provisioning-verification", &[]),
    application("cards#transaction-state-change", &["2.0.0", "2.1.0", "4.0.0"]),
    application("kyc-reviews#state-change", &["2.0.0", "4.0.0", "5.0.0"]),
    application("partner-support#case-changed", &["2.0.0", "4.0.0", "5.0.0"]),
    application("profiles#cdd-check-state-change", OLD_AND_NEW),
    application("profiles#overdraft-limit-threshold", OLD_AND_NEW),
    application("profiles#state-change", OLD_AND_NEW),
    application("profiles#verification-state-change", OLD_AND_NEW),
    application("transaction-disputes#update", OLD_AND_NEW),
    application("users#state-change", OLD_AND_NEW),
    Event { name: "balances#credit", profile: true, application: false, versions: &["2.0.0"] },
];

impl Event {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        EVENTS.iter().find(|event| event.name == name)
    }

    /// The version to ask for: 4.0.0, where the event has it, else its newest.
    pub(crate) fn usual_version(&self) -> &'static str {
        let has_usual = self.versions.is_empty() || self.versions.contains(&USUAL);
        let newest = self.versions.last().copied();
        newest.filter(|_| !has_usual).unwrap_or(USUAL)
    }
}

/// Whether Wise takes this schema version out of use.
pub(crate) fn is_retiring(version: &str) -> bool {
    version == RETIRING
}

/// Whose a subscription is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Scope {
    /// The application's own: events of every profile that it acts for.
    Application {
        /// Wise's `clientKey`, which is the client id.
        client_key: String,
    },
    /// One profile's.
    Profile(ProfileId),
}

impl Scope {
    /// `POST` makes one, `GET` lists them.
    pub(crate) fn all(&self) -> String {
        match self {
            Self::Application { client_key } => {
                format!("/v3/applications/{}/subscriptions", segment(client_key))
            }
            Self::Profile(profile) => {
                format!("/v3/profiles/{}/subscriptions", segment(profile.as_str()))
            }
        }
    }

    /// `DELETE` ends it.
    pub(crate) fn one(&self, id: &str) -> String {
        format!("{}/{}", self.all(), segment(id))
    }

    /// `POST` has a sample delivered; of applications alone.
    pub(crate) fn test(&self, id: &str) -> String {
        format!("{}/test-notifications", self.one(id))
    }
}

/// A text as one segment of a path.
fn segment(text: &str) -> impl std::fmt::Display + '_ {
    /// RFC 3986 §2.3.
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(text, RESERVED)
}

/// What is asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Order<'a> {
    pub(crate) name: &'a str,
    pub(crate) trigger_on: &'a str,
    pub(crate) delivery: OrderedDelivery<'a>,
}

/// How it is to be delivered.
#[derive(Debug, Serialize)]
pub(crate) struct OrderedDelivery<'a> {
    pub(crate) version: &'a str,
    pub(crate) url: &'a str,
    /// Left out unless wanted, as in Wise's older samples.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) mtls_enabled: bool,
}

/// A subscription as Wise has it. Only what an action needs is demanded of it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Subscription {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: Option<String>,
    pub(crate) trigger_on: String,
    pub(crate) delivery: Delivery,
    #[serde(default)]
    pub(crate) created_at: Option<String>,
}

/// Where and how it is delivered.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Delivery {
    #[serde(default)]
    pub(crate) version: Option<String>,
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) mtls_enabled: Option<bool>,
}

/// A delivery that a test set off.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TestNotification {
    pub(crate) delivery_id: String,
    #[serde(default)]
    pub(crate) created_at: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_version_is_one_that_the_event_has() {
        for event in EVENTS {
            let usual = event.usual_version();
            assert!(
                event.versions.is_empty() || event.versions.contains(&usual),
                "{}",
                event.name
            );
        }
        let usual = |name| Event::named(name).unwrap().usual_version();
        assert_eq!(usual("kyc-reviews#state-change"), "4.0.0");
        assert_eq!(usual("balances#credit"), "2.0.0");
        assert_eq!(usual("cards#manual-provisioning-verification"), "4.0.0");
    }

    #[test]
    fn an_event_stands_in_the_table_once_and_somebody_can_have_it() {
        for (at, event) in EVENTS.iter().enumerate() {
            assert!(event.profile || event.application, "{}", event.name);
            assert!(event.versions.is_sorted(), "{}", event.name);
            let mut before = EVENTS[..at].iter();
            assert!(
                before.all(|other| other.name != event.name),
                "{}",
                event.name
            );
        }
    }

    #[test]
    fn a_client_id_stays_one_segment_of_the_path() {
        let scope = |key: &str| Scope::Application {
            client_key: key.to_owned(),
        };
        let acme = scope("acme-1.x_y~z");
        assert_eq!(acme.all(), "/v3/applications/acme-1.x_y~z/subscriptions");
        assert_eq!(
            scope("a/../b?c").test("1"),
            "/v3/applications/a%2F..%2Fb%3Fc/subscriptions/1/test-notifications"
        );
    }

    #[test]
    fn an_order_says_what_wises_sample_says() {
        let order = Order {
            name: "sub 1",
            trigger_on: "transfers#state-change",
            delivery: OrderedDelivery {
                version: "4.0.0",
                url: "https://hooks.example.com/wise",
                mtls_enabled: true,
            },
        };
        assert_eq!(
            serde_json::to_string(&order).unwrap(),
            r#"{"name":"sub 1","trigger_on":"transfers#state-change","delivery":{"version":"4.0.0","url":"https://hooks.example.com/wise","mtls_enabled":true}}"#
        );
    }
}
