//! TLS towards applications: doors with a certificate of their own, and tunnels with one of the
//! local authority's.

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Identity, TlsError, roots};

/// The first byte of a handshake (RFC 8446 §5.1); no request begins with it.
pub(crate) const HANDSHAKE: u8 = 22;

/// Whose certificates applications may show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clients<'a> {
    /// PEM file of their authorities.
    pub(crate) authorities: &'a Path,
    /// Nobody is known here without one.
    pub(crate) required: bool,
}

/// Takes handshakes at a door or in a tunnel. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Acceptor {
    config: Arc<ServerConfig>,
    /// Whose certificates clients may show.
    clients: Option<Arc<RootCertStore>>,
    /// Nobody is known here without one.
    required: bool,
}

/// A client's certificate, as it was verified in a handshake.
#[derive(Clone, Debug)]
pub(crate) struct ClientCertificate {
    /// Common names, DNS names and URIs.
    pub(crate) names: Vec<String>,
    /// When it ends, or one that it was shown with.
    until: SystemTime,
    /// The authorities that were believed then.
    authorities: Arc<RootCertStore>,
}

impl Acceptor {
    /// Reads a door's certificate, its key and the authorities of its clients. Blocking.
    pub(crate) fn load(
        certificate: &Path,
        key: &Path,
        clients: Option<Clients<'_>>,
    ) -> Result<Self, TlsError> {
        let identity = Identity::load(certificate, key, None)?;
        let resolver = Arc::new(SingleCertAndKey::from(identity.certified_key()));
        let clients = clients
            .map(|clients| {
                let mut store = RootCertStore::empty();
                roots::add_file(&mut store, clients.authorities)?;
                Ok::<_, TlsError>((store, clients.required))
            })
            .transpose()?;
        Self::new(resolver, clients)
    }

