//! Grants on their way to another host: one file, sealed under a passphrase.
//!
//! Two lines of text, so that it passes through a terminal. The first is JSON and says what is in
//! the file and how it was sealed; the second is `base64(AES-256-GCM(plain) ‖ tag)`. The key is
//! `PBKDF2-HMAC-SHA256(passphrase, salt, iterations)`, 32 bytes (RFC 8018 §5.2), and the first
//! line is authenticated with the second. The plain text is one record a line.

use std::num::NonZeroU32;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::pbkdf2;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::credentials::record::{Record, Unread};
use crate::secret::Secret;

/// Why grants cannot be packed or unpacked. Nothing has been changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ParcelError {
    /// Anybody who finds the file could guess it.
    #[error(
        "the passphrase is shorter than {SHORTEST} characters; make one with: \
         head -c 24 /dev/urandom | base64"
    )]
    WeakPassphrase,
    /// Some other file.
    #[error("it is not a file of `token export`, or it was cut short; export again")]
    NotOurs,
    /// From the future.
    #[error(
        "it was written by a newer version of wise-auth-proxy (format {0}); import it with that \
         version"
    )]
    NewerVersion(u32),
    /// Which of the two, nobody can tell.
    #[error("the passphrase is wrong, or the file was changed; try again, or export again")]
    NotOpened,
    /// Without randomness nothing can be sealed.
    #[error("the system gives no random bytes, so nothing can be sealed; look at its log")]
    NoRandomness,
}

/// Seals records under a passphrase.
pub(crate) fn pack(passphrase: &Secret, records: &[Record]) -> Result<Vec<u8>, ParcelError> {
    if passphrase.expose().chars().count() < SHORTEST {
        return Err(ParcelError::WeakPassphrase);
    }
    let mut plain = Zeroizing::new(Vec::with_capacity(records.len() * 64 * 1024));
    for record in records {
        let line = record.to_plain().map_err(|_| ParcelError::NotOurs)?;
        plain.extend_from_slice(&line);
        plain.push(b'\n');
    }
    let (mut salt, mut nonce) = ([0; SALT], [0; NONCE_LEN]);
    for random in [salt.as_mut_slice(), nonce.as_mut_slice()] {
        aws_lc_rs::rand::fill(random).map_err(|_| ParcelError::NoRandomness)?;
    }
    let grants = records.iter().map(|record| record.grant.clone()).collect();
    let label = Label::new(ITERATIONS, salt, nonce, grants);
    seal(passphrase, &label, &plain)
}

/// Opens what [`pack`] made.
pub(crate) fn unpack(passphrase: &Secret, file: &[u8]) -> Result<Vec<Record>, ParcelError> {
    let text = std::str::from_utf8(file).map_err(|_| ParcelError::NotOurs)?;
    let (first, second) = text.split_once('\n').ok_or(ParcelError::NotOurs)?;
    let edition: Edition = serde_json::from_str(first).map_err(|_| ParcelError::NotOurs)?;
    if edition.format != FORMAT {
        return Err(ParcelError::NotOurs);
    }
    if edition.version > VERSION {
        return Err(ParcelError::NewerVersion(edition.version));
    }
    let label: Label = serde_json::from_str(first).map_err(|_| ParcelError::NotOurs)?;
    let (cipher, nonce) = label.cipher(passphrase)?;
    let body = STANDARD.decode(second.trim_end());
    let mut body = Zeroizing::new(body.map_err(|_| ParcelError::NotOurs)?);
    let plain = cipher
        .open_in_place(nonce, Aad::from(first.as_bytes()), body.as_mut_slice())
        .map_err(|_| ParcelError::NotOpened)?;
    let records = plain
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(Record::from_plain);
    records.collect::<Result<_, _>>().map_err(|why| match why {
        Unread::NewerVersion(version) => ParcelError::NewerVersion(version),
        Unread::Garbled => ParcelError::NotOurs,
    })
}

fn seal(passphrase: &Secret, label: &Label, plain: &[u8]) -> Result<Vec<u8>, ParcelError> {
    let first = serde_json::to_string(label).map_err(|_| ParcelError::NotOurs)?;
    let (cipher, nonce) = label.cipher(passphrase)?;
    let mut body = Zeroizing::new(plain.to_vec());
    let tag = cipher
        .seal_in_place_separate_tag(nonce, Aad::from(first.as_bytes()), body.as_mut_slice())
        .map_err(|_| ParcelError::NotOurs)?;
    let second = STANDARD.encode([body.as_slice(), tag.as_ref()].concat());
    Ok(format!("{first}\n{second}\n").into_bytes())
}

#[derive(Deserialize)]
struct Edition {
    format: String,
    version: u32,
}

/// The first line.
#[derive(Deserialize, Serialize)]
struct Label {
    format: String,
    version: u32,
    kdf: String,
    iterations: u32,
    salt: String,
    cipher: String,
    nonce: String,
    grants: Vec<String>,
}

