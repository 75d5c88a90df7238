//! Named places where a test may kill the process, fail an operation or move the clocks.
//!
//! Compiled only with the feature `failpoints`, which the tests turn on and no release does:
//! without it every call here is an empty function. With it, the variable `FAILPOINTS` names a
//! file that is read again at every point, so that a test can change its mind while the program
//! runs. A line of that file is one of
//!
//! ```text
//! store-kept = kill          the process dies at this point, as by SIGKILL
//! store-kept = kill @3       ... the third time it gets there
//! durable-sync = EIO         the operation behind the point fails so, without being tried
//! durable-write = ENOSPC @2
//! durable-sync = pause       stands still while the line is there; @ works here too
//! wall = -86400              the wall clock is so many seconds off
//! boot = 86400               and the clock that counts since the boot
//! ```
//!
//! The line `hold = NAME` has that part of the program stand still while it is there: `worker-0`
//! and its like at their next turn, `control` at the next look at changed files.
//!
//! A point that is reached while the file holds the line `trace = PATH` appends its name to PATH.
//! With `timed = PATH` it appends its name and the microseconds of the monotonic clock as well.

/// A place in the program's life at which a crash or a failing disk must lose nothing.
///
/// Each name is a moment: the point stands directly *before* what the name says is done, unless
/// its name is a participle.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Point {
    /// Before the bytes of a new file are written beside its place.
    DurableWrite,
    /// Before a written file is synced.
    DurableSync,
    /// Before a synced file takes its name.
    DurableRename,
    /// Before a directory is synced.
    DurableSyncDir,
    /// Before a line is appended.
    DurableAppend,
    /// The store's lock is held for a renewal.
    RenewalLocked,
    /// The gate is closed: new requests wait.
    RenewalGated,
    /// The token endpoint has been asked and its answer has come: in memory only.
    RenewalAnswered,
    /// The next record is durable and nobody has seen it.
    RenewalSaved,
    /// The next token is published.
    RenewalPublished,
    /// The new record is synced under its passing name, the old one still in place.
    StoreStaged,
    /// The old record has its second name.
    StoreKept,
    /// The new record has its name.
    StoreNamed,
    /// A login's tokens have come: in memory only.
    LoginAnswered,
    /// A login's record is durable.
    LoginSaved,
    /// The lane is chosen and nothing is written.
    SwitchBegun,
    /// The setting is durable, its line in the audit log is missing.
    SwitchSet,
    /// Setting and line are durable, the lane is not published.
    SwitchRecorded,
    /// The lane is published.
    SwitchTurned,
    /// The new set is read and checked.
    ReloadRead,
    /// The new set is published.
    ReloadPublished,
    /// A new pair waits beside its place, nothing else is touched.
    PairStaged,
    /// The pair in use is half copied to where the previous one is kept: its key.
    PairKeptHalf,
    /// And wholly; it is still in use.
    PairKept,
    /// A rotated key is in place, its certificate is not.
    PairHalf,
    /// Before lines are written to the record of who called what.
    AuditWrite,
    /// Before the record is synced.
    AuditSync,
    /// A webhook's signature is right and nothing is kept.
    WebhookVerified,
    /// Before a delivery is committed to its queue.
    WebhookCommit,
    /// It is committed, and the library has not said so yet.
    WebhookCommitted,
    /// It is committed and Wise has no answer.
    WebhookStored,
    /// The application has a delivery and the queue does not know.
    WebhookTaken,
    /// Before its removal is committed.
    WebhookRemove,
}

impl Point {
    /// All of them, in order.
    #[cfg(feature = "failpoints")]
    pub(crate) const ALL: [Self; 33] = [
        Self::DurableWrite,
        Self::DurableSync,
        Self::DurableRename,
        Self::DurableSyncDir,
        Self::DurableAppend,
        Self::RenewalLocked,
        Self::RenewalGated,
        Self::RenewalAnswered,
        Self::RenewalSaved,
        Self::RenewalPublished,
        Self::StoreStaged,
        Self::StoreKept,
        Self::StoreNamed,
        Self::LoginAnswered,
        Self::LoginSaved,
        Self::SwitchBegun,
        Self::SwitchSet,
        Self::SwitchRecorded,
        Self::SwitchTurned,
        Self::ReloadRead,
        Self::ReloadPublished,
        Self::PairStaged,
        Self::PairKeptHalf,
        Self::PairKept,
        Self::PairHalf,
        Self::AuditWrite,
        Self::AuditSync,
        Self::WebhookVerified,
        Self::WebhookCommit,
        Self::WebhookCommitted,
        Self::WebhookStored,
        Self::WebhookTaken,
        Self::WebhookRemove,
    ];

