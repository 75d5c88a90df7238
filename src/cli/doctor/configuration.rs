//! The configuration can be used, and the lane in use is one of its lanes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::bench::Bench;
use super::check::{Check, Finding, Group};
use super::rounds::Rounds;
use crate::config::{ConfigError, Lane, Loaded, Sources, load};
use crate::server::lane_in_use;
use crate::switch::SwitchStore;

/// Reads it; nothing else can be checked without.
pub(super) async fn read(rounds: &mut Rounds, sources: Sources) -> Option<Loaded> {
    let check = Check::new(Group::Configuration, "config.file", "the configuration");
    let read = move || match load(&sources) {
        Ok(loaded) => (seen(&loaded), Some(loaded)),
        Err(error) => (refused(&error), None),
    };
    rounds.fetch(check, read).await
}

fn seen(loaded: &Loaded) -> Finding {
    let config = &loaded.config;
    let path = loaded.path.as_deref();
    let name = path.map_or("a text".to_owned(), |path| path.display().to_string());
    let lanes: Vec<_> = config.switch.lanes.iter().map(Lane::name).collect();
    let text = format!("{name}: {}, lanes {}", config.environment, lanes.join(" "));
    let finding = match path.filter(|path| others_may_write(path)) {
        None => Finding::good(text),
        // Whoever writes there names the programs that are run for secrets.
        Some(path) => Finding::warning(
            format!("{text}; others may write the file"),
            format!("`chmod go-w {}`", path.display()),
        ),
    };
    finding
        .fact("path", path)
        .fact("environment", config.environment.to_string())
        .fact("lanes", lanes)
}

fn others_may_write(path: &Path) -> bool {
    let data = path.metadata();
    data.is_ok_and(|data| data.permissions().mode() & 0o022 != 0)
}

fn refused(error: &ConfigError) -> Finding {
    let text = error.to_string();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().trim_end_matches(':');
    let finding = Finding::failed(first, error.hint());
    lines.fold(finding, |finding, line| finding.detail(line.trim()))
}

/// Which lane requests take, and whether they can.
pub(super) async fn lane(rounds: &mut Rounds, bench: &mut Bench) {
    let check = Check::new(Group::Configuration, "config.lane", "the lane in use");
    let config = &bench.config;
    let mut turned_by = None;
    let work = async {
        let last = match SwitchStore::new(&config.store.path).load() {
            Ok(last) => last,
            Err(error) => {
                let otherwise = "look at the store's directory";
                return (Finding::advised(&error.to_string(), otherwise), None);
            }
        };
        turned_by = last.as_ref().map(|turn| turn.by.clone());
        let lane = lane_in_use(config, last.as_ref());
        let lanes = config.switch.lanes;
        let text = match &last {
            None => format!("{lane}, as configured"),
            Some(turn) => format!("{lane} since {}, by {}: {}", turn.at, turn.by, turn.reason),
        };
        let finding = if lanes.contains(lane) {
            Finding::good(text)
        } else {
            let other = lanes.iter().next().map_or("<lane>", Lane::name);
            Finding::failed(
                format!("{text}; the configuration forbids this lane or lacks what it needs"),
                format!(
                    "{}, or give lane {lane} back what it needs (switch.allow)",
                    bench.command(&format!("switch {other} --reason \"lane {lane} is gone\""))
                ),
            )
        };
        (finding.fact("lane", lane).fact("turned", last), Some(lane))
    };
    let lane = rounds.check(check, work).await;
    rounds.keep_private(turned_by);
    bench.lane = lane.unwrap_or(bench.lane);
    rounds.lanes = Some(bench.lanes_in_use());
}
