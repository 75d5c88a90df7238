//! What the writer of a record and everybody else share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

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

/// Of a disk that has kept the writer for so long nobody knows whether it will answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two tries to have the last word where others are before it.
const NEXT_TRY: Duration = Duration::from_millis(10);

/// What [`Shared::busy`] counts from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

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
    /// Handed over and not in the file.
    pending: AtomicU64,
    /// Since when the disk has been asked for something, in milliseconds; 0: it is not.
    busy: AtomicU64,
    /// The log knows that the disk hangs.
    hangs: AtomicBool,
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

    /// The disk is asked for something now.
    pub(super) fn ask_disk(&self) {
        let now = u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX);
        // 0 is nobody's time.
        self.busy.store(now.max(1), Ordering::Relaxed);
    }

    /// The disk has answered. Whether that was after a silence that the log knows of.
    pub(super) fn has_answered(&self) -> bool {
        self.busy.store(0, Ordering::Relaxed);
        self.hangs.swap(false, Ordering::Relaxed)
    }

    /// Whether the disk keeps the writer waiting for too long. Reads no clock while it does not.
    pub(super) fn hangs(&self) -> bool {
        let since = self.busy.load(Ordering::Relaxed);
        since != 0 && START.elapsed().saturating_sub(Duration::from_millis(since)) > PATIENCE
    }

    pub(super) fn hand(&self, records: u64) {
        self.pending.fetch_add(records, Ordering::Relaxed);
    }

    /// They are in the file, or lost.
    pub(super) fn settle(&self, records: u64) {
        let rest = |pending: u64| Some(pending.saturating_sub(records));
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        let _ = self.pending.fetch_update(set, get, rest);
    }

    /// What would be lost if the process ended now.
    pub(super) fn unwritten(&self) -> u64 {
        self.pending.load(Ordering::Relaxed) + self.lost.load(Ordering::Relaxed)
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
        if self.hand(members, 1).is_err() {
            self.shared.lose(1);
        }
    }

    /// Hands records to the writer, or back where there is no room.
    pub(super) fn hand(&self, text: String, records: u64) -> Result<(), String> {
        // Counted first: the writer may be done with them before we are here again.
        self.shared.hand(records);
        match self.queue.try_send(Message::Records(text, records)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                self.shared.settle(records);
                match message {
                    Message::Records(text, _) => Err(text),
                    Message::Reopen | Message::Close(_) => Ok(()),
                }
            }
        }
    }

    /// Says in the log, once, that the disk does not answer. Called now and then.
    pub(super) fn watch(&self) {
        if self.shared.hangs() && !self.shared.hangs.swap(true, Ordering::Relaxed) {
            tracing::error!("{}", self.silence());
        }
    }

    fn silence(&self) -> AuditError {
        let path = self.file.clone();
        AuditError::Hangs { path }
    }

    /// Goes on in a new file where the old one was moved away.
    pub(crate) fn reopen(&self) {
        // Where the queue is full the writer looks by itself, each second.
        let _ = self.queue.try_send(Message::Reopen);
    }

    /// Writes everything out and ends, or gives up after `patience` and says what is lost. Blocks.
    pub(crate) fn close(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let (done, wait) = sync_channel(1);
        let mut last = Message::Close(done);
        // Behind a full queue there is room as soon as the disk takes some of it.
        let is_sent = loop {
            match self.queue.try_send(last) {
                Ok(()) => break true,
                Err(TrySendError::Full(back)) if Instant::now() < until => last = back,
                Err(_) => break false,
            }
            std::thread::sleep(NEXT_TRY);
        };
        let left = until.saturating_duration_since(Instant::now());
        if is_sent && wait.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
            // What the writer could not write it has told.
            return;
        }
        let lost = self.shared.unwritten();
        tracing::error!(
            lost,
            "records are lost: the disk did not take them until the end"
        );
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
            error: if self.shared.hangs() {
                Some(self.silence().to_string())
            } else {
                told.error.clone()
            },
            records: self.shared.records.load(Ordering::Relaxed),
            lost: self.shared.lost_ever.load(Ordering::Relaxed),
        }
    }
}

/// The members of a record of the writer's own, begun.
pub(super) fn own<'a>(out: &'a mut String, at: SystemTime, kind: &'static str) -> Members<'a> {
    Members::of(out, &mut Second::default(), at, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk() -> (Audit, mpsc::Receiver<Message>) {
        let (queue, messages) = sync_channel(1);
        let audit = Audit::over(queue, Arc::new(Shared::default()), true);
        audit.hand("one\n".to_owned(), 1).unwrap();
        (audit, messages)
    }

    #[test]
    fn the_last_word_waits_for_room_in_the_queue() {
        let (audit, messages) = desk();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(NEXT_TRY * 3);
            drop(messages.recv().unwrap());
            matches!(messages.recv().unwrap(), Message::Close(_))
        });
        audit.close(Duration::from_mins(1));
        assert!(writer.join().unwrap());
    }

    #[test]
    fn a_writer_that_never_comes_is_not_waited_for_and_its_records_are_counted() {
        let (audit, messages) = desk();
        audit.hand("two\n".to_owned(), 1).unwrap_err();
        audit.shared.lose(1);
        audit.close(NEXT_TRY * 2);
        assert_eq!(audit.shared.unwritten(), 2);
        assert!(matches!(messages.recv().unwrap(), Message::Records(_, 1)));
        assert!(messages.try_recv().is_err(), "no word is left behind");
    }
}
