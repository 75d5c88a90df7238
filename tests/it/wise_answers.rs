//! Wise's own answers, good and bad: they pass untouched, and what the proxy does about them.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::Request;
use wise_auth_proxy::simulator::{Disturb, Disturbance, Faults, Recorded, Sca, Simulator};

use crate::failures_table::row;
use crate::house::{self, Answer, House, PROFILE, Plan};
use crate::wire::{Stub, Wire};

fn disturb(wise: &Simulator, kind: Disturbance, times: u32) {
    wise.change_faults(|faults| faults.resource.disturb = Some(Disturb::times(kind, times)));
}

/// A house in the destination lane, before its first request.
async fn fresh(plan: Plan<'_>, wise: &Simulator) -> House {
    let house = plan.start().await;
    // The login has asked who it was.
    wise.clear();
    house
}

/// What arrived at the API, without the token endpoint.
fn calls(wise: &Simulator) -> Vec<Recorded> {
    let mut calls = wise.recorded();
    calls.retain(|seen| !seen.target.ends_with("/oauth/token"));
    calls
}

#[track_caller]
fn assert_wises(answer: &Answer, status: u16) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert!(
        !answer.headers.contains_key("proxy-status"),
        "not ours: {answer:?}"
    );
    assert_ne!(
        answer
            .headers
            .get("content-type")
            .map(http::HeaderValue::as_bytes),
        Some(&b"application/problem+json"[..])
    );
}

fn upload(path: &str, length: usize) -> Request<Bytes> {
    let body: Vec<u8> = (0..249u8).cycle().take(length).collect();
    Request::post(path).body(body.into()).unwrap()
}

fn hex_digest(bytes: &[u8]) -> String {
    let hex = |byte: &u8| format!("{byte:02x}");
    digest(&SHA256, bytes).as_ref().iter().map(hex).collect()
}

#[tokio::test]
async fn a_401_that_no_token_cures_costs_one_refresh_and_passes() {
    let wise = house::wise().await;
    let house = fresh(House::on(&wise), &wise).await;
    let before = wise.exchange_count();
    wise.change_faults(|faults| {
        faults.resource.disturb = Some(Disturb::always(Disturbance::FalseUnauthorized));
    });
    for _ in 0..5 {
        let answer = house.get("/v1/me").await;
        assert_wises(&answer, 401);
        assert_eq!(answer.json()["error"], "invalid_token");
    }
    assert_eq!(
        wise.exchange_count(),
        before + 1,
        "one forced refresh in its interval"
    );
    assert_eq!(
        calls(&wise).len(),
        6,
        "the first is sent twice, the others once"
    );

    wise.set_faults(Faults::default());
    assert_eq!(
        house.get("/v1/me").await.status,
        200,
        "nothing was broken by it"
    );
}

#[tokio::test]
async fn a_403_touches_no_token() {
    let wise = house::wise().await;
    let house = fresh(House::on(&wise), &wise).await;
    let (exchanges, generation) = (wise.exchange_count(), wise.generation(PROFILE));
    wise.change_faults(|faults| faults.resource.sca = Sca::All);

    let statement = format!("/v1/profiles/{PROFILE}/balance-statements/1/statement.json");
    let challenged = house.get(&statement).await;
    assert_wises(&challenged, 403);
    assert_eq!(challenged.headers["x-2fa-approval-result"], "REJECTED");
    assert!(challenged.headers.contains_key("x-2fa-approval"));

    let foreign = Request::get("/v2/profiles/999").header("x-wise-profile", PROFILE.to_string());
    let foreign = house.send(foreign).await;
    assert_wises(&foreign, 403);
    assert_eq!(foreign.json()["error"], "unauthorized");

    row("answer-403")
        .shown(&house, &foreign, calls(&wise).len() - 1)
        .await;
    assert_eq!(calls(&wise).len(), 2, "each is sent once");
    assert_eq!(
        (wise.exchange_count(), wise.generation(PROFILE)),
        (exchanges, generation)
    );
}

#[tokio::test]
async fn a_429_passes_with_its_fields() {
    let wise = house::wise().await;
    let house = House::on(&wise).lane("personal").logged_out().start().await;
    disturb(&wise, Disturbance::TooManyRequests, 1);

    let answer = house.get("/v1/me").await;

    assert_wises(&answer, 429);
    assert_eq!(answer.headers["retry-after"], "5");
    assert_eq!(answer.headers["x-rate-limited-by"], "wise-public-api");
    assert_eq!(answer.json()["errors"][0]["code"], "rate_limited");
    assert_eq!(
        wise.recorded().len(),
        1,
        "it is the application's to repeat"
    );
}

#[tokio::test]
async fn trouble_at_wise_passes_untouched() {
    let wise = house::wise().await;
    let house = House::on(&wise).lane("personal").logged_out().start().await;
    for (kind, status, content_type) in [
        (Disturbance::ServerError, 500, Some("application/json")),
        (Disturbance::Html, 503, Some("text/html;charset=utf-8")),
        (Disturbance::Redirect, 302, None),
        (Disturbance::Garbage, 200, Some("application/json")),
    ] {
        wise.clear();
        disturb(&wise, kind, 1);
        let answer = house.get("/v1/me").await;
        assert_wises(&answer, status);
        let found = answer
            .headers
            .get("content-type")
            .map(|kind| kind.to_str().unwrap());
        assert_eq!(found, content_type);
        assert!(answer.headers.contains_key("x-trace-id"));
        if kind == Disturbance::Redirect {
            assert_eq!(answer.headers["location"], "https://elsewhere.invalid/");
        }
        assert_eq!(wise.recorded().len(), 1, "nothing is followed or repeated");
    }
}

