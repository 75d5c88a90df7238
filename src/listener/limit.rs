use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections may be open, all doors together.
///
/// At the limit nothing is accepted: who comes next waits in the kernel's queue, where waiting
/// costs us nothing, and comes in when somebody leaves.
#[derive(Debug)]
pub(crate) struct Limit {
    room: Arc<Semaphore>,
    most: usize,
    reached: AtomicU64,
    announced: AtomicBool,
}

impl Limit {
    pub(crate) fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(most)),
            most,
            reached: AtomicU64::new(0),
            announced: AtomicBool::new(false),
        }
    }

    /// Connections open now.
    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        self.most - self.room.available_permits()
    }

    /// How often a connection had to wait for another to end.
    pub(crate) fn reached(&self) -> u64 {
        self.reached.load(Ordering::Relaxed)
    }

    /// Waits until there is room. Cancel safe. `None` only if the semaphore were closed, which
    /// nobody does.
    pub(super) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
            // A tenth of the room must be free again before the limit is news again.
            if self.room.available_permits() > self.most / 10 {
                self.announced.store(false, Ordering::Relaxed);
            }
            return Some(permit);
        }
        self.reached.fetch_add(1, Ordering::Relaxed);
        if !self.announced.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                limit = self.most,
                "every allowed connection is open, new ones wait; raise runtime.max_connections if this lasts"
            );
        }
        Arc::clone(&self.room).acquire_owned().await.ok()
    }

    /// Room for one more if there is any now.
    pub(super) fn try_enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_owned().ok()
    }
}
