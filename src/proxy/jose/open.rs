//! Wise's answer, verified and decrypted before a byte of it is handed on.

use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, TRAILER,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::body::Body as _;
use tokio::time::Instant;

use super::keys::{self, Lack, NO_LANE, Wanted};
use super::room::Held;
use super::routes::names_jose;
use super::seal::NOT_OF_THIS_BODY;
use super::trouble::{Trouble, Unverified};
use super::{Carried, aside};
use crate::jose::{Encrypted, JoseError, Signed, VerifyingKey};
use crate::proxy::attempt::Answer;
use crate::proxy::body::{BodyError, Download};
use crate::proxy::fault::Fault;
use crate::proxy::record::Record;
use crate::proxy::reply::Given;
use crate::proxy::token::Pass;
use crate::proxy::worker::Worker;
use crate::telemetry::meter::Jose as Outcome;
use crate::wise::headers::{X_TW_JOSE_ENCRYPTION_KID, X_TW_JOSE_METHOD};

/// An answer that was signed or encrypted.
#[derive(Debug)]
pub(in crate::proxy) struct Opened {
    pub(in crate::proxy) status: StatusCode,
    pub(in crate::proxy) headers: HeaderMap,
    pub(in crate::proxy) body: Bytes,
    /// As long as the body is here.
    pub(in crate::proxy) held: Held,
}

/// Opens the answer to a request that was carried, or refuses it.
///
/// Empty answers, and errors that are not JOSE, are Wise's own words and pass as they came. Cancel
/// safe.
pub(in crate::proxy) async fn open(
    worker: &Rc<Worker>,
    pass: &Pass,
    mut carried: Carried,
    answer: Answer,
    record: &mut Record,
) -> Result<Given, Fault> {
    let (method, status) = (carried.method, answer.status());
    let count = |outcome| worker.meter.jose(method, outcome);
    if status == StatusCode::INTERNAL_SERVER_ERROR
        && let Some(wanted) = &carried.kept_key
    {
        // All that Wise says where it cannot decrypt.
        worker.wise_keys.forget_encrypting(wanted);
    }
    // Wise has the request: it will not be sent again.
    carried.held.let_go(usize::MAX);
    let is_jose = |headers: &HeaderMap| headers.get(CONTENT_TYPE).is_some_and(names_jose);
    // Whatever its status: also where there should be no body, what comes is not handed on unverified.
    if answer.response.body().is_end_stream() {
        count(Outcome::Empty);
        let mut answer = answer;
        let headers = answer.response.headers_mut();
        if is_jose(headers) {
            // To HEAD: what GET would get is not what Wise would send.
            undress(headers);
        }
        return Ok(Given::AsItCame(answer));
    }
    if !status.is_success() && !is_jose(answer.response.headers()) {
        count(Outcome::PlainError);
        return Ok(Given::AsItCame(answer));
    }
    record.trace(answer.response.headers());
    let Answer {
        mut response,
        lease,
    } = answer;
    let mut headers = std::mem::take(response.headers_mut());
    let refuse = |carried: &Carried, why| {
        count(Outcome::Refused);
        let operation = carried.operation();
        Fault::Jose(Box::new(Trouble::Unverified { operation, why }))
    };
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    if !codings.all(|coding| {
        coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"identity")
    }) {
        return Err(refuse(&carried, Unverified::Encoded));
    }

    let began = Instant::now();
    let silence = worker.view().snapshot.upstream.body_idle_timeout;
    let mut download = Download::new(response, silence);
    let read = read(
        &mut download,
        carried.jose.longest_answer(),
        &mut carried.held,
    )
    .await;
    record.upstream += began.elapsed();
    let message = match read {
        Ok(message) => message,
        Err(Unread::Broken(BodyError::WiseStalled)) => {
            if let Some(lease) = &lease {
                lease.distrust();
            }
            return Err(Fault::UpstreamTimeout);
        }
        Err(Unread::Broken(error)) => {
            tracing::debug!(%error, "an answer that is to be verified broke off");
            return Err(Fault::UpstreamBroken);
        }
        Err(Unread::Refused(why)) => return Err(refuse(&carried, why)),
    };
    if let Some(lease) = lease {
        lease.finish();
    }
    if message.is_empty() {
        count(Outcome::Empty);
        if is_jose(&headers) {
            undress(&mut headers);
        }
        return Ok(Given::Opened(Box::new(Opened {
            status,
            headers,
            body: message,
            held: carried.held,
        })));
    }
    let opened = opened(worker, pass, &carried, message, record).await;
    let body = opened.map_err(|why| refuse(&carried, why))?;
    count(Outcome::Opened);
    undress(&mut headers);
    Ok(Given::Opened(Box::new(Opened {
        status,
        headers,
        body,
        held: carried.held,
    })))
}

