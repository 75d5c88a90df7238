//! The report to send: to Wise's support, or to us. It holds no secret, and names of people and
//! profiles only if they were asked for.
//!
//! Whatever is known as a name or an id of a profile is replaced wherever it stands, in the checks, the
//! configuration and the proxy's own words alike, so that a new place cannot be forgotten.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::Diagnosis;
use super::shown;
use crate::cli::admin_client::AdminClient;
use crate::cli::config::table;
use crate::cli::failure::{Exit, Failure};
use crate::cli::report;
use crate::clock::{Clock as _, System};
use crate::config::{Loaded, settings};
use crate::durable;

const HIDDEN: &str = "[left out]";

/// Writes it, readable by its owner alone. Never over another file.
pub(super) fn write(path: &Path, diagnosis: &Diagnosis, names: bool) -> Result<(), Failure> {
    let text = paper(diagnosis, names);
    durable::create_new(path, text.as_bytes()).map_err(|error| {
        let hint = if error.kind() == io::ErrorKind::AlreadyExists {
            "name a file that is not there yet"
        } else {
            "name a file in a directory that you may write to"
        };
        let error = anyhow::Error::new(error);
        let error = error.context(format!(
            "the report cannot be written to {}",
            path.display()
        ));
        Failure::new(Exit::Failed, error).hint(hint)
    })
}

fn paper(diagnosis: &Diagnosis, names: bool) -> String {
    let mut text =
        String::from("Report of wise-auth-proxy doctor\n================================\n\n");
    let mut section = |title: &str, body: &str| {
        // Writing to a String cannot fail.
        let _ok = write!(
            text,
            "{title}\n{}\n{}\n\n",
            "-".repeat(title.len()),
            body.trim_end()
        );
    };
    section("About", &about(diagnosis, names));
    let people = shown::people(diagnosis);
    section("Checks", &anstream::adapter::strip_str(&people).to_string());
    if let Some(loaded) = &diagnosis.loaded {
        section(
            "Configuration, secrets by their source",
            &table(&settings(loaded)),
        );
    }
    match (&diagnosis.loaded, &diagnosis.running) {
        (Some(loaded), Some(status)) => {
            section("Status of the running proxy", &format!("{status:#}"));
            for (title, page) in said(loaded, status) {
                section(title, &page);
            }
        }
        _ => section(
            "Status of the running proxy",
            "none runs, or it could not be asked",
        ),
    }
    section(
        "Details of the checks",
        &format!("{:#}", shown::json(diagnosis)),
    );
    if names {
        return text;
    }
    without(&text, diagnosis)
}

fn about(diagnosis: &Diagnosis, names: bool) -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let lines = [
        format!("written      {}", super::network::moment(System.wall())),
        format!("program      wise-auth-proxy {}", env!("CARGO_PKG_VERSION")),
        format!(
            "system       {} {} {}",
            std::env::consts::OS,
            release.trim(),
            std::env::consts::ARCH
        ),
        format!(
            "lane         {}",
            diagnosis.lane.map_or("unknown", crate::config::Lane::name)
        ),
        "secrets      none: no token, key, secret or passphrase is in here".to_owned(),
        if names {
            "names        of people and profiles are in here (--names)".to_owned()
        } else {
            format!("names        of people and profiles are replaced by {HIDDEN}")
        },
    ];
    lines.join("\n")
}

/// What else the proxy tells of itself. A version that does not have it has none here.
fn said(loaded: &Loaded, status: &Value) -> Vec<(&'static str, String)> {
    let word = |event: &Value, key: &str| event[key].as_str().unwrap_or("-").to_owned();
    let row =
        |event: &Value| ["at", "severity", "kind", "grant", "text"].map(|key| word(event, key));
    let events = status["events"].as_array();
    let events = events.map(|events| {
        let rows: Vec<Vec<String>> = events.iter().map(|event| row(event).to_vec()).collect();
        report::table(&rows)
    });
    let proxy = AdminClient::at(loaded.config.admin.socket.clone());
    let pages = [
        ("Events of the running proxy", events),
        ("Metrics of the running proxy", proxy.page("/metrics").ok()),
    ];
    let there = pages.into_iter();
    there
        .filter_map(|(title, page)| Some((title, page?)))
        .collect()
}

/// The text without a known name or id.
fn without(text: &str, diagnosis: &Diagnosis) -> String {
    let mut private: Vec<String> = diagnosis.private.iter().cloned().collect();
    private.extend(diagnosis.running.iter().flat_map(told));
    // As JSON spells them, too.
    let spelled = private
        .iter()
        .map(|word| Value::from(word.as_str()).to_string());
    let spelled: Vec<_> = spelled
        .map(|word| word.trim_matches('"').to_owned())
        .collect();
    private.extend(spelled);
    private.retain(|word| word.chars().count() >= 3);
    // The longest first: a name may be part of another.
    private.sort_by_key(|word| std::cmp::Reverse(word.len()));
    private
        .iter()
        .fold(text.to_owned(), |text, word| text.replace(word, HIDDEN))
}

/// Names and ids in a status, whatever grant they are of.
fn told(status: &Value) -> Vec<String> {
    let tokens = status["tokens"].as_array().into_iter().flatten();
    let words = tokens.flat_map(|token| {
        [
            &token["profile"],
            &token["user"]["id"],
            &token["user"]["name"],
        ]
    });
    let words = words.chain([&status["switched"]["by"]]);
    words.filter_map(Value::as_str).map(str::to_owned).collect()
}
