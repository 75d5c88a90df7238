//! Which events are told: those that were asked for, and a lasting trouble once in a while.

use std::collections::HashMap;
use std::time::Duration;

use crate::config::Notify;
use crate::telemetry::events::{Event, Kind};

/// What was told of each grant's troubles.
#[derive(Debug)]
pub(super) struct Selection {
    wanted: Vec<Kind>,
    repeat: Duration,
    /// When a trouble that may go on was last told, by the boot clock.
    told: HashMap<(Kind, Option<String>), Duration>,
}

impl Selection {
    pub(super) fn new(settings: &Notify) -> Self {
        Self {
            wanted: settings.events.clone(),
            repeat: settings.repeat,
            told: HashMap::new(),
        }
    }

    /// Whether this one is told. `now` is of the boot clock.
    pub(super) fn tells(&mut self, event: &Event, now: Duration) -> bool {
        let wanted = self.wanted.contains(&event.kind);
        let key = |kind| (kind, event.grant.clone());
        match event.kind {
            Kind::RenewalFailed | Kind::TokensUnsaved => {
                let last = self.told.get(&key(event.kind));
                let due = last.is_none_or(|last| now >= *last + self.repeat);
                if wanted && due {
                    self.told.insert(key(event.kind), now);
                }
                wanted && due
            }
            // The end of what was told, or of what nobody asked to be told.
            Kind::RenewalRecovered | Kind::TokensSaved => {
                let trouble = if event.kind == Kind::TokensSaved {
                    Kind::TokensUnsaved
                } else {
                    Kind::RenewalFailed
                };
                let known = self.told.remove(&key(trouble)).is_some();
                wanted && (known || !self.wanted.contains(&trouble))
            }
            Kind::Started
            | Kind::Stopping
            | Kind::LaneSwitched
            | Kind::GrantForgotten
            | Kind::Reloaded
            | Kind::ReloadFailed
            | Kind::TokenRenewed
            | Kind::GrantDead
            | Kind::CertificateExpiring
            | Kind::CertificateReplaced
            | Kind::FundingCapped
            | Kind::DeliverySetAside
            | Kind::DeliveryExpired
            | Kind::WebhookUnkept
            | Kind::Test => wanted,
        }
    }
}
