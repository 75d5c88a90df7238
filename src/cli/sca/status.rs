//! `sca status`: what Wise says of a one-time token.

use std::io::Read as _;

use anyhow::anyhow;
use http::StatusCode;
use serde_json::json;

use super::super::args::Global;
use super::super::failure::{Exit, Failure};
use super::super::report::{self, Progress};
use super::super::run::control_runtime;
use super::args::StatusArgs;
use super::questioner::Questioner;
use crate::sca::{OneTimeToken, Status};
use crate::wise::headers::ONE_TIME_TOKEN;
use crate::wise::hosts::ONE_TIME_TOKEN_STATUS;

/// Longer than any token.
const LONGEST: u64 = 1024;

pub(super) fn run(global: &Global, args: &StatusArgs) -> Result<(), Failure> {
    let token = token(&args.token)?;
    let config = global.load()?.config;
    let questioner = Questioner::new(global, &config, args.grant.as_deref())?;
    let answer = control_runtime()?.block_on(async {
        let fields = [(ONE_TIME_TOKEN, token.value().clone())];
        let asking = questioner.get(ONE_TIME_TOKEN_STATUS, &fields);
        Progress::new().along("asking Wise", asking).await
    })?;
    let status = Status::read(&answer.body, &token).filter(|_| answer.status == StatusCode::OK);
    let Some(status) = status else {
        // Wise's words may repeat the token.
        let error = anyhow!("Wise answers {}", answer.status.as_u16());
        let hint = match answer.status {
            StatusCode::UNAUTHORIZED => {
                "the access token was replaced meanwhile, or has ended: run it again".to_owned()
            }
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => {
                "it was used, its time is over, or it is another user's: repeat the request for a new \
                 one, or name --grant"
                    .to_owned()
            }
            _ => format!("{} says what is in the way", global.spell("doctor")),
        };
        return Err(Failure::new(Exit::Failed, error).hint(hint));
    };
    if args.json {
        return report::json(&json!({
            "challenges": status.challenges,
            "validity": status.validity,
            "action": status.action,
        }));
    }
    let left = if status.challenges.is_empty() {
        "none: repeat the request with x-2fa-approval".to_owned()
    } else {
        status.challenges.join(", ")
    };
    let action = status.action.unwrap_or_else(|| "not said".to_owned());
    let rows = [
        ["action", &*action],
        ["left", &*left],
        ["valid", &*format!("{} s", status.validity)],
    ];
    let rows = rows.map(|row| row.map(str::to_owned).to_vec());
    report::data(&report::table(&rows))
}

fn token(typed: &str) -> Result<OneTimeToken, Failure> {
    let mut text = typed.to_owned();
    if typed == "-" {
        text.clear();
        let read = std::io::stdin().take(LONGEST).read_to_string(&mut text);
        read.map_err(|error| {
            Failure::new(Exit::Failed, error).hint("write the token to standard input")
        })?;
    }
    OneTimeToken::parse(&text).ok_or_else(|| {
        Failure::usage("this is no one-time token").hint(
            "it is what a 403 said in `x-2fa-approval`, such as \
                   9f5f5812-2609-4e48-8418-b64437c0c7cd",
        )
    })
}
