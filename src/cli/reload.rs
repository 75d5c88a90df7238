//! `reload`: the running proxy reads everything again, all or nothing.

use serde_json::{Value, json};

use super::admin_client::AdminClient;
use super::args::{AdminArgs, Global};
use super::failure::Failure;
use super::report;

pub(crate) fn run(global: &Global, args: &AdminArgs) -> Result<(), Failure> {
    let answer = AdminClient::of(global, args)?.post("/reload", &json!({}))?;
    if args.json {
        report::json(&answer)
    } else {
        let list = |key: &str| {
            let names = answer[key].as_array().into_iter().flatten();
            names
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (changed, waiting) = (list("changed"), list("needs_restart"));
        report::say(&if changed.is_empty() {
            "reloaded".to_owned()
        } else {
            format!("reloaded; in use anew: {changed}")
        });
        if !waiting.is_empty() {
            report::say(&format!(
                "changed, but not in use before a restart: {waiting}"
            ));
        }
        Ok(())
    }
}
