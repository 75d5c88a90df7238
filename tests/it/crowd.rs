//! Many applications at once: idle ones, slow ones, too many. Memory stays bounded, whoever is too
//! much is told so at once, and all is well when the crowd has gone.
//!
//! `CROWD=full` brings 10,000 idle and 2,000 slow connections; it wants 13,000
//! open files in this process.

use std::time::{Duration, Instant};

use http::Request;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wise_auth_proxy::simulator::Simulator;

use crate::failures::{Problem, assert_problem};
use crate::frames::{END_STREAM, End, Http2, head};
use crate::house::{self, House};
use crate::wire::Wire;

const GET: &str = "GET /v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n";

const CROWDED: Problem = Problem {
    status: 503,
    kind: "overloaded",
    error: "connection_limit_reached",
    hint: "keep fewer connections open, or raise runtime.max_connections",
    fields: &[("connection", "close"), ("retry-after", "1")],
};

fn personal(wise: &Simulator) -> house::Plan<'_> {
    House::on(wise).lane("personal").logged_out()
}

/// Opens a connection and has one request served on it.
async fn served(house: &House) -> Wire {
    let mut wire = Wire::to(house.door).await;
    wire.send(GET).await;
    assert_eq!(wire.answer().await.status, 200);
    wire
}

/// Has many of something, some hundred at a time.
async fn many<T, F: Future<Output = T>>(count: usize, one: impl Fn(usize) -> F) -> Vec<T> {
    use futures_util::StreamExt as _;
    let each = futures_util::stream::iter(0..count).map(one);
    each.buffer_unordered(200).collect().await
}

/// Another application meanwhile. The middle of nine counts: the crowd comes out of this process,
/// whose Wise has its hands full with it.
async fn others_are_served(house: &House) {
    let mut took = Vec::new();
    for _ in 0..9 {
        let asked = Instant::now();
        assert_eq!(house.get("/v1/me").await.status, 200);
        took.push(asked.elapsed());
    }
    took.sort_unstable();
    assert!(took[4] < Duration::from_secs(1), "others waited {took:?}");
}

/// What slow connection number `n` sends and how far it reads.
async fn slow(house: &House, number: usize) -> Wire {
    let mut wire = Wire::narrow(house.door).await;
    match number % 4 {
        0 => wire.send("GET /v1/me HTTP/1.1\r\nHost: local").await,
        1 => {
            let post = "POST /v1/simulator/echo HTTP/1.1\r\nHost: localhost\r\n";
            wire.send(format!("{post}Content-Length: 100000\r\n\r\nbegun"))
                .await;
        }
        2 => {
            wire.send("GET /v1/simulator/bytes/400000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .await;
            wire.read_to("\r\n\r\n").await;
        }
        _ => {
            let path = "/v1/simulator/slow?chunks=1000&chunk_ms=500";
            wire.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
                .await;
            wire.read_to("\r\n\r\n").await;
        }
    }
    wire
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_idle_and_slow_connections_costs_little_and_stops_nobody() {
    let full = std::env::var("CROWD").is_ok_and(|size| size == "full");
    let (idle, slowly) = if full { (10_000, 2_000) } else { (2_000, 400) };
    let files = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: files.maximum,
        ..files
    };
    setrlimit(Resource::Nofile, raised).unwrap();

    let wise = house::wise().await;
    let plan = personal(&wise).set("runtime.max_connections", "12500");
    // As long as it takes to bring them all in.
    let plan = plan.set("runtime.header_timeout", "10m");
    let house = plan
        .set("runtime.idle_timeout", "10m")
        .set("log.access", "off")
        .start()
        .await;
    for _ in 0..10 {
        served(&house).await;
    }
    let before = house.resident() / 1024;

    let idlers = many(idle, |_| served(&house)).await;
    let with_idle = house.resident() / 1024;
    others_are_served(&house).await;
    let dawdlers = many(slowly, |number| slow(&house, number)).await;
    others_are_served(&house).await;
    let with_slow = house.resident() / 1024;

    // Whoever has been idle all the while is served as ever.
    let mut idlers = idlers.into_iter();
    let mut first = idlers.next().unwrap();
    first.send(GET).await;
    assert_eq!(first.answer().await.status, 200);
    let open = house.metric("wise_proxy_downstream_connections", "").await;
    assert!(
        open >= f64::from(u32::try_from(idle + slowly).unwrap()),
        "{open} connections are open"
    );
    drop((first, idlers, dawdlers));
    house
        .metric_until("wise_proxy_downstream_connections", 0.0)
        .await;
    others_are_served(&house).await;
    println!(
        "memory in KiB: {before} at first, {with_idle} with {idle} idle, {with_slow} with {slowly} \
         slow as well, {} afterwards",
        house.resident() / 1024
    );
    let each = with_idle.saturating_sub(before) / idle;
    // 23 with what HTTP needs to be spoken: it rests (decision 0034).
    assert!(each < 12, "an idle connection took {each} KiB");
    // 128 MiB for two thousand.
    let each = with_slow.saturating_sub(with_idle) / slowly;
    assert!(each < 64, "a slow connection took {each} KiB");
}

#[tokio::test]
async fn who_comes_when_every_place_is_taken_is_told_at_once() {
    let wise = house::wise().await;
    let house = personal(&wise)
        .set("runtime.max_connections", "20")
        .start()
        .await;
    let mut seated = many(20, |_| served(&house)).await;

    for _ in 0..30 {
        let asked = Instant::now();
        let mut wire = Wire::to(house.door).await;
        wire.send(GET).await;
        assert_problem(&wire.answer().await, &CROWDED);
        assert_eq!(wire.rest().await, b"", "its place is free for the next");
        assert!(asked.elapsed() < Duration::from_secs(1));
    }
    let mut http2 = Http2::to(house.door).await;
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", "/v1/me"),
    ];
    http2.send(head(1, END_STREAM, &fields)).await;
    assert_eq!(http2.end_of(1).await, End::Answered(503));
    assert_eq!(http2.goodbye().await, None);
    assert_eq!(wise.recorded().len(), 20, "none of it reaches Wise");

    // Those who have a place keep it, and one that leaves makes room.
    seated[0].send(GET).await;
    assert_eq!(seated[0].answer().await.status, 200);
    drop(seated.pop());
    house
        .metric_until("wise_proxy_downstream_connections", 19.0)
        .await;
    served(&house).await;
    let turned = house
        .metric("wise_proxy_downstream_limit_reached_total", "")
        .await;
    assert!(turned >= 31.0, "{turned} were counted");
    house.logs("every allowed connection is open").await;
}

