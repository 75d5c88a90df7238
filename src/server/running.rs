//! A proxy that runs, and its orderly end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Control;
use crate::audit::Audit;
use crate::server::life::Life;
use crate::server::start::FIRST_LOOK;
use crate::supervisor::Supervisor;
use crate::telemetry::events::Kind;
use crate::telemetry::log::Sink;
use crate::telemetry::meter::Meter;
use crate::tokens::KeeperHandle;

/// What the rest of a stop may need: the admin's last answers, the log.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(5);

/// Of that, what the record's disk may need.
const CLOSING: Duration = Duration::from_secs(2);

/// A worker's thread.
pub(super) type Thread = JoinHandle<io::Result<()>>;

/// A proxy whose doors are open. [`Running::stop`] ends it in order; dropping it ends it at once.
#[derive(Debug)]
pub struct Running {
    pub(super) doors: Vec<String>,
    pub(super) door_addresses: Vec<SocketAddr>,
    pub(super) admin_address: Option<SocketAddr>,
    pub(super) control: Arc<Control>,
    pub(super) keepers: Arc<[KeeperHandle]>,
    pub(super) tasks: TaskTracker,
    pub(super) stop_doors: CancellationToken,
    pub(super) drain: CancellationToken,
    /// Whoever waits for requests in flight gives up.
    pub(super) hurry: CancellationToken,
    pub(super) stop_admin: CancellationToken,
    pub(super) workers: Vec<Thread>,
    pub(super) meters: Vec<Arc<Meter>>,
    pub(super) drain_timeout: Duration,
    pub(super) keepers_timeout: Duration,
    pub(super) sinks: Vec<Sink>,
    pub(super) audit: Option<Audit>,
    pub(super) stop_scribe: CancellationToken,
}

impl Running {
    /// Where the doors listen, as shown to people.
    pub fn doors(&self) -> &[String] {
        &self.doors
    }

    /// The TCP doors, with the ports that the kernel chose where none was named.
    pub fn door_addresses(&self) -> &[SocketAddr] {
        &self.door_addresses
    }

    /// The address of health, metrics and status.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Reads configuration, certificates and secrets anew, as the `reload` command does.
    pub async fn reload(&self) -> Result<(), String> {
        self.control
            .reload()
            .await
            .map(drop)
            .map_err(|refused| refused.to_string())
    }

    /// Tells the service manager that the proxy serves, and from then on how it is.
    pub(crate) fn report_to(&self, supervisor: &Arc<Supervisor>) {
        if supervisor.is_heard() {
            let life = Life {
                supervisor: Arc::clone(supervisor),
                control: Arc::clone(&self.control),
                meters: self.meters.clone(),
            };
            self.tasks.spawn(life.run(self.stop_admin.clone()));
        }
    }

    /// Returns once an operator has asked for a stop over the admin socket.
    pub async fn stop_asked(&self) {
        self.control.stop_wished.cancelled().await;
    }

    /// How long [`Self::stop`] takes at most.
    pub fn longest_stop(&self) -> Duration {
        self.control.longest_stop
    }

    /// Cancel it to have [`Self::stop`] cut requests in flight off. Tokens are saved all the same.
    pub(crate) fn hurry(&self) -> CancellationToken {
        self.hurry.clone()
    }

    /// Ends in order: readiness fails, doors close, requests in flight end within the drain time,
    /// an exchange under way is saved, the log is written out.
    pub async fn stop(mut self) {
        tracing::info!("stopping");
        self.control
            .events
            .note(Kind::Stopping, None, "a stop was asked for");
        self.control
            .published
            .update(|snapshot| snapshot.draining = true);
        self.stop_doors.cancel();
        self.drain.cancel();
        let workers = std::mem::take(&mut self.workers);
        let joined = tokio::task::spawn_blocking(move || {
            for worker in workers {
                match worker.join() {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!(%error, "a worker could not run"),
                    Err(_) => tracing::error!("a worker ended in a panic"),
                }
            }
        });
        let patience = async {
            let whole = tokio::time::sleep(self.drain_timeout + LAST_WORDS);
            let cut = self.hurry.run_until_cancelled(whole).await;
            if cut.is_none() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let workers = async {
            tokio::select! {
                _ = joined => {}
                () = patience => tracing::error!("a worker does not come to its end and is left"),
            }
        };
        let webhooks = Arc::clone(&self.control.webhooks);
        let webhooks = async {
            let whole = webhooks.close(self.drain_timeout, CLOSING);
            let _ = self.hurry.run_until_cancelled(whole).await;
        };
        tokio::join!(workers, webhooks);
        // An exchange under way is finished and saved first; a store that hangs is not waited for.
        let kept = futures_util::future::join_all(self.keepers.iter().map(KeeperHandle::stop));
        let kept = tokio::time::timeout(self.keepers_timeout, kept);
        let lanes = Arc::clone(&self.control.lanes);
        let remembered = tokio::task::spawn_blocking(move || lanes.save());
        let remembered = tokio::time::timeout(FIRST_LOOK, remembered);
        if let (Err(_), _) = tokio::join!(kept, remembered) {
            tracing::error!("a grant was busy for too long and is left as it is");
        }
        self.stop_admin.cancel();
        self.tasks.close();
        // A second of it is the runtime's, for what blocks.
        let left = LAST_WORDS.saturating_sub(Duration::from_secs(1));
        let left = left.saturating_sub(CLOSING);
        // Everything that could be told has been.
        self.stop_scribe.cancel();
        let _ = tokio::time::timeout(left, self.tasks.wait()).await;
        if let Some(audit) = self.audit.take() {
            let closing = move || audit.close(CLOSING);
            let _ = tokio::task::spawn_blocking(closing).await;
        }
        tracing::info!("stopped");
        for sink in &self.sinks {
            sink.flush();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop_doors.cancel();
        self.drain.cancel();
        self.stop_admin.cancel();
        self.stop_scribe.cancel();
    }
}
