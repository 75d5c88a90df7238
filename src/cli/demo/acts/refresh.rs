//! A renewal in the middle of traffic.

use std::cell::Cell;

use anyhow::Context as _;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::timeout;

use super::super::application::{PATIENCE, Request};
use super::super::stage::{PROFILE, Stage};
use super::super::verdict::Step;
use super::{arrivals, ask_admin};
use crate::simulator::{Credential, Recorded};

/// Connections of the application while the token changes.
const CALLERS: usize = 8;

pub(super) async fn refresh(stage: &Stage, step: &mut Step) -> anyhow::Result<()> {
    let old = stage
        .errand
        .store
        .load("main")?
        .context("the store lost the grant")?;
    let path = format!("/v2/profiles/{PROFILE}");
    let exchanges = stage.wise.exchange_count();
    // The new token is minted at once and its answer takes its time: the worst moment.
    stage
        .wise
        .change_faults(|faults| faults.token.latency = 300);

    let renewed = Cell::new(false);
    let caller = async || {
        let mut statuses = Vec::new();
        loop {
            let last = renewed.get();
            let answer = Request::get(stage.door, &path).send().await?;
            statuses.push(answer.status);
            if last {
                return anyhow::Ok(statuses);
            }
        }
    };
    let renewal = async {
        let busy = stage.wise.until(|wise| wise.recorded().len() >= CALLERS);
        let busy = timeout(PATIENCE, busy).await;
        let answer = ask_admin(stage, |admin| {
            admin.post("/tokens/main/refresh", &json!({}))
        });
        let answer = answer.await;
        renewed.set(true);
        busy.context("the requests do not arrive at Wise")?;
        answer
    };
    let callers = join_all((0..CALLERS).map(|_| caller()));
    let (answer, statuses) = tokio::join!(renewal, callers);
    stage.wise.change_faults(|faults| faults.token.latency = 0);
    let answer = answer?;
    let statuses: Vec<Vec<u16>> = statuses.into_iter().collect::<Result<_, _>>()?;
    let statuses = statuses.concat();

    let arrived = arrivals(stage, &path);
    let new = old.generation + 1;
    let with = |wanted: u64, alive: bool| {
        let of = |seen: &&Recorded| matches!(seen.credential, Credential::User { generation, live, .. } if generation == wanted && live == alive);
        arrived.iter().filter(of).count()
    };
    let (before, after, late) = (
        with(old.generation, true),
        with(new, true),
        with(old.generation, false),
    );
    let exchanges = stage.wise.exchange_count() - exchanges;
    // What somebody would hear who had kept the old token.
    let bearer = old.access_token.bearer()?;
    let old_token = stage.errand.get(path.parse()?, bearer).await?.status;

    let good = statuses.iter().filter(|status| **status == 200).count();
    let lines = [
        format!("generation {} → {}", old.generation, answer["generation"]),
        format!(
            "{good} of {} requests on {CALLERS} connections answered 200",
            statuses.len()
        ),
        format!(
            "at Wise: {before} with the old token, {after} with the new one, {late} came too late with the old one and went again"
        ),
        format!("the old token, shown to Wise once more: {old_token}"),
    ];
    step.show("what happened", lines.join("\n"));

    step.check("generation in the proxy", new, &answer["generation"]);
    let at_wise = stage.wise.generation(PROFILE).unwrap_or_default();
    step.check("generation at Wise", new, at_wise);
    step.check("exchanges at the token endpoint", 1, exchanges);
    step.check("failed requests", 0, statuses.len() - good);
    step.check("requests with either token", true, before > 0 && after > 0);
    step.check("the old token at Wise", 401, old_token.as_u16());
    Ok(())
}
