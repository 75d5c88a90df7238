#[cfg(test)]
pub(super) mod tests;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::credentials::key::SealKey;
use crate::credentials::record::{Record, Unread};
use crate::credentials::seal::{self, Unopened};
use crate::credentials::store::{StoreError, failed};
use crate::durable;
use crate::failpoint::{self, Point};
use crate::secret::Secret;
use zeroize::Zeroizing;

/// A directory of sealed records, shared by the processes of one machine.
///
/// Per grant: `<name>.grant`, `<name>.previous` (the record before, as a way back), `<name>.next`
/// (the record after, while it has no other name) and `<name>.lock`. The lock is on a file of its
/// own because a lock on a file that is renamed over guards nothing.
///
/// Whoever has the lock and finds a `<name>.next` has outlived its writer. Sealed bytes open only
/// if they are whole, so one that opens is the newest record there is, and its tokens may be the
/// only ones that Wise still accepts: it is put in its place. One that a crash cut short goes.
#[derive(Clone)]
pub(crate) struct FileStore {
    shelf: Arc<Shelf>,
}

impl std::fmt::Debug for FileStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileStore")
            .field("dir", &self.shelf.dir)
            .finish_non_exhaustive()
    }
}

/// Tells a changed record from an unchanged one without opening it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Stamp {
    record: Option<(u64, i64, i64, i64, i64, u64)>,
    /// Whether somebody is writing the next one, or died of it.
    next: bool,
}

/// The right to change one grant, until dropped. Held by one process at a time.
pub(crate) struct Locked {
    shelf: Arc<Shelf>,
    name: String,
    /// The kernel lets go when the file closes, also when we are killed.
    _lock: File,
}

struct Shelf {
    dir: PathBuf,
    /// The key from the configuration; without it, it is a file in the store.
    given: Option<Secret>,
    /// `None` until the store was fit for use for the first time.
    opened: Mutex<Option<Opened>>,
}

/// What a store that is fit for use has shown.
#[derive(Clone)]
struct Opened {
    key: Arc<SealKey>,
    /// The file system that the directory was on.
    device: u64,
}

impl FileStore {
    /// Opens the store in `dir`, made 0700 where it is missing.
    ///
    /// `given`: the seal key as 32 bytes in base64; without one it is the file `seal.key` in the
    /// store, made on first use.
    pub(crate) fn open(dir: &Path, given: Option<&Secret>) -> Result<Self, StoreError> {
        let store = Self::at(dir, given.cloned());
        store.check()?;
        Ok(store)
    }

    /// The store in `dir`, fit for use or not: until it is, everything asked of it says why not.
    pub(crate) fn at(dir: &Path, given: Option<Secret>) -> Self {
        Self {
            shelf: Arc::new(Shelf {
                dir: dir.to_owned(),
                given,
                opened: Mutex::new(None),
            }),
        }
    }

