//! New tokens on their way into the store, and what becomes of them while it takes none.

use std::time::Duration;

use tokio::time;

use crate::credentials::{Record, StoreError};
use crate::telemetry::events::Kind;
use crate::tokens::exchange::Exchange;
use crate::tokens::keeper::Keeper;
use crate::tokens::status::Outcome;
use crate::tokens::vault::{Hold, Vault};

/// Tokens that Wise has given and the store has not taken.
pub(super) struct Unsaved {
    /// Kept, so that no other process spends the refresh token that this answer replaced. `None`
    /// where the store was in no state to be locked.
    pub(super) hold: Option<Hold>,
    /// By the boot clock.
    pub(super) next_try: Duration,
}

impl<E: Exchange> Keeper<E> {
    /// Makes a record durable. Returns what is to be tried again later if that fails.
    pub(super) async fn keep(
        &mut self,
        vault: &Vault,
        hold: Option<Hold>,
        next: &Record,
    ) -> Option<Unsaved> {
        let mut hold = hold;
        let mut waits = HOLD_BACK.into_iter();
        loop {
            let Err(error) = self.put(vault, &mut hold, next).await else {
                if self.unsaved.is_some() {
                    self.tell_safe();
                }
                return None;
            };
            if let Some(wait) = waits.next() {
                time::sleep(wait).await;
                continue;
            }
            tracing::error!(
                grant = self.subject.name(),
                "the newest tokens are in memory only: {error}"
            );
            let text = error.to_string();
            self.tried(Outcome::StoreFailed, Some(text.clone()));
            self.note(
                Kind::TokensUnsaved,
                format!("the newest tokens are in memory only: {text}"),
            );
            self.last_error = Some((self.clock.wall(), Outcome::StoreFailed, text));
            return Some(Unsaved {
                hold,
                next_try: self.clock.boot() + SAVE_AGAIN,
            });
        }
    }

    /// Saves what could not be saved, if it is time to try again.
    pub(super) async fn save_if_due(&mut self) {
        let now = self.clock.boot();
        if self
            .unsaved
            .as_ref()
            .is_some_and(|unsaved| unsaved.next_try <= now)
        {
            self.save_now().await;
        }
    }

    /// Saves what could not be saved, at the end, when nobody will try again.
    pub(super) async fn save_at_last(&mut self) {
        for _ in 0..LAST_TRIES {
            self.save_now().await;
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

    /// Saves what could not be saved, if there is anything.
    pub(super) async fn save_now(&mut self) {
        let (Some(vault), Some(unsaved), Some(own)) =
            (self.vault.clone(), self.unsaved.take(), self.record.clone())
        else {
            return;
        };
        let mut hold = match unsaved.hold {
            Some(hold) => Some(hold),
            None => vault.lock(Duration::ZERO).await.ok(),
        };
        if let Some(hold) = &hold
            && let Ok(Some(found)) = hold.load().await
            && found.supersedes(&own)
        {
            // A login in the meantime is the better record.
            self.take_in(Some(found));
            return;
        }
        if self.put(&vault, &mut hold, &own).await.is_ok() {
            self.tell_safe();
        } else {
            let next_try = self.clock.boot() + SAVE_AGAIN;
            self.unsaved = Some(Unsaved { hold, next_try });
        }
        self.publish();
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

    /// Makes a record durable under the lock, which is kept in `hold` if that fails.
    async fn put(
        &self,
        vault: &Vault,
        hold: &mut Option<Hold>,
        record: &Record,
    ) -> Result<(), StoreError> {
        let locked = match hold.take() {
            Some(locked) => locked,
            None => vault.lock(Duration::ZERO).await?,
        };
        let done = self.put_under(&locked, record).await;
        // What cannot be opened waits for a login, which a kept lock would keep out.
        if done.as_ref().is_err_and(|error| !error.is_unreadable()) {
            *hold = Some(locked);
        }
        done
    }

    /// Wise gave our tokens last, so what lies damaged in their place is moved aside. What another
    /// key or a later version can open is left alone.
    async fn put_under(&self, hold: &Hold, record: &Record) -> Result<(), StoreError> {
        let Err(error) = hold.save(record).await else {
            return Ok(());
        };
        if !matches!(error, StoreError::Corrupt { .. }) {
            return Err(error);
        }
        if let Some(aside) = hold.set_aside().await? {
            tracing::error!(
                grant = self.subject.name(),
                "the damaged record was moved to {}, the tokens in use take its place",
                aside.display()
            );
        }
        hold.save(record).await
    }
}

/// At the end: two seconds.
const LAST_TRIES: u32 = 8;
/// Pauses between the first tries to save, while the new token is held back.
const HOLD_BACK: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];
/// Between later tries.
const SAVE_AGAIN: Duration = Duration::from_secs(1);
