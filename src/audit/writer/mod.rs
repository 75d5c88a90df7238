//! The thread that makes the chain and writes it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use super::AuditError;
use super::book::{Book, Found};
use super::chain::Head;
use super::desk::{Message, Shared, own};
use super::head::HeadFile;
use crate::clock::Clock;
use crate::failpoint::{self, Point};

/// The disk is asked at most this often to keep what it has got, and again when it failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Nothing to do: a look around now and then.
const REST: Duration = Duration::from_mins(1);

/// So much is sealed and written at once.
const PIECE: usize = 1024 * 1024;

/// So much is kept while nothing can be written; more is lost, and counted.
const BACKLOG: usize = 16 * 1024 * 1024;

/// The one owner of the file.
pub(super) struct Writer {
    path: PathBuf,
    head_file: HeadFile,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    messages: Receiver<Message>,
    /// `None`: it could not be opened yet.
    book: Option<Book>,
    /// End of the chain, with what is in `sealed`.
    head: Head,
    /// End of what is written, and of what the disk has for good.
    wrote: Head,
    synced: Option<Head>,
    /// What the store was told.
    saved: Option<Head>,
    /// Members that wait to be sealed, a line each.
    backlog: String,
    waiting: u64,
    /// Others' records in `sealed`.
    sealing: u64,
    /// Lines on their way into the file, and how much of them is in it.
    sealed: Vec<u8>,
    written: usize,
    /// The next look at the disk is not before.
    due: Instant,
    reopen: bool,
    error: Option<String>,
}

