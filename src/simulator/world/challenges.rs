//! One-time tokens of strong customer authentication. A challenge is cleared with the code that
//! every sandbox takes; the token then opens one call.

use std::collections::HashMap;
use std::time::SystemTime;

use http::StatusCode;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use super::Call;
use crate::simulator::errors;
use crate::simulator::reply::Reply;
use crate::simulator::reply::json_reply;

#[derive(Default)]
pub(in crate::simulator) struct Challenges {
    open: HashMap<String, Challenge>,
}

struct Challenge {
    action: &'static str,
    passed: bool,
    opened: SystemTime,
}

/// The code of every sandbox.
const CODE: &str = "111111";
const VALIDITY: u64 = 3_600;

impl Challenges {
    /// Opens a challenge; returns its one-time token.
    pub(in crate::simulator) fn open(&mut self, template: &str, now: SystemTime) -> String {
        let action = if template.contains("balance-statements") {
            "BALANCE__GET_STATEMENT"
        } else {
            "TRANSFER__FUND"
        };
        let token = Uuid::new_v4().to_string();
        self.open.insert(
            token.clone(),
            Challenge {
                action,
                passed: false,
                opened: now,
            },
        );
        token
    }

    /// Uses a cleared token up.
    pub(in crate::simulator) fn spend(&mut self, token: &str) -> bool {
        match self.open.get(token) {
            Some(challenge) if challenge.passed => self.open.remove(token).is_some(),
            Some(_) | None => false,
        }
    }

    pub(super) fn answer(&mut self, call: &Call<'_>) -> Reply {
        let token = call.header("one-time-token").unwrap_or_default().to_owned();
        let Some(challenge) = self.open.get_mut(&token) else {
            let message = "One time token not found";
            return errors::field(
                StatusCode::BAD_REQUEST,
                "NOT_VALID",
                "One-Time-Token",
                message,
            );
        };
        let path = call.found.endpoint.path;
        if path.ends_with("/trigger") {
            return json_reply(
                StatusCode::OK,
                &json!({"obfuscatedPhoneNo": "*********8888"}),
            );
        }
        if path.ends_with("/verify") {
            if call.body["otpCode"] != CODE {
                let message = "Wrong code";
                return errors::field(StatusCode::BAD_REQUEST, "NOT_VALID", "otpCode", message);
            }
            challenge.passed = true;
        }
        let left: Vec<Value> = if challenge.passed {
            Vec::new()
        } else {
            vec![json!({
                "primaryChallenge": {"type": "SMS", "viewData": {"attributes": {"userId": 9_889_627}}},
                "alternatives": ["VOICE", "WHATSAPP"],
                "required": true,
                "passed": false,
            })]
        };
        let age = call
            .now
            .duration_since(challenge.opened)
            .unwrap_or_default()
            .as_secs();
        let properties = json!({
            "oneTimeToken": token,
            "challenges": left,
            "validity": VALIDITY.saturating_sub(age),
            "actionType": challenge.action,
            "userId": 9_889_627,
        });
        let body = if path.ends_with("/status") {
            json!({"oneTimeTokenProperties": properties})
        } else {
            properties
        };
        json_reply(StatusCode::OK, &body)
    }
}
