//! Files that a crash cannot tear: the old content or the new one, never a mixture.
//!
//! Everything here blocks; asynchronous callers go through `spawn_blocking`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::failpoint::{self, Point};

/// Puts `bytes` in the place of whatever is at `path`, readable by the owner alone.
///
/// On return the new content survives a power cut. On an error, and after a crash at any moment
/// before the return, `path` is as it was or wholly new.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    sweep(path);
    let staged = staged(path, bytes)?;
    failpoint::reach(Point::DurableRename)?;
    staged.persist(path).map_err(|failed| failed.error)?;
    sync_parent(path)
}

/// Like [`replace`], but fails with `AlreadyExists` where there is a file: for private keys.
///
/// The file appears whole, so that of two processes that race one wins and the other reads what
/// the first wrote.
pub(crate) fn create_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    sweep(path);
    staged(path, bytes)?
        .persist_noclobber(path)
        .map_err(|failed| failed.error)?;
    sync_parent(path)
}

/// Adds `line` and a line break to the end of a file, made 0600 where it is missing.
///
/// A last line that a crash cut short is closed first, so that it cannot swallow this one.
pub(crate) fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    failpoint::reach(Point::DurableAppend)?;
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
    failpoint::reach(Point::DurableSync)?;
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

/// Whether `size` bytes could be written beside `path` just now and survive a power cut; leaves
/// nothing behind.
pub(crate) fn probe(path: &Path, size: usize) -> io::Result<()> {
    drop(staged(path, &vec![0; size])?);
    sync_parent(path)
}

/// Whether a file in `dir` is written, synced, renamed and read back as every other; leaves nothing
/// behind.
pub(crate) fn rehearse(dir: &Path, size: usize) -> io::Result<()> {
    // Two who rehearse at once do not meet.
    let path = dir.join(format!(".rehearsal-{}", std::process::id()));
    let bytes = vec![0x5a; size];
    let read = replace(&path, &bytes).and_then(|()| fs::read(&path));
    let removed = fs::remove_file(&path);
    let same = read? == bytes;
    removed?;
    sync_dir(dir)?;
    if same {
        Ok(())
    } else {
        Err(io::Error::other(
            "what was read back is not what was written",
        ))
    }
}

/// Makes what was renamed, linked or removed in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    failpoint::reach(Point::DurableSyncDir)?;
    File::open(dir)?.sync_all()
}

/// Whether `name` is a temporary file that a crash left behind on the way to `target`.
pub(crate) fn is_left_over(name: &str, target: &str) -> bool {
    name.strip_prefix('.')
        .and_then(|rest| rest.strip_prefix(target))
        .is_some_and(|rest| rest.starts_with('.') && rest.ends_with(STAGED))
}

/// Writes and syncs a file under a passing name of the caller's, readable by the owner alone. The
/// caller sees to it that nobody else writes there; a file left there before is replaced.
///
/// On an error there is nothing at `path`.
pub(crate) fn stage(path: &Path, bytes: &[u8]) -> io::Result<()> {
    failpoint::reach(Point::DurableWrite)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file.write_all(bytes).and_then(|()| {
        failpoint::reach(Point::DurableSync)?;
        file.sync_all()
    });
    if written.is_err() {
        // Bytes that may not be on the disk must not be taken for a file that is.
        let _ = fs::remove_file(path);
    }
    written
}

/// Removes what writers of `path` left that were killed. No living one needs so long for a file.
/// Best effort: it is only untidy.
fn sweep(path: &Path) {
    let Some(target) = path.file_name().and_then(|name| name.to_str()) else {
        return;
    };
    for entry in fs::read_dir(parent(path)).into_iter().flatten().flatten() {
        let is_ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| is_left_over(name, target));
        let is_old = || {
            let written = entry.metadata().and_then(|data| data.modified()).ok();
            written
                .and_then(|written| written.elapsed().ok())
                .is_some_and(|age| age > LEFT_OVER)
        };
        if is_ours && is_old() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A synced temporary file beside `path` that holds `bytes`; removed when dropped.
fn staged(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    failpoint::reach(Point::DurableWrite)?;
    let mut file = temporary(path)?;
    file.write_all(bytes)?;
    failpoint::reach(Point::DurableSync)?;
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
/// After which a temporary file has outlived its writer.
const LEFT_OVER: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
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
    fn a_rehearsal_leaves_nothing_and_says_what_stands_in_its_way() {
        let dir = tempfile::tempdir().unwrap();
        rehearse(dir.path(), 12 * 1024).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

        let gone = rehearse(&dir.path().join("gone"), 1).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_a_killed_writer_left_is_swept_once_no_living_one_can_need_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let (old, young) = (".state.abc123.tmp", ".state.def456.tmp");
        for name in [old, young] {
            fs::write(dir.path().join(name), "half").unwrap();
        }
        let long_ago = std::time::UNIX_EPOCH + Duration::from_hours(1);
        let file = File::options().write(true).open(dir.path().join(old));
        file.unwrap().set_modified(long_ago).unwrap();

        replace(&path, b"new").unwrap();

        assert!(!dir.path().join(old).exists());
        assert!(dir.path().join(young).exists(), "its writer may be at it");
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
    fn a_staged_file_replaces_what_was_left_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("state.next"), dir.path().join("other"));
        fs::write(&other, "kept").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();

        stage(&path, b"new").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read(&other).unwrap(), b"kept");
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
