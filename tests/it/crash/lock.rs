//! The lock between processes: what a holder that dies or hangs does to the others.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use serde_json::json;
use tokio::time::{Instant, sleep};
use wise_auth_proxy::simulator::{Rotation, Simulator};

use super::{MODES, PATH, Script, kill, wise};
use crate::house::{House, post};

/// Two processes; the first stands still with the lock in its hands, the second wants it.
struct Queue {
    wise: Simulator,
    holder: House,
    script: Script,
    waiter: House,
    waiting: Script,
}

impl Queue {
    async fn new(mode: Rotation) -> Self {
        let wise = wise(mode).await;
        let site = House::on(&wise).prepare().await;
        let (script, waiting) = (Script::new(&site), Script::new(&site));
        let holder = site.scripted(&script.path).start().await;
        let beside = House::on(&wise).beside(&holder).prepare().await;
        let waiter = beside.scripted(&waiting.path).start().await;
        script.pause_at("renewal-locked", 1);
        Self {
            wise,
            holder,
            script,
            waiter,
            waiting,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_holder_of_the_lock_delays_nobody() {
    join_all(MODES.map(async |mode| {
        let queue = Queue::new(mode).await;
        let refresh = || post("/tokens/main/refresh", &json!({}));
        let holding = async {
            let answer = queue.holder.try_operate(refresh()).await;
            assert!(answer.is_err(), "it died");
        };
        let waiting = async {
            queue.script.reached("renewal-locked", 1).await;
            let answer = queue.waiter.operate(refresh()).await;
            (answer, Instant::now())
        };
        let dying = async {
            queue.waiting.reached("renewal-gated", 1).await;
            kill(&queue.holder).await;
            Instant::now()
        };
        let ((), (answer, then), died) = tokio::join!(holding, waiting, dying);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(queue.wise.exchange_count(), 2, "the login and one");
        let delay = then.saturating_duration_since(died);
        assert!(delay < Duration::from_secs(10), "{delay:?}");
        println!("{mode:?}: {delay:?} after the death of the holder");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_hangs_delays_a_renewal_ten_seconds_and_no_request() {
    let queue = Queue::new(Rotation::Always).await;
    let refresh = || post("/tokens/main/refresh", &json!({}));
    let holding = queue.holder.operate(refresh());
    let waiting = async {
        queue.script.reached("renewal-locked", 1).await;
        let start = Instant::now();
        let mut waiting = Box::pin(queue.waiter.operate(refresh()));
        let mut connection = queue.waiter.connect().await;
        let answer = loop {
            let get = Request::get(PATH).body(Bytes::new()).unwrap();
            tokio::select! {
                answer = &mut waiting => break answer,
                served = connection.request(get) => {
                    assert_eq!(served.unwrap().status, 200);
                    sleep(Duration::from_millis(100)).await;
                }
            }
        };
        println!("given up after {:?}", start.elapsed());
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains("another process"), "{text}");
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "ten and a little"
        );
        assert_eq!(queue.wise.exchange_count(), 1, "it made none of its own");
        queue.script.say("");
    };
    let (answer, ()) = tokio::join!(holding, waiting);
    assert_eq!(answer.status, 200, "{answer:?}");
    queue
        .waiter
        .status_until(|status| status["tokens"][0]["generation"] == 2)
        .await;
    assert_eq!(queue.wise.exchange_count(), 2);
}

/// The old token lives until Wise is asked: only then does the gate close.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_before_the_exchange_delays_no_request() {
    let wise = wise(Rotation::Always).await;
    let site = House::on(&wise).prepare().await;
    let script = Script::new(&site);
    let proxy = site.scripted(&script.path).start().await;
    let waits = async || proxy.metric("wise_proxy_renewal_waits_total", "").await;
    assert_eq!(proxy.get(PATH).await.status, 200);
    let before = waits().await;
    // The trial whether the disk takes anything.
    let trial = script.been("durable-sync") + 1;
    script.pause_at("durable-sync", 1);
    let refresh = proxy.operate(post("/tokens/main/refresh", &json!({})));
    let serving = async {
        script.reached("durable-sync", trial).await;
        let payment = post("/v3/profiles/30000000/quotes", &json!({}));
        let answer = proxy.request(payment).await;
        assert_ne!(answer.status, 503, "{answer:?}");
        assert_eq!(proxy.get(PATH).await.status, 200);
        assert!(waits().await <= before);
        assert_eq!(wise.exchange_count(), 1, "the login's");
        script.say("");
    };
    let (answer, ()) = tokio::join!(refresh, serving);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(wise.exchange_count(), 2);
}

/// The old token is dead and the new one in our hands: decision 0011 counts a hang as it counts an
/// error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_after_the_exchange_holds_the_new_token_back_two_seconds() {
    let wise = wise(Rotation::Always).await;
    let site = House::on(&wise).prepare().await;
    let script = Script::new(&site);
    let proxy = site.scripted(&script.path).start().await;
    let unsaved = async |wanted: bool| {
        let told = |status: &serde_json::Value| status["tokens"][0]["unsaved"] == wanted;
        proxy.status_until(told).await
    };
    assert_eq!(proxy.get(PATH).await.status, 200);
    let lock = std::fs::File::open(site.path("state/main.lock")).unwrap();
    // After the trial whether the disk takes anything.
    let hang = script.been("durable-sync") + 2;
    script.pause_at("durable-sync", 2);

    let start = Instant::now();
    let refresh = proxy.operate(post("/tokens/main/refresh", &json!({})));
    let answer = refresh.await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(start.elapsed() < Duration::from_secs(6), "two and a little");
    assert_eq!(script.been("durable-sync"), hang, "it hangs yet");
    let status = unsaved(true).await;
    assert_eq!(status["tokens"][0]["generation"], 2);
    assert!(proxy.log().contains("in memory only: "), "and said so");
    assert_eq!(proxy.get(PATH).await.status, 200, "with the new token");
    assert!(lock.try_lock().is_err(), "no other process may renew");

    // With time in hand no token follows one that is not safe yet, and no save begins beside it.
    let refresh = proxy.operate(post("/tokens/main/refresh", &json!({})));
    let answer = refresh.await;
    assert_ne!(answer.status, 200, "{answer:?}");
    assert_eq!(wise.exchange_count(), 2, "the login and one");
    assert_eq!(script.been("durable-sync"), hang, "one save");

    script.say("");
    unsaved(false).await;
    assert!(lock.try_lock().is_ok(), "it was let go of");
    lock.unlock().unwrap();
    let refresh = proxy.operate(post("/tokens/main/refresh", &json!({})));
    assert_eq!(refresh.await.status, 200);
    assert_eq!(wise.exchange_count(), 3);
    assert_eq!(proxy.get(PATH).await.status, 200);
}
