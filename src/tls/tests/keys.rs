//! Keys under a passphrase and PKCS#12 files, made and read by openssl.

use std::time::Instant;

use super::*;
use crate::secret::Secret;
use crate::tls::{
    ArchiveProblem, Candidate, Found, Identity, KeyType, Pair, Request, Subject, TlsError,
};

const PASSPHRASE: &str = "correct horse £5";

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

/// A bench with `client.pem` and `client.key`, and a file with the passphrase for openssl.
fn bench(new_key: &str) -> Bench {
    let bench = Bench::new();
    bench.authority();
    bench.issue("client", new_key, "acme-client");
    bench.write("pass", PASSPHRASE);
    bench
}

fn load(bench: &Bench, key: &str, passphrase: Option<&Secret>) -> Result<Identity, TlsError> {
    bench.chmod(key, 0o600);
    Identity::load(&bench.path("client.pem"), &bench.path(key), passphrase)
}

#[test]
fn what_openssl_encrypts_is_opened() {
    for new_key in [P256, P384, "rsa:2048"] {
        let bench = bench(new_key);
        for (name, how) in [
            ("usual", "-v2 aes-256-cbc"),
            ("short", "-v2 aes-128-cbc -v2prf hmacWithSHA256 -iter 1"),
            ("long", "-v2 aes-256-cbc -v2prf hmacWithSHA512 -iter 100000"),
            ("scrypt", "-v2 aes-256-cbc -scrypt"),
            // As OpenSSL 1.0 did.
            ("old", "-v2 aes-256-cbc -v2prf hmacWithSHA1"),
            ("triple", "-v2 des3"),
        ] {
            bench.openssl(&format!(
                "pkcs8 -topk8 {how} -in client.key -out {name}.key -passout file:pass"
            ));
            let identity = load(&bench, &format!("{name}.key"), Some(&secret(PASSPHRASE)));
            assert!(identity.is_ok(), "{new_key} {name}: {identity:?}");
        }
        bench.openssl("pkey -in client.key -aes256 -passout file:pass -out pkey.key");
        assert!(load(&bench, "pkey.key", Some(&secret(PASSPHRASE))).is_ok());
        assert!(
            load(&bench, "client.key", Some(&secret(PASSPHRASE))).is_ok(),
            "a key in the clear needs none"
        );
    }
}

#[test]
fn what_we_encrypt_openssl_opens() {
    let subject = Subject::new("Acme", Some("GB"), None).unwrap();
    for kind in [KeyType::P256, KeyType::P384, KeyType::Rsa2048] {
        let bench = bench(P256);
        let mut request = Request::generate(kind, &subject).unwrap();
        request.seal(&secret(PASSPHRASE)).unwrap();
        let (key, csr) = (bench.path("new.key"), bench.path("new.csr"));
        request.write(&key, &csr).unwrap();

        let text = bench.read("new.key");
        assert!(
            text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
            "{text}"
        );
        assert_eq!(mode(&key), 0o600);
        bench.openssl("pkey -in new.key -passin file:pass -check -noout");
        assert_eq!(
            bench.openssl("req -in new.csr -noout -pubkey"),
            bench.openssl("pkey -in new.key -passin file:pass -pubout"),
        );
        let told = bench.openssl("asn1parse -in new.key");
        assert!(
            told.contains("aes-256-cbc") && told.contains("hmacWithSHA256"),
            "{told}"
        );

        bench.sign("new", "basicConstraints=CA:FALSE");
        let identity = Identity::load(&bench.path("new.pem"), &key, Some(&secret(PASSPHRASE)));
        assert!(identity.is_ok(), "{identity:?}");
    }
}

