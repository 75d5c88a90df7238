use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;

use super::identity::days_between;
use super::{TlsError, files, pem};
use crate::clock::Clock;

/// What a certificate says, as far as an operator asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Certificate {
    /// `CN` of the subject; Wise sets it to the client id.
    pub common_name: Option<String>,
    /// `O` of the subject.
    pub organisation: Option<String>,
    /// `C` of the subject.
    pub country: Option<String>,
    /// The whole subject, as `CN=…, O=…`.
    pub subject: String,
    /// The whole issuer.
    pub issuer: String,
    /// Serial number in hexadecimal, bytes joined by colons.
    pub serial: String,
    /// First moment it is valid.
    pub not_before: SystemTime,
    /// Last moment it is valid.
    pub not_after: SystemTime,
    /// SHA-256 over the DER, in lower-case hexadecimal.
    pub fingerprint: String,
    /// Kind and size of the key, as `RSA 3072` or `P-256`.
    pub key_kind: String,
    /// Whether it is a certificate authority's.
    pub authority: bool,
    /// Whether its extended key usage, if any, lets it authenticate a client.
    pub for_clients: bool,
}

impl Certificate {
    /// Whole days until it ends; negative once it has.
    pub(crate) fn days_left(&self, clock: &dyn Clock) -> i64 {
        days_between(clock.wall(), self.not_after)
    }
}

/// Reads the certificates of a PEM file, leaf first where the file lets us tell.
pub(crate) fn inspect(path: &Path) -> Result<Vec<Certificate>, TlsError> {
    let chain = pem::certificates(&files::read(path)?, path)?;
    let chain = order(parse_all(chain, path)?, None);
    Ok(chain.into_iter().map(|link| link.certificate).collect())
}

/// Reads one certificate in DER; `None` where it is none.
pub(super) fn read(der: &[u8]) -> Option<Certificate> {
    Link::parse(CertificateDer::from(der.to_vec())).map(|link| link.certificate)
}

/// A certificate with its bytes and what links it to others.
pub(super) struct Link {
    pub(super) der: CertificateDer<'static>,
    pub(super) certificate: Certificate,
    /// SubjectPublicKeyInfo, DER.
    pub(super) public_key: Vec<u8>,
    subject: Vec<u8>,
    issuer: Vec<u8>,
}

impl Link {
    fn parse(der: CertificateDer<'static>) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(&der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let certificate = Certificate {
            common_name: first(parsed.subject().iter_common_name()),
            organisation: first(parsed.subject().iter_organization()),
            country: first(parsed.subject().iter_country()),
            subject: name(parsed.subject()),
            issuer: name(parsed.issuer()),
            serial: hex(parsed.raw_serial(), ":"),
            not_before: moment(parsed.validity().not_before),
            not_after: moment(parsed.validity().not_after),
            fingerprint: hex(
                aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der).as_ref(),
                "",
            ),
            key_kind: key_kind(&parsed),
            authority: parsed.is_ca(),
            for_clients: match parsed.extended_key_usage() {
                Ok(Some(usage)) => usage.value.client_auth || usage.value.any,
                Ok(None) => true,
                Err(_) => false,
            },
        };
        let public_key = parsed.public_key().raw.to_vec();
        let subject = parsed.subject().as_raw().to_vec();
        let issuer = parsed.issuer().as_raw().to_vec();
        Some(Self {
            der,
            certificate,
            public_key,
            subject,
            issuer,
        })
    }

    fn signed_itself(&self) -> bool {
        self.subject == self.issuer
    }
}

/// Parses every block, or names the one that is no certificate.
pub(super) fn parse_all(
    chain: Vec<CertificateDer<'static>>,
    path: &Path,
) -> Result<Vec<Link>, TlsError> {
    chain
        .into_iter()
        .enumerate()
        .map(|(index, der)| {
            Link::parse(der).ok_or_else(|| TlsError::NotX509 {
                path: path.to_owned(),
                position: index + 1,
            })
        })
        .collect()
}

/// Puts the leaf first and each issuer after what it issued.
///
/// The leaf is the one named, else the first that issued none of the others. A self-signed root
/// goes: the peer must hold it anyway (RFC 8446 §4.4.2). What belongs to another chain goes too.
pub(super) fn order(mut links: Vec<Link>, leaf: Option<usize>) -> Vec<Link> {
    let leaf = leaf.unwrap_or_else(|| {
        (0..links.len())
            .find(|&one| {
                !(0..links.len())
                    .any(|other| other != one && links[other].issuer == links[one].subject)
            })
            .unwrap_or_default()
    });
    let mut ordered = vec![links.remove(leaf)];
    while let Some(last) = ordered.last()
        && !last.signed_itself()
        && let Some(next) = links
            .iter()
            .position(|link| link.subject == last.issuer && !link.signed_itself())
    {
        ordered.push(links.remove(next));
    }
    ordered
}

fn first<'a>(
    mut attributes: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>,
) -> Option<String> {
    attributes.next()?.as_str().ok().map(str::to_owned)
}

/// A distinguished name for people.
pub(super) fn name(name: &X509Name<'_>) -> String {
    name.to_string()
}

fn moment(time: ASN1Time) -> SystemTime {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        SystemTime::UNIX_EPOCH - distance
    } else {
        SystemTime::UNIX_EPOCH + distance
    }
}

fn key_kind(certificate: &X509Certificate<'_>) -> String {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        Ok(PublicKey::EC(point)) => match point.key_size() {
            size @ (256 | 384) => format!("P-{size}"),
            528 => "P-521".to_owned(),
            size => format!("EC {size}"),
        },
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

fn hex(bytes: &[u8], between: &str) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            text.push_str(between);
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
