//! What an operator can do, whoever asks.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::admin::key::Guesses;
use crate::admin::lanes::LaneLedger;
use crate::admin::page::Gallery;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::config::Environment;
use crate::confinement::Confinement;
use crate::credentials::FileStore;
use crate::failpoint::{self, Point};
use crate::notify::Notifier;
use crate::proxy::Published;
use crate::secret::Secret;
use crate::switch::{Entry, SwitchStore};
use crate::telemetry::events::{Events, Kind};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::pulse::Pulse;
use crate::telemetry::traffic::Traffic;
use crate::tls::Identity;
use crate::tokens::{KeeperHandle, KeeperStatus};
use crate::webhook::Webhooks;
use crate::wise::Lane;

/// A wish for a reload, with the way back for its outcome.
pub(crate) type ReloadAsk = oneshot::Sender<Result<Reloaded, String>>;

/// What a reload brought.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Reloaded {
    /// Sections of the configuration, or files, in use anew.
    pub(crate) changed: Vec<String>,
    /// Sections that changed but are read at the start only.
    pub(crate) needs_restart: Vec<String>,
}

/// A forget waits this long for an exchange under way.
const FORGET_WAIT: Duration = Duration::from_secs(30);

/// The handle on a running proxy. Shared by the admin listeners and the server.
pub(crate) struct Control {
    pub(crate) published: Published,
    /// By grant, client credentials last.
    pub(crate) keepers: Arc<[KeeperHandle]>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<FileStore>,
    pub(crate) switch: SwitchStore,
    pub(crate) metrics: Metrics,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) gallery: Gallery,
    pub(crate) guesses: Guesses,
    pub(crate) lanes: Arc<LaneLedger>,
    pub(crate) notes: Arc<Mutex<Notes>>,
    pub(crate) events: Events,
    pub(crate) notifier: Arc<Notifier>,
    /// The record of who called what.
    pub(crate) audit: Option<Audit>,
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) reloads: mpsc::Sender<ReloadAsk>,
    /// Called with each new lane: the token endpoint follows the lane's host.
    pub(crate) on_switch: Box<dyn Fn(Lane) + Send + Sync>,
    /// One turn of the switch at a time, and no reload meanwhile.
    pub(crate) turning: Arc<tokio::sync::Mutex<()>>,
    pub(crate) confinement: Arc<Confinement>,
    pub(crate) environment: Environment,
    pub(crate) started: SystemTime,
    /// One for each worker.
    pub(crate) pulses: Arc<[Pulse]>,
    /// Cancelled when an operator asks for a stop.
    pub(crate) stop_wished: CancellationToken,
    /// What a stop takes at most.
    pub(crate) longest_stop: Duration,
}

/// What is remembered for the status, besides the snapshot and the keepers.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) client_id: Option<String>,
    /// What changes the lane from the status page; without it nothing does.
    pub(crate) admin_key: Option<Secret>,
    /// The last turn of the switch, if there was one.
    pub(crate) switch: Option<Entry>,
    pub(crate) switches: u64,
    /// Successful and failed reloads.
    pub(crate) reloads: [u64; 2],
    pub(crate) last_reload: Option<ReloadNote>,
    pub(crate) doors: Vec<String>,
}

/// The outcome of the last reload.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ReloadNote {
    /// RFC 3339.
    pub(crate) at: String,
    /// Why everything stayed as it was; `None`: the reload succeeded.
    pub(crate) error: Option<String>,
    pub(crate) needs_restart: Vec<String>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

/// Why an operator's wish was not granted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("lane `{lane}` is not available: {reason}")]
    LaneUnavailable { lane: Lane, reason: &'static str },
    #[error("there is no webhook named `{0}`")]
    NoSuchWebhook(String),
    #[error("nothing was put back: {0}")]
    Webhook(String),
    #[error("there is no grant named `{0}`")]
    NoSuchGrant(String),
    #[error("{0}")]
    Refresh(String),
    #[error("the grant was not forgotten: {0}")]
    Forget(String),
    #[error("nothing was changed: {0}")]
    Reload(String),
    #[error("the proxy is stopping")]
    Stopping,
}

/// A turn of the switch that happened.
#[derive(Debug, Serialize)]
pub(crate) struct Turned {
    #[serde(flatten)]
    pub(crate) entry: Entry,
    /// Why a restart would not remember it, if the disk did not take it.
    pub(crate) warning: Option<String>,
}

impl Control {
    pub(crate) fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves every later request to another lane; requests that have left end where they began.
    ///
    /// The turn is remembered on disk first. If the disk refuses, it happens all the same, with a
    /// warning: the way back must not hang on a full disk.
    ///
    /// Cancel safe: a turn that has begun is made whole although whoever asked has left.
    pub(crate) async fn switch(
        self: Arc<Self>,
        to: Lane,
        by: &str,
        reason: &str,
    ) -> Result<Turned, Refused> {
        let one_at_a_time = Arc::clone(&self.turning).lock_owned().await;
        let (by, reason) = (by.to_owned(), reason.to_owned());
        let turn = move || {
            let turned = self.turn(to, &by, &reason);
            drop(one_at_a_time);
            turned
        };
        tokio::task::spawn_blocking(turn)
            .await
            .unwrap_or(Err(Refused::Stopping))
    }

