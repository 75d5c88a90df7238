use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::{ListenerError, owner};
use crate::config::DoorAddress;

/// Connections that may wait in the kernel; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A listening socket. A unix socket's file goes with it.
#[derive(Debug)]
pub(crate) struct Bound {
    // Dropped in this order: nobody must find the file once nobody listens.
    pub(super) file: Option<SocketFile>,
    pub(super) socket: OwnedFd,
    pub(super) address: LocalAddress,
    /// Another process keeps it open: who waits in its queue at the end is for the next of us.
    pub(super) stays: bool,
}

impl Bound {
    /// Where it listens, with the port that the kernel chose if none was named.
    pub(crate) fn local_address(&self) -> &LocalAddress {
        &self.address
    }
}

/// Where a socket listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum LocalAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl LocalAddress {
    /// The TCP address, if it is one.
    pub(crate) fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Opens a door's socket. Connections queue from now on; [`super::accept()`] takes them in.
pub(crate) fn bind(address: &DoorAddress) -> Result<Bound, ListenerError> {
    match address {
        DoorAddress::Tcp(address) => bind_tcp(*address),
        DoorAddress::Unix { path, mode, owner } => bind_unix(path, *mode, owner.as_deref()),
    }
}

fn bind_tcp(address: SocketAddr) -> Result<Bound, ListenerError> {
    let open = || -> Result<(OwnedFd, SocketAddr), Errno> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = rustix::net::socket_with(family, SocketType::STREAM, FLAGS, None)?;
        // A restart must not wait for connections of the last run to time out.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        // Accepted sockets inherit it (tcp(7)): an answer's last small piece must not wait for the
        // acknowledgement before it.
        sockopt::set_tcp_nodelay(&socket, true)?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        let local = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
        Ok((socket, local))
    };
    match open() {
        Ok((socket, local)) => Ok(Bound {
            file: None,
            socket,
            address: LocalAddress::Tcp(local),
            stays: false,
        }),
        Err(Errno::ADDRINUSE) => Err(ListenerError::InUse { address }),
        Err(Errno::ACCESS) => Err(ListenerError::Privileged { address }),
        Err(Errno::ADDRNOTAVAIL) => Err(ListenerError::NoSuchAddress { address }),
        Err(errno) => Err(ListenerError::Tcp {
            address,
            source: errno.into(),
        }),
    }
}

fn bind_unix(path: &Path, mode: u32, owner: Option<&str>) -> Result<Bound, ListenerError> {
    let failed = |source: io::Error| ListenerError::Unix {
        path: path.to_owned(),
        source,
    };
    let name = SocketAddrUnix::new(path).map_err(|errno| failed(errno.into()))?;
    // Held while we look and bind: of two processes that find the same dead socket, the second
    // must find the first one's living socket instead of removing it.
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let guard = File::open(directory).map_err(failed)?;
    guard.lock().map_err(failed)?;
    clear_stale(path, &name)?;

    let socket = unix_socket().map_err(failed)?;
    rustix::net::bind(&socket, &name).map_err(|errno| failed(errno.into()))?;
    let held = owner::hold(path).map_err(failed)?;
    let file = SocketFile::held(path, &held).map_err(failed)?;
    // Before `listen`: until then a connection is refused, whatever the umask left open. The owner
    // first: whoever gives a file away may lose the right to open it.
    if let Some(owner) = owner {
        owner::give(&held, path, owner)?;
    }
    owner::set_mode(&held, mode).map_err(failed)?;
    rustix::net::listen(&socket, BACKLOG).map_err(|errno| failed(errno.into()))?;
    Ok(Bound {
        file: Some(file),
        socket,
        address: LocalAddress::Unix(path.to_owned()),
        stays: false,
    })
}

fn unix_socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        FLAGS,
        None,
    )?)
}

/// Removes a socket file that a process left behind; anything else there is an error.
fn clear_stale(path: &Path, name: &SocketAddrUnix) -> Result<(), ListenerError> {
    let failed = |source: io::Error| ListenerError::Unix {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenerError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    let probe = unix_socket().map_err(failed)?;
    match rustix::net::connect(&probe, name) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(failed),
        // AGAIN: somebody listens and the queue is full.
        Ok(()) | Err(Errno::AGAIN) => Err(ListenerError::Answered {
            path: path.to_owned(),
        }),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// The file of a unix socket, removed when dropped, if it is still ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn held(path: &Path, file: &OwnedFd) -> io::Result<Self> {
        let made = rustix::fs::fstat(file)?;
        Ok(Self {
            path: path.to_owned(),
            device: made.st_dev,
            inode: made.st_ino,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| found.dev() == self.device && found.ino() == self.inode);
        if ours {
            // A file that stays is stale, and the next start removes stale files.
            let _ = fs::remove_file(&self.path);
        }
    }
}
