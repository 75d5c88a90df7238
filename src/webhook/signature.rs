//! Whether Wise sent it: the signature over the bytes of a body.
//!
//! Bytes in, yes or no out. A body is never read as JSON here: what was parsed and written again is
//! not what was signed.

use std::fmt;
use std::path::Path;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

use crate::config::Environment;
use crate::wise::webhook_keys;

/// The longest signature: an RSA key of 8192 bits.
const LONGEST: usize = 1024;

/// The public keys whose signatures are believed. At least one.
pub(crate) struct Keys(Vec<ParsedPublicKey>);

/// The keys cannot be had. The text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("cannot read {path}: {source}; check the path and who may read it")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "{path} holds no public key; it begins with `-----BEGIN PUBLIC KEY-----`, as Wise publishes \
         its own"
    )]
    NoKey { path: String },
    #[error("public key {position} of {path} is damaged, or no RSA key of at least 2048 bits")]
    Unusable { path: String, position: usize },
    #[error("Wise's own key is known of the sandbox and of production only")]
    NoneBuiltIn,
}

/// Text that cannot be a signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Malformed;

impl Keys {
    /// Those of a PEM file, or Wise's own for the environment. Blocking.
    pub(crate) fn load(path: Option<&Path>, environment: Environment) -> Result<Self, KeysError> {
        if let Some(path) = path {
            let shown = path.display().to_string();
            let pem = std::fs::read(path).map_err(|source| KeysError::Read {
                path: shown.clone(),
                source,
            })?;
            return Self::parse(&pem, &shown);
        }
        let built_in = match environment {
            Environment::Sandbox => webhook_keys::SANDBOX,
            Environment::Production => webhook_keys::PRODUCTION,
            Environment::Custom => return Err(KeysError::NoneBuiltIn),
        };
        Self::parse(built_in.as_bytes(), "Wise's own key")
    }

    fn parse(pem: &[u8], path: &str) -> Result<Self, KeysError> {
        let no_key = || KeysError::NoKey {
            path: path.to_owned(),
        };
        let blocks = SubjectPublicKeyInfoDer::pem_slice_iter(pem).enumerate();
        let keys = blocks.map(|(index, block)| {
            let block = block.map_err(|_| no_key())?;
            ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, block.as_ref()).map_err(|_| {
                KeysError::Unusable {
                    path: path.to_owned(),
                    position: index + 1,
                }
            })
        });
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(no_key());
        }
        Ok(Self(keys))
    }

    /// Whether one of the keys signed these bytes.
    pub(crate) fn vouch(&self, body: &[u8], signature: &Signature) -> bool {
        let mut keys = self.0.iter();
        keys.any(|key| key.verify_sig(body, &signature.0).is_ok())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

/// A signature, decoded.
#[derive(Debug)]
pub(crate) struct Signature(Vec<u8>);

impl Signature {
    /// Reads the field's value: base64 with its padding, and nothing around it.
    pub(crate) fn parse(value: &[u8]) -> Result<Self, Malformed> {
        if value.len() > LONGEST * 4 / 3 + 4 {
            return Err(Malformed);
        }
        match STANDARD.decode(value) {
            Ok(bytes) if !bytes.is_empty() => Ok(Self(bytes)),
            Ok(_) | Err(_) => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = include_bytes!("../simulator/tests/vectors/webhook-body.json");
    const SIGNATURE: &str = include_str!("../simulator/tests/vectors/webhook-signature.txt");

    fn signature() -> Signature {
        Signature::parse(SIGNATURE.trim().as_bytes()).unwrap()
    }

    #[test]
    fn wises_published_delivery_verifies_with_the_sandbox_key_and_no_other() {
        assert_eq!(BODY.len(), 354);
        let sandbox = Keys::load(None, Environment::Sandbox).unwrap();
        assert!(sandbox.vouch(BODY, &signature()));
        let production = Keys::load(None, Environment::Production).unwrap();
        assert!(!production.vouch(BODY, &signature()));
    }

    #[test]
    fn one_bit_of_body_or_signature_is_enough() {
        let keys = Keys::load(None, Environment::Sandbox).unwrap();
        for at in [0, 100, BODY.len() - 1] {
            let mut body = BODY.to_vec();
            body[at] ^= 1;
            assert!(!keys.vouch(&body, &signature()), "byte {at}");
        }
        assert!(!keys.vouch(&[BODY, b"\n"].concat(), &signature()));
        for at in [0, 128, 255] {
            let mut signature = signature();
            signature.0[at] ^= 1;
            assert!(!keys.vouch(BODY, &signature), "byte {at}");
        }
        assert!(!keys.vouch(BODY, &Signature(vec![0; 256])));
        assert!(!keys.vouch(BODY, &Signature(vec![1])));
    }

    #[test]
    fn any_key_of_a_file_will_do_and_a_file_without_one_will_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.pem");
        let load = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Keys::load(Some(&path), Environment::Custom)
        };
        let both = format!("{}{}", webhook_keys::PRODUCTION, webhook_keys::SANDBOX);
        assert!(load(&both).unwrap().vouch(BODY, &signature()));
        assert!(matches!(load("nothing"), Err(KeysError::NoKey { .. })));
        let damaged = webhook_keys::SANDBOX.replace("VwIDAQAB", "VwIDAQA=");
        let both = format!("{}{damaged}", webhook_keys::PRODUCTION);
        let error = load(&both).unwrap_err();
        assert!(
            matches!(error, KeysError::Unusable { position: 2, .. }),
            "{error}"
        );
        std::fs::remove_file(&path).unwrap();
        let error = Keys::load(Some(&path), Environment::Sandbox).unwrap_err();
        assert!(matches!(error, KeysError::Read { .. }), "{error}");
        let error = Keys::load(None, Environment::Custom).unwrap_err();
        assert!(matches!(error, KeysError::NoneBuiltIn));
    }

    #[test]
    fn what_is_no_base64_is_no_signature() {
        for text in ["", "!not base64!", "AA", "AAA= ", " AAA=", "AA\nA="] {
            assert_eq!(
                Signature::parse(text.as_bytes()).unwrap_err(),
                Malformed,
                "{text:?}"
            );
        }
        let long = "A".repeat(2048);
        assert_eq!(Signature::parse(long.as_bytes()).unwrap_err(), Malformed);
        assert!(Signature::parse(b"AAA=").is_ok());
    }
}
