//! What can be replaced while running: secrets, certificates, trust, hosts, door rules.
//!
//! An outfit is read and checked as a whole. It remembers a digest of everything it was made of,
//! so that a poll can tell whether anything changed, and so that an endpoint whose ingredients
//! stayed the same keeps its connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use http::HeaderValue;
use http::uri::PathAndQuery;

use crate::clock::Clock;
use crate::config::{self, Config, Lane, Mtls, Origin, SecretError, SecretSource};
use crate::guard::{Callers, GuardError, Policies};
use crate::proxy::{Directory, Door, Jose, Ways};
use crate::sca::{Signer, SigningKey};
use crate::secret::{NotAHeaderValue, Secret};
use crate::server::token_seal::TokenSeal;
use crate::tls::{
    self, Acceptor, Authority, Clients, Finding, Identity, Pair, RootSet, Severity, Tickets,
    TlsError, Tunnels,
};
use crate::upstream::{Aim, Endpoint, EndpointError};
use crate::webhook::{Dress, DressError};
use crate::wise::hosts::TOKEN_PATH;

/// Everything replaceable, checked.
#[derive(Debug)]
pub(crate) struct Outfit {
    pub(crate) plain: Made,
    pub(crate) mtls: Option<Made>,
    token_host: Option<Made>,
    pub(crate) ways: [Option<Arc<Endpoint>>; Lane::ALL.len()],
    pub(crate) personal: Option<HeaderValue>,
    pub(crate) doors: Arc<[Door]>,
    pub(crate) policies: Arc<Policies>,
    pub(crate) callers: Arc<Callers>,
    pub(crate) jose: Arc<Jose>,
    /// In the order of the configuration.
    pub(crate) webhooks: Vec<Arc<Dress>>,
    pub(crate) identity: Option<Arc<Identity>>,
    /// Who signs one-time tokens.
    pub(crate) signer: Option<Arc<Signer>>,
    client_secret: Option<Secret>,
    /// What changes the lane from the status page.
    pub(crate) admin_key: Option<Secret>,
    /// Of the certificates that applications see.
    pub(crate) certificates: Digest,
    /// Of the webhooks: settings, keys and certificates.
    pub(crate) of_webhooks: Digest,
    /// Of all ingredients.
    pub(crate) digest: Digest,
}

/// SHA-256 of what something was made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Digest([u8; 32]);

/// An endpoint and what it was made of.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) endpoint: Arc<Endpoint>,
    of: Digest,
}

/// The outfit cannot be used. Nothing has been changed.
#[derive(Debug, thiserror::Error)]
pub enum OutfitError {
    /// A secret cannot be read.
    #[error("{key}: {source}")]
    Secret {
        /// The setting.
        key: &'static str,
        /// Why.
        source: SecretError,
    },
    /// A secret cannot stand in a header.
    #[error("{key}: {source}; check for line breaks in the middle of it")]
    Header {
        /// The setting.
        key: &'static str,
        /// Why.
        source: NotAHeaderValue,
    },
    /// A certificate, key or set of roots cannot be used.
    #[error("{0}")]
    Tls(String),
    /// A host cannot be used.
    #[error("{0}")]
    Endpoint(String),
    /// A door's grant is none of those that the proxy was started with.
    #[error("door.grant: the grant `{0}` is not in use yet; restart the proxy to use it")]
    DoorGrant(String),
    /// A caller cannot be known as the configuration says.
    #[error("{0}")]
    Caller(String),
    /// A certificate of a door cannot be used.
    #[error("{key}: {error}")]
    Door {
        /// The setting.
        key: &'static str,
        /// Why.
        error: String,
    },
    /// A webhook's keys or certificates cannot be used.
    #[error("{0}")]
    Webhook(String),
    /// CONNECT is offered, and no authority is there.
    #[error(
        "a door offers CONNECT, and there is no local authority in {}; make one with \
         `wise-auth-proxy ca init`, or take `connect` out",
        certificate.display()
    )]
    NoAuthority {
        /// Where it should be.
        certificate: PathBuf,
    },
    /// The key for one-time tokens cannot be used.
    #[error("sca.key: {0}")]
    ScaKey(String),
    /// A key that a route needs cannot be used.
    #[error("[jose]: {0}")]
    Jose(String),
    /// The admin key could be guessed.
    #[error(
        "admin.key is too short: it stands between a web page and the lane; take at least \
         {SHORTEST_KEY} characters, such as those of `openssl rand -base64 24`"
    )]
    AdminKey,
}

