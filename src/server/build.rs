//! Building: everything is read and checked here, and nothing is bound.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::admin::AdminError;
use crate::clock::{Clock, System};
use crate::config::{
    self, AccessLog, Config, ConfigError, Grant, Lane, Loaded, SecretSource, Sources,
};
use crate::confinement::Confinement;
use crate::credentials::{FileStore, StoreError};
use crate::listener::ListenerError;
use crate::proxy::{Directory, Kind, Published, Snapshot};
use crate::secret::Secret;
use crate::server::outfit::{Outfit, OutfitError};
use crate::server::token_seal::TokenSeal;
use crate::supervisor::Handed;
use crate::switch::{Entry, SwitchError, SwitchStore};
use crate::telemetry::events::Events;
use crate::telemetry::log::Sink;
use crate::telemetry::meter::Meter;
use crate::tls::Finding;
use crate::tokens::{Absence, TokenView};
use crate::upstream::{Endpoint, TokenEndpoint};
use crate::webhook::Webhooks;

/// A proxy that is ready to open its doors.
#[derive(Debug)]
pub struct Server {
    pub(crate) sources: Sources,
    pub(crate) config: Config,
    /// The configuration file, if there is one.
    pub(crate) path: Option<PathBuf>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<FileStore>,
    pub(crate) switch: SwitchStore,
    pub(crate) outfit: Arc<Outfit>,
    pub(crate) token_seal: Arc<TokenSeal>,
    pub(crate) published: Published,
    pub(crate) endpoint: Option<Arc<TokenEndpoint>>,
    pub(crate) meters: Vec<Arc<Meter>>,
    pub(crate) access: Option<Sink>,
    pub(crate) log: Sink,
    pub(crate) events: Events,
    pub(crate) last_switch: Option<Entry>,
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) confinement: Arc<Confinement>,
    /// Sockets of the service manager, for the doors whose addresses they have.
    pub(crate) handed: Vec<Handed>,
}

