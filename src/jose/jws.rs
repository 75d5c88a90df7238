//! Signed messages (RFC 7515).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::compact;
use super::{Algorithm, JoseError, SigningKey, VerifyingKey};

/// Longest signature, encoded: that of the longest RSA key that verifies, 8,192 bits.
const LONGEST_SIGNATURE: usize = 1366;

/// What stands in the header of a request's message (Wise, "JWS"): `url` is the path as sent.
#[derive(Serialize)]
struct RequestHeader<'a> {
    alg: Algorithm,
    typ: &'static str,
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

/// A request's body, signed for the path that it goes to.
pub(crate) fn sign(key: &SigningKey, url: &str, payload: &[u8]) -> Result<String, JoseError> {
    let header = RequestHeader {
        alg: key.algorithm(),
        typ: "JWT",
        url,
        kid: key.kid(),
    };
    let header = serde_json::to_vec(&header).map_err(|_| JoseError::Malformed)?;
    sign_under(key, &header, payload)
}

/// A payload, signed under a header that the caller spells and that must name the key's algorithm.
pub(crate) fn sign_under(
    key: &SigningKey,
    header: &[u8],
    payload: &[u8],
) -> Result<String, JoseError> {
    let mut message = String::with_capacity(payload.len() * 4 / 3 + 1024);
    compact::encode(header, &mut message);
    message.push('.');
    compact::encode(payload, &mut message);
    let signature = key.sign(message.as_bytes())?;
    message.push('.');
    compact::encode(&signature, &mut message);
    Ok(message)
}

/// A message whose signature has not been looked at: it hands out nothing but its header.
#[derive(Debug)]
pub(crate) struct Signed<'a> {
    header: Header,
    input: &'a [u8],
    payload: &'a [u8],
    signature: Vec<u8>,
}

/// A header that is understood. Other members are ignored, as RFC 7515 §4 wants it.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    version: Option<u64>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    crit: Option<Box<RawValue>>,
    #[serde(default)]
    b64: Option<bool>,
}

impl<'a> Signed<'a> {
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self, JoseError> {
        let message = message.trim_ascii();
        let [head, payload, signature] = compact::split(message)?;
        if signature.len() > LONGEST_SIGNATURE {
            return Err(JoseError::Malformed);
        }
        let header: Header = compact::header(head)?;
        // Whoever does not know a critical extension must refuse the message (RFC 7515 §4.1.11).
        if header.crit.is_some() || header.b64 == Some(false) {
            return Err(JoseError::Unsupported("a critical header"));
        }
        Ok(Self {
            header,
            input: &message[..head.len() + 1 + payload.len()],
            payload,
            signature: compact::decode(signature)?,
        })
    }

    /// Which of Wise's keys signed, by its version.
    pub(crate) fn version(&self) -> Option<u64> {
        self.header.version
    }

    /// Which key signed, by its id.
    pub(crate) fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// The path that it was signed for; of requests only.
    pub(crate) fn url(&self) -> Option<&str> {
        self.header.url.as_deref()
    }

    /// What it says to be; of requests only.
    pub(crate) fn typ(&self) -> Option<&str> {
        self.header.typ.as_deref()
    }

    /// How it says to be signed.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        Algorithm::named(&self.header.alg)
    }

    /// The payload, if the key signed it.
    pub(crate) fn verify(&self, key: &VerifyingKey) -> Result<Vec<u8>, JoseError> {
        if self.algorithm() != Some(key.algorithm()) {
            return Err(JoseError::Unsupported("another signature algorithm"));
        }
        key.verify(self.input, &self.signature)?;
        compact::decode(self.payload)
    }
}
