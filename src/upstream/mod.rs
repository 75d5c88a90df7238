//! The way to Wise: endpoints, dialling, one connection pool per worker, and the token endpoint.
//!
//! This room never chooses a credential and never sends anything twice; it says precisely whether
//! a request has left, so that the room above can decide.

mod answer;
mod buffers;
mod dial;
mod endpoint;
mod gather;
mod http2;
mod io;
mod last_word;
mod once;
mod pool;
mod probe;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod read_ahead;
mod resolve;
mod token_endpoint;
mod via;

pub(crate) use answer::{AnswerBody, ConnectionError};
pub(crate) use dial::DialError;
pub(crate) use endpoint::{Endpoint, EndpointError};
pub(crate) use gather::Gathering;
pub(crate) use once::{Answer, OnceError, get, knock, post, send};
pub(crate) use pool::{AcquireError, Lease, Local, Pool, SendError};
pub(crate) use probe::{Session, addresses, greet, reach};
pub(crate) use token_endpoint::{Aim, TokenEndpoint, retry_after};
