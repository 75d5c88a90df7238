//! Wise's API as a partner sees it: the client-credentials token, and the calls about keys.

use std::time::Duration;

use anyhow::anyhow;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use serde::Deserialize;

use super::super::failure::{Exit, Failure};
use crate::config::Config;
use crate::secret::Secret;
use crate::server::Errand;
use crate::tokens::{Exchange as _, GrantRequest};
use crate::upstream::{Answer, OnceError};
use crate::wise::jose::{OUR_KEYS, PublishedKey, Registration, Scope, WISE_KEYS};
use crate::wise::wire;

/// Longest text of Wise's that is repeated.
const LONGEST: usize = 160;

/// Why a call brought nothing. Every text is safe to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("no answer: {0}")]
    NoAnswer(#[from] OnceError),
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("Wise answers {}{}", .status.as_u16(), said(.words.as_deref()))]
    Refused {
        status: StatusCode,
        /// Wise's own, where they are fit to be shown.
        words: Option<String>,
    },
    #[error("Wise's answer holds no public key")]
    NoKey,
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
}

fn said(words: Option<&str>) -> String {
    words.map_or_else(String::new, |words| format!(" ({words})"))
}

/// A public key of Wise's.
#[derive(Clone, Debug)]
pub(super) struct WiseKey {
    pub(super) version: u64,
    /// DER `SubjectPublicKeyInfo`.
    pub(super) der: Vec<u8>,
}

/// Us, known to Wise by a client-credentials token of this command's own.
///
/// An exchange shows no refresh token and ends no other token; what a running proxy has goes on.
pub(super) struct Partner {
    errand: Errand,
    authorization: HeaderValue,
    timeout: Duration,
}

impl Partner {
    /// Reads what a request needs. Blocks on files and programs.
    pub(super) fn errand(config: &Config) -> Result<Errand, Failure> {
        if config.oauth.is_none() {
            let error = anyhow!("the configuration has no [oauth]");
            return Err(Failure::new(Exit::Config, error).hint(
                "keys belong to the OAuth client: add the client id and secret that Wise gave you",
            ));
        }
        Ok(Errand::prepare(config)?)
    }

    pub(super) async fn introduce(errand: Errand, config: &Config) -> Result<Self, Failure> {
        let failed = |error: anyhow::Error| {
            Failure::new(Exit::Failed, error).hint("`wise-auth-proxy doctor` says more")
        };
        let tokens = errand.tokens.as_ref();
        let tokens = tokens.ok_or_else(|| failed(anyhow!("there is no token endpoint")))?;
        let limit = config.tokens.exchange_timeout;
        let exchange = tokens.exchange(GrantRequest::ClientCredentials);
        let answer = tokio::time::timeout(limit, exchange).await;
        let answer = answer
            .map_err(|_elapsed| failed(CallError::TimedOut(limit).into()))?
            .map_err(|error| {
                Failure::advised(Exit::Failed, &error, "`wise-auth-proxy doctor` says more")
            })?;
        let token = Secret::new(answer.access_token.clone());
        let authorization = token.bearer().map_err(|error| failed(error.into()))?;
        Ok(Self {
            errand,
            authorization,
            timeout: config.upstream.answer_timeout,
        })
    }

    /// Sends a request under the token; the answer may be a refusal.
    pub(super) async fn send(&self, mut request: Request<Bytes>) -> Result<Answer, CallError> {
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        let sending = Box::pin(self.errand.send(request));
        let answer = tokio::time::timeout(self.timeout, sending).await;
        Ok(answer.map_err(|_elapsed| CallError::TimedOut(self.timeout))??)
    }

    /// Wise's key of an algorithm; the present one, unless a version is named.
    pub(super) async fn key(
        &self,
        scope: Scope,
        algorithm: &str,
        version: Option<u64>,
    ) -> Result<WiseKey, CallError> {
        let version = version.map_or_else(String::new, |it| format!("&version={it}"));
        let scope = scope.name();
        let path = format!("{WISE_KEYS}?algorithm={algorithm}&scope={scope}{version}");
        let request = Request::get(path).body(Bytes::new())?;
        let answer = self.send(request).await?;
        if answer.status != StatusCode::OK {
            return Err(refused(&answer));
        }
        let key: PublishedKey = wire::object(&answer.body).ok_or(CallError::NoKey)?;
        let der = STANDARD.decode(&key.material.der);
        Ok(WiseKey {
            version: key.version,
            der: der.map_err(|_| CallError::NoKey)?,
        })
    }

    pub(super) async fn register(&self, key: &Registration<'_>) -> Result<(), CallError> {
        let body = serde_json::to_vec(key).unwrap_or_default();
        let request = Request::builder()
            .method(Method::POST)
            .uri(OUR_KEYS)
            .header(CONTENT_TYPE, "application/json")
            .body(Bytes::from(body))?;
        let answer = self.send(request).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(refused(&answer))
    }
}

/// A refusal with Wise's own words. `error_description` is not among them: Wise is known to repeat
/// the token there.
pub(super) fn refused(answer: &Answer) -> CallError {
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(default)]
        error: Option<String>,
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        path: Option<String>,
        #[serde(default)]
        message: Option<String>,
    }
    let of_a_token = answer.status == StatusCode::UNAUTHORIZED;
    let refusal: Option<Refusal> = wire::object(&answer.body).filter(|_| !of_a_token);
    let words = refusal.and_then(|refusal| {
        let first = refusal.errors.into_iter().next();
        let first = first.and_then(|one| match (one.path, one.message) {
            (Some(path), Some(message)) => Some(format!("{path}: {message}")),
            (path, message) => message.or(path),
        });
        first.or(refusal.error).or(refusal.message)
    });
    let words = words.map(|words| {
        let plain = words.chars().filter(|letter| !letter.is_control());
        plain.take(LONGEST).collect()
    });
    CallError::Refused {
        status: answer.status,
        words,
    }
}
