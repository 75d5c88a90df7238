//! `switch`: every new request takes another lane.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::{Value, json};

use super::admin_client::{AdminClient, AdminError};
use super::args::{Global, SwitchArgs};
use super::failure::{Exit, Failure};
use super::report;
use crate::clock::System;
use crate::config::{Config, Lane};
use crate::durable;
use crate::server::lane_in_use;
use crate::switch::{Entry, SwitchStore};

pub(crate) fn run(global: &Global, args: &SwitchArgs) -> Result<(), Failure> {
    if args.reason.trim().is_empty() {
        return Err(Failure::usage("the reason is empty").hint("the audit log wants to know why"));
    }
    let client = AdminClient::of(global, &args.admin)?;
    let (answer, text) = match turn(&client, args.lane, &args.reason) {
        // Whose socket was named may be another proxy than the configuration's.
        Err(AdminError::NotRunning { .. }) if args.admin.socket.is_none() => (
            at_rest(&global.load()?.config, args.lane, &args.reason)?,
            format!(
                "the proxy is not running; it will start on lane {}",
                args.lane
            ),
        ),
        answer => (answer?, format!("new requests take lane {}", args.lane)),
    };
    if let Some(warning) = answer["warning"].as_str() {
        report::say(&format!("warning: {warning}"));
    }
    if args.admin.json {
        report::json(&answer)
    } else {
        report::say(&text);
        Ok(())
    }
}

/// Asks the proxy; returns what the audit log got.
pub(crate) fn turn(client: &AdminClient, lane: Lane, reason: &str) -> Result<Value, AdminError> {
    let wish = json!({ "lane": lane, "reason": reason, "by": operator() });
    client.post("/switch", &wish)
}

/// Writes down the lane that the next start takes.
fn at_rest(config: &Config, to: Lane, reason: &str) -> Result<Value, Failure> {
    if !config.switch.lanes.contains(to) {
        let text = format!("lane `{to}` is not available");
        return Err(Failure::new(Exit::Config, anyhow::Error::msg(text))
            .hint("the configuration forbids it or lacks what it needs; see switch.allow"));
    }
    let dir = &config.store.path;
    let uid = own_store(dir)?;
    let store = SwitchStore::new(dir);
    // A setting that cannot be read is about to be replaced.
    let last = store.load().ok().flatten();
    let from = lane_in_use(config, last.as_ref());
    let by = format!("{} (uid {uid})", operator());
    let entry = Entry::now(&System, &by, from, to, reason);
    store.record(&entry).map_err(|error| {
        Failure::new(Exit::Failed, error).hint("free some space, or make the store writable")
    })?;
    serde_json::to_value(&entry).map_err(Failure::impossible)
}

/// Makes the store's directory where it is missing, and refuses one that is somebody else's: the
/// proxy could not read what is written there. Returns our uid.
pub(super) fn own_store(dir: &Path) -> Result<u32, Failure> {
    let failed = |error: std::io::Error| {
        let text = format!("cannot use {}", dir.display());
        Failure::new(Exit::Failed, anyhow::Error::new(error).context(text))
            .hint("run it as the user that the proxy runs as")
    };
    durable::make_dir(dir).map_err(failed)?;
    let owner = fs::metadata(dir).map_err(failed)?.uid();
    let uid = rustix::process::getuid().as_raw();
    if owner != uid {
        let text = format!("{} belongs to uid {owner}, not to uid {uid}", dir.display());
        return Err(Failure::new(Exit::Permission, anyhow::Error::msg(text))
            .hint("run it as the user that the proxy runs as"));
    }
    Ok(uid)
}

/// Who types this, for the audit log: the user's name, or the number if it has none.
pub(super) fn operator() -> String {
    let uid = rustix::process::getuid().as_raw().to_string();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    named(&users, &uid).map_or_else(|| format!("uid {uid}"), str::to_owned)
}

fn named<'a>(users: &'a str, uid: &str) -> Option<&'a str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_is_the_user_of_that_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nacme:x:1000:0:,,,:/home/acme:/bin/sh\n";
        assert_eq!(named(users, "1000"), Some("acme"));
        assert_eq!(named(users, "100"), None);
    }
}
