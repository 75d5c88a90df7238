//! Promises of the fake Wise, kept over real sockets.

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
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

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

// === token endpoint ===

#[tokio::test]
async fn each_of_the_four_grants_gives_a_working_token() {
    let house = House::open().await;
    let (access, refresh) = house.grant(BUSINESS).await;
    assert_eq!(
        house.call(&access, "GET", "/v1/me", None).await.status(),
        200
    );

    let renewed = body(&house.token(&refresh_fields(&refresh)).await);
    let access = word(&renewed["access_token"]);
    assert_eq!(
        house.call(&access, "GET", "/v1/me", None).await.status(),
        200
    );
    assert_eq!(renewed["expires_in"], 43_199);
    assert!(renewed["expires_at"].as_str().unwrap().ends_with('Z'));

    let client = house.client_token().await;
    let secret = "at-least-32-characters-of-secret";
    let user = json!({"email": "new@example.com", "registrationCode": secret, "language": "EN"});
    let path = "/v1/user/signup/registration_code";
    let answer = house.call(&client, "POST", path, Some(user.clone())).await;
    assert_eq!(
        (answer.status().as_u16(), body(&answer)["active"].clone()),
        (200, json!(true))
    );
    assert_eq!(
        house.call(&client, "POST", path, Some(user)).await.status(),
        409
    );

    let fields = [
        ("grant_type", "registration_code"),
        ("client_id", "simulated-client"),
        ("email", "new@example.com"),
        ("registration_code", secret),
    ];
    let access = word(&body(&house.token(&fields).await)["access_token"]);
    let me = body(&house.call(&access, "GET", "/v1/me", None).await);
    assert_eq!(me["email"], "new@example.com");
}

#[tokio::test]
async fn a_refresh_answers_401_to_the_previous_access_token() {
    let house = House::open().await;
    let (access, refresh) = house.grant(BUSINESS).await;
    house.token(&refresh_fields(&refresh)).await;
    let answer = house.call(&access, "GET", "/v1/me", None).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(
        body(&answer),
        json!({"error": "invalid_token", "error_description": "Invalid token"})
    );
}

#[tokio::test]
async fn token_errors_have_their_documented_shapes() {
    let house = House::open().await;
    let wrong = house
        .plain(token_request(
            "wrong",
            &[("grant_type", "client_credentials")],
        ))
        .await;
    assert_eq!(
        (wrong.status().as_u16(), body(&wrong)["error"].clone()),
        (401, json!("invalid_client"))
    );

    let missing = house.token(&[]).await;
    assert_eq!(missing.status(), 400);
    assert_eq!(
        body(&missing),
        json!({"error": "invalid_request", "error_description": "Missing grant type"})
    );

    let unknown = house.token(&[("grant_type", "password")]).await;
    assert_eq!(body(&unknown)["error"], "unsupported_grant_type");

    let dead = house.token(&refresh_fields("nonsense")).await;
    assert_eq!(dead.status(), 400);
    assert_eq!(
        body(&dead),
        json!({"error": "invalid_grant", "error_description": "Invalid user credentials."})
    );
    house.wise.change_faults(|faults| {
        faults.token.invalid_grant_status = InvalidGrantStatus::Unauthorized;
    });
    assert_eq!(house.token(&refresh_fields("nonsense")).await.status(), 401);
}

#[tokio::test]
async fn a_lost_answer_minted_all_the_same() {
    let house = House::open().await;
    let (access, refresh) = house.grant(BUSINESS).await;
    house.wise.change_faults(|faults| {
        faults.token.disturb = Some(Disturb::times(Disturbance::LoseAnswer, 1));
    });
    let lost = token_request("simulated-client-secret", &refresh_fields(&refresh));
    assert!(house.send(house.wise.plain_address(), lost).await.is_err());
    assert_eq!(
        house.wise.exchanges()[1].outcome,
        Outcome::Lost { generation: 2 }
    );
    assert_eq!(house.wise.generation(BUSINESS), Some(2));
    assert_eq!(
        house.call(&access, "GET", "/v1/me", None).await.status(),
        401
    );

    let again = house.token(&refresh_fields(&refresh)).await;
    assert_eq!(
        body(&again)["error"],
        "invalid_grant",
        "always: the old value ended the grant"
    );
    assert_eq!(house.wise.exchanges()[2].presented, Some(1));
}

#[tokio::test]
async fn with_grace_a_lost_answer_can_be_asked_for_again() {
    let house = House::open().await;
    house
        .wise
        .change_faults(|faults| faults.token.rotation = Rotation::Grace);
    let (_, refresh) = house.grant(BUSINESS).await;
    house.wise.change_faults(|faults| {
        faults.token.disturb = Some(Disturb::times(Disturbance::LoseAnswer, 1));
    });
    let lost = token_request("simulated-client-secret", &refresh_fields(&refresh));
    assert!(house.send(house.wise.plain_address(), lost).await.is_err());
    assert_eq!(house.token(&refresh_fields(&refresh)).await.status(), 200);
}

