//! Signed and encrypted bodies as Wise takes and gives them: opened before an operation runs,
//! made after it. The operation inside does not notice.

mod keys;
mod seal;
mod switches;

use std::time::SystemTime;

use http::Method;
use http::StatusCode;
use http::header::ACCEPT;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use self::keys::ClientKeys;
use self::keys::WiseKeys;
pub(super) use self::seal::close;
pub use self::switches::JoseFaults;
pub use self::switches::JoseMethod;
pub use self::switches::JoseRoute;
pub use self::switches::SigningAlgorithm;
pub use self::switches::Tamper;
pub use self::switches::Tampering;
pub use self::switches::UrlClaim;
use super::errors;
use super::reply::Refusable;
use super::reply::Reply;
use super::reply::json_reply;
use super::times;
use super::world::Call;
use crate::jose::Algorithm;
use crate::jose::ContentKey;
use crate::jose::Encrypted;
use crate::jose::EncryptingKey;
use crate::jose::JoseError;
use crate::jose::Signed;

const MEDIA_TYPE: &str = "application/jose+json";
const METHOD: &str = "x-tw-jose-method";
const ENCRYPTION_KID: &str = "x-tw-jose-encryption-kid";
const PLAYGROUND: &str = "/auth/jose/playground/";
const DIRECT: &str = "/auth/jose/playground/jwe-direct-encryption";

/// The keys of both sides.
#[derive(Default)]
pub(super) struct Jose {
    wise: WiseKeys,
    clients: ClientKeys,
}

/// A request as far as its protection is concerned.
pub(super) struct Arrival<'a> {
    pub(super) head: &'a Parts,
    /// Of the operation, without a version.
    pub(super) template: &'a str,
    pub(super) body: &'a [u8],
    pub(super) now: SystemTime,
}

/// What came in it, and what the answer will need.
pub(super) struct Opened {
    pub(super) payload: Vec<u8>,
    pub(super) envelope: Envelope,
}

/// How an answer has to be protected.
pub(super) struct Envelope {
    /// The algorithm of the signature.
    signature: Option<Algorithm>,
    recipient: Option<Recipient>,
}

enum Recipient {
    Key(String, EncryptingKey),
    Direct(ContentKey),
}

impl Arrival<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        let value = self.head.headers.get(name)?;
        value.to_str().ok().map(str::trim)
    }

    /// The method that an operation always has: on the playground each path its own, and what a
    /// user alone knows or has comes encrypted.
    fn fixed(&self) -> Option<JoseMethod> {
        match self.template.strip_prefix(PLAYGROUND) {
            Some("jws") => return Some(JoseMethod::Jws),
            Some("jwsjwe") => return Some(JoseMethod::JwsJwe),
            Some(_) => return Some(JoseMethod::Jwe),
            None => {}
        }
        let secret = matches!(
            self.template,
            "/profiles/{profileId}/pin"
                | "/profiles/{profileId}/pin/verify"
                | "/profiles/{profileId}/device-fingerprints"
                | "/profiles/{profileId}/device-fingerprints/verify"
        );
        (secret && self.head.method == Method::POST).then_some(JoseMethod::Jwe)
    }
}

impl Jose {
    /// Takes the protection off a request; `None` when it is not protected and need not be.
    pub(super) fn open(
        &mut self,
        arrival: &Arrival<'_>,
        switches: &JoseFaults,
    ) -> Refusable<Option<Opened>> {
        let fixed = arrival.fixed();
        let demanded = fixed.or_else(|| switches.required(arrival.head.uri.path()));
        let said = arrival.header(METHOD);
        let method = match (demanded, said) {
            (None, None) => return Ok(None),
            (Some(method), said) if said.and_then(JoseMethod::read) != Some(method) => {
                return Err(Box::new(refusal(method)));
            }
            (Some(method), _) => method,
            (None, Some(said)) => JoseMethod::read(said).ok_or_else(|| {
                let path = arrival.head.uri.path();
                let now = times::nanoseconds(arrival.now);
                let message = "Unknown JOSE method";
                Box::new(errors::spring(StatusCode::BAD_REQUEST, message, path, &now))
            })?,
        };
        check_media_types(arrival)?;
        if arrival.body.is_empty() && fixed.is_some() && arrival.head.method == Method::POST {
            return Err(Box::new(refusal(method)));
        }
        let mut content_key = None;
        let mut payload = arrival.body.to_vec();
        if method.encrypts() && !payload.is_empty() {
            let (inner, key) = self
                .decrypt(&payload, switches.earlier_keys)
                .ok_or_else(|| Box::new(bare_error()))?;
            (payload, content_key) = (inner, Some(key));
        }
        let mut algorithm = None;
        if method.signs() && !payload.is_empty() {
            let (inner, its) = self
                .verify(&payload, arrival, switches)
                .ok_or_else(|| Box::new(jws_error()))?;
            (payload, algorithm) = (inner, Some(its));
        }
        let recipient = match content_key {
            _ if !method.encrypts() => None,
            Some(key) if switches.direct || arrival.template == DIRECT => {
                Some(Recipient::Direct(key))
            }
            key => {
                let kid = arrival.header(ENCRYPTION_KID);
                // Without it Wise can only know by the body whom it talks to.
                if kid.is_none() && (key.is_none() || method == JoseMethod::JwsJwe) {
                    return Err(Box::new(bare_error()));
                }
                let key = self.clients.encrypting(kid, arrival.now);
                let (id, key) = key.ok_or_else(|| Box::new(bare_error()))?;
                Some(Recipient::Key(id, key))
            }
        };
        let chosen = switches.answer_algorithm.map(Algorithm::from);
        let algorithm = chosen.or(algorithm).unwrap_or(Algorithm::Es512);
        Ok(Some(Opened {
            payload,
            envelope: Envelope {
                signature: method.signs().then_some(algorithm),
                recipient,
            },
        }))
    }

