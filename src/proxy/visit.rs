//! A request of an application: what it came with, and what is remembered of it.

use std::rc::Rc;

use http::{Request, Response, request};
use hyper::body::{Body as _, Incoming};

use crate::proxy::body::Source;
use crate::proxy::fault::Fault;
use crate::proxy::peer::Peer;
use crate::proxy::policy;
use crate::proxy::record::Record;
use crate::proxy::reply::{self, Given, Reply};
use crate::proxy::worker::Worker;

/// One request, from its head to the head of its answer.
///
/// The future that serves it holds it once and lends out its parts: what a function is given by
/// value, its future holds a second time, and there are as many futures as requests.
pub(super) struct Visit {
    pub(super) head: request::Parts,
    /// `None`: no body.
    pub(super) source: Option<Rc<Source>>,
    pub(super) record: Record,
}

impl Visit {
    /// The request's head is here.
    pub(super) fn begin(
        worker: &Rc<Worker>,
        door: usize,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Self {
        let record = Record::new(worker, door, peer, &request);
        let (mut head, incoming) = request.into_parts();
        peer.introduce(&mut head.headers);
        let source = (!incoming.is_end_stream()).then(|| {
            let limit = worker.view().snapshot.upstream.replay_limit;
            let waits = policy::waits_for_continue(&head.headers, head.version);
            Source::new(incoming, waits, Rc::clone(&worker.budget), limit)
        });
        Self {
            head,
            source,
            record,
        }
    }

    /// The head of the answer, and the body that goes on from there.
    pub(super) fn end(
        self,
        worker: &Worker,
        outcome: Result<Given, Fault>,
    ) -> Response<Box<Reply>> {
        reply::of(worker, outcome, self.record, self.source)
    }
}
