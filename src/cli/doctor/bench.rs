//! What the checks share: the configuration, what was read of it so far, and the ways to Wise.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;

use super::super::spelling;
use super::check::Finding;
use crate::config::{Config, Environment, Lane, LaneSet, Loaded, Origin};
use crate::secret::Secret;
use crate::tls::{Identity, RootSet, Watch, watched_config};
use crate::upstream::{self, Answer, Endpoint, EndpointError, OnceError};
use crate::wise::hosts::TOKEN_PATH;

/// Any read of Wise's; without a credential it is answered with 401 and nothing else happens.
pub(super) const PROFILES: &str = "/v2/profiles";

/// The check that reads the credentials for a proxy on the way out.
pub(super) const VIA: &str = "secret.upstream.via_credentials";

/// What is known so far. Checks that come first fill in what later ones use.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(super) config: Arc<Config>,
    /// The file that was named with `--config`, for the commands in hints.
    named: Option<PathBuf>,
    /// The lane of the switch, or what it would be after a start.
    pub(super) lane: Lane,
    /// What could be read, by the ids of the checks that read it.
    pub(super) secrets: BTreeMap<String, Secret>,
    pub(super) roots: Option<RootSet>,
    pub(super) identity: Option<Arc<Identity>>,
    /// What the running proxy says of itself.
    pub(super) running: Option<serde_json::Value>,
    /// One may run that did not answer us.
    pub(super) may_run: bool,
}

/// One of the hosts that we speak to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Host {
    /// Of lanes `personal` and `oauth`.
    Plain,
    /// Of lane `oauth-mtls`.
    Mtls,
    /// Of the token endpoint, where it is on neither.
    Token,
}

impl Host {
    /// The last part of its checks' ids.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Mtls => "mtls",
            Self::Token => "token",
        }
    }

    pub(super) fn of(lane: Lane) -> Self {
        match lane {
            Lane::Personal | Lane::OAuth => Self::Plain,
            Lane::OAuthMtls => Self::Mtls,
        }
    }

    /// The checks that a request to it hangs on.
    pub(super) fn ground(self) -> Vec<String> {
        let tls = format!("tls.{}", self.name());
        match self {
            Self::Plain | Self::Token => vec![tls],
            Self::Mtls => vec![tls, "certificate.accepted".to_owned()],
        }
    }
}

impl Bench {
    pub(super) fn new(loaded: &Loaded, named: Option<PathBuf>) -> Self {
        let config = loaded.config.clone();
        Self {
            lane: config.switch.lane,
            config: Arc::new(config),
            named,
            secrets: BTreeMap::new(),
            roots: None,
            identity: None,
            running: None,
            may_run: false,
        }
    }

    /// A command of ours as a person would type it here.
    pub(super) fn command(&self, arguments: &str) -> String {
        let command = spelling::command(self.named.as_deref(), arguments);
        format!("`{command}`")
    }

    pub(super) fn client_id(&self) -> Option<&str> {
        let oauth = self.config.oauth.as_ref();
        oauth.map(|oauth| oauth.client_id.as_str())
    }

    /// The lanes that requests take: that of the switch, and those of doors with their own.
    pub(super) fn lanes_in_use(&self) -> LaneSet {
        let pinned = self.config.doors.iter().filter_map(|door| door.lane);
        pinned.chain([self.lane]).collect()
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.config.upstream.connect_timeout
    }

    /// The hosts that the configuration names, used today or not.
    pub(super) fn hosts(&self) -> Vec<Host> {
        let hosts = &self.config.hosts;
        let elsewhere = hosts
            .token_url
            .as_ref()
            .is_some_and(|url| url.origin != hosts.plain && url.origin != hosts.mtls);
        let token = elsewhere.then_some(Host::Token);
        [Host::Plain, Host::Mtls].into_iter().chain(token).collect()
    }

    pub(super) fn origin(&self, host: Host) -> &Origin {
        let hosts = &self.config.hosts;
        match host {
            Host::Plain => &hosts.plain,
            Host::Mtls => &hosts.mtls,
            Host::Token => hosts
                .token_url
                .as_ref()
                .map_or(&hosts.plain, |url| &url.origin),
        }
    }

