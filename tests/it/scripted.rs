//! A Wise that misbehaves as each request asks: the `customerTransactionId` of a POST names the
//! fault it meets when it arrives first. When it arrives again, it is answered like any other.
//!
//! It counts what arrived and what was acted on. Whatever was read whole counts as acted on, unless
//! the peer said on the wire that it was not: the hardest reading for whoever sends again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::net::TcpListener;

use crate::failures_table::Case;
use crate::frames::{self, Frames};
use crate::house::{self, Answer, House, Plan, post};
use crate::wire::Wire;

/// What happens to a request that has been read whole.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Fault {
    /// It is answered.
    None,
    // Either version.
    CloseBeforeHead,
    ResetBeforeHead,
    HalfCloseBeforeHead,
    CloseInHead,
    ResetInHead,
    CloseInBody,
    ResetInBody,
    Silence,
    SlowHead,
    EndlessHead,
    SlowBody,
    StalledBody,
    BodyTooShort,
    BodyTooLong,
    CloseAfterAnswer,
    /// The request is answered, and the connection ends in the moment of the next one.
    CloseSoon,
    ServerError,
    // HTTP/1.1.
    Garbage,
    TwoLengths,
    BadChunk,
    NoLastChunk,
    ChunksAndMore,
    SecondAnswer,
    // HTTP/2.
    RefusedStream,
    RefusedTwice,
    GoAwayBelow,
    GoAwayAbove,
    GoAwayAboveThenClose,
    GoAwayErrorBelow,
    GoAwayErrorAbove,
    StreamErrorBeforeHead(u32),
    StreamErrorAfterHead(u32),
    StreamErrorInBody(u32),
    ResetAfterAnswer,
    NoFrame,
    BadHead,
}

use Fault::{
    BadChunk, BadHead, BodyTooLong, BodyTooShort, ChunksAndMore, CloseAfterAnswer, CloseBeforeHead,
    CloseInBody, CloseInHead, CloseSoon, EndlessHead, Garbage, GoAwayAbove, GoAwayAboveThenClose,
    GoAwayBelow, GoAwayErrorAbove, GoAwayErrorBelow, HalfCloseBeforeHead, NoFrame, NoLastChunk,
    RefusedStream, RefusedTwice, ResetAfterAnswer, ResetBeforeHead, ResetInBody, ResetInHead,
    SecondAnswer, ServerError, Silence, SlowBody, SlowHead, StalledBody, StreamErrorAfterHead,
    StreamErrorBeforeHead, StreamErrorInBody, TwoLengths,
};

const EITHER: [Fault; 17] = [
    Fault::None,
    CloseBeforeHead,
    ResetBeforeHead,
    HalfCloseBeforeHead,
    CloseInHead,
    ResetInHead,
    CloseInBody,
    ResetInBody,
    Silence,
    SlowHead,
    EndlessHead,
    SlowBody,
    StalledBody,
    BodyTooShort,
    BodyTooLong,
    CloseAfterAnswer,
    ServerError,
];

const HTTP1: [Fault; 7] = [
    CloseSoon,
    Garbage,
    TwoLengths,
    BadChunk,
    NoLastChunk,
    ChunksAndMore,
    SecondAnswer,
];

