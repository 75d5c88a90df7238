use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Name};

use super::chain::{self, Certificate};
use super::{Identity, RootSet, Tickets, TlsError, client_config};
use crate::config::HttpVersion;

/// What a server showed in a handshake, whether or not it was believed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// Its certificates as they came; the leaf is the first.
    pub(crate) chain: Vec<Certificate>,
    /// An authority that we trust vouches for the name.
    pub(crate) believed: bool,
    /// It proved to hold the leaf's key, under this version of TLS.
    pub(crate) version: Option<&'static str>,
    /// It asked for a client certificate, of these authorities; of any if none is named.
    pub(crate) asked: Option<Vec<String>>,
}

/// Where the handshake of a watched configuration leaves what it sees. One is made with each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch(Arc<Mutex<Shown>>);

impl Watch {
    /// What the handshake has shown so far.
    pub(crate) fn shown(&self) -> Shown {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// As [`client_config`], with somebody who looks on.
///
/// rustls keeps nothing of a handshake that it ends, and an operator asks exactly then whose
/// certificate that was. What is believed is decided as everywhere: the watcher passes every
/// question on and has no opinion. Sessions are not resumed, so that every handshake is whole.
pub(crate) fn watched_config(
    roots: &RootSet,
    identity: Option<&Identity>,
    http: HttpVersion,
) -> Result<(Arc<rustls::ClientConfig>, Watch), TlsError> {
    let none = Tickets {
        most: 0,
        age: std::time::Duration::ZERO,
    };
    let mut config = (*client_config(roots, identity, http, none)?).clone();
    let watch = Watch::default();
    let provider = Arc::clone(config.crypto_provider());
    let judge = WebPkiServerVerifier::builder_with_provider(roots.store(), provider)
        .build()
        .map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))?;
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(Looker {
            judge,
            watch: watch.clone(),
        }));
    config.client_auth_cert_resolver = Arc::new(Asked {
        own: Arc::clone(&config.client_auth_cert_resolver),
        watch: watch.clone(),
    });
    config.resumption = Resumption::disabled();
    Ok((Arc::new(config), watch))
}

/// Looks at the server's certificates on their way to the judge.
#[derive(Debug)]
struct Looker {
    judge: Arc<WebPkiServerVerifier>,
    watch: Watch,
}

impl ServerCertVerifier for Looker {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = [leaf].into_iter().chain(others);
        let verdict = self.judge.verify_server_cert(leaf, others, name, ocsp, now);
        self.watch.note(|shown| {
            shown.chain = chain.filter_map(|der| chain::read(der)).collect();
            shown.believed = verdict.is_ok();
        });
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verdict = self
            .judge
            .verify_tls12_signature(message, certificate, signature)?;
        self.watch.note(|shown| shown.version = Some("TLS 1.2"));
        Ok(verdict)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verdict = self
            .judge
            .verify_tls13_signature(message, certificate, signature)?;
        self.watch.note(|shown| shown.version = Some("TLS 1.3"));
        Ok(verdict)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}

/// Notes that the server asks for a client certificate, and whose.
#[derive(Debug)]
struct Asked {
    own: Arc<dyn ResolvesClientCert>,
    watch: Watch,
}

impl ResolvesClientCert for Asked {
    fn resolve(
        &self,
        authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let names = authorities.iter().map(|der| {
            X509Name::from_der(der).map_or_else(
                |_| "(unreadable name)".to_owned(),
                |(_, name)| chain::name(&name),
            )
        });
        let names = names.collect();
        self.watch.note(|shown| shown.asked = Some(names));
        self.own.resolve(authorities, schemes)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.own.only_raw_public_keys()
    }

    fn has_certs(&self) -> bool {
        self.own.has_certs()
    }
}
