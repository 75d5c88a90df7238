//! Settings: defaults < file < environment < flags, checked once into a [`Config`].
//!
//! A `Config` that exists can be run: lanes that need something have it, a door that is open to
//! others says so, one grant at most is the default. This room reads the configuration file, the
//! environment and, when asked, the places where secrets are ([`SecretSource::read`]). It must never
//! repeat a value that it refuses: it may be a secret in the wrong place.

mod callers;
mod check;
mod doors;
mod error;
mod explain;
mod file;
mod key_hash;
mod leaf;
mod limits;
mod load;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod properties;
mod rule;
mod schema;
mod secrets;
mod security;
mod shape;
mod url;
mod values;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::secret::Secret;

pub use crate::event::Kind as EventKind;
pub use crate::wise::{
    Lane, LaneSet, ParseLaneError, ParseProfileError, ProfileId, SigningAlgorithm,
};
pub use error::{ConfigError, Problem, SetBy};
pub use explain::{Setting, settings};
pub use key_hash::{KeyHash, NotAKeyHash};
pub(crate) use load::DEFAULTS;
pub use load::{FileChoice, Loaded, Sources, load};
pub use rule::Rule;
pub(crate) use rule::{Covers, Pattern, Segment};
pub use schema::schema;
pub use secrets::SecretError;
pub(crate) use security::is_key_id;
pub use security::{
    Jose, JoseDecrypting, JoseMethod, JoseRoute, JoseSigning, Sca, Webhook, WebhookTls,
};
pub(crate) use url::parse as parse_url;

/// Everything the proxy was told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which of Wise's environments.
    pub environment: Environment,
    /// Where Wise answers.
    pub hosts: Hosts,
    /// Whom we believe to be Wise.
    pub trust: Trust,
    /// Where applications come in. At least one.
    pub doors: Vec<Door>,
    /// Applications that a door can tell apart. Names are unique.
    pub callers: Vec<Caller>,
    /// What callers and doors may do, besides the policies that are built in. Names are unique.
    pub policies: Vec<Policy>,
    /// The lane at first start, and the lanes that may be used at all.
    pub switch: Switch,
    /// OAuth client credentials; there when any OAuth lane is usable.
    pub oauth: Option<OAuth>,
    /// The authorised profiles, in the order of the file. Names and profiles are unique.
    pub grants: Vec<Grant>,
    /// The personal token; there when lane `personal` is usable.
    pub personal: Option<SecretSource>,
    /// Client certificate and key; there when lane `oauth-mtls` is usable.
    pub mtls: Option<Mtls>,
    /// Where grants rest.
    pub store: Store,
    /// How we speak to Wise.
    pub upstream: Upstream,
    /// When tokens are renewed.
    pub tokens: Tokens,
    /// Threads and time limits.
    pub runtime: Runtime,
    /// Where the operator comes in.
    pub admin: Admin,
    /// The local certificate authority; read when a door offers CONNECT.
    pub ca: Ca,
    /// Keys for signed and encrypted bodies, and where they are used.
    pub jose: Jose,
    /// What is done when Wise wants strong customer authentication.
    pub sca: Sca,
    /// Where Wise's webhooks come in. Names are unique.
    pub webhooks: Vec<Webhook>,
    /// The record of who called what.
    pub audit: Audit,
    /// What is written about all this.
    pub log: Log,
    /// Who is told when something happens.
    pub notify: Notify,
    /// What the process may do on its machine.
    pub hardening: Hardening,
}

