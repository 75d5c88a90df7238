//! What a worker notes of its requests: formatting is the only cost on their way.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::Audit;
use super::members::Members;
use crate::listener::Peer;
use crate::telemetry::access::Second;
use crate::wise::{CredentialKind, Lane};

/// A batch is handed on when it is this long.
const BATCH: usize = 16 * 1024;

/// So much is kept while the writer has no room.
const KEPT: usize = 1024 * 1024;

/// What is recorded of one request. No secret, no field and no body can be in it.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) at: SystemTime,
    /// Number of the door.
    pub(crate) door: usize,
    pub(crate) peer: Peer,
    /// The caller's name, where the door could tell it.
    pub(crate) caller: Option<&'a str>,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) status: u16,
    pub(crate) lane: Lane,
    pub(crate) credential: Option<CredentialKind>,
    pub(crate) grant: Option<&'a str>,
    /// The profile that the grant acts for.
    pub(crate) profile: Option<&'a str>,
    pub(crate) generation: Option<u64>,
    pub(crate) total: Duration,
    /// Wise's `x-trace-id`.
    pub(crate) trace_id: Option<&'a str>,
    /// Type of our own problem document.
    pub(crate) fault: Option<&'static str>,
    /// Sent twice, after a 401.
    pub(crate) replayed: bool,
    /// Wise asked for strong customer authentication, and what became of that.
    pub(crate) sca: Option<&'static str>,
    /// The answer's body reached its end.
    pub(crate) complete: bool,
    /// The policy that would have refused it if it did more than observe, and why.
    pub(crate) would_refuse: Option<(&'a str, &'static str)>,
    /// How the bodies were signed or encrypted here.
    pub(crate) jose: Option<&'static str>,
}

/// The records of one worker.
#[derive(Debug)]
pub(crate) struct Clerk {
    audit: Option<Audit>,
    /// Where the doors listen, by number.
    doors: Arc<[String]>,
    batch: RefCell<Batch>,
}

#[derive(Debug, Default)]
struct Batch {
    text: String,
    records: u64,
    second: Second,
}

impl Clerk {
    pub(crate) fn new(audit: Option<Audit>, doors: Arc<[String]>) -> Self {
        Self {
            audit,
            doors,
            batch: RefCell::default(),
        }
    }

    /// One that notes nothing.
    #[cfg(any(test, feature = "benchmarks"))]
    pub(crate) fn off() -> Self {
        Self::new(None, Arc::new([]))
    }

    /// Whether anything is recorded.
    pub(crate) fn is_on(&self) -> bool {
        self.audit.is_some()
    }

    /// Whether a request may be served: what must be recorded can be, as far as is known.
    pub(crate) fn may_serve(&self) -> bool {
        let Some(audit) = self.audit.as_ref().filter(|audit| audit.required) else {
            return true;
        };
        !audit.shared.blocked.load(Ordering::Relaxed) && !audit.shared.hangs()
    }

    /// Adds the record of a request.
    pub(crate) fn record(&self, entry: &Entry<'_>) {
        if self.audit.is_none() {
            return;
        }
        let mut batch = self.batch.borrow_mut();
        let Batch {
            text,
            records,
            second,
        } = &mut *batch;
        if text.capacity() == 0 {
            text.reserve(BATCH + 2048);
        }
        write(text, second, self.doors.get(entry.door), entry);
        text.push('\n');
        *records += 1;
        if text.len() >= BATCH {
            drop(batch);
            self.flush();
        }
    }

    /// Hands on what was collected. Where there is no room it waits here, up to a megabyte.
    pub(crate) fn flush(&self) {
        let Some(audit) = &self.audit else { return };
        audit.watch();
        let mut batch = self.batch.borrow_mut();
        if batch.text.is_empty() {
            return;
        }
        let (text, records) = (std::mem::take(&mut batch.text), batch.records);
        batch.records = 0;
        if let Err(text) = audit.hand(text, records) {
            audit.shared.blocked.store(true, Ordering::Relaxed);
            if text.len() >= KEPT {
                audit.shared.lose(records);
            } else {
                batch.text = text;
                batch.records = records;
            }
        }
    }
}

impl Drop for Clerk {
    /// What the writer never had room for is at least counted.
    fn drop(&mut self) {
        let records = self.batch.get_mut().records;
        if let Some(audit) = self.audit.as_ref().filter(|_| records > 0) {
            audit.shared.lose(records);
        }
    }
}

