//! The fundings of the last hour, on the disk and in mind.
//!
//! One line each: milliseconds of Unix time, and whose it is. While the process lives its own clock
//! counts, which never jumps; the wall clock is for what a process before wrote. Several processes
//! may share a store: each reads what the others have added before it decides.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::clock::Clock;
use crate::durable;
use crate::guard::caps::{HOUR, Verdict};

/// The file in the store.
pub(crate) const FILE: &str = "fundings.log";

/// From this length on what is over is cleared away.
const LONG: u64 = 256 * 1024;

/// What was tried, by whom, and until when it counts.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    path: PathBuf,
    tried: HashMap<String, VecDeque<Entry>>,
    /// The file that was read, and how far.
    read: Option<Read>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Read {
    inode: u64,
    length: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Unix time in milliseconds.
    at: u64,
    /// By the boot clock.
    ends: Duration,
}

impl Ledger {
    /// The ledger of a store. Nothing is read before it is needed.
    pub(crate) fn at(store: &Path) -> Self {
        Self {
            path: store.join(FILE),
            ..Self::default()
        }
    }

    pub(super) fn take(&mut self) -> Self {
        let path = self.path.clone();
        std::mem::replace(
            self,
            Self {
                path,
                ..Self::default()
            },
        )
    }

    /// Decides each, in order, and writes down those that may leave. Blocks on the disk.
    pub(super) fn decide(&mut self, asks: &[(String, u32)], clock: &dyn Clock) -> Vec<Verdict> {
        match self.try_decide(asks, clock) {
            Ok(verdicts) => verdicts,
            Err(error) => {
                // What is on the disk is read again, and so is what was not.
                self.read = None;
                tracing::error!(%error, path = %self.path.display(), "fundings cannot be written down");
                let why = format!("{}: {error}", self.path.display());
                vec![Verdict::Unrecorded(why); asks.len()]
            }
        }
    }

    fn try_decide(
        &mut self,
        asks: &[(String, u32)],
        clock: &dyn Clock,
    ) -> io::Result<Vec<Verdict>> {
        let _held = self.lock()?;
        self.catch_up(clock)?;
        let (now, wall) = (clock.boot(), millis(clock.wall()));
        let mut lines = String::new();
        let verdicts = asks.iter().map(|(of, per_hour)| {
            let tried = self.tried.entry(of.clone()).or_default();
            while tried.front().is_some_and(|entry| entry.ends <= now) {
                tried.pop_front();
            }
            let limit = usize::try_from(*per_hour).unwrap_or(usize::MAX);
            if tried.len() >= limit {
                // The one whose end makes room; with no room at all, an hour from now.
                let last = tried.len().checked_sub(limit.max(1));
                let frees = last.and_then(|last| tried.get(last));
                let wait = frees.map_or(HOUR, |entry| entry.ends.saturating_sub(now));
                return Verdict::Capped(wait);
            }
            tried.push_back(Entry {
                at: wall,
                ends: now + HOUR,
            });
            let new_line = if lines.is_empty() { "" } else { "\n" };
            // Writing to a String cannot fail.
            let _ = write!(lines, "{new_line}{wall} {of}");
            Verdict::Granted
        });
        let verdicts: Vec<_> = verdicts.collect();
        if !lines.is_empty() {
            let written = durable::append(&self.path, lines.as_bytes());
            if written.is_err() {
                // They do not leave. Should a line be there all the same, the next look finds it.
                for ((of, _), verdict) in asks.iter().zip(&verdicts) {
                    if *verdict == Verdict::Granted
                        && let Some(tried) = self.tried.get_mut(of)
                    {
                        tried.pop_back();
                    }
                }
            }
            written?;
            self.read = look(&self.path)?;
            self.clear_away(now)?;
        }
        Ok(verdicts)
    }

    /// One process at a time decides.
    fn lock(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(self.path.with_extension("lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    /// Reads what was written since the last look: at the start by a process before, later by one
    /// beside.
    fn catch_up(&mut self, clock: &dyn Clock) -> io::Result<()> {
        let there = look(&self.path)?;
        if there == self.read {
            return Ok(());
        }
        let Some(found) = there else {
            // Somebody took it away. What is in mind still counts.
            self.read = None;
            return Ok(());
        };
        let known = self
            .read
            .filter(|read| read.inode == found.inode && read.length <= found.length);
        let from = known.map_or(0, |read| read.length);
        if known.is_none() {
            self.tried.clear();
        }
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut text = Vec::new();
        file.take(found.length - from).read_to_end(&mut text)?;
        let (now, wall) = (clock.boot(), millis(clock.wall()));
        for line in String::from_utf8_lossy(&text).lines() {
            let Some((at, of)) = read_line(line) else {
                continue;
            };
            // One of a clock that was ahead counts as one of now: it must end some time.
            let age = Duration::from_millis(wall.saturating_sub(at));
            let Some(left) = HOUR.checked_sub(age).filter(|left| !left.is_zero()) else {
                continue;
            };
            let entry = Entry {
                at,
                ends: now + left,
            };
            let tried = self.tried.entry(of.to_owned()).or_default();
            let later = tried.iter().rposition(|known| known.ends <= entry.ends);
            tried.insert(later.map_or(0, |position| position + 1), entry);
        }
        self.read = Some(found);
        Ok(())
    }

    /// Writes a long file anew, without what is over.
    fn clear_away(&mut self, now: Duration) -> io::Result<()> {
        if self.read.is_none_or(|read| read.length < LONG) {
            return Ok(());
        }
        let mut text = String::new();
        for (of, tried) in &mut self.tried {
            tried.retain(|entry| entry.ends > now);
            for entry in tried.iter() {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{} {of}", entry.at);
            }
        }
        self.tried.retain(|_, tried| !tried.is_empty());
        durable::replace(&self.path, text.as_bytes())?;
        self.read = look(&self.path)?;
        Ok(())
    }
}

/// A line that a crash cut short has no such beginning, or says nothing that anybody waits for.
fn read_line(line: &str) -> Option<(u64, &str)> {
    let (at, of) = line.split_once(' ')?;
    Some((at.parse().ok()?, of))
}

fn look(path: &Path) -> io::Result<Option<Read>> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(Read {
            inode: found.ino(),
            length: found.len(),
        })),
        Ok(_) => Err(io::Error::other("it is not a file")),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(other) => Err(other),
    }
}

fn millis(at: SystemTime) -> u64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
