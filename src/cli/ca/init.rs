//! `ca init`: makes the local authority.

use serde_json::json;

use super::super::args::{CaInitArgs, Global};
use super::super::cert::date;
use super::super::failure::Failure;
use super::super::report;
use super::facts;
use crate::clock::{Clock as _, System};
use crate::tls::{NewAuthority, Pair, Vouching};

pub(super) fn run(global: &Global, args: &CaInitArgs) -> Result<(), Failure> {
    let config = &global.load()?.config;
    let place = Pair::from(&config.ca);
    let hosts = config.hosts.names();
    let machine = rustix::system::uname();
    let machine = machine.nodename().to_string_lossy();
    let made = NewAuthority::generate(&hosts, &machine, args.days, System.wall())?;
    made.write(&place, args.force)?;
    let vouching = Vouching::read(&place.certificate)?;
    let offered = config.doors.iter().any(|door| door.connect);
    if args.json {
        let mut outcome = facts(&place, &vouching);
        outcome["connect"] = json!(offered);
        outcome["next"] = json!({ "command": global.typed("ca export --for curl") });
        return report::json(&outcome);
    }
    report::say(&format!(
        "a local authority for {} is in {}, its key in {}, valid until {} ({} days)",
        hosts.join(", "),
        place.certificate.display(),
        place.key.display(),
        date(vouching.certificate.not_after),
        vouching.certificate.days_left(&System),
    ));
    if args.force {
        report::say("applications that trusted the one before must be given this one");
    }
    if !offered {
        report::say("no door offers CONNECT yet: set `connect = true` at one, and start the proxy");
    }
    report::say(&format!(
        "have an application trust it: {} says how (java, python, node, …)",
        global.spell("ca export --for NAME")
    ));
    Ok(())
}