    /// The name in the file.
    #[cfg(feature = "failpoints")]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DurableWrite => "durable-write",
            Self::DurableSync => "durable-sync",
            Self::DurableRename => "durable-rename",
            Self::DurableSyncDir => "durable-sync-dir",
            Self::DurableAppend => "durable-append",
            Self::RenewalLocked => "renewal-locked",
            Self::RenewalGated => "renewal-gated",
            Self::RenewalAnswered => "renewal-answered",
            Self::RenewalSaved => "renewal-saved",
            Self::RenewalPublished => "renewal-published",
            Self::StoreStaged => "store-staged",
            Self::StoreKept => "store-kept",
            Self::StoreNamed => "store-named",
            Self::LoginAnswered => "login-answered",
            Self::LoginSaved => "login-saved",
            Self::SwitchBegun => "switch-begun",
            Self::SwitchSet => "switch-set",
            Self::SwitchRecorded => "switch-recorded",
            Self::SwitchTurned => "switch-turned",
            Self::ReloadRead => "reload-read",
            Self::ReloadPublished => "reload-published",
            Self::PairStaged => "pair-staged",
            Self::PairKeptHalf => "pair-kept-half",
            Self::PairKept => "pair-kept",
            Self::PairHalf => "pair-half",
            Self::AuditWrite => "audit-write",
            Self::AuditSync => "audit-sync",
            Self::WebhookVerified => "webhook-verified",
            Self::WebhookCommit => "webhook-commit",
            Self::WebhookCommitted => "webhook-committed",
            Self::WebhookStored => "webhook-stored",
            Self::WebhookTaken => "webhook-taken",
            Self::WebhookRemove => "webhook-remove",
        }
    }
}

/// A part of the program that a test can hold up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// A data worker, by number.
    Worker(usize),
    /// The control runtime.
    Control,
}

#[cfg(not(feature = "failpoints"))]
mod off {
    use std::io;

    use super::{Part, Point};

    /// Nothing happens here.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "it must leave nothing behind")]
    #[allow(clippy::unnecessary_wraps, reason = "with the feature it may fail")]
    pub(crate) const fn reach(_: Point) -> io::Result<()> {
        Ok(())
    }

    /// Nothing happens here.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "it must leave nothing behind")]
    pub(crate) const fn pass(_: Point) {}

    /// Nothing happens here.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "it must leave nothing behind")]
    pub(crate) const fn hold(_: Part) {}
}

#[cfg(not(feature = "failpoints"))]
pub(crate) use off::{hold, pass, reach};

#[cfg(feature = "failpoints")]
mod on {
    use std::io::{self, Write as _};
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::{Part, Point};

    /// What stands in the file at this moment.
    fn script() -> Option<String> {
        static PATH: OnceLock<Option<PathBuf>> = OnceLock::new();
        #[allow(clippy::disallowed_methods, reason = "no setting: only tests know it")]
        let path = PATH.get_or_init(|| std::env::var_os("FAILPOINTS").map(PathBuf::from));
        std::fs::read_to_string(path.as_ref()?).ok()
    }

    /// The value behind `key =`.
    fn value<'a>(script: &'a str, key: &str) -> Option<&'a str> {
        script.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.trim())
        })
    }

    /// Where the program has come to: returns, fails or does not return.
    pub(crate) fn reach(point: Point) -> io::Result<()> {
        static REACHED: [AtomicU32; Point::ALL.len()] =
            [const { AtomicU32::new(0) }; Point::ALL.len()];
        let Some(mut script) = script() else {
            return Ok(());
        };
        let times = REACHED[point as usize].fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(path) = value(&script, "trace") {
            note(path, point.name());
        }
        if let Some(path) = value(&script, "timed") {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
            note(path, &format!("{} {micros}", point.name()));
        }
        let action = loop {
            let Some(text) = value(&script, point.name()) else {
                return Ok(());
            };
            let (action, at) = text.split_once('@').unwrap_or((text, ""));
            if at.trim().parse().is_ok_and(|at: u32| at != times) {
                return Ok(());
            }
            if action.trim() != "pause" {
                break action.trim().to_owned();
            }
            std::thread::sleep(Duration::from_millis(2));
            script = self::script().unwrap_or_default();
        };
        match action.as_str() {
            "kill" => loop {
                let _ = kill_process(getpid(), Signal::KILL);
            },
            "EIO" => Err(rustix::io::Errno::IO.into()),
            "ENOSPC" => Err(rustix::io::Errno::NOSPC.into()),
            "EROFS" => Err(rustix::io::Errno::ROFS.into()),
            _ => Ok(()),
        }
    }

    /// Where nothing can fail.
    pub(crate) fn pass(point: Point) {
        let _ = reach(point);
    }

    /// Stands still, with its thread, while the script says so.
    pub(crate) fn hold(part: Part) {
        let name = match part {
            Part::Worker(number) => format!("worker-{number}"),
            Part::Control => "control".to_owned(),
        };
        while script().is_some_and(|script| value(&script, "hold") == Some(&name)) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Seconds that the clock `name` is moved by, forward and back.
    pub(crate) fn skew(name: &str) -> (Duration, Duration) {
        let seconds: i64 = script()
            .as_deref()
            .and_then(|script| value(script, name))
            .and_then(|value| value.parse().ok())
            .unwrap_or(0);
        let off = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 {
            (Duration::ZERO, off)
        } else {
            (off, Duration::ZERO)
        }
    }

    fn note(path: &str, line: &str) {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path);
        if let Ok(mut file) = file {
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }
}

#[cfg(feature = "failpoints")]
pub(crate) use on::{hold, pass, reach, skew};
