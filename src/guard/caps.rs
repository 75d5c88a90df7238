//! How many fundings a caller has tried in the last hour.
//!
//! One task decides, and writes each attempt down before it leaves: what a crash cannot undo, a
//! crash cannot reset. Attempts count, whatever becomes of them; whoever was refused here does not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::guard::ledger::Ledger;
use crate::telemetry::events::{Events, Kind};

/// Requests that may wait to be written down; beyond it the disk is no disk.
const WAITING: usize = 1024;

/// Written with one sync.
const BATCH: usize = 256;

/// A disk that takes longer than this for a line is broken.
const PATIENCE: Duration = Duration::from_secs(5);

/// The window.
pub(super) const HOUR: Duration = Duration::from_hours(1);

/// May this funding leave.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Whose fundings are counted, and how many may be in any hour.
    pub(crate) of: String,
    pub(crate) per_hour: u32,
    /// For the event.
    pub(crate) policy: String,
}

/// The answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It is written down and may leave.
    Granted,
    /// As many were tried; one may after that long.
    Capped(Duration),
    /// It cannot be written down, so it must not leave.
    Unrecorded(String),
}

/// Where workers ask. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Caps(mpsc::Sender<Asked>);

#[derive(Debug)]
struct Asked {
    ask: Ask,
    answer: oneshot::Sender<Verdict>,
}

/// Who answers.
#[derive(Debug)]
pub(crate) struct Keeper {
    asked: mpsc::Receiver<Asked>,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    events: Events,
    /// Whose cap was told, and until when nothing more is.
    told: HashMap<String, Duration>,
}

impl Caps {
    /// The asking end, and the one that answers once it runs.
    pub(crate) fn new(ledger: Ledger, clock: Arc<dyn Clock>, events: Events) -> (Self, Keeper) {
        let (sender, asked) = mpsc::channel(WAITING);
        let keeper = Keeper {
            asked,
            ledger,
            clock,
            events,
            told: HashMap::new(),
        };
        (Self(sender), keeper)
    }

    /// Nobody answers: every funding that is to be counted is refused.
    #[cfg(any(test, feature = "benchmarks"))]
    pub(crate) fn closed() -> Self {
        Self(mpsc::channel(1).0)
    }

    /// Returns once the funding is on the disk, or must not leave.
    ///
    /// Cancel safe: a funding that nobody waits for any more is not counted, unless its line was
    /// being written already.
    pub(crate) async fn ask(&self, ask: Ask) -> Verdict {
        let (answer, heard) = oneshot::channel();
        if self.0.try_send(Asked { ask, answer }).is_err() {
            return Verdict::Unrecorded("nobody keeps the ledger just now".into());
        }
        match tokio::time::timeout(PATIENCE, heard).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_)) => Verdict::Unrecorded("the proxy is stopping".into()),
            Err(_) => Verdict::Unrecorded("the disk does not answer".into()),
        }
    }
}

impl Keeper {
    /// Answers until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                count = self.asked.recv_many(&mut batch, BATCH) => if count == 0 { return },
            }
            // Who has gone meanwhile pays nothing.
            batch.retain(|asked: &Asked| !asked.answer.is_closed());
            let Some(verdicts) = self.decide(&batch).await else {
                return;
            };
            for (asked, verdict) in batch.drain(..).zip(verdicts) {
                self.tell(&asked.ask, &verdict);
                // Nobody may be waiting any more.
                let _ = asked.answer.send(verdict);
            }
        }
    }

    /// Decides together what came together; `None`: the runtime is going down.
    async fn decide(&mut self, batch: &[Asked]) -> Option<Vec<Verdict>> {
        let asks: Vec<_> = batch
            .iter()
            .map(|asked| (asked.ask.of.clone(), asked.ask.per_hour))
            .collect();
        let mut ledger = self.ledger.take();
        let clock = Arc::clone(&self.clock);
        let decide = move || {
            let verdicts = ledger.decide(&asks, clock.as_ref());
            (ledger, verdicts)
        };
        let (ledger, verdicts) = tokio::task::spawn_blocking(decide).await.ok()?;
        self.ledger = ledger;
        Some(verdicts)
    }

    /// A cap that is reached is told once an hour for each who reaches it.
    fn tell(&mut self, ask: &Ask, verdict: &Verdict) {
        let now = self.clock.boot();
        let fresh = self.told.get(&ask.of).is_none_or(|until| *until <= now);
        if !matches!(verdict, Verdict::Capped(_)) || !fresh {
            return;
        }
        self.told.insert(ask.of.clone(), now + HOUR);
        let text = format!(
            "{} has tried the {} fundings that the policy {} lets pass in any hour; more are \
             refused",
            ask.of, ask.per_hour, ask.policy
        );
        self.events.note(Kind::FundingCapped, None, text);
    }
}
