//! Promises of the fake Wise, kept over real sockets: a house with a simulator and a caller.

mod business;
mod callers;
mod grants;
mod hosts;
mod jose;
mod pages;
mod record;
mod strong;
mod webhooks;
mod wire;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http::Response;
use http::header::AUTHORIZATION;
use http::header::CONTENT_TYPE;
use http::header::HOST;
use http::header::LOCATION;
use http::header::RETRY_AFTER;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use super::pki;
use super::*;
use crate::clock::Clock;
use crate::clock::Manual;

const BUSINESS: u64 = 30_000_000;
const OTHER: u64 = 30_000_001;
const PERSONAL: u64 = 14_575_282;

type Failure = Box<dyn Error + Send + Sync>;
type Answer = Response<Bytes>;

/// A simulator and someone to call it.
struct House {
    wise: Simulator,
    identity: Option<(CertificateDer<'static>, Vec<u8>)>,
    http2: bool,
}

impl House {
    async fn open() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let options = Options {
            business_profiles: vec![BUSINESS, OTHER],
            ..options
        };
        Self {
            wise: Simulator::start(options).await.unwrap(),
            identity: None,
            http2: false,
        }
    }

    /// Fetches a client certificate and shows it from now on.
    fn certified(mut self) -> Self {
        let (leaf, key) = certificate(&self.wise, "ours");
        self.identity = Some((leaf, key));
        self
    }

    fn client(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.wise.ca_pem().as_bytes()).unwrap();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((leaf, key)) => builder
                .with_client_auth_cert(
                    vec![leaf.clone()],
                    PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.clone())),
                )
                .unwrap(),
        };
        let protocol: &[u8] = if self.http2 { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![protocol.to_vec()];
        config
    }

    async fn dial(&self, address: SocketAddr) -> Result<TlsStream<TcpStream>, Failure> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost")?;
        Ok(TlsConnector::from(Arc::new(self.client()))
            .connect(name, stream)
            .await?)
    }

    async fn send(
        &self,
        address: SocketAddr,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Failure> {
        let stream = self.dial(address).await?;
        exchange(stream, self.http2, request).await
    }

    async fn plain(&self, request: Request<Full<Bytes>>) -> Answer {
        self.send(self.wise.plain_address(), request).await.unwrap()
    }

    async fn mtls(&self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        self.send(self.wise.mtls_address(), request).await
    }

    async fn control(&self, request: Request<Full<Bytes>>) -> Answer {
        let stream = TcpStream::connect(self.wise.control_address())
            .await
            .unwrap();
        exchange(stream, false, request).await.unwrap()
    }

    /// POSTs a form to the token endpoint with the right client secret.
    async fn token(&self, fields: &[(&str, &str)]) -> Answer {
        self.plain(token_request("simulated-client-secret", fields))
            .await
    }

    /// A fresh grant for `profile`: access and refresh token.
    async fn grant(&self, profile: u64) -> (String, String) {
        let code = self.wise.authorise(profile).unwrap();
        let answer = self.token(&code_fields(&code)).await;
        assert_eq!(answer.status(), 200, "{}", text(&answer));
        let body = body(&answer);
        (word(&body["access_token"]), word(&body["refresh_token"]))
    }

    async fn client_token(&self) -> String {
        word(&body(&self.token(&[("grant_type", "client_credentials")]).await)["access_token"])
    }

    async fn call(&self, token: &str, method: &str, path: &str, json: Option<Value>) -> Answer {
        self.plain(request(token, method, path, json)).await
    }

    /// A transfer of `amount` GBP to USD, not yet paid.
    async fn transfer(&self, token: &str, amount: i64, transaction: &str) -> Value {
        let quote = self.quote(token, amount).await;
        let recipient = self.recipient(token).await;
        let create = json!({
            "targetAccount": recipient,
            "quoteUuid": quote,
            "customerTransactionId": transaction,
            "details": {"reference": "Invoice 1"},
        });
        let answer = self
            .call(token, "POST", "/v1/transfers", Some(create))
            .await;
        assert_eq!(answer.status(), 200, "{}", text(&answer));
        body(&answer)
    }

    async fn quote(&self, token: &str, amount: i64) -> String {
        let ask = json!({"sourceCurrency": "GBP", "targetCurrency": "USD", "sourceAmount": amount});
        let path = format!("/v3/profiles/{BUSINESS}/quotes");
        word(&body(&self.call(token, "POST", &path, Some(ask)).await)["id"])
    }

    async fn recipient(&self, token: &str) -> u64 {
        let ask = json!({
            "currency": "USD",
            "type": "aba",
            "profile": BUSINESS,
            "accountHolderName": "A B",
            "details": {"abartn": "111000025", "accountNumber": "12345678"},
        });
        body(&self.call(token, "POST", "/v1/accounts", Some(ask)).await)["id"]
            .as_u64()
            .unwrap()
    }

    async fn gbp(&self, token: &str) -> f64 {
        let path = format!("/v4/profiles/{BUSINESS}/balances?types=STANDARD");
        let list = body(&self.call(token, "GET", &path, None).await);
        let balance = list
            .as_array()
            .unwrap()
            .iter()
            .find(|balance| balance["currency"] == "GBP");
        balance.unwrap()["amount"]["value"].as_f64().unwrap()
    }
}

async fn exchange<T>(
    stream: T,
    http2: bool,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Failure>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tasks = TaskTracker::new();
    let response = if http2 {
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tasks.spawn(connection);
        sender.send_request(request).await?
    } else {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tasks.spawn(connection);
        sender.send_request(request).await?
    };
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}

fn request(token: &str, method: &str, path: &str, json: Option<Value>) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "localhost");
    if !token.is_empty() {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    if json.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let body = json.map_or_else(Bytes::new, |json| json.to_string().into());
    request.body(Full::new(body)).unwrap()
}

fn token_request(secret: &str, fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let form: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    Request::post("/oauth/token")
        .header(HOST, "localhost")
        .header(
            AUTHORIZATION,
            format!(
                "Basic {}",
                STANDARD.encode(format!("simulated-client:{secret}"))
            ),
        )
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(form.into()))
        .unwrap()
}

fn code_fields(code: &str) -> [(&str, &str); 4] {
    [
        ("grant_type", "authorization_code"),
        ("client_id", "simulated-client"),
        ("code", code),
        ("redirect_uri", "http://127.0.0.1/callback"),
    ]
}

fn refresh_fields(token: &str) -> [(&str, &str); 2] {
    [("grant_type", "refresh_token"), ("refresh_token", token)]
}

fn certificate(wise: &Simulator, name: &str) -> (CertificateDer<'static>, Vec<u8>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = wise.sign_csr(name, &csr(&key)).unwrap();
    (
        CertificateDer::from_pem_slice(leaf.as_bytes()).unwrap(),
        key.serialize_der(),
    )
}

fn csr(key: &rcgen::KeyPair) -> String {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, "Acme");
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(answer.body()).into_owned()
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or_else(|_| panic!("not JSON: {}", text(answer)))
}

fn word(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a string: {value}"))
        .to_owned()
}

fn personal_token() -> String {
    Options::default().personal_token.expose().to_owned()
}