impl Label {
    fn new(iterations: u32, salt: [u8; SALT], nonce: [u8; NONCE_LEN], grants: Vec<String>) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            kdf: KDF.into(),
            iterations,
            salt: STANDARD.encode(salt),
            cipher: CIPHER.into(),
            nonce: STANDARD.encode(nonce),
            grants,
        }
    }

    fn cipher(&self, passphrase: &Secret) -> Result<(LessSafeKey, Nonce), ParcelError> {
        // A file from elsewhere must not keep us computing for an hour.
        let usual = self.kdf == KDF && self.cipher == CIPHER && self.iterations <= MOST_ITERATIONS;
        let iterations = NonZeroU32::new(self.iterations).filter(|_| usual);
        let iterations = iterations.ok_or(ParcelError::NotOurs)?;
        let salt = STANDARD.decode(&self.salt);
        let salt = salt.map_err(|_| ParcelError::NotOurs)?;
        let nonce = STANDARD.decode(&self.nonce).ok();
        let nonce = nonce.and_then(|nonce| Nonce::try_assume_unique_for_key(&nonce).ok());
        let nonce = nonce.ok_or(ParcelError::NotOurs)?;
        let mut key = Zeroizing::new([0; 32]);
        let secret = passphrase.expose().as_bytes();
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            &salt,
            secret,
            key.as_mut_slice(),
        );
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice());
        let key = key.map_err(|_| ParcelError::NotOurs)?;
        Ok((LessSafeKey::new(key), nonce))
    }
}

const FORMAT: &str = "wise-auth-proxy grants";
const VERSION: u32 = 1;
const KDF: &str = "PBKDF2-HMAC-SHA256";
const CIPHER: &str = "AES-256-GCM";
const SALT: usize = 16;
/// What OWASP asks of PBKDF2-HMAC-SHA256.
const ITERATIONS: u32 = 600_000;
const MOST_ITERATIONS: u32 = 10_000_000;
const SHORTEST: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::record::tests::record;

    fn passphrase() -> Secret {
        Secret::new("correct horse battery staple")
    }

    fn packed() -> Vec<u8> {
        // Few iterations: a test flips hundreds of bytes.
        let plain = [1, 2].map(|generation| record(generation).to_plain().unwrap().to_vec());
        let names = vec!["main".into(), "other".into()];
        let label = Label::new(2, [1; SALT], [2; NONCE_LEN], names);
        seal(&passphrase(), &label, &plain.join(&b'\n')).unwrap()
    }

    #[test]
    fn grants_come_out_as_they_went_in_and_cannot_be_read_on_the_way() {
        let file = pack(&passphrase(), &[record(3), record(4)]).unwrap();
        for marker in ["access-3", "refresh-3", "acme", "30000000", "Ada"] {
            assert!(!String::from_utf8_lossy(&file).contains(marker), "{marker}");
        }

        let records = unpack(&passphrase(), &file).unwrap();

        let found: Vec<_> = records.iter().map(|record| record.generation).collect();
        assert_eq!(found, [3, 4]);
        assert!(records[1].refresh_token.matches(&record(4).refresh_token));
        assert!(records[1].access_token.matches(&record(4).access_token));
        assert_eq!(records[1].granted, record(4).granted);
        assert_ne!(
            pack(&passphrase(), &[record(3)]).unwrap(),
            pack(&passphrase(), &[record(3)]).unwrap(),
            "salt and nonce are fresh"
        );
    }

    #[test]
    fn a_wrong_passphrase_and_any_changed_or_missing_byte_are_refused() {
        let file = packed();
        assert_eq!(unpack(&passphrase(), &file).unwrap().len(), 2);
        let wrong = unpack(&Secret::new("correct horse battery stable"), &file);
        assert_eq!(wrong.unwrap_err(), ParcelError::NotOpened);
        let end = file.len() - 1; // the last line break is nobody's
        for place in 0..end {
            let mut changed = file.clone();
            changed[place] ^= 1;
            assert!(unpack(&passphrase(), &changed).is_err(), "byte {place}");
            assert!(
                unpack(&passphrase(), &file[..place]).is_err(),
                "{place} bytes"
            );
        }
    }

    #[test]
    fn version_1_stays_readable() {
        // Made with another implementation: Node's crypto.pbkdf2Sync and createCipheriv.
        let file = include_str!("parcel.v1");
        let records = unpack(&passphrase(), file.as_bytes()).unwrap();
        assert_eq!(records[0].grant, "main");
        assert_eq!(records[0].generation, 3);
        assert_eq!(records[0].refresh_token.expose(), "vector-refresh");
    }

    #[test]
    fn what_is_not_ours_is_told_from_what_is_too_new() {
        let of = |text: &str| unpack(&passphrase(), text.as_bytes()).unwrap_err();
        for other in [
            "",
            "\n",
            "{}\nAAAA",
            "PK\u{3}\u{4}",
            "{\"format\":\"x\",\"version\":1}\n",
        ] {
            assert_eq!(of(other), ParcelError::NotOurs, "{other:?}");
        }
        let newer =
            format!("{{\"format\":\"{FORMAT}\",\"version\":2,\"shape\":\"other\"}}\nAAAA\n");
        assert_eq!(of(&newer), ParcelError::NewerVersion(2));
        let label = Label::new(MOST_ITERATIONS + 1, [1; SALT], [2; NONCE_LEN], vec![]);
        let endless = serde_json::to_string(&label).unwrap() + "\nAAAA\n";
        assert_eq!(
            of(&endless),
            ParcelError::NotOurs,
            "not computed for minutes"
        );
    }

    #[test]
    fn a_passphrase_that_can_be_guessed_is_refused() {
        let weak = pack(&Secret::new("hunter2"), &[record(1)]);
        assert_eq!(weak.unwrap_err(), ParcelError::WeakPassphrase);
    }
}