impl Config {
    /// The secrets that a reload reads anew, each with its key. The seal key is read at the start
    /// only.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (&'static str, &SecretSource)> {
        let client = self.oauth.as_ref().map(|oauth| &oauth.client_secret);
        let via = self.upstream.via.as_ref();
        let via = via.and_then(|via| via.credentials.as_ref());
        let callers = self.callers.iter().filter_map(|caller| caller.key.as_ref());
        let mtls = self.mtls.as_ref();
        let passphrase = mtls.and_then(|mtls| mtls.key_passphrase.as_ref());
        let of = |key| move |source| (key, source);
        (self.personal.iter().map(of("personal.token")))
            .chain(client.map(of("oauth.client_secret")))
            .chain(passphrase.map(of("mtls.key_passphrase")))
            .chain(via.map(of("upstream.via_credentials")))
            .chain(callers.map(of("caller.key")))
            .chain(self.admin.key.iter().map(of("admin.key")))
            .chain(self.notify.webhook.iter().map(of("notify.webhook")))
            .chain((self.notify.authorization.iter()).map(of("notify.authorization")))
            .chain((self.sca.approval_webhook.iter()).map(of("sca.approval_webhook")))
            .chain((self.sca.approval_authorization.iter()).map(of("sca.approval_authorization")))
    }

    /// The files besides that a reload reads anew, each with its key.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let ca = self.trust.extra_ca.iter();
        let ca = ca.map(|path| ("wise.extra_ca", path.as_path()));
        let mtls = self.mtls.iter().flat_map(|mtls| {
            [
                ("mtls.certificate", mtls.certificate.as_path()),
                ("mtls.key", mtls.key.as_path()),
            ]
        });
        let tls = self.doors.iter().filter_map(|door| door.tls.as_ref());
        let tls = tls.flat_map(|tls| {
            let client_ca = tls.client_ca.iter();
            let client_ca = client_ca.map(|path| ("door.tls.client_ca", path.as_path()));
            client_ca.chain([
                ("door.tls.certificate", tls.certificate.as_path()),
                ("door.tls.key", tls.key.as_path()),
            ])
        });
        let authority = [
            ("ca.certificate", self.ca.certificate.as_path()),
            ("ca.key", self.ca.key.as_path()),
        ];
        let wanted = self.doors.iter().any(|door| door.connect);
        let authority = authority.into_iter().filter(move |_| wanted);
        let webhooks = self.webhook_files();
        (ca.chain(mtls).chain(tls).chain(authority))
            .chain(self.jose.files())
            .chain((self.sca.key.iter()).map(|path| ("sca.key", path.as_path())))
            .chain(webhooks)
    }

    /// The files that webhooks name, each with its key.
    pub(crate) fn webhook_files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.webhooks.iter().flat_map(Webhook::files)
    }
}

/// One of Wise's environments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Environment {
    /// Wise's sandbox: invented money.
    Sandbox,
    /// Real money.
    Production,
    /// Hosts named in `[wise]`: tests, gateways, the simulator.
    Custom,
}

impl std::fmt::Display for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sandbox => "sandbox",
            Self::Production => "production",
            Self::Custom => "custom",
        })
    }
}

/// Scheme, host and port of one of Wise's APIs.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Origin {
    /// Lower-case host name or address, without brackets.
    pub host: String,
    /// TCP port; 443 when the URL names none.
    pub port: u16,
    /// `https`, or `http` for a loopback simulator without TLS (custom environment only).
    pub tls: bool,
}

/// Where Wise answers.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// Host of lanes `personal` and `oauth`.
    pub plain: Origin,
    /// Host of lane `oauth-mtls`.
    pub mtls: Origin,
    /// Other host names that applications may use for the same API (lower case).
    pub aliases: Vec<String>,
    /// The page where a person grants access, without query.
    pub authorise: String,
    /// The token endpoint; `None`: it follows the lane's host.
    pub token_url: Option<TokenUrl>,
}

impl Hosts {
    /// Every name of Wise's API, in lower case: what a local authority vouches for.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let all = [&self.plain.host, &self.mtls.host];
        for name in all.into_iter().chain(&self.aliases) {
            let name = name.to_ascii_lowercase();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// A token endpoint at a place of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenUrl {
    /// Where.
    pub origin: Origin,
    /// Path and query.
    pub path: String,
}

/// Whom we believe to be Wise.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The base set.
    pub roots: Roots,
    /// PEM file with further certificate authorities; the only ones with [`Roots::OnlyExtra`].
    pub extra_ca: Option<PathBuf>,
}

/// A set of certificate authorities.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Roots {
    /// The operating system's store. An empty one is an error, never a silent change of roots.
    System,
    /// Mozilla's, as shipped with this version.
    Bundled,
    /// None but `extra_ca`.
    OnlyExtra,
}

/// A listening address with its rules.
#[derive(Clone, Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a setting that is on or off"
)]
pub struct Door {
    /// Where it listens.
    pub address: DoorAddress,
    /// Host names that requests may use beyond loopback names and Wise's hosts (lower case).
    pub hosts: Vec<String>,
    /// Grant of requests that name no profile, by name; else the default grant.
    pub grant: Option<String>,
    /// Callers it lets in, by name; `None`: whoever reaches it. A door beyond loopback has some, or
    /// asks for client certificates.
    pub callers: Option<Vec<String>>,
    /// Policy of whoever comes in here, by name; that of the caller applies as well.
    pub policy: Option<String>,
    /// A lane for this door alone; `None`: the lane of the switch.
    pub lane: Option<Lane>,
    /// Speaks TLS.
    pub tls: Option<DoorTls>,
    /// Offers CONNECT to Wise's hosts.
    pub connect: bool,
    /// Answers `POST /oauth/token` itself.
    pub stand_in: bool,
    /// Each connection begins with a PROXY protocol header.
    pub proxy_protocol: bool,
}

/// Certificate of a door that speaks TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DoorTls {
    /// PEM file: the leaf, then any chain.
    pub certificate: PathBuf,
    /// PEM file: the private key.
    pub key: PathBuf,
    /// PEM file of the authorities of client certificates; `None`: none is asked for.
    pub client_ca: Option<PathBuf>,
}

