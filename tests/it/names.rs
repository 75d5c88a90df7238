//! Wise's name fails, moves, and leads to addresses where nobody answers. The proxy asks the
//! operating system (`getaddrinfo`), so the tests put theirs before it: `names.c` is preloaded and
//! answers from a file.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::time::Instant;
use wise_auth_proxy::simulator::{Options, Simulator};

use crate::failures_table::{Case, row};
use crate::house::{self, House, Plan};

/// A name server of one name.
pub struct Names {
    directory: tempfile::TempDir,
    pub library: PathBuf,
}

impl Names {
    pub fn new(addresses: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("names.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/names.c");
        let built = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
            .args([library.as_path(), source.as_ref()])
            .arg("-ldl")
            .status();
        assert!(built.unwrap().success());
        let names = Self { directory, library };
        names.lead_to(addresses);
        names
    }

    pub fn file(&self) -> PathBuf {
        self.directory.path().join("names")
    }

    /// Changes the answer, in one stroke.
    fn lead_to(&self, addresses: &[&str]) {
        let lines = addresses
            .iter()
            .map(|address| format!("wise.test {address}\n"));
        let next = self.directory.path().join("next");
        std::fs::write(&next, lines.collect::<String>()).unwrap();
        std::fs::rename(next, self.file()).unwrap();
    }

    fn plan<'a>(&self, wise: &'a Simulator, http: &str) -> Plan<'a> {
        let port = wise.plain_address().port();
        House::on(wise)
            .lane("personal")
            .logged_out()
            .variable("LD_PRELOAD", self.library.to_str().unwrap())
            .variable("NAMES", self.file().to_str().unwrap())
            // The names are read from a file that no configuration tells of.
            .set("hardening.files", "off")
            .set("wise.plain", &format!("https://wise.test:{port}"))
            .set("upstream.http", http)
    }
}

/// A Wise at an address, whose certificate is for the name.
async fn wise_at(address: impl Into<SocketAddr>) -> Simulator {
    let options = Options {
        plain: address.into(),
        names: vec!["wise.test".into()],
        ..house::wise_options()
    };
    Simulator::start(options).await.unwrap()
}

async fn wise() -> Simulator {
    wise_at(([127, 0, 0, 1], 0)).await
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_said_to_be_one() {
    let (wise, names) = (wise().await, Names::new(&[]));
    let house = names.plan(&wise, "1.1").start().await;
    let answer = house.get("/v1/me").await;
    let hint = "check the host name in [wise] and the machine's DNS";
    assert_eq!(answer.json()["hint"], hint);
    row("way-no-name")
        .shown(&house, &answer, wise.recorded().len())
        .await;
}

#[tokio::test]
async fn a_name_that_is_lost_still_leads_to_its_last_addresses() {
    let (wise, names) = (wise().await, Names::new(&["127.0.0.1"]));
    // Each worker has addresses of its own.
    let plan = names.plan(&wise, "2").set("upstream.dns_ttl", "0s");
    let plan = plan.set("runtime.workers", "1");
    let house = plan.start().await;
    assert_eq!(house.get("/v1/me").await.status, 200);
    names.lead_to(&[]);
    for _ in 0..5 {
        wise.finish_connections();
        wise.clear();
        let answer = house.get("/v1/me").await;
        let arrived = wise.recorded().len();
        row("way-name-lost").shown(&house, &answer, arrived).await;
    }
}

#[tokio::test]
async fn a_name_server_that_says_nothing_does_not_stop_who_knows_the_way() {
    let (wise, names) = (wise().await, Names::new(&["127.0.0.1"]));
    // Each worker has addresses of its own.
    let plan = names.plan(&wise, "2").set("upstream.dns_ttl", "0s");
    let plan = plan.set("runtime.workers", "1");
    let house = plan.start().await;
    assert_eq!(house.get("/v1/me").await.status, 200);
    names.lead_to(&["+600"]);
    wise.finish_connections();
    wise.clear();
    let began = Instant::now();

    let answer = house.get("/v1/me").await;

    let took = began.elapsed();
    println!("answered after {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    row("way-name-server-silent")
        .shown(&house, &answer, wise.recorded().len())
        .await;
}

#[tokio::test]
async fn an_answer_of_a_name_server_that_comes_after_the_dial_is_not_lost() {
    let (wise, names) = (wise().await, Names::new(&["+3", "127.0.0.1"]));
    let plan = names.plan(&wise, "1.1").set("runtime.workers", "1");
    let house = plan.set("upstream.connect_timeout", "1s").start().await;
    let case = row("way-name-server-slow");
    let began = Instant::now();
    let mut answer = house.get("/v1/me").await;
    case.told(&answer);
    case.sent(wise.recorded().len(), 0);
    case.operator(&house).await;
    while answer.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(10), "{answer:?}");
        answer = house.get("/v1/me").await;
    }
    case.told(&answer);
}

