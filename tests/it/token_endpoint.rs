//! A token endpoint that is down, slow, or says what it should not: the living token serves to its
//! last second, then the application hears when to come back, and nothing leaks or is followed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use wise_auth_proxy::simulator::{Credential, Options, Simulator};

use crate::failures_table::{Again, row};
use crate::house::{self, Connection, House, PROFILE};
use crate::wire::{Stub, Wire};

const MIB: usize = 1 << 20;

#[derive(Clone, Debug)]
enum Lifetime {
    Missing,
    Is(Value),
}

/// What the endpoint does with an exchange.
#[derive(Clone, Debug)]
enum Say {
    /// These bytes, then the end.
    Bytes(Arc<[u8]>),
    /// A gibibyte, or as much of it as is taken.
    Gibibyte,
    Silence,
    /// Takes the connection and never says a word of TLS.
    Mute,
    HangUp,
    /// What the simulated Wise says, after so long.
    Wise(Duration),
    /// What it says, with another `expires_in`, or none.
    Lifetime(Lifetime),
}

fn answer(status: &str, fields: &str, body: &str) -> Say {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\n\r\n{body}");
    Say::Bytes(text.into_bytes().into())
}

fn token(access: &str) -> Say {
    let body = serde_json::json!({
        "access_token": access, "token_type": "bearer", "expires_in": 43_199,
    });
    answer("200 OK", "", &body.to_string())
}

/// A token endpoint beside the simulated Wise.
struct Endpoint {
    scheme: &'static str,
    address: SocketAddr,
    wise: SocketAddr,
    say: Arc<Mutex<Say>>,
    tries: Arc<AtomicUsize>,
    taken: Arc<AtomicUsize>,
    accepting: AbortHandle,
}

impl Endpoint {
    async fn start(wise: &Simulator, say: Say) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut endpoint = Self {
            scheme: if matches!(say, Say::Mute) {
                "https"
            } else {
                "http"
            },
            address: listener.local_addr().unwrap(),
            wise: wise.plain_address(),
            say: Arc::new(Mutex::new(say)),
            tries: Arc::default(),
            taken: Arc::default(),
            accepting: tokio::spawn(async {}).abort_handle(),
        };
        endpoint.accept(listener);
        endpoint
    }

    fn url(&self) -> String {
        format!("{}://{}/oauth/token", self.scheme, self.address)
    }

    /// Refuses connections from now on.
    async fn close(&self) {
        self.accepting.abort();
        while TcpStream::connect(self.address).await.is_ok() {}
    }

    /// Takes connections again, where it did before.
    async fn open(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.accept(listener);
    }

    fn accept(&mut self, listener: TcpListener) {
        let (say, wise) = (Arc::clone(&self.say), self.wise);
        let (tries, taken) = (Arc::clone(&self.tries), Arc::clone(&self.taken));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (say, taken) = (Arc::clone(&say), Arc::clone(&taken));
                let tries = Arc::clone(&tries);
                tokio::spawn(async move {
                    let mut wire = Wire::of(stream);
                    if matches!(*say.lock().unwrap(), Say::Mute) {
                        tries.fetch_add(1, Ordering::Relaxed);
                        wire.rest().await;
                        return;
                    }
                    let Some((head, body)) = wire.request().await else {
                        return;
                    };
                    tries.fetch_add(1, Ordering::Relaxed);
                    let say = say.lock().unwrap().clone();
                    exchange(wire, &head, body, say, wise, &taken).await;
                });
            }
        });
        self.accepting = accepting.abort_handle();
    }
}

async fn exchange(
    mut wire: Wire,
    head: &str,
    body: Vec<u8>,
    say: Say,
    wise: SocketAddr,
    taken: &AtomicUsize,
) {
    match say {
        Say::Bytes(bytes) => {
            wire.say(bytes).await;
        }
        Say::Gibibyte => {
            let length = 1 << 30;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            wire.say(head).await;
            let piece = vec![b'x'; 64 * 1024];
            for _ in 0..length / piece.len() {
                if !wire.say(&piece).await {
                    return;
                }
                taken.fetch_add(piece.len(), Ordering::Relaxed);
            }
        }
        Say::Silence | Say::Mute => {
            wire.rest().await;
        }
        Say::HangUp => {}
        Say::Wise(after) => {
            tokio::time::sleep(after).await;
            wire.say(relayed(head, body, wise, None).await).await;
        }
        Say::Lifetime(value) => {
            wire.say(relayed(head, body, wise, Some(value)).await).await;
        }
    }
}

