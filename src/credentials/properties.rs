//! What holds of every stored record: called by the fuzzers and on their kept inputs.

#![allow(clippy::expect_used, reason = "what does not hold must panic")]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::key::SealKey;
use super::record::{Record, Unread};
use super::seal::{open, seal};
use crate::secret::Secret;

/// What was sealed opens, under its own key and name and unchanged to the bit; anything else does
/// not. What opened is a record, or of a newer version, or garbled, as its JSON says; a record is
/// written again as it was read.
///
/// The input is two bytes that choose what is changed, then a plain text.
pub(crate) fn stored_record(input: &[u8]) {
    let Some((&[place, change], plain)) = input.split_first_chunk::<2>() else {
        return;
    };
    seals(plain, place, change);
    reads(plain);
    assert!(open(&KEY, "main", input).is_err(), "noise opened");
}

static KEY: LazyLock<SealKey> = LazyLock::new(|| key(1));
static OTHER: LazyLock<SealKey> = LazyLock::new(|| key(2));

fn key(byte: u8) -> SealKey {
    let text = Secret::new(STANDARD.encode([byte; 32]));
    SealKey::given(&text).expect("32 bytes")
}

fn seals(plain: &[u8], place: u8, change: u8) {
    let sealed = seal(&KEY, "main", plain).expect("there is randomness");
    let opened = open(&KEY, "main", &sealed).expect("nothing changed");
    assert_eq!(opened.as_slice(), plain);
    assert!(open(&OTHER, "main", &sealed).is_err(), "another key");
    assert!(open(&KEY, "branch", &sealed).is_err(), "another record");

    // Any place of the bytes, reached with one byte by counting from both ends.
    let at = match usize::from(place) {
        near if near < 128 => near.min(sealed.len() - 1),
        far => sealed.len().saturating_sub(256 - far),
    };
    let mut changed = sealed.clone();
    changed[at] ^= change.max(1);
    assert!(open(&KEY, "main", &changed).is_err(), "byte {at} changed");
    assert!(open(&KEY, "main", &sealed[..at]).is_err(), "cut at {at}");
    let longer = [sealed.as_slice(), &[change]].concat();
    assert!(open(&KEY, "main", &longer).is_err(), "one byte more");
}

fn reads(plain: &[u8]) {
    let json: Option<Value> = serde_json::from_slice(plain).ok();
    let version = json
        .as_ref()
        .and_then(|json| u32::try_from(json.get("version")?.as_u64()?).ok());
    match (Record::from_plain(plain), version) {
        (Ok(record), None | Some(0 | 1)) => {
            same(&record, json.as_ref());
            let written = record.to_plain().expect("it is text");
            let again = Record::from_plain(&written).expect("we wrote it");
            assert_eq!(format!("{again:?}"), format!("{record:?}"));
            assert!(again.access_token.matches(&record.access_token));
            assert!(again.refresh_token.matches(&record.refresh_token));
            assert!(!again.supersedes(&record), "it is the same");
        }
        (Err(Unread::NewerVersion(said)), None) => assert!(said > 1 && json.is_none()),
        (Err(Unread::NewerVersion(said)), Some(version)) => assert_eq!(said, version),
        (Err(Unread::Garbled), version) => {
            // A key that stands there twice is garbled, and a plain reader takes the last. White
            // space in front is none of ours.
            let text = String::from_utf8_lossy(plain);
            let twice = text.matches("version").count() > 1 || text.contains('\\');
            let known = version.is_none_or(|version| version <= 1);
            assert!(known || twice || !text.starts_with('{'));
        }
        (read, version) => panic!("version {version:?} read as {:?}", read.err()),
    }
}

/// What is not read need not be well-formed: then there is a record in no JSON at all.
fn same(record: &Record, json: Option<&Value>) {
    if let Some(json) = json {
        assert_eq!(json["access_token"], record.access_token.expose());
        assert_eq!(json["refresh_token"], record.refresh_token.expose());
        assert_eq!(json["generation"], record.generation);
        assert_eq!(json["client_id"], record.client_id.as_str());
    }
}