impl Door {
    /// A door for every local program, without rules of its own.
    pub fn loopback(address: SocketAddr) -> Self {
        Self {
            address: DoorAddress::Tcp(address),
            hosts: Vec::new(),
            grant: None,
            callers: None,
            policy: None,
            lane: None,
            tls: None,
            connect: false,
            stand_in: false,
            proxy_protocol: false,
        }
    }
}

/// Where a door listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DoorAddress {
    /// A TCP address; loopback unless the door says `expose = true`.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix {
        /// Path of the socket.
        path: PathBuf,
        /// Permissions of the socket, such as `0o660`.
        mode: u32,
        /// `user`, `user:group` or `:group`; `None`: the proxy's own.
        owner: Option<String>,
    },
}

/// An application that a door can tell apart: by a key it shows, or by what the kernel or its
/// certificate says of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Our name for it.
    pub name: String,
    /// A key that it shows already.
    pub key: Option<SecretSource>,
    /// Hashes of keys that it shows.
    pub hashes: Vec<KeyHash>,
    /// Users it runs as, by name or number.
    pub users: Vec<String>,
    /// Groups it runs as, by name or number.
    pub groups: Vec<String>,
    /// Names in its client certificate.
    pub certificates: Vec<String>,
    /// Its policy, by name; `None`: everything is allowed.
    pub policy: Option<String>,
}

/// What callers and doors may do. The name is one of the configuration's own, or built in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Policy {
    /// Our name for it.
    pub name: String,
    /// Refuses nothing, and says what it would have refused.
    pub observe: bool,
    /// What passes, as rules; `None`: everything.
    pub allow: Option<Vec<Rule>>,
    /// What does not pass, even if allowed.
    pub deny: Vec<Rule>,
    /// Profiles that may be acted for; `None`: all.
    pub profiles: Option<Vec<ProfileId>>,
    /// Lanes that may be used; `None`: all.
    pub lanes: Option<LaneSet>,
    /// Requests a minute, for each caller.
    pub requests_per_minute: Option<u32>,
    /// Requests at once, for each caller.
    pub concurrent_requests: Option<u32>,
    /// Largest request body, in bytes.
    pub max_body: Option<usize>,
    /// Fundings in any hour, for each caller.
    pub fundings_per_hour: Option<u32>,
}

/// The local certificate authority of doors that offer CONNECT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ca {
    /// PEM file of its certificate.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
}

/// The record of who called what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Audit {
    /// Where it is; `None`: nowhere.
    pub file: Option<PathBuf>,
    /// Nothing is served that cannot be recorded.
    pub required: bool,
}

/// The lane at first start, and the lanes that may be used at all.
#[derive(Clone, Copy, Debug)]
pub struct Switch {
    /// Lane of a first start; later the recorded lane wins. Always one of `lanes`.
    pub lane: Lane,
    /// Lanes that are allowed and have what they need.
    pub lanes: LaneSet,
}

/// OAuth client credentials.
#[derive(Clone, Debug)]
pub struct OAuth {
    /// The client id Wise gave out.
    pub client_id: String,
    /// Where its secret is.
    pub client_secret: SecretSource,
    /// Where Wise sends the browser at a login; `None`: where `login` listens by itself.
    pub redirect_uri: Option<String>,
}

/// One authorised Wise profile.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// Our name for it: 1 to 64 lower-case letters, digits, hyphens or underscores.
    pub name: String,
    /// The profile it acts for; `None` until a login has told (only with a single grant).
    pub profile: Option<ProfileId>,
    /// Whether requests that name no profile use it.
    pub default: bool,
}

/// Client certificate and key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mtls {
    /// PEM file: the leaf, then any chain.
    pub certificate: PathBuf,
    /// PEM file: the private key.
    pub key: PathBuf,
    /// Passphrase of an encrypted key; `None`: the key is in the clear.
    pub key_passphrase: Option<SecretSource>,
}

impl Mtls {
    /// Fetches the passphrase, if one is named. Blocks as [`SecretSource::read`] does.
    pub(crate) fn passphrase(&self) -> Result<Option<Secret>, SecretError> {
        let source = self.key_passphrase.as_ref();
        source.map(SecretSource::read).transpose()
    }
}

/// Where grants rest.
#[derive(Clone, Debug)]
pub struct Store {
    /// Directory, made 0700 on first use.
    pub path: PathBuf,
    /// Key that seals the records, 32 bytes in base64; `None`: a file in the store, made on first use.
    pub seal_key: Option<SecretSource>,
}

