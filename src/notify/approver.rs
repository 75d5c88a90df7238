//! Asking somebody's program, or webhook, or both, whether a request may be repeated.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::NotifyError;
use super::command::Command;
use super::webhook::Webhook;
use crate::config::{Config, Sca};
use crate::sca::{Ask, Desk};

/// Whoever waits for the answer gives up before, and that ends it.
const LIMIT: Duration = Duration::from_hours(2);

/// Who is asked. Where there are two, both must approve.
#[derive(Debug)]
pub(crate) struct Approver {
    command: Option<Command>,
    webhook: Option<Webhook>,
}

/// Somebody who was asked does not approve, or could not be asked.
#[derive(Debug, thiserror::Error)]
enum Disapproval {
    #[error("{0}")]
    Said(String),
    #[error(transparent)]
    NotAsked(#[from] NotifyError),
}

impl Approver {
    /// Those whom the configuration names; `None`: it names nobody.
    pub(crate) fn new(config: &Config) -> Option<Self> {
        let Sca {
            approval_command,
            approval_webhook,
            ..
        } = &config.sca;
        let webhook = approval_webhook.as_ref();
        let approver = Self {
            command: approval_command.clone().map(Command::new),
            webhook: webhook.map(|_| Webhook::of_approvals(config)),
        };
        (approver.command.is_some() || approver.webhook.is_some()).then_some(approver)
    }

    /// Asks what arrives at the desk, everything at once, until `stop`.
    pub(crate) async fn run(self, mut desk: Desk, stop: CancellationToken) {
        let mut open = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = open.next() => {}
                ask = desk.next() => match ask {
                    Some(ask) => open.push(self.settle(ask)),
                    None => return,
                },
            }
        }
    }

    /// One question. It is dropped, and a program that runs for it killed, when nobody waits for the
    /// answer any more.
    async fn settle(&self, ask: Ask) {
        let Ask {
            question,
            mut answer,
        } = ask;
        let asking = async {
            let command = self.by_command(question.clone());
            let webhook = self.by_webhook(question);
            // Who was first to say no ends it.
            tokio::try_join!(command, webhook)
        };
        let said = tokio::select! {
            said = asking => said,
            () = answer.closed() => return,
        };
        // What they say may hold what they were asked: it is not repeated.
        match &said {
            Ok(_) => {}
            Err(Disapproval::Said(what)) => tracing::info!("an approval was refused: {what}"),
            Err(Disapproval::NotAsked(error)) => {
                tracing::error!("nobody could be asked for an approval: {error}");
            }
        }
        // Nobody may be waiting any more.
        let _ = answer.send(said.is_ok());
    }

    async fn by_command(&self, question: Bytes) -> Result<(), Disapproval> {
        let Some(command) = &self.command else {
            return Ok(());
        };
        let status = command.run(question, LIMIT).await?;
        if status.success() {
            return Ok(());
        }
        Err(Disapproval::Said(format!("sca.approval_command: {status}")))
    }

    async fn by_webhook(&self, question: Bytes) -> Result<(), Disapproval> {
        let Some(webhook) = &self.webhook else {
            return Ok(());
        };
        let status = webhook.ask(question, LIMIT).await?;
        if status.is_success() {
            return Ok(());
        }
        let said = format!("sca.approval_webhook answered {status}");
        Err(Disapproval::Said(said))
    }
}
