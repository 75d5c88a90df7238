//! The token endpoint: HTTP Basic, four grants, Wise's error shapes, and what can go wrong there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header::AUTHORIZATION;
use http::header::CACHE_CONTROL;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use super::errors;
use super::faults::Disturb;
use super::faults::Disturbance;
use super::faults::InvalidGrantStatus;
use super::faults::TokenFaults;
use super::listener::Connection;
use super::recorder::Door;
use super::reply::Reply;
use super::reply::json_reply;
use super::service;
use super::shared::Shared;
use super::shared::State;
use super::times;
use super::tokens::Ask;
use super::tokens::Holder;
use super::tokens::Minted;
use super::tokens::Refused;
use super::upload::Upload;
use crate::secret::Secret;

/// One POST to the token endpoint.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Exchange {
    /// Counts from 1.
    pub number: u64,
    /// `grant_type` as sent; empty when there was none.
    pub grant_type: String,
    /// The listener.
    pub door: Door,
    /// The connection, as in the recorder.
    pub connection: u64,
    /// CN of the client certificate.
    pub certificate: Option<String>,
    /// The profile of the grant concerned, when known.
    pub profile: Option<u64>,
    /// Generation of the refresh token presented, when it was one of ours.
    pub presented: Option<u64>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an exchange.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum Outcome {
    /// Tokens were minted and the answer was sent.
    Minted {
        /// Generation of the new access token.
        generation: u64,
    },
    /// Tokens were minted and the answer was lost on purpose.
    Lost {
        /// Generation of the access token nobody received.
        generation: u64,
    },
    /// Refused with an OAuth error.
    Refused {
        /// The `error` field.
        error: String,
        /// Why, in the simulator's words; the wire says less.
        reason: String,
    },
    /// A switch answered instead.
    Disturbed {
        /// Which.
        disturbance: Disturbance,
    },
}

pub(super) async fn answer(
    shared: &Arc<Shared>,
    connection: &Arc<Connection>,
    method: &Method,
    headers: &HeaderMap,
    upload: Upload,
) -> Reply {
    let Ok(body) = upload.whole().await else {
        return invalid_request("Unreadable body");
    };
    let is_form = headers.get(CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    });
    let form: HashMap<String, String> = if is_form {
        form_urlencoded::parse(&body).into_owned().collect()
    } else {
        HashMap::new()
    };
    let delay = shared.lock().faults.token.delay;
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let now = shared.now();
    let (work, latency) = {
        let mut state = shared.lock();
        let disturb = Disturb::take(
            &mut state.faults.token.disturb,
            &Method::POST,
            "/oauth/token",
        );
        let work = match disturb {
            Some(disturb) if disturb.kind != Disturbance::LoseAnswer => {
                let outcome = Outcome::Disturbed {
                    disturbance: disturb.kind,
                };
                record(&mut state, connection, &form, None, None, outcome);
                Err(disturb)
            }
            disturb => {
                let reply = decide(shared, &mut state, connection, method, headers, &form, now);
                if disturb.is_some()
                    && let Some(last) = state.exchanges.last_mut()
                    && let Outcome::Minted { generation } = last.outcome
                {
                    last.outcome = Outcome::Lost { generation };
                }
                Ok((reply, disturb.is_some()))
            }
        };
        (work, state.faults.token.latency)
    };
    shared.happened.notify_waiters();
    if latency > 0 {
        tokio::time::sleep(Duration::from_millis(latency)).await;
    }
    match work {
        Err(disturb) => service::disturbed(&disturb, connection).await,
        Ok((_, true)) => service::vanish(connection, false).await,
        Ok((reply, false)) => reply,
    }
}

