//! Exactly what arrived, for assertions: a bounded ring of requests, and counters that never
//! forget. It digests bodies as they pass and keeps none.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;

use serde::Serialize;

/// Which door a request came through.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// The API host with server authentication only.
    Plain,
    /// The API host that asks for a client certificate.
    Mtls,
    /// The control API.
    Control,
}

/// One request as it arrived.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Recorded {
    /// Counts from 1 over the simulator's life.
    pub sequence: u64,
    /// The listener.
    pub door: Door,
    /// Counts connections over the simulator's life.
    pub connection: u64,
    /// The caller's port.
    pub remote_port: u16,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// The method.
    pub method: String,
    /// The request target as sent; for HTTP/2 its `:path`.
    pub target: String,
    /// HTTP/2's `:authority`, or the host of an absolute-form target.
    pub authority: Option<String>,
    /// Header fields in order of first appearance, names in lower case.
    pub headers: Headers,
    /// The TLS session, unless the listener is bare HTTP.
    pub tls: Option<TlsSession>,
    /// What the `Authorization` field was recognised as.
    pub credential: Credential,
    /// The body.
    pub body: BodySeen,
    /// `customerTransactionId` of a JSON body.
    pub customer_transaction_id: Option<String>,
    /// The status answered; absent while in progress or when the connection was cut.
    pub status: Option<u16>,
}

impl Recorded {
    /// Every value of the header `name` (lower case).
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .0
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Header fields; `Debug` hides the values of credential fields, serialisation does not.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Headers(pub Vec<(String, String)>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(name, value)| {
                let secret = name == "authorization" || name == "proxy-authorization";
                (name, if secret { "[redacted]" } else { value.as_str() })
            }))
            .finish()
    }
}

/// The TLS session a request came over.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TlsSession {
    /// `TLSv1_2` or `TLSv1_3`.
    pub version: String,
    /// The protocol agreed by ALPN.
    pub alpn: Option<String>,
    /// The server name asked for.
    pub sni: Option<String>,
    /// The client certificate, if one was shown.
    pub client_certificate: Option<ClientCertificate>,
}

/// A client certificate that passed verification.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClientCertificate {
    /// The subject's CN.
    pub common_name: String,
    /// The whole subject.
    pub subject: String,
    /// The serial number, lower-case hex.
    pub serial: String,
}

/// What an `Authorization` field was recognised as.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Credential {
    /// There was none.
    None,
    /// There were several, which no client should send.
    Several,
    /// HTTP Basic.
    Basic,
    /// The personal token.
    Personal,
    /// A user token.
    User {
        /// The grant, counted from 1.
        grant: u64,
        /// The profile it acts for.
        profile: u64,
        /// Counts the tokens of its grant from 1.
        generation: u64,
        /// Whether it was alive on arrival.
        live: bool,
    },
    /// A client-credentials token.
    Client {
        /// Counts client-credentials tokens from 1.
        generation: u64,
        /// Whether it was alive on arrival.
        live: bool,
    },
    /// Something this Wise never issued.
    Unknown,
}

/// What was seen of a body.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BodySeen {
    /// Bytes read.
    pub bytes: u64,
    /// SHA-256 of those bytes, lower-case hex.
    pub sha256: String,
    /// Whether the end was reached; `false` when the answer came before it.
    pub complete: bool,
}

/// Running totals that survive the ring and `clear`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counters {
    /// Requests through the plain door.
    pub plain: u64,
    /// Requests through the mTLS door.
    pub mtls: u64,
    /// Answers by status.
    pub by_status: HashMap<u16, u64>,
    /// Requests read to the end after their token was accepted, by `customerTransactionId`.
    pub transactions: HashMap<String, u64>,
}

impl Counters {
    /// Every `customerTransactionId` that was accepted more than once.
    pub fn repeated(&self) -> Vec<&str> {
        self.transactions
            .iter()
            .filter(|(_, times)| **times > 1)
            .map(|(id, _)| id.as_str())
            .collect()
    }
}

/// The recorder.
pub(super) struct Recorder {
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    ring: VecDeque<Recorded>,
    counters: Counters,
}

