//! A faithful fake Wise, to develop and test against without an account.
//!
//! It listens on three addresses: the plain API host (TLS with server authentication, and the
//! browser pages), the mTLS API host, and a control API for tests and scripts. Behind them is a
//! small consistent world of profiles, quotes, recipients, transfers and balances. Every
//! documented or suspected oddity of Wise is a switch in [`Faults`].
//!
//! It spells Wise's words itself and must never import the client's constants: a wrong constant
//! there has to meet a right one here. It keeps everything in memory and moves no money.
//!
//! # Cancellation
//!
//! [`Simulator`] stops when dropped. [`Simulator::stop`] also waits for its tasks.

mod authorise;
mod control;
mod endpoints;
mod errors;
mod faults;
mod gate;
mod hub;
mod listener;
mod oauth;
mod options;
mod pki;
mod recorder;
mod reply;
mod service;
mod table;
#[cfg(test)]
mod tests;
mod times;
mod tls;
mod tokens;
mod transport;
mod upload;
mod world;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::errors::SimulatorError;
pub use self::faults::AddressRange;
pub use self::faults::Disturb;
pub use self::faults::Disturbance;
pub use self::faults::Faults;
pub use self::faults::HubFaults;
pub use self::faults::InsufficientFunds;
pub use self::faults::InvalidGrantStatus;
pub use self::faults::MissingCertificate;
pub use self::faults::NotAnAddressRange;
pub use self::faults::PersonalFaults;
pub use self::faults::PersonalOnMtls;
pub use self::faults::ResourceFaults;
pub use self::faults::Rotation;
pub use self::faults::Sca;
pub use self::faults::TlsFaults;
pub use self::faults::TlsVersions;
pub use self::faults::TokenFaults;
pub use self::faults::TokenForm;
pub use self::faults::UnauthorizedShape;
pub use self::hub::HubError;
pub use self::hub::Issued;
pub use self::oauth::Exchange;
pub use self::oauth::Outcome;
pub use self::options::Options;
pub use self::recorder::BodySeen;
pub use self::recorder::ClientCertificate;
pub use self::recorder::Counters;
pub use self::recorder::Credential;
pub use self::recorder::Door;
pub use self::recorder::Headers;
pub use self::recorder::Recorded;
pub use self::recorder::TlsSession;

use self::hub::Hub;
use self::listener::Connections;
use self::pki::Authority;
use self::recorder::Recorder;
use self::tls::Revocations;
use self::tls::Tls;
use self::tokens::Tokens;
use self::world::World;
use crate::clock::Clock;
use crate::clock::System;
use crate::secret::Secret;

/// A running fake Wise.
pub struct Simulator {
    shared: Arc<Shared>,
}

impl Simulator {
    /// Starts on the machine's clock; when this returns, every listener is bound.
    ///
    /// Needs a tokio runtime. Cancel safe: dropping the future leaves nothing running.
    pub async fn start(options: Options) -> Result<Self, SimulatorError> {
        Self::start_at(options, Arc::new(System)).await
    }

