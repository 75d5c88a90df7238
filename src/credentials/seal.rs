//! Sealed bytes: `version ‖ key id ‖ salt ‖ AES-256-GCM(plain) ‖ tag`.
//!
//! Key and nonce are fresh for every write: HKDF-SHA256 (RFC 5869) of the seal key over a random
//! salt, so there is no nonce to keep count of. The record's name is authenticated with the
//! bytes: a record copied over another one's file does not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{KeyType, Prk};
use zeroize::Zeroizing;

use crate::credentials::key::SealKey;

/// Why sealed bytes do not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unopened {
    /// Sealed by a later version of the program.
    NewerVersion(u8),
    /// Sealed under another key.
    OtherKey,
    /// Too short, changed, or of another record.
    Corrupt,
}

/// The system gave no random bytes, or a cipher refused its own parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotSealed;

/// Seals `plain` as the record `id`.
pub(super) fn seal(key: &SealKey, id: &str, plain: &[u8]) -> Result<Vec<u8>, NotSealed> {
    let mut salt = [0; SALT];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| NotSealed)?;
    let head = header(key, &salt).ok_or(NotSealed)?;
    let (cipher, nonce) = cipher(&key.extract(&salt)).ok_or(NotSealed)?;
    let mut body = Zeroizing::new(plain.to_vec());
    let tag = cipher
        .seal_in_place_separate_tag(nonce, Aad::from(bound(&head, id)), body.as_mut_slice())
        .map_err(|_| NotSealed)?;
    Ok([head.as_slice(), body.as_slice(), tag.as_ref()].concat())
}

/// Opens what [`seal`] made for the same `id`.
pub(super) fn open(key: &SealKey, id: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
    let version = *sealed.first().ok_or(Unopened::Corrupt)?;
    if version > VERSION {
        return Err(Unopened::NewerVersion(version));
    }
    let (head, body) = sealed.split_at_checked(HEAD).ok_or(Unopened::Corrupt)?;
    let salt = &head[HEAD - SALT..];
    let own = header(key, salt).ok_or(Unopened::Corrupt)?;
    if version == VERSION && own != head {
        return Err(Unopened::OtherKey);
    }
    let (cipher, nonce) = cipher(&key.extract(salt)).ok_or(Unopened::Corrupt)?;
    let mut body = Zeroizing::new(body.to_vec());
    let length = cipher
        .open_in_place(nonce, Aad::from(bound(head, id)), body.as_mut_slice())
        .map_err(|_| Unopened::Corrupt)?
        .len();
    body.truncate(length);
    Ok(body)
}

fn header(key: &SealKey, salt: &[u8]) -> Option<Vec<u8>> {
    let mut id = [0; KEY_ID];
    // A fixed salt: the same key has the same id in every record.
    expand(&key.extract(b"wise-auth-proxy"), b"key id", &mut id)?;
    Some([&[VERSION], id.as_slice(), salt].concat())
}

fn bound(head: &[u8], id: &str) -> Vec<u8> {
    [head, id.as_bytes()].concat()
}

fn cipher(prk: &Prk) -> Option<(LessSafeKey, Nonce)> {
    let mut key = Zeroizing::new([0; 32]);
    let mut nonce = [0; NONCE_LEN];
    expand(prk, b"record key", key.as_mut_slice())?;
    expand(prk, b"record nonce", &mut nonce)?;
    let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).ok()?;
    Some((LessSafeKey::new(key), Nonce::assume_unique_for_key(nonce)))
}

/// What serves another purpose than records.
pub(super) fn derive(key: &SealKey, purpose: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut derived = Zeroizing::new([0; 32]);
    let prk = key.extract(b"wise-auth-proxy derived");
    expand(&prk, purpose, derived.as_mut_slice())?;
    Some(derived)
}

fn expand(prk: &Prk, purpose: &[u8], out: &mut [u8]) -> Option<()> {
    prk.expand(&[purpose], Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .ok()
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

const VERSION: u8 = 1;
const KEY_ID: usize = 8;
const SALT: usize = 32;
const HEAD: usize = 1 + KEY_ID + SALT;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::credentials::record::Record;
    use crate::credentials::record::tests::{any_record, laid_open};
    use crate::secret::Secret;

    fn key(byte: u8) -> SealKey {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode([byte; 32]);
        SealKey::given(&Secret::new(text)).unwrap()
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_again(plain in prop::collection::vec(any::<u8>(), 0..600)) {
            let sealed = seal(&key(1), "main", &plain).unwrap();
            prop_assert_eq!(&*open(&key(1), "main", &sealed).unwrap(), &plain);
        }

        #[test]
        fn a_record_comes_out_of_its_seal_as_it_went_in_and_names_nothing_outside(written in any_record()) {
            let sealed = seal(&key(1), "main", &written.to_plain().unwrap()).unwrap();
            let read = Record::from_plain(&open(&key(1), "main", &sealed).unwrap()).unwrap();
            prop_assert_eq!(laid_open(&read), laid_open(&written));
            let text = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).any(|seen| seen == wanted);
            for secret in [&written.access_token, &written.refresh_token] {
                let secret = secret.expose().as_bytes();
                prop_assert!(secret.len() < 4 || !text(&sealed, secret), "in the clear");
            }
        }

        #[test]
        fn flipping_any_bit_of_any_byte_fails_to_open(
            plain in prop::collection::vec(any::<u8>(), 0..200),
            place in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let mut sealed = seal(&key(1), "main", &plain).unwrap();
            let place = place.index(sealed.len());
            sealed[place] ^= 1 << bit;
            prop_assert!(open(&key(1), "main", &sealed).is_err());
        }

        #[test]
        fn no_cut_and_no_noise_opens_or_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open(&key(1), "main", &noise).is_err());
            let sealed = seal(&key(1), "main", &noise).unwrap();
            for length in 0..sealed.len() {
                prop_assert!(open(&key(1), "main", &sealed[..length]).is_err());
            }
        }
    }

    #[test]
    fn another_key_another_record_and_a_newer_version_are_told_apart() {
        let mut sealed = seal(&key(1), "main", b"plain").unwrap();
        assert_eq!(
            open(&key(2), "main", &sealed).unwrap_err(),
            Unopened::OtherKey
        );
        assert_eq!(
            open(&key(1), "other", &sealed).unwrap_err(),
            Unopened::Corrupt
        );
        sealed[0] = VERSION + 1;
        assert_eq!(
            open(&key(1), "main", &sealed).unwrap_err(),
            Unopened::NewerVersion(VERSION + 1)
        );
    }

    #[test]
    fn the_same_record_never_seals_to_the_same_bytes() {
        assert_ne!(
            seal(&key(1), "main", b"plain").unwrap(),
            seal(&key(1), "main", b"plain").unwrap()
        );
    }
}
