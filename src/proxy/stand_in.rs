//! The token endpoint as a door answers it itself: an application that runs its own OAuth gets a
//! token that is good here, and its code goes on as it is. Nothing of it goes to Wise.
//!
//! Source: RFC 6749 §§3.2, 5; Wise, API reference, "Create an OAuth token".

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;
use zeroize::Zeroizing;

use crate::guard::{GuardError, Identity, KeyId, Kind as TokenKind, Ticket};
use crate::proxy::body::Source;
use crate::proxy::fault::{Fault, Kind};
use crate::proxy::peer::Peer;
use crate::proxy::visit::Visit;
use crate::proxy::worker::Worker;
use crate::secret::Secret;

/// Longest form that is read.
const LONGEST: usize = 64 * 1024;

/// Life of an access token, as Wise's.
const ACCESS: Duration = Duration::from_hours(12);

/// Life of a refresh token: ten years.
const REFRESH: Duration = Duration::from_hours(10 * 365 * 24);

/// An answer of ours.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) answer: Response<Bytes>,
    /// The problem that it tells in OAuth's words.
    pub(super) refused: Option<Kind>,
}

/// Answers a request for a token.
pub(super) async fn answer(
    worker: &Worker,
    door: usize,
    peer: &Peer,
    visit: &mut Visit,
) -> Result<Said, Fault> {
    let Visit {
        head,
        source,
        record,
    } = visit;
    let source = source.as_ref();
    let limit = {
        let view = worker.view();
        view.snapshot.doors[door].is_well_directed(head, peer, record.at())?;
        view.snapshot.upstream.answer_timeout
    };
    if source.is_some() && !may_be_form(&head.headers) {
        let text = "The body is no form: send it as application/x-www-form-urlencoded";
        return Ok(refusal(StatusCode::BAD_REQUEST, "invalid_request", text));
    }
    let form = tokio::time::timeout(limit, form(source)).await;
    let Some(form) = form.map_err(|_elapsed| Fault::RequestTimeout)?? else {
        let text = "The request is longer than 64 KiB";
        return Ok(refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request",
            text,
        ));
    };

    // Callers may have changed while the form came.
    let view = worker.view();
    let door = &view.snapshot.doors[door];
    let callers = &view.snapshot.callers;
    let Some(mint) = door.mint() else {
        return Err(Fault::NotAllowed(
            "this door answers no /oauth/token any more",
        ));
    };
    let (now, field) = (record.at(), |name: &str| form.get(name).map(Secret::expose));
    let identity = match door.roster() {
        Some(roster) => {
            let secret = field("client_secret").map(str::as_bytes);
            let presence = peer.presence(&door.ways, now);
            let known = roster.authenticate(&head.headers, secret, presence, now);
            let Some(known) = known else {
                return Ok(invalid_client());
            };
            record.came_from(known.caller, &view);
            Some(known)
        }
        None => None,
    };
    let for_user = match field("grant_type") {
        Some("client_credentials") => false,
        Some("authorization_code" | "registration_code") => true,
        Some("refresh_token") => {
            let Some(token) = field("refresh_token").filter(|token| !token.is_empty()) else {
                let text = "Missing refresh token";
                return Ok(refusal(StatusCode::BAD_REQUEST, "invalid_request", text));
            };
            // Another is Wise's, from before: it is the client's key that counts.
            if token.starts_with("wap_") {
                let ticket = mint.check(TokenKind::Refresh, token.as_bytes(), now);
                let holds = ticket.is_some_and(|ticket| match (door.roster(), identity) {
                    (Some(_), Some(known)) if ticket.key == KeyId::NONE => {
                        callers.name(known.caller) == ticket.caller
                    }
                    (Some(roster), Some(known)) => {
                        roster.holder(&ticket, now, callers) == Some(known.caller)
                    }
                    _ => true,
                });
                if !holds {
                    let text = "Invalid user credentials.";
                    return Ok(refusal(StatusCode::BAD_REQUEST, "invalid_grant", text));
                }
            }
            true
        }
        Some(_) => {
            let text = "Unsupported grant type";
            let error = "unsupported_grant_type";
            return Ok(refusal(StatusCode::BAD_REQUEST, error, text));
        }
        None => {
            let text = "Missing grant type";
            return Ok(refusal(StatusCode::BAD_REQUEST, "invalid_request", text));
        }
    };
    let holder = identity.map(|known| (known.caller, known.key));
    let make = |kind, life| {
        let ends = end(identity, now, life);
        let token = mint.make(kind, &Ticket::new(callers, holder, ends))?;
        Ok::<_, GuardError>((token, ends))
    };
    let made = make(TokenKind::Access, ACCESS).and_then(|access| {
        let refresh = for_user
            .then(|| make(TokenKind::Refresh, REFRESH))
            .transpose()?;
        Ok((access, refresh))
    });
    let (access, refresh) = made.map_err(|error| {
        tracing::error!(%error, "a token could not be made");
        Fault::Overloaded
    })?;
    Ok(granted(&access, refresh.as_ref(), now))
}

