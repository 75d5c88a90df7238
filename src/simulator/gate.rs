//! Who is calling, and whether they may. Decided on the request's head, before any body is read.

use std::time::SystemTime;

use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header::AUTHORIZATION;

use super::endpoints::Credentials;
use super::errors;
use super::faults::PersonalOnMtls;
use super::faults::Sca;
use super::listener::Connection;
use super::recorder::Credential;
use super::recorder::Door;
use super::reply::Refusable;
use super::reply::Reply;
use super::shared::Shared;
use super::shared::State;
use super::times;
use super::tokens::Holder;
use super::tokens::Presented;
use crate::secret::Secret;

/// Somebody whose credential is good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Caller {
    /// The personal token: every profile of the account.
    Personal,
    /// A user token: one profile.
    User { profile: u64 },
    /// A client-credentials token: no profile.
    Client,
    /// No credential, where none is needed.
    Nobody,
}

/// A bearer token as read from the head.
pub(super) enum Bearer {
    None,
    Several,
    Basic,
    Unreadable,
    Token(Secret),
}

pub(super) fn bearer(headers: &HeaderMap) -> Bearer {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), more) = (values.next(), values.next()) else {
        return Bearer::None;
    };
    if more.is_some() {
        return Bearer::Several;
    }
    let Some((scheme, rest)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else {
        return Bearer::Unreadable;
    };
    if scheme.eq_ignore_ascii_case("bearer") {
        Bearer::Token(Secret::new(rest))
    } else if scheme.eq_ignore_ascii_case("basic") {
        Bearer::Basic
    } else {
        Bearer::Unreadable
    }
}

/// What the recorder writes down about a credential.
pub(super) fn recognise(
    shared: &Shared,
    state: &State,
    bearer: &Bearer,
    now: SystemTime,
) -> Credential {
    let token = match bearer {
        Bearer::None => return Credential::None,
        Bearer::Several => return Credential::Several,
        Bearer::Basic => return Credential::Basic,
        Bearer::Unreadable => return Credential::Unknown,
        Bearer::Token(token) => token,
    };
    if token.matches(&shared.personal_token) {
        return Credential::Personal;
    }
    match state.tokens.present(token.expose(), now) {
        None => Credential::Unknown,
        Some(Presented {
            holder: Holder::User { grant, profile },
            generation,
            live,
            ..
        }) => Credential::User {
            grant,
            profile,
            generation,
            live,
        },
        Some(Presented {
            holder: Holder::Client,
            generation,
            live,
            ..
        }) => Credential::Client { generation, live },
    }
}

/// The request as far as admission needs it.
pub(super) struct Visit<'a> {
    pub(super) connection: &'a Connection,
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) bearer: &'a Bearer,
    pub(super) now: SystemTime,
}

/// Lets the caller in, or says why not.
pub(super) fn admit(
    shared: &Shared,
    state: &State,
    visit: &Visit<'_>,
    allowed: Credentials,
) -> Refusable<Caller> {
    let now = times::nanoseconds(visit.now);
    let dead = |token: &str| {
        let shape = state.faults.resource.unauthorized;
        Box::new(errors::invalid_token(shape, token, visit.path, &now))
    };
    let token = match visit.bearer {
        Bearer::Token(token) => token,
        Bearer::None if allowed.include(Credentials::NONE) => return Ok(Caller::Nobody),
        Bearer::None | Bearer::Basic | Bearer::Unreadable => {
            return Err(Box::new(errors::missing_token()));
        }
        // RFC 6750 §3.1: a repeated parameter is invalid_request.
        Bearer::Several => {
            let message = "More than one Authorization header";
            let status = StatusCode::BAD_REQUEST;
            return Err(Box::new(errors::oauth(status, "invalid_request", message)));
        }
    };
    let caller = if token.matches(&shared.personal_token) {
        admit_personal(state, visit).map_err(|refusal| match refusal {
            Refusal::Dead => dead(token.expose()),
            Refusal::Forbidden => Box::new(errors::forbidden(visit.path, &now)),
        })?
    } else {
        let presented = state
            .tokens
            .present(token.expose(), visit.now)
            .filter(|presented| presented.live)
            .ok_or_else(|| dead(token.expose()))?;
        let bound = presented.certificate.as_deref();
        if state.faults.tls.bound_tokens && bound != visit.connection.serial() {
            return Err(dead(token.expose()));
        }
        match presented.holder {
            Holder::User { profile, .. } => Caller::User { profile },
            Holder::Client => Caller::Client,
        }
    };
    let kind = match caller {
        Caller::Personal => Credentials::PERSONAL,
        Caller::User { .. } => Credentials::USER,
        Caller::Client => Credentials::CLIENT,
        Caller::Nobody => Credentials::NONE,
    };
    if allowed.include(kind) {
        Ok(caller)
    } else {
        Err(Box::new(errors::forbidden(visit.path, &now)))
    }
}

enum Refusal {
    Dead,
    Forbidden,
}

fn admit_personal(state: &State, visit: &Visit<'_>) -> Result<Caller, Refusal> {
    let rules = &state.faults.personal;
    let allowed = &rules.allowed_addresses;
    let address = visit.connection.remote.ip();
    if rules.revoked || !(allowed.is_empty() || allowed.iter().any(|range| range.contains(address)))
    {
        return Err(Refusal::Dead);
    }
    if visit.connection.door == Door::Mtls {
        match rules.on_mtls {
            PersonalOnMtls::Accepted => {}
            PersonalOnMtls::Forbidden => return Err(Refusal::Forbidden),
            PersonalOnMtls::Unauthorized => return Err(Refusal::Dead),
        }
    }
    if rules.read_only && *visit.method != Method::GET && *visit.method != Method::HEAD {
        return Err(Refusal::Forbidden);
    }
    Ok(Caller::Personal)
}

/// The operations that the personal token of an EU or UK account may not use, and those that ask
/// for strong customer authentication.
pub(super) fn is_funding(path: &str) -> bool {
    path.ends_with("/payments") && path.starts_with("/profiles/")
}

pub(super) fn is_statement(path: &str) -> bool {
    path.contains("/balance-statements/")
}

/// Whether the switches put a challenge before this operation.
pub(super) fn challenged(sca: Sca, path: &str, marked: bool) -> bool {
    marked
        && match sca {
            Sca::Off => false,
            Sca::Funding => is_funding(path),
            Sca::Statements => is_statement(path),
            Sca::All => true,
        }
}

/// The 403 of strong customer authentication.
pub(super) fn challenge(path: &str, now: SystemTime, with_body: bool, ott: Option<&str>) -> Reply {
    let mut reply = if with_body {
        errors::forbidden(path, &times::nanoseconds(now))
    } else {
        super::reply::empty(StatusCode::FORBIDDEN)
    };
    let headers = reply.headers_mut();
    headers.insert(
        "x-2fa-approval-result",
        HeaderValue::from_static("REJECTED"),
    );
    if let Some(ott) = ott.and_then(|ott| HeaderValue::from_str(ott).ok()) {
        headers.insert("x-2fa-approval", ott);
    }
    reply
}
