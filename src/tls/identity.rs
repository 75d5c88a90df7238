use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;

use super::chain::{Certificate, order, parse_all};
use super::{TlsError, files, keys, pem};
use crate::clock::Clock;
use crate::secret::Secret;

const DAY: u64 = 86_400;

/// Days before its end at which a certificate is spoken of, each time louder.
const NOTICES: [i64; 4] = [30, 14, 7, 1];

/// A client certificate, its chain and its key, proven to belong together. Leaf first.
#[derive(Clone)]
pub(crate) struct Identity {
    key: Arc<CertifiedKey>,
    leaf: Certificate,
}

impl Identity {
    /// Reads certificate and key and checks that they match. Blocking.
    ///
    /// The file may hold its certificates in any order: the leaf is the one the key belongs to.
    /// Where an installation came no further than the key, its certificate is still waiting for
    /// its place, and is used from there.
    ///
    /// `passphrase` opens an encrypted key; one in the clear needs none and ignores it.
    pub(crate) fn load(
        certificate: &Path,
        key: &Path,
        passphrase: Option<&Secret>,
    ) -> Result<Self, TlsError> {
        let placed = Self::load_placed(certificate, key, passphrase);
        if !matches!(placed, Err(TlsError::KeyMismatch { .. })) {
            return placed;
        }
        let waiting = files::waiting(certificate);
        let Ok(found) = Self::load_placed(&waiting, key, passphrase) else {
            // Its certificate may have got there between the two looks.
            return Self::load_placed(certificate, key, passphrase);
        };
        tracing::warn!(
            "an installation was interrupted: the certificate for {} is not in {} but still in \
             {}, and is used from there; run the same `cert` command again to finish it",
            key.display(),
            certificate.display(),
            waiting.display()
        );
        Ok(found)
    }

    /// Whether the pair is one only with the certificate that waits for its place.
    pub(super) fn is_half_installed(
        certificate: &Path,
        key: &Path,
        passphrase: Option<&Secret>,
    ) -> bool {
        matches!(
            Self::load_placed(certificate, key, passphrase),
            Err(TlsError::KeyMismatch { .. })
        ) && Self::load_placed(&files::waiting(certificate), key, passphrase).is_ok()
    }

    /// As [`Identity::load`], without a look at what waits.
    pub(super) fn load_placed(
        certificate: &Path,
        key: &Path,
        passphrase: Option<&Secret>,
    ) -> Result<Self, TlsError> {
        let pem = files::read(certificate)?;
        let key_pem = files::read_key(key)?;
        Self::from_pem(&pem, certificate, &key_pem, key, passphrase)
    }

    /// As [`Identity::load`], from bytes; the paths are for messages.
    pub(super) fn from_pem(
        certificate_pem: &[u8],
        certificate: &Path,
        key_pem: &[u8],
        key: &Path,
        passphrase: Option<&Secret>,
    ) -> Result<Self, TlsError> {
        let links = parse_all(
            pem::certificates(certificate_pem, certificate)?,
            certificate,
        )?;
        let unusable = || TlsError::UnusableKey {
            path: key.to_owned(),
        };
        let signer = aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(keys::open(key_pem, key, passphrase)?)
            .map_err(|_| unusable())?;
        let public_key = signer.public_key().ok_or_else(unusable)?;
        // Of several certificates for one key, the file's newest: a renewal was appended.
        let leaf = (0..links.len())
            .filter(|&at| links[at].public_key == public_key.as_ref())
            .max_by_key(|&at| links[at].certificate.not_after)
            .ok_or_else(|| TlsError::KeyMismatch {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            })?;
        let ordered = order(links, Some(leaf));
        let leaf = ordered[0].certificate.clone();
        let chain = ordered.into_iter().map(|link| link.der).collect();
        Ok(Self {
            key: Arc::new(CertifiedKey::new(chain, signer)),
            leaf,
        })
    }

    /// What the leaf says.
    pub(crate) fn certificate(&self) -> &Certificate {
        &self.leaf
    }

    /// Certificates sent to the server, the leaf included.
    pub(crate) fn chain_length(&self) -> usize {
        self.key.cert.len()
    }

    /// Whole days until the certificate ends; negative once it has.
    pub(crate) fn days_left(&self, clock: &dyn Clock) -> i64 {
        self.leaf.days_left(clock)
    }

