//! The life of a request: door, target, credential, lane, token, Wise, answer.
//!
//! Runs on one worker's thread. It reads one immutable snapshot, takes no lock that another
//! worker takes, sends a request a second time only when Wise provably did not act on it, and
//! never lets the application's own credential out.

mod attempt;
mod bearing;
mod body;
mod browser;
mod choice;
mod departure;
mod door;
mod fault;
mod introduction;
mod jose;
#[cfg(test)]
mod model;
mod patience;
mod peer;
mod policy;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod record;
mod refusal;
mod reply;
mod sca;
mod serve;
mod snapshot;
mod socket;
mod stand_in;
#[cfg(feature = "benchmarks")]
pub(crate) mod steps;
mod target;
mod token;
mod tunnel;
mod ways;
mod worker;

use std::rc::Rc;

use http::{Request, Response, StatusCode, request};
use hyper::body::{Body as _, Incoming};

use crate::guard::CallerId;
use crate::proxy::attempt::{Answer, Outgoing};
use crate::proxy::bearing::Bearing;
use crate::proxy::body::Source;
use crate::proxy::jose::Given;
use crate::proxy::peer::Peer;
use crate::proxy::record::Record;
use crate::proxy::reply::Reply;
use crate::proxy::token::Pass;
use crate::proxy::worker::View;

pub(crate) use browser::is_of_another_origin;
pub(crate) use choice::Directory;
pub(crate) use door::Door;
pub(crate) use fault::{Fault, Kind};
pub(crate) use jose::Jose;
#[cfg(feature = "benchmarks")]
pub(crate) use jose::steps as jose_steps;
pub(crate) use serve::{Serving, serve};
pub(crate) use snapshot::{Published, Snapshot};
pub(crate) use target::without_port;
pub(crate) use ways::Ways;
pub(crate) use worker::{Shared, Worker};

/// Serves one request, from its head to the head of its answer.
///
/// Cancel safe: when the application goes away the future is dropped, and with it the request to
/// Wise; a token renewal it waited for goes on.
async fn answer(
    worker: &Rc<Worker>,
    door: usize,
    peer: &Peer,
    request: Request<Incoming>,
) -> Response<Box<Reply>> {
    let mut record = Record::new(worker, door, peer, &request);
    let (mut head, incoming) = request.into_parts();
    peer.introduce(&mut head.headers);
    let view = worker.view();
    let source = (!incoming.is_end_stream()).then(|| {
        let limit = view.snapshot.upstream.replay_limit;
        let waits = policy::waits_for_continue(&head.headers, head.version);
        Source::new(incoming, waits, Rc::clone(&worker.budget), limit)
    });
    // What must be recorded can be, or nothing is done.
    if !worker.audit.may_serve() {
        return reply::of_fault(&Fault::AuditUnavailable, record, source);
    }
    if view.snapshot.doors[door].stands_in_for(&head) {
        // It waits for the form, and then looks at the newest.
        drop(view);
        let answer = stand_in::answer(worker, door, peer, &head, source.as_ref(), &mut record);
        return match answer.await {
            Ok(answer) => reply::of_here(answer, record, source),
            Err(fault) => reply::of_fault(&fault, record, source),
        };
    }
    match forward(
        worker,
        view,
        (door, peer),
        head,
        source.clone(),
        &mut record,
    )
    .await
    {
        Ok(Given::AsItCame(answer)) => reply::of_wise(worker, answer, record, source),
        Ok(Given::Opened(opened)) => reply::of_opened(*opened, record, source),
        Err(fault) => reply::of_fault(&fault, record, source),
    }
}

/// Tells whoever came when every place was taken; nothing of the request leaves.
fn turn_away(
    worker: &Rc<Worker>,
    door: usize,
    peer: &Peer,
    request: Request<Incoming>,
) -> Response<Box<Reply>> {
    let record = Record::new(worker, door, peer, &request);
    let incoming = request.into_body();
    let source = (!incoming.is_end_stream())
        .then(|| Source::new(incoming, false, Rc::clone(&worker.budget), 0));
    reply::of_fault(&Fault::Crowded, record, source)
}

/// The steps, in order.
async fn forward(
    worker: &Rc<Worker>,
    view: Rc<View>,
    (door, peer): (usize, &Peer),
    mut head: request::Parts,
    source: Option<Rc<Source>>,
    record: &mut Record,
) -> Result<Given, Fault> {
    // Door and target: who calls, is the host ours, may it.
    let rules = &view.snapshot.doors[door];
    let callers = &view.snapshot.callers;
    let (target, caller) = rules.admit(&head, peer, callers, record.at())?;
    if let Some(caller) = caller {
        record.came_from(caller, &view);
    }

    // Policies: what may who comes in here ask for, and how much of it.
    let who = (door, caller.map(CallerId::index));
    let bearing = Bearing::admit(worker, &view, who, &head, &target, source.as_ref(), record)?;

    // Credential and lane, token: from one snapshot, the newest once a token is there.
    let choose = |view: &View| {
        let (lane, directory) = (view.snapshot.lane_of(door), &view.snapshot.directory);
        let credential =
            directory.choose(lane, &head.method, &target, &head.headers, rules.grant)?;
        bearing.send(worker, lane, credential, directory)?;
        Ok((lane, credential))
    };
    let repeatable = source.as_ref().is_none_or(|source| source.is_whole());
    let mut pass = token::take(worker, choose, repeatable, record).await?;
    bearing.note(record);

    // Fields: what may not leave stays behind.
    policy::request(&mut head, &worker.stamps);
    let mut outgoing = Outgoing {
        head,
        target,
        source,
    };

    // JOSE, where a route says so: from here on the body is what Wise will see.
    let jose = &pass.view.snapshot.jose;
    let carried = match jose.method_of(pass.lane, &outgoing.head, &outgoing.target) {
        Some(method) => {
            let sealing = jose::seal(worker, &pass, method, &mut outgoing, record);
            Some(Box::pin(sealing).await?)
        }
        None => None,
    };

    // Written down before it leaves, and only if nothing else is against it.
    if bearing.is_counted_funding() {
        bearing.fund(worker).await?;
        bearing.note(record);
    }

    // Wise; and where Wise wants strong customer authentication, once more.
    let answer = ask(worker, &mut pass, &mut outgoing, record).await?;
    let answer = sca::answered(
        worker,
        (door, peer),
        &mut pass,
        &mut outgoing,
        record,
        answer,
    )
    .await;
    outgoing.settle();
    match carried {
        Some(carried) => Box::pin(jose::open(worker, carried, answer?, record)).await,
        None => answer.map(Given::AsItCame),
    }
}

/// Asks Wise: once, or twice where the first token was none any more.
async fn ask(
    worker: &Worker,
    pass: &mut Pass,
    outgoing: &mut Outgoing,
    record: &mut Record,
) -> Result<Answer, Fault> {
    let answer = attempt::send(worker, pass, outgoing, record).await?;
    if answer.status() != StatusCode::UNAUTHORIZED || !pass.lane.is_oauth() || record.replayed {
        return Ok(answer);
    }

    // A 401: the token may have been renewed meanwhile, or must be. Sent again once, in the same
    // lane, if the body is still whole.
    if !outgoing.can_go_again() {
        token::complain(worker, pass);
        return Ok(answer);
    }
    if !token::renewed(worker, pass).await {
        return Ok(answer);
    }
    record.replayed = true;
    worker.meter.replays.add(1);
    answer.discard();
    attempt::send(worker, pass, outgoing, record).await
}
