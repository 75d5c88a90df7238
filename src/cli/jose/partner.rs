//! Wise's API as a partner sees it: the client-credentials token, and the calls about keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode};

use super::super::failure::Failure;
use super::super::line::{CallError, Line, refused};
use crate::config::Config;
use crate::upstream::Answer;
use crate::wise::jose::{OUR_KEYS, PublishedKey, Registration, Scope, WISE_KEYS};
use crate::wise::wire;

/// A public key of Wise's.
#[derive(Clone, Debug)]
pub(super) struct WiseKey {
    pub(super) version: u64,
    /// DER `SubjectPublicKeyInfo`.
    pub(super) der: Vec<u8>,
}

/// Us, known to Wise by a client-credentials token of this command's own.
pub(super) struct Partner {
    line: Line,
    authorization: HeaderValue,
}

impl Partner {
    /// Reads what a request needs. Blocks on files and programs.
    pub(super) fn line(config: &Config) -> Result<Line, Failure> {
        Line::open(config, "keys belong to the OAuth client")
    }

    pub(super) async fn introduce(line: Line, config: &Config) -> Result<Self, Failure> {
        Ok(Self {
            authorization: line.client_token(config).await?,
            line,
        })
    }

    /// Sends a request under the token; the answer may be a refusal.
    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<Answer, CallError> {
        self.line.send(request, self.authorization.clone()).await
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
        let key: PublishedKey =
            wire::object(&answer.body).ok_or(CallError::Without("public key"))?;
        let der = STANDARD.decode(&key.material.der);
        Ok(WiseKey {
            version: key.version,
            der: der.map_err(|_| CallError::Without("public key"))?,
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