/// Has the simulated Wise make the exchange.
async fn relayed(
    head: &str,
    body: Vec<u8>,
    wise: SocketAddr,
    lifetime: Option<Lifetime>,
) -> String {
    let mut request = Request::post("/oauth/token").header("host", "localhost");
    for line in head.lines().skip(1) {
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        if ["authorization", "content-type"].contains(&name.to_lowercase().as_str()) {
            request = request.header(name, value);
        }
    }
    let mut wise = Connection::to(wise).await;
    let answer = wise.request(request.body(body.into()).unwrap()).await;
    let answer = answer.unwrap();
    let mut text = String::from_utf8(answer.body.to_vec()).unwrap();
    if let Some(lifetime) = lifetime {
        let mut tokens: Value = serde_json::from_str(&text).unwrap();
        let fields = tokens.as_object_mut().unwrap();
        fields.remove("expires_in");
        if let Lifetime::Is(lifetime) = lifetime {
            fields.insert("expires_in".into(), lifetime);
        }
        text = tokens.to_string();
    }
    let (status, length) = (answer.status, text.len());
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{text}")
}

/// A Wise without TLS whose access tokens live for so many seconds.
async fn wise(lifetime: u32) -> Simulator {
    let options = Options {
        tls_plain: false,
        ..house::wise_options()
    };
    let wise = Simulator::start(options).await.unwrap();
    wise.change_faults(|faults| faults.token.lifetime = lifetime);
    wise
}

/// Another business profile.
const OTHER: u64 = PROFILE + 1;

/// A Wise without TLS that knows both.
async fn two_profiles() -> Simulator {
    let options = Options {
        tls_plain: false,
        business_profiles: vec![PROFILE, OTHER],
        ..house::wise_options()
    };
    Simulator::start(options).await.unwrap()
}

/// A house that was logged in at Wise and now renews at `endpoint`, with little patience.
async fn house(wise: &Simulator, endpoint: &Endpoint) -> House {
    patient_house(wise, endpoint, "1s").await
}

async fn patient_house(wise: &Simulator, endpoint: &Endpoint, patience: &str) -> House {
    let site = House::on(wise).lane("oauth").prepare().await;
    let plan = House::on(wise).lane("oauth").inside(&site);
    let plan = plan.set("wise.token_url", &endpoint.url());
    let plan = plan.set("upstream.connect_timeout", "1s");
    let house = plan.set("tokens.exchange_timeout", patience).start().await;
    wise.clear();
    house
}

/// How often the keeper has tried in vain.
fn failures(status: &Value) -> usize {
    let tries = status["tokens"][0]["refreshes"].as_object().unwrap();
    let failed = tries.iter().filter(|(result, _)| *result != "renewed");
    let failed: u64 = failed.map(|(_, count)| count.as_u64().unwrap()).sum();
    usize::try_from(failed).unwrap()
}

/// No request has left with a token that was known to be dead.
fn assert_living(wise: &Simulator) {
    for seen in wise.recorded() {
        let living = !matches!(seen.credential, Credential::User { live: false, .. });
        assert!(living, "{seen:?}");
    }
}

/// Shows the row: a token of four seconds, and an endpoint that fails from then on.
async fn outage(id: &str, say: Option<Say>) {
    println!("{id}");
    let case = row(id);
    let wise = wise(4).await;
    let endpoint = Endpoint::start(&wise, say.clone().unwrap_or(Say::HangUp)).await;
    if say.is_none() {
        endpoint.close().await;
    }
    let house = house(&wise, &endpoint).await;
    let before = house.resident();

    house.status_until(|status| failures(status) >= 1).await;
    case.told(&house.get("/v1/me").await);

    let rare = case.row.again != Again::Exchange;
    let status = house
        .status_until(|status| {
            status["tokens"][0]["state"] == "absent" && (rare || failures(status) >= 2)
        })
        .await;
    let refused = house.get("/v1/me").await;
    case.told(&refused);
    assert_eq!(refused.headers["retry-after"], "5");

    let next = status["tokens"][0]["next_renewal_in"].as_u64();
    case.exchanged(failures(&status), next);
    case.operator(&house).await;
    assert_living(&wise);
    let grown = house.resident().saturating_sub(before);
    assert!(grown < 16 * MIB, "grown by {grown} bytes");
    let taken = endpoint.taken.load(Ordering::Relaxed);
    assert!(taken < 64 * MIB, "{taken} bytes of an answer were taken");
    let log = house.log();
    assert!(!log.contains("planted"), "a secret is shown: {log}");
}

