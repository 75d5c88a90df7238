//! What became of Wise's wishes for strong customer authentication, by operation.

use crate::telemetry::meter::Count;
use crate::wise::operations::OPERATIONS;

/// Every operation, and whatever is none.
pub(crate) const KINDS: usize = OPERATIONS.len() + 1;

/// What became of one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// The application got Wise's 403: nothing was set to be done, or nothing could be.
    Passed,
    /// The one-time token was signed, and Wise took it.
    Signed,
    /// It was signed, and Wise asked again.
    SignatureNotTaken,
    /// Somebody approved, and Wise took it.
    Approved,
    /// Somebody approved, and Wise asked again.
    ApprovalNotTaken,
    /// Somebody did not approve, or could not be asked.
    Refused,
    /// Nobody said anything in time.
    TimedOut,
    /// As many requests waited as may.
    TooMany,
    /// The application went away, or the proxy stops.
    Abandoned,
    /// Somebody approved, but door, caller, policies, lane or grant changed meanwhile: nothing left.
    Withdrawn,
    /// Something else went wrong: with the signing, with Wise's word on the token, or on the way to
    /// Wise. Nothing was carried out.
    Failed,
    /// It left again, and no answer came: it may have been carried out.
    Lost,
}

impl Outcome {
    pub(crate) const ALL: [Self; 12] = [
        Self::Passed,
        Self::Signed,
        Self::SignatureNotTaken,
        Self::Approved,
        Self::ApprovalNotTaken,
        Self::Refused,
        Self::TimedOut,
        Self::TooMany,
        Self::Abandoned,
        Self::Withdrawn,
        Self::Failed,
        Self::Lost,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Signed => "signed",
            Self::SignatureNotTaken => "signature_not_taken",
            Self::Approved => "approved",
            Self::ApprovalNotTaken => "approval_not_taken",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::TooMany => "too_many",
            Self::Abandoned => "abandoned",
            Self::Withdrawn => "withdrawn",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }
}

/// The operation of a kind, as labels and logs name it.
pub(crate) fn operation(kind: usize) -> String {
    match OPERATIONS.get(kind) {
        Some(operation) => format!("{} {}", operation.method, operation.path),
        None => "other".to_owned(),
    }
}

/// What one worker counts.
#[derive(Debug)]
pub(crate) struct Challenges(Box<[[Count; Outcome::ALL.len()]]>);

impl Default for Challenges {
    fn default() -> Self {
        Self(
            (0..KINDS)
                .map(|_| <[Count; Outcome::ALL.len()]>::default())
                .collect(),
        )
    }
}

impl Challenges {
    pub(crate) fn add(&self, kind: usize, outcome: Outcome) {
        if let Some(counts) = self.0.get(kind) {
            counts[outcome as usize].add(1);
        }
    }

    pub(crate) fn read(&self, kind: usize, outcome: Outcome) -> u64 {
        self.0
            .get(kind)
            .map_or(0, |counts| counts[outcome as usize].read())
    }
}
