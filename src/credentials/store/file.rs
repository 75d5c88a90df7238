use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::credentials::key::SealKey;
use crate::credentials::record::{Record, Unread};
use crate::credentials::seal::{self, Unopened};
use crate::credentials::store::{StoreError, failed};
use crate::durable;
use crate::secret::Secret;

/// A directory of sealed records, shared by the processes of one machine.
///
/// Per grant: `<name>.grant`, `<name>.previous` (the record before, as a way back) and
/// `<name>.lock`. The lock is on a file of its own because a lock on a file that is renamed over
/// guards nothing.
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
pub(crate) struct Stamp(Option<(u64, i64, i64, i64, i64, u64)>);

/// The right to change one grant, until dropped. Held by one process at a time.
pub(crate) struct Locked {
    shelf: Arc<Shelf>,
    name: String,
    /// The kernel lets go when the file closes, also when we are killed.
    _lock: File,
}

struct Shelf {
    dir: PathBuf,
    key: SealKey,
}

impl FileStore {
    /// Opens the store in `dir`, made 0700 where it is missing.
    ///
    /// `given`: the seal key as 32 bytes in base64; without one it is the file `seal.key` in the
    /// store, made on first use.
    pub(crate) fn open(dir: &Path, given: Option<&Secret>) -> Result<Self, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| failed(dir, error))?;
        let mode = fs::metadata(dir)
            .map_err(|error| failed(dir, error))?
            .mode();
        // Readable is common (systemd makes 0755) and the records are 0600; writable lets others
        // put an old record back.
        if mode & 0o022 != 0 {
            return Err(StoreError::Loose {
                path: dir.into(),
                mode: mode & 0o777,
                tight: 0o700,
            });
        }
        let key = match given {
            Some(text) => SealKey::given(text)?,
            None => SealKey::file(dir, !names(dir)?.is_empty())?,
        };
        Ok(Self {
            shelf: Arc::new(Shelf {
                dir: dir.to_owned(),
                key,
            }),
        })
    }

    /// The record of a grant; `None` where there is none.
    pub(crate) fn load(&self, name: &str) -> Result<Option<Record>, StoreError> {
        self.shelf.load(checked(name)?)
    }

    /// Waits at most `timeout` for the right to change a grant.
    pub(crate) fn lock(&self, name: &str, timeout: Duration) -> Result<Locked, StoreError> {
        let path = self.shelf.path(checked(name)?, LOCK);
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

    /// Changes whenever the record does; costs one `stat`.
    pub(crate) fn stamp(&self, name: &str) -> Result<Stamp, StoreError> {
        let path = self.shelf.path(checked(name)?, GRANT);
        match fs::metadata(&path) {
            Ok(data) => Ok(Stamp(Some((
                data.ino(),
                data.mtime(),
                data.mtime_nsec(),
                data.ctime(),
                data.ctime_nsec(),
                data.len(),
            )))),
            Err(gone) if self.shelf.is_missing(&gone) => Ok(Stamp(None)),
            Err(error) => Err(failed(&path, error)),
        }
    }

    /// Names of the grants that have a record, sorted.
    pub(crate) fn list(&self) -> Result<Vec<String>, StoreError> {
        names(&self.shelf.dir)
    }

    /// Forgets a grant: its record and the one before. Waits at most `timeout` for the lock.
    ///
    /// Returns whether there was a record.
    pub(crate) fn remove(&self, name: &str, timeout: Duration) -> Result<bool, StoreError> {
        let locked = self.lock(name, timeout)?;
        let mut found = false;
        for (ending, counts) in [(GRANT, true), (PREVIOUS, false)] {
            let path = locked.path(ending);
            match fs::remove_file(&path) {
                Ok(()) => found |= counts,
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&path, error)),
            }
        }
        durable::sync_dir(&self.shelf.dir).map_err(|error| failed(&self.shelf.dir, error))?;
        Ok(found)
    }
}

impl Locked {
    /// The record as it is now, under the lock.
    pub(crate) fn load(&self) -> Result<Option<Record>, StoreError> {
        self.shelf.load(&self.name)
    }

    /// Seals the record and makes it durable; the one before stays as `<name>.previous`.
    ///
    /// - Errors: the store is as it was. A record that cannot be opened is never overwritten.
    /// - On `Ok` the new record survives a power cut.
    pub(crate) fn save(&self, record: &Record) -> Result<(), StoreError> {
        self.sweep();
        let path = self.path(GRANT);
        let plain = record.to_plain().map_err(|error| StoreError::Io {
            path: path.clone(),
            source: error.into(),
        })?;
        let sealed = seal::seal(&self.shelf.key, &self.name, &plain)
            .map_err(|_| StoreError::NoRandomness)?;
        let present = self.load()?;
        let staged = durable::staged(&path, &sealed).map_err(|error| failed(&path, error))?;
        if present.is_some() {
            self.keep_previous(&path)?;
        }
        staged
            .persist(&path)
            .map_err(|error| failed(&path, error.error))?;
        durable::sync_dir(&self.shelf.dir).map_err(|error| failed(&self.shelf.dir, error))
    }

    /// Whether a record of usual size could be written just now; leaves nothing behind.
    pub(crate) fn probe(&self) -> Result<(), StoreError> {
        let path = self.path(GRANT);
        durable::staged(&path, &[0; USUAL_SIZE])
            .map(drop)
            .map_err(|error| failed(&path, error))
    }

    /// Moves a record that cannot be opened out of the way, so that a login can write a new one.
    ///
    /// Returns where it is now. Never overwrites one moved earlier.
    pub(crate) fn set_aside(&self) -> Result<PathBuf, StoreError> {
        let from = self.path(GRANT);
        for number in 1..=u16::MAX {
            let to = self.path(&format!("unreadable-{number}"));
            match fs::hard_link(&from, &to) {
                Ok(()) => {
                    fs::remove_file(&from).map_err(|error| failed(&from, error))?;
                    durable::sync_dir(&self.shelf.dir)
                        .map_err(|error| failed(&self.shelf.dir, error))?;
                    return Ok(to);
                }
                Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&from, error)),
            }
        }
        Err(failed(&from, io::ErrorKind::AlreadyExists.into()))
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
    fn load(&self, name: &str) -> Result<Option<Record>, StoreError> {
        let path = self.path(name, GRANT);
        let mode = match fs::metadata(&path) {
            Ok(data) => data.mode(),
            Err(gone) if self.is_missing(&gone) => return Ok(None),
            Err(error) => return Err(failed(&path, error)),
        };
        if mode & 0o077 != 0 {
            return Err(StoreError::Loose {
                path,
                mode: mode & 0o777,
                tight: 0o600,
            });
        }
        let sealed = fs::read(&path).map_err(|error| failed(&path, error))?;
        let plain = seal::open(&self.key, name, &sealed).map_err(|why| match why {
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

    /// Whether the record alone is missing. A whole directory gone is a disk that is not mounted,
    /// not a grant that was forgotten.
    fn is_missing(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::NotFound && self.dir.is_dir()
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

fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| failed(dir, error))? {
        let entry = entry.map_err(|error| failed(dir, error))?;
        if let Some((name, GRANT)) = entry.file_name().to_str().and_then(|n| n.split_once('.'))
            && checked(name).is_ok()
        {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

const GRANT: &str = "grant";
const PREVIOUS: &str = "previous";
const LOCK: &str = "lock";
/// Between two tries for a lock.
const PAUSE: Duration = Duration::from_millis(10);
/// Two tokens of 4 KiB and the rest.
const USUAL_SIZE: usize = 12 * 1024;
