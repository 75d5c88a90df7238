//! How often a request asks for memory: a budget for each kind, on a warm connection through the
//! real proxy.
//!
//! This program is the proxy as well: called as the proxy is, it runs it, under an allocator that
//! counts. Simulator and client live in the process of the test, so nothing but the proxy is
//! counted. Its other threads are at rest meanwhile (keepers sleep until a renewal, reloads and
//! look-ups are put off), so what is counted is the one worker's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a test: it fails loudly, ends with its process, and talks"
)]
#![allow(
    unreachable_pub,
    dead_code,
    reason = "the harness is shared with tests/it, which uses all of it"
)]

#[path = "../it/house.rs"]
mod house;

mod counted;

use std::process::ExitCode;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::net::TcpStream;

use crate::counted::Count;
use crate::house::{Connection, House, PROFILE};

/// So many requests have the connections, their buffers and the maps behind them warm.
const WARM: u32 = 100;
const ROUND: u32 = 50;
/// The best of so many rounds counts: what else happens in the process can only add to one, and so
/// does a client that is so slow that its connection is put to rest.
const ROUNDS: u32 = 40;

/// What a request of one kind may ask its allocator for.
struct Budget {
    name: &'static str,
    /// Whether the application speaks HTTP/2.
    http2: bool,
    /// `upstream.http`
    http: &'static str,
    method: Method,
    /// Calls, those of `realloc` included: half of one above what it is, so that one more for each
    /// request is one too many. To be lowered with the code.
    calls: f64,
    /// A twentieth above what it is.
    bytes: f64,
}

/// Where it goes, by call (and the bytes, where they are many):
///
/// | | GET, HTTP/1.1 | GET, HTTP/2 | POST, HTTP/1.1 | GET, HTTP/2 from the application on |
/// |---|---:|---:|---:|---:|
/// | ours: the map of fields that leaves, a copy | 2 | 2 | 2 | 2 |
/// | ours: the answer, in a box from hand to hand | 1 | 1 | 1 | 1 |
/// | ours: what is kept of the body | | | 2 | |
/// | hyper: channels for the answer and for each body | 2 | | 3 | |
/// | hyper: the buffer of the answer (8 KiB) and a share in it | 2 | | 2 | |
/// | hyper: the task of the stream | | | | 1 |
/// | h2, http: maps, names and values | 1 | 7 | 1 | 9 |
/// | rustls: a record in, a record out, and the slices it is made of | 2 | 2 | 3 | 2 |
/// | together | 10 | 12 | 14 | 15 |
fn budgets() -> [Budget; 4] {
    [
        Budget {
            name: "a_get_over_http1_stays_within_its_budget",
            http2: false,
            http: "1.1",
            method: Method::GET,
            calls: 10.5,
            bytes: 11_200.0,
        },
        Budget {
            name: "a_get_over_http2_stays_within_its_budget",
            http2: false,
            http: "2",
            method: Method::GET,
            calls: 12.5,
            bytes: 2_900.0,
        },
        Budget {
            name: "a_post_of_2_kib_stays_within_its_budget",
            http2: false,
            http: "1.1",
            method: Method::POST,
            calls: 14.5,
            bytes: 14_400.0,
        },
        Budget {
            name: "a_get_from_http2_to_http2_stays_within_its_budget",
            http2: true,
            http: "2",
            method: Method::GET,
            calls: 15.5,
            bytes: 3_580.0,
        },
    ]
}

fn main() -> ExitCode {
    if counted::is_asked_for() {
        return counted::proxy();
    }
    let trials = budgets().map(|budget| Trial::test(budget.name, move || keeps(&budget)));
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn keeps(budget: &Budget) -> Result<(), Failed> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (calls, bytes) = runtime.block_on(spent(budget));
    println!(
        "{}: {calls:.2} calls, {bytes:.0} bytes a request",
        budget.name
    );
    assert!(calls >= 1.0, "the proxy runs under the counting allocator");
    if calls > budget.calls || bytes > budget.bytes {
        let (most, most_bytes) = (budget.calls, budget.bytes);
        return Err(format!(
            "a request asks for memory {calls:.2} times and for {bytes:.0} bytes; \
             {most} times and {most_bytes} bytes are its budget"
        )
        .into());
    }
    Ok(())
}

/// Calls and bytes of one request, in the best round.
async fn spent(budget: &Budget) -> (f64, f64) {
    let wise = house::wise().await;
    let site = House::on(&wise)
        .set("upstream.http", budget.http)
        .set("runtime.workers", "1")
        // The control side at rest.
        .set("runtime.reload_interval", "1h")
        .set("upstream.dns_ttl", "1h")
        .set("upstream.warm_connections", "0")
        .set("log.access", "access.log")
        .prepare()
        .await;
    let house = counted::start(&site).await;
    let mut connection = if budget.http2 {
        Application::Http2(prior_knowledge(&house).await)
    } else {
        Application::Http1(house.connect().await)
    };
    ask(&mut connection, budget, WARM).await;
    let mut best = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        let before = Count::of(&house);
        ask(&mut connection, budget, ROUND).await;
        let spent = Count::of(&house) - before;
        let each = |all: u64| all as f64 / f64::from(ROUND);
        best = (best.0.min(each(spent.calls)), best.1.min(each(spent.bytes)));
    }
    let dials = house.metric("wise_proxy_upstream_dials_total", "").await;
    assert!((dials - 1.0).abs() < 0.5, "one connection to Wise: {dials}");
    house.stop().await;
    best
}

/// Sends `count` requests, one after the other, each answered in full.
async fn ask(connection: &mut Application, budget: &Budget, count: u32) {
    let quote = format!(
        "{:2048}",
        r#"{"sourceCurrency":"GBP","targetCurrency":"EUR","sourceAmount":100}"#
    );
    let base = if budget.http2 {
        "http://localhost:8080"
    } else {
        ""
    };
    for _ in 0..count {
        let request = Request::builder()
            .method(&budget.method)
            .header("user-agent", "curl/8.14.1")
            .header("accept", "*/*");
        let request = if budget.method == Method::POST {
            request
                .uri(format!("{base}/v3/profiles/{PROFILE}/quotes"))
                .header("content-type", "application/json")
                .body(Bytes::from(quote.clone()))
        } else {
            request
                .uri(format!("{base}/v2/profiles/{PROFILE}"))
                .body(Bytes::new())
        };
        assert_eq!(connection.request(request.unwrap()).await, 200);
    }
}

/// A connection of an application.
enum Application {
    Http1(Connection),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Application {
    /// The status of an answer that was read to its end.
    async fn request(&mut self, request: Request<Bytes>) -> StatusCode {
        match self {
            Self::Http1(connection) => connection.request(request).await.unwrap().status,
            Self::Http2(sender) => {
                let answer = sender.send_request(request.map(Full::new)).await.unwrap();
                let (head, body) = answer.into_parts();
                body.collect().await.unwrap();
                head.status
            }
        }
    }
}

/// A connection on which HTTP/2 begins at once.
async fn prior_knowledge(house: &House) -> http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(house.door).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}
