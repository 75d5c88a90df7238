//! Where a request can be made to go: to Wise and nowhere else, with path and query as they came.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;

use crate::house::{self, House};
use crate::wire::Wire;
use crate::witness::{Message, Seen, Witness};

/// A server on this machine that nobody may be led to.
struct Canary {
    port: u16,
    called: Arc<AtomicUsize>,
}

impl Canary {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let called = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&called);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { port, called }
    }
}

async fn house_before(witness: &Witness) -> House {
    let wise = house::wise().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    plan.set("wise.plain", &witness.url()).start().await
}

/// Sends a request of this target and `Host`; the status it is answered with.
async fn ask(house: &House, method: &str, target: &str, host: &str) -> u16 {
    let mut wire = Wire::to(house.door).await;
    let line = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    wire.send(line).await;
    wire.answer().await.status.as_u16()
}

fn whole(seen: Vec<Seen>) -> Vec<Message> {
    let message = |seen: Seen| match seen {
        Seen::Whole(message) => message,
        Seen::Cut | Seen::Malformed(..) => panic!("{seen:?}"),
    };
    seen.into_iter().map(message).collect()
}

#[tokio::test]
async fn path_and_query_leave_as_they_came_for_wise_and_nobody_else() {
    let (witness, canary) = (Witness::start().await, Canary::start().await);
    let house = house_before(&witness).await;
    let port = canary.port;
    let targets = [
        "/..".to_owned(),
        "/v1/../../../etc/passwd".into(),
        "/v1/./me/..//".into(),
        "/%2e%2e/%2E%2E/v1/me".into(),
        "/v1%2f..%2Fme".into(),
        "/v1/..;/me".into(),
        "/v1/me%00".into(),
        "/v1/me%0d%0aAuthorization:%20Bearer%20theirs".into(),
        "/v1/me?a=%0D%0AHost:%20evil.example&b=%0a".into(),
        "/v1/me?a=b&a=c&&=&?".into(),
        "/%c0%ae%c0%ae/%u002e".into(),
        "/\\evil.example/v1/me".into(),
        "/%5cevil.example".into(),
        format!("//127.0.0.1:{port}/v1/me"),
        format!("///127.0.0.1:{port}"),
        format!("/@127.0.0.1:{port}/"),
        format!("/:{port}/"),
        format!("/http://127.0.0.1:{port}/"),
        format!("/v1/me?url=http://127.0.0.1:{port}/"),
        format!("/v1/me?next=//user:word@127.0.0.1:{port}"),
    ];
    for target in &targets {
        assert_eq!(
            ask(&house, "GET", target, "localhost").await,
            200,
            "{target}"
        );
        let seen = whole(witness.take());
        assert_eq!(seen.len(), 1, "{target}");
        assert_eq!(&seen[0].target, target, "byte for byte");
        let host = format!("localhost:{}", witness.address.port());
        assert_eq!(seen[0].field("host").collect::<Vec<_>>(), [&host]);
    }
    assert_eq!(canary.called.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn no_target_leads_anywhere_but_to_wise() {
    let (witness, canary) = (Witness::start().await, Canary::start().await);
    let house = house_before(&witness).await;
    let port = canary.port;
    let mut refused = vec![
        ("CONNECT".to_owned(), format!("127.0.0.1:{port}"), 403),
        ("CONNECT".into(), "localhost:443".into(), 403),
        ("CONNECT".into(), "169.254.169.254:80".into(), 403),
        ("TRACE".into(), "/v1/me".into(), 403),
        ("OPTIONS".into(), "*".into(), 400),
        ("GET".into(), "*".into(), 400),
        ("GET".into(), format!("localhost:{port}"), 400),
        ("GET".into(), format!("//user@127.0.0.1:{port}"), 200),
    ];
    for (target, status) in [
        // Metadata services, and ways to write addresses.
        ("http://169.254.169.254/latest/meta-data/", 403),
        ("http://[fd00:ec2::254]/latest/meta-data/", 403),
        ("http://metadata.google.internal/", 403),
        ("http://100.100.100.200/", 403),
        ("http://2130706433/", 403),
        ("http://017700000001/", 403),
        ("http://0x7f000001/", 403),
        ("http://0x7f.1/", 403),
        ("http://127.1/", 403),
        ("http://0.0.0.0/", 403),
        ("http://[::]/", 403),
        ("http://[::ffff:127.0.0.1]/", 403),
        ("http://[::ffff:169.254.169.254]/", 403),
        ("http://[fe80::1%25lo]/", 403),
        ("http://10.0.0.1/", 403),
        // Names that look like ours, or become ours.
        ("http://localhost./", 403),
        ("http://localhost.evil.example/", 403),
        ("http://evil.example#@localhost/", 403),
        ("http://evil.example?@localhost/", 403),
        ("http://evil.example/@localhost/", 403),
        ("http://127.0.0.1.nip.io/", 403),
        ("http://localhost%2eevil.example/", 400),
        ("http://localhost%00.evil.example/", 400),
        ("http://user:word@localhost/", 400),
        ("http://localhost@evil.example/", 400),
        ("http://localhost:80@evil.example/", 400),
        ("http://evil.example\\@localhost/", 400),
        ("http://localhost:99999999/", 400),
        ("http://localhost:-80/", 400),
        ("http://localhost:80:80/", 400),
        ("http://[::1/", 400),
        ("http:///v1/me", 400),
        ("http:/localhost/v1/me", 400),
        ("http:localhost/v1/me", 400),
        ("ftp://localhost/v1/me", 400),
        ("file:///etc/passwd", 400),
        ("gopher://localhost:6379/_x", 400),
        ("javascript://localhost/%0aalert(1)", 400),
    ] {
        refused.push(("GET".into(), target.into(), status));
    }
    let mut odd = Vec::new();
    for (method, target, status) in &refused {
        let got = ask(&house, method, target, "localhost").await;
        if got != *status {
            odd.push(format!("{method} {target}: {got} and not {status}"));
        }
        // Whatever left, left for Wise.
        assert_eq!(
            whole(witness.take()).len(),
            usize::from(got == 200),
            "{target}"
        );
    }
    assert_eq!(odd, Vec::<String>::new());
    assert_eq!(
        canary.called.load(Ordering::SeqCst),
        0,
        "nobody was led there"
    );
}

#[tokio::test]
async fn absolute_form_of_our_own_names_is_served() {
    let witness = Witness::start().await;
    let house = house_before(&witness).await;
    for (target, sent) in [
        ("http://localhost/v1/me?a=b", "/v1/me?a=b"),
        ("HTTP://LOCALHOST/v1/me", "/v1/me"),
        ("https://127.0.0.1/v1/me", "/v1/me"),
        ("http://[::1]:8080/v1/me", "/v1/me"),
        ("http://localhost", "/"),
        ("http://localhost?a=b", "/?a=b"),
        ("http://localhost//evil.example/", "//evil.example/"),
    ] {
        // `Host` is ignored beside it (RFC 9112 §3.2.2), whatever it names.
        assert_eq!(
            ask(&house, "GET", target, "evil.example").await,
            200,
            "{target}"
        );
        let seen = whole(witness.take());
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].target, sent, "{target}");
    }
}

