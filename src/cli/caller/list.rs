//! `caller list`: from the configuration; the running proxy is not asked.

use serde_json::json;

use super::super::args::Global;
use super::super::failure::Failure;
use super::super::report;
use super::told;
use crate::clock::{Clock as _, System};
use crate::config::{Caller, Config, DoorAddress};

pub(super) fn run(global: &Global, as_json: bool) -> Result<(), Failure> {
    let config = global.load()?.config;
    let now = System.wall();
    if as_json {
        let callers = config.callers.iter().map(|caller| {
            let keys = caller.hashes.iter().map(|hash| {
                let ends = hash.until.map(humantime::format_rfc3339_seconds);
                json!({
                    "ends": ends.map(|ends| ends.to_string()),
                    "ended": hash.until.is_some_and(|until| until <= now),
                })
            });
            json!({
                "name": caller.name,
                "policy": caller.policy,
                "keys": keys.collect::<Vec<_>>(),
                "key": caller.key.as_ref().map(ToString::to_string),
                "users": caller.users,
                "groups": caller.groups,
                "certificates": caller.certificates,
                "doors": doors(&config, caller),
            })
        });
        return report::json(&callers.collect::<Vec<_>>().into());
    }
    if config.callers.is_empty() {
        report::say(&format!(
            "there are no callers: every door is open to whoever reaches it; {} makes one",
            global.spell("caller add NAME --door ADDRESS")
        ));
        return Ok(());
    }
    let head = ["caller", "known by", "policy", "doors"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for caller in &config.callers {
        let mut ways: Vec<String> = Vec::new();
        ways.extend(caller.key.iter().map(|source| format!("key in {source}")));
        let keys = caller.hashes.iter();
        ways.extend(keys.map(|hash| format!("key, {}", told(hash.until, now))));
        for (what, names) in [
            ("user", &caller.users),
            ("group", &caller.groups),
            ("certificate", &caller.certificates),
        ] {
            ways.extend(names.iter().map(|name| format!("{what} {name}")));
        }
        let mut ways = ways.into_iter();
        rows.push(vec![
            caller.name.clone(),
            ways.next().unwrap_or_default(),
            caller.policy.clone().unwrap_or_else(|| "-".to_owned()),
            match doors(&config, caller).as_slice() {
                [] => "none".to_owned(),
                doors => doors.join(", "),
            },
        ]);
        rows.extend(ways.map(|way| vec![String::new(), way]));
    }
    report::data(&report::table(&rows))
}

/// Addresses of the doors that let it in by name.
fn doors(config: &Config, caller: &Caller) -> Vec<String> {
    let doors = config.doors.iter().filter(|door| {
        let accepted = door.callers.iter().flatten();
        accepted.into_iter().any(|name| *name == caller.name)
    });
    doors
        .map(|door| match &door.address {
            DoorAddress::Tcp(address) => address.to_string(),
            DoorAddress::Unix { path, .. } => format!("unix:{}", path.display()),
        })
        .collect()
}
