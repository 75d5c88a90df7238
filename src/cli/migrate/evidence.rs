//! What was found out, before it is judged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::step::Step;
use crate::config::Lane;
use crate::secret::Secret;
use crate::switch::{LaneUse, Usage};

/// Which half of Wise's guide.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Guide {
    /// The rehearsal.
    Sandbox,
    /// Real money.
    Production,
}

impl Guide {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Production => "production",
        }
    }
}

/// Where a company comes from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Start {
    /// A personal token in the programs' settings.
    PersonalToken,
    /// OAuth already, over ordinary TLS.
    ClientCredentials,
}

impl Start {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::PersonalToken => "personal-token",
            Self::ClientCredentials => "client-credentials",
        }
    }
}

/// Everything that the steps are judged by.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    pub(super) guide: Guide,
    pub(super) start: Start,
    pub(super) now: SystemTime,
    /// How commands are to be typed for this configuration.
    pub(super) typed: Typed,
    /// The configuration file in a few words; `None`: there is none.
    pub(super) configuration: Option<String>,
    pub(super) client: Client,
    pub(super) request: Request,
    pub(super) certificate: Certificate,
    pub(super) grants: Vec<Grant>,
    pub(super) proxy: Proxy,
    pub(super) way_back: WayBack,
    pub(super) handshake: Handshake,
    /// The lane in use, and how it came to that.
    pub(super) lane: Option<(Lane, String)>,
    /// Somebody has turned the switch.
    pub(super) is_turned: bool,
    pub(super) usage: Usage,
    pub(super) rehearsal: Rehearsal,
    pub(super) personal: Personal,
    pub(super) confirmed: BTreeMap<Step, Confirmation>,
}

/// What the next commands are made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Typed {
    /// The file, where commands do not find it by themselves.
    pub(super) config: Option<PathBuf>,
    pub(super) organisation: Option<String>,
    pub(super) country: Option<String>,
    /// Wise's Developer Hub.
    pub(super) hub: String,
    /// Wise's page of connected apps.
    pub(super) settings: String,
    /// The redirect address as on file at Wise.
    pub(super) redirect: String,
    /// It leads elsewhere than to this machine.
    pub(super) paste: bool,
    /// Where the programs reach the proxy, as a URL or a socket.
    pub(super) door: Option<String>,
}

/// The OAuth client.
#[derive(Clone, Debug)]
pub(super) enum Client {
    /// The configuration has none.
    Unconfigured,
    /// Its secret cannot be read; the file to put it into, if it is a file.
    NoSecret { why: String, file: Option<PathBuf> },
    /// Wise has given a token for it.
    Accepted(String),
    /// Wise has not.
    Refused(String),
    /// Nobody knows.
    Unasked(String),
}

/// The request for a certificate.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// The configuration does not say where the key goes.
    Unconfigured,
    None {
        key: PathBuf,
    },
    /// A key without its request.
    KeyOnly {
        key: PathBuf,
    },
    Made {
        csr: PathBuf,
    },
}

/// The client certificate.
#[derive(Clone, Debug)]
pub(super) enum Certificate {
    Unconfigured,
    Missing {
        path: PathBuf,
    },
    /// It or its key cannot be used, or Wise cannot take it.
    Unusable(String),
    Installed(String),
}

/// One grant of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) name: String,
    pub(super) state: GrantState,
}

#[derive(Clone, Debug)]
pub(super) enum GrantState {
    /// A token that lives, and for whom.
    Alive(String),
    /// In the store, and nobody has tried it; the access token while it lasts.
    Stored {
        seen: String,
        access: Option<Secret>,
    },
    /// Nobody has logged in.
    Absent,
    /// Over, unreadable, without token: why.
    Broken(String),
}

/// The proxy of this configuration.
#[derive(Clone, Debug)]
pub(super) enum Proxy {
    Stopped,
    Running {
        lane: Lane,
        /// Why it is not ready.
        reasons: Vec<String>,
    },
    /// Something is there and gives no proper answer.
    Silent(String),
}

/// The lane to go back to when anything goes wrong.
#[derive(Clone, Debug)]
pub(super) struct WayBack {
    pub(super) lane: Lane,
    /// Why it cannot be taken; the file to fill, if that would help.
    pub(super) shut: Option<(String, Option<PathBuf>)>,
}

/// Whether the way back was tried.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Rehearsal {
    None,
    /// It is in use now, and a request was answered on it or not.
    Taken {
        answered: bool,
    },
    /// Left again, without a request.
    Idle,
    /// Left again, after a request; when.
    Over(String),
}

/// Whether Wise takes the client certificate.
#[derive(Clone, Debug)]
pub(super) enum Handshake {
    Done(String),
    Failed(String),
    Unknown(String),
}

/// The old personal token.
#[derive(Clone, Debug, Default)]
pub(super) struct Personal {
    /// The configuration names one.
    pub(super) configured: bool,
    /// The file that it is still in.
    pub(super) file: Option<PathBuf>,
}

/// An operator's word.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Confirmation {
    pub(crate) step: Step,
    /// RFC 3339.
    pub(crate) at: String,
    pub(crate) by: String,
    /// Taken back.
    #[serde(default)]
    pub(crate) undone: bool,
}

impl Evidence {
    /// What there is before there is a configuration.
    pub(super) fn none(guide: Guide, start: Start, now: SystemTime, typed: Typed) -> Self {
        let nothing = || "there is no configuration".to_owned();
        Self {
            guide,
            start,
            now,
            typed,
            configuration: None,
            client: Client::Unconfigured,
            request: Request::Unconfigured,
            certificate: Certificate::Unconfigured,
            grants: Vec::new(),
            proxy: Proxy::Stopped,
            way_back: WayBack {
                lane: Lane::Personal,
                shut: Some((nothing(), None)),
            },
            handshake: Handshake::Unknown(nothing()),
            lane: None,
            is_turned: false,
            usage: Usage::default(),
            rehearsal: Rehearsal::None,
            personal: Personal::default(),
            confirmed: BTreeMap::new(),
        }
    }

    /// Successes over any lane.
    pub(super) fn accepted(&self) -> u64 {
        let used = Lane::ALL.map(|lane| self.usage.of(lane).accepted);
        used.iter().sum()
    }

    /// The lane that was last used with success.
    pub(super) fn last_used(&self) -> Option<(Lane, &LaneUse)> {
        let used = Lane::ALL.map(|lane| (lane, self.usage.of(lane)));
        let used = used.into_iter().filter(|(_, used)| used.accepted > 0);
        used.max_by(|(_, a), (_, b)| a.last_accepted.cmp(&b.last_accepted))
    }
}
