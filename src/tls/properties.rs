//! What holds of every certificate and key file: called by the fuzzers and on their kept inputs.

#![allow(clippy::expect_used, reason = "what does not hold must panic")]

use std::path::Path;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::SignatureScheme;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::chain::{order, parse_all};
use super::identity::{Identity, findings};
use super::{TlsError, pem};

/// Files become an identity only when what the key signs verifies under the leaf; a chain is
/// some of the file's certificates, each issued by the next; no error repeats a line of a file.
///
/// The input is one byte, a certificate file up to a zero byte, and a key file. Bit 0 of the first
/// byte says that the certificate, bit 1 that the key is DER still to be put into PEM.
pub(crate) fn pem_bundle(input: &[u8]) {
    let Some((&mode, rest)) = input.split_first() else {
        return;
    };
    let mut parts = rest.splitn(2, |byte| *byte == 0);
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    let (certificate, key) = match (mode & 1, second) {
        // DER is full of zero bytes: all of the input is one certificate.
        (1, _) => (pem::encode_certificate(rest).into_bytes(), Vec::new()),
        (_, key) => (first.to_vec(), key.unwrap_or_default().to_vec()),
    };
    let key = if mode & 2 == 2 { wrapped(&key) } else { key };

    chains(&certificate);
    keys(&key);
    keys(&certificate);
    let (certificate_path, key_path) = (Path::new("client.pem"), Path::new("client.key"));
    match Identity::from_pem(&certificate, certificate_path, &key, key_path, None) {
        Ok(identity) => matches(&identity),
        Err(error) => repeats_nothing(&error, &[&certificate, &key]),
    }
}

/// A private key in PEM (RFC 7468 §10), on one line.
fn wrapped(der: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n").into_bytes()
}

fn chains(file: &[u8]) {
    let path = Path::new("client.pem");
    let found = match pem::certificates(file, path) {
        Ok(found) => found,
        Err(error) => return repeats_nothing(&error, &[file]),
    };
    assert!(!found.is_empty());
    let written: String = found
        .iter()
        .map(|der| pem::encode_certificate(der))
        .collect();
    let again = pem::certificates(written.as_bytes(), path).expect("we wrote it");
    assert_eq!(again, found, "PEM written and read");

    let links = match parse_all(found.clone(), path) {
        Ok(links) => links,
        Err(error) => return repeats_nothing(&error, &[file]),
    };
    for link in &links {
        let certificate = &link.certificate;
        assert_eq!(certificate.fingerprint.len(), 64);
        // Any moment and any client id: a finding is always a sentence.
        for finding in findings(certificate, certificate.not_after, Some("acme")) {
            assert!(!finding.to_string().is_empty());
        }
    }
    let ordered = order(links, None);
    assert!((1..=found.len()).contains(&ordered.len()));
    let names = |der: &CertificateDer<'_>| {
        let (_, parsed) = X509Certificate::from_der(der).expect("it was parsed");
        let raw = |name: &x509_parser::x509::X509Name<'_>| name.as_raw().to_vec();
        (raw(parsed.subject()), raw(parsed.issuer()))
    };
    for pair in ordered.windows(2) {
        let ((_, issuer), (subject, signer)) = (names(&pair[0].der), names(&pair[1].der));
        assert_eq!(issuer, subject, "each is issued by the next");
        assert_ne!(subject, signer, "a root is not sent");
    }
    assert!(ordered.iter().all(|link| found.contains(&link.der)));
}

fn keys(file: &[u8]) {
    match pem::private_key(file, Path::new("client.key")) {
        Ok(_) => {
            let keys = <(SectionKind, Vec<u8>)>::pem_slice_iter(file)
                .filter_map(Result::ok)
                .filter(|(kind, _)| KEYS.contains(kind));
            assert_eq!(keys.count(), 1, "one key");
            let text = String::from_utf8_lossy(file);
            let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
            assert!(!text.lines().any(|line| line.trim_end() == encrypted));
        }
        Err(error) => repeats_nothing(&error, &[file]),
    }
}

/// The key signs, and the leaf's public key verifies, by another library than made the match.
fn matches(identity: &Identity) {
    let certified = identity.certified_key();
    let schemes: Vec<_> = ALGORITHMS.iter().map(|(scheme, _)| *scheme).collect();
    let signer = certified.key.choose_scheme(&schemes).expect("a usable key");
    let signed = signer.sign(b"message").expect("it signs");
    let (_, algorithm) = ALGORITHMS
        .iter()
        .find(|(scheme, _)| *scheme == signer.scheme())
        .expect("of those offered");
    let (_, leaf) = X509Certificate::from_der(&certified.cert[0]).expect("it was parsed");
    let public = &leaf.public_key().subject_public_key.data;
    let verified = UnparsedPublicKey::new(*algorithm, public).verify(b"message", &signed);
    assert!(verified.is_ok(), "the key is not the leaf's");

    let path = Path::new("client.pem");
    let sent = pem::certificates(identity.chain_pem().as_bytes(), path).expect("we wrote it");
    assert_eq!(sent, certified.cert);
    assert_eq!(identity.chain_length(), sent.len());
}

const KEYS: [SectionKind; 3] = [
    SectionKind::PrivateKey,
    SectionKind::RsaPrivateKey,
    SectionKind::EcPrivateKey,
];

const ALGORITHMS: [(SignatureScheme, &dyn VerificationAlgorithm); 5] = [
    (
        SignatureScheme::ECDSA_NISTP256_SHA256,
        &signature::ECDSA_P256_SHA256_ASN1,
    ),
    (
        SignatureScheme::ECDSA_NISTP384_SHA384,
        &signature::ECDSA_P384_SHA384_ASN1,
    ),
    (
        SignatureScheme::ECDSA_NISTP521_SHA512,
        &signature::ECDSA_P521_SHA512_ASN1,
    ),
    (
        SignatureScheme::RSA_PSS_SHA256,
        &signature::RSA_PSS_2048_8192_SHA256,
    ),
    (SignatureScheme::ED25519, &signature::ED25519),
];

/// Messages are made of our own words: no line of base64 out of a file stands in one.
fn repeats_nothing(error: &TlsError, files: &[&[u8]]) {
    let said = error.to_string();
    for line in files
        .iter()
        .flat_map(|file| file.split(|byte| *byte == b'\n'))
    {
        let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
        if line.len() >= 16 && line.iter().all(base64) {
            let line = String::from_utf8_lossy(line);
            assert!(!said.contains(&*line), "{said}");
        }
    }
}
