//! Opaque tokens and how long they live.

use std::time::{Duration, SystemTime};

use http::HeaderValue;

use crate::clock::Clock;
use crate::credentials::Record;
use crate::secret::Secret;
use crate::tokens::exchange::Garbled;
use crate::wise::wire::TokenAnswer;

/// What requests carry: opaque text (Wise is moving it from UUID to JWT) and the header value
/// made of it once.
#[derive(Clone)]
pub(super) struct AccessToken {
    secret: Secret,
    authorization: HeaderValue,
}

impl AccessToken {
    /// Takes a text that may stand in a header: visible ASCII, at most 16 KiB.
    pub(super) fn parse(secret: Secret) -> Result<Self, Garbled> {
        let text = secret.expose();
        let fits =
            (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits {
            return Err(Garbled::BadToken);
        }
        let authorization = secret.bearer().map_err(|_| Garbled::BadToken)?;
        Ok(Self {
            secret,
            authorization,
        })
    }

    /// `Bearer …`, sensitive.
    pub(super) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// The token itself, to be sealed.
    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }
}

/// Both clocks, read at once: before the request, since what Wise counts begins after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) wall: SystemTime,
    pub(super) boot: Duration,
}

impl Moment {
    pub(super) fn now(clock: &dyn Clock) -> Self {
        Self {
            wall: clock.wall(),
            boot: clock.boot(),
        }
    }
}

/// From when to when a token lives.
///
/// Decisions use the boot clock alone; the wall times are for the store and for people.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    /// Asked for at this wall time.
    pub(super) issued: SystemTime,
    /// Ends at this wall time, if nobody moves the clock.
    pub(super) expires: SystemTime,
    /// The whole life.
    pub(super) length: Duration,
    /// Ends at this reading of the boot clock.
    pub(super) ends: Duration,
}

impl Lifetime {
    /// The life of a token asked for at `asked`.
    ///
    /// `expires_in` is only recommended (RFC 6749 §5.1) and comes from outside. Missing, it counts
    /// as one hour: short of the documented twelve, so that we rather renew too often than carry
    /// a dead token. Zero and less count as one second, which makes the next renewal due at once
    /// but bounds how often. More than a day counts as a day.
    pub(super) fn answered(asked: Moment, expires_in: Option<i64>) -> Self {
        let length = match expires_in {
            None => UNKNOWN,
            Some(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
                .clamp(SHORTEST, LONGEST_LIFE),
        };
        Self {
            issued: asked.wall,
            expires: asked.wall + length,
            length,
            ends: asked.boot.saturating_add(length),
        }
    }

    /// The life of a stored token, told by the wall clock as it is now.
    ///
    /// A clock set back since cannot give the token more than its whole life.
    pub(super) fn stored(now: Moment, issued: SystemTime, expires: SystemTime) -> Self {
        let length = expires
            .duration_since(issued)
            .unwrap_or_default()
            .min(LONGEST_LIFE);
        let left = expires
            .duration_since(now.wall)
            .unwrap_or_default()
            .min(length);
        Self {
            issued,
            expires,
            length,
            ends: now.boot.saturating_add(left),
        }
    }

    /// How long ago it was asked for, at this reading of the boot clock.
    pub(super) fn age(&self, boot: Duration) -> Duration {
        (boot + self.length).saturating_sub(self.ends)
    }

    /// What is left of it at this reading of the boot clock.
    pub(super) fn left(&self, boot: Duration) -> Duration {
        self.ends.saturating_sub(boot)
    }
}

/// A user grant's answer; may be stored.
pub(super) struct UserTokens {
    pub(super) access: AccessToken,
    pub(super) life: Lifetime,
    refresh: Secret,
    refresh_expires: Option<SystemTime>,
}

impl UserTokens {
    /// The answer to a first exchange, which must bring a refresh token.
    pub(super) fn first(answer: &TokenAnswer, asked: Moment) -> Result<Self, Garbled> {
        let refresh = refresh_token(answer)?.ok_or(Garbled::NoRefreshToken)?;
        Self::with(answer, asked, refresh, None)
    }

    /// The answer to a renewal. Without a new refresh token the old one goes on (RFC 6749 §6).
    pub(super) fn next(answer: &TokenAnswer, asked: Moment, old: &Record) -> Result<Self, Garbled> {
        let refresh = refresh_token(answer)?.unwrap_or_else(|| old.refresh_token.clone());
        Self::with(answer, asked, refresh, old.refresh_expires)
    }

    /// What is stored of them after `old`.
    pub(super) fn succeed(&self, old: &Record, generation: u64) -> Record {
        Record {
            generation,
            access_token: self.access.secret().clone(),
            issued: self.life.issued,
            expires: self.life.expires,
            refresh_token: self.refresh.clone(),
            refresh_expires: self.refresh_expires,
            ..old.clone()
        }
    }

    /// The refresh token, to be stored.
    pub(super) fn refresh(&self) -> &Secret {
        &self.refresh
    }

    /// When the refresh token ends, where known.
    pub(super) fn refresh_expires(&self) -> Option<SystemTime> {
        self.refresh_expires
    }

    fn with(
        answer: &TokenAnswer,
        asked: Moment,
        refresh: Secret,
        known: Option<SystemTime>,
    ) -> Result<Self, Garbled> {
        let said = answer
            .refresh_token_expires_in
            .and_then(|seconds| u64::try_from(seconds).ok())
            .and_then(|seconds| {
                asked
                    .wall
                    .checked_add(Duration::from_secs(seconds).min(LONGEST_GRANT))
            });
        Ok(Self {
            access: access_token(answer)?,
            life: Lifetime::answered(asked, answer.expires_in),
            refresh,
            refresh_expires: said.or(known),
        })
    }
}

/// A `client_credentials` answer. It has no refresh token, so it cannot become a
/// [`Record`]: Wise says not to keep it.
pub(super) struct ClientToken {
    pub(super) access: AccessToken,
    pub(super) life: Lifetime,
}

impl ClientToken {
    pub(super) fn new(answer: &TokenAnswer, asked: Moment) -> Result<Self, Garbled> {
        Ok(Self {
            access: access_token(answer)?,
            life: Lifetime::answered(asked, answer.expires_in),
        })
    }
}

fn access_token(answer: &TokenAnswer) -> Result<AccessToken, Garbled> {
    // Left out by some; said wrongly it is a token that we do not know how to use (RFC 6749 §7.1).
    if let Some(kind) = &answer.token_type
        && !kind.eq_ignore_ascii_case("bearer")
    {
        return Err(Garbled::NotBearer);
    }
    AccessToken::parse(Secret::new(answer.access_token.as_str()))
}

fn refresh_token(answer: &TokenAnswer) -> Result<Option<Secret>, Garbled> {
    match answer.refresh_token.as_deref() {
        None => Ok(None),
        Some(text)
            if text.len() <= LONGEST && !text.is_empty() && !text.contains(char::is_control) =>
        {
            Ok(Some(Secret::new(text)))
        }
        Some(_) => Err(Garbled::BadToken),
    }
}

/// Longest token, in bytes: more would not fit the header limits of common servers.
const LONGEST: usize = 16 * 1024;
const UNKNOWN: Duration = Duration::from_secs(3600);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// A bound that keeps dates printable; Wise documents twenty years.
const LONGEST_GRANT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