enum Unread {
    Broken(BodyError),
    Refused(Unverified),
}

async fn read(download: &mut Download, longest: usize, held: &mut Held) -> Result<Bytes, Unread> {
    let too_large = || Unread::Refused(Unverified::TooLarge(longest));
    if download.size_hint().lower() > longest as u64 {
        return Err(too_large());
    }
    let mut message = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| download.poll_frame(cx)).await {
        let frame = frame.map_err(Unread::Broken)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if message.len() + data.len() > longest {
            return Err(too_large());
        }
        if !held.answer(data.len()) {
            return Err(Unread::Refused(Unverified::NoRoom));
        }
        message.extend_from_slice(&data);
    }
    Ok(message.freeze())
}

/// What is inside: decrypted first, then verified, each as the route demands it and no other way.
async fn opened(
    worker: &Rc<Worker>,
    pass: &Pass,
    carried: &Carried,
    message: Bytes,
    record: &mut Record,
) -> Result<Bytes, Unverified> {
    let mut message = message;
    if carried.method.encrypts() {
        message = decrypted(carried, message).await?;
    }
    if carried.method.signs() {
        message = verified(worker, pass, carried, message, record).await?;
    }
    Ok(message)
}

/// With our key, or directly with the content key of this very request.
async fn decrypted(carried: &Carried, message: Bytes) -> Result<Bytes, Unverified> {
    let (ours, content_key) = (carried.jose.decrypting.clone(), carried.content_key.clone());
    let decrypt = move || {
        let encrypted = Encrypted::parse(&message)?;
        let payload = if encrypted.is_direct() {
            let key = content_key.ok_or(JoseError::Undecryptable)?;
            encrypted.decrypt_directly(&key)?
        } else {
            let key = ours.ok_or(JoseError::Undecryptable)?;
            encrypted.decrypt(&key)?.0
        };
        Ok(Bytes::from(payload))
    };
    aside(&carried.held, decrypt)
        .await
        .map_err(|error| match error {
            JoseError::Malformed => Unverified::NotEncrypted,
            JoseError::Unsupported(_) => Unverified::Unsupported(error),
            JoseError::Undecryptable | JoseError::WrongSignature | JoseError::WrongKey(_) => {
                Unverified::Undecryptable
            }
            JoseError::Library => Unverified::Failed,
        })
}

