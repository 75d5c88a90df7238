//! What policies refused, or would have, counted and told now and then.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::guard::refusal::Reason;
use crate::wise::operations::OPERATIONS;

const REASONS: usize = Reason::NAMES.len();
/// Every operation, and whatever is none.
const KINDS: usize = OPERATIONS.len() + 1;

/// One policy's refusals. Shared by the workers: refusals are rare, and only they come by here.
#[derive(Debug)]
pub(crate) struct Tally {
    /// By mode (enforced, observed) and reason.
    counts: [[AtomicU64; REASONS]; 2],
    /// The minute of the boot clock, plus one, in which each reason and operation was last told.
    told: Box<[AtomicU32]>,
}

/// One count, for the metrics.
#[derive(Debug)]
pub(crate) struct Count {
    pub(crate) policy: String,
    pub(crate) reason: &'static str,
    pub(crate) mode: &'static str,
    pub(crate) times: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            counts: Default::default(),
            told: (0..REASONS * KINDS).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Counts one; says whether it is time to tell of it, which is once a minute for each reason
    /// and operation.
    pub(super) fn add(
        &self,
        reason: &Reason,
        observed: bool,
        operation: Option<usize>,
        now: Duration,
    ) -> bool {
        self.counts[usize::from(observed)][reason.index()].fetch_add(1, Ordering::Relaxed);
        let kind = operation.unwrap_or(KINDS - 1);
        let told = &self.told[reason.index() * KINDS + kind];
        let minute = u32::try_from(now.as_secs() / 60 + 1).unwrap_or(u32::MAX);
        told.swap(minute, Ordering::Relaxed) != minute
    }

    pub(super) fn read(&self, policy: &str) -> impl Iterator<Item = Count> {
        let modes = ["enforced", "observed"].into_iter().zip(&self.counts);
        modes.flat_map(move |(mode, counts)| {
            let counts = Reason::NAMES.into_iter().zip(counts);
            counts.map(move |(reason, count)| Count {
                policy: policy.to_owned(),
                reason,
                mode,
                times: count.load(Ordering::Relaxed),
            })
        })
    }
}
