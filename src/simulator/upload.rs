//! Request bodies: read as they come, digested on the way, never kept beyond what JSON needs.

use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

use super::pki::hex;
use super::recorder::BodySeen;
use super::shared::Shared;

/// A request body on its way in. Dropping it tells the recorder what was seen so far.
pub(super) struct Upload {
    body: Incoming,
    shared: Arc<Shared>,
    sequence: u64,
    digest: Option<digest::Context>,
    bytes: u64,
    json: Option<Vec<u8>>,
    complete: bool,
}

/// Why a body could not be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unusable {
    /// The caller stopped half-way.
    Broken,
    /// More than the simulator keeps.
    TooLarge,
}

/// The largest body that is kept: business calls are far smaller, files are only digested.
const KEPT: usize = 1 << 20;

impl Upload {
    pub(super) fn new(
        body: Incoming,
        headers: &HeaderMap,
        shared: Arc<Shared>,
        sequence: u64,
    ) -> Self {
        let json = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.contains("json"));
        Self {
            body,
            shared,
            sequence,
            digest: Some(digest::Context::new(&digest::SHA256)),
            bytes: 0,
            json: json.then(Vec::new),
            complete: false,
        }
    }

    /// The recorder's number for the request.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The next piece; `None` at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Unusable> {
        loop {
            let Some(frame) = self.body.frame().await else {
                self.complete = true;
                return Ok(None);
            };
            let Ok(data) = frame.map_err(|_| Unusable::Broken)?.into_data() else {
                continue;
            };
            self.bytes += data.len() as u64;
            if let Some(digest) = self.digest.as_mut() {
                digest.update(&data);
            }
            if let Some(kept) = self.json.as_mut() {
                if kept.len() + data.len() <= KEPT {
                    kept.extend_from_slice(&data);
                } else {
                    self.json = None;
                }
            }
            return Ok(Some(data));
        }
    }

    /// Reads to the end and says what came.
    pub(super) async fn measure(mut self) -> Result<BodySeen, Unusable> {
        while self.chunk().await?.is_some() {}
        Ok(self.finish())
    }

    /// Reads the whole body, if it is of a reasonable size.
    pub(super) async fn whole(mut self) -> Result<Vec<u8>, Unusable> {
        let mut whole = Vec::new();
        while let Some(data) = self.chunk().await? {
            if whole.len() + data.len() > KEPT {
                return Err(Unusable::TooLarge);
            }
            whole.extend_from_slice(&data);
        }
        self.finish();
        Ok(whole)
    }

    fn finish(&mut self) -> BodySeen {
        let Some(digest) = self.digest.take() else {
            return BodySeen::default();
        };
        let seen = BodySeen {
            bytes: self.bytes,
            sha256: hex(digest.finish().as_ref()),
            complete: self.complete,
        };
        let transaction = self
            .json
            .take()
            .filter(|_| self.complete)
            .and_then(|json| serde_json::from_slice::<Value>(&json).ok())
            .and_then(|json| {
                json.get("customerTransactionId")?
                    .as_str()
                    .map(str::to_owned)
            });
        self.shared
            .recorder
            .body(self.sequence, seen.clone(), transaction);
        seen
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.complete && http_body::Body::is_end_stream(&self.body) {
            self.complete = true;
        }
        self.finish();
    }
}
