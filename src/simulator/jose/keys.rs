//! The keys of both sides: Wise's own, made when they are first asked for, and the partner's, as
//! registered.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::jose::Algorithm;
use crate::jose::DecryptingKey;
use crate::jose::EncryptingKey;
use crate::jose::JoseError;
use crate::jose::SigningKey;
use crate::jose::VerifyingKey;
use crate::simulator::errors;
use crate::simulator::pki;
use crate::simulator::reply::Refusable;
use crate::simulator::reply::Reply;
use crate::simulator::reply::json_reply;
use crate::simulator::times;

pub(super) const SIGNING: &str = "PAYLOAD_SIGNING";
pub(super) const ENCRYPTION: &str = "PAYLOAD_ENCRYPTION";
/// With underscores here, with hyphens in the header of a message.
pub(super) const RSA_OAEP_256: &str = "RSA_OAEP_256";

/// Wise's own keys: each version stays readable.
#[derive(Default)]
pub(super) struct WiseKeys {
    signing: BTreeMap<&'static str, Vec<SigningKey>>,
    encryption: Vec<(DecryptingKey, Vec<u8>)>,
}

impl WiseKeys {
    /// The newest key of an algorithm, with its version.
    pub(super) fn signing(
        &mut self,
        algorithm: Algorithm,
    ) -> Result<(usize, &SigningKey), JoseError> {
        let versions = self.signing.entry(algorithm.name()).or_default();
        if versions.is_empty() {
            versions.push(new_signing(algorithm)?);
        }
        let version = versions.len();
        let key = versions.last().ok_or(JoseError::Library)?;
        Ok((version, key))
    }

    /// Every key that bodies may be encrypted to, newest first.
    pub(super) fn decrypting(&self, earlier: bool) -> impl Iterator<Item = &DecryptingKey> {
        let most = if earlier { usize::MAX } else { 1 };
        self.encryption.iter().rev().take(most).map(|(key, _)| key)
    }

    /// Takes a new version into use; returns its number.
    pub(super) fn rotate(&mut self, algorithm: &str) -> Result<Option<usize>, JoseError> {
        if algorithm == RSA_OAEP_256 {
            self.encryption_key()?;
            self.encryption.push(new_encryption()?);
            return Ok(Some(self.encryption.len()));
        }
        let Some(algorithm) = Algorithm::named(algorithm) else {
            return Ok(None);
        };
        self.signing(algorithm)?;
        let versions = self.signing.entry(algorithm.name()).or_default();
        versions.push(new_signing(algorithm)?);
        Ok(Some(versions.len()))
    }

    /// How many versions each algorithm has.
    pub(super) fn versions(&self) -> Value {
        let mut versions: BTreeMap<&str, usize> = self
            .signing
            .iter()
            .map(|(name, versions)| (*name, versions.len()))
            .collect();
        if !self.encryption.is_empty() {
            versions.insert(RSA_OAEP_256, self.encryption.len());
        }
        json!(versions)
    }

    fn encryption_key(&mut self) -> Result<(), JoseError> {
        if self.encryption.is_empty() {
            self.encryption.push(new_encryption()?);
        }
        Ok(())
    }

    /// `GET /v1/auth/jose/response/public-keys`.
    pub(super) fn publish(
        &mut self,
        algorithm: Option<&str>,
        scope: Option<&str>,
        version: Option<&str>,
    ) -> Refusable<Reply> {
        let bad = |path, message| {
            let status = StatusCode::BAD_REQUEST;
            Box::new(errors::field(status, "NOT_VALID", path, message))
        };
        let algorithm = algorithm.ok_or_else(|| bad("algorithm", "algorithm is needed"))?;
        let (count, mut keys): (usize, Vec<Vec<u8>>) = match scope {
            Some(SIGNING) => {
                let unknown = || bad("algorithm", "Not an algorithm of this scope");
                let algorithm = Algorithm::named(algorithm).ok_or_else(unknown)?;
                self.signing(algorithm)?;
                let versions = &self.signing[algorithm.name()];
                let keys: Result<_, _> = versions.iter().map(SigningKey::public_der).collect();
                (versions.len(), keys?)
            }
            Some(ENCRYPTION) if algorithm == RSA_OAEP_256 => {
                self.encryption_key()?;
                let keys = self.encryption.iter().map(|(_, public)| public.clone());
                (self.encryption.len(), keys.collect())
            }
            Some(ENCRYPTION) => return Err(bad("algorithm", "Not an algorithm of this scope")),
            _ => {
                return Err(bad(
                    "scope",
                    "PAYLOAD_SIGNING or PAYLOAD_ENCRYPTION is needed",
                ));
            }
        };
        let version = match version.map(str::parse::<usize>) {
            None => count,
            Some(Ok(version)) if (1..=count).contains(&version) => version,
            Some(_) => return Err(bad("version", "No such version")),
        };
        let key = STANDARD.encode(keys.swap_remove(version - 1));
        Ok(json_reply(
            StatusCode::OK,
            &json!({
                "version": version,
                "keyMaterial": {"algorithm": algorithm, "keyMaterial": key},
                "scope": scope,
            }),
        ))
    }
}

/// A failure of the library, in the words of a service that fails.
impl From<JoseError> for Box<Reply> {
    fn from(_: JoseError) -> Self {
        Self::new(errors::system_error())
    }
}

pub(super) fn new_signing(algorithm: Algorithm) -> Result<SigningKey, JoseError> {
    let der = match algorithm {
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512 => SigningKey::generate(algorithm)?,
        Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 => {
            Zeroizing::new(pki::rsa_2048()?.0)
        }
    };
    SigningKey::from_pkcs8(algorithm, None, &der)
}

