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
//! # By itself
//!
//! Started from the command line it is scripted with curl over the control API:
//! `POST /hub/certificates` signs a request, `POST /authorise` plays the person in the browser,
//! `PATCH /faults` makes trouble, `GET /requests` and `GET /exchanges` say what arrived. People
//! use `/oauth/authorize/` and `/developer-hub` on the plain host. Helper paths for transport
//! tests are under `/v1/simulator/`: `echo`, `mirror`, `bytes/{n}`, `slow`, `reset`, `close`,
//! `truncated/{n}`, `gzip`, `status/{code}`, `early-hints`, `processing`, `trailers`,
//! `too-large`, `last`.
//!
//! # Enhanced security
//!
//! Signed and encrypted bodies (JOSE) are taken wherever `X-TW-JOSE-Method` is sent, and nothing
//! else is where `jose.required` in [`Faults`] names the path; the operation inside is the same.
//! `resource.sca` asks for strong authentication: `POST /sca/approve` plays the human, and
//! `POST /hub/public-keys` uploads a key for the old way, a signature over the one-time token.
//! Webhooks are sent for each change of a transfer and for `POST /webhooks/events`, signed with a
//! key of the simulator's own, and tried again in Wise's rhythm, which `webhook.minute` hurries.
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
mod handle;
mod hub;
mod jose;
mod listener;
mod oauth;
mod options;
mod pki;
mod recorder;
mod reply;
mod security;
mod service;
mod shared;
mod table;
#[cfg(test)]
mod tests;
mod times;
mod tls;
mod tokens;
mod transport;
mod upload;
mod webhooks;
mod work;
mod world;

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
pub use self::handle::Simulator;
pub use self::hub::HubError;
pub use self::hub::Issued;
pub use self::jose::JoseFaults;
pub use self::jose::JoseMethod;
pub use self::jose::JoseRoute;
pub use self::jose::SigningAlgorithm;
pub use self::jose::Tamper;
pub use self::jose::Tampering;
pub use self::jose::UrlClaim;
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

/// Method and path of every operation that the simulator knows.
#[cfg(test)]
pub(crate) fn operations() -> impl Iterator<Item = (&'static str, &'static str)> {
    let known = table::ENDPOINTS.iter();
    known.map(|endpoint| (endpoint.method, endpoint.path))
}
pub use self::webhooks::Attempt;
pub use self::webhooks::Delivery;
pub use self::webhooks::DeliveryState;
pub use self::webhooks::Forgery;
pub use self::webhooks::Forging;
pub use self::webhooks::Receivers;
pub use self::webhooks::WebhookFaults;
pub use self::world::ChallengeKind;
pub use self::world::KeyRefused;
pub use self::world::ScaFaults;
pub use self::world::ScaSigning;
