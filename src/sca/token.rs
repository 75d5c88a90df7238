//! The one-time token of a challenge.

use std::fmt;

use http::HeaderValue;

/// What Wise's one-time tokens are: 36 letters of a UUID today, and no longer than this ever.
const LONGEST: usize = 128;
const SHORTEST: usize = 16;

/// A one-time token: who shows it, cleared or signed, is let through with one request.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct OneTimeToken(HeaderValue);

impl OneTimeToken {
    /// What a 403 says in `x-2fa-approval`; `None`: that is no token.
    ///
    /// A key of ours signs what is taken here, and whoever answered chose it. So it must look like a
    /// token: letters, digits and hyphens, of a token's length. No document, no digest's bytes and no
    /// request could be brought under our signature this way.
    pub(crate) fn of(value: &HeaderValue) -> Option<Self> {
        let bytes = value.as_bytes();
        let is_plausible = (SHORTEST..=LONGEST).contains(&bytes.len())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
        if !is_plausible {
            return None;
        }
        let mut value = value.clone();
        value.set_sensitive(true);
        Some(Self(value))
    }

    /// As a person typed it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::of(&HeaderValue::from_str(text.trim()).ok()?)
    }

    /// As a field's value, which no `Debug` shows.
    pub(crate) fn value(&self) -> &HeaderValue {
        &self.0
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// For the hook that is to have it approved.
    pub(crate) fn expose(&self) -> &str {
        // Only ASCII gets in.
        self.0.to_str().unwrap_or_default()
    }
}

impl fmt::Debug for OneTimeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_token_is_one() {
        let long = "a".repeat(LONGEST + 1);
        for (text, is_token) in [
            ("65a31b86-aa2e-47fd-a7a4-3710437ba270", true),
            ("65A31B86AA2E47FDA7A43710437BA270", true),
            ("", false),
            ("short", false),
            (&long, false),
            ("65a31b86-aa2e-47fd-a7a4-3710437ba270 ", false),
            ("pay 100 EUR to somebody, please", false),
            ("{\"alg\":\"RS256\"}.{\"sub\":\"me\"}", false),
            ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9", false),
        ] {
            let value = HeaderValue::from_str(text).unwrap();
            assert_eq!(OneTimeToken::of(&value).is_some(), is_token, "{text:?}");
        }
        let odd = HeaderValue::from_bytes(b"65a31b86-aa2e-47fd-\xe4-3710437ba270").unwrap();
        assert!(OneTimeToken::of(&odd).is_none());
    }

    #[test]
    fn no_debug_shows_one() {
        let token = OneTimeToken::parse("65a31b86-aa2e-47fd-a7a4-3710437ba270\n").unwrap();
        let shown = format!("{token:?} {:?}", token.value());
        assert!(!shown.contains("65a31b86"), "{shown}");
    }
}