fn decide(
    shared: &Shared,
    state: &mut State,
    connection: &Connection,
    method: &Method,
    headers: &HeaderMap,
    form: &HashMap<String, String>,
    now: SystemTime,
) -> Reply {
    let grant_type = form.get("grant_type").map_or("", String::as_str);
    let refuse = |state: &mut State, error: &str, reason: &str, reply: Reply| {
        let outcome = Outcome::Refused {
            error: error.to_owned(),
            reason: reason.to_owned(),
        };
        record(state, connection, form, None, None, outcome);
        reply
    };
    if *method != Method::POST {
        let reply = errors::spring(
            StatusCode::METHOD_NOT_ALLOWED,
            "Request method not supported",
            "/oauth/token",
            &times::nanoseconds(now),
        );
        return refuse(state, "method", "not a POST", reply);
    }
    if !is_partner(shared, headers) {
        let reply = errors::oauth(
            StatusCode::UNAUTHORIZED,
            "invalid_client",
            "Client authentication failed",
        );
        return refuse(state, "invalid_client", "wrong client id or secret", reply);
    }
    let field = |name: &str| {
        form.get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    };
    let ask = match grant_type {
        "" => {
            let reply = invalid_request("Missing grant type");
            return refuse(state, "invalid_request", "no grant_type", reply);
        }
        "client_credentials" => Some(Ask::ClientCredentials),
        "authorization_code" => match (field("client_id"), field("code"), field("redirect_uri")) {
            (Some(client), Some(code), Some(redirect_uri)) if client == shared.client_id => {
                Some(Ask::Code { code, redirect_uri })
            }
            _ => None,
        },
        "registration_code" => match (
            field("client_id"),
            field("email"),
            field("registration_code"),
        ) {
            (Some(client), Some(email), Some(code)) if client == shared.client_id => {
                Some(Ask::Registration { email, code })
            }
            _ => None,
        },
        "refresh_token" => field("refresh_token").map(|token| Ask::Refresh { token }),
        _ => {
            let reply = errors::oauth(
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                "Unsupported grant type",
            );
            return refuse(state, "unsupported_grant_type", "unknown grant_type", reply);
        }
    };
    let Some(ask) = ask else {
        let reply = invalid_request("Missing or wrong parameter");
        return refuse(
            state,
            "invalid_request",
            "a field is missing or wrong",
            reply,
        );
    };
    let presented = match ask {
        Ask::Refresh { token } => state.tokens.refresh_origin(token),
        Ask::ClientCredentials | Ask::Code { .. } | Ask::Registration { .. } => None,
    };
    let State { tokens, faults, .. } = state;
    match tokens.exchange(&ask, &faults.token, connection.serial(), now) {
        Ok(minted) => {
            let reply = success(&minted, &faults.token, now);
            let profile = match minted.holder {
                Holder::User { profile, .. } => Some(profile),
                Holder::Client => None,
            };
            let outcome = Outcome::Minted {
                generation: minted.generation,
            };
            record(
                state,
                connection,
                form,
                profile,
                presented.map(|(generation, _)| generation),
                outcome,
            );
            reply
        }
        Err(Refused {
            reason,
            presented,
            profile,
        }) => {
            let status = match faults.token.invalid_grant_status {
                InvalidGrantStatus::BadRequest => StatusCode::BAD_REQUEST,
                InvalidGrantStatus::Unauthorized => StatusCode::UNAUTHORIZED,
            };
            let outcome = Outcome::Refused {
                error: "invalid_grant".to_owned(),
                reason: reason.to_owned(),
            };
            record(state, connection, form, profile, presented, outcome);
            errors::oauth(status, "invalid_grant", "Invalid user credentials.")
        }
    }
}

fn record(
    state: &mut State,
    connection: &Connection,
    form: &HashMap<String, String>,
    profile: Option<u64>,
    presented: Option<u64>,
    outcome: Outcome,
) {
    let certificate = connection
        .tls
        .as_ref()
        .and_then(|tls| tls.client_certificate.as_ref());
    let exchange = Exchange {
        number: state.exchanges.len() as u64 + 1,
        grant_type: form.get("grant_type").cloned().unwrap_or_default(),
        door: connection.door,
        connection: connection.id,
        certificate: certificate.map(|certificate| certificate.common_name.clone()),
        profile,
        presented,
        outcome,
    };
    state.exchanges.push(exchange);
}

fn is_partner(shared: &Shared, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let pair = value
        .to_str()
        .ok()
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    pair.as_deref()
        .and_then(|pair| pair.split_once(':'))
        .is_some_and(|(id, secret)| {
            id == shared.client_id && Secret::new(secret).matches(&shared.client_secret)
        })
}

fn success(minted: &Minted, rules: &TokenFaults, now: SystemTime) -> Reply {
    let mut body = json!({
        "access_token": minted.access,
        "token_type": "bearer",
        "expires_in": rules.lifetime,
        "scope": "transfers",
    });
    let mut put = |key: &str, value: Value| {
        body[key] = value;
    };
    if rules.expires_at {
        put("expires_at", times::milliseconds(minted.expires).into());
    }
    if let Some(refresh) = &minted.refresh {
        if refresh.changed || rules.repeat_refresh_token {
            put("refresh_token", refresh.token.clone().into());
        }
        let left = refresh
            .expires
            .duration_since(now)
            .unwrap_or_default()
            .as_secs();
        put("refresh_token_expires_in", left.into());
        if rules.expires_at {
            put(
                "refresh_token_expires_at",
                times::milliseconds(refresh.expires).into(),
            );
        }
        put("created_at", times::nanoseconds(refresh.created).into());
    }
    let mut reply = json_reply(StatusCode::OK, &body);
    reply
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

fn invalid_request(description: &str) -> Reply {
    errors::oauth(StatusCode::BAD_REQUEST, "invalid_request", description)
}