    /// Starts on another clock, which decides when tokens and codes are too old.
    pub(crate) async fn start_at(
        options: Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SimulatorError> {
        if options.client_id.is_empty() {
            let hint = "a client id cannot be empty; leave it out for the default";
            return Err(SimulatorError::Option {
                option: "client-id",
                hint,
            });
        }
        if options.business_profiles.is_empty() {
            let hint = "the account needs at least one business profile, for instance [30000000]";
            return Err(SimulatorError::Option {
                option: "business-profiles",
                hint,
            });
        }
        let now = clock.wall();
        let servers = Authority::new("Simulated Wise server CA", now)?;
        let clients = Authority::new("Simulated Wise client CA", now)?;
        let mut names = vec![
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        names.extend(options.names.iter().cloned());
        let identity = servers.server(names, now)?;

        let plain = bind("plain", options.plain).await?;
        let mtls = bind("mtls", options.mtls).await?;
        let control = bind("control", options.control).await?;
        let addresses = Addresses {
            plain: local(&plain, "plain", options.plain)?,
            mtls: local(&mtls, "mtls", options.mtls)?,
            control: local(&control, "control", options.control)?,
        };

        let state = State {
            faults: options.faults,
            tokens: Tokens::default(),
            hub: Hub::default(),
            world: World::new(&options.business_profiles, now),
            exchanges: Vec::new(),
        };
        let stop = CancellationToken::new();
        let revocations = Arc::new(Revocations::default());
        let tls = Tls::new(identity, &clients, Arc::clone(&revocations))?;
        let shared = Arc::new(Shared {
            addresses,
            ca_pem: servers.pem(),
            clients,
            tls,
            revocations,
            tls_plain: options.tls_plain,
            client_id: options.client_id,
            client_secret: options.client_secret,
            redirect_uris: options.redirect_uris,
            personal_token: options.personal_token,
            clock,
            state: Mutex::new(state),
            recorder: Recorder::new(options.recorder_capacity),
            connections: Connections::new(stop.clone()),
            next_connection: AtomicU64::new(1),
            tracker: TaskTracker::new(),
            stop,
        });
        for (listener, door) in [
            (plain, Door::Plain),
            (mtls, Door::Mtls),
            (control, Door::Control),
        ] {
            shared
                .tracker
                .spawn(listener::accept(listener, door, Arc::clone(&shared)));
        }
        Ok(Self { shared })
    }

    /// Stops and waits for every task, for at most five seconds.
    ///
    /// Dropping the future stops the simulator too, without waiting.
    pub async fn stop(self) {
        self.shared.stop.cancel();
        self.shared.tracker.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.shared.tracker.wait()).await;
    }

    /// Waits until the simulator was stopped.
    pub async fn stopped(&self) {
        self.shared.stop.cancelled().await;
    }

    /// Where the plain API host listens.
    pub fn plain_address(&self) -> SocketAddr {
        self.shared.addresses.plain
    }

    /// Where the mTLS API host listens.
    pub fn mtls_address(&self) -> SocketAddr {
        self.shared.addresses.mtls
    }

    /// Where the control API listens.
    pub fn control_address(&self) -> SocketAddr {
        self.shared.addresses.control
    }

    /// Base URL of the plain API host, without a trailing slash.
    pub fn plain_url(&self) -> String {
        let scheme = if self.shared.tls_plain {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://localhost:{}", self.plain_address().port())
    }

    /// Base URL of the mTLS API host, without a trailing slash.
    pub fn mtls_url(&self) -> String {
        format!("https://localhost:{}", self.mtls_address().port())
    }

    /// Base URL of the control API, without a trailing slash.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control_address())
    }

    /// The authorise page, without the `state` a real login adds.
    pub fn authorise_url(&self) -> String {
        let redirect = self.shared.redirect_uris.first().map_or("", String::as_str);
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        format!(
            "{}/oauth/authorize/?client_id={}&redirect_uri={}",
            self.plain_url(),
            encode(&self.shared.client_id),
            encode(redirect)
        )
    }

    /// The CA of the server certificates, as PEM.
    pub fn ca_pem(&self) -> String {
        self.shared.ca_pem.clone()
    }

    /// What the Developer Hub does with a certificate request; returns the leaf as PEM.
    pub fn sign_csr(&self, name: &str, csr_pem: &str) -> Result<String, HubError> {
        self.shared.sign_csr(name, csr_pem)
    }

    /// Takes a client certificate out of service; its next handshake or request fails.
    pub fn revoke_certificate(&self, name: &str) -> Result<(), HubError> {
        self.shared.revoke_certificate(name)
    }

    /// Every certificate issued, revoked ones too.
    pub fn certificates(&self) -> Vec<Issued> {
        self.shared.lock().hub.issued().to_vec()
    }

    /// What a person does in the browser: grants access to `profile` and returns the code, bound
    /// to the first redirect address. `None` when the account has no such profile.
    pub fn authorise(&self, profile: u64) -> Option<String> {
        let redirect_uri = self.shared.redirect_uris.first().map_or("", String::as_str);
        self.shared.authorise(profile, redirect_uri)
    }

    /// As [`Simulator::authorise`], bound to `redirect_uri`.
    pub fn authorise_for(&self, profile: u64, redirect_uri: &str) -> Option<String> {
        self.shared.authorise(profile, redirect_uri)
    }

    /// The switches as they are now; counted ones show what is left.
    pub fn faults(&self) -> Faults {
        self.shared.lock().faults.clone()
    }

    /// Replaces all switches.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.lock().faults = faults;
    }

