//! A live token for a request: at once where one is there, after the renewal where one is running.

use std::rc::Rc;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use crate::proxy::choice::Credential;
use crate::proxy::fault::Fault;
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

/// Takes the newest snapshot's token, waiting for a running renewal for at most `tokens.wait`.
///
/// The choice is made anew after each wait: what has not left yet goes where the switch stands
/// when it leaves.
pub(crate) async fn take(
    worker: &Worker,
    choose: impl Fn(&View) -> Result<Credential, Fault>,
    record: &mut Record,
) -> Result<Pass, Fault> {
    let mut patience: Option<Patience> = None;
    loop {
        // Before the look, so that no publication falls in between.
        if let Some(patience) = &mut patience {
            patience.news.mark_unchanged();
        }
        let view = worker.view();
        // Who waits already came before the stop and is served to the end.
        if view.snapshot.draining && patience.is_none() {
            return Err(Fault::ShuttingDown);
        }
        let lane = view.snapshot.lane;
        let credential = choose(&view)?;
        record.chose(lane, credential, &view);
        let patient = patience.as_ref().is_none_or(|patience| !patience.over());
        let found = token_of(worker, &view, credential, patient)?;
        if let Found::Pass {
            authorization,
            generation,
        } = found
        {
            record.generation = Some(generation).filter(|generation| *generation > 0);
            return Ok(Pass {
                view,
                lane,
                credential,
                authorization,
                generation,
            });
        }
        let Some(patience) = &mut patience else {
            // Only who has to wait subscribes, and looks once more: the publication to wait for
            // may have come since the first look.
            worker.meter.gate_waits.add(1);
            patience = Some(Patience::new(worker));
            continue;
        };
        if let Found::Ask(keeper) = found {
            let keeper = worker.shared.keepers[keeper].clone();
            spawn_local(async move { keeper.wake_client().await });
        }
        patience.wait().await;
    }
}

enum Found {
    Pass {
        authorization: HeaderValue,
        generation: u64,
    },
    /// A renewal is running.
    Wait,
    /// Nobody has asked this keeper for a token yet.
    Ask(usize),
}

fn token_of(
    worker: &Worker,
    view: &View,
    credential: Credential,
    patient: bool,
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
        TokenView::Live { renewing: true, .. } | TokenView::Absent { renewing: true, .. }
            if patient =>
        {
            Ok(Found::Wait)
        }
        live @ TokenView::Live { .. } => match live.usable(worker.shared.clock.boot()) {
            Some((authorization, generation)) => Ok(Found::Pass {
                authorization: authorization.clone(),
                generation,
            }),
            None => Err(unavailable(
                view,
                credential,
                "it has ended and no new one came",
            )),
        },
        TokenView::Absent {
            reason: Absence::NotFetched,
            ..
        } if patient => Ok(Found::Ask(slot)),
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
    let limit = worker.shared.tokens.exchange_timeout + Duration::from_secs(2);
    match tokio::time::timeout(limit, keeper.refused(pass.generation)).await {
        Ok(Renewal::Newer) => {}
        Ok(Renewal::NotRenewed) | Err(_) => return false,
    }
    let mut patience = Patience::new(worker);
    loop {
        patience.news.mark_unchanged();
        let view = worker.view();
        if view.snapshot.ways[pass.lane.index()].is_none() {
            return false; // A reload has taken the lane away.
        }
        match token_of(worker, &view, pass.credential, !patience.over()) {
            Ok(Found::Pass {
                authorization,
                generation,
            }) if generation > pass.generation => {
                pass.view = view;
                pass.authorization = authorization;
                pass.generation = generation;
                return true;
            }
            // Told of a newer token, but it is not in our snapshot yet, or a next one is coming.
            Ok(_) if !patience.over() => patience.wait().await,
            Ok(_) | Err(_) => return false,
        }
    }
}

/// After a 401 to a request that cannot go again: the token must be renewed for those to come.
pub(crate) fn complain(worker: &Worker, pass: &Pass) {
    let slot = pass.view.snapshot.directory.slot(pass.credential);
    if let Some(keeper) = slot.and_then(|slot| worker.shared.keepers.get(slot)) {
        let (keeper, refused) = (keeper.clone(), pass.generation);
        spawn_local(async move { keeper.refused(refused).await });
    }
}

/// How long a request waits for news.
struct Patience {
    until: Instant,
    news: watch::Receiver<u64>,
}

impl Patience {
    fn new(worker: &Worker) -> Self {
        Self {
            until: Instant::now() + worker.shared.tokens.wait,
            news: worker.subscribe(),
        }
    }

    fn over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Returns at the next publication, or when patience is over.
    async fn wait(&mut self) {
        let _ = tokio::time::timeout_at(self.until, self.news.changed()).await;
    }
}
