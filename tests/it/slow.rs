//! Applications that take their time, in every phase: the proxy waits as long as it said it would
//! and not longer, and the others are served at once.

use std::time::{Duration, Instant};

use http::Request;
use wise_auth_proxy::simulator::Simulator;

use crate::frames::{DATA, END_STREAM, End, HEADERS, Http2, block, frame, head};
use crate::house::{self, House};
use crate::wire::Wire;

const GET: &str = "GET /v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n";
const FIELDS: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "localhost"),
    (":path", "/v1/me"),
];

/// More than kernel and proxy hold between an answer and whoever does not read it.
const LARGE: &str = "/v1/simulator/bytes/40000000";

const HEAD: Duration = Duration::from_millis(600);
const IDLE: Duration = Duration::from_millis(1_200);
/// A busy machine's excuse.
const SLACK: Duration = Duration::from_secs(3);

async fn impatient(wise: &Simulator) -> House {
    let plan = House::on(wise).lane("personal").logged_out();
    plan.set("runtime.header_timeout", "600ms")
        .set("runtime.idle_timeout", "1200ms")
        .set("upstream.answer_timeout", "800ms")
        .start()
        .await
}

/// Waits for the end of a connection, which must not come before its time nor long after.
async fn ends_after(limit: Duration, since: Instant, what: &str, end: impl Future<Output = ()>) {
    end.await;
    let took = since.elapsed();
    // Timers count whole milliseconds, and ours started a little earlier.
    assert!(
        took + Duration::from_millis(50) >= limit,
        "{what}: cut after {took:?}"
    );
    assert!(took < limit + SLACK, "{what}: cut only after {took:?}");
}

/// Another application meanwhile.
async fn others_are_served(house: &House) {
    let asked = Instant::now();
    assert_eq!(house.get("/v1/me").await.status, 200);
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(1), "others waited {took:?}");
}

#[tokio::test]
async fn a_first_head_that_does_not_come_ends_the_connection() {
    let wise = house::wise().await;
    let house = impatient(&wise).await;
    let begins: [&[u8]; 6] = [
        b"",
        b"P",
        b"PRI * HTTP/2.0\r\n\r\nSM",
        b"GET /v1/me",
        b"GET /v1/me HTTP/1.1\r\nHost: local",
        b"\r\n\r\n",
    ];
    let half_head = frame(HEADERS, END_STREAM, 1, &block(&FIELDS));
    let waits = async {
        let all = begins.map(async |begin| {
            let since = Instant::now();
            let mut wire = Wire::to(house.door).await;
            wire.send(begin).await;
            let what = String::from_utf8_lossy(begin);
            ends_after(HEAD, since, &what, async {
                assert_eq!(wire.rest().await, b"");
            })
            .await;
        });
        futures_util::future::join_all(all).await;
    };
    let over_http2 = [vec![], half_head].map(async |bytes| {
        let since = Instant::now();
        let mut http2 = Http2::to(house.door).await;
        http2.send(&bytes).await;
        let end = async { assert_eq!(http2.goodbye().await, None) };
        ends_after(HEAD, since, "HTTP/2", end).await;
    });
    tokio::join!(
        waits,
        futures_util::future::join_all(over_http2),
        others_are_served(&house)
    );
    assert_eq!(wise.recorded().len(), 1, "only the other's request");
}

