//! An event as a POST to somebody's URL.

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

/// Where events are sent to.
#[derive(Debug)]
pub(super) struct Webhook {
    url: Option<SecretSource>,
    authorization: Option<SecretSource>,
    trust: Trust,
    upstream: Upstream,
}

impl Webhook {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            url: config.notify.webhook.clone(),
            authorization: config.notify.authorization.clone(),
            trust: config.trust.clone(),
            upstream: config.upstream.clone(),
        }
    }

    /// Sends one message, on a connection of its own: they are rare.
    pub(super) async fn tell(&self, message: Bytes) -> Result<(), NotifyError> {
        let (url, authorization) = (self.url.clone(), self.authorization.clone());
        let (trust, upstream) = (self.trust.clone(), self.upstream.clone());
        // Read anew each time: what was wrong may have been mended.
        let read = move || Target::read(url, authorization, &trust, &upstream);
        let target = tokio::task::spawn_blocking(read).await;
        let target = target.map_err(|_| NotifyError::Failed("the proxy stops".into()))??;
        let connect = self.upstream.connect_timeout;
        let Target {
            endpoint,
            path,
            authorization,
        } = target;
        let asked = upstream::post(&endpoint, path, authorization, message, connect);
        let answer = match tokio::time::timeout(LIMIT, asked).await {
            Ok(Ok(answer)) => answer.status,
            // It has said enough, and nobody reads the rest.
            Ok(Err(OnceError::TooBig)) => StatusCode::OK,
            Ok(Err(error)) => return Err(NotifyError::Failed(error.to_string())),
            Err(_) => {
                let why = format!("no answer within {} s", LIMIT.as_secs());
                return Err(NotifyError::Failed(why));
            }
        };
        judged(answer)
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
        url: Option<SecretSource>,
        authorization: Option<SecretSource>,
        trust: &Trust,
        upstream: &Upstream,
    ) -> Result<Self, NotifyError> {
        let refused = |why: &str| NotifyError::Refused(why.to_owned());
        let read = |key: &str, source: Option<SecretSource>| {
            let secret = source.as_ref().map(SecretSource::read).transpose();
            secret.map_err(|error| NotifyError::Failed(format!("{key}: {error}")))
        };
        let url = read("notify.webhook", url)?.ok_or_else(|| refused("there is no webhook"))?;
        let (origin, path) = parse_url(url.expose().trim())
            .ok_or_else(|| refused("notify.webhook holds no URL such as https://host/path"))?;
        if !origin.tls && !origin.is_loopback() {
            return Err(refused("notify.webhook must be https beyond this machine"));
        }
        let path = PathAndQuery::try_from(path)
            .map_err(|_| refused("notify.webhook has an impossible path"))?;
        let authorization = read("notify.authorization", authorization)?;
        let authorization = authorization.map(|secret| {
            let mut value = HeaderValue::from_str(secret.expose())
                .map_err(|_| refused("notify.authorization cannot stand in a header"))?;
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