#[tokio::test]
async fn a_token_endpoint_that_is_down() {
    outage("token-down", None).await;
}

#[tokio::test]
async fn a_token_endpoint_that_takes_connections_and_no_more() {
    outage("token-mute", Some(Say::Mute)).await;
}

#[tokio::test]
async fn a_token_endpoint_that_is_too_slow() {
    outage("token-slow", Some(Say::Silence)).await;
}

#[tokio::test]
async fn a_token_endpoint_that_hangs_up() {
    outage("token-lost", Some(Say::HangUp)).await;
}

#[tokio::test]
async fn a_token_endpoint_in_trouble() {
    let say = answer("500 Internal Server Error", "", "{\"error\":\"planted\"}");
    outage("token-500", Some(say)).await;
}

#[tokio::test]
async fn a_token_endpoint_that_asks_for_a_rest() {
    let date =
        "Date: Wed, 25 Nov 2026 13:00:00 GMT\r\nRetry-After: Wed, 25 Nov 2026 13:02:00 GMT\r\n";
    for fields in ["Retry-After: 120\r\n", date] {
        let say = answer("429 Too Many Requests", fields, "");
        outage("token-429", Some(say)).await;
    }
}

#[tokio::test]
async fn a_token_endpoint_that_shows_a_page() {
    let say = answer("200 OK", "", "<html>planted: please log in</html>");
    outage("token-html", Some(say)).await;
}

#[tokio::test]
async fn a_token_endpoint_that_says_nothing() {
    outage("token-empty", Some(answer("200 OK", "", ""))).await;
}

#[tokio::test]
async fn a_token_endpoint_without_measure() {
    outage("token-huge", Some(Say::Gibibyte)).await;
    outage("token-huge", Some(token(&"x".repeat(2 * MIB)))).await;
}

#[tokio::test]
async fn a_token_endpoint_that_sends_us_elsewhere() {
    for status in ["307 Temporary Redirect", "302 Found"] {
        let elsewhere = Stub::start().await;
        let fields = format!("Location: {}/oauth/token\r\n", elsewhere.url());
        outage("token-redirect", Some(answer(status, &fields, ""))).await;
        assert_eq!(elsewhere.uncalled(), 0, "credentials went elsewhere");
    }
}

#[tokio::test]
async fn a_token_endpoint_whose_tokens_fit_no_header() {
    for bad in ["a\r\nX-Injected: planted", &"x".repeat(20 * 1024), ""] {
        outage("token-bad", Some(token(bad))).await;
    }
}

#[tokio::test]
async fn a_token_endpoint_that_does_not_know_our_client() {
    let say = answer("401 Unauthorized", "", "{\"error\":\"invalid_client\"}");
    outage("token-invalid-client", Some(say)).await;
}

#[tokio::test]
async fn a_lifetime_that_is_none_does_no_harm() {
    let odd = [
        Value::Null,
        0.into(),
        (-1).into(),
        "3600".into(),
        "soon".into(),
        1e300.into(),
        true.into(),
    ];
    let odd = odd.into_iter().map(Lifetime::Is);
    for lifetime in odd.chain([Lifetime::Missing]) {
        println!("expires_in: {lifetime:?}");
        let case = row("token-odd-expiry");
        let wise = wise(2).await;
        let endpoint = Endpoint::start(&wise, Say::Lifetime(lifetime)).await;
        let house = house(&wise, &endpoint).await;
        house
            .status_until(|status| status["tokens"][0]["generation"] == 2)
            .await;
        let before = endpoint.tries.load(Ordering::Relaxed);
        let end = tokio::time::Instant::now() + Duration::from_millis(2_500);
        let mut application = house.connect().await;
        let mut last = None;
        while tokio::time::Instant::now() < end {
            let request = Request::get("/v1/me").body("".into()).unwrap();
            let answer = application.request(request).await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            last = Some(answer);
        }
        case.told(&last.unwrap());
        case.exchanged(endpoint.tries.load(Ordering::Relaxed) - before, None);
        case.operator(&house).await;
    }
}

