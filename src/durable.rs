//! Files that a crash cannot tear: the old content or the new one, never a mixture.
//!
//! Everything here blocks; asynchronous callers go through `spawn_blocking`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// Puts `bytes` in the place of whatever is at `path`, readable by the owner alone.
///
/// On return the new content survives a power cut. On an error, and after a crash at any moment
/// before the return, `path` is as it was or wholly new.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    staged(path, bytes)?
        .persist(path)
        .map_err(|failed| failed.error)?;
    sync_parent(path)
}

/// Like [`replace`], but fails with `AlreadyExists` where there is a file: for private keys.
///
/// The file appears whole, so that of two processes that race one wins and the other reads what
/// the first wrote.
pub(crate) fn create_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    staged(path, bytes)?
        .persist_noclobber(path)
        .map_err(|failed| failed.error)?;
    sync_parent(path)
}

/// Adds `line` and a line break to the end of a file, made 0600 where it is missing.
///
/// A last line that a crash cut short is closed first, so that it cannot swallow this one.
pub(crate) fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    let (mut file, made) = match options.open(path) {
        Ok(file) => (file, false),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            (options.create(true).open(path)?, true)
        }
        Err(other) => return Err(other),
    };
    let mut text = Vec::with_capacity(line.len() + 2);
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            text.push(b'\n');
        }
    }
    text.extend_from_slice(line);
    text.push(b'\n');
    // One write: lines of two writers do not interleave in a file opened for appending.
    file.write_all(&text)?;
    file.sync_data()?;
    if made {
        sync_parent(path)?;
    }
    Ok(())
}

/// Makes a directory that its owner alone may enter, where there is none.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path)?;
    sync_parent(path)
}

/// Makes the name of a new file or directory durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    sync_dir(parent(path))
}

/// Whether `size` bytes could be written beside `path` just now; leaves nothing behind.
pub(crate) fn probe(path: &Path, size: usize) -> io::Result<()> {
    temporary(path)?.write_all(&vec![0; size])
}

/// Makes what was renamed, linked or removed in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Whether `name` is a temporary file that a crash left behind on the way to `target`.
pub(crate) fn is_left_over(name: &str, target: &str) -> bool {
    name.strip_prefix('.')
        .and_then(|rest| rest.strip_prefix(target))
        .is_some_and(|rest| rest.starts_with('.') && rest.ends_with(STAGED))
}

/// A synced temporary file beside `path` that holds `bytes`; removed when dropped.
pub(crate) fn staged(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = temporary(path)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or(io::ErrorKind::InvalidFilename)?;
    // tempfile makes its files 0600, whatever the umask.
    tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(STAGED)
        .tempfile_in(parent(path))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

const STAGED: &str = ".tmp";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_replaced_file_is_whole_private_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();

        replace(&path, b"new").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file may stay"
        );
    }

    #[test]
    fn a_failed_replace_leaves_the_old_content_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        fs::create_dir(&path).unwrap(); // a rename onto a directory fails

        assert!(replace(&path, b"new").is_err());

        assert!(path.is_dir());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn create_new_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.key");
        create_new(&path, b"first").unwrap();

        let second = create_new(&path, b"second").unwrap_err();

        assert_eq!(second.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn an_appended_line_does_not_join_a_torn_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        append(&path, b"one").unwrap();
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"tor")
            .unwrap();

        append(&path, b"two").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"one\ntor\ntwo\n");
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn left_overs_are_told_from_their_target_and_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("main.grant");
        let staged = staged(&path, b"x").unwrap();
        let name = staged.path().file_name().unwrap().to_str().unwrap();

        assert!(is_left_over(name, "main.grant"));
        assert!(!is_left_over("main.grant", "main.grant"));
        assert!(!is_left_over(name, "other.grant"));
    }
}