    /// Changes some switches.
    pub fn change_faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.shared.lock().faults);
    }

    /// The requests in the recorder's ring, oldest first.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.shared.recorder.all()
    }

    /// The recorder's running totals.
    pub fn counters(&self) -> Counters {
        self.shared.recorder.counters()
    }

    /// Empties the recorder's ring; totals and exchanges stay.
    pub fn clear(&self) {
        self.shared.recorder.clear();
    }

    /// Every POST to the token endpoint since the start.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.shared.lock().exchanges.clone()
    }

    /// Generation of the live grant of `profile`.
    pub fn generation(&self, profile: u64) -> Option<u64> {
        self.shared.lock().tokens.generation(profile)
    }

    /// Ends every access token of `profile` now; its grant goes on. Returns how many ended.
    pub fn revoke_access(&self, profile: u64) -> usize {
        self.shared.lock().tokens.revoke_access(profile)
    }

    /// Ends every client-credentials token now. Returns how many ended.
    pub fn revoke_client(&self) -> usize {
        self.shared.lock().tokens.revoke_client()
    }

    /// The user disconnects the app: every token of `profile` is dead. Returns how many grants ended.
    pub fn disconnect(&self, profile: u64) -> usize {
        self.shared.lock().tokens.disconnect(profile)
    }

    /// Ends every open connection at once, answered or not.
    pub fn close_connections(&self) {
        self.shared.connections.close();
    }

    /// Lets every open connection finish what it has begun and take nothing new.
    pub fn finish_connections(&self) {
        self.shared.connections.finish();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.tracker.close();
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator")
            .field("addresses", &self.shared.addresses)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
struct Addresses {
    plain: SocketAddr,
    mtls: SocketAddr,
    control: SocketAddr,
}

/// What every connection reads and writes.
struct Shared {
    addresses: Addresses,
    ca_pem: String,
    clients: Authority,
    tls: Tls,
    revocations: Arc<Revocations>,
    tls_plain: bool,
    client_id: String,
    client_secret: Secret,
    redirect_uris: Vec<String>,
    personal_token: Secret,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    recorder: Recorder,
    connections: Connections,
    next_connection: AtomicU64,
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// Everything that changes, behind one lock that is never held across an await.
struct State {
    faults: Faults,
    tokens: Tokens,
    hub: Hub,
    world: World,
    exchanges: Vec<Exchange>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> SystemTime {
        self.clock.wall()
    }

    fn next_connection(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }

    fn sign_csr(&self, name: &str, pem: &str) -> Result<String, HubError> {
        let now = self.now();
        let mut state = self.lock();
        let State { hub, faults, .. } = &mut *state;
        hub.sign(&self.clients, &self.client_id, &faults.hub, name, pem, now)
    }

    fn revoke_certificate(&self, name: &str) -> Result<(), HubError> {
        let serial = self.lock().hub.revoke(name)?;
        self.revocations.add(serial);
        Ok(())
    }

    fn authorise(&self, profile: u64, redirect_uri: &str) -> Option<String> {
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

async fn bind(listener: &'static str, address: SocketAddr) -> Result<TcpListener, SimulatorError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| SimulatorError::Bind {
            listener,
            address,
            source,
        })
}

fn local(
    bound: &TcpListener,
    listener: &'static str,
    address: SocketAddr,
) -> Result<SocketAddr, SimulatorError> {
    bound.local_addr().map_err(|source| SimulatorError::Bind {
        listener,
        address,
        source,
    })
}
