use std::fs::File;
use std::io::{BufRead as _, BufReader};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{ShowArgs, files, unreadable};
use crate::cli::args::Global;
use crate::cli::failure::Failure;
use crate::cli::report;
use crate::clock::{Clock as _, System};

pub(super) fn run(global: &Global, args: &ShowArgs) -> Result<(), Failure> {
    let loaded = if args.files.is_empty() {
        Some(global.load()?)
    } else {
        None
    };
    let since = args
        .since
        .map(|since| OffsetDateTime::from(System.wall()) - since);
    for path in files(&args.files, loaded.as_ref())? {
        let opened = File::open(&path).map_err(|error| unreadable(&path, error))?;
        for line in BufReader::new(opened).lines() {
            let line = line.map_err(|error| unreadable(&path, error))?;
            // `verify` is who complains.
            let Ok(record) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            if !is_wanted(&record, args, since) {
                continue;
            }
            let text = if args.json { line } else { words(&record) };
            if !report::is_heard(&text)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn is_wanted(record: &Value, args: &ShowArgs, since: Option<OffsetDateTime>) -> bool {
    let at = || OffsetDateTime::parse(text(record, "at"), &Rfc3339).ok();
    let late = since.is_none_or(|since| at().is_some_and(|at| at >= since));
    let caller = args.caller.as_deref();
    let theirs = caller.is_none_or(|caller| record["caller"] == caller);
    late && theirs && (!args.refused || record["problem"].is_string())
}

/// One record in a line.
fn words(record: &Value) -> String {
    let [at, kind] = ["at", "kind"].map(|name| text(record, name));
    let what = match kind {
        "request" => request(record),
        "event" => format!(
            "{}: {}",
            text(record, "event").replace('_', " "),
            told(record)
        ),
        "gap" => format!("gap: {} records were lost", record["lost"]),
        _ => format!("{kind} {}", text(record, "text")),
    };
    format!("{at}  {}", what.trim_end())
}

fn told(record: &Value) -> String {
    let grant = record["grant"].as_str();
    let grant = grant.map(|grant| format!("{grant}, ")).unwrap_or_default();
    format!("{grant}{}", text(record, "text"))
}

fn request(record: &Value) -> String {
    let who = record["caller"].as_str().map(str::to_owned).or_else(|| {
        let uid = record["uid"].as_u64().map(|uid| format!("uid {uid}"));
        uid.or_else(|| record["peer"].as_str().map(str::to_owned))
    });
    let mut words = vec![
        who.unwrap_or_default(),
        text(record, "method").to_owned(),
        text(record, "path").to_owned(),
        record["status"].to_string(),
        text(record, "lane").to_owned(),
    ];
    words.extend(["grant", "problem"].map(|name| text(record, name).to_owned()));
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

fn text<'a>(record: &'a Value, name: &str) -> &'a str {
    record[name].as_str().unwrap_or_default()
}
