//! New tokens on their way into the store, and what becomes of them while it takes none.
//!
//! Three things hold here, whatever the disk does. A refresh token that was received is not let go
//! of before the store has it, or something better. A new token is sealed on disk before requests
//! see it, except as decision 0011 allows. Of two processes on one store only one shows a refresh
//! token at a time: who has an unsaved one keeps the lock, and so does a save that hangs.

use std::future::{self, Future};
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time;

use crate::credentials::{Record, StoreError};
use crate::telemetry::events::Kind;
use crate::tokens::adoption;
use crate::tokens::exchange::Exchange;
use crate::tokens::keeper::Keeper;
use crate::tokens::status::Outcome;
use crate::tokens::vault::{Hold, Vault};

/// Tokens that Wise has given and the store has not taken.
pub(super) struct Unsaved {
    /// Kept, so that no other process spends the refresh token that this answer replaced. `None`
    /// where the store was in no state to be locked.
    pub(super) hold: Option<Hold>,
    /// By the boot clock; means nothing while a save is running.
    next_try: Duration,
    /// A save that has not come to its end. It has a hand on the lock of its own, and no second one
    /// begins beside it.
    running: Option<Saving>,
}

type Saving = Pin<Box<dyn Future<Output = Put> + Send>>;

/// What came of a save.
pub(super) struct Put {
    /// The lock, where it is to be tried again.
    hold: Option<Hold>,
    done: Result<Saved, StoreError>,
}

enum Saved {
    /// The record is durable.
    Ours,
    /// A login in the meantime is the better record. Nothing was written.
    Better(Box<Record>),
}

impl Unsaved {
    /// When to try again, by the boot clock; while a save is running its end comes by itself.
    pub(super) fn next_try(&self) -> Option<Duration> {
        self.running.is_none().then_some(self.next_try)
    }
}

impl<E: Exchange> Keeper<E> {
    /// Makes a record durable; it is what the keeper goes on with from here on, saved or not.
    ///
    /// The new token is held back for so long as `HOLD_BACK` and `HANGS` say, and no longer: the
    /// one before is dead. `false`: the store had a better record, which is ours now.
    pub(super) async fn keep(&mut self, vault: &Vault, hold: Option<Hold>, next: &Record) -> bool {
        self.record = Some(next.clone());
        let before = self.unsaved.take();
        let was_unsaved = before.is_some();
        let task = Task {
            vault: vault.clone(),
            hold: hold.as_ref().map(Hold::share),
            record: next.clone(),
            living: next.issued <= self.clock.wall(),
        };
        let before = before.and_then(|unsaved| unsaved.running);
        self.unsaved = Some(Unsaved {
            hold,
            next_try: Duration::ZERO,
            running: Some(Box::pin(task.run(before, &HOLD_BACK))),
        });
        let why = match time::timeout(HANGS, ended(&mut self.unsaved)).await {
            Ok(Put {
                done: Ok(saved), ..
            }) => {
                self.unsaved = None;
                return match saved {
                    Saved::Ours => {
                        if was_unsaved {
                            self.tell_safe();
                        }
                        true
                    }
                    Saved::Better(found) => {
                        self.take_in(Some(*found));
                        false
                    }
                };
            }
            Ok(Put {
                hold,
                done: Err(error),
            }) => {
                self.save_again(hold);
                error.to_string()
            }
            Err(_) => format!("the store has not taken them within {} s", HANGS.as_secs()),
        };
        tracing::error!(
            grant = self.subject.name(),
            "the newest tokens are in memory only: {why}"
        );
        self.tried(Outcome::StoreFailed, Some(why.clone()));
        self.note(
            Kind::TokensUnsaved,
            format!("the newest tokens are in memory only: {why}"),
        );
        self.last_error = Some((self.clock.wall(), Outcome::StoreFailed, why));
        true
    }

    /// Whether a save has begun that is not over.
    pub(super) fn is_saving(&self) -> bool {
        self.unsaved
            .as_ref()
            .is_some_and(|unsaved| unsaved.running.is_some())
    }

    /// Sees to a save that is over, and tries again if it is time to.
    pub(super) async fn save_if_due(&mut self) {
        if let Some(put) = ended(&mut self.unsaved).now_or_never() {
            self.take_up(put);
        }
        let now = self.clock.boot();
        let next = self.unsaved.as_ref().and_then(Unsaved::next_try);
        if next.is_some_and(|next| next <= now) {
            self.begin_save();
            if let Ok(put) = time::timeout(HANGS, ended(&mut self.unsaved)).await {
                self.take_up(put);
            }
        }
    }

    /// Saves what could not be saved, at the end, when nobody will try again.
    ///
    /// Waits for a save on a disk that hangs; whoever stops the keeper bounds that.
    pub(super) async fn save_at_last(&mut self) {
        for _ in 0..LAST_TRIES {
            self.begin_save();
            if self.unsaved.is_none() {
                return;
            }
            let put = ended(&mut self.unsaved).await;
            self.take_up(put);
            if self.unsaved.is_none() {
                return;
            }
            time::sleep(Duration::from_millis(250)).await;
        }
        tracing::error!(
            grant = self.subject.name(),
            "the newest tokens end with this process, the store does not take them; if Wise has \
             ended those before, run `wise-auth-proxy login` for this grant"
        );
    }

