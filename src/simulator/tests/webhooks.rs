//! Webhooks on their way out: who may subscribe to what, what is sent, and when it is sent again.

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

#[test]
fn wises_published_webhook_verifies_as_ours_are_verified_here() {
    let key = include_str!("vectors/webhook-sandbox-key.pem");
    let body = include_bytes!("vectors/webhook-body.json");
    let signature = include_str!("vectors/webhook-signature.txt");
    assert_eq!(body.len(), 354);
    assert!(verifies(key, body, signature));
    assert!(!verifies(key, &body[1..], signature));
}

#[tokio::test]
async fn a_transfer_is_followed_from_state_to_state_by_signed_deliveries() {
    let house = House::hooked().await;
    let receiver = Receiver::http().await;
    let ours = house.subscribe(Some(BUSINESS), to(&receiver)).await;
    house.subscribe(Some(OTHER), to(&receiver)).await;
    let (user, _) = house.grant(BUSINESS).await;
    let transfer = house.transfer(&user, 100, "followed").await;
    let id = transfer["id"].as_u64().unwrap();
    let pay = format!("/v3/profiles/{BUSINESS}/transfers/{id}/payments");
    let paid = house
        .call(&user, "POST", &pay, Some(json!({"type": "BALANCE"})))
        .await;
    assert_eq!(paid.status(), 201);
    for state in ["funds_converted", "outgoing_payment_sent"] {
        let push = format!("/v1/simulation/transfers/{id}/{state}");
        assert_eq!(house.call(&user, "GET", &push, None).await.status(), 200);
    }
    let deliveries = house.settled(4).await;
    assert_eq!(deliveries.len(), 4, "none for the other profile");
    let key = house.wise.webhook_key_pem().unwrap();
    let arrived = receiver.taken();
    assert_eq!(arrived.len(), 4);
    let mut states = Vec::new();
    for delivery in &deliveries {
        let arrived = arrived
            .iter()
            .find(|it| it.header("x-delivery-id") == Some(&delivery.id))
            .unwrap();
        assert_eq!(arrived.body, delivery.body.as_bytes());
        assert_eq!(arrived.header("content-type"), Some("application/json"));
        assert_eq!(arrived.header("x-test-notification"), None);
        let signature = arrived.header("x-signature-sha256").unwrap();
        assert!(verifies(&key, &arrived.body, signature));
        assert_eq!(delivery.subscription, ours);
        let event: Value = serde_json::from_slice(&arrived.body).unwrap();
        assert_eq!(event["event_type"], EVENT);
        assert_eq!(event["subscription_id"], ours.as_str());
        assert_eq!(event["schema_version"], "2.0.0");
        let data = &event["data"];
        assert_eq!(data["resource"]["id"], id);
        assert_eq!(data["resource"]["profile_id"], BUSINESS);
        assert_eq!(data["resource"]["account_id"], transfer["targetAccount"]);
        states.push((
            data["previous_state"].clone(),
            data["current_state"].clone(),
        ));
    }
    assert_eq!(
        states,
        [
            (Value::Null, json!("incoming_payment_waiting")),
            (json!("incoming_payment_waiting"), json!("processing")),
            (json!("processing"), json!("funds_converted")),
            (json!("funds_converted"), json!("outgoing_payment_sent")),
        ]
    );
}

#[tokio::test]
async fn the_application_hears_of_every_profile_and_can_be_tested() {
    let house = House::hooked().await;
    let receiver = Receiver::http().await;
    let id = house.subscribe(None, to(&receiver)).await;
    house.subscribe(Some(BUSINESS), to(&receiver)).await;
    let data = json!({"resource": {"id": 1}});
    let sent = house.wise.publish(EVENT, Some(OTHER), data.clone());
    assert_eq!(sent.len(), 1, "the application's alone");
    assert!(
        house
            .wise
            .publish("balances#update", Some(OTHER), data)
            .is_empty()
    );
    house.settled(1).await;
    let event: Value = serde_json::from_slice(&receiver.taken()[0].body).unwrap();
    assert_eq!(event["data"], json!({"resource": {"id": 1}}));

    let client = house.client_token().await;
    let base = "/v3/applications/simulated-client/subscriptions";
    let test = format!("{base}/{id}/test-notifications");
    let answer = body(&house.call(&client, "POST", &test, None).await);
    let delivery = word(&answer[0]["delivery_id"]);
    assert_eq!(word(&answer[0]["created_at"]).len(), 20);
    house.settled(2).await;
    let arrived = receiver.taken();
    assert_eq!(arrived.len(), 1, "to the tested subscription alone");
    assert_eq!(arrived[0].header("x-test-notification"), Some("true"));
    assert_eq!(arrived[0].header("x-delivery-id"), Some(delivery.as_str()));
    let user = house.grant(BUSINESS).await.0;
    let test = format!("/v3/profiles/{BUSINESS}/subscriptions/{id}/test-notifications");
    let answer = house.call(&user, "POST", &test, None).await;
    assert_eq!(answer.status(), 404, "profiles have no such call");
}

