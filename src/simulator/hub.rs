//! The Developer Hub: client certificates out of certificate requests, under Wise's rules.

use std::time::Duration;
use std::time::SystemTime;

use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

use super::faults::HubFaults;
use super::pki::Authority;

/// Why the Developer Hub refused a request.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The certificate's name is empty.
    #[error("the certificate needs a name; give one that tells it from your other certificates")]
    NoName,
    /// An active certificate has the same name.
    #[error("the name {0:?} is taken by an active certificate; choose another, or revoke that one")]
    NameTaken(String),
    /// Ten certificates are active.
    #[error("ten certificates are active already; revoke one you no longer use")]
    TooMany,
    /// There is text outside the PEM block.
    #[error(
        "there is text outside the PEM block; paste only the lines from BEGIN to END (openssl: leave out -text)"
    )]
    TextAround,
    /// It is not a PEM certificate request.
    #[error("not a certificate request in PEM; it begins with -----BEGIN CERTIFICATE REQUEST-----")]
    NotARequest,
    /// The request's own signature is wrong.
    #[error("the request's signature does not match its key; make it again with the key it is for")]
    BadSignature,
    /// The subject has no organisation.
    #[error(
        "the subject has no organisation; O is mandatory, for instance -subj \"/C=EU/O=Your company\""
    )]
    NoOrganisation,
    /// The key is of a kind or size Wise does not take.
    #[error("the key is {0}; use RSA of 2048, 3072 or 4096 bits, or ECC P-256 or P-384")]
    Key(String),
    /// No active certificate has this name.
    #[error("no active certificate is named {0:?}; list them to see the names")]
    Unknown(String),
    /// Signing failed.
    #[error(
        "the certificate could not be signed: {0}; this is a defect of the simulator, please report it"
    )]
    Signing(String),
}

/// One issued certificate.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Issued {
    /// Its name in the Developer Hub.
    pub name: String,
    /// Serial number, lower-case hex.
    pub serial: String,
    /// The subject's O.
    pub organisation: String,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// Everything the Developer Hub issued.
#[derive(Default)]
pub(super) struct Hub {
    issued: Vec<Issued>,
}

const MOST_ACTIVE: usize = 10;
const BEGIN: [&str; 2] = [
    "-----BEGIN CERTIFICATE REQUEST-----",
    "-----BEGIN NEW CERTIFICATE REQUEST-----",
];
const END: [&str; 2] = [
    "-----END CERTIFICATE REQUEST-----",
    "-----END NEW CERTIFICATE REQUEST-----",
];

impl Hub {
    /// Signs a request; the answer is the leaf alone, as PEM.
    pub(super) fn sign(
        &mut self,
        authority: &Authority,
        client_id: &str,
        rules: &HubFaults,
        name: &str,
        pem: &str,
        now: SystemTime,
    ) -> Result<String, HubError> {
        let name = name.trim();
        if name.is_empty() {
            return Err(HubError::NoName);
        }
        let request = read_request(pem)?;
        if self.active(now).any(|issued| issued.name == name) {
            return Err(HubError::NameTaken(name.to_owned()));
        }
        if self.active(now).count() >= MOST_ACTIVE {
            return Err(HubError::TooMany);
        }
        let leaf = authority
            .client(
                &request.key,
                &request.organisation,
                rules.common_name.as_deref().unwrap_or(client_id),
                Duration::from_secs(u64::from(rules.certificate_lifetime)),
                now,
            )
            .map_err(|error| HubError::Signing(error.to_string()))?;
        self.issued.push(Issued {
            name: name.to_owned(),
            serial: leaf.serial,
            organisation: request.organisation,
            expires: seconds(leaf.expires),
            revoked: false,
        });
        Ok(leaf.pem)
    }

