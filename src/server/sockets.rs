//! The sockets of a start: those that a service manager handed in, and the rest bound here.

use crate::config::DoorAddress;
use crate::listener::{self, Bound, ListenerError};
use crate::server::build::StartError;
use crate::supervisor::Handed;

/// What was handed in and is not yet used.
///
/// A socket is known by the address it listens on: a configuration is the same with and without a
/// service manager.
pub(super) struct Sockets(Vec<Bound>);

impl Sockets {
    pub(super) fn adopt(handed: Vec<Handed>) -> Result<Self, StartError> {
        let adopted = handed.into_iter().map(|handed| {
            let name = handed.name.unwrap_or_default();
            listener::adopt(handed.socket)
                .inspect(|bound| {
                    tracing::debug!(name, address = %bound.local_address(), "handed in");
                })
                .map_err(StartError::from)
        });
        adopted.collect::<Result<_, _>>().map(Self)
    }

    /// The socket for `address` that was handed in, if one was.
    pub(super) fn take(&mut self, address: &DoorAddress) -> Result<Option<Bound>, ListenerError> {
        for index in 0..self.0.len() {
            if self.0[index].fits(address)? {
                return Ok(Some(self.0.remove(index)));
            }
        }
        Ok(None)
    }

    /// The socket for `address`, handed in or bound now.
    pub(super) fn open(&mut self, address: &DoorAddress) -> Result<Bound, ListenerError> {
        match self.take(address)? {
            Some(bound) => Ok(bound),
            None => listener::bind(address),
        }
    }

    /// None may be left over: whoever connected there would wait for ever.
    pub(super) fn all_used(self) -> Result<(), StartError> {
        let left: Vec<String> = self
            .0
            .iter()
            .map(|left| left.local_address().to_string())
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        Err(StartError::Door(format!(
            "nothing in the configuration listens on {}, which the service manager handed in; \
             give a [[door]] that address, or take it out of the socket unit",
            left.join(", ")
        )))
    }
}
