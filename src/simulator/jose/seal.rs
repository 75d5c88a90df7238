//! Answers, protected as they must be, or spoilt on wish.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;

use super::Envelope;
use super::Jose;
use super::JoseFaults;
use super::MEDIA_TYPE;
use super::Recipient;
use super::Tamper;
use super::Tampering;
use super::bare_error;
use super::keys;
use crate::jose::Algorithm;
use crate::jose::EncryptingKey;
use crate::jose::JoseError;
use crate::jose::sign_under;
use crate::simulator::reply;
use crate::simulator::reply::Reply;
use crate::simulator::shared::Shared;
use crate::simulator::shared::State;

/// Protects an answer. Refusals and empty answers stay as they are.
pub(in crate::simulator) async fn close(
    shared: &Shared,
    envelope: &Envelope,
    answer: Reply,
) -> Reply {
    let (mut head, body) = answer.into_parts();
    let Ok(collected) = body.collect().await;
    let plain = collected.to_bytes();
    let mut state = shared.lock();
    let State { jose, faults, .. } = &mut *state;
    if let Some(message) = jose.protect(envelope, &plain, head.status, &mut faults.jose) {
        let Ok(message) = message else {
            return bare_error();
        };
        let media_type = HeaderValue::from_static(MEDIA_TYPE);
        head.headers.insert(CONTENT_TYPE, media_type);
        return reply::again(head, message.into());
    }
    reply::again(head, plain)
}

impl Jose {
    /// The message; `None` when the answer goes out as it is.
    fn protect(
        &mut self,
        envelope: &Envelope,
        plain: &Bytes,
        status: http::StatusCode,
        switches: &mut JoseFaults,
    ) -> Option<Result<String, JoseError>> {
        if plain.is_empty() || (!status.is_success() && !switches.errors) {
            return None;
        }
        let tamper = Tampering::take(&mut switches.tamper);
        if tamper == Some(Tamper::Plain) {
            return None;
        }
        Some(self.seal(envelope, plain, tamper))
    }

    fn seal(
        &mut self,
        envelope: &Envelope,
        plain: &[u8],
        tamper: Option<Tamper>,
    ) -> Result<String, JoseError> {
        let Some(algorithm) = envelope.signature else {
            return encrypt(envelope, plain, tamper);
        };
        let signed = self.sign(algorithm, plain, tamper)?;
        encrypt(envelope, signed.as_bytes(), None)
    }

    fn sign(
        &mut self,
        algorithm: Algorithm,
        plain: &[u8],
        tamper: Option<Tamper>,
    ) -> Result<String, JoseError> {
        let (version, key) = self.wise.signing(algorithm)?;
        let header = |alg| format!(r#"{{"version":{version},"alg":"{alg}"}}"#);
        let under = header(algorithm.name());
        let message = match tamper {
            Some(Tamper::WrongKey) => {
                let stranger = keys::new_signing(algorithm)?;
                sign_under(&stranger, under.as_bytes(), plain)?
            }
            _ => sign_under(key, under.as_bytes(), plain)?,
        };
        Ok(match tamper {
            Some(Tamper::Content) => {
                with_part(&message, 1, &URL_SAFE_NO_PAD.encode(r#"{"forged":true}"#))
            }
            Some(Tamper::Signature) => turned(&message, 2),
            Some(Tamper::NoAlgorithm) => {
                let unsigned = with_part(&message, 0, &URL_SAFE_NO_PAD.encode(header("none")));
                with_part(&unsigned, 2, "")
            }
            Some(Tamper::WrongKey | Tamper::Plain) | None => message,
        })
    }
}

/// Encrypts, if there is somebody to encrypt to.
fn encrypt(
    envelope: &Envelope,
    content: &[u8],
    tamper: Option<Tamper>,
) -> Result<String, JoseError> {
    let message = match (&envelope.recipient, tamper) {
        (None, _) => String::from_utf8_lossy(content).into_owned(),
        (Some(Recipient::Key(id, _)), Some(Tamper::WrongKey)) => {
            let (_, stranger) = keys::new_encryption()?;
            let stranger = EncryptingKey::from_der(Some(id.clone()), &stranger)?;
            stranger.encrypt(content, false)?.0
        }
        (Some(Recipient::Key(_, key)), _) => key.encrypt(content, false)?.0,
        (Some(Recipient::Direct(key)), _) => key.encrypt(content)?,
    };
    let direct = matches!(envelope.recipient, Some(Recipient::Direct(_)));
    Ok(match tamper {
        Some(Tamper::Content) => turned(&message, 3),
        Some(Tamper::Signature | Tamper::NoAlgorithm) => turned(&message, 4),
        Some(Tamper::WrongKey) if direct => turned(&message, 4),
        Some(Tamper::WrongKey | Tamper::Plain) | None => message,
    })
}

fn with_part(message: &str, at: usize, part: &str) -> String {
    let mut parts: Vec<&str> = message.split('.').collect();
    if let Some(old) = parts.get_mut(at) {
        *old = part;
    }
    parts.join(".")
}

/// The message with one bit of a part turned.
fn turned(message: &str, at: usize) -> String {
    let part = message.split('.').nth(at).unwrap_or_default();
    let mut bytes = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
    if let Some(first) = bytes.first_mut() {
        *first ^= 1;
    }
    with_part(message, at, &URL_SAFE_NO_PAD.encode(bytes))
}
