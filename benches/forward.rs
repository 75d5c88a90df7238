//! What the proxy costs, beside a direct call: `cargo bench --bench forward`.
//!
//! One run, one machine, one simulated Wise: each figure through the proxy stands next to the same
//! call made straight over mutual TLS by a client that already holds the token. Rounds of both
//! alternate, so that a slow moment of the machine hits both. Figures of different machines do not
//! compare; ratios do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark fails loudly and prints its table"
)]

#[allow(
    dead_code,
    reason = "the tests' harness, of which a benchmark needs a part"
)]
#[path = "../tests/it/house.rs"]
mod house;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use wise_auth_proxy::simulator::Simulator;

use crate::house::{House, PROFILE, Site};

const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
const STARTS: usize = 20;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let wise = house::wise().await;
        let site = House::on(&wise).prepare().await;
        starts(&site).await;
        traffic(&wise, &site).await;
    });
}

/// From the start of the process to its first answer of Wise's, with tokens in the store.
async fn starts(site: &Site) {
    let (mut open, mut answered, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let began = Instant::now();
        let house = site.start().await;
        open.push(began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(house.admin("/readyz").await.status, 200, "{}", house.log());
        let answer = house.get(&format!("/v2/profiles/{PROFILE}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answered.push(began.elapsed().as_secs_f64() * 1e3);
        idle.push(resident_kib(house.pid()) as f64 / 1024.0);
        house.stop().await;
    }
    println!("| {STARTS} starts | min | median | max |\n|---|---:|---:|---:|");
    row("doors open, ms", &mut open);
    row("first answer of Wise's, ms", &mut answered);
    row("resident memory after it, MiB", &mut idle);
    println!();
}

fn row(name: &str, figures: &mut [f64]) {
    figures.sort_by(f64::total_cmp);
    let (min, median, max) = (
        figures[0],
        figures[figures.len() / 2],
        figures[figures.len() - 1],
    );
    println!("| {name} | {min:.1} | {median:.1} | {max:.1} |");
}

/// Small GETs, direct and through the proxy.
async fn traffic(wise: &Simulator, site: &Site) {
    let house = site.start().await;
    house.get(&format!("/v2/profiles/{PROFILE}")).await;
    let arrived = wise.recorded().pop().unwrap();
    let token: Arc<str> = arrived.header("authorization").next().unwrap().into();

    println!(
        "| small GETs, {ROUNDS} rounds each | direct p50 µs | p99 µs | /s | proxy p50 µs | p99 µs | /s | added p50 µs | proxy CPU µs a request |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for connections in [1, 16, 64] {
        let (mut direct, mut through, mut cpu) = (Vec::new(), Vec::new(), 0.0);
        for _ in 0..ROUNDS {
            let mut clients = Vec::new();
            for _ in 0..connections {
                clients.push((straight(wise, site).await, Some(Arc::clone(&token))));
            }
            direct.extend(round(clients).await);
            let mut clients = Vec::new();
            for _ in 0..connections {
                clients.push((plain(&house).await, None));
            }
            let before = cpu_seconds(house.pid());
            through.extend(round(clients).await);
            cpu += cpu_seconds(house.pid()) - before;
        }
        let cpu_us = cpu * 1e6 / through.len() as f64;
        direct.sort();
        through.sort();
        let us = |all: &[Duration], percent: usize| {
            all[(all.len() - 1) * percent / 100].as_secs_f64() * 1e6
        };
        let rate = |all: &[Duration]| all.len() as f64 / (ROUND.as_secs_f64() * ROUNDS as f64);
        println!(
            "| {connections} connections | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {cpu_us:.0} |",
            us(&direct, 50),
            us(&direct, 99),
            rate(&direct),
            us(&through, 50),
            us(&through, 99),
            rate(&through),
            us(&through, 50) - us(&direct, 50),
        );
    }
    println!(
        "\nresident memory after the load: {:.1} MiB",
        resident_kib(house.pid()) as f64 / 1024.0
    );
    assert_eq!(house.stop().await.code(), Some(0));
}

type Client = (SendRequest<Full<Bytes>>, Option<Arc<str>>);

async fn round(clients: Vec<Client>) -> Vec<Duration> {
    let end = Instant::now() + ROUND;
    let mut tasks = tokio::task::JoinSet::new();
    for (mut sender, token) in clients {
        tasks.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let mut request =
                    Request::get(format!("/v2/profiles/{PROFILE}")).header("host", "localhost");
                if let Some(token) = &token {
                    request = request.header("authorization", token.as_ref());
                }
                let request = request.body(Full::default()).unwrap();
                let began = Instant::now();
                sender.ready().await.unwrap();
                let answer = sender.send_request(request).await.unwrap();
                assert_eq!(answer.status(), 200);
                answer.into_body().collect().await.unwrap();
                times.push(began.elapsed());
            }
            times
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

async fn plain(house: &House) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(house.door).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// What an application would have to do itself: mutual TLS with the proxy's own certificate.
async fn straight(wise: &Simulator, site: &Site) -> SendRequest<Full<Bytes>> {
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(wise.ca_pem().as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let chain = CertificateDer::pem_file_iter(site.path("client.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(site.path("client.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let stream = TcpStream::connect(wise.mtls_address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Time that all threads of the process have spent on a processor so far.
fn cpu_seconds(pid: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanoseconds = threads.map(|thread| {
        let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        text.split_whitespace()
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    });
    nanoseconds.sum::<f64>() / 1e9
}
