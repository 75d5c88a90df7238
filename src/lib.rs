//! wise-auth-proxy puts the live Wise token and client certificate on plain localhost requests.
//!
//! The house has rooms on floors; a room imports only from floors below its own
//! (`tests/it/architecture.rs` holds the list and fails on any other import).
//!
//! The public surface is `cli`, `config`, `server` and `simulator`. Everything else is private;
//! benches reach it through the hidden `internal`.

// floor 0
mod clock;
mod secret;
mod wise;

// floor 8
pub mod simulator;
