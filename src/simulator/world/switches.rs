//! How strong customer authentication goes, where Wise's pages leave it open.

use serde::Deserialize;
use serde::Serialize;

/// How strong customer authentication goes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScaFaults {
    /// Whose signature over a one-time token is taken, the old way.
    pub signing: ScaSigning,
    /// Whether a token is good for exactly the request it was given out for.
    pub identical: bool,
    /// Seconds a one-time token can be used.
    pub validity: u32,
    /// What a human has to clear.
    pub challenges: Vec<ChallengeKind>,
    /// Whether an approved statement is remembered for 90 days.
    pub statement_memory: bool,
}

impl Default for ScaFaults {
    fn default() -> Self {
        Self {
            signing: ScaSigning::Personal,
            identical: true,
            validity: 3_600,
            challenges: vec![ChallengeKind::Sms],
            statement_memory: true,
        }
    }
}

/// Whose signature over a one-time token is taken. Under `personal.psd2` there is no token to sign.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScaSigning {
    /// Nobody's: Wise calls this way no longer supported.
    Off,
    /// That of callers with the personal token.
    Personal,
    /// Everybody's.
    Anyone,
}

/// A challenge, in Wise's word for it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ChallengeKind {
    /// A number that the user knows.
    Pin,
    /// A device of the partner's.
    PartnerDeviceFingerprint,
    /// A code by text message.
    Sms,
    /// A code by WhatsApp.
    Whatsapp,
    /// A code by telephone.
    Voice,
    /// A face.
    FaceMap,
}

impl ChallengeKind {
    /// Whether a code sent to a telephone clears it.
    pub(super) fn is_phone(self) -> bool {
        matches!(self, Self::Sms | Self::Whatsapp | Self::Voice)
    }
}
