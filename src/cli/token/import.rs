//! `token import`: grants out of a sealed file, into this host's store.
//!
//! Everything is checked before anything is written, and nothing that is newer is overwritten.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::{Value, json};

use super::super::args::{Global, ImportArgs};
use super::super::failure::{Exit, Failure};
use super::super::{passphrase, report};
use super::{LOCK_WAIT, failed, none_living, take_up};
use crate::config::{Config, OAuth};
use crate::credentials::{FileStore, Locked, Record, unpack};
use crate::server::open_store;

/// Thousands of grants fit.
const LONGEST: u64 = 64 * 1024 * 1024;

/// A grant that may be written, under its lock.
struct Arrival {
    locked: Locked,
    record: Record,
    /// Generation of the record that it takes the place of.
    replaces: Option<u64>,
    /// The record in its place cannot be opened.
    in_the_way: bool,
}

pub(super) fn run(global: &Global, args: &ImportArgs) -> Result<(), Failure> {
    let config = global.load()?.config;
    let oauth = config.oauth.as_ref().ok_or_else(|| {
        Failure::new(Exit::Config, anyhow!("the configuration has no [oauth]"))
            .hint("add the client id and secret that Wise gave you, under [oauth]")
    })?;
    let store = open_store(&config)?;
    let file = read(&args.file).map_err(|error| {
        let text = format!("cannot read {}", args.file.display());
        Failure::new(Exit::Failed, anyhow::Error::new(error).context(text))
            .hint("name the file that `token export` wrote")
    })?;
    let passphrase = passphrase::obtain(&args.passphrase, false)?;
    let mut records = unpack(&passphrase, &file).map_err(|error| {
        let mut failure = failed(&error);
        let text = format!("{} cannot be opened", args.file.display());
        failure.error = failure.error.context(text);
        failure
    })?;
    records.sort_by(|one, other| one.grant.cmp(&other.grant));
    for record in &records {
        belongs(&config, oauth, record)?;
        if args.replace {
            none_living(&config, &record.grant)?;
        }
    }
    let arrivals = records
        .into_iter()
        .map(|record| admit(&store, record, args.replace))
        .collect::<Result<Vec<_>, _>>()?;
    let stored = arrivals
        .iter()
        .map(write)
        .collect::<Result<Vec<Value>, _>>()?;
    take_up(&config);
    report::say(&format!(
        "delete {} now: a grant goes on from its newest tokens, and older ones may end it",
        args.file.display()
    ));
    if args.json {
        report::json(&json!({ "grants": stored }))
    } else {
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the proxy of this configuration could use it.
fn belongs(config: &Config, oauth: &OAuth, record: &Record) -> Result<(), Failure> {
    let refuse = |text: String, hint: String| {
        Err(Failure::new(Exit::Failed, anyhow::Error::msg(text)).hint(hint))
    };
    let name = &record.grant;
    if record.client_id != oauth.client_id {
        return refuse(
            format!(
                "grant {name} was given to the OAuth client {}, and this configuration is of {}",
                record.client_id, oauth.client_id
            ),
            "only that client can use it; correct oauth.client_id, or run `login` here".to_owned(),
        );
    }
    let Some(grant) = config.grants.iter().find(|grant| grant.name == *name) else {
        return refuse(
            format!("the configuration has no grant named {name}"),
            format!("add a [[grant]] with `name = \"{name}\"`"),
        );
    };
    match (&grant.profile, &record.profile) {
        (Some(wanted), Some(found)) if wanted != found => refuse(
            format!("grant {name} is for profile {found}, the configuration says {wanted}"),
            format!("correct the profile of grant {name} in the configuration"),
        ),
        _ => Ok(()),
    }
}

/// Takes the grant's lock and looks at what is there.
fn admit(store: &FileStore, record: Record, replace: bool) -> Result<Arrival, Failure> {
    let name = record.grant.clone();
    let refuse = |text: String| {
        Err(Failure::new(Exit::Failed, anyhow::Error::msg(text)).hint(
            "nothing was changed; --replace puts the file's tokens in its place, if you are sure \
             that they are the ones which Wise still accepts",
        ))
    };
    let locked = store
        .lock(&name, LOCK_WAIT)
        .map_err(|error| failed(&error))?;
    let (replaces, in_the_way) = match locked.load() {
        Ok(None) => (None, false),
        Ok(Some(present)) => {
            let older = (present.granted, present.generation) < (record.granted, record.generation);
            if !older && !replace {
                return refuse(format!(
                    "the store holds generation {} of grant {name}, which is not older than the \
                     file's generation {}",
                    present.generation, record.generation
                ));
            }
            (Some(present.generation), false)
        }
        Err(error) if error.is_unreadable() && replace => (None, true),
        Err(error) if error.is_unreadable() => return refuse(error.to_string()),
        Err(error) => return Err(failed(&error)),
    };
    locked.probe().map_err(|error| failed(&error))?;
    Ok(Arrival {
        locked,
        record,
        replaces,
        in_the_way,
    })
}

fn write(arrival: &Arrival) -> Result<Value, Failure> {
    let (record, locked) = (&arrival.record, &arrival.locked);
    let aside: Option<PathBuf> = arrival
        .in_the_way
        .then(|| locked.set_aside())
        .transpose()
        .map_err(|error| failed(&error))?
        .flatten();
    locked.save(record).map_err(|error| failed(&error))?;
    let (name, generation) = (&record.grant, record.generation);
    let instead = match (arrival.replaces, &aside) {
        (Some(before), _) => format!(", in the place of generation {before}, which is kept"),
        (None, Some(path)) => {
            format!(
                "; the record before could not be opened and is in {}",
                path.display()
            )
        }
        (None, None) => String::new(),
    };
    report::say(&format!(
        "grant {name} is stored, generation {generation}{instead}"
    ));
    Ok(json!({
        "grant": name,
        "generation": generation,
        "replaced": arrival.replaces,
        "set_aside": aside,
    }))
}
