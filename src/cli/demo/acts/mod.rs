//! The five acts. Each does something, shows it, and holds promises against what Wise recorded
//! and what the application got.

mod compare;
mod pay;
mod refresh;
mod revoke;
mod switch;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use super::super::admin_client::AdminClient;
use super::application::Request;
use super::stage::{PROFILE, Stage};
use super::verdict::Step;
use crate::simulator::Recorded;

#[derive(Clone, Copy)]
pub(super) enum Act {
    BeforeAndAfter,
    Payment,
    Refresh,
    Switch,
    DeadToken,
}

impl Act {
    pub(super) const ALL: [Self; 5] = [
        Self::BeforeAndAfter,
        Self::Payment,
        Self::Refresh,
        Self::Switch,
        Self::DeadToken,
    ];

    /// Its title, and one line that explains it.
    pub(super) const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::BeforeAndAfter => (
                "One request, before and after",
                "The application speaks plain HTTP to localhost; Wise sees OAuth and mutual TLS.",
            ),
            Self::Payment => (
                "A payment, carried out once",
                "Quote, recipient, transfer, funding: four POSTs, none of them sent twice.",
            ),
            Self::Refresh => (
                "A new token while requests run",
                "A refresh kills the old token at Wise at once. The application must not notice.",
            ),
            Self::Switch => (
                "To the personal token and back",
                "One command moves every new request to another lane: host, certificate, credential.",
            ),
            Self::DeadToken => (
                "Wise kills the token",
                "The 401 stays in here: one new token, the same request once more, a good answer.",
            ),
        }
    }

    pub(super) async fn play(self, stage: &Stage, step: &mut Step) -> anyhow::Result<()> {
        match self {
            Self::BeforeAndAfter => compare::before_and_after(stage, step).await,
            Self::Payment => pay::payment(stage, step).await,
            Self::Refresh => refresh::refresh(stage, step).await,
            Self::Switch => switch::switch_and_back(stage, step).await,
            Self::DeadToken => revoke::dead_token(stage, step).await,
        }
    }
}

/// Requests with this target, oldest first.
fn arrivals(stage: &Stage, path: &str) -> Vec<Recorded> {
    let recorded = stage.wise.recorded().into_iter();
    recorded.filter(|seen| seen.target == path).collect()
}

pub(super) async fn balances(stage: &Stage) -> anyhow::Result<Value> {
    let path = format!("/v4/profiles/{PROFILE}/balances?types=STANDARD");
    Ok(Request::get(stage.door, &path).send().await?.json())
}

pub(super) fn balance_of(balances: &Value, currency: &str) -> Value {
    let mut balances = balances.as_array().into_iter().flatten();
    let found = balances.find(|balance| balance["currency"] == currency);
    found.cloned().unwrap_or_default()
}

/// Asks as the commands do: over the admin socket.
async fn ask_admin<T: Send + 'static, E: Send + 'static>(
    stage: &Stage,
    ask: impl FnOnce(&AdminClient) -> Result<T, E> + Send + 'static,
) -> anyhow::Result<T>
where
    anyhow::Error: From<E>,
{
    let admin = AdminClient::at(stage.socket.clone());
    Ok(blocking(move || ask(&admin)).await??)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    Ok(tokio::task::spawn_blocking(work).await?)
}

fn word(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in digest(&SHA256, bytes).as_ref() {
        // Writing to a String cannot fail.
        let _ok = write!(text, "{byte:02x}");
    }
    text
}