pub(super) fn new_encryption() -> Result<(DecryptingKey, Vec<u8>), JoseError> {
    let (private, public) = pki::rsa_2048()?;
    Ok((DecryptingKey::from_pkcs8(&private)?, public))
}

/// A public key that the partner registered.
struct Registered {
    material: Material,
    from: SystemTime,
    till: SystemTime,
    deactivated: Option<SystemTime>,
    json: Value,
}

enum Material {
    Signing(Box<VerifyingKey>),
    /// Kept as it came: each use makes a key with its id.
    Encryption(Vec<u8>),
}

impl Registered {
    fn is_good(&self, now: SystemTime) -> bool {
        self.from <= now && now < self.till && self.deactivated.is_none()
    }
}

/// The partner's keys, several at a time.
#[derive(Default)]
pub(super) struct ClientKeys {
    all: BTreeMap<String, Registered>,
    /// Ids in order of registration.
    order: Vec<String>,
}

impl ClientKeys {
    /// `POST /v1/auth/jose/request/public-keys`.
    pub(super) fn register(&mut self, body: &Value) -> Refusable<Reply> {
        let bad = |path, message| {
            let status = StatusCode::BAD_REQUEST;
            Box::new(errors::field(status, "NOT_VALID", path, message))
        };
        let id = body["keyId"].as_str().unwrap_or_default();
        if id.len() != 36 || Uuid::try_parse(id).is_err() {
            return Err(bad("keyId", "A UUID is needed"));
        }
        let time = |name: &'static str| {
            let text = body[name].as_str().unwrap_or_default();
            times::read_spaced(text).ok_or_else(|| bad(name, "yyyy-MM-dd HH:mm:ss is needed"))
        };
        let (from, till) = (time("validFrom")?, time("validTill")?);
        if till <= from {
            return Err(bad("validTill", "must be after validFrom"));
        }
        let named = &body["publicKeyMaterial"];
        let algorithm = named["algorithm"].as_str().unwrap_or_default();
        let der = STANDARD.decode(named["keyMaterial"].as_str().unwrap_or_default());
        let unreadable = || {
            let path = "publicKeyMaterial.keyMaterial";
            bad(path, "Not a public key of the algorithm")
        };
        let der = der.map_err(|_| unreadable())?;
        let unknown = || {
            bad(
                "publicKeyMaterial.algorithm",
                "Not an algorithm of the scope",
            )
        };
        let material = match body["scope"].as_str() {
            Some(SIGNING) => {
                let algorithm = Algorithm::named(algorithm).ok_or_else(unknown)?;
                let key = VerifyingKey::from_der(algorithm, &der).map_err(|_| unreadable())?;
                Material::Signing(Box::new(key))
            }
            Some(ENCRYPTION) if algorithm == RSA_OAEP_256 => {
                EncryptingKey::from_der(None, &der).map_err(|_| unreadable())?;
                Material::Encryption(der)
            }
            Some(ENCRYPTION) => return Err(unknown()),
            _ => {
                return Err(bad(
                    "scope",
                    "PAYLOAD_SIGNING or PAYLOAD_ENCRYPTION is needed",
                ));
            }
        };
        if self.all.contains_key(id) {
            let status = StatusCode::CONFLICT;
            let message = "A key with this id is there already";
            return Err(Box::new(errors::field(
                status,
                "DUPLICATE",
                "keyId",
                message,
            )));
        }
        let json = json!({
            "keyId": id,
            "clientId": null,
            "scope": body["scope"],
            "validFrom": body["validFrom"],
            "validTill": body["validTill"],
            "deactivationTimestamp": null,
            "publicKeyMaterial": {
                "algorithm": algorithm,
                "keyMaterial": named["keyMaterial"],
            },
        });
        let reply = json_reply(StatusCode::CREATED, &json);
        let key = Registered {
            material,
            from,
            till,
            deactivated: None,
            json,
        };
        self.all.insert(id.to_owned(), key);
        self.order.push(id.to_owned());
        Ok(reply)
    }

    /// The keys that may have signed: the one named, or all that are good now.
    pub(super) fn verifying(
        &self,
        kid: Option<&str>,
        now: SystemTime,
    ) -> impl Iterator<Item = &VerifyingKey> {
        self.all
            .iter()
            .filter(move |(id, key)| kid.is_none_or(|kid| kid == *id) && key.is_good(now))
            .filter_map(|(_, key)| match &key.material {
                Material::Signing(key) => Some(key.as_ref()),
                Material::Encryption(_) => None,
            })
    }

    /// The key that an answer is encrypted to: the one named, or the newest that is good.
    pub(super) fn encrypting(
        &self,
        kid: Option<&str>,
        now: SystemTime,
    ) -> Option<(String, EncryptingKey)> {
        self.order
            .iter()
            .rev()
            .filter(|id| kid.is_none_or(|kid| kid == *id))
            .find_map(|id| match self.all.get(id) {
                Some(key) if key.is_good(now) => match &key.material {
                    Material::Encryption(der) => {
                        let key = EncryptingKey::from_der(Some(id.clone()), der).ok()?;
                        Some((id.clone(), key))
                    }
                    Material::Signing(_) => None,
                },
                _ => None,
            })
    }

    pub(super) fn list(&self) -> Vec<Value> {
        self.order
            .iter()
            .filter_map(|id| self.all.get(id))
            .map(|key| key.json.clone())
            .collect()
    }

    /// Takes a key out of use; `false` when there is none with this id.
    pub(super) fn deactivate(&mut self, id: &str, now: SystemTime) -> bool {
        let Some(key) = self.all.get_mut(id) else {
            return false;
        };
        key.deactivated = Some(now);
        key.json["deactivationTimestamp"] = times::spaced(now).into();
        true
    }
}
