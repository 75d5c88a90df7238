//! Why a policy refuses a request.

use std::fmt;
use std::time::Duration;

use crate::wise::Lane;

/// A policy's no.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    /// The policy's name.
    pub(crate) policy: String,
    pub(crate) reason: Reason,
}

/// What a policy has against a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Reason {
    /// The request could be read in more than one way.
    Ambiguous(&'static str),
    /// No rule of `allow` covers it.
    NotAllowed,
    /// This rule of `deny` covers it; its position counts from one.
    Denied { position: usize, rule: String },
    /// It names a profile that is not among those allowed.
    Profile(String),
    /// The grant that would serve it acts for another profile, or for one that is not known.
    Grant,
    /// The personal token acts for every profile, and the request names none.
    NoProfile,
    /// It would leave in a lane that is not allowed.
    Lane(Lane),
    /// The body is longer than that many bytes.
    BodyTooLarge(usize),
    /// Too many in a short time; one fits after that long.
    TooMany { per_minute: u32, wait: Duration },
    /// That many are being served already.
    TooManyAtOnce(u32),
    /// That many fundings were tried in the last hour; one fits after that long.
    FundingCap { per_hour: u32, wait: Duration },
    /// The funding cannot be written down.
    FundingUnrecorded(String),
}

impl Reason {
    /// Names in metrics, in the order of [`Self::index`].
    pub(crate) const NAMES: [&'static str; 12] = [
        "ambiguous-path",
        "not-in-allow",
        "denied",
        "profile",
        "grant",
        "no-profile",
        "lane",
        "body",
        "rate",
        "concurrency",
        "funding-cap",
        "funding-unrecorded",
    ];

    pub(crate) const fn index(&self) -> usize {
        match self {
            Self::Ambiguous(_) => 0,
            Self::NotAllowed => 1,
            Self::Denied { .. } => 2,
            Self::Profile(_) => 3,
            Self::Grant => 4,
            Self::NoProfile => 5,
            Self::Lane(_) => 6,
            Self::BodyTooLarge(_) => 7,
            Self::TooMany { .. } => 8,
            Self::TooManyAtOnce(_) => 9,
            Self::FundingCap { .. } => 10,
            Self::FundingUnrecorded(_) => 11,
        }
    }

    pub(crate) const fn name(&self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// When it makes sense to ask again.
    pub(crate) fn wait(&self) -> Option<Duration> {
        match self {
            Self::TooMany { wait, .. } | Self::FundingCap { wait, .. } => Some(*wait),
            Self::TooManyAtOnce(_) => Some(Duration::from_secs(1)),
            Self::FundingUnrecorded(_) => Some(Duration::from_secs(5)),
            Self::Ambiguous(_)
            | Self::NotAllowed
            | Self::Denied { .. }
            | Self::Profile(_)
            | Self::Grant
            | Self::NoProfile
            | Self::Lane(_)
            | Self::BodyTooLarge(_) => None,
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self, policy: &str) -> String {
        let explain = "see why: `wise-auth-proxy policy test METHOD PATH`";
        match self {
            Self::Ambiguous(_) => {
                "send it as Wise's reference writes it: encode nothing in the path that needs no \
                 encoding, and say the method where it belongs"
                    .into()
            }
            Self::NotAllowed | Self::Denied { .. } => {
                format!("{explain}; the rules are `allow` and `deny` of the policy `{policy}`")
            }
            Self::Profile(_) | Self::Grant | Self::Lane(_) => {
                format!("{explain}; the policy `{policy}` lists what it lets pass")
            }
            Self::NoProfile => {
                "name the profile in the path, or as `profile` in the query: Wise sees no other place"
                    .into()
            }
            Self::BodyTooLarge(_) => {
                format!("send less, or raise `max_body` of the policy `{policy}`")
            }
            Self::TooMany { .. } => {
                format!("slow down, or raise `requests_per_minute` of the policy `{policy}`")
            }
            Self::TooManyAtOnce(_) => format!(
                "wait for an answer before the next request, or raise `concurrent_requests` of \
                 the policy `{policy}`"
            ),
            Self::FundingCap { .. } => format!(
                "somebody should look at what is being paid; if it is right, raise \
                 `fundings_per_hour` of the policy `{policy}`"
            ),
            Self::FundingUnrecorded(_) => {
                "nothing was paid; mend the store's disk, see `wise-auth-proxy status`".into()
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = &self.policy;
        match &self.reason {
            Reason::Ambiguous(why) => write!(
                f,
                "the request could be read in more than one way: {why}; the policy `{policy}` judges \
                 what is asked for, so such a one does not pass"
            ),
            Reason::NotAllowed => write!(f, "no rule of the policy `{policy}` allows it"),
            Reason::Denied { position, rule } => write!(
                f,
                "the policy `{policy}` denies it by rule {position} of `deny`, `{rule}`"
            ),
            Reason::Profile(profile) => write!(
                f,
                "the policy `{policy}` does not let profile {profile} be acted for"
            ),
            Reason::Grant => write!(
                f,
                "the policy `{policy}` does not let the profile of the grant be acted for that \
                 would serve this"
            ),
            Reason::NoProfile => write!(
                f,
                "the policy `{policy}` lets some profiles be acted for, the request names none, \
                 and the personal token would act for any"
            ),
            Reason::Lane(lane) => {
                write!(f, "the policy `{policy}` does not let lane {lane} be used")
            }
            Reason::BodyTooLarge(limit) => write!(
                f,
                "the request's body is longer than the {limit} bytes that the policy `{policy}` \
                 lets pass"
            ),
            Reason::TooMany { per_minute, .. } => write!(
                f,
                "the policy `{policy}` lets {per_minute} requests a minute pass, and this is more"
            ),
            Reason::TooManyAtOnce(limit) => write!(
                f,
                "the policy `{policy}` lets {limit} requests be served at once, and as many are"
            ),
            Reason::FundingCap { per_hour, .. } => write!(
                f,
                "the policy `{policy}` lets {per_hour} fundings pass in any hour, and as many were \
                 tried"
            ),
            Reason::FundingUnrecorded(why) => write!(
                f,
                "the policy `{policy}` counts fundings, and this one cannot be written down: {why}"
            ),
        }
    }
}
