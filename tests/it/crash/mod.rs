//! Kills at every step, and at random ones: nothing may be lost that Wise has not itself ended.
//!
//! The proxy is the real one, killed by SIGKILL; the disk is real and so are the sockets. Wise
//! rotates refresh tokens in each of three ways. With the strict one, a kill between Wise's commit
//! and the moment at which the answer's bytes are the kernel's loses the grant whatever a client
//! does; every other loss fails the test, and that one has to be told where an operator looks.
//!
//! A release has no failpoints: there are the kills at random moments, with the rotations that forgive.
//!
//! `WISE_TEST_KILLS=1000` makes so many of them in all. Each test prints its table.

#![allow(
    clippy::print_stdout,
    reason = "figures are printed where they are known"
)]
#![cfg_attr(
    not(feature = "failpoints"),
    allow(dead_code, unused_imports, reason = "what the other kills need")
)]

#[cfg(feature = "failpoints")]
mod fleet;
#[cfg(feature = "failpoints")]
mod lock;
#[cfg(feature = "failpoints")]
mod order;
#[cfg(feature = "failpoints")]
mod points;
mod random;
#[cfg(feature = "failpoints")]
mod setting;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::json;
use wise_auth_proxy::simulator::{Credential, Rotation, Simulator};

use crate::house::{self, House, PROFILE, Site, post};

const PATH: &str = "/v2/profiles/30000000";
const MODES: [Rotation; 3] = [Rotation::Always, Rotation::Grace, Rotation::Never];

/// The house's client at a Wise that rotates in this way.
async fn wise(rotation: Rotation) -> Simulator {
    let wise = house::wise().await;
    wise.change_faults(|faults| faults.token.rotation = rotation);
    wise
}

/// How many kills are asked for in all; without a wish, `ordinary`.
fn wished(share: f64, ordinary: usize) -> usize {
    let Ok(text) = std::env::var("WISE_TEST_KILLS") else {
        return ordinary;
    };
    let all: f64 = text.parse().expect("WISE_TEST_KILLS is a number");
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of kills"
    )]
    let wished = (all * share).ceil() as usize;
    wished
}

/// What a program finds at its failpoints, and what it leaves there.
struct Script {
    path: PathBuf,
    trace: PathBuf,
}

impl Script {
    /// For the next life of a program at this site.
    fn new(site: &Site) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let script = Self {
            path: site.path(&format!("script-{number}")),
            trace: site.path(&format!("trace-{number}")),
        };
        script.say("");
        script
    }

    /// Holds from the next point on.
    fn say(&self, line: &str) {
        let text = format!("trace = {}\n{line}\n", self.trace.display());
        // Renamed into place: a point must not read half a script.
        let passing = self.path.with_extension("tmp");
        std::fs::write(&passing, text).unwrap();
        std::fs::rename(passing, &self.path).unwrap();
    }

    /// Kills the program when it gets to `point` for the `nth` time from now.
    fn kill_at(&self, point: &str, nth: usize) {
        self.say(&format!("{point} = kill @{}", self.been(point) + nth));
    }

    /// Has the program stand still when it gets to `point` for the `nth` time from now.
    fn pause_at(&self, point: &str, nth: usize) {
        self.say(&format!("{point} = pause @{}", self.been(point) + nth));
    }

    /// How often the program has been at `point`.
    fn been(&self, point: &str) -> usize {
        self.trace().iter().filter(|been| *been == point).count()
    }

    /// Waits until the program has been at `point` so many times.
    async fn reached(&self, point: &str, times: usize) {
        let end = tokio::time::Instant::now() + house::PATIENCE;
        while self.been(point) < times {
            assert!(tokio::time::Instant::now() < end, "{point} is not reached");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The points that were reached, in order.
    fn trace(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.trace).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether the program died between its question to Wise and the moment at which the answer's
    /// bytes were the kernel's.
    fn died_with_the_answer(&self) -> bool {
        let trace = self.trace();
        let asked = trace.iter().rposition(|point| point == "renewal-locked");
        asked.is_some_and(|at| {
            let came = |wanted: &str| trace[at..].iter().filter(|point| *point == wanted).count();
            // The first sync is of the trial whether the disk takes anything.
            came("durable-sync") < 2 && came("renewal-published") == 0
        })
    }
}

/// What became of a grant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Alive,
    Lost,
}

/// Kills and what became of the grant: all, alive, lost as no client could help, lost.
type Count = [usize; 4];

/// The kills by where they fell, and by how Wise rotates.
#[derive(Default)]
struct Toll(BTreeMap<String, [Count; MODES.len()]>);

impl Toll {
    /// `unavoidable`: no client could have kept the grant.
    fn count(&mut self, mode: Rotation, place: &str, fate: Fate, unavoidable: bool) {
        let column = MODES.iter().position(|known| *known == mode).unwrap();
        let count = &mut self.0.entry(place.to_owned()).or_default()[column];
        count[0] += 1;
        count[match (fate, unavoidable) {
            (Fate::Alive, _) => 1,
            (Fate::Lost, true) => 2,
            (Fate::Lost, false) => 3,
        }] += 1;
    }

