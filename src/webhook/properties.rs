//! What holds of every delivery: called by the fuzzers and on their kept inputs.

#![allow(clippy::expect_used, reason = "what does not hold must panic")]

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::door::fields;
use super::fault::Fault;
use super::signature::{Keys, Signature};
use crate::config::Environment;

/// The one delivery whose signature by Wise's sandbox key is public.
const PUBLISHED: &[u8] = include_bytes!("../simulator/tests/vectors/webhook-body.json");
const ITS_SIGNATURE: &str = include_str!("../simulator/tests/vectors/webhook-signature.txt");

static KEYS: LazyLock<Keys> =
    LazyLock::new(|| Keys::load(None, Environment::Sandbox).expect("a built-in key"));

/// A delivery is taken only with one id, which is one word, and one signature, which is base64 to the
/// letter and fits the body to the bit. Nobody here has the private key: what is believed is what Wise
/// has published.
///
/// The input is lines of fields, an empty line, and a body.
pub(crate) fn webhook_signature(input: &[u8]) {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[][..]),
    };
    let headers = headers(head);
    let values = |name: &str| headers.get_all(name).iter().collect::<Vec<_>>();
    let (ids, signatures) = (values("x-delivery-id"), values("x-signature-sha256"));
    let is_id = |id: &HeaderValue| {
        let id = id.as_bytes();
        (1..=128).contains(&id.len()) && id.iter().all(|byte| (b'!'..=b'~').contains(byte))
    };
    let found = match fields(&headers) {
        Ok(found) => found,
        Err(Fault::NoDeliveryId) => {
            assert!(ids.len() != 1 || !is_id(ids[0]), "{ids:?}");
            return;
        }
        Err(Fault::NoSignature) => {
            let is_text = signatures.len() == 1 && signatures[0].to_str().is_ok();
            assert!(!is_text, "{signatures:?}");
            return;
        }
        Err(Fault::BadSignature) => {
            assert!(signatures[0].len() > 1024, "{signatures:?}");
            return;
        }
        Err(other) => panic!("{other:?} is not said of fields"),
    };
    assert!(ids.len() == 1 && is_id(ids[0]) && ids[0] == found.id.as_str());
    assert!(signatures.len() == 1 && signatures[0] == found.signature.as_str());
    let Ok(signature) = Signature::parse(found.signature.as_bytes()) else {
        return;
    };
    if KEYS.vouch(body, &signature) {
        assert!(body == PUBLISHED, "another body under Wise's signature");
        let published = ITS_SIGNATURE.trim();
        assert!(
            found.signature == published,
            "a second spelling of one signature"
        );
    }
}

fn headers(head: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let (name, value) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}
