//! Who calls, and what they may do: callers, and how a door knows them; policies, and how they judge.
//!
//! A caller is known by a key that a request shows, by its client certificate, or by what the kernel
//! says of the process at a unix door. Only hashes of keys are kept, and they are compared in
//! constant time. Policies are compiled once, when a configuration is read, and judge a request
//! without allocating; what cannot be read in one way only is refused.
//!
//! This room never sees a request's body, never forwards anything, and never says which hash a key
//! had.

mod caller;
mod caps;
mod key;
mod ledger;
mod limit;
mod path;
mod policy;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod refusal;
mod roster;
mod rule;
mod spelling;
mod tally;
#[cfg(test)]
mod tests;
mod token;

pub(crate) use caller::{Caller, CallerId, Callers};
pub(crate) use caps::{Ask, Caps, Verdict};
pub(crate) use key::{Identity, KeyId, SHORTEST_KEY, digest, fresh, is_stand_in};
pub(crate) use ledger::Ledger;
pub(crate) use limit::Place;
pub(crate) use path::{Named, ambiguity, profiles_named};
pub(crate) use policy::{ActsFor, Holder, Policies, Policy};
pub(crate) use refusal::{Reason, Refusal};
pub(crate) use roster::{Presence, Roster, Stranger};
pub(crate) use rule::{Asked, Care, Rules};
pub(crate) use spelling::{doubt_in_fields, doubt_in_query};
pub(crate) use token::{Kind, Mint, Ticket};

use crate::config::SecretError;

/// A caller cannot be known as the configuration says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuardError {
    #[error("caller.key of `{caller}`: {source}")]
    Secret { caller: String, source: SecretError },
    #[error(
        "caller.key of `{caller}` is too short: whoever guesses it acts for you at Wise; take at \
         least {SHORTEST_KEY} characters, or have `wise-auth-proxy caller rotate {caller}` make one"
    )]
    ShortKey { caller: String },
    #[error(
        "caller.key of `{caller}` begins as tokens of a door's own /oauth/token do (wap_at_, wap_rt_), \
         and would be taken for one; have `wise-auth-proxy caller rotate {caller}` make another"
    )]
    TokenForKey { caller: String },
    #[error("`{one}` and `{other}` have the same key, and could not be told apart by it")]
    SameKey { one: String, other: String },
    #[error(
        "caller.users of `{caller}`: this machine knows no user `{name}`; make it, or give its \
         number"
    )]
    NoSuchUser { caller: String, name: String },
    #[error(
        "caller.groups of `{caller}`: this machine knows no group `{name}`; make it, or give its \
         number"
    )]
    NoSuchGroup { caller: String, name: String },
    #[error("the system gave no random bytes")]
    NoRandomness,
}
