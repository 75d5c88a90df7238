//! Webhooks on their way out: who may subscribe to what, what is sent, and when it is sent again.

mod attempts;
mod deliveries;
mod subscriptions;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Mutex;

use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use aws_lc_rs::signature::UnparsedPublicKey;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const EVENT: &str = "transfers#state-change";

/// What a receiver does with a request.
enum Script {
    Answer(u16, Option<&'static str>),
    Redirect,
    Hang,
}

/// One delivery as it arrived.
struct Arrived {
    headers: http::HeaderMap,
    body: Vec<u8>,
    /// Subject of the client certificate.
    certificate: Option<String>,
}

impl Arrived {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A receiver on loopback: 200 to everything that its script says nothing of.
struct Receiver {
    address: SocketAddr,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    script: Arc<Mutex<VecDeque<Script>>>,
}

impl Receiver {
    async fn http() -> Self {
        Self::start(None).await
    }

    /// Speaks TLS for `hooks.example.com` and `localhost`; returns its certificate as PEM. Asks for
    /// a certificate of `clients`, if there are some.
    async fn tls(clients: Option<&str>) -> (Self, String) {
        let names = ["hooks.example.com".to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(chain) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(chain.as_bytes()) {
                    roots.add(certificate.unwrap()).unwrap();
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = builder
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        (Self::start(Some(acceptor)).await, made.cert.pem())
    }

    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (arrived, script) = (Arc::default(), Arc::default());
        let tasks = TaskTracker::new();
        let (seen, plan) = (Arc::clone(&arrived), Arc::clone(&script));
        tasks.clone().spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, seen, plan) = (tls.clone(), Arc::clone(&seen), Arc::clone(&plan));
                tasks.spawn(async move {
                    let Some(tls) = tls else {
                        return serve(stream, None, seen, plan).await;
                    };
                    let Ok(stream) = tls.accept(stream).await else {
                        return;
                    };
                    let leaf = stream.get_ref().1.peer_certificates();
                    let subject = leaf.map(|chain| {
                        let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
                        leaf.subject().to_string()
                    });
                    serve(stream, subject, seen, plan).await;
                });
            }
        });
        Self {
            address,
            arrived,
            script,
        }
    }

    fn then(&self, script: impl IntoIterator<Item = Script>) {
        self.script.lock().unwrap().extend(script);
    }

    fn taken(&self) -> Vec<Arrived> {
        std::mem::take(&mut self.arrived.lock().unwrap())
    }
}

async fn serve<T>(
    stream: T,
    certificate: Option<String>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    script: Arc<Mutex<VecDeque<Script>>>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let (arrived, script) = (Arc::clone(&arrived), Arc::clone(&script));
        let certificate = certificate.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes().to_vec();
            assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/hook"));
            arrived.lock().unwrap().push(Arrived {
                headers: head.headers,
                body,
                certificate,
            });
            let next = script.lock().unwrap().pop_front();
            let mut answer = Response::builder();
            match next.unwrap_or(Script::Answer(200, None)) {
                Script::Hang => std::future::pending().await,
                Script::Redirect => {
                    answer = answer.status(307).header(LOCATION, "/elsewhere");
                }
                Script::Answer(status, retry_after) => {
                    // As simple servers end every connection.
                    answer = answer.status(status).header("connection", "close");
                    if let Some(retry_after) = retry_after {
                        answer = answer.header(RETRY_AFTER, retry_after);
                    }
                }
            }
            Ok::<_, hyper::Error>(answer.body(Full::new(Bytes::new())).unwrap())
        }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl House {
    /// A house whose minutes pass in no time, and that delivers on this machine.
    async fn hooked() -> Self {
        let house = Self::open().await;
        house.wise.change_faults(|faults| {
            faults.webhook.receivers = Receivers::LoopbackHttp;
            faults.webhook.minute = 1;
        });
        house
    }

    async fn subscribe(&self, profile: Option<u64>, delivery: Value) -> String {
        let ask = json!({"name": "sub 1", "trigger_on": EVENT, "delivery": delivery});
        let (token, path) = match profile {
            Some(profile) => (
                self.grant(profile).await.0,
                format!("/v3/profiles/{profile}/subscriptions"),
            ),
            None => (
                self.client_token().await,
                "/v3/applications/simulated-client/subscriptions".to_owned(),
            ),
        };
        let answer = self.call(&token, "POST", &path, Some(ask)).await;
        assert_eq!(answer.status(), 200, "{}", text(&answer));
        word(&body(&answer)["id"])
    }

    /// Waits for the deliveries' end and returns them.
    async fn settled(&self, count: usize) -> Vec<Delivery> {
        self.until_deliveries(|all| {
            let settled = |it: &&Delivery| it.state != DeliveryState::Pending;
            all.iter().filter(settled).count() == count
        })
        .await
    }

    async fn until_deliveries(&self, condition: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        let waiting = self.wise.until(|wise| condition(&wise.deliveries()));
        let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        assert!(waited.is_ok(), "{:#?}", self.wise.deliveries());
        self.wise.deliveries()
    }
}

fn to(receiver: &Receiver) -> Value {
    json!({"version": "2.0.0", "url": format!("http://{}/hook", receiver.address)})
}

fn statuses(delivery: &Delivery) -> Vec<Option<u16>> {
    delivery
        .attempts
        .iter()
        .map(|attempt| attempt.status)
        .collect()
}

/// Whether the key signed the body.
fn verifies(key_pem: &str, body: &[u8], signature: &str) -> bool {
    let key = SubjectPublicKeyInfoDer::from_pem_slice(key_pem.as_bytes()).unwrap();
    let Ok(signature) = STANDARD.decode(signature.trim()) else {
        return false;
    };
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.as_ref())
        .verify(body, &signature)
        .is_ok()
}

/// A house that delivers to `hooks.example.com` on this machine.
async fn secure(receiver: &Receiver, certificate: &str) -> (House, tempfile::TempDir) {
    let house = House::hooked().await;
    let dir = tempfile::tempdir().unwrap();
    let ca: PathBuf = dir.path().join("receiver.pem");
    std::fs::write(&ca, certificate).unwrap();
    house.wise.change_faults(|faults| {
        let hosts = &mut faults.webhook.hosts;
        hosts.insert("hooks.example.com".to_owned(), receiver.address);
        faults.webhook.ca_file = Some(ca);
    });
    (house, dir)
}
