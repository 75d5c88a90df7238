//! The store: is it there, does it take a record for good, and is there room?

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use super::bench::Bench;
use super::check::{Check, Finding, Group};
use super::rounds::Rounds;
use crate::config::Lane;
use crate::credentials::FileStore;
use crate::durable;

const DIRECTORY: &str = "store.directory";
const SEAL_KEY: &str = "secret.store.seal_key";

/// A record with two tokens of 4 KiB, and the one before it.
const RECORD: usize = 12 * 1024;

/// Less room than this is gone before anybody looks again.
const LITTLE: u64 = 16 * 1024 * 1024;

/// Looks at it without making one, and hands on one that can be read.
pub(super) async fn look(rounds: &mut Rounds, bench: &Bench) -> Option<FileStore> {
    let path = bench.config.store.path.clone();
    let given = bench.secrets.get(SEAL_KEY).cloned();
    let wants_key = bench.config.store.seal_key.is_some();
    let store = FileStore::at(&path, given);
    let login = bench.command("login");
    let (place, held) = (path.clone(), store.clone());
    let check = Check::new(Group::Store, DIRECTORY, "the store's directory");
    let check = check.after(wants_key.then_some(SEAL_KEY));
    let opened = rounds
        .fetch(check, move || directory(&place, &held, &login))
        .await;

    // Where there is none yet, it will be made there.
    let place = existing(&path);
    let there = place.clone();
    let check = Check::new(Group::Store, "store.filesystem", "the file system");
    rounds.look(check, move || filesystem(&there)).await;
    let check = Check::new(Group::Store, "store.space", "the room left");
    rounds.look(check, move || space(&place)).await;
    if path.is_dir() {
        let check = Check::new(Group::Store, "store.durable", "whether a record would last");
        let check = check
            .after([DIRECTORY])
            .serving([Lane::OAuth, Lane::OAuthMtls]);
        rounds.look(check, move || lasting(&path)).await;
    }
    opened.and_then(|made| made.then_some(store))
}

/// The directory, or the one that it will be made in.
fn existing(path: &Path) -> PathBuf {
    let mut above = path.ancestors();
    let there = above.find(|path| path.is_dir());
    there.unwrap_or(Path::new("/")).to_owned()
}

