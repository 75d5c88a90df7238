//! The record of who called what: JSON lines, each with the hash of the one before.
//!
//! Workers hand over what they noted in batches; one thread makes the chain, writes it, and has it
//! on the disk within a second. A request never waits for it. docs/audit.md has the format. No
//! secret, no field and no body is ever in here; ids and profiles are, for a record that does not
//! say whom was paid is of no use.

mod book;
mod chain;
mod clerk;
mod desk;
mod head;
mod members;
mod verify;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use book::{Tail, tail};
pub(crate) use chain::{Hash, Head};
pub(crate) use clerk::{Clerk, Entry};
pub(crate) use desk::{Audit, Standing};
pub(crate) use head::HeadFile;
pub(crate) use verify::{Broken, Summary, Verifier, first_line};

/// Why nothing can be recorded. Each message says what to do, after its last semicolon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    /// Others may read or change it.
    #[error(
        "the record {} has permissions {mode:o}, others could read or change it; run: chmod 600 {} \
         (640 for a group that may read)",
        path.display(), path.display()
    )]
    Loose {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A pipe, a device, a directory.
    #[error(
        "audit.file {} is not a file; name one, a chain cannot go on in anything else",
        path.display()
    )]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// Another process writes to it.
    #[error(
        "another proxy writes to the record {}; give each an audit.file of its own, or stop that one",
        path.display()
    )]
    Taken {
        /// The file.
        path: PathBuf,
    },
    /// It holds something else.
    #[error(
        "{} holds something else than a record, and is left alone; name another audit.file, or move \
         it away",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The directory is missing.
    #[error(
        "the directory of the record {} is not there; make it, such that the proxy's user may write \
         there",
        path.display()
    )]
    NoDirectory {
        /// The file.
        path: PathBuf,
    },
    /// No room.
    #[error("no room left to write the record {}; free some space", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// May not write.
    #[error(
        "the record {} cannot be written (read-only or not ours); make file and directory writable \
         for the proxy's user",
        path.display()
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// The disk does not answer.
    #[error("the disk of the record {} does not answer; look at it", path.display())]
    Hangs {
        /// The file.
        path: PathBuf,
    },
    /// Any other trouble with the file system.
    #[error("the record {}: {source}; look at the disk", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store's note of where the record ends.
    #[error("{}, where the record ends: {source}; make the store writable", path.display())]
    Head {
        /// The file in the store.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No thread.
    #[error("the record's writer: {0}; raise the limit of threads")]
    Thread(io::Error),
}

impl AuditError {
    /// Names what an operator can do something about.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        use io::ErrorKind;
        let path = path.to_owned();
        let is = |kinds: &[ErrorKind]| kinds.contains(&source.kind());
        if is(&[ErrorKind::StorageFull, ErrorKind::QuotaExceeded]) {
            Self::DiskFull { path }
        } else if is(&[ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied]) {
            Self::ReadOnly { path }
        } else if is(&[ErrorKind::NotFound]) {
            Self::NoDirectory { path }
        } else if is(&[ErrorKind::IsADirectory]) {
            Self::NotAFile { path }
        } else {
            Self::Io { path, source }
        }
    }
}
