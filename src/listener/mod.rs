//! Doors' sockets: bound here, accepted here, handed once to the least loaded worker.
//!
//! This room never reads a byte of what arrives and never decides who may come in; it serves any
//! protocol.

mod accept;
mod connection;
mod files;
mod handed;
mod limit;
mod owner;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

pub(crate) use accept::{Arrival, Incoming, Peer, Stream, WorkerPort, accept};
pub(crate) use connection::Connection;
pub(crate) use files::affordable;
pub(crate) use handed::adopt;
pub(crate) use limit::Limit;
pub(crate) use socket::{Bound, bind};

/// Why a door cannot open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenerError {
    #[error("cannot listen on {address}: it is in use; `ss -ltnp` shows by whom")]
    InUse { address: std::net::SocketAddr },
    #[error(
        "cannot listen on {address}: ports below 1024 are not open to this user; choose another port"
    )]
    Privileged { address: std::net::SocketAddr },
    #[error(
        "cannot listen on {address}: this machine has no such address; `ip address` lists those it has"
    )]
    NoSuchAddress { address: std::net::SocketAddr },
    #[error("cannot listen on {address}: {source}; choose another address")]
    Tcp {
        address: std::net::SocketAddr,
        source: io::Error,
    },
    #[error(
        "cannot listen on {}: another process answers there; stop it or choose another path",
        path.display()
    )]
    Answered { path: PathBuf },
    #[error(
        "cannot listen on {}: the file there is not a socket and is left alone; choose another path",
        path.display()
    )]
    NotASocket { path: PathBuf },
    #[error(
        "cannot listen on {}: {source}; the directory must exist and be writable, and the path shorter than 108 bytes",
        path.display()
    )]
    Unix { path: PathBuf, source: io::Error },
    #[error(
        "cannot listen on {}: it cannot be given to `{owner}`, for only root may give files away, and others to groups that they are in; run as a member of that group, or take `owner` out",
        path.display()
    )]
    NotOurs { path: PathBuf, owner: String },
    #[error(
        "no {kind} is called `{name}` on this machine; create it, or correct the door's `owner`"
    )]
    Nobody { kind: &'static str, name: String },
    #[error("a socket that was handed in cannot be used: {source}")]
    Handed { source: io::Error },
    #[error(
        "the socket {} was handed in with mode {mode:04o}, which lets in others than the {wanted:04o} \
         wanted here; say SocketMode={wanted:04o} in the socket unit",
        path.display()
    )]
    Loose {
        path: PathBuf,
        mode: u32,
        wanted: u32,
    },
    #[error(
        "the socket {} was handed in as {found}'s, which lets in others than {user}:{group}, wanted here; \
         say SocketUser={user} and SocketGroup={group} in the socket unit, or correct the door's `owner`",
        path.display()
    )]
    Others {
        path: PathBuf,
        /// User and group.
        found: String,
        user: u32,
        group: u32,
    },
}
