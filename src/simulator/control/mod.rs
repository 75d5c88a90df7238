//! The control API: whatever a test does in process, a script can do with curl.
//!
//! | Method and path | Does |
//! |---|---|
//! | `GET /faults`, `PUT /faults`, `PATCH /faults` | reads, replaces, merges the switches |
//! | `GET /requests`, `DELETE /requests` | the recorder's ring |
//! | `GET /counters` | the recorder's running totals |
//! | `GET /exchanges` | every POST to the token endpoint |
//! | `GET /hub/certificates`, `POST /hub/certificates {name, csr}` | lists, issues |
//! | `DELETE /hub/certificates/{name}` | revokes |
//! | `POST /authorise {profile, redirect_uri?}` | what a person does in the browser: `{code}` |
//! | `POST /revoke {profile}` or `{client: true}` | ends live access tokens now |
//! | `POST /disconnect {profile}` | ends a grant |
//! | `POST /reclaim {email}` | the user takes the account over |
//! | `POST /connections/close`, `POST /connections/finish` | ends connections at once, or politely |
//! | `GET /ca.pem` | the CA of the server certificates |
//! | `GET /state` | addresses, profiles, grants |
//!
//! Further ones are in [`security`].

mod security;

use std::sync::Arc;

use http::Method;
use http::StatusCode;
use http::request::Parts;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::simulator::faults::Faults;
use crate::simulator::hub::HubError;
use crate::simulator::listener::Connection;
use crate::simulator::reply;
use crate::simulator::reply::Reply;
use crate::simulator::shared::Shared;
use crate::simulator::upload::Upload;

pub(super) async fn answer(
    shared: &Arc<Shared>,
    _connection: &Connection,
    head: &Parts,
    upload: Upload,
) -> Reply {
    // A web page of elsewhere could reach loopback through the browser; it always says so.
    if head.headers.contains_key(http::header::ORIGIN) {
        return refuse(
            StatusCode::FORBIDDEN,
            "not for browsers; use curl or a test",
        );
    }
    let Ok(body) = upload.whole().await else {
        return refuse(StatusCode::BAD_REQUEST, "the body could not be read");
    };
    let body = if body.is_empty() {
        Value::Null
    } else {
        match serde_json::from_slice(&body) {
            Ok(body) => body,
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("not JSON: {error}")),
        }
    };
    dispatch(shared, &head.method, head.uri.path(), &body)
}

