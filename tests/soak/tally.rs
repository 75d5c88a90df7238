//! What was seen, and what was wrong about it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// After trouble is over, broken connections and back-offs may show for this long.
const ECHO: Duration = Duration::from_secs(4);

#[derive(Default)]
pub struct Tally {
    fine: AtomicU64,
    excused: Mutex<BTreeMap<String, u64>>,
    wrong: Mutex<Vec<String>>,
    /// When there was trouble: begin, and end once it has one.
    troubles: Mutex<Vec<(Instant, Option<Instant>)>>,
    events: Mutex<BTreeMap<&'static str, u64>>,
    over: AtomicBool,
    bell: Notify,
}

impl Tally {
    pub fn fine(&self) {
        self.fine.fetch_add(1, Ordering::Relaxed);
    }

    /// Something other than the right answer, to a request of that moment.
    pub fn odd(&self, since: Instant, what: String) {
        if self.troubled(since) {
            *self.excused.lock().unwrap().entry(what).or_default() += 1;
        } else {
            let mut wrong = self.wrong.lock().unwrap();
            if wrong.len() < 50 {
                wrong.push(what);
            }
        }
    }

    pub fn trouble_begins(&self) {
        self.troubles.lock().unwrap().push((Instant::now(), None));
    }

    pub fn trouble_ends(&self) {
        if let Some((_, end)) = self.troubles.lock().unwrap().last_mut() {
            *end = Some(Instant::now());
        }
    }

    pub fn event(&self, name: &'static str) {
        *self.events.lock().unwrap().entry(name).or_default() += 1;
    }

    /// Whether there was trouble, or its echo, at any time since then.
    fn troubled(&self, since: Instant) -> bool {
        let troubles = self.troubles.lock().unwrap();
        troubles
            .iter()
            .rev()
            .take(4)
            .any(|(_, end)| end.is_none_or(|end| end + ECHO > since))
    }

    /// The run is over.
    pub fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.bell.notify_waiters();
    }

    /// Sleeps for `length`, or less if the run ends; whether it goes on.
    pub async fn pause(&self, length: Duration) -> bool {
        let rung = self.bell.notified();
        if self.over.load(Ordering::Acquire) {
            return false;
        }
        tokio::time::timeout(length, rung).await.is_err()
    }

    pub fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    pub fn line(&self) -> String {
        let fine = self.fine.load(Ordering::Relaxed);
        let wrong = self.wrong.lock().unwrap().len();
        let excused = self.excused.lock().unwrap();
        let count: u64 = excused.values().sum();
        format!(
            "{fine} right, {wrong} wrong, {count} in trouble {:?}; {:?}",
            *excused,
            *self.events.lock().unwrap()
        )
    }
}
