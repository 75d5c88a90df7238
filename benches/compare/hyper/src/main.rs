//! A peer to measure against: a multi-threaded tokio runtime, hyper's server and hyper-util's
//! pooled client over hyper-rustls, a task for each connection, one fixed token and no features.
//!
//! Everything comes from the environment: `LISTEN`, `UPSTREAM`, `SNI`, `CA`, `CERT`, `KEY`, `TOKEN`,
//! `WORKERS` and `UPSTREAM_H2`.

#![allow(
    clippy::disallowed_methods,
    reason = "the proxy's own rules: this one has neither settings nor a drain"
)]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response, Uri, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpListener;

type BoxError = Box<dyn Error + Send + Sync>;
type Pool = Client<HttpsConnector<HttpConnector<Fixed>>, Incoming>;

fn main() -> Result<(), BoxError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(env("WORKERS")?.parse()?)
        .enable_all()
        .build()?
        .block_on(serve())
}

fn env(name: &str) -> Result<String, BoxError> {
    std::env::var(name).map_err(|error| format!("{name}: {error}").into())
}

async fn serve() -> Result<(), BoxError> {
    let http2 = env("UPSTREAM_H2")? == "1";
    let address: SocketAddr = env("UPSTREAM")?.parse()?;
    let way = Arc::new(Way {
        pool: pool(address, http2)?,
        authority: format!("{}:{}", env("SNI")?, address.port()),
        authorization: HeaderValue::try_from(format!("Bearer {}", env("TOKEN")?))?,
        // HTTP/2 has :authority.
        host: (!http2)
            .then(|| HeaderValue::try_from(env("SNI")?).map_err(BoxError::from))
            .transpose()?,
    });
    let listener = TcpListener::bind(env("LISTEN")?).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let way = Arc::clone(&way);
        tokio::spawn(async move {
            let service = service_fn(move |request| forward(Arc::clone(&way), request));
            // A connection that breaks is the client's affair.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

/// What every request needs on its way.
struct Way {
    pool: Pool,
    authority: String,
    authorization: HeaderValue,
    host: Option<HeaderValue>,
}

async fn forward(
    way: Arc<Way>,
    mut request: Request<Incoming>,
) -> Result<Response<Incoming>, BoxError> {
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    *request.uri_mut() = Uri::try_from(format!("https://{}{path}", way.authority))?;
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    for name in [header::CONNECTION, header::TE, header::UPGRADE] {
        headers.remove(name);
    }
    headers.insert(header::AUTHORIZATION, way.authorization.clone());
    match &way.host {
        Some(host) => headers.insert(header::HOST, host.clone()),
        None => headers.remove(header::HOST),
    };
    let mut response = way.pool.request(request).await?;
    response.headers_mut().remove(header::CONNECTION);
    Ok(response)
}

fn pool(address: SocketAddr, http2: bool) -> Result<Pool, BoxError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(env("CA")?)? {
        roots.add(certificate?)?;
    }
    let chain = CertificateDer::pem_file_iter(env("CERT")?)?.collect::<Result<_, _>>()?;
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(env("KEY")?)?)?;
    let mut tcp = HttpConnector::new_with_resolver(Fixed(address));
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    let name = ServerName::try_from(env("SNI")?)?;
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .with_server_name_resolver(FixedServerNameResolver::new(name));
    let connector = if http2 {
        builder.enable_http2().wrap_connector(tcp)
    } else {
        builder.enable_http1().wrap_connector(tcp)
    };
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(90))
        .build(connector))
}

/// The upstream's name resolves to the one address there is.
#[derive(Clone)]
struct Fixed(SocketAddr);

impl tower_service::Service<Name> for Fixed {
    type Response = std::iter::Once<SocketAddr>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        std::future::ready(Ok(std::iter::once(self.0)))
    }
}
