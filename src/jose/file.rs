//! Private keys of ours in files: PEM, PKCS#8, readable by their owner alone.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::{DecryptingKey, SigningKey};
use crate::config::{JoseDecrypting, JoseSigning, SecretError, SecretSource};

/// Why a file holds no key that can be used. No message has a byte of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    #[error(transparent)]
    Unreadable(#[from] SecretError),
    #[error(
        "{} holds no private key in PKCS#8 (`-----BEGIN PRIVATE KEY-----`); `openssl pkcs8 -topk8 -nocrypt -in FILE -out FILE.pkcs8` makes one of another form",
        path.display()
    )]
    NotPkcs8 { path: PathBuf },
    #[error(
        "the key in {} is not one for {algorithm}; make one with `wise-auth-proxy jose keygen`, or name the algorithm that it is for",
        path.display()
    )]
    Unfit {
        path: PathBuf,
        algorithm: &'static str,
    },
}

/// The key that signs requests. Blocks on the file.
pub(crate) fn read_signing(key: &JoseSigning) -> Result<SigningKey, KeyFileError> {
    let der = read(&key.path)?;
    SigningKey::from_pkcs8(key.algorithm, key.kid.clone(), &der)
        .map_err(|_| unfit(&key.path, key.algorithm.name()))
}

/// The key that decrypts answers. Blocks on the file.
pub(crate) fn read_decrypting(key: &JoseDecrypting) -> Result<DecryptingKey, KeyFileError> {
    let der = read(&key.path)?;
    DecryptingKey::from_pkcs8(&der).map_err(|_| unfit(&key.path, "RSA-OAEP-256"))
}

fn unfit(path: &Path, algorithm: &'static str) -> KeyFileError {
    KeyFileError::Unfit {
        path: path.to_owned(),
        algorithm,
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let text = SecretSource::File(path.to_owned()).read()?;
    let mut key = PrivatePkcs8KeyDer::from_pem_slice(text.expose().as_bytes()).map_err(|_| {
        KeyFileError::NotPkcs8 {
            path: path.to_owned(),
        }
    })?;
    let der = Zeroizing::new(key.secret_pkcs8_der().to_vec());
    key.zeroize();
    Ok(der)
}

/// A private key as such a file has it (RFC 7468 §10).
pub(crate) fn pem(pkcs8: &[u8]) -> Zeroizing<String> {
    const WIDTH: usize = 64;
    let text = Zeroizing::new(STANDARD.encode(pkcs8));
    // Never grows: what it left behind would not be wiped.
    let mut pem = Zeroizing::new(String::with_capacity(text.len() + text.len() / WIDTH + 64));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(WIDTH));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}
