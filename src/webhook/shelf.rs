//! The file of a queue: what waits, what was set aside, and which deliveries were here lately.
//!
//! A change is one transaction: after it returned it survives a power cut, before that it never
//! happened. Everything blocks. After an error the shelf must be dropped and opened again.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _,
    ReadableTableMetadata as _, StorageError, Table, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::failpoint::{self, Point};

/// What waits, by number: arrival in milliseconds since 1970, and the fields.
const QUEUE: TableDefinition<u64, (u64, &str)> = TableDefinition::new("queue");
/// What was set aside, by number: when, the application's answer, and the fields.
const REFUSED: TableDefinition<u64, (u64, u16, &str)> = TableDefinition::new("refused");
/// The bodies of both.
const BODIES: TableDefinition<u64, &[u8]> = TableDefinition::new("bodies");
/// Ids of deliveries that were kept and hashes of their bodies (see [`of_body`]), and when.
const SEEN: TableDefinition<&str, u64> = TableDefinition::new("seen");
/// The same in order of time.
const SEEN_AT: TableDefinition<(u64, &str), ()> = TableDefinition::new("seen-at");
/// Numbers that must survive an empty queue.
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");

/// The number of the last delivery.
const LAST: &str = "last";

/// The file's own time, in milliseconds: it goes on only while a proxy runs, so that no wall clock that
/// jumps ages everything at once. It began as the wall clock's.
const TIME: &str = "time";

/// Deliveries are written once and read once.
const CACHE: usize = 4 * 1024 * 1024;

/// So many that have been here long enough are forgotten at once.
const FORGOTTEN: usize = 256;

/// A delivery, as it came.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) fields: Fields,
    pub(super) body: Bytes,
}

/// What is kept of a delivery's head.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Fields {
    pub(super) id: String,
    pub(super) signature: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user_agent: Option<String>,
    /// `X-Test-Notification`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) test: Option<String>,
}

/// A delivery that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// Rises with the order of arrival.
    pub(super) number: u64,
    pub(super) delivery: Delivery,
}

impl Waiting {
    pub(super) fn entry(&self) -> Entry {
        Entry {
            number: self.number,
            id: self.delivery.fields.id.clone(),
        }
    }
}

/// Which delivery of the queue is meant: by both, since a file that was begun anew counts from one again.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) id: String,
}

/// One change. What concerns an entry that is not there concerns nothing.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Keep(Delivery),
    /// The application has it.
    Remove(Entry),
    /// The application will never take it; with its answer.
    SetAside(Entry, u16),
    /// What was set aside goes to the end of the queue.
    TakeUp,
}

/// What came of a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Kept,
    /// It was here before.
    Duplicate,
    /// As many are kept as may be.
    Full,
    Done,
    TakenUp(u64),
}

/// What holds for changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// By the wall clock: when what is kept has arrived.
    pub(super) now: SystemTime,
    /// Time since the last change, by a clock that does not jump. What is remembered ages by it.
    pub(super) elapsed: Duration,
    pub(super) window: Duration,
    pub(super) most: usize,
}

/// What came of changes.
#[derive(Debug)]
pub(super) struct Made {
    /// In the order of the changes.
    pub(super) outcomes: Vec<Outcome>,
    pub(super) stock: Stock,
    /// Ids of what had been set aside and was deleted, as its window is over.
    pub(super) expired: Vec<String>,
}

/// What lies in the file.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Stock {
    pub(super) queued: u64,
    /// Arrival of what waits longest.
    pub(super) oldest: Option<SystemTime>,
    pub(super) set_aside: u64,
}

/// The file does not do what it should. The text is safe to show.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ShelfError {
    #[error("{} is open in another process", path.display())]
    Busy { path: PathBuf },
    #[error(
        "{} is damaged: {why}; move it away, and a new one is begun: what waited there is lost \
         to the application unless Wise sends it again, which it does with what had no 200",
        path.display()
    )]
    Damaged { path: PathBuf, why: String },
    #[error("{} cannot be used: {why}", path.display())]
    Disk { path: PathBuf, why: String },
}

/// The open file.
#[derive(Debug)]
pub(super) struct Shelf {
    db: Database,
    path: PathBuf,
}

