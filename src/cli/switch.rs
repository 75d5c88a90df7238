//! `switch`: every new request takes another lane.

use std::fs;

use serde_json::{Value, json};

use super::admin_client::{AdminClient, AdminError};
use super::args::{Global, SwitchArgs};
use super::failure::Failure;
use super::report;
use crate::config::Lane;

pub(crate) fn run(global: &Global, args: &SwitchArgs) -> Result<(), Failure> {
    if args.reason.trim().is_empty() {
        return Err(Failure::usage("the reason is empty").hint("the audit log wants to know why"));
    }
    let client = AdminClient::of(global, &args.admin)?;
    let answer = turn(&client, args.lane, &args.reason)?;
    if args.admin.json {
        report::json(&answer)
    } else {
        report::say(&format!("new requests take lane {}", args.lane));
        Ok(())
    }
}

/// Asks the proxy; returns what the audit log got.
pub(crate) fn turn(client: &AdminClient, lane: Lane, reason: &str) -> Result<Value, AdminError> {
    let wish = json!({ "lane": lane, "reason": reason, "by": operator() });
    client.post("/switch", &wish)
}

/// Who types this, for the audit log: the user's name, or the number if it has none.
fn operator() -> String {
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
