//! The one owner of a grant's tokens.
//!
//! Its task alone changes anything; questions come to it one after the other. A hundred requests
//! that met a 401 with the same token so share one exchange without a lock: the first question
//! causes it, the others find a newer token when their turn comes.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{self, MissedTickBehavior};

use crate::clock::Clock;
use crate::config::Tokens;
use crate::credentials::{FileStore, Record, Stamp};
use crate::sync::{mpsc, watch};
use crate::tokens::exchange::Exchange;
use crate::tokens::handle::{Ask, KeeperHandle, RefreshError, Renewal};
use crate::tokens::renewal::{Cause, LOCK_WAIT, Stage};
use crate::tokens::saving::{Unsaved, ended};
use crate::tokens::schedule::{self, Jitter, Retry};
use crate::tokens::status::{Facts, Outcome, Stored, Tries};
use crate::tokens::token::{AccessToken, Lifetime};
use crate::tokens::vault::Vault;
use crate::tokens::view::{Absence, Hooks, Subject, TokenView};

/// Makes the keeper of one grant, or of the client token, and the task it lives in.
///
/// - `store`: where user grants rest. The client token never touches it.
/// - The future ends after [`KeeperHandle::stop`], or when every handle is gone. Dropping it
///   earlier is a crash: safe for what is stored, but an exchange on its way is lost.
pub(crate) fn keeper<E: Exchange>(
    subject: Subject,
    store: Option<Arc<FileStore>>,
    exchange: Arc<E>,
    clock: Arc<dyn Clock>,
    policy: Tokens,
    hooks: Hooks,
) -> (KeeperHandle, impl Future<Output = ()> + Send) {
    let (asks, commands) = mpsc::channel(WAITING);
    let (facts, shown) = watch::channel(Facts {
        serial: 0,
        life: None,
        next_try: None,
        absence: subject.first_absence(),
        dead: None,
        renewing: false,
        stored: None,
        tries: Tries::default(),
        last_error: None,
        last_renewal: None,
        unsaved: false,
    });
    let vault = match &subject {
        Subject::User { grant, .. } => store.map(|store| Vault::new(store, grant.clone())),
        Subject::Client => None,
    };
    let handle = KeeperHandle {
        asks,
        facts: shown,
        subject: Arc::new(subject.clone()),
        clock: Arc::clone(&clock),
    };
    let keeper = Keeper {
        vault,
        exchange,
        clock,
        policy,
        hooks,
        commands,
        facts,
        serial: 0,
        held: None,
        record: None,
        absence: subject.first_absence(),
        dead: None,
        stamp: None,
        wanted: matches!(subject, Subject::User { .. }),
        stage: Stage::Idle,
        shown_live: false,
        retry: Retry::default(),
        last_forced: None,
        vain: None,
        hung: None,
        unsaved: None,
        tries: Tries::default(),
        last_error: None,
        last_renewal: None,
        subject,
    };
    (handle, keeper.run())
}

/// All that the task owns.
pub(super) struct Keeper<E> {
    pub(super) subject: Subject,
    pub(super) vault: Option<Vault>,
    pub(super) exchange: Arc<E>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) policy: Tokens,
    pub(super) hooks: Hooks,
    commands: mpsc::Receiver<Ask>,
    facts: watch::Sender<Facts>,
    /// Counts the tokens published by this process; never falls, whatever the store's count does.
    pub(super) serial: u64,
    /// The latest access token, living or not.
    pub(super) held: Option<Held>,
    /// The record it came with, for user grants.
    pub(super) record: Option<Record>,
    pub(super) absence: Absence,
    pub(super) dead: Option<String>,
    /// The stored record that was last looked at.
    pub(super) stamp: Option<Stamp>,
    /// Whether anybody needs the token.
    wanted: bool,
    pub(super) stage: Stage,
    shown_live: bool,
    pub(super) retry: Retry,
    last_forced: Option<Duration>,
    /// The token for which a forced renewal made no exchange, since the endpoint or the store was
    /// out of reach: the next try for it is the keeper's own.
    vain: Option<u64>,
    /// Until when another process that kept the lock too long is not waited for again, by the boot
    /// clock.
    hung: Option<Duration>,
    pub(super) unsaved: Option<Unsaved>,
    pub(super) tries: Tries,
    pub(super) last_error: Option<(SystemTime, Outcome, String)>,
    last_renewal: Option<SystemTime>,
}

pub(super) struct Held {
    access: AccessToken,
    pub(super) life: Lifetime,
    /// When it should be renewed, by the boot clock.
    due: Duration,
    /// Wise refused it before its time and no better one came: due at once.
    pub(super) suspect: bool,
}

impl Held {
    /// Whether it is this token.
    pub(super) fn is(&self, access: &AccessToken) -> bool {
        self.access.secret().matches(access.secret())
    }

    /// Whether Wise may have ended it already: it was refused, or nobody knows how old it is.
    pub(super) fn is_doubtful(&self) -> bool {
        self.suspect || self.due.is_zero()
    }
}

