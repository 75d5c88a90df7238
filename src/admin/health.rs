//! Started, live and ready, and why not.
//!
//! Three questions of whoever runs the process. *Started*: are the doors open? Asked until the
//! first yes; never no again. *Live*: do all of its threads still turn? A no means that nothing but
//! a restart helps, so nothing that depends on Wise, the store or a person is asked. *Ready*: can
//! it serve every request of the lanes in use now? A no keeps traffic away, and mends by itself or
//! by a person.

use std::time::Duration;

use crate::admin::control::Control;
use crate::audit::Audit;
use crate::telemetry::pulse::Pulse;
use crate::tls::Severity;
use crate::wise::Lane;

/// A worker comes round twice a second. One that has not for so long never will.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

impl Control {
    /// Why the start is not over; empty: the configuration is read, the doors are open and
    /// somebody serves at each.
    pub(crate) fn unstarted(&self) -> Vec<String> {
        let pulses = self.pulses.iter().enumerate();
        let waited_for = pulses.filter(|(_, pulse)| !pulse.has_begun());
        waited_for
            .map(|(number, _)| format!("worker {number} has not begun"))
            .collect()
    }

    /// Why the process cannot go on; empty: it lives.
    pub(crate) fn ailments(&self) -> Vec<String> {
        self.stuck(LONGEST_SILENCE)
    }

    /// Workers that have been silent for longer than `limit`, in words.
    pub(crate) fn stuck(&self, limit: Duration) -> Vec<String> {
        let silences = self.pulses.iter().map(Pulse::silence).enumerate();
        let stuck = silences.filter(|(_, silence)| *silence > limit);
        stuck
            .map(|(number, silence)| {
                let seconds = silence.as_secs();
                format!("worker {number} has not come round for {seconds} s")
            })
            .collect()
    }

    /// Why the proxy cannot serve every request now; empty: it is ready.
    ///
    /// Looks at the lanes in use only: a dead grant does not matter to who is on the personal
    /// token. A door with a lane of its own counts, wherever the switch stands. The
    /// client-credentials token counts only once it was asked for.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let snapshot = self.published.load();
        let mut reasons = Vec::new();
        if snapshot.draining {
            reasons.push("the proxy is shutting down".to_owned());
        }
        let lanes = snapshot.lanes_in_use();
        if lanes.iter().any(Lane::is_oauth) {
            for token in self.tokens() {
                let unasked = token.absence == Some("not_fetched");
                if token.state == "live" || unasked {
                    continue;
                }
                let name = token.grant.as_deref().unwrap_or("client");
                let reason = token.reason.as_deref().unwrap_or("it has no live token");
                reasons.push(format!("grant {name}: {reason}"));
            }
        }
        let wants_certificate = lanes.contains(Lane::OAuthMtls);
        let notes = self.notes();
        if let Some(identity) = notes.identity.as_ref().filter(|_| wants_certificate) {
            let findings = identity.check(self.clock.as_ref(), notes.client_id.as_deref());
            let grave = findings
                .iter()
                .filter(|finding| finding.severity() == Severity::Error);
            reasons.extend(grave.map(|finding| format!("client certificate: {finding}")));
        }
        let audit = self.audit.as_ref().map(Audit::standing);
        // One that is not required keeps nobody from being served.
        let failing = audit.filter(|audit| audit.required);
        if let Some(error) = failing.and_then(|audit| audit.error) {
            reasons.push(error);
        }
        reasons
    }
}
