//! An access token that dies before its time.

use serde_json::json;

use super::super::super::report;
use super::super::application::Request;
use super::super::seen;
use super::super::stage::{PROFILE, Stage};
use super::super::verdict::Step;
use super::sha256;
use crate::simulator::Recorded;

pub(super) async fn dead_token(stage: &Stage, step: &mut Step) -> anyhow::Result<()> {
    let generation = stage.wise.generation(PROFILE).unwrap_or_default();
    let revoked = stage.wise.revoke_access(PROFILE);
    let quote = json!({ "sourceCurrency": "GBP", "targetCurrency": "USD", "sourceAmount": 10 });
    let path = format!("/v3/profiles/{PROFILE}/quotes");
    let answer = Request::post(stage.door, &path, &quote).send().await?;

    let recorded = stage.wise.recorded();
    let status = |seen: &Recorded| {
        seen.status
            .map_or_else(|| "-".to_owned(), |status| status.to_string())
    };
    let mut rows: Vec<Vec<String>> = recorded
        .iter()
        .map(|seen| {
            let line = format!("{} {}", seen.method, seen.target);
            vec![
                "Wise".to_owned(),
                line,
                seen::credential(seen),
                status(seen),
            ]
        })
        .collect();
    let line = format!("POST {path}");
    rows.push(vec![
        "application".to_owned(),
        line,
        "-".to_owned(),
        answer.status.to_string(),
    ]);
    step.show(
        "what Wise received, and what the application got for its one request",
        report::table(&rows),
    );

    step.check("tokens killed", 1, revoked);
    step.check("the application's answer", 200, answer.status);
    let arrived: Vec<_> = recorded.iter().filter(|seen| seen.target == path).collect();
    let story: Vec<_> = arrived
        .iter()
        .map(|seen| format!("{}: {}", seen::credential(seen), status(seen)))
        .collect();
    let expected = format!(
        "user access token, generation {generation}, dead: 401 → user access token, generation {}: 200",
        generation + 1
    );
    step.check("the request at Wise", expected, story.join(" → "));
    let sent = sha256(quote.to_string().as_bytes());
    // Wise refuses a dead token before it has read the body.
    let body = arrived.last().map(|seen| seen.body.sha256.as_str());
    step.check(
        "the body, kept for the second try, is as sent",
        true,
        body == Some(sent.as_str()),
    );
    Ok(())
}
