//! What every connection reads and writes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::faults::Faults;
use super::hub::Hub;
use super::hub::HubError;
use super::jose::Jose;
use super::listener::Connections;
use super::oauth::Exchange;
use super::pki::Authority;
use super::recorder::Recorder;
use super::tls::Revocations;
use super::tls::Tls;
use super::tokens::Tokens;
use super::webhooks::Journal;
use super::webhooks::Sender;
use super::world::World;
use crate::clock::Clock;
use crate::secret::Secret;

#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) plain: SocketAddr,
    pub(super) mtls: SocketAddr,
    pub(super) control: SocketAddr,
}

/// What every connection reads and writes.
pub(super) struct Shared {
    pub(super) addresses: Addresses,
    pub(super) ca_pem: String,
    pub(super) clients: Authority,
    pub(super) tls: Tls,
    pub(super) revocations: Arc<Revocations>,
    pub(super) tls_plain: bool,
    pub(super) client_id: String,
    pub(super) client_secret: Secret,
    pub(super) redirect_uris: Vec<String>,
    pub(super) personal_token: Secret,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) state: Mutex<State>,
    pub(super) recorder: Recorder,
    pub(super) sender: Sender,
    pub(super) connections: Connections,
    pub(super) next_connection: AtomicU64,
    /// Rings at each arrival, answer and exchange.
    pub(super) happened: Notify,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// Everything that changes, behind one lock that is never held across an await.
pub(super) struct State {
    pub(super) faults: Faults,
    pub(super) tokens: Tokens,
    pub(super) hub: Hub,
    pub(super) world: World,
    pub(super) jose: Jose,
    pub(super) journal: Journal,
    pub(super) exchanges: Vec<Exchange>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> SystemTime {
        self.clock.wall()
    }

    pub(super) fn next_connection(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn sign_csr(&self, name: &str, pem: &str) -> Result<String, HubError> {
        let now = self.now();
        let mut state = self.lock();
        let State { hub, faults, .. } = &mut *state;
        hub.sign(&self.clients, &self.client_id, &faults.hub, name, pem, now)
    }

    pub(super) fn revoke_certificate(&self, name: &str) -> Result<(), HubError> {
        let serial = self.lock().hub.revoke(name)?;
        self.revocations.add(serial);
        Ok(())
    }

    pub(super) fn authorise(&self, profile: u64, redirect_uri: &str) -> Option<String> {
        let now = self.now();
        let mut state = self.lock();
        let State {
            tokens,
            faults,
            world,
            ..
        } = &mut *state;
        world
            .owns(profile)
            .then(|| tokens.authorise(profile, redirect_uri, &faults.token, now))
    }
}
