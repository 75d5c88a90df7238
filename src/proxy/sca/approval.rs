//! Asking for an approval: first Wise, what the one-time token is for; then whoever the operator
//! named.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT};
use http::uri::{self, PathAndQuery};
use http::{HeaderValue, Request, StatusCode, Uri, Version};
use serde_json::json;
use tokio::time::Instant;

use super::case::Case;
use crate::proxy::body::{Download, Upload};
use crate::proxy::choice::Credential;
use crate::proxy::record::Record;
use crate::proxy::token::Pass;
use crate::proxy::worker::Worker;
use crate::sca::{Approval, OneTimeToken, Place, Status};
use crate::telemetry::challenges::Outcome;
use crate::upstream::Endpoint;
use crate::wise::ProfileId;
use crate::wise::headers::ONE_TIME_TOKEN;
use crate::wise::hosts::ONE_TIME_TOKEN_STATUS;

/// Wise says quickly what a token is for, or not at all.
const STATUS_TIME: Duration = Duration::from_secs(10);

/// And in few words.
const STATUS_LIMIT: usize = 64 * 1024;

/// Has the request approved. Nothing of Wise's is held while somebody thinks.
pub(super) async fn ask(
    worker: &Worker,
    pass: &Pass,
    record: &mut Record,
    case: &Case<'_>,
    token: &OneTimeToken,
    place: &Place,
) -> Outcome {
    let began = Instant::now();
    let asking = async {
        let status = tokio::time::timeout(STATUS_TIME, status(pass, token)).await;
        // Who is asked must know what for.
        let Ok(Some(status)) = status else {
            return Outcome::Failed;
        };
        let valid = Duration::from_secs(status.validity);
        let question = question(pass, case, token, &status);
        match place.ask(question, valid).await {
            Approval::Approved => Outcome::Approved,
            Approval::Refused => Outcome::Refused,
            Approval::TimedOut => Outcome::TimedOut,
        }
    };
    let outcome = tokio::select! {
        biased;
        () = stopping(worker) => Outcome::Abandoned,
        outcome = asking => outcome,
    };
    // A person's time is none of ours.
    record.upstream += began.elapsed();
    outcome
}

/// Returns when the proxy is to stop: the application gets its answer while it still can.
async fn stopping(worker: &Worker) {
    let mut news = worker.subscribe();
    while !worker.view().snapshot.draining {
        if news.changed().await.is_err() {
            return;
        }
    }
}

fn question(pass: &Pass, case: &Case<'_>, token: &OneTimeToken, status: &Status) -> Bytes {
    let directory = &pass.view.snapshot.directory;
    let profile = match pass.credential {
        Credential::User(grant) => directory.profile(grant).map(ProfileId::as_str),
        Credential::Personal | Credential::Client => None,
    };
    let operation = case.operation();
    let question = json!({
        "operation": case.name(),
        "action": status.action,
        "method": operation.map(|it| it.method),
        "path": operation.map(|it| it.path),
        "profile": profile,
        "grant": directory.name(pass.credential),
        "lane": pass.lane.name(),
        "challenges": status.challenges,
        "one_time_token": token.expose(),
        "valid_for": status.validity,
    });
    question.to_string().into()
}

/// What Wise says of the token, to the user whose request it is for.
async fn status(pass: &Pass, token: &OneTimeToken) -> Option<Status> {
    let pool = pass.view.pools[pass.lane.index()].as_ref()?;
    let mut lease = pool.acquire().await.ok()?;
    let request = request(lease.is_http2(), pool.endpoint(), pass, token);
    let response = lease.send(request).await.ok()?;
    let is_there = response.status() == StatusCode::OK;
    let mut download = Download::new(response, STATUS_TIME);
    let mut text = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| download.poll_frame(cx)).await {
        let data = frame.ok()?.into_data().unwrap_or_default();
        text.extend_from_slice(&data);
        if text.len() > STATUS_LIMIT {
            return None;
        }
    }
    lease.finish();
    Status::read(&text, token).filter(|_| is_there)
}

fn request(http2: bool, endpoint: &Endpoint, pass: &Pass, token: &OneTimeToken) -> Request<Upload> {
    let mut request = Request::new(Upload::empty());
    let mut parts = uri::Parts::default();
    parts.path_and_query = Some(PathAndQuery::from_static(ONE_TIME_TOKEN_STATUS));
    let fields = request.headers_mut();
    if http2 {
        parts.scheme = Some(endpoint.scheme.clone());
        parts.authority = Some(endpoint.authority.clone());
    } else {
        fields.insert(HOST, endpoint.host.clone());
    }
    fields.insert(AUTHORIZATION, pass.authorization.clone());
    fields.insert(ONE_TIME_TOKEN, token.value().clone());
    fields.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let agent = concat!("wise-auth-proxy/", env!("CARGO_PKG_VERSION"));
    fields.insert(USER_AGENT, HeaderValue::from_static(agent));
    if http2 {
        *request.version_mut() = Version::HTTP_2;
    }
    // Scheme and authority come together or not at all, and the path is there: this cannot fail.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    request
}
