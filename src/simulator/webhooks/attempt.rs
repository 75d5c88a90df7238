//! One POST to a receiver, over a connection of its own.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::StatusCode;
use http::Uri;
use http::header::CONTENT_TYPE;
use http::header::HOST;
use http::header::RETRY_AFTER;
use http::header::USER_AGENT;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Delivery;
use super::Forgery;
use super::Trouble;
use super::WebhookFaults;
use super::identity;
use super::identity::Certificate;
use super::identity::Signer;
use crate::simulator::shared::Shared;
use crate::simulator::world::Subscription;

/// As much of an answer as Wise looks at.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
}

impl Answer {
    /// A redirect is a failure like any other.
    pub(super) fn is_success(&self) -> bool {
        StatusCode::from_u16(self.status).is_ok_and(|status| status.is_success())
    }
}

/// Sends it; returns the signature sent and the receiver's answer.
pub(super) async fn send(
    shared: &Arc<Shared>,
    subscription: &Subscription,
    delivery: &Delivery,
    switches: &WebhookFaults,
    forgery: Option<Forgery>,
) -> (Option<String>, Result<Answer, Trouble>) {
    let signature = match sign(shared, delivery.body.as_bytes(), forgery) {
        Ok(signature) => signature,
        Err(trouble) => return (None, Err(trouble)),
    };
    let work = async {
        let uri: Uri = delivery
            .url
            .parse()
            .map_err(|_| Trouble::Url(delivery.url.clone()))?;
        let request = request(&uri, delivery, signature.as_deref())?;
        let stream = connect(&uri, switches).await?;
        if uri.scheme_str() == Some("http") {
            return exchange(stream, request).await;
        }
        let certificate = certificate(shared, subscription, forgery)?;
        let client = identity::client(roots(shared, switches)?, certificate.as_deref())?;
        let host = uri.host().unwrap_or_default();
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| Trouble::Url(delivery.url.clone()))?;
        let stream = TlsConnector::from(Arc::new(client))
            .connect(name, stream)
            .await
            .map_err(Trouble::Tls)?;
        exchange(stream, request).await
    };
    let limit = Duration::from_millis(switches.answer_limit);
    let answer = tokio::time::timeout(limit, work).await;
    (signature, answer.unwrap_or(Err(Trouble::TooSlow)))
}

fn sign(shared: &Shared, body: &[u8], forgery: Option<Forgery>) -> Result<Option<String>, Trouble> {
    let signer = shared.sender.signer()?;
    match forgery {
        Some(Forgery::Unsigned) => Ok(None),
        Some(Forgery::Garbled) => Ok(Some("!not base64!".to_owned())),
        Some(Forgery::WrongKey) => Signer::new()?.sign(body).map(Some),
        Some(Forgery::OtherBody) => signer.sign(&[body, b" "].concat()).map(Some),
        Some(Forgery::NoCertificate | Forgery::OtherAuthority) | None => {
            signer.sign(body).map(Some)
        }
    }
}

fn certificate(
    shared: &Shared,
    subscription: &Subscription,
    forgery: Option<Forgery>,
) -> Result<Option<Arc<Certificate>>, Trouble> {
    match forgery {
        _ if !subscription.mtls => Ok(None),
        Some(Forgery::NoCertificate) => Ok(None),
        Some(Forgery::OtherAuthority) => Ok(Some(Arc::new(Certificate::new(shared.now())?))),
        _ => shared.sender.certificate(shared.now()).map(Some),
    }
}

fn request(
    uri: &Uri,
    delivery: &Delivery,
    signature: Option<&str>,
) -> Result<Request<Full<Bytes>>, Trouble> {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::post(uri.path())
        .header(HOST, authority)
        .header(USER_AGENT, "Wise-Webhooks (simulated)")
        .header(CONTENT_TYPE, "application/json")
        .header("X-Delivery-Id", &delivery.id);
    if let Some(signature) = signature {
        request = request.header("X-Signature-SHA256", signature);
    }
    if delivery.test {
        request = request.header("X-Test-Notification", "true");
    }
    request
        .body(Full::new(delivery.body.clone().into()))
        .map_err(|_| Trouble::Url(delivery.url.clone()))
}

/// A connection to the host, or to where the switches say it is.
async fn connect(uri: &Uri, switches: &WebhookFaults) -> Result<TcpStream, Trouble> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let usual = if uri.scheme_str() == Some("http") {
        80
    } else {
        443
    };
    let port = uri.port_u16().unwrap_or(usual);
    let here = matches!(host, "localhost" | "127.0.0.1" | "::1");
    let stream = match switches.hosts.get(host) {
        Some(address) => TcpStream::connect(address).await,
        None if here || switches.anywhere => TcpStream::connect((host, port)).await,
        None => return Err(Trouble::Elsewhere(host.to_owned())),
    };
    stream.map_err(Trouble::Connect)
}

/// The authorities of the file, or the public ones and the simulator's own.
fn roots(shared: &Shared, switches: &WebhookFaults) -> Result<RootCertStore, Trouble> {
    let unreadable = |error: &dyn std::fmt::Display| Trouble::Authorities(error.to_string());
    let mut roots = RootCertStore::empty();
    let mut add = |certificate| roots.add(certificate).map_err(|error| unreadable(&error));
    let Some(path) = &switches.ca_file else {
        add(CertificateDer::from_pem_slice(shared.ca_pem.as_bytes())
            .map_err(|error| unreadable(&error))?)?;
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))? {
        add(certificate.map_err(|error| unreadable(&error))?)?;
    }
    Ok(roots)
}

async fn exchange<T>(stream: T, request: Request<Full<Bytes>>) -> Result<Answer, Trouble>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Trouble::Http)?;
    let asking = async {
        let answer = sender.send_request(request).await.map_err(Trouble::Http)?;
        let retry_after = answer.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: answer.status().as_u16(),
            retry_after: retry_after.map(str::to_owned),
        })
    };
    let mut asking = pin!(asking);
    // The body is of no interest: with the answer's head the connection is dropped.
    tokio::select! {
        answer = asking.as_mut() => answer,
        // It may have ended with the answer on it, and knows best why there is none.
        ended = connection => match (asking.await, ended) {
            (Err(_), Err(error)) => Err(Trouble::Http(error)),
            (answer, _) => answer,
        },
    }
}
