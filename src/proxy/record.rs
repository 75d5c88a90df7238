//! What is remembered about a request until its last byte: for the access line and the metrics.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use tokio::time::Instant;

use crate::audit;
use crate::config::JoseMethod;
use crate::guard::{self, CallerId, Place};
use crate::listener;
use crate::proxy::choice::Credential;
use crate::proxy::fault::{Blame, Fault, Kind};
use crate::proxy::peer::Peer;
use crate::proxy::sca;
use crate::proxy::worker::{View, Worker};
use crate::telemetry::access::Line;
use crate::telemetry::challenges::Outcome;
use crate::telemetry::meter::Refusal;
use crate::wise::headers::X_TRACE_ID;
use crate::wise::{CredentialKind, Lane, ProfileId};

/// One request. Dropping it writes the access line and the record, wherever the request ended.
#[derive(Debug)]
pub(crate) struct Record {
    worker: Rc<Worker>,
    /// Number of the door.
    door: usize,
    peer: listener::Peer,
    at: SystemTime,
    began: Instant,
    method: Method,
    path: Option<PathAndQuery>,
    lane: Lane,
    credential: Option<Credential>,
    view: Option<Rc<View>>,
    /// The caller, by the snapshot that knew it: a later one may number callers otherwise.
    caller: Option<(Rc<View>, CallerId)>,
    pub(crate) generation: Option<u64>,
    pub(crate) replayed: bool,
    /// What became of Wise's wish for strong customer authentication.
    pub(crate) sca: Option<Outcome>,
    /// All waits for Wise together, and that for an approval.
    pub(crate) upstream: Duration,
    /// Waits for a body that is read whole before anything is sent.
    pub(crate) application: Duration,
    /// Until the head of the answer.
    answered: Option<Duration>,
    status: StatusCode,
    trace_id: Option<HeaderValue>,
    fault: Option<&'static str>,
    pub(crate) complete: bool,
    /// What a policy that is only tried out had against it.
    pub(crate) would_refuse: Option<guard::Refusal>,
    /// Places taken under policies with a limit; free again when the last byte went.
    pub(crate) places: Vec<Place>,
    /// Where a CONNECT wants to go.
    authority: Option<Authority>,
    /// How its body was signed or encrypted here.
    pub(crate) jose: Option<JoseMethod>,
    written: Written,
}

/// What is written of a request at its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Written {
    LineAndRecord,
    /// A tunnel that was opened: its requests have lines of their own.
    Record,
    /// A request of our own: nobody asked for it.
    Nothing,
}

impl Record {
    pub(crate) fn new<B>(
        worker: &Rc<Worker>,
        door: usize,
        peer: &Peer,
        request: &Request<B>,
    ) -> Self {
        worker.meter.in_flight.up();
        let view = worker.view();
        let lane = view.snapshot.lane_of(door);
        Self {
            door,
            peer: peer.from,
            at: worker.shared.clock.wall(),
            began: Instant::now(),
            method: request.method().clone(),
            path: request.uri().path_and_query().cloned(),
            lane,
            credential: None,
            view: None,
            caller: None,
            generation: None,
            replayed: false,
            sca: None,
            upstream: Duration::ZERO,
            application: Duration::ZERO,
            answered: None,
            // nginx's word for "the application left before there was an answer".
            status: StatusCode::from_u16(499).unwrap_or_default(),
            trace_id: None,
            fault: None,
            complete: false,
            would_refuse: None,
            places: Vec::new(),
            authority: match *request.method() {
                Method::CONNECT => request.uri().authority().cloned(),
                _ => None,
            },
            jose: None,
            written: Written::LineAndRecord,
            worker: Rc::clone(worker),
        }
    }

    /// For a request of our own. Dropping it writes nothing.
    pub(crate) fn of_ours(worker: &Rc<Worker>, lane: Lane) -> Self {
        let mut record = Self::new(worker, 0, &Peer::ours(), &Request::new(()));
        record.lane = lane;
        record.written = Written::Nothing;
        record
    }

    /// Whether nobody asked for it but us.
    pub(crate) fn is_ours(&self) -> bool {
        self.written == Written::Nothing
    }

    /// When the request came.
    pub(crate) fn at(&self) -> SystemTime {
        self.at
    }

    /// A caller was let in.
    pub(crate) fn came_from(&mut self, caller: CallerId, view: &Rc<View>) {
        self.caller = Some((Rc::clone(view), caller));
    }

    /// A tunnel was opened. It is no request to Wise: only the record of who called what has it.
    pub(crate) fn opened(mut self, heard: bool) {
        self.status = StatusCode::OK;
        self.complete = heard;
        self.written = Written::Record;
    }

    /// Lane and credential were chosen.
    pub(crate) fn chose(&mut self, lane: Lane, credential: Credential, view: &Rc<View>) {
        self.lane = lane;
        self.credential = Some(credential);
        self.view = Some(Rc::clone(view));
    }

    /// Notes by what id Wise knows the answer, which may come to nothing yet.
    pub(crate) fn trace(&mut self, headers: &HeaderMap) {
        self.trace_id = headers.get(X_TRACE_ID).cloned();
    }

