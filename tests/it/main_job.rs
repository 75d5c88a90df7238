//! The main job: plain request in, live token and client certificate on, Wise's answer back.

use http::Request;
use wise_auth_proxy::simulator::{Credential, Door};

use crate::house::{self, House, PROFILE};

#[tokio::test]
async fn the_personal_lane_carries_the_personal_token_to_the_plain_host() {
    let wise = house::wise().await;
    let house = House::on(&wise).lane("personal").logged_out().start().await;

    let request = Request::get("/v1/me?x=%20y").header("authorization", "Bearer theirs");
    let answer = house.send(request).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    let arrived = wise.recorded().pop().unwrap();
    assert_eq!(
        (arrived.door, arrived.credential.clone()),
        (Door::Plain, Credential::Personal)
    );
    assert_eq!(
        arrived.target, "/v1/me?x=%20y",
        "path and query pass unchanged"
    );
    assert_eq!(arrived.header("authorization").count(), 1);
    assert!(
        arrived
            .tls
            .as_ref()
            .is_some_and(|tls| tls.client_certificate.is_none())
    );
    assert_eq!(house.stop().await.code(), Some(0));
}

#[tokio::test]
async fn the_destination_lane_carries_the_live_token_and_the_certificate() {
    let wise = house::wise().await;
    let house = House::on(&wise).start().await;

    let answer = house.get(&format!("/v2/profiles/{PROFILE}")).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(
        answer.headers.contains_key("x-trace-id"),
        "Wise's fields pass"
    );
    let arrived = wise.recorded().pop().unwrap();
    assert_eq!(arrived.door, Door::Mtls);
    let Credential::User { profile, live, .. } = arrived.credential else {
        panic!("not the user token: {arrived:?}")
    };
    assert!(profile == PROFILE && live);
    let tls = arrived.tls.unwrap();
    assert_eq!(
        tls.client_certificate.unwrap().common_name,
        house::CLIENT_ID
    );
}

#[tokio::test]
async fn an_application_still_sending_reads_the_refusal() {
    use std::io::{Read as _, Write as _};
    let wise = house::wise().await;
    let house = House::on(&wise).logged_out().start().await;
    let door = house.door;

    let seen = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(door).unwrap();
        let size = 10 * 1024 * 1024;
        let head = format!(
            "POST /v1/transfers HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A simple client writes its whole body before it looks for an answer.
        stream
            .write_all(&vec![b'x'; size])
            .expect("the connection stays open for the body");
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        String::from_utf8(start.to_vec()).unwrap()
    });

    assert_eq!(seen.await.unwrap(), "HTTP/1.1 503");
}

#[tokio::test]
async fn the_body_of_a_get_leaves_whole_however_it_is_framed() {
    for http in ["1.1", "2"] {
        let wise = house::wise().await;
        let plan = House::on(&wise).lane("personal").logged_out();
        let house = plan.set("upstream.http", http).start().await;
        for framed in [
            "content-length: 5\r\n\r\nhello",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ] {
            let mut wire = crate::wire::Wire::to(house.door).await;
            let head = "GET /v1/simulator/echo HTTP/1.1\r\nhost: localhost\r\n";
            wire.send(format!("{head}{framed}")).await;
            assert_eq!(wire.answer().await.json()["bytes"], 5, "{http} {framed:?}");
        }
    }
}
