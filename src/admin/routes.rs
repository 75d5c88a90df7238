//! The admin API. Errors are RFC 9457 problem documents with a `hint`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Extension, Path, Request, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::admin::control::{Control, Refused};
use crate::admin::page;
use crate::proxy::{is_of_another_origin, without_port};
use crate::wise::Lane;

/// The user at the other end of the unix socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uid(pub(crate) u32);

/// What anybody on this machine may read.
pub(crate) fn reading(control: Arc<Control>) -> Router {
    Router::new()
        .route("/startupz", get(startupz))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route(
            "/status",
            get(async |State(control): Shared| Json(control.status())),
        )
        .merge(page::routes())
        .with_state(control)
}

/// The loopback listener: for reading, and for the page's form.
pub(crate) fn over_tcp(control: Arc<Control>) -> Router {
    reading(control)
        .layer(middleware::from_fn(for_this_machine))
        .layer(middleware::from_fn(page::guarded))
}

/// The unix socket: reading and changing.
pub(crate) fn over_socket(control: Arc<Control>) -> Router {
    Router::new()
        .route(
            "/tokens",
            get(async |State(control): Shared| Json(control.tokens())),
        )
        .route(
            "/lanes",
            get(async |State(control): Shared| Json(control.lanes.look())),
        )
        .route("/tokens/{grant}", delete(forget))
        .route("/tokens/{grant}/refresh", post(refresh))
        .route("/store/look", post(look))
        .route(
            "/webhooks",
            get(async |State(control): Shared| Json(control.webhooks.standing())),
        )
        .route("/webhooks/{name}/retry", post(retry))
        .route("/switch", post(switch))
        .route("/reload", post(reload))
        .route("/shutdown", post(shutdown))
        // The name that jobs beside an Istio or Envoy sidecar know.
        .route("/quitquitquit", post(shutdown))
        .route("/notify/test", post(try_notify))
        .with_state(Arc::clone(&control))
        .merge(reading(control))
        .layer(middleware::from_fn(for_no_foreign_page))
        .layer(middleware::from_fn(page::guarded))
}

type Shared = State<Arc<Control>>;

async fn startupz(State(control): Shared) -> Response {
    health("started\n", &control.unstarted())
}

async fn livez(State(control): Shared) -> Response {
    health("ok\n", &control.ailments())
}

async fn readyz(State(control): Shared) -> Response {
    health("ready\n", &control.reasons())
}