    /// The head of Wise's answer is here.
    pub(crate) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.trace(headers);
        self.head(status);
        let refusal = match status {
            StatusCode::UNAUTHORIZED => Refusal::Unauthorised,
            StatusCode::FORBIDDEN if sca::is_challenge(status, headers) => Refusal::Sca,
            StatusCode::FORBIDDEN => Refusal::Forbidden,
            StatusCode::TOO_MANY_REQUESTS => Refusal::Throttled,
            _ => return,
        };
        self.worker.meter.refused(self.lane, refusal);
    }

    /// The answer is a problem document of ours.
    pub(crate) fn failed(&mut self, fault: &Fault) {
        let kind = fault.kind();
        self.fault = Some(kind.name());
        self.worker.meter.faults[kind as usize].add(1);
        self.head(fault.status());
        match fault.blame() {
            Blame::Application => tracing::debug!(problem = kind.name(), "{fault}"),
            Blame::Proxy | Blame::Wise => tracing::warn!(problem = kind.name(), "{fault}"),
        }
    }

    /// The answer is the door's own and no problem document; `refused`: it is one in other words.
    pub(crate) fn answered_here(&mut self, status: StatusCode, refused: Option<Kind>) {
        if let Some(kind) = refused {
            self.fault = Some(kind.name());
            self.worker.meter.faults[kind as usize].add(1);
        }
        self.head(status);
    }

    /// What of a time was neither Wise's nor the application's.
    fn without_waits(&self, total: Duration) -> Duration {
        total.saturating_sub(self.upstream + self.application)
    }

    fn head(&mut self, status: StatusCode) {
        self.status = status;
        if let Some((view, caller)) = &self.caller
            && let Some(tally) = view.tallies.get(caller.index())
        {
            tally.answered(status, self.at);
        }
        let total = self.began.elapsed();
        self.answered = Some(total);
        let meter = &self.worker.meter;
        let kind = self
            .credential
            .map_or(CredentialKind::User, Credential::kind);
        meter.answered(self.lane, kind, status);
        meter.total[self.lane.index()].observe(total);
        meter.added[self.lane.index()].observe(self.without_waits(total));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let worker = Rc::clone(&self.worker);
        worker.meter.in_flight.down();
        if self.is_ours() {
            return;
        }
        let total = self.began.elapsed();
        let directory = self.view.as_ref().map(|view| &view.snapshot.directory);
        let grant = self.credential.zip(directory);
        let caller = self.caller.as_ref();
        let caller = caller.map(|(view, caller)| view.snapshot.callers.name(*caller));
        // Wise's trace id is 32 hexadecimal digits; anything else does not belong into a log.
        let trace_id = self.trace_id.as_ref().and_then(|id| id.to_str().ok());
        let is_id = |id: &&str| {
            id.len() <= 64
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let trace_id = trace_id.filter(is_id);
        // Without what may stand before its `@`.
        let authority = self.authority.as_ref().map(|authority| {
            let full = authority.as_str();
            full.rsplit_once('@').map_or(full, |(_, place)| place)
        });
        let path = self.path.as_ref().map(PathAndQuery::path);
        let path = path.or(authority).unwrap_or("/");
        let credential = self.credential.map(Credential::kind);
        let name = grant.and_then(|(credential, directory)| directory.name(credential));
        let would_refuse = self.would_refuse.as_ref();
        let would_refuse =
            would_refuse.map(|refusal| (refusal.policy.as_str(), refusal.reason.name()));
        if worker.audit.is_on() {
            let query = self.path.as_ref().and_then(PathAndQuery::query);
            let profile = grant.and_then(|(credential, directory)| match credential {
                Credential::User(grant) => directory.profile(grant).map(ProfileId::as_str),
                Credential::Personal | Credential::Client => None,
            });
            worker.audit.record(&audit::Entry {
                at: self.at,
                door: self.door,
                peer: self.peer,
                caller,
                method: self.method.as_str(),
                path,
                query,
                status: self.status.as_u16(),
                lane: self.lane,
                credential,
                grant: name,
                profile,
                generation: self.generation,
                total,
                trace_id,
                fault: self.fault,
                replayed: self.replayed,
                sca: self.sca.map(Outcome::name),
                complete: self.complete,
                would_refuse,
                jose: self.jose.map(JoseMethod::name),
            });
        }
        if self.written == Written::Record {
            return;
        }
        worker.access.add(&Line {
            at: self.at,
            method: self.method.as_str(),
            path,
            status: self.status.as_u16(),
            caller,
            lane: self.lane,
            credential,
            grant: name,
            generation: self.generation,
            upstream: (!self.upstream.is_zero()).then_some(self.upstream),
            added: self.without_waits(self.answered.unwrap_or(total)),
            total,
            trace_id,
            fault: self.fault,
            replayed: self.replayed,
            sca: self.sca.map(Outcome::name),
            complete: self.complete,
            would_refuse,
            jose: self.jose.map(JoseMethod::name),
        });
    }
}
