//! A login's exchange: from a code to a stored grant, also while another process serves it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::time;

use crate::clock::Clock;
use crate::credentials::{FileStore, Record, StoreError, User};
use crate::failpoint::{self, Point};
use crate::secret::Secret;
use crate::tokens::exchange::{Exchange, ExchangeError, Garbled, GrantRequest};
use crate::tokens::token::{Moment, UserTokens};
use crate::tokens::vault::Vault;
use crate::wise::ProfileId;

/// Which grant a login is for.
#[derive(Clone, Debug)]
pub(crate) struct Enrolment {
    /// Name of the grant.
    pub(crate) grant: String,
    /// The profile that the redirect or the configuration named.
    pub(crate) profile: Option<ProfileId>,
    /// The OAuth client.
    pub(crate) client_id: String,
    /// One exchange takes at most this long.
    pub(crate) timeout: Duration,
}

/// What a login shows.
pub(crate) enum Proof {
    /// From the redirect of the authorisation page.
    AuthorizationCode {
        /// Good once.
        code: Secret,
        /// The same text that the authorisation page was given.
        redirect_uri: String,
    },
    /// For users whom the partner made.
    RegistrationCode {
        /// The user's address.
        email: String,
        /// The code the partner chose.
        registration_code: Secret,
    },
}

/// A stored grant.
pub(crate) struct Enrolled {
    /// `Bearer …`, sensitive: to ask Wise who this is.
    pub(crate) authorization: HeaderValue,
    /// Generation of the stored token.
    pub(crate) generation: u64,
    /// Where an earlier record is that could not be opened, if there was one.
    pub(crate) set_aside: Option<PathBuf>,
}

/// Why a login stored nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolError {
    /// The store is not ready. Nothing was sent; the code is still good.
    #[error("{0}; the code has not been used, run `login` again when this is mended")]
    Store(#[from] StoreError),
    /// The token endpoint cannot be reached. Nothing was sent; the code is still good.
    #[error("{0}; the code has not been used, run `login` again when this is mended")]
    NotAsked(ExchangeError),
    /// No tokens for this code.
    #[error("{0}; run `login` again for a fresh code")]
    Exchange(ExchangeError),
    /// Wise gave tokens and the store did not take them.
    #[error("the tokens came but could not be stored: {0}; mend the store and run `login` again")]
    NotStored(StoreError),
}

/// Exchanges a code and stores the grant; on return it survives a power cut.
///
/// The lock is taken and the store tried first: the code is good once, and a new grant ends the
/// old refresh token, so no other process may use that from here on. A record that cannot be
/// opened is moved aside, never overwritten. Running keepers see the new record within a second.
///
/// Not cancel safe: dropped after the exchange began, the code may be spent for nothing.
pub(crate) async fn enrol<E: Exchange>(
    store: Arc<FileStore>,
    exchange: &E,
    clock: &dyn Clock,
    who: Enrolment,
    proof: Proof,
) -> Result<Enrolled, EnrolError> {
    let hold = Vault::new(store, who.grant.clone()).lock(LOCK_WAIT).await?;
    let (old, mut in_the_way) = match hold.load().await {
        Ok(old) => (old, false),
        Err(error) if error.is_unreadable() => (None, true),
        Err(error) => return Err(error.into()),
    };
    hold.probe().await?;
    let connection = exchange.connect().await?;
    let asked = Moment::now(clock);
    let answer = time::timeout(
        who.timeout,
        exchange.exchange_on(connection, proof.request()),
    )
    .await
    .unwrap_or_else(|_| {
        Err(ExchangeError::AnswerLost(format!(
            "no answer within {} s",
            who.timeout.as_secs_f32()
        )))
    })?;
    failpoint::pass(Point::LoginAnswered);
    let tokens = UserTokens::first(&answer, asked).map_err(unusable)?;
    let generation = old.as_ref().map_or(0, |old| old.generation) + 1;
    let record = Record {
        grant: who.grant,
        profile: who.profile,
        user: None,
        client_id: who.client_id,
        generation,
        granted: asked.wall,
        access_token: tokens.access.secret().clone(),
        issued: tokens.life.issued,
        expires: tokens.life.expires,
        refresh_token: tokens.refresh().clone(),
        refresh_expires: tokens.refresh_expires(),
    };
    let mut waits = TRIES.into_iter();
    let mut set_aside = None;
    loop {
        // Only now: where a record is missing, a running proxy takes its grant for forgotten and
        // lets go of tokens that a failed login would have left in use.
        if in_the_way {
            let moved = hold.set_aside().await;
            in_the_way = moved.is_err();
            set_aside = moved.unwrap_or(set_aside);
        }
        let Err(error) = hold.save(&record).await else {
            break;
        };
        match waits.next() {
            Some(wait) => time::sleep(wait).await,
            None => return Err(EnrolError::NotStored(error)),
        }
    }
    failpoint::pass(Point::LoginSaved);
    Ok(Enrolled {
        authorization: tokens.access.authorization().clone(),
        generation,
        set_aside,
    })
}

/// Adds to a stored grant who granted it and for which profile, as Wise told after the login.
pub(crate) async fn describe(
    store: Arc<FileStore>,
    grant: &str,
    user: Option<User>,
    profile: Option<ProfileId>,
) -> Result<(), StoreError> {
    let hold = Vault::new(store, grant.to_owned()).lock(LOCK_WAIT).await?;
    let Some(record) = hold.load().await? else {
        return Ok(());
    };
    hold.save(&Record {
        user: user.or(record.user.clone()),
        profile: profile.or(record.profile.clone()),
        ..record
    })
    .await
}

impl From<ExchangeError> for EnrolError {
    fn from(error: ExchangeError) -> Self {
        if matches!(error, ExchangeError::NotSent(_)) {
            Self::NotAsked(error)
        } else {
            Self::Exchange(error)
        }
    }
}

impl Proof {
    fn request(self) -> GrantRequest {
        match self {
            Self::AuthorizationCode { code, redirect_uri } => {
                GrantRequest::AuthorizationCode { code, redirect_uri }
            }
            Self::RegistrationCode {
                email,
                registration_code,
            } => GrantRequest::RegistrationCode {
                email,
                registration_code,
            },
        }
    }
}

fn unusable(why: Garbled) -> EnrolError {
    EnrolError::Exchange(ExchangeError::Garbled(why))
}

/// A keeper in another process may be in the middle of an exchange.
const LOCK_WAIT: Duration = Duration::from_mins(1);
/// Pauses between tries to store tokens that cost a login.
const TRIES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];
