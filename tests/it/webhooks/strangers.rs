//! Who else may knock at a door that is open to the internet, and what it costs.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::tls_client::{Authority, Client, Leaf};

const OURS: &str = "90aa8e14-4ef1-4a56-861c-f3c9cde097ea";
const OTHERS: &str = "01234567-89ab-cdef-0123-456789abcdef";
const DELIVERIES: &str = "wise_proxy_webhook_deliveries_total";

/// As [`Sender::delivery`], of a subscription.
fn of(sender: &Sender, id: &str, subscription: &str) -> Request<Bytes> {
    let body = format!("{{\"data\":{{}},\"subscription_id\":\"{subscription}\"}}");
    sender.delivery(id, body.as_bytes())
}

/// Waits for the count: who is turned away may know it before it is counted.
async fn counted(house: &House, outcome: &str, wanted: f64) {
    let label = format!("outcome=\"{outcome}\"");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let counted = house.metric(DELIVERIES, &label).await;
        if (counted - wanted).abs() < 0.5 {
            return;
        }
        assert!(
            counted < wanted && tokio::time::Instant::now() < deadline,
            "{outcome}: {counted}, not {wanted}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Changes what the configuration says.
fn edit(site: &Site, from: &str, to: &str) {
    let path = site.path("house.toml");
    let typed = std::fs::read_to_string(&path).unwrap();
    assert!(typed.contains(from), "{typed}");
    std::fs::write(&path, typed.replace(from, to)).unwrap();
}

/// Waits until the other side has closed.
async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let read = stream.read_to_end(&mut heard);
    let read = tokio::time::timeout(PATIENCE, read).await;
    // Closed with something unread it is a reset.
    let _how = read.expect("it is closed");
    heard
}

#[tokio::test]
async fn a_delivery_of_anothers_subscription_is_refused_although_wise_signed_it() {
    let ours = format!("subscriptions = [\"{}\"]", OURS.to_uppercase());
    let setup = Setup::with(&ours).await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    for request in [
        of(&setup.sender, "theirs", OTHERS),
        setup.sender.delivery("nobodys", b"{}"),
        setup.sender.delivery("no-json", b"data"),
    ] {
        let answer = ask(to, request).await;
        assert_eq!(answer.status, 403);
        assert_eq!(answer.problem(), "subscription-unknown");
        let said = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!said.contains(OURS), "{said}");
    }
    // Who cannot sign learns nothing of subscriptions.
    let forged = of(&Sender::new(), "forged", OTHERS);
    assert_eq!(ask(to, forged).await.problem(), "signature-wrong");
    assert_eq!(ask(to, of(&setup.sender, "ours", OURS)).await.status, OK);
    counted(&house, "stranger", 3.0).await;
    counted(&house, "forged", 1.0).await;
    house.logs("a delivery was not taken: Strange").await;
    // Another is made: a reload is enough.
    edit(
        &setup.site,
        &ours,
        &format!("subscriptions = [\"{OTHERS}\"]"),
    );
    house.reload().await;
    assert_eq!(
        ask(to, of(&setup.sender, "theirs", OTHERS)).await.status,
        OK
    );
    let old = ask(to, of(&setup.sender, "late", OURS)).await;
    assert_eq!(old.problem(), "subscription-unknown");
    setup.application.got(2).await;
    queued(&house, 0).await;
    assert_eq!(setup.application.ids(), ["ours", "theirs"]);
}

/// A webhook with TLS that asks for certificates of an authority, and that authority.
async fn asking(more: &str) -> (Setup, Authority, Authority) {
    let settings = format!(
        "certificate = \"hook.pem\"\nkey = \"hook.key\"\nclient_ca = \"clients.pem\"\n{more}"
    );
    let setup = Setup::with(&settings).await;
    let (own, clients) = (Authority::new(), Authority::new());
    own.leaf(&["localhost"]).write(&setup.site, "hook");
    std::fs::write(setup.site.path("clients.pem"), &clients.pem).unwrap();
    (setup, own, clients)
}

async fn connect(to: SocketAddr, own: &Authority, leaf: &Leaf) -> std::io::Result<Connection> {
    let stream = TcpStream::connect(to).await?;
    let client = Client::with(&own.pem, Some(leaf));
    client.http1(stream, "localhost").await
}

#[tokio::test]
async fn a_certificate_must_show_one_of_the_names() {
    let (setup, own, clients) = asking("client_names = [\"hooks.wise.test\"]").await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    let send = async |id: &str, leaf: &Leaf| {
        let mut connection = connect(to, &own, leaf).await.unwrap();
        let request = of(&setup.sender, id, id);
        connection.request(request).await.unwrap()
    };
    let other = clients.leaf(&["somebody.wise.test"]);
    let answer = send("other", &other).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.problem(), "certificate-unknown");
    assert_eq!(answer.headers["retry-after"], "60");
    assert_eq!(answer.headers["connection"], "close");
    let right = clients.leaf(&["somebody.wise.test", "hooks.wise.test"]);
    assert_eq!(send("right", &right).await.status, OK);
    counted(&house, "uncertified", 1.0).await;
    // Without names every certificate of the authority will do.
    edit(&setup.site, "client_names = [\"hooks.wise.test\"]", "");
    house.reload().await;
    assert_eq!(send("other", &other).await.status, OK);
    setup.application.got(2).await;
    assert_eq!(setup.application.ids(), ["right", "other"]);
}

