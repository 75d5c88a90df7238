//! Which events exist, whose subscriptions may name them and in which schema versions, and how an
//! event is spelled in each.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use serde_json::value::to_raw_value;

use super::subscriptions::Scope;
use crate::simulator::times;

/// One kind of event.
pub(super) struct Kind {
    name: &'static str,
    profiles: bool,
    applications: bool,
    versions: &'static [&'static str],
}

const OLD_AND_NEW: &[&str] = &["2.0.0", "4.0.0"];
const THREE: &[&str] = &["2.0.0", "4.0.0", "5.0.0"];
const NEW: &[&str] = &["4.0.0"];

const fn both(name: &'static str, versions: &'static [&'static str]) -> Kind {
    Kind {
        name,
        profiles: true,
        applications: true,
        versions,
    }
}

const fn application(name: &'static str, versions: &'static [&'static str]) -> Kind {
    Kind {
        name,
        profiles: false,
        applications: true,
        versions,
    }
}

#[rustfmt::skip]
const KINDS: &[Kind] = &[
    both("transfers#state-change", OLD_AND_NEW),
    both("transfers#active-cases", OLD_AND_NEW),
    both("transfers#payout-failure", THREE),
    both("transfers#refund", OLD_AND_NEW),
    both("balances#update", &["2.1.0", "2.2.0", "3.0.0", "4.0.0"]),
    both("account-details-payment#state-change", OLD_AND_NEW),
    both("swift-in#credit", &["3.0.0", "4.0.0", "4.1.0", "4.2.0", "4.3.0"]),
    both("swift#message-received", NEW),
    both("incoming-transfer#credited", NEW),
    both("hold-limit-breach#update", NEW),
    both("recipients#state-change", NEW),
    application("account-details-order#order-state-change", OLD_AND_NEW),
    application("balances#account-state-change", OLD_AND_NEW),
    application("batch-payment-initiations#state-change", OLD_AND_NEW),
    application("bulk-settlement#payment-received", &["2.0.0", "3.0.0", "4.0.0"]),
    application("cards#3ds-challenge", OLD_AND_NEW),
    application("cards#card-order-status-change", OLD_AND_NEW),
    application("cards#card-production-status-change", OLD_AND_NEW),
    application("cards#card-status-change", &["2.0.0", "2.1.0", "4.0.0"]),
    application("cards#transaction-state-change", &["2.0.0", "2.1.0", "4.0.0"]),
    application("cards#manual-provisioning-verification", NEW),
    application("kyc-reviews#state-change", THREE),
    application("partner-support#case-changed", THREE),
    application("profiles#cdd-check-state-change", OLD_AND_NEW),
    application("profiles#overdraft-limit-threshold", OLD_AND_NEW),
    application("profiles#state-change", OLD_AND_NEW),
    application("profiles#verification-state-change", OLD_AND_NEW),
    application("transaction-disputes#update", OLD_AND_NEW),
    application("users#state-change", OLD_AND_NEW),
    // In older tables alone.
    Kind { name: "balances#credit", profiles: true, applications: false, versions: &["2.0.0"] },
];

impl Kind {
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    pub(super) fn is_for(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Application => self.applications,
            Scope::Profile(_) => self.profiles,
        }
    }

    /// The version asked for, or the oldest; `None` when it has no such version.
    pub(super) fn version(&self, asked: Option<&str>) -> Option<&'static str> {
        match asked {
            None => self.versions.first().copied(),
            Some(asked) => self.versions.iter().copied().find(|known| *known == asked),
        }
    }
}

/// Something happened that subscriptions may name.
#[derive(Clone, Debug)]
pub(in crate::simulator) struct Event {
    pub(in crate::simulator) name: String,
    /// Whose it is; events of no profile go to the application alone.
    pub(in crate::simulator) profile: Option<u64>,
    pub(in crate::simulator) what: What,
    /// The delivery's id and the one subscription that is tested.
    pub(in crate::simulator) test: Option<(String, String)>,
}

#[derive(Clone, Debug)]
pub(in crate::simulator) enum What {
    Transfer(TransferState),
    /// As the control API was given it.
    Given(Value),
}

/// A transfer went from one state to another.
#[derive(Clone, Debug)]
pub(in crate::simulator) struct TransferState {
    pub(in crate::simulator) id: u64,
    pub(in crate::simulator) profile: u64,
    pub(in crate::simulator) recipient: u64,
    pub(in crate::simulator) now: &'static str,
    pub(in crate::simulator) before: Option<&'static str>,
    pub(in crate::simulator) occurred: SystemTime,
}

