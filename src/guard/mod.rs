//! Who calls, and what they may do.
//!
//! Policies are compiled once, when a configuration is read, and judge a request without allocating.
//! This room decides and counts; it never sees a token, a body or a socket, and what cannot be read
//! in one way only is refused.

mod caps;
mod ledger;
mod limit;
mod path;
mod policy;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
mod refusal;
mod rule;
mod tally;
#[cfg(test)]
mod tests;

pub(crate) use caps::{Ask, Caps, Verdict};
pub(crate) use ledger::Ledger;
pub(crate) use limit::Place;
pub(crate) use path::{Named, profiles_named};
pub(crate) use policy::{ActsFor, Holder, Policies, Policy};
pub(crate) use refusal::{Reason, Refusal};
pub(crate) use rule::Asked;