    fn add(&mut self, other: Self) {
        for (place, counts) in other.0 {
            let row = self.0.entry(place).or_default();
            for (sum, more) in row.as_flattened_mut().iter_mut().zip(counts.as_flattened()) {
                *sum += more;
            }
        }
    }

    fn total(&self) -> Count {
        let all = self.0.values().flatten();
        all.fold([0; 4], |sum, count| {
            std::array::from_fn(|column| sum[column] + count[column])
        })
    }

    /// Prints the table; nothing that could have been kept may have been lost.
    fn told(&self) {
        println!("kills = alive + lost as no client could help + lost");
        println!("| where it died | always | grace | never |");
        println!("|---|---|---|---|");
        for (place, row) in &self.0 {
            let cells = row.map(|[kills, alive, unavoidable, lost]| {
                format!("{kills} = {alive} + {unavoidable} + {lost}")
            });
            println!("| {place} | {} |", cells.join(" | "));
        }
        let [kills, alive, unavoidable, lost] = self.total();
        println!("in all {kills} = {alive} + {unavoidable} + {lost}");
        assert_eq!(lost, 0, "grants were lost that could have been kept");
    }
}

fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(9)
}

/// Ends a proxy as the kernel does when memory is short.
async fn kill(house: &House) {
    house.signal("KILL");
    assert!(was_killed(house.ended().await));
}

/// Whether a restarted proxy has its grant: a request carries the newest token, a renewal works,
/// and so does the request after it. If not, it has to say so, and a login has to bring it back.
async fn fate(wise: &Simulator, house: &House) -> Fate {
    if is_served(wise, house).await {
        let renewed = house
            .operate(post("/tokens/main/refresh", &json!({})))
            .await;
        if renewed.status == 200 {
            assert!(is_served(wise, house).await, "{}", house.log());
            assert_eq!(house.admin("/readyz").await.status, 200);
            return Fate::Alive;
        }
    }
    loss_is_told(house).await;
    house.site.log_in(wise, "main", PROFILE).await;
    house.status_until(|status| status["ready"] == true).await;
    assert!(is_served(wise, house).await, "{}", house.log());
    Fate::Lost
}

/// Whether a request is answered, and then with the newest token that there is.
async fn is_served(wise: &Simulator, house: &House) -> bool {
    let newest = wise.generation(PROFILE);
    // A target of its own: other processes on the store may ask for the same path meanwhile.
    let target = format!("{PATH}?served={}", random(u64::MAX));
    let answer = house.get(&target).await;
    if answer.status != 200 {
        return false;
    }
    let arrived = wise.recorded();
    let last = arrived.iter().rfind(|seen| seen.target == target).unwrap();
    let Credential::User {
        generation,
        live: true,
        ..
    } = last.credential
    else {
        panic!("{last:?}")
    };
    assert!(Some(generation) >= newest, "{generation} of {newest:?}");
    true
}

/// A lost grant is told wherever an operator looks, with the command that brings it back.
async fn loss_is_told(house: &House) {
    let status = house
        .status_until(|status| status["tokens"][0]["state"] == "dead")
        .await;
    let login = "wise-auth-proxy login";
    let reason = status["tokens"][0]["reason"].as_str().unwrap();
    assert!(reason.contains(login), "{reason}");
    let ready = house.admin("/readyz").await;
    let text = String::from_utf8_lossy(&ready.body).into_owned();
    assert_eq!(ready.status, 503, "{text}");
    assert!(
        text.contains("grant main") && text.contains(login),
        "{text}"
    );
    house.logs(login).await;
    let shown = house.cli(&["status"]).await;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(text.contains("main") && text.contains("login"), "{text}");
}

/// A payment, with an id of its own.
fn payment() -> http::Request<bytes::Bytes> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = format!("payment-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    post(
        "/v1/simulator/echo",
        &json!({ "customerTransactionId": id }),
    )
}

/// Asserts that no payment arrived twice, whatever was killed.
fn no_payment_twice(wise: &Simulator) {
    let counters = wise.counters();
    assert_eq!(
        counters.repeated(),
        Vec::<&str>::new(),
        "a POST was carried out twice"
    );
}

/// Asserts that the store holds what it should and nothing else.
///
/// A file under a passing name may be left by the last kill; older ones are gone.
fn no_litter(site: &Site) {
    let names = names(&site.path("state"));
    let expected = [
        "main.grant",
        "main.lock",
        "main.previous",
        "seal.key",
        "switch.json",
        "switch.log",
    ];
    let odd: Vec<_> = names
        .iter()
        .filter(|name| !expected.contains(&name.as_str()))
        .collect();
    assert!(odd.len() <= 1, "{odd:?}");
}

/// Makes what a killed writer left look as old as it would be at the next turn of a switch.
fn age_left_overs(site: &Site) {
    let state = site.path("state");
    for name in names(&state).iter().filter(|name| name.starts_with('.')) {
        let file = std::fs::File::options().write(true).open(state.join(name));
        let hours_ago = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        file.unwrap().set_modified(hours_ago).unwrap();
    }
}

/// From 0 to below `end`.
fn random(end: u64) -> u64 {
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    low % end
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}
