//! Requests that an HTTP/2 Wise takes back in the middle of others, or of their own bodies.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use serde_json::json;
use wise_auth_proxy::simulator::Simulator;

use crate::frames::{self, Frames};
use crate::house::{self, House, Plan, post};
use crate::wire::Stub;

/// A house with one worker, and so one connection, towards a peer that the test plays.
fn plan<'a>(wise: &'a Simulator, stub: &Stub) -> Plan<'a> {
    House::on(wise)
        .lane("personal")
        .logged_out()
        .set("runtime.workers", "1")
        .set("upstream.http", "2")
        .towards(stub)
}

async fn served(frames: &mut Frames, stream: u32) {
    frames.answer(stream, 200, Some(2), false).await;
    frames.data(stream, b"{}", true).await;
}

fn id(body: &[u8]) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["customerTransactionId"].as_str().unwrap().to_owned()
}

/// Of twenty transfers in flight on one connection Wise carries out half, and says so by the last
/// stream of its GOAWAY, or by refusing the others one by one.
#[tokio::test]
async fn of_many_transfers_in_flight_those_taken_back_are_sent_again_and_no_others() {
    const SIZE: usize = 20;
    for going_away in [true, false] {
        let wise = house::wise().await;
        let mut stub = Stub::start().await;
        let house = plan(&wise, &stub).start().await;
        let peer = async {
            let (mut acted_on, mut arrived) = (HashMap::new(), 0);
            let mut first = Frames::accept(stub.connection().await).await.unwrap();
            let mut waiting = Vec::new();
            while waiting.len() < SIZE {
                waiting.push(first.request().await.unwrap());
                arrived += 1;
            }
            waiting.sort_by_key(|(stream, _)| *stream);
            let taken_back = waiting.split_off(SIZE / 2);
            if going_away {
                first
                    .go_away(waiting[SIZE / 2 - 1].0, frames::NO_ERROR)
                    .await;
            } else {
                for (stream, _) in &taken_back {
                    first.reset_stream(*stream, frames::REFUSED_STREAM).await;
                }
            }
            for (stream, body) in &waiting {
                *acted_on.entry(id(body)).or_insert(0) += 1;
                served(&mut first, *stream).await;
            }
            let mut next = if going_away {
                Frames::accept(stub.connection().await).await.unwrap()
            } else {
                first
            };
            for _ in &taken_back {
                let (stream, body) = next.request().await.unwrap();
                arrived += 1;
                *acted_on.entry(id(&body)).or_insert(0) += 1;
                served(&mut next, stream).await;
            }
            // Closed with something unread, a socket takes back what it has sent.
            (acted_on, arrived, next)
        };
        let ask = async |number: usize| {
            let body = json!({ "customerTransactionId": format!("t-{number}") });
            house.request(post("/v1/transfers", &body)).await
        };

        let (answers, (acted_on, arrived, _open)) =
            tokio::join!(join_all((0..SIZE).map(ask)), peer);

        let served = |answer: &house::Answer| answer.status == 200;
        assert!(answers.iter().all(served), "{answers:?}");
        assert_eq!(acted_on.len(), SIZE);
        assert!(acted_on.values().all(|times| *times == 1), "{acted_on:?}");
        assert_eq!(arrived, SIZE + SIZE / 2);
        println!("GOAWAY: {going_away}: {SIZE} transfers, {arrived} arrivals, each acted on once");
    }
}

fn upload(length: usize) -> (Request<Bytes>, Vec<u8>) {
    let body: Vec<u8> = (0..251_u8).cycle().take(length).collect();
    let request = Request::post("/v1/files").body(body.clone().into());
    (request.unwrap(), body)
}

#[tokio::test]
async fn an_upload_refused_in_its_middle_is_sent_again_whole() {
    let wise = house::wise().await;
    let mut stub = Stub::start().await;
    let house = plan(&wise, &stub).start().await;
    let (request, sent) = upload(300_000);
    let peer = async {
        let mut frames = Frames::accept(stub.connection().await).await.unwrap();
        let stream = frames.begun().await.unwrap();
        frames.reset_stream(stream, frames::REFUSED_STREAM).await;
        loop {
            let (again, body) = frames.request().await.unwrap();
            if again != stream {
                served(&mut frames, again).await;
                return body;
            }
        }
    };

    let (answer, body) = tokio::join!(house.request(request), peer);

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(body.len(), sent.len());
    assert_eq!(
        digest(&SHA256, &body).as_ref(),
        digest(&SHA256, &sent).as_ref()
    );
}

#[tokio::test]
async fn an_upload_too_large_to_keep_is_not_sent_again_when_it_is_refused() {
    let wise = house::wise().await;
    let mut stub = Stub::start().await;
    let plan = plan(&wise, &stub).set("upstream.replay_limit", "1 KiB");
    let house = plan.start().await;
    let (request, _) = upload(300_000);
    let peer = async {
        let mut frames = Frames::accept(stub.connection().await).await.unwrap();
        let stream = frames.begun().await.unwrap();
        frames.reset_stream(stream, frames::REFUSED_STREAM).await;
        frames
    };

    let (answer, _frames) = tokio::join!(house.request(request), peer);

    assert_eq!(
        (answer.status.as_u16(), &*answer.problem()),
        (502, "upstream-broken")
    );
    assert_eq!(stub.uncalled(), 0);
}