    /// The lanes whose requests go there.
    pub(super) fn lanes_of(&self, host: Host) -> Vec<Lane> {
        let lanes = self.config.switch.lanes.iter();
        let token_there = self.token_host_is(host);
        lanes
            .filter(|lane| Host::of(*lane) == host || token_there && lane.is_oauth())
            .collect()
    }

    fn token_host_is(&self, host: Host) -> bool {
        let url = self.config.hosts.token_url.as_ref();
        url.is_some_and(|url| url.origin == *self.origin(host))
    }

    /// Where tokens are asked for while requests take a lane, and the path there.
    pub(super) fn token_endpoint(&self, lane: Lane) -> (Host, PathAndQuery) {
        let own = || (Host::of(lane), PathAndQuery::from_static(TOKEN_PATH));
        let Some(url) = &self.config.hosts.token_url else {
            return own();
        };
        let host = if url.origin == self.config.hosts.plain {
            Host::Plain
        } else if url.origin == self.config.hosts.mtls {
            Host::Mtls
        } else {
            Host::Token
        };
        PathAndQuery::try_from(url.path.as_str())
            .map_or_else(|_impossible| own(), |path| (host, path))
    }

    /// A host's endpoint for names and connections only.
    pub(super) fn bare(&self, origin: &Origin) -> Result<Endpoint, Finding> {
        let via = self.secrets.get(VIA);
        Endpoint::new(origin, None, &self.config.upstream, via).map_err(|error| unusable(&error))
    }

    /// A host's endpoint, and where its handshake leaves what it sees. Each call makes a new one.
    pub(super) fn way(&self, host: Host) -> Result<(Endpoint, Watch), Finding> {
        let identity = match host {
            Host::Plain => None,
            // A server that does not ask never sees it.
            Host::Mtls | Host::Token => self.identity.as_deref(),
        };
        self.way_to(self.origin(host), identity)
    }

    pub(super) fn way_to(
        &self,
        origin: &Origin,
        identity: Option<&Identity>,
    ) -> Result<(Endpoint, Watch), Finding> {
        let Some(roots) = &self.roots else {
            return Err(Finding::skipped("not checked, because tls.roots failed"));
        };
        let (config, watch) = watched_config(roots, identity, self.config.upstream.http)
            .map_err(|error| Finding::advised(&error.to_string(), "report it"))?;
        let via = self.secrets.get(VIA);
        let endpoint = Endpoint::new(origin, Some(config), &self.config.upstream, via)
            .map_err(|error| unusable(&error))?;
        Ok((endpoint, watch))
    }

    /// GETs something from a host; without a credential if none is given.
    pub(super) async fn get(
        &self,
        host: Host,
        path: &'static str,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, GetError> {
        let (endpoint, _) = self.way(host).map_err(GetError::NoWay)?;
        let (path, limit) = (PathAndQuery::from_static(path), self.connect_timeout());
        let answer = match authorization {
            Some(authorization) => {
                Box::pin(upstream::get(&endpoint, path, authorization, limit)).await
            }
            None => Box::pin(upstream::knock(&endpoint, path, limit)).await,
        };
        answer.map_err(GetError::NoAnswer)
    }

    /// Whether addresses of this very network would be odd for Wise.
    pub(super) fn expects_public_addresses(&self) -> bool {
        self.config.environment != Environment::Custom
    }
}

/// Why there is no answer.
pub(super) enum GetError {
    NoWay(Finding),
    NoAnswer(OnceError),
}

impl GetError {
    /// What a check says whose business is not the way.
    pub(super) fn finding(self, bench: &Bench) -> Finding {
        match self {
            Self::NoWay(finding) => finding,
            Self::NoAnswer(error) => Finding::failed(
                format!("no answer: {error}"),
                format!(
                    "run {} again; if it stays so, look at what stands between here and Wise",
                    bench.command("doctor")
                ),
            ),
        }
    }
}

fn unusable(error: &EndpointError) -> Finding {
    let otherwise = "correct what upstream.via_credentials names: it holds `user:password`";
    Finding::advised(&error.to_string(), otherwise)
}