/// Asks as fast as answers come, over one connection, until `until` holds or something is wrong.
/// Returns how many were answered, the slowest of them, and the first answer that was not Wise's.
async fn ask_until(
    house: &House,
    mut until: impl AsyncFnMut() -> bool,
) -> (usize, Duration, Option<house::Answer>) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let mut application = house.connect().await;
    let (mut answered, mut slowest) = (0, Duration::ZERO);
    while !until().await {
        let request = if answered % 2 == 0 {
            Request::get("/v1/me").body("".into()).unwrap()
        } else {
            let id = format!("steady-{}", NEXT.fetch_add(1, Ordering::Relaxed));
            let body = serde_json::json!({ "customerTransactionId": id });
            house::post("/v1/simulator/echo", &body)
        };
        let began = tokio::time::Instant::now();
        let answer = application.request(request).await.unwrap();
        if answer.status != 200 {
            return (answered, slowest, Some(answer));
        }
        slowest = slowest.max(began.elapsed());
        answered += 1;
    }
    (answered, slowest, None)
}

/// A house without a renewal of its own, whose Wise and token endpoint are in the test's hands.
async fn by_hand(
    wise: &Simulator,
    upstream: &Stub,
    endpoint: &Stub,
    more: &[(&str, &str)],
) -> House {
    let plan = || {
        let plan = House::on(wise).lane("oauth");
        plan.grant("main", PROFILE).grant("other", OTHER)
    };
    let site = plan().prepare().await;
    let mut plan = plan().inside(&site).towards(upstream);
    let url = format!("{}/oauth/token", endpoint.url());
    plan = plan.set("wise.token_url", &url);
    for (key, value) in more {
        plan = plan.set(key, value);
    }
    plan.start().await
}

/// One grant in trouble must not keep the other from Wise.
#[tokio::test]
async fn who_waits_for_a_renewal_holds_no_connection() {
    let wise = two_profiles().await;
    let (mut upstream, mut endpoint) = (Stub::start().await, Stub::start().await);
    let one = [
        ("runtime.workers", "1"),
        ("upstream.http", "1.1"),
        ("upstream.max_connections", "1"),
    ];
    let house = by_hand(&wise, &upstream, &endpoint, &one).await;
    let ask = |profile: u64| Request::get("/v1/me").header("x-wise-profile", profile.to_string());

    let refused = house.send(ask(PROFILE));
    let rest = async {
        let mut wise = upstream.connection().await;
        wise.request().await.unwrap();
        wise.say("HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nover")
            .await;
        // The renewal is under way, and goes no further.
        let mut exchange = endpoint.connection().await;
        exchange.request().await.unwrap();

        let asking = house.send(ask(OTHER));
        let answering = async {
            wise.request()
                .await
                .expect("the same connection, which is the only one");
            wise.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await;
        };
        assert_eq!(tokio::join!(asking, answering).0.status, 200);
        exchange
            .say("HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n")
            .await;
    };
    let (answer, ()) = tokio::join!(refused, rest);
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (401, &b"over"[..])
    );
}

/// Wise has refused it for certain: the application must not read that it may have been carried out.
#[tokio::test]
async fn an_upload_that_becomes_too_long_during_a_renewal_gets_the_401() {
    let wise = two_profiles().await;
    let (mut upstream, mut endpoint) = (Stub::start().await, Stub::start().await);
    let little = [
        ("upstream.http", "1.1"),
        ("upstream.replay_limit", "64 KiB"),
    ];
    let house = by_hand(&wise, &upstream, &endpoint, &little).await;

    let mut application = Wire::to(house.door).await;
    let head = "POST /v1/files HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n";
    application.send(head).await;
    let mut wise = upstream.connection().await;
    wise.read_to("four\r\n").await;
    wise.say("HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nover")
        .await;
    let mut exchange = endpoint.connection().await;
    exchange.request().await.unwrap();
    let piece = "x".repeat(1 << 16);
    for _ in 0..4 {
        application.send(format!("10000\r\n{piece}\r\n")).await;
    }
    application.send("4\r\nlast\r\n").await;
    wise.read_to("last\r\n").await;
    let tokens = serde_json::json!({
        "access_token": "another", "token_type": "bearer", "expires_in": 43_199,
        "refresh_token": "the-next",
    });
    let Say::Bytes(tokens) = answer("200 OK", "", &tokens.to_string()) else {
        unreachable!()
    };
    exchange.say(tokens).await;

    let answer = application.answer().await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (401, &b"over"[..])
    );
    assert_eq!(upstream.uncalled(), 0, "nothing is sent again");
    assert!(house.metric("wise_proxy_replays_total", "").await < 0.5);
}

