//! What one worker counts.
//!
//! A `Meter` belongs to one worker thread, the only one that writes it; the scrape reads it from
//! elsewhere and adds the workers up. So a count is a plain load and store, never a locked
//! instruction, and no cache line travels between workers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::config::JoseMethod;
use crate::telemetry::challenges::Challenges;
use crate::wise::{CredentialKind, Lane};

/// A count that only its worker raises.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, by: u64) {
        // One writer: a load and a store lose nothing.
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(by),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A level that only its worker moves.
#[derive(Debug, Default)]
pub(crate) struct Level(AtomicI64);

impl Level {
    pub(crate) fn up(&self) {
        self.0
            .store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn down(&self) {
        self.0
            .store(self.0.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the duration buckets, in microseconds.
pub(crate) const BOUNDS_US: [u64; 16] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000, 30_000_000,
];

/// Durations by bucket.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    buckets: [Count; BOUNDS_US.len() + 1],
    sum_us: Count,
}

impl Durations {
    pub(crate) fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US
            .iter()
            .position(|bound| us <= *bound)
            .unwrap_or(BOUNDS_US.len());
        self.buckets[bucket].add(1);
        self.sum_us.add(us);
    }

    /// Counts per bucket (not cumulative) and the sum in microseconds.
    pub(crate) fn read(&self) -> ([u64; BOUNDS_US.len() + 1], u64) {
        (
            std::array::from_fn(|i| self.buckets[i].read()),
            self.sum_us.read(),
        )
    }
}

/// Status classes, `1xx` to `5xx`.
pub(crate) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Refusals of Wise's that an operator wants to see.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// 401: the token.
    Unauthorised,
    /// 403 that asks for strong customer authentication.
    Sca,
    /// Any other 403.
    Forbidden,
    /// 429.
    Throttled,
}

/// Labels of [`Refusal`], in its order.
pub(crate) const REFUSALS: [&str; 4] = ["unauthorised", "sca", "forbidden", "throttled"];

/// What became of the answer to a request that was signed or encrypted here.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Jose {
    /// Verified or decrypted, and handed on.
    Opened,
    /// There was nothing to verify.
    Empty,
    /// An error that Wise told in the open.
    PlainError,
    /// Not handed on.
    Refused,
}

/// Labels of [`Jose`], in its order.
pub(crate) const JOSE_OUTCOMES: [&str; 4] = ["opened", "empty", "plain_error", "refused"];

/// Every method, in the order of the counts.
pub(crate) const JOSE_METHODS: [JoseMethod; 3] =
    [JoseMethod::Jws, JoseMethod::Jwe, JoseMethod::JwsJwe];

/// What one worker counts of one caller.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    requests: [Count; CLASSES.len()],
    /// Unix seconds of its last request; 0: none yet.
    seen: AtomicU64,
}

impl Tally {
    /// An answer reached the caller, to a request of that time.
    pub(crate) fn answered(&self, status: http::StatusCode, at: SystemTime) {
        self.requests[class(status)].add(1);
        let at = at.duration_since(SystemTime::UNIX_EPOCH);
        let at = at.unwrap_or_default().as_secs();
        self.seen.store(at, Ordering::Relaxed);
    }
}

/// What all workers have counted of one caller.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct CallerTraffic {
    pub(crate) name: String,
    /// By status class.
    pub(crate) requests: [u64; CLASSES.len()],
    /// Unix seconds of its last request.
    pub(crate) seen: Option<u64>,
}

/// The callers of all workers, each once, in order of their names.
pub(crate) fn callers<'a>(meters: impl IntoIterator<Item = &'a Arc<Meter>>) -> Vec<CallerTraffic> {
    let mut sums: BTreeMap<String, CallerTraffic> = BTreeMap::new();
    for meter in meters {
        let callers = meter.callers.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, tally) in callers.iter() {
            let sum = sums.entry(name.clone()).or_default();
            sum.name.clone_from(name);
            for (total, count) in sum.requests.iter_mut().zip(&tally.requests) {
                *total += count.read();
            }
            let seen = tally.seen.load(Ordering::Relaxed);
            sum.seen = sum.seen.max((seen > 0).then_some(seen));
        }
    }
    sums.into_values().collect()
}

