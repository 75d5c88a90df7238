//! Where workers have challenges approved: so many at once, each for so long.
//!
//! The office is the workers' end; whoever asks people (a program, a webhook) sits at the desk, on
//! the control side. A request that goes away takes its question with it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::telemetry::challenges::{KINDS, Outcome};

/// What came of a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Approval {
    /// Everybody who was asked approves.
    Approved,
    /// Somebody does not, or could not be asked.
    Refused,
    /// Nobody has said anything in time.
    TimedOut,
}

/// A question. What it says holds the one-time token: no `Debug` shows it.
pub(crate) struct Ask {
    /// JSON.
    pub(crate) question: Bytes,
    /// Closed: nobody waits for the answer any more.
    pub(crate) answer: oneshot::Sender<bool>,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").finish_non_exhaustive()
    }
}

/// Where questions arrive.
#[derive(Debug)]
pub(crate) struct Desk(mpsc::Receiver<Ask>);

impl Desk {
    /// The next question; `None`: nobody will ask any more.
    pub(crate) async fn next(&mut self) -> Option<Ask> {
        self.0.recv().await
    }
}

/// What all workers share about challenges. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Office {
    approvals: Option<Approvals>,
    /// The minute of the boot clock, plus one, in which each outcome of each operation was last told.
    told: Arc<[AtomicU32]>,
}

#[derive(Clone, Debug)]
struct Approvals {
    desk: mpsc::Sender<Ask>,
    places: Arc<Semaphore>,
    wait: Duration,
}

/// A request's place among those that wait; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    desk: mpsc::Sender<Ask>,
    wait: Duration,
    _permit: OwnedSemaphorePermit,
}

impl Office {
    /// One that has nothing approved.
    pub(crate) fn without_approvals() -> Self {
        let told = (0..KINDS * Outcome::ALL.len()).map(|_| AtomicU32::new(0));
        Self {
            approvals: None,
            told: told.collect(),
        }
    }

    /// One in which at most `most` requests wait, each for at most `wait`; and its desk.
    pub(crate) fn with_approvals(wait: Duration, most: usize) -> (Self, Desk) {
        let (desk, asked) = mpsc::channel(most);
        let approvals = Approvals {
            desk,
            places: Arc::new(Semaphore::new(most)),
            wait,
        };
        let office = Self {
            approvals: Some(approvals),
            ..Self::without_approvals()
        };
        (office, Desk(asked))
    }

    /// Whether anybody can be asked.
    pub(crate) fn approves(&self) -> bool {
        self.approvals.is_some()
    }

    /// A place to wait at; `None`: as many wait as may.
    pub(crate) fn enter(&self) -> Option<Place> {
        let approvals = self.approvals.as_ref()?;
        let permit = Arc::clone(&approvals.places).try_acquire_owned().ok()?;
        Some(Place {
            desk: approvals.desk.clone(),
            wait: approvals.wait,
            _permit: permit,
        })
    }

    /// Whether it is time to tell of it, which is once a minute for each outcome and operation.
    pub(crate) fn tells(&self, kind: usize, outcome: Outcome, now: Duration) -> bool {
        let Some(told) = self.told.get(outcome as usize * KINDS + kind) else {
            return false;
        };
        let minute = u32::try_from(now.as_secs() / 60 + 1).unwrap_or(u32::MAX);
        told.swap(minute, Ordering::Relaxed) != minute
    }
}

impl Place {
    /// Asks, and waits for the answer: no longer than the token is valid.
    ///
    /// Cancel safe: where nobody waits any more the question is withdrawn.
    pub(crate) async fn ask(&self, question: Bytes, valid: Duration) -> Approval {
        let limit = self.wait.min(valid);
        let (answer, heard) = oneshot::channel();
        let ask = Ask { question, answer };
        if self.desk.try_send(ask).is_err() {
            return Approval::Refused;
        }
        match tokio::time::timeout(limit, heard).await {
            Ok(Ok(true)) => Approval::Approved,
            // The desk goes when the proxy stops.
            Ok(Ok(false) | Err(_)) => Approval::Refused,
            Err(_) => Approval::TimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_mins(2);

    #[tokio::test(start_paused = true)]
    async fn a_question_has_one_of_three_ends() {
        let (office, mut desk) = Office::with_approvals(WAIT, 2);
        let place = office.enter().unwrap();
        for (said, approval) in [(true, Approval::Approved), (false, Approval::Refused)] {
            let asking = place.ask(Bytes::from_static(b"{}"), 2 * WAIT);
            let answering = async {
                let ask = desk.next().await.unwrap();
                ask.answer.send(said).unwrap();
            };
            assert_eq!(tokio::join!(asking, answering).0, approval);
        }
        let began = tokio::time::Instant::now();
        let asking = place.ask(Bytes::new(), Duration::from_secs(7));
        assert_eq!(asking.await, Approval::TimedOut);
        assert_eq!(
            began.elapsed(),
            Duration::from_secs(7),
            "as long as it is valid"
        );
        assert!(desk.next().await.unwrap().answer.is_closed());
        drop(desk);
        assert_eq!(place.ask(Bytes::new(), WAIT).await, Approval::Refused);
    }

    #[test]
    fn no_more_wait_than_may() {
        let (office, _desk) = Office::with_approvals(WAIT, 2);
        let (first, _second) = (office.enter().unwrap(), office.enter().unwrap());
        assert!(office.clone().enter().is_none());
        drop(first);
        assert!(office.enter().is_some());
        assert!(Office::without_approvals().enter().is_none());
    }

    #[test]
    fn it_is_told_once_a_minute_for_each_outcome_and_operation() {
        let office = Office::without_approvals();
        let tells =
            |kind, outcome, seconds| office.tells(kind, outcome, Duration::from_secs(seconds));
        assert!(tells(0, Outcome::Passed, 0));
        assert!(!tells(0, Outcome::Passed, 59));
        assert!(tells(0, Outcome::Passed, 60));
        assert!(tells(1, Outcome::Passed, 60));
        assert!(tells(0, Outcome::Signed, 60));
        assert!(tells(KINDS - 1, Outcome::ALL[Outcome::ALL.len() - 1], 60));
    }
}
