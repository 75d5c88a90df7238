use super::*;
use crate::clock::System;
use crate::tls::{Candidate, Identity, KeyType, Pair, Request, Subject, TlsError};

#[test]
fn openssl_verifies_a_csr_of_every_kind() {
    let bench = Bench::new();
    let subject = Subject::new("Acme & Söhne", Some("GB"), Some("ignored by Wise")).unwrap();
    for (kind, told) in [
        (KeyType::Rsa2048, "Public-Key: (2048 bit)"),
        (KeyType::Rsa3072, "Public-Key: (3072 bit)"),
        (KeyType::Rsa4096, "Public-Key: (4096 bit)"),
        (KeyType::P256, "ASN1 OID: prime256v1"),
        (KeyType::P384, "ASN1 OID: secp384r1"),
    ] {
        let request = Request::generate(kind, &subject).unwrap();
        let (key, csr) = (format!("{kind}.key"), format!("{kind}.csr"));
        request.write(&bench.path(&key), &bench.path(&csr)).unwrap();

        let said = bench.openssl(&format!("req -in {csr} -verify -text -noout -nameopt utf8"));

        assert!(said.contains("verify OK"), "{kind}: {said}");
        assert!(said.contains(told), "{kind}: {said}");
        let subject = bench.openssl(&format!(
            "req -in {csr} -noout -subject -nameopt RFC2253,utf8,-esc_msb"
        ));
        assert_eq!(
            subject.trim(),
            "subject=CN=ignored by Wise,O=Acme & Söhne,C=GB"
        );
        bench.openssl(&format!("pkey -in {key} -check -noout"));
        let of = |command: &str| bench.openssl(command);
        assert_eq!(
            of(&format!("req -in {csr} -noout -pubkey")),
            of(&format!("pkey -in {key} -pubout")),
            "the CSR must be for the key beside it"
        );
    }
}

#[test]
fn a_csr_is_one_block_without_comments() {
    let subject = Subject::new("Acme", None, None).unwrap();
    let request = Request::generate(KeyType::P256, &subject).unwrap();
    let pem = request.csr_pem();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----\n"));
    assert!(pem.ends_with("-----END CERTIFICATE REQUEST-----\n"));
    assert_eq!(pem.matches("-----BEGIN").count(), 1);
    assert!(!format!("{request:?}").contains("PRIVATE"));
}

#[test]
fn a_key_is_0600_and_never_overwritten() {
    let bench = Bench::new();
    let subject = Subject::new("Acme", None, None).unwrap();
    let request = Request::generate(KeyType::P256, &subject).unwrap();
    let (key, csr) = (bench.path("client.key"), bench.path("client.csr"));
    request.write(&key, &csr).unwrap();
    assert_eq!(mode(&key), 0o600);
    let first = bench.read("client.key");

    let again = Request::generate(KeyType::P256, &subject).unwrap();
    let error = again.write(&key, &bench.path("other.csr")).unwrap_err();

    assert!(matches!(error, TlsError::Exists { path } if path == key));
    assert_eq!(bench.read("client.key"), first);
    assert!(!bench.path("other.csr").exists());

    let error = again.write(&bench.path("other.key"), &csr).unwrap_err();
    assert!(matches!(error, TlsError::Exists { path } if path == csr));
    assert!(
        !bench.path("other.key").exists(),
        "no key without its CSR may be left behind"
    );
}

#[test]
fn a_subject_that_wise_would_refuse_cannot_be_made() {
    for (organisation, country, field) in [
        ("  ", None, "the organisation (O)"),
        ("A\nB", None, "the organisation (O)"),
        ("Acme", Some("gb"), "the country (C)"),
        ("Acme", Some("GBR"), "the country (C)"),
    ] {
        let error = Subject::new(organisation, country, None).unwrap_err();
        assert!(matches!(error, TlsError::Subject { field: named, .. } if named == field));
    }
    let long = "x".repeat(65);
    assert!(Subject::new(&long, None, None).is_err());
    assert!(Subject::new(&long[1..], None, None).is_ok());
    assert!(Subject::new("Acme", None, Some("")).is_err());
}

#[test]
fn every_key_type_is_found_by_its_name() {
    for kind in KeyType::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
    }
    assert!("rsa-1024".parse::<KeyType>().is_err());
    for (told, kind) in [("RSA 3072", KeyType::Rsa3072), ("P-384", KeyType::P384)] {
        assert_eq!(KeyType::of(told), Some(kind), "as a certificate tells it");
    }
    assert_eq!(KeyType::of("P-521"), None);
}

#[test]
fn a_signed_csr_installs_and_loads() {
    let bench = Bench::new();
    bench.authority();
    let subject = Subject::new("Acme", None, None).unwrap();
    let request = Request::generate(KeyType::P384, &subject).unwrap();
    let key = bench.path("client.key");
    request.write(&key, &bench.path("client.csr")).unwrap();
    // As Wise does: the subject's CN becomes the client id.
    bench.openssl("x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 -subj /O=Acme/CN=acme-client -text -out issued.pem");
    let issued = bench.read("issued.pem");
    assert!(issued.starts_with("Certificate:"), "comments must be there");
    let place = Pair {
        certificate: bench.path("client.pem"),
        key: key.clone(),
    };

    let origin = bench.path("issued.pem");
    let candidate = Candidate::new(issued.as_bytes(), &origin, &key, None).unwrap();
    let findings = candidate.check(&System, Some("acme-client")).unwrap();
    let installed = candidate.install(&place, None).unwrap();

    assert_eq!(findings, []);
    assert_eq!(installed.kept, None, "there was no pair before");
    assert!(
        bench
            .read("client.pem")
            .starts_with("-----BEGIN CERTIFICATE-----\n")
    );
    assert_eq!(mode(&place.certificate), 0o644);
    assert_eq!(
        Identity::load(&place.certificate, &key, None)
            .unwrap()
            .certificate(),
        installed.identity.certificate()
    );
    assert_eq!(
        bench.openssl("verify -CAfile ca.pem client.pem").trim(),
        "client.pem: OK"
    );
}
