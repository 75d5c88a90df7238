//! The file of a record: opened, locked, and mended where a crash tore its end.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::AuditError;
use super::chain::{Hash, Head, Link};
use crate::durable;

/// So much of the end is read first; where the known line is further back, more.
const TAIL: u64 = 1024 * 1024;

/// The head is at most a second behind: it is not further back than this.
const LONGEST_TAIL: u64 = 256 * 1024 * 1024;

/// An open file of records, which no other process writes to.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) file: File,
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// What was found at the end of the file, which is recorded.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// The end was no whole line; it was moved to a file beside.
    Torn {
        bytes: u64,
        sha256: Hash,
        moved_to: PathBuf,
    },
    /// The file has lines, and the store knew of none.
    Adopted,
    /// The file does not end where the store says it must: lines were taken out or changed.
    Mismatch { found: Option<Head> },
}

impl Book {
    /// Opens it, and says where its chain goes on.
    pub(super) fn open(
        path: &Path,
        known: Option<Head>,
    ) -> Result<(Self, Head, Vec<Found>), AuditError> {
        let failed = |source| AuditError::io(path, source);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.open(path).map_err(failed)?;
        let data = file.metadata().map_err(failed)?;
        if !data.is_file() {
            return Err(AuditError::NotAFile {
                path: path.to_owned(),
            });
        }
        let mode = data.permissions().mode() & 0o777;
        if mode & 0o037 != 0 {
            return Err(AuditError::Loose {
                path: path.to_owned(),
                mode,
            });
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(AuditError::Taken {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let (head, found) = mend(&mut file, path, known)?;
        durable::sync_parent(path).map_err(failed)?;
        let book = Self {
            file,
            path: path.to_owned(),
            device: data.dev(),
            inode: data.ino(),
        };
        Ok((book, head, found))
    }

    /// Whether the path leads elsewhere by now: the file was rotated.
    pub(super) fn is_moved(&self) -> bool {
        fs::metadata(&self.path).map_or(true, |data| {
            (data.dev(), data.ino()) != (self.device, self.inode)
        })
    }

    /// Takes back `bytes` of a line that could not be written whole; best effort.
    pub(super) fn take_back(&self, bytes: u64) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        self.file.set_len(length.saturating_sub(bytes))
    }
}

fn mend(
    file: &mut File,
    path: &Path,
    known: Option<Head>,
) -> Result<(Head, Vec<Found>), AuditError> {
    let failed = |source| AuditError::io(path, source);
    let (start, tail, end) = read_tail(file, known).map_err(failed)?;
    let (head, keep, mut found) = match end {
        End::Foreign => {
            return Err(AuditError::Foreign {
                path: path.to_owned(),
            });
        }
        End::Follows { head, keep } => (head, keep, Vec::new()),
        End::Adopted { head, keep } => (head, keep, vec![Found::Adopted]),
        End::Mismatch { found, keep } => {
            let known = known.unwrap_or(Head::START);
            (known, keep, vec![Found::Mismatch { found }])
        }
    };
    let torn = &tail[keep..];
    if torn.is_empty() {
        return Ok((head, found));
    }
    let mut head = head;
    if Link::parse(torn).is_some_and(|line| head.follow(&line)) {
        // Only its line break is missing.
        file.write_all(b"\n").map_err(failed)?;
        return Ok((head, found));
    }
    let moved_to = set_aside(path, torn).map_err(failed)?;
    file.set_len(start + keep as u64).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    found.push(Found::Torn {
        bytes: torn.len() as u64,
        sha256: Hash::of(&[torn]),
        moved_to,
    });
    Ok((head, found))
}

/// The last lines of a file, where they begin, and what is to be said of them. Looks as far back as the
/// known line is.
fn read_tail(file: &mut File, known: Option<Head>) -> io::Result<(u64, Vec<u8>, End)> {
    let length = file.metadata()?.len();
    let mut reach = TAIL;
    loop {
        let start = length.saturating_sub(reach);
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.read_to_end(&mut tail)?;
        // What begins in the middle of a line is not looked at.
        let skipped = if start == 0 {
            0
        } else {
            let first = tail.iter().position(|byte| *byte == b'\n');
            first.map_or(tail.len(), |at| at + 1)
        };
        let start = start + skipped as u64;
        tail.drain(..skipped);
        let end = judge(&tail, start == 0, known);
        let is_lost = matches!(end, End::Mismatch { .. } | End::Foreign);
        if !is_lost || start == 0 || reach >= LONGEST_TAIL {
            return Ok((start, tail, end));
        }
        reach *= 16;
    }
}

/// How a record ends, for who only looks.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Tail {
    /// As the store knows it; the last line, if there is one.
    Sound(Head),
    /// So many bytes at the end are no whole line.
    Torn(usize),
    /// The store knows nothing of it.
    Unknown,
    /// The store knows a line that is not there.
    Mismatch(Head),
    /// It holds something else.
    Foreign,
}

/// Looks at the end of a record without touching it; a proxy may be writing it.
pub(crate) fn tail(path: &Path, known: Option<Head>) -> io::Result<Tail> {
    let (_, tail, end) = read_tail(&mut File::open(path)?, known)?;
    Ok(match (end, known) {
        (End::Follows { keep, .. }, _) if tail.len() > keep => Tail::Torn(tail.len() - keep),
        (End::Follows { head, .. }, _) => Tail::Sound(head),
        (End::Mismatch { .. }, Some(known)) => Tail::Mismatch(known),
        (End::Adopted { .. } | End::Mismatch { .. }, _) => Tail::Unknown,
        (End::Foreign, _) => Tail::Foreign,
    })
}

/// Where the chain at the end of a file goes on, and how much of the tail is its.
#[derive(Debug, Eq, PartialEq)]
enum End {
    Follows { head: Head, keep: usize },
    Adopted { head: Head, keep: usize },
    Mismatch { found: Option<Head>, keep: usize },
    Foreign,
}

/// `whole`: the tail is the whole file.
fn judge(tail: &[u8], whole: bool, known: Option<Head>) -> End {
    let mut lines = Lines { text: tail, at: 0 };
    let known = known.filter(|head| head.seq > 0);
    let (mut head, mut keep, mut any) = (None, 0, false);
    for line in lines.by_ref() {
        any = true;
        let Some(link) = Link::parse(line.text) else {
            continue;
        };
        match (known, &mut head) {
            // Everything behind the line that the store knows must follow.
            (Some(known), None) if link.head() == known => {
                (head, keep) = (Some(known), line.end);
            }
            (Some(_), Some(head)) => {
                if line.start == keep && head.follow(&link) {
                    keep = line.end;
                }
            }
            (None, _) if link.is_whole() => (head, keep) = (Some(link.head()), line.end),
            (Some(_) | None, _) => {}
        }
    }
    let rest = lines.at;
    match (known, head) {
        (Some(_), Some(head)) => End::Follows { head, keep },
        (None, Some(head)) => End::Adopted { head, keep },
        // A new file: after a rotation, or the first of all. A line may have been begun.
        (known, None) if whole && !any && is_ours(tail) => End::Follows {
            head: known.unwrap_or(Head::START),
            keep: 0,
        },
        (Some(_), None) => {
            let last = Lines { text: tail, at: 0 };
            let links = last.filter_map(|line| Link::parse(line.text));
            let found = links.filter(Link::is_whole).last().map(|link| link.head());
            match found {
                None if whole => End::Foreign,
                found => End::Mismatch { found, keep: rest },
            }
        }
        (None, None) => End::Foreign,
    }
}

/// Whether it is empty, or the beginning of a line of ours.
fn is_ours(text: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"{\"seq\":";
    let common = text.len().min(BEGINNING.len());
    text[..common] == BEGINNING[..common] || text.iter().all(|byte| *byte == 0)
}

/// Whole lines of a text, and where each begins and ends.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
}

struct Line<'a> {
    text: &'a [u8],
    start: usize,
    /// Behind its line break.
    end: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n')?;
        let start = self.at;
        self.at += length + 1;
        Some(Line {
            text: &rest[..length],
            start,
            end: self.at,
        })
    }
}

/// Keeps what was torn in a file beside the record, durable on return.
fn set_aside(path: &Path, torn: &[u8]) -> io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".torn");
    let beside = PathBuf::from(name);
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let mut file = options.open(&beside)?;
    file.write_all(torn)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    durable::sync_parent(&beside)?;
    Ok(beside)
}

#[cfg(test)]
mod tests;
