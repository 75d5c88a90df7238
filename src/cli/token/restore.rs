//! `token restore`: back to the record before, where the present one cannot be opened.

use anyhow::anyhow;
use serde_json::json;

use super::super::args::{Global, RestoreArgs};
use super::super::failure::{Exit, Failure};
use super::super::{report, spelling};
use super::{LOCK_WAIT, failed, none_living, take_up};
use crate::credentials::Restored;
use crate::server::open_store;

pub(super) fn run(global: &Global, args: &RestoreArgs) -> Result<(), Failure> {
    let config = global.load()?.config;
    let grant = &args.grant;
    let store = open_store(&config)?;
    if !matches!(store.load(grant), Ok(Some(_))) {
        none_living(&config, grant)?;
    }
    let restored = store
        .lock(grant, LOCK_WAIT)
        .and_then(|locked| locked.restore())
        .map_err(|error| failed(&error))?;
    let refuse =
        |text: String, hint: String| Err(Failure::new(Exit::Failed, anyhow!(text)).hint(hint));
    let (generation, set_aside) = match restored {
        Restored::Done {
            generation,
            set_aside,
        } => (generation, set_aside),
        Restored::NotNeeded { generation } => {
            return refuse(
                format!("the record of grant {grant} can be opened, generation {generation}"),
                "nothing was changed; `token show` says how the grant is".to_owned(),
            );
        }
        Restored::NothingBefore => {
            return refuse(
                format!("there is no record before of grant {grant}"),
                format!(
                    "nothing was changed; run {}",
                    global.spell(&format!("login --grant {}", spelling::word(grant)))
                ),
            );
        }
    };
    take_up(&config);
    if let Some(path) = &set_aside {
        report::say(&format!(
            "the record that cannot be opened is in {}",
            path.display()
        ));
    }
    report::say(&format!(
        "grant {grant} is back at generation {generation}; if Wise has ended those tokens since, \
         `status` says so and only `login` helps"
    ));
    if !args.json {
        return Ok(());
    }
    report::json(&json!({ "grant": grant, "generation": generation, "set_aside": set_aside }))
}
