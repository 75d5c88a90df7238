use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::Clock;
use crate::durable;
use crate::failpoint::{self, Point};
use crate::wise::Lane;

/// The setting, as JSON.
const SETTING: &str = "switch.json";

/// The audit log: one [`Entry`] a line, only ever appended to.
const HISTORY: &str = "switch.log";

/// One turn of the switch.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Entry {
    /// RFC 3339, UTC.
    pub(crate) at: String,
    /// Who: a user name, a uid, or `configuration` at the first start.
    pub(crate) by: String,
    pub(crate) from: Lane,
    pub(crate) to: Lane,
    pub(crate) reason: String,
}

impl Entry {
    /// An entry of this moment. Line breaks and other control characters become spaces.
    pub(crate) fn now(clock: &dyn Clock, by: &str, from: Lane, to: Lane, reason: &str) -> Self {
        let at = OffsetDateTime::from(clock.wall());
        let plain = |text: &str| text.replace(char::is_control, " ").trim().to_owned();
        Self {
            // Only a year beyond 9999 has no such form.
            at: at.format(&Rfc3339).unwrap_or_default(),
            by: plain(by),
            from,
            to,
            reason: plain(reason),
        }
    }
}

/// The switch could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwitchError {
    #[error(
        "cannot read {}: {source}; to start on the personal lane without it, add \
         --set store.path=<another directory> --set switch.lane=personal",
        path.display()
    )]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{} does not hold a switch setting; `wise-auth-proxy switch <lane> --reason …` writes it anew",
        path.display()
    )]
    Garbled { path: PathBuf },
    #[error("cannot write {}: {source}; a restart would come back to the lane before", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {}: {source}", path.display())]
    ReadUsage { path: PathBuf, source: io::Error },
    #[error("{} does not hold what went over the lanes; move it away, and it is begun anew", path.display())]
    GarbledUsage { path: PathBuf },
    #[error("cannot write {}: {source}; what went over the lanes is forgotten by a restart", path.display())]
    WriteUsage { path: PathBuf, source: io::Error },
}

/// Where the switch is remembered: two files in the store's directory.
#[derive(Clone, Debug)]
pub(crate) struct SwitchStore {
    dir: PathBuf,
}

impl SwitchStore {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    /// The last turn of the switch; `None` if it was never turned.
    pub(crate) fn load(&self) -> Result<Option<Entry>, SwitchError> {
        let path = self.dir.join(SETTING);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|_| SwitchError::Garbled { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SwitchError::Read { path, source }),
        }
    }

    /// Remembers a turn: first the setting, durable on return, then the line in the audit log.
    ///
    /// Blocks on the disk. A crash in between leaves the setting without its line, never a line
    /// without its setting.
    pub(crate) fn record(&self, entry: &Entry) -> Result<(), SwitchError> {
        let path = self.dir.join(SETTING);
        // The types hold nothing that JSON cannot.
        let line = serde_json::to_vec(entry).unwrap_or_default();
        durable::replace(&path, &line).map_err(|source| SwitchError::Write { path, source })?;
        failpoint::pass(Point::SwitchSet);
        let path = self.dir.join(HISTORY);
        durable::append(&path, &line).map_err(|source| SwitchError::Write { path, source })
    }

    /// The last `most` turns, newest first. Lines that a crash cut short are passed over.
    pub(crate) fn history(&self, most: usize) -> Result<Vec<Entry>, SwitchError> {
        let path = self.dir.join(HISTORY);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(SwitchError::Read { path, source }),
        };
        let lines = text
            .lines()
            .rev()
            .filter_map(|line| serde_json::from_str(line).ok());
        Ok(lines.take(most).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::clock::Manual;

    fn entry(from: Lane, to: Lane, reason: &str) -> Entry {
        let clock = Manual::at(UNIX_EPOCH + Duration::from_secs(1_795_000_000));
        Entry::now(&clock, "ann", from, to, reason)
    }

    #[test]
    fn the_last_turn_is_remembered_and_all_are_written_down() {
        let dir = tempfile::tempdir().unwrap();
        let switch = SwitchStore::new(dir.path());
        assert_eq!(switch.load().unwrap(), None);
        let out = entry(Lane::OAuthMtls, Lane::Personal, "Wise says 500");
        let back = entry(Lane::Personal, Lane::OAuthMtls, "all well again");
        switch.record(&out).unwrap();
        switch.record(&back).unwrap();
        assert_eq!(
            SwitchStore::new(dir.path()).load().unwrap(),
            Some(back.clone())
        );
        assert_eq!(switch.history(10).unwrap(), [back, out]);
    }

    #[test]
    fn a_reason_cannot_forge_a_line_of_the_audit_log() {
        let dir = tempfile::tempdir().unwrap();
        let switch = SwitchStore::new(dir.path());
        switch
            .record(&entry(
                Lane::OAuth,
                Lane::Personal,
                "a\n{\"at\":\"forged\"}",
            ))
            .unwrap();
        assert_eq!(switch.history(10).unwrap().len(), 1);
    }

    #[test]
    fn a_setting_that_is_no_setting_is_an_error_and_not_a_lane() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(SETTING), "{\"to\":\"personal-mtls\"}").unwrap();
        let error = SwitchStore::new(dir.path()).load().unwrap_err();
        assert!(matches!(error, SwitchError::Garbled { .. }), "{error}");
    }

    #[test]
    fn a_line_that_a_crash_cut_short_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let switch = SwitchStore::new(dir.path());
        switch
            .record(&entry(Lane::OAuth, Lane::Personal, "first"))
            .unwrap();
        let path = dir.path().join(HISTORY);
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{{\"at\":\"2026-")).unwrap();
        switch
            .record(&entry(Lane::Personal, Lane::OAuth, "second"))
            .unwrap();
        let reasons: Vec<_> = switch
            .history(10)
            .unwrap()
            .into_iter()
            .map(|entry| entry.reason)
            .collect();
        assert_eq!(reasons, ["second", "first"]);
    }
}
