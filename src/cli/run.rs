//! `run`: the proxy in the foreground, until a signal.

use tokio::signal::unix::{SignalKind, signal};

use super::args::Global;
use super::failure::{Exit, Failure};
use super::report;
use crate::config::{Config, load};
use crate::confinement::{self, ConfinementError};
use crate::server::{Running, Server, StartError};
use crate::telemetry::log::{self, Sink};
use crate::tls;

pub(crate) fn run(global: &Global) -> Result<(), Failure> {
    let sources = global.sources()?;
    let loaded = load(&sources)?;
    // Before the first secret is read, and before there is a second thread.
    let confinement = confinement::confine(&loaded, &sources.variables)?;
    tls::gather_randomness();
    let log = start_log(&loaded.config)?;
    if confinement.is_troubled() {
        tracing::warn!("confined: {confinement}");
    } else {
        tracing::info!("confined: {confinement}");
    }
    let server = Server::build(sources, log.clone(), confinement);
    let outcome = server.map_err(Failure::from).and_then(|server| {
        control_runtime()?.block_on(async {
            let signals = Signals::listen()?;
            let running = server.start().await?;
            report::say(&format!("serving on {}", running.doors().join(", ")));
            if let Some(address) = running.admin_address() {
                report::say(&format!("status on http://{address}/"));
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

impl From<ConfinementError> for Failure {
    fn from(error: ConfinementError) -> Self {
        let hint = format!("{} = \"auto\" starts without it, and says so", error.key);
        Self::new(Exit::Failed, error).hint(hint)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let (exit, hint) = match &error {
            StartError::Config(error) => (Exit::Config, Some(error.hint())),
            StartError::Outfit(_) | StartError::Switch(_) | StartError::OutOfReach(_) => {
                (Exit::Config, None)
            }
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
