use super::*;
use crate::config::{Roots, Trust};
use crate::tls::roots::system;
use crate::tls::{Expected, Found, RootSet, TlsError};

#[test]
fn bundled_roots_are_mozillas_and_can_be_listed() {
    let roots = RootSet::load(&Trust {
        roots: Roots::Bundled,
        extra_ca: None,
    })
    .unwrap();
    assert_eq!(roots.count(), webpki_roots::TLS_SERVER_ROOTS.len());
    assert_eq!(roots.base(), Roots::Bundled);
    assert_eq!(roots.extra(), 0);
    let subjects: Vec<_> = roots.subjects().collect();
    assert_eq!(subjects.len(), roots.count());
    assert!(
        subjects.iter().any(|name| name.contains("ISRG Root X1")),
        "{subjects:?}"
    );
}

#[test]
fn an_extra_authority_is_added_last() {
    let bench = Bench::new();
    let extra_ca = Some(bench.authority());
    for (base, others) in [
        (Roots::OnlyExtra, 0),
        (Roots::Bundled, webpki_roots::TLS_SERVER_ROOTS.len()),
    ] {
        let roots = RootSet::load(&Trust {
            roots: base,
            extra_ca: extra_ca.clone(),
        })
        .unwrap();
        assert_eq!((roots.count(), roots.extra()), (others + 1, 1));
        assert_eq!(
            roots.subjects().last().as_deref(),
            Some("O=Test, CN=Test-CA")
        );
    }
}

#[test]
fn an_empty_system_store_is_an_error_that_says_what_to_install() {
    let error = system(Vec::new(), Vec::new()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("`ca-certificates`"), "{message}");
    assert!(message.contains("roots = \"bundled\""), "{message}");
    assert!(message.contains("(no file found)"), "{message}");
}

#[test]
fn only_extra_without_a_file_trusts_nobody_and_says_so() {
    let error = RootSet::load(&Trust {
        roots: Roots::OnlyExtra,
        extra_ca: None,
    })
    .unwrap_err();
    assert!(matches!(error, TlsError::NoRoots));
}

#[test]
fn an_extra_authority_that_is_none_is_named() {
    let bench = Bench::new();
    bench.authority();
    bench.issue("client", P256, "acme-client");
    let path = bench.path("client.csr");
    let error = RootSet::load(&Trust {
        roots: Roots::OnlyExtra,
        extra_ca: Some(path.clone()),
    })
    .unwrap_err();
    assert!(matches!(
        error,
        TlsError::Content { path: named, expected: Expected::Certificate, found: Found::Csr } if named == path
    ));
}
