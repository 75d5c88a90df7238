//! HTTP/2 with prior knowledge, as nobody should speak it: what is malformed by RFC 9113 is reset,
//! what no door serves is refused, and Wise hears of neither.

use wise_auth_proxy::simulator::Simulator;

use crate::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, End, HEADERS, Http2, frame, head,
};
use crate::house::{self, House, PERSONAL_TOKEN};

const PROTOCOL_ERROR: u32 = 1;

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const HOST: (&str, &str) = (":authority", "localhost");
const PATH: (&str, &str) = (":path", "/v1/me");

/// A house in lane `personal`, speaking HTTP/1.1 to Wise: there a field that slipped through would
/// be a line of its own.
async fn personal(wise: &Simulator) -> House {
    let plan = House::on(wise).lane("personal").logged_out();
    plan.set("upstream.http", "1.1").start().await
}

/// Sends one request of these fields without a body.
async fn ask(house: &House, fields: &[(&str, &str)]) -> End {
    let mut http2 = Http2::to(house.door).await;
    http2.send(head(1, END_STREAM, fields)).await;
    http2.end_of(1).await
}

fn good(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [&[METHOD, SCHEME, HOST, PATH], more].concat()
}

#[tokio::test]
async fn a_well_formed_request_is_served() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    for fields in [
        good(&[]),
        good(&[("te", "trailers"), ("x-empty", ""), ("x-odd", "\u{e9}")]),
        good(&[("host", "localhost"), ("authorization", "Bearer theirs")]),
        vec![METHOD, SCHEME, PATH, ("host", "localhost")],
        vec![
            PATH,
            HOST,
            METHOD,
            (":scheme", "https"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ],
    ] {
        wise.clear();
        assert_eq!(ask(&house, &fields).await, End::Answered(200), "{fields:?}");
        let arrived = &wise.recorded()[0];
        let shown: Vec<_> = arrived.header("authorization").collect();
        assert_eq!(shown, [format!("Bearer {PERSONAL_TOKEN}")]);
        assert_eq!(arrived.header("host").count(), 1);
        assert!(arrived.header("cookie").all(|cookie| cookie == "a=1; b=2"));
        assert_eq!(arrived.header("te").count(), 0);
    }
}

#[tokio::test]
async fn a_malformed_head_is_reset() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let mut cases = vec![
        vec![METHOD, SCHEME, HOST],
        vec![SCHEME, HOST, PATH],
        vec![METHOD, HOST, PATH],
        vec![METHOD, SCHEME, HOST, PATH, PATH],
        vec![METHOD, METHOD, SCHEME, HOST, PATH],
        vec![METHOD, SCHEME, HOST, HOST, PATH],
        vec![METHOD, SCHEME, HOST, ("x-early", "1"), PATH],
        vec![METHOD, SCHEME, HOST, (":path", "")],
        vec![METHOD, SCHEME, HOST, (":path", "/v1/me HTTP/1.1")],
        vec![METHOD, SCHEME, HOST, (":path", "/\r\nx: y")],
        vec![(":method", "GET /x HTTP/1.1\r\nx:"), SCHEME, HOST, PATH],
        vec![(":method", ""), SCHEME, HOST, PATH],
        vec![METHOD, SCHEME, (":authority", "local host"), PATH],
        vec![METHOD, SCHEME, (":authority", "localhost\r\nx: y"), PATH],
        vec![METHOD, (":scheme", "http\r\n"), HOST, PATH],
        vec![
            (":method", "CONNECT"),
            SCHEME,
            HOST,
            PATH,
            (":protocol", "websocket"),
        ],
    ];
    for field in [
        (":unknown", "1"),
        (":status", "200"),
        ("", "1"),
        ("X-Upper", "1"),
        ("x upper", "1"),
        ("x:y", "1"),
        ("x\r\ny", "1"),
        ("x\0", "1"),
        ("x", "a\r\nauthorization: Bearer theirs"),
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("x", "a\u{7f}b"),
        ("connection", "authorization"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
    ] {
        cases.push(good(&[field]));
    }
    for fields in cases {
        let end = ask(&house, &fields).await;
        let reset = matches!(end, End::Reset(PROTOCOL_ERROR) | End::Gone(_) | End::Closed);
        assert!(reset, "{fields:?}: {end:?}");
    }
    assert_eq!(wise.recorded().len(), 0, "none of it reaches Wise");
}

