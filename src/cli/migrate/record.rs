//! What is written down about a migration: where it began, and the operator's word on what only a
//! person can know. Two files in the store's directory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::evidence::{Confirmation, Start};
use super::step::Step;
use crate::durable;

/// Where it began, as JSON.
const BEGUN: &str = "migration.json";

/// One [`Confirmation`] a line, only ever appended to.
const CONFIRMED: &str = "migration.log";

/// What `init` was told and the configuration has no place for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Begun {
    pub(crate) from: Start,
    #[serde(default)]
    pub(crate) organisation: Option<String>,
    #[serde(default)]
    pub(crate) country: Option<String>,
    /// The file that the personal token was put into; looked for when it has to be gone.
    #[serde(default)]
    pub(crate) personal_file: Option<PathBuf>,
}

/// The record of a migration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} does not hold what `init` writes there; run `init` again", path.display())]
    Garbled { path: PathBuf },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Where it is.
pub(crate) fn begun_in(store: &Path) -> PathBuf {
    store.join(BEGUN)
}

/// As it stands in the file.
pub(crate) fn to_json(begun: &Begun) -> Vec<u8> {
    // The types hold nothing that JSON cannot.
    let mut bytes = serde_json::to_vec_pretty(begun).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// `None` where no `init` was.
pub(crate) fn begun(store: &Path) -> Result<Option<Begun>, RecordError> {
    let path = begun_in(store);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|_| RecordError::Garbled { path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RecordError::Read { path, source }),
    }
}

/// What stands confirmed, by step. Lines that a crash cut short are passed over.
pub(super) fn confirmed(store: &Path) -> Result<BTreeMap<Step, Confirmation>, RecordError> {
    let path = store.join(CONFIRMED);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => return Err(RecordError::Read { path, source }),
    };
    let mut confirmed = BTreeMap::new();
    for line in text.lines() {
        let Ok(word) = serde_json::from_str::<Confirmation>(line) else {
            continue;
        };
        if word.undone {
            confirmed.remove(&word.step);
        } else {
            confirmed.insert(word.step, word);
        }
    }
    Ok(confirmed)
}

/// Writes an operator's word down, durable on return.
pub(super) fn confirm(store: &Path, word: &Confirmation) -> Result<(), RecordError> {
    let path = store.join(CONFIRMED);
    let line = serde_json::to_vec(word).unwrap_or_default();
    durable::append(&path, &line).map_err(|source| RecordError::Write { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(step: Step, by: &str, undone: bool) -> Confirmation {
        Confirmation {
            step,
            at: "2026-11-22T10:00:00Z".to_owned(),
            by: by.to_owned(),
            undone,
        }
    }

    #[test]
    fn the_last_word_on_a_step_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert!(confirmed(dir.path()).unwrap().is_empty());
        for said in [
            word(Step::Told, "ann", false),
            word(Step::Enforced, "ann", false),
            word(Step::Told, "bob", true),
            word(Step::Told, "eve", false),
            word(Step::Enforced, "bob", true),
        ] {
            confirm(dir.path(), &said).unwrap();
        }
        let log = dir.path().join(CONFIRMED);
        let whole = fs::read_to_string(&log).unwrap();
        fs::write(&log, format!("{whole}{{\"step\":\"enf")).unwrap();
        let stands = confirmed(dir.path()).unwrap();
        assert_eq!(stands.len(), 1);
        assert_eq!(stands[&Step::Told].by, "eve");
    }

    #[test]
    fn a_record_of_something_else_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(begun(dir.path()).unwrap(), None);
        fs::write(begun_in(dir.path()), "{}").unwrap();
        let error = begun(dir.path()).unwrap_err();
        assert!(matches!(error, RecordError::Garbled { .. }), "{error}");
    }
}
