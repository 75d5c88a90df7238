//! What JOSE costs a request, for `benches/steps.rs`: the look at the routes, which everybody pays, and
//! the cryptography, which runs beside the worker.

use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, request};

use super::Jose;
use super::seal::Work;
use crate::config::{self, JoseMethod, JoseRoute, Rule};
use crate::jose::{
    Algorithm, DecryptingKey, Encrypted, EncryptingKey, Signed, SigningKey, VerifyingKey,
};
use crate::proxy::target::Target;
use crate::wise::Lane;

const URL: &str = "/v3/profiles/30000000/quotes";

/// A request of everybody's, routes that do not cover it, and keys of 3,072 bits where they are RSA.
#[derive(Debug)]
pub struct JoseSteps {
    head: request::Parts,
    target: Target,
    without: Jose,
    others: Jose,
    signing: Arc<SigningKey>,
    verifying: VerifyingKey,
    encrypting: Arc<EncryptingKey>,
    decrypting: DecryptingKey,
    body: Bytes,
}

impl JoseSteps {
    /// Steps that sign by the algorithm of this name, and encrypt, a body of 1 KiB.
    ///
    /// # Panics
    ///
    /// Where there is no such algorithm.
    #[allow(clippy::expect_used, reason = "a benchmark fails loudly")]
    pub fn new(algorithm: &str) -> Self {
        let algorithm = Algorithm::named(algorithm).expect("an algorithm");
        let der = SigningKey::generate(algorithm).expect("a key");
        let signing = SigningKey::from_pkcs8(algorithm, None, &der).expect("a key");
        let public = signing.public_der().expect("a key");
        let verifying = VerifyingKey::from_der(algorithm, &public).expect("a key");
        let der = DecryptingKey::generate().expect("a key");
        let decrypting = DecryptingKey::from_pkcs8(&der).expect("a key");
        let encrypting = EncryptingKey::from_der(None, decrypting.public_der()).expect("a key");
        let mut head = Request::new(()).into_parts().0;
        head.method = Method::POST;
        let json = HeaderValue::from_static("application/json");
        head.headers.insert("content-type", json);
        let mut others = Jose::read(&config::Jose::default()).expect("routes");
        let rules = ["funding", "POST /v1/transfers", "* /v2/profiles/**"];
        let covers = rules.map(|rule| Rule::parse(rule).expect("a rule"));
        let route = JoseRoute {
            covers: covers.to_vec(),
            method: JoseMethod::Jws,
            lanes: Lane::ALL.into_iter().collect(),
        };
        others.add(&route);
        Self {
            head,
            target: Target::of_ours(PathAndQuery::from_static(URL)),
            without: Jose::default(),
            others,
            signing: Arc::new(signing),
            verifying,
            encrypting: Arc::new(encrypting),
            decrypting,
            body: Bytes::from(vec![b'x'; 1024]),
        }
    }

    /// The look at a configuration without routes. Returns whether one covers the request.
    pub fn without_routes(&self) -> bool {
        let method = self
            .without
            .method_of(Lane::OAuthMtls, &self.head, &self.target);
        method.is_some()
    }

    /// The look at routes that cover other requests. Returns whether one covers this one.
    pub fn other_routes(&self) -> bool {
        let method = self
            .others
            .method_of(Lane::OAuthMtls, &self.head, &self.target);
        method.is_some()
    }

    /// The body, signed.
    pub fn sign(&self) -> Bytes {
        self.work(JoseMethod::Jws)
    }

    /// The body, encrypted.
    pub fn encrypt(&self) -> Bytes {
        self.work(JoseMethod::Jwe)
    }

    fn work(&self, method: JoseMethod) -> Bytes {
        let work = Work {
            method,
            signing: Some(Arc::clone(&self.signing)),
            encrypting: Some(Arc::clone(&self.encrypting)),
            url: URL.to_owned(),
            plain: self.body.clone(),
        };
        work.done().map(|(sealed, _)| sealed).unwrap_or_default()
    }

    /// What was signed, verified. Returns the length of the payload.
    pub fn verify(&self, message: &[u8]) -> usize {
        let signed = Signed::parse(message);
        let payload = signed.and_then(|signed| signed.verify(&self.verifying));
        payload.map_or(0, |payload| payload.len())
    }

    /// What was encrypted, decrypted. Returns the length of the payload.
    pub fn decrypt(&self, message: &[u8]) -> usize {
        let encrypted = Encrypted::parse(message);
        let payload = encrypted.and_then(|it| it.decrypt(&self.decrypting));
        payload.map_or(0, |(payload, _)| payload.len())
    }
}