#[tokio::test]
async fn who_is_told_that_there_is_no_place_holds_none() {
    let wise = house::wise().await;
    let house = personal(&wise)
        .set("runtime.max_connections", "8")
        .start()
        .await;
    let seated = many(8, |_| served(&house)).await;
    // More than the two spare places, and none of them says a word.
    let silent = many(4, |_| Wire::to(house.door)).await;

    // Each spare place is free again after two seconds.
    let mut wire = Wire::to(house.door).await;
    wire.send(GET).await;
    assert_problem(&wire.answer().await, &CROWDED);

    drop(seated);
    others_are_served_in_the_end(&house).await;
    drop(silent);
}

/// After the crowd: at once, or after those who still stand in the door.
async fn others_are_served_in_the_end(house: &House) {
    let deadline = Instant::now() + house::PATIENCE;
    while house.send(Request::get("/v1/me")).await.status != 200 {
        assert!(Instant::now() < deadline, "it never recovered");
    }
}

#[tokio::test]
async fn with_few_files_it_sheds_and_recovers() {
    let wise = house::wise().await;
    let house = personal(&wise).files(64).start().await;
    house
        .logs("too few files may be open for runtime.max_connections")
        .await;
    served(&house).await;

    let crowd = many(200, |_| async {
        let mut wire = Wire::to(house.door).await;
        wire.try_send(GET.as_bytes()).await;
        wire
    })
    .await;
    assert_eq!(house.admin("/livez").await.status, 200, "it lives");
    let shed = house
        .metric("wise_proxy_downstream_limit_reached_total", "")
        .await;
    assert!(shed >= 1.0, "nobody was turned away");
    drop(crowd);

    others_are_served_in_the_end(&house).await;
    others_are_served(&house).await;
}

#[tokio::test]
async fn a_crowd_at_the_status_page_is_bounded_and_in_nobodys_way() {
    const MOST: usize = 256;
    let wise = house::wise().await;
    let house = personal(&wise).start().await;
    let look = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let held = many(MOST, |_| async {
        let mut wire = Wire::to(house.admin).await;
        wire.send(look).await;
        assert_eq!(wire.answer().await.status, 200);
        wire
    })
    .await;
    let mut one_more = Wire::to(house.admin).await;
    one_more.try_send(look.as_bytes()).await;
    assert_eq!(one_more.try_exact(1).await, None, "closed as it comes");
    // The operator's socket has places of its own, and so have the doors.
    let status = Request::get("/status").body(bytes::Bytes::new()).unwrap();
    assert_eq!(house.operate(status).await.status, 200);
    served(&house).await;
    drop(held);
    let mut back = Wire::to(house.admin).await;
    while !(back.try_send(look.as_bytes()).await && back.try_exact(12).await.is_some()) {
        back = Wire::to(house.admin).await;
    }
}
