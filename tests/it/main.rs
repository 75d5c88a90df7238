//! The house as a whole: what no single room can promise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test's helpers fail the test, and spawn what ends with it"
)]
#![allow(
    unreachable_pub,
    reason = "a binary of tests has no other crate to reach"
)]

mod architecture;
mod cli_commands;
mod confinement;
mod custody;
mod demo;
mod failures;
mod house;
mod lanes;
mod leaks;
mod load;
mod main_job;
mod readme;
mod threat_model;
mod transport;
mod upstream_failures;
mod wire;
mod wise_answers;
