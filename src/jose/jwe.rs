//! Encrypted messages (RFC 7516).

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::JoseError;
use super::compact;

/// Shortest RSA key (RFC 7518 §4.3).
const SHORTEST: usize = 2048;
const RSA_OAEP_256: &str = "RSA-OAEP-256";
const DIRECT: &str = "dir";
const A256GCM: &str = "A256GCM";
const TAG: usize = 16;

/// A public key that content keys are encrypted to: Wise's.
pub(crate) struct EncryptingKey {
    key: OaepPublicEncryptingKey,
    kid: Option<String>,
}

impl EncryptingKey {
    /// A key from a DER `SubjectPublicKeyInfo`.
    pub(crate) fn from_der(kid: Option<String>, der: &[u8]) -> Result<Self, JoseError> {
        let wrong = JoseError::WrongKey(RSA_OAEP_256);
        let key = PublicEncryptingKey::from_der(der).map_err(|_| wrong)?;
        if key.key_size_bits() < SHORTEST {
            return Err(wrong);
        }
        let key = OaepPublicEncryptingKey::new(key)?;
        Ok(Self { key, kid })
    }
}

impl fmt::Debug for EncryptingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptingKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// A private key that content keys are decrypted with: ours.
pub(crate) struct DecryptingKey {
    key: OaepPrivateDecryptingKey,
    /// The public half, as a DER `SubjectPublicKeyInfo`.
    public: Vec<u8>,
}

impl DecryptingKey {
    /// A key from PKCS#8.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, JoseError> {
        let wrong = JoseError::WrongKey(RSA_OAEP_256);
        let key = PrivateDecryptingKey::from_pkcs8(der).map_err(|_| wrong)?;
        if key.key_size_bits() < SHORTEST {
            return Err(wrong);
        }
        let public = key.public_key().as_der()?.as_ref().to_vec();
        let key = OaepPrivateDecryptingKey::new(key)?;
        Ok(Self { key, public })
    }

    /// A new key of 3,072 bits as PKCS#8. Takes up to a second.
    pub(crate) fn generate() -> Result<Zeroizing<Vec<u8>>, JoseError> {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa3072)?;
        Ok(Zeroizing::new(key.as_der()?.as_ref().to_vec()))
    }

    /// The public key as a DER `SubjectPublicKeyInfo`, as Wise wants it registered.
    pub(crate) fn public_der(&self) -> &[u8] {
        &self.public
    }
}

impl fmt::Debug for DecryptingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecryptingKey")
    }
}

/// The key of one message's content. Kept while its answer may come encrypted directly with it.
#[derive(Clone)]
pub(crate) struct ContentKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentKey")
    }
}

impl ContentKey {
    fn generate() -> Result<Self, JoseError> {
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(&mut *key)?;
        Ok(Self(key))
    }

    fn from_slice(bytes: &[u8]) -> Result<Self, JoseError> {
        let key = bytes.try_into().map_err(|_| JoseError::Undecryptable)?;
        Ok(Self(Zeroizing::new(key)))
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used, reason = "a test's helper fails the test")]
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self::from_slice(bytes).unwrap()
    }

    fn cipher(&self) -> Result<LessSafeKey, JoseError> {
        Ok(LessSafeKey::new(UnboundKey::new(
            &AES_256_GCM,
            &self.0[..],
        )?))
    }
}

#[derive(Serialize)]
struct MessageHeader<'a> {
    enc: &'static str,
    alg: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cty: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

impl EncryptingKey {
    /// Encrypts a payload under a content key of its own, which is handed out beside the message.
    ///
    /// `nested`: the payload is a signed message (`cty` `JWT`, RFC 7519 §5.2).
    pub(crate) fn encrypt(
        &self,
        payload: &[u8],
        nested: bool,
    ) -> Result<(String, ContentKey), JoseError> {
        let header = MessageHeader {
            enc: A256GCM,
            alg: RSA_OAEP_256,
            cty: nested.then_some("JWT"),
            kid: self.kid.as_deref(),
        };
        let header = serde_json::to_vec(&header).map_err(|_| JoseError::Malformed)?;
        let content_key = ContentKey::generate()?;
        let mut wrapped = vec![0; self.key.ciphertext_size()];
        let wrapped = self.key.encrypt(
            &OAEP_SHA256_MGF1SHA256,
            &content_key.0[..],
            &mut wrapped,
            None,
        )?;

        let message = content_key.seal(&header, wrapped, payload)?;
        Ok((message, content_key))
    }
}

