//! What the token endpoint says (RFC 6749 §5, Wise "Refresh tokens" and API reference).

use serde::Deserialize;
use zeroize::Zeroize;

/// A successful answer, for all four grants.
///
/// Every field beyond `access_token` is optional: older samples lack the `*_at` fields, RFC 6749
/// §5.1 only recommends `expires_in`, and client credentials bring no refresh token. Unknown
/// fields are ignored. `created_at` is the age of the grant, not of this token, so it is not read.
#[derive(Deserialize)]
pub(crate) struct TokenAnswer {
    pub(crate) access_token: String,
    #[serde(default)]
    pub(crate) token_type: Option<String>,
    #[serde(default)]
    pub(crate) refresh_token: Option<String>,
    /// Seconds of life left, counted from the request.
    #[serde(default)]
    pub(crate) expires_in: Option<i64>,
    /// Seconds of life left in the refresh token.
    #[serde(default)]
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