#[tokio::test]
async fn an_authority_that_a_reload_withdraws_counts_no_more_on_connections_that_are_open() {
    let (setup, own, clients) = asking("").await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    let leaf = clients.leaf(&["hooks.wise.test"]);
    let mut first = connect(to, &own, &leaf).await.unwrap();
    let request = |id: &str| of(&setup.sender, id, id);
    assert_eq!(first.request(request("one")).await.unwrap().status, OK);
    // Read anew and the same: it goes on.
    house.reload().await;
    assert_eq!(first.request(request("two")).await.unwrap().status, OK);
    std::fs::write(setup.site.path("clients.pem"), Authority::new().pem).unwrap();
    house.reload().await;
    let answer = first.request(request("three")).await.unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.problem(), "certificate-unknown");
    counted(&house, "uncertified", 1.0).await;
    setup.application.got(2).await;
    assert_eq!(setup.application.ids(), ["one", "two"]);
}

#[tokio::test]
async fn http_2_is_not_spoken_here() {
    let (setup, own, clients) = asking("").await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    let leaf = clients.leaf(&["hooks.wise.test"]);
    let client = Client::with(&own.pem, Some(&leaf));
    for (offered, settled) in [
        (&["h2", "http/1.1"][..], Some("http/1.1")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
        (&["h2"], None),
    ] {
        let stream = TcpStream::connect(to).await.unwrap();
        let shaken = client.shake(stream, "localhost", offered).await;
        if offered == ["h2"] {
            assert!(shaken.is_err(), "there is nothing to speak");
            continue;
        }
        let mut shaken = shaken.unwrap();
        let spoken = shaken.get_ref().1.alpn_protocol();
        assert_eq!(spoken, settled.map(str::as_bytes), "{offered:?}");
        // And nobody who does so without having asked is understood.
        shaken
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        let mut heard = Vec::new();
        let read = shaken.read_to_end(&mut heard);
        let _how = tokio::time::timeout(PATIENCE, read).await.unwrap();
        assert!(!heard.starts_with(&[0, 0]), "a frame: {heard:?}");
    }
    counted(&house, "no_handshake", 1.0).await;
}

#[tokio::test]
async fn one_sender_has_a_quarter_of_the_places_and_the_next_is_closed_at_once() {
    let setup = Setup::new().await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    // Whoever is inside has been heard, so that the count is exact.
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        stream.write_all(get).await.unwrap();
        let mut start = [0; 13];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 405 ");
        held.push(stream);
    }
    for _ in 0..3 {
        let mut stream = TcpStream::connect(to).await.unwrap();
        assert!(closed(&mut stream).await.is_empty());
    }
    house.logs("one sender has as many as one may have").await;
    counted(&house, "crowded", 3.0).await;
    let log = house.log();
    let told = log.matches("connections are closed as they come").count();
    assert_eq!(told, 1, "{log}");
    // Others come in meanwhile: all of 127.0.0.0/8 is this machine.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = Connection::over(socket.connect(to).await.unwrap()).await;
    let request = setup.sender.delivery("other", b"{}");
    assert_eq!(other.request(request).await.unwrap().status, OK);
    // Silence is not paid for: they are all closed soon, and there is room again.
    for mut stream in held {
        closed(&mut stream).await;
    }
    assert_eq!(setup.sender.send(to, "again").await.status, OK);
    setup.application.got(2).await;
}

#[tokio::test]
async fn a_full_queue_is_told_to_the_operator_and_noise_does_not_hide_it() {
    let setup = Setup::with("max_queued = 1\npath = \"/wise\"").await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    setup.application.change(|mood| mood.down = true);
    assert_eq!(setup.sender.send(to, "one").await.status, OK);
    let elsewhere = Request::get("/.env").body(Bytes::new()).unwrap();
    assert_eq!(ask(to, elsewhere).await.status, 404);
    house.logs("a delivery was not taken: Elsewhere").await;
    for _ in 0..3 {
        let answer = setup.sender.send(to, "two").await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.problem(), "queue-full");
    }
    house.logs("a delivery was not taken: Full").await;
    let events = |status: &serde_json::Value| {
        let all = status["events"].as_array().unwrap();
        let unkept = all.iter().filter(|it| it["kind"] == "webhook_unkept");
        unkept.map(|it| it["text"].to_string()).collect::<Vec<_>>()
    };
    let told = events(&house.status().await);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("max_queued"), "{told:?}");
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_door_that_is_busy_keeps_neither_requests_nor_the_operator_waiting() {
    let setup = Setup::new().await;
    let trace = setup.site.path("trace");
    let script = format!("webhook-verified = pause\ntrace = {}", trace.display());
    let house = setup.site.start().await;
    let to = door(&house).await;
    setup.site.failpoints(&script);
    let request = setup.sender.delivery("one", b"{}");
    let sent = tokio::spawn(async move { ask(to, request).await });
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while std::fs::read_to_string(&trace).is_err() {
        assert!(tokio::time::Instant::now() < deadline, "it never got there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The thread of the doors stands still. Nobody else does.
    let asked = tokio::time::timeout(PATIENCE, async {
        house.reload().await;
        house.metric(DELIVERIES, "").await;
        house.status().await
    });
    let status = asked.await.expect("the operator is answered");
    assert_eq!(status["webhooks"][0]["queued"], 0);
    std::fs::remove_file(setup.site.path("failpoints")).unwrap();
    assert_eq!(sent.await.unwrap().status, OK);
    setup.application.got(1).await;
    // And it ends with the proxy.
    assert!(house.stop().await.success());
}
