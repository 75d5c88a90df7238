//! Wise's playground: calls that do nothing but show whether both sides understand each other.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::line::{CallError, refused};
use super::partner::{Partner, WiseKey};
use crate::config::{Jose, JoseSigning, SigningAlgorithm, is_key_id};
use crate::jose::{
    ContentKey, DecryptingKey, Encrypted, EncryptingKey, JoseError, Signed, SigningKey,
    VerifyingKey, read_decrypting, read_signing, sign,
};
use crate::upstream::Answer;
use crate::wise::headers::{X_TW_JOSE_ENCRYPTION_KID, X_TW_JOSE_METHOD};
use crate::wise::jose::{MEDIA_TYPE, PLAYGROUND, RSA_OAEP_256, Scope};

/// One of Wise's calls.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    name: &'static str,
    signed: bool,
    encrypted: bool,
    /// The answer comes under the content key of the request, and needs no key of ours.
    direct: bool,
}

pub(super) const CALLS: [Call; 5] = [
    Call {
        method: Method::POST,
        name: "jws",
        signed: true,
        encrypted: false,
        direct: false,
    },
    Call {
        method: Method::GET,
        name: "jwe",
        signed: false,
        encrypted: true,
        direct: false,
    },
    Call {
        method: Method::POST,
        name: "jwe",
        signed: false,
        encrypted: true,
        direct: false,
    },
    Call {
        method: Method::POST,
        name: "jwe-direct-encryption",
        signed: false,
        encrypted: true,
        direct: true,
    },
    Call {
        method: Method::POST,
        name: "jwsjwe",
        signed: true,
        encrypted: true,
        direct: false,
    },
];

impl Call {
    pub(super) fn path(&self) -> String {
        format!("{PLAYGROUND}{}", self.name)
    }

    /// The word of `X-TW-JOSE-Method`.
    pub(super) fn protection(&self) -> &'static str {
        match (self.signed, self.encrypted) {
            (true, true) => "jws+jwe",
            (true, false) => "jws",
            (false, _) => "jwe",
        }
    }
}

/// Keys of ours, read.
struct Keys {
    signing: Option<SigningKey>,
    /// The same without its id.
    nameless: Option<SigningKey>,
    decrypting: Option<DecryptingKey>,
    encryption_kid: Option<String>,
}

/// Both sides' keys, and the way between.
pub(super) struct Playground {
    partner: Partner,
    keys: Keys,
    /// Wise's keys that verify, as they were last fetched.
    verifying: BTreeMap<SigningAlgorithm, (u64, VerifyingKey)>,
    /// Wise's key that bodies are encrypted to.
    encrypting: Option<EncryptingKey>,
    /// Whether Wise knows our signature without the id; asked once at most.
    knows_nameless: Option<bool>,
}

/// What a call showed.
pub(super) struct Shown {
    /// Version of Wise's key that the answer was verified with.
    pub(super) version: Option<u64>,
    pub(super) algorithm: Option<SigningAlgorithm>,
    /// Wise had taken another key into use since ours was fetched.
    pub(super) fetched_again: bool,
    /// The answer was decrypted.
    pub(super) decrypted: bool,
}

