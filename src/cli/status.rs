//! `status`: what the running proxy does.

use super::admin_client::AdminClient;
use super::args::{AdminArgs, Global};
use super::failure::Failure;
use super::overview;
use super::report;

pub(crate) fn run(global: &Global, args: &AdminArgs) -> Result<(), Failure> {
    let status = AdminClient::of(global, args)?.get("/status")?;
    if args.json {
        report::json(&status)
    } else {
        report::data(&overview::status(&status))
    }
}
