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
use crate::frames;
use crate::house::{self, Answer, House, Plan, post};
use crate::wire::Wire;
use crate::{scripted_http1, scripted_http2};

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

pub type Ledger = Arc<Mutex<HashMap<String, Fate>>>;

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
                        scripted_http2::serve(wire, ledger).await;
                    } else {
                        scripted_http1::serve(wire, ledger).await;
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
            // So that a request meets what the one before it has left behind.
            .set("runtime.workers", "1")
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
pub fn arrived(ledger: &Ledger, body: &[u8]) -> Fault {
    let (id, fault) = Fault::of(body);
    let mut ledger = ledger.lock().unwrap();
    let fate = ledger.entry(id).or_default();
    fate.arrived += 1;
    let again = fault == RefusedTwice && fate.arrived == 2;
    let fault = if fate.arrived == 1 || again {
        fault
    } else {
        Fault::None
    };
    fate.acted_on += u32::from(!fault.is_disclaimed());
    fault
}

pub const BODY: &str = "{\"id\":16521632}";
pub const PIECE: Duration = Duration::from_millis(15);

/// From a quarter of a millisecond to nothing, in an order that does not repeat soon.
pub fn soon() -> Duration {
    use std::sync::atomic::{AtomicU64, Ordering};
    static TURN: AtomicU64 = AtomicU64::new(0);
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    Duration::from_micros(turn.wrapping_mul(7_919) % 257)
}
