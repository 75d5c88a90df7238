//! Tokens and their lives: when one is renewed, by whom, and what a request may use meanwhile.
//!
//! A grant's tokens have one owner, its [`keeper()`]. Others read what it publishes and ask. This
//! room never opens a socket: it says what it wants through [`Exchange`], so that the token
//! endpoint may itself need the very certificate and lane that hang on a token.

mod adoption;
mod enrol;
mod exchange;
mod handle;
mod keeper;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod renewal;
mod saving;
mod schedule;
mod status;
#[cfg(test)]
mod tests;
mod token;
mod vault;
mod view;

pub(crate) use enrol::{EnrolError, Enrolled, Enrolment, Proof, describe, enrol};
pub(crate) use exchange::{Exchange, ExchangeError, Garbled, GrantRequest};
pub(crate) use handle::{KeeperHandle, Renewal};
pub(crate) use keeper::keeper;
pub(crate) use status::{EndedTry, KeeperStatus, Outcome};
#[cfg(test)]
pub(crate) use status::{LastError, Tally};
pub(crate) use view::{Absence, Hooks, Subject, TokenView};
