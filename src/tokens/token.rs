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
        Ok(Self {
            access: access_token(answer)?,
            life: Lifetime::answered(asked, answer.expires_in),
            refresh,
            refresh_expires: refresh_expires(answer, asked).or(known),
        })
    }
}

/// What is stored after an answer of which only the refresh token can be used. `None` where it
/// brings none, or the one we have.
///
/// The one before is spent and may be dead, and so may be the access token that came with it: the
/// record says that nothing of it is left, so that whoever finds it renews at once.
pub(super) fn salvaged(
    answer: &TokenAnswer,
    asked: Moment,
    old: &Record,
    generation: u64,
) -> Option<Record> {
    let refresh = refresh_token(answer).ok().flatten()?;
    (!refresh.matches(&old.refresh_token)).then(|| Record {
        generation,
        expires: old.expires.min(asked.wall),
        refresh_token: refresh,
        refresh_expires: refresh_expires(answer, asked).or(old.refresh_expires),
        ..old.clone()
    })
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
        // Written by some for "unchanged".
        None | Some("") => Ok(None),
        Some(text) if text.len() <= LONGEST && !text.contains(char::is_control) => {
            Ok(Some(Secret::new(text)))
        }
        Some(_) => Err(Garbled::BadToken),
    }
}

fn refresh_expires(answer: &TokenAnswer, asked: Moment) -> Option<SystemTime> {
    let seconds = u64::try_from(answer.refresh_token_expires_in?).ok()?;
    let length = Duration::from_secs(seconds).min(LONGEST_GRANT);
    asked.wall.checked_add(length)
}

