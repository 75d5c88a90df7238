//! Asking for an approval: first Wise, what the one-time token is for; then whoever the operator
//! named.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT};
use http::uri::{self, PathAndQuery};
use http::{HeaderValue, Request, StatusCode, Uri, Version};
use serde_json::json;

use super::case::Case;
use crate::guard::{Named, ambiguity, doubt_in_fields, doubt_in_query, profiles_named};
use crate::proxy::attempt::Outgoing;
use crate::proxy::body::{Download, Upload};
use crate::proxy::choice::Credential;
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
    outgoing: &Outgoing<'_>,
    case: &Case<'_>,
    token: &OneTimeToken,
    place: &Place,
) -> Outcome {
    // Who is asked must know for whom, and not be told of another.
    let profile = match plainly(outgoing).and_then(|()| profile(pass, outgoing)) {
        Ok(profile) => profile,
        Err(Ambiguous(why)) => {
            tracing::warn!(
                lane = %pass.lane,
                operation = case.name(),
                "nobody was asked: {why}"
            );
            return Outcome::Failed;
        }
    };
    let asking = async {
        let status = tokio::time::timeout(STATUS_TIME, status(pass, token)).await;
        // Who is asked must know what for.
        let Ok(Some(status)) = status else {
            return Outcome::Failed;
        };
        let valid = Duration::from_secs(status.validity);
        let question = question(pass, outgoing, case, profile.as_ref(), token, &status);
        match place.ask(question, valid).await {
            Approval::Approved => Outcome::Approved,
            Approval::Refused => Outcome::Refused,
            Approval::TimedOut => Outcome::TimedOut,
        }
    };
    tokio::select! {
        biased;
        () = stopping(worker) => Outcome::Abandoned,
        outcome = asking => outcome,
    }
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

fn question(
    pass: &Pass,
    outgoing: &Outgoing<'_>,
    case: &Case<'_>,
    profile: Option<&ProfileId>,
    token: &OneTimeToken,
    status: &Status,
) -> Bytes {
    let directory = &pass.view.snapshot.directory;
    let question = json!({
        "operation": case.name(),
        "action": status.action,
        "method": outgoing.head.method.as_str(),
        "path": outgoing.target.path(),
        "profile": profile.map(ProfileId::as_str),
        "grant": directory.name(pass.credential),
        "lane": pass.lane.name(),
        "challenges": status.challenges,
        "one_time_token": token.expose(),
        "valid_for": status.validity,
    });
    question.to_string().into()
}

/// The request cannot be told to a person in one way.
struct Ambiguous(&'static str);

/// Whether Wise reads the request as it is told to a person: a profile, path or method that is written in
/// another way could be another there.
fn plainly(outgoing: &Outgoing<'_>) -> Result<(), Ambiguous> {
    let target = &outgoing.target;
    let doubt = ambiguity(target.path())
        .or_else(|| doubt_in_query(target.query()))
        .or_else(|| doubt_in_fields(&outgoing.head.headers));
    doubt.map_or(Ok(()), |why| Err(Ambiguous(why)))
}

const TWO_PROFILES: Ambiguous =
    Ambiguous("the request names a profile that its grant does not act for, or more than one");

/// Whose money it is about: what Wise reads in path and query, and the grant's profile only where
/// they name none. The application's own field has chosen the grant, and never leaves: where it named
/// another profile than the target does, the two differ here.
fn profile(pass: &Pass, outgoing: &Outgoing<'_>) -> Result<Option<ProfileId>, Ambiguous> {
    let acts_for = match pass.credential {
        Credential::User(grant) => pass.view.snapshot.directory.profile(grant),
        Credential::Personal | Credential::Client => None,
    };
    let target = &outgoing.target;
    let mut profile = acts_for.cloned();
    for named in profiles_named(target.path(), target.query()).map(Named::shown) {
        let named: ProfileId = named.parse().map_err(|_| TWO_PROFILES)?;
        if profile.as_ref().is_some_and(|known| *known != named) {
            return Err(TWO_PROFILES);
        }
        profile = Some(named);
    }
    Ok(profile)
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