    /// TLS 1.2 and 1.3 with HTTP/2 and HTTP/1.1.
    ///
    /// Sessions are never resumed: a resumed one would bring back a client certificate whose
    /// authority has been withdrawn, and what a handshake costs on one machine is not worth a store
    /// that all workers share. There is no early data: it can be replayed.
    pub(super) fn new(
        certificate: Arc<dyn ResolvesServerCert>,
        clients: Option<(RootCertStore, bool)>,
    ) -> Result<Self, TlsError> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(TlsError::Setup)?;
        let required = clients.as_ref().is_some_and(|(_, required)| *required);
        let clients = clients.map(|(store, _)| Arc::new(store));
        let builder = match &clients {
            None => builder.with_no_client_auth(),
            Some(store) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::clone(store), provider);
                let verifier = if required {
                    verifier
                } else {
                    verifier.allow_unauthenticated()
                };
                let verifier = verifier.build();
                let verifier = verifier
                    .map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Self {
            config: Arc::new(config),
            clients,
            required,
        })
    }

    /// The same for a place where HTTP/1.1 alone is spoken.
    pub(crate) fn without_http2(mut self) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols = vec![b"http/1.1".to_vec()];
        self
    }

    /// Whether a connection needs a certificate to be served.
    pub(crate) fn requires_certificate(&self) -> bool {
        self.required
    }

    /// Whether a certificate that was shown in a handshake would still do: it has not ended, and no
    /// authority of that time has been withdrawn.
    pub(crate) fn trusts(&self, shown: &ClientCertificate, now: SystemTime) -> bool {
        let Some(clients) = &self.clients else {
            return false;
        };
        let then = &shown.authorities;
        let same = Arc::ptr_eq(then, clients);
        let still = || then.roots.iter().all(|root| clients.roots.contains(root));
        now < shown.until && (same || still())
    }

    /// Shakes hands. Whoever is refused has been told so by an alert.
    ///
    /// Cancel safe: dropping the future closes the connection.
    pub(crate) async fn accept<T>(&self, io: T) -> io::Result<ServerStream<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        acceptor.accept(io).await.map(ServerStream)
    }

    /// What the client showed in a handshake that was taken here.
    pub(crate) fn shown<T>(&self, stream: &ServerStream<T>) -> Option<ClientCertificate> {
        let (_, session) = stream.0.get_ref();
        let chain = session.peer_certificates()?;
        Some(ClientCertificate {
            names: chain.first().map(|leaf| names(leaf)).unwrap_or_default(),
            until: chain.iter().map(|it| end(it)).min()?,
            authorities: Arc::clone(self.clients.as_ref()?),
        })
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A connection of an application, after the handshake.
#[derive(Debug)]
pub(crate) struct ServerStream<T>(TlsStream<T>);

impl<T> ServerStream<T> {
    /// Whether something that was written waits for the socket to take it.
    pub(crate) fn is_full(&self) -> bool {
        self.0.get_ref().1.wants_write()
    }

    /// The connection that carries it.
    pub(crate) fn below(&self) -> &T {
        self.0.get_ref().0
    }
}

/// When a certificate ends; one that cannot be read has.
fn end(der: &[u8]) -> SystemTime {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return UNIX_EPOCH;
    };
    let seconds = u64::try_from(certificate.validity().not_after.timestamp());
    let end = seconds.map(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    end.ok().flatten().unwrap_or(UNIX_EPOCH)
}

/// Common names, DNS names and URIs of a certificate.
fn names(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Vec::new();
    };
    let common = certificate.subject().iter_common_name();
    let mut names: Vec<String> = common
        .filter_map(|name| name.as_str().ok().map(str::to_owned))
        .collect();
    if let Ok(Some(others)) = certificate.subject_alternative_name() {
        names.extend(others.value.general_names.iter().filter_map(|name| {
            #[allow(
                clippy::wildcard_enum_match_arm,
                reason = "addresses and directory names name no caller here"
            )]
            match name {
                GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
                _ => None,
            }
        }));
    }
    names
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for ServerStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ServerStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    /// Says `close_notify`.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> (rcgen::CertificateParams, rcgen::KeyPair) {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        (params, rcgen::KeyPair::generate().unwrap())
    }

    fn acceptor(roots: &[&rustls_pki_types::CertificateDer<'static>]) -> Acceptor {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add((*root).clone()).unwrap();
        }
        let (params, key) = authority();
        let der = params.self_signed(&key).unwrap().der().clone();
        let key = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = rustls::sign::CertifiedKey::from_der(vec![der], key, &provider()).unwrap();
        Acceptor::new(Arc::new(SingleCertAndKey::from(key)), Some((store, true))).unwrap()
    }

    #[test]
    fn a_client_certificate_counts_while_it_lasts_and_its_authorities_are_trusted() {
        let roots: Vec<_> = (0..2)
            .map(|_| {
                let (params, key) = authority();
                params.self_signed(&key).unwrap().der().clone()
            })
            .collect();
        let (mut params, key) = authority();
        params.not_after = rcgen::date_time_ymd(2027, 1, 31);
        let leaf = params.self_signed(&key).unwrap();
        let until = end(leaf.der());
        let day = Duration::from_hours(24);
        assert_eq!(until, UNIX_EPOCH + 20_849 * day);
        assert_eq!(end(b"none"), UNIX_EPOCH);

        let then = acceptor(&[&roots[0]]);
        let shown = ClientCertificate {
            names: Vec::new(),
            until,
            authorities: Arc::clone(then.clients.as_ref().unwrap()),
        };
        let before = until - Duration::from_secs(1);
        assert!(then.trusts(&shown, before));
        assert!(!then.trusts(&shown, until));
        // Read anew; beside another; withdrawn; not asked for any more.
        assert!(acceptor(&[&roots[0]]).trusts(&shown, before));
        assert!(acceptor(&[&roots[1], &roots[0]]).trusts(&shown, before));
        assert!(!acceptor(&[&roots[1]]).trusts(&shown, before));
        let unasked = Acceptor {
            clients: None,
            ..then
        };
        assert!(!unasked.trusts(&shown, before));
    }
}