    /// Takes an active certificate out of service; returns its serial.
    pub(super) fn revoke(&mut self, name: &str) -> Result<String, HubError> {
        let issued = self
            .issued
            .iter_mut()
            .find(|issued| issued.name == name && !issued.revoked)
            .ok_or_else(|| HubError::Unknown(name.to_owned()))?;
        issued.revoked = true;
        Ok(issued.serial.clone())
    }

    pub(super) fn issued(&self) -> &[Issued] {
        &self.issued
    }

    fn active(&self, now: SystemTime) -> impl Iterator<Item = &Issued> {
        let now = seconds(now);
        self.issued
            .iter()
            .filter(move |issued| !issued.revoked && issued.expires > now)
    }
}

struct Request {
    key: SubjectPublicKeyInfo,
    organisation: String,
}

fn read_request(pem: &str) -> Result<Request, HubError> {
    let pem = pem.trim();
    if !BEGIN.iter().any(|begin| pem.contains(begin)) {
        return Err(HubError::NotARequest);
    }
    let whole = BEGIN.iter().any(|begin| pem.starts_with(begin))
        && END.iter().any(|end| pem.ends_with(end))
        && pem.matches("-----BEGIN").count() == 1
        && !pem.contains('#');
    if !whole {
        return Err(HubError::TextAround);
    }
    let pem = pem.replace("NEW CERTIFICATE REQUEST", "CERTIFICATE REQUEST");
    let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| HubError::NotARequest)?;
    let (_, request) =
        X509CertificationRequest::from_der(&der).map_err(|_| HubError::NotARequest)?;
    let info = &request.certification_request_info;
    check_key(&info.subject_pki)?;
    request
        .verify_signature()
        .map_err(|_| HubError::BadSignature)?;
    let organisation = info
        .subject
        .iter_organization()
        .filter_map(|organisation| organisation.as_str().ok())
        .find(|organisation| !organisation.trim().is_empty())
        .ok_or(HubError::NoOrganisation)?
        .to_owned();
    let key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw)
        .map_err(|error| HubError::Key(error.to_string()))?;
    Ok(Request { key, organisation })
}

