//! Hours in minutes: mixed traffic through renewals, switches, reloads, faults and an upstream that
//! is killed again and again. Memory and file descriptors must stay flat, no payment may be made
//! twice, and nothing may go wrong while nothing is wrong.
//!
//! `cargo test --test soak` runs for two minutes; `SOAK_MINUTES=60` makes it an hour, and
//! `--release` runs the program that is shipped. It prints a line every ten seconds and a verdict.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test: it fails loudly, ends with its process, and talks"
)]
#![allow(
    unreachable_pub,
    dead_code,
    reason = "the harness is shared with tests/it, which uses all of it"
)]

#[path = "../it/house.rs"]
mod house;

mod applications;
mod gauge;
mod relay;
mod tally;
mod trouble;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wise_auth_proxy::simulator::{Rotation, Simulator};

use crate::applications::Applications;
use crate::gauge::{Gauge, Reading};
use crate::house::House;
use crate::relay::Relay;
use crate::tally::Tally;
use crate::trouble::Trouble;

/// How often a line is printed and a reading taken.
const GLANCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let minutes = std::env::var("SOAK_MINUTES").map_or(2.0, |text| {
        text.parse::<f64>().expect("SOAK_MINUTES is a number")
    });
    let length = Duration::from_secs_f64(minutes * 60.0);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let faults = runtime.block_on(soak(length));
    for fault in &faults {
        println!("FAILED: {fault}");
    }
    println!(
        "{} passed, {} failed",
        u8::from(faults.is_empty()),
        faults.len()
    );
    if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs for `length` and returns what was not as promised.
async fn soak(length: Duration) -> Vec<String> {
    let wise = Arc::new(house::wise().await);
    wise.change_faults(|faults| {
        // Renewed every fifteen seconds, forgiving as RFC 9700 and FAPI 2.0 ask for: an upstream
        // that is killed in the middle of an exchange must cost no grant.
        faults.token.lifetime = 30;
        faults.token.rotation = Rotation::Grace;
    });
    let relays = Arc::new([
        Relay::to(wise.plain_address()),
        Relay::to(wise.mtls_address()),
    ]);
    let house = Arc::new(settle(&wise, &relays).await);
    let gauge = Gauge::of(house.pid());
    // Every worker, lane and pool has been at work once before anything is counted.
    for lane in ["personal", "oauth", "oauth-mtls"] {
        house.turn(lane).await;
        for _ in 0..4 {
            assert_eq!(house.get("/v2/profiles").await.status, 200);
        }
    }
    let idle = gauge.read();
    println!("idle: {idle}");

    let tally = Arc::new(Tally::default());
    let load = Applications::start(&house, &tally);
    let chaos = tokio::spawn(Trouble::new(&wise, &house, &relays, &tally).run());

    let start = Instant::now();
    let mut readings = Vec::new();
    while start.elapsed() < length {
        tokio::time::sleep(GLANCE.min(length)).await;
        let reading = gauge.read();
        println!(
            "{:>5} s: {reading}; {}",
            start.elapsed().as_secs(),
            tally.line()
        );
        readings.push(reading);
    }
    let connections = load.stop().await;
    tally.end();
    let mut trouble = chaos
        .await
        .unwrap_or_else(|_| vec!["the trouble ended in a panic".into()]);

    let mut faults = tally.wrong();
    faults.append(&mut trouble);
    faults.extend(flat(&readings));
    faults.extend(emptied(&gauge, idle).await);
    faults.extend(alive(&house).await);
    let repeated = wise.counters();
    faults.extend(
        repeated
            .repeated()
            .iter()
            .map(|id| format!("payment {id} was carried out more than once")),
    );
    let exchanges = wise.exchanges();
    println!(
        "{} in {} s over {connections} connections; {} payments, {} of them more than once; {} exchanges",
        tally.line(),
        start.elapsed().as_secs(),
        repeated.transactions.len(),
        repeated.repeated().len(),
        exchanges.len(),
    );
    faults
}

/// A proxy whose way to Wise leads through the relays.
async fn settle(wise: &Simulator, relays: &[Relay; 2]) -> House {
    let [plain, mtls] = relays
        .each_ref()
        .map(|relay| format!("https://localhost:{}", relay.port()));
    House::on(wise)
        .set("wise.plain", &plain)
        .set("wise.mtls", &mtls)
        .set(
            "wise.authorise",
            &format!("{}/oauth/authorize/", wise.plain_url()),
        )
        .set("upstream.connect_timeout", "2s")
        .set("upstream.answer_timeout", "2s")
        .set("upstream.body_idle_timeout", "2s")
        .set("upstream.idle_timeout", "3s")
        .set("tokens.exchange_timeout", "2s")
        .set("tokens.wait", "5s")
        .set("log.access", "access.log")
        .set("runtime.reload_interval", "1s")
        .toml("[[door]]\naddress = \"unix:app.sock\"\n")
        .start()
        .await
}

/// Resident memory after the first fifth, which fills pools and caches, against the last fifth.
fn flat(readings: &[Reading]) -> Option<String> {
    let fifth = (readings.len() / 5).max(1);
    let early = gauge::median(&readings[fifth..(2 * fifth).min(readings.len())]);
    let late = gauge::median(&readings[readings.len() - fifth..]);
    println!("memory: {early} KiB in the second fifth, {late} KiB in the last");
    let allowed = early / 10 + 4 * 1024;
    (late > early + allowed).then(|| format!("memory grew from {early} KiB to {late} KiB"))
}

/// With the applications gone and idle connections closed, what was opened is closed.
async fn emptied(gauge: &Gauge, idle: Reading) -> Option<String> {
    let deadline = Instant::now() + house::PATIENCE;
    let mut now = gauge.read();
    while now.descriptors > idle.descriptors && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
        now = gauge.read();
    }
    println!("after: {now}");
    (now.descriptors > idle.descriptors).then(|| {
        format!(
            "{} file descriptors are open, {} were before the load",
            now.descriptors, idle.descriptors
        )
    })
}

/// After all of it the proxy serves, is ready, and ends as it should.
async fn alive(house: &House) -> Vec<String> {
    let mut faults = Vec::new();
    house.turn("oauth-mtls").await;
    let answer = house.get("/v2/profiles").await;
    if answer.status != 200 {
        faults.push(format!("the last request was answered {answer:?}"));
    }
    let ready = house.admin("/readyz").await;
    if ready.status != 200 {
        faults.push(format!("it is not ready: {ready:?}"));
    }
    if !house.stop().await.success() {
        faults.push("it did not end in order".into());
    }
    faults
}
