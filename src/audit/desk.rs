//! What the writer of a record and everybody else share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::AuditError;
use super::chain::Head;
use super::clerk::Clerk;
use super::head::HeadFile;
use super::members::Members;
use super::writer::Writer;
use crate::clock::Clock;
use crate::config;
use crate::telemetry::access::Second;
use crate::telemetry::events::{Event, Severity};

/// Batches that may wait for the writer, of some 16 KiB each.
const QUEUE: usize = 1024;

/// A disk that hangs must not keep the doors from opening.
const FIRST_LOOK: Duration = Duration::from_secs(2);

pub(super) enum Message {
    /// Members of so many records, a line each.
    Records(String, u64),
    /// The file may have been moved away.
    Reopen,
    /// The last of all; answered when everything before it is on the disk, or cannot be.
    Close(SyncSender<()>),
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    /// What happens now could not be recorded.
    pub(super) blocked: AtomicBool,
    /// Lost since the last gap was recorded.
    pub(super) lost: AtomicU64,
    lost_ever: AtomicU64,
    pub(super) records: AtomicU64,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    head: Option<Head>,
    error: Option<String>,
}

impl Shared {
    /// Counts records that nobody will find.
    pub(super) fn lose(&self, records: u64) {
        self.lost.fetch_add(records, Ordering::Relaxed);
        self.lost_ever.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn tell(&self, head: Option<Head>, error: Option<String>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told = Told { head, error };
    }
}

/// The record of this process. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    pub(super) queue: SyncSender<Message>,
    pub(super) shared: Arc<Shared>,
    pub(super) required: bool,
    file: PathBuf,
}

/// How the record is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Standing {
    pub(crate) file: PathBuf,
    pub(crate) required: bool,
    /// Number and hash of the last line on the disk: to be noted elsewhere.
    pub(crate) sequence: u64,
    pub(crate) hash: Option<String>,
    /// Why nothing can be recorded just now.
    pub(crate) error: Option<String>,
    /// Records of this process, and those of them that were lost.
    pub(crate) records: u64,
    pub(crate) lost: u64,
}

impl Audit {
    /// Opens the record and starts its writer; `None` where nothing is recorded.
    ///
    /// Blocks on the disk. Where the record is required, one that cannot be written is an error;
    /// else it is tried again, and the log says so.
    pub(crate) fn start(
        config: &config::Audit,
        store: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Self>, AuditError> {
        let Some(file) = config.file.clone() else {
            return Ok(None);
        };
        let (queue, messages) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let head = HeadFile::new(store, &file);
        let (told, outcome) = mpsc::channel();
        let writer = Writer::new(&file, head, clock, Arc::clone(&shared), messages);
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run(&told))
            .map_err(AuditError::Thread)?;
        match outcome.recv_timeout(FIRST_LOOK) {
            Ok(Err(error)) if config.required => return Err(error),
            Err(_) if config.required => return Err(AuditError::Hangs { path: file }),
            _ => {}
        }
        Ok(Some(Self {
            queue,
            shared,
            required: config.required,
            file,
        }))
    }

    /// One whose writer is the test.
    #[cfg(test)]
    pub(super) fn over(queue: SyncSender<Message>, shared: Arc<Shared>, required: bool) -> Self {
        let file = PathBuf::new();
        Self {
            queue,
            shared,
            required,
            file,
        }
    }

    /// Where a worker notes its requests.
    pub(crate) fn clerk(audit: Option<&Self>, doors: &Arc<[String]>) -> Clerk {
        Clerk::new(audit.cloned(), Arc::clone(doors))
    }

    /// Records what a person would want to know of.
    pub(crate) fn note(&self, event: &Event) {
        let mut text = String::new();
        let mut members = Members::of(&mut text, &mut Second::default(), event.at, "event");
        members.text("event", event.kind.name());
        let severity = match event.severity {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        members.text("severity", severity);
        members.maybe("grant", event.grant.as_deref());
        members.text("text", &event.text);
        self.send(text);
    }

    /// Events went by unseen.
    pub(crate) fn missed(&self, events: u64) {
        self.shared.lose(events);
    }

    fn send(&self, mut members: String) {
        members.push('\n');
        if self.queue.try_send(Message::Records(members, 1)).is_err() {
            self.shared.lose(1);
        }
    }

    /// Goes on in a new file where the old one was moved away.
    pub(crate) fn reopen(&self) {
        // Where the queue is full the writer looks by itself, each second.
        let _ = self.queue.try_send(Message::Reopen);
    }

    /// Writes everything out and ends, or gives up after `patience`. Blocks.
    pub(crate) fn close(&self, patience: Duration) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Message::Close(done)).is_ok() {
            let _ = wait.recv_timeout(patience);
        }
    }

    /// How it is at this moment.
    pub(crate) fn standing(&self) -> Standing {
        let told = self.shared.told.lock();
        let told = told.unwrap_or_else(PoisonError::into_inner);
        Standing {
            file: self.file.clone(),
            required: self.required,
            sequence: told.head.map_or(0, |head| head.seq),
            hash: told.head.map(|head| head.hash.to_string()),
            error: told.error.clone(),
            records: self.shared.records.load(Ordering::Relaxed),
            lost: self.shared.lost_ever.load(Ordering::Relaxed),
        }
    }
}

/// The members of a record of the writer's own, begun.
pub(super) fn own<'a>(out: &'a mut String, at: SystemTime, kind: &'static str) -> Members<'a> {
    Members::of(out, &mut Second::default(), at, kind)
}
