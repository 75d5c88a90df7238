//! Telling people and their systems what happened, and asking them: a webhook, a program.
//!
//! Runs on the control side, apart from everything else: a receiver that hangs holds up the next
//! notification and nothing more. What is told holds no secret, as the log does not.

mod approver;
mod command;
mod selection;
#[cfg(test)]
mod tests;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{Config, Environment, Notify};
use crate::telemetry::events::{Event, Kind, Severity};

pub(crate) use self::approver::Approver;
use self::command::Command;
use self::selection::Selection;
use self::webhook::Webhook;

/// Notifications that may wait for one receiver; more are dropped, and counted.
const WAITING: usize = 256;

/// Pauses before a notification that failed is sent again. After the last it is given up.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(5),
];

/// At the stop, so long in all for what still waits.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A notification that did not arrive. Every text is safe to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotifyError {
    /// It would fail again.
    #[error("{0}")]
    Refused(String),
    /// Another time it may arrive.
    #[error("{0}")]
    Failed(String),
}

/// One way to tell.
#[derive(Debug)]
enum Way {
    Webhook(Box<Webhook>),
    Command(Command),
}

impl Way {
    const fn name(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Command(_) => "command",
        }
    }

    /// Tells once. Cancel safe: a request is dropped, a program is killed.
    async fn tell(&self, message: Bytes) -> Result<(), NotifyError> {
        match self {
            Self::Webhook(webhook) => webhook.tell(message).await,
            Self::Command(command) => command.tell(message).await,
        }
    }
}

/// What became of notifications, by way.
#[derive(Debug)]
pub(crate) struct Tally {
    way: &'static str,
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Tally {
    /// The way, and how many were delivered, given up, and dropped unsent.
    pub(crate) fn read(&self) -> (&'static str, [u64; 3]) {
        let counts = [&self.delivered, &self.failed, &self.dropped];
        (self.way, counts.map(|count| count.load(Ordering::Relaxed)))
    }
}

/// All ways that the configuration names.
#[derive(Debug)]
pub(crate) struct Notifier {
    ways: Vec<Arc<(Way, Tally)>>,
    settings: Notify,
    letterhead: Letterhead,
}

/// What every message says besides the event.
#[derive(Clone, Debug)]
struct Letterhead {
    environment: Environment,
    machine: String,
    /// Of this process: with the event's number it tells a message that comes twice.
    instance: String,
}

impl Letterhead {
    fn message(&self, event: &Event) -> Bytes {
        let grant = event.grant.as_deref();
        let about = grant.map_or_else(String::new, |grant| format!(" grant {grant}:"));
        let alarm = match event.severity {
            Severity::Info => "",
            Severity::Warning => " warning:",
            Severity::Error => " ALARM:",
        };
        let mut message = serde_json::to_value(event).unwrap_or_default();
        if let Value::Object(fields) = &mut message {
            let text = format!(
                "wise-auth-proxy on {} ({}):{alarm}{about} {}",
                self.machine, self.environment, event.text
            );
            fields.insert(
                "id".into(),
                json!(format!("{}-{}", self.instance, event.number)),
            );
            fields.insert("detail".into(), json!(event.text));
            fields.insert("text".into(), json!(text));
            fields.insert("source".into(), json!("wise-auth-proxy"));
            fields.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
            fields.insert("environment".into(), json!(self.environment.to_string()));
            fields.insert("machine".into(), json!(self.machine));
        }
        message.to_string().into()
    }
}

impl Notifier {
    /// What the configuration names. Nothing is read or started yet.
    pub(crate) fn new(config: &Config) -> Self {
        let settings = config.notify.clone();
        let webhook = settings
            .webhook
            .is_some()
            .then(|| Way::Webhook(Box::new(Webhook::new(config))));
        let command = settings
            .command
            .clone()
            .map(|words| Way::Command(Command::new(words)));
        let with_tally = |way: Way| {
            let tally = Tally {
                way: way.name(),
                delivered: AtomicU64::default(),
                failed: AtomicU64::default(),
                dropped: AtomicU64::default(),
            };
            Arc::new((way, tally))
        };
        let machine = rustix::system::uname();
        Self {
            ways: webhook.into_iter().chain(command).map(with_tally).collect(),
            settings,
            letterhead: Letterhead {
                environment: config.environment,
                machine: machine.nodename().to_string_lossy().into_owned(),
                instance: uuid::Uuid::new_v4().to_string(),
            },
        }
    }

