//! `shutdown`: the running proxy ends in order.

use std::time::{Duration, Instant};

use serde_json::json;

use super::admin_client::{AdminClient, AdminError};
use super::args::{Global, ShutdownArgs};
use super::failure::{Exit, Failure};
use super::report;

/// Between two looks whether it has ended.
const PAUSE: Duration = Duration::from_millis(50);

/// One look, and what the process needs after its last answer.
const LOOK: Duration = Duration::from_secs(5);

pub(crate) fn run(global: &Global, args: &ShutdownArgs) -> Result<(), Failure> {
    let client = AdminClient::of(global, &args.admin)?;
    let answer = client.post("/shutdown", &json!({}))?;
    if args.wait {
        let seconds = answer["at_most_seconds"].as_u64().unwrap_or_default();
        until_gone(&client, Duration::from_secs(seconds))?;
    }
    if args.admin.json {
        return report::json(&answer);
    }
    report::say(if args.wait {
        "stopped"
    } else if answer["already"] == true {
        "it is stopping already"
    } else {
        "stopping: requests in flight finish first"
    });
    Ok(())
}

/// Waits until nobody listens on the admin socket any more.
fn until_gone(client: &AdminClient, at_most: Duration) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    let begun = Instant::now();
    runtime.block_on(async {
        loop {
            // A connection that is let in and cut is not the end yet.
            if let Err(AdminError::NotRunning { .. }) = client.probe("/livez", LOOK).await {
                return Ok(());
            }
            if begun.elapsed() > at_most + LOOK {
                let late = anyhow::anyhow!("the proxy has not ended within {at_most:?}");
                return Err(Failure::new(Exit::Unavailable, late)
                    .hint("look at its log; a second SIGTERM cuts requests in flight off"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
}