impl Shelf {
    /// Opens the file, or begins one. Reads all of it: what is damaged is found here and now.
    pub(super) fn open(path: &Path) -> Result<Self, ShelfError> {
        let failed = |error: std::io::Error| ShelfError::Disk {
            path: path.to_owned(),
            why: error.to_string(),
        };
        let directory = path.parent().unwrap_or(Path::new("."));
        durable::make_dir(directory).map_err(failed)?;
        // Of two processes that find no file, one begins it.
        let guard = File::open(directory).map_err(failed)?;
        guard.lock().map_err(failed)?;
        if !is_there(path.symlink_metadata()).map_err(failed)? {
            begin(path)?;
        }
        drop(guard);
        let db = settings().open(path);
        let db = db.map_err(|error| of_database(path, error))?;
        Ok(Self {
            db,
            path: path.to_owned(),
        })
    }

    /// Makes changes, all of them or none, and forgets what is old.
    pub(super) fn make(&self, changes: &[Change], rules: Rules) -> Result<Made, ShelfError> {
        let failed = |error: &dyn std::fmt::Display| ShelfError::Disk {
            path: self.path.clone(),
            why: error.to_string(),
        };
        let transaction = self.db.begin_write().map_err(|error| failed(&error))?;
        let made = write(&transaction, changes, rules).map_err(|e| self.of(&e))?;
        for change in changes {
            match change {
                Change::Keep(_) => failpoint::reach(Point::WebhookCommit),
                Change::Remove(_) => failpoint::reach(Point::WebhookRemove),
                Change::SetAside(..) | Change::TakeUp => Ok(()),
            }
            .map_err(|error| failed(&error))?;
        }
        transaction.commit().map_err(|error| failed(&error))?;
        if changes.iter().any(|it| matches!(it, Change::Keep(_))) {
            failpoint::reach(Point::WebhookCommitted).map_err(|error| failed(&error))?;
        }
        Ok(made)
    }

    /// What lies here.
    pub(super) fn stock(&self) -> Result<Stock, ShelfError> {
        // No reading transaction: a table that nobody has written to is not there yet.
        let read = || -> Result<Stock, redb::Error> {
            let transaction = self.db.begin_write()?;
            let stock = Tables::open(&transaction)?.stock()?;
            transaction.commit()?;
            Ok(stock)
        };
        read().map_err(|error| self.of(&error))
    }

    /// What has waited longest.
    pub(super) fn first(&self) -> Result<Option<Waiting>, ShelfError> {
        let read = || -> Result<Option<Waiting>, redb::Error> {
            let transaction = self.db.begin_read()?;
            let queue = transaction.open_table(QUEUE)?;
            let Some((number, value)) = queue.first()? else {
                return Ok(None);
            };
            let number = number.value();
            let bodies = transaction.open_table(BODIES)?;
            let lost = || redb::Error::Corrupted("a delivery without its body or fields".into());
            let body = bodies.get(number)?.ok_or_else(lost)?;
            let fields = serde_json::from_str(value.value().1).map_err(|_| lost())?;
            let body = Bytes::copy_from_slice(body.value());
            let delivery = Delivery { fields, body };
            Ok(Some(Waiting { number, delivery }))
        };
        read().map_err(|error| self.of(&error))
    }

    fn of(&self, error: &redb::Error) -> ShelfError {
        let (path, why) = (self.path.clone(), error.to_string());
        if matches!(error, redb::Error::Corrupted(_)) {
            ShelfError::Damaged { path, why }
        } else {
            ShelfError::Disk { path, why }
        }
    }
}

/// How many deliveries lie in a file that nobody has open, without a change to it. `None`: that cannot be
/// told.
pub(super) fn count(path: &Path) -> Option<u64> {
    let read = || -> Result<u64, redb::Error> {
        let transaction = settings().open_read_only(path)?.begin_read()?;
        let queued = transaction.open_table(QUEUE)?.len()?;
        Ok(queued + transaction.open_table(REFUSED)?.len()?)
    };
    // The library panics on what it finds damaged in places where it expects no damage.
    std::panic::catch_unwind(read).ok()?.ok()
}

