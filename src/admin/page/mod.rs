//! The status page: `/status` for people, at one glance.
//!
//! Made on the server, whole without JavaScript; with it the parts that change are sent anew. It
//! loads nothing from elsewhere, and the only thing it can change is the lane, for whoever knows
//! the admin key.

mod draw;
mod lane;
mod live;
mod sections;
#[cfg(test)]
mod tests;
mod traffic;
mod words;

pub(crate) use live::Gallery;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{Html, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};

use self::words::moment;
use crate::admin::control::Control;
use crate::admin::status::Status;

/// Without JavaScript the page is loaded anew this often, in seconds.
const RELOAD: u32 = 10;

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// What anybody on this machine may look at. The one route that changes something asks for a key.
pub(super) fn routes() -> Router<Arc<Control>> {
    let script = "text/javascript; charset=utf-8";
    Router::new()
        .route("/", get(board))
        .route("/events", get(live::events))
        .route("/lane", get(lane::form).post(lane::turn))
        .route(
            "/page.css",
            asset("text/css; charset=utf-8", include_str!("page.css")),
        )
        .route("/page.js", asset(script, include_str!("page.js")))
        .route(
            "/icon.svg",
            asset("image/svg+xml", include_str!("icon.svg")),
        )
}

fn asset(kind: &'static str, content: &'static str) -> axum::routing::MethodRouter<Arc<Control>> {
    get(async move || ([(CONTENT_TYPE, kind)], content))
}

/// On every answer of the admin listeners, whatever it is and whatever reads it.
pub(super) async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let fields = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("same-origin"),
        ),
    ];
    let headers = response.headers_mut();
    for (name, value) in fields {
        headers.insert(name, value);
    }
    // The page with the form says otherwise.
    headers
        .entry(REFERRER_POLICY)
        .or_insert(HeaderValue::from_static("no-referrer"));
    response
}

async fn board(State(control): State<Arc<Control>>) -> Html<String> {
    let status = control.status();
    let sections = sections::all(&status, control.has_key());
    let body = html! {
        (top(&status, true))
        main .board { @for section in &sections { (section) } }
        footer {
            a href="/status" { "JSON" } a href="/metrics" { "Metrics" } a href="/readyz" { "Readiness" }
        }
        p #said .unseen role="status" {}
    };
    document(&sections::title(&status), true, &body)
}

fn top(status: &Status, is_live: bool) -> Markup {
    html! {
        header .top {
            h1 { a href="/" { "wise-auth-proxy" } }
            span .{ "environment is-" (status.environment) } { (status.environment) }
            @if is_live { (clock(status)) }
        }
    }
}

/// When all this was so.
fn clock(status: &Status) -> Markup {
    html! { p #clock { (moment(&status.at, &status.at)) " UTC" } }
}

/// `is_live`: the page follows the proxy, by script or by being loaded anew.
fn document(title: &str, is_live: bool, body: &Markup) -> Html<String> {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/page.css";
                @if is_live {
                    noscript { meta http-equiv="refresh" content=(RELOAD); }
                    script src="/page.js" defer {}
                }
            }
            body { (body) }
        }
    };
    Html(document.into_string())
}
