//! The old way of strong authentication: public keys that the account holder uploaded, and
//! signatures over one-time tokens.

use aws_lc_rs::signature::ParsedPublicKey;
use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

const MOST: usize = 5;

/// Why a public key was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRefused {
    /// Not a public key in PEM, or not RSA of 2048 bits or more.
    #[error(
        "not an RSA public key of at least 2048 bits in PEM; it begins with -----BEGIN PUBLIC KEY-----"
    )]
    NotAKey,
    /// Five keys are there.
    #[error("five public keys are there already; delete one you no longer use")]
    TooMany,
    /// Another key has the name.
    #[error("the name is taken by another public key; choose another, or delete that one")]
    NameTaken,
}

/// "Manage public keys" of the account.
#[derive(Default)]
pub(in crate::simulator) struct Keys {
    all: Vec<(String, ParsedPublicKey)>,
}

impl Keys {
    pub(in crate::simulator) fn add(&mut self, name: &str, pem: &str) -> Result<(), KeyRefused> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| KeyRefused::NotAKey)?;
        let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der.as_ref())
            .map_err(|_| KeyRefused::NotAKey)?;
        if self.all.iter().any(|(known, _)| known == name) {
            return Err(KeyRefused::NameTaken);
        }
        if self.all.len() >= MOST {
            return Err(KeyRefused::TooMany);
        }
        self.all.push((name.to_owned(), key));
        Ok(())
    }

    /// `false` when there is none of this name.
    pub(in crate::simulator) fn delete(&mut self, name: &str) -> bool {
        let before = self.all.len();
        self.all.retain(|(known, _)| known != name);
        self.all.len() < before
    }

    pub(in crate::simulator) fn names(&self) -> Vec<&str> {
        self.all.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Whether one of them signed the token: RSASSA-PKCS1-v1_5 with SHA-256 over its characters, as
    /// base64 with padding.
    pub(super) fn signed(&self, token: &str, signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else {
            return false;
        };
        self.all
            .iter()
            .any(|(_, key)| key.verify_sig(token.as_bytes(), &signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The public half of the key in the unit test of github.com/transferwise/digital-signatures.
    const KEY: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA3I1g8u8307u54gh0PVTu
dKujVFo90500qeJcnxEycWpaPUvll1HbvDJiZhkq0zKq6HN560z5r2L1baJOpiUc
dKx/Vg3BR7cyCU52a4ezuSY7VmV6KL56lNK4ieUBF6ABSW2Ivpl7fhHHi6xSMpPI
zyzTMDZupCQrsmePqYev2VVx7AjskrHK3hT/+0X3AE1NZpaW2VuxHst3ApNHq0ld
6oa0Z6q2Bo697X2OYPwbrm9srN+0S/xwRzbqBxT851MVd2/x4GqzIRIZ1Thetqht
ghdXsaPONoWnCzYSgCAXvuXvfbdaNAPyNvABViTghyU843aR8Uvw2ItCIOlp3mLN
8QIDAQAB
-----END PUBLIC KEY-----";
    /// The token and signature of that test.
    const TOKEN: &str = "65a31b86-aa2e-47fd-a7a4-3710437ba270";
    const SIGNATURE: &str = "1JnHvXd24R99jZFl5KzJer1iMFGIdrGRmu09h7QkGzo5kgk3cLHdDesitNjK131lmpgAEwnI99jtyfJfiMjFZV4VqSAmr68W12r3Jc4ACE17WNa7hGgLC7Gw+m70x9UX5dgv6ws02VlIe9i44iGJ6fN57Piy5LBitxWkAjEEMNjmqO6GdnBlxNuSc9m+eImG91nqXa6BLNFFAPD3FzaEbqW8Ob/l8ayd9xXosTNMz0ywsV/l/zthra/7olAvRLqCrMtzI9ltC7kd40xWNesehLxfQIIoAUiDF9iRCzBavXR6O7jUf56QES6ScjQ43a62V0JIdbUDSdRJPr+zesPQug==";
    /// Its signature in an older revision of that test, with SHA-1.
    const OUTDATED: &str = "oMbriRqpykbUnoL2sIX5xCO/yhrpZFd4TDu2lWdbcHkfxoYHQIvjdm/Px9SBgO5Lc58qjPkmeJA4z8B8spOVaxLRienkzvqrT0I11OFH7jJkoMu2g8bxPe7hmnRDdTB8cLZyFYGmlYjsr3vxemTUWSYYXdrys5Dh3LuOzWZmuYQ3bOwsBPm2sl7K39QM2KqXWckyqg9xpguWIGWzO86aKc/OboWqompVYKztLtdzMwAT5WQ5tPH+AA/lpiV3VG8J9TKTYpUzcrsRjUIelY+jznOkrFtqyyQsZ6l/G7yFXYTaA55ARc+k7CJExiw4mFX8wgPUHrGt289170HS+UJZDw==";

    #[test]
    fn the_signature_in_wises_own_unit_test_is_taken_and_no_other() {
        let mut keys = Keys::default();
        assert!(!keys.signed(TOKEN, SIGNATURE), "no key was uploaded");
        keys.add("wise", KEY).unwrap();
        assert!(keys.signed(TOKEN, SIGNATURE));
        assert!(!keys.signed(TOKEN, OUTDATED), "SHA-1");
        assert!(!keys.signed(&TOKEN.replace('6', "7"), SIGNATURE));
        assert!(!keys.signed(&format!("{TOKEN}\n"), SIGNATURE));
        assert!(!keys.signed(TOKEN, SIGNATURE.trim_end_matches('=')));
        assert!(keys.delete("wise"));
        assert!(
            !keys.signed(TOKEN, SIGNATURE),
            "a deleted key signs no more"
        );
    }

    #[test]
    fn five_public_keys_are_the_most_and_names_are_unique() {
        let mut keys = Keys::default();
        assert_eq!(keys.add("not", "a key"), Err(KeyRefused::NotAKey));
        for name in ["1", "2", "3", "4", "5"] {
            keys.add(name, KEY).unwrap();
        }
        assert_eq!(keys.add("5", KEY), Err(KeyRefused::NameTaken));
        assert_eq!(keys.add("6", KEY), Err(KeyRefused::TooMany));
    }
}
