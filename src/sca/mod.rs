//! Strong customer authentication (SCA): one-time tokens, the key that signs them, and who is asked
//! for an approval.
//!
//! Bytes in, bytes out: nothing here speaks HTTP. A one-time token opens one request of one
//! customer's; no text, no log and no `Debug` has one.

mod key;
mod office;
mod status;
mod token;

pub(crate) use key::{KeyError, KeySize, Signer, SigningKey};
pub(crate) use office::{Approval, Ask, Desk, Office, Place};
pub(crate) use status::Status;
pub(crate) use token::OneTimeToken;