    /// Whether the store can be used, and if not, why.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.shelf.opened().map(drop)
    }

    /// A secret of another purpose, from the key that seals the records: the same as long as that is.
    pub(crate) fn derive(&self, purpose: &[u8]) -> Result<Zeroizing<[u8; 32]>, StoreError> {
        let key = self.shelf.opened()?.key;
        seal::derive(&key, purpose).ok_or(StoreError::NoRandomness)
    }

    /// Whether the directory is the store, and not what is left where its disk was mounted.
    pub(crate) fn is_at_home(&self) -> bool {
        self.shelf.at_home().is_ok()
    }

    /// The record of a grant; `None` where there is none.
    ///
    /// One that is being written is not seen before it is durable; one whose writer died is put in
    /// its place first.
    pub(crate) fn load(&self, name: &str) -> Result<Option<Record>, StoreError> {
        let next = self.shelf.path(checked(name)?, NEXT);
        if next.exists()
            && let Ok(locked) = self.lock(name, Duration::ZERO)
        {
            return locked.load();
        }
        self.shelf.read(name, GRANT)
    }

    /// Whether there is a store, fit for use or not. The first use of one that is not there makes it.
    pub(crate) fn is_made(&self) -> bool {
        let Shelf { dir, given, .. } = &*self.shelf;
        let used = || names(dir).is_ok_and(|names| !names.is_empty());
        dir.is_dir() && (given.is_some() || SealKey::is_in(dir) || used())
    }

    /// As [`FileStore::load`], but changes nothing: a record whose writer died is read where it is.
    ///
    /// For a look from outside; who is about to use a refresh token takes the lock.
    pub(crate) fn peek(&self, name: &str) -> Result<Option<Record>, StoreError> {
        let present = self.shelf.read(checked(name)?, GRANT)?;
        // One that is just being written, or was cut short, does not open.
        let next = self.shelf.read(name, NEXT).ok().flatten();
        let newer = next.filter(|next| {
            let present = present.as_ref();
            present.is_none_or(|present| next.supersedes(present))
        });
        Ok(newer.or(present))
    }

    /// Waits at most `timeout` for the right to change a grant.
    pub(crate) fn lock(&self, name: &str, timeout: Duration) -> Result<Locked, StoreError> {
        let path = self.shelf.path(checked(name)?, LOCK);
        self.shelf.at_home()?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            // On a file system gone read-only the lock still keeps the others out.
            .or_else(|error| File::open(&path).map_err(|_| error))
            .map_err(|error| failed(&path, error))?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if start.elapsed() < timeout => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::Busy { name: name.into() });
                }
                Err(TryLockError::Error(error)) => return Err(failed(&path, error)),
            }
        }
        Ok(Locked {
            shelf: Arc::clone(&self.shelf),
            name: name.into(),
            _lock: file,
        })
    }

    /// Changes whenever the record does; costs two `stat`s.
    pub(crate) fn stamp(&self, name: &str) -> Result<Stamp, StoreError> {
        let path = self.shelf.path(checked(name)?, GRANT);
        let next = self.shelf.path(name, NEXT).exists();
        let record = match fs::metadata(&path) {
            Ok(data) => Some((
                data.ino(),
                data.mtime(),
                data.mtime_nsec(),
                data.ctime(),
                data.ctime_nsec(),
                data.len(),
            )),
            Err(error) => {
                self.shelf.missing(&path, error)?;
                None
            }
        };
        Ok(Stamp { record, next })
    }

    /// Names of the grants that have a record, sorted.
    pub(crate) fn list(&self) -> Result<Vec<String>, StoreError> {
        self.shelf.at_home()?;
        names(&self.shelf.dir)
    }

    /// Forgets a grant: its record, the one before and the one after. Waits at most `timeout` for
    /// the lock.
    ///
    /// Returns whether there was a record.
    pub(crate) fn remove(&self, name: &str, timeout: Duration) -> Result<bool, StoreError> {
        self.lock(name, timeout)?.remove()
    }
}

/// What came of the wish for the record before.
#[derive(Debug)]
pub(crate) enum Restored {
    /// It is in place.
    Done {
        /// Its generation.
        generation: u64,
        /// Where the record is that could not be opened, if there was one.
        set_aside: Option<PathBuf>,
    },
    /// There is a record that opens, which is newer. Nothing was changed.
    NotNeeded {
        /// Its generation.
        generation: u64,
    },
    /// There is no record before. Nothing was changed.
    NothingBefore,
}

impl Locked {
    /// The record as it is now, under the lock: the one that a killed writer left whole, if there
    /// is such a one, else the one in its place.
    pub(crate) fn load(&self) -> Result<Option<Record>, StoreError> {
        let present = self.shelf.read(&self.name, GRANT)?;
        let next = match self.shelf.read(&self.name, NEXT) {
            Ok(None) => return Ok(present),
            Ok(Some(next)) => present
                .as_ref()
                .is_none_or(|present| next.supersedes(present))
                .then_some(next),
            Err(StoreError::Corrupt { .. }) => None,
            // Of another version or under another key it may well be the newest. To go on without
            // it would be to show Wise a refresh token for the second time.
            Err(error) => return Err(error),
        };
        let Some(next) = next else {
            self.discard_next();
            return Ok(present);
        };
        // A disk that takes no name now has still given us the tokens.
        match self.put_in_place() {
            Ok(()) => tracing::info!(
                grant = self.name,
                generation = next.generation,
                "took up tokens that were written whole and had no name yet"
            ),
            Err(error) => tracing::warn!(
                grant = self.name,
                "tokens are in use from {} and cannot get their name: {error}",
                self.path(NEXT).display()
            ),
        }
        Ok(Some(next))
    }