/// Whether it is ours alone and opens. `Some(false)`: there is none yet, and one can be made.
fn directory(path: &Path, store: &FileStore, login: &str) -> (Finding, Option<bool>) {
    let name = path.display();
    if !path.exists() {
        let above = existing(path);
        let writable = rustix::fs::access(&above, rustix::fs::Access::WRITE_OK).is_ok();
        if writable {
            let text = format!("{name} is not there yet; the first {login} or start makes it");
            return (Finding::skipped(text), Some(false));
        }
        let finding = Finding::failed(
            format!("{name} is not there, and this user cannot make it"),
            format!("make it: `install -d -m 0700 -o USER {name}`, USER being the proxy's"),
        );
        return (finding, None);
    }
    if !path.is_dir() {
        let hint = "name a directory in store.path";
        return (
            Finding::failed(format!("{name} is not a directory"), hint),
            None,
        );
    }
    if let Err(error) = fs::read_dir(path) {
        let owner =
            fs::metadata(path).map_or_else(|_| "USER".to_owned(), |data| data.uid().to_string());
        return (
            Finding::failed(
                format!("{name} cannot be read: {error}"),
                format!("ask as the proxy does: `sudo -u '#{owner}' wise-auth-proxy doctor`"),
            ),
            None,
        );
    }
    if !store.is_made() {
        let text = format!("{name} is there; the first {login} or start makes its key");
        return (Finding::good(text), Some(false));
    }
    if let Err(error) = store.check() {
        let otherwise = "see the store's directory";
        return (
            Finding::advised(&advice_apart(&error.to_string()), otherwise),
            None,
        );
    }
    let owner = fs::metadata(path).map(|data| data.uid()).ok();
    let own = rustix::process::geteuid().as_raw();
    let grants = store.list().unwrap_or_default();
    let text = format!("{name}: grants {}", or_none(&grants.join(", ")));
    let finding = match owner {
        Some(owner) if owner != own => Finding::warning(
            format!(
                "{text}; it belongs to user {owner}, and you are user {own}: what holds for you need not hold for the proxy"
            ),
            format!("ask as the proxy does: `sudo -u '#{owner}' wise-auth-proxy doctor`"),
        ),
        _ => Finding::good(text),
    };
    (
        finding.fact("path", path).fact("grants", grants),
        Some(true),
    )
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// The store's messages say `…, others could use it; run: chmod …`.
fn advice_apart(message: &str) -> String {
    message.replace("; run: ", "; run ")
}

fn lasting(path: &Path) -> Finding {
    match durable::rehearse(path, RECORD) {
        Ok(()) => Finding::good("a record is written, synced, renamed and read back"),
        Err(error) => {
            let name = path.display();
            let is = |kinds: &[ErrorKind]| kinds.contains(&error.kind());
            let hint = if is(&[ErrorKind::ReadOnlyFilesystem]) {
                format!(
                    "mount it writable, or point store.path elsewhere; `findmnt -T {name}` shows it"
                )
            } else if is(&[ErrorKind::PermissionDenied]) {
                format!("give it to the proxy's user: `chown -R USER {name}`")
            } else if is(&[ErrorKind::StorageFull, ErrorKind::QuotaExceeded]) {
                format!("free some space: `df -h {name}`, `df -i {name}`")
            } else {
                format!("look at the disk: `findmnt -T {name}`, `dmesg`")
            };
            Finding::failed(
                format!(
                    "{name} takes no record ({error}); the next renewal would lose the grant at a restart"
                ),
                hint,
            )
        }
    }
}

pub(super) fn space(place: &Path) -> Finding {
    let name = place.display();
    let room = match rustix::fs::statvfs(place) {
        Ok(room) => room,
        Err(error) => {
            let hint = format!("see what `df -h {name}` says");
            return Finding::warning(format!("it cannot be told: {error}"), hint);
        }
    };
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    // A file system that counts no inodes says 0 of 0.
    let inodes = (room.f_files > 0).then_some(room.f_favail);
    let text = format!("{} free", ByteSize::b(free));
    let hint = format!("free some space: `df -h {name}`, `df -i {name}`");
    let finding = if free < 4 * RECORD as u64 || inodes.is_some_and(|left| left < 4) {
        Finding::failed(format!("{text}: the next record does not fit"), hint)
    } else if free < LITTLE || inodes.is_some_and(|left| left < 100) {
        Finding::warning(format!("{text} is little"), hint)
    } else {
        Finding::good(text)
    };
    finding.fact("free_bytes", free).fact("free_inodes", inodes)
}

fn filesystem(place: &Path) -> Finding {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let place = place.canonicalize().unwrap_or_else(|_| place.to_owned());
    let Some((kind, mount)) = mounted(&table, &place) else {
        return Finding::skipped("which one it is cannot be told here");
    };
    let text = format!("{kind}, mounted at {mount}");
    let finding = match kind.as_str() {
        "tmpfs" | "ramfs" => Finding::warning(
            format!("{text}: it is in memory, and a reboot loses the grants"),
            "put store.path on a disk, such as /var/lib/wise-auth-proxy; in a container, on a volume",
        ),
        "overlay" | "aufs" => Finding::warning(
            format!("{text}: it goes with the container, and a new one has lost the grants"),
            "mount a volume and point store.path to it, such as `-v wise:/var/lib/wise-auth-proxy`",
        ),
        kind if is_shared(kind) => Finding::warning(
            format!("{text}: locks and renames on it are as good as its server"),
            "put store.path on a disk of this machine, or make sure that one host uses it at a time",
        ),
        _ => Finding::good(text),
    };
    finding.fact("kind", kind).fact("mount", mount)
}

fn is_shared(kind: &str) -> bool {
    let kind = kind.strip_prefix("fuse.").unwrap_or(kind);
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "9p",
        "sshfs",
        "s3fs",
        "glusterfs",
        "ceph",
        "vboxsf",
    ]
    .contains(&kind)
}

/// Kind and mount point of the file system that holds a path (proc_pid_mountinfo(5)).
fn mounted(table: &str, path: &Path) -> Option<(String, String)> {
    let lines = table.lines().filter_map(|line| {
        let (own, of_kind) = line.split_once(" - ")?;
        let point = unescaped(own.split(' ').nth(4)?);
        let kind = of_kind.split(' ').next()?;
        path.starts_with(&point).then_some((kind.to_owned(), point))
    });
    // Of several at one place the last covers the others, and `max_by_key` keeps the last.
    lines.max_by_key(|(_, point)| Path::new(point).components().count())
}

/// Blanks and backslashes stand there in octal.
fn unescaped(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (octal, plain)| {
        text.replace(octal, plain)
    })
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    const TABLE: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /dev/shm rw - tmpfs tmpfs rw
31 22 0:27 / /srv/my\\040data rw - nfs4 host:/x rw
32 22 0:28 / /var/lib/wise rw master:1 - ext4 /dev/vdb rw
33 32 0:29 / /var/lib/wise rw - overlay overlay rw
";

    #[test]
    fn the_file_system_is_the_one_mounted_last_and_deepest() {
        for (path, kind) in [
            ("/etc", "ext4"),
            ("/dev/shm/state", "tmpfs"),
            ("/srv/my data/state", "nfs4"),
            ("/var/lib/wise/state", "overlay"),
            ("/var/lib/wiser", "ext4"),
        ] {
            let found = mounted(TABLE, Path::new(path)).unwrap();
            assert_eq!(found.0, kind, "{path}");
        }
        assert_eq!(mounted("", Path::new("/")), None);
    }

    #[test]
    fn a_store_that_is_not_there_is_not_made_by_looking() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("a/state");
        let store = FileStore::at(&path, None);
        let (finding, made) = directory(&path, &store, "`login`");
        assert_eq!((finding.state, made), (State::Skipped, Some(false)));
        assert!(!above.path().join("a").exists());

        fs::create_dir_all(&path).unwrap();
        let (finding, made) = directory(&path, &store, "`login`");
        assert_eq!((finding.state, made), (State::Good, Some(false)));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "no key was made");
    }
}
