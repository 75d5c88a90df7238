//! Signed and encrypted bodies, strong customer authentication, webhooks: as typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::leaf::{List, Parsed};
use crate::config::secrets::Named;
use crate::config::values::{Hook, Kid, Name, Place, Size, Subscription};
use crate::config::{JoseMethod, Lane, SigningAlgorithm};

/// Keys for signed and encrypted bodies, and where they are used.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Jose {
    /// How requests are signed; without it ES512.
    pub(in crate::config) signing_algorithm: Option<Parsed<SigningAlgorithm>>,
    /// PEM file (PKCS#8): the private key that signs, 0600.
    pub(in crate::config) signing_key: Option<Parsed<PathBuf>>,
    /// The id under which Wise has its public half; `jose register` writes it.
    pub(in crate::config) signing_kid: Option<Parsed<Kid>>,
    /// PEM file (PKCS#8): the private RSA key that decrypts answers, 0600.
    pub(in crate::config) encryption_key: Option<Parsed<PathBuf>>,
    /// The id under which Wise has its public half; `jose register` writes it.
    pub(in crate::config) encryption_kid: Option<Parsed<Kid>>,
    /// The largest body, of a request or of an answer, on these routes: it is held in memory.
    pub(in crate::config) max_body: Parsed<Size>,
    /// Requests whose bodies are signed or encrypted here, and whose answers are verified here.
    #[serde(default)]
    pub(in crate::config) route: Vec<JoseRoute>,
}

/// Requests whose bodies are signed or encrypted on their way.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct JoseRoute {
    /// Rules such as "POST /v1/quotes" or "funding", spelled as those of policies; the first route
    /// that covers a request counts.
    #[serde(rename = "match")]
    pub(in crate::config) covers: Option<List<String>>,
    /// What is done to bodies.
    pub(in crate::config) method: Option<Parsed<JoseMethod>>,
    /// Lanes in which it is done; without it both OAuth lanes.
    pub(in crate::config) lanes: Option<List<Lane>>,
}

/// What is done when Wise wants strong customer authentication.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Sca {
    /// PEM file (PKCS#8 or PKCS#1): the private RSA key that signs one-time tokens, 0600.
    pub(in crate::config) key: Option<Parsed<PathBuf>>,
    /// Lanes in which one-time tokens are signed.
    pub(in crate::config) lanes: List<Lane>,
    /// The program that is asked for an approval, by its absolute path, and its arguments.
    pub(in crate::config) approval_command: Option<List<String>>,
    /// Where the URL is that an approval is asked for at, by POST.
    pub(in crate::config) approval_webhook: Option<Named>,
    /// Where the value of its `Authorization` field is.
    pub(in crate::config) approval_authorization: Option<Named>,
    /// A request waits no longer than this for its approval.
    pub(in crate::config) approval_wait: Parsed<Duration>,
    /// So many requests may wait for approvals at once.
    pub(in crate::config) max_waiting: Parsed<usize>,
}

/// Where Wise's webhooks come in, and where they go.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Webhook {
    /// Your name for it.
    pub(in crate::config) name: Option<Parsed<Name>>,
    /// The address and port at which it listens.
    pub(in crate::config) address: Option<Parsed<SocketAddr>>,
    /// PEM file: its certificate, then any chain. Beyond loopback it must have one.
    pub(in crate::config) certificate: Option<Parsed<PathBuf>>,
    /// PEM file: the private key, 0600.
    pub(in crate::config) key: Option<Parsed<PathBuf>>,
    /// PEM file: the authorities of Wise's client certificate; without it none is asked for.
    pub(in crate::config) client_ca: Option<Parsed<PathBuf>>,
    /// Names of which Wise's client certificate shows one, as common name, DNS name or URI; without it
    /// every certificate of `client_ca` will do.
    pub(in crate::config) client_names: Option<List<String>>,
    /// Ids of the subscriptions whose deliveries are taken; without it those of every subscription,
    /// and Wise's signature says nothing of whose that is.
    pub(in crate::config) subscriptions: Option<List<Subscription>>,
    /// The only path that is served; without it every path.
    pub(in crate::config) path: Option<Parsed<Place>>,
    /// PEM file: the public keys whose signatures are believed; without it Wise's own key for the
    /// environment.
    pub(in crate::config) signature_key: Option<Parsed<PathBuf>>,
    /// The application's URL; its scheme is `http`.
    pub(in crate::config) forward: Option<Parsed<Hook>>,
    /// The application has this long to answer a delivery; without it 10s.
    pub(in crate::config) forward_timeout: Option<Parsed<Duration>>,
    /// A delivery that comes again within this time is dropped; without it 15d, as Wise tries for
    /// two weeks.
    pub(in crate::config) window: Option<Parsed<Duration>>,
    /// The largest delivery; without it 1 MiB.
    pub(in crate::config) max_body: Option<Parsed<Size>>,
    /// So many deliveries are kept while the application is down; without it 100000.
    pub(in crate::config) max_queued: Option<Parsed<usize>>,
}
