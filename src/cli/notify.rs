//! `notify test`: whether notifications arrive.

use serde_json::json;

use super::admin_client::AdminClient;
use super::args::{Global, NotifyCommand};
use super::failure::{Exit, Failure};
use super::report;
use super::switch::operator;

pub(crate) fn run(global: &Global, command: &NotifyCommand) -> Result<(), Failure> {
    let NotifyCommand::Test { admin } = command;
    let client = AdminClient::of(global, admin)?;
    let answer = client.post("/notify/test", &json!({ "by": operator() }))?;
    if admin.json {
        report::json(&answer)?;
    }
    let ways = answer.as_object().cloned().unwrap_or_default();
    if ways.is_empty() {
        let error = anyhow::Error::msg("the proxy tells nobody: it was started without a receiver");
        return Err(Failure::new(Exit::Failed, error).hint(
            "set notify.webhook or notify.command in the configuration and start the proxy again",
        ));
    }
    let mut failures = Vec::new();
    for (way, outcome) in &ways {
        match outcome.as_str() {
            None => report::say(&format!("{way}: has taken it")),
            Some(why) => failures.push(format!("{way}: {why}")),
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    let error = anyhow::Error::msg(failures.join("; "));
    Err(Failure::new(Exit::Failed, error).hint(
        "mend [notify] or the receiver, and try again; other notifications fail the same way",
    ))
}
