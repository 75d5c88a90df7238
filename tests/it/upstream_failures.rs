//! What the application sees when the way to Wise fails, and that nothing is sent twice.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use http::Request;
use serde_json::json;
use tokio::net::TcpSocket;
use wise_auth_proxy::simulator::{
    Disturb, Disturbance, MissingCertificate, Simulator, TlsVersions,
};

use crate::failures::{Problem, assert_problem};
use crate::failures_table::row;
use crate::house::{self, House, Plan, Site};
use crate::wire::{Stub, Wire, expired_server};

const UNREACHABLE: Problem = Problem {
    status: 502,
    kind: "upstream-unreachable",
    error: "connection_refused",
    hint: "check the way to Wise: firewall, upstream.via, upstream.resolve",
    fields: &[],
};

const TLS_FAILED: Problem = Problem {
    status: 502,
    kind: "tls-failed",
    error: "tls_certificate_error",
    hint: "",
    fields: &[],
};

const BROKEN: Problem = Problem {
    status: 502,
    kind: "upstream-broken",
    error: "http_response_incomplete",
    hint: "nothing was sent again; ask Wise whether the request was carried out before repeating a \
           payment",
    fields: &[],
};

/// A house that needs no login.
fn personal(wise: &Simulator) -> Plan<'_> {
    House::on(wise).lane("personal").logged_out()
}

#[tokio::test]
async fn a_refused_connection_is_said_to_be_one() {
    let wise = house::wise().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let plan = personal(&wise).set("wise.plain", &format!("https://localhost:{port}"));
    let house = plan.start().await;
    for _ in 0..2 {
        let answer = house.get("/v1/me").await;
        assert_problem(&answer, &UNREACHABLE);
        assert_eq!(
            answer.json()["detail"],
            "`localhost` refused the connection"
        );
        row("way-refused").shown(&house, &answer, 0).await;
    }
}

#[tokio::test]
async fn a_wise_that_does_not_take_the_connection_is_unreachable() {
    let wise = house::wise().await;
    // A queue of one, which we fill ourselves: the next caller waits for ever.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let full = socket.listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let _filler = tokio::net::TcpStream::connect(address).await.unwrap();
    let plan = personal(&wise).set(
        "wise.plain",
        &format!("https://127.0.0.1:{}", address.port()),
    );
    let house = plan.set("upstream.connect_timeout", "300ms").start().await;

    let answer = house.get("/v1/me").await;

    assert_problem(
        &answer,
        &Problem {
            error: "connection_timeout",
            ..UNREACHABLE
        },
    );
    let detail = "`127.0.0.1` did not answer in time while connecting";
    assert_eq!(answer.json()["detail"], detail);
    row("way-no-connection").shown(&house, &answer, 0).await;
}

