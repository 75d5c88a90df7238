//! The personal lane and back, through the admin socket.

use anyhow::Context as _;

use super::super::super::{report, switch};
use super::super::application::Request;
use super::super::seen;
use super::super::stage::{CLIENT_ID, MTLS, PLAIN, PROFILE, Stage};
use super::super::verdict::Step;
use super::{arrivals, ask_admin, word};
use crate::config::Lane;

pub(super) async fn switch_and_back(stage: &Stage, step: &mut Step) -> anyhow::Result<()> {
    let generation = stage.wise.generation(PROFILE).unwrap_or_default();
    let token = format!("user access token, generation {generation}");
    let mut rows = vec![
        ["lane", "answer", "host", "client certificate", "credential"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let certificate = format!("CN={CLIENT_ID}");
    for (lane, host, certificate, credential) in [
        (Lane::Personal, PLAIN, "none", "personal token"),
        (Lane::OAuth, PLAIN, "none", token.as_str()),
        (Lane::OAuthMtls, MTLS, certificate.as_str(), token.as_str()),
    ] {
        stage.wise.clear();
        ask_admin(stage, move |admin| {
            switch::turn(admin, lane, "the demo shows the switch")
        })
        .await?;
        let request = Request::get(stage.door, "/v1/me");
        let answer = request.send().await?;
        let arrived = arrivals(stage, &request.path);
        let seen = arrived.first().context("nothing arrived at Wise")?;
        let found = [
            seen::host(seen).to_owned(),
            seen::certificate(seen),
            seen::credential(seen),
        ];
        let mut row = vec![lane.to_string(), answer.status.to_string()];
        row.extend(found.iter().cloned());
        rows.push(row);
        let expected = format!("200, {host}, certificate {certificate}, {credential}");
        let [host, certificate, credential] = found;
        let found = format!(
            "{}, {host}, certificate {certificate}, {credential}",
            answer.status
        );
        step.check(&format!("lane {lane}"), expected, found);
    }
    step.show(
        "the same GET /v1/me in each lane, as Wise received it",
        report::table(&rows),
    );
    let status = ask_admin(stage, |admin| admin.get("/status")).await?;
    step.check("the lane now", Lane::OAuthMtls, word(&status["lane"]));
    Ok(())
}