fn check_key(key: &x509_parser::x509::SubjectPublicKeyInfo<'_>) -> Result<(), HubError> {
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => match rsa.key_size() {
            2_048 | 3_072 | 4_096 => Ok(()),
            bits => Err(HubError::Key(format!("RSA of {bits} bits"))),
        },
        Ok(PublicKey::EC(point)) => match point.key_size() {
            256 | 384 => Ok(()),
            bits => Err(HubError::Key(format!("ECC of {bits} bits"))),
        },
        _ => Err(HubError::Key("neither RSA nor ECC".to_owned())),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use rcgen::CertificateParams;
    use rcgen::DistinguishedName;
    use rcgen::DnType;
    use rcgen::KeyPair;
    use rcgen::RsaKeySize;

    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000)
    }

    fn request(key: &KeyPair, subject: &[(DnType, &str)]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.serialize_request(key).unwrap().pem().unwrap()
    }

    fn good() -> String {
        request(
            &KeyPair::generate().unwrap(),
            &[(DnType::OrganizationName, "Acme")],
        )
    }

    fn sign(hub: &mut Hub, name: &str, pem: &str) -> Result<String, HubError> {
        let authority = Authority::new("clients", now()).unwrap();
        hub.sign(
            &authority,
            "the-client",
            &HubFaults::default(),
            name,
            pem,
            now(),
        )
    }

    #[test]
    fn the_common_name_is_replaced_by_the_client_id_and_the_organisation_is_kept() {
        let key = KeyPair::generate().unwrap();
        let pem = request(
            &key,
            &[
                (DnType::OrganizationName, "Acme"),
                (DnType::CommonName, "anything"),
            ],
        );
        let leaf = sign(&mut Hub::default(), "one", &pem).unwrap();
        let (_, block) = x509_parser::pem::parse_x509_pem(leaf.as_bytes()).unwrap();
        let leaf = block.parse_x509().unwrap();
        assert_eq!(leaf.subject().to_string(), "O=Acme, CN=the-client");
        assert_eq!(leaf.public_key().raw, key.public_key_der_for_test());
        let days = leaf.validity().not_after.timestamp() - 1_795_000_000;
        assert_eq!(days, 365 * 86_400, "one year");
    }

    trait PublicKeyDer {
        fn public_key_der_for_test(&self) -> Vec<u8>;
    }

    impl PublicKeyDer for KeyPair {
        fn public_key_der_for_test(&self) -> Vec<u8> {
            rustls_pki_types::SubjectPublicKeyInfoDer::from_pem_slice(
                self.public_key_pem().as_bytes(),
            )
            .unwrap()
            .to_vec()
        }
    }

    #[test]
    fn rsa_and_both_curves_are_accepted() {
        let keys = [
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(),
            KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
            KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
        ];
        let mut hub = Hub::default();
        for (number, key) in keys.iter().enumerate() {
            let pem = request(key, &[(DnType::OrganizationName, "Acme")]);
            assert!(sign(&mut hub, &format!("key {number}"), &pem).is_ok());
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused_by_name() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let pem = request(&key, &[(DnType::OrganizationName, "Acme")]);
        assert_eq!(
            sign(&mut Hub::default(), "one", &pem),
            Err(HubError::Key("neither RSA nor ECC".to_owned()))
        );
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
        let pem = request(&key, &[(DnType::OrganizationName, "Acme")]);
        assert!(matches!(
            sign(&mut Hub::default(), "one", &pem),
            Err(HubError::Key(_))
        ));
    }

    #[test]
    fn a_request_without_an_organisation_is_refused() {
        let pem = request(&KeyPair::generate().unwrap(), &[(DnType::CommonName, "x")]);
        assert_eq!(
            sign(&mut Hub::default(), "one", &pem),
            Err(HubError::NoOrganisation)
        );
    }

    #[test]
    fn comments_and_text_dumps_are_refused() {
        for pem in [
            format!("Certificate Request:\n    Data:\n{}", good()),
            format!("# our request\n{}", good()),
            format!("{}\ntrailing words", good()),
        ] {
            assert_eq!(
                sign(&mut Hub::default(), "one", &pem),
                Err(HubError::TextAround)
            );
        }
        assert_eq!(
            sign(&mut Hub::default(), "one", "hello"),
            Err(HubError::NotARequest)
        );
    }

    #[test]
    fn a_request_signed_with_another_key_is_refused() {
        let pem = good();
        let mut der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .unwrap()
            .to_vec();
        let last = der.len() - 1;
        der[last] ^= 1;
        let forged = rustls_pki_types::CertificateSigningRequestDer::from(der);
        let body = STANDARD.encode(&forged);
        let pem = format!("{}\n{body}\n{}", BEGIN[0], END[0]);
        assert_eq!(
            sign(&mut Hub::default(), "one", &pem),
            Err(HubError::BadSignature)
        );
    }

    #[test]
    fn names_are_unique_among_active_certificates() {
        let mut hub = Hub::default();
        sign(&mut hub, "one", &good()).unwrap();
        assert_eq!(
            sign(&mut hub, "one", &good()),
            Err(HubError::NameTaken("one".to_owned()))
        );
        hub.revoke("one").unwrap();
        assert!(sign(&mut hub, "one", &good()).is_ok());
        assert_eq!(sign(&mut hub, " ", &good()), Err(HubError::NoName));
        assert_eq!(hub.revoke("two"), Err(HubError::Unknown("two".to_owned())));
    }

    #[test]
    fn an_eleventh_active_certificate_is_refused() {
        let (mut hub, pem) = (Hub::default(), good());
        for number in 0..10 {
            sign(&mut hub, &number.to_string(), &pem).unwrap();
        }
        assert_eq!(sign(&mut hub, "eleventh", &pem), Err(HubError::TooMany));
    }
}
