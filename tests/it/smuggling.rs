//! Requests that two servers could read as two different ones. Each case goes through two houses:
//! what leaves over HTTP/1.1 is read by the letter, byte for byte ([`Witness`]); what leaves over
//! HTTP/2 is what the simulator records.

use wise_auth_proxy::simulator::{Recorded, Simulator};

use crate::house::{self, House, PERSONAL_TOKEN};
use crate::wire::Wire;
use crate::witness::{Message, Seen, Witness};

/// What must become of a request.
#[derive(Clone, Copy, Debug)]
enum Want {
    /// Our problem `bad-request` with this status, then the end of the connection; nothing that
    /// Wise could take for a request.
    Refused(u16),
    /// One request with this body at Wise, and its answer.
    Served(&'static str),
    /// The same, then the end of the connection.
    ServedLast(&'static str),
}

use Want::{Refused, Served, ServedLast};

/// What is sent behind a request, and must never be taken for one.
const SMUGGLED: &str = "GET /v1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn get(fields: &str) -> String {
    format!("GET /v1/me HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /v1/simulator/echo HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n{body}")
}

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

/// Two houses in lane `personal`, by the version of HTTP that they speak to Wise.
struct Houses {
    wise: Simulator,
    witness: Witness,
    over_http1: House,
    over_http2: House,
}

impl Houses {
    async fn start() -> Self {
        let (wise, witness) = (house::wise().await, Witness::start().await);
        let other = house::wise().await;
        let plan = |wise| House::on(wise).lane("personal").logged_out();
        let over_http1 = plan(&other).set("wise.plain", &witness.url());
        let over_http1 = over_http1.start().await;
        let over_http2 = plan(&wise).set("upstream.http", "2").start().await;
        Self {
            wise,
            witness,
            over_http1,
            over_http2,
        }
    }

    #[allow(
        clippy::print_stdout,
        reason = "a failing test shows which of its cases it was"
    )]
    async fn hold(&self, cases: &[(String, Want)]) {
        for (bytes, want) in cases {
            let shown: String = bytes.chars().take(300).collect();
            println!("{shown:?}: {want:?}");
            put(&self.over_http1, bytes, *want).await;
            check_bytes(&self.witness.take(), *want);
            put(&self.over_http2, bytes, *want).await;
            check_records(&self.wise.recorded(), *want);
            self.wise.clear();
        }
    }
}

/// Sends the bytes and checks what the application is told.
async fn put(house: &House, bytes: &str, want: Want) {
    let mut wire = Wire::to(house.door).await;
    wire.send(bytes).await;
    let answer = wire.answer().await;
    let (status, ends) = match want {
        Refused(status) => (status, true),
        Served(_) => (200, false),
        ServedLast(_) => (200, true),
    };
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    if let Refused(_) = want {
        assert_eq!(answer.problem(), "bad-request");
    }
    if ends {
        assert_eq!(answer.headers["connection"], "close");
        assert_eq!(wire.rest().await, b"", "the connection ends");
    } else {
        // It goes on: the next request on it is the next request.
        wire.send(get("")).await;
        assert_eq!(wire.answer().await.status, 200);
    }
}

/// Requests that arrived because of a case; the one that shows that the connection goes on apart.
fn expected(want: Want) -> Vec<Option<&'static str>> {
    match want {
        Refused(_) => Vec::new(),
        Served(body) => vec![Some(body), None],
        ServedLast(body) => vec![Some(body)],
    }
}

