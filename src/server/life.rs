//! What the service manager hears while the proxy runs: that it serves, how it is, that it lives.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::admin::Control;
use crate::supervisor::Supervisor;
use crate::telemetry::meter::Meter;

/// How often the status is looked at.
const ROUND: Duration = Duration::from_secs(1);

/// A worker that is well comes round twice in this long.
const SHORTEST_SILENCE: Duration = Duration::from_secs(1);

/// Runs on the control runtime, so that a control runtime that hangs is found out as well.
pub(super) struct Life {
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) control: Arc<Control>,
    pub(super) meters: Vec<Arc<Meter>>,
}

impl Life {
    /// Says that the proxy serves, and goes on until `end`.
    pub(super) async fn run(self, end: CancellationToken) {
        let mut said = self.words();
        self.supervisor.ready(&said).await;
        let half = self.supervisor.watchdog().map(|whole| whole / 2);
        let mut well = true;
        let mut rounds = interval(ROUND);
        // Without a watchdog its ticks are passed over.
        let mut pings = interval(half.unwrap_or(ROUND));
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                _ = rounds.tick() => {
                    let words = self.words();
                    if words != said && self.supervisor.status(&words) {
                        said = words;
                    }
                }
                _ = pings.tick(), if half.is_some() => {
                    let stuck = self.control.stuck(half.unwrap_or_default().max(SHORTEST_SILENCE));
                    if stuck.is_empty() {
                        self.supervisor.alive();
                    } else if well {
                        tracing::error!("the watchdog is not told that all is well: {}", stuck.join(", "));
                    }
                    well = stuck.is_empty();
                }
            }
        }
    }

    /// One line for `systemctl status`.
    fn words(&self) -> String {
        let snapshot = self.control.published.load();
        if snapshot.draining {
            let in_flight: i64 = self.meters.iter().map(|meter| meter.in_flight.read()).sum();
            return format!("stopping, requests in flight: {in_flight}");
        }
        let lane = snapshot.lane;
        let reasons = self.control.reasons();
        if reasons.is_empty() {
            format!("lane {lane}, ready")
        } else {
            format!("lane {lane}, not ready: {}", reasons.join("; "))
        }
    }
}

fn interval(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
