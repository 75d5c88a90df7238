//! Where the operator comes in: a unix socket for everything that changes something, a loopback
//! address for health, metrics and status.
//!
//! What is shown is an allowlist of fields; no request, header or secret can be read here. Nothing
//! that changes state is ever reachable over TCP.

mod control;
mod health;
mod lanes;
mod routes;
mod serve;
mod status;

pub(crate) use control::{Control, Notes, ReloadAsk, ReloadNote, Reloaded};
pub(crate) use lanes::LaneLedger;
pub(crate) use routes::{over_socket, over_tcp};
pub(crate) use serve::{AdminError, bind_socket, bind_tcp, serve};
