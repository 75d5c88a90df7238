//! Keys as callers show them, and what is kept of them.

use std::time::SystemTime;

use aws_lc_rs::{constant_time, digest as hash, rand};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use crate::config::KeyHash;
use crate::guard::{CallerId, GuardError};
use crate::secret::Secret;

/// A shorter key could be found by trying, at a door that answers as fast as this one.
pub(crate) const SHORTEST_KEY: usize = 16;

/// SHA-256 of a key.
pub(crate) fn digest(key: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(hash::digest(&hash::SHA256, key).as_ref());
    digest
}

/// A new key: `wap_` and 256 random bits in base64url.
pub(crate) fn fresh() -> Result<Secret, GuardError> {
    drawn(|bits| rand::fill(bits).map_err(|_| GuardError::NoRandomness))
}

/// Drawn again where it would be taken for a token.
fn drawn(
    mut draw: impl FnMut(&mut [u8; 32]) -> Result<(), GuardError>,
) -> Result<Secret, GuardError> {
    let mut bits = Zeroizing::new([0; 32]);
    loop {
        draw(&mut bits)?;
        let text = Zeroizing::new(format!("wap_{}", URL_SAFE_NO_PAD.encode(*bits)));
        if !is_stand_in(text.as_bytes()) {
            return Ok(Secret::new(text.as_str()));
        }
    }
}

/// Whether a key is a token of the stand-in, which no caller has for its key.
pub(crate) fn is_stand_in(key: &[u8]) -> bool {
    key.starts_with(b"wap_at_") || key.starts_with(b"wap_rt_")
}

/// Tells a key from a caller's others in a token, without a byte of its hash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct KeyId(pub(super) [u8; 8]);

impl KeyId {
    /// Of a caller that is known otherwise than by a key.
    pub(crate) const NONE: Self = Self([0; 8]);

    pub(super) fn of(hash: &KeyHash) -> Self {
        let labelled = digest(&[b"wise-auth-proxy key id".as_slice(), &hash.digest].concat());
        let mut id = [0; 8];
        id.copy_from_slice(&labelled[..8]);
        Self(id)
    }
}

/// One key of one caller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) hash: KeyHash,
    pub(super) id: KeyId,
    pub(super) of: CallerId,
}

impl Key {
    pub(super) fn new(hash: KeyHash, of: CallerId) -> Self {
        let id = KeyId::of(&hash);
        Self { hash, id, of }
    }

    pub(super) fn lives(&self, now: SystemTime) -> bool {
        self.hash.until.is_none_or(|until| now < until)
    }
}

/// A caller, and the key it was known by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    pub(crate) caller: CallerId,
    pub(crate) key: KeyId,
    /// When the key ends.
    pub(crate) until: Option<SystemTime>,
}

/// What became of a shown key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Look {
    Known(Identity),
    /// A caller's, and past its end.
    Ended,
    Unknown,
}

/// Looks a key up. Every hash is looked at, each in constant time: how long it takes says nothing
/// about the hashes.
pub(super) fn look_up(keys: &[Key], shown: &[u8], now: SystemTime) -> Look {
    let digest = digest(shown);
    let mut look = Look::Unknown;
    for key in keys {
        if constant_time::verify_slices_are_equal(&key.hash.digest, &digest).is_ok() {
            look = if key.lives(now) {
                Look::Known(Identity {
                    caller: key.of,
                    key: key.id,
                    until: key.hash.until,
                })
            } else {
                Look::Ended
            };
        }
    }
    look
}

/// Hands each key that a request shows to `take`, until that returns something.
///
/// `Proxy-Authorization` comes first: where an application sends both, `Authorization` is rather
/// meant for Wise.
pub(super) fn shown<T>(headers: &HeaderMap, mut take: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
    for name in [PROXY_AUTHORIZATION, AUTHORIZATION] {
        for value in headers.get_all(name) {
            if let Some(found) = of_field(value, &mut take) {
                return Some(found);
            }
        }
    }
    None
}

/// A bearer token, or the password of basic credentials; the user where there is no password, as
/// in `http://KEY@host`.
fn of_field<T>(value: &HeaderValue, take: &mut impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
    let value = value.as_bytes();
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = (&value[..space], value[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return take(rest);
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = Zeroizing::new(STANDARD.decode(rest).ok()?);
    let colon = pair.iter().position(|byte| *byte == b':')?;
    match (&pair[..colon], &pair[colon + 1..]) {
        (user, []) => take(user),
        (_, password) => take(password),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(field: &str, value: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.insert(
            http::HeaderName::from_bytes(field.as_bytes()).unwrap(),
            value.parse().unwrap(),
        );
        let mut seen = Vec::new();
        shown(&headers, |key| {
            seen.push(String::from_utf8_lossy(key).into_owned());
            None::<()>
        });
        seen
    }

    #[test]
    fn a_key_is_found_in_every_place_a_client_can_put_it() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (field, value) in [
            ("authorization", "Bearer the-key".to_owned()),
            ("authorization", "bearer   the-key ".to_owned()),
            ("authorization", basic("anybody:the-key")),
            ("authorization", basic(":the-key")),
            ("authorization", basic("the-key:")),
            ("proxy-authorization", basic("the-key:")),
            ("proxy-authorization", "BEARER the-key".to_owned()),
        ] {
            assert_eq!(keys(field, &value), ["the-key"], "{field}: {value}");
        }
        assert_eq!(
            keys("authorization", &basic("user:pass:word")),
            ["pass:word"]
        );
    }

    #[test]
    fn what_is_no_key_shows_none() {
        for value in [
            "the-key",
            "Digest the-key",
            "Basic ???",
            "Basic dGhlLWtleQ==", // no colon
        ] {
            assert!(keys("authorization", value).is_empty(), "{value}");
        }
    }

    #[test]
    fn no_key_of_ours_looks_like_a_token() {
        let mut draws = ["at_", "rt_", "at-"].into_iter();
        let key = drawn(|bits| {
            let text = format!("{}{}", draws.next().unwrap(), "A".repeat(40));
            bits.copy_from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap());
            Ok(())
        });
        let key = key.unwrap();
        assert!(key.expose().starts_with("wap_at-AAA"), "{}", key.expose());
    }

    #[test]
    fn a_fresh_key_has_256_bits_and_never_comes_twice() {
        let (one, other) = (fresh().unwrap(), fresh().unwrap());
        let bits = one.expose().strip_prefix("wap_").unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(bits).unwrap().len(), 32);
        assert_eq!(one.expose().len(), 4 + 43);
        assert!(!one.matches(&other));
    }
}
