//! The local certificate authority: it vouches for Wise's hosts towards this machine's
//! applications, and cannot vouch for anything else.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PublicKeyData as _,
};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::{Zeroize as _, Zeroizing};

use super::chain::{self, Certificate};
use super::server::Acceptor;
use super::{Pair, TlsError, files, keys, pem};
use crate::clock::{Clock as _, System};
use crate::config::Ca;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Days before its end from which on the authority is spoken of.
const NOTICE: i64 = 30;

/// What a certificate of the authority's is good for. Clients keep no memory of it, so that a short
/// life costs nothing.
const VALID: Duration = Duration::from_hours(7 * 24);

impl From<&Ca> for Pair {
    fn from(ca: &Ca) -> Self {
        Self {
            certificate: ca.certificate.clone(),
            key: ca.key.clone(),
        }
    }
}

/// A new authority, in PEM.
pub(crate) struct NewAuthority {
    certificate: String,
    key: Zeroizing<String>,
}

impl NewAuthority {
    /// Makes one that may vouch for `hosts` and what is below them, and for no address.
    pub(crate) fn generate(
        hosts: &[String],
        owner: &str,
        days: u32,
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        // X.520 has room for 64 characters.
        let owner: String = owner.chars().take(32).collect();
        let name = format!("wise-auth-proxy local authority ({owner})");
        params.distinguished_name.push(
            DnType::CommonName,
            name.chars().take(64).collect::<String>(),
        );
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let host = |host: &String| GeneralSubtree::DnsName(host.clone());
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: hosts.iter().map(host).collect(),
            // What is not named as permitted binds names of its own kind only (RFC 5280 §4.2.1.10).
            excluded_subtrees: vec![
                GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
                GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
            ],
        });
        params.not_before = (now - HOUR).into();
        params.not_after = (now + DAY * days).into();
        let mut key =
            KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(TlsError::Generate)?;
        let certificate = params.self_signed(&key).map_err(TlsError::Generate)?;
        let pem = Zeroizing::new(key.serialize_pem());
        key.zeroize();
        Ok(Self {
            certificate: certificate.pem(),
            key: pem,
        })
    }

    /// Puts it in its place, key first; a crash between leaves a pair that says it is none. Without
    /// `over` neither file may exist. A directory that is not there is made, for its owner alone.
    pub(crate) fn write(&self, place: &Pair, over: bool) -> Result<(), TlsError> {
        files::private_directory(&place.key)?;
        files::private_directory(&place.certificate)?;
        if !over {
            for path in [&place.certificate, &place.key] {
                if path.symlink_metadata().is_ok() {
                    return Err(TlsError::Exists {
                        path: path.to_owned(),
                    });
                }
            }
        }
        // What root makes is for the proxy's user to read, whose directory it is.
        let of = |path: &Path, pem: &[u8], mode| {
            files::stage_like(path, pem, mode, files::directory(path))
        };
        of(&place.key, self.key.as_bytes(), 0o600)?;
        of(&place.certificate, self.certificate.as_bytes(), 0o644)?;
        files::publish(&place.key)?;
        files::publish(&place.certificate)
    }
}

impl fmt::Debug for NewAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewAuthority")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// The authority's certificate, for people.
#[derive(Clone, Debug)]
pub(crate) struct Vouching {
    pub(crate) certificate: Certificate,
    /// The hosts that it may vouch for; `None`: it is not bound to any, and could vouch for all.
    pub(crate) hosts: Option<Vec<String>>,
    pem: String,
    der: CertificateDer<'static>,
}

impl Vouching {
    /// Reads the certificate alone, which is no secret.
    pub(crate) fn read(path: &Path) -> Result<Self, TlsError> {
        let chain = pem::certificates(&files::read(path)?, path)?;
        let der = chain
            .into_iter()
            .next()
            .unwrap_or_else(|| Vec::new().into());
        let not_x509 = || TlsError::NotX509 {
            path: path.to_owned(),
            position: 1,
        };
        let certificate = chain::read(&der).ok_or_else(not_x509)?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| not_x509())?;
        if !certificate.authority {
            return Err(TlsError::NoAuthority {
                path: path.to_owned(),
            });
        }
        let constraints = parsed.name_constraints().map_err(|_| not_x509())?;
        let hosts = constraints
            .and_then(|constraints| constraints.value.permitted_subtrees.as_ref())
            .map(|permitted| {
                let hosts = permitted.iter().filter_map(|subtree| {
                    #[allow(clippy::wildcard_enum_match_arm, reason = "hosts have DNS names")]
                    match &subtree.base {
                        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                        _ => None,
                    }
                });
                hosts.collect()
            });
        Ok(Self {
            certificate,
            hosts,
            pem: pem::encode_certificate(&der),
            der,
        })
    }

    /// Whether it may vouch for `host`.
    pub(crate) fn covers(&self, host: &str) -> bool {
        let is_below = |name: &String| {
            let rest = host.strip_suffix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        (self.hosts.as_ref()).is_none_or(|hosts| hosts.iter().any(is_below))
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }
}