impl<E: Exchange> Keeper<E> {
    async fn run(mut self) {
        self.look().await;
        self.publish();
        // The tick also notices what a sleep does not: a suspended machine, a moved test clock.
        let mut looks = time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopped = loop {
            // Where a renewal is due it tells the end itself, and that it is worth waiting.
            if self.shown_live && !self.is_live() && !self.is_due() {
                self.publish();
            }
            self.save_if_due().await;
            if self.is_due() {
                self.renew(Cause::Due).await;
            }
            // Where an exchange takes longer than its token lives, renewals follow one another
            // without a pause: whoever asks comes in between.
            let nap = if self.is_due() {
                Duration::ZERO
            } else {
                self.nap()
            };
            // Questions first: on a slow disk a look may be due again after each look. They hold
            // nothing up, since who asks for a newer token has the store looked at, and what the
            // clock brings about is seen to at the head of each round.
            tokio::select! {
                biased;
                put = ended(&mut self.unsaved) => self.take_up(put),
                ask = self.commands.recv() => match ask {
                    Some(Ask::Stop { reply }) => break Some(reply),
                    Some(ask) => self.obey(ask).await,
                    None => break None,
                },
                _ = looks.tick() => self.look().await,
                () = time::sleep(nap) => {}
            }
            // All who wait by now, not one for each renewal, and not all who may come.
            let mut stop = None;
            for _ in 0..self.commands.len() {
                match self.commands.try_recv() {
                    Ok(Ask::Stop { reply }) => stop = Some(reply),
                    Ok(ask) if stop.is_none() => self.obey(ask).await,
                    // Who asks after a stop hears that it has come.
                    Ok(_) | Err(_) => {}
                }
            }
            if stop.is_some() {
                break stop;
            }
        };
        self.save_at_last().await;
        drop(stopped);
    }

    async fn obey(&mut self, ask: Ask) {
        match ask {
            // Whoever asked has left; others ask for themselves.
            Ask::Refused { reply, .. } if reply.is_closed() => {}
            Ask::Refused { seen, reply } => {
                let _ = reply.send(self.renew_refused(seen).await);
            }
            Ask::Refresh { seen, reply } => {
                let _ = reply.send(self.renew_asked(seen).await);
            }
            Ask::Wake { reply } => {
                self.wanted = true;
                if self.is_due() {
                    self.renew(Cause::Due).await;
                }
                let _ = reply.send(());
            }
            Ask::Nudge => {
                self.retry = Retry::default();
            }
            Ask::Look { reply } => {
                self.look().await;
                let _ = reply.send(());
            }
            Ask::Stop { .. } => {}
        }
    }

    async fn renew_refused(&mut self, seen: u64) -> Renewal {
        if self.serial > seen {
            return Renewal::Newer;
        }
        self.look().await;
        if self.serial > seen {
            return Renewal::Newer;
        }
        let now = self.clock.boot();
        let too_soon = self
            .last_forced
            .is_some_and(|last| now < last + self.policy.forced_interval);
        if !self.is_renewable() {
            return Renewal::NotRenewed;
        }
        // All who wait behind a try in vain would make one each, one after the other.
        let in_vain = self.vain == Some(self.serial) && self.retry.rests(now);
        if too_soon || in_vain || self.retry.binds(now) {
            // Ours to make is no exchange. But the token may be dead because another process is in
            // the middle of one. One that hangs is waited for once, not once for each who asks.
            if self.hung.is_none_or(|until| until <= now) {
                let waited = self.await_others().await;
                self.hung = (!waited).then(|| self.clock.boot() + LOCK_WAIT);
            }
            return if self.serial > seen {
                Renewal::Newer
            } else {
                Renewal::NotRenewed
            };
        }
        let outcome = self.renew(Cause::Forced).await;
        match outcome {
            Outcome::Adopted => {}
            // No exchange was made, so the pause is that after a failure and not the longer one.
            Outcome::Unreachable => self.vain = Some(self.serial),
            Outcome::StoreFailed => {
                self.vain = Some(self.serial);
                // The lock was waited for just now.
                self.hung = Some(self.clock.boot() + LOCK_WAIT);
            }
            Outcome::Renewed
            | Outcome::InvalidGrant
            | Outcome::InvalidClient
            | Outcome::Refused
            | Outcome::AnswerLost
            | Outcome::Throttled
            | Outcome::ServerError
            | Outcome::Garbled => self.last_forced = Some(now),
        }
        if self.serial > seen {
            return Renewal::Newer;
        }
        // The token is no good: keep trying, as if it had come to its end.
        if let Some(held) = &mut self.held {
            held.suspect = true;
        }
        Renewal::NotRenewed
    }

    async fn renew_asked(&mut self, seen: u64) -> Result<u64, RefreshError> {
        if self.serial > seen {
            return Ok(self.serial);
        }
        self.look().await;
        if self.serial > seen {
            return Ok(self.serial);
        }
        if let Some(reason) = &self.dead {
            return Err(RefreshError::Dead(reason.clone()));
        }
        self.wanted = true;
        if !self.is_renewable() {
            return Err(RefreshError::Absent(self.absence));
        }
        let result = self.renew(Cause::Asked).await;
        if matches!(result, Outcome::Renewed | Outcome::Adopted) {
            return Ok(self.serial);
        }
        if let Some(reason) = &self.dead {
            return Err(RefreshError::Dead(reason.clone()));
        }
        let text = self
            .last_error
            .as_ref()
            .map(|(_, _, text)| text.clone())
            .unwrap_or_default();
        Err(RefreshError::Failed { result, text })
    }

