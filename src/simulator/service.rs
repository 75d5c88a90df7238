//! The life of one request: written down, let in, answered, and stamped with a trace id.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::StatusCode;
use http::Version;
use http::header::LOCATION;
use http::request::Parts;
use hyper::body::Incoming;
use uuid::Uuid;

use super::authorise;
use super::control;
use super::endpoints;
use super::endpoints::Credentials;
use super::endpoints::Found;
use super::endpoints::Lost;
use super::errors;
use super::faults::Disturb;
use super::faults::Disturbance;
use super::faults::MissingCertificate;
use super::faults::PersonalFaults;
use super::gate;
use super::gate::Bearer;
use super::gate::Visit;
use super::listener::Connection;
use super::oauth;
use super::recorder::BodySeen;
use super::recorder::Door;
use super::recorder::Headers;
use super::recorder::Recorded;
use super::reply;
use super::reply::Refusable;
use super::reply::Reply;
use super::shared::Shared;
use super::times;
use super::transport;
use super::upload::Upload;
use super::work;

/// The connection is gone, so there is nobody to answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection was ended on purpose")]
pub(super) struct Gone;

/// Answers one request.
pub(super) async fn answer(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Reply, Gone> {
    let (head, body) = request.into_parts();
    let bearer = gate::bearer(&head.headers);
    let sequence = match connection.door {
        Door::Control => 0,
        Door::Plain | Door::Mtls => write_down(&shared, &connection, &head, &bearer),
    };
    shared.happened.notify_waiters();
    let upload = Upload::new(body, &head.headers, Arc::clone(&shared), sequence);
    let work = async {
        match connection.door {
            Door::Control => control::answer(&shared, &connection, &head, upload).await,
            Door::Plain | Door::Mtls => route(&shared, &connection, &head, &bearer, upload).await,
        }
    };
    let mut reply = tokio::select! {
        biased;
        () = connection.until_ended() => return Err(Gone),
        reply = work => reply,
    };
    stamp(&mut reply, &head.headers);
    misdate(&shared, &mut reply);
    if head.method == Method::HEAD {
        reply = reply::without_body(reply);
    }
    if sequence > 0 {
        shared.recorder.answered(sequence, reply.status().as_u16());
        shared.happened.notify_waiters();
    }
    Ok(reply)
}

fn write_down(shared: &Shared, connection: &Connection, head: &Parts, bearer: &Bearer) -> u64 {
    let credential = gate::recognise(shared, &shared.lock(), bearer, shared.now());
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let target = if head.version == Version::HTTP_2 {
        head.uri
            .path_and_query()
            .map_or("", |target| target.as_str())
            .to_owned()
    } else {
        head.uri.to_string()
    };
    shared.recorder.arrived(Recorded {
        sequence: 0,
        door: connection.door,
        connection: connection.id,
        remote_port: connection.remote.port(),
        version: format!("{:?}", head.version),
        method: head.method.to_string(),
        target,
        authority: head.uri.authority().map(ToString::to_string),
        headers: Headers(
            head.headers
                .iter()
                .map(|(name, value)| (name.to_string(), text(value)))
                .collect(),
        ),
        tls: connection.tls.clone(),
        credential,
        body: BodySeen::default(),
        customer_transaction_id: None,
        status: None,
    })
}

/// Wise puts a trace id on every answer, and echoes a correlation id of reasonable length.
fn stamp(reply: &mut Reply, asked: &HeaderMap) {
    let trace = Uuid::new_v4().simple().to_string();
    if let Ok(trace) = HeaderValue::from_str(&trace) {
        reply.headers_mut().insert("x-trace-id", trace);
    }
    if let Some(correlation) = asked.get("x-external-correlation-id")
        && correlation.len() <= 36
    {
        reply
            .headers_mut()
            .insert("x-external-correlation-id", correlation.clone());
    }
}

/// Says another time than ours, where the switches want it; hyper adds the right one otherwise.
fn misdate(shared: &Shared, reply: &mut Reply) {
    let offset = shared.lock().faults.resource.date_offset;
    let by = Duration::from_secs(offset.unsigned_abs().into());
    let (now, behind) = (shared.now(), offset < 0);
    let date = times::http(if behind { now - by } else { now + by });
    if offset != 0
        && let Ok(date) = HeaderValue::from_str(&date)
    {
        reply.headers_mut().insert(http::header::DATE, date);
    }
}

async fn route(
    shared: &Arc<Shared>,
    connection: &Arc<Connection>,
    head: &Parts,
    bearer: &Bearer,
    upload: Upload,
) -> Reply {
    let path = head.uri.path();
    if connection.door == Door::Plain {
        let page = matches!(
            path,
            "/oauth/authorize" | "/oauth/authorize/" | "/developer-hub" | "/developer-hub/"
        );
        if page {
            return authorise::page(shared, head, upload).await;
        }
    }
    if let Some(refusal) = check_host(shared, connection, path) {
        return refusal;
    }
    let latency = shared.lock().faults.resource.latency;
    if endpoints::without_version(path) == Some("/oauth/token") {
        return oauth::answer(shared, connection, &head.method, &head.headers, upload).await;
    }
    if latency > 0 {
        tokio::time::sleep(Duration::from_millis(latency)).await;
    }
    let (disturb, admitted) = {
        let mut state = shared.lock();
        let visit = Visit {
            connection,
            method: &head.method,
            path,
            bearer,
            now: shared.now(),
        };
        let admitted = if path.starts_with(transport::PREFIX) {
            gate::admit(shared, &state, &visit, Credentials::ANY).map(|caller| (None, caller))
        } else {
            find(&state.faults.personal, &visit).and_then(|(found, allowed)| {
                let caller = gate::admit(shared, &state, &visit, allowed)?;
                Ok((Some(found), caller))
            })
        };
        // A refused call never gets as far as a service that could misbehave.
        let disturb = match &admitted {
            Ok(_) => Disturb::take(&mut state.faults.resource.disturb, &head.method, path),
            Err(_) => None,
        };
        (disturb, admitted)
    };
    let (found, caller) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    let lose = disturb
        .as_ref()
        .is_some_and(|disturb| disturb.kind == Disturbance::LoseAnswer);
    if let Some(disturb) = disturb
        && !lose
    {
        return disturbed(&disturb, connection).await;
    }
    let reply = match found {
        None => transport::answer(shared, connection, head, upload).await,
        Some(found) => work::answer(shared, head, &found, caller, upload).await,
    };
    if lose {
        return vanish(connection, false).await;
    }
    reply
}

/// The edge before any token is looked at: certificate and enforcement.
fn check_host(shared: &Shared, connection: &Connection, path: &str) -> Option<Reply> {
    let tls = shared.lock().faults.tls.clone();
    let now = times::nanoseconds(shared.now());
    match connection.door {
        Door::Control => None,
        Door::Plain => tls.enforced.then(|| errors::forbidden(path, &now)),
        Door::Mtls => {
            let certificate = connection
                .tls
                .as_ref()
                .and_then(|session| session.client_certificate.as_ref());
            match (certificate, tls.missing_certificate) {
                (None, MissingCertificate::BadRequest) => Some(reply::html(
                    StatusCode::BAD_REQUEST,
                    NO_CERTIFICATE.to_owned(),
                )),
                (None, MissingCertificate::Forbidden | MissingCertificate::Alert) => {
                    Some(errors::forbidden(path, &now))
                }
                (Some(certificate), _)
                    if tls.check_common_name && certificate.common_name != shared.client_id =>
                {
                    Some(errors::forbidden(path, &now))
                }
                // It may have been revoked after the handshake.
                (Some(certificate), _) => shared
                    .revocations
                    .contains(&certificate.serial)
                    .then(|| errors::forbidden(path, &now)),
            }
        }
    }
}

const NO_CERTIFICATE: &str = "<html>\r\n<head><title>400 No required SSL certificate was sent</title></head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n<center>No required SSL certificate was sent</center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

/// The operation, and who may call it under the present switches.
fn find(personal: &PersonalFaults, visit: &Visit<'_>) -> Refusable<(Found, Credentials)> {
    let found = endpoints::find(visit.method.as_str(), visit.path).map_err(|lost| {
        let (status, message) = match lost {
            Lost::Nowhere => (StatusCode::NOT_FOUND, "No message available"),
            Lost::OtherMethod => (
                StatusCode::METHOD_NOT_ALLOWED,
                "Request method not supported",
            ),
        };
        errors::spring(status, message, visit.path, &times::nanoseconds(visit.now))
    })?;
    let (mut allowed, path) = (found.endpoint.credentials, found.endpoint.path);
    let disputed = path.starts_with("/accounts")
        || path == "/profiles/{profileId}/quotes"
        || path.starts_with("/profiles/{profileId}/quotes/")
        || path.starts_with("/quotes/");
    if disputed && personal.quotes_and_recipients {
        allowed = allowed.or(Credentials::PERSONAL);
    }
    Ok((found, allowed))
}

/// What a switch does instead of an answer.
pub(super) async fn disturbed(disturb: &Disturb, connection: &Arc<Connection>) -> Reply {
    match disturb.kind {
        Disturbance::TooManyRequests => errors::too_many_requests(disturb.retry_after),
        Disturbance::ServerError => errors::system_error(),
        Disturbance::Html => reply::html(
            StatusCode::SERVICE_UNAVAILABLE,
            "<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>".to_owned(),
        ),
        Disturbance::Redirect => {
            let mut reply = reply::empty(StatusCode::FOUND);
            let elsewhere = HeaderValue::from_static("https://elsewhere.invalid/");
            reply.headers_mut().insert(LOCATION, elsewhere);
            reply
        }
        Disturbance::Garbage => reply::typed(StatusCode::OK, "application/json", "not json {"),
        Disturbance::FalseUnauthorized => {
            errors::oauth(StatusCode::UNAUTHORIZED, "invalid_token", "Invalid token")
        }
        Disturbance::DropBefore | Disturbance::LoseAnswer => vanish(connection, false).await,
        Disturbance::Hang => std::future::pending().await,
    }
}

/// Ends the connection without an answer.
pub(super) async fn vanish(connection: &Arc<Connection>, reset: bool) -> Reply {
    connection.cut(reset);
    std::future::pending().await
}
