//! Renewals as an application notices them: slow ones, and a token endpoint that is down.

use std::time::Duration;

use tokio::time::Instant;
use wise_auth_proxy::simulator::{Disturb, Disturbance};

use crate::house::{self, House};
use crate::traffic::{PATH, Seen, Traffic, dead_tokens, renewals, renewed};

/// One renewal by an endpoint that takes a second and a half, `delay` ms of it before it acts.
async fn slow_renewal(delay: u64) -> Seen {
    let wise = house::wise().await;
    wise.change_faults(|faults| faults.token.lifetime = 6);
    let house = House::on(&wise).start().await;
    wise.change_faults(|faults| {
        faults.token.delay = delay;
        faults.token.latency = 1_500 - delay;
    });
    let traffic = Traffic::on(&house);
    let generation = &house.status().await["tokens"][0]["generation"];
    let next = generation.as_u64().unwrap() + 1;
    house
        .status_until(|status| status["tokens"][0]["generation"].as_u64() >= Some(next))
        .await;
    let seen = traffic.unharmed().await;
    assert_eq!(wise.counters().repeated(), Vec::<&str>::new());
    assert_eq!(dead_tokens(&wise), 0);
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_takes_a_second_and_a_half_is_hardly_noticed() {
    let (before, after) = tokio::join!(slow_renewal(1_500), slow_renewal(0));
    println!("slow before it acts: {before:?}");
    println!("slow after it acted: {after:?}");
    // While Wise has not acted, the old token lives, and everybody goes on with it.
    assert!(before.slowest < Duration::from_millis(500), "{before:?}");
    // Once it has, only the answer brings the token that anything could go on with.
    assert!(after.slowest < Duration::from_secs(3), "{after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_endpoint_that_is_down_costs_nothing_while_the_token_lives() {
    let wise = house::wise().await;
    wise.change_faults(|faults| faults.token.lifetime = 8);
    let house = House::on(&wise)
        .set("tokens.renew_at", "0.25")
        .start()
        .await;
    let left = &house.status().await["tokens"][0]["seconds_left"];
    let ends = Instant::now() + Duration::from_secs(left.as_u64().unwrap());
    let traffic = Traffic::on(&house);
    wise.change_faults(|faults| {
        faults.token.disturb = Some(Disturb::always(Disturbance::DropBefore));
    });
    renewed(&wise, 1).await;
    let down = Instant::now();

    // The tries are counted over time, and the time is what is left of the token's life.
    tokio::time::sleep_until(down + Duration::from_millis(4_500)).await;
    let made = renewals(&wise);
    assert!(made <= 14, "{made} tries in 4.5 s");
    tokio::time::sleep_until(ends).await;
    let seen = traffic.unharmed().await;

    // Then it is said, and no token that has ended is ever used.
    let after = Instant::now();
    let answer = loop {
        let answer = house.get(PATH).await;
        if answer.status != 200 {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let noticed = after.elapsed();
    assert_eq!(answer.problem(), "token-unavailable");
    assert!(answer.headers.contains_key("retry-after"));
    // What is left is shown in whole seconds.
    assert!(noticed < Duration::from_secs(1 + 2), "{noticed:?}");
    assert_eq!(dead_tokens(&wise), 0);
    let readiness = house.admin("/readyz").await;
    assert_eq!(readiness.status, 503);

    wise.change_faults(|faults| faults.token.disturb = None);
    let back = Instant::now();
    house.status_until(|status| status["ready"] == true).await;
    assert_eq!(house.get(PATH).await.status, 200);
    assert!(back.elapsed() < Duration::from_secs(35));
    assert_eq!(dead_tokens(&wise), 0);
    println!(
        "{} answers, 0 wrong; {made} tries in 4.5 s; 503 after {noticed:?} at most; 200 again \
         after {:?}",
        seen.answers,
        back.elapsed()
    );
}