    fn decrypt(&self, message: &[u8], earlier: bool) -> Option<(Vec<u8>, ContentKey)> {
        self.wise
            .decrypting(earlier)
            .find_map(|key| Encrypted::parse(message).ok()?.decrypt(key).ok())
    }

    fn verify(
        &self,
        message: &[u8],
        arrival: &Arrival<'_>,
        switches: &JoseFaults,
    ) -> Option<(Vec<u8>, Algorithm)> {
        let signed = Signed::parse(message).ok()?;
        if switches.typ && signed.typ() != Some("JWT") {
            return None;
        }
        let uri = &arrival.head.uri;
        let expected = match switches.url {
            UrlClaim::Path => Some(uri.path()),
            UrlClaim::Target => uri.path_and_query().map(http::uri::PathAndQuery::as_str),
            UrlClaim::Anything => signed.url(),
        };
        if signed.url() != expected {
            return None;
        }
        self.clients
            .verifying(signed.kid(), arrival.now)
            .find_map(|key| Some((signed.verify(key).ok()?, key.algorithm())))
    }

    /// The operations on keys, and the playground.
    pub(super) fn answer(&mut self, call: &Call<'_>) -> Option<Reply> {
        let endpoint = call.found.endpoint;
        let done = |answer: Refusable<Reply>| Some(answer.unwrap_or_else(|refusal| *refusal));
        match (endpoint.method, endpoint.path) {
            ("GET", "/auth/jose/response/public-keys" | "/auth/jwt-public-key") => {
                let query = |name| call.query.get(name).map(String::as_str);
                let (algorithm, scope) = (query("algorithm"), query("scope"));
                done(self.wise.publish(algorithm, scope, query("version")))
            }
            ("POST", "/auth/jose/request/public-keys") => done(self.clients.register(call.body)),
            (method, path) if path.starts_with(PLAYGROUND) => Some(play(method, call.body)),
            _ => None,
        }
    }

    /// Takes a new key of Wise's into use; returns its version, or `None` for no such algorithm.
    pub(super) fn rotate(&mut self, algorithm: &str) -> Result<Option<usize>, JoseError> {
        self.wise.rotate(algorithm)
    }

    /// Takes a key of the partner's out of use.
    pub(super) fn deactivate(&mut self, id: &str, now: SystemTime) -> bool {
        self.clients.deactivate(id, now)
    }

    /// What the control API shows.
    pub(super) fn state(&self) -> Value {
        json!({"wise": self.wise.versions(), "client": self.clients.list()})
    }
}

/// `Accept` and `Content-Type` as Wise's pages demand them.
fn check_media_types(arrival: &Arrival<'_>) -> Refusable<()> {
    let names = |header| {
        let mut values = arrival.head.headers.get_all(header).iter();
        values.any(|value| {
            let text = value.to_str().unwrap_or_default();
            text.to_ascii_lowercase().contains(MEDIA_TYPE)
        })
    };
    let refuse = |status| {
        let message = "Media type not supported; application/jose+json is needed";
        let now = times::nanoseconds(arrival.now);
        let path = arrival.head.uri.path();
        Err(Box::new(errors::spring(status, message, path, &now)))
    };
    if !names(ACCEPT) {
        return refuse(StatusCode::NOT_ACCEPTABLE);
    }
    if !arrival.body.is_empty() && !names(CONTENT_TYPE) {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    Ok(())
}

/// A body that is not protected as it must be, in the words of whatever fails first.
fn refusal(method: JoseMethod) -> Reply {
    if method.encrypts() {
        bare_error()
    } else {
        jws_error()
    }
}

fn jws_error() -> Reply {
    let description = "Unable to verify the request signature";
    let status = StatusCode::BAD_REQUEST;
    errors::oauth(status, "jws_error", description)
}

/// All that Wise says when encryption fails in either direction.
fn bare_error() -> Reply {
    let id = Uuid::new_v4().simple().to_string();
    let body = json!({"message": "An unexpected error occurred", "request_id": id});
    json_reply(StatusCode::INTERNAL_SERVER_ERROR, &body)
}

/// What every call of the playground answers with, inside.
fn play(method: &str, body: &Value) -> Reply {
    let message = match (method, body["message"].as_str()) {
        ("GET", _) => "",
        (_, Some(message)) if message.chars().count() <= 100 => message,
        _ => {
            let message = "A message of at most 100 characters is needed";
            return errors::field(StatusCode::BAD_REQUEST, "NOT_VALID", "message", message);
        }
    };
    let answer = format!("jose-playground-response-{message}");
    json_reply(
        StatusCode::OK,
        &json!({"message": answer, "method": method}),
    )
}