impl Recorder {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            inner: Mutex::default(),
        }
    }

    /// Takes a request's head; returns its sequence number.
    pub(super) fn arrived(&self, mut record: Recorded) -> u64 {
        let mut inner = self.lock();
        inner.next += 1;
        let sequence = inner.next;
        match record.door {
            Door::Plain => inner.counters.plain += 1,
            Door::Mtls => inner.counters.mtls += 1,
            Door::Control => {}
        }
        record.sequence = sequence;
        if self.capacity == 0 {
            return sequence;
        }
        if inner.ring.len() == self.capacity {
            inner.ring.pop_front();
        }
        inner.ring.push_back(record);
        sequence
    }

    /// Takes what was read of the body.
    pub(super) fn body(&self, sequence: u64, body: BodySeen, transaction: Option<String>) {
        let mut inner = self.lock();
        if let Some(id) = &transaction {
            *inner.counters.transactions.entry(id.clone()).or_default() += 1;
        }
        if let Some(record) = inner.find(sequence) {
            record.body = body;
            record.customer_transaction_id = transaction;
        }
    }

    /// Takes the transaction of a body that could not be read as it came.
    pub(super) fn transaction(&self, sequence: u64, transaction: Option<&str>) {
        let Some(id) = transaction else {
            return;
        };
        let mut inner = self.lock();
        *inner
            .counters
            .transactions
            .entry(id.to_owned())
            .or_default() += 1;
        if let Some(record) = inner.find(sequence) {
            record.customer_transaction_id = Some(id.to_owned());
        }
    }

    /// Takes the answer's status.
    pub(super) fn answered(&self, sequence: u64, status: u16) {
        let mut inner = self.lock();
        *inner.counters.by_status.entry(status).or_default() += 1;
        if let Some(record) = inner.find(sequence) {
            record.status = Some(status);
        }
    }

    pub(super) fn all(&self) -> Vec<Recorded> {
        self.lock().ring.iter().cloned().collect()
    }

    pub(super) fn counters(&self) -> Counters {
        self.lock().counters.clone()
    }

    /// Empties the ring; sequence numbers and counters go on.
    pub(super) fn clear(&self) {
        self.lock().ring.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Records are in order but may have been cleared or pushed out.
    fn find(&mut self, sequence: u64) -> Option<&mut Recorded> {
        let first = self.ring.front()?.sequence;
        let index = usize::try_from(sequence.checked_sub(first)?).ok()?;
        self.ring.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Recorded {
        Recorded {
            sequence: 0,
            door: Door::Plain,
            connection: 1,
            remote_port: 1,
            version: "HTTP/1.1".to_owned(),
            method: "GET".to_owned(),
            target: "/".to_owned(),
            authority: None,
            headers: Headers(vec![(
                "authorization".to_owned(),
                "Bearer marker".to_owned(),
            )]),
            tls: None,
            credential: Credential::None,
            body: BodySeen::default(),
            customer_transaction_id: None,
            status: None,
        }
    }

    #[test]
    fn the_ring_forgets_the_oldest_and_the_counters_forget_nothing() {
        let recorder = Recorder::new(2);
        for _ in 0..3 {
            let sequence = recorder.arrived(request());
            recorder.answered(sequence, 200);
        }
        let sequences: Vec<u64> = recorder
            .all()
            .iter()
            .map(|record| record.sequence)
            .collect();
        assert_eq!(sequences, [2, 3]);
        assert_eq!(recorder.counters().by_status[&200], 3);
    }

    #[test]
    fn an_answer_after_a_clear_finds_no_wrong_record() {
        let recorder = Recorder::new(10);
        let old = recorder.arrived(request());
        recorder.clear();
        recorder.arrived(request());
        recorder.answered(old, 500);
        assert_eq!(recorder.all()[0].status, None);
    }

    #[test]
    fn a_transaction_seen_twice_is_reported() {
        let recorder = Recorder::new(1);
        for _ in 0..2 {
            let sequence = recorder.arrived(request());
            recorder.body(sequence, BodySeen::default(), Some("twice".to_owned()));
        }
        assert_eq!(recorder.counters().repeated(), ["twice"]);
    }

    #[test]
    fn a_printed_record_hides_the_credential() {
        assert!(!format!("{:?}", request()).contains("marker"));
    }
}
