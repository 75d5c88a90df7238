use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;

use super::{TlsError, files, pem};
use crate::config::{Roots, Trust};

/// The certificate authorities we believe to vouch for Wise. Never empty.
#[derive(Clone)]
pub(crate) struct RootSet {
    store: Arc<RootCertStore>,
    base: Roots,
    extra: usize,
}

impl RootSet {
    /// Reads the set that the configuration names.
    ///
    /// Blocking: the system's store is a hundred files or more.
    pub(crate) fn load(trust: &Trust) -> Result<Self, TlsError> {
        let mut store = match trust.roots {
            Roots::System => {
                let found = rustls_native_certs::load_native_certs();
                let complaints = found.errors.iter().map(ToString::to_string).collect();
                system(found.certs, complaints)?
            }
            Roots::Bundled => RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            },
            Roots::OnlyExtra => RootCertStore::empty(),
        };
        let extra = match &trust.extra_ca {
            Some(path) => add_file(&mut store, path)?,
            None => 0,
        };
        if store.is_empty() {
            return Err(TlsError::NoRoots);
        }
        Ok(Self {
            store: Arc::new(store),
            base: trust.roots,
            extra,
        })
    }

    /// How many authorities are trusted.
    pub(crate) fn count(&self) -> usize {
        self.store.len()
    }

    #[cfg(test)]
    /// Which base set was asked for.
    pub(crate) fn base(&self) -> Roots {
        self.base
    }

    #[cfg(test)]
    /// How many of them came from `extra_ca`; they are the last ones.
    pub(crate) fn extra(&self) -> usize {
        self.extra
    }

    #[cfg(test)]
    /// The authorities' names.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = String> {
        use x509_parser::prelude::{FromDer as _, X509Name};
        self.store.subjects().into_iter().map(|subject| {
            X509Name::from_der(subject.as_ref()).map_or_else(
                |_| "(unreadable name)".to_owned(),
                |(_, name)| super::chain::name(&name),
            )
        })
    }

    pub(super) fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.store)
    }
}

impl fmt::Debug for RootSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootSet")
            .field("base", &self.base)
            .field("count", &self.count())
            .field("extra", &self.extra)
            .finish_non_exhaustive()
    }
}

/// Takes what parses of the system's certificates: one odd file must not stop the program, but
/// an empty set must, for nothing else may silently take its place.
pub(super) fn system(
    found: Vec<CertificateDer<'static>>,
    complaints: Vec<String>,
) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    let (_, ignored) = store.add_parsable_certificates(found);
    if store.is_empty() {
        let reason = match (complaints.into_iter().next(), ignored) {
            (Some(first), _) => first,
            (None, 0) => "no file found".to_owned(),
            (None, ignored) => format!("{ignored} certificates found, none readable"),
        };
        return Err(TlsError::NoSystemRoots { reason });
    }
    Ok(store)
}

pub(super) fn add_file(store: &mut RootCertStore, path: &Path) -> Result<usize, TlsError> {
    let certificates = pem::certificates(&files::read(path)?, path)?;
    let count = certificates.len();
    for (index, der) in certificates.into_iter().enumerate() {
        store.add(der).map_err(|error| TlsError::UnusableRoot {
            path: path.to_owned(),
            position: index + 1,
            reason: error.to_string(),
        })?;
    }
    Ok(count)
}