/// Certificate and key, proven to belong together.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) vouching: Vouching,
}

impl Authority {
    /// Reads both files. Blocking.
    pub(crate) fn load(place: &Pair) -> Result<Self, TlsError> {
        let vouching = Vouching::read(&place.certificate)?;
        let unusable = || TlsError::UnusableKey {
            path: place.key.clone(),
        };
        let pem = files::read_key(&place.key)?;
        let key = keys::open(&pem, &place.key, None)?;
        let key = KeyPair::try_from(&key).map_err(|_| unusable())?;
        let (_, parsed) =
            X509Certificate::from_der(&vouching.der).map_err(|_| TlsError::NotX509 {
                path: place.certificate.clone(),
                position: 1,
            })?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(TlsError::KeyMismatch {
                certificate: place.certificate.clone(),
                key: place.key.clone(),
            });
        }
        let issuer = Issuer::from_ca_cert_der(&vouching.der, key).map_err(TlsError::Generate)?;
        Ok(Self { issuer, vouching })
    }

    /// Says in the log that it ends soon, or has ended: applications must be given another.
    pub(crate) fn warn_of_end(&self) {
        let days = self.vouching.certificate.days_left(&System);
        if days < 0 {
            tracing::error!(
                "the local authority has ended, and applications refuse what it vouches for; make another with \
                 `wise-auth-proxy ca init --force` and have applications trust it"
            );
        } else if days < NOTICE {
            tracing::warn!(
                "the local authority ends in {days} days; make another with `wise-auth-proxy ca init --force` \
                 and have applications trust it"
            );
        }
    }

    /// A certificate for `host`, with a key that is in memory only.
    fn vouch(&self, host: &str, now: SystemTime) -> Result<CertifiedKey, rcgen::Error> {
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(
            DnType::CommonName,
            host.chars().take(64).collect::<String>(),
        );
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (now - HOUR).into();
        let end = (now + VALID).min(self.vouching.certificate.not_after);
        params.not_after = end.into();
        let mut key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        key.zeroize();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let signer = (provider.key_provider)
            .load_private_key(der)
            .map_err(|_| rcgen::Error::KeyGenerationUnavailable)?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], signer))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("vouching", &self.vouching)
            .finish_non_exhaustive()
    }
}

/// How to speak TLS inside tunnels, by host.
#[derive(Clone, Debug)]
pub(crate) struct Tunnels(BTreeMap<String, Acceptor>);

impl Tunnels {
    /// One for each of `hosts`, each of which the authority must cover.
    pub(crate) fn new(authority: &Arc<Authority>, hosts: &[String]) -> Result<Self, TlsError> {
        let tunnel = |host: &String| {
            if !authority.vouching.covers(host) {
                return Err(TlsError::NotCovered { host: host.clone() });
            }
            let resolver = Arc::new(Vouched {
                authority: Arc::clone(authority),
                host: host.clone(),
                latest: Mutex::new(None),
            });
            // The first is made now: what cannot be made is said at the start.
            resolver.at(System.wall()).map_err(TlsError::Generate)?;
            Ok((host.clone(), Acceptor::new(resolver, None)?))
        };
        hosts.iter().map(tunnel).collect::<Result<_, _>>().map(Self)
    }

    /// For `host`, in lower case; `None`: it is none of Wise's.
    pub(crate) fn to(&self, host: &str) -> Option<&Acceptor> {
        self.0.get(host)
    }
}

/// The certificate of one host, made anew when a day old.
struct Vouched {
    authority: Arc<Authority>,
    host: String,
    /// Taken once for each handshake, never for a request.
    latest: Mutex<Option<(Arc<CertifiedKey>, SystemTime)>>,
}

impl Vouched {
    fn at(&self, now: SystemTime) -> Result<Arc<CertifiedKey>, rcgen::Error> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((key, made)) = &*latest
            // A clock that was set back makes it from the future: then it is old, too.
            && now.duration_since(*made).is_ok_and(|age| age < DAY)
        {
            return Ok(Arc::clone(key));
        }
        if latest.is_some() {
            // The day is over; the first was spoken of at the start.
            self.authority.warn_of_end();
        }
        let made = Arc::new(self.authority.vouch(&self.host, now)?);
        *latest = Some((Arc::clone(&made), now));
        Ok(made)
    }
}

impl ResolvesServerCert for Vouched {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name()
            && !name.eq_ignore_ascii_case(&self.host)
        {
            tracing::debug!(
                host = self.host,
                "an application asked for another name inside a tunnel"
            );
            return None;
        }
        let made = self.at(System.wall());
        made.inspect_err(|error| {
            tracing::error!(%error, host = self.host, "the local authority could not vouch for a host");
        })
        .ok()
    }
}

impl fmt::Debug for Vouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vouched")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}
