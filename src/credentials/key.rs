use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use aws_lc_rs::{constant_time, hkdf};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::credentials::store::{StoreError, failed};
use crate::durable;
use crate::secret::Secret;

/// The key that every record is sealed under: 32 random bytes.
pub(crate) struct SealKey(Zeroizing<[u8; LENGTH]>);

impl SealKey {
    /// A key from the configuration: 32 bytes in base64.
    pub(crate) fn given(text: &Secret) -> Result<Self, StoreError> {
        Self::parse(text.expose()).ok_or(StoreError::BadKey {
            place: "the seal key given in `store.seal_key`".into(),
        })
    }

    /// The key file of a store, made on first use.
    ///
    /// Two processes that start at once agree: the file appears whole, and who comes second reads
    /// what the first wrote. `used` tells that records are there already; a new key would not
    /// open them, so none is made.
    pub(crate) fn file(dir: &Path, used: bool) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        match Self::read(dir) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
        if used {
            return Err(StoreError::KeyMissing { path });
        }
        let fresh = Self::random()?;
        let text = Zeroizing::new(STANDARD.encode(*fresh.0) + "\n");
        match durable::create_new(&path, text.as_bytes()) {
            Ok(()) => Ok(fresh),
            Err(raced) if raced.kind() == io::ErrorKind::AlreadyExists => Self::read(dir),
            Err(error) => Err(failed(&path, error)),
        }
    }

    /// Whether a store has its key file.
    pub(super) fn is_in(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    /// Whether both are the same key.
    pub(super) fn is(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_slice(), other.0.as_slice()).is_ok()
    }

    /// The pseudo-random key for one salt (RFC 5869 §2.2).
    pub(super) fn extract(&self, salt: &[u8]) -> hkdf::Prk {
        hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(self.0.as_slice())
    }

    fn random() -> Result<Self, StoreError> {
        let mut key = Zeroizing::new([0; LENGTH]);
        aws_lc_rs::rand::fill(key.as_mut_slice()).map_err(|_| StoreError::NoRandomness)?;
        Ok(Self(key))
    }

    /// The key file of a store that has one.
    pub(super) fn read(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let mode = fs::metadata(&path)
            .map_err(|error| failed(&path, error))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            return Err(StoreError::Loose {
                path,
                mode: mode & 0o777,
                tight: 0o600,
            });
        }
        let text = Zeroizing::new(fs::read_to_string(&path).map_err(|error| failed(&path, error))?);
        Self::parse(&text).ok_or_else(|| StoreError::BadKey {
            place: path.display().to_string(),
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).ok()?);
        let mut key = Zeroizing::new([0; LENGTH]);
        if bytes.len() != LENGTH {
            return None;
        }
        key.copy_from_slice(&bytes);
        Some(Self(key))
    }
}

/// Name of the key file inside the store.
const FILE: &str = "seal.key";
const LENGTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_first_uses_at_once_agree_on_one_key() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let keys: Vec<[u8; LENGTH]> = std::thread::scope(|scope| {
                let racers: Vec<_> = (0..8)
                    .map(|_| scope.spawn(|| *SealKey::file(dir.path(), false).unwrap().0))
                    .collect();
                racers
                    .into_iter()
                    .map(|racer| racer.join().unwrap())
                    .collect()
            });
            assert!(
                keys.iter().all(|key| *key == keys[0]),
                "a record sealed under the losing key would be lost"
            );
        }
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        SealKey::file(dir.path(), false).unwrap();
        let path = dir.path().join(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();

        let refused = SealKey::file(dir.path(), false).err().unwrap();

        assert!(
            matches!(refused, StoreError::Loose { mode: 0o640, .. }),
            "{refused}"
        );
    }

    #[test]
    fn a_lost_key_is_not_replaced_while_records_wait_for_it() {
        let dir = tempfile::tempdir().unwrap();

        let refused = SealKey::file(dir.path(), true).err().unwrap();

        assert!(
            matches!(refused, StoreError::KeyMissing { .. }),
            "{refused}"
        );
        assert!(!dir.path().join(FILE).exists());
    }

    #[test]
    fn a_given_key_is_32_bytes_in_base64_and_nothing_else() {
        let good = STANDARD.encode([7; 32]);
        assert!(SealKey::given(&Secret::new(format!("{good}\n"))).is_ok());
        for bad in [
            "",
            "marker",
            &STANDARD.encode([7; 31]),
            &STANDARD.encode([7; 33]),
        ] {
            let error = SealKey::given(&Secret::new(bad)).err().unwrap().to_string();
            assert!(
                bad.is_empty() || !error.contains(bad),
                "an error must not show the key"
            );
        }
    }
}
