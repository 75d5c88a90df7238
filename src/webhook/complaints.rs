//! What the log hears of deliveries that were not taken: some of each kind, for anybody may send
//! anything, and a scanner's noise must not hide that nothing can be kept.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Webhook;
use super::fault::Fault;
use super::places::{CONNECTIONS, NoPlace, OF_ONE};
use crate::telemetry::events::Kind;

/// Of each kind of fault the log hears so often; the metric counts all.
const FAULTS: Duration = Duration::from_secs(10);

/// And of newcomers without a place.
const CROWDS: Duration = Duration::from_mins(1);

/// A queue that stays full is told of again after this long.
const FULL: Duration = Duration::from_mins(10);

/// When something was last said, by the boot clock. There are as many entries as kinds.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<HashMap<&'static str, Duration>>);

impl Complaints {
    /// Whether this may be said now; if so, it counts as said.
    fn may(&self, what: &'static str, now: Duration, rest: Duration) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = said.get(what);
        if last.is_some_and(|at| now.saturating_sub(*at) < rest) {
            return false;
        }
        said.insert(what, now);
        true
    }
}

impl Webhook {
    /// Tells the log of a delivery that was not taken, and the operator where it means that none is.
    pub(super) fn complain(&self, fault: Fault) {
        let now = self.clock.boot();
        if fault == Fault::Full && self.complaints.may("full", now, FULL) {
            let text = format!(
                "webhook {}: webhook.max_queued deliveries wait, and more are answered 503 until the \
                 application takes some",
                self.name
            );
            self.events.note(Kind::WebhookUnkept, None, text);
        }
        if self.complaints.may(fault.kind(), now, FAULTS) {
            let status = fault.status().as_u16();
            tracing::warn!(
                webhook = self.name,
                status,
                "a delivery was not taken: {fault:?}"
            );
        }
    }

    /// Tells the log of connections that were closed as they came.
    pub(super) fn crowded(&self, why: NoPlace) {
        let (what, most) = match why {
            NoPlace::Full => ("no-place", CONNECTIONS),
            NoPlace::OneSender => ("one-sender", OF_ONE),
        };
        if !self.complaints.may(what, self.clock.boot(), CROWDS) {
            return;
        }
        match why {
            NoPlace::Full => tracing::warn!(
                webhook = self.name,
                most,
                "connections are closed as they come: every place is taken"
            ),
            NoPlace::OneSender => tracing::warn!(
                webhook = self.name,
                most,
                "connections are closed as they come: one sender has as many as one may have"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kind_hides_no_other() {
        let complaints = Complaints::default();
        let at = Duration::from_secs;
        assert!(complaints.may("no-such-webhook", at(1), FAULTS));
        assert!(!complaints.may("no-such-webhook", at(10), FAULTS));
        assert!(complaints.may("queue-full", at(10), FAULTS));
        assert!(complaints.may("no-such-webhook", at(11), FAULTS));
        assert!(!complaints.may("queue-full", at(11), FAULTS));
    }
}