/// By what a look at the name found. A name that could not be looked at is no free one: deliveries may
/// lie there.
pub(super) fn is_there<T>(found: std::io::Result<T>) -> std::io::Result<bool> {
    match found {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn settings() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder.set_check_integrity_on_open(true);
    builder
}

/// An empty file, under its name only once it is whole: one that is half made is no queue.
fn begin(path: &Path) -> Result<(), ShelfError> {
    let passing = path.with_extension("new");
    let disk = |error: std::io::Error| ShelfError::Disk {
        path: path.to_owned(),
        why: error.to_string(),
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    let file = options.mode(0o600).open(&passing).map_err(disk)?;
    let made = || -> Result<(), redb::Error> {
        let db = settings().create_with_backend(FileBackend::new(file)?)?;
        let transaction = db.begin_write()?;
        tables(&transaction)?;
        transaction.commit()?;
        db.close()?;
        Ok(())
    };
    made().map_err(|error| ShelfError::Disk {
        path: path.to_owned(),
        why: error.to_string(),
    })?;
    std::fs::rename(&passing, path).map_err(disk)?;
    durable::sync_parent(path).map_err(disk)
}

fn of_database(path: &Path, error: DatabaseError) -> ShelfError {
    let path = path.to_owned();
    let damaged = |why: String| ShelfError::Damaged {
        path: path.clone(),
        why,
    };
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "the list is the library's and grows"
    )]
    match error {
        DatabaseError::DatabaseAlreadyOpen => ShelfError::Busy { path },
        DatabaseError::Storage(StorageError::Io(error))
            if matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            damaged(error.to_string())
        }
        DatabaseError::Storage(StorageError::Corrupted(why)) => damaged(why),
        DatabaseError::RepairAborted | DatabaseError::UpgradeRequired(_) => {
            damaged(error.to_string())
        }
        other => ShelfError::Disk {
            path,
            why: other.to_string(),
        },
    }
}

/// Makes every table.
fn tables(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(QUEUE)?;
    transaction.open_table(REFUSED)?;
    transaction.open_table(BODIES)?;
    transaction.open_table(SEEN)?;
    transaction.open_table(SEEN_AT)?;
    transaction.open_table(NUMBERS)?;
    Ok(())
}

/// The tables of one transaction.
struct Tables<'t> {
    queue: Table<'t, u64, (u64, &'static str)>,
    refused: Table<'t, u64, (u64, u16, &'static str)>,
    bodies: Table<'t, u64, &'static [u8]>,
    seen: Table<'t, &'static str, u64>,
    seen_at: Table<'t, (u64, &'static str), ()>,
    numbers: Table<'t, &'static str, u64>,
}

