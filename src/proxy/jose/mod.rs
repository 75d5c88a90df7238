//! JOSE on the way: the application sends and gets plain JSON, Wise gets and sends what is signed or
//! encrypted.
//!
//! Here alone bodies are held whole, on the routes that say so: a signature stands over all of a body,
//! and nothing of an answer may be handed on before the last of it is verified. How much is held is
//! bounded for each body (`jose.max_body`) and for each worker ([`Room`]). Cryptography runs on the
//! worker's blocking threads, four pieces at a time, so what it needs for copies is bounded, and no
//! other request waits for it.
//!
//! Nothing is signed twice: what goes again after a 401 is the very message that went before.

mod keys;
mod open;
mod room;
mod routes;
mod seal;
#[cfg(feature = "benchmarks")]
pub(crate) mod steps;
mod trouble;

use std::sync::Arc;

use http::Method;

use crate::config::JoseMethod;
use crate::jose::{ContentKey, JoseError};
use crate::proxy::target::Target;
use crate::sync::spawn_blocking;
use crate::telemetry::access;

pub(super) use keys::WiseKeys;
pub(super) use open::{Opened, open};
pub(super) use room::{Held, Room};
pub(crate) use routes::Jose;
pub(super) use seal::seal;
pub(crate) use trouble::Trouble;

/// What was done to a request, and what its answer is opened with. Keys are those that the request
/// left under: a reload in between changes nothing for it.
#[derive(Debug)]
pub(super) struct Carried {
    jose: Arc<Jose>,
    method: JoseMethod,
    /// What the answer may be encrypted under directly.
    content_key: Option<ContentKey>,
    /// Wise's key that the body was encrypted to, if it was not fetched for this request.
    kept_key: Option<keys::Wanted>,
    asked: (Method, Target),
    held: Held,
}

impl Carried {
    /// Method and path, without ids: what a log line may say.
    fn operation(&self) -> String {
        let (method, target) = &self.asked;
        let mut text = format!("{method} ");
        access::template(&mut text, target.path());
        text
    }
}

/// Runs what takes milliseconds beside the worker.
///
/// Whoever waits may go away, and the work stays in the queue with the body that it is about: so the
/// place on a thread and what is held go with the work and not with who waits for it.
async fn aside<T: Send + 'static>(
    held: &Held,
    work: impl FnOnce() -> Result<T, JoseError> + Send + 'static,
) -> Result<T, JoseError> {
    let (place, kept) = (held.place().await?, held.keep());
    let work = move || {
        let _with_the_work = (place, kept);
        work()
    };
    // A thread that cannot be had, or one that panicked.
    spawn_blocking(work)
        .await
        .unwrap_or(Err(JoseError::Library))
}
