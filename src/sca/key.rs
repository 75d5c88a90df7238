//! The key that signs one-time tokens: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2).

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use zeroize::Zeroizing;

use super::OneTimeToken;
use crate::config::{Lane, LaneSet, SecretError, SecretSource};

/// Why a file holds no key that can be used. No message has a byte of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error(transparent)]
    Unreadable(#[from] SecretError),
    #[error(
        "{} holds no private key in PEM (`-----BEGIN PRIVATE KEY-----` or `-----BEGIN RSA PRIVATE \
         KEY-----`, without a passphrase); `wise-auth-proxy sca keygen` makes one",
        path.display()
    )]
    NoKey { path: PathBuf },
    #[error(
        "the key in {} is no RSA key of 2048 to 8192 bits, which Wise wants for one-time tokens; \
         `wise-auth-proxy sca keygen` makes one",
        path.display()
    )]
    Unfit { path: PathBuf },
    /// A fault of the program or the machine.
    #[error("the cryptographic library refuses its work")]
    Library,
}

impl From<Unspecified> for KeyError {
    fn from(Unspecified: Unspecified) -> Self {
        Self::Library
    }
}

/// How large a new key is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum KeySize {
    #[default]
    Bits2048,
    Bits3072,
    Bits4096,
}

impl KeySize {
    pub(crate) fn of(bits: u16) -> Option<Self> {
        match bits {
            2048 => Some(Self::Bits2048),
            3072 => Some(Self::Bits3072),
            4096 => Some(Self::Bits4096),
            _ => None,
        }
    }
}

/// A key, and the lanes in which it signs.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) key: SigningKey,
    pub(crate) lanes: LaneSet,
}

impl Signer {
    pub(crate) fn signs_in(&self, lane: Lane) -> bool {
        self.lanes.contains(lane)
    }
}

/// A private key whose public half Wise has.
pub(crate) struct SigningKey(rsa::KeyPair);