/// At five wrong keys a minute nobody guesses as many characters as this.
const SHORTEST_KEY: usize = 16;

impl From<GuardError> for OutfitError {
    fn from(error: GuardError) -> Self {
        Self::Caller(error.to_string())
    }
}

impl From<DressError> for OutfitError {
    fn from(error: DressError) -> Self {
        Self::Webhook(error.to_string())
    }
}

impl From<TlsError> for OutfitError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error.to_string())
    }
}

impl From<EndpointError> for OutfitError {
    fn from(error: EndpointError) -> Self {
        Self::Endpoint(error.to_string())
    }
}

impl Outfit {
    /// Reads and checks. Blocks on files and programs.
    ///
    /// `before`: endpoints are taken over where nothing they are made of has changed, with the ways in
    /// of doors that are gone. `seal`: makes the tokens of doors that stand in for the token endpoint.
    pub(crate) fn read(
        config: &Config,
        directory: &Directory,
        before: Option<(&Self, &[bool])>,
        seal: &TokenSeal,
    ) -> Result<Self, OutfitError> {
        let (before, gone) = before.map_or((None, [].as_slice()), |(it, gone)| (Some(it), gone));
        let mut digest = Ingredients::new();
        let secret = |key, source: &Option<SecretSource>| read_secret(key, source.as_ref());
        let personal = secret("personal.token", &config.personal)?;
        let client_secret = config
            .oauth
            .as_ref()
            .map(|oauth| oauth.client_secret.clone());
        let client_secret = secret("oauth.client_secret", &client_secret)?;
        let via = config
            .upstream
            .via
            .as_ref()
            .and_then(|via| via.credentials.clone());
        let via = secret("upstream.via_credentials", &via)?;
        let passphrase = config.mtls.as_ref().map(Mtls::passphrase).transpose();
        let passphrase = passphrase.map_err(|source| OutfitError::Secret {
            key: "mtls.key_passphrase",
            source,
        })?;
        let passphrase = passphrase.flatten();
        digest.secret(personal.as_ref());
        digest.secret(client_secret.as_ref());
        let admin_key = secret("admin.key", &config.admin.key)?;
        let is_short = |key: &Secret| key.expose().chars().count() < SHORTEST_KEY;
        if admin_key.as_ref().is_some_and(is_short) {
            return Err(OutfitError::AdminKey);
        }
        digest.secret(admin_key.as_ref());

        // Whatever both endpoints are made of.
        let mut shared = Ingredients::new();
        shared.text(&format!("{:?}{:?}", config.trust, config.upstream));
        shared.secret(via.as_ref());
        shared.file(config.trust.extra_ca.as_deref());

        let roots = RootSet::load(&config.trust)?;
        let make =
            |origin: &Origin, identity: Option<&Identity>, of: Digest, old: Option<&Made>| {
                if let Some(old) = old.filter(|old| old.of == of) {
                    return Ok(old.clone());
                }
                let http = config.upstream.http;
                let tls = tls::client_config(&roots, identity, http, tickets(config))?;
                let endpoint = Endpoint::new(origin, Some(tls), &config.upstream, via.as_ref())?;
                Ok::<_, OutfitError>(Made {
                    endpoint: Arc::new(endpoint),
                    of,
                })
            };

        let of = shared.with(&format!("{:?}", config.hosts.plain));
        digest.digest(of);
        let plain = make(
            &config.hosts.plain,
            None,
            of,
            before.map(|before| &before.plain),
        )?;

        let (mut mtls, mut identity) = (None, None);
        if let Some(files) = &config.mtls {
            let mut own = shared.clone();
            own.file(Some(&files.certificate));
            own.file(Some(&files.key));
            own.secret(passphrase.as_ref());
            let of = own.with(&format!("{:?}", config.hosts.mtls));
            digest.digest(of);
            let loaded = Arc::new(Identity::load(
                &files.certificate,
                &files.key,
                passphrase.as_ref(),
            )?);
            let old = before.and_then(|before| before.mtls.as_ref());
            mtls = Some(make(&config.hosts.mtls, Some(&loaded), of, old)?);
            identity = Some(loaded);
        }

        let token_host = match &config.hosts.token_url {
            Some(url) if url.origin != config.hosts.plain && url.origin != config.hosts.mtls => {
                let of = shared.with(&format!("{:?}", url.origin));
                let old = before.and_then(|before| before.token_host.as_ref());
                // It may want our certificate; a server that does not ask never sees it.
                Some(make(&url.origin, identity.as_deref(), of, old)?)
            }
            Some(_) | None => None,
        };

        let callers = Callers::read(&config.callers)?;
        // Hashes of keys and numbers of users, as they were read.
        digest.text(&format!("{callers:?}"));
        let mut own = Ingredients::new();
        for tls in config.doors.iter().filter_map(|door| door.tls.as_ref()) {
            own.file(Some(&tls.certificate));
            own.file(Some(&tls.key));
            own.file(tls.client_ca.as_deref());
        }
        let is_gone = |place: usize| gone.get(place).copied().unwrap_or(false);
        let mut open = config.doors.iter().enumerate();
        let offered = open.any(|(place, door)| door.connect && !is_gone(place));
        let authority = offered.then(|| authority(config)).transpose()?;
        if authority.is_some() {
            own.file(Some(&config.ca.certificate));
            own.file(Some(&config.ca.key));
        }
        let certificates = own.done();
        digest.digest(certificates);
        let doors = config.doors.iter().enumerate().map(|(place, door)| {
            let grant = door.grant.as_deref().map(|name| {
                // Going on without would be going on as the default grant.
                let position = directory.position(name);
                position.ok_or_else(|| OutfitError::DoorGrant(name.to_owned()))
            });
            let grant = grant.transpose()?;
            // What a door that is gone was made of may be gone with it.
            let kept = before.filter(|_| is_gone(place));
            let kept = kept.and_then(|before| before.doors.get(place));
            let ways = match kept {
                Some(door) => door.ways.clone(),
                None => ways_in(config, door, authority.as_ref())?,
            };
            let made = Door::new(door, &config.hosts, &callers, grant).with_ways(ways);
            Ok::<_, OutfitError>(if door.stand_in {
                let secret = seal.secret()?;
                made.standing_in(&secret, &door.address)?
            } else {
                made
            })
        });
        let doors: Arc<[Door]> = doors.collect::<Result<_, _>>()?;
        digest.text(&format!("{:?}{:?}", config.doors, config.switch.lanes));
        let policies = Policies::new(config, before.map(|before| before.policies.as_ref()));
        let policies = Arc::new(policies);
        digest.text(&format!("{:?}", config.policies));

        let signer = config.sca.key.as_ref().map(|path| {
            let key =
                SigningKey::read(path).map_err(|error| OutfitError::ScaKey(error.to_string()))?;
            let lanes = config.sca.lanes;
            Ok::<_, OutfitError>(Arc::new(Signer { key, lanes }))
        });
        let signer = signer.transpose()?;
        digest.file(config.sca.key.as_deref());
        digest.text(&format!("{:?}", config.sca.lanes));
        let jose = Jose::read(&config.jose);
        let jose = jose.map_err(|error| OutfitError::Jose(error.to_string()))?;
        digest.text(&format!("{:?}", config.jose));
        let (signing, decrypting) = (&config.jose.signing, &config.jose.decrypting);
        digest.file(signing.as_ref().map(|key| key.path.as_path()));
        digest.file(decrypting.as_ref().map(|key| key.path.as_path()));
        let mut own = Ingredients::new();
        own.text(&format!("{:?}", config.webhooks));
        for (_, path) in config.webhook_files() {
            own.file(Some(path));
        }
        let of_webhooks = own.done();
        digest.digest(of_webhooks);
        let webhooks = config.webhooks.iter().map(|webhook| {
            let dress = Dress::read(webhook, config.environment)?;
            Ok::<_, OutfitError>(Arc::new(dress))
        });
        let webhooks = webhooks.collect::<Result<_, _>>()?;

        let ways = Lane::ALL.map(|lane| {
            let made = match lane {
                Lane::Personal | Lane::OAuth => Some(&plain),
                Lane::OAuthMtls => mtls.as_ref(),
            };
            let usable = config.switch.lanes.contains(lane);
            made.filter(|_| usable)
                .map(|made| Arc::clone(&made.endpoint))
        });
        let bearer = |secret: &Secret| {
            secret.bearer().map_err(|source| OutfitError::Header {
                key: "personal.token",
                source,
            })
        };
        Ok(Self {
            ways,
            personal: personal.as_ref().map(bearer).transpose()?,
            doors,
            policies,
            callers: Arc::new(callers),
            jose: Arc::new(jose),
            webhooks,
            of_webhooks,
            identity,
            signer,
            client_secret,
            admin_key,
            certificates,
            digest: digest.done(),
            plain,
            mtls,
            token_host,
        })
    }

