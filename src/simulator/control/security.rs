//! The control API's part for signed and encrypted bodies, strong authentication and webhooks.
//!
//! | Method and path | Does |
//! |---|---|
//! | `GET /jose/keys` | Wise's keys by version, the partner's as registered |
//! | `DELETE /jose/keys/{id}` | takes a key of the partner's out of use |
//! | `POST /jose/rotate {algorithm}` | takes a new key of Wise's into use: `{version}` |
//! | `GET /hub/public-keys`, `POST /hub/public-keys {name, key}` | names, uploads (PEM) |
//! | `DELETE /hub/public-keys/{name}` | deletes |
//! | `GET /sca` | open challenges |
//! | `POST /sca/approve {token?, challenge?}` | a human clears all, one token, or one challenge |
//! | `POST /sca/forgive` | forgets failed attempts and remembered statements |
//! | `GET /webhooks/deliveries`, `DELETE /webhooks/deliveries` | the journal; clears what is settled |
//! | `POST /webhooks/deliveries/{id}/repeat` | sends it once more under the same id |
//! | `POST /webhooks/events {event, profile?, data}` | makes an event: `{deliveries}` |
//! | `GET /webhooks/public-key.pem`, `GET /webhooks/ca.pem` | what receivers verify with |

use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;
use serde_json::json;

use super::ok;
use super::refuse;
use crate::simulator::reply;
use crate::simulator::reply::Reply;
use crate::simulator::shared::Shared;
use crate::simulator::shared::State;
use crate::simulator::webhooks;
use crate::simulator::world::ChallengeKind;
use crate::simulator::world::Event;
use crate::simulator::world::What;

/// Answers; `None` when the path is not one of these.
pub(super) fn dispatch(
    shared: &Arc<Shared>,
    method: &str,
    segments: &[&str],
    body: &Value,
) -> Option<Reply> {
    match segments {
        ["jose", rest @ ..] => jose(shared, method, rest, body),
        ["hub", "public-keys", rest @ ..] => public_keys(shared, method, rest, body),
        ["sca", rest @ ..] => sca(shared, method, rest, body),
        ["webhooks", rest @ ..] => deliveries(shared, method, rest, body),
        _ => None,
    }
}

fn done() -> Reply {
    reply::empty(StatusCode::NO_CONTENT)
}

fn jose(shared: &Shared, method: &str, path: &[&str], body: &Value) -> Option<Reply> {
    Some(match (method, path) {
        ("GET", ["keys"]) => ok(&shared.lock().jose.state()),
        ("DELETE", ["keys", id]) => {
            let now = shared.now();
            if shared.lock().jose.deactivate(id, now) {
                done()
            } else {
                refuse(
                    StatusCode::NOT_FOUND,
                    "no such key; GET /jose/keys lists them",
                )
            }
        }
        ("POST", ["rotate"]) => {
            let algorithm = body["algorithm"].as_str().unwrap_or_default();
            match shared.lock().jose.rotate(algorithm) {
                Ok(Some(version)) => ok(&json!({"algorithm": algorithm, "version": version})),
                Ok(None) => refuse(
                    StatusCode::BAD_REQUEST,
                    "send {\"algorithm\": …}: ES256, ES384, ES512, PS256, PS384, PS512 or RSA_OAEP_256",
                ),
                Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
            }
        }
        _ => return None,
    })
}

fn public_keys(shared: &Shared, method: &str, path: &[&str], body: &Value) -> Option<Reply> {
    let mut state = shared.lock();
    let keys = &mut state.world.challenges.keys;
    Some(match (method, path) {
        ("GET", []) => ok(&keys.names()),
        ("POST", []) => {
            let (Some(name), Some(key)) = (body["name"].as_str(), body["key"].as_str()) else {
                return Some(refuse(
                    StatusCode::BAD_REQUEST,
                    "send {\"name\": …, \"key\": PEM}",
                ));
            };
            match keys.add(name, key) {
                Ok(()) => reply::json_reply(StatusCode::CREATED, &json!({"name": name})),
                Err(error) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
            }
        }
        ("DELETE", [name]) => {
            let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
            if keys.delete(&name) {
                done()
            } else {
                refuse(StatusCode::NOT_FOUND, "no public key has this name")
            }
        }
        _ => return None,
    })
}

fn sca(shared: &Shared, method: &str, path: &[&str], body: &Value) -> Option<Reply> {
    let now = shared.now();
    let mut state = shared.lock();
    let State { world, faults, .. } = &mut *state;
    let challenges = &mut world.challenges;
    Some(match (method, path) {
        ("GET", []) => ok(&challenges.list(&faults.sca, now)),
        ("POST", ["approve"]) => {
            let kind = serde_json::from_value::<Option<ChallengeKind>>(body["challenge"].clone());
            let kind = match kind {
                Ok(kind) => kind,
                Err(error) => return Some(refuse(StatusCode::BAD_REQUEST, &error.to_string())),
            };
            ok(&json!({"cleared": challenges.approve(body["token"].as_str(), kind)}))
        }
        ("POST", ["forgive"]) => {
            challenges.forgive();
            done()
        }
        _ => return None,
    })
}

fn deliveries(shared: &Arc<Shared>, method: &str, path: &[&str], body: &Value) -> Option<Reply> {
    let pem = |text: Result<String, webhooks::Trouble>| match text {
        Ok(text) => reply::typed(StatusCode::OK, "application/x-pem-file", text),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    };
    Some(match (method, path) {
        ("GET", ["deliveries"]) => ok(shared.lock().journal.all()),
        ("DELETE", ["deliveries"]) => {
            shared.lock().journal.clear();
            done()
        }
        ("POST", ["deliveries", id, "repeat"]) => {
            if webhooks::repeat(shared, id) {
                reply::empty(StatusCode::ACCEPTED)
            } else {
                let hint =
                    "no such delivery, or its subscription is gone; GET /webhooks/deliveries";
                refuse(StatusCode::NOT_FOUND, hint)
            }
        }
        ("POST", ["events"]) => {
            let Some(name) = body["event"].as_str() else {
                let hint = "send {\"event\": …, \"profile\": id, \"data\": {…}}";
                return Some(refuse(StatusCode::BAD_REQUEST, hint));
            };
            let event = Event {
                name: name.to_owned(),
                profile: body["profile"].as_u64(),
                what: What::Given(body["data"].clone()),
                test: None,
            };
            ok(&json!({"deliveries": webhooks::publish(shared, &event)}))
        }
        ("GET", ["public-key.pem"]) => pem(shared.sender.public_key()),
        ("GET", ["ca.pem"]) => pem(shared.sender.authorities(shared.now())),
        _ => return None,
    })
}
