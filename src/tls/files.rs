use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::TlsError;
use crate::secret::is_private;

/// No certificate bundle is larger; a path that leads to a device or a log ends here.
const LARGEST: u64 = 16 << 20;

/// A file's bytes, wiped when dropped.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    read_open(open(path)?, path)
}

/// A key file's bytes, unless others than its owner may touch it.
pub(super) fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let file = open(path)?;
    // Of the open file, not of the path: the path may lead elsewhere a moment later.
    let found = file.metadata().map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })?;
    if !is_private(&found) {
        return Err(TlsError::KeyTooOpen {
            path: path.to_owned(),
            mode: found.mode() & 0o7777,
        });
    }
    read_open(file, path)
}

fn open(path: &Path) -> Result<File, TlsError> {
    File::open(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn read_open(file: File, path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let failed = |source| TlsError::Read {
        path: path.to_owned(),
        source,
    };
    let length = file.metadata().map_err(failed)?.len();
    // Sized at once: a buffer that grows leaves unwiped copies behind.
    let capacity = usize::try_from(length.min(LARGEST)).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity + 1));
    let read = file
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if read as u64 > LARGEST {
        return Err(failed(io::Error::other("it is larger than 16 MiB")));
    }
    Ok(bytes)
}

/// Writes a file that must not exist yet, synced before this returns.
pub(super) fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    let failed = |source: io::Error| {
        if source.kind() == io::ErrorKind::AlreadyExists {
            TlsError::Exists {
                path: path.to_owned(),
            }
        } else {
            TlsError::Write {
                path: path.to_owned(),
                source,
            }
        }
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    sync_directory(path).map_err(failed)
}

/// Where the content to come of the file at `path` waits. Always the same name: a crash leaves one
/// such file at most, and what it left can be found.
pub(super) fn waiting(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".next");
    name.into()
}

/// Writes what is to become the file at `path`, whole and synced, beside its place.
pub(super) fn stage(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    stage_like(path, bytes, mode, path)
}

/// As [`stage`], for the owner of `model`: what root installs is for the proxy's user to read.
pub(super) fn stage_like(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    model: &Path,
) -> Result<(), TlsError> {
    let waiting = waiting(path);
    let write = || -> io::Result<()> {
        match fs::remove_file(&waiting) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&waiting)?;
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        if let (Ok(there), Ok(here)) = (model.metadata(), file.metadata())
            && (there.uid(), there.gid()) != (here.uid(), here.gid())
        {
            // Only root may. Where it matters to others, reading the file says so.
            let _ = fchown(&file, Some(there.uid()), Some(there.gid()));
        }
        file.sync_all()
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&waiting);
        TlsError::Write {
            path: path.to_owned(),
            source,
        }
    })
}

/// Removes what waits for the place of the file at `path`, if anything does.
pub(super) fn discard(path: &Path) -> Result<(), TlsError> {
    match fs::remove_file(waiting(path)) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(TlsError::Write {
            path: path.to_owned(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Puts what waits in the place of the file at `path`, in one step.
pub(super) fn publish(path: &Path) -> Result<(), TlsError> {
    fs::rename(waiting(path), path)
        .and_then(|()| sync_directory(path))
        .map_err(|source| TlsError::Write {
            path: path.to_owned(),
            source,
        })
}

/// Sees to it that a file's directory is there and that others may not put files into it.
pub(super) fn private_directory(path: &Path) -> Result<(), TlsError> {
    let directory = directory(path);
    let failed = |source| TlsError::Write {
        path: path.to_owned(),
        source,
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(directory).map_err(failed)?;
    let mode = directory.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(TlsError::LooseDirectory {
            path: directory.to_owned(),
            mode,
        });
    }
    Ok(())
}

pub(super) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}
