//! The rules between keys: from the file as typed to a [`Config`] that can be run.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::file::{self, File};
use super::leaf::{Listen, Mode, Parsed, Size};
use super::secrets::Named;
use super::url;
use super::{
    AccessLog, Admin, Config, Door, DoorAddress, Environment, Grant, Hosts, Lane, LaneSet, Log,
    Mtls, OAuth, Origin, Roots, Runtime, SecretSource, Store, Switch, TokenUrl, Tokens, Trust,
    Upstream, Via,
};
use crate::wise::hosts::{PRODUCTION, Preset, SANDBOX};

/// A key and what would be right there.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) key: Vec<String>,
    pub(super) message: String,
}

/// Applies every rule; all that are broken are returned.
///
/// Relative paths become absolute: they start at `base`.
pub(super) fn check(file: &File, base: &Path) -> Result<Config, Vec<Finding>> {
    let mut check = Check {
        base,
        findings: Vec::new(),
    };
    let environment = file.environment.map(|Parsed(environment)| environment);
    if environment.is_none() {
        check.refuse(
            "environment",
            "say \"sandbox\", \"production\" or \"custom\"",
        );
    }
    let grants = check.grants(&file.grant);
    let doors = check.doors(&file.door, &file.grant);
    let hosts = environment.and_then(|environment| check.hosts(environment, &file.wise));
    let trust = check.trust(&file.wise);
    let switch = check.switch(file);
    let oauth = check.oauth(file.oauth.as_ref());
    let personal = check.personal(file.personal.as_ref());
    let mtls = check.mtls(file.mtls.as_ref());
    let store = Store {
        path: base.join(&file.store.path.0),
        seal_key: check.source(file.store.seal_key.as_ref()),
    };
    let upstream = check.upstream(&file.upstream);
    let tokens = check.tokens(&file.tokens);
    let runtime = check.runtime(&file.runtime);
    let admin = check.admin(&file.admin, &store, &doors);
    let log = check.log(&file.log);

    match (environment, hosts, switch) {
        (Some(environment), Some(hosts), Some(switch)) if check.findings.is_empty() => Ok(Config {
            environment,
            hosts,
            trust,
            doors,
            switch,
            oauth,
            grants,
            personal,
            mtls,
            store,
            upstream,
            tokens,
            runtime,
            admin,
            log,
        }),
        _ => Err(check.findings),
    }
}

struct Check<'a> {
    base: &'a Path,
    findings: Vec<Finding>,
}

/// Longest path of a unix socket (Linux, `sun_path` without its zero byte).
const SOCKET_PATH: usize = 107;

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

