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
use crate::proxy::patience::{Paced, Patience};
use crate::proxy::refusal::Refusing;
use crate::proxy::worker::Worker;
use crate::upstream::Local;

/// Who came when every place was taken is told so within this long, or not at all.
const TURNED_AWAY: Duration = Duration::from_secs(2);

/// Serves a connection until the application, an error, its slowness or `drain` ends it.
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
    let spare = ticket.is_spare();
    let patience = if spare {
        Patience::new(TURNED_AWAY, TURNED_AWAY)
    } else {
        Patience::new(runtime.header_timeout, runtime.idle_timeout)
    };
    let service = service_fn(|request| {
        let worker = Rc::clone(&worker);
        let turn = patience.begins(request.version());
        async move {
            let answer = if spare {
                super::turn_away(&worker, request)
            } else {
                super::answer(&worker, door, request).await
            };
            Ok::<_, std::convert::Infallible>(answer.map(|reply| Paced::new(reply, turn)))
        }
    });
    let builder = builder(&runtime);
    let meter = Arc::clone(&worker.meter);
    let io = TokioIo::new(Refusing::new(io, Rc::clone(&patience), meter));
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    let mut leaving = false;
    loop {
        tokio::select! {
            // The connection first: what it hears decides when somebody is overdue.
            biased;
            outcome = connection.as_mut() => {
                if let Err(error) = outcome {
                    tracing::debug!(error, "an application's connection ended early");
                }
                break;
            }
            () = drain.cancelled(), if !leaving => {
                connection.as_mut().graceful_shutdown();
                leaving = true;
            }
            () = patience.overdue() => {
                if leaving || !patience.is_idle() {
                    tracing::debug!("an application kept us waiting too long");
                    break;
                }
                // A request may be on its way; it is still served.
                connection.as_mut().graceful_shutdown();
                leaving = true;
                patience.renew();
            }
        }
    }
    worker.meter.downstream.down();
    drop(ticket);
}

fn builder(runtime: &config::Runtime) -> auto::Builder<Local> {
    let mut builder = auto::Builder::new(Local);
    builder
        .http1()
        .timer(TokioTimer::new())
        // `Patience` does this.
        .header_read_timeout(None)
        .max_headers(runtime.max_headers)
        .max_buf_size(runtime.max_header_size)
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(runtime.max_header_size).unwrap_or(u32::MAX))
        .max_concurrent_streams(256)
        // What an application may send ahead while Wise takes its time, and so what we must hold.
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
