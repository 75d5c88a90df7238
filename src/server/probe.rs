//! Asks Wise once whether it takes the client's credentials or a token, before a configuration is
//! whole.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;

use crate::config::{Config, Lane};
use crate::proxy::Directory;
use crate::server::build::{StartError, token_endpoint};
use crate::server::outfit::Outfit;
use crate::server::token_seal::TokenSeal;
use crate::tokens::{Exchange as _, ExchangeError, GrantRequest};
use crate::upstream::{self, Answer, Endpoint, OnceError, TokenEndpoint};

/// One lane's token endpoint and API, with nothing read that this lane does not need.
#[derive(Debug)]
pub(crate) struct Probe {
    tokens: TokenEndpoint,
    /// Whether an answer proves that Wise took the client certificate.
    pub(crate) is_mutual: bool,
    api: Arc<Endpoint>,
    connect_timeout: Duration,
}

impl Probe {
    /// `None` without an OAuth client. Blocks on files and programs.
    pub(crate) fn over(config: &Config, lane: Lane) -> Result<Option<Self>, StartError> {
        let mut config = config.clone();
        config.personal = None;
        config.doors.clear();
        if lane != Lane::OAuthMtls {
            config.mtls = None;
        }
        let outfit = Outfit::read(&config, &Directory::new(&[]), None, &TokenSeal::passing())?;
        let there = config.hosts.token_url.as_ref();
        let there = there.is_none_or(|url| url.origin == config.hosts.mtls);
        let is_mutual = there && lane == Lane::OAuthMtls && outfit.identity.is_some();
        let tokens = token_endpoint(&outfit, &config, lane)?;
        let mutual = outfit.mtls.as_ref().filter(|_| lane == Lane::OAuthMtls);
        let api = &mutual.unwrap_or(&outfit.plain).endpoint;
        Ok(tokens.map(|tokens| Self {
            tokens,
            is_mutual,
            api: Arc::clone(api),
            connect_timeout: config.upstream.connect_timeout,
        }))
    }

    /// Asks for a client-credentials token and drops it: it ends no other token.
    pub(crate) async fn ask(&self) -> Result<(), ExchangeError> {
        let asked = self.tokens.exchange(GrantRequest::ClientCredentials).await;
        asked.map(drop)
    }

    /// Asks whose a user's token is, which neither ends nor renews it. Only dialling is bounded; the
    /// caller bounds the rest.
    pub(crate) async fn who(&self, token: HeaderValue) -> Result<Answer, OnceError> {
        let path = PathAndQuery::from_static("/v1/me");
        upstream::get(&self.api, path, token, self.connect_timeout).await
    }
}
