//! What the door takes and what it does not, by status and type.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn a_delivery_reaches_the_application_byte_for_byte_with_its_own_fields_alone() {
    let setup = Setup::new().await;
    let house = setup.site.start().await;
    let body = b"{ \"odd\"\t: 1.0,\r\n\"u\": \"\xc3\xa9\" }";
    let mut request = setup.sender.delivery("first", body);
    let signature = request.headers()["x-signature-sha256"].clone();
    let headers = request.headers_mut();
    headers.insert("x-test-notification", "true".parse().unwrap());
    headers.insert("authorization", "Bearer mine".parse().unwrap());
    headers.insert("x-forwarded-for", "10.0.0.1".parse().unwrap());
    let answer = ask(door(&house).await, request).await;
    assert_eq!(answer.status, OK);
    let arrived = setup.application.got(1).await.remove(0);
    assert_eq!(arrived.target, "/hooks/wise?from=proxy");
    assert_eq!(arrived.body, body[..]);
    let host = setup.application.address.to_string();
    let mut fields: Vec<_> = arrived
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            ("content-length", body.len().to_string().as_str()),
            ("content-type", "application/json"),
            ("host", host.as_str()),
            ("user-agent", "TransferWise Webhooks"),
            ("x-delivery-id", "first"),
            ("x-signature-sha256", signature.to_str().unwrap()),
            ("x-test-notification", "true"),
        ]
    );
    queued(&house, 0).await;
    house.metric_until("wise_proxy_webhook_queued", 0.0).await;
    let stored = house.metric("wise_proxy_webhook_deliveries_total", "outcome=\"stored\"");
    assert!((stored.await - 1.0).abs() < 0.5);
}

#[tokio::test]
async fn what_is_not_wises_is_refused_exactly() {
    let setup = Setup::with("path = \"/wise\"\nmax_body = \"1 KiB\"").await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    let fresh = |id: &str| setup.sender.delivery(id, body(id).as_bytes());
    let without = |name: &str| {
        let mut request = fresh("a");
        request.headers_mut().remove(name);
        request
    };
    let with = |name: &'static str, value: &str| {
        let mut request = fresh("a");
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let twice = |name: &'static str| {
        let mut request = fresh("a");
        let value = request.headers()[name].clone();
        request.headers_mut().append(name, value);
        request
    };
    let at = |path: &str| {
        let mut request = fresh("a");
        *request.uri_mut() = path.parse().unwrap();
        request
    };
    let get = || {
        let mut request = fresh("a");
        *request.method_mut() = http::Method::GET;
        request
    };
    let other_body = || {
        let mut request = fresh("a");
        *request.body_mut() = Bytes::from_static(b"{\"data\":{\"of\":\"a\"}}");
        request
    };
    let other_key = Sender::new().sign(body("a").as_bytes());
    let large = || setup.sender.delivery("a", &[b' '; 1025]);
    for (request, status, kind) in [
        (without("x-signature-sha256"), 400, "bad-delivery"),
        (twice("x-signature-sha256"), 400, "bad-delivery"),
        (
            with("x-signature-sha256", "!not base64!"),
            400,
            "bad-delivery",
        ),
        (without("x-delivery-id"), 400, "bad-delivery"),
        (twice("x-delivery-id"), 400, "bad-delivery"),
        (with("x-delivery-id", "two words"), 400, "bad-delivery"),
        (with("x-delivery-id", &"a".repeat(129)), 400, "bad-delivery"),
        (
            with("x-signature-sha256", &other_key),
            503,
            "signature-wrong",
        ),
        (with("x-signature-sha256", "AAAA"), 503, "signature-wrong"),
        (other_body(), 503, "signature-wrong"),
        (at("/other"), 404, "no-such-webhook"),
        (at("/wise/"), 404, "no-such-webhook"),
        (get(), 405, "method-not-allowed"),
        (large(), 413, "delivery-too-large"),
    ] {
        let answer = ask(to, request).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (status, kind)
        );
        let allow = answer.headers.get("allow").map(|it| it.to_str().unwrap());
        assert_eq!(allow, (status == 405).then_some("POST"));
        // Wise shall come again: a key that it rotated must not cost an event.
        let again = answer.headers.get("retry-after");
        let again = again.map(|it| it.to_str().unwrap());
        assert_eq!(again, (status == 503).then_some("60"));
        assert_eq!(answer.json()["status"], status);
    }
    house.logs("a delivery was not taken").await;
    // All that was nothing; this is something.
    assert_eq!(ask(to, at("/wise?a=b")).await.status, OK);
    assert_eq!(
        ask(to, setup.sender.delivery("b", &[b' '; 1024]))
            .await
            .status,
        OK
    );
    setup.application.got(2).await;
    assert_eq!(setup.application.ids(), ["a", "b"]);
    let page = "wise_proxy_webhook_deliveries_total";
    for (outcome, count) in [
        ("stored", 2.0),
        ("malformed", 7.0),
        ("forged", 3.0),
        ("misdirected", 3.0),
        ("too_large", 1.0),
    ] {
        let counted = house.metric(page, &format!("outcome=\"{outcome}\"")).await;
        assert!((counted - count).abs() < 0.5, "{outcome}: {counted}");
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too_and_one_that_stops_is_given_up() {
    let setup = Setup::with("max_body = \"1 KiB\"").await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    let head = |rest: &str| {
        let signature = setup.sender.sign(b"{}");
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nX-Delivery-Id: a\r\nX-Signature-SHA256: {signature}\r\n{rest}"
        )
    };
    for (rest, wanted) in [
        (
            format!(
                "Transfer-Encoding: chunked\r\n\r\n401\r\n{}\r\n0\r\n\r\n",
                "a".repeat(0x401)
            ),
            "HTTP/1.1 413 ",
        ),
        ("Content-Length: 10\r\n\r\n{}".to_owned(), "HTTP/1.1 408 "),
    ] {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(head(&rest).as_bytes()).await.unwrap();
        let mut heard = String::new();
        let read = stream.read_to_string(&mut heard);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        assert!(heard.starts_with(wanted), "{heard}");
    }
    // And a head that never ends, or never begins, does not stay.
    for start in ["POST / HTTP/1.1\r\nHost:", ""] {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        let read = stream.read_to_end(&mut heard);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    }
    assert_eq!(setup.sender.send(to, "after").await.status, OK);
    setup.application.got(1).await;
}

