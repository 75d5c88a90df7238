//! Runs a story of several tasks under many schedules.
//!
//! shuttle decides at each point which task goes on. Time is one more task: tokio's clock stands
//! still and is moved by a step of chance length whenever the checker picks that task, so timers
//! race with everything else. What has not ended after very many steps waits for ever; where time
//! stands still the checker itself tells a deadlock.
//!
//! `MODEL_SCHEDULES` says how many schedules a story gets from each scheduler. A failure prints
//! its schedule or its seed; that schedule in a file named by `MODEL_REPLAY`, or that seed in
//! `SHUTTLE_RANDOM_SEED`, plays it again.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shuttle::future::{block_on, yield_now};
use shuttle::rand::Rng as _;
use shuttle::scheduler::{
    DfsScheduler, PctScheduler, RandomScheduler, ReplayScheduler, Scheduler,
    UncontrolledNondeterminismCheckScheduler,
};
use shuttle::{Config, MaxSteps, Runner};
use tokio::runtime::{Builder, Runtime};

/// How time passes beside a story.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Not at all: no timer ever fires.
    Still,
    /// In steps of a few milliseconds, so that nothing is late by seconds.
    Fine,
    /// In steps of up to a minute.
    Coarse,
}

impl Pace {
    fn steps(self) -> &'static [u64] {
        match self {
            Self::Still => &[],
            Self::Fine => &[1, 10, 50],
            Self::Coarse => &[1, 50, 900, 15_000, 60_000],
        }
    }
}

/// Another task may run here. Nothing outside of a checker's run.
pub(crate) fn point() {
    if explored() {
        // Any operation of shuttle's is a point.
        shuttle::sync::atomic::AtomicBool::new(false).load(Ordering::SeqCst);
    }
}

pub(super) fn explored() -> bool {
    shuttle::current::try_get_current_task().is_some()
}

/// Starts a task of a story. Dropping the handle lets it go on.
pub(crate) fn start<F>(work: F) -> shuttle::future::JoinHandle<F::Output>
where
    F: Future<Output: 'static> + 'static,
{
    shuttle::future::spawn_local(work)
}

/// Runs the story under chance schedules: as many uniformly random ones as ones with few changes at
/// the worst places (probabilistic concurrency testing).
pub(crate) fn explore<F: Future<Output = ()> + 'static>(name: &str, pace: Pace, story: fn() -> F) {
    if let Some(schedule) = setting("MODEL_REPLAY") {
        let once = ReplayScheduler::new_from_file(schedule).expect("MODEL_REPLAY is a file");
        run(once, pace, story);
        return;
    }
    let count = setting("MODEL_SCHEDULES").map_or(BOUNDED, |count| {
        count.parse().expect("MODEL_SCHEDULES is a number")
    });
    let random = run(RandomScheduler::new(count), pace, story);
    let pct = run(PctScheduler::new(CHANGES, count), pace, story);
    println!(
        "model: {name}: {} random and {} PCT schedules, {} steps",
        random.0,
        pct.0,
        random.1 + pct.1
    );
}

/// Runs the story, which has no time and no chance in it, under every schedule there is.
pub(crate) fn exhaust<F: Future<Output = ()> + 'static>(name: &str, story: fn() -> F) {
    let (all, steps) = run(DfsScheduler::new(None, false), Pace::Still, story);
    println!("model: {name}: all {all} schedules, {steps} steps");
}

/// Fails where a schedule that is run again does not take the same course.
pub(crate) fn replayable<F: Future<Output = ()> + 'static>(pace: Pace, story: fn() -> F) {
    let twice = UncontrolledNondeterminismCheckScheduler::new(RandomScheduler::new(50));
    run(twice, pace, story);
}

/// Returns how many schedules were run and how many steps they had together.
fn run<F: Future<Output = ()> + 'static>(
    scheduler: impl Scheduler + 'static,
    pace: Pace,
    story: fn() -> F,
) -> (usize, u64) {
    let steps = Arc::new(AtomicU64::new(0));
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.max_steps = MaxSteps::FailAfter(200_000);
    let schedules = Runner::new(scheduler, config).run({
        let steps = Arc::clone(&steps);
        move || {
            let clock = Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let clock = Rc::new(clock);
            let _timers = clock.enter();
            let over = Rc::new(AtomicBool::new(false));
            let time = (!pace.steps().is_empty())
                .then(|| start(pass(pace, Rc::clone(&clock), Rc::clone(&over))));
            block_on(pin!(story()));
            over.store(true, Ordering::Relaxed);
            if let Some(time) = time {
                block_on(time).unwrap();
            }
            let taken = shuttle::current::context_switches() as u64;
            steps.fetch_add(taken, Ordering::Relaxed);
        }
    });
    (schedules, steps.load(Ordering::Relaxed))
}

async fn pass(pace: Pace, clock: Rc<Runtime>, over: Rc<AtomicBool>) {
    let steps = pace.steps();
    for _ in 0..PATIENCE {
        yield_now().await;
        if over.load(Ordering::Relaxed) {
            return;
        }
        let step = shuttle::rand::thread_rng().gen_range(0..steps.len());
        let step = Duration::from_millis(steps[step]);
        clock.block_on(tokio::time::advance(step));
    }
    panic!("somebody waits for ever");
}

#[allow(
    clippy::disallowed_methods,
    reason = "a setting of the tests, not of the program"
)]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// From each scheduler, without `MODEL_SCHEDULES`.
const BOUNDED: usize = 200;
/// Changes of priority in a PCT schedule, and one: orders that take so many go unmissed for long.
const CHANGES: usize = 4;
/// Steps of time; many times what a story takes.
const PATIENCE: usize = 20_000;
