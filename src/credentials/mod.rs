//! What rests on disk: sealed records of user grants, and the key that seals them.
//!
//! Never holds a client-credentials token (a [`Record`] needs a refresh token, and they have
//! none), never talks to the network, and never overwrites a record that it cannot open.

mod key;
mod parcel;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod record;
mod seal;
mod store;

pub(crate) use parcel::{pack, unpack};
pub(crate) use record::{Record, User};
pub(crate) use store::{FileStore, Locked, Restored, Stamp, StoreError};
