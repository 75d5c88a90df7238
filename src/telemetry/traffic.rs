//! The last minutes of traffic by lane: how much, how fast, how often wrong.
//!
//! Once a second the control side reads what the workers have counted anyway; a reading less an
//! earlier one is what happened between the two. Nothing of this is on the way of a request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::telemetry::meter::{BOUNDS_US, CLASSES, Durations, Meter, REFUSALS};
use crate::wise::{CredentialKind, Lane};

/// How often the meters are read.
const BEAT: Duration = Duration::from_secs(1);

/// What is looked back on.
const WINDOW: Duration = Duration::from_mins(5);

/// One point of a series.
const SLOT: Duration = Duration::from_secs(5);

/// What "now" means for a rate: shorter would jump, longer would lag.
const NOW: Duration = Duration::from_secs(10);

const SLOTS: usize = 60;
const BUCKETS: usize = BOUNDS_US.len() + 1;

/// The readings of the last minutes.
pub(crate) struct Traffic {
    meters: Vec<Arc<Meter>>,
    clock: Arc<dyn Clock>,
    readings: Mutex<VecDeque<Reading>>,
    beat: watch::Sender<u64>,
}

impl std::fmt::Debug for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Traffic").finish_non_exhaustive()
    }
}

impl Traffic {
    /// Over the workers' meters; reads them for the first time.
    pub(crate) fn new(meters: Vec<Arc<Meter>>, clock: Arc<dyn Clock>) -> Self {
        let traffic = Self {
            meters,
            clock,
            readings: Mutex::default(),
            beat: watch::Sender::new(0),
        };
        traffic.read();
        traffic
    }

    /// Reads the meters once a second until `stop`.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(BEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.read();
        }
    }

    /// Wakes after each reading.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.beat.subscribe()
    }

    fn read(&self) {
        let reading = Reading {
            at: self.clock.boot(),
            lanes: Lane::ALL.map(|lane| Counts::of(&self.meters, lane)),
        };
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        // One from before the window is kept: its first slot begins there.
        let gone = reading.at.saturating_sub(WINDOW + SLOT);
        while readings.front().is_some_and(|oldest| oldest.at < gone) {
            readings.pop_front();
        }
        readings.push_back(reading);
        drop(readings);
        self.beat.send_modify(|beat| *beat += 1);
    }

    /// The last minutes, as they stand after the last reading.
    pub(crate) fn report(&self) -> Report {
        let readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let level = |read: fn(&Meter) -> i64| self.meters.iter().map(|meter| read(meter)).sum();
        Report {
            window_seconds: WINDOW.as_secs(),
            slot_seconds: SLOT.as_secs(),
            in_flight: level(|meter| meter.in_flight.read()),
            downstream_connections: level(|meter| meter.downstream.read()),
            upstream_connections: level(|meter| meter.connections.read()),
            lanes: Lane::ALL
                .into_iter()
                .map(|lane| of_lane(&readings, lane))
                .collect(),
        }
    }
}

/// Traffic of the last minutes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// How far it looks back.
    pub(crate) window_seconds: u64,
    /// Length of one point of a series.
    pub(crate) slot_seconds: u64,
    /// Requests being served at this moment.
    pub(crate) in_flight: i64,
    pub(crate) downstream_connections: i64,
    pub(crate) upstream_connections: i64,
    pub(crate) lanes: Vec<LaneReport>,
}

/// Traffic of one lane.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LaneReport {
    pub(crate) lane: Lane,
    /// Over the last ten seconds.
    pub(crate) requests_per_second: f64,
    /// Answers within the window.
    pub(crate) requests: u64,
    /// Of them with a status of 400 to 499.
    pub(crate) status_4xx: u64,
    /// Of them with a status of 500 to 599, Wise's and ours.
    pub(crate) status_5xx: u64,
    /// Refusals by Wise within the window: 401, 403 and 429.
    pub(crate) refusals: Refusals,
    /// From a request's head to its answer's head, within the window.
    pub(crate) latency: Option<Quantiles>,
    /// The proxy's own share of it.
    pub(crate) added: Option<Quantiles>,
    /// Oldest first; shorter while the proxy is younger than the window.
    pub(crate) series: Vec<Slot>,
}

