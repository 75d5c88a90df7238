//! One request: what the application sent, and what Wise received.

use anyhow::Context as _;

use super::super::application::{HABIT, Request};
use super::super::seen;
use super::super::stage::{CLIENT_ID, MTLS, PROFILE, Stage};
use super::super::verdict::Step;
use super::arrivals;

pub(super) async fn before_and_after(stage: &Stage, step: &mut Step) -> anyhow::Result<()> {
    let request = Request::get(stage.door, "/v2/profiles");
    let answer = request.send().await?;
    let arrived = arrivals(stage, &request.path);
    let seen = arrived.first().context("nothing arrived at Wise")?;

    let caption = format!("sent by the application to http://{}", stage.door);
    step.show(caption, request.text.as_str());
    let caption = format!("received by Wise: {}", seen::arrival(seen));
    step.show(caption, seen::head(seen));
    let body: String = answer.json().to_string().chars().take(72).collect();
    step.show(
        "answered to the application",
        format!("{}\n\n{body}…", answer.head),
    );

    let user_agent: Vec<_> = seen.header("user-agent").collect();
    let old = seen.headers.0.iter();
    let old = old.filter(|(_, value)| value.contains(HABIT)).count();
    let names_profile = String::from_utf8_lossy(&answer.body).contains(&PROFILE.to_string());
    step.check("the application's answer", 200, answer.status);
    step.check("its body holds the profile", true, names_profile);
    step.check("requests at Wise", 1, arrived.len());
    step.check("host", MTLS, seen::host(seen));
    step.check("TLS", "TLSv1_3", seen::tls(seen));
    let certificate = format!("CN={CLIENT_ID}");
    step.check("client certificate", certificate, seen::certificate(seen));
    let token = "user access token, generation 1";
    step.check("credential", token, seen::credential(seen));
    let line = format!("{} {}", seen.method, seen.target);
    step.check("method and path", "GET /v2/profiles", line);
    step.check(
        "the application's own User-Agent",
        "payroll/2.9",
        user_agent.join(", "),
    );
    step.check("fields at Wise that hold its old credential", 0, old);
    Ok(())
}
