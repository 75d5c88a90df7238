//! A message as a POST to somebody's URL.

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode};

use super::NotifyError;
use crate::config::{Config, HttpVersion, SecretSource, Trust, Upstream, parse_url};
use crate::tls::{self, RootSet, Tickets};
use crate::upstream::{self, Endpoint, OnceError};

/// From dialling to the last byte of the answer.
const LIMIT: Duration = Duration::from_secs(15);

/// The settings that say where, as errors name them.
#[derive(Clone, Copy, Debug)]
struct Keys {
    url: &'static str,
    authorization: &'static str,
}

const OF_EVENTS: Keys = Keys {
    url: "notify.webhook",
    authorization: "notify.authorization",
};

const OF_APPROVALS: Keys = Keys {
    url: "sca.approval_webhook",
    authorization: "sca.approval_authorization",
};

/// Where messages are sent to.
#[derive(Debug)]
pub(super) struct Webhook {
    keys: Keys,
    url: Option<SecretSource>,
    authorization: Option<SecretSource>,
    trust: Trust,
    upstream: Upstream,
}

impl Webhook {
    /// That of events.
    pub(super) fn new(config: &Config) -> Self {
        let notify = &config.notify;
        let (url, authorization) = (notify.webhook.as_ref(), notify.authorization.as_ref());
        Self::of(config, OF_EVENTS, url, authorization)
    }

    /// That of questions.
    pub(super) fn of_approvals(config: &Config) -> Self {
        let sca = &config.sca;
        let url = sca.approval_webhook.as_ref();
        let authorization = sca.approval_authorization.as_ref();
        Self::of(config, OF_APPROVALS, url, authorization)
    }

    fn of(
        config: &Config,
        keys: Keys,
        url: Option<&SecretSource>,
        authorization: Option<&SecretSource>,
    ) -> Self {
        Self {
            keys,
            url: url.cloned(),
            authorization: authorization.cloned(),
            trust: config.trust.clone(),
            upstream: config.upstream.clone(),
        }
    }

    /// Tells of an event.
    pub(super) async fn tell(&self, message: Bytes) -> Result<(), NotifyError> {
        judged(self.ask(message, LIMIT).await?)
    }

    /// Sends one message, on a connection of its own: they are rare.
    pub(super) async fn ask(
        &self,
        message: Bytes,
        limit: Duration,
    ) -> Result<StatusCode, NotifyError> {
        let keys = self.keys;
        let (url, authorization) = (self.url.clone(), self.authorization.clone());
        let (trust, upstream) = (self.trust.clone(), self.upstream.clone());
        // Read anew each time: what was wrong may have been mended.
        let read = move || Target::read(keys, url, authorization, &trust, &upstream);
        let target = tokio::task::spawn_blocking(read).await;
        let target = target.map_err(|_| NotifyError::Failed("the proxy stops".into()))??;
        let connect = self.upstream.connect_timeout;
        let Target {
            endpoint,
            path,
            authorization,
        } = target;
        let asked = upstream::post(&endpoint, path, authorization, message, connect);
        match tokio::time::timeout(limit, asked).await {
            Ok(Ok(answer)) => Ok(answer.status),
            // It has said enough of an event, and nobody reads the rest. Of a question it has not.
            Ok(Err(OnceError::TooBig)) if self.keys.url == OF_EVENTS.url => Ok(StatusCode::OK),
            Ok(Err(error)) => Err(NotifyError::Failed(error.to_string())),
            Err(_) => {
                let why = format!("no answer within {} s", limit.as_secs());
                Err(NotifyError::Failed(why))
            }
        }
    }
}

fn judged(status: StatusCode) -> Result<(), NotifyError> {
    let why = || format!("the webhook answered {status}");
    let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    if status.is_success() {
        Ok(())
    } else if status.is_server_error() || again.contains(&status) {
        Err(NotifyError::Failed(why()))
    } else {
        Err(NotifyError::Refused(why()))
    }
}

struct Target {
    endpoint: Endpoint,
    path: PathAndQuery,
    authorization: Option<HeaderValue>,
}

impl Target {
    /// Blocks on files and programs. No text repeats the URL.
    fn read(
        keys: Keys,
        url: Option<SecretSource>,
        authorization: Option<SecretSource>,
        trust: &Trust,
        upstream: &Upstream,
    ) -> Result<Self, NotifyError> {
        let refused = |why: &str| NotifyError::Refused(why.to_owned());
        let of_url = |why: &str| NotifyError::Refused(format!("{} {why}", keys.url));
        let read = |key: &str, source: Option<SecretSource>| {
            let secret = source.as_ref().map(SecretSource::read).transpose();
            secret.map_err(|error| NotifyError::Failed(format!("{key}: {error}")))
        };
        let url = read(keys.url, url)?.ok_or_else(|| refused("there is no webhook"))?;
        let (origin, path) = parse_url(url.expose().trim())
            .ok_or_else(|| of_url("holds no URL such as https://host/path"))?;
        if !origin.tls && !origin.is_loopback() {
            return Err(of_url("must be https beyond this machine"));
        }
        let path = PathAndQuery::try_from(path).map_err(|_| of_url("has an impossible path"))?;
        let authorization = read(keys.authorization, authorization)?;
        let authorization = authorization.map(|secret| {
            let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| {
                NotifyError::Refused(format!("{} cannot stand in a header", keys.authorization))
            })?;
            value.set_sensitive(true);
            Ok::<_, NotifyError>(value)
        });
        let credentials = upstream
            .via
            .as_ref()
            .and_then(|via| via.credentials.clone());
        let credentials = read("upstream.via_credentials", credentials)?;
        let failed = |error: &dyn std::fmt::Display| NotifyError::Failed(error.to_string());
        let tls = if origin.tls {
            let roots = RootSet::load(trust).map_err(|error| failed(&error))?;
            let tls = tls::client_config(
                &roots,
                None,
                HttpVersion::Auto,
                Tickets {
                    most: 0,
                    age: Duration::ZERO,
                },
            );
            Some(tls.map_err(|error| failed(&error))?)
        } else {
            None
        };
        // Wise's HTTP version is not the webhook's.
        let mut upstream = upstream.clone();
        upstream.http = if origin.tls {
            HttpVersion::Auto
        } else {
            HttpVersion::Http1
        };
        let endpoint = Endpoint::new(&origin, tls, &upstream, credentials.as_ref())
            .map_err(|error| failed(&error))?;
        Ok(Self {
            endpoint,
            path,
            authorization: authorization.transpose()?,
        })
    }
}
