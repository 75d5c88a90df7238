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
    /// The file that it is a copy of, and no more open than.
    of: Option<PathBuf>,
}

impl Sheet {
    pub(super) fn new(path: PathBuf, text: impl AsRef<[u8]>, is_open: bool) -> Self {
        Self {
            path,
            bytes: Zeroizing::new(text.as_ref().to_vec()),
            is_open,
            of: None,
        }
    }

    /// What a file holds until now, to be kept under another name.
    pub(super) fn copy(path: PathBuf, of: &Path, text: impl AsRef<[u8]>) -> Self {
        Self {
            of: Some(of.to_owned()),
            ..Self::new(path, text, true)
        }
    }
}

/// A file could not be written, and all is as it was, or the message says what is not.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}; {}", path.display(), outcome(left))]
pub(super) struct NotWritten {
    path: PathBuf,
    pub(super) source: io::Error,
    /// What could not be put back, and where it is.
    left: Vec<(PathBuf, PathBuf)>,
}

fn outcome(left: &[(PathBuf, PathBuf)]) -> String {
    if left.is_empty() {
        return "nothing was written".to_owned();
    }
    let told = |(path, kept): &(PathBuf, PathBuf)| {
        let (path, kept) = (path.display(), kept.display());
        format!("{path} is new already, and could not be put back: as it was, it is {kept}")
    };
    left.iter().map(told).collect::<Vec<_>>().join(", ")
}

fn failed(path: &Path) -> impl Fn(io::Error) -> NotWritten {
    move |source| NotWritten {
        path: path.to_owned(),
        source,
        left: Vec::new(),
    }
}

/// Makes the directories and writes the sheets: all of it or nothing. Every byte is on the disk
/// before the first file has its name.
///
/// A process killed between two names leaves whole files only, the configuration last of all.
pub(super) fn write(dirs: &[PathBuf], sheets: &[Sheet]) -> Result<(), NotWritten> {
    let mut undo = Undo::default();
    match write_all(dirs, sheets, &mut undo) {
        Ok(()) => {
            undo.forget();
            Ok(())
        }
        Err(mut error) => {
            error.left = undo.all();
            Err(error)
        }
    }
}

fn write_all(dirs: &[PathBuf], sheets: &[Sheet], undo: &mut Undo) -> Result<(), NotWritten> {
    for dir in dirs {
        make_dirs(dir, undo).map_err(failed(dir))?;
    }
    let staged: Result<Vec<_>, NotWritten> = sheets
        .iter()
        .map(|sheet| {
            let failed = failed(&sheet.path);
            make_dirs(parent(&sheet.path), undo).map_err(&failed)?;
            let passing = passing(&sheet.path);
            undo.files.push(passing.clone());
            durable::stage(&passing, &sheet.bytes).map_err(&failed)?;
            let mode = mode(sheet);
            fs::set_permissions(&passing, fs::Permissions::from_mode(mode)).map_err(&failed)?;
            Ok(passing)
        })
        .collect();
    for (sheet, passing) in sheets.iter().zip(staged?) {
        let failed = failed(&sheet.path);
        let is_new = sheet.path.symlink_metadata().is_err();
        if !is_new {
            let kept = keep(&sheet.path).map_err(&failed)?;
            undo.replaced.push((sheet.path.clone(), kept));
        }
        fs::rename(&passing, &sheet.path).map_err(&failed)?;
        if is_new {
            undo.files.push(sheet.path.clone());
        }
        durable::sync_parent(&sheet.path).map_err(&failed)?;
    }
    Ok(())
}

/// Gives a file that is to be replaced a second name until all is written.
fn keep(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kept = path.with_file_name(format!(".{name}.before-init"));
    match fs::remove_file(&kept) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // Not every file system has hard links, nor may everybody make one to another's file.
    fs::hard_link(path, &kept).or_else(|_| fs::copy(path, &kept).map(drop))?;
    Ok(kept)
}

/// That of the file that is there, or is copied; else for its owner alone if it holds a secret.
fn mode(sheet: &Sheet) -> u32 {
    let model = sheet.of.as_ref().unwrap_or(&sheet.path);
    let there = fs::metadata(model).map(|file| file.permissions().mode() & 0o777);
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

/// What is taken back unless all goes well.
#[derive(Default)]
struct Undo {
    files: Vec<PathBuf>,
    /// Files, and the second names of what they were before.
    replaced: Vec<(PathBuf, PathBuf)>,
    dirs: Vec<PathBuf>,
}

impl Undo {
    /// Takes all of it back; what of the replaced files stays as it is now.
    fn all(self) -> Vec<(PathBuf, PathBuf)> {
        // Best effort with what is new: it is whole, and the next run writes over it.
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        let mut left = self.replaced;
        left.retain(|(path, kept)| {
            if fs::rename(kept, path).is_err() {
                return true;
            }
            // Two names of one file: a rename of one onto the other leaves both.
            let _ = fs::remove_file(kept);
            let _ = durable::sync_parent(path);
            false
        });
        for dir in self.dirs.iter().rev() {
            let _ = fs::remove_dir(dir);
        }
        left
    }

    /// Lets go of what was before.
    fn forget(self) {
        for (_, kept) in self.replaced {
            let _ = fs::remove_file(kept);
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
    fn a_copy_is_no_more_open_than_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let [config, copy] = ["house.toml", "house.toml.bak"].map(|name| dir.path().join(name));
        fs::write(&config, "old").unwrap();
        fs::write(&copy, "older").unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o644)).unwrap();
        write(
            &[],
            &[
                Sheet::copy(copy.clone(), &config, "old"),
                Sheet::new(config.clone(), "new", true),
            ],
        )
        .unwrap();
        assert_eq!(fs::read_to_string(&copy).unwrap(), "old");
        assert_eq!((mode_of(&copy), mode_of(&config)), (0o600, 0o600));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_was_replaced_already_is_put_back_when_a_later_one_cannot_be() {
        let dir = tempfile::tempdir().unwrap();
        let [first, taken] = ["first", "taken"].map(|name| dir.path().join(name));
        fs::write(&first, "old").unwrap();
        fs::set_permissions(&first, fs::Permissions::from_mode(0o640)).unwrap();
        // A directory takes no file's name: everything is staged by then.
        fs::create_dir(&taken).unwrap();
        let error = write(
            &[],
            &[
                Sheet::new(first.clone(), "new", true),
                Sheet::new(dir.path().join("a/secret"), "s", false),
                Sheet::new(taken, "x", true),
            ],
        );
        let error = error.unwrap_err().to_string();
        assert!(error.ends_with("; nothing was written"), "{error}");
        assert_eq!(fs::read_to_string(&first).unwrap(), "old");
        assert_eq!(mode_of(&first), 0o640);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            2,
            "no name stays"
        );
    }

    #[test]
    fn what_cannot_be_put_back_is_named_with_the_place_of_what_it_was() {
        let left = [("a.toml".into(), ".a.toml.before-init".into())];
        let told = outcome(&left);
        assert_eq!(
            told,
            "a.toml is new already, and could not be put back: as it was, it is \
             .a.toml.before-init"
        );
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
