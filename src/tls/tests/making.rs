use std::time::Duration;

use super::*;
use crate::clock::{Clock as _, Manual, System};
use crate::tls::{Finding, Identity, KeyType, Request, Subject, Target, TlsError, install};

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
    let target = Target {
        certificate: &bench.path("client.pem"),
        key: &key,
    };

    let installed = install(
        issued.as_bytes(),
        &bench.path("issued.pem"),
        &key,
        target,
        &System,
        Some("acme-client"),
    )
    .unwrap();

    assert_eq!(installed.findings, []);
    assert!(
        bench
            .read("client.pem")
            .starts_with("-----BEGIN CERTIFICATE-----\n")
    );
    assert_eq!(mode(target.certificate), 0o644);
    assert_eq!(
        Identity::load(target.certificate, &key)
            .unwrap()
            .certificate(),
        installed.identity.certificate()
    );
    assert_eq!(
        bench.openssl("verify -CAfile ca.pem client.pem").trim(),
        "client.pem: OK"
    );
}

#[test]
fn a_rotation_replaces_certificate_and_key_together() {
    let bench = Bench::new();
    bench.authority();
    let (certificate, key) = bench.issue("live", P256, "acme-client");
    let (next, next_key) = bench.issue("next", P256, "acme-client");
    let target = Target {
        certificate: &certificate,
        key: &key,
    };

    let installed = install(
        &fs::read(&next).unwrap(),
        &next,
        &next_key,
        target,
        &System,
        None,
    )
    .unwrap();

    assert_eq!(bench.read("live.key"), bench.read("next.key"));
    assert_eq!(mode(&key), 0o600);
    assert_eq!(
        Identity::load(&certificate, &key).unwrap().certificate(),
        installed.identity.certificate()
    );
    assert_eq!(
        fs::read_dir(bench.0.path())
            .unwrap()
            .filter(|entry| entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .ends_with(".next"))
            .count(),
        0,
        "nothing half-written may lie around"
    );
}

#[test]
fn a_rotation_that_was_killed_half_way_is_a_pair_and_stays_one() {
    let bench = Bench::new();
    bench.authority();
    let (certificate, key) = bench.issue("live", P256, "acme-client");
    let (second, second_key) = bench.issue("second", P256, "acme-client");
    let (third, third_key) = bench.issue("third", P256, "acme-client");
    // As a kill leaves it: the new key is in its place, the certificate waits.
    fs::copy(&second, bench.path("live.pem.next")).unwrap();
    fs::copy(&second_key, &key).unwrap();
    let fingerprint = |identity: &Identity| identity.certificate().fingerprint.clone();
    let of =
        |certificate: &Path, key: &Path| fingerprint(&Identity::load(certificate, key).unwrap());

    assert_eq!(of(&certificate, &key), of(&second, &second_key));

    // The next installation may die as well: before its key is in place the pair is the second.
    let target = Target {
        certificate: &certificate,
        key: &key,
    };
    let pem = fs::read(&third).unwrap();
    fs::create_dir(bench.path("live.key.next")).unwrap();
    fs::write(bench.path("live.key.next/x"), "").unwrap();
    assert!(install(&pem, &third, &third_key, target, &System, None).is_err());
    assert_eq!(of(&certificate, &key), of(&second, &second_key));

    fs::remove_dir_all(bench.path("live.key.next")).unwrap();
    install(&pem, &third, &third_key, target, &System, None).unwrap();
    assert_eq!(of(&certificate, &key), of(&third, &third_key));
    assert!(!bench.path("live.pem.next").exists());
}

#[test]
fn a_waiting_certificate_of_another_key_is_not_used() {
    let bench = Bench::new();
    bench.authority();
    let (certificate, _) = bench.issue("live", P256, "acme-client");
    let (other, other_key) = bench.issue("other", P256, "acme-client");
    let (stranger, _) = bench.issue("stranger", P256, "acme-client");
    fs::copy(&stranger, bench.path("live.pem.next")).unwrap();

    let error = Identity::load(&certificate, &other_key).unwrap_err();

    assert!(
        matches!(&error, TlsError::KeyMismatch { certificate: named, .. } if *named == certificate),
        "{error}"
    );
    assert!(Identity::load(&other, &other_key).is_ok());
}

#[test]
fn what_does_not_fit_leaves_the_old_pair_alone() {
    let bench = Bench::new();
    bench.authority();
    let (certificate, key) = bench.issue("live", P256, "acme-client");
    let (next, next_key) = bench.issue("next", P256, "acme-client");
    let before = (bench.read("live.pem"), bench.read("live.key"));
    let target = Target {
        certificate: &certificate,
        key: &key,
    };
    let pem = fs::read(&next).unwrap();

    // The key is the live one, the certificate is not.
    let error = install(&pem, &next, &key, target, &System, None).unwrap_err();
    assert!(matches!(error, TlsError::KeyMismatch { .. }));

    let later = Manual::at(System.wall() + Duration::from_hours(400 * 24));
    let error = install(&pem, &next, &next_key, target, &later, None).unwrap_err();
    assert!(matches!(
        error,
        TlsError::Unfit {
            finding: Finding::Expired { days: 34 | 35 }
        }
    ));
    assert_eq!((bench.read("live.pem"), bench.read("live.key")), before);
}
