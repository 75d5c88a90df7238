use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::state::SwitchError;
use crate::durable;
use crate::wise::Lane;

/// What went over the lanes, as JSON.
const USAGE: &str = "lanes.json";

/// What went over one lane since the store was made.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct LaneUse {
    /// Answers given to applications, whatever they said.
    pub(crate) answers: u64,
    /// Those of them that were a success (2xx), which only Wise gives.
    pub(crate) accepted: u64,
    /// RFC 3339, UTC: when it was noticed, a minute later at most.
    pub(crate) last: Option<String>,
    /// As `last`, of the successes.
    pub(crate) last_accepted: Option<String>,
}

/// What went over each lane.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Usage {
    personal: LaneUse,
    oauth: LaneUse,
    oauth_mtls: LaneUse,
}

impl Usage {
    pub(crate) fn of(&self, lane: Lane) -> &LaneUse {
        match lane {
            Lane::Personal => &self.personal,
            Lane::OAuth => &self.oauth,
            Lane::OAuthMtls => &self.oauth_mtls,
        }
    }

    /// Adds what came since the last look, which ended `at`.
    pub(crate) fn add(&mut self, lane: Lane, answers: u64, accepted: u64, at: &str) {
        let used = match lane {
            Lane::Personal => &mut self.personal,
            Lane::OAuth => &mut self.oauth,
            Lane::OAuthMtls => &mut self.oauth_mtls,
        };
        used.answers += answers;
        used.accepted += accepted;
        if answers > 0 {
            used.last = Some(at.to_owned());
        }
        if accepted > 0 {
            used.last_accepted = Some(at.to_owned());
        }
    }
}

/// Where the use of the lanes is remembered: a file in the store's directory.
#[derive(Clone, Debug)]
pub(crate) struct UsageStore {
    path: PathBuf,
}

impl UsageStore {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            path: dir.join(USAGE),
        }
    }

    /// What is remembered; nothing where nothing was written yet.
    pub(crate) fn load(&self) -> Result<Usage, SwitchError> {
        let path = self.path.clone();
        match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|_| SwitchError::GarbledUsage { path })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Usage::default()),
            Err(source) => Err(SwitchError::ReadUsage { path, source }),
        }
    }

    /// Remembers it, durable on return. Blocks on the disk.
    pub(crate) fn save(&self, usage: &Usage) -> Result<(), SwitchError> {
        // The types hold nothing that JSON cannot.
        let bytes = serde_json::to_vec(usage).unwrap_or_default();
        durable::replace(&self.path, &bytes).map_err(|source| SwitchError::WriteUsage {
            path: self.path.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-11-22T10:00:00Z";

    #[test]
    fn what_went_over_a_lane_is_remembered_by_lane() {
        let dir = tempfile::tempdir().unwrap();
        let store = UsageStore::new(dir.path());
        assert_eq!(store.load().unwrap(), Usage::default());
        let mut usage = Usage::default();
        usage.add(Lane::OAuthMtls, 3, 2, AT);
        usage.add(Lane::Personal, 1, 0, AT);
        usage.add(Lane::OAuth, 0, 0, AT);
        store.save(&usage).unwrap();
        let usage = UsageStore::new(dir.path()).load().unwrap();
        assert_eq!(usage.of(Lane::OAuthMtls).answers, 3);
        assert_eq!(usage.of(Lane::OAuthMtls).accepted, 2);
        assert_eq!(usage.of(Lane::Personal).last.as_deref(), Some(AT));
        assert_eq!(usage.of(Lane::Personal).last_accepted, None, "none was one");
        assert_eq!(usage.of(Lane::OAuth), &LaneUse::default());
    }

    #[test]
    fn a_file_that_holds_something_else_is_an_error_that_says_so() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(USAGE), "[1]").unwrap();
        let error = UsageStore::new(dir.path()).load().unwrap_err();
        assert!(error.to_string().contains("lanes.json"), "{error}");
    }
}
