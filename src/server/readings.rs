//! What a scrape of the metrics reads of the control side.

use std::sync::PoisonError;
use std::time::SystemTime;

use crate::admin::Control;
use crate::audit::Audit;
use crate::listener::Limit;
use crate::telemetry::log::Sink;
use crate::telemetry::metrics::{AuditReading, PolicyReading, Readings, TokenReading};
use crate::tokens::{KeeperHandle, Outcome};

pub(super) fn readings(control: &Control, log: &Sink, limit: &Limit) -> Readings {
    let token = |handle: &KeeperHandle| {
        let status = handle.status();
        TokenReading {
            grant: status.grant.clone().unwrap_or_else(|| "client".to_owned()),
            generation: status.generation,
            unsaved: status.unsaved,
            age_seconds: status.age.map(float),
            seconds_left: status.seconds_left.map(float),
            refreshes: status
                .refreshes
                .iter()
                .map(|(result, count)| (Outcome::name(result), count))
                .collect(),
        }
    };
    let ready = control.reasons().is_empty();
    let notes = control.notes.lock().unwrap_or_else(PoisonError::into_inner);
    let identity = notes.identity.as_ref();
    let days = identity.map(|identity| identity.days_left(control.clock.as_ref()));
    let end = identity.map(|identity| identity.certificate().not_after);
    let end = end.and_then(|end| end.duration_since(SystemTime::UNIX_EPOCH).ok());
    let snapshot = control.published.load();
    let refusals = snapshot.policies.counts().into_iter();
    Readings {
        policy_refusals: refusals
            .map(|it| PolicyReading {
                policy: it.policy,
                reason: it.reason,
                mode: it.mode,
                count: it.times,
            })
            .collect(),
        lane: Some(snapshot.lane),
        ready,
        certificate_days: days
            .and_then(|days| i32::try_from(days).ok())
            .map(f64::from),
        certificate_end: end.map(|end| float(end.as_secs())),
        tokens: control.keepers.iter().map(token).collect(),
        reloads: notes.reloads,
        switches: notes.switches,
        limit_reached: limit.reached(),
        log_lines_dropped: log.dropped(),
        notifications: control.notifier.tallies().collect(),
        webhooks: control.webhooks.readings(),
        audit: control
            .audit
            .as_ref()
            .map(Audit::standing)
            .map(|audit| AuditReading {
                records: audit.records,
                lost: audit.lost,
                failing: audit.error.is_some(),
            }),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "seconds of a life, and those of Unix time, are far below 2^52"
)]
fn float(seconds: u64) -> f64 {
    seconds as f64
}