/// Well, or why not, a reason a line.
fn health(well: &'static str, reasons: &[String]) -> Response {
    if reasons.is_empty() {
        return well.into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

async fn metrics(State(control): Shared) -> Response {
    let page = control.metrics.render();
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        page,
    )
        .into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    lane: Lane,
    reason: String,
    /// Who asks, in the asker's own words; the kernel's word for it is added.
    #[serde(default)]
    by: String,
}

async fn switch(
    State(control): Shared,
    Extension(Uid(uid)): Extension<Uid>,
    Json(turn): Json<Turn>,
) -> Result<Response, Problem> {
    if turn.reason.trim().is_empty() {
        let detail = "a turn of the switch needs a reason".to_owned();
        return Err(Problem(
            StatusCode::BAD_REQUEST,
            detail,
            "say why with --reason",
        ));
    }
    let by = format!("{} (uid {uid})", turn.by);
    Ok(Json(control.switch(turn.lane, by.trim(), &turn.reason).await?).into_response())
}

/// Answered before the stop begins; the answer is sent before the stop ends.
async fn shutdown(State(control): Shared, Extension(Uid(uid)): Extension<Uid>) -> Response {
    let first = control.stop(&format!("uid {uid}"));
    let seconds = control.longest_stop.as_secs();
    Json(json!({ "stopping": true, "already": !first, "at_most_seconds": seconds })).into_response()
}

async fn reload(State(control): Shared) -> Result<Response, Problem> {
    Ok(Json(control.reload().await?).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trial {
    /// Who asks, in the asker's own words.
    #[serde(default)]
    by: String,
}

/// What came of a trial, for each way to tell: `null` where it arrived.
async fn try_notify(
    State(control): Shared,
    Extension(Uid(uid)): Extension<Uid>,
    Json(trial): Json<Trial>,
) -> Json<BTreeMap<&'static str, Option<String>>> {
    let by = format!("{} (uid {uid})", trial.by);
    let told = control
        .notifier
        .trial(control.clock.as_ref(), by.trim())
        .await;
    Json(told.into_iter().collect())
}

async fn refresh(State(control): Shared, Path(grant): Path<String>) -> Result<Response, Problem> {
    let generation = control.refresh(&grant).await?;
    Ok(Json(json!({ "grant": grant, "generation": generation })).into_response())
}

/// A command has written to the store; a keeper would see it within a second.
async fn look(State(control): Shared) -> Json<serde_json::Value> {
    control.look().await;
    Json(json!({}))
}

async fn retry(State(control): Shared, Path(name): Path<String>) -> Result<Response, Problem> {
    let count = control.retry(&name).await?;
    Ok(Json(json!({ "webhook": name, "retried": count })).into_response())
}

async fn forget(State(control): Shared, Path(grant): Path<String>) -> Result<Response, Problem> {
    let forgotten = control.forget(&grant).await?;
    Ok(Json(json!({ "grant": grant, "forgotten": forgotten })).into_response())
}

/// Another's page must not read this, whatever name it reached us by.
async fn for_this_machine(
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        _ => "",
    };
    let name = without_port(host).trim_matches(['[', ']']);
    let address = name.parse::<std::net::IpAddr>();
    if name != "localhost" && !address.is_ok_and(|address| address.is_loopback()) {
        let detail = "this host is not served here".to_owned();
        return Err(Problem(
            StatusCode::MISDIRECTED_REQUEST,
            detail,
            "use 127.0.0.1 or localhost",
        ));
    }
    for_no_foreign_page(headers, request, next).await
}

/// Nor through whatever carries a browser to the unix socket.
async fn for_no_foreign_page(
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if is_of_another_origin(&headers, host.unwrap_or_default()) {
        let detail = "web pages may not read this".to_owned();
        return Err(Problem(
            StatusCode::FORBIDDEN,
            detail,
            "call it from a program",
        ));
    }
    Ok(next.run(request).await)
}

/// An error of the admin API.
#[derive(Debug)]
pub(super) struct Problem(
    pub(super) StatusCode,
    pub(super) String,
    pub(super) &'static str,
);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(status, detail, hint) = self;
        let title = status.canonical_reason().unwrap_or("Error");
        let document =
            json!({ "title": title, "status": status.as_u16(), "detail": detail, "hint": hint });
        (
            status,
            [(CONTENT_TYPE, "application/problem+json")],
            document.to_string(),
        )
            .into_response()
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let (status, hint) = match &refused {
            Refused::LaneUnavailable { .. } => (
                StatusCode::CONFLICT,
                "`wise-auth-proxy status` lists the lanes there are",
            ),
            Refused::NoSuchGrant(_) => (
                StatusCode::NOT_FOUND,
                "`wise-auth-proxy token show` lists the grants",
            ),
            Refused::NoSuchWebhook(_) => (
                StatusCode::NOT_FOUND,
                "`wise-auth-proxy webhook queue` lists those there are",
            ),
            Refused::Webhook(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "see `wise-auth-proxy status`, and the proxy's log",
            ),
            Refused::Refresh(_) => (
                StatusCode::BAD_GATEWAY,
                "the token in use goes on; see `wise-auth-proxy status`",
            ),
            Refused::Forget(_) => (
                StatusCode::CONFLICT,
                "see `wise-auth-proxy token show`, and the proxy's log",
            ),
            Refused::Reload(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "mend it and reload again; until then the settings before stay in use",
            ),
            Refused::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "start it again with `run`"),
        };
        Self(status, refused.to_string(), hint)
    }
}
