//! What the token endpoint says (RFC 6749 §5, Wise "Refresh tokens" and API reference).

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroize;

/// A successful answer, for all four grants.
///
/// Every field is optional, the access token only to read it: a refresh token beside none must not
/// be thrown away. An empty one is none. Older samples lack the `*_at` fields, RFC 6749
/// §5.1 only recommends `expires_in`, and client credentials bring no refresh token. Unknown
/// fields are ignored. `created_at` is the age of the grant, not of this token, so it is not read.
#[derive(Deserialize)]
pub(crate) struct TokenAnswer {
    #[serde(default, deserialize_with = "text")]
    pub(crate) access_token: String,
    #[serde(default)]
    pub(crate) token_type: Option<String>,
    #[serde(default)]
    pub(crate) refresh_token: Option<String>,
    /// Seconds of life left, counted from the request.
    #[serde(default, deserialize_with = "seconds")]
    pub(crate) expires_in: Option<i64>,
    /// Seconds of life left in the refresh token.
    #[serde(default, deserialize_with = "seconds")]
    pub(crate) refresh_token_expires_in: Option<i64>,
}

impl Drop for TokenAnswer {
    fn drop(&mut self) {
        self.access_token.zeroize();
        self.refresh_token.zeroize();
    }
}

/// A refusal (RFC 6749 §5.2). `error_description` is not read: Wise is known to echo tokens in it.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenRefusal {
    pub(crate) error: String,
}

/// Reads an object of JSON; `None` for anything else.
///
/// serde alone would take a list for a struct, item by item: an answer `["x"]` would be the access
/// token `x`, and with it the end of a good one.
pub(crate) fn object<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    let opens = text.trim_ascii_start().starts_with(b"{");
    opens.then(|| serde_json::from_slice(text).ok()).flatten()
}

/// A text; empty where there is none.
fn text<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    Option::deserialize(input).map(Option::unwrap_or_default)
}

/// A number of seconds, however it is written; `None` for what is no number.
///
/// An answer with a good token and an odd lifetime must not be thrown away: with it would go a
/// refresh token that the server has already rotated.
fn seconds<'de, D: Deserializer<'de>>(input: D) -> Result<Option<i64>, D::Error> {
    let value = serde_json::Value::deserialize(input)?;
    let text = value.as_str().map(str::trim);
    let number = value
        .as_f64()
        .or_else(|| text.and_then(|text| text.parse().ok()));
    #[allow(
        clippy::cast_possible_truncation,
        reason = "`as` saturates, which is what is wanted"
    )]
    let whole = number
        .filter(|number| number.is_finite())
        .map(|number| number as i64);
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_lifetime_does_not_cost_the_token() {
        for (written, read) in [
            ("43199", Some(43_199)),
            ("\"43199\"", Some(43_199)),
            ("43199.9", Some(43_199)),
            ("1e300", Some(i64::MAX)),
            ("-5", Some(-5)),
            ("null", None),
            ("\"soon\"", None),
            ("{\"a\":1}", None),
        ] {
            let body = format!(r#"{{"access_token":"t","expires_in":{written}}}"#);
            let answer: TokenAnswer = serde_json::from_str(&body).unwrap();
            assert_eq!(answer.expires_in, read, "{written}");
        }
    }

    #[test]
    fn a_list_is_neither_tokens_nor_a_refusal() {
        for text in [
            r#"["t"]"#,
            r#" ["t","bearer","r",1,1]"#,
            r#""t""#,
            "",
            "null",
        ] {
            assert!(object::<TokenAnswer>(text.as_bytes()).is_none(), "{text}");
        }
        assert!(object::<TokenRefusal>(br#"["invalid_grant"]"#).is_none());
        let answer: TokenAnswer = object(b"\r\n {\"access_token\":\"t\"}").unwrap();
        assert_eq!(answer.access_token, "t");
    }

    #[test]
    fn a_missing_access_token_does_not_cost_the_refresh_token() {
        for text in [
            r#"{"refresh_token":"r"}"#,
            r#"{"access_token":null,"refresh_token":"r"}"#,
        ] {
            let answer: TokenAnswer = object(text.as_bytes()).unwrap();
            assert_eq!(answer.access_token, "");
            assert_eq!(answer.refresh_token.as_deref(), Some("r"));
        }
    }

    #[test]
    fn a_refusal_needs_nothing_but_its_error() {
        let body = r#"{"error":"invalid_grant","error_description":["odd"],"x":1}"#;
        assert_eq!(
            serde_json::from_str::<TokenRefusal>(body).unwrap().error,
            "invalid_grant"
        );
    }
}