impl SigningKey {
    /// Reads a file that only its owner may read: PKCS#8 or PKCS#1. Blocks on it.
    pub(crate) fn read(path: &Path) -> Result<Self, KeyError> {
        let text = SecretSource::File(path.to_owned()).read()?;
        let no_key = || KeyError::NoKey {
            path: path.to_owned(),
        };
        let unfit = |_| KeyError::Unfit {
            path: path.to_owned(),
        };
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.expose().as_bytes()) {
            let (kind, der) = section.map_err(|_| no_key())?;
            let der = Zeroizing::new(der);
            let pair = if kind == SectionKind::PrivateKey {
                rsa::KeyPair::from_pkcs8(&der)
            } else if kind == SectionKind::RsaPrivateKey {
                rsa::KeyPair::from_der(&der)
            } else if kind == SectionKind::EcPrivateKey {
                // A key, but none for this.
                return Err(KeyError::Unfit {
                    path: path.to_owned(),
                });
            } else {
                continue;
            };
            return Ok(Self(pair.map_err(unfit)?));
        }
        Err(no_key())
    }

    /// From PKCS#8.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair = rsa::KeyPair::from_pkcs8(der).map_err(|_| KeyError::Library)?;
        Ok(Self(pair))
    }

    /// A new key as PKCS#8. Takes up to some seconds.
    pub(crate) fn generate(size: KeySize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let pair = rsa::KeyPair::generate(match size {
            KeySize::Bits2048 => rsa::KeySize::Rsa2048,
            KeySize::Bits3072 => rsa::KeySize::Rsa3072,
            KeySize::Bits4096 => rsa::KeySize::Rsa4096,
        })?;
        let der: Pkcs8V1Der<'static> = pair.as_der()?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }

    /// The value of `X-Signature` for a token: base64 of the signature over its ASCII letters.
    ///
    /// Takes about a millisecond of the processor: not for a thread that serves requests.
    pub(crate) fn sign(&self, token: &OneTimeToken) -> Result<HeaderValue, KeyError> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = SystemRandom::new();
        self.0
            .sign(&RSA_PKCS1_SHA256, &random, token.as_bytes(), &mut signature)?;
        let text = STANDARD.encode(signature);
        let mut value = HeaderValue::try_from(text).map_err(|_| KeyError::Library)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Whether a signature as [`Self::sign`] makes it is one by this key, as Wise finds out.
    pub(crate) fn verifies(
        &self,
        token: &OneTimeToken,
        signature: &HeaderValue,
    ) -> Result<bool, KeyError> {
        verifies(&self.public_der()?, token, signature)
    }

    /// How many bits it has.
    pub(crate) fn bits(&self) -> usize {
        self.0.public_modulus_len() * 8
    }

    /// The public half as a DER `SubjectPublicKeyInfo`.
    pub(crate) fn public_der(&self) -> Result<Vec<u8>, KeyError> {
        let der: PublicKeyX509Der<'static> = self.0.public_key().as_der()?;
        Ok(der.as_ref().to_vec())
    }

    /// The public half in PEM (RFC 7468 §13), as Wise's page takes it.
    pub(crate) fn public_pem(&self) -> Result<String, KeyError> {
        let text = STANDARD.encode(self.public_der()?);
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, tail) = rest.split_at(rest.len().min(64));
            pem.extend([line, "\n"]);
            rest = tail;
        }
        pem.push_str("-----END PUBLIC KEY-----");
        Ok(pem)
    }

    /// SHA-256 of the public half, to compare keys by.
    pub(crate) fn fingerprint(&self) -> Result<String, KeyError> {
        use fmt::Write as _;

        let mut hex = String::with_capacity(64);
        for byte in digest(&SHA256, &self.public_der()?).as_ref() {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Ok(hex)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

fn verifies(
    public: &[u8],
    token: &OneTimeToken,
    signature: &HeaderValue,
) -> Result<bool, KeyError> {
    let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
    let key = key.map_err(|_| KeyError::Library)?;
    let signature = STANDARD.decode(signature.as_bytes());
    Ok(signature.is_ok_and(|it| key.verify_sig(token.as_bytes(), &it).is_ok()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    const TOKEN: &str = "65a31b86-aa2e-47fd-a7a4-3710437ba270";

    fn private(directory: &Path, name: &str, text: &str) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn openssl(arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        output.stdout
    }

    fn pem(pkcs8: &[u8]) -> String {
        let text = STANDARD.encode(pkcs8);
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    }

    /// The signature is what `openssl dgst -sha256 -sign` makes, to the byte: the way that Wise's
    /// guide shows. And a key in PKCS#1, the form of that guide, is the same key.
    #[test]
    fn the_signature_is_openssls() {
        let directory = tempfile::tempdir().unwrap();
        let der = SigningKey::generate(KeySize::Bits2048).unwrap();
        let path = private(directory.path(), "key", &pem(&der));
        let token = OneTimeToken::parse(TOKEN).unwrap();
        let key = SigningKey::read(&path).unwrap();
        assert_eq!(key.bits(), 2048);
        let signature = key.sign(&token).unwrap();

        let data = private(directory.path(), "data", TOKEN);
        let (path, data) = (path.to_str().unwrap(), data.to_str().unwrap());
        let theirs = openssl(&["dgst", "-sha256", "-sign", path, data]);
        assert_eq!(signature.as_bytes(), STANDARD.encode(&theirs).as_bytes());

        let pkcs1 = openssl(&["pkey", "-in", path, "-traditional"]);
        let pkcs1 = String::from_utf8(pkcs1).unwrap();
        assert!(pkcs1.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
        let same = SigningKey::read(&private(directory.path(), "pkcs1", &pkcs1)).unwrap();
        assert_eq!(same.sign(&token).unwrap(), signature);
        assert_eq!(same.fingerprint().unwrap(), key.fingerprint().unwrap());

        let public = openssl(&["pkey", "-in", path, "-pubout"]);
        let public = String::from_utf8(public).unwrap();
        assert_eq!(public.trim_end(), key.public_pem().unwrap());
        assert!(key.verifies(&token, &signature).unwrap());
        let other = OneTimeToken::parse("65a31b86-aa2e-47fd-a7a4-3710437ba271").unwrap();
        assert!(!key.verifies(&other, &signature).unwrap());
    }

    /// The pair of Wise's published unit test (github.com/transferwise/digital-signatures).
    #[test]
    fn the_published_signature_verifies() {
        let public = STANDARD.decode(PUBLISHED_KEY).unwrap();
        let token = OneTimeToken::parse(TOKEN).unwrap();
        let signature = HeaderValue::from_static(PUBLISHED_SIGNATURE);
        assert!(verifies(&public, &token, &signature).unwrap());
        let other = OneTimeToken::parse("65a31b86-aa2e-47fd-a7a4-3710437ba271").unwrap();
        assert!(!verifies(&public, &other, &signature).unwrap());
    }

    #[test]
    fn what_is_no_key_for_it_is_refused_and_never_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let curve = openssl(&[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]);
        let short = openssl(&[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:1024",
        ]);
        let text = |pem: Vec<u8>| String::from_utf8(pem).unwrap();
        for (name, pem, said) in [
            ("curve", text(curve), "no RSA key of 2048"),
            ("short", text(short), "no RSA key of 2048"),
            ("none", "pLaNtEd".to_owned(), "no private key in PEM"),
            ("empty", " \n".to_owned(), "empty"),
        ] {
            let path = private(directory.path(), name, &pem);
            let error = SigningKey::read(&path).unwrap_err().to_string();
            assert!(error.contains(said), "{name}: {error}");
            assert!(
                error.contains(name) && !error.contains("pLaNtEd"),
                "{error}"
            );
        }
        let der = SigningKey::generate(KeySize::Bits2048).unwrap();
        let path = private(directory.path(), "loose", &pem(&der));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = SigningKey::read(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn no_debug_shows_a_key() {
        let der = SigningKey::generate(KeySize::Bits2048).unwrap();
        let key = SigningKey::from_pkcs8(&der).unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey { .. }");
    }

    const PUBLISHED_KEY: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA3I1g8u8307u54gh0PVTudKujVFo90500qeJcnxEycWpaPUvll1HbvDJiZhkq0zKq6HN560z5r2L1baJOpiUcdKx/Vg3BR7cyCU52a4ezuSY7VmV6KL56lNK4ieUBF6ABSW2Ivpl7fhHHi6xSMpPIzyzTMDZupCQrsmePqYev2VVx7AjskrHK3hT/+0X3AE1NZpaW2VuxHst3ApNHq0ld6oa0Z6q2Bo697X2OYPwbrm9srN+0S/xwRzbqBxT851MVd2/x4GqzIRIZ1ThetqhtghdXsaPONoWnCzYSgCAXvuXvfbdaNAPyNvABViTghyU843aR8Uvw2ItCIOlp3mLN8QIDAQAB";
    const PUBLISHED_SIGNATURE: &str = "1JnHvXd24R99jZFl5KzJer1iMFGIdrGRmu09h7QkGzo5kgk3cLHdDesitNjK131lmpgAEwnI99jtyfJfiMjFZV4VqSAmr68W12r3Jc4ACE17WNa7hGgLC7Gw+m70x9UX5dgv6ws02VlIe9i44iGJ6fN57Piy5LBitxWkAjEEMNjmqO6GdnBlxNuSc9m+eImG91nqXa6BLNFFAPD3FzaEbqW8Ob/l8ayd9xXosTNMz0ywsV/l/zthra/7olAvRLqCrMtzI9ltC7kd40xWNesehLxfQIIoAUiDF9iRCzBavXR6O7jUf56QES6ScjQ43a62V0JIdbUDSdRJPr+zesPQug==";
}
