use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places beyond the limit, for telling those who come that there is none.
pub(super) const SPARE: usize = 64;

/// How many connections may be open, all doors together.
///
/// Beyond the limit a few more are let in on spare places, to be told so. When those are taken
/// too, who comes next waits in the kernel's queue, where waiting costs us nothing.
#[derive(Debug)]
pub(crate) struct Limit {
    room: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    most: usize,
    reached: AtomicU64,
    announced: AtomicBool,
}

/// A connection's place.
#[derive(Debug)]
pub(super) struct Room {
    _permit: OwnedSemaphorePermit,
    pub(super) is_spare: bool,
}

impl Limit {
    pub(crate) fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(most)),
            // Where files are few, so are the spare places.
            spare: Arc::new(Semaphore::new(SPARE.min(most.div_ceil(4)))),
            most,
            reached: AtomicU64::new(0),
            announced: AtomicBool::new(false),
        }
    }

    /// Connections open now, without those on spare places.
    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        self.most - self.room.available_permits()
    }

    /// How many connections came when every place was taken.
    pub(crate) fn reached(&self) -> u64 {
        self.reached.load(Ordering::Relaxed)
    }

    /// A place, spare if need be; waits while there is not even that. Cancel safe. `None` only if
    /// the semaphore were closed, which nobody does.
    pub(super) async fn enter(&self) -> Option<Room> {
        if let Some(room) = self.try_enter() {
            return Some(room);
        }
        let spare = Arc::clone(&self.spare).acquire_owned().await.ok()?;
        // Meanwhile there may be room.
        Some(self.place().unwrap_or(Room {
            _permit: spare,
            is_spare: true,
        }))
    }

    /// A place if there is any now.
    pub(super) fn try_enter(&self) -> Option<Room> {
        if let Some(room) = self.place() {
            // A tenth of the room must be free again before the limit is news again.
            if self.room.available_permits() > self.most / 10 {
                self.announced.store(false, Ordering::Relaxed);
            }
            return Some(room);
        }
        self.reached.fetch_add(1, Ordering::Relaxed);
        if !self.announced.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                limit = self.most,
                "every allowed connection is open, new ones are refused with 503; raise runtime.max_connections if this lasts"
            );
        }
        let spare = Arc::clone(&self.spare).try_acquire_owned().ok()?;
        Some(Room {
            _permit: spare,
            is_spare: true,
        })
    }

    fn place(&self) -> Option<Room> {
        let permit = Arc::clone(&self.room).try_acquire_owned().ok()?;
        Some(Room {
            _permit: permit,
            is_spare: false,
        })
    }
}