/// The figures of a token endpoint that is down: a token of nine seconds, of which the first half is
/// over when it is first missed.
#[tokio::test]
async fn while_the_endpoint_is_down_the_token_serves_to_its_end_and_not_beyond() {
    let wise = wise(9).await;
    let mut endpoint = Endpoint::start(&wise, Say::Wise(Duration::ZERO)).await;
    endpoint.close().await;
    let house = house(&wise, &endpoint).await;
    let status = house.status().await;
    let text = status["tokens"][0]["expires"].as_str().unwrap();
    let format = &time::format_description::well_known::Rfc3339;
    let end = std::time::SystemTime::from(time::OffsetDateTime::parse(text, format).unwrap());

    let (answered, _, refused) = ask_until(&house, async || false).await;

    let late = std::time::SystemTime::now().duration_since(end).unwrap();
    let refused = refused.unwrap();
    assert_eq!(
        (refused.status.as_u16(), &*refused.problem()),
        (503, "token-unavailable")
    );
    assert!(late < Duration::from_secs(2), "said only after {late:?}");
    let tries = failures(&house.status().await);
    assert!(tries <= 14, "{tries} tries in 4.5 s");
    assert_living(&wise);

    endpoint.open().await;
    let opened = tokio::time::Instant::now();
    while house.get("/v1/me").await.status != 200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(opened.elapsed() < Duration::from_secs(35));
    }
    println!(
        "{answered} of {answered} answered while the token lived, {tries} tries, 503 after {late:?}, \
         200 again {:?} after the endpoint",
        opened.elapsed()
    );
}

/// A token of four seconds is renewed every two, and each exchange takes one and a half. While the
/// old token lives, nobody waits for the new one; where Wise has ended it already, there is no token
/// to be answered with before the exchange is over.
#[tokio::test]
async fn a_slow_exchange_is_not_noticed_while_the_old_token_lives() {
    let slow = Duration::from_millis(1_500);
    for dies_first in [false, true] {
        let wise = wise(4).await;
        let say = Say::Wise(if dies_first { Duration::ZERO } else { slow });
        let endpoint = Endpoint::start(&wise, say).await;
        let house = patient_house(&wise, &endpoint, "10s").await;
        if dies_first {
            let latency = u64::try_from(slow.as_millis()).unwrap();
            wise.change_faults(|faults| faults.token.latency = latency);
        }
        let renewed = async || wise.generation(house::PROFILE) >= Some(4);

        let asking = (0..4).map(|_| ask_until(&house, renewed));
        let done = futures_util::future::join_all(asking).await;

        let answered: usize = done.iter().map(|(answered, _, _)| answered).sum();
        let slowest = done.iter().map(|(_, slowest, _)| *slowest).max().unwrap();
        let wrong: Vec<_> = done
            .iter()
            .filter_map(|(_, _, wrong)| wrong.as_ref())
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(wise.counters().repeated(), Vec::<&str>::new());
        let limit = if dies_first {
            slow + Duration::from_millis(500)
        } else {
            Duration::from_millis(500)
        };
        println!("old token dies first: {dies_first}: {answered} answered, slowest {slowest:?}");
        assert!(slowest < limit, "{slowest:?}");
    }
}

/// A connection has a time limit of its own, and an exchange begins after it: a request that met a
/// 401 is as patient as both.
#[tokio::test]
async fn a_request_that_met_a_401_waits_for_a_slow_connection_to_the_token_endpoint() {
    let wise = house::wise().await;
    let (slow, far) = (Duration::from_millis(3_500), wise.plain_address());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                tokio::time::sleep(slow).await;
                let mut far = TcpStream::connect(far).await.unwrap();
                let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let site = House::on(&wise).lane("oauth").prepare().await;
    let plan = House::on(&wise).lane("oauth").inside(&site);
    let plan = plan.set(
        "wise.token_url",
        &format!("https://localhost:{port}/oauth/token"),
    );
    let plan = plan.set("upstream.connect_timeout", "9s");
    let house = plan.set("tokens.exchange_timeout", "1s").start().await;
    assert_eq!(house.get("/v1/me").await.status, 200);

    assert_ne!(wise.revoke_access(house::PROFILE), 0);
    let asked = tokio::time::Instant::now();
    let answer = house.get("/v1/me").await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(asked.elapsed() >= slow, "{:?}", asked.elapsed());
}