    /// One turn, from the look at the lane to the last note. Blocks on the disk.
    fn turn(&self, to: Lane, by: &str, reason: &str) -> Result<Turned, Refused> {
        let snapshot = self.published.load();
        if snapshot.ways[to.index()].is_none() {
            let reason = "the configuration forbids it or lacks what it needs; see switch.allow";
            return Err(Refused::LaneUnavailable { lane: to, reason });
        }
        let from = snapshot.lane;
        // What came before the turn is told from what comes after it.
        let _ = self.lanes.look();
        let entry = Entry::now(self.clock.as_ref(), by, from, to, reason);
        failpoint::pass(Point::SwitchBegun);
        let recorded = self.switch.record(&entry);
        failpoint::pass(Point::SwitchRecorded);
        let warning = recorded.err().map(|error| error.to_string());
        self.published.update(|snapshot| snapshot.lane = to);
        (self.on_switch)(to);
        failpoint::pass(Point::SwitchTurned);
        {
            let mut notes = self.notes();
            notes.switch = Some(entry.clone());
            notes.switches += 1;
        }
        tracing::warn!(%from, %to, by = entry.by, reason = entry.reason, "lane switched");
        let told = format!("{from} to {to}, by {}: {}", entry.by, entry.reason);
        self.events.note(Kind::LaneSwitched, None, told);
        if let Some(warning) = &warning {
            tracing::error!("the switch could not be remembered: {warning}");
        }
        Ok(Turned { entry, warning })
    }

    /// Reads configuration, certificates and secrets anew: all of it or nothing. The record goes on
    /// in a new file where the old one was moved away.
    pub(crate) async fn reload(&self) -> Result<Reloaded, Refused> {
        if let Some(audit) = &self.audit {
            audit.reopen();
        }
        let (reply, outcome) = oneshot::channel();
        self.reloads
            .send(reply)
            .await
            .map_err(|_| Refused::Stopping)?;
        outcome
            .await
            .map_err(|_| Refused::Stopping)?
            .map_err(Refused::Reload)
    }

    /// Begins an orderly stop, as SIGTERM does. Says whether it is the first to ask.
    pub(crate) fn stop(&self, by: &str) -> bool {
        let first = !self.stop_wished.is_cancelled() && !self.published.load().draining;
        if first {
            tracing::warn!(by, "asked to stop");
            self.stop_wished.cancel();
        }
        first
    }

    /// Renews a grant's token now and returns its new generation.
    pub(crate) async fn refresh(&self, grant: &str) -> Result<u64, Refused> {
        let keeper = self.keeper(grant)?;
        keeper
            .refresh()
            .await
            .map_err(|error| Refused::Refresh(error.to_string()))
    }

    /// Deletes what the store holds of a grant; its keeper notices within a second.
    ///
    /// Returns whether there was anything. An exchange under way ends first. Works for grants that
    /// the configuration no longer names, too.
    pub(crate) async fn forget(&self, grant: &str) -> Result<bool, Refused> {
        let (store, name) = (Arc::clone(&self.store), grant.to_owned());
        let removed = tokio::task::spawn_blocking(move || store.remove(&name, FORGET_WAIT)).await;
        let removed = removed
            .map_err(|_| Refused::Stopping)?
            .map_err(|error| Refused::Forget(error.to_string()))?;
        if removed {
            tracing::warn!(grant, "grant forgotten");
            let told = "what the store held of it was deleted";
            self.events.note(Kind::GrantForgotten, Some(grant), told);
        } else {
            self.keeper(grant)?;
        }
        Ok(removed)
    }

    /// Puts what the application has refused at the end of a webhook's queue, and says how many.
    pub(crate) async fn retry(&self, webhook: &str) -> Result<u64, Refused> {
        let none = || Refused::NoSuchWebhook(webhook.to_owned());
        let retried = self.webhooks.retry(webhook).await.ok_or_else(none)?;
        let count = retried.map_err(Refused::Webhook)?;
        tracing::warn!(webhook, count, "deliveries that were set aside wait again");
        Ok(count)
    }

    pub(crate) fn tokens(&self) -> Vec<KeeperStatus> {
        self.keepers.iter().map(KeeperHandle::status).collect()
    }

    /// Has every keeper look into the store.
    pub(crate) async fn look(&self) {
        futures_util::future::join_all(self.keepers.iter().map(KeeperHandle::look)).await;
    }

    fn keeper(&self, grant: &str) -> Result<&KeeperHandle, Refused> {
        let named =
            |keeper: &&KeeperHandle| keeper.status().grant.as_deref().unwrap_or("client") == grant;
        self.keepers
            .iter()
            .find(named)
            .ok_or_else(|| Refused::NoSuchGrant(grant.to_owned()))
    }
}