#[tokio::test]
async fn a_later_head_that_begins_and_stops_ends_the_connection() {
    let wise = house::wise().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    let house = plan
        .set("runtime.header_timeout", "600ms")
        .set("runtime.idle_timeout", "10m")
        .start()
        .await;
    let all = (0..10).map(async |number| {
        let mut wire = Wire::to(house.door).await;
        // Behind the answer, or right behind the request.
        let (first, then) = if number % 2 == 0 {
            (GET.to_owned(), "GET /v1")
        } else {
            (format!("{GET}GET /v1"), "")
        };
        wire.send(first).await;
        assert_eq!(wire.answer().await.status, 200);
        let since = Instant::now();
        wire.send(then).await;
        ends_after(HEAD, since, "half a second head", async {
            wire.rest().await;
        })
        .await;
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn a_head_that_trickles_ends_the_connection() {
    let wise = house::wise().await;
    let house = impatient(&wise).await;
    let trickle = async |mut wire: Wire| {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for byte in format!("GET /{} HTTP/1.1", "x".repeat(10_000)).bytes() {
            pace.tick().await;
            if !wire.try_send(&[byte]).await {
                break;
            }
        }
        wire.rest().await;
    };
    let first = async {
        let since = Instant::now();
        let wire = Wire::to(house.door).await;
        ends_after(HEAD, since, "the first head", trickle(wire)).await;
    };
    let later = async {
        let mut wire = Wire::to(house.door).await;
        wire.send(GET).await;
        assert_eq!(wire.answer().await.status, 200);
        let since = Instant::now();
        ends_after(HEAD, since, "a later head", trickle(wire)).await;
    };
    tokio::join!(first, later, others_are_served(&house));
}

#[tokio::test]
async fn a_connection_without_a_request_is_kept_for_a_while() {
    let wise = house::wise().await;
    let house = impatient(&wise).await;
    let over_http1 = async {
        let mut wire = Wire::to(house.door).await;
        for _ in 0..2 {
            wire.send(GET).await;
            assert_eq!(wire.answer().await.status, 200);
            // Longer than a head may take, and no reason to end.
            tokio::time::sleep(HEAD + HEAD / 3).await;
        }
        wire.send(GET).await;
        assert_eq!(wire.answer().await.status, 200);
        let since = Instant::now();
        let end = async { assert_eq!(wire.rest().await, b"") };
        ends_after(IDLE, since, "HTTP/1.1", end).await;
    };
    let over_http2 = async {
        let mut http2 = Http2::to(house.door).await;
        http2.send(head(1, END_STREAM, &FIELDS)).await;
        assert_eq!(http2.end_of(1).await, End::Answered(200));
        let since = Instant::now();
        // Its pings are answered, and keep nothing open.
        let end = async { assert_eq!(http2.goodbye().await, None) };
        ends_after(IDLE, since, "HTTP/2", end).await;
    };
    tokio::join!(over_http1, over_http2, others_are_served(&house));
}

#[tokio::test]
async fn a_body_that_stops_is_a_408_and_half_a_request_is_never_whole() {
    let wise = house::wise().await;
    let house = impatient(&wise).await;
    let post = "POST /v1/simulator/echo HTTP/1.1\r\nHost: localhost\r\n";
    let slow = [
        "Content-Length: 10\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
    ]
    .map(async |rest| {
        let mut wire = Wire::to(house.door).await;
        wire.send(format!("{post}{rest}")).await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, 408, "{answer:?}");
        assert_eq!(answer.problem(), "request-timeout");
        assert_eq!(wire.rest().await, b"", "the connection ends");
    });
    let over_http2 = async {
        let mut http2 = Http2::to(house.door).await;
        let mut fields = FIELDS;
        fields[0].1 = "POST";
        fields[3].1 = "/v1/simulator/echo";
        http2.send(head(1, 0, &fields)).await;
        http2.send(frame(DATA, 0, 1, b"hello")).await;
        assert_eq!(http2.end_of(1).await, End::Answered(408));
    };
    tokio::join!(
        futures_util::future::join_all(slow),
        over_http2,
        others_are_served(&house)
    );
    let echoes = wise
        .recorded()
        .into_iter()
        .filter(|it| it.target.ends_with("echo"));
    assert_eq!(echoes.filter(|it| it.body.complete).count(), 0);
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up_and_wise_is_let_go() {
    let wise = house::wise().await;
    let house = impatient(&wise).await;
    let over_http1 = async {
        let mut wire = Wire::to(house.door).await;
        wire.send(format!("GET {LARGE} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .await;
        wire.read_to("\r\n\r\n").await;
        wire
    };
    let over_http2 = async {
        let mut http2 = Http2::to(house.door).await;
        let mut fields = FIELDS;
        fields[3].1 = LARGE;
        http2.send(head(1, END_STREAM, &fields)).await;
        assert_eq!(http2.end_of(1).await, End::Answered(200));
        http2
    };
    let (mut wire, mut http2) = tokio::join!(over_http1, over_http2);
    others_are_served(&house).await;
    // Both still open on our side; it is the proxy that lets go.
    house
        .metric_until("wise_proxy_requests_in_flight", 0.0)
        .await;
    let rest = wire.rest().await;
    assert!(rest.len() < 40_000_000, "cut, and not made to look whole");
    assert_eq!(http2.goodbye().await, None);
}

#[tokio::test]
async fn a_wise_that_takes_its_time_is_no_idle_application() {
    let wise = house::wise().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    let house = plan
        .set("runtime.header_timeout", "200ms")
        .set("runtime.idle_timeout", "200ms")
        .start()
        .await;
    // A head after a second, then four pieces of body, 300 ms apart.
    let path = "/v1/simulator/slow?head_ms=1000&chunks=4&chunk_ms=300";
    let answer = house.send(Request::get(path)).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.body.is_empty());
}
