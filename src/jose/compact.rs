//! The compact serialisation: base64url parts with dots between (RFC 7515 §7.1, RFC 7516 §7.1).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;

use super::JoseError;
use crate::wise::wire;

/// Longest header, encoded. Wise's have three members.
const LONGEST_HEADER: usize = 4 * 1024;

/// The parts of a message, exactly as many as it must have.
pub(super) fn split<const N: usize>(message: &[u8]) -> Result<[&[u8]; N], JoseError> {
    let message = message.trim_ascii();
    let mut parts = message.split(|byte| *byte == b'.');
    let mut found = [&[] as &[u8]; N];
    for part in &mut found {
        *part = parts.next().ok_or(JoseError::Malformed)?;
    }
    match parts.next() {
        None if found[0].len() <= LONGEST_HEADER => Ok(found),
        _ => Err(JoseError::Malformed),
    }
}

/// Strict: no padding, no white space, no stray bits at the end. One text is one sequence of bytes.
pub(super) fn decode(part: &[u8]) -> Result<Vec<u8>, JoseError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| JoseError::Malformed)
}

pub(super) fn encode(bytes: &[u8], out: &mut String) {
    URL_SAFE_NO_PAD.encode_string(bytes, out);
}

/// The header. A member that is given twice is an error (RFC 7515 §4), by serde's rules for structs,
/// and so is a list of members without their names, which serde alone would take.
pub(super) fn header<T: DeserializeOwned>(part: &[u8]) -> Result<T, JoseError> {
    let json = decode(part)?;
    wire::object(&json).ok_or(JoseError::Malformed)
}
