//! Signed and encrypted bodies, strong customer authentication, webhooks: as checked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::check::{Check, MINUTE};
use super::file;
use super::leaf::{List, Parsed};
use super::limits::DAY;
use super::values::{Hook, Kid, Name, Place, Size, Subscription};
use super::{Environment, Lane, LaneSet, Origin, Rule, SecretSource, SigningAlgorithm};

const MIB: usize = 1024 * 1024;

/// Keys for signed and encrypted bodies, and where they are used.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Jose {
    /// The key that signs requests.
    pub signing: Option<JoseSigning>,
    /// The key that decrypts answers.
    pub decrypting: Option<JoseDecrypting>,
    /// The largest body of a request or an answer on these routes, in bytes.
    pub max_body: usize,
    /// The first that covers a request counts. Each has the keys it needs.
    pub routes: Vec<JoseRoute>,
}

impl Jose {
    /// The files it names, each with its key.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let signing = self.signing.iter();
        let signing = signing.map(|key| ("jose.signing_key", key.path.as_path()));
        let decrypting = self.decrypting.iter();
        signing.chain(decrypting.map(|key| ("jose.encryption_key", key.path.as_path())))
    }
}

/// A private key that signs requests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JoseSigning {
    /// How it signs.
    pub algorithm: SigningAlgorithm,
    /// PEM file, PKCS#8.
    pub path: PathBuf,
    /// The id under which Wise has the public half; `None`: not registered, or not said.
    pub kid: Option<String>,
}

/// A private key that decrypts answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JoseDecrypting {
    /// PEM file, PKCS#8, RSA.
    pub path: PathBuf,
    /// The id under which Wise has the public half; `None`: not registered, or not said.
    pub kid: Option<String>,
}

/// Requests whose bodies are signed or encrypted on their way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JoseRoute {
    /// Which requests. At least one rule.
    pub covers: Vec<Rule>,
    /// What is done to bodies.
    pub method: JoseMethod,
    /// Where it is done.
    pub lanes: LaneSet,
}

/// What is done to bodies, in the words of `X-TW-JOSE-Method`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JoseMethod {
    /// Signed.
    Jws,
    /// Encrypted.
    Jwe,
    /// Signed, and then encrypted.
    JwsJwe,
}

impl JoseMethod {
    /// As Wise's header and the configuration spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jws => "jws",
            Self::Jwe => "jwe",
            Self::JwsJwe => "jws+jwe",
        }
    }

    /// Whether bodies are signed.
    pub const fn signs(self) -> bool {
        matches!(self, Self::Jws | Self::JwsJwe)
    }

    /// Whether bodies are encrypted.
    pub const fn encrypts(self) -> bool {
        matches!(self, Self::Jwe | Self::JwsJwe)
    }
}

/// What is done when Wise wants strong customer authentication.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sca {
    /// PEM file of the RSA key that signs one-time tokens; `None`: none is signed.
    pub key: Option<PathBuf>,
    /// Lanes in which one-time tokens are signed.
    pub lanes: LaneSet,
    /// The program that is asked for an approval, and its arguments.
    pub approval_command: Option<Vec<String>>,
    /// Where the URL is that an approval is asked for at.
    pub approval_webhook: Option<SecretSource>,
    /// Where the value of its `Authorization` field is.
    pub approval_authorization: Option<SecretSource>,
    /// A request waits no longer for its approval.
    pub approval_wait: Duration,
    /// So many requests may wait at once.
    pub max_waiting: usize,
}

/// Where Wise's webhooks come in, and where they go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Webhook {
    /// Our name for it.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// `None`: plain, and then on loopback.
    pub tls: Option<WebhookTls>,
    /// Subscriptions whose deliveries are taken, in lower case; empty: every subscription's.
    pub subscriptions: Vec<String>,
    /// The only path that is served; `None`: every path.
    pub path: Option<String>,
    /// PEM file of the public keys whose signatures are believed; `None`: Wise's own key for the
    /// environment, which then is no custom one.
    pub signature_key: Option<PathBuf>,
    /// Where the application is.
    pub forward: Origin,
    /// Path and query there.
    pub forward_path: String,
    /// The application has this long to answer.
    pub forward_timeout: Duration,
    /// What comes again within this time is dropped.
    pub window: Duration,
    /// The largest delivery, in bytes.
    pub max_body: usize,
    /// So many deliveries are kept.
    pub max_queued: usize,
}