    /// Findings about the client certificate that no new outfit may come with.
    pub(crate) fn grave_findings(&self, config: &Config, clock: &dyn Clock) -> Vec<Finding> {
        let client_id = config.oauth.as_ref().map(|oauth| oauth.client_id.as_str());
        let findings = self
            .identity
            .iter()
            .flat_map(|identity| identity.check(clock, client_id));
        findings
            .filter(|finding| finding.severity() == Severity::Error)
            .collect()
    }

    /// Where exchanges go while `lane` is in use; `None` without OAuth.
    ///
    /// The token endpoint is on the lane's own host unless the configuration puts it elsewhere.
    pub(crate) fn aim(&self, config: &Config, lane: Lane) -> Result<Option<Aim>, OutfitError> {
        let (Some(oauth), Some(secret)) = (&config.oauth, &self.client_secret) else {
            return Ok(None);
        };
        let mtls = self.mtls.as_ref().unwrap_or(&self.plain);
        let is_pinned = |to| config.doors.iter().any(|door| door.lane == Some(to));
        let of_lane = match lane {
            // The switch needs no token; a door with a lane of its own may.
            Lane::Personal if is_pinned(Lane::OAuthMtls) && !is_pinned(Lane::OAuth) => mtls,
            Lane::Personal | Lane::OAuth => &self.plain,
            Lane::OAuthMtls => mtls,
        };
        let (made, path) = match &config.hosts.token_url {
            Some(url) => {
                let elsewhere = self.token_host.as_ref();
                let mtls = self
                    .mtls
                    .as_ref()
                    .filter(|_| url.origin == config.hosts.mtls);
                (elsewhere.or(mtls).unwrap_or(&self.plain), url.path.as_str())
            }
            None => (of_lane, TOKEN_PATH),
        };
        let path = PathAndQuery::try_from(path)
            .map_err(|_| OutfitError::Endpoint("wise.token_url has an impossible path".into()))?;
        let header = |source| OutfitError::Header {
            key: "oauth.client_secret",
            source,
        };
        let endpoint = Arc::clone(&made.endpoint);
        Aim::new(endpoint, path, &oauth.client_id, secret)
            .map(Some)
            .map_err(header)
    }
}

