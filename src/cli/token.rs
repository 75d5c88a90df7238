//! `token show`, `token refresh` and `token forget`. A token itself is never asked for.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::admin_client::AdminClient;
use super::args::{AdminArgs, Global, TokenArgs, TokenCommand};
use super::failure::{Exit, Failure};
use super::report;

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
                report::data(&report::outline(&tokens))
            }
        }
        TokenCommand::Refresh { grant, admin } => {
            let path = format!("{}/refresh", path(grant));
            let answer = AdminClient::of(global, admin)?.post(&path, &json!({}))?;
            told(admin, &answer, &format!("grant {grant} has a new token"))
        }
        TokenCommand::Forget { grant, admin } => {
            let answer = AdminClient::of(global, admin)?.delete(&path(grant))?;
            let next = format!("grant {grant} has no tokens any more; `login` brings new ones");
            told(admin, &answer, &next)
        }
    }
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

/// The entry whose name it is, of a list or of the one list inside a table.
fn of_grant(tokens: Value, name: &str) -> Result<Value, Failure> {
    let list = match tokens {
        Value::Array(list) => list,
        Value::Object(mut table) => match table.remove("grants") {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    let known: Vec<_> = list
        .iter()
        .filter_map(|entry| entry["name"].as_str())
        .collect();
    let known = known.join(", ");
    let found = list.iter().find(|entry| entry["name"] == name).cloned();
    found.ok_or_else(|| {
        Failure::new(Exit::Failed, anyhow::anyhow!("there is no grant {name}"))
            .hint(format!("the grants are: {known}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_grant_is_found_by_its_name_or_the_others_are_named() {
        let tokens =
            json!({ "grants": [{ "name": "main", "generation": 3 }, { "name": "other" }] });
        assert_eq!(of_grant(tokens.clone(), "main").unwrap()["generation"], 3);
        let failure = of_grant(tokens, "mane").unwrap_err();
        assert_eq!(failure.hints, ["the grants are: main, other"]);
    }

    #[test]
    fn a_name_cannot_lead_to_another_path() {
        assert_eq!(path("../status"), "/tokens/%2E%2E%2Fstatus");
    }
}
