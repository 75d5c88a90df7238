//! What the fake Wise shows receivers: its signature, and its client certificate where that is
//! asked for. Both are made when they are first needed.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyPair;
use rcgen::PublicKeyData as _;
use rcgen::SubjectPublicKeyInfo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::Trouble;
use crate::simulator::pki;
use crate::simulator::pki::Authority;

/// An RSA key that signs deliveries.
pub(super) struct Signer {
    pair: rsa::KeyPair,
    public: String,
}

impl Signer {
    pub(super) fn new() -> Result<Self, Trouble> {
        let broken = |_| Trouble::Broken("the signing key could not be made");
        let (private, public) = pki::rsa_2048().map_err(broken)?;
        let pair = rsa::KeyPair::from_pkcs8(&private)
            .map_err(|_| Trouble::Broken("the signing key could not be read"))?;
        Ok(Self {
            pair,
            public: pem(&public),
        })
    }

    /// The public key as PEM, as Wise publishes its own.
    pub(super) fn public(&self) -> &str {
        &self.public
    }

    /// `X-Signature-SHA256` of a body.
    pub(super) fn sign(&self, body: &[u8]) -> Result<String, Trouble> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                body,
                &mut signature,
            )
            .map_err(|_| Trouble::Broken("the body could not be signed"))?;
        Ok(STANDARD.encode(signature))
    }
}

fn pem(der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    for (at, letter) in encoded.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str("\n-----END PUBLIC KEY-----\n");
    pem
}

/// A client certificate under an authority under a root, as a receiver imports them.
pub(super) struct Certificate {
    authorities: String,
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Certificate {
    pub(super) fn new(now: SystemTime) -> Result<Self, Trouble> {
        let broken = |_| Trouble::Broken("the client certificate could not be made");
        let root = Authority::new("Simulated Wise webhook root CA", now).map_err(broken)?;
        let issuing = root
            .intermediate("Simulated Wise webhook CA", now)
            .map_err(broken)?;
        let key = KeyPair::generate().map_err(broken)?;
        let public =
            SubjectPublicKeyInfo::from_der(&key.subject_public_key_info()).map_err(broken)?;
        let year = Duration::from_hours(24 * 365);
        let name = "webhooks.wise.invalid";
        let leaf = issuing
            .client(&public, "Simulated Wise", name, year, now)
            .map_err(broken)?;
        let leaf = CertificateDer::from_pem_slice(leaf.pem.as_bytes())
            .map_err(|_| Trouble::Broken("the client certificate could not be read"))?;
        Ok(Self {
            authorities: format!("{}{}", issuing.pem(), root.pem()),
            chain: vec![leaf, issuing.der().clone()],
            key: key.serialize_der(),
        })
    }

    /// The chain that receivers import.
    pub(super) fn authorities(&self) -> &str {
        &self.authorities
    }
}

/// A client that trusts `roots` and shows the certificate, if there is one.
pub(super) fn client(
    roots: RootCertStore,
    certificate: Option<&Certificate>,
) -> Result<ClientConfig, Trouble> {
    let broken = |_| Trouble::Broken("the TLS client could not be made");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(broken)?
        .with_root_certificates(roots);
    match certificate {
        None => Ok(builder.with_no_client_auth()),
        Some(certificate) => {
            let key = PrivatePkcs8KeyDer::from(certificate.key.clone());
            builder
                .with_client_auth_cert(certificate.chain.clone(), PrivateKeyDer::from(key))
                .map_err(broken)
        }
    }
}