const HTTP2: [Fault; 26] = {
    use frames::{CANCEL, ENHANCE_YOUR_CALM, INTERNAL_ERROR, PROTOCOL_ERROR};
    [
        RefusedStream,
        RefusedTwice,
        GoAwayBelow,
        GoAwayAbove,
        GoAwayAboveThenClose,
        GoAwayErrorBelow,
        GoAwayErrorAbove,
        StreamErrorBeforeHead(PROTOCOL_ERROR),
        StreamErrorBeforeHead(INTERNAL_ERROR),
        StreamErrorBeforeHead(CANCEL),
        StreamErrorBeforeHead(ENHANCE_YOUR_CALM),
        StreamErrorAfterHead(PROTOCOL_ERROR),
        StreamErrorAfterHead(INTERNAL_ERROR),
        StreamErrorAfterHead(CANCEL),
        StreamErrorAfterHead(frames::REFUSED_STREAM),
        StreamErrorAfterHead(frames::NO_ERROR),
        StreamErrorInBody(PROTOCOL_ERROR),
        StreamErrorInBody(INTERNAL_ERROR),
        StreamErrorInBody(CANCEL),
        StreamErrorInBody(frames::REFUSED_STREAM),
        StreamErrorInBody(frames::NO_ERROR),
        StreamErrorBeforeHead(frames::NO_ERROR),
        ResetAfterAnswer,
        NoFrame,
        BadHead,
        CloseSoon,
    ]
};

impl Fault {
    /// Every fault that a version of HTTP can have.
    pub fn all(http: &str) -> Vec<Self> {
        let own: &[Self] = if http == "2" { &HTTP2 } else { &HTTP1 };
        [&EITHER, own].concat()
    }

    /// Wise says on the wire that it has not acted.
    fn is_disclaimed(self) -> bool {
        matches!(
            self,
            RefusedStream | RefusedTwice | GoAwayBelow | GoAwayErrorBelow
        )
    }

    fn of(body: &[u8]) -> (String, Self) {
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        let id = body["customerTransactionId"].as_str().unwrap().to_owned();
        let (name, _) = id.split_once('/').unwrap();
        let all = [Self::all("1.1"), Self::all("2")].concat();
        let named = all.into_iter().find(|fault| format!("{fault:?}") == name);
        let fault = named.unwrap_or_else(|| panic!("no fault is called {name}"));
        (id, fault)
    }
}

/// A transfer that meets `fault`; no two have one id.
pub fn transfer(fault: Fault) -> (String, Request<Bytes>) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let id = format!("{fault:?}/{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let body = json!({ "customerTransactionId": id, "quoteUuid": "q", "targetAccount": 1 });
    let request = post("/v1/transfers", &body);
    (id, request)
}

/// What the application has seen of an answer.
#[derive(Debug)]
pub enum Seen {
    Whole(Answer),
    /// The head, and a body that broke off.
    Cut(StatusCode),
}

/// What became of one transfer at Wise.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Fate {
    pub arrived: u32,
    pub acted_on: u32,
}

type Ledger = Arc<Mutex<HashMap<String, Fate>>>;

/// A running scripted Wise.
pub struct Scripted {
    port: u16,
    http: &'static str,
    ledger: Ledger,
}

