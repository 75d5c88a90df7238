//! The secret under which the tokens of stand-in doors are sealed.

use std::sync::OnceLock;

use zeroize::Zeroizing;

use crate::credentials::FileStore;
use crate::server::outfit::OutfitError;

/// The secret, made at first use and then the same until the process ends: a reload ends no token.
pub(crate) struct TokenSeal {
    /// `None`: nobody will see a token.
    store: Option<FileStore>,
    secret: OnceLock<Zeroizing<[u8; 32]>>,
}

impl std::fmt::Debug for TokenSeal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenSeal")
    }
}

impl TokenSeal {
    /// Derived from the key that seals the store's records.
    pub(crate) fn of(store: &FileStore) -> Self {
        Self {
            store: Some(store.clone()),
            secret: OnceLock::new(),
        }
    }

    /// For a look at doors that will not open.
    pub(crate) fn passing() -> Self {
        Self {
            store: None,
            secret: OnceLock::new(),
        }
    }

    /// Blocks on the store at first use. A store that cannot be read keeps no door closed: a secret
    /// of this process takes its place.
    pub(crate) fn secret(&self) -> Result<Zeroizing<[u8; 32]>, OutfitError> {
        if let Some(secret) = self.secret.get() {
            return Ok(secret.clone());
        }
        let derived = self.store.as_ref().map(|store| store.derive(PURPOSE));
        let secret = match derived {
            Some(Ok(secret)) => secret,
            unread => {
                if let Some(Err(error)) = unread {
                    tracing::warn!(
                        "door.stand_in: tokens given to applications end with this process, because \
                         the key of the store cannot be read: {error}"
                    );
                }
                let mut random = Zeroizing::new([0; 32]);
                aws_lc_rs::rand::fill(random.as_mut_slice())
                    .map_err(|_| OutfitError::Caller("the system gave no random bytes".into()))?;
                random
            }
        };
        Ok(self.secret.get_or_init(|| secret).clone())
    }
}

const PURPOSE: &[u8] = b"door stand-in";
