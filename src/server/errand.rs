//! What a command needs to speak to Wise as the proxy does, whether one runs or not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request};

use crate::config::{Config, Jose, Lane};
use crate::credentials::FileStore;
use crate::proxy::Directory;
use crate::server::build::{StartError, lane_in_use, open_store, token_endpoint, way};
use crate::server::outfit::Outfit;
use crate::server::token_seal::TokenSeal;
use crate::switch::SwitchStore;
use crate::upstream::{self, Answer, Endpoint, OnceError, TokenEndpoint};

/// The way to Wise on the lane in use, with the store that a proxy shares.
#[derive(Debug)]
pub(crate) struct Errand {
    /// The recorded lane, or the configured one.
    pub(crate) lane: Lane,
    /// The endpoint of that lane; `None` without OAuth.
    pub(crate) tokens: Option<TokenEndpoint>,
    pub(crate) store: Arc<FileStore>,
    /// `Authorization` of the personal lane.
    pub(crate) personal: Option<HeaderValue>,
    way: Arc<Endpoint>,
    connect_timeout: Duration,
}

impl Errand {
    /// Reads and checks what a proxy needs for its calls to Wise, and for nothing else. Blocks on files
    /// and programs.
    pub(crate) fn prepare(config: &Config) -> Result<Self, StartError> {
        let store = Arc::new(open_store(config)?);
        let config = &for_calls(config);
        let outfit = Outfit::read(
            config,
            &Directory::new(&config.grants),
            None,
            &TokenSeal::passing(),
        )?;
        let last = SwitchStore::new(&config.store.path).load()?;
        let lane = lane_in_use(config, last.as_ref());
        Ok(Self {
            lane,
            tokens: token_endpoint(&outfit, config, lane)?,
            store,
            personal: outfit.personal.clone(),
            way: Arc::clone(way(&outfit, lane)?),
            connect_timeout: config.upstream.connect_timeout,
        })
    }

    /// GETs from the API. Only dialling is bounded; the caller bounds the rest.
    pub(crate) async fn get(
        &self,
        path: PathAndQuery,
        authorization: HeaderValue,
    ) -> Result<Answer, OnceError> {
        upstream::get(&self.way, path, authorization, self.connect_timeout).await
    }

    /// Sends a request to the API. Only dialling is bounded; the caller bounds the rest.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Answer, OnceError> {
        upstream::send(&self.way, request, self.connect_timeout).await
    }
}

/// The configuration without what only a proxy's own doors and routes need: a login must not hang on a
/// key that is made later.
fn for_calls(config: &Config) -> Config {
    let mut config = config.clone();
    config.doors.clear();
    config.callers.clear();
    config.policies.clear();
    config.webhooks.clear();
    config.jose = Jose::default();
    config.sca.key = None;
    config.admin.key = None;
    config
}