impl Scripted {
    /// Speaks HTTP/1.1 or HTTP/2, without TLS.
    pub async fn start(http: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ledger = Ledger::default();
        let kept = Arc::clone(&ledger);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (wire, ledger) = (Wire::of(stream), Arc::clone(&kept));
                tokio::spawn(async move {
                    if http == "2" {
                        serve2(wire, ledger).await;
                    } else {
                        serve1(wire, ledger).await;
                    }
                });
            }
        });
        Self { port, http, ledger }
    }

    /// A house that leads here; short timeouts, so that silence is noticed soon.
    pub fn plan<'a>(&self, plan: Plan<'a>) -> Plan<'a> {
        plan.lane("personal")
            .logged_out()
            .set("wise.plain", &format!("http://localhost:{}", self.port))
            .set("upstream.http", self.http)
            .set("upstream.answer_timeout", "700ms")
            .set("upstream.body_idle_timeout", "300ms")
    }

    pub async fn house(&self, wise: &wise_auth_proxy::simulator::Simulator) -> House {
        self.plan(House::on(wise)).start().await
    }

    /// Sends a transfer that meets `fault`. Returns what the application sees, and what became of it
    /// at Wise.
    pub async fn meets(&self, house: &House, fault: Fault) -> (Seen, Fate) {
        let (id, request) = transfer(fault);
        let response = house.connect().await.open(request).await.unwrap();
        let (head, body) = response.into_parts();
        let seen = match body.collect().await {
            Ok(body) => Seen::Whole(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            }),
            Err(_) => Seen::Cut(head.status),
        };
        (seen, self.fate(&id))
    }

    /// Shows that a fault does what its row says, and that the next transfer is none the worse.
    pub async fn shows(case: Case, http: &'static str, fault: Fault) {
        println!("HTTP/{http}, {fault:?}");
        let (wise, scripted) = (house::wise().await, Self::start(http).await);
        let house = scripted.house(&wise).await;

        let (seen, fate) = scripted.meets(&house, fault).await;

        match &seen {
            Seen::Whole(answer) => case.told(answer),
            Seen::Cut(status) => case.cut(*status),
        }
        case.sent(fate.arrived as usize, fate.acted_on as usize);
        case.operator(&house).await;
        let (next, fate) = scripted.meets(&house, Fault::None).await;
        let Seen::Whole(next) = next else {
            panic!("the next answer broke off")
        };
        assert_eq!(
            (next.status.as_u16(), &next.body[..]),
            (200, BODY.as_bytes())
        );
        assert_eq!((fate.arrived, fate.acted_on), (1, 1));
        assert_eq!(scripted.repeated(), Vec::<String>::new());
    }

    /// What became of a transfer.
    pub fn fate(&self, id: &str) -> Fate {
        self.ledger
            .lock()
            .unwrap()
            .get(id)
            .copied()
            .unwrap_or_default()
    }

    /// Every transfer that was acted on more than once.
    pub fn repeated(&self) -> Vec<String> {
        let ledger = self.ledger.lock().unwrap();
        let twice = ledger.iter().filter(|(_, fate)| fate.acted_on > 1);
        twice.map(|(id, _)| id.clone()).collect()
    }
}

/// Notes an arrival. Returns what happens to it.
fn arrived(ledger: &Ledger, body: &[u8]) -> Fault {
    let (id, fault) = Fault::of(body);
    let mut ledger = ledger.lock().unwrap();
    let fate = ledger.entry(id).or_default();
    fate.arrived += 1;
    let fault = match fault {
        RefusedTwice if fate.arrived == 2 => RefusedTwice,
        fault if fate.arrived == 1 => fault,
        _ => Fault::None,
    };
    fate.acted_on += u32::from(!fault.is_disclaimed());
    fault
}

const BODY: &str = "{\"id\":16521632}";
const PIECE: Duration = Duration::from_millis(15);

/// From a quarter of a millisecond to nothing, in an order that does not repeat soon.
fn soon() -> Duration {
    use std::sync::atomic::{AtomicU64, Ordering};
    static TURN: AtomicU64 = AtomicU64::new(0);
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    Duration::from_micros(turn.wrapping_mul(7_919) % 257)
}

