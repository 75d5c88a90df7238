//! `reload`: the running proxy reads everything again, all or nothing.

use serde_json::json;

use super::admin_client::AdminClient;
use super::args::{AdminArgs, Global};
use super::failure::Failure;
use super::report;

pub(crate) fn run(global: &Global, args: &AdminArgs) -> Result<(), Failure> {
    let answer = AdminClient::of(global, args)?.post("/reload", &json!({}))?;
    if args.json {
        report::json(&answer)
    } else {
        report::say("reloaded");
        Ok(())
    }
}
