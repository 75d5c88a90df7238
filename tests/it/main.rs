//! The house as a whole: what no single room can promise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test's helpers fail the test, and spawn what ends with it"
)]
#![allow(
    clippy::print_stdout,
    reason = "a test says its figures, and the case that it is at"
)]
#![allow(
    unreachable_pub,
    reason = "a binary of tests has no other crate to reach"
)]

mod architecture;
mod audit;
mod browsers;
mod callers;
mod callers_reload;
mod certificate_year;
mod certificates;
mod cli_commands;
mod clock;
mod confinement;
mod crash;
mod crowd;
mod custody;
mod damage;
mod demo;
mod dependencies;
mod disk;
mod doctor;
mod failures;
mod failures_hooks;
mod failures_rows;
mod failures_table;
mod floods;
mod frames;
mod h1_upstream;
mod h2_door;
mod h2_takes_back;
mod h2_upstream;
mod house;
mod init;
mod jose;
mod jose_routes;
mod lanes;
mod leaks;
mod leaks_of_keys;
mod life;
mod load;
mod local_authority;
mod main_job;
mod migrate;
mod names;
mod newcomer;
mod notify;
mod page;
mod policies;
mod promises;
mod proxy_protocol;
mod readme;
mod reference;
mod renewal;
mod replay;
mod sca;
mod scripted;
mod scripted_http1;
mod scripted_http2;
mod slow;
mod smuggling;
mod spares;
mod storms;
mod targets;
mod terminal;
mod tls_client;
mod tls_doors;
mod token_endpoint;
mod token_files;
mod traffic;
mod transport;
mod tunnels;
mod upstream_failures;
mod webhook_commands;
mod webhooks;
mod wire;
mod wise_answers;
mod witness;