#[tokio::test]
async fn the_token_endpoint_can_be_disturbed() {
    let house = House::open().await;
    let ask = [("grant_type", "client_credentials")];
    for (kind, status) in [
        (Disturbance::TooManyRequests, 429),
        (Disturbance::ServerError, 500),
        (Disturbance::Html, 503),
        (Disturbance::Redirect, 302),
        (Disturbance::Garbage, 200),
    ] {
        house
            .wise
            .change_faults(|faults| faults.token.disturb = Some(Disturb::times(kind, 1)));
        let answer = house.token(&ask).await;
        assert_eq!(answer.status(), status, "{kind:?}");
        if status == 429 {
            assert_eq!(answer.headers()[RETRY_AFTER], "5");
            assert_eq!(answer.headers()["x-rate-limited-by"], "wise-public-api");
        }
    }
    assert_eq!(house.token(&ask).await.status(), 200, "used up");
}

#[tokio::test]
async fn a_token_expires_by_the_clock_it_was_given() {
    let clock = Arc::new(Manual::at(
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000),
    ));
    let wise = Simulator::start_at(
        Options {
            tls_plain: false,
            ..Options::default()
        },
        Arc::clone(&clock) as Arc<dyn Clock>,
    )
    .await
    .unwrap();
    let send = async |request| {
        let stream = TcpStream::connect(wise.plain_address()).await.unwrap();
        exchange(stream, false, request).await.unwrap()
    };
    let code = wise.authorise(BUSINESS).unwrap();
    let answer = send(token_request(
        "simulated-client-secret",
        &code_fields(&code),
    ))
    .await;
    let access = word(&body(&answer)["access_token"]);
    assert_eq!(
        send(request(&access, "GET", "/v1/me", None)).await.status(),
        200
    );
    clock.advance(Duration::from_secs(43_199));
    assert_eq!(
        send(request(&access, "GET", "/v1/me", None)).await.status(),
        401
    );
}

// === hosts and certificates ===

#[tokio::test]
async fn the_mtls_host_knows_its_client_by_certificate() {
    let house = House::open().await.certified();
    let (access, _) = house.grant(BUSINESS).await;
    let answer = house
        .mtls(request(&access, "GET", "/v1/me", None))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let record = house.wise.recorded().pop().unwrap();
    let tls = record.tls.unwrap();
    let certificate = tls.client_certificate.unwrap();
    assert_eq!((record.door, tls.version.as_str()), (Door::Mtls, "TLSv1_3"));
    assert_eq!(tls.sni.as_deref(), Some("localhost"));
    assert_eq!(certificate.common_name, "simulated-client");
    assert_eq!(certificate.serial, house.wise.certificates()[0].serial);
}

#[tokio::test]
async fn without_a_certificate_the_mtls_host_refuses_in_the_chosen_way() {
    let house = House::open().await;
    let (access, _) = house.grant(BUSINESS).await;
    let ask = || request(&access, "GET", "/v1/me", None);
    assert!(house.mtls(ask()).await.is_err(), "TLS alert");

    house.wise.change_faults(|faults| {
        faults.tls.missing_certificate = MissingCertificate::BadRequest;
    });
    let answer = house.mtls(ask()).await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(text(&answer).contains("No required SSL certificate was sent"));

    house.wise.change_faults(|faults| {
        faults.tls.missing_certificate = MissingCertificate::Forbidden;
    });
    let answer = house.mtls(ask()).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), body(&answer)["status"].clone()),
        (403, json!(403))
    );
}

