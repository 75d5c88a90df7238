//! Paths that can be read in one way only, and the profiles that a request names.

/// What makes a path one that two servers could read differently; `None`: nothing.
///
/// A policy judges the path that it sees. Where Wise, or something before it, would see another, a
/// rule could be walked around.
pub(crate) fn ambiguity(path: &str) -> Option<&'static str> {
    let bytes = path.as_bytes();
    if path == "/" {
        return None;
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Some("its path does not begin with `/`");
    };
    for segment in rest.split('/') {
        match segment {
            "" => return Some("its path has an empty segment"),
            "." | ".." => return Some("its path has a dot segment"),
            _ => {}
        }
    }
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => return Some("its path has a backslash"),
            b';' => return Some("its path has a `;`"),
            b'!'..=b'~' if *byte != b'%' => {}
            b'%' => {
                let escaped = bytes.get(at + 1..at + 3).and_then(decoded);
                match escaped {
                    None => return Some("its path has a `%` without two hexadecimal digits"),
                    Some(b'/' | b'\\' | b'.' | b'%' | b';') => {
                        return Some("its path has an encoded slash, backslash, dot, `;` or `%`");
                    }
                    Some(byte) if is_unreserved(byte) => {
                        return Some("its path encodes what needs no encoding");
                    }
                    Some(b' ') => return Some("its path has an encoded blank"),
                    Some(byte) if byte.is_ascii_control() => {
                        return Some("its path has an encoded control character");
                    }
                    Some(byte) if byte.is_ascii() => at += 2,
                    Some(_) => match encoded_letter(&bytes[at..]) {
                        None => return Some("its path encodes what is no UTF-8"),
                        Some(letter) if is_blank(letter) => {
                            return Some("its path has an encoded blank");
                        }
                        Some(letter) => at += 3 * letter.len_utf8() - 1,
                    },
                }
            }
            _ => return Some("its path has a character that must be encoded"),
        }
        at += 1;
    }
    None
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// The letter that some escapes in a row begin with.
fn encoded_letter(escapes: &[u8]) -> Option<char> {
    let mut letter = [0; 4];
    let mut length = 0;
    for escape in escapes.chunks_exact(3).take(letter.len()) {
        let Some(byte) = escape.strip_prefix(b"%").and_then(decoded) else {
            break;
        };
        letter[length] = byte;
        length += 1;
    }
    let letters = letter[..length].utf8_chunks().next()?;
    letters.valid().chars().next()
}

/// What a server may cut off as white space. The last has no width.
fn is_blank(letter: char) -> bool {
    letter.is_whitespace() || letter.is_control() || letter == '\u{feff}'
}

fn decoded(digits: &[u8]) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let [high, low] = digits else { return None };
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// Every profile that path and query name, as they name it.
///
/// In the path: what follows a `profiles` segment and holds a digit, so that words such as
/// `personal-profile` are none. In the query: `profile` and `profileId`, also encoded, also where
/// `;` parts the pairs.
pub(crate) fn profiles_named<'a>(
    path: &'a str,
    query: Option<&'a str>,
) -> impl Iterator<Item = Named<'a>> {
    let mut follows = false;
    let in_path = path.split('/').filter(move |segment| {
        let named = follows && segment.bytes().any(|byte| byte.is_ascii_digit());
        follows = segment.eq_ignore_ascii_case("profiles");
        named
    });
    let pairs = query.into_iter().flat_map(|query| query.split(['&', ';']));
    let in_query = pairs.filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is = |word: &str| {
            let lower = Decoded::new(name).map(|byte| byte.to_ascii_lowercase());
            lower.eq(word.bytes())
        };
        (is("profile") || is("profileid")).then_some(value)
    });
    in_path.chain(in_query).map(Named)
}

/// A profile as a request names it, perhaps encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a>(&'a str);

impl<'a> Named<'a> {
    /// As a header field says it: not encoded.
    pub(crate) fn plainly(text: &'a str) -> Self {
        Self(text)
    }

    pub(crate) fn is(self, profile: &str) -> bool {
        Decoded::new(self.0).eq(profile.bytes())
    }

    /// For a message: what is not a letter, digit or hyphen is masked.
    pub(crate) fn shown(self) -> String {
        let shown = self.0.chars().take(64).map(|letter| {
            if letter.is_ascii_alphanumeric() || letter == '-' {
                letter
            } else {
                '?'
            }
        });
        shown.collect()
    }
}

/// The bytes of a form-encoded text.
pub(super) struct Decoded<'a>(std::slice::Iter<'a, u8>);

impl<'a> Decoded<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self(text.as_bytes().iter())
    }
}

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let byte = *self.0.next()?;
        if byte == b'+' {
            return Some(b' ');
        }
        let escaped = self.0.as_slice().get(..2).filter(|_| byte == b'%');
        match escaped.and_then(decoded) {
            Some(escaped) => {
                self.0.nth(1);
                Some(escaped)
            }
            None => Some(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_be_read_in_two_ways_is_seen() {
        for path in [
            "/v1//me",
            "/v1/me/",
            "/v1/./me",
            "/v1/../me",
            "/v1/me/..",
            "/v1/%2e%2e/me",
            "/v1/me%2Fx",
            "/v1/me%5cx",
            "/v1\\me",
            "/v1/me;x=1",
            "/v1/me%3Bx",
            "/v1/%6de",
            "/v1/%2565",
            "/v1/me%2",
            "/v1/me%",
            "/v1/me%zz",
            "/v1/me%00",
            "/v1/me%0a",
            "/v1/me%20",
            "/v1/%20me",
            "/v1/a%20b",
            "/v1/me%09",
            "/v1/me%C2%A0",
            "/v1/me%c2%85",
            "/v1/me%E3%80%80",
            "/v1/me%EF%BB%BF",
            "/v1/%C3%A9%E2%80%83",
            "/v1/me%C0%AF",
            "/v1/me%C3",
            "/v1/me%C3x%A9",
            "/v1/me\u{a0}",
            "/v1/me ",
            "",
            "*",
            "//",
            "v1/me",
        ] {
            assert!(ambiguity(path).is_some(), "{path}");
        }
        for path in [
            "/",
            "/v1/me",
            "/v1/a%C3%A9",
            "/v1/%E2%82%AC%C3%A9%F0%9F%92%B6/x",
            "/v1/...",
            "/v1/a.b",
            "/v1/a:b@c=d,e",
            "/v1/%7Ba%7D",
        ] {
            assert_eq!(ambiguity(path), None, "{path}");
        }
    }

    #[test]
    fn every_profile_that_a_request_names_is_found() {
        let named = |path, query| -> Vec<String> {
            profiles_named(path, query).map(Named::shown).collect()
        };
        assert_eq!(named("/v3/profiles/17/quotes", None), ["17"]);
        assert_eq!(named("/v3/Profiles/17/x/profiles/18", None), ["17", "18"]);
        assert_eq!(named("/v2/profiles/personal-profile", None), [""; 0]);
        assert_eq!(
            named(
                "/v1/transfers",
                Some("limit=1&profile=2&profileId=3;profile=4&profiles=5")
            ),
            ["2", "3", "4"]
        );
        assert_eq!(
            named("/v1/me", Some("%70rofile=7&PROFILE=8&profile")),
            ["7", "8", ""]
        );
        let encoded = profiles_named("/", Some("profile=%31%37")).next().unwrap();
        assert!(encoded.is("17") && !encoded.is("%31%37"));
    }
}