fn check_bytes(seen: &[Seen], want: Want) {
    let mut whole: Vec<&Message> = Vec::new();
    for seen in seen {
        match seen {
            Seen::Whole(message) => whole.push(message),
            // A body that broke off must not look whole, and this does not.
            Seen::Cut => assert!(matches!(want, Refused(_)), "half a request arrived"),
            Seen::Malformed(why, bytes) => {
                panic!("{why}: {:?}", String::from_utf8_lossy(bytes))
            }
        }
    }
    let wanted = expected(want);
    assert_eq!(whole.len(), wanted.len(), "{whole:?}");
    for (message, body) in whole.into_iter().zip(wanted) {
        let ours = format!("Bearer {PERSONAL_TOKEN}");
        let shown: Vec<_> = message.field("authorization").collect();
        assert_eq!(shown, [ours.as_str()], "exactly one, ours");
        assert_eq!(message.body, body.unwrap_or_default().as_bytes());
        let names = message.fields.iter().chain(&message.trailers);
        assert_only_end_to_end(names.map(|(name, _)| name.as_str()), &message.trailers);
    }
}

fn check_records(records: &[Recorded], want: Want) {
    let whole: Vec<_> = records.iter().filter(|it| it.body.complete).collect();
    let wanted = expected(want);
    assert_eq!(whole.len(), wanted.len(), "{whole:?}");
    for (record, body) in whole.into_iter().zip(wanted) {
        let ours = format!("Bearer {PERSONAL_TOKEN}");
        let shown: Vec<_> = record.header("authorization").collect();
        assert_eq!(shown, [ours.as_str()], "exactly one, ours");
        assert_eq!(record.body.bytes, body.map_or(0, str::len) as u64);
        let names = record.headers.0.iter().map(|(name, _)| name.as_str());
        assert_only_end_to_end(names, &[]);
    }
}

/// What Wise must never see from an application, under whatever spelling.
fn assert_only_end_to_end<'a>(names: impl Iterator<Item = &'a str>, trailers: &[(String, String)]) {
    for name in names {
        let dashed = name.replace('_', "-");
        let hop = [
            "connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "upgrade",
            "http2-settings",
            "proxy-authorization",
            "x-wise-profile",
        ];
        assert!(!hop.contains(&dashed.as_str()), "{name} must stay here");
        assert!(name == "transfer-encoding" || dashed != "transfer-encoding");
    }
    let ours = [
        "authorization",
        "host",
        "content-length",
        "transfer-encoding",
    ];
    assert!(
        trailers
            .iter()
            .all(|(name, _)| !ours.contains(&name.as_str()))
    );
}

#[tokio::test]
async fn a_body_has_one_length_or_none() {
    let both = |first: &str, second: &str| {
        let fields = format!("{first}\r\n{second}\r\n");
        post(&fields, &format!("2\r\nhi\r\n0\r\n\r\n{SMUGGLED}"))
    };
    let length = |value: &str| post(&format!("Content-Length: {value}\r\n"), "hello");
    Houses::start()
        .await
        .hold(&[
            // CL.TE and TE.CL: the chunks count, the connection ends (decision 0015).
            (
                both("Content-Length: 5", "Transfer-Encoding: chunked"),
                ServedLast("hi"),
            ),
            (
                both("Transfer-Encoding: chunked", "Content-Length: 5"),
                ServedLast("hi"),
            ),
            (
                both("Transfer-Encoding: chunked", "Content-Length: nonsense"),
                ServedLast("hi"),
            ),
            (
                both("Content-Length: nonsense", "Transfer-Encoding: chunked"),
                Refused(400),
            ),
            // Several that agree are one.
            (
                post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
                Served("hello"),
            ),
            (
                post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
                Refused(400),
            ),
            (
                post("Content-Length: 5\r\nContent-Length: +5\r\n", "hello"),
                Refused(400),
            ),
            (length("5, 5"), Refused(400)),
            (length("5,"), Refused(400)),
            (length("+5"), Refused(400)),
            (length("-5"), Refused(400)),
            (length("0x5"), Refused(400)),
            (length("5 5"), Refused(400)),
            (length("5;"), Refused(400)),
            (length("5.0"), Refused(400)),
            (length("\u{665}"), Refused(400)),
            (length(""), Refused(400)),
            (length("18446744073709551616"), Refused(400)),
            (length(" 5\t"), Served("hello")),
            (length("0005"), Served("hello")),
            (get("Content-Length: 5\r\n") + "hello", Served("hello")),
            (post("", ""), Served("")),
            (post("Content_Length: 5\r\n", ""), Served("")),
        ])
        .await;
}

