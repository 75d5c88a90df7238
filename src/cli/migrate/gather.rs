//! Finds the evidence: in files, at the running proxy, and at Wise.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::super::admin_client::{AdminClient, AdminError};
use super::super::args::{Global, LOGIN_REDIRECT, MigrateStatusArgs};
use super::super::failure::{Exit, Failure};
use super::super::report;
use super::evidence::{
    Client, Confirmation, Evidence, Guide, Handshake, Personal, Proxy, Rehearsal, Start, Typed,
    WayBack,
};
use super::record::{self, Begun, RecordError};
use super::step::Step;
use super::words::{moment, rfc3339, since};
use super::{ask, files, grants};
use crate::clock::{Clock as _, System};
use crate::config::{Config, ConfigError, Environment, Lane, Loaded, SecretSource};
use crate::server::lane_in_use;
use crate::switch::{Entry, SwitchError, SwitchStore, Usage, UsageStore};

/// More turns of the switch than this nobody looks back on.
const TURNS: usize = 1_000;

/// A success is noted so much later at most, so an earlier note may be of the pair before.
const NOTED_LATE: Duration = Duration::from_mins(1);

/// Everything that can be known about the configuration that the command line means.
pub(super) fn gather(global: &Global, args: &MigrateStatusArgs) -> Result<Evidence, Failure> {
    let now = System.wall();
    let named = global.config_file().map(PathBuf::from);
    let loaded = match global.try_load()? {
        Ok(loaded) => loaded,
        Err(error) if is_missing(&error) => {
            let guide = args.guide.unwrap_or(Guide::Sandbox);
            let start = args.from.unwrap_or(Start::PersonalToken);
            let typed = Typed {
                config: named,
                redirect: LOGIN_REDIRECT.to_owned(),
                ..Typed::default()
            };
            return Ok(Evidence::none(guide, start, now, typed));
        }
        Err(error) => return Err(error.into()),
    };
    let scene = Scene::open(loaded, now)?;
    let mut evidence = scene.evidence(args, named);
    if !args.offline {
        let wanted = ask::wanted(&evidence);
        if io::stderr().is_terminal() && wanted.any() {
            report::say("asking Wise …");
        }
        ask::ask(&scene.config, wanted, &mut evidence)?;
    }
    Ok(evidence)
}

fn is_missing(error: &ConfigError) -> bool {
    match error {
        ConfigError::Nowhere { .. } => true,
        ConfigError::Unreadable { source, .. } => source.kind() == io::ErrorKind::NotFound,
        ConfigError::Syntax { .. } | ConfigError::Invalid(_) => false,
    }
}

/// What the files and the running proxy say.
pub(super) struct Scene {
    pub(super) config: Config,
    path: Option<PathBuf>,
    pub(super) now: SystemTime,
    /// `/status` of the running proxy, or why there is none.
    pub(super) status: Result<Value, AdminError>,
    usage: Usage,
    turns: Vec<Entry>,
    last: Option<Entry>,
    begun: Option<Begun>,
    confirmed: BTreeMap<Step, Confirmation>,
}

impl Scene {
    fn open(loaded: Loaded, now: SystemTime) -> Result<Self, Failure> {
        let Loaded { config, path, .. } = loaded;
        let client = AdminClient::at(config.admin.socket.clone());
        let status = match client.get("/status") {
            Err(denied @ AdminError::Denied { .. }) => return Err(denied.into()),
            status => status,
        };
        let dir = &config.store.path;
        let switch = SwitchStore::new(dir);
        // An older proxy does not know that page.
        let lanes = status.as_ref().ok().and_then(|_| client.get("/lanes").ok());
        let usage = match lanes.and_then(|lanes| serde_json::from_value(lanes).ok()) {
            Some(usage) => usage,
            None => UsageStore::new(dir).load()?,
        };
        Ok(Self {
            usage,
            turns: switch.history(TURNS)?,
            last: switch.load()?,
            begun: record::begun(dir)?,
            confirmed: record::confirmed(dir)?,
            config,
            path,
            now,
            status,
        })
    }

