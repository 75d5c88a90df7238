//! A live token for a request: at once where one is there, after the renewal where one is running.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use crate::proxy::choice::Credential;
use crate::proxy::fault::Fault;
use crate::proxy::peer::Peer;
use crate::proxy::record::Record;
use crate::proxy::worker::{View, Worker};
use crate::sync::{spawn_local, watch};
use crate::tokens::{Absence, Renewal, TokenView};
use crate::wise::Lane;

/// What a request leaves with: lane, way out and credential, all from one snapshot.
pub(crate) struct Pass {
    pub(crate) view: Rc<View>,
    pub(crate) lane: Lane,
    pub(crate) credential: Credential,
    pub(crate) authorization: HeaderValue,
    /// Which token of its grant; 0 for the personal token.
    pub(crate) generation: u64,
}

/// With no living token to leave with, or with a body that cannot leave twice, waiting is all there
/// is: at least for this long.
const LONG_WAIT: Duration = Duration::from_secs(2);

/// How long a request waits for a running renewal.
#[derive(Clone, Copy, Debug)]
struct Waits {
    /// While the old token lives. It may leave with that one: if Wise has ended it by then, a 401
    /// says so, and the request is sent again.
    living: Duration,
    /// While there is none.
    without: Duration,
}

impl Waits {
    fn new(worker: &Worker, repeatable: bool) -> Self {
        let wait = worker.shared.tokens.wait;
        let without = wait.max(LONG_WAIT);
        Self {
            living: if repeatable { wait } else { without },
            without,
        }
    }
}

/// Takes the newest snapshot's token, waiting for a running renewal within [`Waits`].
///
/// The choice is made anew after each wait: what has not left yet goes where the switch stands
/// when it leaves.
pub(crate) async fn take(
    worker: &Worker,
    choose: &impl Fn(&View) -> Result<(Lane, Credential), Fault>,
    repeatable: bool,
    record: &mut Record,
) -> Result<Pass, Fault> {
    let waits = Waits::new(worker, repeatable);
    match look(worker, choose, waits, None, record)? {
        Looked::Pass(pass) => Ok(pass),
        // Boxed: every request would carry the room for it.
        Looked::Wait(_) | Looked::Ask(_) => {
            Box::pin(wait_for_one(worker, choose, waits, record)).await
        }
    }
}

/// Waits for a token.
async fn wait_for_one(
    worker: &Worker,
    choose: &impl Fn(&View) -> Result<(Lane, Credential), Fault>,
    waits: Waits,
    record: &mut Record,
) -> Result<Pass, Fault> {
    // Only who has to wait subscribes, and looks once more: the publication to wait for may have
    // come since the first look.
    worker.meter.gate_waits.add(1);
    let mut patience = Patience::begin(worker);
    loop {
        // Before the look, so that no publication falls in between.
        patience.news.mark_unchanged();
        let limit = match look(worker, choose, waits, Some(patience.waited()), record)? {
            Looked::Pass(pass) => return Ok(pass),
            Looked::Wait(limit) => limit,
            Looked::Ask(keeper) => {
                let keeper = worker.shared.keepers[keeper].clone();
                spawn_local(async move { keeper.wake().await });
                waits.without
            }
        };
        patience.wait(limit).await;
    }
}

enum Looked {
    Pass(Pass),
    /// A renewal is running: worth waiting for, so long in all.
    Wait(Duration),
    /// This keeper does not know that a token is needed.
    Ask(usize),
}

/// Looks at the newest snapshot, chooses by it and takes its token. `waited`: `None` at first.
fn look(
    worker: &Worker,
    choose: &impl Fn(&View) -> Result<(Lane, Credential), Fault>,
    waits: Waits,
    waited: Option<Duration>,
    record: &mut Record,
) -> Result<Looked, Fault> {
    let view = worker.view();
    // Who waits already came before the stop and is served to the end; so is a request for which
    // we ask Wise something ourselves.
    if view.snapshot.draining && waited.is_none() && !record.is_ours() {
        return Err(Fault::ShuttingDown);
    }
    let (lane, credential) = choose(&view)?;
    record.chose(lane, credential, &view);
    let waited = waited.unwrap_or_default();
    Ok(match token_of(worker, &view, credential, waited, waits)? {
        Found::Pass {
            authorization,
            generation,
        } => {
            record.generation = Some(generation).filter(|generation| *generation > 0);
            Looked::Pass(Pass {
                view,
                lane,
                credential,
                authorization,
                generation,
            })
        }
        Found::Wait(limit) => Looked::Wait(limit),
        Found::Ask(keeper) => Looked::Ask(keeper),
    })
}