async fn serve1(mut wire: Wire, ledger: Ledger) {
    let length = BODY.len();
    let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{BODY}");
    let begun = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 2 * length);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    while let Some((_, body)) = wire.request().await {
        match arrived(&ledger, &body) {
            Fault::None => {
                wire.say(&whole).await;
            }
            CloseBeforeHead => return,
            ResetBeforeHead => return wire.reset(),
            HalfCloseBeforeHead => {
                wire.half_close().await;
                while wire.request().await.is_some() {}
                return;
            }
            CloseInHead => {
                wire.say("HTTP/1.1 200 OK\r\nContent-Le").await;
                return;
            }
            ResetInHead => {
                wire.say("HTTP/1.1 200 OK\r\nContent-Le").await;
                return wire.reset();
            }
            CloseInBody | BodyTooShort => {
                wire.say(format!("{begun}{BODY}")).await;
                return;
            }
            ResetInBody => {
                wire.say(format!("{begun}{BODY}")).await;
                tokio::time::sleep(PIECE).await;
                return wire.reset();
            }
            Silence => {
                wire.rest().await;
                return;
            }
            SlowHead => {
                for byte in whole.as_bytes().chunks(3) {
                    wire.say(byte).await;
                    tokio::time::sleep(PIECE / 3).await;
                }
            }
            EndlessHead => {
                wire.say("HTTP/1.1 200 OK\r\nX-Slow: ").await;
                while wire.say("x").await {
                    tokio::time::sleep(PIECE).await;
                }
                return;
            }
            SlowBody => {
                let (head, body) = whole.split_at(whole.len() - length);
                wire.say(head).await;
                for byte in body.as_bytes().chunks(1) {
                    tokio::time::sleep(PIECE).await;
                    wire.say(byte).await;
                }
            }
            StalledBody => {
                wire.say(format!("{begun}{BODY}")).await;
                wire.rest().await;
                return;
            }
            BodyTooLong | SecondAnswer => {
                // What follows the body looks like the answer to a question nobody has asked.
                let second = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
                wire.say(format!("{whole}{second}")).await;
            }
            CloseAfterAnswer => {
                wire.say(&whole).await;
                return;
            }
            CloseSoon => {
                wire.say(&whole).await;
                tokio::time::sleep(soon()).await;
                return;
            }
            ServerError => {
                wire.say("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}")
                    .await;
            }
            Garbage => {
                wire.say("SSH-2.0-OpenSSH_9.9\r\n").await;
                return;
            }
            TwoLengths => {
                wire.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx")
                    .await;
                return;
            }
            BadChunk => {
                wire.say(format!("{chunked}5\r\nhello\r\nzz\r\n")).await;
                wire.rest().await;
                return;
            }
            NoLastChunk => {
                wire.say(format!("{chunked}5\r\nhello\r\n")).await;
                return;
            }
            ChunksAndMore => {
                wire.say(format!("{chunked}5\r\nhello\r\n0\r\n\r\n6\r\nforged\r\n"))
                    .await;
            }
            other => panic!("{other:?} is HTTP/2's"),
        }
    }
}

