//! One renewal, from the gate to the publication.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time;

use crate::credentials::{Record, StoreError};
use crate::failpoint::{self, Point};
use crate::telemetry::events::Kind;
use crate::tokens::exchange::{ErrorCode, Exchange, ExchangeError, Garbled, GrantRequest};
use crate::tokens::keeper::{Held, Keeper};
use crate::tokens::schedule::Jitter;
use crate::tokens::status::Outcome;
use crate::tokens::token::{ClientToken, Moment, UserTokens, salvaged};
use crate::tokens::vault::{Hold, Vault};
use crate::tokens::view::{Absence, Subject};
use crate::wise::wire::TokenAnswer;

/// Why a renewal is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cause {
    /// The schedule.
    Due,
    /// A 401.
    Forced,
    /// An operator.
    Asked,
}

/// How far a renewal has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// There is none.
    Idle,
    /// The gate is open: requests leave with the token that there is.
    Begun,
    /// The gate is closed: new requests wait.
    Gated,
}

/// Why a renewal brought no token.
struct Failure {
    outcome: Outcome,
    text: String,
    asked: Option<Duration>,
}

impl<E: Exchange> Keeper<E> {
    /// Makes one renewal and publishes what came of it.
    pub(super) async fn renew(&mut self, cause: Cause) -> Outcome {
        let was_failing = self.retry.is_running();
        let is_doubtful = self.held.as_ref().is_none_or(Held::is_doubtful);
        self.stage = Stage::Begun;
        let serves = cause != Cause::Forced && !is_doubtful && self.is_live();
        if !serves && !self.is_cut_off() {
            self.close_gate(cause).await;
        }
        let done = match self.subject {
            Subject::User { .. } => self.renew_user(cause).await,
            Subject::Client => self.renew_client(cause).await,
        };
        self.stage = Stage::Idle;
        let outcome = match done {
            Ok(outcome) => {
                self.note_renewal(outcome, was_failing);
                outcome
            }
            Err(failure) => self.fail(failure),
        };
        // Adoptions were counted where they happened.
        if outcome != Outcome::Adopted {
            let failed = self
                .last_error
                .as_ref()
                .filter(|_| outcome != Outcome::Renewed);
            let text = failed.map(|(_, _, text)| text.clone());
            self.tried(outcome, text);
        }
        self.publish();
        failpoint::pass(Point::RenewalPublished);
        outcome
    }

    fn note_renewal(&self, outcome: Outcome, was_failing: bool) {
        let kind = match (outcome, was_failing) {
            (_, true) => Kind::RenewalRecovered,
            // It was noted where it happened.
            (Outcome::Adopted, false) => return,
            _ => Kind::TokenRenewed,
        };
        let left = humantime::format_duration(Duration::from_secs(self.left().as_secs()));
        self.note(
            kind,
            format!("renewed: generation {}, good for {left}", self.serial),
        );
    }

    /// Notes what happened to this grant.
    pub(super) fn note(&self, kind: Kind, text: impl Into<String>) {
        let grant = match &self.subject {
            Subject::User { grant, .. } => Some(grant.as_str()),
            Subject::Client => None,
        };
        self.hooks.events.note(kind, grant, text);
    }

    /// Closes the gate (`renewing`), since the exchange kills the old token: new requests wait, and
    /// those under way get a moment to be answered.
    ///
    /// As late as it goes: a token that lives serves requests while the store is locked, read and
    /// tried out, and while a connection to the token endpoint is opened.
    async fn close_gate(&mut self, cause: Cause) {
        if self.stage == Stage::Gated {
            return;
        }
        self.stage = Stage::Gated;
        self.publish();
        failpoint::pass(Point::RenewalGated);
        if self.is_live() && cause != Cause::Forced {
            self.quiet().await;
        }
    }

    /// The last try did not reach the token endpoint, and the token still serves: an outage there
    /// must not slow requests again and again, so nobody waits before an exchange is at hand.
    fn is_cut_off(&self) -> bool {
        let unreached = self
            .last_error
            .as_ref()
            .is_some_and(|(_, outcome, _)| *outcome == Outcome::Unreachable);
        unreached && self.retry.is_running() && self.is_live()
    }

