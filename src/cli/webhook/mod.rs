//! `webhook`: what Wise sends where, asked of Wise with the credential that it wants for each kind;
//! and what of it waits here.

mod args;
mod delete;
mod desk;
mod events;
mod list;
mod queue;
mod receiver;
mod subscribe;
mod test;

use serde_json::{Value, json};

pub(crate) use self::args::WebhookArgs;
use self::args::WebhookCommand;
use super::args::Global;
use super::failure::Failure;
use super::line::Line;
use crate::config::Config;
use crate::wise::webhook::{Scope, Subscription};

pub(crate) fn run(global: &Global, command: &WebhookCommand) -> Result<(), Failure> {
    match command {
        WebhookCommand::Subscribe(args) => subscribe::run(global, args),
        WebhookCommand::List(args) => list::run(global, args),
        WebhookCommand::Test { id, json } => test::run(global, id, *json),
        WebhookCommand::Delete(args) => delete::run(global, args),
        WebhookCommand::Events { json } => events::run(*json),
        WebhookCommand::Queue(admin) => queue::list(global, admin),
        WebhookCommand::Retry { name, admin } => queue::retry(global, name, admin),
    }
}

/// Reads what a request needs. Blocks on files and programs.
fn line(config: &Config) -> Result<Line, Failure> {
    Line::open(config, "subscriptions are made for an OAuth client")
}

/// Wise's text without what would move a terminal's cursor.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

/// A scope in Wise's words.
fn scope_json(scope: &Scope) -> Value {
    match scope {
        Scope::Application { client_key } => json!({ "domain": "application", "id": client_key }),
        Scope::Profile(profile) => json!({ "domain": "profile", "id": profile.as_str() }),
    }
}

/// A subscription for programs.
fn subscription_json(scope: &Scope, subscription: &Subscription) -> serde_json::Map<String, Value> {
    let delivery = &subscription.delivery;
    [
        ("id", json!(subscription.id)),
        ("scope", scope_json(scope)),
        ("name", json!(subscription.name)),
        ("event", json!(subscription.trigger_on)),
        ("url", json!(delivery.url)),
        ("version", json!(delivery.version)),
        ("mtls", json!(delivery.mtls_enabled)),
        ("created_at", json!(subscription.created_at)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into_iter()
    .collect()
}
