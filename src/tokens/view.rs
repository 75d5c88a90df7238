//! What a request reads, and whom a keeper serves.

use std::fmt;
use std::time::Duration;

use http::HeaderValue;

use crate::telemetry::events::Events;
use crate::wise::ProfileId;

/// Whose tokens.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// A user grant, kept in the store.
    User {
        /// Name of the grant.
        grant: String,
        /// The profile it must be for, where configured.
        profile: Option<ProfileId>,
        /// The OAuth client that must own it.
        client_id: String,
    },
    /// The partner application itself; fetched when first asked for, never stored.
    Client,
}

/// What a keeper tells its surroundings, and what it asks of them.
pub(crate) struct Hooks {
    /// Called with every change, in order, from the keeper's task; must not block.
    pub(crate) publish: Box<Publish>,
    /// Requests that have this grant's token and no answer yet.
    pub(crate) unanswered: Box<dyn Fn() -> usize + Send + Sync>,
    /// Where renewals and what ends a grant are noted.
    pub(crate) events: Events,
}

/// Takes a token and the profile that the grant's record names: a login can have made it another's.
pub(crate) type Publish = dyn Fn(TokenView, Option<&ProfileId>) + Send + Sync;

/// What a request reads. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum TokenView {
    /// A token to use until `ends`, and never beyond.
    Live {
        /// `Bearer …`, built once, sensitive.
        authorization: HeaderValue,
        /// Which token this is; only ever grows within a process.
        generation: u64,
        /// By the boot clock. A reader must check it: nobody may be there to publish the end.
        ends: Duration,
        /// An exchange is about to end this token: wait a moment for the next one.
        renewing: bool,
    },
    /// No token now; it may come.
    Absent {
        /// Why.
        reason: Absence,
        /// An exchange is running: it is worth waiting a moment.
        renewing: bool,
    },
    /// No token until a person logs in again.
    Dead {
        /// Why, safe to show.
        reason: String,
    },
}

impl TokenView {
    /// The header value and generation of a living token, until its end and never beyond.
    ///
    /// `now` is the boot clock's.
    pub(crate) fn usable(&self, now: Duration) -> Option<(&HeaderValue, u64)> {
        match self {
            Self::Live {
                authorization,
                generation,
                ends,
                ..
            } if now < *ends => Some((authorization, *generation)),
            Self::Live { .. } | Self::Absent { .. } | Self::Dead { .. } => None,
        }
    }

    /// The same view with another copy of the header value, where it has one.
    pub(crate) fn map_authorization(&self, copy: impl FnOnce(&HeaderValue) -> HeaderValue) -> Self {
        let mut view = self.clone();
        if let Self::Live { authorization, .. } = &mut view {
            *authorization = copy(authorization);
        }
        view
    }
}

/// Why there is no token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Absence {
    /// Its keeper has not looked into the store yet, as in the first moments of a proxy.
    NotLooked,
    /// The store has no record of the grant.
    NeverLoggedIn,
    /// The record belongs to another OAuth client.
    OtherClient,
    /// The record acts for another profile than the configuration says.
    OtherProfile,
    /// The record cannot be read.
    StoreUnreadable,
    /// A client-credentials token that nobody has asked for yet.
    NotFetched,
    /// The token endpoint does not answer, or not usefully.
    EndpointUnreachable,
    /// The token endpoint does not accept our client credentials.
    ClientRefused,
    /// The last token has ended and no next one came.
    Expired,
}

impl Absence {
    /// The word used in status and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NotLooked => "not_looked_yet",
            Self::NeverLoggedIn => "never_logged_in",
            Self::OtherClient => "other_client",
            Self::OtherProfile => "other_profile",
            Self::StoreUnreadable => "store_unreadable",
            Self::NotFetched => "not_fetched",
            Self::EndpointUnreachable => "endpoint_unreachable",
            Self::ClientRefused => "client_refused",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLooked => "the store has not been read yet; wait a moment",
            Self::NeverLoggedIn => "nobody has logged in for this grant yet; run `login`",
            Self::OtherClient => {
                "the stored grant belongs to another oauth.client_id; run `login` again"
            }
            Self::OtherProfile => {
                "the stored grant is for another profile than the configuration says; correct the \
                 profile or run `login` again"
            }
            Self::StoreUnreadable => "the stored grant cannot be read; see `status` for the reason",
            Self::NotFetched => "no request has needed this token yet",
            Self::EndpointUnreachable => "the token endpoint gives no token; it is tried again",
            Self::ClientRefused => {
                "Wise does not accept the OAuth client; check oauth.client_id and \
                 oauth.client_secret"
            }
            Self::Expired => "the last token has ended and no new one came; it is tried again",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_to_its_last_moment_and_never_beyond() {
        let ends = Duration::from_hours(12);
        let live = TokenView::Live {
            authorization: HeaderValue::from_static("Bearer x"),
            generation: 7,
            ends,
            renewing: false,
        };
        let before = ends.saturating_sub(Duration::from_nanos(1));
        assert_eq!(
            live.usable(before).map(|(_, generation)| generation),
            Some(7)
        );
        assert!(
            live.usable(ends).is_none(),
            "a reader must not need the keeper to be told"
        );
    }
}
