//! The two admin listeners.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::routes::Uid;
use crate::config::DoorAddress;
use crate::listener::{self, Bound, Connection, Incoming, ListenerError, Peer};

/// An admin listener could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("admin.address {address}: {source}")]
    Tcp {
        address: SocketAddr,
        source: ListenerError,
    },
    #[error("admin.socket {}: {source}", path.display())]
    Socket {
        path: PathBuf,
        source: ListenerError,
    },
}

impl AdminError {
    /// The disk of the unix socket takes no new file.
    pub(crate) fn is_full_or_read_only(&self) -> bool {
        let kinds = [
            io::ErrorKind::ReadOnlyFilesystem,
            io::ErrorKind::StorageFull,
        ];
        match self {
            Self::Socket {
                source: ListenerError::Unix { source, .. },
                ..
            } => kinds.contains(&source.kind()),
            Self::Socket { .. } | Self::Tcp { .. } => false,
        }
    }
}

/// The unix socket, 0600.
pub(crate) fn bind_socket(path: &Path) -> Result<Bound, AdminError> {
    let address = DoorAddress::Unix {
        path: path.to_owned(),
        mode: 0o600,
        owner: None,
    };
    let failed = |source| AdminError::Socket {
        path: path.to_owned(),
        source,
    };
    listener::bind(&address).map_err(failed)
}

/// The loopback address.
pub(crate) fn bind_tcp(address: SocketAddr) -> Result<Bound, AdminError> {
    listener::bind(&DoorAddress::Tcp(address)).map_err(|source| AdminError::Tcp { address, source })
}

/// So many connections of a listener are served at once: whoever makes more takes none of the files
/// that doors and Wise need.
const MOST: usize = 256;

/// Serves a listener until `stop`; requests under way are finished. Beyond [`MOST`] connections the
/// next is closed as it comes.
pub(crate) async fn serve(incoming: Incoming, routes: Router, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    while let Some((stream, peer)) = stop.run_until_cancelled(incoming.next()).await {
        if tasks.len() >= MOST {
            continue;
        }
        let routes = match peer {
            Peer::Unix { uid, .. } => routes.clone().layer(axum::Extension(Uid(uid))),
            Peer::Tcp(_) => routes.clone(),
        };
        tasks.spawn(connection(stream, routes, stop.clone()));
    }
    tasks.close();
    tasks.wait().await;
}

async fn connection(stream: Connection, routes: Router, stop: CancellationToken) {
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut served = std::pin::pin!(served);
    let outcome = tokio::select! {
        outcome = served.as_mut() => outcome,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "an admin connection ended early");
    }
}
