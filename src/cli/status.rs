//! `status`: what the running proxy does.

use super::admin_client::AdminClient;
use super::args::{Global, StatusArgs};
use super::failure::Failure;
use super::overview;
use super::{report, spelling, watch};

pub(crate) fn run(global: &Global, args: &StatusArgs) -> Result<(), Failure> {
    let client = AdminClient::of(global, &args.admin)?;
    if args.watch {
        return watch::run(&client, args.admin.json);
    }
    let status = client.get("/status")?;
    if args.admin.json {
        report::json(&status)
    } else {
        let shown = overview::status(&status);
        report::data(&spelling::text(global.config_file(), &shown))
    }
}
