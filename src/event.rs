//! The kinds of things that a person would want to know of.

use std::fmt;

use serde::{Serialize, Serializer};

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// The doors are open.
    Started,
    /// A stop was asked for.
    Stopping,
    /// Another lane is in use.
    LaneSwitched,
    /// What the store held of a grant was deleted.
    GrantForgotten,
    /// Configuration, certificates or secrets were read anew.
    Reloaded,
    /// They were not: something is wrong with them.
    ReloadFailed,
    /// A grant has a new token.
    TokenRenewed,
    /// A renewal failed; it will be tried again.
    RenewalFailed,
    /// Renewals succeed again.
    RenewalRecovered,
    /// Wise no longer accepts the grant: somebody must log in.
    GrantDead,
    /// The newest tokens are in memory only.
    TokensUnsaved,
    /// They are in the store again.
    TokensSaved,
    /// The client certificate is near its end, or beyond it.
    CertificateExpiring,
    /// Another client certificate is in use.
    CertificateReplaced,
    /// A caller has tried as many payments as its policy lets pass in an hour.
    FundingCapped,
    /// The application has refused a webhook's delivery for good.
    DeliverySetAside,
    /// What was set aside was deleted: nobody wanted it in time.
    DeliveryExpired,
    /// A webhook's deliveries cannot be kept.
    WebhookUnkept,
    /// Nothing: somebody tries out whether notifications arrive.
    Test,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Info,
    /// It will want somebody.
    Warning,
    /// It wants somebody now.
    Error,
}

impl Kind {
    /// All that happen by themselves.
    pub const ALL: [Self; 18] = [
        Self::Started,
        Self::Stopping,
        Self::LaneSwitched,
        Self::GrantForgotten,
        Self::Reloaded,
        Self::ReloadFailed,
        Self::TokenRenewed,
        Self::RenewalFailed,
        Self::RenewalRecovered,
        Self::GrantDead,
        Self::TokensUnsaved,
        Self::TokensSaved,
        Self::CertificateExpiring,
        Self::CertificateReplaced,
        Self::FundingCapped,
        Self::DeliverySetAside,
        Self::DeliveryExpired,
        Self::WebhookUnkept,
    ];

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name in JSON and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopping => "stopping",
            Self::LaneSwitched => "lane_switched",
            Self::GrantForgotten => "grant_forgotten",
            Self::Reloaded => "reloaded",
            Self::ReloadFailed => "reload_failed",
            Self::TokenRenewed => "token_renewed",
            Self::RenewalFailed => "renewal_failed",
            Self::RenewalRecovered => "renewal_recovered",
            Self::GrantDead => "grant_dead",
            Self::TokensUnsaved => "tokens_unsaved",
            Self::TokensSaved => "tokens_saved",
            Self::CertificateExpiring => "certificate_expiring",
            Self::CertificateReplaced => "certificate_replaced",
            Self::FundingCapped => "funding_capped",
            Self::DeliverySetAside => "delivery_set_aside",
            Self::DeliveryExpired => "delivery_expired",
            Self::WebhookUnkept => "webhook_unkept",
            Self::Test => "test",
        }
    }

    /// What it says, for the reference.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Started => "the doors are open",
            Self::Stopping => "a stop was asked for",
            Self::LaneSwitched => "another lane is in use",
            Self::GrantForgotten => "`token forget` has deleted what the store held of a grant",
            Self::Reloaded => "configuration, certificates or secrets were read anew",
            Self::ReloadFailed => {
                "they were not, because something is wrong with them; those before stay in use"
            }
            Self::TokenRenewed => "a grant has a new token",
            Self::RenewalFailed => {
                "a renewal failed; it is tried again while the token in use lives"
            }
            Self::RenewalRecovered => "a renewal succeeded after failures",
            Self::GrantDead => "Wise no longer accepts the grant: somebody must `login`",
            Self::TokensUnsaved => {
                "the store does not take the newest tokens: a restart may lose the grant"
            }
            Self::TokensSaved => "the store has them",
            Self::CertificateExpiring => "the client certificate is near its end, or beyond it",
            Self::CertificateReplaced => "another client certificate is in use",
            Self::FundingCapped => {
                "a caller has tried as many fundings as its policy lets pass in an hour; more are \
                 refused"
            }
            Self::DeliverySetAside => {
                "the application has refused a webhook's delivery three times; it is kept, and the \
                 next go on"
            }
            Self::DeliveryExpired => {
                "a webhook's delivery that had been set aside was deleted, as `webhook.window` is over"
            }
            Self::WebhookUnkept => {
                "the queue of a webhook cannot be used: its deliveries are answered 503, and Wise \
                 tries again"
            }
            Self::Test => "a trial of notifications",
        }
    }

    /// How much it matters.
    pub const fn severity(self) -> Severity {
        match self {
            Self::Started
            | Self::Stopping
            | Self::Reloaded
            | Self::TokenRenewed
            | Self::RenewalRecovered
            | Self::TokensSaved
            | Self::CertificateReplaced
            | Self::Test => Severity::Info,
            Self::LaneSwitched
            | Self::GrantForgotten
            | Self::RenewalFailed
            | Self::CertificateExpiring
            | Self::FundingCapped => Severity::Warning,
            Self::ReloadFailed
            | Self::GrantDead
            | Self::TokensUnsaved
            | Self::DeliverySetAside
            | Self::DeliveryExpired
            | Self::WebhookUnkept => Severity::Error,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.name()), Some(kind));
        }
        assert_eq!(Kind::named("test"), None, "nobody can subscribe to a trial");
    }
}