fn dispatch(shared: &Arc<Shared>, method: &Method, path: &str, body: &Value) -> Reply {
    let done = || reply::empty(StatusCode::NO_CONTENT);
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method.as_str(), segments.as_slice()) {
        ("GET", ["faults"]) => ok(&shared.lock().faults),
        ("PUT", ["faults"]) => set_faults(shared, body.clone()),
        ("PATCH", ["faults"]) => {
            let mut merged = serde_json::to_value(&shared.lock().faults).unwrap_or_default();
            merge(&mut merged, body);
            set_faults(shared, merged)
        }
        ("GET", ["requests"]) => ok(&shared.recorder.all()),
        ("DELETE", ["requests"]) => {
            shared.recorder.clear();
            done()
        }
        ("GET", ["counters"]) => ok(&shared.recorder.counters()),
        ("GET", ["exchanges"]) => ok(&shared.lock().exchanges),
        ("GET", ["hub", "certificates"]) => ok(shared.lock().hub.issued()),
        ("POST", ["hub", "certificates"]) => {
            let (Some(name), Some(csr)) = (body["name"].as_str(), body["csr"].as_str()) else {
                return refuse(StatusCode::BAD_REQUEST, "send {\"name\": …, \"csr\": …}");
            };
            match shared.sign_csr(name, csr) {
                Ok(certificate) => reply::json_reply(
                    StatusCode::CREATED,
                    &json!({"name": name, "certificate": certificate}),
                ),
                Err(error) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
            }
        }
        ("DELETE", ["hub", "certificates", name]) => {
            let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
            match shared.revoke_certificate(&name) {
                Ok(()) => done(),
                Err(error @ HubError::Unknown(_)) => {
                    refuse(StatusCode::NOT_FOUND, &error.to_string())
                }
                Err(error) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
            }
        }
        ("POST", ["authorise"]) => {
            let Some(profile) = body["profile"].as_u64() else {
                return refuse(StatusCode::BAD_REQUEST, "send {\"profile\": id}");
            };
            let first = shared.redirect_uris.first().map_or("", String::as_str);
            let redirect_uri = body["redirect_uri"].as_str().unwrap_or(first);
            match shared.authorise(profile, redirect_uri) {
                Some(code) => ok(&json!({
                    "code": code,
                    "profileId": profile,
                    "redirect_uri": redirect_uri,
                })),
                None => refuse(
                    StatusCode::NOT_FOUND,
                    "no such profile; GET /state lists them",
                ),
            }
        }
        ("POST", ["revoke"]) => {
            let mut state = shared.lock();
            let ended = match body["profile"].as_u64() {
                Some(profile) => state.tokens.revoke_access(profile),
                None if body["client"] == true => state.tokens.revoke_client(),
                None => {
                    let hint = "send {\"profile\": id} or {\"client\": true}";
                    return refuse(StatusCode::BAD_REQUEST, hint);
                }
            };
            ok(&json!({"ended": ended}))
        }
        ("POST", ["disconnect"]) => match body["profile"].as_u64() {
            Some(profile) => ok(&json!({"ended": shared.lock().tokens.disconnect(profile)})),
            None => refuse(StatusCode::BAD_REQUEST, "send {\"profile\": id}"),
        },
        ("POST", ["reclaim"]) => {
            let email = body["email"].as_str().unwrap_or_default();
            if shared.lock().tokens.reclaim(email) {
                done()
            } else {
                refuse(
                    StatusCode::NOT_FOUND,
                    "no user was registered with that e-mail",
                )
            }
        }
        ("POST", ["connections", "close"]) => {
            shared.connections.close();
            done()
        }
        ("POST", ["connections", "finish"]) => {
            shared.connections.finish();
            done()
        }
        ("GET", ["ca.pem"]) => reply::typed(
            StatusCode::OK,
            "application/x-pem-file",
            shared.ca_pem.clone(),
        ),
        ("GET", ["state"]) => ok(&state(shared)),
        (method, segments) => {
            security::dispatch(shared, method, segments, body).unwrap_or_else(|| {
                let hint = "no such operation; see the documentation of the control API";
                refuse(StatusCode::NOT_FOUND, hint)
            })
        }
    }
}

fn state(shared: &Shared) -> Value {
    let state = shared.lock();
    let grants: Vec<Value> = state
        .tokens
        .grants()
        .map(|(grant, profile, generation, live)| {
            json!({"grant": grant, "profile": profile, "generation": generation, "live": live})
        })
        .collect();
    let profiles: Vec<Value> = state
        .world
        .choices()
        .into_iter()
        .map(|(id, name, kind)| json!({"id": id, "name": name, "type": kind}))
        .collect();
    json!({
        "plain": shared.addresses.plain.to_string(),
        "mtls": shared.addresses.mtls.to_string(),
        "control": shared.addresses.control.to_string(),
        "client-id": shared.client_id,
        "redirect-uris": shared.redirect_uris,
        "profiles": profiles,
        "grants": grants,
        "exchanges": state.exchanges.len(),
    })
}

fn set_faults(shared: &Shared, value: Value) -> Reply {
    match serde_json::from_value::<Faults>(value) {
        Ok(faults) => {
            let reply = ok(&faults);
            shared.lock().faults = faults;
            reply
        }
        Err(error) => refuse(
            StatusCode::BAD_REQUEST,
            &format!("{error}; GET /faults shows every key"),
        ),
    }
}

/// RFC 7396, JSON Merge Patch.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            // Every switch that can be null has that as its default.
            if let Some(object) = target.as_object_mut() {
                object.remove(key);
            }
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn ok<T: Serialize + ?Sized>(value: &T) -> Reply {
    reply::json_reply(
        StatusCode::OK,
        &serde_json::to_value(value).unwrap_or_default(),
    )
}

fn refuse(status: StatusCode, hint: &str) -> Reply {
    reply::json_reply(status, &json!({"error": hint}))
}
