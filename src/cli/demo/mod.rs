//! `demo`: the whole story in one process, against a simulated Wise.
//!
//! It touches nothing outside a temporary directory, reads no configuration of the person's, and
//! prints no secret: a token is shown as what it is, never as what it says.

mod acts;
mod application;
mod page;
mod seen;
mod stage;
mod story;
mod verdict;

use tokio::signal::unix::{SignalKind, signal};

use self::page::Page;
use self::stage::Stage;
use super::args::DemoArgs;
use super::failure::{Exit, Failure};
use super::report;
use super::run::control_runtime;

pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    control_runtime()?.block_on(async {
        let listen = |kind| signal(kind).map_err(Failure::starved);
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let stopped = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        let stage = Stage::set(args.door).await.map_err(|error| {
            Failure::new(Exit::Failed, error)
                .hint("name another address for the proxy with --door, such as 127.0.0.1:0")
        })?;
        // On a signal too: the proxy ends in order and the directory goes.
        let outcome = tokio::select! {
            outcome = play(args, &stage) => outcome,
            () = stopped => Ok(()),
            () = stage.stop_asked() => Ok(()),
        };
        let struck = stage.strike().await;
        outcome?;
        struck.map_err(|error| {
            let error = anyhow::Error::new(error).context("the demo's directory is still there");
            Failure::new(Exit::Failed, error).hint("remove it by hand")
        })
    })
}

/// The story; then, unless it is told once only, an open stage.
async fn play(args: &DemoArgs, stage: &Stage) -> Result<(), Failure> {
    let page = Page { silent: args.json };
    story::opening(stage, page)?;
    let verdict = story::tell(stage, page).await?;
    page.verdict(&verdict)?;
    if args.json {
        report::json(&verdict.json())?;
    }
    if !args.once {
        story::invitation(stage, page).await?;
        std::future::pending::<()>().await;
    }
    if verdict.passed() {
        return Ok(());
    }
    let failed = verdict.failed().join("; ");
    Err(
        Failure::new(Exit::Failed, anyhow::anyhow!("not as promised: {failed}"))
            .hint("each ✗ above says what was expected and what was found"),
    )
}
