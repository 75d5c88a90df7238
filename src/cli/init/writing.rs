//! Writes several files so that a failure half-way leaves none of them.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::durable;

/// One file to be written.
pub(super) struct Sheet {
    pub(super) path: PathBuf,
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Others may read it: it holds no secret.
    pub(super) is_open: bool,
}

impl Sheet {
    pub(super) fn new(path: PathBuf, text: impl AsRef<[u8]>, is_open: bool) -> Self {
        Self {
            path,
            bytes: Zeroizing::new(text.as_ref().to_vec()),
            is_open,
        }
    }
}

/// A file could not be written. Nothing was.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}; nothing was written", path.display())]
pub(super) struct NotWritten {
    path: PathBuf,
    pub(super) source: io::Error,
}

/// Makes the directories and writes the sheets: all of it or nothing. Every byte is on the disk before the first file has its name.
///
/// A process killed between two names leaves whole files only, the configuration last of all.
pub(super) fn write(dirs: &[PathBuf], sheets: &[Sheet]) -> Result<(), NotWritten> {
    let mut undo = Undo::default();
    for dir in dirs {
        make_dirs(dir, &mut undo).map_err(|source| NotWritten {
            path: dir.clone(),
            source,
        })?;
    }
    let staged: Result<Vec<_>, NotWritten> = sheets
        .iter()
        .map(|sheet| {
            let failed = |source| NotWritten {
                path: sheet.path.clone(),
                source,
            };
            make_dirs(parent(&sheet.path), &mut undo).map_err(failed)?;
            let passing = passing(&sheet.path);
            undo.files.push(passing.clone());
            durable::stage(&passing, &sheet.bytes).map_err(failed)?;
            let mode = mode(sheet);
            fs::set_permissions(&passing, fs::Permissions::from_mode(mode)).map_err(failed)?;
            Ok(passing)
        })
        .collect();
    for (sheet, passing) in sheets.iter().zip(staged?) {
        let failed = |source| NotWritten {
            path: sheet.path.clone(),
            source,
        };
        let is_new = sheet.path.symlink_metadata().is_err();
        fs::rename(&passing, &sheet.path).map_err(failed)?;
        if is_new {
            undo.files.push(sheet.path.clone());
        }
        durable::sync_parent(&sheet.path).map_err(failed)?;
    }
    undo.is_over = true;
    Ok(())
}

/// That of the file that is there; else for its owner alone if it holds a secret.
fn mode(sheet: &Sheet) -> u32 {
    let there = fs::metadata(&sheet.path).map(|file| file.permissions().mode() & 0o777);
    match there {
        Ok(mode) if sheet.is_open => mode,
        _ if sheet.is_open => 0o644,
        _ => 0o600,
    }
}

fn passing(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.init"))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Makes a directory for its owner alone, remembering each level that was not there.
fn make_dirs(dir: &Path, undo: &mut Undo) -> io::Result<()> {
    let missing = dir
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && dir.symlink_metadata().is_err());
    let missing: Vec<_> = missing.map(Path::to_owned).collect();
    for level in missing.into_iter().rev() {
        // Made or not when it fails: its name may only not be durable.
        undo.dirs.push(level.clone());
        durable::make_dir(&level)?;
    }
    Ok(())
}

/// What is taken away again unless all went well.
#[derive(Default)]
struct Undo {
    files: Vec<PathBuf>,
    dirs: Vec<PathBuf>,
    is_over: bool,
}

impl Drop for Undo {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // Best effort: what stays is whole, and the next run writes over it.
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        for dir in self.dirs.iter().rev() {
            let _ = fs::remove_dir(dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn secrets_are_private_and_what_was_open_stays_so() {
        let dir = tempfile::tempdir().unwrap();
        let [secret, config] =
            ["secrets/client_secret", "house.toml"].map(|name| dir.path().join(name));
        fs::write(&config, "old").unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
        write(
            &[],
            &[
                Sheet::new(secret.clone(), "s", false),
                Sheet::new(config.clone(), "new", true),
            ],
        )
        .unwrap();
        assert_eq!(fs::read_to_string(&config).unwrap(), "new");
        assert_eq!((mode_of(&secret), mode_of(&config)), (0o600, 0o640));
        assert_eq!(mode_of(secret.parent().unwrap()), 0o700);
        let names = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 2, "no passing file stays");
    }

    #[test]
    fn when_the_last_file_cannot_be_written_none_is() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        fs::write(&kept, "old").unwrap();
        // A name that is a file cannot be a directory.
        let dirs = [dir.path().join("c/d")];
        let error = write(
            &dirs,
            &[
                Sheet::new(dir.path().join("a/b/secret"), "s", false),
                Sheet::new(dir.path().join("new"), "n", true),
                Sheet::new(kept.join("below"), "x", true),
            ],
        );
        assert!(error.unwrap_err().to_string().contains("kept/below"));
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(fs::read_to_string(&kept).unwrap(), "old");
    }
}