/// Refusals by Wise, by their meaning.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Refusals {
    pub(crate) unauthorised: u64,
    pub(crate) sca: u64,
    pub(crate) forbidden: u64,
    pub(crate) throttled: u64,
}

/// Estimates from the buckets of the metrics page, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// A few seconds of one lane.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Slot {
    pub(crate) requests: u64,
    pub(crate) status_5xx: u64,
    /// Milliseconds; none without requests.
    pub(crate) p99_ms: Option<f64>,
}

/// All that has been counted up to a moment.
#[derive(Clone)]
struct Reading {
    /// By the boot clock.
    at: Duration,
    lanes: [Counts; Lane::ALL.len()],
}

/// What was counted for one lane: since the start, or between two readings.
#[derive(Clone, Copy)]
struct Counts {
    classes: [u64; CLASSES.len()],
    refusals: [u64; REFUSALS.len()],
    total: [u64; BUCKETS],
    added: [u64; BUCKETS],
}

impl Counts {
    fn of(meters: &[Arc<Meter>], lane: Lane) -> Self {
        let sum = |read: &dyn Fn(&Meter) -> u64| meters.iter().map(|meter| read(meter)).sum();
        let buckets = |of: fn(&Meter) -> &[Durations; Lane::ALL.len()]| {
            let mut sums = [0; BUCKETS];
            for meter in meters {
                let (counts, _) = of(meter)[lane.index()].read();
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
            sums
        };
        let class = |class| {
            let kinds = CredentialKind::ALL.into_iter();
            let of_kind = |kind| sum(&|meter| meter.requests(lane, kind, class));
            kinds.map(of_kind).sum()
        };
        Self {
            classes: std::array::from_fn(class),
            refusals: std::array::from_fn(|refusal| sum(&|meter| meter.refusals(lane, refusal))),
            total: buckets(|meter| &meter.total),
            added: buckets(|meter| &meter.added),
        }
    }

    /// What came since `before`.
    fn since(&self, before: &Self) -> Self {
        fn less<const N: usize>(now: [u64; N], before: [u64; N]) -> [u64; N] {
            std::array::from_fn(|i| now[i].saturating_sub(before[i]))
        }
        Self {
            classes: less(self.classes, before.classes),
            refusals: less(self.refusals, before.refusals),
            total: less(self.total, before.total),
            added: less(self.added, before.added),
        }
    }

    fn requests(&self) -> u64 {
        self.classes.iter().sum()
    }

    fn with_status(&self, hundreds: usize) -> u64 {
        self.classes[hundreds - 1]
    }
}

fn of_lane(readings: &VecDeque<Reading>, lane: Lane) -> LaneReport {
    let counts = |reading: &Reading| reading.lanes[lane.index()];
    // The last reading that is not younger than `age`; the oldest, if all are.
    let back = |age: Duration| {
        let newest = readings.back()?.at;
        let after = readings.partition_point(|reading| reading.at + age <= newest);
        readings.get(after.saturating_sub(1))
    };
    let span = |age: Duration| {
        let (newest, before) = (readings.back()?, back(age)?);
        let elapsed = newest.at.saturating_sub(before.at);
        Some((counts(newest).since(&counts(before)), elapsed))
    };
    let empty = || (NOTHING, Duration::ZERO);
    let (window, _) = span(WINDOW).unwrap_or_else(empty);
    let (now, elapsed) = span(NOW).unwrap_or_else(empty);
    let [unauthorised, sca, forbidden, throttled] = window.refusals;
    LaneReport {
        lane,
        requests_per_second: rate(now.requests(), elapsed),
        requests: window.requests(),
        status_4xx: window.with_status(4),
        status_5xx: window.with_status(5),
        refusals: Refusals {
            unauthorised,
            sca,
            forbidden,
            throttled,
        },
        latency: quantiles(&window.total),
        added: quantiles(&window.added),
        series: series(readings, counts),
    }
}

/// Whole slots only, at fixed borders: a series that moved with every second would dance.
fn series(readings: &VecDeque<Reading>, counts: impl Fn(&Reading) -> Counts) -> Vec<Slot> {
    let Some(newest) = readings.back() else {
        return Vec::new();
    };
    let end = newest.at.as_secs() / SLOT.as_secs();
    let first = end.saturating_sub(SLOTS as u64);
    let borders = (first..=end).map(|slot| SLOT * u32::try_from(slot).unwrap_or(u32::MAX));
    // What had been counted at a border; nothing is known of the time before the first reading.
    let known = |border: Duration| {
        let after = readings.partition_point(|reading| reading.at <= border);
        Some(counts(readings.get(after.checked_sub(1)?)?))
    };
    let known: Vec<Option<Counts>> = borders.map(known).collect();
    let slots = known.iter().zip(known.iter().skip(1));
    let slot = |(before, after): (&Option<Counts>, &Option<Counts>)| {
        let counts = after.as_ref()?.since(before.as_ref()?);
        Some(Slot {
            requests: counts.requests(),
            status_5xx: counts.with_status(5),
            p99_ms: quantile(&counts.total, 0.99),
        })
    };
    slots.filter_map(slot).collect()
}

const NOTHING: Counts = Counts {
    classes: [0; CLASSES.len()],
    refusals: [0; REFUSALS.len()],
    total: [0; BUCKETS],
    added: [0; BUCKETS],
};

fn rate(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() {
        return 0.0;
    }
    round(float(count) / elapsed.as_secs_f64())
}

fn quantiles(buckets: &[u64; BUCKETS]) -> Option<Quantiles> {
    Some(Quantiles {
        p50_ms: quantile(buckets, 0.5)?,
        p99_ms: quantile(buckets, 0.99)?,
    })
}

/// As Prometheus's `histogram_quantile`: evenly spread within a bucket, and never beyond the last
/// bound.
fn quantile(buckets: &[u64; BUCKETS], share: f64) -> Option<f64> {
    let all: u64 = buckets.iter().sum();
    if all == 0 {
        return None;
    }
    let rank = share * float(all);
    let (mut below, mut lower) = (0, 0);
    for (&count, &upper) in buckets.iter().zip(&BOUNDS_US) {
        let upto = below + count;
        if count > 0 && float(upto) >= rank {
            let part = (rank - float(below)) / float(count);
            let us = float(lower) + part * float(upper - lower);
            return Some(round(us / 1e3));
        }
        (below, lower) = (upto, upper);
    }
    Some(round(float(lower) / 1e3))
}

/// To three digits behind the point: more would pretend to know.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts and microseconds stay far below 2^52"
)]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::StatusCode;

    use super::*;
    use crate::clock::Manual;

    struct Scene {
        clock: Arc<Manual>,
        meters: [Arc<Meter>; 2],
        traffic: Traffic,
    }

    impl Scene {
        fn new() -> Self {
            let clock = Arc::new(Manual::at(UNIX_EPOCH));
            let meters = [0, 1].map(|_| Arc::new(Meter::new(1, 1)));
            let traffic = Traffic::new(meters.to_vec(), Arc::clone(&clock) as Arc<dyn Clock>);
            Self {
                clock,
                meters,
                traffic,
            }
        }

        /// A second of `requests` on the OAuth lane, spread over the workers.
        fn second(&self, requests: usize, status: u16, took: Duration) {
            for number in 0..requests {
                let meter = &self.meters[number % 2];
                let status = StatusCode::from_u16(status).unwrap();
                meter.answered(Lane::OAuth, CredentialKind::ALL[0], status);
                meter.total[Lane::OAuth.index()].observe(took);
                meter.added[Lane::OAuth.index()].observe(Duration::from_micros(40));
            }
            self.clock.advance(BEAT);
            self.traffic.read();
        }

        fn oauth(&self) -> LaneReport {
            self.traffic.report().lanes.remove(Lane::OAuth.index())
        }
    }

    const FAST: Duration = Duration::from_micros(1_500);

    #[test]
    fn a_rate_is_of_the_last_ten_seconds_and_of_its_lane_alone() {
        let scene = Scene::new();
        for _ in 0..20 {
            scene.second(4, 200, FAST);
        }
        for _ in 0..5 {
            scene.second(0, 200, FAST);
        }
        let oauth = scene.oauth();
        assert!((oauth.requests_per_second - 2.0).abs() < 1e-9, "{oauth:?}");
        assert_eq!(oauth.requests, 80);
        let report = scene.traffic.report();
        assert_eq!(report.lanes[Lane::Personal.index()].requests, 0);
        assert_eq!(report.lanes[Lane::Personal.index()].latency, None);
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let scene = Scene::new();
        scene.second(100, 500, FAST);
        for _ in 0..=WINDOW.as_secs() + SLOT.as_secs() {
            scene.second(1, 200, FAST);
        }
        let oauth = scene.oauth();
        assert_eq!(oauth.status_5xx, 0);
        assert_eq!(oauth.requests, WINDOW.as_secs());
        assert_eq!(oauth.series.len(), SLOTS);
        let kept = scene.traffic.readings.lock().unwrap().len();
        assert!(kept <= 307, "{kept} readings are kept");
    }

    #[test]
    fn a_series_has_whole_slots_and_begins_when_the_proxy_did() {
        // The clock begins on a border of slots.
        let scene = Scene::new();
        for _ in 0..5 {
            scene.second(2, 200, FAST);
        }
        for _ in 0..4 {
            scene.second(1, 503, FAST);
        }
        let oauth = scene.oauth();
        assert_eq!(oauth.series.len(), 1, "the second slot is not over");
        assert_eq!(oauth.series[0].requests, 10);
        scene.second(1, 503, FAST);
        let oauth = scene.oauth();
        assert_eq!(oauth.series[1].status_5xx, 5);
        assert!(oauth.series[1].p99_ms.is_some());
    }

    #[test]
    fn quantiles_lie_in_the_bucket_that_holds_them() {
        let scene = Scene::new();
        scene.second(98, 200, FAST);
        scene.second(2, 200, Duration::from_millis(300));
        let latency = scene.oauth().latency.unwrap();
        assert!((1.0..=2.0).contains(&latency.p50_ms), "{latency:?}");
        assert!((250.0..=500.0).contains(&latency.p99_ms), "{latency:?}");
        let added = scene.oauth().added.unwrap();
        assert!(added.p99_ms <= 0.05, "{added:?}");
    }

    #[test]
    fn beyond_the_last_bound_nothing_is_claimed() {
        let mut buckets = [0; BUCKETS];
        buckets[BUCKETS - 1] = 1;
        assert_eq!(quantile(&buckets, 0.5), Some(30_000.0));
        assert_eq!(quantile(&[0; BUCKETS], 0.5), None);
    }

    #[test]
    fn refusals_of_wise_are_told_apart() {
        let scene = Scene::new();
        scene.meters[1].refused(Lane::OAuth, crate::telemetry::meter::Refusal::Throttled);
        scene.second(1, 429, FAST);
        let refusals = scene.oauth().refusals;
        let throttled = Refusals {
            throttled: 1,
            ..Refusals::default()
        };
        assert_eq!(refusals, throttled);
    }

    #[tokio::test(start_paused = true)]
    async fn every_second_wakes_whoever_watches_until_the_stop() {
        let scene = Scene::new();
        let traffic = Arc::new(scene.traffic);
        let (stop, mut beats) = (CancellationToken::new(), traffic.subscribe());
        let three = async {
            for _ in 0..3 {
                beats.changed().await.unwrap();
            }
            stop.cancel();
        };
        tokio::join!(Arc::clone(&traffic).watch(stop.clone()), three);
    }
}