    /// Seals the record and makes it durable; the one before stays as `<name>.previous`.
    ///
    /// - Errors: the record in place is as it was, and one that cannot be opened is never
    ///   overwritten. A new record that was written whole and could not be named is kept for
    ///   whoever has the lock next.
    /// - On `Ok` the new record survives a power cut.
    pub(crate) fn save(&self, record: &Record) -> Result<(), StoreError> {
        self.sweep();
        let path = self.path(GRANT);
        let garbled = |source: serde_json::Error| StoreError::Io {
            path: path.clone(),
            source: source.into(),
        };
        let plain = record.to_plain().map_err(garbled)?;
        let key = self.shelf.opened()?.key;
        let sealed = seal::seal(&key, &self.name, &plain).map_err(|_| StoreError::NoRandomness)?;
        if let Some(present) = self.load()?
            && *present.to_plain().map_err(garbled)? == *plain
        {
            // An earlier try came further than it knew. Again would cost the record before.
            return if self.path(NEXT).exists() {
                self.put_in_place()
            } else {
                self.sync()
            };
        }
        durable::stage(&self.path(NEXT), &sealed).map_err(|error| failed(&path, error))?;
        failpoint::pass(Point::StoreStaged);
        self.name_next()
    }

    /// Whether a record of usual size could be written just now; leaves nothing behind.
    pub(crate) fn probe(&self) -> Result<(), StoreError> {
        let path = self.path(GRANT);
        durable::probe(&path, USUAL_SIZE).map_err(|error| failed(&path, error))
    }