/// How one comes in through a door.
fn ways_in(
    config: &Config,
    door: &config::Door,
    authority: Option<&Arc<Authority>>,
) -> Result<Ways, OutfitError> {
    let of = |key| {
        move |error: TlsError| OutfitError::Door {
            key,
            error: error.to_string(),
        }
    };
    let tls = door.tls.as_ref().map(|tls| {
        let clients = tls.client_ca.as_deref().map(|authorities| Clients {
            authorities,
            required: known_by_certificate_alone(config, door),
        });
        Acceptor::load(&tls.certificate, &tls.key, clients).map_err(of("door.tls"))
    });
    let authority = authority.filter(|_| door.connect);
    let tunnels =
        authority.map(|authority| Tunnels::new(authority, &config.hosts.names()).map_err(of("ca")));
    Ok(Ways {
        proxy_protocol: door.proxy_protocol,
        tls: tls.transpose()?,
        tunnels: tunnels.transpose()?,
    })
}

/// Whether nobody can be known at a door that has no client certificate.
fn known_by_certificate_alone(config: &Config, door: &config::Door) -> bool {
    let Some(names) = &door.callers else {
        return true;
    };
    let is_unix = matches!(door.address, config::DoorAddress::Unix { .. }) && !door.proxy_protocol;
    let mut callers = config.callers.iter().filter(|it| names.contains(&it.name));
    !callers.any(|caller| {
        let by_kernel = is_unix && !(caller.users.is_empty() && caller.groups.is_empty());
        caller.key.is_some() || !caller.hashes.is_empty() || by_kernel
    })
}

