//! `doctor`: proves each thing that a request needs, in order, and says what to do about the first
//! that fails.
//!
//! Each file is a group of checks; [`rounds`] knows which hangs on which. Nothing is changed: records
//! are read without taking their lock, and Wise hears GETs and one exchange of client credentials.

mod authority;
mod bench;
mod callers;
mod certificate;
mod check;
mod client;
mod clock;
mod configuration;
mod doors;
mod grants;
mod keys;
mod lanes;
mod membership;
mod network;
mod paper;
mod record;
mod rounds;
mod secrets;
mod shown;
mod store;
mod webhooks;

use std::path::PathBuf;

use serde_json::Value;

use self::bench::Bench;
use self::check::{Checked, State};
use self::rounds::{Options, Rounds};
use super::args::{DoctorArgs, Global};
use super::failure::{Exit, Failure};
use super::report::{self, Progress};
use super::run::control_runtime;
use crate::config::{Lane, Loaded, Sources};

/// What the rounds brought.
#[derive(Debug)]
struct Diagnosis {
    /// In the order in which they are shown.
    checks: Vec<Checked>,
    /// The lane of the switch, once it is known.
    lane: Option<Lane>,
    loaded: Option<Loaded>,
    running: Option<Value>,
    /// Names and ids of people and profiles.
    private: std::collections::BTreeSet<String>,
}

impl Diagnosis {
    fn failed(&self) -> impl Iterator<Item = &Checked> {
        let checks = self.checks.iter();
        checks.filter(|check| check.state() == State::Failed)
    }
}

pub(crate) fn run(global: &Global, args: &DoctorArgs) -> Result<(), Failure> {
    let options = Options {
        offline: args.offline,
        limit: args.timeout,
    };
    let sources = global.sources()?;
    let named = global.config_file().map(PathBuf::from);
    let runtime = control_runtime()?;
    let examining = examine(sources, named, options, Progress::new());
    let diagnosis = runtime.block_on(examining);
    // A look that hangs, at a store on a dead disk for instance, is not waited for.
    runtime.shutdown_background();

    if args.json {
        report::json(&shown::json(&diagnosis))?;
    } else {
        report::data(&shown::people(&diagnosis))?;
    }
    if let Some(path) = &args.report {
        paper::write(path, &diagnosis, args.names)?;
        report::say(&format!(
            "the report is in {}; read it before you send it",
            path.display()
        ));
    }
    let failed = diagnosis.failed().count();
    let Some(first) = diagnosis.failed().next() else {
        return Ok(());
    };
    let text = match failed {
        1 => "1 check failed".to_owned(),
        several => format!("{several} checks failed"),
    };
    Err(
        Failure::new(Exit::Failed, anyhow::Error::msg(text)).hint(format!(
            "begin with {}, and run this again: others may go with it",
            first.id()
        )),
    )
}

/// Makes every check that the configuration has a use for.
async fn examine(
    sources: Sources,
    named: Option<PathBuf>,
    options: Options,
    progress: Progress,
) -> Diagnosis {
    let mut rounds = Rounds::new(options, progress);
    let loaded = configuration::read(&mut rounds, sources).await;
    let (mut lane, mut running) = (None, None);
    if let Some(loaded) = &loaded {
        let mut bench = Bench::new(loaded, named.clone());
        go_round(&mut rounds, &mut bench).await;
        lane = Some(bench.lane);
        running = bench.running;
    }
    // Made in the order in which they hang together, shown in the order in which people ask.
    let mut checks = rounds.done;
    checks.sort_by_key(|check| check.group);
    // Much of what is said comes from rooms that do not know how the configuration is called.
    for check in &mut checks {
        check.finding.spell(named.as_deref());
    }
    Diagnosis {
        checks,
        lane,
        loaded,
        running,
        private: rounds.private,
    }
}

async fn go_round(rounds: &mut Rounds, bench: &mut Bench) {
    configuration::lane(rounds, bench).await;
    doors::proxy(rounds, bench).await;
    secrets::fetch(rounds, bench).await;
    keys::look(rounds, bench).await;
    certificate::inspect(rounds, bench).await;
    network::look(rounds, bench).await;
    clock::compare(rounds, bench).await;
    certificate::accepted(rounds, bench).await;
    client::look(rounds, bench).await;
    let store = store::look(rounds, bench).await;
    let unknown = grants::look(rounds, bench, store.as_ref()).await;
    lanes::look(rounds, bench, store.as_ref(), &unknown).await;
    callers::look(rounds, bench).await;
    authority::look(rounds, bench).await;
    record::look(rounds, bench).await;
    doors::knock(rounds, bench).await;
    webhooks::look(rounds, bench).await;
}
