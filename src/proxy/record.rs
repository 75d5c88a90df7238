//! What is remembered about a request until its last byte: for the access line and the metrics.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use tokio::time::Instant;

use crate::proxy::choice::Credential;
use crate::proxy::fault::{Blame, Fault};
use crate::proxy::worker::{View, Worker};
use crate::telemetry::access::Line;
use crate::telemetry::meter::Refusal;
use crate::wise::headers::{X_2FA_APPROVAL_RESULT, X_TRACE_ID};
use crate::wise::{CredentialKind, Lane};

/// One request. Dropping it writes the access line, wherever the request ended.
#[derive(Debug)]
pub(crate) struct Record {
    worker: Rc<Worker>,
    at: SystemTime,
    began: Instant,
    method: Method,
    path: Option<PathAndQuery>,
    lane: Lane,
    credential: Option<Credential>,
    view: Option<Rc<View>>,
    pub(crate) generation: Option<u64>,
    pub(crate) replayed: bool,
    /// All waits for Wise together.
    pub(crate) upstream: Duration,
    /// Until the head of the answer.
    answered: Option<Duration>,
    status: StatusCode,
    trace_id: Option<HeaderValue>,
    fault: Option<&'static str>,
    pub(crate) complete: bool,
    /// It comes to nothing that anybody would want to read about.
    forgotten: bool,
}

impl Record {
    pub(crate) fn new<B>(worker: &Rc<Worker>, request: &Request<B>) -> Self {
        worker.meter.in_flight.up();
        Self {
            at: worker.shared.clock.wall(),
            began: Instant::now(),
            method: request.method().clone(),
            path: request.uri().path_and_query().cloned(),
            lane: worker.view().snapshot.lane,
            credential: None,
            view: None,
            generation: None,
            replayed: false,
            upstream: Duration::ZERO,
            answered: None,
            // nginx's word for "the application left before there was an answer".
            status: StatusCode::from_u16(499).unwrap_or_default(),
            trace_id: None,
            fault: None,
            complete: false,
            forgotten: false,
            worker: Rc::clone(worker),
        }
    }

    /// Writes no access line: a tunnel was opened, and its requests have lines of their own.
    pub(crate) fn forget(mut self) {
        self.forgotten = true;
    }

    /// Lane and credential were chosen.
    pub(crate) fn chose(&mut self, lane: Lane, credential: Credential, view: &Rc<View>) {
        self.lane = lane;
        self.credential = Some(credential);
        self.view = Some(Rc::clone(view));
    }

    /// The head of Wise's answer is here.
    pub(crate) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.trace_id = headers.get(X_TRACE_ID).cloned();
        self.head(status);
        let refusal = match status {
            StatusCode::UNAUTHORIZED => Refusal::Unauthorised,
            StatusCode::FORBIDDEN if headers.contains_key(X_2FA_APPROVAL_RESULT) => Refusal::Sca,
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

    fn head(&mut self, status: StatusCode) {
        self.status = status;
        let total = self.began.elapsed();
        self.answered = Some(total);
        let meter = &self.worker.meter;
        let kind = self
            .credential
            .map_or(CredentialKind::User, Credential::kind);
        meter.answered(self.lane, kind, status);
        meter.total[self.lane.index()].observe(total);
        meter.added[self.lane.index()].observe(total.saturating_sub(self.upstream));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let worker = Rc::clone(&self.worker);
        worker.meter.in_flight.down();
        if self.forgotten {
            return;
        }
        let total = self.began.elapsed();
        let directory = self.view.as_ref().map(|view| &view.snapshot.directory);
        let grant = self.credential.zip(directory);
        // Wise's trace id is 32 hexadecimal digits; anything else does not belong into a log.
        let trace_id = self.trace_id.as_ref().and_then(|id| id.to_str().ok());
        let is_id = |id: &&str| {
            id.len() <= 64
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        worker.access.add(&Line {
            at: self.at,
            method: self.method.as_str(),
            path: self.path.as_ref().map_or("/", PathAndQuery::path),
            status: self.status.as_u16(),
            lane: self.lane,
            credential: self.credential.map(Credential::kind),
            grant: grant.and_then(|(credential, directory)| directory.name(credential)),
            generation: self.generation,
            upstream: (!self.upstream.is_zero()).then_some(self.upstream),
            added: self.answered.unwrap_or(total).saturating_sub(self.upstream),
            total,
            trace_id: trace_id.filter(is_id),
            fault: self.fault,
            replayed: self.replayed,
            complete: self.complete,
        });
    }
}
