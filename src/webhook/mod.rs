//! Wise's webhooks: a delivery is verified, kept on the disk, and only then answered; from there the
//! application gets it, in order of arrival.
//!
//! Wise waits five seconds and tries for two weeks; an application may be down for longer than
//! either. So the two are apart: nothing that Wise sees depends on the application, and nothing
//! that was answered 200 is lost. This room never changes a byte of a delivery and never speaks to
//! Wise.

mod complaints;
mod door;
mod envelope;
mod fault;
mod forward;
mod orphans;
mod places;
mod post;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod queue;
mod shelf;
mod signature;
#[cfg(feature = "benchmarks")]
pub(crate) mod steps;
#[cfg(test)]
mod tests;
mod thread;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::complaints::Complaints;
use self::door::Door;
use self::fault::Fault;
use self::queue::{Limits, Queue, Setting};
use self::shelf::{Change, Outcome};
use self::signature::Keys;
use crate::clock::Clock;
use crate::config::{self, Config, Environment};
use crate::listener::Bound;
use crate::telemetry::events::{Events, Kind};
use crate::telemetry::metrics::WebhookReading;
use crate::tls::{Acceptor, ClientCertificate, Clients, TlsError};

/// Directory of the queues, in the store's.
const DIRECTORY: &str = "webhooks";

/// What a reload replaces.
#[derive(Debug)]
pub(crate) struct Dress {
    settings: config::Webhook,
    keys: Keys,
    /// `None`: plain.
    acceptor: Option<Acceptor>,
}

/// A webhook cannot be served as configured.
#[derive(Debug, thiserror::Error)]
#[error("webhook {name}: {error}")]
pub(crate) struct DressError {
    name: String,
    error: String,
}

impl Dress {
    /// Reads the keys and certificates that a webhook names. Blocking.
    pub(crate) fn read(
        settings: &config::Webhook,
        environment: Environment,
    ) -> Result<Self, DressError> {
        let failed = |error: &dyn std::fmt::Display| DressError {
            name: settings.name.clone(),
            error: error.to_string(),
        };
        let keys = Keys::load(settings.signature_key.as_deref(), environment);
        let acceptor = settings.tls.as_ref().map(|tls| {
            let clients = tls.client_ca.as_deref().map(|authorities| Clients {
                authorities,
                required: true,
            });
            let acceptor = Acceptor::load(&tls.certificate, &tls.key, clients)?;
            Ok::<_, TlsError>(acceptor.without_http2())
        });
        Ok(Self {
            settings: settings.clone(),
            keys: keys.map_err(|error| failed(&error))?,
            acceptor: acceptor.transpose().map_err(|error| failed(&error))?,
        })
    }

    /// Whether a connection has the client certificate that is asked for, if one is.
    fn believes(&self, shown: Option<&ClientCertificate>, now: SystemTime) -> bool {
        let wanted = |acceptor: &&Acceptor| acceptor.requires_certificate();
        let Some(acceptor) = self.acceptor.as_ref().filter(wanted) else {
            return true;
        };
        let tls = self.settings.tls.as_ref();
        let names = tls.map_or(&[][..], |tls| &tls.client_names);
        let is_named = |shown: &ClientCertificate| {
            let mut own = shown.names.iter();
            names.is_empty() || own.any(|name| names.contains(name))
        };
        shown.is_some_and(|shown| acceptor.trusts(shown, now) && is_named(shown))
    }
}

/// What became of what arrived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Arrived {
    Stored,
    Duplicate,
    Forged,
    /// Of a subscription that is none of ours.
    Stranger,
    /// The client certificate is another's, or not believed any more.
    Uncertified,
    Malformed,
    TooLarge,
    TooSlow,
    /// Another path or method.
    Misdirected,
    /// The queue was full, or its disk does not take it.
    Refused,
    /// No TLS, or not the certificate that is asked for.
    NoHandshake,
    /// A connection for which there was no place.
    Crowded,
}

impl Arrived {
    const NAMES: [&'static str; 12] = [
        "stored",
        "duplicate",
        "forged",
        "stranger",
        "uncertified",
        "malformed",
        "too_large",
        "too_slow",
        "misdirected",
        "refused",
        "no_handshake",
        "crowded",
    ];