    /// What became of notifications so far.
    pub(crate) fn tallies(&self) -> impl Iterator<Item = (&'static str, [u64; 3])> {
        self.ways.iter().map(|way| way.1.read())
    }

    /// Tells every way that this is a trial, once, and says what came of it.
    pub(crate) async fn trial(
        &self,
        clock: &dyn Clock,
        by: &str,
    ) -> Vec<(&'static str, Option<String>)> {
        let event = Event {
            number: 0,
            at: clock.wall(),
            kind: Kind::Test,
            severity: Kind::Test.severity(),
            grant: None,
            text: format!("a trial, asked for by {by}"),
        };
        let message = self.letterhead.message(&event);
        let tell = |way: &Arc<(Way, Tally)>| {
            let (way, message) = (Arc::clone(way), message.clone());
            async move {
                let told = way.0.tell(message).await;
                (way.0.name(), told.err().map(|error| error.to_string()))
            }
        };
        futures_util::future::join_all(self.ways.iter().map(tell)).await
    }

    /// Tells what is heard until `stop`, and then what still waits.
    pub(crate) async fn run(
        &self,
        mut news: broadcast::Receiver<Arc<Event>>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) {
        if self.ways.is_empty() {
            return;
        }
        let mut selection = Selection::new(&self.settings);
        let (tasks, over) = (TaskTracker::new(), CancellationToken::new());
        let queues: Vec<_> = self
            .ways
            .iter()
            .map(|way| {
                let (queue, waiting) = mpsc::channel(WAITING);
                let post = post(Arc::clone(way), waiting, stop.clone(), over.clone());
                tasks.spawn(post);
                (queue, Arc::clone(way))
            })
            .collect();
        let mut told = |event: &Event| {
            if !selection.tells(event, clock.boot()) {
                return;
            }
            let message = self.letterhead.message(event);
            for (queue, way) in &queues {
                if queue.try_send((event.kind, message.clone())).is_err() {
                    way.1.dropped.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(kind = %event.kind, way = way.0.name(), "a notification was dropped: too many wait");
                }
            }
        };
        loop {
            tokio::select! {
                biased;
                event = news.recv() => match event {
                    Ok(event) => told(&event),
                    Err(RecvError::Lagged(missed)) => {
                        tracing::error!(missed, "notifications could not keep up with the events");
                    }
                    Err(RecvError::Closed) => break,
                },
                () = stop.cancelled() => break,
            }
        }
        drain(&mut news, told);
        drop(queues);
        tasks.close();
        if tokio::time::timeout(LAST_WORDS, tasks.wait())
            .await
            .is_err()
        {
            over.cancel();
            tasks.wait().await;
        }
    }
}

/// What was noted before the stop and not heard yet.
fn drain(news: &mut broadcast::Receiver<Arc<Event>>, mut told: impl FnMut(&Event)) {
    while let Ok(event) = news.try_recv() {
        told(&event);
    }
}

/// Tells one way one message after the other, in order, until `over`.
async fn post(
    way: Arc<(Way, Tally)>,
    mut waiting: mpsc::Receiver<(Kind, Bytes)>,
    stop: CancellationToken,
    over: CancellationToken,
) {
    let (way, tally) = &*way;
    while let Some((kind, message)) = waiting.recv().await {
        let told = over.run_until_cancelled(insist(way, message, &stop)).await;
        let cut = || Err(NotifyError::Failed("the proxy stopped".into()));
        match told.unwrap_or_else(cut) {
            Ok(()) => tally.delivered.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                tracing::error!(%kind, way = way.name(), "a notification was given up: {error}");
                tally.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

/// Tells until it has arrived, or is refused, or was tried often enough. At the stop a last try is
/// made at once.
async fn insist(way: &Way, message: Bytes, stop: &CancellationToken) -> Result<(), NotifyError> {
    for pause in PAUSES {
        match way.tell(message.clone()).await {
            Err(NotifyError::Failed(why)) => {
                tracing::warn!(
                    way = way.name(),
                    retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                    "a notification did not arrive: {why}"
                );
                let rest = tokio::time::sleep(pause);
                if stop.run_until_cancelled(rest).await.is_none() {
                    break;
                }
            }
            done => return done,
        }
    }
    way.tell(message).await
}