fn write(out: &mut String, second: &mut Second, door: Option<&String>, entry: &Entry<'_>) {
    let mut members = Members::of(out, second, entry.at, "request");
    members.maybe("door", door.map(String::as_str));
    match entry.peer {
        Peer::Tcp(address) => members.address("peer", address),
        Peer::Unix { uid, gid } => {
            members.number("uid", u64::from(uid));
            members.number("gid", u64::from(gid));
        }
    }
    match entry.caller {
        Some(caller) => members.text("caller", caller),
        None => members.null("caller"),
    }
    members.text("method", entry.method);
    members.target(entry.path, entry.query);
    members.number("status", u64::from(entry.status));
    members.text("lane", entry.lane.name());
    members.maybe("credential", entry.credential.map(CredentialKind::name));
    members.maybe("grant", entry.grant);
    members.maybe("profile", entry.profile);
    if let Some(generation) = entry.generation {
        members.number("generation", generation);
    }
    members.maybe("trace_id", entry.trace_id);
    members.maybe("problem", entry.fault);
    members.maybe("sca", entry.sca);
    let total = u64::try_from(entry.total.as_micros()).unwrap_or(u64::MAX);
    members.number("total_us", total);
    members.flag("replayed", entry.replayed);
    members.flag("complete", entry.complete);
    if let Some((policy, reason)) = entry.would_refuse {
        members.text("would_refuse", reason);
        members.text("policy", policy);
    }
    members.maybe("jose", entry.jose);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::audit::desk::{Message, Shared};

    fn entry() -> Entry<'static> {
        Entry {
            at: SystemTime::UNIX_EPOCH,
            door: 0,
            peer: Peer::Unix { uid: 7, gid: 8 },
            caller: Some("payroll"),
            method: "POST",
            path: "/v1/transfers",
            query: None,
            status: 503,
            lane: Lane::OAuthMtls,
            credential: Some(CredentialKind::User),
            grant: Some("main"),
            profile: Some("30000000"),
            generation: Some(3),
            total: Duration::from_micros(1500),
            trace_id: None,
            fault: Some("overloaded"),
            replayed: false,
            sca: None,
            complete: true,
            would_refuse: None,
            jose: None,
        }
    }

    #[test]
    fn a_record_names_who_what_and_the_outcome_and_nothing_else() {
        let (queue, messages) = sync_channel(1);
        let audit = Audit::over(queue, Arc::new(Shared::default()), false);
        let clerk = Clerk::new(Some(audit), Arc::new(["unix:/run/door.sock".to_owned()]));
        clerk.record(&entry());
        clerk.flush();
        let Message::Records(text, 1) = messages.recv().unwrap() else {
            panic!("one record");
        };
        insta::assert_snapshot!(text.trim_end(), @r#""at":"1970-01-01T00:00:00.000Z","kind":"request","door":"unix:/run/door.sock","uid":7,"gid":8,"caller":"payroll","method":"POST","path":"/v1/transfers","status":503,"lane":"oauth-mtls","credential":"user","grant":"main","profile":"30000000","generation":3,"problem":"overloaded","total_us":1500,"replayed":false,"complete":true"#);
    }

    #[test]
    fn what_finds_no_room_waits_up_to_a_bound_and_blocks_who_must_be_recorded() {
        let (queue, messages) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let audit = Audit::over(queue, Arc::clone(&shared), true);
        let clerk = Clerk::new(Some(audit), Arc::new([]));
        clerk.record(&entry());
        clerk.flush();
        assert!(clerk.may_serve());
        clerk.record(&entry());
        clerk.flush();
        assert!(!clerk.may_serve(), "the queue is full");

        let mut records = 1;
        while shared.lost.load(Ordering::Relaxed) == 0 {
            clerk.record(&entry());
            records += 1;
            let kept = clerk.batch.borrow().text.len();
            assert!(kept <= KEPT + 1024, "{records} records in {kept} bytes");
        }
        assert_eq!(shared.lost.load(Ordering::Relaxed), records);

        // There is room again: what waits goes through, and serving is the writer's word.
        clerk.record(&entry());
        drop(messages.recv().unwrap());
        clerk.flush();
        assert!(matches!(messages.recv().unwrap(), Message::Records(_, 1)));
        shared.blocked.store(false, Ordering::Relaxed);
        assert!(clerk.may_serve());
    }

    #[test]
    fn a_record_that_is_not_required_keeps_nobody_from_being_served() {
        let (queue, _messages) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let clerk = Clerk::new(
            Some(Audit::over(queue, Arc::clone(&shared), false)),
            Arc::new([]),
        );
        shared.blocked.store(true, Ordering::Relaxed);
        assert!(clerk.may_serve());
    }
}
