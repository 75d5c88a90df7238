//! `migrate status` and `migrate confirm`: Wise's guide, step by step, with what speaks for each.
//!
//! Evidence is found (`gather`, `files`, `grants`, `ask`), judged without asking anything (`steps`,
//! `next`) and shown (`picture`). What only a person can know is written down (`record`).

mod ask;
mod evidence;
mod files;
mod gather;
mod grants;
mod next;
mod outline;
mod picture;
mod record;
mod step;
mod steps;
#[cfg(test)]
mod tests;
mod words;

use anyhow::anyhow;
use serde_json::json;

use super::args::{Global, MigrateCommand, MigrateConfirmArgs, MigrateStatusArgs};
use super::failure::{Exit, Failure};
use super::switch::{operator, own_store};
use super::{report, spelling};
use crate::clock::{Clock as _, System};

pub(crate) use evidence::{Confirmation, Guide, Start};
pub(super) use outline::outline;
pub(super) use record::{Begun, begun, begun_in, to_json};
pub(crate) use step::Step;

pub(crate) fn run(global: &Global, command: &MigrateCommand) -> Result<(), Failure> {
    match command {
        MigrateCommand::Status(args) => status(global, args),
        MigrateCommand::Confirm(args) => confirm(global, args),
    }
}

fn status(global: &Global, args: &MigrateStatusArgs) -> Result<(), Failure> {
    let evidence = gather::gather(global, args)?;
    let steps = steps::judge(&evidence);
    if args.json {
        report::json(&picture::as_json(&evidence, &steps))
    } else {
        let drawn = picture::drawn(&evidence, &steps);
        report::data(&spelling::text(global.config_file(), &drawn))
    }
}

/// What comes next, from files and the running proxy alone: the sentence, and its command.
pub(super) fn what_next(global: &Global) -> Result<Option<(String, Option<String>)>, Failure> {
    let args = MigrateStatusArgs {
        offline: true,
        ..MigrateStatusArgs::default()
    };
    let evidence = gather::gather(global, &args)?;
    let steps = steps::judge(&evidence);
    // What was not asked is not to be done: Wise would say.
    let next = steps::first(&steps).filter(|(_, next)| !next.is_question);
    Ok(next.map(|(_, next)| (next.text.clone(), next.command.clone())))
}

fn confirm(global: &Global, args: &MigrateConfirmArgs) -> Result<(), Failure> {
    let step = args.step;
    let config = global.load()?.config;
    let uid = own_store(&config.store.path)?;
    let stands = record::confirmed(&config.store.path)?;
    if args.undo && !stands.contains_key(&step) {
        let error = anyhow!("step {} is not confirmed", step.name());
        return Err(Failure::new(Exit::Failed, error).hint("there is nothing to take back"));
    }
    let word = Confirmation {
        step,
        at: words::rfc3339(System.wall()),
        by: format!("{} (uid {uid})", operator()),
        undone: args.undo,
    };
    record::confirm(&config.store.path, &word)?;
    if args.json {
        return report::json(&json!({
            "step": step.name(), "confirmed": !args.undo, "at": word.at, "by": word.by,
        }));
    }
    let what = if args.undo { "taken back" } else { "confirmed" };
    report::say(&format!("{what}: {} ({})", step.title(), step.name()));
    report::say(&format!("next: {}", global.spell("migrate status")));
    Ok(())
}