async fn serve2(wire: Wire, ledger: Ledger) {
    let Some(mut frames) = Frames::accept(wire).await else {
        return;
    };
    let (body, length) = (BODY.as_bytes(), BODY.len());
    while let Some((stream, request)) = frames.request().await {
        match arrived(&ledger, &request) {
            Fault::None => {
                frames.answer(stream, 200, Some(length), false).await;
                frames.data(stream, body, true).await;
            }
            CloseBeforeHead => return,
            ResetBeforeHead => return frames.into_wire().reset(),
            HalfCloseBeforeHead => {
                let mut wire = frames.into_wire();
                wire.half_close().await;
                wire.rest().await;
                return;
            }
            fault @ (CloseInHead | ResetInHead) => {
                // A frame of ten bytes, of which three come.
                let mut wire = frames.into_wire();
                let id = stream.to_be_bytes();
                let mut begun = vec![0, 0, 10, frames::HEADERS, frames::END_HEADERS];
                begun.extend(id);
                begun.extend([0x88, 0x0f, 13]);
                wire.say(begun).await;
                if fault == ResetInHead {
                    wire.reset();
                }
                return;
            }
            fault @ (CloseInBody | ResetInBody) => {
                frames.answer(stream, 200, Some(2 * length), false).await;
                frames.data(stream, body, false).await;
                if fault == ResetInBody {
                    tokio::time::sleep(PIECE).await;
                    frames.into_wire().reset();
                }
                return;
            }
            Silence => {
                frames.rest().await;
                return;
            }
            SlowHead => {
                // The frame's length says when the head ends; its bytes come one by one.
                let mut wire = frames.into_wire();
                let mut bytes = vec![0, 0, 1, frames::HEADERS, frames::END_HEADERS];
                bytes.extend(stream.to_be_bytes());
                bytes.push(0x88);
                for byte in bytes.chunks(1) {
                    wire.say(byte).await;
                    tokio::time::sleep(PIECE).await;
                }
                frames = Frames::over(wire);
                frames.data(stream, body, true).await;
            }
            EndlessHead => {
                let mut wire = frames.into_wire();
                let mut bytes = vec![0, 64, 0, frames::HEADERS, 5];
                bytes.extend(stream.to_be_bytes());
                wire.say(bytes).await;
                while wire.say([0x88]).await {
                    tokio::time::sleep(PIECE).await;
                }
                return;
            }
            SlowBody => {
                frames.answer(stream, 200, Some(length), false).await;
                for (at, byte) in body.chunks(1).enumerate() {
                    tokio::time::sleep(PIECE).await;
                    frames.data(stream, byte, at + 1 == length).await;
                }
            }
            StalledBody => {
                frames.answer(stream, 200, Some(2 * length), false).await;
                frames.data(stream, body, false).await;
                frames.rest().await;
                return;
            }
            BodyTooShort => {
                frames.answer(stream, 200, Some(2 * length), false).await;
                frames.data(stream, body, true).await;
            }
            BodyTooLong => {
                frames.answer(stream, 200, Some(length), false).await;
                frames.data(stream, body, false).await;
                frames.data(stream, b"forged", true).await;
            }
            fault @ (CloseAfterAnswer | CloseSoon | ResetAfterAnswer) => {
                frames.answer(stream, 200, Some(length), false).await;
                frames.data(stream, body, true).await;
                match fault {
                    CloseSoon => {
                        tokio::time::sleep(soon()).await;
                        return;
                    }
                    ResetAfterAnswer => {
                        frames.reset_stream(stream, frames::NO_ERROR).await;
                    }
                    _ => return,
                }
            }
            ServerError => {
                frames.answer(stream, 500, Some(2), false).await;
                frames.data(stream, b"{}", true).await;
            }
            RefusedStream | RefusedTwice => {
                frames.reset_stream(stream, frames::REFUSED_STREAM).await;
            }
            GoAwayBelow => {
                frames.go_away(stream - 1, frames::NO_ERROR).await;
                frames.rest().await;
                return;
            }
            GoAwayAbove => {
                frames.go_away(stream, frames::NO_ERROR).await;
                frames.answer(stream, 200, Some(length), false).await;
                frames.data(stream, body, true).await;
                frames.rest().await;
                return;
            }
            GoAwayAboveThenClose => {
                frames.go_away(stream, frames::NO_ERROR).await;
                return;
            }
            GoAwayErrorBelow => {
                frames.go_away(stream - 1, frames::ENHANCE_YOUR_CALM).await;
                return;
            }
            GoAwayErrorAbove => {
                frames.go_away(stream, frames::PROTOCOL_ERROR).await;
                return;
            }
            StreamErrorBeforeHead(reason) => frames.reset_stream(stream, reason).await,
            StreamErrorAfterHead(reason) => {
                frames.answer(stream, 200, Some(length), false).await;
                tokio::time::sleep(PIECE).await;
                frames.reset_stream(stream, reason).await;
            }
            StreamErrorInBody(reason) => {
                // Without a length nothing but the end of the stream says what is whole.
                frames.answer(stream, 200, None, false).await;
                frames.data(stream, body, false).await;
                tokio::time::sleep(PIECE).await;
                frames.reset_stream(stream, reason).await;
            }
            NoFrame => {
                // DATA on stream 0 is a connection error (RFC 9113 §6.1).
                frames.data(0, b"stray", false).await;
                frames.rest().await;
                return;
            }
            BadHead => {
                // A head without a status.
                let flags = frames::END_HEADERS | frames::END_STREAM;
                frames.send(frames::HEADERS, flags, stream, &[]).await;
            }
            other => panic!("{other:?} is HTTP/1.1's"),
        }
    }
}
