use std::time::Duration;

use super::*;
use crate::clock::Manual;
use crate::tls::{Finding, Identity, Severity, TlsError, inspect};

const DAY: Duration = Duration::from_hours(24);

#[test]
fn keys_of_every_kind_and_form_load() {
    let bench = Bench::new();
    bench.authority();
    for (name, new_key, kind) in [
        ("rsa2048", "rsa:2048", "RSA 2048"),
        ("rsa3072", "rsa:3072", "RSA 3072"),
        ("p256", P256, "P-256"),
        ("p384", P384, "P-384"),
    ] {
        let (certificate, key) = bench.issue(name, new_key, "acme-client");
        let identity = Identity::load(&certificate, &key, None).unwrap();
        assert_eq!(identity.certificate().key_kind, kind);

        // The older forms: PKCS#1 for RSA, SEC1 for EC.
        bench.openssl(&format!("pkey -in {name}.key -traditional -out {name}.old"));
        bench.chmod(&format!("{name}.old"), 0o400);
        let old = bench.path(&format!("{name}.old"));
        assert_eq!(
            Identity::load(&certificate, &old, None)
                .unwrap()
                .certificate(),
            identity.certificate()
        );
    }
}

#[test]
fn an_identity_tells_what_openssl_tells() {
    let bench = Bench::new();
    bench.authority();
    let (certificate, key) = bench.issue("client", P256, "acme-client");

    let identity = Identity::load(&certificate, &key, None).unwrap();

    let told = identity.certificate();
    assert_eq!(told.common_name.as_deref(), Some("acme-client"));
    assert_eq!(told.organisation.as_deref(), Some("Acme"));
    assert_eq!(told.subject, "C=GB, O=Acme, CN=acme-client");
    assert_eq!(told.issuer, "O=Test, CN=Test-CA");
    assert!(told.for_clients && !told.authority);
    let serial = bench.openssl("x509 -in client.pem -noout -serial");
    let serial = serial.trim().trim_start_matches("serial=").to_lowercase();
    assert_eq!(told.serial.replace(':', ""), serial);
    let print = bench.openssl("x509 -in client.pem -noout -fingerprint -sha256");
    let print = print.trim().split_once('=').unwrap().1.to_lowercase();
    assert_eq!(told.fingerprint, print.replace(':', ""));
    assert_eq!(
        told.not_after.duration_since(told.not_before).unwrap(),
        DAY * 365
    );
    assert_eq!(identity.chain_length(), 1);
}

#[test]
fn the_leaf_is_the_certificate_of_the_key_wherever_it_stands() {
    let bench = Bench::new();
    bench.authority();
    // root -> middle -> leaf
    bench.openssl(&format!(
        "req -newkey {P256} -nodes -subj /O=Test/CN=Middle -keyout middle.key -out middle.csr"
    ));
    bench.write("ext", "basicConstraints=critical,CA:TRUE\n");
    bench.openssl("x509 -req -in middle.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out middle.pem");
    bench.openssl(&format!(
        "req -newkey {P256} -nodes -subj /O=Acme/CN=acme-client -keyout leaf.key -out leaf.csr"
    ));
    bench.openssl("x509 -req -in leaf.csr -CA middle.pem -CAkey middle.key -CAcreateserial -days 30 -out leaf.pem");
    bench.chmod("leaf.key", 0o600);
    let (root, middle, leaf) = (
        bench.read("ca.pem"),
        bench.read("middle.pem"),
        bench.read("leaf.pem"),
    );
    for order in [
        [&leaf, &middle, &root],
        [&root, &middle, &leaf],
        [&middle, &leaf, &root],
    ] {
        let text: String = order.into_iter().map(String::as_str).collect();
        let bundle = bench.write("bundle.pem", text);

        let identity = Identity::load(&bundle, &bench.path("leaf.key"), None).unwrap();

        assert_eq!(
            identity.certificate().common_name.as_deref(),
            Some("acme-client")
        );
        assert_eq!(identity.chain_length(), 2, "leaf and middle, no root");
        let shown: Vec<_> = inspect(&bundle)
            .unwrap()
            .into_iter()
            .map(|certificate| certificate.common_name.unwrap())
            .collect();
        assert_eq!(shown, ["acme-client", "Middle"]);
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let bench = Bench::new();
    bench.authority();
    let (certificate, _) = bench.issue("client", P256, "acme-client");
    let (_, other) = bench.issue("other", P256, "acme-client");

    let error = Identity::load(&certificate, &other, None).unwrap_err();

    assert!(matches!(error, TlsError::KeyMismatch { .. }));
    let message = error.to_string();
    assert!(message.contains("client.pem") && message.contains("other.key"));
}

#[test]
fn an_identity_never_prints_its_key() {
    let bench = Bench::new();
    bench.authority();
    let (certificate, key) = bench.issue("client", P256, "acme-client");
    let printed = format!("{:?}", Identity::load(&certificate, &key, None).unwrap());
    assert!(printed.contains("acme-client"));
    for line in bench.read("client.key").lines().skip(1) {
        assert!(!printed.contains(line));
    }
    assert!(!printed.contains("CertifiedKey"));
}

#[test]
fn days_and_findings_follow_the_clock() {
    let bench = Bench::new();
    bench.authority();
    let (certificate, key) = bench.issue("client", P256, "acme-client");
    let identity = Identity::load(&certificate, &key, None).unwrap();
    let end = identity.certificate().not_after;
    let second = Duration::from_secs(1);
    let at = |moment| {
        let clock = Manual::at(moment);
        (
            identity.days_left(&clock),
            identity.check(&clock, Some("acme-client")),
        )
    };

    assert_eq!(at(end - DAY * 30), (30, vec![]));
    for (moment, days, within) in [
        (end - DAY * 30 + second, 29, 30),
        (end - DAY * 14, 14, 30),
        (end - DAY * 14 + second, 13, 14),
        (end - DAY * 7 + second, 6, 7),
        (end - DAY + second, 0, 1),
    ] {
        let soon = Finding::ExpiresSoon { days, within };
        assert_eq!(at(moment), (days, vec![soon]));
    }
    let (days, findings) = at(end + second);
    assert_eq!((days, findings[0].severity()), (-1, Severity::Error));
    assert_eq!(findings, [Finding::Expired { days: 0 }]);
    assert_eq!(
        at(identity.certificate().not_before - DAY * 2).1,
        [Finding::NotYetValid { days: 2 }]
    );
}

#[test]
fn a_common_name_that_is_not_the_client_id_is_a_warning() {
    let bench = Bench::new();
    bench.authority();
    let (certificate, key) = bench.issue("client", P256, "someone-else");
    let identity = Identity::load(&certificate, &key, None).unwrap();
    let clock = Manual::at(identity.certificate().not_before);

    let findings = identity.check(&clock, Some("acme-client"));

    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity(), Severity::Warning);
    assert_eq!(
        findings[0].to_string(),
        "the client certificate is for `someone-else`, not for the client id `acme-client`; Wise may refuse it"
    );
    assert_eq!(identity.check(&clock, None), []);
}

#[test]
fn a_certificate_for_servers_only_is_a_warning() {
    let bench = Bench::new();
    bench.authority();
    let (_, key) = bench.issue("client", P256, "acme-client");
    bench.sign("client", "extendedKeyUsage=serverAuth");
    let identity = Identity::load(&bench.path("client.pem"), &key, None).unwrap();
    let clock = Manual::at(identity.certificate().not_before);
    assert_eq!(
        identity.check(&clock, Some("acme-client")),
        [Finding::NotForClients]
    );
}
