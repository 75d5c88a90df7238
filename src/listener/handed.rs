use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, sockopt};

use super::socket::{Bound, LocalAddress};
use super::{ListenerError, owner};
use crate::config::DoorAddress;

/// Takes over a listening socket that another process opened and keeps open.
///
/// Its file, if it has one, is not ours to remove.
pub(crate) fn adopt(socket: OwnedFd) -> Result<Bound, ListenerError> {
    let address = prepared(&socket).map_err(|source| ListenerError::Handed { source })?;
    Ok(Bound {
        file: None,
        socket,
        address,
        stays: true,
    })
}

fn prepared(socket: &OwnedFd) -> io::Result<LocalAddress> {
    rustix::io::ioctl_fionbio(socket, true)?;
    let name = rustix::net::getsockname(socket)?;
    let family = name.address_family();
    if family == AddressFamily::INET || family == AddressFamily::INET6 {
        sockopt::set_tcp_nodelay(socket, true)?;
        return Ok(LocalAddress::Tcp(SocketAddr::try_from(name)?));
    }
    path_of(&name)
        .map(LocalAddress::Unix)
        .ok_or_else(|| io::Error::other("it is neither TCP nor a unix socket with a path"))
}

fn path_of(name: &SocketAddrAny) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;

    let name = SocketAddrUnix::try_from(name.clone()).ok()?;
    let path = name.path()?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(path.to_bytes())))
}

impl Bound {
    /// Whether this is the socket of a door, and lets in nobody whom the door would not.
    pub(crate) fn fits(&self, door: &DoorAddress) -> Result<bool, ListenerError> {
        match (&self.address, door) {
            (LocalAddress::Tcp(here), DoorAddress::Tcp(wanted)) => Ok(here == wanted),
            (LocalAddress::Unix(here), DoorAddress::Unix { path, mode, owner }) => {
                let fits = is_same(here, path);
                if fits {
                    no_looser(here, *mode, owner.as_deref())?;
                }
                Ok(fits)
            }
            (LocalAddress::Tcp(_), DoorAddress::Unix { .. })
            | (LocalAddress::Unix(_), DoorAddress::Tcp(_)) => Ok(false),
        }
    }
}

/// One place, perhaps by two names: `/var/run` is often a link to `/run`.
fn is_same(here: &Path, wanted: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    here == wanted || real(here).is_some_and(|here| real(wanted) == Some(here))
}

/// To connect is to write (unix(7)); the other bits mean nothing on a socket.
const CONNECT: u32 = 0o222;

fn no_looser(path: &Path, wanted: u32, owner: Option<&str>) -> Result<(), ListenerError> {
    let found = fs::symlink_metadata(path).map_err(|source| ListenerError::Handed { source })?;
    let mode = found.permissions().mode() & 0o777;
    let open = mode & CONNECT;
    if open & !wanted != 0 {
        return Err(ListenerError::Loose {
            path: path.to_owned(),
            mode,
            wanted,
        });
    }
    if wanted & CONNECT & 0o007 != 0 {
        return Ok(());
    }
    // Whose the file would be if we had made it.
    let (user, group) = owner.map_or(Ok((None, None)), owner::ids)?;
    let own = rustix::process::geteuid().as_raw();
    let user = user.unwrap_or(own);
    let group = group.unwrap_or_else(|| rustix::process::getegid().as_raw());
    // Root comes in anywhere, and we have the tokens anyway. systemd leaves sockets to root unless told
    // otherwise: whose a file is does not matter where its mode lets nobody in by it.
    let user_fits = open & 0o700 == 0 || [0, own, user].contains(&found.uid());
    let group_fits = open & 0o070 == 0 || found.gid() == group;
    if user_fits && group_fits {
        return Ok(());
    }
    Err(ListenerError::Others {
        path: path.to_owned(),
        found: format!("{}:{}", found.uid(), found.gid()),
        user,
        group,
    })
}