#[tokio::test]
async fn a_host_that_could_be_rebound_is_not_ours() {
    let witness = Witness::start().await;
    let house = house_before(&witness).await;
    for (host, status) in [
        ("rebound.evil.example", 421),
        ("localhost.", 421),
        ("localhost.evil.example:8080", 421),
        ("127.0.0.1.nip.io", 421),
        ("0.0.0.0", 421),
        ("[::]", 421),
        ("2130706433", 421),
        ("0x7f000001", 421),
        ("127.1", 421),
        ("169.254.169.254", 421),
        ("[fd00:ec2::254]", 421),
        ("[fe80::1%25lo]", 421),
        ("", 421),
        ("localhost, evil.example", 400),
        ("localhost evil.example", 400),
        ("evil.example@localhost", 400),
        ("http://localhost", 400),
        ("localhost/", 400),
        ("localhost#", 400),
        ("localhost:8080:8080", 400),
        ("localhost:80a", 400),
        ("[::1", 400),
        ("loc\u{e4}lhost", 400),
    ] {
        assert_eq!(ask(&house, "GET", "/v1/me", host).await, status, "{host}");
    }
    for host in [
        "localhost",
        "LocalHost:1",
        "127.0.0.1:8080",
        "127.8.8.8",
        "[::1]:80",
        "[::1]",
    ] {
        assert_eq!(ask(&house, "GET", "/v1/me", host).await, 200, "{host}");
    }
    assert_eq!(whole(witness.take()).len(), 6, "and nothing else");
}
