//! One challenge, until it is counted.

use crate::guard::Asked;
use crate::proxy::attempt::Outgoing;
use crate::proxy::worker::Worker;
use crate::telemetry::challenges::{self, KINDS, Outcome};
use crate::wise::Lane;

/// A challenge. Dropping it counts it and tells the log, wherever it ended.
pub(super) struct Case<'a> {
    worker: &'a Worker,
    lane: Lane,
    kind: usize,
    pub(super) outcome: Outcome,
}

impl<'a> Case<'a> {
    pub(super) fn open(worker: &'a Worker, lane: Lane, outgoing: &Outgoing<'_>) -> Self {
        let asked = Asked::new(outgoing.head.method.as_str(), outgoing.target.path());
        Self {
            worker,
            lane,
            kind: asked.operation().unwrap_or(KINDS - 1),
            outcome: Outcome::Passed,
        }
    }

    /// As metrics and the log name it.
    pub(super) fn name(&self) -> String {
        challenges::operation(self.kind)
    }
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        let worker = self.worker;
        worker.meter.challenges.add(self.kind, self.outcome);
        let now = worker.shared.clock.boot();
        if !worker.shared.office.tells(self.kind, self.outcome, now) {
            return;
        }
        let operation = self.name();
        let (lane, outcome) = (self.lane, self.outcome.name());
        let what = match self.outcome {
            Outcome::Passed => "the application got Wise's 403",
            Outcome::Signed => "the one-time token was signed, and Wise took it",
            Outcome::SignatureNotTaken => {
                "the one-time token was signed, and Wise asks again: does Wise have the key, and does \
                 it take signatures in this lane? `wise-auth-proxy sca test` says more"
            }
            Outcome::Approved => "it was approved, and Wise took it",
            Outcome::ApprovalNotTaken => "it was approved, and Wise asks again",
            Outcome::Refused => "it was not approved",
            Outcome::TimedOut => "nobody approved it in time",
            Outcome::TooMany => "nobody was asked: sca.max_waiting requests wait",
            Outcome::Abandoned => "nobody waited for the end",
            Outcome::Withdrawn => {
                "it was approved, but what it came in by or was to leave by changed meanwhile: nothing \
                 left"
            }
            Outcome::Failed => "what was to be done failed, and nothing was carried out",
            Outcome::Lost => {
                "it left again, and no answer came: it may have been carried out; ask Wise before \
                 repeating a payment"
            }
        };
        match self.outcome {
            Outcome::Signed | Outcome::Approved => {
                tracing::info!(%lane, operation, outcome, "strong customer authentication: {what}");
            }
            Outcome::Passed
            | Outcome::SignatureNotTaken
            | Outcome::ApprovalNotTaken
            | Outcome::Refused
            | Outcome::TimedOut
            | Outcome::TooMany
            | Outcome::Abandoned
            | Outcome::Withdrawn
            | Outcome::Failed
            | Outcome::Lost => {
                tracing::warn!(%lane, operation, outcome, "strong customer authentication: {what}");
            }
        }
    }
}
