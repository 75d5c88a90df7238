//! Whose a unix door's socket is to be.

use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::ListenerError;
use crate::people;

/// Gives the socket at `path` to `owner`: `user`, `user:group` or `:group`, by names or numbers.
/// Before the socket listens, for what is not yet there lets nobody in.
pub(super) fn give(path: &Path, owner: &str) -> Result<(), ListenerError> {
    let (user, group) = ids(owner)?;
    // A socket's path is never a link of somebody else's: we have just bound it.
    match rustix::fs::chown(path, user.map(Uid::from_raw), group.map(Gid::from_raw)) {
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
fn ids(owner: &str) -> Result<(Option<u32>, Option<u32>), ListenerError> {
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
