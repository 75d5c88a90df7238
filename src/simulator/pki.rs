//! The simulator's own certificate authorities: one for its servers, one for client certificates.

use std::time::Duration;
use std::time::SystemTime;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::encoding::Pkcs8V1Der;
use aws_lc_rs::encoding::PublicKeyX509Der;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::KeyPair as _;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::SerialNumber;
use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::PrivatePkcs8KeyDer;
use uuid::Uuid;

/// A certificate authority that lives as long as its simulator.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A server certificate and its key.
pub(super) struct ServerIdentity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// A client certificate as issued.
pub(super) struct Leaf {
    pub(super) pem: String,
    pub(super) serial: String,
    pub(super) expires: SystemTime,
}

const DAY: Duration = Duration::from_hours(24);

impl Authority {
    pub(super) fn new(name: &str, now: SystemTime) -> Result<Self, rcgen::Error> {
        let (params, key) = (Self::params(name, 1, now), KeyPair::generate()?);
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    /// An authority under this one.
    pub(super) fn intermediate(&self, name: &str, now: SystemTime) -> Result<Self, rcgen::Error> {
        let (mut params, key) = (Self::params(name, 0, now), KeyPair::generate()?);
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    fn params(name: &str, below: u8, now: SystemTime) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Simulated Wise");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (now - DAY).into();
        params.not_after = (now + DAY * 3_650).into();
        params
    }

    pub(super) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(super) fn der(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }

    /// A server certificate for `names`.
    pub(super) fn server(
        &self,
        names: Vec<String>,
        now: SystemTime,
    ) -> Result<ServerIdentity, rcgen::Error> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "simulated Wise API");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (now - DAY).into();
        params.not_after = (now + DAY * 3_650).into();
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(ServerIdentity {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }

    /// A client certificate for `key`.
    pub(super) fn client(
        &self,
        key: &SubjectPublicKeyInfo,
        organisation: &str,
        common_name: &str,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Leaf, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, organisation);
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let mut serial = *Uuid::new_v4().as_bytes();
        // A leading bit would need a padding byte, and the hex would differ from what a reader sees.
        serial[0] = serial[0] & 0x7f | 0x40;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        // Certificates say whole seconds; a little into the past forgives clocks that differ.
        params.not_before = (now - Duration::from_mins(1)).into();
        let expires = now + lifetime;
        params.not_after = expires.into();
        let certificate = params.signed_by(key, &self.issuer)?;
        Ok(Leaf {
            pem: certificate.pem(),
            serial: hex(&serial),
            expires,
        })
    }
}

/// A new RSA key, as PKCS#8, and its public half as a `SubjectPublicKeyInfo`.
///
/// 2,048 bits, which others count as the least: more would only make tests slower.
pub(super) fn rsa_2048() -> Result<(Vec<u8>, Vec<u8>), Unspecified> {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048)?;
    let private: Pkcs8V1Der<'static> = pair.as_der()?;
    let public: PublicKeyX509Der<'static> = pair.public_key().as_der()?;
    Ok((private.as_ref().to_vec(), public.as_ref().to_vec()))
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
