//! Signed and encrypted bodies (Wise, "JOSE"): names of algorithms, addresses and wire formats.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a message is signed: the names are RFC 7518's (§3.1), and Wise takes these.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SigningAlgorithm {
    /// P-256 and SHA-256.
    Es256,
    /// P-384 and SHA-384.
    Es384,
    /// P-521 and SHA-512.
    Es512,
    /// RSA with PSS and SHA-256.
    Ps256,
    /// RSA with PSS and SHA-384.
    Ps384,
    /// RSA with PSS and SHA-512.
    Ps512,
}

impl SigningAlgorithm {
    /// All that Wise takes.
    pub const ALL: [Self; 6] = [
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
    ];

    /// The name in messages, in Wise's API and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
        }
    }

    /// The algorithm of this name.
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|algorithm| algorithm.name() == name)
    }
}

impl fmt::Display for SigningAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// `GET`: Wise's own public keys.
pub(crate) const WISE_KEYS: &str = "/v1/auth/jose/response/public-keys";

/// `POST`: registers a public key of ours.
pub(crate) const OUR_KEYS: &str = "/v1/auth/jose/request/public-keys";

/// Calls that do nothing but take and give protected bodies.
pub(crate) const PLAYGROUND: &str = "/v1/auth/jose/playground/";

pub(crate) const MEDIA_TYPE: &str = "application/jose+json";

/// What a key is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(crate) enum Scope {
    #[serde(rename = "PAYLOAD_SIGNING")]
    Signing,
    #[serde(rename = "PAYLOAD_ENCRYPTION")]
    Encryption,
}

impl Scope {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Signing => "PAYLOAD_SIGNING",
            Self::Encryption => "PAYLOAD_ENCRYPTION",
        }
    }
}

/// The one algorithm of [`Scope::Encryption`]: with underscores here, with hyphens in messages.
pub(crate) const RSA_OAEP_256: &str = "RSA_OAEP_256";

/// A public key of Wise's.
#[derive(Debug, Deserialize)]
pub(crate) struct PublishedKey {
    pub(crate) version: u64,
    #[serde(rename = "keyMaterial")]
    pub(crate) material: PublishedMaterial,
}

/// The key itself.
#[derive(Debug, Deserialize)]
pub(crate) struct PublishedMaterial {
    /// DER `SubjectPublicKeyInfo` in base64.
    #[serde(rename = "keyMaterial")]
    pub(crate) der: String,
}

/// A public key of ours, to be registered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Registration<'a> {
    /// A UUID that we choose.
    pub(crate) key_id: &'a str,
    pub(crate) scope: Scope,
    /// UTC, `yyyy-MM-dd HH:mm:ss`.
    pub(crate) valid_from: String,
    pub(crate) valid_till: String,
    pub(crate) public_key_material: RegisteredMaterial<'a>,
}

/// The key itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegisteredMaterial<'a> {
    pub(crate) algorithm: &'a str,
    /// DER `SubjectPublicKeyInfo` in base64.
    pub(crate) key_material: String,
}
