//! First durable, then seen; and one exchange for however many ask.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use serde_json::json;
use tokio::time::timeout;
use wise_auth_proxy::simulator::{Credential, Outcome};

use super::{MODES, PATH, Script, wise};
use crate::house::{self, House, PATIENCE, PROFILE, post};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_a_new_token_before_it_is_durable() {
    let wise = house::wise().await;
    // The token before goes on working, or there would be no request to look at.
    wise.change_faults(|faults| faults.token.previous_access_dies = false);
    let plan = House::on(&wise).set("tokens.wait", "50ms");
    let site = plan.prepare().await;
    let script = Script::new(&site);
    let house = site.scripted(&script.path).start().await;
    let other = House::on(&wise).beside(&house).start().await;
    // Made now: while the renewal stands still, the thread may stand still that opens the door.
    let mut doors = [house.connect().await, other.connect().await];
    for (point, after) in [
        ("durable-write", 2),
        ("durable-sync", 3),
        ("store-staged", 4),
        ("store-kept", 5),
        ("durable-sync-dir", 6),
        ("renewal-saved", 7),
    ] {
        let old = after - 1;
        // Once the record has its name, other processes may read it.
        let is_named = ["durable-sync-dir", "renewal-saved"].contains(&point);
        // The trial whether the disk takes anything comes by first and is let through.
        let nth = if point.starts_with("durable") { 2 } else { 1 };
        let times = script.been(point) + nth;
        script.pause_at(point, nth);
        let refresh = post("/tokens/main/refresh", &json!({}));
        let renewing = house.operate(refresh);
        let looking = async {
            script.reached(point, times).await;
            assert_eq!(wise.generation(PROFILE), Some(after), "Wise has committed");
            for (number, door) in doors.iter_mut().enumerate() {
                wise.clear();
                let request = Request::get(PATH).body(Bytes::new()).unwrap();
                let answer = timeout(PATIENCE, door.request(request)).await;
                assert_eq!(answer.expect("it is answered").unwrap().status, 200);
                let arrived = wise.recorded();
                let Credential::User { generation, .. } = arrived[0].credential else {
                    panic!("{arrived:?}")
                };
                assert!(
                    generation == old || number == 1 && is_named,
                    "{point}: {generation} was seen"
                );
            }
            script.say("");
        };
        let (renewed, ()) = tokio::join!(renewing, looking);
        assert_eq!(renewed.status, 200, "{renewed:?}");
        assert_eq!(renewed.json()["generation"], after);
        other
            .status_until(|status| status["tokens"][0]["generation"] == after)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_durable_within_moments() {
    let wise = house::wise().await;
    let site = House::on(&wise).prepare().await;
    let script = Script::new(&site);
    let house = site.scripted(&script.path).start().await;
    let timed = site.path("timed");
    script.say(&format!("timed = {}", timed.display()));
    for _ in 0..50 {
        let refresh = post("/tokens/main/refresh", &json!({}));
        assert_eq!(house.operate(refresh).await.status, 200);
    }
    let text = std::fs::read_to_string(timed).unwrap();
    let at = |point: &str| -> Vec<u64> {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let of_point = lines.filter(|(name, _)| *name == point);
        of_point.map(|(_, at)| at.parse().unwrap()).collect()
    };
    let (answered, saved) = (at("renewal-answered"), at("renewal-saved"));
    assert_eq!((answered.len(), saved.len()), (50, 50));
    let mut took: Vec<_> = answered
        .iter()
        .zip(saved)
        .map(|(answered, saved)| saved.checked_sub(*answered).unwrap())
        .collect();
    took.sort_unstable();
    println!(
        "from the answer to durable, 50 renewals: p50 {:.1} ms, max {:.1} ms",
        Duration::from_micros(took[25]).as_secs_f64() * 1e3,
        Duration::from_micros(took[49]).as_secs_f64() * 1e3,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_requests_at_the_end_of_a_token_make_one_exchange_and_are_all_served() {
    join_all(MODES.map(async |mode| {
        let wise = wise(mode).await;
        wise.change_faults(|faults| faults.token.lifetime = 1);
        let plan = House::on(&wise).set("tokens.wait", "20s");
        let site = plan.prepare().await;
        // A proxy that starts after the end of its token renews at once; Wise takes its time, so
        // that all come while there is no token.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        wise.change_faults(|faults| {
            faults.token.lifetime = 600;
            faults.token.latency = 1_500;
        });
        let house = site.start().await;
        wise.until(|wise| wise.exchange_count() == 2).await;
        wise.clear();

        let answers = join_all((0..200).map(|_| house.get(PATH))).await;

        let served = answers.iter().filter(|answer| answer.status == 200);
        assert_eq!(served.count(), 200, "{}", house.log());
        assert_eq!(wise.exchange_count(), 2, "one for all");
        let sent = wise.recorded();
        assert_eq!(sent.len(), 200, "none went without a living token");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_requests_with_a_token_that_wise_has_ended_make_one_exchange() {
    for mode in MODES {
        let wise = wise(mode).await;
        let house = House::on(&wise).set("tokens.wait", "20s").start().await;
        wise.revoke_access(PROFILE);

        let answers = join_all((0..200).map(|_| house.get(PATH))).await;

        let served = answers.iter().filter(|answer| answer.status == 200);
        assert_eq!(served.count(), 200, "{}", house.log());
        let exchanges = wise.exchanges();
        assert_eq!(exchanges.len(), 2, "one for all: {exchanges:?}");
        assert_eq!(exchanges[1].outcome, Outcome::Minted { generation: 2 });
    }
}
