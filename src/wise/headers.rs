//! Header names beyond HTTP's own, ours and Wise's.

use http::HeaderName;

/// Names the grant of one request by its profile. Ours: stripped before the request leaves.
pub(crate) const X_WISE_PROFILE: HeaderName = HeaderName::from_static("x-wise-profile");

/// On every answer of Wise's; the id to quote to Wise's support (Wise, API reference).
pub(crate) const X_TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// `REJECTED` on a 403 that asks for strong customer authentication (Wise, "SCA and 2FA").
pub(crate) const X_2FA_APPROVAL_RESULT: HeaderName =
    HeaderName::from_static("x-2fa-approval-result");

/// The one-time token: on such a 403 Wise's, on a request that comes again ours (Wise, "SCA and
/// 2FA").
pub(crate) const X_2FA_APPROVAL: HeaderName = HeaderName::from_static("x-2fa-approval");

/// The one-time token, signed.
pub(crate) const X_SIGNATURE: HeaderName = HeaderName::from_static("x-signature");

/// The one-time token that is asked about (Wise, "One-time token").
pub(crate) const ONE_TIME_TOKEN: HeaderName = HeaderName::from_static("one-time-token");

/// How a body is protected: `jws`, `jwe` or `jws+jwe` (Wise, "JOSE").
pub(crate) const X_TW_JOSE_METHOD: HeaderName = HeaderName::from_static("x-tw-jose-method");

/// Id of the key of ours that the answer is to be encrypted to.
pub(crate) const X_TW_JOSE_ENCRYPTION_KID: HeaderName =
    HeaderName::from_static("x-tw-jose-encryption-kid");
