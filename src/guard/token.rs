//! Tokens of the stand-in: what a door gives to an application that runs its own OAuth.
//!
//! A token is `wap_at_` or `wap_rt_` and base64url of a payload with its HMAC-SHA256. The key of
//! that is the door's own, derived from the key that seals the store: tokens outlive a restart, and
//! nothing is remembered of them. They never leave the machine.

use std::time::{Duration, SystemTime};

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::guard::key::KeyId;
use crate::guard::{CallerId, Callers, GuardError};
use crate::secret::Secret;

/// Which of the two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Access,
    Refresh,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Access => "wap_at_",
            Self::Refresh => "wap_rt_",
        }
    }
}

/// What a token says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ticket {
    /// Name of the caller; empty at a door that asks nobody who it is.
    pub(crate) caller: String,
    /// The key that it lives and dies with.
    pub(crate) key: KeyId,
    /// Whole seconds.
    pub(crate) ends: SystemTime,
}

impl Ticket {
    /// For a caller, or for whoever came to a door without callers.
    pub(crate) fn new(callers: &Callers, of: Option<(CallerId, KeyId)>, ends: SystemTime) -> Self {
        Self {
            caller: of.map_or_else(String::new, |(id, _)| callers.name(id).to_owned()),
            key: of.map_or(KeyId::NONE, |(_, key)| key),
            ends,
        }
    }
}

/// Makes and checks the tokens of one door.
pub(crate) struct Mint(hmac::Key);

impl std::fmt::Debug for Mint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mint")
    }
}

const VERSION: u8 = 1;
const TAG: usize = 32;
/// Version, end, key and what makes two tokens of one second differ.
const HEAD: usize = 1 + 8 + 8 + 8;

impl Mint {
    /// `secret`: of the whole proxy; `door`: the address that tells it from other doors.
    pub(crate) fn new(secret: &[u8; 32], door: &str) -> Result<Self, GuardError> {
        struct Length;
        impl KeyType for Length {
            fn len(&self) -> usize {
                32
            }
        }
        let mut key = Zeroizing::new([0; 32]);
        let info = [b"stand-in".as_slice(), door.as_bytes()];
        Salt::new(HKDF_SHA256, b"wise-auth-proxy")
            .extract(secret)
            .expand(&info, Length)
            .and_then(|okm| okm.fill(key.as_mut_slice()))
            .map_err(|_| GuardError::NoRandomness)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_slice())))
    }

    pub(crate) fn make(&self, kind: Kind, ticket: &Ticket) -> Result<Secret, GuardError> {
        let mut nonce = [0; 8];
        rand::fill(&mut nonce).map_err(|_| GuardError::NoRandomness)?;
        let ends = ticket.ends.duration_since(SystemTime::UNIX_EPOCH);
        let ends = ends.unwrap_or_default().as_secs().to_be_bytes();
        let mut bytes = [
            [VERSION].as_slice(),
            &ends,
            &ticket.key.0,
            &nonce,
            ticket.caller.as_bytes(),
        ]
        .concat();
        let tag = self.tag(kind, &bytes);
        bytes.extend_from_slice(tag.as_ref());
        let text = URL_SAFE_NO_PAD.encode(bytes);
        Ok(Secret::new(format!("{}{text}", kind.prefix())))
    }

    /// What a token says, if it is one of this door's and has not ended.
    pub(crate) fn check(&self, kind: Kind, token: &[u8], now: SystemTime) -> Option<Ticket> {
        let text = token.strip_prefix(kind.prefix().as_bytes())?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (payload, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
        // Constant time.
        hmac::verify(&self.0, &labelled(kind, payload), tag).ok()?;
        let (head, caller) = payload.split_at_checked(HEAD)?;
        let (&version, head) = head.split_first()?;
        let (ends, head) = head.split_first_chunk::<8>()?;
        let (key, _nonce) = head.split_first_chunk::<8>()?;
        let ends = Duration::from_secs(u64::from_be_bytes(*ends));
        let ends = SystemTime::UNIX_EPOCH.checked_add(ends)?;
        (version == VERSION && now < ends).then_some(Ticket {
            caller: String::from_utf8(caller.to_vec()).ok()?,
            key: KeyId(*key),
            ends,
        })
    }

    fn tag(&self, kind: Kind, payload: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, &labelled(kind, payload))
    }
}

/// One kind is never taken for the other.
fn labelled(kind: Kind, payload: &[u8]) -> Vec<u8> {
    [kind.prefix().as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mint(byte: u8, door: &str) -> Mint {
        Mint::new(&[byte; 32], door).unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn ticket() -> Ticket {
        Ticket {
            caller: "payroll".to_owned(),
            key: KeyId([7; 8]),
            ends: at(1000),
        }
    }

    #[test]
    fn a_token_says_what_it_was_made_with_until_its_end() {
        let mint = mint(1, "127.0.0.1:8080");
        let token = mint.make(Kind::Access, &ticket()).unwrap();
        let check = |now| mint.check(Kind::Access, token.expose().as_bytes(), now);
        assert_eq!(check(at(999)), Some(ticket()));
        assert_eq!(check(at(1000)), None);
        let again = mint.make(Kind::Access, &ticket()).unwrap();
        assert!(!again.matches(&token), "two tokens of one second differ");
    }

    #[test]
    fn a_token_is_good_for_its_kind_door_and_proxy_alone() {
        let own = mint(1, "127.0.0.1:8080");
        let token = own.make(Kind::Refresh, &ticket()).unwrap();
        let text = token.expose();
        let good = |mint: &Mint, text: &str| {
            let kind = Kind::Access;
            mint.check(kind, text.as_bytes(), at(0)).is_some()
        };
        assert!(own.check(Kind::Refresh, text.as_bytes(), at(0)).is_some());
        assert!(!good(&own, text));
        assert!(!good(&own, &text.replace("wap_rt_", "wap_at_")));
        for other in [mint(2, "127.0.0.1:8080"), mint(1, "127.0.0.1:8081")] {
            assert!(other.check(Kind::Refresh, text.as_bytes(), at(0)).is_none());
        }
    }

    proptest! {
        #[test]
        fn no_changed_byte_and_no_noise_is_a_token(
            place in any::<prop::sample::Index>(),
            to in any::<u8>(),
            noise in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mint = mint(1, "door");
            let token = mint.make(Kind::Access, &ticket()).unwrap();
            let mut bytes = token.expose().as_bytes().to_vec();
            let place = place.index(bytes.len());
            prop_assume!(bytes[place] != to);
            bytes[place] = to;
            prop_assert!(mint.check(Kind::Access, &bytes, at(0)).is_none());
            prop_assert!(mint.check(Kind::Access, &noise, at(0)).is_none());
            let noise = [b"wap_at_".as_slice(), URL_SAFE_NO_PAD.encode(&noise).as_bytes()].concat();
            prop_assert!(mint.check(Kind::Access, &noise, at(0)).is_none());
        }
    }
}
