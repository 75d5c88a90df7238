//! What the control side says of itself at a scrape.

use crate::wise::Lane;

/// What the control side knows at the moment of a scrape.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    /// The lane of the switch.
    pub(crate) lane: Option<Lane>,
    pub(crate) ready: bool,
    pub(crate) certificate_days: Option<f64>,
    /// Unix seconds.
    pub(crate) certificate_end: Option<f64>,
    pub(crate) tokens: Vec<TokenReading>,
    pub(crate) reloads: [u64; 2],
    pub(crate) switches: u64,
    /// How often a connection had to wait because `runtime.max_connections` were open.
    pub(crate) limit_reached: u64,
    pub(crate) log_lines_dropped: u64,
    /// The record of who called what, if there is one.
    pub(crate) audit: Option<AuditReading>,
    /// By way: delivered, given up, dropped unsent.
    pub(crate) notifications: Vec<(&'static str, [u64; 3])>,
    pub(crate) policy_refusals: Vec<PolicyReading>,
    pub(crate) webhooks: Vec<WebhookReading>,
}

/// One webhook at the moment of a scrape.
#[derive(Debug, Default)]
pub(crate) struct WebhookReading {
    pub(crate) webhook: String,
    /// What arrived, by outcome.
    pub(crate) deliveries: Vec<(&'static str, u64)>,
    /// Attempts to give something to the application, by outcome.
    pub(crate) forwards: Vec<(&'static str, u64)>,
    pub(crate) queued: u64,
    pub(crate) set_aside: u64,
    pub(crate) oldest_seconds: u64,
    /// Nothing can be kept.
    pub(crate) failing: bool,
}

/// What one policy refused for one reason.
#[derive(Debug, Default)]
pub(crate) struct PolicyReading {
    pub(crate) policy: String,
    pub(crate) reason: &'static str,
    /// `enforced`, or `observed` where it was not refused after all.
    pub(crate) mode: &'static str,
    pub(crate) count: u64,
}

/// The record of who called what.
#[derive(Debug, Default)]
pub(crate) struct AuditReading {
    pub(crate) records: u64,
    pub(crate) lost: u64,
    pub(crate) failing: bool,
}

/// One grant's token at the moment of a scrape.
#[derive(Debug, Default)]
pub(crate) struct TokenReading {
    pub(crate) grant: String,
    pub(crate) generation: u64,
    pub(crate) unsaved: bool,
    pub(crate) age_seconds: Option<f64>,
    pub(crate) seconds_left: Option<f64>,
    /// Refreshes by result.
    pub(crate) refreshes: Vec<(&'static str, u64)>,
}
