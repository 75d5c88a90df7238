//! The configuration as typed: every key, its type, and the words of the reference.
//!
//! Defaults stand in `config/default.toml` and nowhere else. A field that is no `Option` has one
//! there. The doc comments below are read by operators, through `config schema`.

mod security;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::leaf::{List, Parsed};
use super::secrets::Named;
use super::values::{
    AddressOrOff, FileOrOff, GrantName, HostName, Level, Listen, Mode, Name, Page, Redirect, Size,
};
use super::{
    AccessLog, Environment, EventKind, HttpVersion, KeyHash, Lane, LogFormat, Measure, Origin,
    ProfileId, Roots, TokenUrl,
};

pub(in crate::config) use security::{Jose, JoseRoute, Sca, Webhook};

/// Configuration of wise-auth-proxy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct File {
    /// Which of Wise's environments.
    pub(in crate::config) environment: Option<Parsed<Environment>>,
    /// Where applications come in.
    pub(in crate::config) door: Vec<Door>,
    /// Applications that a door can tell apart.
    #[serde(default)]
    pub(in crate::config) caller: Vec<Caller>,
    /// What callers and doors may do.
    #[serde(default)]
    pub(in crate::config) policy: Vec<Policy>,
    /// The lane of the first start, and the lanes that may be used.
    pub(in crate::config) switch: Switch,
    /// The OAuth client that Wise gave you.
    pub(in crate::config) oauth: Option<OAuth>,
    /// The authorised Wise profiles.
    #[serde(default)]
    pub(in crate::config) grant: Vec<Grant>,
    /// The personal token.
    pub(in crate::config) personal: Option<Personal>,
    /// The client certificate and its private key.
    pub(in crate::config) mtls: Option<Mtls>,
    /// Where grants rest.
    pub(in crate::config) store: Store,
    /// Where Wise answers, and whom to believe.
    pub(in crate::config) wise: Wise,
    /// How the proxy speaks to Wise.
    pub(in crate::config) upstream: Upstream,
    /// When tokens are renewed.
    pub(in crate::config) tokens: Tokens,
    /// Threads, time limits and sizes.
    pub(in crate::config) runtime: Runtime,
    /// Where the operator comes in.
    pub(in crate::config) admin: Admin,
    /// The local certificate authority of doors that offer CONNECT.
    #[serde(default)]
    pub(in crate::config) ca: Ca,
    /// Keys for signed and encrypted bodies, and where they are used.
    pub(in crate::config) jose: Jose,
    /// What is done when Wise wants strong customer authentication.
    pub(in crate::config) sca: Sca,
    /// Where Wise's webhooks come in.
    #[serde(default)]
    pub(in crate::config) webhook: Vec<Webhook>,
    /// The record of who called what.
    pub(in crate::config) audit: Audit,
    /// What is written about all this.
    pub(in crate::config) log: Log,
    /// Who is told when something happens.
    pub(in crate::config) notify: Notify,
    /// What the process may do on its machine.
    pub(in crate::config) hardening: Hardening,
}

/// A listening address with its rules.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Door {
    /// An address and port, or `unix:` and a path.
    pub(in crate::config) address: Option<Parsed<Listen>>,
    /// Further host names under which applications call this door.
    pub(in crate::config) hosts: Option<List<HostName>>,
    /// Name of the grant for requests that name no profile; without it the default grant.
    pub(in crate::config) grant: Option<Parsed<GrantName>>,
    /// Must be true before the door may listen beyond loopback; it then needs `callers`, or
    /// `tls.client_ca`.
    pub(in crate::config) expose: Option<Parsed<bool>>,
    /// Permissions of a unix socket; without it 0600.
    pub(in crate::config) mode: Option<Parsed<Mode>>,
    /// Owner of a unix socket, as `user`, `user:group` or `:group`; without it the proxy's own.
    pub(in crate::config) owner: Option<Parsed<String>>,
    /// Names of the callers it lets in; without it whoever reaches the door.
    pub(in crate::config) callers: Option<List<Name>>,
    /// Name of the policy for whoever comes in here; a caller's own applies as well.
    pub(in crate::config) policy: Option<Parsed<Name>>,
    /// A lane for this door alone, whatever the switch says; without it the lane of the switch.
    pub(in crate::config) lane: Option<Parsed<Lane>>,
    /// Speaks TLS.
    pub(in crate::config) tls: Option<DoorTls>,
    /// Offers CONNECT to Wise's hosts, for applications that take `https_proxy`; needs `ca init`.
    pub(in crate::config) connect: Option<Parsed<bool>>,
    /// Answers `POST /oauth/token` itself, with a token that is good at this door only.
    pub(in crate::config) stand_in: Option<Parsed<bool>>,
    /// Each connection begins with a PROXY protocol header, version 1 or 2, that names the client.
    pub(in crate::config) proxy_protocol: Option<Parsed<bool>>,
}

