//! What a request reads: one immutable value behind an atomic pointer.
//!
//! A token renewal, a lane switch and a reload each publish a whole new snapshot. A request reads
//! the pointer once and so sees lane, host, client certificate and credential that belong
//! together.

use std::sync::Arc;

use http::HeaderValue;

use crate::config;
use crate::guard::{Callers, Policies};
use crate::proxy::choice::Directory;
use crate::proxy::door::Door;
use crate::proxy::jose::Jose;
use crate::sca::Signer;
use crate::sync::{ArcSwap, Cache, watch};
use crate::tokens::TokenView;
use crate::upstream::Endpoint;
use crate::wise::{Lane, LaneSet, ProfileId};

/// The state of the world for one request.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The lane of the switch. Its way out is there: only lanes with one can be switched to.
    pub(crate) lane: Lane,
    /// The way out by lane; `None` where a lane is forbidden or lacks what it needs.
    pub(crate) ways: [Option<Arc<Endpoint>>; Lane::ALL.len()],
    /// `Authorization` of the personal lane.
    pub(crate) personal: Option<HeaderValue>,
    /// By grant, in the order of the directory; the client-credentials token last.
    pub(crate) tokens: Vec<TokenView>,
    pub(crate) directory: Arc<Directory>,
    /// By door, in the order of the configuration.
    pub(crate) doors: Arc<[Door]>,
    /// What those who come in may do; published with the doors, whose policies they are.
    pub(crate) policies: Arc<Policies>,
    /// Those that the doors know.
    pub(crate) callers: Arc<Callers>,
    /// Which bodies are signed or encrypted on their way, and with which keys.
    pub(crate) jose: Arc<Jose>,
    pub(crate) upstream: Arc<config::Upstream>,
    /// Who signs one-time tokens, and in which lanes; `None`: none is signed.
    pub(crate) signer: Option<Arc<Signer>>,
    /// No new request is served.
    pub(crate) draining: bool,
}

impl Snapshot {
    /// The lane of requests at a door: its own, whatever the switch says, or that of the switch.
    pub(crate) fn lane_of(&self, door: usize) -> Lane {
        let pinned = self.doors.get(door).and_then(|door| door.lane);
        pinned.unwrap_or(self.lane)
    }

    /// Takes what a keeper publishes: a token and, in the same breath, the profile that it acts for,
    /// or a request would be judged as of one account and leave with the token of another.
    pub(crate) fn take_token(
        &mut self,
        slot: usize,
        token: &TokenView,
        profile: Option<&ProfileId>,
    ) {
        let is_live = matches!(token, TokenView::Live { .. });
        self.tokens[slot] = token.clone();
        // Of a grant without a token nothing leaves: what was known of it is good enough.
        if (is_live || profile.is_some())
            && let Some(directory) = self.directory.learn(slot, profile)
        {
            self.directory = Arc::new(directory);
        }
    }

    /// The lanes that requests take just now: that of the switch, and those of pinned doors.
    pub(crate) fn lanes_in_use(&self) -> LaneSet {
        let pinned = self.doors.iter().filter_map(|door| door.lane);
        pinned.chain([self.lane]).collect()
    }
}

/// The one place where snapshots are published. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    current: Arc<ArcSwap<Snapshot>>,
    /// Counts publications, for those who wait for the next.
    epoch: watch::Sender<u64>,
}

impl Published {
    pub(crate) fn new(first: Snapshot) -> Self {
        Self {
            current: Arc::new(ArcSwap::from_pointee(first)),
            epoch: watch::Sender::new(0),
        }
    }

    /// Replaces the snapshot by what `change` makes of it.
    ///
    /// Publishers may race: each change is applied to the newest snapshot, again if another came
    /// first, so none is lost. `change` may therefore run more than once.
    pub(crate) fn update(&self, change: impl Fn(&mut Snapshot)) {
        self.current.rcu(|current| {
            let mut next = Snapshot::clone(current);
            change(&mut next);
            next
        });
        self.epoch.send_modify(|epoch| *epoch += 1);
    }

    /// The snapshot of this moment, for the control side.
    pub(crate) fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// A reader that notices publications at the cost of one atomic load.
    pub(crate) fn reader(&self) -> Reader {
        Cache::new(Arc::clone(&self.current))
    }

    /// Wakes at each publication after this call.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }
}

/// See [`Published::reader`].
pub(crate) type Reader = Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>;