/// The proxy cannot start. Each message says what to mend.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] Box<ConfigError>),
    /// The configuration has changed since the process was confined to what it named.
    #[error("{0}")]
    OutOfReach(String),
    /// A secret, certificate or host is not usable.
    #[error(transparent)]
    Outfit(#[from] OutfitError),
    /// The store is not usable.
    #[error("{0}")]
    Store(String),
    /// The recorded lane cannot be read, or cannot be used any more.
    #[error("{0}")]
    Switch(String),
    /// A door cannot open.
    #[error("{0}")]
    Door(String),
    /// What happens must be recorded, and cannot be.
    #[error("{0}")]
    Audit(String),
    /// A thread, a runtime or the access log could not start.
    #[error("{what}: {source}")]
    Io {
        /// What was being started.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<SwitchError> for StartError {
    fn from(error: SwitchError) -> Self {
        Self::Switch(error.to_string())
    }
}

impl From<ListenerError> for StartError {
    fn from(error: ListenerError) -> Self {
        Self::Door(error.to_string())
    }
}

impl From<AdminError> for StartError {
    fn from(error: AdminError) -> Self {
        Self::Door(error.to_string())
    }
}

impl Server {
    /// Reads the configuration and everything it names, and checks that it fits together.
    ///
    /// Blocks on files; call it before the runtime is busy. `log` takes the access lines too,
    /// unless the configuration sends them elsewhere. `confinement` is what this process is under
    /// already: what can be read here can be read at a reload.
    pub(crate) fn build(
        sources: Sources,
        log: Sink,
        confinement: Confinement,
    ) -> Result<Self, StartError> {
        let Loaded { config, path, .. } = config::load(&sources).map_err(Box::new)?;
        confinement
            .check(&config)
            .map_err(|out| StartError::OutOfReach(out.to_string()))?;
        let clock: Arc<dyn Clock> = Arc::new(System);
        let events = Events::new(Arc::clone(&clock));
        let store = Arc::new(FileStore::at(&config.store.path, seal_key(&config)?));
        match store.check() {
            // Whoever may write there may also have turned the switch.
            Err(error @ StoreError::Loose { .. }) if error.concerns(&config.store.path) => {
                return Err(error.into());
            }
            // The keepers say what is wrong and look again; the personal lane needs no store.
            Err(_) | Ok(()) => {}
        }
        let directory = directory(&config.grants, &store);

        let token_seal = Arc::new(TokenSeal::of(&store));
        let outfit = Outfit::read(&config, &directory, None, &token_seal)?;
        for finding in outfit.grave_findings(&config, clock.as_ref()) {
            // The personal lane must stay reachable when a certificate has run out overnight; of
            // that one the log hears soon enough.
            if !matches!(finding, Finding::Expired { .. }) {
                tracing::error!("client certificate: {finding}");
            }
        }

        let switch = SwitchStore::new(&config.store.path);
        let last_switch = switch.load()?;
        let lane = lane_in_use(&config, last_switch.as_ref());
        way(&outfit, lane)?;
        let endpoint = token_endpoint(&outfit, &config, lane)?.map(Arc::new);

        let access = match &config.log.access {
            AccessLog::Off => None,
            AccessLog::Stderr => Some(log.clone()),
            AccessLog::File(path) => Some(Sink::file(path).map_err(|source| StartError::Io {
                what: "log.access",
                source,
            })?),
        };
        let meter = || Arc::new(Meter::new(config.grants.len(), Kind::NAMES.len()));
        let meters = (0..config.runtime.workers).map(|_| meter()).collect();

        // Until its keeper has looked into the store, a request waits as it does for a renewal.
        let absent = |reason, renewing| TokenView::Absent { reason, renewing };
        let mut tokens = vec![absent(Absence::NotLooked, true); config.grants.len()];
        tokens.push(absent(Absence::NotFetched, false));
        let published = Published::new(Snapshot {
            lane,
            ways: outfit.ways.clone(),
            personal: outfit.personal.clone(),
            tokens,
            directory: Arc::new(directory),
            doors: Arc::clone(&outfit.doors),
            policies: Arc::clone(&outfit.policies),
            callers: Arc::clone(&outfit.callers),
            jose: Arc::clone(&outfit.jose),
            upstream: Arc::new(config.upstream.clone()),
            signer: outfit.signer.clone(),
            draining: false,
        });
        let webhooks = Webhooks::new(&config, &outfit.webhooks, &clock, &events);
        Ok(Self {
            sources,
            config,
            path,
            clock,
            store,
            switch,
            outfit: Arc::new(outfit),
            token_seal,
            published,
            endpoint,
            meters,
            access,
            log,
            events,
            last_switch,
            webhooks: Arc::new(webhooks),
            confinement: Arc::new(confinement),
            handed: Vec::new(),
        })
    }

    /// Opens doors with these sockets where one has a door's address, instead of binding it.
    pub(crate) fn with_sockets(self, handed: Vec<Handed>) -> Self {
        Self { handed, ..self }
    }

    /// The configuration in use.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// The store that the configuration names, for a command that is for nothing without it.
pub(crate) fn open_store(config: &Config) -> Result<FileStore, StartError> {
    let key = seal_key(config)?;
    Ok(FileStore::open(&config.store.path, key.as_ref())?)
}

/// The seal key, if it is in a place of its own.
fn seal_key(config: &Config) -> Result<Option<Secret>, OutfitError> {
    let source = config.store.seal_key.as_ref();
    let read = source.map(SecretSource::read).transpose();
    read.map_err(|source| OutfitError::Secret {
        key: "store.seal_key",
        source,
    })
}

/// The lane that a proxy takes at its start: the recorded one, or the configured one.
pub(crate) fn lane_in_use(config: &Config, last: Option<&Entry>) -> Lane {
    last.map_or(config.switch.lane, |entry| entry.to)
}

/// The endpoint of a lane, or why there is none.
pub(super) fn way(outfit: &Outfit, lane: Lane) -> Result<&Arc<Endpoint>, StartError> {
    outfit.ways[lane.index()].as_ref().ok_or_else(|| {
        StartError::Switch(format!(
            "the lane in use is `{lane}`, which the configuration forbids or does not equip; \
             allow it, or run `wise-auth-proxy switch <lane> --reason …`"
        ))
    })
}

/// Where exchanges go while `lane` is in use; `None` without OAuth.
pub(super) fn token_endpoint(
    outfit: &Outfit,
    config: &Config,
    lane: Lane,
) -> Result<Option<TokenEndpoint>, OutfitError> {
    let (connect, ttl) = (config.upstream.connect_timeout, config.upstream.dns_ttl);
    let aim = outfit.aim(config, lane)?;
    Ok(aim.map(|aim| TokenEndpoint::new(aim, connect, ttl)))
}

/// The grants, with the profile of a login where the configuration leaves it open.
fn directory(grants: &[Grant], store: &FileStore) -> Directory {
    let mut directory = Directory::new(grants);
    let grants = grants.iter().enumerate();
    for (index, grant) in grants.filter(|(_, grant)| grant.profile.is_none()) {
        // A record that cannot be read is its keeper's business, who says why.
        let record = store.load(&grant.name).ok().flatten();
        let profile = record.and_then(|record| record.profile);
        if let Some(learned) = directory.learn(index, profile.as_ref()) {
            directory = learned;
        }
    }
    directory
}
