//! Wise's webhooks: what comes in is verified, kept, and given to the application in order; nothing
//! is lost, and nothing comes twice but where a kill leaves no other way.

mod door;
mod failures;
#[cfg(feature = "failpoints")]
mod kills;
mod queue;
mod strangers;
mod wise;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use wise_auth_proxy::simulator::Simulator;

#[cfg(feature = "failpoints")]
pub use self::kills::POINTS;
use crate::house::{Answer, Connection, House, PATIENCE, Plan, Site};

/// One delivery as the application got it.
#[derive(Clone, Debug)]
struct Arrived {
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Arrived {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn id(&self) -> String {
        self.header("x-delivery-id").unwrap().to_owned()
    }
}

/// How the application is.
#[derive(Default)]
struct Mood {
    /// It closes every connection at once, and so many it has closed.
    down: bool,
    turned_away: usize,
    /// Answers to what comes next; after them 200.
    script: VecDeque<(u16, Option<&'static str>)>,
}

/// An application that takes webhooks on loopback.
struct Application {
    address: SocketAddr,
    arrived: watch::Receiver<Vec<Arrived>>,
    mood: Arc<watch::Sender<Mood>>,
}

impl Application {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, arrived) = watch::channel(Vec::new());
        let (seen, mood) = (
            Arc::new(seen),
            Arc::new(watch::Sender::new(Mood::default())),
        );
        let moods = Arc::clone(&mood);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if moods.borrow().down {
                    drop(stream);
                    moods.send_modify(|mood| mood.turned_away += 1);
                    continue;
                }
                let (seen, moods) = (Arc::clone(&seen), Arc::clone(&moods));
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let (seen, moods) = (Arc::clone(&seen), Arc::clone(&moods));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let mut next = None;
                        moods.send_modify(|mood| next = mood.script.pop_front());
                        let (status, after) = next.unwrap_or((200, None));
                        seen.send_modify(|seen| {
                            seen.push(Arrived {
                                target: head.uri.to_string(),
                                headers: head.headers,
                                body,
                            });
                        });
                        let mut answer = Response::builder().status(status);
                        if let Some(after) = after {
                            answer = answer.header("retry-after", after);
                        }
                        Ok::<_, hyper::Error>(answer.body(Full::new(Bytes::new())).unwrap())
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self {
            address,
            arrived,
            mood,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Mood)) {
        self.mood.send_modify(change);
    }

    #[cfg(feature = "failpoints")]
    fn then(&self, answers: &[u16]) {
        let answers = answers.iter().map(|status| (*status, None));
        self.change(|mood| mood.script.extend(answers));
    }

    /// Waits until so many have arrived, and returns them.
    async fn got(&self, count: usize) -> Vec<Arrived> {
        let mut arrived = self.arrived.clone();
        let waiting = arrived.wait_for(|all| all.len() >= count);
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{count} never came: {:?}", self.ids());
        self.arrived.borrow().clone()
    }

    fn ids(&self) -> Vec<String> {
        self.arrived.borrow().iter().map(Arrived::id).collect()
    }

    /// Waits until it has turned so many connections away.
    async fn turned_away(&self, count: usize) {
        let mut moods = self.mood.subscribe();
        let waiting = moods.wait_for(|mood| mood.turned_away >= count);
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "nobody tried {count} times");
    }
}

/// Somebody who signs deliveries.
struct Sender(KeyPair);

impl Sender {
    fn new() -> Self {
        Self(KeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn public_pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = (0..text.len())
            .step_by(64)
            .map(|at| &text[at..text.len().min(at + 64)])
            .collect();
        let lines = lines.join("\n");
        format!("-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n")
    }

    fn sign(&self, body: &[u8]) -> String {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                body,
                &mut signature,
            )
            .unwrap();
        STANDARD.encode(signature)
    }

    /// A delivery as Wise sends it.
    fn delivery(&self, id: &str, body: &[u8]) -> Request<Bytes> {
        Request::post("/wise")
            .header("content-type", "application/json")
            .header("user-agent", "TransferWise Webhooks")
            .header("x-delivery-id", id)
            .header("x-signature-sha256", self.sign(body))
            .body(Bytes::copy_from_slice(body))
            .unwrap()
    }

    /// Sends one and returns the answer.
    async fn send(&self, to: SocketAddr, id: &str) -> Answer {
        ask(to, self.delivery(id, body(id).as_bytes())).await
    }
}

/// A body that tells which it is.
fn body(id: &str) -> String {
    format!("{{\"data\" : {{\"of\":\"{id}\"}},\"event_type\":\"transfers#state-change\"}}")
}

async fn ask(to: SocketAddr, request: Request<Bytes>) -> Answer {
    Connection::to(to).await.request(request).await.unwrap()
}

/// A plain webhook for a sender and an application, in lane `personal`: neither depends on tokens.
struct Setup {
    sender: Sender,
    application: Application,
    site: Site,
    _wise: Simulator,
}

impl Setup {
    async fn new() -> Self {
        Self::with("").await
    }

    /// With more settings of the webhook.
    async fn with(settings: &str) -> Self {
        let wise = crate::house::wise().await;
        let (sender, application) = (Sender::new(), Application::start().await);
        let plan = House::on(&wise).lane("personal").logged_out();
        let plan = webhook(plan, &application, settings);
        let site = plan.prepare().await;
        std::fs::write(site.path("wise.pub"), sender.public_pem()).unwrap();
        Self {
            sender,
            application,
            site,
            _wise: wise,
        }
    }
}

fn webhook<'a>(plan: Plan<'a>, application: &Application, settings: &str) -> Plan<'a> {
    plan.toml(&format!(
        "[[webhook]]\nname = \"transfers\"\naddress = \"127.0.0.1:0\"\nsignature_key = \"wise.pub\"\n\
         forward = \"http://{}/hooks/wise?from=proxy\"\n{settings}\n",
        application.address
    ))
}

/// Where the webhook listens.
async fn door(house: &House) -> SocketAddr {
    let status = house.status().await;
    let address = status["webhooks"][0]["address"].as_str().unwrap();
    address.parse().unwrap()
}

/// Waits until so many wait in the queue.
async fn queued(house: &House, count: u64) -> serde_json::Value {
    house
        .status_until(|status| status["webhooks"][0]["queued"] == count)
        .await
}

fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("delivery-{number}"))
        .collect()
}

const OK: StatusCode = StatusCode::OK;

/// Ends a proxy as the kernel does when memory is short.
async fn kill(house: &House) {
    house.signal("KILL");
    house.ended().await;
}