fn write(
    transaction: &WriteTransaction,
    changes: &[Change],
    rules: Rules,
) -> Result<Made, redb::Error> {
    let mut tables = Tables::open(transaction)?;
    let time = tables.pass(rules)?;
    let expired = tables.forget(time, rules)?;
    let outcomes = changes
        .iter()
        .map(|change| tables.make(change, time, rules))
        .collect::<Result<_, _>>()?;
    Ok(Made {
        outcomes,
        stock: tables.stock()?,
        expired,
    })
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            queue: transaction.open_table(QUEUE)?,
            refused: transaction.open_table(REFUSED)?,
            bodies: transaction.open_table(BODIES)?,
            seen: transaction.open_table(SEEN)?,
            seen_at: transaction.open_table(SEEN_AT)?,
            numbers: transaction.open_table(NUMBERS)?,
        })
    }

    /// Has the file's own time go on, and returns it.
    fn pass(&mut self, rules: Rules) -> Result<u64, redb::Error> {
        let before = self.numbers.get(TIME)?.map(|time| time.value());
        let elapsed = millis_of(rules.elapsed);
        let time = before.map_or_else(|| millis(rules.now), |it| it.saturating_add(elapsed));
        self.numbers.insert(TIME, time)?;
        Ok(time)
    }

    fn make(&mut self, change: &Change, time: u64, rules: Rules) -> Result<Outcome, redb::Error> {
        match change {
            Change::Keep(delivery) => self.keep(delivery, time, rules),
            Change::Remove(entry) => {
                if self.take(entry)?.is_some() {
                    self.bodies.remove(entry.number)?;
                }
                Ok(Outcome::Done)
            }
            Change::SetAside(entry, status) => {
                if let Some(fields) = self.take(entry)? {
                    let refused = (time, *status, fields.as_str());
                    self.refused.insert(entry.number, refused)?;
                }
                Ok(Outcome::Done)
            }
            Change::TakeUp => self.take_up(rules).map(Outcome::TakenUp),
        }
    }

    /// The signature covers the body and not the id: under an id of its own each, one body that was signed
    /// once would be as many deliveries as somebody likes. So a body counts as seen like an id.
    fn keep(
        &mut self,
        delivery: &Delivery,
        time: u64,
        rules: Rules,
    ) -> Result<Outcome, redb::Error> {
        let body = of_body(&delivery.body);
        let names = [delivery.fields.id.as_str(), body.as_str()];
        for name in names {
            let seen = self.seen.get(name)?.map(|at| at.value());
            if seen.is_some_and(|at| time.saturating_sub(at) < millis_of(rules.window)) {
                return Ok(Outcome::Duplicate);
            }
        }
        let kept = self.queue.len()? + self.refused.len()?;
        if kept >= rules.most as u64 {
            return Ok(Outcome::Full);
        }
        let number = self.next()?;
        let fields = serde_json::to_string(&delivery.fields);
        let fields = fields.map_err(|error| redb::Error::Corrupted(error.to_string()))?;
        let arrived = millis(rules.now);
        self.queue.insert(number, (arrived, fields.as_str()))?;
        self.bodies.insert(number, delivery.body.as_ref())?;
        for name in names {
            let before = self.seen.insert(name, time)?.map(|at| at.value());
            if let Some(at) = before {
                self.seen_at.remove((at, name))?;
            }
            self.seen_at.insert((time, name), ())?;
        }
        Ok(Outcome::Kept)
    }

    /// Takes an entry out of the queue, and returns its fields. Its body stays.
    fn take(&mut self, entry: &Entry) -> Result<Option<String>, redb::Error> {
        let found = self.queue.get(entry.number)?;
        let Some(fields) = found.map(|value| value.value().1.to_owned()) else {
            return Ok(None);
        };
        let id = serde_json::from_str::<Fields>(&fields).map(|fields| fields.id);
        if id.is_ok_and(|id| id != entry.id) {
            return Ok(None);
        }
        self.queue.remove(entry.number)?;
        Ok(Some(fields))
    }

    fn next(&mut self) -> Result<u64, redb::Error> {
        let last = self.numbers.get(LAST)?.map_or(0, |last| last.value());
        self.numbers.insert(LAST, last + 1)?;
        Ok(last + 1)
    }

    fn take_up(&mut self, rules: Rules) -> Result<u64, redb::Error> {
        let mut count = 0;
        loop {
            let first = self.refused.pop_first()?;
            let first = first.map(|(number, it)| (number.value(), it.value().2.to_owned()));
            let Some((number, fields)) = first else {
                return Ok(count);
            };
            let again = self.next()?;
            let entry = (millis(rules.now), fields.as_str());
            self.queue.insert(again, entry)?;
            let body = self.bodies.remove(number)?;
            if let Some(body) = body.map(|body| body.value().to_vec()) {
                self.bodies.insert(again, body.as_slice())?;
            }
            count += 1;
        }
    }

    /// Forgets what was here longer ago than the window, some at a time. Returns the ids of what was set
    /// aside until now.
    fn forget(&mut self, time: u64, rules: Rules) -> Result<Vec<String>, redb::Error> {
        let until = time.saturating_sub(millis_of(rules.window));
        for _ in 0..FORGOTTEN {
            let oldest = self.seen_at.first()?;
            let oldest = oldest.map(|(key, _)| (key.value().0, key.value().1.to_owned()));
            let Some((at, id)) = oldest.filter(|(at, _)| *at <= until) else {
                break;
            };
            self.seen_at.remove((at, id.as_str()))?;
            self.seen.remove(id.as_str())?;
        }
        let mut expired = Vec::new();
        for _ in 0..FORGOTTEN {
            let oldest = self.refused.first()?;
            let oldest = oldest.map(|(number, value)| {
                let (at, _, fields) = value.value();
                let id = serde_json::from_str::<Fields>(fields).map(|fields| fields.id);
                (number.value(), at, id.unwrap_or_default())
            });
            let Some((number, _, id)) = oldest.filter(|(_, at, _)| *at <= until) else {
                break;
            };
            self.refused.remove(number)?;
            self.bodies.remove(number)?;
            expired.push(id);
        }
        Ok(expired)
    }

    fn stock(&self) -> Result<Stock, redb::Error> {
        let oldest = self.queue.first()?;
        let oldest = oldest.map(|(_, value)| value.value().0);
        Ok(Stock {
            queued: self.queue.len()?,
            oldest: oldest.and_then(|at| UNIX_EPOCH.checked_add(Duration::from_millis(at))),
            set_aside: self.refused.len()?,
        })
    }
}

/// What stands for a body among the ids, which have no spaces.
fn of_body(body: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, body);
    format!("sha256 {}", STANDARD.encode(hash))
}

fn millis(at: SystemTime) -> u64 {
    millis_of(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis_of(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
