//! Asks Wise once whether it takes the client's credentials, before a configuration is whole.

use crate::config::{Config, Lane};
use crate::proxy::Directory;
use crate::server::build::{StartError, token_endpoint};
use crate::server::outfit::Outfit;
use crate::server::token_seal::TokenSeal;
use crate::tokens::{Exchange as _, ExchangeError, GrantRequest};
use crate::upstream::TokenEndpoint;

/// One lane's token endpoint, with nothing read that this lane does not need.
#[derive(Debug)]
pub(crate) struct Probe {
    tokens: TokenEndpoint,
    /// Whether an answer proves that Wise took the client certificate.
    pub(crate) is_mutual: bool,
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
        Ok(tokens.map(|tokens| Self { tokens, is_mutual }))
    }

    /// Asks for a client-credentials token and drops it: it ends no other token.
    pub(crate) async fn ask(&self) -> Result<(), ExchangeError> {
        let asked = self.tokens.exchange(GrantRequest::ClientCredentials).await;
        asked.map(drop)
    }
}
