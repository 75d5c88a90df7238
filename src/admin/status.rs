//! The proxy at a glance, as JSON. Every field is named here; nothing else can get in.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::admin::control::{Control, ReloadNote};
use crate::audit::{Audit, Standing};
use crate::guard::Callers;
use crate::switch::Entry;
use crate::telemetry::events::Event;
use crate::telemetry::traffic::Report;
use crate::tokens::{EndedTry, KeeperStatus};
use crate::webhook;
use crate::wise::Lane;

/// Tries to renew that are shown, all grants together.
const TRIES_SHOWN: usize = 32;

/// Answer of `/status`, and all that the status page knows.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    /// RFC 3339; when all this was so.
    pub(super) at: String,
    pub(super) version: &'static str,
    pub(super) environment: String,
    pub(super) ready: bool,
    /// Why not ready.
    pub(super) reasons: Vec<String>,
    pub(super) lane: Lane,
    /// Lanes that can be switched to.
    pub(super) lanes: Vec<Lane>,
    /// The turn of the switch that led here, if there was one.
    pub(super) switched: Option<Entry>,
    pub(super) tokens: Vec<KeeperStatus>,
    pub(super) certificate: Option<Certificate>,
    pub(super) doors: Vec<String>,
    /// Doors with a lane of their own, which the switch does not move.
    pub(super) pinned: Vec<Pinned>,
    /// In the order of the configuration.
    pub(super) callers: Vec<KnownCaller>,
    pub(super) last_reload: Option<ReloadNote>,
    pub(super) confinement: Confined,
    /// The record of who called what; `None`: there is none.
    pub(super) audit: Option<Standing>,
    /// Where Wise's webhooks come in, and what waits there.
    pub(super) webhooks: Vec<webhook::Standing>,
    /// RFC 3339.
    pub(super) started: String,
    pub(super) uptime_seconds: u64,
    pub(super) traffic: Report,
    /// Tries to renew that have ended, newest first.
    pub(super) refresh_history: Vec<EndedTry>,
    /// What happened lately, oldest first.
    pub(super) events: Vec<Arc<Event>>,
}

/// An application that doors can tell apart. No key, and no hash of one.
#[derive(Debug, Serialize)]
pub(super) struct KnownCaller {
    pub(super) name: String,
    /// Of `key`, `certificate`, `user`, `group`.
    pub(super) known_by: Vec<&'static str>,
    pub(super) keys: Vec<KeyEnd>,
    /// Answers given to it since the start.
    pub(super) requests: u64,
    /// RFC 3339; of its last answered request since the start.
    pub(super) last_seen: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct KeyEnd {
    /// RFC 3339; `None`: never.
    pub(super) ends: Option<String>,
    pub(super) ended: bool,
}

/// What the process has given up on its own machine, in words.
#[derive(Debug, Serialize)]
pub(super) struct Confined {
    pub(super) in_force: Vec<String>,
    pub(super) left_out: Vec<String>,
}

/// A door with a lane of its own.
#[derive(Debug, Serialize)]
pub(super) struct Pinned {
    pub(super) door: String,
    pub(super) lane: Lane,
}

#[derive(Debug, Serialize)]
pub(super) struct Certificate {
    pub(super) common_name: Option<String>,
    pub(super) issuer: String,
    pub(super) serial: String,
    /// RFC 3339.
    pub(super) not_before: String,
    /// RFC 3339.
    pub(super) not_after: String,
    pub(super) days_left: i64,
    pub(super) fingerprint_sha256: String,
    pub(super) findings: Vec<String>,
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
                not_before: rfc3339(leaf.not_before),
                not_after: rfc3339(leaf.not_after),
                days_left: identity.days_left(self.clock.as_ref()),
                fingerprint_sha256: leaf.fingerprint.clone(),
                findings: findings.iter().map(ToString::to_string).collect(),
            }
        });
        let now = self.clock.wall();
        let tokens = self.tokens();
        Status {
            at: rfc3339(now),
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
            refresh_history: history(&tokens),
            tokens,
            certificate,
            pinned: (notes.doors.iter().zip(snapshot.doors.iter()))
                .filter_map(|(name, door)| {
                    let (door, lane) = (name.clone(), door.lane?);
                    Some(Pinned { door, lane })
                })
                .collect(),
            doors: notes.doors.clone(),
            callers: self.callers(&snapshot.callers, now),
            last_reload: notes.last_reload.clone(),
            confinement: Confined {
                in_force: self.confinement.in_force().to_vec(),
                left_out: self.confinement.left_out(),
            },
            audit: self.audit.as_ref().map(Audit::standing),
            webhooks: self.webhooks.standing(),
            events: self.events.recent(),
            started: rfc3339(self.started),
            uptime_seconds: now
                .duration_since(self.started)
                .unwrap_or_default()
                .as_secs(),
            traffic: self.traffic.report(),
        }
    }
}

impl Control {
    fn callers(&self, callers: &Callers, now: SystemTime) -> Vec<KnownCaller> {
        let traffic = self.metrics.callers();
        let known = callers.iter().map(|(_, caller)| {
            let traffic = traffic.iter().find(|it| it.name == caller.name);
            let seen = traffic.and_then(|it| it.seen);
            let seen = seen.map(|seen| SystemTime::UNIX_EPOCH + Duration::from_secs(seen));
            KnownCaller {
                name: caller.name.clone(),
                known_by: caller.known_by(),
                keys: caller
                    .ends()
                    .map(|until| KeyEnd {
                        ends: until.map(rfc3339),
                        ended: until.is_some_and(|until| until <= now),
                    })
                    .collect(),
                requests: traffic.map_or(0, |it| it.requests.iter().sum()),
                last_seen: seen.map(rfc3339),
            }
        });
        known.collect()
    }
}

/// The last tries of all grants, newest first.
fn history(tokens: &[KeeperStatus]) -> Vec<EndedTry> {
    let mut tries: Vec<_> = tokens.iter().flat_map(|token| &token.tries).collect();
    // One form, one zone: the order of the texts is that of the moments.
    tries.sort_by(|one, other| other.at.cmp(&one.at));
    tries.into_iter().take(TRIES_SHOWN).cloned().collect()
}

pub(super) fn rfc3339(at: impl Into<OffsetDateTime>) -> String {
    at.into().format(&Rfc3339).unwrap_or_default()
}
