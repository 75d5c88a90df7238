//! Signed and encrypted bodies: keys, the playground, and operations behind them.

use super::*;
use crate::jose;
use crate::jose::Algorithm;
use crate::jose::ContentKey;
use crate::jose::DecryptingKey;
use crate::jose::Encrypted;
use crate::jose::EncryptingKey;
use crate::jose::Signed;
use crate::jose::SigningKey;
use crate::jose::VerifyingKey;

const REGISTER: &str = "/v1/auth/jose/request/public-keys";
const PLAYGROUND: &str = "/v1/auth/jose/playground";
const KID: &str = "e87da464-8e5e-4380-8f2d-4e4e04052672";
const ENCRYPTION_KID: &str = "0d5c3c1e-0ef3-4f0c-a9c3-5c1d7a5f8f11";
const LONG_AGO: &str = "2023-04-27 00:00:00";
const FAR_OFF: &str = "2099-04-01 00:00:00";

fn signing_key(kid: Option<&str>) -> SigningKey {
    let der = SigningKey::generate(Algorithm::Es512).unwrap();
    SigningKey::from_pkcs8(Algorithm::Es512, kid.map(str::to_owned), &der).unwrap()
}

fn registration(id: &str, scope: &str, algorithm: &str, der: &[u8], till: &str) -> Value {
    json!({
        "keyId": id,
        "scope": scope,
        "validFrom": LONG_AGO,
        "validTill": till,
        "publicKeyMaterial": {"algorithm": algorithm, "keyMaterial": STANDARD.encode(der)},
    })
}

/// A partner with registered keys.
struct Partner {
    house: House,
    token: String,
    signing: SigningKey,
    decrypting: DecryptingKey,
    /// Of its encryption key, to be registered again.
    public: Vec<u8>,
}

/// An answer with what was inside of it.
#[derive(Debug)]
struct Inside {
    status: u16,
    media_type: String,
    plain: Vec<u8>,
}

impl Inside {
    fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.plain);
        serde_json::from_slice(&self.plain).unwrap_or_else(|_| panic!("not JSON: {text}"))
    }
}

impl Partner {
    async fn new() -> Self {
        let house = House::open().await;
        let token = house.client_token().await;
        let (private, public) = pki::rsa_2048().unwrap();
        let partner = Self {
            house,
            token,
            signing: signing_key(Some(KID)),
            decrypting: DecryptingKey::from_pkcs8(&private).unwrap(),
            public,
        };
        let signing = partner.signing.public_der().unwrap();
        for (id, scope, algorithm, der) in [
            (KID, "PAYLOAD_SIGNING", "ES512", &signing),
            (
                ENCRYPTION_KID,
                "PAYLOAD_ENCRYPTION",
                "RSA_OAEP_256",
                &partner.public,
            ),
        ] {
            let body = registration(id, scope, algorithm, der, FAR_OFF);
            assert_eq!(partner.register(body).await.status(), 201);
        }
        partner
    }

    async fn register(&self, body: Value) -> Answer {
        self.house
            .call(&self.token, "POST", REGISTER, Some(body))
            .await
    }

    async fn wise_key(&self, algorithm: &str, scope: &str, more: &str) -> Value {
        let path =
            format!("/v1/auth/jose/response/public-keys?algorithm={algorithm}&scope={scope}{more}");
        let answer = self.house.call(&self.token, "GET", &path, None).await;
        assert_eq!(answer.status(), 200, "{}", text(&answer));
        body(&answer)
    }

    async fn wise_encryption_key(&self) -> EncryptingKey {
        let key = self
            .wise_key("RSA_OAEP_256", "PAYLOAD_ENCRYPTION", "")
            .await;
        EncryptingKey::from_der(None, &material(&key)).unwrap()
    }

    async fn wise_signing_key(&self, version: u64) -> VerifyingKey {
        let more = format!("&version={version}");
        let key = self.wise_key("ES512", "PAYLOAD_SIGNING", &more).await;
        assert_eq!(key["version"], version);
        VerifyingKey::from_der(Algorithm::Es512, &material(&key)).unwrap()
    }

    fn sign(&self, path: &str, payload: &Value) -> String {
        jose::sign(&self.signing, path, payload.to_string().as_bytes()).unwrap()
    }

