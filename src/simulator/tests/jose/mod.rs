//! Signed and encrypted bodies: keys, the playground, and operations behind them.

mod keys;
mod operations;
mod playground;

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