/// Longest token, in bytes: more would not fit the header limits of common servers.
const LONGEST: usize = 16 * 1024;
const UNKNOWN: Duration = Duration::from_hours(1);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST_LIFE: Duration = Duration::from_hours(24);
/// A bound that keeps dates printable; Wise documents twenty years.
const LONGEST_GRANT: Duration = Duration::from_hours(100 * 365 * 24);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn moment(wall: u64, boot: u64) -> Moment {
        Moment {
            wall: SystemTime::UNIX_EPOCH + secs(wall),
            boot: secs(boot),
        }
    }

    fn answer(access: &str, refresh: Option<&str>) -> TokenAnswer {
        TokenAnswer {
            access_token: access.into(),
            token_type: Some("Bearer".into()),
            refresh_token: refresh.map(Into::into),
            expires_in: Some(43_199),
            refresh_token_expires_in: Some(1_000),
        }
    }

    fn record() -> Record {
        Record {
            grant: "main".into(),
            profile: None,
            user: None,
            client_id: "acme".into(),
            generation: 6,
            granted: SystemTime::UNIX_EPOCH,
            access_token: Secret::new("old-access"),
            issued: SystemTime::UNIX_EPOCH,
            expires: SystemTime::UNIX_EPOCH,
            refresh_token: Secret::new("old-refresh"),
            refresh_expires: Some(SystemTime::UNIX_EPOCH + secs(9_999)),
        }
    }

    proptest! {
        #[test]
        fn a_token_is_a_header_value_or_nothing(text in ".{0,40}") {
            match AccessToken::parse(Secret::new(text.as_str())) {
                Ok(token) => {
                    let value = token.authorization();
                    prop_assert_eq!(value.to_str().unwrap(), format!("Bearer {text}"));
                    prop_assert!(value.is_sensitive());
                }
                Err(_) => prop_assert!(
                    text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic())
                ),
            }
        }

        #[test]
        fn a_stored_token_never_gains_life_whatever_the_clocks_say(
            issued in 0..10_000_000_u64,
            length in 0..100_000_u64,
            now in 0..20_000_000_u64,
            boot in 0..20_000_000_u64,
        ) {
            let expires = SystemTime::UNIX_EPOCH + secs(issued + length);
            let life = Lifetime::stored(
                moment(now, boot),
                SystemTime::UNIX_EPOCH + secs(issued),
                expires,
            );
            let left = life.left(secs(boot));
            prop_assert!(left <= secs(length.min(24 * 3_600)));
            if now >= issued {
                prop_assert!(left <= secs((issued + length).saturating_sub(now)));
            }
        }
    }

    #[test]
    fn tokens_are_bounded_by_what_fits_a_header() {
        let fits = "x".repeat(16 * 1024);
        assert!(AccessToken::parse(Secret::new(fits.as_str())).is_ok());
        assert!(AccessToken::parse(Secret::new(fits + "x")).is_err());
        for injected in ["a\r\nx: y", "a\nb", "a\0b", "a b", "\u{e9}"] {
            assert!(AccessToken::parse(Secret::new(injected)).is_err());
        }
    }

    #[test]
    fn life_is_counted_from_before_the_request() {
        let life = Lifetime::answered(moment(5_000, 70), Some(600));
        assert_eq!(life.ends, secs(670));
        assert_eq!(life.left(secs(100)), secs(570));
        assert_eq!(life.age(secs(100)), secs(30));
        assert_eq!(life.left(secs(700)), Duration::ZERO);
        assert_eq!(life.expires, SystemTime::UNIX_EPOCH + secs(5_600));
    }

    #[test]
    fn a_renewal_takes_what_it_is_given_and_keeps_what_it_is_not() {
        let asked = moment(5_000, 70);
        let rotated = UserTokens::next(&answer("new", Some("new-refresh")), asked, &record());
        let rotated = rotated.ok().unwrap().succeed(&record(), 7);
        assert_eq!(rotated.generation, 7);
        assert_eq!(rotated.access_token.expose(), "new");
        assert_eq!(rotated.refresh_token.expose(), "new-refresh");
        assert_eq!(
            rotated.refresh_expires,
            Some(SystemTime::UNIX_EPOCH + secs(6_000))
        );

        let mut silent = answer("new", None);
        silent.refresh_token_expires_in = None;
        let kept = UserTokens::next(&silent, asked, &record());
        let kept = kept.ok().unwrap().succeed(&record(), 7);
        assert_eq!(kept.refresh_token.expose(), "old-refresh");
        assert_eq!(kept.refresh_expires, record().refresh_expires);

        let empty = UserTokens::next(&answer("new", Some("")), asked, &record());
        let empty = empty.ok().unwrap().succeed(&record(), 7);
        assert_eq!(empty.refresh_token.expose(), "old-refresh");
    }

    #[test]
    fn of_an_unusable_answer_the_refresh_token_is_kept_and_nothing_else() {
        let asked = moment(5_000, 70);
        let old = Record {
            expires: SystemTime::UNIX_EPOCH + secs(9_000),
            ..record()
        };
        let kept = salvaged(&answer("", Some("new-refresh")), asked, &old, 7).unwrap();
        assert!(kept.supersedes(&old));
        assert_eq!(kept.refresh_token.expose(), "new-refresh");
        assert_eq!(kept.access_token.expose(), "old-access");
        assert_eq!(kept.expires, asked.wall, "nothing is known to be left");

        for nothing_new in [None, Some(""), Some("old-refresh"), Some("a\nb")] {
            assert!(salvaged(&answer("", nothing_new), asked, &old, 7).is_none());
        }
    }

    #[test]
    fn answers_that_cannot_be_used_are_named() {
        let asked = moment(5_000, 70);
        let first = |answer: &TokenAnswer| UserTokens::first(answer, asked).err();
        assert_eq!(first(&answer("new", Some("refresh"))), None);
        assert_eq!(first(&answer("new", None)), Some(Garbled::NoRefreshToken));
        assert_eq!(first(&answer("new", Some("\n"))), Some(Garbled::BadToken));
        assert_eq!(
            first(&answer("new", Some(""))),
            Some(Garbled::NoRefreshToken)
        );
        assert_eq!(first(&answer("", Some("refresh"))), Some(Garbled::BadToken));
        let mut mac = answer("new", Some("refresh"));
        mac.token_type = Some("mac".into());
        assert_eq!(first(&mac), Some(Garbled::NotBearer));
        assert!(ClientToken::new(&answer("new", None), asked).is_ok());
    }
}
