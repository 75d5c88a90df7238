//! An application that speaks TLS, and authorities of the test's own.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;

use crate::house::{Connection, Site};

/// A certificate authority.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub pem: String,
}

/// A certificate and its key, in PEM.
pub struct Leaf {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = rcgen::Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// A certificate for `names`; the first is the common name, too.
    pub fn leaf(&self, names: &[&str]) -> Leaf {
        let mut params = rcgen::CertificateParams::new(
            names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        )
        .unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, names[0]);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Leaf {
    /// Writes `<stem>.pem` and `<stem>.key`, key first.
    pub fn write(&self, site: &Site, stem: &str) {
        site.secret(&format!("{stem}.key"), &self.key);
        std::fs::write(site.path(&format!("{stem}.pem")), &self.certificate).unwrap();
    }
}

/// What an application believes and shows.
#[derive(Clone)]
pub struct Client {
    config: rustls::ClientConfig,
}

impl Client {
    pub fn trusting(pem: &str) -> Self {
        Self::with(pem, None)
    }

    pub fn with(pem: &str, leaf: Option<&Leaf>) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
            .unwrap();
        let builder = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
        let config = match leaf {
            None => builder.with_no_client_auth(),
            Some(leaf) => {
                let chain = CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        };
        Self { config }
    }

    /// TLS over a connection, to `name`, offering these protocols.
    pub async fn shake<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: T,
        name: &str,
        alpn: &[&str],
    ) -> io::Result<TlsStream<T>> {
        let mut config = self.config.clone();
        config.alpn_protocols = alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        connector.connect(name, io).await
    }

    /// A connection that speaks HTTP/1.1 inside TLS.
    pub async fn http1<T>(&self, io: T, name: &str) -> io::Result<Connection>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = self.shake(io, name, &["http/1.1"]).await?;
        Ok(Connection::over(stream).await)
    }

    /// A connection that speaks HTTP/2 inside TLS, and what ends with it.
    pub async fn http2_kept<T>(
        &self,
        io: T,
        name: &str,
    ) -> (http2::SendRequest<Full<Bytes>>, tokio::task::JoinHandle<()>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = self.shake(io, name, &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        let ended = tokio::spawn(async {
            let _how = connection.await;
        });
        (sender, ended)
    }

    /// Sends one request over HTTP/2 inside TLS; its status and body.
    pub async fn http2<T>(&self, io: T, name: &str, request: Request<Bytes>) -> (StatusCode, Bytes)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, _) = self.http2_kept(io, name).await;
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, Full::new(body));
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status();
        (
            status,
            answer.into_body().collect().await.unwrap().to_bytes(),
        )
    }
}

/// Parses a certificate in PEM and hands out its DER.
pub fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A private key in DER, for rustls.
pub fn key_of(key: &rcgen::KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}
