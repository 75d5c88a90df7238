//! A disk in trouble, under a running proxy: the token in use serves on, nothing is overwritten,
//! and what could not be written is written once it can be.

use std::path::{Path, PathBuf};
use std::process::Command;

use wise_auth_proxy::simulator::{Disturb, Disturbance, Exchange, Outcome, Rotation, Simulator};

use crate::doctor::doctor;
use crate::house::{self, House, PATIENCE, Site};
use crate::traffic::{PATH, Traffic, renewals, renewed};

const ROTATIONS: [Rotation; 3] = [Rotation::Always, Rotation::Grace, Rotation::Never];

/// Something mounted, until dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// `None`, with a word about it, where this user may not mount.
    pub fn new(options: &[&str], at: &Path) -> Option<Self> {
        let done = Command::new("mount").args(options).arg(at).output();
        let done = done.is_ok_and(|output| output.status.success());
        if !done {
            house::skip(&format!("this user may not mount {options:?}"));
        }
        done.then(|| Self(at.to_owned()))
    }

    /// A real disk of a few dozen KiB.
    pub fn small(at: &Path) -> Option<Self> {
        let options = ["-t", "tmpfs", "-o", "size=64k,mode=0700", "none"];
        Self::new(&options, at)
    }

    /// Mounts it with other options, once no file there is being written.
    pub fn again(&self, options: &str) {
        let begun = std::time::Instant::now();
        loop {
            let mut mount = Command::new("mount");
            let done = mount.arg("-o").arg(options).arg(&self.0).output().unwrap();
            if done.status.success() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{done:?}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// What happens to the disk.
#[derive(Clone, Copy)]
enum Trouble {
    /// A small disk, filled to its last byte.
    Full,
    /// Mounted anew, for reading only.
    ReadOnly,
    /// The directory is somewhere else.
    Away,
    /// The line of a failpoint.
    #[cfg(feature = "failpoints")]
    Point(&'static str, fn(&Path) -> String),
}

impl Trouble {
    fn begin(self, site: &Site, mount: Option<&Mount>) {
        let state = site.path("state");
        match self {
            Self::Full => {
                let filled = std::fs::write(state.join("filler"), vec![0; 1 << 20]);
                assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
            }
            Self::ReadOnly => mount.unwrap().again("remount,ro"),
            Self::Away => std::fs::rename(state, site.path("away")).unwrap(),
            #[cfg(feature = "failpoints")]
            Self::Point(line, _) => site.failpoints(line),
        }
    }

    fn end(self, site: &Site, mount: Option<&Mount>) {
        match self {
            Self::Full => std::fs::remove_file(site.path("state/filler")).unwrap(),
            Self::ReadOnly => mount.unwrap().again("remount,rw"),
            Self::Away => std::fs::rename(site.path("away"), site.path("state")).unwrap(),
            #[cfg(feature = "failpoints")]
            Self::Point(..) => site.failpoints(""),
        }
    }

    /// What the operator reads: what is wrong and what to do.
    fn text(self, site: &Site) -> String {
        let record = site.path("state/main.grant");
        match self {
            Self::Full => full(&record),
            Self::ReadOnly => read_only(&record),
            Self::Away => gone(&site.path("state")),
            #[cfg(feature = "failpoints")]
            Self::Point(_, text) => text(&record),
        }
    }

    /// The record's bytes, wherever they are.
    fn record(self, site: &Site) -> Vec<u8> {
        let away = matches!(self, Self::Away);
        let dir = if away { "away" } else { "state" };
        std::fs::read(site.path(dir).join("main.grant")).unwrap()
    }
}

fn full(record: &Path) -> String {
    let record = record.display();
    format!("no room left to write {record}; free some space, it is tried again")
}

fn read_only(record: &Path) -> String {
    let record = record.display();
    format!(
        "{record} cannot be written (read-only or not ours); make the store writable, it is tried \
         again"
    )
}

#[cfg(feature = "failpoints")]
fn broken(record: &Path) -> String {
    let record = record.display();
    format!("{record}: Input/output error (os error 5); look at the disk, it is tried again")
}

pub fn gone(state: &Path) -> String {
    let state = state.display();
    format!(
        "{state} is not the store any more (not mounted, or deleted?); bring it back, it is tried \
         again, or run `login` to begin a new one"
    )
}

/// A site whose store is a disk of its own, if it is to be.
async fn settle(wise: &Simulator, trouble: Trouble) -> Option<(Site, Option<Mount>)> {
    let plan = House::on(wise).logged_out().set("tokens.renew_at", "0.25");
    let site = plan.prepare().await;
    let state = site.path("state");
    std::fs::create_dir(&state).unwrap();
    let real = matches!(trouble, Trouble::Full | Trouble::ReadOnly);
    let mount = if real {
        Some(Mount::small(&state)?)
    } else {
        None
    };
    site.log_in(wise, "main", house::PROFILE).await;
    Some((site, mount))
}

/// Tokens of eight seconds, renewed after two: the first renewals find the disk in trouble with
/// time in hand, a later one has none left.
async fn outlives(trouble: Trouble, rotation: Rotation) {
    let wise = house::wise().await;
    wise.change_faults(|faults| {
        faults.token.lifetime = 8;
        faults.token.rotation = rotation;
    });
    let Some((site, mount)) = settle(&wise, trouble).await else {
        return;
    };
    let house = site.start().await;
    let traffic = Traffic::on(&house);
    renewed(&wise, 1).await;
    house
        .status_until(|status| status["tokens"][0]["generation"].as_u64() >= Some(2))
        .await;
    let text = trouble.text(&site);
    let reason = |status: &serde_json::Value| status["tokens"][0]["last_error"]["text"].clone();

    trouble.begin(&site, mount.as_ref());
    house.logs(&text).await;

    // With time in hand the old token is kept: the only refresh token stays on the disk.
    let before = (trouble.record(&site), wise.exchange_count());
    let status = house.status_until(|status| reason(status) == *text).await;
    assert_eq!(status["ready"], true, "{status:#}");
    assert_eq!(house.admin("/readyz").await.status, 200);
    house.logs(&format!("no new token: {text}")).await;
    assert_eq!((trouble.record(&site), wise.exchange_count()), before);

    // Without time it is renewed all the same, loudly.
    house
        .logs(&format!("the newest tokens are in memory only: {text}"))
        .await;
    house
        .status_until(|status| status["tokens"][0]["unsaved"] == true)
        .await;
    house.metric_until("wise_proxy_token_unsaved", 1.0).await;
    assert_eq!(house.admin("/readyz").await.status, 200);
    assert_eq!(trouble.record(&site), before.0, "nothing is overwritten");
    // Where there is a record to begin with.
    if !matches!(trouble, Trouble::Away) {
        let seen = doctor(&site, &["--offline"]).await;
        let token = "grant.main.token";
        assert_eq!(seen.state(token), "failed", "{:#}", seen.check(token));
        seen.says(
            token,
            "in the proxy's memory only",
            "make the store writable",
        );
    }

    trouble.end(&site, mount.as_ref());
    house
        .logs("the store takes writes again; the newest tokens are safe")
        .await;
    house
        .status_until(|status| status["tokens"][0]["unsaved"] == false)
        .await;
    house.metric_until("wise_proxy_token_unsaved", 0.0).await;
    let seen = traffic.unharmed().await;

    // What is on the disk is the newest: it serves although nobody gives out tokens any more.
    house.stop().await;
    wise.change_faults(|faults| {
        faults.token.disturb = Some(Disturb::always(Disturbance::DropBefore));
    });
    let house = site.start().await;
    assert_eq!(house.get(PATH).await.status, 200, "{}", house.log());
    let in_order = |exchange: &Exchange| {
        matches!(
            exchange.outcome,
            Outcome::Minted { .. } | Outcome::Disturbed { .. }
        )
    };
    assert!(
        wise.exchanges().iter().all(in_order),
        "{:?}",
        wise.exchanges()
    );
    assert_eq!(wise.counters().repeated(), Vec::<&str>::new());
    println!(
        "{} answers, 0 wrong, slowest {:?}, {} renewals",
        seen.answers,
        seen.slowest,
        renewals(&wise)
    );
}

async fn outlives_in_every_mode(trouble: Trouble) {
    let [always, grace, never] = ROTATIONS.map(|rotation| outlives(trouble, rotation));
    tokio::join!(always, grace, never);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_not_noticed_and_is_caught_up_once_there_is_room() {
    outlives_in_every_mode(Trouble::Full).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_gone_read_only_is_not_noticed_and_is_caught_up_later() {
    outlives_in_every_mode(Trouble::ReadOnly).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_directory_is_gone_is_not_noticed_and_is_caught_up_later() {
    outlives_in_every_mode(Trouble::Away).await;
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_and_syncs_that_fail_are_not_noticed_and_are_caught_up_later() {
    let sync = Trouble::Point("durable-sync = EIO", broken);
    let [always, grace, never] = ROTATIONS.map(|rotation| outlives(sync, rotation));
    // Where nothing can be mounted these stand in for the real disks.
    let full = Trouble::Point("durable-write = ENOSPC", full);
    let read_only = Trouble::Point("durable-write = EROFS", read_only);
    let (full, read_only) = (
        outlives(full, Rotation::Always),
        outlives(read_only, Rotation::Grace),
    );
    tokio::join!(always, grace, never, full, read_only);
}