#[tokio::test]
async fn a_wise_that_does_not_shake_hands_is_unreachable() {
    let wise = house::wise().await;
    let mut silent = Stub::start().await;
    let port = silent.address.port();
    let plan = personal(&wise).set("wise.plain", &format!("https://localhost:{port}"));
    let house = plan.set("upstream.connect_timeout", "300ms").start().await;

    let (answer, _connection) = tokio::join!(house.get("/v1/me"), silent.connection());

    assert_problem(
        &answer,
        &Problem {
            error: "connection_timeout",
            ..UNREACHABLE
        },
    );
    let detail = "`localhost` did not answer in time while shaking hands";
    assert_eq!(answer.json()["detail"], detail);
    row("way-slow-handshake").shown(&house, &answer, 0).await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let (wise, other) = (house::wise().await, house::wise().await);
    let house = personal(&wise)
        .set("wise.plain", &other.plain_url())
        .start()
        .await;

    let answer = house.get("/v1/me").await;

    let hint = "if this host uses a private CA, name its certificate in `extra_ca`; if not, \
                something between here and Wise is opening the connection";
    assert_problem(&answer, &Problem { hint, ..TLS_FAILED });
    let arrived = other.recorded().len();
    row("way-unknown-ca").shown(&house, &answer, arrived).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let wise = house::wise().await;
    let port = wise.plain_address().port();
    let house = personal(&wise)
        .set("wise.plain", &format!("https://wise.test:{port}"))
        .toml("[upstream.resolve]\n\"wise.test\" = \"127.0.0.1\"\n")
        .start()
        .await;

    let answer = house.get("/v1/me").await;

    let hint = "check the configured host, and `upstream.resolve` if it is set";
    assert_problem(&answer, &Problem { hint, ..TLS_FAILED });
    let arrived = wise.recorded().len();
    row("way-wrong-name").shown(&house, &answer, arrived).await;
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_refused() {
    let wise = house::wise().await;
    let site = personal(&wise).prepare().await;
    let (port, shaken) = expired_server(&site).await;
    let plan = personal(&wise).set("wise.plain", &format!("https://localhost:{port}"));
    let house = plan.inside(&site).start().await;

    let answer = house.get("/v1/me").await;

    let hint = "check this machine's clock; if it is right, tell Wise";
    assert_problem(&answer, &Problem { hint, ..TLS_FAILED });
    let arrived = shaken.load(Ordering::Relaxed);
    row("way-expired").shown(&house, &answer, arrived).await;
}

#[tokio::test]
async fn what_does_not_speak_tls_is_said_to_be_so() {
    let wise = house::wise().await;
    let mut talker = Stub::start().await;
    let port = talker.address.port();
    let plan = personal(&wise).set("wise.plain", &format!("https://localhost:{port}"));
    // It says its piece once.
    let house = plan.set("upstream.warm_connections", "0").start().await;
    let talks = async {
        let mut wire = talker.connection().await;
        wire.send("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        wire
    };

    let (answer, _wire) = tokio::join!(house.get("/v1/me"), talks);

    let (error, hint) = (
        "tls_protocol_error",
        "check host and port: they must be an HTTPS address",
    );
    assert_problem(
        &answer,
        &Problem {
            error,
            hint,
            ..TLS_FAILED
        },
    );
    row("way-no-tls").shown(&house, &answer, 0).await;
}

/// Both moments in which a client certificate is judged: within the handshake of TLS 1.2, and after
/// our side of that of TLS 1.3; over both versions of HTTP.
#[tokio::test]
async fn a_client_certificate_that_wise_refuses_is_said_to_be_refused() {
    for (versions, hint) in [
        (
            TlsVersions::Tls12,
            "run `cert show`: it must be the unexpired certificate that Wise issued for this \
             client id and environment",
        ),
        (
            TlsVersions::Tls13,
            "check it: `wise-auth-proxy cert show`; it must be Wise's for this client id, \
             unexpired and unrevoked",
        ),
    ] {
        for http1_only in [true, false] {
            for revoked in [true, false] {
                let wise = house::wise().await;
                wise.change_faults(|faults| {
                    faults.tls.versions = versions;
                    faults.tls.http1_only = http1_only;
                });
                let token_url = format!("{}/oauth/token", wise.plain_url());
                let plan = House::on(&wise).set("wise.token_url", &token_url);
                let site = plan.prepare().await;
                wise.clear();
                if revoked {
                    wise.revoke_certificate("house").unwrap();
                } else {
                    self_signed(&site);
                }
                let house = site.start().await;

                let rejected = Problem {
                    status: 502,
                    kind: "client-certificate-rejected",
                    error: "tls_alert_received",
                    hint,
                    fields: &[],
                };
                let mut last = None;
                for _ in 0..3 {
                    // The client-credentials kind needs no login.
                    let answer = house.get("/v3/applications/acme/subscriptions").await;
                    println!("{versions:?}, HTTP/1.1 only: {http1_only}, revoked: {revoked}");
                    assert_problem(&answer, &rejected);
                    last = Some(answer);
                }
                let seen = wise.recorded();
                let calls = seen.iter().filter(|seen| seen.target != "/oauth/token");
                let case = row("way-our-certificate-refused");
                case.shown(&house, &last.unwrap(), calls.count()).await;
            }
        }
    }
}

/// A client certificate that nobody vouches for.
fn self_signed(site: &Site) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, house::CLIENT_ID);
    let leaf = params.self_signed(&key).unwrap();
    site.secret("client.key", &key.serialize_pem());
    std::fs::write(site.path("client.pem"), leaf.pem()).unwrap();
}

