//! What goes over each lane, noted from the workers' counts a minute at a time.

use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::Clock;
use crate::credentials::FileStore;
use crate::switch::{Usage, UsageStore};
use crate::telemetry::meter::{CLASSES, Meter};
use crate::wise::{CredentialKind, Lane};

/// Position of `2xx` among the classes.
const ACCEPTED: usize = 1;

/// Adds the counts up, and remembers them across restarts. No request ever waits for it.
#[derive(Debug)]
pub(crate) struct LaneLedger {
    store: UsageStore,
    home: Arc<FileStore>,
    meters: Vec<Arc<Meter>>,
    clock: Arc<dyn Clock>,
    page: Mutex<Page>,
    /// One writer at a time. Held over the disk, as `page` never is: a look must not wait for it.
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Page {
    usage: Usage,
    /// Answers and successes of each lane at the last look.
    seen: [(u64, u64); Lane::ALL.len()],
    unsaved: bool,
    /// The disk did not take the last one; said once.
    failing: bool,
}

impl LaneLedger {
    /// Goes on where the store ended.
    pub(crate) fn open(
        store: UsageStore,
        home: Arc<FileStore>,
        meters: Vec<Arc<Meter>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let usage = store.load().unwrap_or_else(|error| {
            tracing::warn!("{error}");
            Usage::default()
        });
        let page = Page {
            usage,
            ..Page::default()
        };
        Self {
            store,
            home,
            meters,
            clock,
            page: Mutex::new(page),
            writing: Mutex::default(),
        }
    }

    /// What has gone over each lane, up to this moment.
    pub(crate) fn look(&self) -> Usage {
        let mut page = self.page();
        self.note(&mut page);
        page.usage.clone()
    }

    /// Remembers what came since the last time, if anything did. Blocks on the disk.
    pub(crate) fn save(&self) {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let usage = {
            let mut page = self.page();
            self.note(&mut page);
            if !std::mem::take(&mut page.unsaved) {
                return;
            }
            page.usage.clone()
        };
        let saved = self.home.is_at_home().then(|| self.store.save(&usage));
        let mut page = self.page();
        match saved {
            Some(Ok(())) => page.failing = false,
            Some(Err(error)) => {
                page.unsaved = true;
                if !std::mem::replace(&mut page.failing, true) {
                    tracing::warn!("{error}");
                }
            }
            None => page.unsaved = true,
        }
    }

    fn page(&self) -> std::sync::MutexGuard<'_, Page> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, page: &mut Page) {
        let now = OffsetDateTime::from(self.clock.wall());
        // Only a year beyond 9999 has no such form.
        let now = now.format(&Rfc3339).unwrap_or_default();
        for lane in Lane::ALL {
            let (answers, accepted) = self.counts(lane);
            let seen = &mut page.seen[lane.index()];
            let (more, well) = (answers - seen.0, accepted - seen.1);
            *seen = (answers, accepted);
            if more > 0 {
                page.usage.add(lane, more, well, &now);
                page.unsaved = true;
            }
        }
    }

    /// Answers and successes on a lane since the start.
    fn counts(&self, lane: Lane) -> (u64, u64) {
        let of = |class| -> u64 {
            let kinds = CredentialKind::ALL.into_iter();
            let counts = kinds.flat_map(|kind| {
                let meters = self.meters.iter();
                meters.map(move |meter| meter.requests(lane, kind, class))
            });
            counts.sum()
        };
        // The successes first: what is counted meanwhile may only make the whole larger.
        let accepted = of(ACCEPTED);
        let others = (0..CLASSES.len()).filter(|class| *class != ACCEPTED);
        (accepted + others.map(of).sum::<u64>(), accepted)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use http::StatusCode;

    use super::*;
    use crate::clock::Manual;

    fn ledger(dir: &std::path::Path, meters: &[Arc<Meter>], clock: &Arc<Manual>) -> LaneLedger {
        let home = Arc::new(FileStore::open(dir, None).unwrap());
        let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
        LaneLedger::open(UsageStore::new(dir), home, meters.to_vec(), clock)
    }

    fn ask(meter: &Meter, lane: Lane, status: StatusCode) {
        meter.answered(lane, CredentialKind::User, status);
    }

    #[test]
    fn a_restart_goes_on_where_the_last_one_ended() {
        let dir = tempfile::tempdir().unwrap();
        let start = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        let clock = Arc::new(Manual::at(start));
        let meters = [Arc::default(), Arc::default()];
        let first = ledger(dir.path(), &meters, &clock);
        ask(&meters[0], Lane::Personal, StatusCode::OK);
        ask(&meters[1], Lane::Personal, StatusCode::BAD_GATEWAY);
        first.save();
        ask(&meters[1], Lane::OAuthMtls, StatusCode::OK);
        assert_eq!(first.look().of(Lane::OAuthMtls).accepted, 1, "seen at once");

        // What was not saved is lost with the process: a minute at most.
        let meters = [Arc::default()];
        let second = ledger(dir.path(), &meters, &clock);
        let usage = second.look();
        let personal = usage.of(Lane::Personal);
        assert_eq!((personal.answers, personal.accepted), (2, 1));
        assert_eq!(usage.of(Lane::OAuthMtls).answers, 0);
        ask(&meters[0], Lane::Personal, StatusCode::NOT_FOUND);
        second.save();
        let usage = UsageStore::new(dir.path()).load().unwrap();
        assert_eq!(usage.of(Lane::Personal).answers, 3);
    }

    #[test]
    fn nothing_is_written_when_nothing_came_or_where_the_store_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(Manual::at(UNIX_EPOCH));
        let meters = [Arc::default()];
        let ledger = ledger(dir.path(), &meters, &clock);
        let file = dir.path().join("lanes.json");
        ledger.save();
        assert!(!file.exists(), "nothing to remember");
        ask(&meters[0], Lane::OAuth, StatusCode::OK);
        let key = dir.path().join("seal.key");
        std::fs::rename(&key, dir.path().join("away")).unwrap();
        ledger.save();
        assert!(!file.exists(), "this is not the store any more");
        std::fs::rename(dir.path().join("away"), &key).unwrap();
        ledger.save();
        assert!(file.exists(), "it is remembered once the store is back");
    }
}
