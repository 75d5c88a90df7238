//! The simulator as a test or the command line holds it.

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::errors::SimulatorError;
use super::faults::Faults;
use super::hub::Hub;
use super::hub::HubError;
use super::hub::Issued;
use super::jose::Jose;
use super::listener;
use super::listener::Connections;
use super::oauth::Exchange;
use super::options::Options;
use super::pki::Authority;
use super::recorder::Counters;
use super::recorder::Door;
use super::recorder::Recorded;
use super::recorder::Recorder;
use super::shared::Addresses;
use super::shared::Shared;
use super::shared::State;
use super::tls::Revocations;
use super::tls::Tls;
use super::tokens::Tokens;
use super::webhooks::Journal;
use super::webhooks::Sender;
use super::world::World;
use crate::clock::Clock;
use crate::clock::System;

/// A running fake Wise.
pub struct Simulator {
    pub(super) shared: Arc<Shared>,
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
            jose: Jose::default(),
            journal: Journal::default(),
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
            sender: Sender::default(),
            connections: Connections::new(stop.clone()),
            next_connection: AtomicU64::new(1),
            happened: Notify::new(),
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

    /// How many POSTs the token endpoint has had since the start.
    pub fn exchange_count(&self) -> usize {
        self.shared.lock().exchanges.len()
    }

    /// Waits until `condition` holds; it is asked again after each request, answer and exchange.
    ///
    /// Cancel safe.
    pub async fn until(&self, condition: impl Fn(&Self) -> bool) {
        loop {
            let mut happened = pin!(self.shared.happened.notified());
            happened.as_mut().enable();
            if condition(self) {
                return;
            }
            happened.await;
        }
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
