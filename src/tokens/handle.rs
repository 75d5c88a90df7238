//! The other side of a keeper: what the rest of the house may ask it.

use std::sync::Arc;

use crate::clock::Clock;
use crate::sync::{mpsc, oneshot, watch};
use crate::tokens::status::{Facts, KeeperStatus, Outcome};
use crate::tokens::view::{Absence, Subject};

/// How others ask a keeper.
#[derive(Clone)]
pub(crate) struct KeeperHandle {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) facts: watch::Receiver<Facts>,
    pub(super) subject: Arc<Subject>,
    pub(super) clock: Arc<dyn Clock>,
}

/// What came of a 401.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Renewal {
    /// A newer token than the one that was refused has been published: send again with it.
    Newer,
    /// There is none: the 401 is the answer.
    NotRenewed,
}

/// Why a renewal that was asked for brought nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum RefreshError {
    /// The grant is over.
    #[error("{0}")]
    Dead(String),
    /// There is nothing to renew.
    #[error("{0}")]
    Absent(Absence),
    /// This try failed; others follow.
    #[error("{text}")]
    Failed {
        /// How.
        result: Outcome,
        /// Safe to show.
        text: String,
    },
    /// The keeper has been stopped.
    #[error("the proxy is stopping")]
    Stopped,
}

impl std::fmt::Debug for KeeperHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeeperHandle")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

impl KeeperHandle {
    /// Tells that Wise refused the token of generation `seen` with 401.
    ///
    /// Returns at once when a newer one has been published. Otherwise the store is looked at, and
    /// if that has no newer one either, one exchange is made for all who ask, at most once in
    /// `forced_interval`; where none could be made, the next try is the keeper's own. May take as
    /// long as an exchange; callers bound their own patience.
    ///
    /// Cancel safe: an exchange that has begun goes on for the others.
    pub(crate) async fn refused(&self, seen: u64) -> Renewal {
        if self.facts.borrow().serial > seen {
            return Renewal::Newer;
        }
        let (reply, answer) = oneshot::channel();
        if self.asks.send(Ask::Refused { seen, reply }).await.is_err() {
            return Renewal::NotRenewed;
        }
        answer.await.unwrap_or(Renewal::NotRenewed)
    }

    /// Renews now, at an operator's word. Returns the generation that is then in use.
    ///
    /// A newer token in the store counts. Cancel safe.
    pub(crate) async fn refresh(&self) -> Result<u64, RefreshError> {
        let seen = self.facts.borrow().serial;
        let (reply, answer) = oneshot::channel();
        self.asks
            .send(Ask::Refresh { seen, reply })
            .await
            .map_err(|_| RefreshError::Stopped)?;
        answer.await.unwrap_or(Err(RefreshError::Stopped))
    }

    /// Asks for a token where there is no living one: the client token, which nobody fetches before
    /// it is needed, or one that ended unseen while the machine was suspended.
    ///
    /// Returns when a try has ended; the published view then says what came of it.
    pub(crate) async fn wake(&self) {
        if self.facts.borrow().is_live(self.clock.boot()) {
            return;
        }
        let (reply, answer) = oneshot::channel();
        if self.asks.send(Ask::Wake { reply }).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// Tells that something a refusal may have hung on has changed, such as the client secret:
    /// a waiting retry is due at once.
    pub(crate) async fn nudge(&self) {
        let _ = self.asks.send(Ask::Nudge).await;
    }

    /// Looks into the store now, where another process has just written. Cancel safe.
    pub(crate) async fn look(&self) {
        let (reply, answer) = oneshot::channel();
        if self.asks.send(Ask::Look { reply }).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// Returns once the keeper has looked into the store for the first time. Cancel safe.
    pub(crate) async fn awake(&self) {
        // An error means that the keeper has ended, which is not ours to wait for.
        let _ = self.facts.clone().changed().await;
    }

    /// The keeper at a glance; never waits.
    pub(crate) fn status(&self) -> KeeperStatus {
        self.facts
            .borrow()
            .status(&self.subject, self.clock.as_ref())
    }

    /// Ends the keeper: an exchange under way is finished and saved first.
    pub(crate) async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        if self.asks.send(Ask::Stop { reply }).await.is_ok() {
            let _ = answer.await;
        }
    }
}

/// A question to the keeper's task.
pub(super) enum Ask {
    Refused {
        seen: u64,
        reply: oneshot::Sender<Renewal>,
    },
    Refresh {
        seen: u64,
        reply: oneshot::Sender<Result<u64, RefreshError>>,
    },
    Wake {
        reply: oneshot::Sender<()>,
    },
    Nudge,
    Look {
        reply: oneshot::Sender<()>,
    },
    Stop {
        reply: oneshot::Sender<()>,
    },
}
