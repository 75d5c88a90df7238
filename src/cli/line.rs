//! The line to Wise's API for commands of a partner: a token of the command's own, and calls.

use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, StatusCode};
use serde::Deserialize;

use super::failure::{Exit, Failure};
use crate::config::Config;
use crate::secret::Secret;
use crate::server::Errand;
use crate::tokens::{Exchange as _, GrantRequest};
use crate::upstream::{Answer, OnceError};
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
    #[error("Wise's answer holds no {0}")]
    Without(&'static str),
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
}

fn said(words: Option<&str>) -> String {
    words.map_or_else(String::new, |words| format!(" ({words})"))
}

/// The way to Wise, bounded in time.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) errand: Errand,
    timeout: Duration,
}

impl Line {
    /// Reads what a request needs. Blocks on files and programs.
    ///
    /// `why`: what the OAuth client is needed for, to be said where there is none.
    pub(super) fn open(config: &Config, why: &str) -> Result<Self, Failure> {
        if config.oauth.is_none() {
            let error = anyhow!("the configuration has no [oauth]");
            return Err(Failure::new(Exit::Config, error).hint(format!(
                "{why}: add the client id and secret that Wise gave you"
            )));
        }
        Ok(Self {
            errand: Errand::prepare(config)?,
            timeout: config.upstream.answer_timeout,
        })
    }

    /// A client-credentials token of this command's own.
    ///
    /// An exchange shows no refresh token and ends no other token; what a running proxy has goes on.
    pub(super) async fn client_token(&self, config: &Config) -> Result<HeaderValue, Failure> {
        let failed = |error: anyhow::Error| {
            Failure::new(Exit::Failed, error).hint("`wise-auth-proxy doctor` says more")
        };
        let tokens = self.errand.tokens.as_ref();
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
        token.bearer().map_err(|error| failed(error.into()))
    }

    /// Sends a request under a token; the answer may be a refusal.
    pub(super) async fn send(
        &self,
        mut request: Request<Bytes>,
        authorization: HeaderValue,
    ) -> Result<Answer, CallError> {
        request.headers_mut().insert(AUTHORIZATION, authorization);
        let sending = Box::pin(self.errand.send(request));
        let answer = tokio::time::timeout(self.timeout, sending).await;
        Ok(answer.map_err(|_elapsed| CallError::TimedOut(self.timeout))??)
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