#[tokio::test]
async fn a_certificate_that_wise_refuses_in_http_is_wises_answer() {
    for (missing, status, id) in [
        (
            MissingCertificate::BadRequest,
            400,
            "way-no-certificate-400",
        ),
        (MissingCertificate::Forbidden, 403, "way-no-certificate-403"),
    ] {
        let wise = house::wise().await;
        wise.change_faults(|faults| faults.tls.missing_certificate = missing);
        // In this lane nothing is shown, though the host is the one that asks.
        let mtls = wise.mtls_url();
        let house = personal(&wise).set("wise.plain", &mtls).start().await;

        let answer = house.get("/v1/me").await;

        assert_eq!(answer.status, status, "{answer:?}");
        assert!(
            answer.headers.contains_key("x-trace-id"),
            "Wise's fields pass"
        );
        assert!(
            !answer.headers.contains_key("proxy-status"),
            "it is not ours: {answer:?}"
        );
        row(id).shown(&house, &answer, wise.recorded().len()).await;
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer_is_broken_and_nothing_is_sent_twice() {
    for http in ["1.1", "2"] {
        let wise = house::wise().await;
        let house = personal(&wise).set("upstream.http", http).start().await;
        // The first on a fresh connection, the second on one that has served before.
        assert_eq!(house.get("/v1/me").await.status, 200);
        for path in ["/v1/simulator/close", "/v1/simulator/reset"] {
            for request in [
                Request::get(path).body("".into()).unwrap(),
                house::post(path, &json!({"customerTransactionId": path})),
            ] {
                wise.clear();
                let answer = house.request(request).await;
                println!("HTTP/{http} {path}");
                assert_problem(&answer, &BROKEN);
                assert_eq!(wise.recorded().len(), 1, "one request, one arrival");
            }
        }
        assert_eq!(wise.counters().repeated(), Vec::<&str>::new());
        assert_eq!(
            house.get("/v1/me").await.status,
            200,
            "the next one has a fresh connection"
        );
    }
}

#[tokio::test]
async fn a_payment_whose_answer_is_lost_is_not_sent_again() {
    for http in ["1.1", "2"] {
        let wise = house::wise().await;
        let house = personal(&wise).set("upstream.http", http).start().await;
        wise.change_faults(|faults| {
            faults.resource.disturb = Some(Disturb::times(Disturbance::LoseAnswer, 1));
        });
        let answer = house.request(house::post(
            "/v1/transfers",
            &json!({"customerTransactionId": "a"}),
        ));

        assert_problem(&answer.await, &BROKEN);
        assert_eq!(wise.recorded().len(), 1, "HTTP/{http}");
    }
}

#[tokio::test]
async fn an_idle_connection_that_has_died_costs_no_request() {
    for http in ["1.1", "2"] {
        let wise = house::wise().await;
        let house = personal(&wise).set("upstream.http", http).start().await;
        for _ in 0..20 {
            assert_eq!(house.get("/v1/me").await.status, 200, "HTTP/{http}");
            // Politely, as a server does that has had enough of a connection.
            wise.finish_connections();
        }
    }
}

#[tokio::test]
async fn a_garbled_answer_is_broken_and_nothing_is_sent_twice() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.1 two hundred OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "",
    ] {
        let wise = house::wise().await;
        let mut stub = Stub::start().await;
        let house = personal(&wise).towards(&stub).start().await;
        let speaks = async {
            let mut wire = stub.connection().await;
            wire.read_to("\r\n\r\n{}").await;
            wire.send(garbage).await;
        };
        let sent = house.request(house::post("/v1/transfers", &json!({})));

        let (answer, ()) = tokio::join!(sent, speaks);

        println!("{garbage:?}");
        assert_problem(&answer, &BROKEN);
        assert_eq!(stub.uncalled(), 0, "nobody else was asked");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_looks_complete() {
    for http in ["1.1", "2"] {
        for path in [
            "/v1/simulator/truncated/100000",
            "/v1/simulator/truncated/100000?reset",
        ] {
            let wise = house::wise().await;
            let house = personal(&wise).set("upstream.http", http).start().await;
            let mut wire = Wire::to(house.door).await;
            wire.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
                .await;

            let head = wire.read_to("\r\n\r\n").await;

            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            assert!(head.contains("content-length: 100000\r\n"), "{head}");
            let body = wire.rest().await;
            assert!(body.len() < 100_000, "HTTP/{http}: {} bytes", body.len());
            assert_eq!(wise.recorded().len(), 1, "HTTP/{http}: sent once");
        }
    }
}

#[tokio::test]
async fn a_chunked_answer_that_breaks_off_never_looks_complete() {
    let wise = house::wise().await;
    let mut stub = Stub::start().await;
    let house = personal(&wise).towards(&stub).start().await;
    let mut wire = Wire::to(house.door).await;
    wire.send("GET /v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let mut speaker = stub.connection().await;
    speaker.read_to("\r\n\r\n").await;
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    speaker.send(answer).await;

    let head = wire.read_to("\r\n\r\n").await;
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    wire.read_to("hello").await;
    drop(speaker);

    let rest = String::from_utf8(wire.rest().await).unwrap();
    assert_eq!(rest, "\r\n", "no last chunk that Wise did not send");
}

#[tokio::test]
async fn a_silent_wise_is_a_timeout() {
    for http in ["1.1", "2"] {
        let wise = house::wise().await;
        wise.change_faults(|faults| {
            faults.resource.disturb = Some(Disturb::times(Disturbance::Hang, 1));
        });
        let plan = personal(&wise).set("upstream.http", http);
        let house = plan.set("upstream.answer_timeout", "300ms").start().await;

        let answer = house
            .request(house::post("/v1/transfers", &json!({})))
            .await;

        let timeout = Problem {
            status: 504,
            kind: "upstream-timeout",
            error: "http_response_timeout",
            hint: "the request may have been carried out; ask Wise before repeating a payment",
            fields: &[],
        };
        assert_problem(&answer, &timeout);
        assert_eq!(wise.recorded().len(), 1, "HTTP/{http}: sent once");
        assert_eq!(
            house.get("/v1/me").await.status,
            200,
            "the next one is not in its way"
        );
    }
}

#[tokio::test]
async fn an_answer_that_stands_still_is_broken_off() {
    let wise = house::wise().await;
    let mut stub = Stub::start().await;
    let plan = personal(&wise).towards(&stub);
    let house = plan
        .set("upstream.body_idle_timeout", "300ms")
        .start()
        .await;
    let mut wire = Wire::to(house.door).await;
    wire.send("GET /v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let mut speaker = stub.connection().await;
    speaker.read_to("\r\n\r\n").await;
    speaker
        .send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        .await;

    wire.read_to("\r\n\r\n").await;
    assert_eq!(wire.rest().await, b"hello", "and no more, and no end");
    assert_eq!(
        speaker.rest().await,
        b"",
        "Wise's connection is closed as well"
    );
}

#[tokio::test]
async fn an_application_that_stops_sending_is_told_so() {
    let wise = house::wise().await;
    let house = personal(&wise)
        .set("upstream.answer_timeout", "300ms")
        .start()
        .await;
    let mut wire = Wire::to(house.door).await;
    wire.send(
        "POST /v1/simulator/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello",
    )
    .await;

    let answer = wire.answer().await;

    let stalled = Problem {
        status: 408,
        kind: "request-timeout",
        error: "http_request_error",
        hint: "send the body without pauses",
        fields: &[("connection", "close")],
    };
    assert_problem(&answer, &stalled);
    let case = row("door-body-stalls");
    case.shown(&house, &answer, wise.recorded().len()).await;
}