    /// Begins to save what could not be saved, if there is anything.
    fn begin_save(&mut self) {
        let (Some(vault), Some(own)) = (self.vault.clone(), self.record.clone()) else {
            self.unsaved = None;
            return;
        };
        let living = self.is_live() && own.issued <= self.clock.wall();
        let Some(unsaved) = &mut self.unsaved else {
            return;
        };
        if unsaved.running.is_none() {
            let task = Task {
                vault,
                hold: unsaved.hold.as_ref().map(Hold::share),
                record: own,
                living,
            };
            unsaved.running = Some(Box::pin(task.run(None, &[])));
        }
    }

    /// What follows from a save that is over.
    pub(super) fn take_up(&mut self, put: Put) {
        match put.done {
            Ok(Saved::Ours) => {
                self.unsaved = None;
                self.tell_safe();
            }
            Ok(Saved::Better(found)) => {
                self.unsaved = None;
                self.take_in(Some(*found));
            }
            Err(error) => {
                self.save_again(put.hold);
                let text = error.to_string();
                self.last_error = Some((self.clock.wall(), Outcome::StoreFailed, text));
            }
        }
        self.publish();
    }

    fn save_again(&mut self, hold: Option<Hold>) {
        self.unsaved = Some(Unsaved {
            hold,
            next_try: self.clock.boot() + SAVE_AGAIN,
            running: None,
        });
    }

    fn tell_safe(&self) {
        tracing::info!(
            grant = self.subject.name(),
            "the store takes writes again; the newest tokens are safe"
        );
        self.note(
            Kind::TokensSaved,
            "the store takes writes again; the newest tokens are safe",
        );
    }
}

/// Waits for the end of a save that is running; for ever where none is. Cancel safe.
pub(super) async fn ended(unsaved: &mut Option<Unsaved>) -> Put {
    let running = unsaved
        .as_mut()
        .and_then(|unsaved| unsaved.running.as_mut());
    let Some(running) = running else {
        return future::pending().await;
    };
    let put = running.await;
    if let Some(unsaved) = unsaved {
        unsaved.running = None;
    }
    put
}

/// A record that is to become durable.
struct Task {
    vault: Vault,
    hold: Option<Hold>,
    record: Record,
    /// Whether its tokens live.
    living: bool,
}

impl Task {
    /// Saves, after what is being saved `before`, and again after each of the `waits`.
    async fn run(mut self, before: Option<Saving>, waits: &'static [Duration]) -> Put {
        if let Some(before) = before {
            let put = before.await;
            self.hold = self.hold.or(put.hold);
        }
        let mut waits = waits.iter();
        loop {
            let done = self.put().await;
            match waits.next() {
                Some(wait) if done.as_ref().is_err_and(is_passing) => time::sleep(*wait).await,
                Some(_) | None => {
                    let hold = self.hold;
                    return Put { hold, done };
                }
            }
        }
    }

    /// Makes the record durable under the lock, unless the store has a better one: where we had no
    /// lock during the exchange, a login may have come. The lock stays in `hold`, for a save that
    /// waits for this one.
    async fn put(&mut self) -> Result<Saved, StoreError> {
        let locked = match self.hold.take() {
            Some(locked) => locked,
            None => self.vault.lock(Duration::ZERO).await?,
        };
        let found = locked.load().await;
        if let Ok(Some(found)) = found
            && !(self.living && adoption::is_older(&found, &self.record))
            && found.supersedes(&self.record)
        {
            self.hold = Some(locked);
            return Ok(Saved::Better(Box::new(found)));
        }
        let done = self.put_under(&locked).await;
        if done.as_ref().err().is_none_or(is_passing) {
            self.hold = Some(locked);
        }
        done
    }

    /// Wise gave our tokens last, so what lies damaged in their place is moved aside. What another
    /// key or a later version can open is left alone.
    async fn put_under(&self, hold: &Hold) -> Result<Saved, StoreError> {
        let Err(error) = hold.save(&self.record).await else {
            return Ok(Saved::Ours);
        };
        if !matches!(error, StoreError::Corrupt { .. }) {
            return Err(error);
        }
        if let Some(aside) = hold.set_aside().await? {
            tracing::error!(
                grant = self.record.grant,
                "the damaged record was moved to {}, the tokens in use take its place",
                aside.display()
            );
        }
        hold.save(&self.record).await.map(|()| Saved::Ours)
    }
}

/// What cannot be opened waits for a login, which a kept lock would keep out; all else may pass.
fn is_passing(error: &StoreError) -> bool {
    !error.is_unreadable()
}

/// At the end: two seconds.
const LAST_TRIES: u32 = 8;
/// A disk that has not taken the new token by then hangs; requests have waited for as long.
const HANGS: Duration = Duration::from_secs(2);
/// Pauses between the first tries to save, while the new token is held back.
const HOLD_BACK: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];
/// Between later tries.
const SAVE_AGAIN: Duration = Duration::from_secs(1);
