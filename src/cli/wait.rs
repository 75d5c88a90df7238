//! `wait`: until the proxy has started, lives or is ready.

use std::io;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::json;
use tokio::net::TcpStream;

use super::admin_client::{AdminClient, AdminError, Look, converse};
use super::args::{Global, State, WaitArgs};
use super::failure::{Exit, Failure};
use super::report;
use super::run::single_runtime;

/// Between two looks: short at first, so that a quick start is not slowed down.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// One look; a proxy that hangs is not waited for longer.
const LOOK: Duration = Duration::from_secs(5);

pub(crate) fn run(global: &Global, args: &WaitArgs) -> Result<(), Failure> {
    let begun = Instant::now();
    let place = Place::of(global, args)?;
    let runtime = single_runtime()?;
    runtime.block_on(until(&place, args, begun))?;
    let waited = begun.elapsed();
    if args.admin.json {
        let state = args.state.name();
        return report::json(&json!({ "state": state, "waited_seconds": waited.as_secs_f64() }));
    }
    report::say(&format!(
        "{} after {:.1} s",
        args.state.name(),
        waited.as_secs_f64()
    ));
    Ok(())
}

/// Where the proxy is asked.
enum Place {
    Socket(AdminClient),
    Address(String),
}

impl Place {
    fn of(global: &Global, args: &WaitArgs) -> Result<Self, Failure> {
        let Some(typed) = &args.address else {
            return AdminClient::of(global, &args.admin).map(Self::Socket);
        };
        let bare = typed.strip_prefix("http://").unwrap_or(typed);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        if bare.is_empty() || bare.contains('/') || !bare.contains(':') {
            return Err(Failure::usage("--address is not a host and a port")
                .hint("write it as 127.0.0.1:8081, or http://127.0.0.1:8081"));
        }
        Ok(Self::Address(bare.to_owned()))
    }

    async fn look(&self, path: &str) -> Result<Look, AdminError> {
        match self {
            Self::Socket(client) => client.probe(path, LOOK).await,
            Self::Address(address) => {
                let look = async {
                    let stream = TcpStream::connect(address).await;
                    let stream = stream.map_err(|error| unreached(address, error))?;
                    converse(stream, address, &Method::GET, path, None).await
                };
                let timed = tokio::time::timeout(LOOK, look).await;
                timed.map_err(|_elapsed| AdminError::TimedOut)?
            }
        }
    }
}

fn unreached(address: &str, source: io::Error) -> AdminError {
    let address = address.to_owned();
    if source.kind() == io::ErrorKind::ConnectionRefused {
        AdminError::NobodyThere { address }
    } else {
        AdminError::Unreachable { address, source }
    }
}

/// Looks until the state is there or the time is over. Tells each new reason once.
async fn until(place: &Place, args: &WaitArgs, begun: Instant) -> Result<(), Failure> {
    let mut pause = FIRST_PAUSE;
    let mut told = None;
    loop {
        let missing = match place.look(args.state.path()).await {
            Ok((StatusCode::OK, _)) => return Ok(()),
            Ok((StatusCode::SERVICE_UNAVAILABLE, reasons)) => Missing::Reasons(words(&reasons)),
            Ok((status, _)) => {
                return Err(Failure::new(
                    Exit::Unavailable,
                    anyhow::anyhow!("whoever answers there is no proxy of ours: {status}"),
                )
                .hint(
                    "name the admin address, not a door: `wise-auth-proxy config show` lists both",
                ));
            }
            // More time does not change who may ask.
            Err(error @ AdminError::Denied { .. }) => return Err(error.into()),
            Err(error) => Missing::Answer(error),
        };
        let left = args.timeout.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(missing.failure(args));
        }
        let now = missing.to_string();
        if told.as_ref() != Some(&now) {
            report::say(&format!("waiting: {now}"));
            told = Some(now);
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Why the proxy is not where it should be.
#[derive(Debug, thiserror::Error)]
enum Missing {
    #[error("{0}")]
    Reasons(String),
    #[error("{0}")]
    Answer(#[source] AdminError),
}

impl Missing {
    fn failure(self, args: &WaitArgs) -> Failure {
        let hint = match &self {
            Self::Reasons(_) => "`wise-auth-proxy status` says more".to_owned(),
            Self::Answer(error) => error.hint().to_owned(),
        };
        let not = if args.timeout.is_zero() {
            format!("not {}", args.state.name())
        } else {
            let waited = humantime::format_duration(args.timeout);
            format!("not {} within {waited}", args.state.name())
        };
        Failure::new(Exit::Unavailable, anyhow::Error::new(self).context(not)).hint(hint)
    }
}

/// A reason a line, as one line.
fn words(reasons: &[u8]) -> String {
    let text = String::from_utf8_lossy(reasons);
    text.lines().collect::<Vec<_>>().join("; ")
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Live => "live",
            Self::Ready => "ready",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Started => "/startupz",
            Self::Live => "/livez",
            Self::Ready => "/readyz",
        }
    }
}