#[test]
fn a_passphrase_that_is_missing_or_wrong_is_said_with_what_to_do() {
    let bench = bench(P256);
    bench.openssl("pkey -in client.key -aes256 -passout file:pass -out sealed.key");
    let path = bench.path("sealed.key");

    let missing = load(&bench, "sealed.key", None).unwrap_err();
    assert_eq!(
        missing.to_string(),
        format!(
            "{} should hold one private key in PEM (`-----BEGIN PRIVATE KEY-----`), but its key is \
             encrypted (PKCS#8); say where its passphrase is: `key_passphrase = {{ file = \"path\" }}` \
             under [mtls]",
            path.display()
        )
    );
    // One in 256 wrong passphrases gives padding that looks right.
    for wrong in 0..300 {
        let wrong = secret(&format!("wrong {wrong}"));
        let error = load(&bench, "sealed.key", Some(&wrong)).unwrap_err();
        assert!(
            matches!(&error, TlsError::WrongPassphrase { path: named } if *named == path),
            "{error}"
        );
        let said = format!("{error} {error:?}");
        assert!(!said.contains(wrong.expose()), "{said}");
    }
}

#[test]
fn the_older_form_comes_with_the_command_that_converts_it() {
    let bench = bench("rsa:2048");
    bench.openssl("rsa -in client.key -traditional -aes128 -passout file:pass -out legacy.key");

    let error = load(&bench, "legacy.key", Some(&secret(PASSPHRASE))).unwrap_err();

    let said = error.to_string();
    let command = "openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out FILE.pkcs8";
    assert!(said.contains(command), "{said}");
    let command = command
        .trim_start_matches("openssl ")
        .replace("FILE", "legacy.key");
    // From one file openssl would read two lines.
    bench.write("same", PASSPHRASE);
    bench.openssl(&format!("{command} -passin file:pass -passout file:same"));
    assert!(load(&bench, "legacy.key.pkcs8", Some(&secret(PASSPHRASE))).is_ok());
}