    /// Moves what cannot be opened out of the way, so that a login can write a new record.
    ///
    /// Returns where it is now, if there was such a thing. Never overwrites one moved earlier.
    pub(crate) fn set_aside(&self) -> Result<Option<PathBuf>, StoreError> {
        let mut moved = None;
        for ending in [NEXT, GRANT] {
            match self.shelf.read(&self.name, ending) {
                Err(error) if error.is_unreadable() => {
                    let from = self.path(ending);
                    moved = Some(self.second_name(&from)?);
                    fs::remove_file(&from).map_err(|error| failed(&from, error))?;
                    self.sync()?;
                }
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(moved)
    }

    /// Gives a file that cannot be opened a name under which nobody looks for a record.
    fn second_name(&self, from: &Path) -> Result<PathBuf, StoreError> {
        for number in 1..=u16::MAX {
            let to = self.path(&format!("unreadable-{number}"));
            match fs::hard_link(from, &to) {
                Ok(()) => return Ok(to),
                Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(from, error)),
            }
        }
        Err(failed(from, io::ErrorKind::AlreadyExists.into()))
    }

    /// Forgets the grant: its record, the one before and the one after. Returns whether there was a
    /// record.
    pub(crate) fn remove(&self) -> Result<bool, StoreError> {
        let mut found = false;
        // The next one first: a crash must not leave it alone, to be taken for the newest.
        for (ending, counts) in [(NEXT, true), (GRANT, true), (PREVIOUS, false)] {
            let path = self.path(ending);
            match fs::remove_file(&path) {
                Ok(()) => found |= counts,
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&path, error)),
            }
        }
        self.sync()?;
        Ok(found)
    }

    /// Goes back to the record before, where the present one is missing or cannot be opened.
    ///
    /// At every moment there is a record in place; the one that cannot be opened gets another name.
    pub(crate) fn restore(&self) -> Result<Restored, StoreError> {
        let path = self.path(GRANT);
        let damaged = match self.load() {
            Ok(None) => false,
            Ok(Some(present)) => {
                let generation = present.generation;
                return Ok(Restored::NotNeeded { generation });
            }
            // The next record may be what cannot be opened, and the present one well.
            Err(error) => match self.shelf.read(&self.name, GRANT) {
                Err(own) if own.is_unreadable() => true,
                Err(_) | Ok(_) => return Err(error),
            },
        };
        let Some(previous) = self.shelf.read(&self.name, PREVIOUS)? else {
            return Ok(Restored::NothingBefore);
        };
        let before = self.path(PREVIOUS);
        let bytes = fs::read(&before).map_err(|error| failed(&before, error))?;
        let set_aside = damaged.then(|| self.second_name(&path)).transpose()?;
        durable::replace(&path, &bytes).map_err(|error| failed(&path, error))?;
        Ok(Restored::Done {
            generation: previous.generation,
            set_aside,
        })
    }

    /// Puts a next record that is whole in its place. Its writer may have died before the sync.
    fn put_in_place(&self) -> Result<(), StoreError> {
        let next = self.path(NEXT);
        File::open(&next)
            .and_then(|file| file.sync_all())
            .map_err(|error| failed(&next, error))?;
        self.name_next()
    }

    /// Gives the synced next record its name, durably, and the present one the other.
    fn name_next(&self) -> Result<(), StoreError> {
        let path = self.path(GRANT);
        if path.exists() {
            self.keep_previous(&path)?;
        }
        failpoint::reach(Point::StoreKept)
            .and_then(|()| fs::rename(self.path(NEXT), &path))
            .map_err(|error| failed(&path, error))?;
        failpoint::pass(Point::StoreNamed);
        self.sync()
    }

    fn sync(&self) -> Result<(), StoreError> {
        durable::sync_dir(&self.shelf.dir).map_err(|error| failed(&self.shelf.dir, error))
    }

    /// Removes a next record that is torn or older than the present one. Best effort: it is only
    /// untidy.
    fn discard_next(&self) {
        let _ = fs::remove_file(self.path(NEXT));
    }

    /// Gives the present record a second name. It keeps its first until the new one takes it, so
    /// that there is a record at every moment.
    fn keep_previous(&self, path: &Path) -> Result<(), StoreError> {
        let previous = self.path(PREVIOUS);
        let passing = self.path("passing");
        let linked = match fs::remove_file(&passing) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::hard_link(path, &passing).and_then(|()| fs::rename(&passing, &previous)),
        };
        // Not every file system has hard links.
        linked
            .or_else(|_| fs::read(path).and_then(|bytes| durable::replace(&previous, &bytes)))
            .map_err(|error| failed(&previous, error))
    }

    /// Removes what writers left that were killed half-way. Best effort: it is only untidy.
    fn sweep(&self) {
        let target = format!("{}.{GRANT}", self.name);
        for entry in fs::read_dir(&self.shelf.dir)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry
                .file_name()
                .to_str()
                .is_some_and(|name| durable::is_left_over(name, &target))
            {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.shelf.path(&self.name, ending)
    }
}

impl Shelf {
    fn read(&self, name: &str, ending: &str) -> Result<Option<Record>, StoreError> {
        let path = self.path(name, ending);
        let mode = match fs::metadata(&path) {
            Ok(data) => data.mode(),
            Err(error) => return self.missing(&path, error).map(|()| None),
        };
        if mode & 0o077 != 0 {
            return Err(StoreError::Loose {
                path,
                mode: mode & 0o777,
                tight: 0o600,
            });
        }
        let sealed = fs::read(&path).map_err(|error| failed(&path, error))?;
        let mut plain = seal::open(&self.opened()?.key, name, &sealed);
        if matches!(plain, Err(Unopened::OtherKey)) {
            // The disk of the store may have come after us: with its records came its key.
            plain = seal::open(&self.at_home()?.key, name, &sealed);
        }
        let plain = plain.map_err(|why| match why {
            Unopened::NewerVersion(version) => StoreError::NewerVersion {
                path: path.clone(),
                version: version.into(),
            },
            Unopened::OtherKey => StoreError::WrongKey { path: path.clone() },
            Unopened::Corrupt => StoreError::Corrupt { path: path.clone() },
        })?;
        Record::from_plain(&plain)
            .map(Some)
            .map_err(|why| match why {
                Unread::NewerVersion(version) => StoreError::NewerVersion { path, version },
                Unread::Garbled => StoreError::Corrupt { path },
            })
    }

