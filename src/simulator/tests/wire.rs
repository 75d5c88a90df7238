//! Bodies and connections that misbehave on purpose.

use super::*;

#[tokio::test]
async fn downloads_come_with_a_length_or_in_chunks() {
    let house = House::open().await;
    let token = personal_token();
    let sized = house
        .call(&token, "GET", "/v1/simulator/bytes/100000", None)
        .await;
    assert_eq!(
        (
            sized.headers()["content-length"].to_str().unwrap(),
            sized.body().len()
        ),
        ("100000", 100_000)
    );
    let chunked = house
        .call(&token, "GET", "/v1/simulator/bytes/100000?chunked", None)
        .await;
    assert!(!chunked.headers().contains_key("content-length"));
    assert_eq!(sized.body(), chunked.body());
    let head = house
        .call(&token, "HEAD", "/v1/simulator/bytes/100000", None)
        .await;
    assert_eq!(
        (
            head.headers()["content-length"].to_str().unwrap(),
            head.body().len()
        ),
        ("100000", 0)
    );
}

#[tokio::test]
async fn a_broken_answer_is_an_error_to_the_caller() {
    let house = House::open().await;
    let token = personal_token();
    for path in ["reset", "close", "truncated/1000", "truncated/1000?reset"] {
        let ask = request(&token, "GET", &format!("/v1/simulator/{path}"), None);
        let answer = house.send(house.wise.plain_address(), ask).await;
        assert!(answer.is_err(), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_truncated_answer_arrives_half_before_it_breaks() {
    let house = House::open().await;
    let stream = house.dial(house.wise.plain_address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .unwrap();
    TaskTracker::new().spawn(connection);
    let ask = request(
        &personal_token(),
        "GET",
        "/v1/simulator/truncated/1000",
        None,
    );
    let mut answer = sender.send_request(ask).await.unwrap().into_body();
    let mut received = 0;
    let broken = loop {
        match answer.frame().await {
            Some(Ok(frame)) => received += frame.into_data().map_or(0, |data| data.len()),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert_eq!((received, broken), (500, true));
}

#[tokio::test]
async fn gzip_trailers_and_informational_answers_are_well_formed() {
    let house = House::open().await;
    let token = personal_token();
    let gzip = house.call(&token, "GET", "/v1/simulator/gzip", None).await;
    assert_eq!(gzip.headers()["content-encoding"], "gzip");
    assert!(gzip.body().starts_with(&[0x1f, 0x8b]));
    let hints = house
        .call(&token, "GET", "/v1/simulator/early-hints", None)
        .await;
    assert_eq!(
        (
            hints.status().as_u16(),
            body(&hints)["informational"].clone()
        ),
        (200, json!(true))
    );

    let mut house = house;
    house.http2 = true;
    let stream = house.dial(house.wise.plain_address()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(
        TokioExecutor::new(),
        TokioIo::new(stream),
    )
    .await
    .unwrap();
    TaskTracker::new().spawn(connection);
    let ask = request(
        &token,
        "GET",
        "https://localhost/v1/simulator/trailers",
        None,
    );
    let collected = sender
        .send_request(ask)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(collected.trailers().unwrap()["x-checksum"], "simulated");
}

#[tokio::test]
async fn a_disturbed_resource_recovers() {
    let house = House::open().await;
    let token = personal_token();
    house.wise.change_faults(|faults| {
        let prefix = Some("/v1/rates".to_owned());
        let limit = Disturb {
            prefix,
            ..Disturb::times(Disturbance::TooManyRequests, 1)
        };
        faults.resource.disturb = Some(limit);
    });
    assert_eq!(
        house.call(&token, "GET", "/v1/me", None).await.status(),
        200
    );
    assert_eq!(
        house.call(&token, "GET", "/v1/rates", None).await.status(),
        429
    );
    assert_eq!(
        house.call(&token, "GET", "/v1/rates", None).await.status(),
        200
    );
}

#[tokio::test]
async fn a_stopped_simulator_takes_no_more_connections() {
    let house = House::open().await;
    let address = house.wise.plain_address();
    house.wise.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_taken_address_is_named_with_what_to_do() {
    let house = House::open().await;
    let options = Options {
        mtls: house.wise.mtls_address(),
        ..Options::default()
    };
    let error = Simulator::start(options).await.unwrap_err().to_string();
    assert!(
        error.contains("mtls") && error.contains("free port"),
        "{error}"
    );
}

/// Sends raw bytes over TLS and reads until `enough` says so or the line ends.
async fn raw(house: &House, sent: &str, enough: impl Fn(&str) -> bool) -> String {
    let mut stream = house.dial(house.wise.plain_address()).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&received).into_owned();
        if enough(&text) || stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
            return text;
        }
    }
}

fn raw_head(line: &str, more: &str) -> String {
    let token = personal_token();
    format!("{line} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{more}\r\n")
}

#[tokio::test]
async fn informational_answers_come_before_the_final_one() {
    let house = House::open().await;
    for (path, line) in [
        ("early-hints", "103 Early Hints"),
        ("processing", "102 Processing"),
    ] {
        let head = raw_head(&format!("GET /v1/simulator/{path}"), "");
        let answer = raw(&house, &head, |text| text.contains("HTTP/1.1 200")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {line}\r\n")),
            "{answer}"
        );
        assert!(answer.contains("\r\n\r\nHTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_is_asked_for_only_when_somebody_reads_it() {
    let house = House::open().await;
    let more = "expect: 100-continue\r\ncontent-length: 5\r\n";
    let head = raw_head("POST /v1/simulator/echo", more);
    let wanted = raw(&house, &head, |text| text.contains("\r\n\r\n")).await;
    assert!(wanted.starts_with("HTTP/1.1 100 Continue"), "{wanted}");
    for path in ["/v1/simulator/too-large", "/v1/nowhere"] {
        let head = raw_head(&format!("POST {path}"), more);
        let answer = raw(&house, &head, |text| text.contains("\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
    }
    assert!(
        !house.wise.recorded()[1].body.complete,
        "the answer came before the body"
    );
}

#[tokio::test]
async fn a_reset_is_a_reset_on_the_wire() {
    let house = House::with(Options {
        tls_plain: false,
        ..Options::default()
    })
    .await;
    let mut stream = TcpStream::connect(house.wise.plain_address())
        .await
        .unwrap();
    let head = raw_head("GET /v1/simulator/reset", "");
    stream.write_all(head.as_bytes()).await.unwrap();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn idle_connections_end_when_asked_politely() {
    let house = House::open().await;
    let stream = house.dial(house.wise.plain_address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .unwrap();
    let tasks = TaskTracker::new();
    let ended = tasks.spawn(connection);
    let answer = sender
        .send_request(request("", "GET", "/v1/me", None))
        .await
        .unwrap();
    answer.into_body().collect().await.unwrap();
    house.wise.finish_connections();
    ended.await.unwrap().unwrap();
    assert_eq!(
        house.call("", "GET", "/v1/me", None).await.status(),
        401,
        "new ones are served"
    );
}

#[tokio::test]
async fn stopping_does_not_wait_for_an_answer_that_hangs() {
    let house = House::open().await;
    house.wise.change_faults(|faults| {
        faults.resource.disturb = Some(Disturb::always(Disturbance::Hang));
    });
    let stream = house.dial(house.wise.plain_address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .unwrap();
    TaskTracker::new().spawn(connection);
    let hanging = sender.send_request(request(&personal_token(), "GET", "/v1/me", None));
    let stopping = async {
        house.wise.until(|wise| !wise.recorded().is_empty()).await;
        house.wise.close_connections();
    };
    let (answer, ()) = futures_util::future::join(hanging, stopping).await;
    assert!(answer.is_err());
    house.wise.stop().await;
}