    async fn encrypt(&self, payload: &[u8]) -> (String, ContentKey) {
        self.wise_encryption_key()
            .await
            .encrypt(payload, false)
            .unwrap()
    }

    /// Verifies and decrypts an answer as its parts say.
    async fn open(&self, answer: &Answer, content_key: Option<&ContentKey>) -> Inside {
        let media_type = answer.headers().get(CONTENT_TYPE);
        let mut inside = Inside {
            status: answer.status().as_u16(),
            media_type: media_type.map_or("", |it| it.to_str().unwrap()).to_owned(),
            plain: answer.body().to_vec(),
        };
        if inside.media_type != "application/jose+json" {
            return inside;
        }
        if let Ok(encrypted) = Encrypted::parse(&inside.plain) {
            inside.plain = if encrypted.is_direct() {
                encrypted.decrypt_directly(content_key.unwrap()).unwrap()
            } else {
                assert_eq!(encrypted.kid(), Some(ENCRYPTION_KID));
                encrypted.decrypt(&self.decrypting).unwrap().0
            };
        }
        if let Ok(signed) = Signed::parse(&inside.plain) {
            let key = self.wise_signing_key(signed.version().unwrap()).await;
            let payload = signed.verify(&key).unwrap();
            inside.plain = payload;
        }
        inside
    }

    async fn send(&self, token: &str, jose: Jose<'_>) -> Answer {
        self.house.plain(jose.request(token)).await
    }
}

fn material(key: &Value) -> Vec<u8> {
    STANDARD
        .decode(word(&key["keyMaterial"]["keyMaterial"]))
        .unwrap()
}

/// A request with all that its method needs.
#[derive(Clone, Copy)]
struct Jose<'a> {
    method: &'a str,
    path: &'a str,
    protection: &'a str,
    kid: Option<&'a str>,
    body: &'a str,
}

impl Jose<'_> {
    fn request(self, token: &str) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.path)
            .header(HOST, "localhost")
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header("Accept", "application/jose+json")
            .header("Accept-Encoding", "identity")
            .header("X-TW-JOSE-Method", self.protection);
        if let Some(kid) = self.kid {
            request = request.header("X-TW-JOSE-Encryption-kid", kid);
        }
        if !self.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/jose+json");
        }
        request
            .body(Full::new(self.body.to_owned().into()))
            .unwrap()
    }
}

fn post<'a>(path: &'a str, protection: &'a str, body: &'a str) -> Jose<'a> {
    Jose {
        method: "POST",
        path,
        protection,
        kid: None,
        body,
    }
}

fn jws_error(answer: &Answer) {
    assert_eq!(answer.status(), 400, "{}", text(answer));
    let words =
        r#"{"error":"jws_error","error_description":"Unable to verify the request signature"}"#;
    assert_eq!(text(answer), words);
}

