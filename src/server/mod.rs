//! From a checked configuration to a running proxy, and down again.
//!
//! Nothing is bound before everything that can be checked has been; a reload is checked the same
//! way and changes all or nothing.

mod build;
mod errand;
mod expiry;
mod life;
mod outfit;
mod probe;
mod readings;
mod reload;
mod running;
mod seats;
mod sockets;
mod start;
mod token_seal;
mod workers;

pub use build::{Server, StartError};
pub(crate) use build::{lane_in_use, open_store};
pub(crate) use errand::Errand;
pub(crate) use outfit::unusable_certificates;
pub(crate) use probe::Probe;
pub use running::Running;
