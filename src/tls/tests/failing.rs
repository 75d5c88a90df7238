use std::path::Path;

use super::*;
use crate::tls::{Expected, Found, Identity, TlsError};

/// What loading says about the content of one file of an otherwise good pair.
fn found(result: Result<Identity, TlsError>, path: &Path, wanted: Expected) -> Found {
    let error = result.unwrap_err();
    let TlsError::Content {
        path: named,
        expected,
        found,
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(named, path, "the message must name the file at fault");
    assert_eq!(expected, wanted);
    found
}

#[test]
fn each_wrong_certificate_file_gets_its_own_message() {
    let bench = Bench::new();
    bench.authority();
    let (certificate, key) = bench.issue("client", P256, "acme-client");
    bench.openssl("x509 -in client.pem -outform DER -out client.der");
    bench.openssl("pkey -in client.key -pubout -out client.pub");
    let pem = bench.read("client.pem");
    bench.write("empty", " \n");
    bench.write("text", "the certificate is in the other mail\n");
    bench.write("indented", pem.replace("-----BEGIN", "  -----BEGIN"));
    bench.write("cut", &pem[..pem.len() - 30]);
    bench.write(
        "params",
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n",
    );

    for (name, expected) in [
        ("client.csr", Found::Csr),
        ("client.key", Found::PrivateKey),
        ("client.pub", Found::PublicKey),
        ("client.der", Found::Der),
        ("empty", Found::Empty),
        ("text", Found::NoPem),
        ("indented", Found::Indented),
        ("cut", Found::Broken),
        ("params", Found::OtherPem),
    ] {
        let path = bench.path(name);
        let result = Identity::load(&path, &key, None);
        assert_eq!(
            found(result, &path, Expected::Certificate),
            expected,
            "{name}"
        );
    }
    assert!(Identity::load(&certificate, &key, None).is_ok());
}

#[test]
fn each_wrong_key_file_gets_its_own_message() {
    let bench = Bench::new();
    bench.authority();
    let (certificate, _) = bench.issue("client", "rsa:2048", "acme-client");
    bench.openssl("pkey -in client.key -pubout -out client.pub");
    bench.openssl("pkey -in client.key -outform DER -out client.der");
    bench.openssl("pkey -in client.key -aes256 -passout pass:x -out encrypted.key");
    bench.openssl("rsa -in client.key -traditional -aes128 -passout pass:x -out legacy.key");
    let pem = bench.read("client.key");
    bench.write("two.key", format!("{pem}{pem}"));
    bench.write("empty.key", "");
    bench.write("cut.key", &pem[..pem.len() / 2]);

    for (name, expected) in [
        ("client.csr", Found::Csr),
        ("client.pem", Found::Certificate),
        ("client.pub", Found::PublicKey),
        ("client.der", Found::Der),
        ("encrypted.key", Found::EncryptedPkcs8),
        ("legacy.key", Found::LegacyEncrypted),
        ("two.key", Found::SeveralKeys(2)),
        ("empty.key", Found::Empty),
        ("cut.key", Found::Broken),
    ] {
        bench.chmod(name, 0o600);
        let path = bench.path(name);
        let result = Identity::load(&certificate, &path, None);
        assert_eq!(
            found(result, &path, Expected::PrivateKey),
            expected,
            "{name}"
        );
    }
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let bench = Bench::new();
    bench.authority();
    let (certificate, key) = bench.issue("client", P256, "acme-client");
    for loose in [0o640, 0o604, 0o660, 0o644] {
        bench.chmod("client.key", loose);
        let error = Identity::load(&certificate, &key, None).unwrap_err();
        assert!(matches!(error, TlsError::KeyTooOpen { mode, .. } if mode == loose));
        assert!(error.to_string().contains("chmod 600"));
    }
    bench.chmod("client.key", 0o400);
    assert!(Identity::load(&certificate, &key, None).is_ok());
}

#[test]
fn a_missing_file_is_named() {
    let bench = Bench::new();
    let error = Identity::load(&bench.path("none.pem"), &bench.path("none.key"), None).unwrap_err();
    assert!(matches!(error, TlsError::Read { .. }));
    assert!(error.to_string().contains("none.pem"));
}

#[test]
fn a_block_that_is_no_certificate_is_counted() {
    let bench = Bench::new();
    bench.authority();
    let (_, key) = bench.issue("client", P256, "acme-client");
    let text = format!(
        "{}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        bench.read("client.pem")
    );
    let bundle = bench.write("bundle.pem", text);
    let error = Identity::load(&bundle, &key, None).unwrap_err();
    assert!(
        matches!(error, TlsError::NotX509 { position: 2, .. }),
        "{error}"
    );
}

#[test]
fn a_key_that_is_no_key_is_unusable() {
    let bench = Bench::new();
    bench.authority();
    let (certificate, _) = bench.issue("client", P256, "acme-client");
    let key = bench.write(
        "bad.key",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let error = Identity::load(&certificate, &key, None).unwrap_err();
    assert!(matches!(error, TlsError::UnusableKey { .. }), "{error}");
}
