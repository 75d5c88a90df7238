use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One way out of the house.
///
/// Wise's migration guide knows three. A personal token over mutual TLS is not among them, so it
/// has no variant: no configuration can name it and no code can pick it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// Personal token, plain host, no client certificate: the way back.
    Personal,
    /// OAuth token, plain host, no client certificate.
    #[serde(rename = "oauth")]
    OAuth,
    /// OAuth token, mutual-TLS host, client certificate: the destination.
    #[serde(rename = "oauth-mtls")]
    OAuthMtls,
}

impl Lane {
    /// Every lane, from the way back to the destination.
    pub const ALL: [Self; 3] = [Self::Personal, Self::OAuth, Self::OAuthMtls];

    /// The name used in configuration, commands, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Personal => "personal",
            Self::OAuth => "oauth",
            Self::OAuthMtls => "oauth-mtls",
        }
    }

    /// Position in [`Lane::ALL`], for tables kept by lane.
    pub const fn index(self) -> usize {
        match self {
            Self::Personal => 0,
            Self::OAuth => 1,
            Self::OAuthMtls => 2,
        }
    }

    /// Whether requests carry OAuth tokens.
    pub const fn is_oauth(self) -> bool {
        match self {
            Self::Personal => false,
            Self::OAuth | Self::OAuthMtls => true,
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A lane by a name that is none of the three.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no such lane; the lanes are personal, oauth and oauth-mtls")]
pub struct ParseLaneError;

impl FromStr for Lane {
    type Err = ParseLaneError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|lane| lane.name() == text)
            .ok_or(ParseLaneError)
    }
}

/// Some of the lanes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LaneSet([bool; 3]);

impl LaneSet {
    /// Whether the lane is in the set.
    pub const fn contains(self, lane: Lane) -> bool {
        self.0[lane.index()]
    }

    /// The lanes of the set, in the order of [`Lane::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Lane> + Clone {
        Lane::ALL
            .into_iter()
            .filter(move |lane| self.contains(*lane))
    }
}

impl FromIterator<Lane> for LaneSet {
    fn from_iter<T: IntoIterator<Item = Lane>>(lanes: T) -> Self {
        let mut set = Self::default();
        for lane in lanes {
            set.0[lane.index()] = true;
        }
        set
    }
}
