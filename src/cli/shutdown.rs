//! `shutdown`: the running proxy ends in order.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::admin_client::{AdminClient, AdminError};
use super::args::{Global, ShutdownArgs};
use super::failure::{Exit, Failure};
use super::report::{self, Progress};
use super::run::single_runtime;

/// Between two looks whether it has ended.
const PAUSE: Duration = Duration::from_millis(50);

/// One look, and what the process needs after its last answer.
const LOOK: Duration = Duration::from_secs(5);

pub(crate) fn run(global: &Global, args: &ShutdownArgs) -> Result<(), Failure> {
    let client = AdminClient::of(global, &args.admin)?;
    let begun = if args.wait {
        Some(started(&client.get("/status")?))
    } else {
        None
    };
    let answer = client.post("/shutdown", &json!({}))?;
    if let Some(begun) = begun {
        let seconds = answer["at_most_seconds"].as_u64().unwrap_or_default();
        until_gone(&client, begun.as_deref(), Duration::from_secs(seconds))?;
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

/// When the process that answers began: another than that time is another process.
fn started(status: &Value) -> Option<String> {
    status["started"].as_str().map(str::to_owned)
}

/// Waits until nobody listens on the admin socket any more, or the next process does: a service
/// manager that has handed the socket in keeps it open over a restart.
fn until_gone(client: &AdminClient, old: Option<&str>, at_most: Duration) -> Result<(), Failure> {
    let runtime = single_runtime()?;
    let begun = Instant::now();
    let looking = async {
        loop {
            let look = tokio::time::timeout(LOOK, client.fetch("/status")).await;
            match &look {
                Ok(Err(AdminError::NotRunning { .. })) => return Ok(()),
                Ok(Ok(status)) if started(status).as_deref() != old => return Ok(()),
                // A connection that is let in and cut is not the end yet.
                Ok(_) | Err(_) => {}
            }
            if begun.elapsed() > at_most + LOOK {
                return Err(late(look.is_err(), at_most));
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    runtime.block_on(Progress::new().along("waiting for the proxy to end", looking))
}

/// `is_silent`: whoever has the socket open takes connections and answers none.
fn late(is_silent: bool, at_most: Duration) -> Failure {
    let limit = humantime::format_duration(at_most);
    let (text, hint) = if is_silent {
        (
            format!(
                "whether the proxy has ended within {limit} cannot be told: its socket is open, and nobody answers"
            ),
            "where a service manager keeps the socket open, ask it: `systemctl status`; else look \
             at the proxy's log",
        )
    } else {
        (
            format!("the proxy has not ended within {limit}"),
            "look at its log; a second SIGTERM cuts requests in flight off",
        )
    };
    Failure::new(Exit::Unavailable, anyhow::Error::msg(text)).hint(hint)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn another_process_on_a_socket_that_stays_open_is_the_end_of_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            // One that lives, one that lets in and cuts, the next process.
            for began in [Some("one"), None, Some("two")] {
                let (mut stream, _) = listener.accept().unwrap();
                let _asked = stream.read(&mut [0; 4096]).unwrap();
                if let Some(began) = began {
                    let body = json!({ "started": began }).to_string();
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}", body.len());
                    write!(stream, "{head}\r\n\r\n{body}").unwrap();
                }
            }
        });
        until_gone(&AdminClient::at(socket), Some("one"), LOOK).unwrap();
        server.join().unwrap();
    }
}