fn class(status: http::StatusCode) -> usize {
    usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1
}

/// Everything one worker counts.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    requests: [[[Count; CLASSES.len()]; CredentialKind::ALL.len()]; Lane::ALL.len()],
    refusals: [[Count; REFUSALS.len()]; Lane::ALL.len()],
    /// From a request's head to its answer's head, by lane.
    pub(crate) total: [Durations; Lane::ALL.len()],
    /// The part of it that is ours: everything but the wait for Wise.
    pub(crate) added: [Durations; Lane::ALL.len()],
    /// Problem documents of ours, by position in the table given to [`Meter::new`].
    pub(crate) faults: Box<[Count]>,
    pub(crate) in_flight: Level,
    pub(crate) downstream: Level,
    /// Wishes for strong customer authentication.
    pub(crate) challenges: Challenges,
    /// Requests sent again after a 401.
    pub(crate) replays: Count,
    /// Requests that waited for a renewal.
    pub(crate) gate_waits: Count,
    jose: [[Count; JOSE_OUTCOMES.len()]; JOSE_METHODS.len()],
    /// Public keys of Wise's: fetched, and asked for in vain.
    pub(crate) jose_keys: [Count; 2],
    pub(crate) dials: Count,
    pub(crate) dials_failed: Count,
    pub(crate) connections: Level,
    pub(crate) handshakes_full: Count,
    pub(crate) handshakes_resumed: Count,
    /// Requests that have their token and no answer yet, by grant (the last one: client credentials).
    pub(crate) unanswered: Box<[Level]>,
    /// Access lines that the writer had no room for.
    pub(crate) lines_dropped: Count,
    /// Of the callers in the configuration. Locked by the worker when a snapshot is published, and
    /// by a scrape; never on the way of a request.
    callers: Mutex<Vec<(String, Arc<Tally>)>>,
}

impl Meter {
    /// A meter for `grants` grants and `faults` kinds of problem.
    pub(crate) fn new(grants: usize, faults: usize) -> Self {
        Self {
            faults: (0..faults).map(|_| Count::default()).collect(),
            unanswered: (0..=grants).map(|_| Level::default()).collect(),
            ..Self::default()
        }
    }

    /// One answer of Wise's or ours reached the application.
    pub(crate) fn answered(&self, lane: Lane, kind: CredentialKind, status: http::StatusCode) {
        self.requests[lane.index()][kind.index()][class(status)].add(1);
    }

    /// Tallies of these callers, in their order. Those of callers that stay go on; those of callers
    /// that are gone are dropped, so that there are never more than the configuration names.
    pub(crate) fn of_callers<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Arc<Tally>> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let next: Vec<_> = names
            .map(|name| {
                let known = callers.iter().find(|(known, _)| known == name);
                let tally = known.map_or_else(Arc::default, |(_, tally)| Arc::clone(tally));
                (name.to_owned(), tally)
            })
            .collect();
        let tallies = next.iter().map(|(_, tally)| Arc::clone(tally)).collect();
        *callers = next;
        tallies
    }

    /// Wise refused a request.
    pub(crate) fn refused(&self, lane: Lane, refusal: Refusal) {
        self.refusals[lane.index()][refusal as usize].add(1);
    }

    /// The answer to a request that was signed or encrypted here.
    pub(crate) fn jose(&self, method: JoseMethod, outcome: Jose) {
        self.jose[method as usize][outcome as usize].add(1);
    }

    pub(crate) fn jose_requests(&self, method: JoseMethod, outcome: usize) -> u64 {
        self.jose[method as usize][outcome].read()
    }

    pub(crate) fn requests(&self, lane: Lane, kind: CredentialKind, class: usize) -> u64 {
        self.requests[lane.index()][kind.index()][class].read()
    }

    pub(crate) fn refusals(&self, lane: Lane, refusal: usize) -> u64 {
        self.refusals[lane.index()][refusal].read()
    }
}
