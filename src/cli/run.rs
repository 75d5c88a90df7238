//! `run`: the proxy in the foreground, until a signal.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Fuse, FusedFuture as _};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::Global;
use super::failure::{Exit, Failure};
use super::report;
use crate::config::{Config, load};
use crate::confinement::{self, ConfinementError};
use crate::server::{Running, Server, StartError};
use crate::supervisor::{self, Supervisor, SupervisorError};
use crate::telemetry::log::{self, Sink};
use crate::tls;

pub(crate) fn run(global: &Global) -> Result<(), Failure> {
    let sources = global.sources()?;
    let loaded = load(&sources)?;
    // What comes from outside the confinement.
    let handed = supervisor::handed_in(&sources.variables)?;
    let supervisor = Supervisor::of_process(&sources.variables);
    // Before the first secret is read, and before there is a second thread.
    let confinement = confinement::confine(&loaded, &sources.variables)?;
    tls::gather_randomness();
    let log = start_log(&loaded.config)?;
    if confinement.is_troubled() {
        tracing::warn!("confined: {confinement}");
    } else {
        tracing::info!("confined: {confinement}");
    }
    if let Some(error) = supervisor.trouble() {
        tracing::error!(%error, "the service manager cannot be told anything (NOTIFY_SOCKET)");
    }
    let server = Server::build(sources, log.clone(), confinement);
    let outcome = server.map_err(Failure::from).and_then(|server| {
        let runtime = control_runtime()?;
        let outcome = runtime.block_on(serve(server.with_sockets(handed), Arc::new(supervisor)));
        // Not for ever: a worker that hangs, or a disk, must not keep the process.
        runtime.shutdown_timeout(Duration::from_secs(1));
        outcome
    });
    log.flush();
    outcome
}

/// From the first open door to the end.
async fn serve(server: Server, supervisor: Arc<Supervisor>) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let running = server.start().await?;
    report::say(&format!("serving on {}", running.doors().join(", ")));
    if let Some(address) = running.admin_address() {
        report::say(&format!("status on http://{address}/"));
    }
    running.report_to(&supervisor);
    signals.until_stop(&running, &supervisor).await;
    // A service manager that does not listen must not keep the doors open.
    let told = supervisor.stopping(running.longest_stop());
    let ((), ended) = tokio::join!(told, signals.stop(running));
    ended
}

/// The runtime of keepers, admin, reload and signals. Requests never run on it.
pub(crate) fn control_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(Failure::starved)
}

/// For a command that does one thing at a time.
pub(crate) fn single_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::starved)
}

/// Starts the process's log on standard error.
pub(crate) fn start_log(config: &Config) -> Result<Sink, Failure> {
    let sink = Sink::stderr().map_err(Failure::starved)?;
    let choice = anstream::AutoStream::choice(&std::io::stderr());
    let colour = choice != anstream::ColorChoice::Never;
    log::start(&config.log, sink.clone(), colour)
        .map_err(|error| Failure::new(Exit::Config, error).hint("correct [log]"))?;
    Ok(sink)
}

/// What the process hears.
struct Signals {
    end: End,
    hangup: Signal,
}

/// The signals that ask for an end.
struct End {
    interrupt: Signal,
    terminate: Signal,
}

impl End {
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

impl Signals {
    /// From here on no signal is missed.
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::starved);
        Ok(Self {
            end: End {
                interrupt: listen(SignalKind::interrupt())?,
                terminate: listen(SignalKind::terminate())?,
            },
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Reloads at SIGHUP, returns at SIGTERM or SIGINT, or when an operator asks for a stop.
    async fn until_stop(&mut self, running: &Running, supervisor: &Supervisor) {
        // Beside the signals: a secret's program that hangs must not make us deaf to a stop.
        let mut reload = pin!(Fuse::terminated());
        loop {
            tokio::select! {
                () = self.end.asked() => return,
                () = running.stop_asked() => return,
                _ = self.hangup.recv(), if reload.is_terminated() => {
                    reload.set(reload_at_signal(running, supervisor).fuse());
                }
                () = &mut reload => {}
            }
        }
    }

    /// Ends in order; at a second signal at once, and at a third without saving a token.
    async fn stop(&mut self, running: Running) -> Result<(), Failure> {
        let hurry = running.hurry();
        let mut stop = pin!(running.stop());
        tokio::select! {
            () = &mut stop => return Ok(()),
            () = self.end.asked() => {}
        }
        tracing::warn!("a second signal: requests in flight are cut off");
        hurry.cancel();
        tokio::select! {
            () = stop => {}
            () = self.end.asked() => tracing::warn!("a third signal: nothing is waited for"),
        }
        Err(
            Failure::new(Exit::Failed, anyhow::anyhow!("stopped before it was done"))
                .hint("send one signal and wait: runtime.drain_timeout bounds an orderly stop"),
        )
    }
}

/// The log says what came of it.
async fn reload_at_signal(running: &Running, supervisor: &Supervisor) {
    supervisor.reloading().await;
    let _outcome = running.reload().await;
    supervisor.reloaded().await;
}

impl From<SupervisorError> for Failure {
    fn from(error: SupervisorError) -> Self {
        Self::new(Exit::Failed, error)
            .hint("look at the socket unit: stream sockets only (ListenStream=), and Accept=no")
    }
}

impl From<ConfinementError> for Failure {
    fn from(error: ConfinementError) -> Self {
        let hint = format!("{} = \"auto\" starts without it, and says so", error.key);
        Self::new(Exit::Failed, error).hint(hint)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let otherwise =
            "mend it and start again; `wise-auth-proxy config show` says what is set where";
        let (exit, hint) = match &error {
            StartError::Config(error) => (Exit::Config, error.hint()),
            StartError::Outfit(_) | StartError::Switch(_) | StartError::OutOfReach(_) => {
                (Exit::Config, otherwise)
            }
            StartError::Store(_)
            | StartError::Door(_)
            | StartError::Audit(_)
            | StartError::Io { .. } => (Exit::Failed, otherwise),
        };
        Self::new(exit, error).hint(hint)
    }
}
