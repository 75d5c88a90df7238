//! Signed and encrypted messages (RFC 7515, 7516) as Wise wants them: bytes in, bytes out.
//!
//! Compact serialisation only. Signatures are ES256, ES384, ES512, PS256, PS384 or PS512; content
//! is encrypted with A256GCM, its key with RSA-OAEP-256, or by agreement from the request before
//! (`dir`). Nothing else is understood, and what is not understood is refused: never is a payload
//! handed out that was not verified.
//!
//! The one thing it reads are files with private keys of ours.

mod compact;
mod file;
mod jwe;
mod jws;
mod key;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;

pub(crate) use crate::wise::SigningAlgorithm as Algorithm;
pub(crate) use file::{KeyFileError, pem, read_decrypting, read_signing};
pub(crate) use jwe::{ContentKey, DecryptingKey, Encrypted, EncryptingKey};
pub(crate) use jws::{Signed, sign, sign_under};
pub(crate) use key::{SigningKey, VerifyingKey};

/// A message or key cannot be used. Says nothing of its content.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum JoseError {
    /// Not as many parts as there must be, a part that is no base64url, a header that is no JSON
    /// object, or one larger than any that makes sense.
    #[error("the message is not in compact serialisation")]
    Malformed,
    /// The header asks for an algorithm, or for an extension, that is not used here.
    #[error("the message uses something that is not supported: {0}")]
    Unsupported(&'static str),
    /// The signature does not fit the content and the key.
    #[error("the signature does not fit")]
    WrongSignature,
    /// The content was not encrypted to this key, or was changed.
    #[error("the message cannot be decrypted with this key")]
    Undecryptable,
    /// The key is not one of the algorithm's, or is too short.
    #[error("the key does not fit {0}")]
    WrongKey(&'static str),
    /// The library or the system's source of randomness failed.
    #[error("the cryptography library failed")]
    Library,
}

impl From<aws_lc_rs::error::Unspecified> for JoseError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Library
    }
}

#[cfg(test)]
mod tests;
