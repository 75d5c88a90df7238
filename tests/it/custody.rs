//! Several processes on one store, and processes that die.

use wise_auth_proxy::simulator::{Outcome, Simulator};

use crate::house::{self, House, PROFILE};

const PATH: &str = "/v2/profiles/30000000";

fn refreshes(wise: &Simulator) -> usize {
    wise.exchanges()
        .iter()
        .filter(|exchange| exchange.grant_type == "refresh_token")
        .count()
}

/// Every exchange brought tokens, and there was one for each generation.
fn one_exchange_a_generation(wise: &Simulator) {
    let exchanges = wise.exchanges();
    for exchange in &exchanges {
        assert!(
            matches!(exchange.outcome, Outcome::Minted { .. }),
            "{exchange:?}"
        );
    }
    assert_eq!(wise.generation(PROFILE), Some(exchanges.len() as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_store_make_one_exchange_a_generation() {
    let wise = house::wise().await;
    wise.change_faults(|faults| faults.token.lifetime = 3);
    let first = House::on(&wise).start().await;
    let second = House::on(&wise).beside(&first).start().await;

    let mut served = 0;
    while refreshes(&wise) < 8 {
        for house in [&first, &second] {
            let answer = house.get(PATH).await;
            assert_eq!(answer.status, 200, "{answer:?} {}", house.log());
            served += 1;
        }
    }
    one_exchange_a_generation(&wise);
    let mut adopted = 0.0;
    for house in [&first, &second] {
        adopted += house
            .metric("wise_proxy_token_refreshes_total", "adopted")
            .await;
    }
    assert!(adopted >= 1.0, "nobody took a token from the store");
    println!(
        "{served} requests, {} refreshes, {adopted} adopted",
        refreshes(&wise)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_in_the_middle_of_an_exchange_loses_no_grant_that_wise_has_not_ended() {
    use wise_auth_proxy::simulator::Rotation;
    // With strict rotation a kill between Wise's commit and the arrival of its answer loses the
    // grant whatever a client does; a server that forgives one repeat loses none.
    for rotation in [Rotation::Grace, Rotation::Never] {
        let wise = house::wise().await;
        wise.change_faults(|faults| {
            faults.token.lifetime = 3;
            faults.token.rotation = rotation;
        });
        let site = House::on(&wise).prepare().await;
        for round in 0..8 {
            let house = site.start().await;
            let answer = house.get(PATH).await;
            assert_eq!(answer.status, 200, "round {round}: {}", house.log());
            let before = refreshes(&wise);
            wise.until(|wise| refreshes(wise) > before).await;
            house.signal("KILL");
            house.ended().await;
        }
        let house = site.start().await;
        assert_eq!(house.get(PATH).await.status, 200, "{}", house.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_revives_a_dead_grant_without_a_restart() {
    let wise = house::wise().await;
    let house = House::on(&wise).start().await;
    assert_eq!(house.get(PATH).await.status, 200);
    wise.disconnect(PROFILE);
    // The request that finds out gets Wise's own word; the next ones get ours.
    assert_eq!(house.get(PATH).await.status, 401);
    let answer = house.get(PATH).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (503, "reauthorisation-required")
    );

    house.site.log_in(&wise, "main", PROFILE).await;

    house.status_until(|status| status["ready"] == true).await;
    assert_eq!(house.get(PATH).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_endpoint_that_is_down_does_not_stop_a_start_from_the_store() {
    let wise = house::wise().await;
    let site = House::on(&wise).prepare().await;
    wise.change_faults(|faults| {
        use wise_auth_proxy::simulator::{Disturb, Disturbance};
        faults.token.disturb = Some(Disturb::always(Disturbance::DropBefore));
    });
    let house = site.start().await;
    assert_eq!(house.get(PATH).await.status, 200);
    assert_eq!(house.admin("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_lost_after_minting_is_asked_for_again_with_the_same_refresh_token() {
    let wise = house::wise().await;
    wise.change_faults(|faults| {
        use wise_auth_proxy::simulator::{Disturb, Disturbance, Rotation};
        faults.token.rotation = Rotation::Grace;
        faults.token.disturb = Some(Disturb::times(Disturbance::LoseAnswer, 1));
    });
    // The login's own exchange must arrive.
    let lose = wise.faults();
    wise.change_faults(|faults| faults.token.disturb = None);
    let house = House::on(&wise).start().await;
    wise.set_faults(lose);

    let output = house.cli(&["token", "refresh", "main"]).await;

    let mut outcomes = wise
        .exchanges()
        .into_iter()
        .map(|exchange| exchange.outcome)
        .skip(1);
    assert!(matches!(outcomes.next(), Some(Outcome::Lost { .. })));
    wise.until(|wise| {
        matches!(
            wise.exchanges().last().unwrap().outcome,
            Outcome::Minted { .. }
        )
    })
    .await;
    assert_eq!(
        house.get(PATH).await.status,
        200,
        "{output:?} {}",
        house.log()
    );
}
