//! What the configuration keeps of a caller's key.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

/// SHA-256 of a key that a caller shows, and when it ends: `sha256:` and 64 hexadecimal digits,
/// then perhaps ` until ` and a time (RFC 3339).
///
/// A plain hash is enough for a key that nobody can guess: one of ours has 256 random bits, a
/// personal token of Wise 122.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyHash {
    /// The hash.
    pub digest: [u8; 32],
    /// The key is refused from then on; `None`: never.
    pub until: Option<SystemTime>,
}

/// A text that is no [`KeyHash`]. Says nothing of what it was: it may be a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("is not `sha256:` and 64 hexadecimal digits")]
pub struct NotAKeyHash;

impl FromStr for KeyHash {
    type Err = NotAKeyHash;

    fn from_str(text: &str) -> Result<Self, NotAKeyHash> {
        let (hash, until) = match text.split_once(" until ") {
            Some((hash, until)) => {
                let until = humantime::parse_rfc3339(until.trim()).map_err(|_| NotAKeyHash)?;
                (hash, Some(until))
            }
            None => (text, None),
        };
        let digits = hash.strip_prefix("sha256:").ok_or(NotAKeyHash)?.as_bytes();
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(NotAKeyHash);
        }
        let mut digest = [0; 32];
        for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Ok(Self { digest, until })
    }
}

fn nibble(digit: u8) -> Result<u8, NotAKeyHash> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NotAKeyHash),
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        for byte in self.digest {
            write!(f, "{byte:02x}")?;
        }
        match self.until {
            Some(until) => write!(f, " until {}", humantime::format_rfc3339_seconds(until)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_was_written() {
        let digits = "0123456789abcdef".repeat(4);
        for text in [
            format!("sha256:{digits}"),
            format!("sha256:{digits} until 2027-01-31T00:00:00Z"),
        ] {
            let hash: KeyHash = text.parse().unwrap();
            assert_eq!(hash.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_hash_is_refused_without_a_word_of_it() {
        let digits = "0123456789abcdef".repeat(4);
        for text in [
            "hunter2".to_owned(),
            digits.clone(),
            format!("sha256:{digits}0"),
            format!("sha256:{}", digits.to_uppercase()),
            format!("sha256:{digits} until tomorrow"),
        ] {
            let error = text.parse::<KeyHash>().unwrap_err();
            assert!(!error.to_string().contains(&text), "{text}");
        }
    }
}
