//! PKCS#12 files (`.p12`, `.pfx`; RFC 7292): what an operator is handed by those who make keys
//! elsewhere. Only `cert install` reads one; no proxy does.

use std::path::Path;

use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error;
use rustls_pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

use super::{TlsError, keys, pem};
use crate::secret::Secret;

/// Certificates and key of a PKCS#12 file, in PEM. The key is in the clear.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) certificates: String,
    pub(super) key: Zeroizing<String>,
}

/// What is wrong with a PKCS#12 file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ArchiveProblem {
    #[error("it holds no private key; have it exported again with its key")]
    NoKey,
    #[error("it holds {0} private keys; have it exported again with one")]
    SeveralKeys(usize),
    #[error("it holds no certificate; have it exported again with its certificate")]
    NoCertificate,
    /// An older or a newer way to encrypt, BER, or damage: only another tool can tell.
    #[error(
        "it is damaged, or encrypted in a way that is not known here; write it anew: `(umask 077 && openssl pkcs12 -legacy -nodes -in FILE -out FILE.pem && openssl pkcs12 -export -in FILE.pem -out FILE.new.p12 && rm FILE.pem)`"
    )]
    Unreadable,
}

/// Opens a PKCS#12 file, its signature checked.
pub(super) fn open(archive: &[u8], path: &Path, passphrase: &Secret) -> Result<Contents, TlsError> {
    let problem = |problem| TlsError::Archive {
        path: path.to_owned(),
        problem,
    };
    let opened = Pkcs12Archive::from_pkcs12(archive, passphrase.expose());
    let opened = opened.map_err(|error| match error {
        // Whoever has the passphrase made the signature; without one, the padding tells.
        Error::MacError(_) | Error::UnpadError => TlsError::WrongPassphrase {
            path: path.to_owned(),
        },
        Error::IoError(_)
        | Error::DerError(_)
        | Error::InvalidVersion
        | Error::UnsupportedContentType
        | Error::UnsupportedCertificateType
        | Error::X509Error(_)
        | Error::InvalidLength
        | Error::InvalidParameters
        | Error::InvalidData
        | Error::UnsupportedEncryptionScheme
        | Error::UnsupportedMacAlgorithm
        | Error::Pkcs5Error(_)
        | Error::InvalidPrivateKey => problem(ArchiveProblem::Unreadable),
    })?;
    let key = match opened.keys.as_slice() {
        [] => return Err(problem(ArchiveProblem::NoKey)),
        [key] => PrivatePkcs8KeyDer::from(key.key.as_der()),
        several => return Err(problem(ArchiveProblem::SeveralKeys(several.len()))),
    };
    if opened.certs.is_empty() {
        return Err(problem(ArchiveProblem::NoCertificate));
    }
    let certificates = opened.certs.iter();
    Ok(Contents {
        certificates: certificates
            .map(|found| pem::encode_certificate(found.cert.as_der()))
            .collect(),
        key: keys::clear(&key),
    })
}
