//! `run`: the proxy in the foreground, until a signal.

use tokio::signal::unix::{SignalKind, signal};

use super::args::Global;
use super::failure::{Exit, Failure};
use super::report;
use crate::config::Config;
use crate::server::{Running, Server, StartError};
use crate::telemetry::log::{self, Sink};

pub(crate) fn run(global: &Global) -> Result<(), Failure> {
    let sources = global.sources()?;
    let config = global.load()?.config;
    let log = start_log(&config)?;
    keep_secrets_off_disk();
    let server = Server::build(sources, log.clone());
    let outcome = server.map_err(Failure::from).and_then(|server| {
        control_runtime()?.block_on(async {
            let signals = Signals::listen()?;
            let running = server.start()?;
            report::say(&format!("serving on {}", running.doors().join(", ")));
            if let Some(address) = running.admin_address() {
                report::say(&format!("status on http://{address}/status"));
            }
            signals.until_stop(&running).await;
            running.stop().await;
            Ok(())
        })
    });
    log.flush();
    outcome
}

/// The runtime of keepers, admin, reload and signals. Requests never run on it.
pub(crate) fn control_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, error))
}

/// Starts the process's log on standard error.
pub(crate) fn start_log(config: &Config) -> Result<Sink, Failure> {
    let failed = |error: anyhow::Error| Failure::new(Exit::Failed, error);
    let sink = Sink::stderr().map_err(|error| failed(error.into()))?;
    let choice = anstream::AutoStream::choice(&std::io::stderr());
    let colour = choice != anstream::ColorChoice::Never;
    log::start(&config.log, sink.clone(), colour)
        .map_err(|error| Failure::new(Exit::Config, error))?;
    Ok(sink)
}

/// No core dump, and no other process of this user may read our memory.
fn keep_secrets_off_disk() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be switched off");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the process could not be made undumpable");
    }
}

/// What the process hears.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    /// From here on no signal is missed.
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::new(Exit::Failed, error));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Reloads at SIGHUP, returns at SIGTERM or SIGINT.
    async fn until_stop(mut self, running: &Running) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                // The log says what came of it.
                _ = self.hangup.recv() => drop(running.reload().await),
            }
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let (exit, hint) = match &error {
            StartError::Config(error) => (Exit::Config, Some(error.hint())),
            StartError::Outfit(_) | StartError::Switch(_) => (Exit::Config, None),
            StartError::Store(_) | StartError::Door(_) | StartError::Io { .. } => {
                (Exit::Failed, None)
            }
        };
        let failure = Self::new(exit, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure.hint(
                "mend it and start again; `wise-auth-proxy config show` says what is set where",
            ),
        }
    }
}
