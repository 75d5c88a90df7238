//! Doors that speak TLS themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::Request;
use tokio::net::TcpStream;
use wise_auth_proxy::simulator::Simulator;

use crate::failures::{Problem, assert_problem};
use crate::house::{self, Connection, House, Plan, Site};
use crate::tls_client::{Authority, Client};
use crate::wire::Wire;

const DOOR: &str =
    "[{ address = \"127.0.0.1:0\", tls = { certificate = \"door.pem\", key = \"door.key\" } }]";
const ASKING: &str = "[{ address = \"127.0.0.1:0\", tls = { certificate = \"door.pem\", key = \"door.key\", \
     client_ca = \"callers.pem\" } }]";

fn plan<'a>(wise: &'a Simulator, door: &str) -> Plan<'a> {
    let plan = House::on(wise).lane("personal").logged_out();
    plan.set("door", door).set("runtime.reload_interval", "1h")
}

/// A site whose door has a certificate of `authority`, for `localhost`.
async fn site(plan: Plan<'_>, authority: &Authority) -> Site {
    let site = plan.prepare().await;
    authority.leaf(&["localhost"]).write(&site, "door");
    site
}

async fn tcp(house: &House) -> TcpStream {
    TcpStream::connect(house.door).await.unwrap()
}

fn ask(host: &str) -> Request<Bytes> {
    let request = Request::get("/v1/me").header("host", host);
    request.body(Bytes::new()).unwrap()
}

