//! Where records rest. Blocking: asynchronous callers go through `spawn_blocking`.

#[cfg(test)]
mod crashes;
mod file;

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use file::{FileStore, Locked, Restored, Stamp};

/// Why the store does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The name cannot be a file name of ours.
    #[error("a grant's name is 1 to 64 lower-case letters, digits, hyphens or underscores")]
    BadName,
    /// Others may read or change it.
    #[error(
        "{} has permissions {mode:o}, others could use it; run: chmod {tight:o} {}",
        path.display(), path.display()
    )]
    Loose {
        /// What.
        path: PathBuf,
        /// What its permissions are.
        mode: u32,
        /// What they should be.
        tight: u32,
    },
    /// The seal key is not one.
    #[error("{place} is not 32 bytes in base64; make one with: head -c 32 /dev/urandom | base64")]
    BadKey {
        /// Where it came from.
        place: String,
    },
    /// Records are there, their key is not.
    #[error(
        "{} is missing but the store holds records sealed under it; restore it from a backup, \
         or move the records away and run `login` again",
        path.display()
    )]
    KeyMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The directory, or the disk that it is on.
    #[error(
        "{} is not the store any more (not mounted, or deleted?); bring it back, it is tried again, \
         or run `login` to begin a new one",
        dir.display()
    )]
    Gone {
        /// Where it was.
        dir: PathBuf,
    },
    /// Sealed under another key.
    #[error(
        "{} was sealed under another key; give the store its old seal key back, or run `login` \
         to replace the record",
        path.display()
    )]
    WrongKey {
        /// The record.
        path: PathBuf,
    },
    /// Changed or cut short behind our back.
    #[error(
        "{} is damaged and cannot be opened; run `token restore` to go back to the record before, \
         or `login` to replace it",
        path.display()
    )]
    Corrupt {
        /// The record.
        path: PathBuf,
    },
    /// From the future.
    #[error(
        "{} was written by a newer version of wise-auth-proxy (format {version}); run that version",
        path.display()
    )]
    NewerVersion {
        /// The record.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
    /// Somebody else holds the lock.
    #[error(
        "another process has been working on grant `{name}` for longer than we wait; \
         if it hangs, stop it"
    )]
    Busy {
        /// The grant.
        name: String,
    },
    /// No room.
    #[error("no room left to write {}; free some space, it is tried again", path.display())]
    DiskFull {
        /// What was to be written.
        path: PathBuf,
    },
    /// May not write.
    #[error(
        "{} cannot be written (read-only or not ours); make the store writable, it is tried again",
        path.display()
    )]
    ReadOnly {
        /// What was to be written.
        path: PathBuf,
    },
    /// Any other trouble with the file system.
    #[error("{}: {source}; look at the disk, it is tried again", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Without randomness nothing can be sealed.
    #[error("the system gives no random bytes, so nothing can be sealed")]
    NoRandomness,
}

impl StoreError {
    /// Whether it is about the permissions of this very path.
    pub(crate) fn concerns(&self, place: &Path) -> bool {
        matches!(self, Self::Loose { path, .. } if path == place)
    }

    /// A record is there, but this program with this key cannot open it.
    pub(crate) fn is_unreadable(&self) -> bool {
        match self {
            Self::WrongKey { .. } | Self::Corrupt { .. } | Self::NewerVersion { .. } => true,
            Self::BadName
            | Self::Loose { .. }
            | Self::BadKey { .. }
            | Self::KeyMissing { .. }
            | Self::Gone { .. }
            | Self::Busy { .. }
            | Self::DiskFull { .. }
            | Self::ReadOnly { .. }
            | Self::Io { .. }
            | Self::NoRandomness => false,
        }
    }

    /// Somebody with a later version or another key has been at the grant, and may have spent the
    /// refresh token that we know.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self, Self::WrongKey { .. } | Self::NewerVersion { .. })
    }
}

/// Names what an operator can do something about.
pub(super) fn failed(path: &Path, source: io::Error) -> StoreError {
    let path = path.to_owned();
    let is = |kinds: &[io::ErrorKind]| kinds.contains(&source.kind());
    if is(&[io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded]) {
        StoreError::DiskFull { path }
    } else if is(&[
        io::ErrorKind::ReadOnlyFilesystem,
        io::ErrorKind::PermissionDenied,
    ]) {
        StoreError::ReadOnly { path }
    } else {
        StoreError::Io { path, source }
    }
}