#[test]
fn a_key_that_is_cut_or_odd_is_refused_with_a_way_out() {
    let bench = bench(P256);
    bench.openssl("pkey -in client.key -aes256 -passout file:pass -out sealed.key");
    bench.openssl("pkcs8 -topk8 -v2 camellia256 -in client.key -out odd.key -passout file:pass");
    let pem = bench.read("sealed.key");
    let lines: Vec<_> = pem.lines().collect();
    let without_end = lines[..lines.len() - 1].join("\n");
    bench.write("no-end.key", without_end);
    bench.write("no-base64.key", pem.replace('M', "*"));
    let short = [lines[0], lines[1], lines[lines.len() - 1], ""].join("\n");
    bench.write("short.key", short);
    for name in ["odd.key", "no-end.key", "no-base64.key", "short.key"] {
        let error = load(&bench, name, Some(&secret(PASSPHRASE))).unwrap_err();
        assert!(
            matches!(error, TlsError::SealedKey { .. }),
            "{name}: {error}"
        );
    }
    let two = bench.read("sealed.key") + &bench.read("client.key");
    bench.write("two.key", two);
    let error = load(&bench, "two.key", Some(&secret(PASSPHRASE))).unwrap_err();
    assert!(
        matches!(
            error,
            TlsError::Content {
                found: Found::SeveralKeys(2),
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_file_that_asks_for_hours_of_work_is_refused_at_once() {
    use pkcs8::der::Encode as _;
    use pkcs8::der::asn1::OctetStringRef;
    use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
    use pkcs8::pkcs5::scrypt::Params;

    let bench = bench(P256);
    let pbkdf2 = Parameters::generate_pbkdf2_sha256_aes256cbc(1, &[1; 16], [2; 16]).unwrap();
    let cost = Params::new(4, 8, 1).unwrap();
    let scrypt = Parameters::generate_scrypt_aes256cbc(cost, &[1; 16], [2; 16]).unwrap();
    let with = |parameters: &Parameters, change: &dyn Fn(&mut Kdf)| {
        let mut parameters = parameters.clone();
        change(&mut parameters.kdf);
        parameters
    };
    let iterations = |count| {
        with(&pbkdf2, &|kdf| {
            if let Kdf::Pbkdf2(pbkdf2) = kdf {
                pbkdf2.iteration_count = count;
            }
        })
    };
    let cost = |cost, block, lanes| {
        with(&scrypt, &|kdf| {
            if let Kdf::Scrypt(scrypt) = kdf {
                scrypt.cost_parameter = cost;
                scrypt.block_size = block;
                scrypt.parallelization = lanes;
            }
        })
    };
    for parameters in [
        iterations(0),
        iterations(10_000_001),
        iterations(u32::MAX),
        cost(0, 8, 1),
        cost(1, 8, 1),
        cost(12, 8, 1),
        cost(1 << 20, 8, 1),
        cost(1 << 63, 8, 1),
        cost(1 << 14, u16::MAX, 1),
        cost(1 << 14, 8, u16::MAX),
        cost(1 << 14, 8, 0),
    ] {
        let told = format!("{:?}", parameters.kdf);
        let sealed = [7; 48];
        let info = pkcs8::EncryptedPrivateKeyInfoRef {
            encryption_algorithm: parameters.into(),
            encrypted_data: OctetStringRef::new(&sealed).unwrap(),
        };
        let pem = crate::tls::pem::encode("ENCRYPTED PRIVATE KEY", &info.to_der().unwrap());
        bench.write("greedy.key", pem);
        let begun = Instant::now();
        let error = load(&bench, "greedy.key", Some(&secret(PASSPHRASE))).unwrap_err();
        assert!(
            matches!(error, TlsError::SealedKey { .. }),
            "{told}: {error}"
        );
        assert!(begun.elapsed().as_secs() < 5, "{told}");
    }
}

/// A bench with `client.p12` made by `openssl pkcs12 -export` in this way.
fn archive(bench: &Bench, how: &str) -> Vec<u8> {
    bench.openssl(&format!(
        "pkcs12 -export -inkey client.key -in client.pem -certfile ca.pem {how} -out client.p12"
    ));
    fs::read(bench.path("client.p12")).unwrap()
}

#[test]
fn a_pkcs12_file_of_openssl_brings_key_leaf_and_chain() {
    let bench = bench("rsa:2048");
    let expected = load(&bench, "client.key", None).unwrap();
    for how in [
        "-passout file:pass",
        "-passout file:pass -name friendly -keypbe AES-128-CBC -certpbe AES-128-CBC -macalg sha512",
        // What OpenSSL 1, Windows and older Java write: RC2 of 40 bits, triple DES, SHA-1.
        "-passout file:pass -legacy",
        "-passout file:pass -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1",
        "-passout file:pass -certpbe NONE",
    ] {
        let archive = archive(&bench, how);
        let origin = bench.path("client.p12");
        let opened = Candidate::of_pkcs12(&archive, &origin, &secret(PASSPHRASE));
        let opened = opened.unwrap_or_else(|error| panic!("{how}: {error}"));
        assert_eq!(
            opened.identity().certificate(),
            expected.certificate(),
            "{how}"
        );
        assert!(!opened.is_encrypted());

        let error = Candidate::of_pkcs12(&archive, &origin, &secret("wrong")).unwrap_err();
        assert!(
            matches!(error, TlsError::WrongPassphrase { .. }),
            "{how}: {error}"
        );
    }
    let empty = archive(&bench, "-passout pass:");
    assert!(Candidate::of_pkcs12(&empty, Path::new("x.p12"), &secret("")).is_ok());
}

#[test]
fn a_key_out_of_a_pkcs12_file_lies_as_it_is_wanted() {
    let bench = bench(P256);
    let archive = archive(&bench, "-passout file:pass");
    let place = Pair {
        certificate: bench.path("installed.pem"),
        key: bench.path("installed.key"),
    };
    let under = secret("another passphrase");

    let mut candidate =
        Candidate::of_pkcs12(&archive, Path::new("a.p12"), &secret(PASSPHRASE)).unwrap();
    candidate.seal(None, &under).unwrap();
    assert!(candidate.is_encrypted());
    candidate.install(&place, Some(&under)).unwrap();

    assert!(bench.read("installed.key").contains("ENCRYPTED"));
    assert_eq!(mode(&place.key), 0o600);
    bench.write("other-pass", "another passphrase");
    bench.openssl("pkey -in installed.key -passin file:other-pass -check -noout");
    let shown = Identity::load(&place.certificate, &place.key, Some(&under)).unwrap();
    assert_eq!(
        shown.certificate().common_name.as_deref(),
        Some("acme-client")
    );
}

#[test]
fn a_pkcs12_file_that_is_of_no_use_says_why() {
    let bench = bench(P256);
    let origin = bench.path("client.p12");
    let problem = |archive: &[u8]| {
        let error = Candidate::of_pkcs12(archive, &origin, &secret(PASSPHRASE)).unwrap_err();
        let TlsError::Archive { problem, .. } = error else {
            panic!("{error}")
        };
        problem
    };
    let whole = archive(&bench, "-passout file:pass");
    assert_eq!(
        problem(&whole[..whole.len() - 9]),
        ArchiveProblem::Unreadable
    );
    bench.openssl("pkcs12 -export -nokeys -in client.pem -passout file:pass -out client.p12");
    assert_eq!(problem(&fs::read(&origin).unwrap()), ArchiveProblem::NoKey);
    bench.openssl("pkcs12 -export -nocerts -inkey client.key -passout file:pass -out client.p12");
    assert_eq!(
        problem(&fs::read(&origin).unwrap()),
        ArchiveProblem::NoCertificate
    );
    let odd = archive(
        &bench,
        "-passout file:pass -keypbe camellia-256-cbc -certpbe camellia-256-cbc",
    );
    assert_eq!(problem(&odd), ArchiveProblem::Unreadable);
    // Where a PEM file is expected, it says which command takes it.
    let error = Identity::load(&origin, &bench.path("client.key"), None).unwrap_err();
    assert!(
        error.to_string().contains("cert install FILE.p12"),
        "{error}"
    );
}

#[test]
fn a_file_with_a_byte_that_is_wrong_is_refused_or_holds_the_same_pair() {
    let bench = bench(P256);
    let expected = load(&bench, "client.key", None).unwrap();
    let mut refused = 0;
    let whole = archive(&bench, "-passout file:pass -iter 1 -maciter");
    for at in 0..whole.len() {
        let mut archive = whole.clone();
        archive[at] ^= 1 << (at % 8);
        match Candidate::of_pkcs12(&archive, Path::new("a.p12"), &secret(PASSPHRASE)) {
            Ok(opened) => {
                assert_eq!(
                    opened.identity().certificate(),
                    expected.certificate(),
                    "{at}"
                );
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > whole.len() / 2, "{refused} of {}", whole.len());

    bench.openssl(
        "pkcs8 -topk8 -iter 1 -in client.key -outform DER -out sealed.der -passout file:pass",
    );
    let whole = fs::read(bench.path("sealed.der")).unwrap();
    let mut refused = 0;
    for at in 0..whole.len() {
        let mut der = whole.clone();
        der[at] ^= 1 << (at % 8);
        let pem = crate::tls::pem::encode("ENCRYPTED PRIVATE KEY", &der);
        bench.write("sealed.key", pem);
        refused += usize::from(load(&bench, "sealed.key", Some(&secret(PASSPHRASE))).is_err());
    }
    assert!(refused > whole.len() / 2, "{refused} of {}", whole.len());
}

#[test]
fn neither_key_nor_passphrase_is_printed() {
    let bench = bench(P256);
    let archive = archive(&bench, "-passout file:pass");
    let candidate =
        Candidate::of_pkcs12(&archive, Path::new("a.p12"), &secret(PASSPHRASE)).unwrap();
    let printed = format!("{candidate:?}");
    assert!(printed.contains("acme-client"));
    for line in bench.read("client.key").lines().skip(1) {
        assert!(!printed.contains(line), "{printed}");
    }
}
