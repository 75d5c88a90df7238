//! TLS towards applications: doors with a certificate of their own, and tunnels with one of the
//! local authority's.

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

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
pub(crate) struct Acceptor(Arc<ServerConfig>);

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
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some((store, required)) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
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
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands. Whoever is refused has been told so by an alert.
    ///
    /// Cancel safe: dropping the future closes the connection.
    pub(crate) async fn accept<T>(&self, io: T) -> io::Result<ServerStream<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.0));
        acceptor.accept(io).await.map(ServerStream)
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
    /// The names in the client's certificate, which was verified; empty without one.
    pub(crate) fn client_names(&self) -> Vec<String> {
        let (_, session) = self.0.get_ref();
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        leaf.map(|leaf| names(leaf)).unwrap_or_default()
    }

    /// Whether something that was written waits for the socket to take it.
    pub(crate) fn is_full(&self) -> bool {
        self.0.get_ref().1.wants_write()
    }
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
