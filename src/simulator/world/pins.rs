//! The PIN of a profile: made, removed, and asked for by a challenge. It only ever comes encrypted.

use std::collections::HashMap;

use http::StatusCode;

use super::Call;
use super::challenges::Challenges;
use super::switches::ChallengeKind;
use crate::simulator::errors;
use crate::simulator::reply::Reply;
use crate::simulator::reply::empty;

#[derive(Default)]
pub(super) struct Pins {
    by_profile: HashMap<u64, String>,
}

impl Pins {
    pub(super) fn answer(&mut self, call: &Call<'_>, challenges: &mut Challenges) -> Reply {
        let endpoint = call.found.endpoint;
        let pin = call.body["pin"].as_str().unwrap_or_default();
        let known = self.by_profile.get(&call.profile());
        match (endpoint.method, known) {
            ("DELETE", Some(_)) => {
                self.by_profile.remove(&call.profile());
                empty(StatusCode::NO_CONTENT)
            }
            ("DELETE", None) => call.missing("Pin"),
            (_, None) if endpoint.path.ends_with("/verify") => call.missing("Pin"),
            (_, Some(known)) if endpoint.path.ends_with("/verify") => {
                let right = pin == known;
                challenges.attempt(call, right, "pin", |kind| kind == ChallengeKind::Pin)
            }
            (_, Some(_)) => {
                let message = "The profile has a pin already";
                errors::field(StatusCode::CONFLICT, "CONFLICT", "pin", message)
            }
            (_, None) if pin.len() == 4 && pin.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.by_profile.insert(call.profile(), pin.to_owned());
                empty(StatusCode::OK)
            }
            (_, None) => {
                let message = "Four digits are needed";
                errors::field(StatusCode::BAD_REQUEST, "NOT_VALID", "pin", message)
            }
        }
    }
}
