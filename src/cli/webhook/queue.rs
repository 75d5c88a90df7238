//! `webhook queue` and `webhook retry`: what the running proxy keeps for the application.

use serde_json::{Value, json};

use super::super::admin_client::AdminClient;
use super::super::args::{AdminArgs, Global};
use super::super::failure::Failure;
use super::super::report;
use super::shown;

pub(super) fn list(global: &Global, admin: &AdminArgs) -> Result<(), Failure> {
    let webhooks = AdminClient::of(global, admin)?.get("/webhooks")?;
    if admin.json {
        return report::json(&webhooks);
    }
    let webhooks = webhooks.as_array().map(Vec::as_slice).unwrap_or_default();
    if webhooks.is_empty() {
        report::say("no webhook comes in here: the configuration has no [[webhook]]");
        return Ok(());
    }
    let head = ["webhook", "listens at", "waiting", "since", "set aside"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(webhooks.iter().map(row));
    report::data(&report::table(&rows))?;
    for webhook in webhooks {
        for why in ["error", "trouble"] {
            if let Some(why) = webhook[why].as_str() {
                report::say(&format!("{}: {}", word(&webhook["name"]), shown(why)));
            }
        }
    }
    Ok(())
}

pub(super) fn retry(global: &Global, name: &str, admin: &AdminArgs) -> Result<(), Failure> {
    let path = format!("/webhooks/{name}/retry");
    let answer = AdminClient::of(global, admin)?.post(&path, &json!({}))?;
    if admin.json {
        return report::json(&answer);
    }
    report::say(&match answer["retried"].as_u64() {
        Some(1) => format!("{name}: 1 delivery waits at the end of the queue"),
        Some(count @ 1..) => format!("{name}: {count} deliveries wait at the end of the queue"),
        Some(0) | None => format!("{name}: none was set aside; the first that waits is tried now"),
    });
    Ok(())
}

fn row(webhook: &Value) -> Vec<String> {
    vec![
        word(&webhook["name"]),
        word(&webhook["address"]),
        webhook["queued"].to_string(),
        word(&webhook["oldest"]),
        webhook["set_aside"].to_string(),
    ]
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}
