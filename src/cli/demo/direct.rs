//! Somebody who kept an old token: asks Wise past the proxy, with the proxy's own certificate.

use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::Empty;
use tokio::runtime::{Builder, LocalOptions};

use crate::config::Upstream;
use crate::telemetry::meter::Meter;
use crate::upstream::{Endpoint, Pool};

/// What Wise says to a GET with this token. Blocks; call it where that is no harm.
pub(super) fn ask(
    endpoint: &Arc<Endpoint>,
    upstream: &Upstream,
    path: &str,
    authorization: HeaderValue,
) -> anyhow::Result<StatusCode> {
    // A pool belongs to one thread, as each worker has its own.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let meter = Arc::new(Meter::new(0, 0));
        let pool = Pool::<Empty<Bytes>>::new(Arc::clone(endpoint), upstream, meter);
        let mut lease = pool.acquire().await?;
        let uri = if lease.is_http2() {
            let (scheme, authority) = (&endpoint.scheme, &endpoint.authority);
            format!("{scheme}://{authority}{path}").parse::<Uri>()?
        } else {
            path.parse()?
        };
        let request = Request::get(uri)
            .header(AUTHORIZATION, authorization)
            .body(Empty::new())?;
        let answer = lease.send(request).await.map_err(|sent| sent.error)?;
        Ok(answer.status())
    })
}