#[tokio::test]
async fn a_replay_is_answered_as_the_first_and_goes_nowhere() {
    let setup = Setup::new().await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    for _ in 0..3 {
        assert_eq!(setup.sender.send(to, "one").await.status, OK);
    }
    // Also while it waits, and also at once.
    setup.application.change(|mood| mood.down = true);
    let sends = (0..8).map(|_| setup.sender.send(to, "two"));
    for answer in futures_util::future::join_all(sends).await {
        assert_eq!(answer.status, OK);
    }
    queued(&house, 1).await;
    setup.application.change(|mood| mood.down = false);
    assert_eq!(setup.sender.send(to, "three").await.status, OK);
    setup.application.got(3).await;
    queued(&house, 0).await;
    assert_eq!(setup.application.ids(), ["one", "two", "three"]);
    let page = "wise_proxy_webhook_deliveries_total";
    let doubles = house.metric(page, "outcome=\"duplicate\"").await;
    assert!((doubles - 9.0).abs() < 0.5, "{doubles}");
    // And after a restart.
    house.stop().await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    assert_eq!(setup.sender.send(to, "two").await.status, OK);
    assert_eq!(setup.sender.send(to, "four").await.status, OK);
    setup.application.got(4).await;
    assert_eq!(setup.application.ids()[3], "four");
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn after_the_window_the_same_id_is_another_delivery() {
    let setup = Setup::with("window = \"1h\"").await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    assert_eq!(setup.sender.send(to, "one").await.status, OK);
    setup.site.failpoints("boot = 3000");
    assert_eq!(setup.sender.send(to, "one").await.status, OK);
    setup.site.failpoints("boot = 3602");
    assert_eq!(setup.sender.send(to, "one").await.status, OK);
    setup.application.got(2).await;
    queued(&house, 0).await;
    assert_eq!(setup.application.ids(), ["one", "one"]);
}

#[tokio::test]
async fn a_reload_brings_another_key_and_the_old_one_is_believed_no_more() {
    let setup = Setup::new().await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    let next = Sender::new();
    assert_eq!(setup.sender.send(to, "one").await.status, OK);
    assert_eq!(next.send(to, "two").await.status, 503);
    // An overlap: both are believed.
    let key = setup.site.path("wise.pub");
    let both = format!("{}{}", setup.sender.public_pem(), next.public_pem());
    std::fs::write(&key, both).unwrap();
    house.reload().await;
    assert_eq!(setup.sender.send(to, "three").await.status, OK);
    assert_eq!(next.send(to, "four").await.status, OK);
    std::fs::write(&key, next.public_pem()).unwrap();
    house.reload().await;
    assert_eq!(setup.sender.send(to, "five").await.status, 503);
    assert_eq!(next.send(to, "six").await.status, OK);
    // What is no key changes nothing.
    std::fs::write(&key, "none").unwrap();
    let refused = crate::house::post("/reload", &serde_json::json!({}));
    let refused = house.operate(refused).await;
    assert_eq!(refused.status, 422);
    let detail = refused.json()["detail"].to_string();
    assert!(
        detail.contains("webhook transfers") && detail.contains("wise.pub"),
        "{detail}"
    );
    assert_eq!(next.send(to, "seven").await.status, OK);
    setup.application.got(5).await;
    assert_eq!(
        setup.application.ids(),
        ["one", "three", "four", "six", "seven"]
    );
}

#[tokio::test]
async fn a_key_that_is_none_is_no_start() {
    let setup = Setup::new().await;
    std::fs::write(setup.site.path("wise.pub"), "none").unwrap();
    let (house, _) = setup.site.spawn();
    let status = tokio::time::timeout(Duration::from_secs(20), house.ended()).await;
    assert!(!status.unwrap().success());
    house.logs("holds no public key").await;
}