impl ContentKey {
    /// Encrypts an answer directly with the content key of the request before.
    pub(crate) fn encrypt(&self, payload: &[u8]) -> Result<String, JoseError> {
        let header = MessageHeader {
            enc: A256GCM,
            alg: DIRECT,
            cty: None,
            kid: None,
        };
        let header = serde_json::to_vec(&header).map_err(|_| JoseError::Malformed)?;
        self.seal(&header, &[], payload)
    }

    fn seal(&self, header: &[u8], wrapped: &[u8], payload: &[u8]) -> Result<String, JoseError> {
        let mut message = String::with_capacity(payload.len() * 4 / 3 + 1024);
        compact::encode(header, &mut message);
        // A key seals a request and at most its answer: random nonces are far from meeting.
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce)?;
        let mut sealed = payload.to_vec();
        let tag = self.cipher()?.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(message.as_bytes()),
            &mut sealed,
        )?;
        for part in [wrapped, &nonce, &sealed, tag.as_ref()] {
            message.push('.');
            compact::encode(part, &mut message);
        }
        Ok(message)
    }
}

/// A message that has not been decrypted.
#[derive(Debug)]
pub(crate) struct Encrypted<'a> {
    header: Header,
    /// The header as it came: the authenticated data.
    head: &'a [u8],
    wrapped: Vec<u8>,
    nonce: [u8; NONCE_LEN],
    /// Ciphertext and tag.
    sealed: Vec<u8>,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    enc: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    zip: Option<Box<RawValue>>,
    #[serde(default)]
    crit: Option<Box<RawValue>>,
}

impl<'a> Encrypted<'a> {
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self, JoseError> {
        let [head, wrapped, nonce, sealed, tag] = compact::split(message)?;
        let header: Header = compact::header(head)?;
        if header.crit.is_some() {
            return Err(JoseError::Unsupported("a critical header"));
        }
        if header.zip.is_some() {
            return Err(JoseError::Unsupported("compression"));
        }
        if header.enc != A256GCM {
            return Err(JoseError::Unsupported("another content encryption"));
        }
        if header.alg != RSA_OAEP_256 && header.alg != DIRECT {
            return Err(JoseError::Unsupported("another key encryption"));
        }
        let nonce = compact::decode(nonce)?;
        let nonce = nonce.try_into().map_err(|_| JoseError::Malformed)?;
        let mut sealed = compact::decode(sealed)?;
        let tag = compact::decode(tag)?;
        let wrapped = compact::decode(wrapped)?;
        if tag.len() != TAG || (header.alg == DIRECT) != wrapped.is_empty() {
            return Err(JoseError::Malformed);
        }
        sealed.extend_from_slice(&tag);
        Ok(Self {
            header,
            head,
            wrapped,
            nonce,
            sealed,
        })
    }

    /// The key it is encrypted to, by its id.
    pub(crate) fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// Whether it is encrypted with a content key that both sides know already.
    pub(crate) fn is_direct(&self) -> bool {
        self.header.alg == DIRECT
    }

    /// The payload, if it was encrypted to this key, and the content key.
    pub(crate) fn decrypt(self, key: &DecryptingKey) -> Result<(Vec<u8>, ContentKey), JoseError> {
        if self.is_direct() {
            return Err(JoseError::Unsupported("direct encryption"));
        }
        let mut unwrapped = Zeroizing::new(vec![0; key.key.min_output_size()]);
        let unwrapped = key
            .key
            .decrypt(&OAEP_SHA256_MGF1SHA256, &self.wrapped, &mut unwrapped, None)
            .map_err(|_| JoseError::Undecryptable)?;
        let content_key = ContentKey::from_slice(unwrapped)?;
        let payload = self.open(&content_key)?;
        Ok((payload, content_key))
    }

    /// The payload, if it was encrypted directly with this content key.
    pub(crate) fn decrypt_directly(self, key: &ContentKey) -> Result<Vec<u8>, JoseError> {
        if !self.is_direct() {
            return Err(JoseError::Unsupported("another key encryption"));
        }
        self.open(key)
    }

    fn open(self, key: &ContentKey) -> Result<Vec<u8>, JoseError> {
        let mut sealed = self.sealed;
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let opened = key
            .cipher()?
            .open_in_place(nonce, Aad::from(self.head), &mut sealed)
            .map_err(|_| JoseError::Undecryptable)?;
        let length = opened.len();
        sealed.truncate(length);
        Ok(sealed)
    }
}