#[tokio::test]
async fn a_subscription_names_an_event_a_version_and_a_receiver_of_its_scope() {
    let house = House::open().await;
    let user = house.grant(BUSINESS).await.0;
    let client = house.client_token().await;
    let profile = format!("/v3/profiles/{BUSINESS}/subscriptions");
    let application = "/v3/applications/simulated-client/subscriptions";
    let url = "https://hooks.example.com/wise";
    for (token, path, event, version, url, refused) in [
        (&user, profile.as_str(), EVENT, "4.0.0", url, None),
        (&client, application, EVENT, "4.0.0", url, None),
        (&user, &profile, "balances#credit", "2.0.0", url, None),
        (
            &client,
            application,
            "cards#3ds-challenge",
            "2.0.0",
            url,
            None,
        ),
        (
            &client,
            application,
            "balances#credit",
            "2.0.0",
            url,
            Some("trigger_on"),
        ),
        (
            &user,
            &profile,
            "cards#3ds-challenge",
            "2.0.0",
            url,
            Some("trigger_on"),
        ),
        (
            &user,
            &profile,
            "transfers#nonsense",
            "2.0.0",
            url,
            Some("trigger_on"),
        ),
        (
            &user,
            &profile,
            EVENT,
            "3.0.0",
            url,
            Some("delivery.version"),
        ),
        (
            &user,
            &profile,
            EVENT,
            "2.0.0",
            "http://hooks.example.com/",
            Some("delivery.url"),
        ),
        (
            &user,
            &profile,
            EVENT,
            "2.0.0",
            "https://127.0.0.1/",
            Some("delivery.url"),
        ),
        (
            &user,
            &profile,
            EVENT,
            "2.0.0",
            "https://localhost:1/",
            Some("delivery.url"),
        ),
    ] {
        let ask = json!({
            "name": "sub 1",
            "trigger_on": event,
            "delivery": {"version": version, "url": url, "mtls_enabled": true},
        });
        let answer = house.call(token, "POST", path, Some(ask)).await;
        let status = answer.status();
        let body = body(&answer);
        match refused {
            None => {
                assert_eq!(status, 200, "{event} {version} {url}: {body}");
                assert_eq!(body["trigger_on"], event);
                assert_eq!(body["delivery"]["mtls_enabled"], true);
            }
            Some(field) => {
                assert_eq!(status, 400, "{event} {version} {url}");
                assert_eq!(body["errors"][0]["path"], field);
            }
        }
    }
    // Nothing beyond this machine is contacted unasked.
    assert_eq!(house.wise.publish(EVENT, None, json!({})).len(), 1);
    let all = house
        .until_deliveries(|all| !all[0].attempts.is_empty())
        .await;
    let error = all[0].attempts[0].error.as_deref().unwrap();
    assert!(error.contains("webhook.hosts"), "{error}");
}

#[tokio::test]
async fn a_receiver_that_is_down_is_tried_as_often_as_wise_does_with_the_same_bytes() {
    let house = House::hooked().await;
    house.wise.change_faults(|faults| faults.webhook.minute = 0);
    let receiver = Receiver::http().await;
    receiver.then((0..25).map(|_| Script::Answer(503, None)));
    house.subscribe(None, to(&receiver)).await;
    house.wise.publish(EVENT, None, json!({"a": 1}));
    let delivery = house.settled(1).await.remove(0);
    assert_eq!(delivery.state, DeliveryState::Failed);
    assert_eq!(delivery.attempts.len(), 25);
    let pauses: Vec<u64> = delivery
        .attempts
        .iter()
        .filter_map(|attempt| Some(attempt.next_in? / 60_000))
        .collect();
    assert_eq!(pauses.len(), 24);
    assert_eq!(pauses[..4], [1, 2, 4, 8]);
    assert_eq!(pauses[23], 24 * 60);
    let arrived = receiver.taken();
    assert_eq!(arrived.len(), 25);
    for arrived in &arrived {
        assert_eq!(arrived.body, delivery.body.as_bytes());
        assert_eq!(arrived.header("x-delivery-id"), Some(delivery.id.as_str()));
    }
}