fn bare_error(answer: &Answer) {
    assert_eq!(answer.status(), 500, "{}", text(answer));
    let body = body(answer);
    assert_eq!(body["message"], "An unexpected error occurred");
    assert_eq!(word(&body["request_id"]).len(), 32);
    assert_eq!(body.as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn a_registered_key_is_repeated_with_its_clients_and_wrong_ones_are_refused() {
    let house = House::open().await;
    let token = house.client_token().await;
    let der = signing_key(None).public_der().unwrap();
    let good = registration(KID, "PAYLOAD_SIGNING", "ES512", &der, FAR_OFF);
    let register = async |body: Value| house.call(&token, "POST", REGISTER, Some(body)).await;
    let (algorithm, material) = (
        "publicKeyMaterial.algorithm",
        "publicKeyMaterial.keyMaterial",
    );
    for (at, value, path) in [
        ("/keyId", "mine", "keyId"),
        ("/scope", "ANYTHING", "scope"),
        ("/scope", "PAYLOAD_ENCRYPTION", algorithm),
        ("/validFrom", "2023-04-27T00:00:00Z", "validFrom"),
        ("/validTill", LONG_AGO, "validTill"),
        ("/publicKeyMaterial/algorithm", "RS256", algorithm),
        ("/publicKeyMaterial/algorithm", "ES384", material),
        ("/publicKeyMaterial/keyMaterial", "AAAA", material),
    ] {
        let mut body = good.clone();
        *body.pointer_mut(at).unwrap() = value.into();
        let answer = register(body).await;
        assert_eq!(answer.status(), 400, "{at} {value}");
        assert_eq!(super::body(&answer)["errors"][0]["path"], path);
    }
    let answer = register(good.clone()).await;
    assert_eq!(answer.status(), 201, "{}", text(&answer));
    let mut expected = good.clone();
    expected["clientId"] = Value::Null;
    expected["deactivationTimestamp"] = Value::Null;
    assert_eq!(body(&answer), expected);
    assert_eq!(
        register(good.clone()).await.status(),
        409,
        "the id is taken"
    );

    let user = house.grant(BUSINESS).await.0;
    let answer = house
        .call(&user, "POST", REGISTER, Some(good.clone()))
        .await;
    assert_eq!(answer.status(), 403, "for the client's own token alone");
}

#[tokio::test]
async fn wises_keys_are_read_by_algorithm_scope_and_version() {
    let partner = Partner::new().await;
    for algorithm in Algorithm::ALL {
        let key = partner
            .wise_key(algorithm.name(), "PAYLOAD_SIGNING", "")
            .await;
        assert_eq!(key["version"], 1);
        assert_eq!(key["scope"], "PAYLOAD_SIGNING");
        assert_eq!(key["keyMaterial"]["algorithm"], algorithm.name());
        VerifyingKey::from_der(algorithm, &material(&key)).unwrap();
    }
    for query in [
        "",
        "?algorithm=ES512",
        "?algorithm=ES512&scope=PAYLOAD_ENCRYPTION",
        "?algorithm=RSA-OAEP-256&scope=PAYLOAD_ENCRYPTION",
        "?algorithm=RS256&scope=PAYLOAD_SIGNING",
        "?algorithm=ES512&scope=PAYLOAD_SIGNING&version=2",
        "?algorithm=ES512&scope=PAYLOAD_SIGNING&version=0",
    ] {
        let path = format!("/v1/auth/jose/response/public-keys{query}");
        let answer = partner.house.call(&partner.token, "GET", &path, None).await;
        assert_eq!(answer.status(), 400, "{query}");
    }
    let before = material(&partner.wise_key("ES512", "PAYLOAD_SIGNING", "").await);
    assert_eq!(partner.house.wise.rotate_jose_key("ES512"), Some(2));
    assert_eq!(partner.house.wise.rotate_jose_key("HS256"), None);
    let now = partner.wise_key("ES512", "PAYLOAD_SIGNING", "").await;
    assert_eq!(now["version"], 2);
    assert_ne!(material(&now), before);
    let first = partner
        .wise_key("ES512", "PAYLOAD_SIGNING", "&version=1")
        .await;
    assert_eq!(material(&first), before);
}

#[tokio::test]
async fn the_playground_answers_in_kind() {
    let partner = Partner::new().await;
    let hello = json!({"message": "hello"});
    let expected = |message: &str, method: &str| json!({"message": format!("jose-playground-response-{message}"), "method": method});

    let path = format!("{PLAYGROUND}/jws");
    let signed = partner.sign(&path, &hello);
    let answer = partner
        .send(&partner.token, post(&path, "jws", &signed))
        .await;
    let inside = partner.open(&answer, None).await;
    assert_eq!(inside.media_type, "application/jose+json");
    assert_eq!(inside.json(), expected("hello", "POST"));
    let header = text(&answer).split('.').next().unwrap().to_owned();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(header)
        .unwrap();
    assert_eq!(header, br#"{"version":1,"alg":"ES512"}"#);

    let path = format!("{PLAYGROUND}/jwe");
    let read = Jose {
        method: "GET",
        kid: Some(ENCRYPTION_KID),
        ..post(&path, "jwe", "")
    };
    let answer = partner.send(&partner.token, read).await;
    assert!(Encrypted::parse(answer.body()).is_ok());
    let inside = partner.open(&answer, None).await;
    assert_eq!(inside.json(), expected("", "GET"));

    let (encrypted, content_key) = partner.encrypt(hello.to_string().as_bytes()).await;
    let answer = partner
        .send(&partner.token, post(&path, "jwe", &encrypted))
        .await;
    assert!(!Encrypted::parse(answer.body()).unwrap().is_direct());
    let inside = partner.open(&answer, None).await;
    assert_eq!(inside.json(), expected("hello", "POST"));

    let path = format!("{PLAYGROUND}/jwe-direct-encryption");
    let answer = partner
        .send(&partner.token, post(&path, "jwe", &encrypted))
        .await;
    assert!(Encrypted::parse(answer.body()).unwrap().is_direct());
    let inside = partner.open(&answer, Some(&content_key)).await;
    assert_eq!(inside.json(), expected("hello", "POST"));

    let path = format!("{PLAYGROUND}/jwsjwe");
    let signed = partner.sign(&path, &hello);
    let (nested, _) = partner.encrypt(signed.as_bytes()).await;
    let both = Jose {
        kid: Some(ENCRYPTION_KID),
        ..post(&path, "jws+jwe", &nested)
    };
    let answer = partner.send(&partner.token, both).await;
    let encrypted = Encrypted::parse(answer.body()).unwrap();
    let (inner, _) = encrypted.decrypt(&partner.decrypting).unwrap();
    assert!(Signed::parse(&inner).is_ok(), "a signed message inside");
    let inside = partner.open(&answer, None).await;
    assert_eq!(inside.json(), expected("hello", "POST"));

    let long = json!({"message": "x".repeat(101)});
    let path = format!("{PLAYGROUND}/jws");
    let signed = partner.sign(&path, &long);
    let answer = partner
        .send(&partner.token, post(&path, "jws", &signed))
        .await;
    assert_eq!(answer.status(), 400);
    assert_eq!(body(&answer)["errors"][0]["path"], "message");
}

#[tokio::test]
async fn what_is_not_signed_for_this_path_by_a_good_key_is_a_jws_error() {
    let partner = Partner::new().await;
    let path = format!("{PLAYGROUND}/jws");
    let hello = json!({"message": "hello"});
    let sign_with =
        |key: &SigningKey, url: &str| jose::sign(key, url, hello.to_string().as_bytes()).unwrap();
    let stranger = signing_key(Some(KID));
    let unknown = signing_key(Some("00000000-0000-4000-8000-000000000000"));
    let good = partner.sign(&path, &hello);
    let (head, rest) = good.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let other = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"message":"bye"}"#);
    for (what, message) in [
        ("another path", sign_with(&partner.signing, "/v1/elsewhere")),
        (
            "with a query",
            sign_with(&partner.signing, &format!("{path}?a=b")),
        ),
        (
            "another host",
            sign_with(&partner.signing, &format!("https://localhost{path}")),
        ),
        ("a wrong key", sign_with(&stranger, &path)),
        ("an unknown id", sign_with(&unknown, &path)),
        ("another payload", format!("{head}.{other}.{signature}")),
        ("no signature", format!("{head}.{other}.")),
        ("plain JSON", hello.to_string()),
        ("nothing", String::new()),
    ] {
        let answer = partner
            .send(&partner.token, post(&path, "jws", &message))
            .await;
        assert_eq!(answer.status(), 400, "{what}");
        jws_error(&answer);
    }
    let answer = partner
        .send(&partner.token, post(&path, "jwe", &good))
        .await;
    jws_error(&answer);

    // Media types are looked at first.
    let mut request = post(&path, "jws", &good).request(&partner.token);
    request.headers_mut().remove("accept");
    assert_eq!(partner.house.plain(request).await.status(), 406);
    let mut request = post(&path, "jws", &good).request(&partner.token);
    request
        .headers_mut()
        .insert(CONTENT_TYPE, "text/plain".parse().unwrap());
    assert_eq!(partner.house.plain(request).await.status(), 415);
    assert_eq!(
        partner
            .send(&partner.token, post(&path, "jws", &good))
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn a_query_counts_where_the_switch_says_so() {
    let partner = Partner::new().await;
    let path = format!("{PLAYGROUND}/jws");
    let target = format!("{path}?a=b");
    let hello = json!({"message": "hello"});
    let (short, long) = (partner.sign(&path, &hello), partner.sign(&target, &hello));
    for (claim, expected) in [
        (UrlClaim::Path, [200, 400]),
        (UrlClaim::Target, [400, 200]),
        (UrlClaim::Anything, [200, 200]),
    ] {
        partner
            .house
            .wise
            .change_faults(|faults| faults.jose.url = claim);
        let mut statuses = Vec::new();
        for message in [&short, &long] {
            let answer = partner
                .send(&partner.token, post(&target, "jws", message))
                .await;
            statuses.push(answer.status().as_u16());
        }
        assert_eq!(statuses, expected, "{claim:?}");
    }
}

#[tokio::test]
async fn trouble_with_encryption_is_a_bare_500() {
    let partner = Partner::new().await;
    let path = format!("{PLAYGROUND}/jwe");
    let hello = json!({"message": "hello"}).to_string();
    let (good, _) = partner.encrypt(hello.as_bytes()).await;
    let (_, stranger) = pki::rsa_2048().unwrap();
    let stranger = EncryptingKey::from_der(None, &stranger).unwrap();
    let (misdirected, _) = stranger.encrypt(hello.as_bytes(), false).unwrap();
    let (head, _) = good.rsplit_once('.').unwrap();
    for message in [
        &misdirected,
        &format!("{head}.AAAAAAAAAAAAAAAAAAAAAA"),
        &partner.sign(&path, &json!({})),
        &hello,
    ] {
        let answer = partner
            .send(&partner.token, post(&path, "jwe", message))
            .await;
        bare_error(&answer);
    }
    for kid in [
        None,
        Some(KID),
        Some("00000000-0000-4000-8000-000000000000"),
    ] {
        let read = Jose {
            method: "GET",
            kid,
            ..post(&path, "jwe", "")
        };
        let answer = partner.send(&partner.token, read).await;
        assert_eq!(answer.status(), 500, "no encryption key: {kid:?}");
        bare_error(&answer);
    }
    let both = format!("{PLAYGROUND}/jwsjwe");
    let signed = partner.sign("/v1/elsewhere", &json!({"message": "hello"}));
    let (nested, _) = partner.encrypt(signed.as_bytes()).await;
    let answer = partner
        .send(&partner.token, post(&both, "jws+jwe", &nested))
        .await;
    jws_error(&answer);
    let signed = partner.sign(&both, &json!({"message": "hello"}));
    let (nested, _) = partner.encrypt(signed.as_bytes()).await;
    let answer = partner
        .send(&partner.token, post(&both, "jws+jwe", &nested))
        .await;
    bare_error(&answer);
}

#[tokio::test]
async fn several_keys_are_good_at_a_time_and_each_only_in_its_time() {
    let clock = Arc::new(Manual::at(
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000),
    ));
    let wise = Simulator::start_at(Options::default(), Arc::clone(&clock) as Arc<dyn Clock>)
        .await
        .unwrap();
    let house = House {
        wise,
        identity: None,
        http2: false,
    };
    let token = house.client_token().await;
    let (old, new) = (signing_key(None), signing_key(None));
    let second = "7a7e35ba-6b4f-4f52-8b0f-3f5c7f9d2a10";
    // The clock stands at 2026-11-18 11:06:40.
    for (key, id, from, till) in [
        (&old, KID, LONG_AGO, "2026-11-18 12:00:00"),
        (&new, second, "2026-11-18 11:30:00", FAR_OFF),
    ] {
        let der = key.public_der().unwrap();
        let mut body = registration(id, "PAYLOAD_SIGNING", "ES512", &der, till);
        body["validFrom"] = from.into();
        let answer = house.call(&token, "POST", REGISTER, Some(body)).await;
        assert_eq!(answer.status(), 201);
    }
    let path = format!("{PLAYGROUND}/jws");
    let statuses = async || {
        let mut statuses = Vec::new();
        for key in [&old, &new] {
            let message = jose::sign(key, &path, br#"{"message":"hello"}"#).unwrap();
            let answer = house
                .plain(post(&path, "jws", &message).request(&token))
                .await;
            statuses.push(answer.status().as_u16());
        }
        statuses
    };
    assert_eq!(statuses().await, [200, 400], "the second is not yet valid");
    clock.advance(Duration::from_mins(30));
    assert_eq!(statuses().await, [200, 200], "they overlap");
    clock.advance(Duration::from_mins(30));
    assert_eq!(statuses().await, [400, 200], "the first is over");
    assert!(house.wise.deactivate_jose_key(second));
    assert_eq!(
        statuses().await,
        [400, 400],
        "the second was taken out of use"
    );
}

#[tokio::test]
async fn an_operation_behind_jose_does_what_it_does_in_plain() {
    let partner = Partner::new().await;
    let (user, _) = partner.house.grant(BUSINESS).await;
    let path = format!("/v3/profiles/{BUSINESS}/quotes");
    let ask = json!({"sourceCurrency": "GBP", "targetCurrency": "USD", "sourceAmount": 100});
    let plain = partner
        .house
        .call(&user, "POST", &path, Some(ask.clone()))
        .await;
    let plain = body(&plain);
    for (protection, method) in [
        (JoseMethod::Jws, "jws"),
        (JoseMethod::Jwe, "jwe"),
        (JoseMethod::JwsJwe, "jws+jwe"),
    ] {
        partner.house.wise.change_faults(|faults| {
            faults.jose.required = vec![JoseRoute {
                prefix: "/v3/profiles/".to_owned(),
                method: protection,
            }];
        });
        let refused = partner
            .house
            .call(&user, "POST", &path, Some(ask.clone()))
            .await;
        if protection == JoseMethod::Jws {
            jws_error(&refused);
        } else {
            bare_error(&refused);
        }
        let mut message = ask.to_string();
        if method != "jwe" {
            message = partner.sign(&path, &ask);
        }
        if method != "jws" {
            message = partner.encrypt(message.as_bytes()).await.0;
        }
        let jose = Jose {
            kid: Some(ENCRYPTION_KID),
            ..post(&path, method, &message)
        };
        let answer = partner.send(&user, jose).await;
        let inside = partner.open(&answer, None).await;
        assert_eq!(
            (inside.status, inside.media_type.as_str()),
            (200, "application/jose+json")
        );
        let quote = inside.json();
        assert_eq!(quote["targetAmount"], plain["targetAmount"]);
        assert_eq!(quote["rate"], plain["rate"]);

        // Read back without a body, under the same protection.
        let one = format!("{path}/{}", word(&quote["id"]));
        let read = Jose {
            method: "GET",
            ..Jose {
                body: "",
                path: &one,
                ..jose
            }
        };
        let answer = partner.send(&user, read).await;
        assert_eq!(partner.open(&answer, None).await.json()["id"], quote["id"]);

        // Refusals are plain JSON.
        let missing = format!("{path}/no-such-quote");
        let answer = partner
            .send(
                &user,
                Jose {
                    path: &missing,
                    ..read
                },
            )
            .await;
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(body(&answer)["status"], 404);
    }
}

#[tokio::test]
async fn an_empty_answer_is_not_protected_and_a_transaction_inside_is_recorded() {
    let partner = Partner::new().await;
    let (user, _) = partner.house.grant(BUSINESS).await;
    let path = format!("/v3/profiles/{BUSINESS}/subscriptions");
    let create = json!({
        "name": "mine",
        "trigger_on": "transfers#state-change",
        "delivery": {"version": "2.0.0", "url": "https://hooks.example.com/"},
    });
    let made = body(&partner.house.call(&user, "POST", &path, Some(create)).await);
    let one = format!("{path}/{}", word(&made["id"]));
    let remove = Jose {
        method: "DELETE",
        kid: Some(ENCRYPTION_KID),
        ..post(&one, "jwe", "")
    };
    let answer = partner.send(&user, remove).await;
    assert_eq!(answer.status(), 204);
    assert!(answer.body().is_empty());
    assert!(!answer.headers().contains_key(CONTENT_TYPE));

    let create = json!({"customerTransactionId": "sealed"});
    let message = partner.sign("/v1/transfers", &create);
    let answer = partner
        .send(&user, post("/v1/transfers", "jws", &message))
        .await;
    assert_eq!(answer.status(), 422, "{}", text(&answer));
    assert_eq!(partner.house.wise.counters().transactions["sealed"], 1);
}

#[tokio::test]
async fn answers_are_spoilt_on_wish_and_rotation_makes_another_version() {
    let partner = Partner::new().await;
    let path = format!("{PLAYGROUND}/jws");
    let message = partner.sign(&path, &json!({"message": "hello"}));
    let ask = async || {
        partner
            .send(&partner.token, post(&path, "jws", &message))
            .await
    };
    let spoil = |kind| {
        partner.house.wise.change_faults(|faults| {
            faults.jose.tamper = Some(Tampering {
                kind,
                times: Some(1),
            });
        });
    };
    let first = partner.wise_signing_key(1).await;
    for kind in [
        Tamper::Content,
        Tamper::Signature,
        Tamper::WrongKey,
        Tamper::NoAlgorithm,
    ] {
        spoil(kind);
        let answer = ask().await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/jose+json");
        let verified = Signed::parse(answer.body()).and_then(|it| it.verify(&first));
        assert!(verified.is_err(), "{kind:?}");
        let answer = ask().await;
        let verified = Signed::parse(answer.body()).and_then(|it| it.verify(&first));
        assert!(verified.is_ok(), "spoilt once only");
    }
    spoil(Tamper::Plain);
    assert_eq!(ask().await.headers()[CONTENT_TYPE], "application/json");

    partner.house.wise.rotate_jose_key("ES512");
    let answer = ask().await;
    let signed = Signed::parse(answer.body()).unwrap();
    assert_eq!(signed.version(), Some(2));
    assert!(signed.verify(&first).is_err(), "the stored key is outdated");
    let second = partner.wise_signing_key(2).await;
    assert!(signed.verify(&second).is_ok());

    let path = format!("{PLAYGROUND}/jwe");
    let (message, _) = partner.encrypt(br#"{"message":"hello"}"#).await;
    for kind in [Tamper::Content, Tamper::Signature, Tamper::WrongKey] {
        spoil(kind);
        let answer = partner
            .send(&partner.token, post(&path, "jwe", &message))
            .await;
        assert_eq!(answer.status(), 200);
        let encrypted = Encrypted::parse(answer.body()).unwrap();
        assert_eq!(encrypted.kid(), Some(ENCRYPTION_KID));
        assert!(encrypted.decrypt(&partner.decrypting).is_err(), "{kind:?}");
    }
    // A body to the version before can be read, unless the switch says otherwise.
    partner.house.wise.rotate_jose_key("RSA_OAEP_256");
    for (earlier, status) in [(true, 200), (false, 500)] {
        partner
            .house
            .wise
            .change_faults(|faults| faults.jose.earlier_keys = earlier);
        let answer = partner
            .send(&partner.token, post(&path, "jwe", &message))
            .await;
        assert_eq!(answer.status(), status);
    }
}

#[tokio::test]
async fn the_control_api_rotates_lists_and_deactivates() {
    let partner = Partner::new().await;
    let control = async |method: &str, path: &str, json: Option<Value>| {
        partner.house.control(request("", method, path, json)).await
    };
    let answer = control("POST", "/jose/rotate", Some(json!({"algorithm": "ES256"}))).await;
    assert_eq!(body(&answer), json!({"algorithm": "ES256", "version": 2}));
    let wrong = control("POST", "/jose/rotate", Some(json!({"algorithm": "RS256"}))).await;
    assert_eq!(wrong.status(), 400);
    let keys = body(&control("GET", "/jose/keys", None).await);
    assert_eq!(keys["wise"], json!({"ES256": 2}));
    assert_eq!(keys["client"][0]["keyId"], KID);
    let path = format!("/jose/keys/{KID}");
    assert_eq!(control("DELETE", &path, None).await.status(), 204);
    assert_eq!(
        control("DELETE", "/jose/keys/none", None).await.status(),
        404
    );
    let keys = body(&control("GET", "/jose/keys", None).await);
    assert!(keys["client"][0]["deactivationTimestamp"].is_string());
    let patch = json!({"jose": {"required": [{"prefix": "/v1/transfers", "method": "jws+jwe"}]}});
    let answer = control("PATCH", "/faults", Some(patch)).await;
    assert_eq!(answer.status(), 200, "{}", text(&answer));
    let (user, _) = partner.house.grant(BUSINESS).await;
    let plain = partner
        .house
        .call(&user, "GET", "/v1/transfers", None)
        .await;
    bare_error(&plain);
}
