use std::fmt;
use std::path::Path;
use std::str::FromStr;

use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, RsaKeySize};
use rustls_pki_types::PrivateKeyDer;
use zeroize::{Zeroize as _, Zeroizing};

use super::{TlsError, files, keys};
use crate::secret::Secret;

/// A kind of key that Wise takes in a CSR.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyType {
    Rsa2048,
    Rsa3072,
    Rsa4096,
    P256,
    P384,
}

impl KeyType {
    pub(crate) const ALL: [Self; 5] = [
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::P256,
        Self::P384,
    ];

    /// The name used on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::P256 => "p-256",
            Self::P384 => "p-384",
        }
    }

    /// The kind that a [`Certificate`](super::Certificate) says its key is of.
    pub(crate) fn of(kind: &str) -> Option<Self> {
        let plain = kind.to_ascii_lowercase().replace(' ', "-");
        plain.parse().ok()
    }

    fn generate(self) -> Result<KeyPair, rcgen::Error> {
        let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
        match self {
            Self::Rsa2048 => rsa(RsaKeySize::_2048),
            Self::Rsa3072 => rsa(RsaKeySize::_3072),
            Self::Rsa4096 => rsa(RsaKeySize::_4096),
            Self::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A kind of key that Wise does not take.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the key types are rsa-2048, rsa-3072, rsa-4096, p-256 and p-384")]
pub(crate) struct ParseKeyTypeError;

impl FromStr for KeyType {
    type Err = ParseKeyTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or(ParseKeyTypeError)
    }
}

/// The subject of a CSR that Wise will sign: it has an organisation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Subject {
    organisation: String,
    country: Option<String>,
    common_name: Option<String>,
}

impl Subject {
    /// Checks the parts: `O` is mandatory, `C` is two capital letters, nothing is longer than 64
    /// characters (X.520, Annex C). Wise replaces `CN` with the client id.
    pub(crate) fn new(
        organisation: &str,
        country: Option<&str>,
        common_name: Option<&str>,
    ) -> Result<Self, TlsError> {
        let country = country.map(str::trim);
        if let Some(country) = country
            && !(country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase()))
        {
            return Err(TlsError::Subject {
                field: "the country (C)",
                problem: "must be two capital letters, such as GB",
            });
        }
        Ok(Self {
            organisation: text("the organisation (O)", organisation)?,
            country: country.map(str::to_owned),
            common_name: common_name
                .map(|name| text("the common name (CN)", name))
                .transpose()?,
        })
    }

    fn name(&self) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        if let Some(country) = &self.country {
            name.push(DnType::CountryName, country.as_str());
        }
        name.push(
            DnType::OrganizationName,
            DnValue::Utf8String(self.organisation.clone()),
        );
        if let Some(common_name) = &self.common_name {
            name.push(DnType::CommonName, DnValue::Utf8String(common_name.clone()));
        }
        name
    }
}

fn text(field: &'static str, text: &str) -> Result<String, TlsError> {
    let text = text.trim();
    let problem = if text.is_empty() {
        "must not be empty"
    } else if text.chars().count() > 64 {
        "must not be longer than 64 characters"
    } else if text.chars().any(char::is_control) {
        "must not hold control characters"
    } else {
        return Ok(text.to_owned());
    };
    Err(TlsError::Subject { field, problem })
}

/// A new private key and the CSR made with it.
pub(crate) struct Request {
    csr: String,
    key: Zeroizing<String>,
}

impl Request {
    /// Makes a key and signs a CSR with it. RSA 4096 takes seconds: call it where that is no harm.
    pub(crate) fn generate(key_type: KeyType, subject: &Subject) -> Result<Self, TlsError> {
        let mut pair = key_type.generate().map_err(TlsError::Generate)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject.name();
        let csr = params
            .serialize_request(&pair)
            .and_then(|request| request.pem());
        let key = Zeroizing::new(pair.serialize_pem());
        pair.zeroize();
        Ok(Self {
            csr: csr.map_err(TlsError::Generate)?,
            key,
        })
    }

    /// Has the key written under a passphrase.
    pub(crate) fn seal(&mut self, passphrase: &Secret) -> Result<(), TlsError> {
        let key = keys::open(self.key.as_bytes(), Path::new("the new key"), None)?;
        let PrivateKeyDer::Pkcs8(key) = key else {
            return Err(TlsError::Seal);
        };
        self.key = keys::seal(&key, passphrase)?;
        Ok(())
    }

    /// The CSR in PEM, nothing above or below it: Wise refuses comments.
    pub(crate) fn csr_pem(&self) -> &str {
        &self.csr
    }

    /// Writes the key (0600) and the CSR (0644); neither file may exist.
    pub(crate) fn write(&self, key: &Path, csr: &Path) -> Result<(), TlsError> {
        // Looked at first, so that a failure leaves no key that no CSR names.
        if csr.symlink_metadata().is_ok() {
            return Err(TlsError::Exists {
                path: csr.to_owned(),
            });
        }
        files::create(key, self.key.as_bytes(), 0o600)?;
        files::create(csr, self.csr.as_bytes(), 0o644)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("csr", &self.csr)
            .finish_non_exhaustive()
    }
}