impl TransferState {
    pub(in crate::simulator) fn event(self) -> Event {
        Event {
            name: "transfers#state-change".to_owned(),
            profile: Some(self.profile),
            what: What::Transfer(self),
            test: None,
        }
    }
}

#[derive(Serialize)]
struct OldEnvelope<'a> {
    data: &'a RawValue,
    subscription_id: &'a str,
    event_type: &'a str,
    schema_version: &'a str,
    sent_at: &'a str,
}

#[derive(Serialize)]
struct NewEnvelope<'a> {
    schema_version: &'a str,
    subscription_id: &'a str,
    event_type: &'a str,
    sent_at: &'a str,
    data: &'a RawValue,
}

#[derive(Serialize)]
struct Transfer<R> {
    resource: R,
    current_state: &'static str,
    previous_state: Option<&'static str>,
    occurred_at: String,
}

#[derive(Serialize)]
struct OldResource {
    id: u64,
    profile_id: u64,
    account_id: u64,
    r#type: &'static str,
}

#[derive(Serialize)]
struct NewResource {
    r#type: &'static str,
    id: u64,
    profile_id: u64,
    account_id: u64,
}

/// The body that is sent, members in the order of Wise's samples, which differs by version.
pub(in crate::simulator) fn body(
    event: &Event,
    subscription: &str,
    version: &str,
    sent: SystemTime,
) -> Result<String, serde_json::Error> {
    let old = version.starts_with(['2', '3']);
    let time = if old {
        times::seconds
    } else {
        times::milliseconds
    };
    let data = match &event.what {
        What::Given(data) => to_raw_value(data)?,
        What::Transfer(transfer) if old => to_raw_value(&Transfer {
            resource: OldResource {
                id: transfer.id,
                profile_id: transfer.profile,
                account_id: transfer.recipient,
                r#type: "transfer",
            },
            current_state: transfer.now,
            previous_state: transfer.before,
            occurred_at: time(transfer.occurred),
        })?,
        What::Transfer(transfer) => to_raw_value(&Transfer {
            resource: NewResource {
                r#type: "transfer",
                id: transfer.id,
                profile_id: transfer.profile,
                account_id: transfer.recipient,
            },
            current_state: transfer.now,
            previous_state: transfer.before,
            occurred_at: time(transfer.occurred),
        })?,
    };
    let (event_type, sent_at) = (event.name.as_str(), &time(sent));
    if old {
        serde_json::to_string(&OldEnvelope {
            data: &data,
            subscription_id: subscription,
            event_type,
            schema_version: version,
            sent_at,
        })
    } else {
        serde_json::to_string(&NewEnvelope {
            schema_version: version,
            subscription_id: subscription,
            event_type,
            sent_at,
            data: &data,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// 2021-08-23T10:12:50Z
    const THEN: Duration = Duration::from_secs(1_629_713_570);

    /// The body of Wise's published vector, byte for byte.
    #[test]
    fn an_event_is_spelled_as_in_wises_published_sample() {
        let then = SystemTime::UNIX_EPOCH + THEN;
        let event = TransferState {
            id: 49_983_981,
            profile: 16_055_450,
            recipient: 14_124_090,
            now: "incoming_payment_waiting",
            before: None,
            occurred: then,
        }
        .event();
        let subscription = "90aa8e14-4ef1-4a56-861c-f3c9cde097ea";
        let old = body(&event, subscription, "2.0.0", then).unwrap();
        let published = include_str!("../tests/vectors/webhook-body.json");
        assert_eq!(old, published);
        let new = body(&event, subscription, "4.0.0", then).unwrap();
        assert_eq!(
            new,
            r#"{"schema_version":"4.0.0","subscription_id":"90aa8e14-4ef1-4a56-861c-f3c9cde097ea","event_type":"transfers#state-change","sent_at":"2021-08-23T10:12:50.000Z","data":{"resource":{"type":"transfer","id":49983981,"profile_id":16055450,"account_id":14124090},"current_state":"incoming_payment_waiting","previous_state":null,"occurred_at":"2021-08-23T10:12:50.000Z"}}"#
        );
    }

    #[test]
    fn an_event_knows_its_scopes_and_versions() {
        let profile = Scope::Profile(1);
        let cards = Kind::find("cards#3ds-challenge").unwrap();
        assert!(cards.is_for(&Scope::Application) && !cards.is_for(&profile));
        let credit = Kind::find("balances#credit").unwrap();
        assert!(!credit.is_for(&Scope::Application) && credit.is_for(&profile));
        let update = Kind::find("balances#update").unwrap();
        assert_eq!(update.version(Some("2.0.0")), None);
        assert_eq!(update.version(None), Some("2.1.0"));
        assert!(Kind::find("transfers#nonsense").is_none());
    }
}