/// With the key of Wise's that the message names. Where that does not fit, it is fetched once more:
/// Wise may have taken another into use.
async fn verified(
    worker: &Rc<Worker>,
    pass: &Pass,
    carried: &Carried,
    message: Bytes,
    record: &mut Record,
) -> Result<Bytes, Unverified> {
    let (algorithm, version) = {
        let signed = Signed::parse(&message).map_err(unsigned)?;
        let unsupported = JoseError::Unsupported("another signature algorithm");
        let algorithm = signed.algorithm();
        (
            algorithm.ok_or(Unverified::Unsupported(unsupported))?,
            signed.version(),
        )
    };
    // Of the Wise that was asked, also where a reload has taken its lane away meanwhile.
    let wanted = Wanted::verifying(&pass.view, pass.lane, algorithm, version);
    let wanted = wanted.ok_or_else(|| Unverified::NoKey(NO_LANE.into()))?;
    let lack = |lack: Lack| Unverified::NoKey(lack.to_string());
    let known = worker.wise_keys.known_verifying(&wanted);
    let first = match known {
        Some(key) => key,
        None => waited(record, keys::fetch_verifying(worker, &wanted))
            .await
            .map_err(lack)?,
    };
    if let Some(payload) = by(&carried.held, &first, &message).await? {
        return Ok(payload);
    }
    // Another request may have fetched it meanwhile.
    let newer = worker.wise_keys.known_verifying(&wanted);
    let second = match newer.filter(|newer| !Arc::ptr_eq(newer, &first)) {
        Some(key) => key,
        None => waited(record, keys::fetch_verifying(worker, &wanted))
            .await
            .map_err(lack)?,
    };
    by(&carried.held, &second, &message)
        .await?
        .ok_or(Unverified::Forged)
}

/// The payload, if this key signed it.
async fn by(
    held: &Held,
    key: &Arc<VerifyingKey>,
    message: &Bytes,
) -> Result<Option<Bytes>, Unverified> {
    let (key, message) = (Arc::clone(key), message.clone());
    let verified = aside(held, move || Signed::parse(&message)?.verify(&key)).await;
    match verified {
        Ok(payload) => Ok(Some(payload.into())),
        Err(JoseError::WrongSignature) => Ok(None),
        Err(error) => Err(unsigned(error)),
    }
}

fn unsigned(error: JoseError) -> Unverified {
    match error {
        JoseError::Malformed => Unverified::NotSigned,
        JoseError::Unsupported(_) | JoseError::WrongKey(_) => Unverified::Unsupported(error),
        JoseError::WrongSignature | JoseError::Undecryptable => Unverified::Forged,
        JoseError::Library => Unverified::Failed,
    }
}

/// A wait for Wise, noted as one.
async fn waited<T>(record: &mut Record, wait: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let outcome = wait.await;
    record.upstream += began.elapsed();
    outcome
}