#[tokio::test]
async fn what_the_receiver_answers_decides_on_the_next_attempt() {
    let house = House::hooked().await;
    let receiver = Receiver::http().await;
    house.subscribe(None, to(&receiver)).await;
    house
        .wise
        .change_faults(|faults| faults.webhook.answer_limit = 300);
    for (script, expected, state) in [
        (
            vec![Script::Answer(204, None)],
            vec![Some(204)],
            DeliveryState::Delivered,
        ),
        (
            vec![Script::Redirect, Script::Answer(500, None)],
            vec![Some(307), Some(500), Some(200)],
            DeliveryState::Delivered,
        ),
        (
            (0..3).map(|_| Script::Answer(410, None)).collect(),
            vec![Some(410); 3],
            DeliveryState::Failed,
        ),
        (
            vec![Script::Hang],
            vec![None, Some(200)],
            DeliveryState::Delivered,
        ),
        (
            vec![
                Script::Answer(429, Some("180")),
                Script::Answer(503, Some("Fri, 11 Apr 2025 03:43:28 GMT")),
            ],
            vec![Some(429), Some(503), Some(200)],
            DeliveryState::Delivered,
        ),
    ] {
        receiver.then(script);
        let before = house.wise.deliveries().len();
        house.wise.publish(EVENT, None, json!({}));
        let delivery = house.settled(before + 1).await.remove(before);
        assert_eq!(statuses(&delivery), expected);
        assert_eq!(delivery.state, state);
        if expected[0] == Some(429) {
            assert_eq!(delivery.attempts[0].next_in, Some(180_000));
            assert_eq!(delivery.attempts[1].next_in, Some(0));
        }
        if expected[0].is_none() {
            let error = delivery.attempts[0].error.as_deref().unwrap();
            assert_eq!(error, "no answer within the limit");
        }
    }
}

