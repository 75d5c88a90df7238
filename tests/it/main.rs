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
mod browsers;
mod cli_commands;
#[cfg(feature = "failpoints")]
mod clock;
#[cfg(feature = "failpoints")]
mod crash;
mod crowd;
mod custody;
mod damage;
mod demo;
mod dependencies;
mod disk;
mod failures;
mod floods;
mod frames;
mod h2_door;
mod house;
mod lanes;
mod leaks;
mod load;
mod main_job;
mod promises;
mod readme;
mod slow;
mod smuggling;
mod targets;
mod token_files;
mod traffic;
mod transport;
mod upstream_failures;
mod wire;
mod wise_answers;
mod witness;