    /// Waits until no other process is in the middle of an exchange, and takes what it has stored.
    ///
    /// `false`: another has kept the lock for longer than we wait.
    pub(super) async fn await_others(&mut self) -> bool {
        let Some(vault) = self.vault.clone().filter(|_| !self.is_saving()) else {
            return true;
        };
        match self.hold(&vault, LOCK_WAIT, false).await {
            Ok(Some(hold)) => {
                if let Ok(found) = hold.load().await {
                    self.take_in(found);
                }
                true
            }
            Ok(None) => true,
            Err(_) => false,
        }
    }

    async fn renew_user(&mut self, cause: Cause) -> Result<Outcome, Failure> {
        let Some(vault) = self.vault.clone() else {
            return Err(Failure::plain(
                Outcome::StoreFailed,
                "this grant has no store",
            ));
        };
        let pressed = self.is_pressed(cause);
        // A save on a disk that hangs: the lock is ours, and nobody but us has written since.
        let saving = self.is_saving();
        if saving && !pressed {
            return Err(Failure::plain(
                Outcome::StoreFailed,
                "the store is still at work on the tokens that came last; look at the disk",
            ));
        }
        let hold = match self.hold(&vault, Duration::ZERO, pressed).await {
            Err(StoreError::Busy { .. }) => {
                // Another process is about to kill the token, or has.
                if !self.is_cut_off() {
                    self.close_gate(cause).await;
                }
                self.hold(&vault, LOCK_WAIT, pressed).await
            }
            held => held,
        }?;
        failpoint::pass(Point::RenewalLocked);
        if let Some(hold) = hold.as_ref().filter(|_| !saving) {
            match hold.load().await {
                Ok(found) => {
                    if self.take_in(found) {
                        return Ok(Outcome::Adopted);
                    }
                }
                Err(error) if !pressed || error.is_foreign() => return Err(error.into()),
                Err(_) => {}
            }
            // With time in hand, better to keep the old token than to hold the next refresh token
            // in memory alone.
            match hold.probe().await {
                Err(error) if !pressed => return Err(error.into()),
                _ => {}
            }
        }
        let Some(own) = self.record.clone() else {
            return Err(Failure::plain(
                Outcome::StoreFailed,
                "the stored grant was removed or replaced by one that is not ours",
            ));
        };
        let connection = self.connected().await?;
        self.close_gate(cause).await;
        let asked = Moment::now(self.clock.as_ref());
        let request = GrantRequest::RefreshToken(own.refresh_token.clone());
        let answer = match self.exchanged(connection, request).await {
            Ok(answer) => answer,
            Err(ExchangeError::InvalidGrant { status }) => {
                return self.refused_for_good(&vault, &own, status).await;
            }
            Err(error) => return Err(error.into()),
        };
        failpoint::pass(Point::RenewalAnswered);
        let serial = self.serial + 1;
        let generation = serial.max(own.generation + 1);
        let tokens = match UserTokens::next(&answer, asked, &own) {
            Ok(tokens) => tokens,
            Err(why) => {
                // It was carried out, so the token in use is dead, and so may be the refresh token
                // that was shown. The next one is in our hands.
                if let Some(held) = &mut self.held {
                    held.suspect = true;
                }
                if let Some(next) = salvaged(&answer, asked, &own, generation)
                    && !self.keep(&vault, hold, &next).await
                {
                    return Ok(Outcome::Adopted);
                }
                return Err(why.into());
            }
        };
        let next = tokens.succeed(&own, generation);
        // Sealed before seen. If the store does not take it, the old token is dead all the same:
        // holding the new one back would be an outage and make nothing safer.
        if !self.keep(&vault, hold, &next).await {
            return Ok(Outcome::Adopted);
        }
        failpoint::pass(Point::RenewalSaved);
        self.install(tokens.access, tokens.life, serial, Some(next));
        Ok(Outcome::Renewed)
    }