enum Found {
    Pass {
        authorization: HeaderValue,
        generation: u64,
    },
    /// A renewal is running: worth waiting for, so long in all.
    Wait(Duration),
    /// This keeper does not know that a token is needed.
    Ask(usize),
}

fn token_of(
    worker: &Worker,
    view: &View,
    credential: Credential,
    waited: Duration,
    waits: Waits,
) -> Result<Found, Fault> {
    let Some(slot) = view.snapshot.directory.slot(credential) else {
        let Some(authorization) = view.personal.clone() else {
            return Err(unavailable(
                view,
                credential,
                "no personal token is configured",
            ));
        };
        return Ok(Found::Pass {
            authorization,
            generation: 0,
        });
    };
    match &view.tokens[slot] {
        TokenView::Live { renewing: true, .. } if waited < waits.living => {
            Ok(Found::Wait(waits.living))
        }
        TokenView::Absent { renewing: true, .. } if waited < waits.without => {
            Ok(Found::Wait(waits.without))
        }
        live @ TokenView::Live { .. } => match live.usable(worker.shared.clock.boot()) {
            Some((authorization, generation)) => Ok(Found::Pass {
                authorization: authorization.clone(),
                generation,
            }),
            // It ended while the machine slept, or a moment ago: its keeper may hear of it first
            // from us.
            None if waited < waits.without => Ok(Found::Ask(slot)),
            None => Err(unavailable(
                view,
                credential,
                "it has ended and no new one came",
            )),
        },
        TokenView::Absent {
            reason: Absence::NotFetched,
            ..
        } if waited < waits.without => Ok(Found::Ask(slot)),
        TokenView::Absent {
            reason: Absence::NeverLoggedIn,
            ..
        } => Err(Fault::NoGrant),
        TokenView::Absent { reason, .. } => Err(unavailable(view, credential, &reason.to_string())),
        TokenView::Dead { reason } => Err(Fault::ReauthorisationRequired {
            grant: name(view, credential),
            reason: reason.clone(),
        }),
    }
}

fn unavailable(view: &View, credential: Credential, reason: &str) -> Fault {
    Fault::TokenUnavailable {
        grant: name(view, credential),
        reason: reason.into(),
    }
}

fn name(view: &View, credential: Credential) -> String {
    view.snapshot
        .directory
        .name(credential)
        .unwrap_or("personal")
        .to_owned()
}

/// After a 401: asks for a token newer than the one that was refused and takes it into the pass.
///
/// The lane stays; only the token, and with it the newest way out of that lane, is replaced.
pub(crate) async fn renewed(worker: &Worker, pass: &mut Pass) -> bool {
    let Some(slot) = pass.view.snapshot.directory.slot(pass.credential) else {
        return false;
    };
    let Some(keeper) = worker.shared.keepers.get(slot) else {
        return false;
    };
    // A connection first, then the exchange, and a little for the store.
    let shared = &worker.shared;
    let exchange = shared.connect_timeout + shared.tokens.exchange_timeout;
    let limit = exchange + Duration::from_secs(2);
    match tokio::time::timeout(limit, keeper.refused(pass.generation)).await {
        Ok(Renewal::Newer) => {}
        Ok(Renewal::NotRenewed) | Err(_) => return false,
    }
    let waits = Waits::new(worker, true);
    let mut patience = Patience::begin(worker);
    loop {
        patience.news.mark_unchanged();
        let view = worker.view();
        if view.snapshot.ways[pass.lane.index()].is_none() {
            return false; // A reload has taken the lane away.
        }
        if acts_for_another(pass, &view) {
            return false; // It was judged as of the account before.
        }
        let waited = patience.waited();
        match token_of(worker, &view, pass.credential, waited, waits) {
            Ok(Found::Pass {
                authorization,
                generation,
            }) if generation > pass.generation => {
                pass.view = view;
                pass.authorization = authorization;
                pass.generation = generation;
                return true;
            }
            // The next one is coming already: as patient as with the first.
            Ok(Found::Wait(limit)) => patience.wait(limit).await,
            // Told of a newer token, but it is not in our snapshot yet.
            Ok(_) if waited < waits.without => patience.wait(waits.without).await,
            Ok(_) | Err(_) => return false,
        }
    }
}

