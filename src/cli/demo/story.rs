//! The story from beginning to end: what stands on the stage, the acts, and an invitation.

use std::io;
use std::path::Path;

use super::super::failure::Failure;
use super::super::report;
use super::acts::{Act, balance_of, balances};
use super::page::Page;
use super::stage::{CLIENT_ID, MTLS, PLAIN, PROFILE, Stage};
use super::verdict::{Step, Verdict};

/// What stands on the stage.
pub(super) fn opening(stage: &Stage, page: Page) -> Result<(), Failure> {
    let Stage { wise, door, .. } = stage;
    let row = |name: &str, what: String| vec![name.to_owned(), what];
    let (plain, mtls) = (wise.plain_address().port(), wise.mtls_address().port());
    let rows = [
        row(
            "Wise, simulated",
            format!("https://{PLAIN}:{plain}  lanes personal and oauth"),
        ),
        row(
            "",
            format!("https://{MTLS}:{mtls}  lane oauth-mtls, wants a client certificate"),
        ),
        row(
            "certificate",
            format!("CN={CLIENT_ID}, P-256 key, signed by the simulated Developer Hub"),
        ),
        row(
            "grant",
            format!("profile {PROFILE}, authorised, sealed in the store"),
        ),
        row("proxy", format!("http://{door}, lane oauth-mtls")),
    ];
    page.line("wise-auth-proxy demo: everything in this one process, nothing of it real\n")?;
    page.line(&report::table(&rows))?;
    match stage.taken {
        Some(taken) => page.line(&format!(
            "({taken} is taken by another program; --door ADDR picks one)"
        )),
        None => Ok(()),
    }
}

/// Plays every act, shows each when it is over, and keeps the score.
pub(super) async fn tell(stage: &Stage, page: Page) -> Result<Verdict, Failure> {
    let mut verdict = Verdict::default();
    for (number, act) in (1..).zip(Act::ALL) {
        let (title, explained) = act.words();
        let mut step = Step::new(number, title);
        stage.wise.clear();
        if let Err(error) = act.play(stage, &mut step).await {
            step.check("the step runs to its end", "yes", format!("no: {error:#}"));
        }
        page.step(&step, explained)?;
        verdict.steps.push(step);
    }
    Ok(verdict)
}

/// What can be tried while the stage is open.
pub(super) async fn invitation(stage: &Stage, page: Page) -> Result<(), Failure> {
    let door = stage.door;
    let program = program();
    let socket = format!("--socket {}", stage.socket.display());
    let balance = match balances(stage).await {
        Ok(balances) => balance_of(&balances, "GBP")["id"].to_string(),
        Err(_) => "ID".to_owned(),
    };
    let body = r#"{"sourceCurrency":"GBP","targetCurrency":"EUR","sourceAmount":100}"#;
    let statement = format!(
        "/v1/profiles/{PROFILE}/balance-statements/{balance}/statement.pdf?currency=GBP\
         &intervalStart=2026-01-01T00:00:00.000Z&intervalEnd=2099-01-01T00:00:00.000Z&type=COMPACT"
    );
    page.line(&format!(
        "\nNow you: the proxy stays up on http://{door} until Ctrl-C.\n"
    ))?;
    page.command("the profiles", &format!("curl http://{door}/v2/profiles"))?;
    let quote = format!(
        "curl http://{door}/v3/profiles/{PROFILE}/quotes -H 'Content-Type: application/json' -d '{body}'"
    );
    page.command("a quote", &quote)?;
    page.command(
        "a statement",
        &format!("curl -o statement.pdf 'http://{door}{statement}'"),
    )?;
    page.command(
        "the lane, the tokens, the certificate",
        &format!("{program} status {socket}"),
    )?;
    let switch = format!("{program} switch personal --reason \"trying it\" {socket}");
    page.command(
        "the way back to the personal token (and again with oauth-mtls)",
        &switch,
    )?;
    page.command(
        "a new token",
        &format!("{program} token refresh main {socket}"),
    )?;
    page.command(
        "the metrics",
        &format!("curl http://{}/metrics", stage.admin),
    )?;
    page.command(
        "kill the token at Wise, then ask again",
        &format!(
            "curl {}/revoke -d '{{\"profile\":{PROFILE}}}'",
            stage.wise.control_url()
        ),
    )?;
    page.command(
        "what Wise has counted",
        &format!("curl {}/counters", stage.wise.control_url()),
    )?;
    page.command(
        "what the proxy says",
        &format!("tail -f {}", stage.log_file().display()),
    )
}

/// This program, as it can be typed here.
fn program() -> String {
    let Ok(program) = std::env::current_exe() else {
        return "wise-auth-proxy".to_owned();
    };
    let below = std::env::current_dir().and_then(|here| {
        let below = program.strip_prefix(here);
        below.map(Path::to_owned).map_err(io::Error::other)
    });
    match below {
        Ok(below) => format!("./{}", below.display()),
        Err(_) => program.display().to_string(),
    }
}