/// How we speak to Wise.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// HTTP version.
    pub http: HttpVersion,
    /// Fixed addresses for a name; SNI and Host stay the name.
    pub resolve: BTreeMap<String, IpAddr>,
    /// A corporate CONNECT proxy on the way out.
    pub via: Option<Via>,
    /// TCP, proxy and TLS together.
    pub connect_timeout: Duration,
    /// From the last byte of the request to the head of the answer.
    pub answer_timeout: Duration,
    /// Longest silence inside an answer's body.
    pub body_idle_timeout: Duration,
    /// Connections per worker and host, at most.
    pub max_connections: usize,
    /// Connections that lie ready, per worker, where requests go.
    pub warm_connections: usize,
    /// Requests that may wait for a connection, per worker and host.
    pub max_waiting: usize,
    /// An idle connection is closed after this long.
    pub idle_timeout: Duration,
    /// A connection takes no new request after this long.
    pub max_age: Duration,
    /// How long a resolved address is believed; a failed lookup keeps the old one.
    pub dns_ttl: Duration,
    /// Largest request body kept for a replay after a 401.
    pub replay_limit: usize,
    /// All kept bodies of a worker together.
    pub replay_budget: usize,
}

/// HTTP version towards Wise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HttpVersion {
    /// By ALPN, `h2` preferred.
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// A CONNECT proxy.
#[derive(Clone, Debug)]
pub struct Via {
    /// Its address.
    pub origin: Origin,
    /// User and password for it, as `user:password`.
    pub credentials: Option<SecretSource>,
}

/// When tokens are renewed.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Share of a token's life after which it is renewed, in (0, 1).
    pub renew_at: f64,
    /// How long a request waits for a running renewal before it leaves with the old token.
    pub wait: Duration,
    /// How long a due renewal waits for requests that have their token and no answer yet.
    pub quiet: Duration,
    /// At most one renewal forced by a 401 in this long, per grant.
    pub forced_interval: Duration,
    /// One exchange, from the question to the last byte of its answer.
    pub exchange_timeout: Duration,
}

/// Threads and time limits.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Data workers.
    pub workers: usize,
    /// Requests in flight get this long at a stop.
    pub drain_timeout: Duration,
    /// Time for a whole request head to arrive.
    pub header_timeout: Duration,
    /// Time without a request, or with an answer that is not taken, until a connection is closed.
    pub idle_timeout: Duration,
    /// Longest request head, in bytes.
    pub max_header_size: usize,
    /// Most fields in a request head.
    pub max_headers: usize,
    /// Open application connections, all doors together.
    pub max_connections: usize,
    /// How often files are looked at for changed content.
    pub reload_interval: Duration,
}

/// Where the operator comes in.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Unix socket for everything that changes something, made 0600.
    pub socket: PathBuf,
    /// Loopback address for health, metrics, status and its page; `None`: no such listener.
    pub address: Option<SocketAddr>,
    /// Key for changing the lane from the status page; `None`: that is not possible.
    pub key: Option<SecretSource>,
}

/// What is written about all this.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log {
    /// Lines for people or JSON.
    pub format: LogFormat,
    /// Directives as of `tracing`, such as `info` or `info,wise_auth_proxy::tokens=debug`.
    pub level: String,
    /// Where the access lines go.
    pub access: AccessLog,
}

/// Shape of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Where the access lines go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// With the rest of the log, on standard error.
    Stderr,
    /// To a file, appended.
    File(PathBuf),
}

/// Who is told when something happens.
#[derive(Clone, Debug)]
pub struct Notify {
    /// Where the URL is that each event is sent to: those of chat rooms are secrets.
    pub webhook: Option<SecretSource>,
    /// Where the value of its `Authorization` is.
    pub authorization: Option<SecretSource>,
    /// The program that is started for each event, with its arguments.
    pub command: Option<Vec<String>>,
    /// What is told.
    pub events: Vec<EventKind>,
    /// A renewal that goes on failing is told again after this long.
    pub repeat: Duration,
}

/// What the process may do on its machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hardening {
    /// No core dumps, and no other process of this user reads our memory.
    pub memory: Measure,
    /// No program that starts from here gains rights by starting.
    pub privileges: Measure,
    /// Landlock: no file but those that the configuration needs, and no program.
    pub files: Measure,
}

/// How much a measure is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Measure {
    /// Where the system has it; else a line in the log.
    Auto,
    /// No start without it.
    Required,
    /// Not at all.
    Off,
}

/// Where a secret is. Never the secret itself.
#[derive(Clone, Eq, PartialEq)]
pub enum SecretSource {
    /// A file, 0600 or tighter; a trailing line break is not part of the secret.
    File(PathBuf),
    /// An environment variable of the proxy.
    Env(String),
    /// The output of a program, run without a shell.
    Exec(Vec<String>),
    /// A systemd credential, by name.
    Credential(String),
}

#[cfg(test)]
mod tests;
