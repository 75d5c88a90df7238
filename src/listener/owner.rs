//! Whose a unix door's socket is to be, and who may connect to it.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::ListenerError;
use crate::people;

/// Takes hold of the socket file at `path`. Where others may write to its directory they can put
/// something else there, a link for instance: what is changed is this file, or nothing.
pub(super) fn hold(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(io::Error::other(
            "somebody put another file in the socket's place",
        ));
    }
    Ok(file)
}

/// Says who may connect.
pub(super) fn set_mode(file: &OwnedFd, mode: u32) -> io::Result<()> {
    // `fchmod` refuses a file that is only held (open(2), O_PATH); its entry in /proc leads to it.
    let held = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::set_permissions(held, fs::Permissions::from_mode(mode))
}

/// Gives the socket at `path`, held as `file`, to `owner`: `user`, `user:group` or `:group`, by
/// names or numbers. Before the socket listens, for what is not yet there lets nobody in.
pub(super) fn give(file: &OwnedFd, path: &Path, owner: &str) -> Result<(), ListenerError> {
    let (user, group) = ids(owner)?;
    let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
    match rustix::fs::chownat(file, "", user, group, AtFlags::EMPTY_PATH) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) => Err(ListenerError::NotOurs {
            path: path.to_owned(),
            owner: owner.to_owned(),
        }),
        Err(errno) => Err(ListenerError::Unix {
            path: path.to_owned(),
            source: errno.into(),
        }),
    }
}

/// The numbers of user and group; `None`: as it is.
pub(super) fn ids(owner: &str) -> Result<(Option<u32>, Option<u32>), ListenerError> {
    let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
    let find = |name: &str, kind, look_up: fn(&str) -> Option<u32>| match name {
        "" => Ok(None),
        name => match look_up(name) {
            Some(number) => Ok(Some(number)),
            None => Err(ListenerError::Nobody {
                kind,
                name: name.to_owned(),
            }),
        },
    };
    let user = find(user, "user", people::user)?;
    let group = find(group, "group", |name| {
        people::group(name).map(|(number, _)| number)
    })?;
    Ok((user, group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_the_socket_s_place_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
        let link = directory.path().join("door.sock");
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        for path in [&link, &victim] {
            let said = hold(path).unwrap_err().to_string();
            assert!(said.contains("another file"), "{said}");
        }

        // What is held stays what it was, whatever takes its place.
        let path = directory.path().join("real.sock");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let file = hold(&path).unwrap();
        let away = directory.path().join("moved.sock");
        fs::rename(&path, &away).unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        set_mode(&file, 0o666).unwrap();
        let own = format!("{}", rustix::process::geteuid().as_raw());
        give(&file, &path, &own).unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&away), mode(&victim)), (0o666, 0o600));
    }

    #[test]
    fn users_and_groups_go_by_name_or_number() {
        for (owner, found) in [
            ("root", (Some(0), None)),
            ("root:root", (Some(0), Some(0))),
            (":root", (None, Some(0))),
            ("1000:0", (Some(1000), Some(0))),
            (":4242", (None, Some(4242))),
        ] {
            assert_eq!(ids(owner).unwrap(), found, "{owner}");
        }
    }

    #[test]
    fn a_name_that_nobody_has_is_named() {
        for (owner, says) in [
            (
                "nobody-of-this-name",
                "no user is called `nobody-of-this-name`",
            ),
            (
                "root:none-of-this-name",
                "no group is called `none-of-this-name`",
            ),
        ] {
            let said = ids(owner).unwrap_err().to_string();
            assert!(said.contains(says), "{said}");
        }
    }
}