#[tokio::test]
async fn a_transfer_coding_is_chunked_or_nothing() {
    let coded = |fields: &str| post(fields, &format!("2\r\nhi\r\n0\r\n\r\n{SMUGGLED}"));
    let value = |value: &str| coded(&format!("Transfer-Encoding: {value}\r\n"));
    let plain = |fields: &str| post(fields, "2\r\nhi\r\n0\r\n\r\n");
    let mut cases = vec![
        (plain("Transfer-Encoding: chunked\r\n"), Served("hi")),
        (plain("transfer-ENCODING: CHUNKED\r\n"), Served("hi")),
        (plain("Transfer-Encoding: \t chunked \t\r\n"), Served("hi")),
        (
            plain("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n"),
            Served("hi"),
        ),
        (coded("Transfer-Encoding : chunked\r\n"), Refused(400)),
        (
            coded("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            Refused(400),
        ),
        (
            coded("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
            Refused(400),
        ),
        (
            coded("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
            Refused(400),
        ),
        (
            coded("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n"),
            Refused(400),
        ),
        (coded("Transfer-Encoding:\r\n chunked\r\n"), Refused(400)),
        (
            coded("Transfer-Encoding: chunked\r\n").replace(
                "HTTP/1.1\r\nHost: localhost\r\nT",
                "HTTP/1.0\r\nHost: localhost\r\nT",
            ),
            Refused(400),
        ),
    ];
    for odd in [
        "xchunked",
        "chunked, identity",
        "identity, chunked",
        "gzip, chunked",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "chunked;q=1",
        "\"chunked\"",
        "'chunked'",
        "chunked\u{b}",
        "\u{b}chunked",
        "\u{a0}chunked",
        "c hunked",
        "identity",
        "",
    ] {
        cases.push((value(odd), Refused(400)));
    }
    Houses::start().await.hold(&cases).await;
}

#[tokio::test]
async fn a_chunk_is_as_long_as_it_says_and_says_it_plainly() {
    let ends = "\r\nhello\r\n0\r\n\r\n";
    let size = |size: &str| chunked(&format!("{size}{ends}"));
    Houses::start()
        .await
        .hold(&[
            (size("5"), Served("hello")),
            (size("0000000000000000000005"), Served("hello")),
            (size("5 \t"), Served("hello")),
            // An extension is nobody's (RFC 9112 §7.1.1) and does not leave.
            (size("5;name=value"), Served("hello")),
            (size("5;\u{1}\u{0}"), Served("hello")),
            (size(&format!("5;{}", "a".repeat(17 * 1024))), Refused(400)),
            // CVE-2025-55315: where does this extension end?
            (chunked("5;a\nhello\r\n0\r\n\r\n"), Refused(400)),
            (chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"), Refused(400)),
            (chunked("5;a\n\r\nhello\r\n0\r\n\r\n"), Refused(400)),
            (size("0x5"), Refused(400)),
            (size("-5"), Refused(400)),
            (size("+5"), Refused(400)),
            (size(" 5"), Refused(400)),
            (size("5 5"), Refused(400)),
            (size("5_0"), Refused(400)),
            (size("g"), Refused(400)),
            (size(""), Refused(400)),
            (size(";a=b"), Refused(400)),
            (size("10000000000000005"), Refused(400)),
            (size("ffffffffffffffffffffffff"), Refused(400)),
            (chunked("5\nhello\r\n0\r\n\r\n"), Refused(400)),
            (chunked("5\rhello\r\n0\r\n\r\n"), Refused(400)),
            (chunked("5\r\nhello\n0\r\n\r\n"), Refused(400)),
            (chunked("5\r\nhello0\r\n\r\n"), Refused(400)),
            (chunked("5\r\nhelloX\r\n0\r\n\r\n"), Refused(400)),
            (chunked("4\r\nhello\r\n0\r\n\r\n"), Refused(400)),
        ])
        .await;
}

#[tokio::test]
async fn what_stands_behind_a_body_authorises_and_frames_nothing() {
    let forbidden = "Authorization: Bearer theirs\r\nHost: evil.example\r\nContent-Length: 3\r\n\
        Transfer-Encoding: chunked\r\nX-Wise-Profile: 1\r\nProxy-Authorization: Basic eA==\r\n\
        Proxy_Authorization: Basic eA==\r\nConnection: close\r\nX-Checksum: 1\r\n";
    let names = "authorization, host, content-length, transfer-encoding, x-wise-profile, \
        proxy-authorization, proxy_authorization, connection, x-checksum";
    let body = |trailers: &str| format!("2\r\nhi\r\n0\r\n{trailers}\r\n");
    let announced = format!("Transfer-Encoding: chunked\r\nTrailer: {names}\r\n");
    Houses::start()
        .await
        .hold(&[
            (chunked(&body(forbidden)), Served("hi")),
            (post(&announced, &body(forbidden)), Served("hi")),
            (chunked(&body("Bad Name: x\r\n")), Refused(400)),
            (chunked(&body("A: b\nC: d\r\n")), Refused(400)),
            (chunked(&body("A: b\r\n folded\r\n")), Refused(400)),
            (chunked(&body("A : b\r\n")), Refused(400)),
            (chunked(&body("A: b\0\r\n")), Refused(400)),
            (
                chunked(&body(&format!("A: {}\r\n", "b".repeat(70_000)))),
                Refused(400),
            ),
            (chunked(&body(&"A: b\r\n".repeat(300))), Refused(400)),
        ])
        .await;
}

#[tokio::test]
async fn a_field_line_is_a_name_a_colon_and_a_value() {
    let mut cases = vec![
        (get("A:b\r\n"), Served("")),
        (get("A: \t b \t\r\n"), Served("")),
        (get("A:\r\n"), Served("")),
        (get("A: \u{e9}\r\n"), Served("")),
        // A bare LF ends a line (RFC 9112 §2.2 lets us): what leaves has CR LF.
        (get("A: b\nC: d\r\n"), Served("")),
        (get("A: b\r\n").replace("\r\n", "\n"), Served("")),
        ("\r\n\r\n".to_owned() + &get(""), Served("")),
        (
            "GET /v1/me HTTP/1.1\r\n A: b\r\nHost: localhost\r\n\r\n".into(),
            Refused(400),
        ),
        (
            "GET /v1/me HTTP/1.1\r\n\tA: b\r\nHost: localhost\r\n\r\n".into(),
            Refused(400),
        ),
        (
            "GET /v1/me HTTP/1.1\r\n \r\nHost: localhost\r\n\r\n".into(),
            Refused(400),
        ),
        (format!(" {}", get("")), Refused(400)),
        (format!("\u{feff}{}", get("")), Refused(400)),
    ];
    for field in [
        "A: b\r\n c",
        "A: b\r\n\tc",
        "A : b",
        "A\t: b",
        ": b",
        "A",
        "A(: b",
        "A\0: b",
        "A\u{1}: b",
        "\u{e9}: b",
        "A: b\0",
        "A: b\u{1}",
        "A: b\u{7f}",
        "A: b\rC: d",
        "A: b\r\rC: d",
        "\"A\": b",
    ] {
        cases.push((get(&format!("{field}\r\n")), Refused(400)));
    }
    Houses::start().await.hold(&cases).await;
}

#[tokio::test]
async fn a_request_line_is_a_method_a_target_and_a_version() {
    let line = |line: &str| format!("{line}\r\nHost: localhost\r\n\r\n");
    let mut cases = vec![
        (line("GET /v1/me HTTP/1.1"), Served("")),
        (line("GET /v1/me?a=%0d%0aX:%20y HTTP/1.1"), Served("")),
        // A fragment is no part of a target. The parser takes it off before anybody judges the
        // target, so what is judged is what leaves.
        (line("GET /v1/me#?/../admin HTTP/1.1"), Served("")),
        (
            line("GET /v1/me HTTP/1.1").replacen("\r\n", "\n", 1),
            Served(""),
        ),
    ];
    for odd in [
        "GET /v1/me",
        "GET /v1/me ",
        "GET /v1/me HTTP/1.2",
        "GET /v1/me HTTP/2.0",
        "GET /v1/me HTTP/0.9",
        "GET /v1/me HTTP/3",
        "GET /v1/me http/1.1",
        "GET /v1/me HTTP/1.10",
        "GET /v1/me HTTP/01.1",
        "GET /v1/me HTTP/1.1 ",
        "GET /v1/me HTTPS/1.1",
        "GET /v1/me HTTP/1,1",
        "GET /v1/me HTTP/1.1 HTTP/1.1",
        "GET\t/v1/me HTTP/1.1",
        "GET /v1/me\tHTTP/1.1",
        "GET  /v1/me HTTP/1.1",
        "GET /v1/me  HTTP/1.1",
        "GET /v1/ me HTTP/1.1",
        "GET HTTP/1.1",
        "GET",
        "GET /v1/\u{e9} HTTP/1.1",
        "GET /v1/me?\u{e9} HTTP/1.1",
        "GET /v1/me\0 HTTP/1.1",
        "GET /v1/me\u{b} HTTP/1.1",
        "GET /v1/me\u{7f} HTTP/1.1",
        "GET v1/me HTTP/1.1",
        "GET ?a HTTP/1.1",
        "G@T /v1/me HTTP/1.1",
        "G\0T /v1/me HTTP/1.1",
        " /v1/me HTTP/1.1",
        "PRI * HTTP/2.0",
        "GET * HTTP/1.1",
        "GET /v1/me HTTP/1.1\rX: y",
    ] {
        cases.push((line(odd), Refused(400)));
    }
    Houses::start().await.hold(&cases).await;
}

#[tokio::test]
async fn no_field_names_another_away_and_no_upgrade_leaves() {
    let theirs = "Authorization: Bearer theirs\r\n";
    let named = |named: &str| get(&format!("Connection: {named}\r\n{theirs}"));
    Houses::start().await.hold(&[
        (named("authorization"), Served("")),
        (named("Authorization, authorization ,\tAUTHORIZATION"), Served("")),
        (named("authorization\r\nConnection: host, via, user-agent"), Served("")),
        (named("host, :authority, :path, \"authorization\", authorization;"), Served("")),
        (named("close, authorization"), ServedLast("")),
        (get("aUTHORIZATION: a\r\nAuthorization: b\r\nAUTHORIZATION:\r\n"), Served("")),
        (get("Proxy-Authorization: a\r\nProxy_Authorization: b\r\n"), Served("")),
        (get("Connection: x-wise-profile\r\nX-Wise-Profile: 1\r\n"), Served("")),
        (post("Connection: content-length\r\nContent-Length: 2\r\n", "hi"), Served("hi")),
        (
            post("Connection: close\r\nContent-Length: 2\r\n", &format!("hi{SMUGGLED}")),
            ServedLast("hi"),
        ),
        (get("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n"), Served("")),
        (
            get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
            Served(""),
        ),
        (get("Upgrade: h2c\r\nHTTP2_Settings: AAMAAABk\r\n"), Served("")),
        (get("TE: trailers, chunked\r\nKeep-Alive: timeout=9\r\n"), Served("")),
        (post("Expect: nonsense\r\nContent-Length: 2\r\n", "hi"), Served("hi")),
        (get("Expect: 100-continue\r\n"), Served("")),
    ]).await;
}
