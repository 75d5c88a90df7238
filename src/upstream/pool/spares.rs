use std::time::Duration;

use tokio::time::Instant;

use super::{Idle, Limits, Origin, Shared, State};

/// A connection that goes before this age without being of use was not worth its dial.
const YOUNG: Duration = Duration::from_secs(3);

/// Nothing is dialled ahead for this long after a dial that failed or was not worth it; each
/// further one doubles it.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A spare's successor is dialled this long before it has been idle too long, or grows too old.
const LEAD: Duration = Duration::from_secs(5);

/// Connections that are dialled before a request wants them.
///
/// A spare that has been idle too long is replaced and not used, like any other connection: past
/// that time the server may be closing it, and a request that crosses the close has an unknown
/// outcome.
#[derive(Debug)]
pub(super) struct Spares {
    /// How many should lie ready: none while no requests come this way.
    pub(super) wanted: usize,
    /// In a row.
    losses: u32,
    /// None is dialled before.
    due: Instant,
}

impl Spares {
    pub(super) fn none() -> Self {
        Self {
            wanted: 0,
            losses: 0,
            due: Instant::now(),
        }
    }

    /// A dial has failed, or what it brought has gone too soon. Those that were under way together
    /// count as one.
    pub(super) fn lost(&mut self, now: Instant) {
        if now < self.due {
            return;
        }
        let pause = PAUSE * (1 << self.losses.min(5));
        self.due = now + pause.min(LONGEST_PAUSE);
        self.losses = self.losses.saturating_add(1);
    }

    /// As many as wanted are there.
    fn settled(&mut self, now: Instant) {
        if now >= self.due + YOUNG {
            self.losses = 0;
        }
    }

    /// After a loss they are dialled one by one.
    fn may_dial(&self, now: Instant, dialling: usize) -> bool {
        now >= self.due && (self.losses == 0 || dialling == 0)
    }
}

impl<B> State<B> {
    /// Drops what takes no request any more.
    pub(super) fn clear(&mut self, limits: &Limits, now: Instant) {
        let addresses = self.addresses.as_deref();
        let is_young = |origin: &Origin| now - origin.born < YOUNG;
        let mut wasted = false;
        self.idle.retain(|idle| {
            let stays = idle.is_fit(now, limits, addresses);
            wasted |= !stays && !idle.origin.used && is_young(&idle.origin);
            stays
        });
        self.shared.retain(|shared| {
            let is_quiet = shared.is_quiet(now, limits);
            let stays = shared.is_fit(now, limits.age, addresses) && !is_quiet;
            wasted |= !stays && shared.is_unused() && is_young(&shared.origin);
            stays
        });
        if wasted {
            self.spares.lost(now);
        }
    }

    /// Whether another connection should be dialled ahead of requests.
    pub(super) fn lacks_spare(&mut self, limits: &Limits, now: Instant) -> bool {
        if self.spares.wanted == 0 || self.retired {
            return false;
        }
        self.clear(limits, now);
        // Whatever goes soon is as good as gone, so that there is no time without.
        let soon = now + LEAD.min(limits.idle / 4).min(limits.age / 4);
        let addresses = self.addresses.as_deref();
        let (ready, coming, wanted) = match self.http2 {
            // One carries many requests; the next is dialled before it is full.
            Some(true) => {
                let is_spare = |shared: &&std::rc::Rc<Shared>| {
                    shared.is_fit(soon, limits.age, addresses)
                        && !shared.is_quiet(soon, limits)
                        && shared.has_room()
                };
                (
                    self.shared.iter().filter(is_spare).count(),
                    self.dialling,
                    1,
                )
            }
            Some(false) => {
                let is_spare = |idle: &&Idle<B>| idle.is_fit(soon, limits, addresses);
                let ready = self.idle.iter().filter(is_spare).count();
                let coming = self.dialling.saturating_sub(self.line.len());
                (ready, coming, self.spares.wanted)
            }
            // The first tells what the server speaks.
            None => (0, self.dialling, 1),
        };
        if ready >= wanted {
            self.spares.settled(now);
        }
        ready + coming < wanted
            && self.open + self.dialling < limits.connections
            && self.spares.may_dial(now, self.dialling)
    }
}