/// Certificate of a door that speaks TLS.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct DoorTls {
    /// PEM file: the leaf, then any chain.
    pub(in crate::config) certificate: Option<Parsed<PathBuf>>,
    /// PEM file: its private key, 0600.
    pub(in crate::config) key: Option<Parsed<PathBuf>>,
    /// PEM file: authorities of client certificates; without it none is asked for.
    pub(in crate::config) client_ca: Option<Parsed<PathBuf>>,
}

/// An application that a door can tell apart.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Caller {
    /// Your name for it.
    pub(in crate::config) name: Option<Parsed<Name>>,
    /// Where a key is that it shows already, such as its old personal token.
    pub(in crate::config) key: Option<Named>,
    /// Hashes of the keys it shows, as `caller add` and `caller rotate` write them.
    pub(in crate::config) hashes: Option<List<KeyHash>>,
    /// Users it runs as, by name or number: known at unix doors.
    pub(in crate::config) users: Option<List<String>>,
    /// Groups it runs as, by name or number: known at unix doors.
    pub(in crate::config) groups: Option<List<String>>,
    /// Names in its client certificate: known at doors with `tls.client_ca`.
    pub(in crate::config) certificates: Option<List<String>>,
    /// Name of its policy; without it everything is allowed.
    pub(in crate::config) policy: Option<Parsed<Name>>,
}

/// What callers and doors may do.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Policy {
    /// Your name for it.
    pub(in crate::config) name: Option<Parsed<Name>>,
    /// Refuses nothing; logs and counts what it would have refused.
    pub(in crate::config) observe: Option<Parsed<bool>>,
    /// What passes: sets of Wise's operations, or a method and a path; without it everything.
    pub(in crate::config) allow: Option<List<String>>,
    /// What does not pass, even if allowed.
    pub(in crate::config) deny: Option<List<String>>,
    /// Profiles that may be acted for; without it all.
    pub(in crate::config) profiles: Option<List<ProfileId>>,
    /// Lanes that may be used; without it all.
    pub(in crate::config) lanes: Option<List<Lane>>,
    /// Requests a minute, for each caller.
    pub(in crate::config) requests_per_minute: Option<Parsed<usize>>,
    /// Requests at once, for each caller.
    pub(in crate::config) concurrent_requests: Option<Parsed<usize>>,
    /// Largest request body.
    pub(in crate::config) max_body: Option<Parsed<Size>>,
    /// Fundings in any hour, for each caller.
    pub(in crate::config) fundings_per_hour: Option<Parsed<usize>>,
}

/// The local certificate authority of doors that offer CONNECT.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Ca {
    /// PEM file of its certificate; without it `ca.pem` in the store.
    pub(in crate::config) certificate: Option<Parsed<PathBuf>>,
    /// PEM file of its private key, 0600; without it `ca.key` in the store.
    pub(in crate::config) key: Option<Parsed<PathBuf>>,
}

/// The record of who called what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Audit {
    /// The path of a file, or `off`.
    pub(in crate::config) file: Parsed<FileOrOff>,
    /// Serves nothing that cannot be recorded.
    pub(in crate::config) required: Parsed<bool>,
}

/// The lane of the first start, and the lanes that may be used.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Switch {
    /// The lane of the first start; afterwards the lane of the last switch counts.
    pub(in crate::config) lane: Option<Parsed<Lane>>,
    /// Lanes that may be used at all; without it every lane that has what it needs.
    pub(in crate::config) allow: Option<List<Lane>>,
}

/// The OAuth client that Wise gave you.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct OAuth {
    /// The client id.
    pub(in crate::config) client_id: Option<Parsed<String>>,
    /// Where the client secret is.
    pub(in crate::config) client_secret: Option<Named>,
    /// Where Wise sends the browser at a `login`, exactly as on file at Wise.
    pub(in crate::config) redirect_uri: Option<Parsed<Redirect>>,
}

