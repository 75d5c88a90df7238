//! What holds of every answer of the token endpoint: called by the fuzzers and on their kept
//! inputs.

#![allow(clippy::expect_used, reason = "what does not hold must panic")]

use bytes::Bytes;
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::token_endpoint::{refused, understand};
use crate::tokens::{ExchangeError, properties};

/// Stands in inputs for a token: no error may repeat it.
const PLANTED: &str = "PLANTED";

/// An answer of the token endpoint becomes tokens that may be used, or an error that says whose
/// move it is and repeats nothing of the body. Only a refusal of the grant itself ends a grant,
/// and good tokens are never thrown away for an odd field beside them.
///
/// The input is a status in two bytes, a line with `Retry-After` and, behind a tab, `Date`, and the
/// body.
pub(crate) fn token_response(input: &[u8]) {
    let Some((status, rest)) = input.split_first_chunk::<2>() else {
        return;
    };
    let status = 100 + u16::from_be_bytes(*status) % 500;
    let mut parts = rest.splitn(2, |byte| *byte == b'\n');
    let (Some(line), Some(body)) = (parts.next(), parts.next()) else {
        return;
    };
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let body = Bytes::copy_from_slice(body);

    match understand(&body) {
        Ok(answer) => {
            let taken = properties::usable(&answer);
            // What is not read need not be well-formed, so there may be tokens in no JSON at all.
            if let Some(json) = &json {
                let access = json["access_token"].as_str().unwrap_or_default();
                assert_eq!(access, answer.access_token);
                assert!(taken || !is_good(json), "good tokens were thrown away");
            }
        }
        Err(error) => {
            says_nothing(&error);
            assert!(matches!(error, ExchangeError::Garbled(_)), "{error}");
            // A field that stands there twice is no answer at all.
            let twice = |name: &str| {
                let name = format!("\"{name}\"");
                String::from_utf8_lossy(&body).matches(&name).count() > 1
            };
            let escaped = body.contains(&b'\\');
            let fields = ["access_token", "token_type", "refresh_token"];
            let lives = ["expires_in", "refresh_token_expires_in"];
            if !escaped && !fields.iter().chain(&lives).any(|name| twice(name)) {
                let good = json.as_ref().is_some_and(is_good);
                assert!(!good, "good tokens were not understood");
            }
        }
    }

    let mut words = line.splitn(2, |byte| *byte == b'\t');
    let after = words.next().unwrap_or_default().trim_ascii();
    let date = words.next().map(<[u8]>::trim_ascii);
    let mut headers = HeaderMap::new();
    for (name, value) in [(RETRY_AFTER, Some(after)), (DATE, date)] {
        if let Some(Ok(value)) = value.map(HeaderValue::from_bytes) {
            headers.insert(name, value);
        }
    }
    let error = refused(status, &headers, &body);
    let word = json.as_ref().and_then(|json| json.get("error")?.as_str());
    if !word.is_some_and(|word| word.contains(PLANTED)) {
        says_nothing(&error);
    }
    if matches!(error, ExchangeError::InvalidGrant { .. }) {
        assert!((400..500).contains(&status));
        assert!(json.is_none() || word == Some("invalid_grant"));
    }
    if let ExchangeError::Throttled { retry_after }
    | ExchangeError::ServerTrouble { retry_after, .. } = &error
    {
        let digits = !after.is_empty() && after.iter().all(u8::is_ascii_digit);
        if digits && after.len() < 19 {
            let seconds = after
                .iter()
                .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            assert_eq!(retry_after.map(|wait| wait.as_secs()), Some(seconds));
        } else if date.is_none() && !digits && !after.contains(&b'+') {
            assert_eq!(*retry_after, None, "a date counts from the answer's own");
        } else if date == Some(after) && retry_after.is_some() && !digits {
            assert!(retry_after.is_some_and(|wait| wait.is_zero()));
        }
    }
}

/// Every text of an error may be logged.
fn says_nothing(error: &ExchangeError) {
    let said = format!("{error} {error:?}");
    assert!(!said.contains(PLANTED), "{said}");
    assert!(
        said.bytes().all(|byte| (b' '..0x7f).contains(&byte)),
        "{said}"
    );
}

/// Whether a reader of JSON finds tokens there that a request can carry.
fn is_good(json: &Value) -> bool {
    let Some(answer) = json.as_object() else {
        return false;
    };
    let carried = |text: &str| {
        (1..=16 * 1024).contains(&text.len())
            && text.bytes().all(|byte| (b'!'..=b'~').contains(&byte))
    };
    let access = answer.get("access_token").and_then(Value::as_str);
    let kind = match answer.get("token_type") {
        None | Some(Value::Null) => true,
        Some(kind) => kind
            .as_str()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")),
    };
    let refresh = match answer.get("refresh_token") {
        None | Some(Value::Null) => true,
        Some(refresh) => refresh.as_str().is_some_and(carried),
    };
    access.is_some_and(carried) && kind && refresh
}
