//! `caller`: applications' keys, made here, printed once, and kept as hashes in the configuration.

mod list;
mod sheet;

use std::io::{self, IsTerminal as _, Read as _};
use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::args::{AddCallerArgs, CallerCommand, Global, RotateCallerArgs};
use super::failure::{Exit, Failure};
use super::report;
use super::sheet::Sheet;
use super::terminal::hidden_line;
use crate::clock::{Clock as _, System};
use crate::config::KeyHash;
use crate::guard::{self, SHORTEST_KEY};
use crate::secret::Secret;

/// Longest key that is taken from elsewhere.
const LONGEST: u64 = 8 * 1024;

/// A hash is dropped this long after its end: until then, whoever shows the key is told that it has
/// ended.
const LONG_PAST: Duration = Duration::from_hours(30 * 24);

pub(crate) fn run(global: &Global, command: &CallerCommand) -> Result<(), Failure> {
    match command {
        CallerCommand::Add(args) => add(global, args),
        CallerCommand::Rotate(args) => rotate(global, args),
        CallerCommand::Remove { name, json } => remove(global, name, *json),
        CallerCommand::List { json } => list::run(global, *json),
    }
}

fn add(global: &Global, args: &AddCallerArgs) -> Result<(), Failure> {
    let mut sheet = Sheet::open(global)?;
    if sheet.has(&args.name)? {
        let error = anyhow!("there is a caller `{}` already", args.name);
        let hint = global.spell(&format!("caller rotate {}", args.name));
        return Err(Failure::new(Exit::Failed, error).hint(format!("{hint} makes it a new key")));
    }
    let (key, is_new) = if args.key_stdin {
        (given()?, false)
    } else {
        (fresh()?, true)
    };
    let hash = hash_of(&key);
    sheet.add(&args.name, args.policy.as_deref(), hash)?;
    let mut closed = Vec::new();
    for door in &args.door {
        let was_open = sheet.let_in(door, &args.name)?;
        closed.extend(was_open.then_some(door));
    }
    let written = sheet.write()?;
    let file = written.path.display();
    let (name, what) = (&args.name, if is_new { "its key" } else { "the key" });
    report::say(&format!(
        "the caller `{name}` is in {file}, with the hash of {what}"
    ));
    if is_new {
        report::say("the key stands on standard output, and nowhere else");
    }
    for door in closed {
        report::say(&format!(
            "the door {door} was open to whoever reached it; from now on it lets in `{name}`, and \
             nobody else"
        ));
    }
    if args.door.is_empty() {
        report::say(&format!(
            "no door lets it in yet: write callers = [\"{name}\"] into its [[door]]"
        ));
    }
    tell_when(global, written.reload_interval);
    let key = is_new.then_some(&key);
    if args.json {
        let extra = json!({ "doors": args.door });
        return report::json(&outcome(
            global,
            name,
            &written.path,
            key,
            Some(hash),
            extra,
        ));
    }
    key.map_or(Ok(()), |key| report::data(key.expose()))
}

fn rotate(global: &Global, args: &RotateCallerArgs) -> Result<(), Failure> {
    let mut sheet = Sheet::open(global)?;
    let name = &args.name;
    sheet.must_have(name)?;
    let now = System.wall();
    let ends = now + args.overlap;
    let config = global.load()?.config;
    let known = config.callers.iter().find(|caller| caller.name == *name);
    let mut hashes: Vec<KeyHash> = known.map(|it| it.hashes.clone()).unwrap_or_default();
    let source = known.and_then(|caller| caller.key.as_ref());
    if let Some(source) = source {
        let key = source.read().map_err(|error| {
            Failure::new(Exit::Failed, error)
                .hint("its hash is to take its place; ask as the proxy's user")
        })?;
        hashes.push(hash_of(&key));
    }
    let before = hashes.len();
    hashes.retain(|hash| hash.until.is_none_or(|until| until + LONG_PAST > now));
    let dropped = before - hashes.len();
    for hash in &mut hashes {
        hash.until = Some(hash.until.map_or(ends, |until| until.min(ends)));
    }
    let going_on = hashes.iter().filter(|hash| hash.until > Some(now)).count();
    let key = fresh()?;
    let hash = hash_of(&key);
    hashes.push(hash);
    sheet.replace_hashes(name, &hashes)?;
    let written = sheet.write()?;
    report::say(&format!(
        "the caller `{name}` has a new key in {}; it stands on standard output, and nowhere else",
        written.path.display()
    ));
    let until = humantime::format_rfc3339_seconds(ends);
    match going_on {
        0 => report::say("no key before goes on: give the application the new one at once"),
        1 => report::say(&format!("the key before goes on until {until}")),
        several => report::say(&format!(
            "{several} keys before go on, until {until} at most"
        )),
    }
    if let Some(source) = source {
        report::say(&format!(
            "caller.key is gone from it: the key in {source} stands there as its hash, so that it \
             can end"
        ));
    }
    if dropped > 0 {
        report::say(&format!("dropped {dropped} that ended long ago"));
    }
    tell_when(global, written.reload_interval);
    if args.json {
        let extra = json!({
            "keys_before": { "go_on": going_on, "end": until.to_string(), "dropped": dropped },
        });
        return report::json(&outcome(
            global,
            name,
            &written.path,
            Some(&key),
            Some(hash),
            extra,
        ));
    }
    report::data(key.expose())
}

