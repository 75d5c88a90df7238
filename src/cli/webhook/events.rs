//! `webhook events`: the table of events.

use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::report;
use crate::wise::webhook::{EVENTS, Event, is_retiring};

pub(super) fn run(as_json: bool) -> Result<(), Failure> {
    if as_json {
        let events: Vec<_> = EVENTS.iter().map(of_programs).collect();
        return report::json(&events.into());
    }
    let head = ["event", "profile", "application", "schema versions"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(EVENTS.iter().map(row));
    report::data(&report::table(&rows))?;
    report::say(
        "an event that both have can move from a profile subscription to one of the application",
    );
    Ok(())
}

fn row(event: &Event) -> Vec<String> {
    let has = |whether: bool| if whether { "yes" } else { "no" }.to_owned();
    let versions = event.versions.iter().map(|version| {
        let retiring = if is_retiring(version) {
            " (retiring)"
        } else {
            ""
        };
        format!("{version}{retiring}")
    });
    let versions: Vec<_> = versions.collect();
    let versions = if versions.is_empty() {
        "not named".to_owned()
    } else {
        versions.join(", ")
    };
    vec![
        event.name.to_owned(),
        has(event.profile),
        has(event.application),
        versions,
    ]
}

fn of_programs(event: &Event) -> Value {
    let retiring = event.versions.iter().filter(|version| is_retiring(version));
    json!({
        "event": event.name,
        "profile": event.profile,
        "application": event.application,
        "versions": event.versions,
        "retiring": retiring.collect::<Vec<_>>(),
        "usual_version": event.usual_version(),
    })
}
