//! A plain request, signed, encrypted, or both.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, IF_RANGE,
    RANGE, TRAILER,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Body as _;
use tokio::time::Instant;

use super::keys::{self, NO_LANE, Wanted};
use super::room::Held;
use super::trouble::{Trouble, Unsealed};
use super::{Carried, aside};
use crate::config::JoseMethod;
use crate::jose::{Algorithm, ContentKey, EncryptingKey, JoseError, SigningKey, sign};
use crate::proxy::attempt::Outgoing;
use crate::proxy::body::Source;
use crate::proxy::fault::Fault;
use crate::proxy::record::Record;
use crate::proxy::token::Pass;
use crate::proxy::worker::{View, Worker};
use crate::wise::Lane;
use crate::wise::headers::{X_TW_JOSE_ENCRYPTION_KID, X_TW_JOSE_METHOD};
use crate::wise::jose::MEDIA_TYPE;

/// Fields that are true of the body as the application sent it, or ask for a part of an answer, which
/// could not be verified.
pub(super) const NOT_OF_THIS_BODY: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
];

/// Seals a request: from here on it is what Wise will see, however often it is sent.
///
/// Cancel safe: nothing has left.
pub(in crate::proxy) async fn seal(
    worker: &Rc<Worker>,
    pass: &Pass,
    method: JoseMethod,
    outgoing: &mut Outgoing<'_>,
    record: &mut Record,
) -> Result<Carried, Fault> {
    record.jose = Some(method);
    let (view, lane) = (&pass.view, pass.lane);
    let jose = Arc::clone(&view.snapshot.jose);
    let trouble = |trouble| Fault::Jose(Box::new(trouble));
    if !is_plain(&outgoing.head.headers) {
        return Err(trouble(Trouble::Encoded));
    }
    let held = worker.room.enter(jose.longest_answer());
    let held = held.ok_or_else(|| trouble(Trouble::NoRoom))?;
    let mut carried = Carried {
        method,
        content_key: None,
        kept_key: None,
        asked: (outgoing.head.method.clone(), outgoing.target.clone()),
        held,
        jose,
    };
    let source = outgoing.source.take();
    let (max_body, stall) = (carried.jose.max_body, view.snapshot.upstream.answer_timeout);
    // What is known to be too long, or cannot be sealed, need not be sent to us first.
    let announced = source.as_ref().map_or(0, |source| source.announced());
    if announced > max_body as u64 {
        return Err(trouble(Trouble::TooLarge(max_body)));
    }
    if let Some(ours) = carried.jose.signing.as_ref().filter(|_| method.signs()) {
        let algorithm = ours.algorithm();
        let able = able_to_verify(worker, view, lane, algorithm, record).await;
        able.map_err(|why| trouble(Trouble::Unsealed(Unsealed::NoKey(why))))?;
    }
    if let Some(source) = source {
        let mut encrypting = None;
        if method.encrypts() {
            let lack = |lack| trouble(Trouble::Unsealed(Unsealed::NoKey(lack)));
            let wanted = Wanted::encrypting(view, lane);
            let wanted = wanted.ok_or_else(|| lack(NO_LANE.into()))?;
            if let Some(key) = worker.wise_keys.known_encrypting(&wanted) {
                carried.kept_key = Some(wanted);
                encrypting = Some(key);
            } else {
                let began = Instant::now();
                let fetched = keys::fetch_encrypting(worker, &wanted).await;
                record.upstream += began.elapsed();
                encrypting = Some(fetched.map_err(|why| lack(why.to_string()))?);
            }
        }
        let began = Instant::now();
        let plain = whole(&source, max_body, stall, &mut carried.held).await;
        record.application += began.elapsed();
        let plain = plain?;
        if plain.is_empty() {
            outgoing.head.headers.remove(EXPECT);
        } else {
            let length = plain.len();
            let work = Work {
                signing: carried.jose.signing.clone().filter(|_| method.signs()),
                encrypting,
                method,
                url: outgoing.target.path().to_owned(),
                plain,
            };
            let failed = |error| trouble(Trouble::Unsealed(Unsealed::Failed(error)));
            let (sealed, content_key) = aside(&carried.held, move || work.done())
                .await
                .map_err(failed)?;
            carried.held.let_go(length);
            if !carried.held.request(sealed.len()) {
                return Err(trouble(Trouble::NoRoom));
            }
            carried.content_key = content_key;
            dress(&mut outgoing.head.headers, method, sealed.len());
            outgoing.source = Some(Source::of_bytes(sealed));
        }
    }
    address(&mut outgoing.head.headers, &carried);
    Ok(carried)
}

