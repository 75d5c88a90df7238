//! Floods over HTTP/2, each with the name that made it known. Whoever floods loses the connection
//! or is held at its own pace; the others are served at once, and memory stays where it was.

use std::time::{Duration, Instant};

use wise_auth_proxy::simulator::Simulator;

use crate::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, End, HEADERS, Http2, PING, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame, head,
};
use crate::house::{self, House};

const FLOW_CONTROL_ERROR: u32 = 3;
const CANCEL: [u8; 4] = 8_u32.to_be_bytes();
const ENHANCE_YOUR_CALM: u32 = 11;

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "localhost"),
    (":path", "/v1/me"),
];

/// What a flood may cost in memory.
const ROOM: u64 = 16 * 1024;

async fn personal(wise: &Simulator) -> House {
    House::on(wise).lane("personal").logged_out().start().await
}

/// Sends the same bytes again and again until the other side has had enough; whether it had. Reads
/// nothing meanwhile.
async fn flood(http2: &mut Http2, bytes: &[u8], times: usize) -> bool {
    for _ in 0..times {
        let sending = http2.wire.try_send(bytes);
        // Held at its own pace is as good as cut.
        match tokio::time::timeout(Duration::from_secs(1), sending).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return true,
        }
    }
    false
}

/// Another application meanwhile, and what the flood cost.
async fn check(house: &House, before: u64) {
    let asked = Instant::now();
    assert_eq!(house.get("/v1/me").await.status, 200);
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(1), "others waited {took:?}");
    let grown = house.memory().saturating_sub(before);
    assert!(grown < ROOM, "the flood took {grown} KiB");
}

/// A house that has served before, so that its memory is a measure.
async fn warm(wise: &Simulator) -> (House, u64) {
    let house = personal(wise).await;
    for _ in 0..3 {
        assert_eq!(house.get("/v1/me").await.status, 200);
    }
    let memory = house.memory();
    (house, memory)
}

#[tokio::test]
async fn rapid_reset_ends_the_connection_and_spares_wise() {
    let wise = house::wise().await;
    let (house, before) = warm(&wise).await;
    let arrived = wise.counters().plain;
    let mut http2 = Http2::to(house.door).await;
    let mut rush = Vec::new();
    for turn in 0..5_000 {
        let stream = 2 * turn + 1;
        rush.extend(head(stream, END_STREAM, &GET));
        rush.extend(frame(RST_STREAM, 0, stream, &CANCEL));
    }
    http2.wire.try_send(&rush).await;

    // CVE-2023-44487.
    assert_eq!(http2.goodbye().await, Some(ENHANCE_YOUR_CALM));
    check(&house, before).await;
    let passed = wise.counters().plain - arrived;
    assert!(passed < 200, "{passed} of 5,000 went on to Wise");
}

#[tokio::test]
async fn an_endless_head_ends_the_connection() {
    let wise = house::wise().await;
    let (house, before) = warm(&wise).await;
    // VU#421644: a block of fields that never ends, in full frames and in empty ones.
    for piece in [vec![0; 0], frames::block(&[("x", &"x".repeat(16_000))])] {
        let mut http2 = Http2::to(house.door).await;
        let begun = frame(HEADERS, END_STREAM, 1, &frames::block(&GET));
        http2.send(begun).await;
        let more = frame(CONTINUATION, 0, 1, &piece);
        assert!(flood(&mut http2, &more, 20_000).await);
        check(&house, before).await;
    }
    assert_eq!(wise.counters().plain, 5, "none of it reaches Wise");
}

#[tokio::test]
async fn a_head_that_unpacks_to_megabytes_ends_the_connection() {
    let wise = house::wise().await;
    let (house, before) = warm(&wise).await;
    // A field of 3,900 bytes enters the table, and each further byte names it: 39 MB out of 14 KB.
    let mut bomb = frames::block(&GET);
    bomb.extend(frames::remembered("x", &"x".repeat(3_900)));
    bomb.extend([0xbe; 10_000]);
    let mut http2 = Http2::to(house.door).await;
    http2
        .send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &bomb))
        .await;

    assert_eq!(http2.end_of(1).await, End::Gone(ENHANCE_YOUR_CALM));
    check(&house, before).await;
}