    /// What an operator should know about this identity now, gravest first.
    pub(crate) fn check(&self, clock: &dyn Clock, client_id: Option<&str>) -> Vec<Finding> {
        findings(&self.leaf, clock.wall(), client_id)
    }

    pub(super) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    /// The chain in PEM, leaf first, without comments.
    pub(super) fn chain_pem(&self) -> String {
        self.key
            .cert
            .iter()
            .map(|der| pem::encode_certificate(der))
            .collect()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("leaf", &self.leaf)
            .field("chain_length", &self.chain_length())
            .finish_non_exhaustive()
    }
}

/// How grave a [`Finding`] is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Severity {
    /// Wise cannot accept this certificate now.
    Error,
    /// It works, or may work, but somebody should look.
    Warning,
}

/// Something an operator should know about a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Finding {
    /// Its time is over, since so many days.
    Expired { days: i64 },
    /// Its time has not come, for so many days.
    NotYetValid { days: i64 },
    /// Wise sets the common name to the client id; this one says something else.
    WrongName {
        found: Option<String>,
        client_id: String,
    },
    /// It may authenticate servers only.
    NotForClients,
    /// It ends soon: `days` are left, which is within the notice of `within` days.
    ExpiresSoon { days: i64, within: i64 },
}

impl Finding {
    pub(crate) fn severity(&self) -> Severity {
        match self {
            Self::Expired { .. } | Self::NotYetValid { .. } => Severity::Error,
            Self::WrongName { .. } | Self::NotForClients | Self::ExpiresSoon { .. } => {
                Severity::Warning
            }
        }
    }
}

impl Finding {
    /// Whether somebody has to do something today.
    pub(crate) fn is_urgent(&self) -> bool {
        match self {
            Self::Expired { .. } | Self::NotYetValid { .. } => true,
            Self::ExpiresSoon { within, .. } => *within <= 1,
            Self::WrongName { .. } | Self::NotForClients => false,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { days } => write!(
                f,
                "the client certificate expired {} ago; begin the next with `wise-auth-proxy csr --renew`",
                Days(*days)
            ),
            Self::NotYetValid { days } => write!(
                f,
                "the client certificate is not valid for another {}; check this machine's clock",
                Days(*days)
            ),
            Self::WrongName {
                found: Some(found),
                client_id,
            } => write!(
                f,
                "the client certificate is for `{found}`, not for the client id `{client_id}`; Wise may refuse it"
            ),
            Self::WrongName {
                found: None,
                client_id,
            } => write!(
                f,
                "the client certificate has no common name; Wise sets it to the client id `{client_id}`"
            ),
            Self::NotForClients => f.write_str(
                "the client certificate may authenticate servers only (extended key usage); use the one that Wise issued",
            ),
            Self::ExpiresSoon { days, .. } => write!(
                f,
                "the client certificate expires in {}; begin the next with `wise-auth-proxy csr --renew`",
                Days(*days)
            ),
        }
    }
}

struct Days(i64);

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("less than a day"),
            1 => f.write_str("1 day"),
            days => write!(f, "{days} days"),
        }
    }
}

/// The findings about a certificate at a moment, gravest first.
pub(super) fn findings(
    certificate: &Certificate,
    now: SystemTime,
    client_id: Option<&str>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let left = days_between(now, certificate.not_after);
    if now > certificate.not_after {
        findings.push(Finding::Expired {
            days: days_between(certificate.not_after, now),
        });
    } else if now < certificate.not_before {
        findings.push(Finding::NotYetValid {
            days: days_between(now, certificate.not_before),
        });
    }
    if let Some(client_id) = client_id
        && certificate.common_name.as_deref() != Some(client_id)
    {
        findings.push(Finding::WrongName {
            found: certificate.common_name.clone(),
            client_id: client_id.to_owned(),
        });
    }
    if !certificate.for_clients {
        findings.push(Finding::NotForClients);
    }
    if now <= certificate.not_after
        && let Some(within) = NOTICES.into_iter().rev().find(|notice| left < *notice)
    {
        findings.push(Finding::ExpiresSoon { days: left, within });
    }
    findings
}

/// Whole days from `from` to `to`, rounded down, so that −1 means "ended".
pub(super) fn days_between(from: SystemTime, to: SystemTime) -> i64 {
    let whole = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    match to.duration_since(from) {
        Ok(ahead) => whole(ahead.as_secs() / DAY),
        Err(behind) => -whole(behind.duration().as_secs() / DAY) - 1,
    }
}
