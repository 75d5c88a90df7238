//! What every answer carries and what the recorder says.

use super::*;

#[tokio::test]
async fn every_answer_has_a_trace_id_and_echoes_a_short_correlation_id() {
    let house = House::open().await;
    for (sent, echoed) in [("a".repeat(36), true), ("a".repeat(37), false)] {
        let mut ask = request("", "GET", "/v1/me", None);
        ask.headers_mut()
            .insert("x-external-correlation-id", sent.parse().unwrap());
        let answer = house.plain(ask).await;
        let trace = answer.headers()["x-trace-id"].to_str().unwrap();
        assert!(trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(
            answer.headers().contains_key("x-external-correlation-id"),
            echoed
        );
    }
}

#[tokio::test]
async fn the_recorder_says_what_arrived() {
    let house = House::open().await;
    let (access, refresh) = house.grant(BUSINESS).await;
    house.wise.clear();
    let sent = json!({"customerTransactionId": "recorded"});
    let path = "/v1/simulator/echo?a=%2F&b=%20";
    let mut ask = request(&access, "POST", path, Some(sent.clone()));
    ask.headers_mut().append("x-own", "one".parse().unwrap());
    ask.headers_mut().append("x-own", "two".parse().unwrap());
    let echo = body(&house.plain(ask).await);
    let [record] = house.wise.recorded().try_into().unwrap();
    assert_eq!(
        (record.method.as_str(), record.target.as_str()),
        ("POST", path)
    );
    assert_eq!(record.header("x-own").collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(record.header("authorization").count(), 1);
    assert_eq!(record.body.bytes, sent.to_string().len() as u64);
    assert!(record.body.complete);
    assert_eq!(record.body.sha256, word(&echo["sha256"]));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, sent.to_string().as_bytes());
    assert_eq!(record.body.sha256, pki::hex(digest.as_ref()));
    assert_eq!(record.customer_transaction_id.as_deref(), Some("recorded"));
    assert_eq!((record.door, record.status), (Door::Plain, Some(200)));
    let live = |generation, live| Credential::User {
        grant: 1,
        profile: BUSINESS,
        generation,
        live,
    };
    assert_eq!(record.credential, live(1, true));

    house.token(&refresh_fields(&refresh)).await;
    house.call(&access, "GET", "/v1/me", None).await;
    assert_eq!(
        house.wise.recorded().pop().unwrap().credential,
        live(1, false)
    );
}

#[tokio::test]
async fn a_refused_body_is_never_read_nor_counted() {
    let house = House::open().await;
    let ask = request(
        "dead",
        "POST",
        "/v1/transfers",
        Some(json!({"customerTransactionId": "x"})),
    );
    assert_eq!(house.plain(ask).await.status(), 401);
    assert!(house.wise.counters().transactions.is_empty());
}

#[tokio::test]
async fn two_authorization_headers_are_refused_and_recorded() {
    let house = House::open().await;
    let mut ask = request(&personal_token(), "GET", "/v1/me", None);
    ask.headers_mut()
        .append(AUTHORIZATION, "Bearer another".parse().unwrap());
    assert_eq!(house.plain(ask).await.status(), 400);
    assert_eq!(
        house.wise.recorded().pop().unwrap().credential,
        Credential::Several
    );
}

#[tokio::test]
async fn a_test_can_wait_for_an_exchange_instead_of_sleeping() {
    let house = House::open().await;
    let waiting = house.wise.until(|wise| wise.exchange_count() == 1);
    let asking = house.token(&[("grant_type", "client_credentials")]);
    let ((), answer) = futures_util::future::join(waiting, asking).await;
    assert_eq!(answer.status(), 200);
}
