//! TLS as Wise offers it: which versions and protocols, and what a client certificate must be.
//! One `ServerConfig` per combination of switches, kept, so that sessions can be resumed.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;

use rustls::CertificateError;
use rustls::DigitallySignedStruct;
use rustls::DistinguishedName;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::SignatureScheme;
use rustls::SupportedProtocolVersion;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::ServerSessionMemoryCache;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerified;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::UnixTime;

use super::errors::SimulatorError;
use super::faults::MissingCertificate;
use super::faults::TlsFaults;
use super::faults::TlsVersions;
use super::pki::Authority;
use super::pki::ServerIdentity;
use super::pki::hex;
use super::recorder::ClientCertificate;
use super::recorder::TlsSession;

/// Serials, in lower-case hex, of certificates taken out of service.
#[derive(Debug, Default)]
pub(super) struct Revocations(RwLock<HashSet<String>>);

impl Revocations {
    pub(super) fn add(&self, serial: String) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(serial);
    }

    pub(super) fn contains(&self, serial: &str) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(serial)
    }
}

/// Builds and keeps server configurations.
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    identity: ServerIdentity,
    clients: Arc<RootCertStore>,
    revoked: Arc<Revocations>,
    built: Mutex<HashMap<Shape, Arc<ServerConfig>>>,
}

#[derive(Clone, Copy, Eq, Hash, PartialEq)]
struct Shape {
    client: Client,
    http1_only: bool,
    versions: TlsVersions,
}

#[derive(Clone, Copy, Eq, Hash, PartialEq)]
enum Client {
    NotAsked,
    Asked,
    Required,
}

impl Tls {
    pub(super) fn new(
        identity: ServerIdentity,
        clients: &Authority,
        revoked: Arc<Revocations>,
    ) -> Result<Self, SimulatorError> {
        let mut roots = RootCertStore::empty();
        roots
            .add(clients.der().clone())
            .map_err(|error| SimulatorError::Tls(error.to_string()))?;
        Ok(Self {
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            identity,
            clients: Arc::new(roots),
            revoked,
            built: Mutex::default(),
        })
    }

    /// The configuration for the next handshake.
    pub(super) fn config(
        &self,
        mtls: bool,
        faults: &TlsFaults,
    ) -> Result<Arc<ServerConfig>, SimulatorError> {
        let client = match (mtls, faults.missing_certificate) {
            (false, _) => Client::NotAsked,
            (true, MissingCertificate::Alert) => Client::Required,
            (true, MissingCertificate::BadRequest | MissingCertificate::Forbidden) => Client::Asked,
        };
        let shape = Shape {
            client,
            http1_only: faults.http1_only,
            versions: faults.versions,
        };
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = built.get(&shape) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.build(shape)?);
        built.insert(shape, Arc::clone(&config));
        Ok(config)
    }

    fn build(&self, shape: Shape) -> Result<ServerConfig, SimulatorError> {
        let broken = |error: &dyn fmt::Display| SimulatorError::Tls(error.to_string());
        let versions: &[&SupportedProtocolVersion] = match shape.versions {
            TlsVersions::Both => rustls::ALL_VERSIONS,
            TlsVersions::Tls12 => &[&rustls::version::TLS12],
            TlsVersions::Tls13 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)
            .map_err(|error| broken(&error))?;
        let builder = match shape.client {
            Client::NotAsked => builder.with_no_client_auth(),
            Client::Asked | Client::Required => {
                let inner = WebPkiClientVerifier::builder_with_provider(
                    Arc::clone(&self.clients),
                    Arc::clone(&self.provider),
                );
                let inner = if shape.client == Client::Asked {
                    inner.allow_unauthenticated()
                } else {
                    inner
                };
                let inner = inner.build().map_err(|error| broken(&error))?;
                builder.with_client_cert_verifier(Arc::new(Verifier {
                    inner,
                    revoked: Arc::clone(&self.revoked),
                }))
            }
        };
        let mut config = builder
            .with_single_cert(self.identity.chain.clone(), self.identity.key.clone_key())
            .map_err(|error| broken(&error))?;
        config.session_storage = ServerSessionMemoryCache::new(1_024);
        config.alpn_protocols = if shape.http1_only {
            vec![b"http/1.1".to_vec()]
        } else {
            vec![b"h2".to_vec(), b"http/1.1".to_vec()]
        };
        Ok(config)
    }
}

/// The session as the recorder shows it.
pub(super) fn describe(connection: &rustls::ServerConnection) -> TlsSession {
    TlsSession {
        version: connection
            .protocol_version()
            .and_then(|version| version.as_str())
            .unwrap_or("unknown")
            .to_owned(),
        alpn: connection
            .alpn_protocol()
            .map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
        sni: connection.server_name().map(str::to_owned),
        client_certificate: connection
            .peer_certificates()
            .and_then(<[_]>::first)
            .and_then(|leaf| read_leaf(leaf)),
    }
}

fn read_leaf(leaf: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let common_name = leaf
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok())
        .unwrap_or_default()
        .to_owned();
    Some(ClientCertificate {
        common_name,
        subject: leaf.subject().to_string(),
        serial: hex(leaf.raw_serial()),
    })
}

/// webpki's verdict, and then the revocation list.
#[derive(Debug)]
struct Verifier {
    inner: Arc<dyn ClientCertVerifier>,
    revoked: Arc<Revocations>,
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.inner.verify_client_cert(leaf, intermediates, now)?;
        match read_leaf(leaf) {
            Some(certificate) if self.revoked.contains(&certificate.serial) => {
                Err(rustls::Error::InvalidCertificate(CertificateError::Revoked))
            }
            Some(_) => Ok(verified),
            None => Err(rustls::Error::InvalidCertificate(
                CertificateError::BadEncoding,
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
