//! Many refusals at once: they pass, each request arrives once, and no storm of exchanges follows.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;
use wise_auth_proxy::simulator::{Disturb, Disturbance, Outcome, Simulator};

use crate::failures_table::row;
use crate::house::{self, Answer, House, post};
use crate::wire::Stub;

/// A burst of transfers, each with an id of its own.
async fn burst(house: &House, name: &str, size: usize) -> Vec<Answer> {
    let one = async |number: usize| {
        let body = json!({ "customerTransactionId": format!("{name}-{number}") });
        house.request(post("/v1/transfers", &body)).await
    };
    join_all((0..size).map(one)).await
}

fn transfers(wise: &Simulator) -> usize {
    let arrived = wise.recorded();
    arrived
        .iter()
        .filter(|seen| seen.target == "/v1/transfers")
        .count()
}

#[tokio::test]
async fn a_burst_of_server_errors_passes_and_repeats_nothing() {
    const SIZE: usize = 200;
    for http in ["1.1", "2"] {
        let case = row("answer-5xx-burst");
        let wise = house::wise().await;
        let plan = House::on(&wise).lane("personal").logged_out();
        let house = plan.set("upstream.http", http).start().await;
        wise.change_faults(|faults| {
            faults.resource.disturb = Some(Disturb::always(Disturbance::ServerError));
        });

        let answers = burst(&house, "burst", SIZE).await;

        assert!(
            answers.iter().all(|answer| answer.status == 500),
            "HTTP/{http}"
        );
        assert_eq!(transfers(&wise), SIZE, "each once");
        assert_eq!(wise.counters().repeated(), Vec::<&str>::new());
        case.told(&answers[0]);
        case.sent(transfers(&wise) / SIZE, 0);
        case.operator(&house).await;
    }
}

#[tokio::test]
async fn a_rest_that_wise_asks_for_is_the_applications_to_keep() {
    for after in ["7", "Wed, 25 Nov 2026 13:02:00 GMT"] {
        let case = row("answer-429");
        let wise = house::wise().await;
        let mut stub = Stub::start().await;
        let plan = House::on(&wise).lane("personal").logged_out();
        let house = plan.towards(&stub).start().await;
        let speaks = async {
            let mut wire = stub.connection().await;
            wire.request().await.unwrap();
            wire.send(format!(
                "HTTP/1.1 429 Too Many Requests\r\nRetry-After: {after}\r\nContent-Length: 0\r\n\r\n"
            ))
            .await;
            wire
        };
        let asked = house.request(post("/v1/transfers", &json!({})));

        let (answer, mut wire) = tokio::join!(asked, speaks);

        assert_eq!(answer.headers["retry-after"], after);
        case.told(&answer);
        let again = stub.uncalled() + usize::from(!wire.arrived().is_empty());
        case.sent(1 + again, 0);
        case.operator(&house).await;
    }
}

/// An allow list at Wise that our address is not on answers like a dead token, to every token.
#[tokio::test]
async fn a_storm_of_401_forces_one_exchange_in_its_interval_and_passes() {
    const SIZE: usize = 50;
    let seconds = Duration::from_secs(7);
    for (interval, most) in [(None, 1), (Some("2s"), 4)] {
        let wise = house::wise().await;
        let mut plan = House::on(&wise);
        if let Some(interval) = interval {
            plan = plan.set("tokens.forced_interval", interval);
        }
        let house = plan.start().await;
        wise.clear();
        let before = wise.exchange_count();
        wise.change_faults(|faults| {
            faults.resource.disturb = Some(Disturb::always(Disturbance::FalseUnauthorized));
        });

        let end = Instant::now() + seconds;
        let mut asked = 0;
        while Instant::now() < end {
            let answers = burst(&house, &format!("storm-{asked}"), SIZE).await;
            assert!(answers.iter().all(|answer| answer.status == 401));
            asked += answers.len();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }

        let exchanges = wise.exchanges().split_off(before);
        let minted = |exchange: &wise_auth_proxy::simulator::Exchange| {
            matches!(exchange.outcome, Outcome::Minted { .. })
        };
        assert!(exchanges.iter().all(minted), "{exchanges:?}");
        let forced = exchanges.len();
        assert!((1..=most).contains(&forced), "{forced} exchanges");
        println!(
            "interval {interval:?}: {asked} requests in {seconds:?}, all 401, {forced} exchanges"
        );
        // Sent a second time were only those that waited for one of the forced exchanges.
        let again = transfers(&wise) - asked;
        assert!(again <= forced * SIZE, "{again} were sent again");
        if interval.is_none() {
            wise.clear();
            let answer = house.request(post("/v1/transfers", &json!({}))).await;
            let arrived = transfers(&wise);
            row("answer-401-storm")
                .shown(&house, &answer, arrived)
                .await;
        }
    }
}
