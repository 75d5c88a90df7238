//! `token export`: grants into one sealed file, for another host.
//!
//! Two hosts with one grant end each other's tokens, and where Wise rotates refresh tokens, the
//! grant. So what is exported has to stop here: `--move` sees to that. Its order is: lock, write
//! the file durably, forget. A crash in between leaves the grant in both places and loses nothing.

use std::io;

use anyhow::anyhow;
use serde_json::{Value, json};

use super::super::admin_client::AdminClient;
use super::super::args::{ExportArgs, Global};
use super::super::failure::{Exit, Failure};
use super::super::{passphrase, report, spelling};
use super::{LOCK_WAIT, failed};
use crate::config::Config;
use crate::credentials::{FileStore, Locked, Record, pack};
use crate::durable;
use crate::server::open_store;

pub(super) fn run(global: &Global, args: &ExportArgs) -> Result<(), Failure> {
    let config = global.load()?.config;
    let store = open_store(&config)?;
    let names = names(global, &config, &store, args)?;
    if args.out.exists() {
        return Err(unwritten(args, io::ErrorKind::AlreadyExists.into()));
    }
    let passphrase = passphrase::obtain(&args.passphrase, true)?;

    // In the order of their names, as everybody who takes several.
    let mut held = Vec::new();
    for name in &names {
        let locked = store
            .lock(name, LOCK_WAIT)
            .map_err(|error| failed(&error))?;
        let record = locked.load().map_err(|error| failed(&error))?;
        let record = record.ok_or_else(|| {
            Failure::new(Exit::Failed, anyhow!("grant {name} has no tokens")).hint(format!(
                "{} brings some; --all takes the grants that have any",
                global.spell(&format!("login --grant {}", spelling::word(name)))
            ))
        })?;
        held.push((locked, record));
    }
    let records: Vec<Record> = held.iter().map(|(_, record)| record.clone()).collect();
    let file = pack(&passphrase, &records).map_err(|error| failed(&error))?;
    durable::create_new(&args.out, &file).map_err(|error| unwritten(args, error))?;
    let running = is_running(&config);
    if args.forget {
        forget(global, &held, args)?;
    }
    tell(args, &records, running)
}

/// The grants to export, sorted.
fn names(
    global: &Global,
    config: &Config,
    store: &FileStore,
    args: &ExportArgs,
) -> Result<Vec<String>, Failure> {
    if args.all {
        let names = store.list().map_err(|error| failed(&error))?;
        if names.is_empty() {
            return Err(
                Failure::new(Exit::Failed, anyhow!("the store holds no grants")).hint(format!(
                    "{} brings the tokens of one",
                    global.spell("login")
                )),
            );
        }
        return Ok(names);
    }
    let chosen = match (&args.grant, config.grants.as_slice()) {
        (Some(name), _) => Some(name.clone()),
        (None, [only]) => Some(only.name.clone()),
        (None, _) => None,
    };
    chosen.map(|name| vec![name]).ok_or_else(|| {
        let known: Vec<_> = config.grants.iter().map(|grant| &*grant.name).collect();
        Failure::usage("there are several grants")
            .hint(format!("name one, or say --all: {}", known.join(", ")))
    })
}

fn unwritten(args: &ExportArgs, error: io::Error) -> Failure {
    let text = format!("cannot write {}", args.out.display());
    Failure::new(Exit::Failed, anyhow::Error::new(error).context(text))
        .hint("nothing was changed; choose another place with --out")
}

fn forget(global: &Global, held: &[(Locked, Record)], args: &ExportArgs) -> Result<(), Failure> {
    for (locked, record) in held {
        locked.remove().map_err(|error| {
            let text = format!(
                "grant {} is in {} and still here",
                record.grant,
                args.out.display()
            );
            Failure::new(Exit::Failed, anyhow::Error::new(error).context(text)).hint(format!(
                "run {} before the file is imported elsewhere",
                global.spell(&format!("token forget {}", spelling::word(&record.grant)))
            ))
        })?;
    }
    Ok(())
}

/// Whether a proxy of this configuration runs here.
fn is_running(config: &Config) -> bool {
    AdminClient::at(config.admin.socket.clone())
        .get("/tokens")
        .is_ok()
}

fn tell(args: &ExportArgs, records: &[Record], running: bool) -> Result<(), Failure> {
    let names: Vec<_> = records.iter().map(|record| &*record.grant).collect();
    let (names, file) = (names.join(", "), args.out.display());
    let import = format!("`token import {}`", spelling::path(&args.out));
    let mut warnings = Vec::new();
    if !args.forget {
        let holder = if running {
            "a proxy runs here with it"
        } else {
            "its tokens are still in this store"
        };
        warnings.push(format!(
            "{holder}: two hosts with one grant end each other's tokens and may lose the grant; \
             run `token forget` here before `token import` there (or export with --move)"
        ));
    }
    for warning in &warnings {
        report::say(&format!("warning: {warning}"));
    }
    report::say(&format!("{file} holds grant {names}"));
    report::say(&if args.forget {
        format!("this host has forgotten grant {names}; {import} goes on there")
    } else {
        format!("{import} takes it in there; then delete the file")
    });
    if !args.json {
        return Ok(());
    }
    let grant = |record: &Record| -> Value {
        json!({ "grant": record.grant, "generation": record.generation, "forgotten": args.forget })
    };
    report::json(&json!({
        "file": args.out,
        "grants": records.iter().map(grant).collect::<Vec<_>>(),
        "running": running,
        "warnings": warnings,
    }))
}
