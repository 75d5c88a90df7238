//! What holds of every request, however hostile: called by the fuzzers and on their kept inputs.
//!
//! Each property says a rule a second time, by other means and slowly, and compares.

#![allow(clippy::expect_used, reason = "what does not hold must panic")]

mod choice;
mod fields;
mod introduction;
mod target;

pub(crate) use choice::credential_choice;
pub(crate) use fields::header_policy;
pub(crate) use introduction::introduction;
pub(crate) use target::request_target;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields as lines `name: value`. Lines that no HTTP parser would take for a field are left out.
fn fields<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<(HeaderName, HeaderValue)> {
    let mut fields = untrimmed(lines);
    for (_, value) in &mut fields {
        if let Ok(trimmed) = HeaderValue::from_bytes(value.as_bytes().trim_ascii()) {
            *value = trimmed;
        }
    }
    fields
}

/// As [`fields`], but a value is all that stands behind the colon and one space.
fn untrimmed<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<(HeaderName, HeaderValue)> {
    lines
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            let value = value.strip_prefix(b" ").unwrap_or(value);
            let name = HeaderName::from_bytes(name).ok()?;
            Some((name, HeaderValue::from_bytes(value).ok()?))
        })
        .collect()
}

fn map(fields: &[(HeaderName, HeaderValue)]) -> HeaderMap {
    fields.iter().cloned().collect()
}

fn all<'a>(
    fields: &'a [(HeaderName, HeaderValue)],
    name: &'a HeaderName,
) -> impl Iterator<Item = &'a HeaderValue> {
    let of_name =
        move |(other, value): &'a (HeaderName, HeaderValue)| (other == name).then_some(value);
    fields.iter().filter_map(of_name)
}
