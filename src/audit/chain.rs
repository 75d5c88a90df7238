//! What ties a line to the one before it.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

/// What stands between a line's text and its hash, and behind the hash.
const BEFORE_HASH: &[u8] = b",\"hash\":\"";
const BEFORE_PREV: &[u8] = b",\"prev\":\"";
const END: &[u8] = b"\"}";
const HEX: usize = 64;

/// What stands before the moment of a line, and before its kind.
pub(crate) const AT: &str = ",\"at\":\"";
pub(crate) const KIND: &str = ",\"kind\":\"";

/// SHA-256, in lower-case hexadecimal.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) struct Hash([u8; HEX]);

impl Hash {
    /// What stands in the place of a hash before the first line.
    pub(crate) const NONE: Self = Self([b'0'; HEX]);

    /// `None`: it is not 64 lower-case hexadecimal digits.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let digits: [u8; HEX] = text.try_into().ok()?;
        let is_hex = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        digits.iter().all(is_hex).then_some(Self(digits))
    }

    /// Of some pieces, one behind the other.
    pub(crate) fn of(pieces: &[&[u8]]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut context = Context::new(&SHA256);
        for piece in pieces {
            context.update(piece);
        }
        let mut hex = [b'0'; HEX];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(context.finish().as_ref()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self(hex)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The end of a chain: the last line's number and hash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    pub(crate) hash: Hash,
}

impl Head {
    /// Of a chain without a line.
    pub(crate) const START: Self = Self {
        seq: 0,
        hash: Hash::NONE,
    };

    /// Makes the next line of these members, such as `"kind":"started"`, and appends it with its
    /// line break.
    pub(crate) fn seal(&mut self, members: &str, out: &mut Vec<u8>) {
        let seq = self.seq + 1;
        let start = out.len();
        out.extend_from_slice(b"{\"seq\":");
        out.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes());
        out.push(b',');
        out.extend_from_slice(members.as_bytes());
        out.extend_from_slice(BEFORE_PREV);
        out.extend_from_slice(&self.hash.0);
        out.push(b'"');
        let hash = Hash::of(&[&out[start..], b"}"]);
        out.extend_from_slice(BEFORE_HASH);
        out.extend_from_slice(&hash.0);
        out.extend_from_slice(END);
        out.push(b'\n');
        *self = Self { seq, hash };
    }

    /// Whether the line is whole and the next one of the chain, whose end it then is.
    pub(crate) fn follow(&mut self, line: &Link<'_>) -> bool {
        let fits = line.prev == self.hash && Some(line.seq) == self.seq.checked_add(1);
        let follows = fits && line.is_whole();
        if follows {
            *self = line.head();
        }
        follows
    }
}

/// A line as it stands in a file, without its line break.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link<'a> {
    pub(crate) seq: u64,
    pub(crate) prev: Hash,
    pub(crate) hash: Hash,
    /// Everything before the hash, of which it is made.
    hashed: &'a [u8],
}

impl<'a> Link<'a> {
    /// `None`: it has not the form of a line of ours.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let (rest, hash) = cut(line.strip_suffix(END)?)?;
        let hashed = rest.strip_suffix(BEFORE_HASH)?;
        let (rest, prev) = cut(hashed.strip_suffix(b"\"")?)?;
        rest.strip_suffix(BEFORE_PREV)?;
        let number = hashed.strip_prefix(b"{\"seq\":")?;
        let end = number.iter().position(|byte| *byte == b',')?;
        let number = std::str::from_utf8(&number[..end]).ok()?;
        let canonical = !number.starts_with(['0', '+']);
        Some(Self {
            seq: number.parse().ok().filter(|_| canonical)?,
            prev,
            hash,
            hashed,
        })
    }

    /// Whether its hash is that of its text.
    pub(crate) fn is_whole(&self) -> bool {
        Hash::of(&[self.hashed, b"}"]) == self.hash
    }

    pub(crate) fn head(&self) -> Head {
        Head {
            seq: self.seq,
            hash: self.hash,
        }
    }

    /// The text behind [`AT`] or [`KIND`], which need no escapes.
    pub(crate) fn word(&self, member: &str) -> Option<&'a str> {
        let text = std::str::from_utf8(self.hashed).ok()?;
        let (_, rest) = text.split_once(member)?;
        rest.split_once('"').map(|(word, _)| word)
    }
}

/// The hash at the end, and what stands before it.
fn cut(text: &[u8]) -> Option<(&[u8], Hash)> {
    let (rest, hash) = text.split_at_checked(text.len().checked_sub(HEX)?)?;
    Some((rest, Hash::parse(hash)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(members: &[&str]) -> Vec<u8> {
        let (mut head, mut out) = (Head::START, Vec::new());
        for members in members {
            head.seal(members, &mut out);
        }
        out
    }

    /// Made with `sha256sum`, as docs/audit.md says.
    #[test]
    fn a_line_is_its_members_between_its_number_and_its_hashes() {
        let text = String::from_utf8(chain(&["\"kind\":\"started\""])).unwrap();
        let hashed = format!(
            "{{\"seq\":1,\"kind\":\"started\",\"prev\":\"{}\"}}",
            Hash::NONE
        );
        let hash = Hash::of(&[hashed.as_bytes()]);
        let expected = format!(
            "{},\"hash\":\"{hash}\"}}\n",
            hashed.strip_suffix('}').unwrap()
        );
        assert_eq!(text, expected);
        assert_eq!(
            hash.as_str(),
            "f5bc215205844e01e615a92a65ff5b6dcfe413f34582df9749c7899706a913ba"
        );
    }

    #[test]
    fn each_line_follows_the_one_before_it_and_no_other() {
        let text = chain(&["\"a\":1", "\"b\":2", "\"c\":3"]);
        let lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
        let mut head = Head::START;
        for line in &lines[..3] {
            assert!(head.follow(&Link::parse(line).unwrap()));
        }
        assert_eq!(head.seq, 3);
        let mut head = Head::START;
        assert!(!head.follow(&Link::parse(lines[1]).unwrap()));
        assert_eq!(head, Head::START, "it stays where it was");
    }

    proptest! {
        #[test]
        fn one_changed_byte_is_noticed(at in 0_usize..1000, bit in 0_u8..8) {
            let text = chain(&["\"kind\":\"request\",\"path\":\"/v1/transfers/1\",\"status\":200"]);
            let mut line = text.strip_suffix(b"\n").unwrap().to_vec();
            let at = at % line.len();
            line[at] ^= 1 << bit;
            let mut head = Head::START;
            let follows = Link::parse(&line).is_some_and(|link| head.follow(&link));
            prop_assert!(!follows, "{}", String::from_utf8_lossy(&line));
        }
    }
}