/// The fields of what is inside. What was said of the message, or of a part of it, is not true of that.
fn undress(headers: &mut HeaderMap) {
    let of_the_message = [
        CONTENT_LENGTH,
        CONTENT_ENCODING,
        CONTENT_RANGE,
        ACCEPT_RANGES,
        ETAG,
        TRAILER,
        X_TW_JOSE_METHOD,
        X_TW_JOSE_ENCRYPTION_KID,
    ];
    for name in of_the_message.iter().chain(&NOT_OF_THIS_BODY) {
        headers.remove(name);
    }
    // Whatever else of that name there is.
    let jose: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-tw-jose-"))
        .cloned()
        .collect();
    for name in jose {
        headers.remove(name);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::config::JoseMethod;
    use crate::jose::{Algorithm, ContentKey, DecryptingKey, EncryptingKey, SigningKey, sign};
    use crate::proxy::jose::{Jose, Room};
    use crate::proxy::target::target_of;

    const PLAIN: &[u8] = br#"{"a":1}"#;

    fn carried(
        method: JoseMethod,
        key: &Arc<DecryptingKey>,
        content_key: Option<ContentKey>,
    ) -> Carried {
        Carried {
            jose: Arc::new(Jose {
                decrypting: Some(Arc::clone(key)),
                ..Jose::default()
            }),
            method,
            content_key,
            kept_key: None,
            asked: (Method::POST, target_of("/v3/profiles/30000000/quotes")),
            held: Room::default().enter(1024).unwrap(),
        }
    }

    fn pair() -> (Arc<DecryptingKey>, EncryptingKey) {
        let ours = DecryptingKey::from_pkcs8(&DecryptingKey::generate().unwrap()).unwrap();
        let theirs = EncryptingKey::from_der(None, ours.public_der()).unwrap();
        (Arc::new(ours), theirs)
    }

    fn signed() -> String {
        let der = SigningKey::generate(Algorithm::Es256).unwrap();
        let key = SigningKey::from_pkcs8(Algorithm::Es256, None, &der).unwrap();
        sign(&key, "/", PLAIN).unwrap()
    }

    #[tokio::test]
    async fn an_answer_is_opened_by_the_method_of_its_route_and_no_other() {
        let (ours, theirs) = pair();
        let (encrypted, key) = theirs.encrypt(PLAIN, false).unwrap();
        let (nested, _) = theirs.encrypt(signed().as_bytes(), true).unwrap();
        let direct = key.encrypt(PLAIN).unwrap();
        let (_, another) = theirs.encrypt(PLAIN, false).unwrap();

        let jwe = carried(JoseMethod::Jwe, &ours, Some(key));
        for good in [&encrypted, &direct] {
            let opened = decrypted(&jwe, good.clone().into()).await;
            assert_eq!(opened.unwrap(), PLAIN);
        }
        for bad in [signed(), String::from_utf8_lossy(PLAIN).into_owned()] {
            let refused = decrypted(&jwe, bad.into()).await.unwrap_err();
            assert!(matches!(refused, Unverified::NotEncrypted), "{refused}");
        }
        // Under the content key of another request, or where there was none.
        for key in [Some(another), None] {
            let jwe = carried(JoseMethod::Jwe, &ours, key);
            let refused = decrypted(&jwe, direct.clone().into()).await.unwrap_err();
            assert!(matches!(refused, Unverified::Undecryptable), "{refused}");
        }
        let (stranger, _) = pair();
        let for_another = carried(JoseMethod::Jwe, &stranger, None);
        let refused = decrypted(&for_another, encrypted.clone().into()).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Unverified::Undecryptable), "{refused}");

        // Both: what is merely encrypted is not signed, what is merely signed is not encrypted.
        let both = carried(JoseMethod::JwsJwe, &ours, None);
        let inside = decrypted(&both, nested.into()).await.unwrap();
        assert!(Signed::parse(&inside).is_ok());
        let inside = decrypted(&both, encrypted.clone().into()).await.unwrap();
        let refused = unsigned(Signed::parse(&inside).unwrap_err());
        assert!(matches!(refused, Unverified::NotSigned), "{refused}");
        let refused = decrypted(&both, signed().into()).await.unwrap_err();
        assert!(matches!(refused, Unverified::NotEncrypted), "{refused}");
        // An encrypted message where a signed one must be.
        let refused = unsigned(Signed::parse(encrypted.as_bytes()).unwrap_err());
        assert!(matches!(refused, Unverified::NotSigned), "{refused}");
    }

    #[tokio::test]
    async fn a_key_that_signed_something_else_hands_out_nothing() {
        let der = SigningKey::generate(Algorithm::Es256).unwrap();
        let signing = SigningKey::from_pkcs8(Algorithm::Es256, None, &der).unwrap();
        let public = signing.public_der().unwrap();
        let key = Arc::new(VerifyingKey::from_der(Algorithm::Es256, &public).unwrap());
        let held = Room::default().enter(1024).unwrap();
        let good = Bytes::from(sign(&signing, "/", PLAIN).unwrap());
        assert_eq!(by(&held, &key, &good).await.unwrap().unwrap(), PLAIN);
        assert!(
            by(&held, &key, &Bytes::from(signed()))
                .await
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn fields_of_the_message_do_not_outlive_it() {
        let mut headers = HeaderMap::new();
        for name in [
            "content-length",
            "etag",
            "digest",
            "content-digest",
            "repr-digest",
            "content-md5",
            "x-tw-jose-method",
            "x-tw-jose-anything",
        ] {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/jose+json"),
        );
        headers.insert("x-trace-id", HeaderValue::from_static("1"));
        undress(&mut headers);
        assert_eq!(headers.len(), 2, "{headers:?}");
        assert_eq!(headers[CONTENT_TYPE], "application/json");
    }
}