#[tokio::test]
async fn a_door_speaks_tls_with_both_versions_of_http() {
    let wise = house::wise().await;
    let authority = Authority::new();
    let house = site(plan(&wise, DOOR), &authority).await.start().await;
    let client = Client::trusting(&authority.pem);
    let mut inside = client.http1(tcp(&house).await, "localhost").await.unwrap();
    for pause in [0, 0, 150] {
        // The last after a rest.
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        let answer = inside.request(ask("localhost")).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let request = Request::get("https://localhost/v1/me").body(Bytes::new());
    let (status, _) = client
        .http2(tcp(&house).await, "localhost", request.unwrap())
        .await;
    assert_eq!(status, 200);
    // 64 KiB and more go through whole.
    let request = Request::get("https://localhost/v1/profiles").body(Bytes::new());
    let (status, body) = client
        .http2(tcp(&house).await, "localhost", request.unwrap())
        .await;
    assert_eq!(status, 200);
    assert!(body.starts_with(b"["), "{body:?}");
    assert_eq!(wise.recorded().len(), 5);
}

#[tokio::test]
async fn whoever_forgets_tls_is_told_so_and_tls_at_a_plain_door_is_closed() {
    let wise = house::wise().await;
    let authority = Authority::new();
    let house = site(plan(&wise, DOOR), &authority).await.start().await;
    let mut wire = Wire::to(house.door).await;
    wire.send("GET /v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let without = Problem {
        status: 400,
        kind: "bad-request",
        error: "http_request_error",
        hint: "say https:// instead of http://",
        fields: &[("connection", "close")],
    };
    assert_problem(&wire.answer().await, &without);
    assert_eq!(wire.rest().await, b"");

    let plain = plan(&wise, "[{ address = \"127.0.0.1:0\" }]");
    let plain = plain.set("log.level", "debug").start().await;
    let client = Client::trusting(&authority.pem);
    let shaken = client.shake(tcp(&plain).await, "localhost", &[]).await;
    assert!(shaken.is_err());
    plain
        .logs("an application began with TLS at a door that does not speak it")
        .await;
    assert_eq!(wise.recorded().len(), 0, "nothing reaches Wise");
}

#[tokio::test]
async fn a_door_of_client_certificates_lets_nobody_in_without() {
    let wise = house::wise().await;
    let (authority, callers, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let site = site(plan(&wise, ASKING), &authority).await;
    std::fs::write(site.path("callers.pem"), &callers.pem).unwrap();
    let house = site.start().await;
    let known = callers.leaf(&["payroll"]);
    let client = Client::with(&authority.pem, Some(&known));
    let mut inside = client.http1(tcp(&house).await, "localhost").await.unwrap();
    assert_eq!(inside.request(ask("localhost")).await.unwrap().status, 200);
    let stranger = strangers.leaf(&["payroll"]);
    for client in [
        Client::trusting(&authority.pem),
        Client::with(&authority.pem, Some(&stranger)),
    ] {
        // In TLS 1.3 the client is done before it is judged.
        let Ok(stream) = client
            .shake(tcp(&house).await, "localhost", &["http/1.1"])
            .await
        else {
            continue;
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let request = ask("localhost").map(http_body_util::Full::new);
        assert!(sender.send_request(request).await.is_err());
    }
    assert_eq!(wise.recorded().len(), 1);

    // The authority is withdrawn, and with it whoever came by it.
    std::fs::write(house.site.path("callers.pem"), &strangers.pem).unwrap();
    house.reload().await;
    assert_withdrawn(inside).await;
    assert_eq!(wise.recorded().len(), 1);
    let client = Client::with(&authority.pem, Some(&stranger));
    let mut now = client.http1(tcp(&house).await, "localhost").await.unwrap();
    assert_eq!(now.request(ask("localhost")).await.unwrap().status, 200);
}

/// What is asked on a connection whose certificate does no longer is answered, and it ends.
async fn assert_withdrawn(mut inside: Connection) {
    let answer = inside.request(ask("localhost")).await.unwrap();
    let unknown = Problem {
        status: 407,
        kind: "caller-unknown",
        error: "http_request_denied",
        hint: "connect with the caller's client certificate",
        fields: &[
            ("connection", "close"),
            ("proxy-authenticate", "Bearer realm=\"wise-auth-proxy\""),
            (
                "proxy-authenticate",
                "Basic realm=\"wise-auth-proxy\", charset=\"UTF-8\"",
            ),
        ],
    };
    assert_problem(&answer, &unknown);
    assert!(inside.request(ask("localhost")).await.is_err());
}

#[tokio::test]
async fn a_caller_is_known_by_its_certificate_while_its_authority_is() {
    let wise = house::wise().await;
    let (authority, callers, others) = (Authority::new(), Authority::new(), Authority::new());
    let door = ASKING.replace("} }]", "}, callers = [\"payroll\"] }]");
    let caller = "[[caller]]\nname = \"payroll\"\ncertificates = [\"payroll\"]\n";
    let plan = plan(&wise, &door).set("log.access", "stderr");
    let site = site(plan.toml(caller), &authority).await;
    std::fs::write(site.path("callers.pem"), &callers.pem).unwrap();
    let house = site.start().await;
    let client = Client::with(&authority.pem, Some(&callers.leaf(&["payroll"])));
    let mut inside = client.http1(tcp(&house).await, "localhost").await.unwrap();
    let (mut streams, ended) = client.http2_kept(tcp(&house).await, "localhost").await;
    let mut over_http2 = async || {
        let request = Request::get("https://localhost/v1/me");
        let request = request.body(http_body_util::Full::default()).unwrap();
        streams.send_request(request).await.unwrap().status()
    };
    let both = callers.pem.clone() + &others.pem;
    // Before, beside another authority, and with a new certificate of the door's.
    for trusted in [&callers.pem, &both] {
        std::fs::write(house.site.path("callers.pem"), trusted).unwrap();
        authority.leaf(&["localhost"]).write(&house.site, "door");
        house.reload().await;
        assert_eq!(inside.request(ask("localhost")).await.unwrap().status, 200);
        assert_eq!(over_http2().await, 200);
    }
    house.logs("caller=payroll").await;
    // Somebody else of the same authority has no name here, and may go on asking.
    let other = Client::with(&authority.pem, Some(&callers.leaf(&["web"])));
    let mut other = other.http1(tcp(&house).await, "localhost").await.unwrap();
    for _ in 0..2 {
        let answer = other.request(ask("localhost")).await.unwrap();
        assert_eq!(answer.status, 407, "{answer:?}");
    }

    std::fs::write(house.site.path("callers.pem"), &others.pem).unwrap();
    house.reload().await;
    assert_withdrawn(inside).await;
    assert_eq!(over_http2().await, 407);
    let over = tokio::time::timeout(house::PATIENCE, ended).await;
    over.expect("HTTP/2 is told to go as well").unwrap();
    assert_eq!(wise.recorded().len(), 4);
}

#[tokio::test]
async fn a_caller_with_a_key_needs_no_certificate_in_the_handshake() {
    let wise = house::wise().await;
    let (authority, callers) = (Authority::new(), Authority::new());
    let door = ASKING.replace("} }]", "}, callers = [\"payroll\"] }]");
    let caller = "[[caller]]\nname = \"payroll\"\nkey = { file = \"door_key\" }\n";
    let site = site(plan(&wise, &door).toml(caller), &authority).await;
    std::fs::write(site.path("callers.pem"), &callers.pem).unwrap();
    site.secret("door_key", "planted-door-key");
    let house = site.start().await;
    let client = Client::trusting(&authority.pem);
    let mut inside = client.http1(tcp(&house).await, "localhost").await.unwrap();
    assert_eq!(inside.request(ask("localhost")).await.unwrap().status, 407);
    let mut shown = ask("localhost");
    let key = "Bearer planted-door-key".parse().unwrap();
    shown.headers_mut().insert("authorization", key);
    assert_eq!(inside.request(shown).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_new_certificate_is_taken_under_load_and_a_broken_one_is_not() {
    let wise = house::wise().await;
    let (old, new) = (Authority::new(), Authority::new());
    let house = Arc::new(site(plan(&wise, DOOR), &old).await.start().await);
    let client = Client::trusting(&old.pem);
    let mut kept = client.http1(tcp(&house).await, "localhost").await.unwrap();
    assert_eq!(kept.request(ask("localhost")).await.unwrap().status, 200);

    // Half a pair: everything stays as it was.
    let good = std::fs::read_to_string(house.site.path("door.pem")).unwrap();
    let other = new.leaf(&["localhost"]);
    std::fs::write(house.site.path("door.pem"), &other.certificate).unwrap();
    let refused = house
        .operate(house::post("/reload", &serde_json::json!({})))
        .await;
    assert_ne!(refused.status, 200, "{refused:?}");
    house.logs("door.tls").await;
    std::fs::write(house.site.path("door.pem"), good).unwrap();

    let (stop, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let both = [Client::trusting(&old.pem), Client::trusting(&new.pem)];
    let load = {
        let (house, stop, served) = (Arc::clone(&house), Arc::clone(&stop), Arc::clone(&served));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let mut answered = false;
                for client in &both {
                    if let Ok(mut inside) = client.http1(tcp(&house).await, "localhost").await {
                        assert_eq!(inside.request(ask("localhost")).await.unwrap().status, 200);
                        answered = true;
                    }
                }
                assert!(answered, "one of both certificates is there at any time");
                served.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let more = async |than: usize| {
        let seen = served.load(Ordering::Relaxed);
        while served.load(Ordering::Relaxed) < seen + than && !load.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    more(3).await;
    other.write(&house.site, "door");
    house.reload().await;
    more(3).await;
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    assert_eq!(
        kept.request(ask("localhost")).await.unwrap().status,
        200,
        "old ones go on"
    );
    let untrusted = client.shake(tcp(&house).await, "localhost", &[]).await;
    assert!(untrusted.is_err(), "new ones get the new certificate");
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut() {
    let wise = house::wise().await;
    let authority = Authority::new();
    let plan = plan(&wise, DOOR).set("runtime.header_timeout", "300ms");
    let house = site(plan, &authority).await.start().await;
    for begun in [&b""[..], &[22], &[22, 3, 1, 2, 0, 1, 0, 1, 252]] {
        let mut wire = Wire::to(house.door).await;
        wire.send(begun).await;
        assert_eq!(wire.rest().await, b"");
    }
    house
        .metric_until("wise_proxy_downstream_connections", 0.0)
        .await;
}

#[tokio::test]
async fn no_page_uses_a_door_that_speaks_tls() {
    let wise = house::wise().await;
    let authority = Authority::new();
    let house = site(plan(&wise, DOOR), &authority).await.start().await;
    let own = house.door.to_string();
    let client = Client::trusting(&authority.pem);
    let mut inside = client.http1(tcp(&house).await, "localhost").await.unwrap();
    for fields in crate::browsers::FOREIGN {
        let request = crate::browsers::request(&http::Method::POST, "/v1/me", &own, fields);
        let answer = inside.request(request).await.unwrap();
        assert_eq!(answer.status, 403, "{fields:?}");
    }
    for (origin, status) in [
        (format!("https://{own}"), 200),
        (format!("http://{own}"), 403),
    ] {
        let mut request = ask(&own);
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
        let answer = inside.request(request).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{origin}");
    }
    let answer = inside.request(ask("evil.example")).await.unwrap();
    assert_eq!(answer.status, 421);
    assert_eq!(wise.recorded().len(), 1);
}

#[tokio::test]
async fn a_door_without_a_usable_certificate_does_not_open() {
    let wise = house::wise().await;
    let authority = Authority::new();
    let site = plan(&wise, DOOR).prepare().await;
    let failed = site.cli(&["run"]).await;
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success());
    assert!(said.contains("door.tls: cannot read"), "{said}");
    authority.leaf(&["localhost"]).write(&site, "door");
    let other = authority.leaf(&["localhost"]);
    site.secret("door.key", &other.key);
    let failed = site.cli(&["run"]).await;
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(
        said.contains("belongs to none of the certificates"),
        "{said}"
    );
}
