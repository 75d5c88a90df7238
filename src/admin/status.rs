//! The proxy at a glance, as JSON. Every field is named here; nothing else can get in.

use std::sync::Arc;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::admin::control::{Control, ReloadNote};
use crate::switch::Entry;
use crate::telemetry::events::Event;
use crate::tokens::KeeperStatus;
use crate::wise::Lane;

/// Answer of `/status`.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    version: &'static str,
    environment: String,
    ready: bool,
    /// Why not ready.
    reasons: Vec<String>,
    lane: Lane,
    /// Lanes that can be switched to.
    lanes: Vec<Lane>,
    /// The turn of the switch that led here, if there was one.
    switched: Option<Entry>,
    tokens: Vec<KeeperStatus>,
    certificate: Option<Certificate>,
    doors: Vec<String>,
    last_reload: Option<ReloadNote>,
    confinement: Confined,
    /// What happened lately, the oldest first.
    events: Vec<Arc<Event>>,
    /// RFC 3339.
    started: String,
    uptime_seconds: u64,
}

/// What the process has given up on its own machine, in words.
#[derive(Debug, Serialize)]
struct Confined {
    in_force: Vec<String>,
    left_out: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Certificate {
    common_name: Option<String>,
    issuer: String,
    serial: String,
    /// RFC 3339.
    not_after: String,
    days_left: i64,
    fingerprint_sha256: String,
    findings: Vec<String>,
}

impl Control {
    pub(crate) fn status(&self) -> Status {
        let reasons = self.reasons();
        let snapshot = self.published.load();
        let notes = self.notes();
        let certificate = notes.identity.as_ref().map(|identity| {
            let leaf = identity.certificate();
            let findings = identity.check(self.clock.as_ref(), notes.client_id.as_deref());
            Certificate {
                common_name: leaf.common_name.clone(),
                issuer: leaf.issuer.clone(),
                serial: leaf.serial.clone(),
                not_after: rfc3339(leaf.not_after),
                days_left: identity.days_left(self.clock.as_ref()),
                fingerprint_sha256: leaf.fingerprint.clone(),
                findings: findings.iter().map(ToString::to_string).collect(),
            }
        });
        let now = self.clock.wall();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            environment: self.environment.to_string(),
            ready: reasons.is_empty(),
            reasons,
            lane: snapshot.lane,
            lanes: Lane::ALL
                .into_iter()
                .filter(|lane| snapshot.ways[lane.index()].is_some())
                .collect(),
            switched: notes.switch.clone(),
            tokens: self.tokens(),
            certificate,
            doors: notes.doors.clone(),
            last_reload: notes.last_reload.clone(),
            confinement: Confined {
                in_force: self.confinement.in_force().to_vec(),
                left_out: self.confinement.left_out(),
            },
            events: self.events.recent(),
            started: rfc3339(self.started),
            uptime_seconds: now
                .duration_since(self.started)
                .unwrap_or_default()
                .as_secs(),
        }
    }
}

fn rfc3339(at: impl Into<OffsetDateTime>) -> String {
    at.into().format(&Rfc3339).unwrap_or_default()
}
