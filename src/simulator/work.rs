//! A business call: reads its body, takes off its protection, asks for strong authentication
//! where it must, lets the world answer, and protects the answer.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use http::HeaderValue;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde_json::Value;

use super::endpoints::Found;
use super::errors;
use super::gate;
use super::gate::Caller;
use super::jose;
use super::jose::Arrival;
use super::pki::hex;
use super::reply::Refusable;
use super::reply::Reply;
use super::shared::Shared;
use super::shared::State;
use super::times;
use super::upload::Unusable;
use super::upload::Upload;
use super::webhooks;
use super::world::Call;
use super::world::Protected;
use super::world::Shown;
use super::world::Verdict;

/// Answers an admitted call.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    head: &Parts,
    found: &Found,
    caller: Caller,
    upload: Upload,
) -> Reply {
    let sequence = upload.sequence();
    let worked = match prepare(shared, head, found, caller, upload).await {
        Ok(body) => operate(shared, head, found, caller, &body, sequence).await,
        Err(refusal) => return *refusal,
    };
    webhooks::dispatch(shared);
    worked.unwrap_or_else(|refusal| *refusal)
}

/// A body as it came.
struct Body {
    /// Kept for calls that read it.
    bytes: Vec<u8>,
    sha256: String,
    is_json: bool,
}

/// Everything that is decided before the operation is known to be wanted.
async fn prepare(
    shared: &Shared,
    head: &Parts,
    found: &Found,
    caller: Caller,
    upload: Upload,
) -> Refusable<Body> {
    let path = head.uri.path();
    let stamp = times::nanoseconds(shared.now());
    if let Some(profile) = found.text("profileId") {
        let allowed = profile
            .parse()
            .is_ok_and(|profile| shared.lock().world.may_use(caller, profile));
        if !allowed {
            return Err(Box::new(errors::foreign_profile(&stamp)));
        }
    }
    if let Some(client) = found.text("clientKey").or(found.text("clientId"))
        && client != shared.client_id
    {
        return Err(Box::new(errors::forbidden(path, &stamp)));
    }
    let unusable = |unusable| Box::new(unusable_body(unusable, path, &stamp));
    let is_json = header(head, CONTENT_TYPE.as_str()).is_some_and(|value| value.contains("json"));
    if is_json || head.headers.contains_key("x-tw-jose-method") {
        let bytes = upload.whole().await.map_err(unusable)?;
        let sha256 = hex(digest::digest(&digest::SHA256, &bytes).as_ref());
        return Ok(Body {
            bytes,
            sha256,
            is_json,
        });
    }
    let seen = upload.measure().await.map_err(unusable)?;
    Ok(Body {
        bytes: Vec::new(),
        sha256: seen.sha256,
        is_json,
    })
}

async fn operate(
    shared: &Arc<Shared>,
    head: &Parts,
    found: &Found,
    caller: Caller,
    body: &Body,
    sequence: u64,
) -> Refusable<Reply> {
    let now = shared.now();
    let path = head.uri.path();
    let approved = authenticate_strongly(shared, head, found, caller, body)?;
    let opened = {
        let mut state = shared.lock();
        let State { jose, faults, .. } = &mut *state;
        let arrival = Arrival {
            head,
            template: found.endpoint.path,
            body: &body.bytes,
            now,
        };
        jose.open(&arrival, &faults.jose)?
    };
    let (payload, envelope) = match &opened {
        Some(opened) => (&opened.payload, Some(&opened.envelope)),
        None => (&body.bytes, None),
    };
    let json = if payload.is_empty() || !body.is_json {
        Value::Null
    } else {
        serde_json::from_slice(payload).map_err(|_| {
            let stamp = times::nanoseconds(now);
            let message = "JSON parse error";
            Box::new(errors::spring(
                StatusCode::BAD_REQUEST,
                message,
                path,
                &stamp,
            ))
        })?
    };
    if envelope.is_some() {
        // Only now it can be seen.
        let transaction = json["customerTransactionId"].as_str();
        shared.recorder.transaction(sequence, transaction);
    }
    let query: HashMap<String, String> =
        form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let mut reply = {
        let mut state = shared.lock();
        let state = &mut *state;
        let call = Call {
            found,
            path,
            query: &query,
            headers: &head.headers,
            body: &json,
            caller,
            now,
            faults: &state.faults,
            client_id: &shared.client_id,
        };
        match state.jose.answer(&call) {
            Some(reply) => reply,
            None => state.world.answer(&call, &mut state.tokens),
        }
    };
    if approved {
        reply.headers_mut().insert(
            "x-2fa-approval-result",
            HeaderValue::from_static("APPROVED"),
        );
    }
    match envelope {
        Some(envelope) => Ok(jose::close(shared, envelope, reply).await),
        None => Ok(reply),
    }
}

/// PSD2 for personal tokens, then the challenge if the switches ask for one. Says whether somebody
/// was strongly authenticated.
fn authenticate_strongly(
    shared: &Shared,
    head: &Parts,
    found: &Found,
    caller: Caller,
    body: &Body,
) -> Refusable<bool> {
    let now = shared.now();
    let (template, path) = (found.endpoint.path, head.uri.path());
    let mut state = shared.lock();
    let State { faults, world, .. } = &mut *state;
    let with_body = faults.resource.sca_body;
    let restricted = gate::is_funding(template) || gate::is_statement(template);
    if caller == Caller::Personal && faults.personal.psd2 && restricted {
        return Err(Box::new(gate::challenge(path, now, with_body, None)));
    }
    let shown = Shown {
        token: header(head, "x-2fa-approval"),
        signature: header(head, "x-signature"),
    };
    if !gate::challenged(faults.resource.sca, template, found.endpoint.sca) {
        return Ok(shown.token.is_some() && found.endpoint.sca);
    }
    let target = head.uri.path_and_query();
    let request = Protected {
        caller,
        method: head.method.clone(),
        template,
        profile: found.text("profileId").unwrap_or_default().to_owned(),
        target: target.map_or(path, |target| target.as_str()).to_owned(),
        body: body.sha256.clone(),
    };
    match world.challenges.judge(&request, shown, &faults.sca, now) {
        Verdict::Approved => Ok(true),
        Verdict::Exempt => Ok(false),
        Verdict::Rejected(token) => {
            let refusal = gate::challenge(path, now, with_body, token.as_deref());
            Err(Box::new(refusal))
        }
    }
}

fn header<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name)?.to_str().ok()
}

fn unusable_body(unusable: Unusable, path: &str, now: &str) -> Reply {
    let status = match unusable {
        Unusable::Broken => StatusCode::BAD_REQUEST,
        Unusable::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
    };
    errors::spring(status, "Unreadable body", path, now)
}