    fn evidence(&self, args: &MigrateStatusArgs, named: Option<PathBuf>) -> Evidence {
        let config = &self.config;
        let guide = args.guide.unwrap_or(match config.environment {
            Environment::Production => Guide::Production,
            Environment::Sandbox | Environment::Custom => Guide::Sandbox,
        });
        let start = args.from.unwrap_or_else(|| self.start());
        let typed = files::typed(config, self.begun.as_ref(), named, self.running());
        let certificate = files::certificate(config);
        let request = files::request(config);
        let grants = grants::found(self);
        Evidence {
            guide,
            start,
            now: self.now,
            configuration: Some(self.configuration()),
            client: self.client(),
            request,
            certificate,
            grants,
            proxy: self.proxy(),
            way_back: self.way_back(guide, start),
            handshake: self.handshake(),
            lane: Some(self.lane()),
            is_turned: self.last.is_some(),
            rehearsal: self.rehearsal(self.way_back(guide, start).lane),
            personal: Personal {
                configured: config.personal.is_some(),
                file: self.personal_file(),
            },
            usage: self.usage.clone(),
            confirmed: self.confirmed.clone(),
            typed,
        }
    }

    /// As `init` was told, or as it looks.
    fn start(&self) -> Start {
        let used = self.usage.of(Lane::Personal).answers > 0;
        match &self.begun {
            Some(begun) => begun.from,
            None if self.config.personal.is_some() || used => Start::PersonalToken,
            None => Start::ClientCredentials,
        }
    }

    fn configuration(&self) -> String {
        let path = self.path.as_deref().map(files::short);
        let path = path.map_or_else(String::new, |path| format!("{}, ", path.display()));
        let lanes: Vec<_> = self.config.switch.lanes.iter().map(Lane::name).collect();
        format!(
            "{path}{}, lanes {}",
            self.config.environment,
            lanes.join(" ")
        )
    }

    fn running(&self) -> Option<&Value> {
        self.status.as_ref().ok()
    }

    fn proxy(&self) -> Proxy {
        match &self.status {
            Ok(status) => match serde_json::from_value(status["lane"].clone()) {
                Ok(lane) => Proxy::Running {
                    lane,
                    reasons: list(&status["reasons"]),
                },
                Err(_) => Proxy::Silent("what answers on the admin socket is no proxy".into()),
            },
            Err(AdminError::NotRunning { .. }) => Proxy::Stopped,
            Err(error) => Proxy::Silent(error.to_string()),
        }
    }

    /// The running proxy shows it; a stopped one has it written down.
    fn lane(&self) -> (Lane, String) {
        let status = self.running();
        let shown = status.and_then(|status| serde_json::from_value(status["lane"].clone()).ok());
        let turned =
            status.and_then(|status| serde_json::from_value(status["switched"].clone()).ok());
        let (lane, turned) = match shown {
            Some(lane) => (lane, turned),
            None => (
                lane_in_use(&self.config, self.last.as_ref()),
                self.last.clone(),
            ),
        };
        let how = match turned {
            Some(Entry { at, by, reason, .. }) => {
                let ago = since(Some(&at), self.now);
                format!("{lane} since {} ({ago}), by {by}: {reason}", second(&at))
            }
            None => format!("{lane}, as configured"),
        };
        (lane, how)
    }

    /// Whether Wise took the client's credentials from the running proxy: also a user's token is
    /// renewed with them.
    fn client(&self) -> Client {
        let Some(oauth) = &self.config.oauth else {
            return Client::Unconfigured;
        };
        let tokens = self
            .running()
            .and_then(|status| status["tokens"].as_array());
        for token in tokens.into_iter().flatten() {
            let renewed = token["refreshes"]["renewed"].as_u64().unwrap_or_default();
            if token["state"] == "live" && renewed > 0 {
                let at = since(token["last_renewal"].as_str(), self.now);
                let what = match token["grant"].as_str() {
                    Some(grant) => format!("grant {grant} was renewed {at}"),
                    None => format!("it got a token {at}"),
                };
                let id = &oauth.client_id;
                return Client::Accepted(format!("client {id}: {what}"));
            }
            if token["absence"] == "client_refused" {
                let why = token["reason"]
                    .as_str()
                    .unwrap_or("Wise refuses the client");
                return Client::Refused(why.to_owned());
            }
        }
        unreadable(&oauth.client_secret).map_or_else(
            || Client::Unasked("Wise was not asked".into()),
            |(why, file)| Client::NoSecret { why, file },
        )
    }

    /// A success over mutual TLS with the pair in use proves it; what does not is asked of Wise.
    fn handshake(&self) -> Handshake {
        let used = self.usage.of(Lane::OAuthMtls);
        let last = used.last_accepted.as_deref();
        let installed = files::installed(&self.config);
        let safely = installed.and_then(|at| at.checked_add(NOTED_LATE));
        if last
            .and_then(moment)
            .zip(safely)
            .is_some_and(|(last, safely)| last > safely)
        {
            let ago = since(last, self.now);
            return Handshake::Done(format!("requests were answered over it, last {ago}"));
        }
        Handshake::Unknown("Wise was not asked".into())
    }