/// Before a request leaves again that has waited for long: takes the newest token of the same
/// credential, and the newest way out of the same lane.
///
/// It was let in, judged and approved under the snapshot that it has. Where the newest has other
/// doors, callers or policies, no such lane, another account behind the grant or no living token, it
/// may not go: the reason why.
pub(crate) fn freshen(
    worker: &Worker,
    (door, peer): (usize, &Peer),
    pass: &mut Pass,
) -> Result<(), &'static str> {
    let view = worker.view();
    let (old, new) = (&pass.view.snapshot, &view.snapshot);
    // Its own credential is not at hand any more to be looked at by new rules; nor may a rate or a
    // funding count it twice.
    if !(Arc::ptr_eq(&old.doors, &new.doors)
        && Arc::ptr_eq(&old.callers, &new.callers)
        && Arc::ptr_eq(&old.policies, &new.policies))
    {
        return Err("doors, callers or policies were loaded anew");
    }
    if new.doors[door].has_closed_to(peer, worker.shared.clock.wall()) {
        return Err("what its connection came by has ended");
    }
    if new.ways[pass.lane.index()].is_none() {
        return Err("its lane was taken away");
    }
    if acts_for_another(pass, &view) {
        return Err("its grant acts for another profile");
    }
    let waits = Waits::new(worker, true);
    // As one that has waited enough: what is there now.
    let found = token_of(worker, &view, pass.credential, waits.without, waits);
    let Ok(Found::Pass {
        authorization,
        generation,
    }) = found
    else {
        return Err("its grant has no living token");
    };
    pass.view = view;
    pass.authorization = authorization;
    pass.generation = generation;
    Ok(())
}

/// Whether a login has made the grant of a request another account's.
fn acts_for_another(pass: &Pass, newest: &View) -> bool {
    let profile = |view: &View| match pass.credential {
        Credential::User(grant) => view.snapshot.directory.profile(grant).cloned(),
        Credential::Personal | Credential::Client => None,
    };
    profile(&pass.view) != profile(newest)
}

/// After a 401 to a request that cannot go again: the token must be renewed for those to come.
pub(crate) fn complain(worker: &Worker, pass: &Pass) {
    let slot = pass.view.snapshot.directory.slot(pass.credential);
    if let Some(keeper) = slot.and_then(|slot| worker.shared.keepers.get(slot)) {
        let (keeper, refused) = (keeper.clone(), pass.generation);
        spawn_local(async move { keeper.refused(refused).await });
    }
}

/// A request that waits for news.
struct Patience {
    began: Instant,
    news: watch::Receiver<u64>,
}

impl Patience {
    fn begin(worker: &Worker) -> Self {
        Self {
            began: Instant::now(),
            news: worker.subscribe(),
        }
    }

    fn waited(&self) -> Duration {
        self.began.elapsed()
    }

    /// Returns at the next publication, or when `limit` of waiting is over.
    async fn wait(&mut self, limit: Duration) {
        let end = self.began + limit;
        let _ = tokio::time::timeout_at(end, self.news.changed()).await;
        // In a process that was stopped meanwhile nothing that is waited for could have come.
        let now = Instant::now();
        if now.saturating_duration_since(end) > OVERSLEPT {
            self.began = now;
        }
    }
}

/// Timers are never so late in a process that runs.
const OVERSLEPT: Duration = Duration::from_secs(1);