/// An authorised Wise profile.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Grant {
    /// Your name for it.
    pub(in crate::config) name: Option<Parsed<GrantName>>,
    /// The profile's id; a single grant may leave it to `login`.
    pub(in crate::config) profile: Option<Parsed<ProfileId>>,
    /// Whether it serves requests that name no profile; a single grant does.
    pub(in crate::config) default: Option<Parsed<bool>>,
}

/// The personal token.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Personal {
    /// Where the token is.
    pub(in crate::config) token: Option<Named>,
}

/// The client certificate and its private key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Mtls {
    /// PEM file: the leaf, then any chain.
    pub(in crate::config) certificate: Option<Parsed<PathBuf>>,
    /// PEM file: the private key, 0600.
    pub(in crate::config) key: Option<Parsed<PathBuf>>,
    /// Where the passphrase of an encrypted key is; without it the key is in the clear.
    pub(in crate::config) key_passphrase: Option<Named>,
}

/// Where grants rest.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Store {
    /// Directory of grants and of the switch, made 0700.
    pub(in crate::config) path: Parsed<PathBuf>,
    /// Where the key that seals the records is, 32 bytes in base64; without it a file in the store.
    pub(in crate::config) seal_key: Option<Named>,
}

/// Where Wise answers, and whom to believe.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Wise {
    /// Host of lanes personal and oauth; custom environment only.
    pub(in crate::config) plain: Option<Parsed<Origin>>,
    /// Host of lane oauth-mtls; replaces the preset.
    pub(in crate::config) mtls: Option<Parsed<Origin>>,
    /// The page where a person grants access; custom environment only.
    pub(in crate::config) authorise: Option<Parsed<Page>>,
    /// The token endpoint; without it `/oauth/token` on the lane's own host.
    pub(in crate::config) token_url: Option<Parsed<TokenUrl>>,
    /// PEM file with further certificate authorities.
    pub(in crate::config) extra_ca: Option<Parsed<PathBuf>>,
    /// Whom to believe to be Wise.
    pub(in crate::config) roots: Parsed<Roots>,
}

/// How the proxy speaks to Wise.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Upstream {
    /// HTTP version.
    pub(in crate::config) http: Parsed<HttpVersion>,
    /// Fixed addresses for a name, past DNS.
    #[serde(default)]
    pub(in crate::config) resolve: BTreeMap<String, Parsed<IpAddr>>,
    /// A corporate CONNECT proxy on the way out, as `http://host:port`.
    pub(in crate::config) via: Option<Parsed<Origin>>,
    /// Where its `user:password` is.
    pub(in crate::config) via_credentials: Option<Named>,
    /// TCP, CONNECT and TLS together.
    pub(in crate::config) connect_timeout: Parsed<Duration>,
    /// From the last byte of a request to the head of its answer.
    pub(in crate::config) answer_timeout: Parsed<Duration>,
    /// Longest silence inside an answer's body.
    pub(in crate::config) body_idle_timeout: Parsed<Duration>,
    /// Connections to one host, for each worker.
    pub(in crate::config) max_connections: Parsed<usize>,
    /// Connections that lie ready for the next requests, for each worker; 0: none.
    pub(in crate::config) warm_connections: Parsed<usize>,
    /// Requests that may wait for a connection, for each worker and host.
    pub(in crate::config) max_waiting: Parsed<usize>,
    /// An idle connection is closed after this long.
    pub(in crate::config) idle_timeout: Parsed<Duration>,
    /// A connection takes no new request after this long.
    pub(in crate::config) max_age: Parsed<Duration>,
    /// How long a resolved address is believed.
    pub(in crate::config) dns_ttl: Parsed<Duration>,
    /// Largest request body kept for a second try after a 401.
    pub(in crate::config) replay_limit: Parsed<Size>,
    /// All kept bodies of one worker together.
    pub(in crate::config) replay_budget: Parsed<Size>,
}

/// When tokens are renewed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Tokens {
    /// Share of a token's life after which it is renewed, between 0 and 1.
    pub(in crate::config) renew_at: Parsed<f64>,
    /// How long a request waits for a running renewal before it leaves with the old token.
    pub(in crate::config) wait: Parsed<Duration>,
    /// How long a due renewal waits for a moment without requests in flight.
    pub(in crate::config) quiet: Parsed<Duration>,
    /// At most one renewal forced by a 401 in this long, per grant.
    pub(in crate::config) forced_interval: Parsed<Duration>,
    /// One exchange at the token endpoint, from the question to the last byte.
    pub(in crate::config) exchange_timeout: Parsed<Duration>,
}