    /// Puts a new token in the place of the old one. Whoever calls this has made it durable.
    pub(super) fn install(
        &mut self,
        access: AccessToken,
        life: Lifetime,
        serial: u64,
        record: Option<Record>,
    ) {
        let due = schedule::renewal_due(&life, self.policy.renew_at, Jitter::random());
        self.held = Some(Held {
            access,
            life,
            due,
            suspect: false,
        });
        self.serial = serial;
        self.record = record;
        self.retry = Retry::default();
        self.last_renewal = Some(life.issued);
    }

    /// Counts a try that has ended, and keeps what came of it.
    pub(super) fn tried(&mut self, outcome: Outcome, text: Option<String>) {
        let now = self.clock.wall();
        self.tries.ended(now, outcome, self.serial, text);
    }

    /// Uses the token that there is until another has come, and sees to that now.
    pub(super) fn renew_at_once(&mut self) {
        if let Some(held) = &mut self.held {
            held.due = Duration::ZERO;
        }
    }

    /// Tells the surroundings and the status readers.
    pub(super) fn publish(&mut self) {
        self.shown_live = self.is_live();
        // Whoever hears that there is no token would give up, a moment before we begin.
        let comes = self.stage != Stage::Idle || self.is_due();
        let renewing = self.stage == Stage::Gated || (!self.shown_live && comes);
        let view = match (&self.dead, &self.held) {
            (Some(reason), _) => TokenView::Dead {
                reason: reason.clone(),
            },
            (None, Some(held)) if self.shown_live => TokenView::Live {
                authorization: held.access.authorization().clone(),
                generation: self.serial,
                ends: held.life.ends,
                renewing,
            },
            (None, held) => TokenView::Absent {
                reason: if held.is_some() {
                    Absence::Expired
                } else {
                    self.absence
                },
                renewing,
            },
        };
        // The view first: who learns of a generation from the facts must find its token there.
        let profile = self.record.as_ref().and_then(|own| own.profile.as_ref());
        (self.hooks.publish)(view, profile);
        self.facts.send_replace(Facts {
            serial: self.serial,
            life: self.held.as_ref().map(|held| held.life),
            next_try: self.next_due(),
            absence: self.absence,
            dead: self.dead.clone(),
            renewing,
            stored: self.record.as_ref().map(|record| Stored {
                profile: record.profile.as_ref().map(ToString::to_string),
                user: record.user.clone(),
                refresh_expires: record.refresh_expires,
            }),
            tries: self.tries.clone(),
            last_error: self.last_error.clone(),
            last_renewal: self.last_renewal,
            unsaved: self.unsaved.is_some(),
        });
    }

    pub(super) fn is_live(&self) -> bool {
        !self.left().is_zero()
    }

    /// What is left of the token's life; nothing if there is none.
    pub(super) fn left(&self) -> Duration {
        let boot = self.clock.boot();
        self.held
            .as_ref()
            .map_or(Duration::ZERO, |held| held.life.left(boot))
    }

    /// Whether there is anything an exchange could be made with.
    fn is_renewable(&self) -> bool {
        match self.subject {
            Subject::User { .. } => self.record.is_some() && self.dead.is_none(),
            Subject::Client => true,
        }
    }

    fn is_due(&self) -> bool {
        self.next_due().is_some_and(|due| due <= self.clock.boot())
    }

    /// When the keeper will act by itself, by the boot clock.
    fn next_due(&self) -> Option<Duration> {
        if !self.wanted || !self.is_renewable() {
            return None;
        }
        let due = match &self.held {
            Some(held) if !held.suspect => held.due,
            _ => Duration::ZERO,
        };
        Some(self.retry.not_before(due))
    }

    /// Until the next thing that the clock alone brings about.
    fn nap(&self) -> Duration {
        let now = self.clock.boot();
        let end = self.shown_live.then(|| now + self.left());
        let save = self.unsaved.as_ref().and_then(Unsaved::next_try);
        [self.next_due(), end, save]
            .into_iter()
            .flatten()
            .min()
            .map_or(LOOK, |next| next.saturating_sub(now).clamp(TICK, LOOK))
    }
}

impl Subject {
    /// For logs.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::User { grant, .. } => grant,
            Self::Client => "(client)",
        }
    }

    fn first_absence(&self) -> Absence {
        match self {
            Self::User { .. } => Absence::NotLooked,
            Self::Client => Absence::NotFetched,
        }
    }
}

/// How often the store is looked at for what other processes did.
const LOOK: Duration = Duration::from_millis(500);
/// The finest a timer is.
const TICK: Duration = Duration::from_millis(1);
/// Questions that may wait; more wait to be asked.
const WAITING: usize = 256;