impl Check<'_> {
    fn refuse(&mut self, key: &str, message: impl Into<String>) {
        self.findings.push(Finding {
            key: key.split('.').map(str::to_owned).collect(),
            message: message.into(),
        });
    }

    fn duration(
        &mut self,
        key: &str,
        value: Parsed<Duration>,
        least: Duration,
        most: Duration,
    ) -> Duration {
        if !(least..=most).contains(&value.0) {
            let least = humantime::format_duration(least);
            let most = humantime::format_duration(most);
            self.refuse(key, format!("must be from \"{least}\" to \"{most}\""));
        }
        value.0
    }

    fn count(&mut self, key: &str, value: Parsed<usize>, range: &RangeInclusive<usize>) -> usize {
        if !range.contains(&value.0) {
            let (least, most) = (range.start(), range.end());
            self.refuse(key, format!("must be from {least} to {most}"));
        }
        value.0
    }

    fn source(&self, named: Option<&Named>) -> Option<SecretSource> {
        named.map(|Named(source)| source.clone().below(self.base))
    }

    fn grants(&mut self, typed: &[file::Grant]) -> Vec<Grant> {
        let mut grants: Vec<Grant> = Vec::new();
        for (i, grant) in typed.iter().enumerate() {
            let Some(Parsed(name)) = &grant.name else {
                self.refuse(
                    &format!("grant.{i}.name"),
                    "give the grant a name, such as \"main\"",
                );
                continue;
            };
            let profile = grant.profile.clone().map(|Parsed(profile)| profile);
            let default = grant.default.is_some_and(|Parsed(default)| default);
            if grants.iter().any(|other| other.name == name.0) {
                self.refuse(&format!("grant.{i}.name"), "another grant has this name");
            }
            if profile.is_some() && grants.iter().any(|other| other.profile == profile) {
                self.refuse(
                    &format!("grant.{i}.profile"),
                    "another grant has this profile",
                );
            }
            if default && grants.iter().any(|other| other.default) {
                self.refuse(
                    &format!("grant.{i}.default"),
                    "another grant is the default; one can be",
                );
            }
            if profile.is_none() && typed.len() > 1 {
                self.refuse(
                    &format!("grant.{i}.profile"),
                    "with several grants each must say its profile: requests are told apart by it",
                );
            }
            grants.push(Grant {
                name: name.0.clone(),
                profile,
                default,
            });
        }
        if let [only] = grants.as_mut_slice() {
            only.default = true;
        }
        grants
    }

    fn doors(&mut self, typed: &[file::Door], grants: &[file::Grant]) -> Vec<Door> {
        if typed.is_empty() {
            self.refuse("door", "name one door at least, or leave the key out");
        }
        let mut doors: Vec<Door> = Vec::new();
        for (i, door) in typed.iter().enumerate() {
            let key = |name: &str| format!("door.{i}.{name}");
            let known = |wanted: &str| {
                grants
                    .iter()
                    .filter_map(|grant| grant.name.as_ref())
                    .any(|Parsed(name)| name.0 == wanted)
            };
            let grant = door.grant.as_ref().map(|Parsed(name)| name.0.clone());
            if grant.as_deref().is_some_and(|name| !known(name)) {
                self.refuse(&key("grant"), "must be the name of a [[grant]]");
            }
            let Some(Parsed(listen)) = &door.address else {
                self.refuse(
                    &key("address"),
                    "say where the door listens, such as \"127.0.0.1:8080\"",
                );
                continue;
            };
            let exposed = door.expose.is_some_and(|Parsed(expose)| expose);
            let secret = self.source(door.key.as_ref());
            if exposed && secret.is_none() {
                self.refuse(
                    &key("key"),
                    "is missing: a door beyond loopback needs a key that its callers show. \
                     Name one, such as { file = \"secrets/door_key\" }",
                );
            }
            let address = match listen {
                Listen::Tcp(address) => {
                    if door.mode.is_some() {
                        self.refuse(&key("mode"), "is for unix sockets; leave it out");
                    }
                    if !exposed && !address.ip().is_loopback() {
                        self.refuse(
                            &key("address"),
                            "is not a loopback address: whoever reaches it acts for you at Wise. \
                             Take 127.0.0.1, or say `expose = true` beside it",
                        );
                    }
                    DoorAddress::Tcp(*address)
                }
                Listen::Unix(path) => {
                    if exposed {
                        self.refuse(&key("expose"), "is for TCP addresses; leave it out");
                    }
                    let path = self.base.join(path);
                    self.socket(&key("address"), &path);
                    let Mode(mode) = door.mode.map_or(Mode(0o600), |Parsed(mode)| mode);
                    DoorAddress::Unix { path, mode }
                }
            };
            let same = |other: &Door| match (&other.address, &address) {
                (DoorAddress::Tcp(other), DoorAddress::Tcp(address)) => {
                    other == address && address.port() != 0
                }
                (DoorAddress::Unix { path: other, .. }, DoorAddress::Unix { path, .. }) => {
                    other == path
                }
                _ => false,
            };
            if doors.iter().any(same) {
                self.refuse(&key("address"), "another door listens there");
            }
            doors.push(Door {
                address,
                hosts: (door.hosts.iter().flat_map(|hosts| &hosts.0))
                    .map(|host| host.0.clone())
                    .collect(),
                grant,
                key: secret,
                read_only: door.read_only.is_some_and(|Parsed(read_only)| read_only),
            });
        }
        doors
    }

    fn socket(&mut self, key: &str, path: &Path) {
        if path.as_os_str().len() > SOCKET_PATH {
            self.refuse(
                key,
                format!(
                    "a socket's absolute path can have {SOCKET_PATH} bytes; choose a shorter one"
                ),
            );
        }
    }

    fn hosts(&mut self, environment: Environment, wise: &file::Wise) -> Option<Hosts> {
        let custom = environment == Environment::Custom;
        let mut encrypted = |key: &str, origin: &Origin| {
            if !(origin.tls || custom && origin.is_loopback()) {
                self.refuse(
                    key,
                    "must begin with https://; http:// is for a loopback host with \
                     environment = \"custom\"",
                );
            }
        };
        let url = |parsed: &Option<Parsed<Origin>>| parsed.clone().map(|Parsed(origin)| origin);
        let (plain, mtls) = (url(&wise.plain), url(&wise.mtls));
        let token_url = wise.token_url.clone().map(|Parsed(url)| url);
        let authorise = wise.authorise.as_ref().map(|Parsed(page)| page);
        for (key, origin) in [
            ("wise.plain", plain.as_ref()),
            ("wise.mtls", mtls.as_ref()),
            ("wise.token_url", token_url.as_ref().map(|url| &url.origin)),
            ("wise.authorise", authorise.map(|page| &page.0)),
        ] {
            if let Some(origin) = origin {
                encrypted(key, origin);
            }
        }
        let authorise = authorise.map(|page| page.1.clone());
        let preset = match environment {
            Environment::Sandbox => &SANDBOX,
            Environment::Production => &PRODUCTION,
            Environment::Custom => {
                for (key, missing) in [
                    ("wise.plain", plain.is_none()),
                    ("wise.mtls", mtls.is_none()),
                ] {
                    if missing {
                        self.refuse(
                            key,
                            "environment = \"custom\" needs it, such as \"https://localhost:8443\"",
                        );
                    }
                }
                let plain = plain?;
                return Some(Hosts {
                    authorise: authorise.unwrap_or_else(|| format!("{plain}/oauth/authorize")),
                    plain,
                    mtls: mtls?,
                    aliases: Vec::new(),
                    token_url,
                });
            }
        };
        for (key, given) in [
            ("wise.plain", plain.is_some()),
            ("wise.authorise", authorise.is_some()),
        ] {
            if given {
                self.refuse(
                    key,
                    "needs environment = \"custom\"; elsewhere leave it out",
                );
            }
        }
        preset_hosts(preset, mtls, token_url)
    }

    fn trust(&mut self, wise: &file::Wise) -> Trust {
        let Parsed(roots) = wise.roots;
        let extra_ca = wise
            .extra_ca
            .as_ref()
            .map(|Parsed(path)| self.base.join(path));
        if roots == Roots::OnlyExtra && extra_ca.is_none() {
            self.refuse(
                "wise.extra_ca",
                "roots = \"only-extra\" needs it: a PEM file of authorities",
            );
        }
        Trust { roots, extra_ca }
    }

    fn switch(&mut self, file: &File) -> Option<Switch> {
        let needs = |lane| -> Option<&'static str> {
            match lane {
                Lane::Personal => file.personal.is_none().then_some("[personal]"),
                Lane::OAuth | Lane::OAuthMtls if file.oauth.is_none() => Some("[oauth]"),
                Lane::OAuth | Lane::OAuthMtls if file.grant.is_empty() => Some("a [[grant]]"),
                Lane::OAuth => None,
                Lane::OAuthMtls => file.mtls.is_none().then_some("[mtls]"),
            }
        };
        let allowed = file.switch.allow.as_ref().map(|list| &list.0);
        if let Some(allowed) = allowed {
            for lane in allowed {
                if let Some(needed) = needs(*lane) {
                    self.refuse(
                        "switch.allow",
                        format!("lane {lane} needs {needed}; add it, or take the lane out"),
                    );
                }
            }
        }
        let Some(Parsed(lane)) = file.switch.lane else {
            self.refuse(
                "switch.lane",
                "say \"personal\", \"oauth\" or \"oauth-mtls\"",
            );
            return None;
        };
        let lanes: LaneSet = match allowed {
            Some(allowed) => allowed.iter().copied().collect(),
            None => Lane::ALL
                .into_iter()
                .filter(|lane| needs(*lane).is_none())
                .collect(),
        };
        if allowed.is_some() && !lanes.contains(lane) {
            self.refuse("switch.lane", "must be one of the lanes in switch.allow");
        } else if let Some(needed) = needs(lane) {
            self.refuse("switch.lane", format!("lane {lane} needs {needed}"));
        }
        Some(Switch { lane, lanes })
    }

    fn oauth(&mut self, typed: Option<&file::OAuth>) -> Option<OAuth> {
        let typed = typed?;
        let client_id = typed.client_id.clone().map(|Parsed(id)| id);
        let client_secret = self.source(typed.client_secret.as_ref());
        if client_id.is_none() {
            self.refuse("oauth.client_id", "say the client id that Wise gave you");
        }
        if client_secret.is_none() {
            self.refuse("oauth.client_secret", SECRET_MISSING);
        }
        Some(OAuth {
            client_id: client_id?,
            client_secret: client_secret?,
        })
    }

    fn personal(&mut self, typed: Option<&file::Personal>) -> Option<SecretSource> {
        let token = self.source(typed?.token.as_ref());
        if token.is_none() {
            self.refuse("personal.token", SECRET_MISSING);
        }
        token
    }

    fn mtls(&mut self, typed: Option<&file::Mtls>) -> Option<Mtls> {
        let typed = typed?;
        if typed.certificate.is_none() {
            self.refuse(
                "mtls.certificate",
                "say the PEM file of the client certificate",
            );
        }
        if typed.key.is_none() {
            self.refuse("mtls.key", "say the PEM file of its private key");
        }
        Some(Mtls {
            certificate: self.base.join(&typed.certificate.as_ref()?.0),
            key: self.base.join(&typed.key.as_ref()?.0),
        })
    }

    fn upstream(&mut self, typed: &file::Upstream) -> Upstream {
        let mut resolve = BTreeMap::new();
        for (name, Parsed(address)) in &typed.resolve {
            if !url::is_host(name) {
                self.refuse(
                    "upstream.resolve",
                    "each key must be a host name without scheme and port",
                );
            }
            resolve.insert(name.to_ascii_lowercase(), *address);
        }
        let credentials = self.source(typed.via_credentials.as_ref());
        if credentials.is_some() && typed.via.is_none() {
            self.refuse(
                "upstream.via",
                "via_credentials are for a CONNECT proxy; say which",
            );
        }
        let via = typed.via.clone().map(|Parsed(origin)| {
            if origin.tls {
                // What goes through the tunnel is TLS in any case.
                self.refuse(
                    "upstream.via",
                    "must begin with http://, as CONNECT proxies do",
                );
            }
            Via {
                origin,
                credentials,
            }
        });
        let Parsed(Size(replay_limit)) = typed.replay_limit;
        let Parsed(Size(replay_budget)) = typed.replay_budget;
        if replay_budget < replay_limit {
            self.refuse(
                "upstream.replay_budget",
                "must be at least upstream.replay_limit",
            );
        }
        Upstream {
            http: typed.http.0,
            resolve,
            via,
            connect_timeout: self.duration(
                "upstream.connect_timeout",
                typed.connect_timeout,
                MILLISECOND,
                HOUR,
            ),
            answer_timeout: self.duration(
                "upstream.answer_timeout",
                typed.answer_timeout,
                MILLISECOND,
                HOUR,
            ),
            body_idle_timeout: self.duration(
                "upstream.body_idle_timeout",
                typed.body_idle_timeout,
                MILLISECOND,
                HOUR,
            ),
            max_connections: self.count(
                "upstream.max_connections",
                typed.max_connections,
                &(1..=65_535),
            ),
            max_waiting: self.count("upstream.max_waiting", typed.max_waiting, &(0..=1_000_000)),
            idle_timeout: self.duration(
                "upstream.idle_timeout",
                typed.idle_timeout,
                MILLISECOND,
                DAY,
            ),
            max_age: self.duration("upstream.max_age", typed.max_age, MILLISECOND, DAY),
            dns_ttl: self.duration("upstream.dns_ttl", typed.dns_ttl, Duration::ZERO, DAY),
            replay_limit,
            replay_budget,
        }
    }

    fn tokens(&mut self, typed: &file::Tokens) -> Tokens {
        let Parsed(renew_at) = typed.renew_at;
        if !(renew_at > 0.0 && renew_at < 1.0) {
            self.refuse(
                "tokens.renew_at",
                "must lie between 0 and 1, without either",
            );
        }
        Tokens {
            renew_at,
            wait: self.duration("tokens.wait", typed.wait, Duration::ZERO, HOUR),
            quiet: self.duration("tokens.quiet", typed.quiet, Duration::ZERO, HOUR),
            forced_interval: self.duration(
                "tokens.forced_interval",
                typed.forced_interval,
                Duration::ZERO,
                HOUR,
            ),
            exchange_timeout: self.duration(
                "tokens.exchange_timeout",
                typed.exchange_timeout,
                MILLISECOND,
                HOUR,
            ),
        }
    }

    fn runtime(&mut self, typed: &file::Runtime) -> Runtime {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers = typed.workers.unwrap_or(Parsed(cores.min(4)));
        let Parsed(Size(max_header_size)) = typed.max_header_size;
        // hyper's buffer has a least size of its own.
        if !(8 * 1024..=1024 * 1024).contains(&max_header_size) {
            self.refuse(
                "runtime.max_header_size",
                "must be from \"8 KiB\" to \"1 MiB\"",
            );
        }
        Runtime {
            workers: self.count("runtime.workers", workers, &(1..=64)),
            drain_timeout: self.duration(
                "runtime.drain_timeout",
                typed.drain_timeout,
                Duration::ZERO,
                HOUR,
            ),
            header_timeout: self.duration(
                "runtime.header_timeout",
                typed.header_timeout,
                MILLISECOND,
                HOUR,
            ),
            max_header_size,
            max_headers: self.count("runtime.max_headers", typed.max_headers, &(16..=4096)),
            max_connections: self.count(
                "runtime.max_connections",
                typed.max_connections,
                &(1..=1_000_000),
            ),
            reload_interval: self.duration(
                "runtime.reload_interval",
                typed.reload_interval,
                MILLISECOND,
                DAY,
            ),
        }
    }

    fn admin(&mut self, typed: &file::Admin, store: &Store, doors: &[Door]) -> Admin {
        let socket = match &typed.socket {
            Some(Parsed(path)) => self.base.join(path),
            None => store.path.join("admin.sock"),
        };
        self.socket("admin.socket", &socket);
        let address = typed.address.0.0;
        if address.is_some_and(|address| !address.ip().is_loopback()) {
            self.refuse("admin.address", "must be a loopback address, or \"off\"");
        }
        let taken = |door: &Door| match &door.address {
            DoorAddress::Tcp(door) => door.port() != 0 && address == Some(*door),
            DoorAddress::Unix { .. } => false,
        };
        if doors.iter().any(taken) {
            self.refuse("admin.address", "a door listens there");
        }
        let taken = |door: &Door| match &door.address {
            DoorAddress::Tcp(_) => false,
            DoorAddress::Unix { path, .. } => *path == socket,
        };
        if doors.iter().any(taken) {
            self.refuse("admin.socket", "a door listens there");
        }
        Admin { socket, address }
    }

    fn log(&self, typed: &file::Log) -> Log {
        Log {
            format: typed.format.0,
            level: typed.level.0.0.clone(),
            access: match &typed.access.0 {
                AccessLog::Off => AccessLog::Off,
                AccessLog::Stderr => AccessLog::Stderr,
                AccessLog::File(path) => AccessLog::File(self.base.join(path)),
            },
        }
    }
}

const SECRET_MISSING: &str = "say where it is: { file = \"path\" }, { env = \"NAME\" }, \
     { exec = [\"/absolute/program\"] } or { credential = \"name\" }";

/// `None` never: the presets are URLs (a test says so).
fn preset_hosts(
    preset: &Preset,
    mtls: Option<Origin>,
    token_url: Option<TokenUrl>,
) -> Option<Hosts> {
    let plain = url::parse(preset.plain)?.0;
    let usual = url::parse(preset.mtls)?.0;
    let mtls = mtls.unwrap_or_else(|| usual.clone());
    // Applications may go on using the preset's name after it was replaced.
    let names = preset.aliases.iter().map(|&name| name.to_owned());
    let aliases = names
        .chain([usual.host])
        .filter(|name| *name != plain.host && *name != mtls.host)
        .collect();
    Some(Hosts {
        plain,
        mtls,
        aliases,
        authorise: preset.authorise.to_owned(),
        token_url,
    })
}
