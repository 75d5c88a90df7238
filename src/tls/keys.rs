//! Private keys under a passphrase: PKCS#8's `EncryptedPrivateKeyInfo` (RFC 5958 §3) with PBES2
//! (RFC 8018 §6.2).

use std::path::Path;

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::Encode as _;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::{Found, TlsError, pem};
use crate::secret::Secret;

/// What OWASP asks of PBKDF2-HMAC-SHA256; a fifth of a second, at a start and at a reload.
const ITERATIONS: u32 = 600_000;

/// A file from elsewhere must not keep the proxy busy for minutes, or take its memory.
const MOST_ITERATIONS: u32 = 10_000_000;
const MOST_MEMORY: u64 = 256 << 20;
const MOST_LANES: u16 = 16;

/// The one private key of a PEM text, encrypted or not.
pub(super) fn open(
    pem: &[u8],
    path: &Path,
    passphrase: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    let clear = pem::private_key(pem, path);
    let Err(TlsError::Content {
        found: Found::EncryptedPkcs8,
        ..
    }) = &clear
    else {
        return clear;
    };
    let Some(passphrase) = passphrase else {
        return clear;
    };
    let damaged = || TlsError::SealedKey {
        path: path.to_owned(),
    };
    let der = pem::encrypted_key(pem).ok_or_else(damaged)?;
    match decrypt(&der, passphrase) {
        Ok(key) => Ok(key.into()),
        Err(Shut::Odd) => Err(damaged()),
        Err(Shut::Passphrase) => Err(TlsError::WrongPassphrase {
            path: path.to_owned(),
        }),
    }
}

/// Whether a PEM text's one key wants a passphrase.
pub(super) fn is_encrypted(pem: &[u8], path: &Path) -> bool {
    matches!(
        pem::private_key(pem, path),
        Err(TlsError::Content {
            found: Found::EncryptedPkcs8,
            ..
        })
    )
}

/// A key in PEM, encrypted under the passphrase: AES-256-CBC, PBKDF2-HMAC-SHA256.
///
/// Both are what every OpenSSL and every Java of the last ten years opens.
pub(super) fn seal(
    key: &PrivatePkcs8KeyDer<'_>,
    passphrase: &Secret,
) -> Result<Zeroizing<String>, TlsError> {
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    for random in [&mut salt, &mut iv] {
        aws_lc_rs::rand::fill(random).map_err(|_| TlsError::Seal)?;
    }
    let parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(ITERATIONS, &salt, iv);
    let parameters = parameters.map_err(|_| TlsError::Seal)?;
    let sealed = parameters
        .encrypt(passphrase.expose(), key.secret_pkcs8_der())
        .map_err(|_| TlsError::Seal)?;
    let info = EncryptedPrivateKeyInfoRef {
        encryption_algorithm: parameters.into(),
        encrypted_data: OctetStringRef::new(&sealed).map_err(|_| TlsError::Seal)?,
    };
    let der = info.to_der().map_err(|_| TlsError::Seal)?;
    Ok(Zeroizing::new(pem::encode("ENCRYPTED PRIVATE KEY", &der)))
}

/// A key in PEM, in the clear.
pub(super) fn clear(key: &PrivatePkcs8KeyDer<'_>) -> Zeroizing<String> {
    Zeroizing::new(pem::encode("PRIVATE KEY", key.secret_pkcs8_der()))
}

/// Why an encrypted key stays shut.
enum Shut {
    /// Damaged, or encrypted in a way that nobody here knows or wants to pay for.
    Odd,
    Passphrase,
}

fn decrypt(der: &[u8], passphrase: &Secret) -> Result<PrivatePkcs8KeyDer<'static>, Shut> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| Shut::Odd)?;
    let EncryptionScheme::Pbes2(parameters) = &info.encryption_algorithm else {
        return Err(Shut::Odd);
    };
    if !is_affordable(&parameters.kdf) {
        return Err(Shut::Odd);
    }
    // A wrong passphrase gives wrong padding, and one time in 256 right padding around no key.
    let key = info
        .decrypt(passphrase.expose())
        .map_err(|_| Shut::Passphrase)?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()))
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the library's list is open: what it adds is looked at before it is let in"
)]
fn is_affordable(kdf: &Kdf) -> bool {
    match kdf {
        Kdf::Pbkdf2(pbkdf2) => (1..=MOST_ITERATIONS).contains(&pbkdf2.iteration_count),
        Kdf::Scrypt(scrypt) => {
            let (cost, block) = (scrypt.cost_parameter, u64::from(scrypt.block_size));
            let memory = cost
                .checked_mul(block)
                .and_then(|blocks| blocks.checked_mul(128));
            // The library takes a cost that is no power of two for impossible, and panics at 0.
            cost > 1
                && cost.is_power_of_two()
                && memory.is_some_and(|memory| memory <= MOST_MEMORY)
                && (1..=MOST_LANES).contains(&scrypt.parallelization)
        }
        _ => false,
    }
}
