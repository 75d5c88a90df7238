//! Says that the client certificate ends: in the log and among the events, at each threshold.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

use crate::admin::Control;
use crate::telemetry::events::Kind;
use crate::tls::{Certificate, Finding, Reminder};

/// However seldom files are looked at.
const SELDOM: Duration = Duration::from_mins(1);

/// Looks at the certificate in use at once and then again and again, until `stop`.
pub(super) async fn watch(control: Arc<Control>, interval: Duration, stop: CancellationToken) {
    let mut reminder = Reminder::default();
    let mut tick = tokio::time::interval(interval.min(SELDOM));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let identity = control.notes().identity.clone();
        let Some(identity) = identity else { continue };
        let due = reminder.due(identity.certificate(), control.clock.as_ref());
        if let Some(finding) = due {
            say(&finding, identity.certificate());
            let (kind, text) = (Kind::CertificateExpiring, finding.to_string());
            control.events.note(kind, None, text);
        }
    }
}

fn say(finding: &Finding, certificate: &Certificate) {
    let not_after = date(certificate.not_after);
    let serial = &certificate.serial;
    if finding.is_urgent() {
        tracing::error!(not_after, serial, "{finding}");
    } else {
        tracing::warn!(not_after, serial, "{finding}");
    }
}

fn date(at: SystemTime) -> String {
    OffsetDateTime::from(at)
        .format(&Rfc3339)
        .unwrap_or_default()
}
