//! The life of a request: door, target, credential, lane, token, Wise, answer.
//!
//! Runs on one worker's thread. It reads one immutable snapshot, takes no lock that another
//! worker takes, sends a request a second time only when Wise provably did not act on it, and
//! never lets the application's own credential out.

mod alarms;
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
mod places;
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
mod visit;
mod ways;
mod worker;

use std::rc::Rc;

use http::StatusCode;

use crate::guard::CallerId;
use crate::proxy::attempt::{Answer, Outgoing};
use crate::proxy::bearing::Bearing;
use crate::proxy::peer::Peer;
use crate::proxy::record::Record;
use crate::proxy::reply::Given;
use crate::proxy::token::Pass;
use crate::proxy::visit::Visit;
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
    visit: &mut Visit,
) -> Result<Given, Fault> {
    // What must be recorded can be, or nothing is done.
    if !worker.audit.may_serve() {
        return Err(Fault::AuditUnavailable);
    }
    let view = worker.view();
    if view.snapshot.doors[door].stands_in_for(&visit.head) {
        // It waits for the form, and then looks at the newest.
        drop(view);
        let said = Box::pin(stand_in::answer(worker, door, peer, visit)).await?;
        return Ok(Given::Here(Box::new(said)));
    }
    forward(worker, view, (door, peer), visit).await
}

/// The steps, in order. What few requests need is boxed: every request would carry the room for it.
async fn forward(
    worker: &Rc<Worker>,
    view: Rc<View>,
    (door, peer): (usize, &Peer),
    visit: &mut Visit,
) -> Result<Given, Fault> {
    let Visit {
        head,
        source,
        record,
    } = visit;

    // Door and target: who calls, is the host ours, may it.
    let rules = &view.snapshot.doors[door];
    let callers = &view.snapshot.callers;
    let (target, caller) = rules.admit(head, peer, callers, record.at())?;
    if let Some(caller) = caller {
        record.came_from(caller, &view);
    }

    // Policies: what may who comes in here ask for, and how much of it.
    let who = (door, caller.map(CallerId::index));
    let bearing = Bearing::admit(worker, &view, who, head, &target, source.as_ref(), record)?;

    // Credential and lane, token: from one snapshot, the newest once a token is there.
    let mut pass = {
        let choose = |view: &View| {
            let (lane, directory) = (view.snapshot.lane_of(door), &view.snapshot.directory);
            let credential =
                directory.choose(lane, &head.method, &target, &head.headers, rules.grant)?;
            bearing.send(worker, lane, credential, directory)?;
            Ok((lane, credential))
        };
        let repeatable = source.as_ref().is_none_or(|source| source.is_whole());
        token::take(worker, &choose, repeatable, record).await?
    };
    bearing.note(record);

    // Fields: what may not leave stays behind.
    policy::request(head, &worker.stamps);
    let mut outgoing = Outgoing {
        head,
        target,
        source: source.clone(),
    };

    // JOSE, where a route says so: from here on the body is what Wise will see.
    let jose = &pass.view.snapshot.jose;
    let carried = match jose.method_of(pass.lane, outgoing.head, &outgoing.target) {
        Some(method) => {
            let sealing = jose::seal(worker, &pass, method, &mut outgoing, record);
            Some(Box::new(Box::pin(sealing).await?))
        }
        None => None,
    };

    // Written down before it leaves, and only if nothing else is against it.
    if bearing.is_counted_funding() {
        Box::pin(bearing.fund(worker)).await?;
        bearing.note(record);
    }

    // Wise; and where Wise wants strong customer authentication, once more.
    let answer = ask(worker, &mut pass, &mut outgoing, record).await?;
    let answer = if sca::is_challenge(answer.status(), answer.response.headers()) {
        let guest = (door, peer);
        Box::pin(sca::answer(
            worker,
            guest,
            &mut pass,
            &mut outgoing,
            record,
            answer,
        ))
        .await
    } else {
        Ok(answer)
    };
    outgoing.settle();
    match carried {
        Some(carried) => Box::pin(jose::open(worker, &pass, *carried, answer?, record)).await,
        None => answer.map(Given::AsItCame),
    }
}

/// Asks Wise: once, or twice where the first token was none any more.
async fn ask(
    worker: &Worker,
    pass: &mut Pass,
    outgoing: &mut Outgoing<'_>,
    record: &mut Record,
) -> Result<Answer, Fault> {
    let answer = attempt::send(worker, pass, outgoing, record).await?;
    if answer.status() != StatusCode::UNAUTHORIZED || !pass.lane.is_oauth() || record.replayed {
        return Ok(answer);
    }
    Box::pin(ask_again(worker, pass, outgoing, record, answer)).await
}

/// After a 401: the token may have been renewed meanwhile, or must be. Sent again once, in the same
/// lane, if the body is still whole.
async fn ask_again(
    worker: &Worker,
    pass: &mut Pass,
    outgoing: &mut Outgoing<'_>,
    record: &mut Record,
    answer: Answer,
) -> Result<Answer, Fault> {
    if !outgoing.can_go_again() {
        token::complain(worker, pass);
        return Ok(answer);
    }
    // Whoever waits for a renewal holds no connection that another grant could use.
    let ((answer, _), renewed) = tokio::join!(answer.keep(), token::renewed(worker, pass));
    // An upload went on meanwhile, and may have become too long to be kept.
    if !renewed || !outgoing.can_go_again() {
        return Ok(answer);
    }
    record.replayed = true;
    worker.meter.replays.add(1);
    answer.discard();
    attempt::send(worker, pass, outgoing, record).await
}
