//! One connection of an application, from its first byte to its last.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::listener::Arrival;
use crate::proxy::refusal::Refusing;
use crate::proxy::worker::Worker;
use crate::upstream::Local;

/// Serves a connection until the application, an error or `drain` ends it.
///
/// At `drain` the request in flight is finished and the connection closed after it. HTTP/1.1 and
/// HTTP/2 with prior knowledge are told apart by their first bytes.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    arrival: Arrival,
    runtime: config::Runtime,
    drain: CancellationToken,
) {
    let Arrival {
        stream,
        door,
        ticket,
        ..
    } = arrival;
    let io = match stream.watched() {
        Ok(io) => io,
        Err(error) => {
            tracing::warn!(%error, "an accepted connection could not be watched");
            return;
        }
    };
    worker.meter.downstream.up();
    let service = service_fn(|request| {
        let worker = Rc::clone(&worker);
        async move { Ok::<_, std::convert::Infallible>(super::answer(&worker, door, request).await) }
    });
    let builder = builder(&runtime);
    let io = Refusing::new(io, Arc::clone(&worker.meter));
    let connection = builder.serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(error, "an application's connection ended early");
    }
    worker.meter.downstream.down();
    drop(ticket);
}

fn builder(runtime: &config::Runtime) -> auto::Builder<Local> {
    let mut builder = auto::Builder::new(Local);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(runtime.header_timeout)
        .max_headers(runtime.max_headers)
        .max_buf_size(runtime.max_header_size)
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(runtime.max_header_size).unwrap_or(u32::MAX))
        .max_concurrent_streams(256)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
