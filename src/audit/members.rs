//! The members of a record, as JSON text.
//!
//! Texts are escaped as jq writes them, so that `jq -c` prints a line as it is.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::SystemTime;

use crate::telemetry::access::Second;

/// Members in the making: `"at":"…","kind":"…"` and so on, without braces.
#[derive(Debug)]
pub(super) struct Members<'a>(&'a mut String);

impl<'a> Members<'a> {
    /// Begins with when it was, and what kind of record it is.
    pub(super) fn of(
        out: &'a mut String,
        second: &mut Second,
        at: SystemTime,
        kind: &'static str,
    ) -> Self {
        out.push_str("\"at\":\"");
        second.timestamp(out, at);
        out.push_str("\",\"kind\":\"");
        out.push_str(kind);
        out.push('"');
        Self(out)
    }

    fn name(&mut self, name: &str) {
        self.0.push_str(",\"");
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.0.push('"');
        escape(self.0, value);
        self.0.push('"');
    }

    pub(super) fn maybe(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    pub(super) fn null(&mut self, name: &str) {
        self.name(name);
        self.0.push_str("null");
    }

    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.0.push_str(itoa::Buffer::new().format(value));
    }

    pub(super) fn flag(&mut self, name: &str, value: bool) {
        self.name(name);
        self.0.push_str(if value { "true" } else { "false" });
    }

    pub(super) fn address(&mut self, name: &str, value: SocketAddr) {
        self.name(name);
        // Writing to a String cannot fail.
        let _ = write!(self.0, "\"{value}\"");
    }

    /// The path as it came, ids and all, and the query without its values: only those of profiles
    /// stay, for they say on whose account.
    pub(super) fn target(&mut self, path: &str, query: Option<&str>) {
        self.name("path");
        self.0.push('"');
        let start = self.0.len();
        escape(self.0, shortened(path, LONGEST));
        let pairs = query.into_iter().flat_map(|query| query.split('&'));
        let mut sign = '?';
        for pair in pairs {
            if self.0.len() - start > LONGEST {
                break;
            }
            let (name, value) = pair.split_once('=').unwrap_or(("", pair));
            self.0.push(sign);
            self.0.push_str(if is_word(name) { name } else { "*" });
            self.0.push('=');
            let kept = matches!(name, "profile" | "profileId") && value.len() <= 64;
            if kept {
                escape(self.0, value);
            } else {
                self.0.push('*');
            }
            sign = '&';
        }
        self.0.push('"');
    }
}

/// So much of a path is kept: those of Wise are far shorter.
const LONGEST: usize = 1024;

fn shortened(text: &str, most: usize) -> &str {
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or(text)
}

fn is_word(name: &str) -> bool {
    let fits = (1..=40).contains(&name.len());
    fits && name
        .bytes()
        .all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_'))
}

/// Appends what stands between the quotes of a JSON text.
pub(super) fn escape(out: &mut String, text: &str) {
    let is_plain = |byte: u8| !matches!(byte, 0..=0x1f | 0x7f | b'"' | b'\\');
    if text.bytes().all(is_plain) {
        out.push_str(text);
        return;
    }
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' | '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(path: &str, query: Option<&str>) -> String {
        let mut out = String::new();
        Members(&mut out).target(path, query);
        let object = format!("{{\"a\":1{out}}}");
        let value: serde_json::Value = serde_json::from_str(&object).unwrap();
        value["path"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_path_keeps_its_ids_and_a_query_only_whose_account_it_is() {
        assert_eq!(
            target("/v3/profiles/30000000/transfers/7/payments", None),
            "/v3/profiles/30000000/transfers/7/payments"
        );
        assert_eq!(
            target(
                "/v1/transfers",
                Some("profile=30000000&limit=10&status=sent")
            ),
            "/v1/transfers?profile=30000000&limit=*&status=*"
        );
        assert_eq!(
            target(
                "/v1/transfers",
                Some("profileId=3&planted-secret&a%62=c&=x&k1=v")
            ),
            "/v1/transfers?profileId=3&*=*&*=*&*=*&*=*"
        );
        let secret = "x".repeat(65);
        assert_eq!(
            target("/", Some(&format!("profile={secret}"))),
            "/?profile=*"
        );
    }

    #[test]
    fn a_path_without_end_is_cut() {
        let long = format!("/{}", "é".repeat(5000));
        assert!(target(&long, Some(&"a=b&".repeat(5000))).len() < 2 * LONGEST);
    }

    proptest! {
        #[test]
        fn what_is_escaped_reads_back_as_it_was(text in any::<String>()) {
            let mut out = String::from("\"");
            escape(&mut out, &text);
            out.push('"');
            let breaks = out.contains(['\n', '\r', '\u{7f}']);
            prop_assert!(!breaks);
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }
}
