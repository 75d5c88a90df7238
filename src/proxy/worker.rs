//! One data worker: its view of the snapshot, its pools, its counts.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::audit::Clerk;
use crate::clock::Clock;
use crate::config;
use crate::guard::Caps;
use crate::proxy::alarms::Alarms;
use crate::proxy::body::{Budget, Upload};
use crate::proxy::jose::{Room, WiseKeys};
use crate::proxy::policy::Stamps;
use crate::proxy::snapshot::{Published, Reader, Snapshot};
use crate::sca::Office;
use crate::sync::watch;
use crate::telemetry::access::AccessLog;
use crate::telemetry::meter::{Meter, Tally};
use crate::tokens::{KeeperHandle, TokenView};
use crate::upstream::Pool;
use crate::wise::Lane;

/// What every worker is given.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) published: Published,
    pub(crate) clock: Arc<dyn Clock>,
    /// By grant, client credentials last; empty without OAuth.
    pub(crate) keepers: Arc<[KeeperHandle]>,
    pub(crate) tokens: config::Tokens,
    /// A connection to the token endpoint takes at most this long.
    pub(crate) connect_timeout: Duration,
    /// Who counts fundings.
    pub(crate) caps: Caps,
    /// Who has challenges approved.
    pub(crate) office: Office,
}

/// Everything a request needs, on the thread that serves it.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Shared,
    pub(crate) meter: Arc<Meter>,
    pub(crate) access: AccessLog,
    pub(crate) audit: Clerk,
    pub(crate) stamps: Stamps,
    pub(crate) alarms: Alarms,
    pub(crate) budget: Rc<Budget>,
    /// Where bodies are held that are signed or encrypted.
    pub(crate) room: Room,
    pub(crate) wise_keys: WiseKeys,
    reader: RefCell<Reader>,
    view: RefCell<Rc<View>>,
}

/// A snapshot as one worker holds it.
///
/// The header values are copies of the worker's own and the pools are its own, so serving a
/// request touches no reference count that another worker touches.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) pools: [Option<Pool<Upload>>; Lane::ALL.len()],
    pub(crate) personal: Option<HeaderValue>,
    pub(crate) tokens: Vec<TokenView>,
    /// What this worker counts of each caller, in their order.
    pub(crate) tallies: Vec<Arc<Tally>>,
}

impl Worker {
    pub(crate) fn new(shared: Shared, meter: Arc<Meter>, access: AccessLog, audit: Clerk) -> Self {
        let mut reader = shared.published.reader();
        let first = Arc::clone(reader.load());
        let budget = Rc::new(Budget::new(first.upstream.replay_budget));
        let view = View::new(first, None, &meter);
        Self {
            budget,
            room: Room::default(),
            wise_keys: WiseKeys::default(),
            meter,
            access,
            audit,
            stamps: Stamps::default(),
            alarms: Alarms::default(),
            reader: RefCell::new(reader),
            view: RefCell::new(Rc::new(view)),
            shared,
        }
    }

    /// The newest snapshot.
    pub(crate) fn view(&self) -> Rc<View> {
        let mut reader = self.reader.borrow_mut();
        let newest = reader.load();
        let mut view = self.view.borrow_mut();
        if !Arc::ptr_eq(newest, &view.snapshot) {
            let next = View::new(Arc::clone(newest), Some(&view), &self.meter);
            *view = Rc::new(next);
        }
        Rc::clone(&view)
    }

    /// Wakes at each publication after this call.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.published.subscribe()
    }

    /// Housekeeping, every second or so and at each publication: old connections close, spares of
    /// the lanes in use are dialled, access lines and records go out, and a new snapshot is noticed
    /// even without
    /// traffic.
    pub(crate) fn tick(&self) {
        let view = self.view();
        let snapshot = &view.snapshot;
        let live = snapshot.lanes_in_use();
        let live = live.iter().filter(|_| !snapshot.draining);
        let live = live.filter_map(|lane| Some(snapshot.ways[lane.index()].as_ref()?.id));
        for pool in view.pools.iter().flatten() {
            // Two lanes may go the same way.
            let mut live = live.clone();
            pool.sweep(live.any(|id| id == pool.endpoint().id));
        }
        self.access.flush();
        self.audit.flush();
    }
}

impl View {
    /// Pools of endpoints that stay are kept, those of endpoints that are gone are retired.
    fn new(snapshot: Arc<Snapshot>, before: Option<&Self>, meter: &Arc<Meter>) -> Self {
        let mut by_endpoint: HashMap<u64, Pool<Upload>> = HashMap::new();
        for pool in before.iter().flat_map(|view| view.pools.iter().flatten()) {
            by_endpoint.insert(pool.endpoint().id, pool.clone());
        }
        let old: Vec<u64> = by_endpoint.keys().copied().collect();
        let pools = std::array::from_fn(|lane| {
            let endpoint = snapshot.ways[lane].as_ref()?;
            let pool = by_endpoint.entry(endpoint.id).or_insert_with(|| {
                Pool::new(Arc::clone(endpoint), &snapshot.upstream, Arc::clone(meter))
            });
            Some(pool.clone())
        });
        for id in old {
            let stays = snapshot
                .ways
                .iter()
                .flatten()
                .any(|endpoint| endpoint.id == id);
            if let Some(pool) = by_endpoint.get(&id).filter(|_| !stays) {
                pool.retire();
            }
        }
        let callers = snapshot.callers.iter();
        Self {
            tallies: meter.of_callers(callers.map(|(_, caller)| caller.name.as_str())),
            personal: snapshot.personal.as_ref().map(own),
            tokens: snapshot
                .tokens
                .iter()
                .map(|token| token.map_authorization(own))
                .collect(),
            pools,
            snapshot,
        }
    }
}

/// A copy with bytes of its own.
fn own(value: &HeaderValue) -> HeaderValue {
    match HeaderValue::from_bytes(value.as_bytes()) {
        Ok(mut copy) => {
            copy.set_sensitive(value.is_sensitive());
            copy
        }
        // Bytes that were a header value are one again; a shared copy serves as well.
        Err(_) => value.clone(),
    }
}
