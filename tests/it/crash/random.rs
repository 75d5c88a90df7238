//! Kills at random moments, under load, with tokens that live for two or three seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::task::JoinSet;
use wise_auth_proxy::simulator::{Rotation, Simulator};

use super::{
    Fate, MODES, PATH, Script, Toll, fate, kill, no_litter, no_payment_twice, payment, random,
    wise, wished,
};
use crate::house::{Connection, House};

/// Proxies that are killed side by side, each with a Wise of its own.
const TRACKS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_moments_under_load_lose_nothing_that_could_be_kept() {
    let rounds = wished(0.35, 30).div_ceil(TRACKS);
    let answers = Arc::new(AtomicU64::new(0));
    let mut tracks = JoinSet::new();
    // Whether a kill fell where no client can help is read from the trace of failpoints.
    let modes = &MODES[usize::from(cfg!(not(feature = "failpoints")))..];
    for number in 0..TRACKS {
        let mode = modes[number % modes.len()];
        let lifetime = 2 + u32::try_from(number / modes.len()).unwrap();
        tracks.spawn(track(mode, lifetime, rounds, Arc::clone(&answers)));
    }
    let mut toll = Toll::default();
    while let Some(of_one) = tracks.join_next().await {
        toll.add(of_one.unwrap());
    }
    toll.told();
    println!("{} answers", answers.load(Ordering::Relaxed));
    assert_eq!(toll.total()[0], TRACKS * rounds);
}

async fn track(mode: Rotation, lifetime: u32, rounds: usize, answers: Arc<AtomicU64>) -> Toll {
    let wise = wise(mode).await;
    let site = House::on(&wise)
        // A busy machine may take longer for an exchange than the default lets requests wait.
        .set("tokens.wait", "20s")
        .prepare()
        .await;
    let mut toll = Toll::default();
    let mut script = Script::new(&site);
    let mut house = site.scripted(&script.path).start().await;
    wise.change_faults(|faults| faults.token.lifetime = lifetime);
    for _ in 0..rounds {
        // An answer that takes its time is one that a kill finds on the way.
        wise.change_faults(|faults| faults.token.latency = random(60));
        let moment = Duration::from_millis(random(1_500));
        let mut load = JoinSet::new();
        for of_one in [get, payment, get] {
            load.spawn(ask(house.door, of_one, Arc::clone(&answers)));
        }
        tokio::time::sleep(moment).await;
        kill(&house).await;
        while let Some(of_one) = load.join_next().await {
            of_one.unwrap();
        }

        let in_hand = script.died_with_the_answer();
        let last = script.trace().pop().unwrap_or_default();
        script = Script::new(&site);
        house = site.scripted(&script.path).start().await;
        let fate = fate(&wise, &house).await;
        let place = if in_hand {
            "between question and record"
        } else {
            "anywhere else"
        };
        // The others forgive that the refresh token is shown once more.
        let unavoidable = in_hand && mode == Rotation::Always;
        if fate == Fate::Lost && !unavoidable {
            println!("{mode:?}: lost after {last}: {:?}", exchanges(&wise));
        }
        toll.count(mode, place, fate, unavoidable);
        no_litter(&site);
    }
    no_payment_twice(&wise);
    toll
}

/// Asks without a pause until the proxy dies. While it lives every answer is a good one.
async fn ask(door: std::net::SocketAddr, request: fn() -> Request<Bytes>, answers: Arc<AtomicU64>) {
    let Ok(mut connection) = Connection::try_to(door).await else {
        return;
    };
    while let Ok(answer) = connection.request(request()).await {
        assert_eq!(answer.status, 200, "{answer:?}");
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

fn get() -> Request<Bytes> {
    Request::get(PATH).body(Bytes::new()).unwrap()
}

/// The last exchanges, to see what went wrong.
fn exchanges(wise: &Simulator) -> Vec<String> {
    let exchanges = wise.exchanges();
    let last = exchanges.iter().rev().take(4).rev();
    last.map(|exchange| format!("{exchange:?}")).collect()
}
