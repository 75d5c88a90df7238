//! wise-auth-proxy puts the live Wise token and client certificate on plain localhost requests.
//!
//! The house has rooms on floors; a room imports only from floors below its own
//! (`tests/it/architecture.rs` holds the list and fails on any other import).
//!
//! The public surface is `cli`, `config`, `server` and `simulator`. Everything else is private;
//! fuzzers and benchmarks reach it through the hidden `internal`, which no build but theirs has.

// floor 0
mod clock;
mod durable;
mod event;
mod failpoint;
mod people;
mod secret;
mod sync;
mod wise;
// floor 1
pub mod config;
// floor 2
mod confinement;
mod credentials;
mod listener;
mod supervisor;
mod telemetry;
// floor 3
mod audit;
mod guard;
mod tokens;
// floor 4
mod jose;
mod sca;
mod tls;
// floor 5
mod switch;
mod upstream;
// floor 6
mod notify;
mod proxy;
mod webhook;
// floor 7
mod admin;
// floor 8
pub mod server;
pub mod simulator;
// floor 9
pub mod cli;
#[cfg(any(test, feature = "fuzzing", feature = "benchmarks"))]
#[doc(hidden)]
pub mod internal;