    async fn renew_client(&mut self, cause: Cause) -> Result<Outcome, Failure> {
        let connection = self.connected().await?;
        self.close_gate(cause).await;
        let asked = Moment::now(self.clock.as_ref());
        let request = GrantRequest::ClientCredentials;
        let answer = match self.exchanged(connection, request).await {
            // There is no grant here that could end.
            Err(ExchangeError::InvalidGrant { status }) => Err(ExchangeError::Refused {
                status,
                error: ErrorCode::read("invalid_grant"),
            })?,
            answer => answer?,
        };
        let token = ClientToken::new(&answer, asked)?;
        self.install(token.access, token.life, self.serial + 1, None);
        Ok(Outcome::Renewed)
    }

    /// The cross-process lock, waited for at most `patience`; without it only where the store is
    /// beyond locking and we must.
    async fn hold(
        &mut self,
        vault: &Vault,
        patience: Duration,
        pressed: bool,
    ) -> Result<Option<Hold>, StoreError> {
        if let Some(unsaved) = &self.unsaved
            && (unsaved.hold.is_some() || self.is_saving())
        {
            return Ok(unsaved.hold.as_ref().map(Hold::share));
        }
        let vault = vault.clone();
        match self
            .lapsing(async move { vault.lock(patience).await })
            .await
        {
            Ok(hold) => Ok(Some(hold)),
            Err(error @ StoreError::Busy { .. }) => Err(error),
            Err(_) if pressed => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `invalid_grant`: another process may have been faster without us seeing its lock. If the
    /// store says nothing newer, the grant is over.
    async fn refused_for_good(
        &mut self,
        vault: &Vault,
        shown: &Record,
        status: u16,
    ) -> Result<Outcome, Failure> {
        if let Ok(found) = vault.load().await {
            let adopted = self.take_in(found);
            let is_spent = |own: &Record| own.refresh_token.matches(&shown.refresh_token);
            if adopted || self.record.as_ref().is_some_and(|own| !is_spent(own)) {
                return Ok(Outcome::Adopted);
            }
        }
        let lost = self
            .last_error
            .as_ref()
            .is_some_and(|(_, last, _)| *last == Outcome::AnswerLost && self.retry.is_running());
        let cause = if lost {
            "the answer to the last renewal was lost on the way, and Wise does not accept the \
             refresh token twice"
        } else {
            "Wise no longer accepts the refresh token"
        };
        let reason = format!(
            "{cause} (invalid_grant, status {status}); run `wise-auth-proxy login` for grant `{}`",
            self.subject.name()
        );
        tracing::error!(grant = self.subject.name(), "{reason}");
        self.note(Kind::GrantDead, reason.as_str());
        self.dead = Some(reason.clone());
        self.unsaved = None;
        Err(Failure {
            outcome: Outcome::InvalidGrant,
            text: reason,
            asked: None,
        })
    }

    /// A connection for one exchange. A token that ends meanwhile is withdrawn meanwhile.
    async fn connected(&mut self) -> Result<E::Connection, ExchangeError> {
        let exchange = Arc::clone(&self.exchange);
        self.lapsing(async move { exchange.connect().await }).await
    }

    /// One exchange, bounded in time. A token that ends meanwhile is withdrawn meanwhile.
    async fn exchanged(
        &mut self,
        connection: E::Connection,
        request: GrantRequest,
    ) -> Result<TokenAnswer, ExchangeError> {
        let exchange = Arc::clone(&self.exchange);
        let limit = self.policy.exchange_timeout;
        self.lapsing(async move {
            time::timeout(limit, exchange.exchange_on(connection, request))
                .await
                .unwrap_or_else(|_| {
                    Err(ExchangeError::AnswerLost(format!(
                        "no answer within {} s",
                        limit.as_secs_f32()
                    )))
                })
        })
        .await
    }

    /// Runs `work` to its end and publishes the end of the token's life if that comes first.
    async fn lapsing<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        while self.is_live() {
            let left = self.left();
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = time::sleep(left.min(GLANCE_AT_CLOCK)) => if !self.is_live() { self.publish() },
            }
        }
        work.await
    }