fn remove(global: &Global, name: &str, as_json: bool) -> Result<(), Failure> {
    let mut sheet = Sheet::open(global)?;
    sheet.must_have(name)?;
    let doors = sheet.remove(name)?;
    let written = sheet.write()?;
    let file = written.path.display();
    report::say(&format!("the caller `{name}` is gone from {file}"));
    for door in &doors {
        report::say(&format!("the door {door} lets it in no more"));
    }
    tell_when(global, written.reload_interval);
    if as_json {
        let extra = json!({ "doors": doors });
        return report::json(&outcome(global, name, &written.path, None, None, extra));
    }
    Ok(())
}

/// For programs.
fn outcome(
    global: &Global,
    name: &str,
    file: &std::path::Path,
    key: Option<&Secret>,
    hash: Option<KeyHash>,
    extra: Value,
) -> Value {
    let mut outcome = json!({
        "name": name,
        "file": file,
        "key": key.map(Secret::expose),
        "hash": hash.map(|hash| hash.to_string()),
        "next": { "command": global.typed("reload") },
    });
    if let (Some(outcome), Value::Object(extra)) = (outcome.as_object_mut(), extra) {
        outcome.extend(extra);
    }
    outcome
}

fn fresh() -> Result<Secret, Failure> {
    guard::fresh().map_err(|error| {
        Failure::new(Exit::Failed, error).hint("try again; see that this process may use getrandom")
    })
}

fn hash_of(key: &Secret) -> KeyHash {
    KeyHash {
        digest: guard::digest(key.expose().as_bytes()),
        until: None,
    }
}

/// A key that the application has already: the first line of standard input.
fn given() -> Result<Secret, Failure> {
    let unread = |error: anyhow::Error| {
        Failure::new(Exit::Failed, error).hint("give the key on standard input, in one line")
    };
    let text = if io::stdin().is_terminal() {
        hidden_line(|| report::say("the key:"))
    } else {
        let mut text = Zeroizing::new(String::new());
        let read = io::stdin().take(LONGEST).read_to_string(&mut text);
        read.map(|_| text)
    };
    let text = text.map_err(|error| unread(error.into()))?;
    let key = text.lines().next().unwrap_or_default().trim();
    if key.is_empty() {
        return Err(unread(anyhow!("there is no key on standard input")));
    }
    if key.chars().count() < SHORTEST_KEY {
        let error = anyhow!(
            "the key is too short: whoever guesses it acts for you at Wise, and it could be found by \
             trying"
        );
        return Err(Failure::new(Exit::Failed, error).hint(format!(
            "take one of at least {SHORTEST_KEY} characters, or leave --key-stdin out to have one \
             made"
        )));
    }
    if guard::is_stand_in(key.as_bytes()) {
        let error = anyhow!(
            "the key begins as tokens of a door's own /oauth/token do (wap_at_, wap_rt_), and would be \
             taken for one"
        );
        return Err(Failure::new(Exit::Failed, error)
            .hint("give the application another, or leave --key-stdin out to have one made"));
    }
    Ok(Secret::new(key))
}

/// When a running proxy takes it.
fn tell_when(global: &Global, interval: Duration) {
    report::say(&format!(
        "a running proxy takes it by itself within {}; {} does it at once",
        humantime::format_duration(interval),
        global.spell("reload")
    ));
}

/// How a key's end is told.
fn told(until: Option<SystemTime>, now: SystemTime) -> String {
    match until {
        None => "no end".to_owned(),
        Some(until) if until <= now => {
            format!("ended {}", humantime::format_rfc3339_seconds(until))
        }
        Some(until) => format!("until {}", humantime::format_rfc3339_seconds(until)),
    }
}
