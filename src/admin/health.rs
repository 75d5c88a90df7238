//! Live and ready, and why not.

use crate::admin::control::Control;
use crate::tls::Severity;

impl Control {
    /// Why the proxy cannot serve every request now; empty: it is ready.
    ///
    /// Looks at the lane in use only: a dead grant does not matter to who is on the personal
    /// token. The client-credentials token counts only once it was asked for.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let snapshot = self.published.load();
        let mut reasons = Vec::new();
        if snapshot.draining {
            reasons.push("the proxy is shutting down".to_owned());
        }
        if snapshot.lane.is_oauth() {
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
        let wants_certificate = snapshot.lane == crate::wise::Lane::OAuthMtls;
        let notes = self.notes();
        if let Some(identity) = notes.identity.as_ref().filter(|_| wants_certificate) {
            let findings = identity.check(self.clock.as_ref(), notes.client_id.as_deref());
            let grave = findings
                .iter()
                .filter(|finding| finding.severity() == Severity::Error);
            reasons.extend(grave.map(|finding| format!("client certificate: {finding}")));
        }
        reasons
    }
}
