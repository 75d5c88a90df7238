//! The store as the keeper uses it: one grant, off the runtime's threads.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{self, Instant};

use crate::credentials::{FileStore, Locked, Record, Stamp, StoreError};
use crate::sync::spawn_blocking;

/// One grant's place in the store.
#[derive(Clone)]
pub(super) struct Vault {
    store: Arc<FileStore>,
    name: String,
}

impl Vault {
    pub(super) fn new(store: Arc<FileStore>, name: String) -> Self {
        Self { store, name }
    }

    pub(super) async fn stamp(&self) -> Result<Stamp, StoreError> {
        self.run(FileStore::stamp).await
    }

    pub(super) async fn load(&self) -> Result<Option<Record>, StoreError> {
        self.run(FileStore::load).await
    }

    /// Waits at most `timeout` for the lock, without keeping a thread.
    pub(super) async fn lock(&self, timeout: Duration) -> Result<Hold, StoreError> {
        let end = Instant::now() + timeout;
        loop {
            match self
                .run(|store, name| store.lock(name, Duration::ZERO))
                .await
            {
                Ok(locked) => return Ok(Hold(Arc::new(locked))),
                Err(StoreError::Busy { .. }) if Instant::now() < end => time::sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&FileStore, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Self { store, name } = self.clone();
        blocking(move || work(&store, &name)).await
    }
}

/// The cross-process lock of one grant.
///
/// Work on it that has begun goes on when its future is dropped, and keeps the lock till its end.
pub(super) struct Hold(Arc<Locked>);

impl Hold {
    /// Another hand on the same lock; it is let go when all hands are off.
    pub(super) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    pub(super) async fn load(&self) -> Result<Option<Record>, StoreError> {
        self.run(Locked::load).await
    }

    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        self.run(Locked::probe).await
    }

    pub(super) async fn save(&self, record: &Record) -> Result<(), StoreError> {
        let record = record.clone();
        self.run(move |locked| locked.save(&record)).await
    }

    pub(super) async fn set_aside(&self) -> Result<Option<PathBuf>, StoreError> {
        self.run(Locked::set_aside).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Locked) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let locked = Arc::clone(&self.0);
        blocking(move || work(&locked)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    spawn_blocking(work).await.unwrap_or_else(|stopped| {
        Err(StoreError::Io {
            path: PathBuf::from("store"),
            source: io::Error::other(stopped),
        })
    })
}

/// Between two tries for a lock.
const PAUSE: Duration = Duration::from_millis(10);
