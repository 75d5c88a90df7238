//! No handshake on the way of a request: connections lie ready, and those that come back resume.
//!
//! Between the proxy and Wise stands a gate. When it is shut no connection can be made, so that a
//! request which is answered has found one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use wise_auth_proxy::simulator::Simulator;

use crate::house::{self, House, PATIENCE, Plan};

/// Workers of a house.
const WORKERS: u32 = 2;
const CONNECTIONS: &str = "wise_proxy_upstream_connections";
const DIALS: &str = "wise_proxy_upstream_dials_total";
const HANDSHAKES: &str = "wise_proxy_upstream_handshakes_total";

/// The way to one of Wise's doors.
struct Gate {
    port: u16,
    shut: Arc<AtomicBool>,
}

impl Gate {
    async fn before(door: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shut = Arc::new(AtomicBool::new(false));
        let is_shut = Arc::clone(&shut);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if is_shut.load(Ordering::Relaxed) {
                    continue;
                }
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(door).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { port, shut }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    fn shut(&self, shut: bool) {
        self.shut.store(shut, Ordering::Relaxed);
    }
}

/// A Wise behind two gates.
struct Street {
    wise: Simulator,
    plain: Gate,
    mtls: Gate,
}

impl Street {
    async fn new() -> Self {
        let wise = house::wise().await;
        let plain = Gate::before(wise.plain_address()).await;
        let mtls = Gate::before(wise.mtls_address()).await;
        Self { wise, plain, mtls }
    }

    fn plan(&self, http: &str) -> Plan<'_> {
        House::on(&self.wise)
            .set("wise.plain", &self.plain.url())
            .set("wise.mtls", &self.mtls.url())
            .set("upstream.http", http)
            .set("runtime.workers", &WORKERS.to_string())
    }

    /// Asks as often as brings every worker its turn, with both gates shut.
    async fn passes_without_a_dial(&self, house: &House) {
        self.plain.shut(true);
        self.mtls.shut(true);
        let before = made(house).await;
        for _ in 0..2 * WORKERS {
            assert_eq!(house.get("/v1/me").await.status, 200);
        }
        assert!((made(house).await - before).abs() < 0.5);
        self.plain.shut(false);
        self.mtls.shut(false);
    }
}

/// Connections made to Wise since the start.
async fn made(house: &House) -> f64 {
    house.metric(DIALS, "ok").await
}

/// Waits until so many connections have been made since the start, and so many are open.
async fn until(house: &House, wanted: u32, open: u32) {
    let deadline = Instant::now() + PATIENCE;
    while made(house).await < f64::from(wanted) - 0.5 {
        assert!(Instant::now() < deadline, "never {wanted} connections");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    house.metric_until(CONNECTIONS, f64::from(open)).await;
}

#[tokio::test]
async fn after_a_start_the_first_requests_find_their_connections() {
    for http in ["1.1", "2", "auto"] {
        let street = Street::new().await;
        let house = street.plan(http).start().await;
        until(&house, WORKERS, WORKERS).await;
        street.passes_without_a_dial(&house).await;
    }
}

#[tokio::test]
async fn what_wise_closes_is_there_again_without_a_request() {
    for http in ["1.1", "2"] {
        let street = Street::new().await;
        let house = street.plan(http).start().await;
        until(&house, WORKERS, WORKERS).await;

        street.wise.close_connections();

        until(&house, 2 * WORKERS, WORKERS).await;
        street.passes_without_a_dial(&house).await;
        let resumed = house.metric(HANDSHAKES, "resumed").await;
        assert!(resumed >= f64::from(WORKERS), "{resumed}");
    }
}

#[tokio::test]
async fn after_a_switch_the_first_requests_find_their_connections() {
    let street = Street::new().await;
    let house = street.plan("1.1").start().await;
    until(&house, WORKERS, WORKERS).await;

    house.turn("oauth").await;

    // Those of the lane before are idle, and end when their time is over.
    until(&house, 2 * WORKERS, 2 * WORKERS).await;
    street.passes_without_a_dial(&house).await;
    assert_eq!(street.wise.counters().plain, u64::from(2 * WORKERS));
}

#[tokio::test]
async fn after_a_rotation_the_first_requests_find_connections_of_the_new_certificate() {
    let street = Street::new().await;
    let house = street.plan("1.1").start().await;
    until(&house, WORKERS, WORKERS).await;

    house.site.pair(&street.wise, "next", "next");
    let files = ["cert", "install", "next.pem", "--key", "next.key"];
    let output = house.cli(&files).await;
    assert!(output.status.success(), "{output:?}");
    house.reload().await;

    until(&house, 2 * WORKERS, WORKERS).await;
    street.wise.clear();
    street.passes_without_a_dial(&house).await;
    let certificates = street.wise.certificates();
    let next = certificates.iter().find(|it| it.name == "next").unwrap();
    for seen in street.wise.recorded() {
        let shown = seen.tls.unwrap().client_certificate.unwrap();
        assert_eq!(shown.serial, next.serial);
    }
}

#[tokio::test]
async fn without_spares_nothing_is_dialled_before_a_request_comes() {
    let street = Street::new().await;
    let plan = street.plan("1.1").set("upstream.warm_connections", "0");
    let house = plan.start().await;
    // Each has every worker look after its connections.
    house.turn("oauth").await;
    house.turn("oauth-mtls").await;
    assert!(made(&house).await < 0.5);
    assert_eq!(house.get("/v1/me").await.status, 200);
    street.wise.close_connections();
    house.metric_until(CONNECTIONS, 0.0).await;
    assert!((made(&house).await - 1.0).abs() < 0.5);
}

/// TLS 1.3 tickets are good for one connection each.
#[tokio::test]
async fn a_crowd_of_connections_that_wise_closes_at_once_comes_back_by_resumption_alone() {
    const CROWD: u32 = 64;
    let wise = house::wise().await;
    wise.change_faults(|faults| faults.resource.latency = 1_000);
    let house = House::on(&wise)
        .set("upstream.http", "1.1")
        .set("upstream.warm_connections", "0")
        .start()
        .await;
    let crowd = async || {
        let answers = join_all((0..CROWD).map(|_| house.get("/v1/me")));
        let all_open = house.metric_until(CONNECTIONS, f64::from(CROWD));
        let (answers, ()) = tokio::join!(answers, all_open);
        assert!(answers.iter().all(|answer| answer.status == 200));
        wise.close_connections();
        house.metric_until(CONNECTIONS, 0.0).await;
        let full = house.metric(HANDSHAKES, "full").await;
        (full, house.metric(HANDSHAKES, "resumed").await)
    };
    let (full, mut resumed) = crowd().await;
    for _ in 0..2 {
        let (full_now, resumed_now) = crowd().await;
        assert!((full_now - full).abs() < 0.5, "{full_now} full handshakes");
        assert!((resumed_now - resumed - f64::from(CROWD)).abs() < 0.5);
        resumed = resumed_now;
    }
}