/// Certificate of a webhook door.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WebhookTls {
    /// PEM file: the leaf, then any chain.
    pub certificate: PathBuf,
    /// PEM file: the private key.
    pub key: PathBuf,
    /// PEM file of the authorities of Wise's client certificate; `None`: none is asked for.
    pub client_ca: Option<PathBuf>,
    /// Names of which that certificate shows one; empty: none is asked for.
    pub client_names: Vec<String>,
}

impl Webhook {
    /// Whether it names its subscriptions, and this one among them.
    pub(crate) fn names(&self, subscription: &str) -> bool {
        let mut named = self.subscriptions.iter();
        named.any(|id| id.eq_ignore_ascii_case(subscription))
    }

    /// The files it names, each with its key.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let tls = self.tls.iter().flat_map(|tls| {
            let client_ca = tls.client_ca.iter();
            let client_ca = client_ca.map(|path| ("webhook.client_ca", path.as_path()));
            client_ca.chain([
                ("webhook.certificate", tls.certificate.as_path()),
                ("webhook.key", tls.key.as_path()),
            ])
        });
        let signature = self.signature_key.iter();
        tls.chain(signature.map(|path| ("webhook.signature_key", path.as_path())))
    }
}

/// Whether a text can be the id of a key: a UUID.
pub(crate) fn is_key_id(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

impl Check<'_> {
    pub(super) fn jose(&mut self, typed: &file::Jose, has_client: bool) -> Jose {
        for (key, is_there, of, is_said) in [
            (
                "jose.signing_key",
                typed.signing_key.is_some(),
                "jose.signing_algorithm",
                typed.signing_algorithm.is_some(),
            ),
            (
                "jose.signing_key",
                typed.signing_key.is_some(),
                "jose.signing_kid",
                typed.signing_kid.is_some(),
            ),
            (
                "jose.encryption_key",
                typed.encryption_key.is_some(),
                "jose.encryption_kid",
                typed.encryption_kid.is_some(),
            ),
        ] {
            if is_said && !is_there {
                self.refuse(
                    key,
                    format!("{of} is said of a key: name its PEM file; `jose keygen` makes one"),
                );
            }
        }
        let kid = |typed: &Option<Parsed<Kid>>| typed.clone().map(|Parsed(Kid(kid))| kid);
        let algorithm = typed.signing_algorithm.map(|Parsed(algorithm)| algorithm);
        let signing = self.place(typed.signing_key.as_ref());
        let decrypting = self.place(typed.encryption_key.as_ref());
        let routes = typed.route.iter().enumerate();
        let routes = routes.filter_map(|(i, route)| self.jose_route(i, route, typed, has_client));
        Jose {
            routes: routes.collect(),
            max_body: self.body("jose.max_body", Some(typed.max_body)),
            signing: signing.map(|path| JoseSigning {
                algorithm: algorithm.unwrap_or(SigningAlgorithm::Es512),
                path,
                kid: kid(&typed.signing_kid),
            }),
            decrypting: decrypting.map(|path| JoseDecrypting {
                path,
                kid: kid(&typed.encryption_kid),
            }),
        }
    }

    fn jose_route(
        &mut self,
        i: usize,
        route: &file::JoseRoute,
        jose: &file::Jose,
        has_client: bool,
    ) -> Option<JoseRoute> {
        let key = |name: &str| format!("jose.route.{i}.{name}");
        let rules = route.covers.as_ref();
        let covers = rules.map(|rules| self.rules(&key("match"), rules));
        if rules.is_none_or(|List(rules)| rules.is_empty()) {
            self.refuse(
                &key("match"),
                "say which requests, such as [\"POST /v1/quotes\"]",
            );
        }
        let Some(Parsed(method)) = route.method else {
            self.refuse(&key("method"), "say \"jws\", \"jwe\" or \"jws+jwe\"");
            return None;
        };
        if method.signs() && jose.signing_key.is_none() {
            self.refuse(
                "jose.signing_key",
                "is missing: a route signs; `jose keygen` makes one, `jose register` tells Wise",
            );
        }
        // An answer is encrypted to it, and Wise must be told which it is.
        if method.encrypts() && (jose.encryption_key.is_none() || jose.encryption_kid.is_none()) {
            self.refuse(
                "jose.encryption_kid",
                "is missing: a route encrypts; `jose keygen` makes the key, `jose register` tells \
                 Wise and writes its id",
            );
        }
        let lanes: LaneSet = match &route.lanes {
            Some(List(lanes)) => lanes.iter().copied().collect(),
            None => [Lane::OAuth, Lane::OAuthMtls].into_iter().collect(),
        };
        // Known here, and not when the first answer cannot be verified.
        if lanes.contains(Lane::Personal) && !has_client {
            self.refuse(
                &key("lanes"),
                "lane personal needs [oauth] here: Wise gives its public keys to the OAuth client \
                 alone, and without them no answer can be verified",
            );
        }
        Some(JoseRoute {
            covers: covers?,
            method,
            lanes,
        })
    }

    pub(super) fn sca(&mut self, typed: &file::Sca) -> Sca {
        let key = self.place(typed.key.as_ref());
        if key.is_some() && typed.lanes.0.is_empty() {
            self.refuse("sca.lanes", "name a lane, or leave sca.key out");
        }
        let approval_webhook = self.source(typed.approval_webhook.as_ref());
        let approval_authorization = self.source(typed.approval_authorization.as_ref());
        if approval_authorization.is_some() && approval_webhook.is_none() {
            self.refuse(
                "sca.approval_webhook",
                "sca.approval_authorization is for a webhook; say where its URL is",
            );
        }
        let approval_command =
            self.command("sca.approval_command", typed.approval_command.as_ref());
        let second = Duration::from_secs(1);
        Sca {
            key,
            lanes: typed.lanes.0.iter().copied().collect(),
            approval_command,
            approval_webhook,
            approval_authorization,
            approval_wait: self.duration(
                "sca.approval_wait",
                typed.approval_wait,
                second,
                60 * MINUTE,
            ),
            max_waiting: self.count("sca.max_waiting", typed.max_waiting, &(1..=10_000)),
        }
    }

    pub(super) fn webhooks(
        &mut self,
        typed: &[file::Webhook],
        environment: Option<Environment>,
    ) -> Vec<Webhook> {
        let mut webhooks: Vec<Webhook> = Vec::new();
        for (i, webhook) in typed.iter().enumerate() {
            if let Some(webhook) = self.webhook(i, webhook, environment) {
                let mut others = webhooks.iter();
                if others.any(|other| other.name == webhook.name) {
                    self.refuse(
                        &format!("webhook.{i}.name"),
                        "another webhook has this name",
                    );
                }
                webhooks.push(webhook);
            }
        }
        webhooks
    }

    fn webhook(
        &mut self,
        i: usize,
        typed: &file::Webhook,
        environment: Option<Environment>,
    ) -> Option<Webhook> {
        let key = |name: &str| format!("webhook.{i}.{name}");
        if typed.name.is_none() {
            self.refuse(
                &key("name"),
                "give the webhook a name, such as \"transfers\"",
            );
        }
        if typed.address.is_none() {
            self.refuse(
                &key("address"),
                "say where it listens, such as \"0.0.0.0:8443\"",
            );
        }
        if typed.forward.is_none() {
            self.refuse(
                &key("forward"),
                "say where the application takes deliveries, such as \
                 \"http://127.0.0.1:9000/wise\"",
            );
        }
        let certificate = self.place(typed.certificate.as_ref());
        let private = self.place(typed.key.as_ref());
        let client_ca = self.place(typed.client_ca.as_ref());
        let names = typed.client_names.as_ref();
        if client_ca.is_none() && names.is_some() {
            self.refuse(
                &key("client_ca"),
                "is missing: webhook.client_names is said of certificates that it vouches for",
            );
        }
        if names.is_some_and(|List(names)| names.is_empty()) {
            self.refuse(&key("client_names"), "name one, or leave it out");
        }
        let client_names = names.map(|List(names)| names.clone()).unwrap_or_default();
        let subscriptions = typed.subscriptions.as_ref();
        if subscriptions.is_some_and(|List(ids)| ids.is_empty()) {
            self.refuse(
                &key("subscriptions"),
                "name one, such as `webhook list` shows them, or leave it out",
            );
        }
        let subscriptions = subscriptions.into_iter().flat_map(|List(ids)| ids);
        let subscriptions = subscriptions.map(|Subscription(id)| id.clone()).collect();
        let beyond = |Parsed(address): Parsed<SocketAddr>| !address.ip().is_loopback();
        let tls = match (certificate, private) {
            (Some(certificate), Some(key)) => Some(WebhookTls {
                certificate,
                key,
                client_ca,
                client_names,
            }),
            (None, None) => {
                if typed.address.is_some_and(beyond) {
                    self.refuse(
                        &key("certificate"),
                        "is missing: Wise speaks TLS. Beyond loopback a webhook has a certificate \
                         and a key",
                    );
                } else if client_ca.is_some() {
                    self.refuse(
                        &key("certificate"),
                        "is missing: a client certificate is shown within TLS",
                    );
                }
                None
            }
            (Some(_), None) => {
                self.refuse(&key("key"), "is missing: the certificate has one");
                None
            }
            (None, Some(_)) => {
                self.refuse(&key("certificate"), "is missing: the key is of one");
                None
            }
        };
        let signature_key = self.place(typed.signature_key.as_ref());
        if signature_key.is_none() && environment == Some(Environment::Custom) {
            self.refuse(
                &key("signature_key"),
                "is missing: whose signatures to believe is known of the sandbox and of production \
                 only",
            );
        }
        let second = Duration::from_secs(1);
        let forward_timeout = typed.forward_timeout.unwrap_or(Parsed(10 * second));
        let window = typed.window.unwrap_or(Parsed(15 * DAY));
        let max_queued = typed.max_queued.unwrap_or(Parsed(100_000));
        let forward_timeout = self.duration(
            &key("forward_timeout"),
            forward_timeout,
            Duration::from_millis(1),
            60 * MINUTE,
        );
        let window = self.duration(&key("window"), window, MINUTE, 30 * DAY);
        let max_body = self.body(&key("max_body"), typed.max_body);
        let max_queued = self.count(&key("max_queued"), max_queued, &(1..=10_000_000));
        let Parsed(Name(name)) = typed.name.clone()?;
        let Parsed(address) = typed.address?;
        let Parsed(Hook(forward, forward_path)) = typed.forward.clone()?;
        Some(Webhook {
            name,
            address,
            tls,
            subscriptions,
            path: typed.path.clone().map(|Parsed(Place(path))| path),
            signature_key,
            forward,
            forward_path,
            forward_timeout,
            window,
            max_body,
            max_queued,
        })
    }

    /// The largest body, in bytes; without a word 1 MiB.
    fn body(&mut self, key: &str, typed: Option<Parsed<Size>>) -> usize {
        let Parsed(Size(size)) = typed.unwrap_or(Parsed(Size(MIB)));
        if !(1024..=64 * MIB).contains(&size) {
            self.refuse(key, "must be from \"1 KiB\" to \"64 MiB\"");
        }
        size
    }

    fn place(&self, typed: Option<&Parsed<PathBuf>>) -> Option<PathBuf> {
        let Parsed(path) = typed?;
        Some(self.base.join(path))
    }
}
