//! Who calls: the callers of the configuration, and how a door knows them.
//!
//! By a key that a request shows, by its client certificate, or by what the kernel says of the
//! process at a unix door. Only hashes of keys are kept, and they are compared in constant time.
//! This room never sees a request's body, never forwards anything, and never says which hash a key
//! had.

mod caller;
mod key;
mod people;
mod roster;
mod token;

pub(crate) use caller::{Caller, CallerId, Callers};
pub(crate) use key::{Identity, KeyId, SHORTEST_KEY, digest, fresh};
pub(crate) use roster::{Presence, Roster, Stranger};
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