impl Writer {
    pub(super) fn new(
        path: &Path,
        head_file: HeadFile,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
        messages: Receiver<Message>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            head_file,
            clock,
            shared,
            messages,
            book: None,
            head: Head::START,
            wrote: Head::START,
            synced: None,
            saved: None,
            backlog: String::new(),
            waiting: 0,
            sealing: 0,
            sealed: Vec::new(),
            written: 0,
            due: Instant::now(),
            reopen: false,
            error: None,
        }
    }

    /// Writes until everybody has gone or the record is closed. What came of the first opening is
    /// told at once.
    pub(super) fn run(mut self, told: &Sender<Result<(), AuditError>>) {
        let opened = self.open();
        self.shared.has_answered();
        if let Err(error) = &opened {
            self.trouble(error);
        }
        let _ = told.send(opened);
        loop {
            self.turn();
            let patience = if self.has_work() {
                self.due.saturating_duration_since(Instant::now())
            } else {
                REST
            };
            match self.messages.recv_timeout(patience) {
                Ok(message) => {
                    if let Some(done) = self.take_all(message) {
                        self.close();
                        drop(done);
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            }
        }
    }

    fn has_work(&self) -> bool {
        let unsynced = self.book.is_some() && self.synced != Some(self.wrote);
        self.book.is_none()
            || unsynced
            || self.error.is_some()
            || self.waiting > 0
            || !self.sealed.is_empty()
            || self.reopen
            || self.saved != self.synced
            || self.shared.lost.load(Ordering::Relaxed) > 0
    }

    /// This message and those behind it, as much as is sealed at once. Whoever closes is returned.
    fn take_all(&mut self, first: Message) -> Option<SyncSender<()>> {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Records(text, records) => self.take(&text, records),
                Message::Reopen => self.reopen = true,
                Message::Close(done) => return Some(done),
            }
            next = (self.backlog.len() < PIECE)
                .then(|| self.messages.try_recv().ok())
                .flatten();
        }
        None
    }

    fn take(&mut self, text: &str, records: u64) {
        self.shared.records.fetch_add(records, Ordering::Relaxed);
        if self.backlog.len() + text.len() > BACKLOG {
            self.shared.settle(records);
            self.shared.lose(records);
        } else {
            self.backlog.push_str(text);
            self.waiting += records;
        }
    }

    /// Everything that can be done now.
    fn turn(&mut self) {
        if self.error.is_some() && Instant::now() < self.due {
            // Not in a circle: the disk gets its pause.
            return;
        }
        let outcome = self.try_turn();
        if self.shared.has_answered() && outcome.is_ok() {
            tracing::info!("the record's disk answers again");
        }
        match outcome {
            Ok(()) => self.relief(),
            Err(error) => self.trouble(&error),
        }
    }

    fn try_turn(&mut self) -> Result<(), AuditError> {
        let is_due = Instant::now() >= self.due;
        if self.book.is_none() {
            self.open()?;
        }
        let mut outcome = self.write();
        if is_due {
            let moved = self.book.as_ref().is_some_and(Book::is_moved);
            if std::mem::take(&mut self.reopen) || moved {
                outcome = outcome.and(self.rotate());
            }
            outcome = outcome.and_then(|()| self.sync());
        } else if self.reopen {
            self.reopen = false;
            outcome = outcome.and(self.rotate());
        }
        outcome
    }

    fn open(&mut self) -> Result<(), AuditError> {
        self.due = Instant::now() + PAUSE;
        self.shared.ask_disk();
        let known = match self.head_file.load() {
            Ok(known) => known,
            Err(source) => {
                let path = self.head_file.path().to_owned();
                tracing::error!("{}", AuditError::Head { path, source });
                None
            }
        };
        let (book, head, found) = Book::open(&self.path, known)?;
        self.book = Some(book);
        (self.head, self.wrote) = (head, head);
        for found in found {
            self.found(&found);
        }
        self.due = Instant::now();
        Ok(())
    }

    /// Records what was found at the end of the file, before anything else.
    fn found(&mut self, found: &Found) {
        let mut text = String::new();
        match found {
            Found::Torn {
                bytes,
                sha256,
                moved_to,
            } => {
                let moved_to = moved_to.display().to_string();
                tracing::warn!(
                    bytes,
                    moved_to,
                    "the record ended in the middle of a line, as after a crash; the rest was set aside"
                );
                let mut members = own(&mut text, self.clock.wall(), "recovered");
                members.number("bytes", *bytes);
                members.text("sha256", sha256.as_str());
                members.text("moved_to", &moved_to);
            }
            Found::Adopted => {
                tracing::warn!(
                    "the store knew nothing of this record; it goes on from its last line"
                );
                let mut members = own(&mut text, self.clock.wall(), "adopted");
                members.text("text", "the store knew nothing of this record");
            }
            Found::Mismatch { found } => {
                let known = self.head.seq;
                tracing::error!(
                    known,
                    found = found.map_or(0, |head| head.seq),
                    "the record does not end where the store says: lines were changed or taken out; \
                     `wise-auth-proxy audit verify` says which"
                );
                let mut members = own(&mut text, self.clock.wall(), "mismatch");
                members.number("known", known);
                if let Some(head) = found {
                    members.number("found", head.seq);
                    members.text("found_hash", head.hash.as_str());
                }
            }
        }
        self.seal(&text);
    }

    fn seal(&mut self, members: &str) {
        self.head.seal(members, &mut self.sealed);
    }

    /// Seals what waits and writes it. What cannot be written now is kept for the next time.
    fn write(&mut self) -> Result<(), AuditError> {
        loop {
            self.push()?;
            let lost = self.shared.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                tracing::error!(lost, "so much happened that could not be recorded");
                let mut text = String::new();
                own(&mut text, self.clock.wall(), "gap").number("lost", lost);
                self.seal(&text);
            }
            let mut sealed = 0;
            let backlog = std::mem::take(&mut self.backlog);
            for members in backlog.lines() {
                if self.sealed.len() >= PIECE {
                    break;
                }
                self.seal(members);
                sealed += members.len() + 1;
                self.waiting -= 1;
                self.sealing += 1;
            }
            self.backlog = backlog;
            self.backlog.drain(..sealed);
            if self.sealed.is_empty() {
                if self.backlog.is_empty() {
                    self.backlog.shrink_to(PIECE);
                }
                return Ok(());
            }
        }
    }

    /// Writes the rest of what is sealed. A disk that takes half a line gets the other half later.
    fn push(&mut self) -> Result<(), AuditError> {
        let Some(book) = &mut self.book else {
            return Ok(());
        };
        while self.written < self.sealed.len() {
            self.shared.ask_disk();
            let wrote = failpoint::reach(Point::AuditWrite)
                .and_then(|()| book.file.write(&self.sealed[self.written..]));
            match wrote {
                Ok(0) => return Err(AuditError::io(&self.path, io::ErrorKind::WriteZero.into())),
                Ok(wrote) => self.written += wrote,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(AuditError::io(&self.path, error)),
            }
        }
        self.sealed.clear();
        self.sealed.shrink_to(PIECE);
        self.written = 0;
        self.shared.settle(std::mem::take(&mut self.sealing));
        self.wrote = self.head;
        Ok(())
    }

    /// Goes on in a new file where the old one was moved away. The old one is kept until then.
    fn rotate(&mut self) -> Result<(), AuditError> {
        if !self.book.as_ref().is_some_and(Book::is_moved) {
            return Ok(());
        }
        // A line that the old file has half of is begun anew in the new one.
        let half = self.sealed[..self.written].iter().rev();
        let half = half.take_while(|byte| **byte != b'\n').count();
        if half > 0
            && let Some(book) = &self.book
            && book.take_back(half as u64).is_ok()
        {
            self.written -= half;
        }
        let whole = self.written == 0 || self.sealed[self.written - 1] == b'\n';
        if !whole {
            return Ok(());
        }
        if let Some(book) = &self.book {
            self.sync_file(book)?;
        }
        self.shared.ask_disk();
        // The chain as far as it is written: a new file has nothing of it.
        let (book, _, found) = Book::open(&self.path, Some(self.head))?;
        self.book = Some(book);
        tracing::info!("the record goes on in a new file");
        let rest = self.sealed.split_off(self.written);
        self.sealed.clear();
        self.written = 0;
        // What waits in `sealed` is numbered already; the note comes behind it.
        self.sealed = rest;
        let mut text = String::new();
        let mut members = own(&mut text, self.clock.wall(), "rotated");
        members.text("text", "goes on from the file before");
        self.seal(&text);
        for found in found {
            self.found(&found);
        }
        self.push()
    }

    fn sync_file(&self, book: &Book) -> Result<(), AuditError> {
        self.shared.ask_disk();
        failpoint::reach(Point::AuditSync)
            .and_then(|()| book.file.sync_data())
            .map_err(|error| AuditError::io(&self.path, error))
    }

    /// Has the disk keep what was written, and the store remember it.
    fn sync(&mut self) -> Result<(), AuditError> {
        if self.synced != Some(self.wrote) {
            if let Some(book) = &self.book {
                self.sync_file(book)?;
            }
            self.synced = Some(self.wrote);
            self.due = Instant::now() + PAUSE;
        }
        if self.saved != self.synced
            && let Some(head) = self.synced
        {
            self.due = Instant::now() + PAUSE;
            self.shared.ask_disk();
            let saved = self.head_file.save(head);
            saved.map_err(|source| AuditError::Head {
                path: self.head_file.path().to_owned(),
                source,
            })?;
            self.saved = Some(head);
        }
        Ok(())
    }

    fn relief(&mut self) {
        self.shared.blocked.store(false, Ordering::Relaxed);
        self.shared.tell(self.synced, None);
        if self.error.take().is_some() {
            tracing::info!("records are written again");
        }
    }

    fn trouble(&mut self, error: &AuditError) {
        self.due = Instant::now() + PAUSE;
        // The store's note is a second line of defence: records go on without it.
        let blocks = !matches!(error, AuditError::Head { .. });
        self.shared.blocked.store(blocks, Ordering::Relaxed);
        let text = error.to_string();
        if self.error.as_ref() != Some(&text) {
            tracing::error!("{text}; it is tried again");
        }
        self.shared.tell(self.synced, Some(text.clone()));
        self.error = Some(text);
    }

    /// The last line, and everything on the disk.
    fn close(mut self) {
        let mut text = String::new();
        own(&mut text, self.clock.wall(), "stopped");
        text.push('\n');
        self.shared.hand(1);
        self.take(&text, 1);
        self.error = None;
        self.due = Instant::now();
        self.turn();
        let lost = self.shared.unwritten();
        if lost > 0 {
            tracing::error!(
                lost,
                "records are lost: they could not be written until the end"
            );
        }
    }
}

#[cfg(test)]
mod tests;
