//! Wise's own words, each with its source: hosts, header names, wire formats, which credential an
//! endpoint wants, and the three lanes of the migration guide.
//!
//! Only spelling lives here. Nothing in this room opens a socket or reads a file.

pub(crate) mod headers;
pub(crate) mod hosts;
pub(crate) mod jose;
mod lane;
pub(crate) mod operations;
mod profile;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
pub(crate) mod routes;
pub(crate) mod webhook;
pub(crate) mod webhook_keys;
pub(crate) mod wire;

pub use jose::SigningAlgorithm;
pub use lane::{Lane, LaneSet, ParseLaneError};
pub use profile::{ParseProfileError, ProfileId};
pub(crate) use routes::CredentialKind;