    /// What the store has shown, which it does here if it never did.
    fn opened(&self) -> Result<Opened, StoreError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        match &*opened {
            Some(opened) => Ok(opened.clone()),
            None => Ok(opened.insert(self.open()?).clone()),
        }
    }

    fn open(&self) -> Result<Opened, StoreError> {
        let dir = &self.dir;
        if !dir.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .and_then(|()| durable::sync_parent(dir))
                .map_err(|error| failed(dir, error))?;
        }
        let data = fs::metadata(dir).map_err(|error| failed(dir, error))?;
        // Readable is common (systemd makes 0755) and the records are 0600; writable lets others
        // put an old record back.
        if data.mode() & 0o022 != 0 {
            return Err(StoreError::Loose {
                path: dir.clone(),
                mode: data.mode() & 0o777,
                tight: 0o700,
            });
        }
        let key = match &self.given {
            Some(text) => SealKey::given(text)?,
            None => SealKey::file(dir, !names(dir)?.is_empty())?,
        };
        Ok(Opened {
            key: Arc::new(key),
            device: data.dev(),
        })
    }

    /// Whether the directory is the store's own, and not what is left where its disk was mounted.
    ///
    /// Nothing is written anywhere else, and a record that is missing anywhere else was not
    /// forgotten by anybody. The key file tells. A store whose disk came only now brings another
    /// key than the one made here before, and that one is taken.
    fn at_home(&self) -> Result<Opened, StoreError> {
        let known = self.opened()?;
        let gone = || StoreError::Gone {
            dir: self.dir.clone(),
        };
        let data = match fs::metadata(&self.dir) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone()),
            Err(error) => return Err(failed(&self.dir, error)),
        };
        if self.given.is_some() {
            // Without a key file: the same file system, or something of a store.
            let used = data.dev() == known.device
                || fs::read_dir(&self.dir).is_ok_and(|mut entries| entries.next().is_some());
            return if used { Ok(known) } else { Err(gone()) };
        }
        let key = match SealKey::read(&self.dir) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(gone());
            }
            key => key?,
        };
        if key.is(&known.key) {
            return Ok(known);
        }
        let opened = Opened {
            key: Arc::new(key),
            device: data.dev(),
        };
        let mut place = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(place.insert(opened).clone())
    }

    /// Sorts a failed look at a record: `Ok` if that record alone is missing.
    fn missing(&self, path: &Path, error: io::Error) -> Result<(), StoreError> {
        if error.kind() == io::ErrorKind::NotFound {
            self.at_home().map(drop)
        } else {
            Err(failed(path, error))
        }
    }

    fn path(&self, name: &str, ending: &str) -> PathBuf {
        self.dir.join(format!("{name}.{ending}"))
    }
}

fn checked(name: &str) -> Result<&str, StoreError> {
    let fits = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    fits.then_some(name).ok_or(StoreError::BadName)
}

/// Names of the grants that have a record, sorted.
fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| failed(dir, error))? {
        let entry = entry.map_err(|error| failed(dir, error))?;
        if let Some((name, GRANT | NEXT)) =
            entry.file_name().to_str().and_then(|n| n.split_once('.'))
            && checked(name).is_ok()
        {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

const GRANT: &str = "grant";
const PREVIOUS: &str = "previous";
const NEXT: &str = "next";
const LOCK: &str = "lock";
/// Between two tries for a lock.
const PAUSE: Duration = Duration::from_millis(10);
/// Two tokens of 4 KiB and the rest.
const USUAL_SIZE: usize = 12 * 1024;
