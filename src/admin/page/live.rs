//! The page's news, as server-sent events: each part that has changed, as HTML.
//!
//! State, not history: whoever comes (back) gets every part first, so nothing is kept for anybody
//! and a slow reader misses only what is no longer so.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use maud::Markup;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{clock, sections};
use crate::admin::control::Control;
use crate::admin::routes::Problem;
use crate::sync::watch;

/// Pages that follow at one time.
const SEATS: usize = 16;

/// A browser comes back this long after a broken connection.
const RETRY: Duration = Duration::from_secs(2);

/// A quiet stream says that it is alive this often, in readings of the meters (one a second).
const HEARTBEAT: u32 = 5;

/// A burst of publications is told as one.
const PAUSE: Duration = Duration::from_millis(100);

/// Room for those who follow, and their end.
#[derive(Debug)]
pub(crate) struct Gallery {
    seats: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Gallery {
    /// Streams end at `stop`: a page left open must not hold up the end of the process.
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self {
            seats: Arc::new(Semaphore::new(SEATS)),
            stop,
        }
    }
}

/// `GET /events`.
pub(super) async fn events(State(control): State<Arc<Control>>, headers: HeaderMap) -> Response {
    let Ok(seat) = Arc::clone(&control.gallery.seats).try_acquire_owned() else {
        let detail = format!("{SEATS} pages follow this proxy already");
        let full = Problem(StatusCode::SERVICE_UNAVAILABLE, detail, "close one of them");
        return ([(RETRY_AFTER, "10")], full).into_response();
    };
    let follower = Follower::new(control, seat, &headers);
    let events = stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Sse::new(events).into_response()
}

/// One page that follows.
struct Follower {
    control: Arc<Control>,
    published: watch::Receiver<u64>,
    beat: tokio::sync::watch::Receiver<u64>,
    /// By part, as it was last sent.
    sent: Vec<String>,
    number: u64,
    /// The page was made by another process: other parts, other scripts.
    is_stale: bool,
    _seat: OwnedSemaphorePermit,
}

impl Follower {
    fn new(control: Arc<Control>, seat: OwnedSemaphorePermit, headers: &HeaderMap) -> Self {
        let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
        let process = last.and_then(|id| id.split_once('-')).map(|(it, _)| it);
        Self {
            is_stale: process.is_some_and(|process| process != name(&control)),
            published: control.published.subscribe(),
            beat: control.traffic.subscribe(),
            sent: Vec::new(),
            number: 0,
            control,
            _seat: seat,
        }
    }

    /// The next thing to tell; none at the end.
    async fn next(&mut self) -> Option<Event> {
        if self.number == 0 {
            return Some(self.first());
        }
        let stop = self.control.gallery.stop.clone();
        stop.run_until_cancelled(self.news()).await
    }

    fn first(&mut self) -> Event {
        if std::mem::take(&mut self.is_stale) {
            // The page loads itself anew and comes back without this id. An event without data would
            // not reach it.
            return self.event("restarted", "load the page").retry(RETRY);
        }
        let changed = self.changed().unwrap_or_default();
        self.event("parts", &changed).retry(RETRY)
    }

    async fn news(&mut self) -> Event {
        let mut quiet = 0;
        loop {
            tokio::select! {
                Ok(()) = self.published.changed() => tokio::time::sleep(PAUSE).await,
                Ok(()) = self.beat.changed() => {}
                else => std::future::pending().await,
            }
            if let Some(changed) = self.changed() {
                return self.event("parts", &changed);
            }
            quiet += 1;
            if quiet >= HEARTBEAT {
                let clock = clock(&self.control.status()).into_string();
                return self.event("parts", &clock);
            }
        }
    }

    /// The parts that differ from what was last sent, and the clock with them.
    fn changed(&mut self) -> Option<String> {
        let status = self.control.status();
        let parts = sections::all(&status, self.control.has_key()).map(Markup::into_string);
        let known = |place: usize| self.sent.get(place).map(String::as_str);
        let changed = parts.iter().enumerate();
        let changed: String = changed
            .filter(|(place, part)| known(*place) != Some(part.as_str()))
            .map(|(_, part)| part.as_str())
            .collect();
        self.sent = parts.into();
        (!changed.is_empty()).then(|| clock(&status).into_string() + &changed)
    }

    fn event(&mut self, kind: &str, data: &str) -> Event {
        self.number += 1;
        let id = format!("{}-{}", name(&self.control), self.number);
        Event::default().event(kind).id(id).data(data)
    }
}

/// Tells this process from the one before.
fn name(control: &Control) -> String {
    let since = control.started.duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_millis().to_string()
}