/// Why a call was not made, or did not go well.
#[derive(Debug, thiserror::Error)]
pub(super) enum Wrong {
    #[error("{0} is not configured")]
    Unconfigured(&'static str),
    #[error("Wise's own key cannot be had: {0}")]
    NoWiseKey(#[source] CallError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("Wise does not take our signature: {0}")]
    Signature(#[source] CallError),
    #[error("Wise cannot open the request, or cannot encrypt its answer: {0}")]
    Encryption(#[source] CallError),
    #[error("the answer did not come {0}, and was not looked at")]
    Unprotected(&'static str),
    #[error("the answer is not verified, and was not looked at: {0}")]
    Forged(JoseError),
    #[error("the answer cannot be decrypted with our key")]
    Undecryptable,
    #[error("the answer is encrypted to the key {0}, which is not the configured one")]
    ForAnother(String),
    #[error("the answer is verified, and is not JSON")]
    NotJson,
    #[error("{0}")]
    Library(#[from] JoseError),
}

impl Playground {
    /// Reads our keys. Blocks on files.
    pub(super) fn keys(jose: &Jose) -> Result<impl FnOnce(Partner) -> Self + use<>, Failure> {
        let signing = jose.signing.as_ref();
        let nameless = signing.map(|key| JoseSigning {
            kid: None,
            ..key.clone()
        });
        let decrypting = jose.decrypting.as_ref();
        let keys = Keys {
            signing: signing.map(read_signing).transpose()?,
            nameless: nameless.as_ref().map(read_signing).transpose()?,
            decrypting: decrypting.map(read_decrypting).transpose()?,
            encryption_kid: decrypting.and_then(|key| key.kid.clone()),
        };
        Ok(move |partner| Self {
            partner,
            keys,
            verifying: BTreeMap::new(),
            encrypting: None,
            knows_nameless: None,
        })
    }

    /// Makes a call and looks at its answer.
    pub(super) async fn play(&mut self, call: &Call) -> Result<Shown, Wrong> {
        if call.signed && self.keys.signing.is_none() {
            return Err(Wrong::Unconfigured("jose.signing_key"));
        }
        if call.encrypted && !call.direct {
            if self.keys.decrypting.is_none() {
                return Err(Wrong::Unconfigured("jose.encryption_key"));
            }
            if self.keys.encryption_kid.is_none() {
                return Err(Wrong::Unconfigured("jose.encryption_kid"));
            }
        }
        if let Some(algorithm) = self.keys.signing.as_ref().map(SigningKey::algorithm)
            && call.signed
            && !self.verifying.contains_key(&algorithm)
        {
            self.fetch(algorithm, None).await?;
        }
        if call.encrypted && call.method == Method::POST && self.encrypting.is_none() {
            self.encrypting = Some(self.fetch_encrypting().await?);
        }
        let (request, content_key) = self.request(call, self.keys.signing.as_ref())?;
        let answer = self.partner.send(request).await?;
        if !answer.status.is_success() {
            return Err(self.refused(call, &answer).await);
        }
        let mut shown = Shown {
            version: None,
            algorithm: None,
            fetched_again: false,
            decrypted: call.encrypted,
        };
        let mut payload = answer.body.to_vec();
        if call.encrypted {
            payload = self.decrypted(&payload, content_key.as_ref())?;
        }
        if call.signed {
            payload = self.verified(&payload, &mut shown).await?;
        }
        let document: Option<Value> = serde_json::from_slice(&payload).ok();
        if document.is_none_or(|document| !document.is_object()) {
            return Err(Wrong::NotJson);
        }
        Ok(shown)
    }

    /// The request, and the key that its content is encrypted under.
    fn request(
        &self,
        call: &Call,
        signing: Option<&SigningKey>,
    ) -> Result<(Request<Bytes>, Option<ContentKey>), Wrong> {
        let path = call.path();
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(&path)
            .header(ACCEPT, MEDIA_TYPE)
            .header(ACCEPT_ENCODING, "identity")
            .header(X_TW_JOSE_METHOD, call.protection());
        if call.encrypted
            && !call.direct
            && let Some(kid) = &self.keys.encryption_kid
        {
            request = request.header(X_TW_JOSE_ENCRYPTION_KID, kid.as_str());
        }
        if call.method == Method::GET {
            let request = request.body(Bytes::new()).map_err(CallError::Request)?;
            return Ok((request, None));
        }
        let payload = json!({ "message": "a test of wise-auth-proxy" });
        let mut body = payload.to_string();
        if call.signed {
            let key = signing.ok_or(Wrong::Unconfigured("jose.signing_key"))?;
            body = sign(key, &path, body.as_bytes())?;
        }
        let mut content_key = None;
        if call.encrypted {
            let key = self.encrypting.as_ref().ok_or(JoseError::Library)?;
            let (message, key) = key.encrypt(body.as_bytes(), call.signed)?;
            (body, content_key) = (message, Some(key));
        }
        let request = request.header(CONTENT_TYPE, MEDIA_TYPE);
        let request = request.body(Bytes::from(body));
        Ok((request.map_err(CallError::Request)?, content_key))
    }

    /// The payload, if it was encrypted for us.
    fn decrypted(&self, message: &[u8], sent: Option<&ContentKey>) -> Result<Vec<u8>, Wrong> {
        let encrypted =
            Encrypted::parse(message).map_err(|_| Wrong::Unprotected("encrypted as it must"))?;
        if encrypted.is_direct() {
            let key = sent.ok_or(Wrong::Undecryptable)?;
            let opened = encrypted.decrypt_directly(key);
            return opened.map_err(|_| Wrong::Undecryptable);
        }
        let ours = self.keys.encryption_kid.as_deref();
        let theirs = encrypted.kid().filter(|kid| is_key_id(kid));
        let another = theirs.filter(|kid| Some(*kid) != ours).map(str::to_owned);
        let key = self.keys.decrypting.as_ref().ok_or(Wrong::Undecryptable)?;
        let opened = encrypted.decrypt(key).map(|(payload, _)| payload);
        opened.map_err(|_| another.map_or(Wrong::Undecryptable, Wrong::ForAnother))
    }

    /// The payload, if Wise signed it. Its key is fetched once more where the one that we have does
    /// not fit: Wise may have taken another into use.
    async fn verified(&mut self, message: &[u8], shown: &mut Shown) -> Result<Vec<u8>, Wrong> {
        let signed = Signed::parse(message).map_err(|_| Wrong::Unprotected("signed as it must"))?;
        let unsupported = JoseError::Unsupported("another signature algorithm");
        let algorithm = signed.algorithm().ok_or(Wrong::Forged(unsupported))?;
        let known = self.verifying.get(&algorithm).cloned();
        let (mut version, key) = match known {
            Some(known) => known,
            None => self.fetch(algorithm, None).await?,
        };
        let mut payload = signed.verify(&key);
        if payload.is_err() {
            let fresh = self.fetch(algorithm, signed.version()).await?;
            payload = signed.verify(&fresh.1);
            version = fresh.0;
            shown.fetched_again = true;
        }
        (shown.version, shown.algorithm) = (Some(version), Some(algorithm));
        payload.map_err(Wrong::Forged)
    }

    /// Wise's key that verifies, from Wise.
    async fn fetch(
        &mut self,
        algorithm: SigningAlgorithm,
        version: Option<u64>,
    ) -> Result<(u64, VerifyingKey), Wrong> {
        let asking = self.partner.key(Scope::Signing, algorithm.name(), version);
        let WiseKey { version, der } = asking.await.map_err(Wrong::NoWiseKey)?;
        let key = VerifyingKey::from_der(algorithm, &der);
        let key = key.map_err(|_| Wrong::NoWiseKey(CallError::Without("public key")))?;
        self.verifying.insert(algorithm, (version, key.clone()));
        Ok((version, key))
    }

    /// Wise's key that bodies are encrypted to, from Wise.
    async fn fetch_encrypting(&self) -> Result<EncryptingKey, Wrong> {
        let asking = self.partner.key(Scope::Encryption, RSA_OAEP_256, None);
        let key = asking.await.map_err(Wrong::NoWiseKey)?;
        EncryptingKey::from_der(None, &key.der)
            .map_err(|_| Wrong::NoWiseKey(CallError::Without("public key")))
    }

    /// What a refusal means.
    async fn refused(&mut self, call: &Call, answer: &Answer) -> Wrong {
        let error = refused(answer);
        match answer.status {
            StatusCode::BAD_REQUEST if call.signed => {
                self.ask_without_id().await;
                Wrong::Signature(error)
            }
            // Wise says no more than that.
            StatusCode::INTERNAL_SERVER_ERROR if call.encrypted => Wrong::Encryption(error),
            _ => Wrong::Call(error),
        }
    }

    /// Whether Wise takes the signature once it may look for the key by itself.
    async fn ask_without_id(&mut self) {
        let nameless = self.keys.nameless.as_ref();
        if self.knows_nameless.is_some() || nameless.is_none() {
            return;
        }
        let [plain, ..] = &CALLS;
        let Ok((request, _)) = self.request(plain, nameless) else {
            return;
        };
        let answer = self.partner.send(request).await;
        self.knows_nameless = answer.ok().map(|answer| answer.status.is_success());
    }

    /// What to do about it, where there is something to do.
    pub(super) fn hint(
        &self,
        call: &Call,
        wrong: &Wrong,
        spell: &dyn Fn(&str) -> String,
    ) -> Option<String> {
        let kid = self.keys.encryption_kid.as_deref().unwrap_or_default();
        let signed = self.keys.signing.as_ref().and_then(SigningKey::kid);
        Some(match wrong {
            Wrong::Signature(_) => match (signed, self.knows_nameless) {
                (Some(kid), Some(true)) => format!(
                    "Wise has our key, but not as {kid}, which is not registered, has expired or was \
                     taken out of use: {} gives it a new id",
                    spell("jose register --signing")
                ),
                _ => format!(
                    "the signing key is not registered, has expired or was taken out of use: {} \
                     registers it; if it is registered, something between here and Wise changes the \
                     path {}, which the signature covers (`url`)",
                    spell("jose register --signing"),
                    call.path()
                ),
            },
            Wrong::Encryption(_) if call.direct => {
                "Wise cannot open what is encrypted to the key that it hands out: try again, then \
                 ask Wise"
                    .to_owned()
            }
            Wrong::Encryption(_) => format!(
                "the encryption key {kid} is not registered, has expired or was taken out of use: {} \
                 gives it a new id",
                spell("jose register --encryption")
            ),
            Wrong::Undecryptable | Wrong::ForAnother(_) => format!(
                "jose.encryption_key is not the key that Wise has as {kid}: name the right file, or \
                 register this one with {}",
                spell("jose register --encryption")
            ),
            Wrong::Unprotected(_) | Wrong::Forged(_) | Wrong::NotJson => {
                "do not trust what comes this way: see with `jose list` whose keys Wise hands out, \
                 and tell Wise"
                    .to_owned()
            }
            Wrong::Call(CallError::Refused { status, .. })
            | Wrong::NoWiseKey(CallError::Refused { status, .. })
                if status.is_client_error() =>
            {
                "ask Wise whether JOSE is switched on for this client id".to_owned()
            }
            Wrong::Call(_) | Wrong::NoWiseKey(_) => {
                format!("{} says what is in the way", spell("doctor"))
            }
            Wrong::Library(_) => "report it".to_owned(),
            Wrong::Unconfigured("jose.encryption_kid") => {
                format!("{} writes it", spell("jose register --encryption"))
            }
            Wrong::Unconfigured(_) => return None,
        })
    }
}
