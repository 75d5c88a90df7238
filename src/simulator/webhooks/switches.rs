//! Where webhooks go, how patient the fake Wise is, and how it can misbehave.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::simulator::faults::use_up;

/// Webhooks on their way to the receiver.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct WebhookFaults {
    /// Which receivers a subscription may name.
    pub receivers: Receivers,
    /// Where a host name of a receiver leads, in the place of DNS.
    pub hosts: BTreeMap<String, SocketAddr>,
    /// Whether other names are looked up; otherwise nothing beyond this machine is contacted.
    pub anywhere: bool,
    /// PEM file of authorities for the receivers' certificates, in the place of the public ones.
    pub ca_file: Option<PathBuf>,
    /// Milliseconds that a minute of Wise's waiting takes.
    pub minute: u64,
    /// Milliseconds that a receiver has for its answer.
    pub answer_limit: u64,
    /// How often a delivery that was taken is sent again.
    pub duplicates: u32,
    /// Whether bodies are spelled with white space, as no serialiser of a receiver would.
    pub spaced: bool,
    /// How deliveries are forged.
    pub forge: Option<Forging>,
}

impl Default for WebhookFaults {
    fn default() -> Self {
        Self {
            receivers: Receivers::Public,
            hosts: BTreeMap::new(),
            anywhere: false,
            ca_file: None,
            minute: 60_000,
            answer_limit: 5_000,
            duplicates: 0,
            spaced: false,
            forge: None,
        }
    }
}

/// Which receivers a subscription may name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Receivers {
    /// https with a domain name on port 443, as Wise has it.
    Public,
    /// Those, and https on loopback with any port.
    Loopback,
    /// Those, and http on loopback.
    LoopbackHttp,
}

/// One way to forge deliveries, a number of times.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Forging {
    /// What is wrong with the delivery.
    pub kind: Forgery,
    /// How many attempts; absent means until it is taken away.
    #[serde(default)]
    pub times: Option<u32>,
}

impl Forging {
    /// Uses it up once.
    pub(super) fn take(slot: &mut Option<Self>) -> Option<Forgery> {
        let kind = slot.as_ref()?.kind;
        use_up(slot, |forging| &mut forging.times).then_some(kind)
    }
}

/// What is wrong with a forged delivery.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forgery {
    /// Signed with a key that is not Wise's.
    WrongKey,
    /// The signature is of another body.
    OtherBody,
    /// There is no signature.
    Unsigned,
    /// The signature is not base64.
    Garbled,
    /// The client certificate is missing; only seen where there would be one.
    NoCertificate,
    /// The client certificate is of another authority; only seen where there would be one.
    OtherAuthority,
}
