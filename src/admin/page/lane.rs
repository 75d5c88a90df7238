//! Another lane, by form: for whoever knows the admin key, and only from this page itself.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HOST, LOCATION, ORIGIN, REFERRER_POLICY, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::html;

use super::{document, sections, top};
use crate::admin::control::{Control, Refused};
use crate::admin::key::Verdict;
use crate::admin::routes::Problem;
use crate::secret::Secret;
use crate::wise::Lane;

/// Who turns the switch, for the audit log: the key is all that is known of whoever has it.
const WHO: &str = "status page";

/// Longest form; the reason is a sentence or two.
const LONGEST: usize = 8 * 1024;

/// `GET /lane`. A page of its own: the other is loaded anew while somebody types.
pub(super) async fn form(State(control): State<Arc<Control>>) -> Response {
    if !control.has_key() {
        return no_key().into_response();
    }
    page(&control, StatusCode::OK, &Filled::default(), None)
}

/// `POST /lane`.
pub(super) async fn turn(
    State(control): State<Arc<Control>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !control.has_key() {
        return no_key().into_response();
    }
    if !is_from_here(&headers) {
        let detail = "only the form of this very page may ask for that".to_owned();
        let hint = "open /lane in the browser, or use `wise-auth-proxy switch`";
        return Problem(StatusCode::FORBIDDEN, detail, hint).into_response();
    }
    let form = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if form != Some(b"application/x-www-form-urlencoded") || body.len() > LONGEST {
        let detail = format!("a form of at most {LONGEST} bytes is wanted");
        let hint = "use the form on /lane, or `wise-auth-proxy switch`";
        return Problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail, hint).into_response();
    }
    let (filled, key) = Filled::read(&body);
    match control.try_key(&key) {
        Verdict::Right => {}
        Verdict::Wrong => {
            tracing::warn!("a wrong admin key was shown on the status page");
            let told = "This is not the admin key. Nothing was changed.";
            return page(&control, StatusCode::FORBIDDEN, &filled, Some(told));
        }
        Verdict::TooMany { wait } => return too_many(&control, &filled, wait),
    }
    let Some(lane) = filled.lane else {
        let told = "Choose a lane. Nothing was changed.";
        return page(&control, StatusCode::BAD_REQUEST, &filled, Some(told));
    };
    if filled.reason.trim().is_empty() {
        let told = "Say why; the audit log wants to know. Nothing was changed.";
        return page(&control, StatusCode::BAD_REQUEST, &filled, Some(told));
    }
    match Arc::clone(&control).switch(lane, WHO, &filled.reason).await {
        Ok(turned) => match turned.warning {
            // What the page shows next must not be loaded a second time as a second turn.
            None => (StatusCode::SEE_OTHER, [(LOCATION, "/")]).into_response(),
            Some(warning) => {
                let told = format!("New requests take lane {lane}. But: {warning}");
                page(&control, StatusCode::OK, &Filled::default(), Some(&told))
            }
        },
        Err(refused) => {
            let status = match &refused {
                Refused::LaneUnavailable { .. } => StatusCode::CONFLICT,
                Refused::NoSuchWebhook(_)
                | Refused::Webhook(_)
                | Refused::NoSuchGrant(_)
                | Refused::Refresh(_)
                | Refused::Forget(_)
                | Refused::Reload(_)
                | Refused::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            };
            let told = format!("Nothing was changed: {refused}.");
            page(&control, status, &filled, Some(&told))
        }
    }
}

/// What was typed, but for the key.
#[derive(Debug, Default)]
struct Filled {
    lane: Option<Lane>,
    reason: String,
}

impl Filled {
    fn read(body: &[u8]) -> (Self, Secret) {
        let mut filled = Self::default();
        let mut key = Secret::new("");
        for (name, value) in form_urlencoded::parse(body) {
            match name.as_ref() {
                "lane" => filled.lane = value.parse().ok(),
                "reason" => filled.reason = value.into_owned(),
                "key" => key = Secret::new(value),
                _ => {}
            }
        }
        (filled, key)
    }
}

/// Whether a browser says that a page of ours sent this. Silence is not enough here.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let host = headers.get(HOST).and_then(text).unwrap_or_default();
    // That it is ours was looked at before; see `routes`. Both kinds of page are served in the clear.
    headers.get(ORIGIN).and_then(text) == Some(format!("http://{host}"))
}

fn no_key() -> Problem {
    let detail = "the lane cannot be changed here: there is no admin.key".to_owned();
    let hint = "use `wise-auth-proxy switch <lane> --reason …`, or set admin.key";
    Problem(StatusCode::NOT_FOUND, detail, hint)
}

fn too_many(control: &Control, filled: &Filled, wait: Duration) -> Response {
    let seconds = wait.as_secs().max(1);
    let told = format!(
        "Too many wrong keys. Try again in {seconds} s, or use `wise-auth-proxy switch` on the \
         machine. Nothing was changed."
    );
    let page = page(control, StatusCode::TOO_MANY_REQUESTS, filled, Some(&told));
    ([(RETRY_AFTER, seconds.to_string())], page).into_response()
}

fn page(control: &Control, code: StatusCode, filled: &Filled, told: Option<&str>) -> Response {
    let status = control.status();
    let body = html! {
        (top(&status, false))
        main .narrow {
            section .card.{ "in-" (status.lane) } {
                h2 { "Lane in use" }
                p .huge { (status.lane) }
                p { (sections::meaning(status.lane)) }
            }
            @if let Some(told) = told { p .told role="alert" { (told) } }
            form .card method="post" action="/lane" {
                h2 { "Change the lane" }
                p { "Every new request takes it at once. Requests in flight end where they began." }
                fieldset {
                    legend { "To" }
                    @for lane in &status.lanes {
                        label .choice {
                            input type="radio" name="lane" value=(lane) required
                                checked[filled.lane == Some(*lane)] disabled[*lane == status.lane];
                            span { strong { (lane) } br; small { (sections::meaning(*lane)) } }
                        }
                    }
                }
                label { "Why"
                    input type="text" name="reason" value=(filled.reason) required maxlength="500"
                        placeholder="payments answer 401" autocomplete="off";
                }
                label { "Admin key"
                    input type="password" name="key" required autocomplete="current-password";
                }
                p .act { button .button type="submit" { "Change the lane" } " " a href="/" { "Back" } }
            }
        }
    };
    let title = format!("Change the lane · {}", sections::title(&status));
    // With `no-referrer` a browser would hide the origin of the form from us, too.
    let referrer = [(REFERRER_POLICY, "same-origin")];
    (code, referrer, document(&title, false, &body)).into_response()
}
