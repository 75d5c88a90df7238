//! `webhook test`: Wise delivers a sample.

use anyhow::anyhow;
use serde_json::{Value, json};

use super::super::args::Global;
use super::super::failure::{Exit, Failure};
use super::super::line::CallError;
use super::super::report::{self, Progress};
use super::super::run::control_runtime;
use super::desk::Desk;
use super::{line, shown};
use crate::wise::webhook::TestNotification;

pub(super) fn run(global: &Global, id: &str, as_json: bool) -> Result<(), Failure> {
    let config = global.load()?.config;
    let line = line(&config)?;
    let deliveries = control_runtime()?.block_on(async {
        let mut progress = Progress::new();
        let asking = Desk::application(&line, &config);
        let desk = progress.along("asking Wise for a token", asking).await?;
        let testing = desk.test(&line, id);
        let deliveries = progress.along("asking Wise for a sample", testing).await;
        deliveries.map_err(|error| {
            if is_unknown(&error) {
                let error = anyhow!("the application has no subscription {id}");
                return Failure::new(Exit::Failed, error).hint(format!(
                    "{} shows them; Wise has no test for profile subscriptions",
                    global.spell("webhook list --application")
                ));
            }
            desk.failed(global, "Wise sends no sample", error)
        })
    })?;
    if deliveries.is_empty() {
        let error = anyhow!("Wise takes the test, and names no delivery");
        return Err(Failure::new(Exit::Failed, error).hint("look whether the receiver heard of it"));
    }
    report::say("Wise delivers a sample: look for its id in X-Delivery-Id at the receiver");
    if as_json {
        let deliveries: Vec<_> = deliveries.iter().map(of_programs).collect();
        return report::json(&json!({ "subscription": id, "deliveries": deliveries }));
    }
    let ids: Vec<_> = deliveries.iter().map(|it| shown(&it.delivery_id)).collect();
    report::data(&ids.join("\n"))
}

pub(super) fn is_unknown(error: &CallError) -> bool {
    matches!(error, CallError::Refused { status, .. } if status.as_u16() == 404)
}

fn of_programs(delivery: &TestNotification) -> Value {
    json!({ "delivery_id": delivery.delivery_id, "created_at": delivery.created_at })
}