    fn way_back(&self, guide: Guide, start: Start) -> WayBack {
        let config = &self.config;
        let has_token = config.personal.is_some();
        // A sandbox may have no personal token; production has the one that it began with.
        let is_personal =
            start == Start::PersonalToken && (has_token || guide == Guide::Production);
        let lane = if is_personal {
            Lane::Personal
        } else {
            Lane::OAuth
        };
        let shown = self.running().map(|status| list(&status["lanes"]));
        let shut = if shown.is_some_and(|lanes| lanes.iter().any(|shown| shown == lane.name())) {
            None
        } else if is_personal && !has_token {
            Some(("the configuration has no [personal]".to_owned(), None))
        } else if !config.switch.lanes.contains(lane) {
            Some((format!("lane {lane} is not allowed"), None))
        } else {
            let token = config.personal.as_ref().filter(|_| is_personal);
            token.and_then(unreadable)
        };
        WayBack { lane, shut }
    }

    /// From the last turn to the way back on.
    fn rehearsal(&self, back: Lane) -> Rehearsal {
        let left = |turn: &Entry| turn.from == Lane::OAuthMtls && turn.to == back;
        // Newest first.
        let Some(at) = self.turns.iter().position(left) else {
            return Rehearsal::None;
        };
        let taken = &self.turns[at];
        let used = self.usage.of(back).last_accepted.as_deref();
        let used = used.and_then(moment).zip(moment(&taken.at));
        let answered = used.is_some_and(|(used, taken)| used > taken);
        let newer = self.turns.iter().take(at);
        let returned = newer
            .rev()
            .find(|turn| turn.from == back && turn.to == Lane::OAuthMtls);
        match returned {
            None => Rehearsal::Taken { answered },
            Some(turn) if answered => Rehearsal::Over(second(&turn.at)),
            Some(_) => Rehearsal::Idle,
        }
    }

    /// The file of the personal token, while it is there.
    fn personal_file(&self) -> Option<PathBuf> {
        let begun = self.begun.as_ref();
        let named = match &self.config.personal {
            Some(SecretSource::File(path)) => Some(path),
            Some(_) | None => begun.and_then(|begun| begun.personal_file.as_ref()),
        };
        let there = named.filter(|path| path.symlink_metadata().is_ok());
        there.map(|path| files::short(path))
    }
}

/// A noted time, to the second.
fn second(at: &str) -> String {
    moment(at).map_or_else(|| at.to_owned(), rfc3339)
}

/// Why a secret cannot be read here, and the file to put it into. A program is not run for this.
pub(super) fn unreadable(source: &SecretSource) -> Option<(String, Option<PathBuf>)> {
    let file = match source {
        SecretSource::Exec(_) => return None,
        SecretSource::File(path) => Some(files::short(path)),
        SecretSource::Env(_) | SecretSource::Credential(_) => None,
    };
    let why = source.read().err()?;
    // A file that is there is to be mended, not written.
    let file = file.filter(|path| !path.exists());
    match &file {
        Some(path) => Some((format!("{} is not there", path.display()), file)),
        None => Some((why.to_string(), None)),
    }
}

fn list(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// A file of the store that cannot be read: nothing can be told.
fn cannot_tell(error: anyhow::Error, source: Option<&io::Error>) -> Failure {
    let denied = source.is_some_and(|source| source.kind() == io::ErrorKind::PermissionDenied);
    let exit = if denied {
        Exit::Permission
    } else {
        Exit::Failed
    };
    Failure::new(exit, error).hint("ask as the user that the proxy runs as")
}

impl From<SwitchError> for Failure {
    fn from(error: SwitchError) -> Self {
        let source = match &error {
            SwitchError::Read { source, .. }
            | SwitchError::Write { source, .. }
            | SwitchError::ReadUsage { source, .. }
            | SwitchError::WriteUsage { source, .. } => Some(io::Error::from(source.kind())),
            SwitchError::Garbled { .. } | SwitchError::GarbledUsage { .. } => {
                return Self::advised(Exit::Failed, &error, "look at the store");
            }
        };
        cannot_tell(error.into(), source.as_ref())
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        let source = match &error {
            RecordError::Read { source, .. } | RecordError::Write { source, .. } => {
                Some(io::Error::from(source.kind()))
            }
            RecordError::Garbled { .. } => {
                return Self::advised(Exit::Failed, &error, "run `init` again");
            }
        };
        cannot_tell(error.into(), source.as_ref())
    }
}