    const fn of(fault: Fault) -> Self {
        match fault {
            Fault::Elsewhere | Fault::Method => Self::Misdirected,
            Fault::NoDeliveryId | Fault::NoSignature | Fault::BadSignature | Fault::Broken => {
                Self::Malformed
            }
            Fault::Forged => Self::Forged,
            Fault::Strange => Self::Stranger,
            Fault::Uncertified => Self::Uncertified,
            Fault::TooLarge(_) => Self::TooLarge,
            Fault::TooSlow => Self::TooSlow,
            Fault::Full | Fault::Unavailable | Fault::Crowded => Self::Refused,
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    arrived: [AtomicU64; Arrived::NAMES.len()],
    forwarded: AtomicU64,
    failed: AtomicU64,
    set_aside: AtomicU64,
    expired: AtomicU64,
}

/// One webhook.
#[derive(Debug)]
pub(crate) struct Webhook {
    name: String,
    path: PathBuf,
    dress: ArcSwap<Dress>,
    counts: Counts,
    events: Events,
    clock: Arc<dyn Clock>,
    /// There may be something to forward.
    news: Arc<Notify>,
    /// What was wrong with forwarding may be mended.
    hurry: Notify,
    notes: Mutex<Notes>,
    complaints: Complaints,
}

#[derive(Debug, Default)]
struct Notes {
    address: Option<String>,
    queue: Option<Arc<Queue>>,
    /// Why what is first does not go on.
    trouble: Option<String>,
}

impl Webhook {
    fn arrived(&self, what: Arrived) {
        self.counts.arrived[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes why deliveries do not go on, or that they do.
    fn tell(&self, trouble: Option<String>) {
        let mended = trouble.is_none();
        let before = std::mem::replace(&mut self.notes().trouble, trouble);
        if before.is_some() && mended {
            tracing::info!(webhook = self.name, "deliveries go on");
        }
    }

    fn limits(&self) -> Limits {
        let dress = self.dress.load();
        Limits {
            window: dress.settings.window,
            most: dress.settings.max_queued,
        }
    }
}

/// How a webhook stands, for the status.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Standing {
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: Option<String>,
    /// Deliveries that wait for the application.
    pub(crate) queued: u64,
    /// RFC 3339; arrival of the one that waits longest.
    pub(crate) oldest: Option<String>,
    pub(crate) oldest_seconds: Option<u64>,
    /// Deliveries that the application has refused.
    pub(crate) set_aside: u64,
    /// Why what waits does not go on.
    pub(crate) trouble: Option<String>,
    /// Why nothing can be kept: deliveries are answered 503.
    pub(crate) error: Option<String>,
}

/// All webhooks of a proxy.
#[derive(Debug)]
pub(crate) struct Webhooks {
    all: Vec<Arc<Webhook>>,
    /// Of their queues.
    directory: PathBuf,
    /// Doors' connections and what forwards.
    tasks: TaskTracker,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Ends the doors' thread, whatever it is about.
    cut: CancellationToken,
}

impl Webhooks {
    /// Those of the configuration, each with its dress. Nothing is opened yet.
    pub(crate) fn new(
        config: &Config,
        dresses: &[Arc<Dress>],
        clock: &Arc<dyn Clock>,
        events: &Events,
    ) -> Self {
        let directory = config.store.path.join(DIRECTORY);
        let webhook = |dress: &Arc<Dress>| {
            let name = dress.settings.name.clone();
            let file = format!("{name}.redb");
            Arc::new(Webhook {
                path: directory.join(file),
                dress: ArcSwap::from(Arc::clone(dress)),
                counts: Counts::default(),
                events: events.clone(),
                clock: Arc::clone(clock),
                news: Arc::default(),
                hurry: Notify::new(),
                notes: Mutex::default(),
                complaints: Complaints::default(),
                name,
            })
        };
        Self {
            all: dresses.iter().map(webhook).collect(),
            directory,
            tasks: TaskTracker::new(),
            threads: Mutex::default(),
            cut: CancellationToken::new(),
        }
    }

    /// Opens the queues and then the doors, `bound` in the order of the configuration. What lies in
    /// a queue is forwarded from now on; what arrives is taken until `stop`.
    ///
    /// A queue that cannot be opened keeps nobody from anything else: its door answers 503, and the
    /// file is tried again each second.
    pub(crate) async fn open(
        &self,
        bound: Vec<Bound>,
        stop: &CancellationToken,
    ) -> std::io::Result<()> {
        let (directory, names) = (self.directory.clone(), self.names());
        tokio::task::spawn_blocking(move || orphans::tell(&directory, &names));
        let mut doors = Vec::new();
        for (webhook, bound) in self.all.iter().zip(bound) {
            let setting = setting(webhook);
            let started = tokio::task::spawn_blocking(move || Queue::start(setting)).await;
            let (queue, thread) = started.map_err(std::io::Error::other)??;
            self.threads().push(thread);
            let queue = Arc::new(queue);
            let address = bound.local_address().to_string();
            tracing::info!(webhook = webhook.name, address, "webhooks are taken");
            {
                let mut notes = webhook.notes();
                notes.address = Some(address);
                notes.queue = Some(Arc::clone(&queue));
            }
            doors.push((Arc::clone(webhook), queue, bound));
        }
        if doors.is_empty() {
            return Ok(());
        }
        let (tasks, stopped) = (self.tasks.clone(), stop.clone());
        let begin = move || {
            for (webhook, queue, bound) in doors {
                let (of_it, stop) = (Arc::clone(&queue), stopped.clone());
                tasks.spawn(forward::run(Arc::clone(&webhook), of_it, stop.clone()));
                let door = Door::new(webhook, queue, tasks.clone());
                tasks.spawn(Arc::new(door).open(bound, stop));
            }
        };
        let thread = thread::start(begin, self.tasks.clone(), stop.clone(), self.cut.clone())?;
        self.threads().push(thread);
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        self.all.iter().map(|it| it.name.clone()).collect()
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After the stop: waits for what is under way, `patience` at most, and has the files closed.
    /// What was not ended stays in the queue.
    pub(crate) async fn close(&self, patience: Duration, closing: Duration) {
        self.tasks.close();
        let ended = tokio::time::timeout(patience, self.tasks.wait()).await;
        if ended.is_err() {
            tracing::warn!("a webhook is cut off; what it was about is still in its queue");
        }
        self.cut.cancel();
        for webhook in &self.all {
            webhook.notes().queue = None;
        }
        let threads = std::mem::take(&mut *self.threads());
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        });
        let _ = tokio::time::timeout(closing, joined).await;
    }

    /// Puts new keys, certificates and settings to use, by name. Connections go on as they began.
    pub(crate) fn wear(&self, dresses: &[Arc<Dress>]) {
        for webhook in &self.all {
            let mut dresses = dresses.iter();
            if let Some(dress) = dresses.find(|dress| dress.settings.name == webhook.name) {
                webhook.dress.store(Arc::clone(dress));
                webhook.hurry.notify_waiters();
            }
        }
    }

    pub(crate) fn standing(&self) -> Vec<Standing> {
        self.all.iter().map(|webhook| webhook.standing()).collect()
    }

    pub(crate) fn readings(&self) -> Vec<WebhookReading> {
        self.all.iter().map(|webhook| webhook.reading()).collect()
    }

    /// Puts what was set aside at the end of the queue, and tries at once. `None`: there is no such
    /// webhook.
    pub(crate) async fn retry(&self, name: &str) -> Option<Result<u64, String>> {
        let webhook = self.all.iter().find(|webhook| webhook.name == name)?;
        let queue = webhook.notes().queue.clone();
        let Some(queue) = queue else {
            return Some(Err("the proxy is stopping".into()));
        };
        let taken = queue.make(Change::TakeUp).await;
        webhook.hurry.notify_waiters();
        Some(match taken {
            Ok(Outcome::TakenUp(count)) => Ok(count),
            Ok(_) => Ok(0),
            Err(error) => Err(error.to_string()),
        })
    }
}

fn setting(webhook: &Arc<Webhook>) -> Setting {
    let (ruled, troubled) = (Arc::clone(webhook), Arc::clone(webhook));
    let lost = Arc::clone(webhook);
    Setting {
        name: webhook.name.clone(),
        path: webhook.path.clone(),
        clock: Arc::clone(&webhook.clock),
        limits: Box::new(move || ruled.limits()),
        news: Arc::clone(&webhook.news),
        trouble: Box::new(move |why| {
            tracing::error!(
                webhook = troubled.name,
                "deliveries cannot be kept and are answered 503: {why}"
            );
            let text = format!("webhook {}: {why}", troubled.name);
            troubled.events.note(Kind::WebhookUnkept, None, text);
        }),
        expired: Box::new(move |id| {
            lost.counts.expired.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                webhook = lost.name,
                delivery = id,
                "a delivery that was set aside has been deleted: webhook.window is over, and the \
                 application never had it"
            );
            let text = format!(
                "webhook {}: delivery {id}, which was set aside, has been deleted, as webhook.window \
                 is over; the application never had it",
                lost.name
            );
            lost.events.note(Kind::DeliveryExpired, None, text);
        }),
    }
}

impl Webhook {
    fn standing(&self) -> Standing {
        let notes = self.notes();
        let queue = notes.queue.as_ref().map(|queue| queue.standing());
        let queue = queue.unwrap_or_default();
        let oldest = queue.stock.oldest;
        Standing {
            name: self.name.clone(),
            address: notes.address.clone(),
            queued: queue.stock.queued,
            oldest: oldest.map(rfc3339),
            oldest_seconds: oldest.map(|at| self.since(at).as_secs()),
            set_aside: queue.stock.set_aside,
            trouble: notes.trouble.clone(),
            error: queue.error,
        }
    }

    fn since(&self, at: SystemTime) -> Duration {
        self.clock.wall().duration_since(at).unwrap_or_default()
    }

    fn reading(&self) -> WebhookReading {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let standing = self.standing();
        let counts = &self.counts;
        let arrived = Arrived::NAMES.iter().zip(&counts.arrived);
        WebhookReading {
            webhook: self.name.clone(),
            deliveries: arrived.map(|(name, count)| (*name, read(count))).collect(),
            forwards: vec![
                ("taken", read(&counts.forwarded)),
                ("failed", read(&counts.failed)),
                ("set_aside", read(&counts.set_aside)),
                ("expired", read(&counts.expired)),
            ],
            queued: standing.queued,
            set_aside: standing.set_aside,
            oldest_seconds: standing.oldest_seconds.unwrap_or(0),
            failing: standing.error.is_some(),
        }
    }
}

fn rfc3339(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    at.format(&Rfc3339).unwrap_or_default()
}
