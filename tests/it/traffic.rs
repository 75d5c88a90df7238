//! A little traffic that goes on while something happens, and what came of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use wise_auth_proxy::simulator::{Credential, Simulator};

use crate::house::{Connection, House, PATIENCE, post};

/// What every second request asks for; the others are POSTs.
pub const PATH: &str = "/v2/profiles/30000000";

const CONNECTIONS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(5);

/// Four applications that GET and POST in turn, a few hundred requests a second together.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    answers: watch::Receiver<u64>,
    tasks: tokio::task::JoinSet<Seen>,
}

/// What the applications saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub answers: u64,
    /// Every answer but 200, and every request without an answer.
    pub wrong: Vec<String>,
    pub slowest: Duration,
}

impl Traffic {
    pub fn on(house: &House) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (count, answers) = watch::channel(0);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..CONNECTIONS {
            let (stop, count) = (Arc::clone(&stop), count.clone());
            tasks.spawn(application(house.door, number, stop, count));
        }
        Self {
            stop,
            answers,
            tasks,
        }
    }

    /// Waits until a hundred more requests have been answered.
    pub async fn goes_on(&self) {
        let mut answers = self.answers.clone();
        let enough = *answers.borrow() + 100;
        let more = answers.wait_for(|answers| *answers >= enough);
        let more = tokio::time::timeout(PATIENCE, more).await;
        assert!(matches!(more, Ok(Ok(_))), "the traffic has stopped");
    }

    pub async fn end(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        while let Some(seen) = self.tasks.join_next().await {
            let seen = seen.unwrap();
            all.answers += seen.answers;
            all.wrong.extend(seen.wrong);
            all.slowest = all.slowest.max(seen.slowest);
        }
        all
    }

    /// Ends it; nothing may have been noticed.
    pub async fn unharmed(self) -> Seen {
        let seen = self.end().await;
        assert!(
            seen.wrong.is_empty(),
            "{} of {} answers, such as {:?}",
            seen.wrong.len(),
            seen.answers,
            &seen.wrong[..seen.wrong.len().min(3)]
        );
        assert!(seen.answers > 0, "there was no traffic");
        seen
    }
}

async fn application(
    door: SocketAddr,
    number: u64,
    stop: Arc<AtomicBool>,
    count: watch::Sender<u64>,
) -> Seen {
    let mut connection = Connection::to(door).await;
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let turn = seen.answers;
        let request = if turn.is_multiple_of(2) {
            Request::get(PATH).body(Bytes::new()).unwrap()
        } else {
            let id = format!("traffic-{door}-{number}-{turn}");
            let body = json!({ "customerTransactionId": id });
            let mut request = post("/v1/simulator/echo", &body);
            let profile = "30000000".parse().unwrap();
            request.headers_mut().insert("x-wise-profile", profile);
            request
        };
        let begun = Instant::now();
        match connection.request(request).await {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => seen.wrong.push(format!("{turn}: {answer:?}")),
            Err(error) => {
                seen.wrong.push(format!("{turn}: {error:?}"));
                connection = Connection::to(door).await;
            }
        }
        seen.slowest = seen.slowest.max(begun.elapsed());
        seen.answers += 1;
        count.send_modify(|count| *count += 1);
        tokio::time::sleep(PAUSE).await;
    }
    seen
}

/// How many requests carried a token beyond its life. One that Wise ended early, because the next
/// was fetched while the request was on its way, does not count.
pub fn dead_tokens(wise: &Simulator) -> usize {
    let mut minted = 0;
    let mut dead = 0;
    for arrived in wise.recorded() {
        if arrived.target == "/oauth/token" && arrived.status == Some(200) {
            minted += 1;
        }
        if let Credential::User {
            live: false,
            generation,
            ..
        } = arrived.credential
        {
            dead += usize::from(generation == minted);
        }
    }
    dead
}

pub fn renewals(wise: &Simulator) -> usize {
    let exchanges = wise.exchanges();
    let renewal =
        |exchange: &&wise_auth_proxy::simulator::Exchange| exchange.grant_type == "refresh_token";
    exchanges.iter().filter(renewal).count()
}

/// Waits until there have been so many renewals.
pub async fn renewed(wise: &Simulator, times: usize) {
    let enough = wise.until(|wise| renewals(wise) >= times);
    let waited = tokio::time::timeout(PATIENCE, enough).await;
    assert!(waited.is_ok(), "{} of {times} renewals", renewals(wise));
}
