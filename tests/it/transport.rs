//! Bytes through the proxy: unchanged, streamed, under back-pressure, whatever HTTP either side
//! speaks.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use wise_auth_proxy::simulator::Simulator;

use crate::house::{self, House};
use crate::wire::{Stub, Wire};

const MIB: usize = 1 << 20;

/// How the application speaks to the door.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Down {
    Http1,
    Http2,
    Unix,
}

const DOWNS: [Down; 3] = [Down::Http1, Down::Http2, Down::Unix];
const UPS: [&str; 2] = ["1.1", "2"];

/// A house whose second door is a unix socket.
async fn house(wise: &Simulator, http: &str) -> House {
    let plan = House::on(wise).lane("personal").logged_out();
    let plan = plan.set("upstream.http", http);
    plan.toml("[[door]]\naddress = \"unix:app.sock\"\n")
        .start()
        .await
}

async fn ask(house: &House, down: Down, request: Request<Bytes>) -> Response<Incoming> {
    let (mut head, body) = request.into_parts();
    let body = Full::new(body);
    if down == Down::Http2 {
        let stream = TcpStream::connect(house.door).await.unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        head.uri = format!("http://localhost{}", head.uri).parse().unwrap();
        head.version = Version::HTTP_2;
        return sender
            .send_request(Request::from_parts(head, body))
            .await
            .unwrap();
    }
    head.headers.insert("host", "localhost".parse().unwrap());
    let request = Request::from_parts(head, body);
    if down == Down::Unix {
        let stream = UnixStream::connect(house.site.path("app.sock"))
            .await
            .unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        return sender.send_request(request).await.unwrap();
    }
    let stream = TcpStream::connect(house.door).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

async fn body(response: Response<Incoming>) -> (HeaderMap, Bytes) {
    let (head, body) = response.into_parts();
    (head.headers, body.collect().await.unwrap().to_bytes())
}

fn get(path: &str) -> Request<Bytes> {
    Request::get(path).body(Bytes::new()).unwrap()
}

/// What `bytes/{n}` sends.
fn pattern(length: usize) -> Vec<u8> {
    (0..251u8).cycle().take(length).collect()
}

fn hex_digest(bytes: &[u8]) -> String {
    let hex = |byte: &u8| format!("{byte:02x}");
    digest(&SHA256, bytes).as_ref().iter().map(hex).collect()
}

#[tokio::test]
async fn fields_and_target_arrive_unchanged_and_hop_by_hop_ones_stay() {
    for http in UPS {
        let wise = house::wise().await;
        let house = house(&wise, http).await;
        for down in DOWNS {
            let target = "/v1/simulator/echo?a=%2F%20+&&b=c%zz";
            let mut request = Request::post(target)
                .header("x-custom", "kept  as is")
                .header("x-twice", "one")
                .header("x-twice", "two")
                .header("accept-encoding", "gzip, br")
                .header("authorization", "Bearer theirs")
                .header("proxy-authorization", "Basic dTpw")
                .header("cookie", "a=1; b=2");
            if down != Down::Http2 {
                request = request
                    .header("connection", "keep-alive, x-hop")
                    .header("keep-alive", "timeout=5")
                    .header("proxy-connection", "keep-alive")
                    .header("te", "trailers")
                    .header("x-hop", "this far only");
            }
            let sent = pattern(10_000);
            let request = request.body(sent.clone().into()).unwrap();

            let (_, echo) = body(ask(&house, down, request).await).await;

            let echo: serde_json::Value = serde_json::from_slice(&echo).unwrap();
            let about = format!("{down:?} to HTTP/{http}: {echo}");
            assert_eq!(
                (&echo["method"], &echo["target"]),
                (&"POST".into(), &target.into()),
                "{about}"
            );
            assert_eq!(
                (&echo["bytes"], &echo["sha256"]),
                (&10_000.into(), &hex_digest(&sent).into())
            );
            let fields: Vec<(&str, &str)> = echo["headers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
                .collect();
            let values = |name: &str| -> Vec<&str> {
                fields
                    .iter()
                    .filter(|(known, _)| *known == name)
                    .map(|(_, value)| *value)
                    .collect()
            };
            assert_eq!(values("x-custom"), ["kept  as is"], "{about}");
            assert_eq!(values("x-twice"), ["one", "two"], "{about}");
            assert_eq!(values("accept-encoding"), ["gzip, br"], "{about}");
            assert_eq!(values("cookie"), ["a=1; b=2"], "{about}");
            let came_over = if down == Down::Http2 { "2" } else { "1.1" };
            let via = format!("{came_over} wise-auth-proxy");
            assert_eq!(values("via"), [via], "{about}");
            assert_eq!(values("content-length"), ["10000"], "{about}");
            for gone in [
                "connection",
                "keep-alive",
                "proxy-connection",
                "te",
                "x-hop",
                "upgrade",
                "proxy-authorization",
                "transfer-encoding",
                "expect",
            ] {
                assert_eq!(values(gone), Vec::<&str>::new(), "{gone}: {about}");
            }
            let arrived = wise.recorded().pop().unwrap();
            assert_eq!(
                arrived.version,
                if http == "2" { "HTTP/2.0" } else { "HTTP/1.1" }
            );
            assert_eq!(
                arrived.header("authorization").collect::<Vec<_>>(),
                [format!("Bearer {}", house::PERSONAL_TOKEN)]
            );
        }
    }
}

#[tokio::test]
async fn ten_mebibytes_pass_both_ways() {
    let sent = pattern(10 * MIB);
    let digest = hex_digest(&sent);
    for http in UPS {
        let wise = house::wise().await;
        let house = house(&wise, http).await;
        for down in DOWNS {
            let path = format!("/v1/simulator/bytes/{}", sent.len());
            let (fields, received) = body(ask(&house, down, get(&path)).await).await;
            assert_eq!(
                fields["content-length"],
                sent.len().to_string(),
                "{down:?} to {http}"
            );
            assert!(received == sent, "{down:?} from HTTP/{http}");

            let request = Request::post("/v1/simulator/echo")
                .body(sent.clone().into())
                .unwrap();
            let (_, echo) = body(ask(&house, down, request).await).await;
            let echo: serde_json::Value = serde_json::from_slice(&echo).unwrap();
            assert_eq!(echo["sha256"], digest, "{down:?} to HTTP/{http}");
        }
    }
}

#[tokio::test]
async fn bodies_without_a_declared_length_pass_both_ways() {
    for http in UPS {
        let wise = house::wise().await;
        let house = house(&wise, http).await;
        for down in DOWNS {
            let response = ask(&house, down, get("/v1/simulator/bytes/100000?chunked")).await;
            assert!(
                !response.headers().contains_key("content-length"),
                "{down:?} from {http}"
            );
            let (_, received) = body(response).await;
            assert!(received == pattern(100_000), "{down:?} from HTTP/{http}");
        }
        let mut wire = Wire::to(house.door).await;
        wire.send(
            "POST /v1/simulator/mirror HTTP/1.1\r\nHost: localhost\r\n\
             Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        )
        .await;
        // Streamed: the first piece comes back before the second is sent.
        wire.read_to("abc\r\n").await;
        wire.send("3;ext=1\r\ndef\r\n0\r\n\r\n").await;
        wire.read_to("def\r\n0\r\n\r\n").await;
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    for http in UPS {
        let wise = house::wise().await;
        let house = house(&wise, http).await;
        for down in DOWNS {
            let head = Request::builder()
                .method(Method::HEAD)
                .uri("/v1/simulator/bytes/1000");
            let response = ask(&house, down, head.body(Bytes::new()).unwrap()).await;
            assert_eq!(response.status(), 200);
            assert_eq!(
                response.headers()["content-length"],
                "1000",
                "{down:?} from HTTP/{http}"
            );
            assert_eq!(body(response).await.1, "");
            for status in [204, 304, 205] {
                let path = format!("/v1/simulator/status/{status}");
                let response = ask(&house, down, get(&path)).await;
                assert_eq!(response.status(), status, "{down:?} from HTTP/{http}");
                assert_eq!(body(response).await.1, "");
            }
        }
        // On one connection: what has no body does not swallow the next answer.
        let mut wire = Wire::to(house.door).await;
        for (method, path, start) in [
            ("HEAD", "/v1/simulator/bytes/9", "HTTP/1.1 200 "),
            ("GET", "/v1/simulator/status/204", "HTTP/1.1 204 "),
            ("GET", "/v1/simulator/status/304", "HTTP/1.1 304 "),
            ("GET", "/v1/simulator/gzip", "HTTP/1.1 200 "),
        ] {
            wire.send(format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            ))
            .await;
            let head = wire.read_to("\r\n\r\n").await;
            assert!(head.starts_with(start), "{head}");
        }
    }
}

#[tokio::test]
async fn compressed_bytes_are_not_touched() {
    for http in UPS {
        let wise = house::wise().await;
        let house = house(&wise, http).await;
        for down in DOWNS {
            let (fields, bytes) = body(ask(&house, down, get("/v1/simulator/gzip")).await).await;
            assert_eq!(fields["content-encoding"], "gzip");
            assert_eq!(bytes[..4], [0x1f, 0x8b, 8, 0], "{down:?} from HTTP/{http}");
            assert_eq!(fields["content-length"], bytes.len().to_string());
        }
    }
}

#[tokio::test]
async fn trailers_of_an_answer_pass() {
    let wise = house::wise().await;
    let house = house(&wise, "2").await;
    for down in DOWNS {
        let mut request = get("/v1/simulator/trailers");
        request
            .headers_mut()
            .insert("te", "trailers".parse().unwrap());
        let body = ask(&house, down, request)
            .await
            .into_body()
            .collect()
            .await
            .unwrap();
        let trailers = body.trailers().expect("they pass").clone();
        assert_eq!(trailers["x-checksum"], "simulated", "{down:?}");
        assert_eq!(body.to_bytes(), "body before trailers");
    }
}

#[tokio::test]
async fn trailers_of_a_request_pass() {
    let wise = house::wise().await;
    let mut stub = Stub::start().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    let house = plan.towards(&stub).start().await;
    let mut wire = Wire::to(house.door).await;
    wire.send(
        "POST /v1/me HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
         Trailer: x-sum\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n",
    )
    .await;
    let mut speaker = stub.connection().await;
    let head = speaker.read_to("\r\n\r\n").await;
    assert!(head.contains("trailer: x-sum\r\n"), "{head}");
    assert_eq!(
        speaker.read_to("\r\n\r\n").await,
        "2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n"
    );
}

#[tokio::test]
async fn informational_answers_do_not_get_in_the_way() {
    let wise = house::wise().await;
    let house = house(&wise, "1.1").await;
    for path in ["/v1/simulator/early-hints", "/v1/simulator/processing"] {
        for down in DOWNS {
            let response = ask(&house, down, get(path)).await;
            assert_eq!(response.status(), 200, "{down:?}");
            assert_eq!(body(response).await.1, r#"{"informational":true}"#);
        }
    }
}

#[tokio::test]
async fn the_end_of_wises_connection_is_not_the_end_of_the_applications() {
    for http in UPS {
        let wise = house::wise().await;
        let house = house(&wise, http).await;
        let mut wire = Wire::to(house.door).await;
        for _ in 0..3 {
            wire.send("GET /v1/simulator/last HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .await;
            let answer = wire.answer().await;
            assert_eq!(answer.status, 200);
            assert!(!answer.headers.contains_key("connection"), "{answer:?}");
        }
        assert_eq!(wise.recorded().len(), 3);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let wise = house::wise().await;
    let house = house(&wise, "2").await;
    let mut wire = Wire::to(house.door).await;
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let slow = ask("/v1/simulator/slow?head_ms=30&chunks=0");
    wire.send(
        [
            slow,
            ask("/v1/simulator/status/404"),
            ask("/v1/simulator/status/409"),
        ]
        .concat(),
    )
    .await;
    let first = wire.read_to("\r\n\r\n0\r\n\r\n").await;
    assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
    assert_eq!(wire.answer().await.status, 404);
    assert_eq!(wire.answer().await.status, 409);
}

/// Sends `length` bytes on the wire, telling how far it is.
fn pour(mut wire: Wire, length: usize) -> watch::Receiver<usize> {
    let (tell, progress) = watch::channel(0);
    tokio::spawn(async move {
        let piece = vec![7; 64 * 1024];
        for sent in (0..length).step_by(piece.len()) {
            wire.send(&piece).await;
            tell.send_replace(sent + piece.len());
        }
        wire.rest().await;
    });
    progress
}

/// Returns how far it was when nothing moved any more.
async fn stalled(progress: &mut watch::Receiver<usize>) -> usize {
    while let Ok(Ok(())) =
        tokio::time::timeout(Duration::from_millis(400), progress.changed()).await
    {
        progress.borrow_and_update();
    }
    *progress.borrow()
}

const FLOOD: usize = 128 * MIB;

#[tokio::test]
async fn a_slow_reader_holds_wise_back_and_fills_no_memory() {
    let wise = house::wise().await;
    let mut stub = Stub::start().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    let house = plan.towards(&stub).start().await;
    let mut reader = Wire::to(house.door).await;
    reader
        .send("GET /v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let mut speaker = stub.connection().await;
    speaker.read_to("\r\n\r\n").await;
    speaker
        .send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {FLOOD}\r\n\r\n"
        ))
        .await;
    reader.read_to("\r\n\r\n").await;
    let before = house.resident();

    let mut progress = pour(speaker, FLOOD);
    let sent = stalled(&mut progress).await;

    assert!(sent < FLOOD, "it was all taken in while nobody read");
    let grown = house.resident().saturating_sub(before);
    assert!(
        grown < 8 * MIB,
        "grown by {grown} bytes with one stalled download"
    );
    let mut left = FLOOD;
    while left > 0 {
        let piece = left.min(MIB);
        assert!(reader.read_exact(piece).await.iter().all(|byte| *byte == 7));
        left -= piece;
    }
}

#[tokio::test]
async fn a_slow_wise_holds_the_application_back_and_fills_no_memory() {
    let wise = house::wise().await;
    let mut stub = Stub::start().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    let house = plan.towards(&stub).start().await;
    let mut application = Wire::to(house.door).await;
    let head =
        format!("POST /v1/me HTTP/1.1\r\nHost: localhost\r\nContent-Length: {FLOOD}\r\n\r\n");
    application.send(head).await;
    let mut speaker = stub.connection().await;
    speaker.read_to("\r\n\r\n").await;
    let before = house.resident();

    let mut progress = pour(application, FLOOD);
    let sent = stalled(&mut progress).await;

    assert!(sent < FLOOD, "it was all taken in while nobody read");
    let grown = house.resident().saturating_sub(before);
    assert!(
        grown < 8 * MIB,
        "grown by {grown} bytes with one stalled upload"
    );
    let mut left = FLOOD;
    while left > 0 {
        let piece = left.min(MIB);
        assert!(
            speaker
                .read_exact(piece)
                .await
                .iter()
                .all(|byte| *byte == 7)
        );
        left -= piece;
    }
}

#[tokio::test]
async fn a_thousand_idle_connections_are_held_and_still_served() {
    let wise = house::wise().await;
    let house = house(&wise, "2").await;
    let request = "GET /v1/simulator/status/404 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut wires = Vec::new();
    for _ in 0..1000 {
        let mut wire = Wire::to(house.door).await;
        wire.send(request).await;
        wires.push(wire);
    }
    for round in 0..2 {
        for wire in &mut wires {
            if round > 0 {
                wire.send(request).await;
            }
            assert_eq!(wire.answer().await.status, 404);
        }
    }
    assert_eq!(wise.recorded().len(), 2000);
}
