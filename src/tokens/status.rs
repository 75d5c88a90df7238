//! What is shown of a keeper: an allowlist of fields, none of them secret.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::Clock;
use crate::credentials::User;
use crate::tokens::token::Lifetime;
use crate::tokens::view::{Absence, Subject};

/// How one try to renew ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// A new token from Wise.
    Renewed,
    /// A newer token from the store: another process was first, or a person logged in.
    Adopted,
    /// The grant is over.
    InvalidGrant,
    /// Wise does not accept our client credentials.
    InvalidClient,
    /// Any other refusal.
    Refused,
    /// The token endpoint could not be reached.
    Unreachable,
    /// The answer did not arrive.
    AnswerLost,
    /// Asked to slow down.
    Throttled,
    /// The server's own trouble.
    ServerError,
    /// An answer without usable tokens.
    Garbled,
    /// The store could not be locked, read or written, so no exchange was made.
    StoreFailed,
}

impl Outcome {
    /// Every outcome.
    pub(crate) const ALL: [Self; 11] = [
        Self::Renewed,
        Self::Adopted,
        Self::InvalidGrant,
        Self::InvalidClient,
        Self::Refused,
        Self::Unreachable,
        Self::AnswerLost,
        Self::Throttled,
        Self::ServerError,
        Self::Garbled,
        Self::StoreFailed,
    ];

    /// The word used in status, logs and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::Adopted => "adopted",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidClient => "invalid_client",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::AnswerLost => "answer_lost",
            Self::Throttled => "throttled",
            Self::ServerError => "server_error",
            Self::Garbled => "garbled",
            Self::StoreFailed => "store_failed",
        }
    }
}

/// Tries to renew since the start, by how they ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally([u64; Outcome::ALL.len()]);

impl Tally {
    /// How many ended so.
    pub(crate) fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// Every outcome with its count.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL
            .into_iter()
            .map(|outcome| (outcome, self.of(outcome)))
    }

    fn count(&mut self, outcome: Outcome) {
        self.0[outcome as usize] += 1;
    }
}

/// What came of the tries to renew: all of them counted, the last ones one by one.
#[derive(Clone, Debug, Default)]
pub(super) struct Tries {
    pub(super) tally: Tally,
    last: VecDeque<Try>,
}

/// So many tries of a grant are kept: a day of renewals, or half an hour of trouble.
const TRIES_KEPT: usize = 8;

/// A try that has ended.
#[derive(Clone, Debug)]
struct Try {
    at: SystemTime,
    outcome: Outcome,
    generation: u64,
    /// Why it brought nothing, safe to show.
    text: Option<String>,
}

impl Tries {
    /// Notes a try that has ended, with the generation that is then in use.
    pub(super) fn ended(
        &mut self,
        at: SystemTime,
        outcome: Outcome,
        generation: u64,
        text: Option<String>,
    ) {
        self.tally.count(outcome);
        self.last.truncate(TRIES_KEPT - 1);
        self.last.push_front(Try {
            at,
            outcome,
            generation,
            text,
        });
    }
}

impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(outcome, count)| (outcome.name(), count)))
    }
}

/// A keeper at a glance.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct KeeperStatus {
    /// `user` or `client`.
    pub(crate) kind: &'static str,
    /// Name of the grant; none for the client token.
    pub(crate) grant: Option<String>,
    /// The profile it acts for, where known.
    pub(crate) profile: Option<String>,
    /// Who granted it, where known.
    pub(crate) user: Option<User>,
    /// `live`, `absent` or `dead`.
    pub(crate) state: &'static str,
    /// A word for why it is not live, such as `expired`.
    pub(crate) absence: Option<&'static str>,
    /// A sentence for why it is not live, with what to do.
    pub(crate) reason: Option<String>,
    /// An exchange is running or about to.
    pub(crate) renewing: bool,
    /// Which access token this is.
    pub(crate) generation: u64,
    /// RFC 3339.
    pub(crate) issued: Option<String>,
    /// RFC 3339.
    pub(crate) expires: Option<String>,
    /// RFC 3339; end of the refresh token, where Wise says.
    pub(crate) refresh_expires: Option<String>,
    /// Of the access token.
    pub(crate) seconds_left: Option<u64>,
    /// Seconds since the access token was asked for.
    pub(crate) age: Option<u64>,
    /// Seconds until the next try.
    pub(crate) next_renewal_in: Option<u64>,
    /// Tries since the start by result.
    pub(crate) refreshes: Tally,
    /// The last failure; stays after a success, with its time.
    pub(crate) last_error: Option<LastError>,
    /// RFC 3339; the last time a new token came, from Wise or the store.
    pub(crate) last_renewal: Option<String>,
    /// The newest tokens are in memory only, because the store cannot be written. Alarm: a
    /// restart now may cost the grant.
    pub(crate) unsaved: bool,
    /// The last tries, newest first; shown for all grants together.
    #[serde(skip)]
    pub(crate) tries: Vec<EndedTry>,
}

