use std::fmt;
use std::str::FromStr;

/// The id of a Wise profile, as it stands in a path, a query or a redirect.
///
/// Compared by text and never computed with: Wise's ids are 64-bit numbers today and UUIDs in
/// places, and promises neither (Wise, API reference).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ProfileId(Box<str>);

impl ProfileId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ProfileId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProfileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Not 1 to 64 letters, digits or hyphens.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a profile id is 1 to 64 letters, digits or hyphens")]
pub struct ParseProfileError;

impl FromStr for ProfileId {
    type Err = ParseProfileError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        fits.then(|| Self(text.into())).ok_or(ParseProfileError)
    }
}