/// Threads, time limits and sizes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Runtime {
    /// Data workers, one thread each; without it one for each core, at most four.
    pub(in crate::config) workers: Option<Parsed<usize>>,
    /// Requests in flight get this long at a stop.
    pub(in crate::config) drain_timeout: Parsed<Duration>,
    /// Time for a whole request head to arrive.
    pub(in crate::config) header_timeout: Parsed<Duration>,
    /// A connection without a request, or whose answer is not taken, is closed after this long.
    pub(in crate::config) idle_timeout: Parsed<Duration>,
    /// Longest request head.
    pub(in crate::config) max_header_size: Parsed<Size>,
    /// Most fields in a request head.
    pub(in crate::config) max_headers: Parsed<usize>,
    /// Open application connections, all doors together.
    pub(in crate::config) max_connections: Parsed<usize>,
    /// How often files are looked at for changed content.
    pub(in crate::config) reload_interval: Parsed<Duration>,
}

/// Where the operator comes in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Admin {
    /// Unix socket for everything that changes something; without it `admin.sock` in the store.
    pub(in crate::config) socket: Option<Parsed<PathBuf>>,
    /// Loopback address for health, metrics, status and its page, or `off`.
    pub(in crate::config) address: Parsed<AddressOrOff>,
    /// Where the key is that changes the lane from the status page; without it nobody does.
    pub(in crate::config) key: Option<Named>,
}

/// What is written about all this.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Log {
    /// Lines for people, or JSON.
    pub(in crate::config) format: Parsed<LogFormat>,
    /// A level, or directives.
    pub(in crate::config) level: Parsed<Level>,
    /// One line for each request: `stderr`, `off` or the path of a file.
    pub(in crate::config) access: Parsed<AccessLog>,
}

/// Who is told when something happens.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Notify {
    /// Where the URL is that each event is sent to, as JSON by POST.
    pub(in crate::config) webhook: Option<Named>,
    /// Where the value of its `Authorization` field is.
    pub(in crate::config) authorization: Option<Named>,
    /// The program that is started for each event, by its absolute path, and its arguments.
    pub(in crate::config) command: Option<List<String>>,
    /// What is told.
    pub(in crate::config) events: List<EventKind>,
    /// A renewal that goes on failing is told again after this long.
    pub(in crate::config) repeat: Parsed<Duration>,
}

/// What the process may do on its machine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Hardening {
    /// No core dumps, and no other process of this user reads the proxy's memory.
    pub(in crate::config) memory: Parsed<Measure>,
    /// No program that starts from the proxy gains rights by starting.
    pub(in crate::config) privileges: Parsed<Measure>,
    /// No file but those that this configuration needs, and no program (Landlock).
    pub(in crate::config) files: Parsed<Measure>,
}

/// Reads the merged layers. The first value of a wrong type ends it.
pub(in crate::config) fn read(tree: &figment::value::Value) -> Result<File, Misshapen> {
    tree.deserialize().map_err(Misshapen::from)
}

/// What serde objected to, without the value it found.
#[derive(Debug)]
pub(in crate::config) struct Misshapen {
    /// Path of the key.
    pub(in crate::config) key: Vec<String>,
    pub(in crate::config) what: Objection,
}

#[derive(Debug)]
pub(in crate::config) enum Objection {
    /// No such key; the keys that exist there.
    Unknown(&'static [&'static str]),
    /// A value of the wrong kind; what would be right.
    Wrong(String),
    Missing,
}

impl From<figment::Error> for Misshapen {
    fn from(error: figment::Error) -> Self {
        use figment::error::Kind;

        let mut key = error.path;
        // Everything that quotes the value is dropped here.
        let what = match error.kind {
            // The path ends with the name already.
            Kind::UnknownField(_, known) => Objection::Unknown(known),
            Kind::MissingField(name) => {
                key.push(name.into_owned());
                Objection::Missing
            }
            Kind::DuplicateField(name) => {
                key.push(name.to_owned());
                Objection::Wrong("given once".to_owned())
            }
            Kind::InvalidType(_, right)
            | Kind::InvalidValue(_, right)
            | Kind::InvalidLength(_, right) => Objection::Wrong(right),
            Kind::UnknownVariant(_, words) => Objection::Wrong(words.join(", ")),
            Kind::Message(_)
            | Kind::ISizeOutOfRange(_)
            | Kind::USizeOutOfRange(_)
            | Kind::Unsupported(_)
            | Kind::UnsupportedKey(_, _) => Objection::Wrong("of another kind".to_owned()),
        };
        Self { key, what }
    }
}
