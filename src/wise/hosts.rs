//! Where Wise answers.

/// The addresses of one of Wise's environments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Preset {
    /// API over TLS with server authentication only: lanes `personal` and `oauth`.
    pub(crate) plain: &'static str,
    /// API over mutual TLS: lane `oauth-mtls`.
    pub(crate) mtls: &'static str,
    /// Other names of the same APIs that applications are known to use.
    pub(crate) aliases: &'static [&'static str],
    /// The page on which a person grants access (Wise, "OAuth 2.0 setup").
    pub(crate) authorise: &'static str,
}

/// Sandbox V2, the only sandbox since 30 June 2026 (Wise, "Environments").
pub(crate) const SANDBOX: Preset = Preset {
    plain: "https://api.wise-sandbox.com",
    mtls: "https://api-mtls.wise-sandbox.com",
    aliases: &[],
    authorise: "https://wise-sandbox.com/oauth/authorize/",
};

/// Production.
///
/// The mutual-TLS name is the one of the product's brief; Wise's guide also says
/// `api-mtls.transferwise.com` (Wise, "Mutual TLS"), so both are accepted from applications and
/// `wise.mtls` can name either.
pub(crate) const PRODUCTION: Preset = Preset {
    plain: "https://api.wise.com",
    mtls: "https://api-mtls.wise.com",
    aliases: &["api-mtls.transferwise.com", "api.transferwise.com"],
    authorise: "https://wise.com/oauth/authorize/",
};

/// Where a one-time token is asked about (Wise, "One-time token").
pub(crate) const ONE_TIME_TOKEN_STATUS: &str = "/v1/one-time-token/status";

/// Path of the token endpoint; it has no version (Wise, API reference; RFC 6749 §3.2).
pub(crate) const TOKEN_PATH: &str = "/oauth/token";