#[tokio::test]
async fn a_post_refused_for_its_token_is_sent_again_whole_and_once() {
    for http in ["1.1", "2"] {
        let wise = house::wise().await;
        let house = fresh(House::on(&wise).set("upstream.http", http), &wise).await;
        let before = wise.exchange_count();
        assert_eq!(wise.revoke_access(PROFILE), 1);
        let request = upload("/v1/simulator/echo", 300_000);
        let digest = hex_digest(request.body());

        let answer = house.request(request).await;

        assert_wises(&answer, 200);
        assert_eq!(
            answer.json()["sha256"],
            digest,
            "HTTP/{http}: the body is whole"
        );
        assert_eq!(answer.json()["bytes"], 300_000);
        let calls = calls(&wise);
        let statuses: Vec<_> = calls.iter().map(|call| call.status).collect();
        assert_eq!(statuses, [Some(401), Some(200)], "refused once, done once");
        let tokens: Vec<_> = calls
            .iter()
            .flat_map(|call| call.header("authorization"))
            .collect();
        assert_ne!(tokens[0], tokens[1]);
        assert_eq!(wise.exchange_count(), before + 1);
        let case = row("answer-401-newer");
        case.told(&answer);
        let acted_on = calls.iter().filter(|call| call.status == Some(200));
        case.sent(calls.len(), acted_on.count());
        case.operator(&house).await;
    }
}

#[tokio::test]
async fn a_body_too_large_to_keep_is_not_replayed_but_its_token_is_renewed() {
    let wise = house::wise().await;
    let house = fresh(
        House::on(&wise).set("upstream.replay_limit", "1 KiB"),
        &wise,
    )
    .await;
    let before = wise.exchange_count();
    wise.revoke_access(PROFILE);

    assert_wises(
        &house.request(upload("/v1/simulator/echo", 2_000)).await,
        401,
    );

    assert_eq!(calls(&wise).len(), 1, "sent once");
    wise.until(|wise| wise.exchange_count() == before + 1).await;
    house
        .status_until(|status| status["tokens"][0]["generation"] == 2)
        .await;
    assert_wises(
        &house.request(upload("/v1/simulator/echo", 2_000)).await,
        200,
    );
}

#[tokio::test]
async fn an_answer_that_comes_before_the_end_of_an_upload_passes() {
    for http in ["1.1", "2"] {
        let wise = house::wise().await;
        let plan = House::on(&wise).lane("personal").logged_out();
        let house = plan.set("upstream.http", http).start().await;
        let mut wire = Wire::to(house.door).await;
        wire.send(
            "POST /v1/simulator/too-large HTTP/1.1\r\nHost: localhost\r\n\
             Content-Length: 100000000\r\n\r\nonly a beginning",
        )
        .await;

        let answer = wire.answer().await;

        assert_wises(&answer, 413);
        assert!(answer.headers.contains_key("x-trace-id"), "HTTP/{http}");
        assert_eq!(wise.recorded().len(), 1);
    }
}

#[tokio::test]
async fn the_application_hears_100_continue_only_after_wise_said_it() {
    let wise = house::wise().await;
    let mut stub = Stub::start().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    let house = plan.towards(&stub).start().await;
    let mut application = Wire::to(house.door).await;
    application
        .send(
            "POST /v1/me HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\
             Expect: 100-continue\r\n\r\n",
        )
        .await;
    let mut speaker = stub.connection().await;
    let head = speaker.read_to("\r\n\r\n").await.to_lowercase();
    assert!(head.contains("expect: 100-continue\r\n"), "{head}");
    assert_eq!(application.arrived(), b"", "Wise has not said it yet");

    speaker.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(
        application.read_to("\r\n\r\n").await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    application.send("hello").await;
    assert_eq!(speaker.read_exact(5).await, b"hello");
    speaker
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    assert_eq!(application.answer().await.body, "ok");
}

#[tokio::test]
async fn a_refusal_to_an_expecting_upload_spares_the_body() {
    let wise = house::wise().await;
    let house = House::on(&wise)
        .lane("personal")
        .logged_out()
        .set("upstream.http", "1.1");
    let house = house.start().await;
    let mut wire = Wire::to(house.door).await;
    wire.send(
        "POST /v1/simulator/too-large HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\
         Expect: 100-continue\r\n\r\n",
    )
    .await;
    assert_wises(&wire.answer().await, 413);
}

#[tokio::test]
async fn an_expecting_upload_refused_for_its_token_is_asked_for_once_and_arrives() {
    for http in ["1.1", "2"] {
        let wise = house::wise().await;
        let house = fresh(House::on(&wise).set("upstream.http", http), &wise).await;
        wise.revoke_access(PROFILE);
        let mut wire = Wire::to(house.door).await;
        wire.send(
            "POST /v1/simulator/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\
             Expect: 100-continue\r\n\r\n",
        )
        .await;
        assert_eq!(
            wire.read_to("\r\n\r\n").await,
            "HTTP/1.1 100 Continue\r\n\r\n"
        );
        wire.send("hello").await;

        let answer = wire.answer().await;

        assert_wises(&answer, 200);
        assert_eq!(answer.json()["bytes"], 5, "HTTP/{http}");
        assert_eq!(answer.json()["sha256"], hex_digest(b"hello"));
        let statuses: Vec<_> = calls(&wise).iter().map(|call| call.status).collect();
        assert_eq!(statuses, [Some(401), Some(200)]);
    }
}