/// Whether doors that are not open yet could be, as far as files tell.
pub(crate) fn check(config: &Config, doors: &[config::Door]) -> Result<(), OutfitError> {
    let offered = doors.iter().any(|door| door.connect);
    let authority = offered.then(|| authority(config)).transpose()?;
    let mut ways = doors
        .iter()
        .map(|door| ways_in(config, door, authority.as_ref()));
    ways.try_for_each(|ways| ways.map(drop))
}

/// What of the certificates that a start reads cannot be used, with its setting: ours, those of doors,
/// and the local authority's.
pub(crate) fn unusable_certificates(config: &Config) -> Vec<(&'static str, String)> {
    let ours = config.mtls.as_ref().and_then(|files| {
        // One that cannot be read is a secret that cannot.
        let passphrase = files.passphrase().ok()?;
        let loaded = Identity::load(&files.certificate, &files.key, passphrase.as_ref());
        Some(("mtls", loaded.err()?.to_string()))
    });
    let of_doors = check(config, &config.doors).err().map(|error| {
        if let OutfitError::Door { key, error } = error {
            (key, error)
        } else {
            ("ca", error.to_string())
        }
    });
    ours.into_iter().chain(of_doors).collect()
}

/// The local authority, for doors that need it.
fn authority(config: &Config) -> Result<Arc<Authority>, OutfitError> {
    let place = Pair::from(&config.ca);
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    if !is_there(&place.certificate) && !is_there(&place.key) {
        return Err(OutfitError::NoAuthority {
            certificate: place.certificate,
        });
    }
    let loaded = Authority::load(&place).map_err(|error| OutfitError::Door {
        key: "ca",
        error: error.to_string(),
    })?;
    loaded.warn_of_end();
    Ok(Arc::new(loaded))
}

/// A digest of the files that the configuration consists of and names: what a poll looks at.
///
/// Programs (`exec`) are not run for it; their secrets are read anew with the next reload.
pub(crate) fn files(config: &Config, path: Option<&Path>) -> Digest {
    let mut digest = Ingredients::new();
    digest.file(path);
    for (_, path) in config.files() {
        digest.file(Some(path));
    }
    for (_, source) in config.secrets() {
        match source {
            SecretSource::File(path) => digest.file(Some(path)),
            SecretSource::Env(_) | SecretSource::Exec(_) | SecretSource::Credential(_) => {}
        }
    }
    digest.done()
}

/// As many as all workers' connections to a host, of some 5 KiB each.
fn tickets(config: &Config) -> Tickets {
    let upstream = &config.upstream;
    let connections = upstream.max_connections * config.runtime.workers;
    Tickets {
        most: connections.min(1024),
        age: upstream.max_age,
    }
}

fn read_secret(
    key: &'static str,
    source: Option<&SecretSource>,
) -> Result<Option<Secret>, OutfitError> {
    let read = source.map(SecretSource::read).transpose();
    read.map_err(|source| OutfitError::Secret { key, source })
}

/// A digest in the making.
#[derive(Clone)]
struct Ingredients(Context);

impl Ingredients {
    fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn secret(&mut self, secret: Option<&Secret>) {
        match secret {
            Some(secret) => self.bytes(secret.expose().as_bytes()),
            None => self.0.update(&[0]),
        }
    }

    /// The content; a file that cannot be read counts as empty here and fails where it is used.
    fn file(&mut self, path: Option<&Path>) {
        let content = path
            .and_then(|path| std::fs::read(path).ok())
            .unwrap_or_default();
        self.bytes(&zeroize::Zeroizing::new(content));
    }

    fn digest(&mut self, digest: Digest) {
        self.bytes(&digest.0);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn with(&self, text: &str) -> Digest {
        let mut with = self.clone();
        with.text(text);
        with.done()
    }

    fn done(self) -> Digest {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finish().as_ref());
        Digest(digest)
    }
}
