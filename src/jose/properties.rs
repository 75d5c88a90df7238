//! What holds of every message: called by the fuzzers and on their kept inputs.

#![allow(clippy::expect_used, reason = "what does not hold must panic")]

use std::sync::LazyLock;

use serde_json::Value;

use super::compact;
use super::{Algorithm, DecryptingKey, Encrypted, EncryptingKey, Signed, SigningKey, VerifyingKey};
use super::{sign, sign_under};

/// What was signed verifies, and what was encrypted decrypts, under its own key and unchanged to the
/// bit; nothing else hands out anything. What is understood at all is what the standards call a
/// compact message.
///
/// The input is three bytes that choose the key and what is changed, then a message, which is also
/// signed and encrypted as if it were a payload.
pub(crate) fn jose_message(input: &[u8]) {
    let Some((&[how, place, change], text)) = input.split_first_chunk::<3>() else {
        return;
    };
    let pair = &PAIRS[usize::from(how) % PAIRS.len()];
    strange_signed(text);
    strange_encrypted(text);
    signs(pair, text, place, change);
    // An RSA key's work is slow: not for every input.
    if how >= 192 {
        encrypts(text, place, change);
    }
}

/// Made for this process alone: no input of any corpus can have been signed by it.
struct Pair {
    private: SigningKey,
    public: VerifyingKey,
}

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Es512,
    Algorithm::Ps256,
];

static PAIRS: LazyLock<[Pair; 4]> = LazyLock::new(|| {
    ALGORITHMS.map(|algorithm| {
        let der = SigningKey::generate(algorithm).expect("there is randomness");
        let private = SigningKey::from_pkcs8(algorithm, None, &der).expect("we made it");
        let public = private.public_der().expect("it has one");
        let public = VerifyingKey::from_der(algorithm, &public).expect("it is one");
        Pair { private, public }
    })
});

static RECIPIENT: LazyLock<(DecryptingKey, EncryptingKey)> = LazyLock::new(|| {
    let der = DecryptingKey::generate().expect("there is randomness");
    let private = DecryptingKey::from_pkcs8(&der).expect("we made it");
    let public = EncryptingKey::from_der(None, private.public_der()).expect("it is one");
    (private, public)
});

/// The header of a message with so many parts, all of them of the one alphabet but a payload, which
/// nobody decodes before it is verified. `None`: a member that is not read is out of the ordinary,
/// such as a number beyond all bounds.
fn header(message: &[u8], parts: usize) -> Option<Value> {
    let message = message.trim_ascii();
    let all: Vec<_> = message.split(|byte| *byte == b'.').collect();
    assert_eq!(all.len(), parts);
    let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    for (number, part) in all.iter().enumerate() {
        let payload = parts == 3 && number == 1;
        assert!(payload || part.iter().all(alphabet), "another alphabet");
    }
    let head = compact::decode(all[0]).expect("it was read");
    assert!(head.trim_ascii().starts_with(b"{"), "no object");
    let header: Value = serde_json::from_slice(&head).ok()?;
    assert!(header["alg"].is_string(), "no algorithm");
    assert!(header.get("crit").is_none_or(Value::is_null), "critical");
    Some(header)
}

fn strange_signed(text: &[u8]) {
    let Ok(signed) = Signed::parse(text) else {
        return;
    };
    if let Some(header) = header(text, 3) {
        assert_eq!(signed.url(), header["url"].as_str());
        assert_eq!(signed.kid(), header["kid"].as_str());
        assert_eq!(signed.version(), header["version"].as_u64());
    }
    for pair in PAIRS.iter() {
        assert!(signed.verify(&pair.public).is_err(), "nobody signed it");
    }
}

fn strange_encrypted(text: &[u8]) {
    let Ok(encrypted) = Encrypted::parse(text) else {
        return;
    };
    if let Some(header) = header(text, 5) {
        assert_eq!(header["enc"], "A256GCM");
        assert!(header.get("zip").is_none_or(Value::is_null), "compressed");
        assert_eq!(encrypted.is_direct(), header["alg"] == "dir");
    }
    let (key, to) = &*RECIPIENT;
    let again = Encrypted::parse(text).expect("it was read");
    assert!(encrypted.decrypt(key).is_err(), "nobody encrypted it");
    let (_, content_key) = to.encrypt(b"", false).expect("there is randomness");
    assert!(again.decrypt_directly(&content_key).is_err(), "nor so");
}

fn signs(pair: &Pair, payload: &[u8], place: u8, change: u8) {
    let message = sign(&pair.private, "/v1/transfers", payload).expect("the key is good");
    let parsed = Signed::parse(message.as_bytes()).expect("we wrote it");
    assert_eq!(parsed.url(), Some("/v1/transfers"));
    assert_eq!(
        parsed.verify(&pair.public).expect("nothing changed"),
        payload
    );
    for other in PAIRS.iter().filter(|it| !std::ptr::eq(*it, pair)) {
        assert!(parsed.verify(&other.public).is_err(), "another key");
    }
    let verify = |message: &[u8]| Signed::parse(message)?.verify(&pair.public);
    let changed = changed(message.as_bytes(), place, change);
    assert!(verify(&changed).is_err(), "something changed");
    assert!(verify(payload).is_err(), "not signed at all");

    // Another word for the algorithm is no way in, whoever signed under it.
    for alg in ["none", "None", "HS256", "RS256", "ES256K", ""] {
        let header = format!(r#"{{"alg":"{alg}"}}"#);
        let message = sign_under(&pair.private, header.as_bytes(), payload);
        let message = message.expect("the key is good");
        assert!(verify(message.as_bytes()).is_err(), "{alg}");
        let unsigned = message
            .rsplit_once('.')
            .map(|(input, _)| format!("{input}."));
        let unsigned = unsigned.expect("it has parts");
        assert!(verify(unsigned.as_bytes()).is_err(), "{alg}, unsigned");
    }
}

fn encrypts(payload: &[u8], place: u8, change: u8) {
    let (key, to) = &*RECIPIENT;
    let (message, content_key) = to.encrypt(payload, false).expect("the key is good");
    let decrypt = |message: &[u8]| Encrypted::parse(message)?.decrypt(key);
    let (opened, _) = decrypt(message.as_bytes()).expect("nothing changed");
    assert_eq!(opened, payload);
    let spoilt = changed(message.as_bytes(), place, change);
    assert!(decrypt(&spoilt).is_err(), "something changed");

    let direct = content_key.encrypt(payload).expect("the key is good");
    let open = |message: &[u8]| Encrypted::parse(message)?.decrypt_directly(&content_key);
    assert_eq!(open(direct.as_bytes()).expect("nothing changed"), payload);
    let spoilt = changed(direct.as_bytes(), place, change);
    assert!(open(&spoilt).is_err(), "something changed");
    // One kind is not taken for the other.
    assert!(open(message.as_bytes()).is_err() && decrypt(direct.as_bytes()).is_err());
}

/// The message with one byte changed, at any place: what is far is reached from the end.
fn changed(message: &[u8], place: u8, change: u8) -> Vec<u8> {
    let at = match usize::from(place) {
        near if near < 128 => near.min(message.len() - 1),
        far => message.len().saturating_sub(256 - far),
    };
    let mut changed = message.to_vec();
    changed[at] ^= change.max(1);
    changed
}