#[tokio::test]
async fn what_no_door_serves_is_refused() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    for (fields, status) in [
        (vec![METHOD, SCHEME, PATH], 400),
        (
            vec![
                METHOD,
                SCHEME,
                PATH,
                ("host", "localhost"),
                ("host", "localhost"),
            ],
            400,
        ),
        (good(&[("host", "evil.example")]), 400),
        (good(&[("x", " padded")]), 400),
        (good(&[("x", "padded\t")]), 400),
        (
            vec![METHOD, SCHEME, (":authority", "user@localhost"), PATH],
            400,
        ),
        (vec![METHOD, (":scheme", "ftp"), HOST, PATH], 400),
        (vec![METHOD, SCHEME, HOST, (":path", "*")], 400),
        (vec![METHOD, SCHEME, HOST, (":path", "/\u{e9}")], 400),
        (
            vec![METHOD, SCHEME, (":authority", "evil.example"), PATH],
            421,
        ),
        (
            vec![METHOD, SCHEME, (":authority", "169.254.169.254"), PATH],
            421,
        ),
        (good(&[("origin", "null")]), 403),
        (
            vec![(":method", "CONNECT"), (":authority", "evil.example:443")],
            403,
        ),
        (vec![(":method", "TRACE"), SCHEME, HOST, PATH], 403),
        (
            good(&[("x_wise_profile", "1"), ("x-wise-profile", "1")]),
            200,
        ),
    ] {
        let end = ask(&house, &fields).await;
        assert_eq!(end, End::Answered(status), "{fields:?}");
    }
    assert_eq!(wise.recorded().len(), 1, "one of it reaches Wise");
    assert_eq!(wise.recorded()[0].header("x_wise_profile").count(), 0);
}

#[tokio::test]
async fn a_path_in_another_form_never_leaves_as_it_came() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    for path in [
        "v1/me",
        "http://evil.example/v1/me",
        "//evil.example",
        "evil.example:80",
        "?a",
    ] {
        wise.clear();
        let end = ask(&house, &[METHOD, SCHEME, HOST, (":path", path)]).await;
        assert_ne!(end, End::Answered(200), "{path}");
        for arrived in wise.recorded() {
            assert_eq!(end, End::Answered(arrived.status.unwrap()), "{path}");
            assert_eq!(arrived.target, path, "sent on as a path or not at all");
        }
    }
}

#[tokio::test]
async fn a_length_that_the_data_belies_is_reset_and_never_whole() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    for (length, data) in [
        ("5", ""),
        ("5", "abc"),
        ("2", "abcde"),
        ("0", "a"),
        ("+3", "abc"),
        ("3, 3", "abc"),
        ("nonsense", "abc"),
        ("18446744073709551616", "abc"),
    ] {
        let mut http2 = Http2::to(house.door).await;
        let path = (":path", "/v1/simulator/echo");
        let fields = [
            (":method", "POST"),
            SCHEME,
            HOST,
            path,
            ("content-length", length),
        ];
        http2.send(head(1, 0, &fields)).await;
        http2
            .send(frame(DATA, END_STREAM, 1, data.as_bytes()))
            .await;
        let end = http2.end_of(1).await;
        let refused = matches!(
            end,
            End::Reset(PROTOCOL_ERROR) | End::Answered(400) | End::Gone(_)
        );
        assert!(refused, "{length} {data}: {end:?}");
    }
    let whole = wise.recorded().into_iter().filter(|it| it.body.complete);
    assert_eq!(
        whole.count(),
        0,
        "half a body is never taken for a whole one"
    );
}

#[tokio::test]
async fn trailers_authorise_nothing() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let post = [
        (":method", "POST"),
        SCHEME,
        HOST,
        (":path", "/v1/simulator/echo"),
    ];
    for (trailer, served) in [
        (("authorization", "Bearer theirs"), true),
        (("x-checksum", "1"), true),
        // h2 reads over a pseudo-header here, where RFC 9113 §8.1 wants a reset. It goes nowhere.
        ((":path", "/v1/other"), true),
        (("connection", "close"), false),
    ] {
        wise.clear();
        let mut http2 = Http2::to(house.door).await;
        http2.send(head(1, 0, &post)).await;
        http2.send(frame(DATA, 0, 1, b"hello")).await;
        http2.send(head(1, END_STREAM, &[trailer])).await;
        let end = http2.end_of(1).await;
        assert_eq!(end == End::Answered(200), served, "{trailer:?}: {end:?}");
        let whole = wise.recorded().into_iter().filter(|it| it.body.complete);
        assert_eq!(whole.count(), usize::from(served), "{trailer:?}");
    }
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused_and_the_connection_goes_on() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let piece = "x".repeat(10_000);
    let long = [METHOD, SCHEME, HOST, PATH].into_iter();
    let long: Vec<_> = long.chain([("x", piece.as_str()); 7]).collect();
    let mut http2 = Http2::to(house.door).await;
    let block = frames::block(&long);
    let (first, rest) = block.split_at(16_000);
    http2.send(frame(HEADERS, END_STREAM, 1, first)).await;
    let mut rest = rest.chunks(16_000).peekable();
    while let Some(piece) = rest.next() {
        let flags = if rest.peek().is_some() {
            0
        } else {
            END_HEADERS
        };
        http2.send(frame(CONTINUATION, flags, 1, piece)).await;
    }
    assert_eq!(http2.end_of(1).await, End::Answered(431));
    http2.send(head(3, END_STREAM, &good(&[]))).await;
    assert_eq!(
        http2.end_of(3).await,
        End::Answered(200),
        "only that request"
    );
    assert_eq!(wise.recorded().len(), 1);
}