/// Sees to it that what Wise signs can be verified, before anything is asked of it: an answer that
/// cannot be may be one to a payment that was carried out.
///
/// Which key it will take, the answer alone says. Usually it is of the algorithm that we sign with; and
/// where one can be had, another can be.
async fn able_to_verify(
    worker: &Rc<Worker>,
    view: &View,
    lane: Lane,
    algorithm: Algorithm,
    record: &mut Record,
) -> Result<(), String> {
    let wanted = Wanted::verifying(view, lane, algorithm, None);
    let wanted = wanted.ok_or(NO_LANE)?;
    if worker.wise_keys.can_verify(&wanted) {
        return Ok(());
    }
    let began = Instant::now();
    let fetched = keys::fetch_verifying(worker, &wanted).await;
    record.upstream += began.elapsed();
    fetched.map(drop).map_err(|why| why.to_string())
}

/// Whether a body is as the application wrote it.
fn is_plain(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    codings.all(|coding| {
        coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"identity")
    })
}

/// All of the application's body. What it is too slow for, too long for by a policy, or breaks off in
/// is told as where bodies stream.
async fn whole(
    source: &Rc<Source>,
    max_body: usize,
    stall: Duration,
    held: &mut Held,
) -> Result<Bytes, Fault> {
    const BROKEN: Fault = Fault::BadRequest("the request's body is malformed or broke off");
    let mut upload = source.upload(None).ok_or(BROKEN)?;
    // One piece, as it usually is, is not copied.
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    let mut length = 0;
    loop {
        let next = std::future::poll_fn(|cx| std::pin::Pin::new(&mut upload).poll_frame(cx));
        let next = tokio::time::timeout(stall, next).await;
        let frame = match next.map_err(|_elapsed| Fault::RequestTimeout)? {
            None => break,
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                return Err(source
                    .refusal()
                    .map_or(BROKEN, |refusal| Fault::Refused(Box::new(refusal))));
            }
        };
        // Nothing can stand behind a body that is signed; who sends it may lose it (RFC 9110 §6.5.1).
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length += data.len();
        if length > max_body {
            return Err(Fault::Jose(Box::new(Trouble::TooLarge(max_body))));
        }
        if !held.request(data.len()) {
            return Err(Fault::Jose(Box::new(Trouble::NoRoom)));
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    // It is kept here, and not for another try.
    source.forget();
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// What takes milliseconds.
pub(super) struct Work {
    pub(super) method: JoseMethod,
    pub(super) signing: Option<Arc<SigningKey>>,
    pub(super) encrypting: Option<Arc<EncryptingKey>>,
    /// The path, byte for byte as it leaves.
    pub(super) url: String,
    pub(super) plain: Bytes,
}

impl Work {
    /// The message, and the key that its content is encrypted under.
    pub(super) fn done(self) -> Result<(Bytes, Option<ContentKey>), JoseError> {
        let mut body = self.plain;
        if self.method.signs() {
            let missing = JoseError::WrongKey("signing");
            let key = self.signing.ok_or(missing)?;
            body = sign(&key, &self.url, &body)?.into();
        }
        let mut content_key = None;
        if self.method.encrypts() {
            let missing = JoseError::WrongKey("encryption");
            let key = self.encrypting.ok_or(missing)?;
            let (message, key) = key.encrypt(&body, self.method.signs())?;
            (body, content_key) = (message.into(), Some(key));
        }
        Ok((body, content_key))
    }
}

/// The fields of the message itself.
fn dress(headers: &mut HeaderMap, method: JoseMethod, length: usize) {
    // The body is whole: there is nothing to wait for, and nothing behind it.
    for name in NOT_OF_THIS_BODY.iter().chain(&[EXPECT, TRAILER]) {
        headers.remove(name);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if method.encrypts() {
        // Operations on PINs and devices demand that it is said (Wise, "SCA and 2FA").
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("identity"));
    }
}

/// The fields that every JOSE request has, with a body or without.
fn address(headers: &mut HeaderMap, carried: &Carried) {
    headers.remove(RANGE);
    headers.remove(IF_RANGE);
    headers.insert(ACCEPT, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let method = HeaderValue::from_static(carried.method.name());
    headers.insert(X_TW_JOSE_METHOD, method);
    // Wise asks for it where it could not know otherwise. It is said wherever an answer is encrypted:
    // of two registered keys the newer need not be the one that is in use here.
    if carried.method.encrypts()
        && let Some(kid) = &carried.jose.encryption_kid
    {
        headers.insert(X_TW_JOSE_ENCRYPTION_KID, kid.clone());
    }
}
