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
#[cfg(feature = "failpoints")]
mod clock;
mod custody;
mod damage;
mod demo;
mod disk;
mod failures;
mod house;
mod lanes;
mod leaks;
mod load;
mod main_job;
mod readme;
mod renewal;
mod token_files;
mod traffic;
mod transport;
mod upstream_failures;
mod wire;
mod wise_answers;