#[tokio::test]
async fn empty_data_settings_and_pings_cost_nothing() {
    let wise = house::wise().await;
    let (house, before) = warm(&wise).await;
    let mut post = GET;
    post[0].1 = "POST";
    for (flooded, piece) in [
        // RUSTSEC-2026-0258.
        ("DATA", frame(DATA, 0, 1, b"")),
        ("padded DATA", frame(DATA, 8, 1, &[3, 0, 0, 0])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1])),
        ("PING", frame(PING, 0, 0, b"flooding")),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("unknown", frame(0xbe, 0, 0, &[0; 8])),
        ("PRIORITY", frame(2, 0, 1, &[0, 0, 0, 3, 0])),
    ] {
        let mut http2 = Http2::to(house.door).await;
        http2.send(head(1, 0, &post)).await;
        let many = piece.repeat(500);
        flood(&mut http2, &many, 100).await;
        println!("{flooded}");
        check(&house, before).await;
    }
}

#[tokio::test]
async fn windows_cannot_be_abused() {
    let wise = house::wise().await;
    let (house, before) = warm(&wise).await;
    let most = 0x7fff_ffff_u32.to_be_bytes();
    for (abuse, stream) in [
        // Beyond 2^31-1 (RFC 9113 §6.9.1).
        (frame(WINDOW_UPDATE, 0, 0, &most), 0),
        (frame(WINDOW_UPDATE, 0, 1, &most), 1),
    ] {
        let mut http2 = Http2::to(house.door).await;
        let mut post = GET;
        post[0].1 = "POST";
        http2.send(head(1, 0, &post)).await;
        http2.send(&abuse).await;
        http2.send(&abuse).await;
        let end = http2.end_of(1).await;
        let refused = [
            End::Gone(FLOW_CONTROL_ERROR),
            End::Reset(FLOW_CONTROL_ERROR),
        ];
        assert!(refused.contains(&end), "{stream}: {end:?}");
    }
    check(&house, before).await;
}

#[tokio::test]
async fn more_data_than_the_window_holds_ends_the_connection() {
    let wise = house::wise().await;
    let (house, before) = warm(&wise).await;
    let mut http2 = Http2::to(house.door).await;
    let mut post = GET;
    post[0].1 = "POST";
    // What goes up comes down, and is not read here: soon nothing more can go up.
    post[3].1 = "/v1/simulator/mirror";
    http2.send(head(1, 0, &post)).await;
    let piece = frame(DATA, 0, 1, &[0; 16_384]);
    assert!(flood(&mut http2, &piece, 100_000).await);
    check(&house, before).await;
}

#[tokio::test]
async fn whoever_opens_no_window_holds_up_nobody_else() {
    let wise = house::wise().await;
    let (house, before) = warm(&wise).await;
    // SETTINGS_INITIAL_WINDOW_SIZE: 0; and answers that would fill every window on the way.
    let mut greedy = Vec::new();
    let mut large = GET;
    large[3].1 = "/v1/simulator/bytes/4000000";
    for _ in 0..4 {
        let mut http2 = Http2::with(house.door, &[(4, 0)]).await;
        for turn in 0..10 {
            http2.send(head(2 * turn + 1, END_STREAM, &large)).await;
        }
        assert_eq!(http2.end_of(1).await, End::Answered(200));
        greedy.push(http2);
    }
    wise.until(|wise| wise.counters().plain >= 43).await;
    check(&house, before).await;
    assert_eq!(
        house.get("/v1/simulator/bytes/1000000").await.body.len(),
        1_000_000
    );
}
