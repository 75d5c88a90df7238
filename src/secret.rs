//! Text that cannot be printed, and the only way from it to a header value.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

/// A token, client secret or passphrase: wiped when dropped, `[redacted]` when printed.
///
/// It has no `Display`, no `Serialize` and no `PartialEq`; [`Secret::expose`] is the one way to
/// the text, so that `rg expose` lists every place a secret leaves its type.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text itself. Never log what this returns.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether both hold the same text, in time that depends on the length alone.
    pub fn matches(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(
            self.expose().as_bytes(),
            other.expose().as_bytes(),
        )
        .is_ok()
    }

    /// `Bearer <text>` as a sensitive header value (RFC 6750 §2.1).
    pub fn bearer(&self) -> Result<HeaderValue, NotAHeaderValue> {
        sensitive(&Zeroizing::new(format!("Bearer {}", self.expose())))
    }

    /// `Basic base64(user:text)` as a sensitive header value (RFC 7617 §2).
    pub fn basic(&self, user: &str) -> Result<HeaderValue, NotAHeaderValue> {
        let pair = Zeroizing::new(format!("{user}:{}", self.expose()));
        let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
        sensitive(&Zeroizing::new(format!("Basic {}", encoded.as_str())))
    }
}

/// Whether a file that holds a secret is closed to whom it does not concern.
pub(crate) fn is_private(file: &Metadata) -> bool {
    is_private_to(rustix::process::geteuid().as_raw(), file.uid(), file.mode())
}

/// Its owner alone may touch it. A group may read it as well if it is root's and `user` is not
/// root: so does whoever lends a secret to a service that must not change it, such as a Kubernetes
/// volume with `fsGroup`.
fn is_private_to(user: u32, owner: u32, mode: u32) -> bool {
    let open = if owner == 0 && user != 0 {
        0o037
    } else {
        0o077
    };
    mode & open == 0
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The secret holds a byte that no header may carry, such as a line break.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the secret holds a character that an HTTP header cannot carry")]
pub struct NotAHeaderValue;

fn sensitive(text: &str) -> Result<HeaderValue, NotAHeaderValue> {
    // A space or control character inside a token would let it end the field early or add one.
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err(NotAHeaderValue);
    }
    let mut value = HeaderValue::from_str(text).map_err(|_| NotAHeaderValue)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_root_lends_to_a_group_is_private_and_no_other_that_a_group_reads() {
        let (root, us) = (0, 997);
        for (user, owner, mode, private) in [
            (us, us, 0o100_600, true),
            (us, us, 0o100_400, true),
            (us, us, 0o100_640, false),
            (us, root, 0o100_440, true),
            (us, root, 0o100_640, true),
            (us, root, 0o100_660, false),
            (us, root, 0o100_444, false),
            (root, root, 0o100_600, true),
            (root, root, 0o100_640, false),
        ] {
            let found = is_private_to(user, owner, mode);
            assert_eq!(found, private, "{user} {owner} {mode:o}");
        }
    }

    #[test]
    fn a_secret_prints_as_redacted() {
        assert_eq!(format!("{:?}", Secret::new("marker")), "[redacted]");
        let bearer = Secret::new("marker").bearer().unwrap();
        assert!(
            !format!("{bearer:?}").contains("marker"),
            "header values must be sensitive"
        );
    }

    #[test]
    fn a_secret_with_a_line_break_never_becomes_a_header() {
        assert_eq!(Secret::new("a\r\nx: y").bearer(), Err(NotAHeaderValue));
    }

    #[test]
    fn basic_is_the_pair_in_base64() {
        // RFC 7617 §2, the example of the section.
        assert_eq!(
            Secret::new("open sesame")
                .basic("Aladdin")
                .unwrap()
                .to_str()
                .unwrap(),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
    }
}
