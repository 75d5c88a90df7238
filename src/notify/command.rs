//! A message on the standard input of somebody's program.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::process;

use super::NotifyError;

/// From the start to the end of the program.
const LIMIT: Duration = Duration::from_secs(30);

/// A program with its arguments, run without a shell.
#[derive(Debug)]
pub(super) struct Command(Vec<String>);

impl Command {
    pub(super) fn new(words: Vec<String>) -> Self {
        Self(words)
    }

    /// Tells the program of an event.
    pub(super) async fn tell(&self, message: Bytes) -> Result<(), NotifyError> {
        let status = self.run(message, LIMIT).await?;
        if status.success() {
            return Ok(());
        }
        let program = self.0.first().map_or("", String::as_str);
        Err(NotifyError::Failed(format!("{program}: {status}")))
    }

    /// Runs the program once. It is killed where it takes too long, or this is dropped.
    pub(super) async fn run(
        &self,
        message: Bytes,
        limit: Duration,
    ) -> Result<ExitStatus, NotifyError> {
        let [program, arguments @ ..] = self.0.as_slice() else {
            return Err(NotifyError::Refused("the command is empty".into()));
        };
        let failed = |error: std::io::Error| NotifyError::Failed(format!("{program}: {error}"));
        // The proxy's own environment may hold secrets that are not the program's business.
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let mut child = process::Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let run = async {
            if let Some(mut input) = child.stdin.take() {
                // A program that does not read is none the worse for it.
                let _ = input.write_all(&message).await;
            }
            child.wait().await.map_err(failed)
        };
        tokio::time::timeout(limit, run).await.map_err(|_| {
            let limit = limit.as_secs();
            NotifyError::Failed(format!("{program}: did not end within {limit} s"))
        })?
    }
}
