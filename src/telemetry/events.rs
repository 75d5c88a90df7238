//! What happened lately that a person would want to know: for the status page, and for
//! notifications.
//!
//! Rare things only, noted on the control side: no request ever comes by here. Texts are those of
//! the log and hold no secret.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::broadcast;

use crate::clock::Clock;
pub(crate) use crate::event::{Kind, Severity};

/// So many are kept.
const KEPT: usize = 256;

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Event {
    /// Counts the events of this process, from 1.
    pub(crate) number: u64,
    /// When, by the wall clock; RFC 3339 in JSON.
    #[serde(serialize_with = "rfc3339")]
    pub(crate) at: SystemTime,
    pub(crate) kind: Kind,
    pub(crate) severity: Severity,
    /// The grant that it is about; `None`: it is about all, or about client credentials.
    pub(crate) grant: Option<String>,
    /// One sentence.
    pub(crate) text: String,
}

fn rfc3339<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let text = OffsetDateTime::from(*at).format(&Rfc3339);
    serializer.serialize_str(&text.unwrap_or_default())
}

/// The events of this process. Cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
    news: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug, Default)]
struct Kept {
    ring: VecDeque<Arc<Event>>,
    count: u64,
}

impl Events {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            clock,
            kept: Mutex::default(),
            news: broadcast::Sender::new(KEPT),
        }))
    }

    /// Notes that something happened just now.
    pub(crate) fn note(&self, kind: Kind, grant: Option<&str>, text: impl Into<String>) {
        let at = self.0.clock.wall();
        let (grant, text) = (grant.map(str::to_owned), text.into());
        // Held until everybody is told, so that numbers rise for readers too.
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.count += 1;
        let event = Arc::new(Event {
            number: kept.count,
            at,
            kind,
            severity: kind.severity(),
            grant,
            text,
        });
        if kept.ring.len() == KEPT {
            kept.ring.pop_front();
        }
        kept.ring.push_back(Arc::clone(&event));
        // Nobody may be listening.
        let _ = self.0.news.send(event);
    }

    /// The latest events, oldest first; at most 256.
    pub(crate) fn recent(&self) -> Vec<Arc<Event>> {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.ring.iter().cloned().collect()
    }

    /// Hears of each event from now on. Who reads too slowly is told how many were missed, and
    /// finds them in [`Events::recent`].
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.news.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Manual;

    fn events() -> Events {
        Events::new(Arc::new(Manual::at(SystemTime::UNIX_EPOCH)))
    }

    #[test]
    fn the_latest_are_kept_in_order_and_numbered() {
        let events = events();
        for number in 0..KEPT + 10 {
            events.note(Kind::TokenRenewed, Some("main"), number.to_string());
        }
        let recent = events.recent();
        assert_eq!(recent.len(), KEPT);
        let numbers: Vec<_> = recent.iter().map(|event| event.number).collect();
        let last = u64::try_from(KEPT + 10).unwrap();
        assert_eq!(numbers, (11..=last).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_listener_hears_what_comes_after_it() {
        let events = events();
        events.note(Kind::Started, None, "before");
        let mut news = events.subscribe();
        events.note(Kind::GrantDead, Some("main"), "after");
        let event = news.recv().await.unwrap();
        assert_eq!((event.number, event.text.as_str()), (2, "after"));
        assert_eq!(event.severity, Severity::Error);
    }

    #[test]
    fn an_event_in_json_has_its_time_and_names() {
        let events = events();
        events.note(Kind::LaneSwitched, None, "personal to oauth-mtls");
        let json = serde_json::to_value(&*events.recent()[0]).unwrap();
        assert_eq!(json["kind"], "lane_switched");
        assert_eq!(json["severity"], "warning");
        assert!(json["at"].as_str().unwrap().ends_with('Z'), "{json}");
    }
}