#[tokio::test]
async fn dead_addresses_do_not_stand_in_the_way() {
    let wise = wise().await;
    let port = wise.plain_address().port();
    // One that swallows everything: its queue of one is full. Another refuses.
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::from(([127, 0, 0, 7], port)))
        .unwrap();
    let hole = socket.listen(0).unwrap();
    let _filler = tokio::net::TcpStream::connect(hole.local_addr().unwrap())
        .await
        .unwrap();
    let names = Names::new(&["127.0.0.7", "127.0.0.8", "127.0.0.1"]);
    let house = names.plan(&wise, "1.1").start().await;
    let began = Instant::now();

    let answer = house.get("/v1/me").await;

    println!("answered after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(2));
    let arrived = wise.recorded().len();
    row("way-dead-address-first")
        .shown(&house, &answer, arrived)
        .await;
}

#[tokio::test]
async fn when_every_address_is_dead_the_name_is_asked_again() {
    let (wise, names) = (wise().await, Names::new(&["127.0.0.8", "127.0.0.9"]));
    let house = names.plan(&wise, "1.1").start().await;
    let answer = house.get("/v1/me").await;
    row("way-all-addresses-dead")
        .shown(&house, &answer, wise.recorded().len())
        .await;
    names.lead_to(&["127.0.0.1"]);
    assert_eq!(
        house.get("/v1/me").await.status,
        200,
        "not after dns_ttl only"
    );
}

/// Both addresses serve all the time, and connections are in steady use: only the name says which
/// is right. With the default settings.
async fn moves(case: Case, http: &str) {
    let old = wise().await;
    let new: IpAddr = [127, 0, 0, 2].into();
    let new = wise_at((new, old.plain_address().port())).await;
    let names = Names::new(&["127.0.0.1"]);
    let site = names.plan(&old, http).prepare().await;
    std::fs::write(site.path("ca.pem"), old.ca_pem() + &new.ca_pem()).unwrap();
    let house = site.start().await;
    let mut applications = Vec::new();
    for _ in 0..4 {
        let mut application = house.connect().await;
        let request = http::Request::get("/v1/me").body("".into()).unwrap();
        assert_eq!(application.request(request).await.unwrap().status, 200);
        applications.push(application);
    }
    assert_eq!((old.recorded().len(), new.recorded().len()), (4, 0));
    let began = Instant::now();
    names.lead_to(&["127.0.0.2"]);

    let mut last_on_old = Instant::now();
    let mut quiet = 0;
    let mut answer = house.get("/v1/me").await;
    // Until four rounds in a row have gone to the new address alone.
    while quiet < 4 {
        old.clear();
        for application in &mut applications {
            let request = http::Request::get("/v1/me").body("".into()).unwrap();
            answer = application.request(request).await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        if old.recorded().is_empty() {
            quiet += 1;
        } else {
            (last_on_old, quiet) = (Instant::now(), 0);
        }
        assert!(
            began.elapsed() < Duration::from_secs(35),
            "it stays with the old address"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let moved = last_on_old - began;
    println!("HTTP/{http}: the last request on the old address came after {moved:?}");
    assert!(moved < Duration::from_secs(30));
    case.told(&answer);
    new.clear();
    house.get("/v1/me").await;
    case.sent(new.recorded().len(), 1);
    case.operator(&house).await;
}

#[tokio::test]
async fn a_name_that_moves_is_followed_within_half_a_minute() {
    moves(row("way-name-moves"), "1.1").await;
}

#[tokio::test]
async fn streams_follow_a_name_that_moves_within_half_a_minute() {
    moves(row("way-name-moves"), "2").await;
}