#[tokio::test]
async fn a_deleted_subscription_is_delivered_no_more() {
    let house = House::hooked().await;
    let receiver = Receiver::http().await;
    receiver.then([Script::Answer(503, None)]);
    let id = house.subscribe(None, to(&receiver)).await;
    house
        .wise
        .change_faults(|faults| faults.webhook.minute = 60_000);
    house.wise.publish(EVENT, None, json!({}));
    house
        .until_deliveries(|all| !all[0].attempts.is_empty())
        .await;
    let client = house.client_token().await;
    let path = format!("/v3/applications/simulated-client/subscriptions/{id}");
    assert_eq!(
        house.call(&client, "DELETE", &path, None).await.status(),
        204
    );
    let delivery = house.settled(1).await.remove(0);
    assert_eq!(delivery.state, DeliveryState::Abandoned);
    assert_eq!(delivery.attempts.len(), 1);
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

#[tokio::test]
async fn a_receiver_is_reached_by_its_public_name_and_must_show_a_trusted_certificate() {
    let (receiver, certificate) = Receiver::tls(None).await;
    let (house, dir) = secure(&receiver, &certificate).await;
    house
        .wise
        .change_faults(|faults| faults.webhook.receivers = Receivers::Public);
    let delivery = json!({"url": "https://hooks.example.com/hook"});
    house.subscribe(None, delivery).await;
    house.wise.publish(EVENT, None, json!({}));
    house.settled(1).await;
    let arrived = receiver.taken();
    assert_eq!(arrived[0].header("host"), Some("hooks.example.com"));
    assert_eq!(arrived[0].certificate, None);

    house
        .wise
        .change_faults(|faults| faults.webhook.ca_file = None);
    house.wise.publish(EVENT, None, json!({}));
    let all = house
        .until_deliveries(|all| all.len() == 2 && !all[1].attempts.is_empty())
        .await;
    let error = all[1].attempts[0].error.as_deref().unwrap();
    assert!(error.starts_with("no TLS"), "{error}");
    assert!(receiver.taken().is_empty());
    drop(dir);
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_the_subscription_says_so() {
    let house = House::open().await;
    let chain = house.wise.webhook_ca_pem().unwrap();
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
    let (receiver, certificate) = Receiver::tls(Some(&chain)).await;
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("receiver.pem");
    std::fs::write(&ca, certificate).unwrap();
    house.wise.change_faults(|faults| {
        faults.webhook.receivers = Receivers::Loopback;
        faults.webhook.minute = 1;
        faults.webhook.ca_file = Some(ca);
    });
    let url = format!("https://localhost:{}/hook", receiver.address.port());
    let with = json!({"url": url, "mtls_enabled": true});
    house.subscribe(None, with).await;
    house.wise.publish(EVENT, None, json!({}));
    house.settled(1).await;
    let arrived = receiver.taken();
    let subject = arrived[0].certificate.as_deref().unwrap();
    assert_eq!(subject, "O=Simulated Wise, CN=webhooks.wise.invalid");

    for kind in [Forgery::NoCertificate, Forgery::OtherAuthority] {
        house.wise.change_faults(|faults| {
            faults.webhook.forge = Some(Forging {
                kind,
                times: Some(1),
            });
        });
        let before = house.wise.deliveries().len();
        house.wise.publish(EVENT, None, json!({}));
        let delivery = house.settled(before + 1).await.remove(before);
        assert_eq!(statuses(&delivery), [None, Some(200)], "{kind:?}");
    }
    receiver.taken();
    house
        .subscribe(Some(BUSINESS), json!({"url": url, "mtls_enabled": false}))
        .await;
    house.wise.publish(EVENT, Some(BUSINESS), json!({}));
    let all = house
        .until_deliveries(|all| {
            all.len() == 5
                && all[3..]
                    .iter()
                    .all(|delivery| !delivery.attempts.is_empty())
        })
        .await;
    let refused = |it: &&Delivery| statuses(it).first() == Some(&None);
    assert_eq!(all[3..].iter().filter(refused).count(), 1, "without mTLS");
}

#[tokio::test]
async fn deliveries_are_forged_repeated_and_doubled_on_wish() {
    let house = House::hooked().await;
    let receiver = Receiver::http().await;
    house.subscribe(None, to(&receiver)).await;
    let key = house.wise.webhook_key_pem().unwrap();
    for kind in [
        Forgery::WrongKey,
        Forgery::OtherBody,
        Forgery::Unsigned,
        Forgery::Garbled,
    ] {
        house.wise.change_faults(|faults| {
            faults.webhook.forge = Some(Forging {
                kind,
                times: Some(1),
            });
        });
        let before = house.wise.deliveries().len();
        house.wise.publish(EVENT, None, json!({}));
        house.settled(before + 1).await;
        let arrived = receiver.taken().remove(0);
        let signature = arrived.header("x-signature-sha256");
        assert_eq!(signature.is_none(), kind == Forgery::Unsigned);
        let good = signature.is_some_and(|it| verifies(&key, &arrived.body, it));
        assert!(!good, "{kind:?}");
    }
    house.wise.change_faults(|faults| {
        faults.webhook.duplicates = 2;
        faults.webhook.spaced = true;
    });
    house.wise.publish(EVENT, None, json!({"a": "b"}));
    let all = house
        .until_deliveries(|all| all[4..].iter().any(|it| it.attempts.len() == 3))
        .await;
    let id = all[4].id.clone();
    let arrived = receiver.taken();
    assert_eq!(arrived.len(), 3);
    for arrived in &arrived {
        assert_eq!(arrived.header("x-delivery-id"), Some(id.as_str()));
        let signature = arrived.header("x-signature-sha256").unwrap();
        assert!(verifies(&key, &arrived.body, signature));
        let parsed: Value = serde_json::from_slice(&arrived.body).unwrap();
        assert_ne!(parsed.to_string().as_bytes(), arrived.body);
    }
    assert!(house.wise.repeat_delivery(&id));
    assert!(!house.wise.repeat_delivery("none"));
    house
        .until_deliveries(|all| all[4].attempts.len() == 4)
        .await;
    assert_eq!(
        receiver.taken()[0].header("x-delivery-id"),
        Some(id.as_str())
    );
}

#[tokio::test]
async fn the_control_api_makes_events_and_shows_the_journal() {
    let house = House::hooked().await;
    let receiver = Receiver::http().await;
    house.subscribe(Some(BUSINESS), to(&receiver)).await;
    let control = async |method: &str, path: &str, json: Option<Value>| {
        house.control(request("", method, path, json)).await
    };
    let event = json!({"event": EVENT, "profile": BUSINESS, "data": {"mine": true}});
    let made = body(&control("POST", "/webhooks/events", Some(event)).await);
    let id = word(&made["deliveries"][0]);
    house.settled(1).await;
    let journal = body(&control("GET", "/webhooks/deliveries", None).await);
    assert_eq!(journal[0]["id"], id.as_str());
    assert_eq!(journal[0]["state"], "delivered");
    assert_eq!(journal[0]["attempts"][0]["status"], 200);
    let repeat = format!("/webhooks/deliveries/{id}/repeat");
    assert_eq!(control("POST", &repeat, None).await.status(), 202);
    house
        .until_deliveries(|all| all[0].attempts.len() == 2)
        .await;
    let arrived = receiver.taken();
    assert_eq!(arrived[0].body, arrived[1].body);
    let key = text(&control("GET", "/webhooks/public-key.pem", None).await);
    let signature = arrived[0].header("x-signature-sha256").unwrap();
    assert!(verifies(&key, &arrived[0].body, signature));
    let ca = text(&control("GET", "/webhooks/ca.pem", None).await);
    assert!(ca.contains("BEGIN CERTIFICATE"));
    let wrong = control("POST", "/webhooks/events", Some(json!({}))).await;
    assert_eq!(wrong.status(), 400);
    assert_eq!(
        control("DELETE", "/webhooks/deliveries", None)
            .await
            .status(),
        204
    );
    assert!(house.wise.deliveries().is_empty());
}