#[tokio::test]
async fn a_certificate_of_another_client_is_refused_unless_nobody_checks() {
    let house = House::open().await;
    house
        .wise
        .change_faults(|faults| faults.hub.common_name = Some("somebody-else".to_owned()));
    let house = house.certified();
    let (access, _) = house.grant(BUSINESS).await;
    let answer = house
        .mtls(request(&access, "GET", "/v1/me", None))
        .await
        .unwrap();
    assert_eq!(answer.status(), 403);
    house
        .wise
        .change_faults(|faults| faults.tls.check_common_name = false);
    let answer = house
        .mtls(request(&access, "GET", "/v1/me", None))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_revoked_certificate_no_longer_connects() {
    let house = House::open().await.certified();
    let (access, _) = house.grant(BUSINESS).await;
    house.wise.revoke_certificate("ours").unwrap();
    assert!(
        house
            .mtls(request(&access, "GET", "/v1/me", None))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_revoked_certificate_ends_its_open_connections_too() {
    let house = House::open().await.certified();
    let (access, _) = house.grant(BUSINESS).await;
    let stream = house.dial(house.wise.mtls_address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .unwrap();
    TaskTracker::new().spawn(connection);
    let ask = || request(&access, "GET", "/v1/me", None);
    let first = sender.send_request(ask()).await.unwrap();
    assert_eq!(first.status(), 200);
    first.into_body().collect().await.unwrap();
    house.wise.revoke_certificate("ours").unwrap();
    sender.ready().await.unwrap();
    assert_eq!(sender.send_request(ask()).await.unwrap().status(), 403);
}

#[tokio::test]
async fn the_client_can_speak_http2_and_tls_1_2() {
    let mut house = House::open().await.certified();
    house.http2 = true;
    house
        .wise
        .change_faults(|faults| faults.tls.versions = TlsVersions::Tls12);
    let answer = house
        .mtls(request(
            &personal_token(),
            "GET",
            "https://localhost/v1/me",
            None,
        ))
        .await;
    assert_eq!(
        answer.unwrap().status(),
        403,
        "a personal token has no business on this host"
    );
    let record = house.wise.recorded().pop().unwrap();
    let tls = record.tls.unwrap();
    assert_eq!(
        (record.version.as_str(), tls.version.as_str()),
        ("HTTP/2.0", "TLSv1_2")
    );
    assert_eq!(
        (tls.alpn.as_deref(), record.target.as_str()),
        (Some("h2"), "/v1/me")
    );
    assert_eq!(record.authority.as_deref(), Some("localhost"));

    house
        .wise
        .change_faults(|faults| faults.tls.http1_only = true);
    assert!(
        house.dial(house.wise.mtls_address()).await.is_err(),
        "no protocol in common"
    );
}

#[tokio::test]
async fn after_enforcement_the_plain_host_refuses_everything() {
    let house = House::open().await;
    house
        .wise
        .change_faults(|faults| faults.tls.enforced = true);
    assert_eq!(
        house
            .call(&personal_token(), "GET", "/v1/me", None)
            .await
            .status(),
        403
    );
    assert_eq!(
        house
            .token(&[("grant_type", "client_credentials")])
            .await
            .status(),
        403
    );
}

#[tokio::test]
async fn a_bound_token_works_only_with_its_certificate() {
    let house = House::open().await.certified();
    house
        .wise
        .change_faults(|faults| faults.tls.bound_tokens = true);
    let (access, _) = house.grant(BUSINESS).await;
    let answer = house
        .mtls(request(&access, "GET", "/v1/me", None))
        .await
        .unwrap();
    assert_eq!(answer.status(), 401, "it was fetched without a certificate");
    let code = house.wise.authorise(BUSINESS).unwrap();
    let fields = code_fields(&code);
    let bound = house
        .mtls(token_request("simulated-client-secret", &fields))
        .await
        .unwrap();
    let bound = word(&body(&bound)["access_token"]);
    let answer = house
        .mtls(request(&bound, "GET", "/v1/me", None))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(
        house.call(&bound, "GET", "/v1/me", None).await.status(),
        401
    );
}

// === who may call what ===

#[tokio::test]
async fn each_kind_of_credential_reaches_its_own_endpoints_only() {
    let house = House::open().await;
    let personal = personal_token();
    let (user, _) = house.grant(BUSINESS).await;
    let client = house.client_token().await;
    let contact = "/v1/users/9889627/contact-email".to_owned();
    let exists = "/v1/users/exists".to_owned();
    for (path, method, expected) in [
        ("/v1/me".to_owned(), "GET", [200, 200, 403, 401]),
        (contact, "GET", [403, 200, 403, 401]),
        (exists, "POST", [403, 403, 200, 401]),
        ("/v4/comparisons".to_owned(), "GET", [200, 200, 200, 200]),
        (
            format!("/v3/profiles/{BUSINESS}/subscriptions"),
            "GET",
            [403, 200, 403, 401],
        ),
        (
            "/v3/applications/simulated-client/subscriptions".to_owned(),
            "GET",
            [403, 403, 200, 401],
        ),
        (
            "/v3/applications/another/subscriptions".to_owned(),
            "GET",
            [403, 403, 403, 401],
        ),
        (
            "/v1/authenticated/playground".to_owned(),
            "GET",
            [200, 200, 200, 401],
        ),
    ] {
        let mut statuses = Vec::new();
        for token in [personal.as_str(), &user, &client, ""] {
            statuses.push(
                house
                    .call(token, method, &path, None)
                    .await
                    .status()
                    .as_u16(),
            );
        }
        assert_eq!(
            statuses, expected,
            "{method} {path}: personal, user, client, none"
        );
    }
}

#[tokio::test]
async fn a_user_token_acts_for_one_profile_and_the_personal_token_for_all() {
    let house = House::open().await;
    let (user, _) = house.grant(BUSINESS).await;
    let path = |profile| format!("/v2/profiles/{profile}");
    assert_eq!(
        house
            .call(&user, "GET", &path(BUSINESS), None)
            .await
            .status(),
        200
    );
    for profile in [OTHER, PERSONAL] {
        let answer = house.call(&user, "GET", &path(profile), None).await;
        assert_eq!(
            (answer.status().as_u16(), body(&answer)["message"].clone()),
            (403, json!("Unauthorized"))
        );
    }
    let personal = personal_token();
    for profile in [BUSINESS, OTHER, PERSONAL] {
        assert_eq!(
            house
                .call(&personal, "GET", &path(profile), None)
                .await
                .status(),
            200
        );
    }
    let all = body(&house.call(&personal, "GET", "/v2/profiles", None).await);
    assert_eq!(all.as_array().unwrap().len(), 3);
    let own = body(&house.call(&user, "GET", "/v2/profiles", None).await);
    assert_eq!(own.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn both_path_styles_answer_and_unknown_versions_do_not() {
    let house = House::open().await;
    let token = personal_token();
    for (path, status) in [
        ("/v2/profiles", 200),
        ("/2026Q3/profiles", 200),
        ("/2026Q4/profiles", 200),
        ("/2027Q1/profiles", 404),
        ("/v7/profiles", 404),
        ("/profiles", 404),
    ] {
        assert_eq!(
            house.call(&token, "GET", path, None).await.status(),
            status,
            "{path}"
        );
    }
    assert_eq!(
        house.call(&token, "DELETE", "/v1/me", None).await.status(),
        405
    );
}

#[tokio::test]
async fn the_personal_token_obeys_the_rules_of_its_account() {
    let house = House::open().await;
    let token = personal_token();
    let (user, _) = house.grant(BUSINESS).await;
    let transfer = house.transfer(&user, 100, "psd2").await;
    let pay = format!(
        "/v3/profiles/{BUSINESS}/transfers/{}/payments",
        transfer["id"]
    );

    house
        .wise
        .change_faults(|faults| faults.personal.psd2 = true);
    let answer = house
        .call(&token, "POST", &pay, Some(json!({"type": "BALANCE"})))
        .await;
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.headers()["x-2fa-approval-result"], "REJECTED");
    let answer = house
        .call(&user, "POST", &pay, Some(json!({"type": "BALANCE"})))
        .await;
    assert_eq!(answer.status(), 201, "PSD2 stops the personal token alone");

    house
        .wise
        .change_faults(|faults| faults.personal.read_only = true);
    assert_eq!(
        house.call(&token, "GET", "/v1/me", None).await.status(),
        200
    );
    assert_eq!(
        house
            .call(&token, "POST", "/v1/addresses", Some(json!({})))
            .await
            .status(),
        403
    );

    house.wise.change_faults(|faults| {
        faults.personal.allowed_addresses = vec!["192.0.2.0/24".parse().unwrap()];
    });
    assert_eq!(
        house.call(&token, "GET", "/v1/me", None).await.status(),
        401
    );
}

#[tokio::test]
async fn a_dead_token_is_answered_in_the_chosen_shape() {
    let house = House::open().await;
    let missing = house.call("", "GET", "/v1/me", None).await;
    assert_eq!(
        (missing.status().as_u16(), body(&missing)["error"].clone()),
        (401, json!("missing_token"))
    );
    for (shape, expected) in [
        (UnauthorizedShape::InvalidToken, "Invalid token"),
        (UnauthorizedShape::EchoesToken, "no-such-token"),
        (UnauthorizedShape::UpperCase, "UNAUTHORIZED"),
        (UnauthorizedShape::Empty, ""),
    ] {
        house
            .wise
            .change_faults(|faults| faults.resource.unauthorized = shape);
        let answer = house.call("no-such-token", "GET", "/v1/me", None).await;
        assert_eq!(answer.status(), 401);
        assert!(
            text(&answer).contains(expected),
            "{shape:?}: {}",
            text(&answer)
        );
    }
}

#[tokio::test]
async fn a_challenge_is_cleared_once_and_opens_one_call() {
    let house = House::open().await;
    let (user, _) = house.grant(BUSINESS).await;
    house
        .wise
        .change_faults(|faults| faults.resource.sca = Sca::Funding);
    let transfer = house.transfer(&user, 100, "sca").await;
    let path = format!(
        "/v3/profiles/{BUSINESS}/transfers/{}/payments",
        transfer["id"]
    );
    let pay = |ott: Option<&str>| {
        let mut request = request(&user, "POST", &path, Some(json!({"type": "BALANCE"})));
        if let Some(ott) = ott {
            request
                .headers_mut()
                .insert("x-2fa-approval", ott.parse().unwrap());
        }
        request
    };
    let refused = house.plain(pay(None)).await;
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.headers()["x-2fa-approval-result"], "REJECTED");
    let ott = refused.headers()["x-2fa-approval"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        house.plain(pay(Some(&ott))).await.status(),
        403,
        "not cleared yet"
    );

    let mut verify = request(
        &user,
        "POST",
        "/v1/one-time-token/sms/verify",
        Some(json!({"otpCode": "111111"})),
    );
    verify
        .headers_mut()
        .insert("one-time-token", ott.parse().unwrap());
    assert_eq!(house.plain(verify).await.status(), 200);

    let paid = house.plain(pay(Some(&ott))).await;
    assert_eq!(paid.status(), 201);
    assert_eq!(paid.headers()["x-2fa-approval-result"], "APPROVED");
    assert_eq!(
        house.plain(pay(Some(&ott))).await.status(),
        403,
        "single use"
    );
}

// === the world ===

#[tokio::test]
async fn funding_without_enough_money_says_201_and_rejected() {
    let house = House::open().await;
    let (user, _) = house.grant(BUSINESS).await;
    let transfer = house.transfer(&user, 2_000_000, "too much").await;
    let path = format!(
        "/v3/profiles/{BUSINESS}/transfers/{}/payments",
        transfer["id"]
    );
    let before = house.gbp(&user).await;
    let answer = house
        .call(&user, "POST", &path, Some(json!({"type": "BALANCE"})))
        .await;
    assert_eq!(answer.status(), 201);
    let result = body(&answer);
    assert_eq!(
        (&result["status"], &result["errorCode"]),
        (&json!("REJECTED"), &json!("balance.insufficient-funds"))
    );
    assert!(
        (house.gbp(&user).await - before).abs() < 0.001,
        "nothing was taken"
    );
    let state = body(
        &house
            .call(
                &user,
                "GET",
                &format!("/v1/transfers/{}", transfer["id"]),
                None,
            )
            .await,
    );
    assert_eq!(state["status"], "incoming_payment_waiting");
}

#[tokio::test]
async fn a_paid_transfer_costs_its_source_amount_and_walks_through_its_states() {
    let house = House::open().await;
    let (user, _) = house.grant(BUSINESS).await;
    let id = house.transfer(&user, 100, "walk").await["id"].clone();
    let pay = format!("/v3/profiles/{BUSINESS}/transfers/{id}/payments");
    let before = house.gbp(&user).await;
    let paid = house
        .call(&user, "POST", &pay, Some(json!({"type": "BALANCE"})))
        .await;
    assert_eq!(body(&paid)["status"], "COMPLETED");
    assert!((before - house.gbp(&user).await - 100.0).abs() < 0.001);
    let again = house
        .call(&user, "POST", &pay, Some(json!({"type": "BALANCE"})))
        .await;
    assert_eq!(
        (again.status().as_u16(), text(&again)),
        (409, "transfer.invalid-state".to_owned())
    );

    let push = async |state: &str| {
        let path = format!("/v1/simulation/transfers/{id}/{state}");
        house
            .call(&user, "GET", &path, None)
            .await
            .status()
            .as_u16()
    };
    assert_eq!(
        push("outgoing_payment_sent").await,
        409,
        "one state at a time"
    );
    assert_eq!(push("funds_converted").await, 200);
    assert_eq!(push("outgoing_payment_sent").await, 200);
    let cancel = house
        .call(&user, "PUT", &format!("/v1/transfers/{id}/cancel"), None)
        .await;
    assert_eq!(cancel.status(), 409);
    assert_eq!(
        body(&cancel)["errors"][0]["code"],
        "transfer.cancellation.not.allowed"
    );
    let missing = house
        .call(
            &user,
            "POST",
            &format!("/v3/profiles/{BUSINESS}/transfers/1/payments"),
            Some(json!({})),
        )
        .await;
    assert_eq!(missing.headers()[CONTENT_TYPE], "text/plain;charset=UTF-8");
    assert_eq!(
        (missing.status().as_u16(), text(&missing)),
        (404, "transfer.not-found".to_owned())
    );
}

#[tokio::test]
async fn the_same_customer_transaction_is_the_same_transfer() {
    let house = House::open().await;
    let (user, _) = house.grant(BUSINESS).await;
    let first = house.transfer(&user, 100, "once").await;
    let second = house.transfer(&user, 100, "once").await;
    assert_eq!(first["id"], second["id"]);
    let list = format!("/v1/transfers?profile={BUSINESS}&limit=10&offset=0");
    let list = body(&house.call(&user, "GET", &list, None).await);
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(house.wise.counters().repeated(), ["once"]);
}

#[tokio::test]
async fn a_quote_is_patched_only_as_a_merge_patch() {
    let house = House::open().await;
    let (user, _) = house.grant(BUSINESS).await;
    let path = format!(
        "/v3/profiles/{BUSINESS}/quotes/{}",
        house.quote(&user, 100).await
    );
    let patch = || request(&user, "PATCH", &path, Some(json!({"targetAmount": 50})));
    assert_eq!(house.plain(patch()).await.status(), 415);
    let mut right = patch();
    right.headers_mut().insert(
        CONTENT_TYPE,
        "application/merge-patch+json".parse().unwrap(),
    );
    let quote = body(&house.plain(right).await);
    assert_eq!(
        (&quote["targetAmount"], &quote["providedAmountType"]),
        (&json!(50.0), &json!("TARGET"))
    );

    let wrong = json!({"sourceCurrency": "GBP", "targetCurrency": "USD", "sourceAmount": 1, "targetAmount": 1});
    let path = format!("/v3/profiles/{BUSINESS}/quotes");
    let answer = house.call(&user, "POST", &path, Some(wrong)).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(
        body(&answer)["errors"][0]["code"],
        "error.quote.amount.onlySingle"
    );
}

#[tokio::test]
async fn a_conversion_needs_an_idempotence_id_and_happens_once() {
    let house = House::open().await;
    let (user, _) = house.grant(BUSINESS).await;
    let path = format!("/v2/profiles/{BUSINESS}/balance-movements");
    let quote = house.quote(&user, 100).await;
    let ask = || request(&user, "POST", &path, Some(json!({"quoteId": quote})));
    assert_eq!(house.plain(ask()).await.status(), 400);
    let before = house.gbp(&user).await;
    for _ in 0..2 {
        let mut ask = ask();
        ask.headers_mut()
            .insert("x-idempotence-uuid", "one".parse().unwrap());
        assert_eq!(house.plain(ask).await.status(), 201);
    }
    assert!((before - house.gbp(&user).await - 100.0).abs() < 0.001);
}

#[tokio::test]
async fn statements_come_as_json_csv_and_a_pdf_of_any_size() {
    let house = House::open().await;
    let (user, _) = house.grant(BUSINESS).await;
    let list = format!("/v4/profiles/{BUSINESS}/balances?types=STANDARD");
    let balance = body(&house.call(&user, "GET", &list, None).await)[0].clone();
    let path = |format: &str| {
        format!(
            "/v1/profiles/{BUSINESS}/balance-statements/{}/statement.{format}?currency={}&intervalStart=2000-01-01T00:00:00.000Z&intervalEnd=2100-01-01T00:00:00.000Z",
            balance["id"],
            balance["currency"].as_str().unwrap()
        )
    };
    let json = body(&house.call(&user, "GET", &path("json"), None).await);
    assert_eq!(json["transactions"].as_array().unwrap().len(), 1);
    assert_eq!(json["endOfStatementBalance"], balance["amount"]);
    let csv = house.call(&user, "GET", &path("csv"), None).await;
    assert_eq!(
        (
            csv.headers()[CONTENT_TYPE].to_str().unwrap(),
            text(&csv).lines().count()
        ),
        ("text/csv", 2)
    );
    house
        .wise
        .change_faults(|faults| faults.resource.pdf_bytes = 3_000_000);
    let pdf = house.call(&user, "GET", &path("pdf"), None).await;
    assert!(pdf.body().starts_with(b"%PDF-1.4") && pdf.body().len() > 2_999_000);
}

// === answers and recorder ===

#[tokio::test]
async fn every_answer_has_a_trace_id_and_echoes_a_short_correlation_id() {
    let house = House::open().await;
    for (sent, echoed) in [("a".repeat(36), true), ("a".repeat(37), false)] {
        let mut ask = request("", "GET", "/v1/me", None);
        ask.headers_mut()
            .insert("x-external-correlation-id", sent.parse().unwrap());
        let answer = house.plain(ask).await;
        let trace = answer.headers()["x-trace-id"].to_str().unwrap();
        assert!(trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(
            answer.headers().contains_key("x-external-correlation-id"),
            echoed
        );
    }
}

#[tokio::test]
async fn the_recorder_says_what_arrived() {
    let house = House::open().await;
    let (access, refresh) = house.grant(BUSINESS).await;
    house.wise.clear();
    let sent = json!({"customerTransactionId": "recorded"});
    let path = "/v1/simulator/echo?a=%2F&b=%20";
    let mut ask = request(&access, "POST", path, Some(sent.clone()));
    ask.headers_mut().append("x-own", "one".parse().unwrap());
    ask.headers_mut().append("x-own", "two".parse().unwrap());
    let echo = body(&house.plain(ask).await);
    let [record] = house.wise.recorded().try_into().unwrap();
    assert_eq!(
        (record.method.as_str(), record.target.as_str()),
        ("POST", path)
    );
    assert_eq!(record.header("x-own").collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(record.header("authorization").count(), 1);
    assert_eq!(record.body.bytes, sent.to_string().len() as u64);
    assert!(record.body.complete);
    assert_eq!(record.body.sha256, word(&echo["sha256"]));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, sent.to_string().as_bytes());
    assert_eq!(record.body.sha256, pki::hex(digest.as_ref()));
    assert_eq!(record.customer_transaction_id.as_deref(), Some("recorded"));
    assert_eq!((record.door, record.status), (Door::Plain, Some(200)));
    let live = |generation, live| Credential::User {
        grant: 1,
        profile: BUSINESS,
        generation,
        live,
    };
    assert_eq!(record.credential, live(1, true));

    house.token(&refresh_fields(&refresh)).await;
    house.call(&access, "GET", "/v1/me", None).await;
    assert_eq!(
        house.wise.recorded().pop().unwrap().credential,
        live(1, false)
    );
}

#[tokio::test]
async fn a_refused_body_is_never_read_nor_counted() {
    let house = House::open().await;
    let ask = request(
        "dead",
        "POST",
        "/v1/transfers",
        Some(json!({"customerTransactionId": "x"})),
    );
    assert_eq!(house.plain(ask).await.status(), 401);
    assert!(house.wise.counters().transactions.is_empty());
}

#[tokio::test]
async fn two_authorization_headers_are_refused_and_recorded() {
    let house = House::open().await;
    let mut ask = request(&personal_token(), "GET", "/v1/me", None);
    ask.headers_mut()
        .append(AUTHORIZATION, "Bearer another".parse().unwrap());
    assert_eq!(house.plain(ask).await.status(), 400);
    assert_eq!(
        house.wise.recorded().pop().unwrap().credential,
        Credential::Several
    );
}

// === browser and control ===

#[tokio::test]
async fn a_person_grants_access_in_the_browser() {
    let house = House::open().await;
    let url = house.wise.authorise_url();
    let path = url.strip_prefix(&house.wise.plain_url()).unwrap();
    let page = house
        .plain(request("", "GET", &format!("{path}&state=a%26b"), None))
        .await;
    assert_eq!(page.status(), 200);
    assert!(text(&page).contains("value=\"30000000\"") && text(&page).contains("a&amp;b"));
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("client_id", "simulated-client"),
            ("redirect_uri", "http://127.0.0.1:4711/callback"),
            ("profile", "30000000"),
            ("state", "a&b"),
            ("decision", "grant"),
        ])
        .finish();
    let post = Request::post("/oauth/authorize/")
        .header(HOST, "localhost")
        .body(Full::new(form.into()))
        .unwrap();
    let answer = house.plain(post).await;
    assert_eq!(answer.status(), 303);
    let target = answer.headers()[LOCATION].to_str().unwrap();
    let (uri, query) = target.split_once('?').unwrap();
    assert_eq!(uri, "http://127.0.0.1:4711/callback");
    let query: std::collections::HashMap<_, _> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    assert_eq!(
        (query["profileId"].as_str(), query["state"].as_str()),
        ("30000000", "a&b")
    );
    let mut fields = code_fields(&query["code"]);
    fields[3].1 = "http://127.0.0.1:4711/callback";
    assert_eq!(house.token(&fields).await.status(), 200);
}

#[tokio::test]
async fn a_wrong_authorise_link_ends_on_a_page_and_never_redirects() {
    let house = House::open().await;
    for query in [
        "client_id=another&redirect_uri=http%3A%2F%2F127.0.0.1%2Fcallback",
        "client_id=simulated-client&redirect_uri=https%3A%2F%2Fevil.example%2F",
        "client_id=simulated-client",
    ] {
        for path in ["/oauth/authorize", "/oauth/authorize/"] {
            let answer = house
                .plain(request("", "GET", &format!("{path}?{query}"), None))
                .await;
            assert_eq!(answer.status(), 400);
            assert!(!answer.headers().contains_key(LOCATION));
        }
    }
}

#[tokio::test]
async fn the_developer_hub_page_signs_and_refuses() {
    let house = House::open().await;
    let csr = csr(&rcgen::KeyPair::generate().unwrap());
    let mut pages = Vec::new();
    for csr in [csr.as_str(), "nonsense"] {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("name", "page"), ("csr", csr)])
            .finish();
        let post = Request::post("/developer-hub")
            .header(HOST, "localhost")
            .body(Full::new(form.into()))
            .unwrap();
        pages.push(text(&house.plain(post).await));
    }
    assert!(pages[0].contains("-----BEGIN CERTIFICATE-----"));
    assert!(pages[1].contains("Refused:"));
}

#[tokio::test]
async fn the_control_api_drives_what_a_test_can() {
    let house = House::open().await;
    let patch = json!({"token": {"lifetime": 3, "disturb": {"kind": "html", "times": 1}}});
    let faults = house
        .control(request("", "PATCH", "/faults", Some(patch)))
        .await;
    assert_eq!(faults.status(), 200, "{}", text(&faults));
    assert_eq!(house.wise.faults().token.lifetime, 3);
    assert_eq!(
        house
            .token(&[("grant_type", "client_credentials")])
            .await
            .status(),
        503
    );
    let wrong = house
        .control(request("", "PUT", "/faults", Some(json!({"tokens": {}}))))
        .await;
    assert_eq!(wrong.status(), 400);

    let code = house
        .control(request(
            "",
            "POST",
            "/authorise",
            Some(json!({"profile": BUSINESS})),
        ))
        .await;
    assert_eq!(
        house
            .token(&code_fields(&word(&body(&code)["code"])))
            .await
            .status(),
        200
    );
    let state = body(&house.control(request("", "GET", "/state", None)).await);
    assert_eq!(state["grants"][0]["generation"], 1);
    let revoked = house
        .control(request(
            "",
            "POST",
            "/revoke",
            Some(json!({"profile": BUSINESS})),
        ))
        .await;
    assert_eq!(body(&revoked)["ended"], 1);
    let exchanges = body(&house.control(request("", "GET", "/exchanges", None)).await);
    assert_eq!(
        exchanges[1]["outcome"],
        json!({"result": "minted", "generation": 1})
    );
    let requests = body(&house.control(request("", "GET", "/requests", None)).await);
    assert_eq!(requests[0]["target"], "/oauth/token");

    let csr = csr(&rcgen::KeyPair::generate().unwrap());
    let ask = json!({"name": "by curl", "csr": csr});
    let issued = house
        .control(request("", "POST", "/hub/certificates", Some(ask)))
        .await;
    assert_eq!(issued.status(), 201);
    let path = "/hub/certificates/by%20curl";
    assert_eq!(
        house
            .control(request("", "DELETE", path, None))
            .await
            .status(),
        204
    );
    assert_eq!(
        house
            .control(request("", "DELETE", path, None))
            .await
            .status(),
        404
    );
    assert_eq!(
        text(&house.control(request("", "GET", "/ca.pem", None)).await),
        house.wise.ca_pem()
    );
}

#[tokio::test]
async fn the_control_api_is_not_for_browsers() {
    let house = House::open().await;
    let mut ask = request("", "GET", "/state", None);
    ask.headers_mut()
        .insert("origin", "https://evil.example".parse().unwrap());
    assert_eq!(house.control(ask).await.status(), 403);
}

// === transport ===

#[tokio::test]
async fn downloads_come_with_a_length_or_in_chunks() {
    let house = House::open().await;
    let token = personal_token();
    let sized = house
        .call(&token, "GET", "/v1/simulator/bytes/100000", None)
        .await;
    assert_eq!(
        (
            sized.headers()["content-length"].to_str().unwrap(),
            sized.body().len()
        ),
        ("100000", 100_000)
    );
    let chunked = house
        .call(&token, "GET", "/v1/simulator/bytes/100000?chunked", None)
        .await;
    assert!(!chunked.headers().contains_key("content-length"));
    assert_eq!(sized.body(), chunked.body());
    let head = house
        .call(&token, "HEAD", "/v1/simulator/bytes/100000", None)
        .await;
    assert_eq!(
        (
            head.headers()["content-length"].to_str().unwrap(),
            head.body().len()
        ),
        ("100000", 0)
    );
}

#[tokio::test]
async fn a_broken_answer_is_an_error_to_the_caller() {
    let house = House::open().await;
    let token = personal_token();
    for path in ["reset", "close", "truncated/1000", "truncated/1000?reset"] {
        let ask = request(&token, "GET", &format!("/v1/simulator/{path}"), None);
        let answer = house.send(house.wise.plain_address(), ask).await;
        assert!(answer.is_err(), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_truncated_answer_arrives_half_before_it_breaks() {
    let house = House::open().await;
    let stream = house.dial(house.wise.plain_address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .unwrap();
    TaskTracker::new().spawn(connection);
    let ask = request(
        &personal_token(),
        "GET",
        "/v1/simulator/truncated/1000",
        None,
    );
    let mut answer = sender.send_request(ask).await.unwrap().into_body();
    let mut received = 0;
    let broken = loop {
        match answer.frame().await {
            Some(Ok(frame)) => received += frame.into_data().map_or(0, |data| data.len()),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert_eq!((received, broken), (500, true));
}

#[tokio::test]
async fn gzip_trailers_and_informational_answers_are_well_formed() {
    let house = House::open().await;
    let token = personal_token();
    let gzip = house.call(&token, "GET", "/v1/simulator/gzip", None).await;
    assert_eq!(gzip.headers()["content-encoding"], "gzip");
    assert!(gzip.body().starts_with(&[0x1f, 0x8b]));
    let hints = house
        .call(&token, "GET", "/v1/simulator/early-hints", None)
        .await;
    assert_eq!(
        (
            hints.status().as_u16(),
            body(&hints)["informational"].clone()
        ),
        (200, json!(true))
    );

    let mut house = house;
    house.http2 = true;
    let stream = house.dial(house.wise.plain_address()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(
        TokioExecutor::new(),
        TokioIo::new(stream),
    )
    .await
    .unwrap();
    TaskTracker::new().spawn(connection);
    let ask = request(
        &token,
        "GET",
        "https://localhost/v1/simulator/trailers",
        None,
    );
    let collected = sender
        .send_request(ask)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(collected.trailers().unwrap()["x-checksum"], "simulated");
}

#[tokio::test]
async fn a_disturbed_resource_recovers() {
    let house = House::open().await;
    let token = personal_token();
    house.wise.change_faults(|faults| {
        let prefix = Some("/v1/rates".to_owned());
        let limit = Disturb {
            prefix,
            ..Disturb::times(Disturbance::TooManyRequests, 1)
        };
        faults.resource.disturb = Some(limit);
    });
    assert_eq!(
        house.call(&token, "GET", "/v1/me", None).await.status(),
        200
    );
    assert_eq!(
        house.call(&token, "GET", "/v1/rates", None).await.status(),
        429
    );
    assert_eq!(
        house.call(&token, "GET", "/v1/rates", None).await.status(),
        200
    );
}

#[tokio::test]
async fn a_stopped_simulator_takes_no_more_connections() {
    let house = House::open().await;
    let address = house.wise.plain_address();
    house.wise.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_taken_address_is_named_with_what_to_do() {
    let house = House::open().await;
    let options = Options {
        mtls: house.wise.mtls_address(),
        ..Options::default()
    };
    let error = Simulator::start(options).await.unwrap_err().to_string();
    assert!(
        error.contains("mtls") && error.contains("free port"),
        "{error}"
    );
}