    /// Waits a moment for requests that left with the token that is about to die.
    async fn quiet(&mut self) {
        let end = time::Instant::now() + self.policy.quiet.min(self.left());
        while (self.hooks.unanswered)() > 0 && time::Instant::now() < end {
            time::sleep(GLANCE).await;
        }
    }

    fn fail(&mut self, failure: Failure) -> Outcome {
        let Failure {
            outcome,
            text,
            asked,
        } = failure;
        let now = self.clock.boot();
        let mistaken = matches!(outcome, Outcome::InvalidClient | Outcome::Refused);
        // A token that was refused is none to take one's time with.
        let suspect = self.held.as_ref().is_some_and(|held| held.suspect);
        let left = if suspect { Duration::ZERO } else { self.left() };
        let delay = if mistaken {
            self.retry.refused(now, Jitter::random())
        } else {
            self.retry.failed(now, left, asked, Jitter::random())
        };
        if outcome == Outcome::AnswerLost
            && let Some(held) = &mut self.held
        {
            // Wise may have carried it out, and then the token in use is dead: ask again, with the
            // same refresh token, without waiting for the first 401.
            held.suspect = true;
        }
        let renewable = self.record.is_some() || matches!(self.subject, Subject::Client);
        if self.held.is_none() && renewable {
            self.absence = if mistaken {
                Absence::ClientRefused
            } else if outcome == Outcome::StoreFailed {
                Absence::StoreUnreadable
            } else {
                Absence::EndpointUnreachable
            };
        }
        tracing::warn!(
            grant = self.subject.name(),
            result = outcome.name(),
            retry_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            "no new token: {text}"
        );
        if outcome != Outcome::InvalidGrant {
            self.note(Kind::RenewalFailed, format!("no new token: {text}"));
        }
        self.last_error = Some((self.clock.wall(), outcome, text));
        outcome
    }

    /// Whether there is no time left to wait for a store in trouble.
    fn is_pressed(&self, cause: Cause) -> bool {
        let little = self
            .held
            .as_ref()
            .is_none_or(|held| held.suspect || self.left() < (held.life.length / 10).max(LITTLE));
        cause == Cause::Forced || little
    }
}

impl Failure {
    fn plain(outcome: Outcome, text: &str) -> Self {
        Self {
            outcome,
            text: text.to_owned(),
            asked: None,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::plain(Outcome::StoreFailed, &error.to_string())
    }
}

impl From<Garbled> for Failure {
    fn from(why: Garbled) -> Self {
        ExchangeError::Garbled(why).into()
    }
}

impl From<ExchangeError> for Failure {
    fn from(error: ExchangeError) -> Self {
        let text = error.to_string();
        let (outcome, asked) = match error {
            ExchangeError::NotSent(_) => (Outcome::Unreachable, None),
            ExchangeError::AnswerLost(_) => (Outcome::AnswerLost, None),
            ExchangeError::InvalidGrant { .. } => (Outcome::InvalidGrant, None),
            ExchangeError::InvalidClient { .. } => (Outcome::InvalidClient, None),
            ExchangeError::Refused { .. } => (Outcome::Refused, None),
            ExchangeError::Throttled { retry_after } => (Outcome::Throttled, retry_after),
            ExchangeError::ServerTrouble { retry_after, .. } => (Outcome::ServerError, retry_after),
            ExchangeError::Garbled(_) => (Outcome::Garbled, None),
        };
        Self {
            outcome,
            text,
            asked,
        }
    }
}

/// Tries are a second apart at least: in less than this there may be none any more.
const LITTLE: Duration = Duration::from_secs(3);
/// Another process may be in the middle of a slow exchange; a dead one does not hold a lock.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(10);
/// A suspended machine's timers stand still while its tokens grow older.
const GLANCE_AT_CLOCK: Duration = Duration::from_millis(500);
/// Between two looks at the requests that have no answer yet.
const GLANCE: Duration = Duration::from_millis(1);
