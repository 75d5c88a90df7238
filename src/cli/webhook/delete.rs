//! `webhook delete`: ends a subscription.

use std::io::{self, BufRead as _, IsTerminal as _};

use anyhow::anyhow;
use serde_json::Value;

use super::super::args::Global;
use super::super::failure::{Exit, Failure};
use super::super::report::{self, Progress};
use super::super::run::control_runtime;
use super::args::DeleteArgs;
use super::list::{Found, look};
use super::test::is_unknown;
use super::{desk, line, shown, subscription_json};

pub(super) fn run(global: &Global, args: &DeleteArgs) -> Result<(), Failure> {
    if !args.yes && !io::stdin().is_terminal() {
        let failure = Failure::usage("nobody can be asked: standard input is no terminal");
        return Err(failure.hint("--yes deletes without asking"));
    }
    let config = global.load()?.config;
    let line = line(&config)?;
    let runtime = control_runtime()?;
    let all = runtime.block_on(look(global, &config, &line, &args.whose))?;
    let found = all.found.iter().find(|it| it.subscription.id == args.id);
    let Some(found) = found else {
        all.complete()?;
        let error = anyhow!("Wise shows no subscription {}", args.id);
        let list = global.spell("webhook list");
        return Err(Failure::new(Exit::Failed, error).hint(format!("{list} shows what there is")));
    };
    let about = about(found);
    if !args.yes && !is_wanted(&about) {
        report::say("nothing is deleted");
        return Err(
            Failure::new(Exit::Failed, anyhow!("not confirmed")).hint("answer yes, or say --yes")
        );
    }
    let desk = all.desks.iter().find(|desk| desk.scope == found.scope);
    let desk = desk.ok_or_else(|| {
        let error = anyhow!("there is no way to it");
        Failure::new(Exit::Failed, error).hint("name whose it is with --profile or --grant")
    })?;
    let deleted = runtime.block_on(async {
        let mut progress = Progress::new();
        let deleting = desk.delete(&line, &args.id);
        progress.along("asking Wise to end it", deleting).await
    });
    match deleted {
        // Somebody else was quicker.
        Err(error) if is_unknown(&error) => {}
        deleted => deleted.map_err(|error| desk.failed(global, "it is not deleted", error))?,
    }
    report::say(&format!("deleted: {about}"));
    if args.json {
        let deleted = subscription_json(&found.scope, &found.subscription);
        return report::json(&serde_json::json!({ "deleted": Value::Object(deleted) }));
    }
    Ok(())
}

fn about(found: &Found) -> String {
    format!(
        "{} of {} to {}",
        shown(&found.subscription.trigger_on),
        desk::name(&found.scope),
        shown(&found.subscription.delivery.url)
    )
}

fn is_wanted(about: &str) -> bool {
    report::prompt(&format!("delete {about}? Wise stops sending it [y/N] "));
    let mut line = String::new();
    let heard = io::stdin().lock().read_line(&mut line);
    heard.is_ok() && matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}
