//! `token`: what a person can do with tokens. None of it shows one.

mod export;
mod import;
mod restore;

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::admin_client::{AdminClient, AdminError};
use super::args::{AdminArgs, Global, TokenArgs, TokenCommand};
use super::failure::{Exit, Failure};
use super::run::control_runtime;
use super::{overview, report, spelling};
use crate::config::Config;
use crate::server::open_store;

/// A process in the middle of an exchange holds a grant's lock.
const LOCK_WAIT: Duration = Duration::from_secs(30);

pub(crate) fn run(global: &Global, args: &TokenArgs) -> Result<(), Failure> {
    match &args.command {
        TokenCommand::Show { grant, admin } => {
            let tokens = AdminClient::of(global, admin)?.get("/tokens")?;
            let tokens = match grant {
                Some(name) => of_grant(tokens, name)?,
                None => tokens,
            };
            if admin.json {
                report::json(&tokens)
            } else {
                let shown = overview::tokens(&tokens);
                report::data(&spelling::text(global.config_file(), &shown))
            }
        }
        TokenCommand::Refresh { grant, admin } => {
            let path = format!("{}/refresh", path(grant));
            let answer = AdminClient::of(global, admin)?.post(&path, &json!({}))?;
            told(admin, &answer, &format!("grant {grant} has a new token"))
        }
        TokenCommand::Forget { grant, admin } => {
            let answer = match AdminClient::of(global, admin)?.delete(&path(grant)) {
                Err(AdminError::NotRunning { .. }) if admin.socket.is_none() => {
                    forget_at_rest(global, grant)?
                }
                answer => answer?,
            };
            let next = if answer["forgotten"] == true {
                format!("grant {grant} has no tokens any more; `login` brings new ones")
            } else {
                format!("grant {grant} had no tokens")
            };
            told(admin, &answer, &next)
        }
        TokenCommand::Export(args) => export::run(global, args),
        TokenCommand::Import(args) => import::run(global, args),
        TokenCommand::Restore(args) => restore::run(global, args),
    }
}

/// Refuses to put older tokens under a running proxy that has living ones: it would take them for
/// a new login, and let go of a refresh token which may be the only one that Wise accepts.
fn none_living(config: &Config, grant: &str) -> Result<(), Failure> {
    let Ok(Value::Array(tokens)) = AdminClient::at(config.admin.socket.clone()).get("/tokens")
    else {
        return Ok(());
    };
    let living = |entry: &Value| entry["grant"] == *grant && entry["state"] == "live";
    if !tokens.iter().any(living) {
        return Ok(());
    }
    let text = format!("a proxy runs here and has a living token of grant {grant}");
    let hint = format!(
        "nothing was changed; the proxy stores its own tokens when it renews them, and \
         `token forget {grant}` has it let go of them"
    );
    Err(Failure::new(Exit::Failed, anyhow::Error::msg(text)).hint(hint))
}

/// What was stored is in use at once where a proxy runs.
fn take_up(config: &Config) {
    let proxy = AdminClient::at(config.admin.socket.clone());
    if let Ok(runtime) = control_runtime() {
        runtime.block_on(proxy.look());
    }
}

/// An error of the store or of an export file as a command's failure.
fn failed(error: &(dyn std::error::Error + Send + Sync)) -> Failure {
    Failure::advised(Exit::Failed, error, "see `wise-auth-proxy status`")
}

fn path(grant: &str) -> String {
    format!("/tokens/{}", utf8_percent_encode(grant, NON_ALPHANUMERIC))
}

fn told(admin: &AdminArgs, answer: &Value, text: &str) -> Result<(), Failure> {
    if admin.json {
        return report::json(answer);
    }
    report::say(text);
    Ok(())
}

/// Deletes a grant from the store while no proxy runs.
fn forget_at_rest(global: &Global, grant: &str) -> Result<Value, Failure> {
    let config = global.load()?.config;
    let store = open_store(&config)?;
    let forgotten = store
        .remove(grant, LOCK_WAIT)
        .map_err(|error| failed(&error))?;
    let mut known = config.grants.iter().map(|grant| grant.name.as_str());
    if !forgotten && !known.any(|name| name == grant) {
        let known: Vec<_> = config.grants.iter().map(|grant| &*grant.name).collect();
        return Err(no_grant(grant, &known));
    }
    report::say("the proxy is not running; its store was changed");
    Ok(json!({ "grant": grant, "forgotten": forgotten }))
}

/// The entry of the list whose name it is; the client token has none of its own.
fn of_grant(tokens: Value, name: &str) -> Result<Value, Failure> {
    let Value::Array(list) = tokens else {
        return Err(no_grant(name, &[]));
    };
    let called = |entry: &Value| entry["grant"].as_str().unwrap_or("client").to_owned();
    let known: Vec<_> = list.iter().map(called).collect();
    let found = list.into_iter().find(|entry| called(entry) == name);
    found.ok_or_else(|| {
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        no_grant(name, &known)
    })
}

fn no_grant(name: &str, known: &[&str]) -> Failure {
    let text = format!("there is no grant {name}");
    Failure::new(Exit::Failed, anyhow::Error::msg(text))
        .hint(format!("the grants are: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_grant_is_found_by_its_name_or_the_others_are_named() {
        let tokens = json!([{ "grant": "main", "generation": 3 }, { "grant": null }]);
        assert_eq!(of_grant(tokens.clone(), "main").unwrap()["generation"], 3);
        assert!(of_grant(tokens.clone(), "client").is_ok());
        let failure = of_grant(tokens, "mane").unwrap_err();
        assert_eq!(failure.hints(), ["the grants are: main, client"]);
    }

    #[test]
    fn a_name_cannot_lead_to_another_path() {
        assert_eq!(path("../status"), "/tokens/%2E%2E%2Fstatus");
    }
}