/// Whether a body may be a form, by its type. Some clients name none.
fn may_be_form(headers: &HeaderMap) -> bool {
    const FORM: &[u8] = b"application/x-www-form-urlencoded";
    headers.get(CONTENT_TYPE).is_none_or(|value| {
        let mut parts = value.as_bytes().split(|byte| *byte == b';');
        let essence = parts.next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(FORM)
    })
}

/// The form's fields; `None`: it is too long. Of a field that stands there twice the last counts.
async fn form(source: Option<&Rc<Source>>) -> Result<Option<BTreeMap<String, Secret>>, Fault> {
    let Some(body) = source.and_then(|source| source.upload(None)) else {
        return Ok(Some(BTreeMap::new()));
    };
    let bytes = match Limited::new(body, LONGEST).collect().await {
        Ok(collected) => Zeroizing::new(collected.to_bytes().to_vec()),
        Err(error) if error.is::<LengthLimitError>() => return Ok(None),
        Err(_) => {
            return Err(Fault::BadRequest(
                "the request's body is malformed or broke off",
            ));
        }
    };
    if let Some(source) = source {
        source.forget();
    }
    let fields = form_urlencoded::parse(&bytes);
    Ok(Some(
        fields
            .map(|(name, value)| (name.into_owned(), Secret::new(value)))
            .collect(),
    ))
}

/// No token outlives the key that it was given for.
fn end(identity: Option<Identity>, now: SystemTime, life: Duration) -> SystemTime {
    let until = identity.and_then(|known| known.until);
    let ends = now + life;
    until.map_or(ends, |until| until.min(ends))
}

type Lived = (Secret, SystemTime);

/// In the words of Wise's endpoint.
fn granted((access, ends): &Lived, refresh: Option<&Lived>, now: SystemTime) -> Said {
    let left = |ends: &SystemTime| ends.duration_since(now).unwrap_or_default().as_secs();
    let mut body = json!({
        "access_token": access.expose(),
        "token_type": "bearer",
        "expires_in": left(ends),
        "expires_at": iso(*ends),
        "scope": "transfers",
    });
    if let (Some((token, ends)), Some(fields)) = (refresh, body.as_object_mut()) {
        fields.insert("refresh_token".into(), token.expose().into());
        fields.insert("refresh_token_expires_in".into(), left(ends).into());
        fields.insert("refresh_token_expires_at".into(), iso(*ends).into());
        fields.insert("created_at".into(), iso(now).into());
    }
    Said {
        answer: told(StatusCode::OK, &body),
        refused: None,
    }
}

fn invalid_client() -> Said {
    let text = "The client secret is no key of a caller of this door";
    let mut said = refusal(StatusCode::UNAUTHORIZED, "invalid_client", text);
    said.refused = Some(Kind::CallerUnknown);
    let challenge = HeaderValue::from_static("Basic realm=\"wise-auth-proxy\"");
    said.answer
        .headers_mut()
        .insert(WWW_AUTHENTICATE, challenge);
    said
}

fn refusal(status: StatusCode, error: &str, description: &str) -> Said {
    let body = json!({ "error": error, "error_description": description });
    Said {
        answer: told(status, &body),
        refused: Some(Kind::BadRequest),
    }
}

fn told(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(body.to_string()));
    *answer.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
        (PRAGMA, "no-cache"),
    ] {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Milliseconds, as Wise writes them.
fn iso(at: SystemTime) -> String {
    let form =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from(at).format(form).unwrap_or_default()
}
