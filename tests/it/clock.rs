//! Clocks that jump and machines that sleep: no storm of renewals, no failed request, and no token
//! that is used beyond its life.

use std::time::Duration;

use wise_auth_proxy::simulator::{Options, Outcome, Rotation, Simulator};

use crate::house::{self, House};
use crate::traffic::{Traffic, dead_tokens, renewals, renewed};

const ROTATIONS: [Rotation; 3] = [Rotation::Always, Rotation::Grace, Rotation::Never];
#[cfg(feature = "failpoints")]
const DAY: i64 = 86_400;

async fn wise_with(lifetime: u32, rotation: Rotation) -> Simulator {
    let wise = Simulator::start(Options {
        recorder_capacity: 100_000,
        ..house::wise_options()
    })
    .await
    .unwrap();
    wise.change_faults(|faults| {
        faults.token.lifetime = lifetime;
        faults.token.rotation = rotation;
    });
    wise
}

/// Every exchange brought tokens and no POST was carried out twice.
fn all_in_order(wise: &Simulator) {
    for exchange in wise.exchanges() {
        let minted = matches!(exchange.outcome, Outcome::Minted { .. });
        assert!(minted, "{exchange:?}");
    }
    assert_eq!(wise.counters().repeated(), Vec::<&str>::new());
}

/// Tokens of five seconds; the wall clock jumps after each renewal.
#[cfg(feature = "failpoints")]
async fn jumping_wall(rotation: Rotation) {
    let wise = wise_with(5, rotation).await;
    let house = House::on(&wise).start().await;
    let traffic = Traffic::on(&house);
    let begun = tokio::time::Instant::now();
    for off in [DAY, -DAY, 0] {
        house.site.failpoints(&format!("wall = {off}"));
        let before = renewals(&wise);
        renewed(&wise, before + 1).await;
    }
    let seen = traffic.unharmed().await;
    let (made, span) = (renewals(&wise), begun.elapsed());
    // A renewal is due each 2.5 s, with or without a jump.
    assert!((3..=8).contains(&made), "{made} renewals in {span:?}");
    assert_eq!(dead_tokens(&wise), 0);
    all_in_order(&wise);
    println!(
        "{} answers, 0 wrong, {made} renewals in {span:?}",
        seen.answers
    );
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_jumps_a_day_forwards_and_back_is_not_noticed() {
    let [always, grace, never] = ROTATIONS.map(jumping_wall);
    tokio::join!(always, grace, never);
}

/// Tokens of twelve hours; the machine sleeps for an hour, then twice for a day.
#[cfg(feature = "failpoints")]
async fn sleeping(rotation: Rotation) {
    let wise = wise_with(43_199, rotation).await;
    let house = House::on(&wise).start().await;
    let traffic = Traffic::on(&house);
    let asleep = |seconds: i64| house.site.failpoints(&format!("boot = {seconds}"));

    traffic.goes_on().await;
    asleep(3_600);
    let status = house
        .status_until(|status| status["tokens"][0]["age"].as_u64() >= Some(3_600))
        .await;
    let left = status["tokens"][0]["seconds_left"].as_u64().unwrap();
    assert!((39_000..39_600).contains(&left), "{left}");
    assert_eq!(renewals(&wise), 0, "an hour is no reason");
    for (days, made) in [(1, 1), (2, 2)] {
        asleep(days * DAY);
        renewed(&wise, made).await;
        house
            .status_until(|status| status["tokens"][0]["seconds_left"].as_u64() > Some(43_000))
            .await;
        traffic.goes_on().await;
        assert_eq!(renewals(&wise), made, "one for each waking");
    }
    let seen = traffic.unharmed().await;
    assert_eq!(renewals(&wise), 2);
    assert_eq!(dead_tokens(&wise), 0);
    all_in_order(&wise);
    println!(
        "{} answers, 0 wrong, slowest {:?}",
        seen.answers, seen.slowest
    );
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_wakes_after_an_hour_or_a_day_renews_at_most_once_and_fails_nobody() {
    let [always, grace, never] = ROTATIONS.map(sleeping);
    tokio::join!(always, grace, never);
}

/// A process that is stopped for longer than its token lives, under traffic.
async fn stopped(rotation: Rotation) {
    let wise = wise_with(3, rotation).await;
    let house = House::on(&wise).start().await;
    let traffic = Traffic::on(&house);
    // In the middle of an exchange, or between two.
    renewed(&wise, 1).await;
    if rotation == Rotation::Never {
        traffic.goes_on().await;
    }
    house.signal("STOP");
    // Time itself is what this is about.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let before = renewals(&wise);
    house.signal("CONT");
    renewed(&wise, before + 2).await;
    let seen = traffic.unharmed().await;
    let (made, dead) = (renewals(&wise) - before, dead_tokens(&wise));
    assert!(made <= 4, "{made} renewals after it went on");
    // Who was stopped between taking a token and sending it: one for each application at most.
    assert!(dead <= 4, "{dead}");
    all_in_order(&wise);
    println!(
        "{} answers, 0 wrong, {dead} on their way when stopped",
        seen.answers
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_stopped_for_longer_than_its_token_lives_fails_nobody() {
    let [always, grace, never] = ROTATIONS.map(stopped);
    tokio::join!(always, grace, never);
}

/// Starts with a wall clock that is off, on a token that is alive and on one that is not.
#[cfg(feature = "failpoints")]
async fn started(rotation: Rotation, off: i64) {
    for lifetime in [43_199, 1] {
        let wise = wise_with(lifetime, rotation).await;
        let site = House::on(&wise).prepare().await;
        wise.change_faults(|faults| faults.token.lifetime = 43_199);
        if lifetime == 1 {
            // Its end comes before the start; only the wall clock could tell.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
        site.failpoints(&format!("wall = {off}"));
        let house = site.start().await;
        let traffic = Traffic::on(&house);
        renewed(&wise, 1).await;
        house
            .status_until(|status| status["tokens"][0]["generation"].as_u64() >= Some(2))
            .await;
        assert_eq!(house.get(crate::traffic::PATH).await.status, 200);
        traffic.unharmed().await;
        house.stop().await;

        site.failpoints("");
        let house = site.start().await;
        let traffic = Traffic::on(&house);
        renewed(&wise, 2).await;
        house.status_until(|status| status["ready"] == true).await;
        traffic.unharmed().await;
        assert_eq!(renewals(&wise), 2, "one for each change of the clock");
        assert_eq!(dead_tokens(&wise), 0, "lifetime {lifetime}, {off}");
        all_in_order(&wise);
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_with_a_wall_clock_a_day_off_costs_one_renewal_and_uses_no_dead_token() {
    let ahead = ROTATIONS.map(|rotation| started(rotation, DAY));
    let behind = ROTATIONS.map(|rotation| started(rotation, -DAY));
    let all = ahead.into_iter().chain(behind);
    futures_util::future::join_all(all).await;
}