/// A try to renew that has ended.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EndedTry {
    /// RFC 3339.
    pub(crate) at: String,
    /// The grant; none for the client token.
    pub(crate) grant: Option<String>,
    /// How it ended, as in `refreshes`.
    pub(crate) result: &'static str,
    /// The access token that was in use afterwards.
    pub(crate) generation: u64,
    /// Why it brought nothing.
    pub(crate) text: Option<String>,
}

/// A failure and when.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LastError {
    /// RFC 3339.
    pub(crate) at: String,
    /// Which.
    pub(crate) result: &'static str,
    /// What, safe to show.
    pub(crate) text: String,
}

/// What the keeper's task leaves for readers; times become relative when it is read.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) serial: u64,
    pub(super) life: Option<Lifetime>,
    pub(super) next_try: Option<Duration>,
    pub(super) absence: Absence,
    pub(super) dead: Option<String>,
    pub(super) renewing: bool,
    pub(super) stored: Option<Stored>,
    pub(super) tries: Tries,
    pub(super) last_error: Option<(SystemTime, Outcome, String)>,
    pub(super) last_renewal: Option<SystemTime>,
    pub(super) unsaved: bool,
}

/// The showable part of a record.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) profile: Option<String>,
    pub(super) user: Option<User>,
    pub(super) refresh_expires: Option<SystemTime>,
}

impl Facts {
    pub(super) fn is_live(&self, boot: Duration) -> bool {
        self.dead.is_none() && self.life.is_some_and(|life| !life.left(boot).is_zero())
    }

    /// Why there is no token; where the store is to blame, what is wrong with it.
    fn sentence(&self, absence: Absence) -> String {
        match (absence, &self.last_error) {
            (Absence::StoreUnreadable, Some((_, Outcome::StoreFailed, text))) => text.clone(),
            (Absence::Expired, Some((_, Outcome::StoreFailed, text))) => {
                format!("the last token has ended and no new one came: {text}")
            }
            _ => absence.to_string(),
        }
    }

    pub(super) fn status(&self, subject: &Subject, clock: &dyn Clock) -> KeeperStatus {
        let boot = clock.boot();
        let live = self.is_live(boot);
        let absence = (!live && self.dead.is_none()).then_some(if self.life.is_some() {
            Absence::Expired
        } else {
            self.absence
        });
        let (kind, grant, profile) = match subject {
            Subject::User { grant, profile, .. } => (
                "user",
                Some(grant.clone()),
                profile.as_ref().map(ToString::to_string),
            ),
            Subject::Client => ("client", None, None),
        };
        let stored = self.stored.as_ref();
        let tries = self.tries.last.iter().map(|ended| EndedTry {
            at: rfc3339(ended.at),
            grant: grant.clone(),
            result: ended.outcome.name(),
            generation: ended.generation,
            text: ended.text.clone(),
        });
        KeeperStatus {
            tries: tries.collect(),
            kind,
            grant,
            profile: profile.or_else(|| stored.and_then(|stored| stored.profile.clone())),
            user: stored.and_then(|stored| stored.user.clone()),
            state: match (&self.dead, live) {
                (Some(_), _) => "dead",
                (None, true) => "live",
                (None, false) => "absent",
            },
            absence: absence.map(Absence::name),
            reason: self
                .dead
                .clone()
                .or_else(|| absence.map(|absence| self.sentence(absence))),
            renewing: self.renewing,
            generation: self.serial,
            issued: self.life.map(|life| rfc3339(life.issued)),
            expires: self.life.map(|life| rfc3339(life.expires)),
            refresh_expires: stored
                .and_then(|stored| stored.refresh_expires)
                .map(rfc3339),
            seconds_left: self.life.map(|life| life.left(boot).as_secs()),
            age: self.life.map(|life| life.age(boot).as_secs()),
            next_renewal_in: self
                .next_try
                .map(|next| next.saturating_sub(boot).as_secs()),
            refreshes: self.tries.tally,
            last_error: self
                .last_error
                .as_ref()
                .map(|(at, outcome, text)| LastError {
                    at: rfc3339(*at),
                    result: outcome.name(),
                    text: text.clone(),
                }),
            last_renewal: self.last_renewal.map(rfc3339),
            unsaved: self.unsaved,
        }
    }
}

fn rfc3339(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .replace_nanosecond(0)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}
