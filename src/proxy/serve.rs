//! One connection of an application, from its first byte to its last.
//!
//! Between requests it is no more than a socket: HTTP is set up over it when the application begins
//! to speak, and taken down again when it has been silent for a moment. So a thousand idle
//! connections cost little more than their sockets.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::listener::Arrival;
use crate::proxy::fault::Fault;
use crate::proxy::patience::{Due, Paced, Patience, Turn};
use crate::proxy::peer::Peer;
use crate::proxy::places::Places;
use crate::proxy::refusal::Refusing;
use crate::proxy::socket::{Opening, Socket};
use crate::proxy::visit::Visit;
use crate::proxy::worker::Worker;
use crate::proxy::{introduction, tunnel};
use crate::upstream::{Gathering, Local};

/// Who came when every place was taken is told so within this long, or not at all.
const TURNED_AWAY: Duration = Duration::from_secs(2);

/// The most of a body that is read at once, or held until the application takes it: what stays in
/// a processor's cache until it has left, and less than glibc asks the kernel for anew each time
/// (`M_MMAP_THRESHOLD`).
const BODY_READ: usize = 96 * 1024;

/// What every connection of a worker needs.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) worker: Rc<Worker>,
    pub(crate) runtime: config::Runtime,
    pub(crate) drain: CancellationToken,
    /// Cancelled a moment after `drain`: who was let in before it may have something to say.
    pub(crate) last_call: CancellationToken,
}

/// Where a connection came in, and from whom: the same for all requests outside of a tunnel, and
/// for all inside.
#[derive(Debug)]
struct Guest {
    /// Number of the door.
    door: usize,
    peer: Peer,
    /// Every place was taken: it is here to be told so.
    spare: bool,
    /// The door serves nothing on this connection any more. Whoever asked was told so.
    unwelcome: Cell<bool>,
    /// A request has begun in this turn of the connection whose body is to come.
    uploads: Cell<bool>,
}

impl Guest {
    /// The same connection, when more is known of who is there.
    fn with(&self, peer: Peer) -> Self {
        Self {
            door: self.door,
            peer,
            spare: self.spare,
            unwelcome: Cell::new(false),
            uploads: Cell::new(false),
        }
    }

    /// After an answer: notes whether the connection is of any more use, and says `close` if not.
    fn part<B>(&self, worker: &Worker, answer: &mut Response<B>) {
        let refused = [
            StatusCode::FORBIDDEN,
            StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        ];
        if !refused.contains(&answer.status()) {
            return;
        }
        let view = worker.view();
        let door = &view.snapshot.doors[self.door];
        if door.has_closed_to(&self.peer, worker.shared.clock.wall()) {
            self.unwelcome.set(true);
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
    }
}

/// Serves a connection until the application, an error, its slowness or `drain` ends it.
///
/// At `drain` the request in flight is finished and the connection closed after it; one that has not
/// been heard yet is heard until the last call, and so answered instead of reset. HTTP/1.1, HTTP/2
/// with prior knowledge, and what wants a tunnel are told apart by their first bytes.
pub(crate) async fn serve(serving: Rc<Serving>, arrival: Arrival) {
    let Arrival {
        stream,
        door,
        peer,
        ticket,
    } = arrival;
    let mut guest = Rc::new(Guest {
        door,
        peer: Peer::new(peer),
        spare: ticket.is_spare(),
        unwelcome: Cell::new(false),
        uploads: Cell::new(false),
    });
    let io = match stream.watched() {
        Ok(io) => io,
        Err(error) => {
            tracing::warn!(%error, "an accepted connection could not be watched");
            return;
        }
    };
    let downstream = &serving.worker.meter.downstream;
    downstream.up();
    let patience = if guest.spare {
        Patience::new(TURNED_AWAY, TURNED_AWAY)
    } else {
        let runtime = &serving.runtime;
        Patience::new(runtime.header_timeout, runtime.idle_timeout)
    };
    let mut leave = &serving.last_call;
    let socket = Socket::new(io, Rc::clone(&patience), Rc::clone(&guest.peer.departure));
    let mut resting = if is_plain(&serving, door) {
        Some(socket)
    } else {
        let entered = enter(&serving, socket, &mut guest);
        within(&patience, leave, Box::pin(entered)).await
    };
    while let Some(mut socket) = resting {
        let opening = within(&patience, leave, socket.opening()).await;
        leave = &serving.drain;
        patience.wake();
        // Boxed: what a resting connection does not need, it does not hold.
        resting = match opening {
            Some(Opening::Connect) if offers_tunnels(&serving, &guest) => {
                let asked = tunnel::open(&serving, socket, door, &guest.peer, &patience);
                // One that has been asked for is heard until the last call, as a request is.
                let opened = within(&patience, &serving.last_call, Box::pin(asked)).await;
                opened.map(|(socket, peer)| {
                    guest = Rc::new(guest.with(peer));
                    leave = &serving.last_call;
                    socket
                })
            }
            Some(Opening::Http1 | Opening::Connect) => {
                Box::pin(over_http1(&serving, socket, &guest, &patience)).await
            }
            Some(Opening::Http2) => {
                Box::pin(over_http2(&serving, socket, &guest, &patience)).await;
                None
            }
            Some(Opening::Handshake) => {
                tracing::debug!("an application began with TLS at a door that does not speak it");
                None
            }
            None => None,
        };
    }
    downstream.down();
    drop(ticket);
}

/// Awaits what the application does, unless it takes too long over it or the proxy leaves.
async fn within<T>(
    patience: &Patience,
    leave: &CancellationToken,
    work: impl Future<Output = Option<T>>,
) -> Option<T> {
    tokio::select! {
        // What it says first: it decides whether somebody is overdue.
        biased;
        done = work => done,
        () = leave.cancelled() => None,
        _ = patience.due() => None,
    }
}

/// Whether HTTP begins at once.
fn is_plain(serving: &Serving, door: usize) -> bool {
    let ways = &serving.worker.view().snapshot.doors[door].ways;
    ways.tls.is_none() && !ways.proxy_protocol
}

/// What a door wants before HTTP begins. `None`: the connection is over.
async fn enter(serving: &Serving, mut socket: Socket, guest: &mut Rc<Guest>) -> Option<Socket> {
    let view = serving.worker.view();
    let ways = &view.snapshot.doors[guest.door].ways;
    let (proxy_protocol, tls) = (ways.proxy_protocol, ways.tls.clone());
    // A handshake takes its time, and must not keep an old snapshot alive.
    drop(view);
    let mut peer = guest.peer.clone();
    if proxy_protocol {
        peer.introduced = true;
        if let Some(from) = introduction::read(&mut socket).await? {
            peer.from = from;
        }
    }
    if let Some(acceptor) = tls {
        let (inside, shown) = tunnel::secure(&serving.worker, socket, &acceptor).await?;
        (socket, peer.certificate) = (inside, shown);
    }
    *guest = Rc::new(guest.with(peer));
    Some(socket)
}

/// Whether the guest may have a tunnel. Inside one, or where every place is taken, HTTP says why
/// not.
fn offers_tunnels(serving: &Serving, guest: &Guest) -> bool {
    let view = serving.worker.view();
    let offered = view.snapshot.doors[guest.door].ways.tunnels.is_some();
    offered && !guest.spare && guest.peer.tunnel.is_none()
}

/// Serves requests over HTTP/1 until the connection ends, or rests: then its socket comes back.
async fn over_http1(
    serving: &Serving,
    socket: Socket,
    guest: &Rc<Guest>,
    patience: &Rc<Patience>,
) -> Option<Socket> {
    let io = Refusing::new(socket, Arc::clone(&serving.worker.meter));
    let service = service(&serving.worker, guest, patience);
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // `Patience` does this.
        .header_read_timeout(None)
        .max_headers(serving.runtime.max_headers)
        .max_header_size(serving.runtime.max_header_size)
        .max_buf_size(serving.runtime.max_header_size.max(BODY_READ))
        .half_close(true)
        .serve_connection(TokioIo::new(io), service);
    let mut leaving = false;
    loop {
        let turn = std::future::poll_fn(|cx| {
            let outcome = Pin::new(&mut connection).poll(cx);
            // hyper reads on once a body is asked for, in the next turn. Often it is here already, and
            // leaves together with its head if it does not wait for that.
            if outcome.is_pending() && guest.uploads.take() {
                return Pin::new(&mut connection).poll(cx);
            }
            outcome
        });
        tokio::select! {
            // The connection first: what it hears decides when somebody is overdue.
            biased;
            outcome = turn => {
                ended(outcome);
                return None;
            }
            () = serving.drain.cancelled(), if !leaving => {
                Pin::new(&mut connection).graceful_shutdown();
                leaving = true;
            }
            due = patience.due() => match due {
                Due::End if leaving || !patience.is_idle() => {
                    tracing::debug!("an application kept us waiting too long");
                    return None;
                }
                Due::End => {
                    // A request may be on its way; it is still served.
                    Pin::new(&mut connection).graceful_shutdown();
                    leaving = true;
                    patience.renew();
                }
                // An idle connection that is told to go ends at once, and hyper gives back what it
                // has read. One that does not end at once was not idle, and ends when it is.
                Due::Rest => {
                    patience.rest();
                    Pin::new(&mut connection).graceful_shutdown();
                    let at_once = std::future::poll_fn(|cx| {
                        Poll::Ready(Pin::new(&mut connection).poll(cx))
                    });
                    match at_once.await {
                        Poll::Ready(Ok(())) => {
                            let parts = connection.into_parts();
                            let mut socket = parts.io.into_inner().into_inner();
                            socket.put_back(parts.read_buf);
                            return Some(socket);
                        }
                        Poll::Ready(outcome) => {
                            ended(outcome);
                            return None;
                        }
                        Poll::Pending => {
                            patience.wake();
                            patience.never_rest();
                            leaving = true;
                        }
                    }
                }
            }
        }
    }
}

/// Serves requests over HTTP/2 until the connection ends.
async fn over_http2(serving: &Serving, socket: Socket, guest: &Rc<Guest>, patience: &Rc<Patience>) {
    let service = service(&serving.worker, guest, patience);
    let places = Places::new();
    let service = service_fn(move |request| places.put(|| service.call(request)));
    let (socket, outbox) = Gathering::new(socket);
    let largest_head = u32::try_from(serving.runtime.max_header_size).unwrap_or(u32::MAX);
    let mut connection = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .max_header_list_size(largest_head)
        .max_concurrent_streams(256)
        // What an application may send ahead while Wise takes its time, and so what we must hold.
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(BODY_READ)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .serve_connection(TokioIo::new(socket), service);
    let mut leaving = false;
    loop {
        let turn = std::future::poll_fn(|cx| {
            let outcome = Pin::new(&mut connection).poll(cx);
            let outcome = match outbox.poll_drain(cx) {
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "an application's connection broke");
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Ok(())) | Poll::Pending => outcome,
            };
            match outcome {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                // HTTP/2 has no field that says so.
                Poll::Pending if guest.unwelcome.get() && !leaving => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        tokio::select! {
            biased;
            outcome = turn => {
                if let Some(outcome) = outcome {
                    return ended(outcome);
                }
                Pin::new(&mut connection).graceful_shutdown();
                leaving = true;
                patience.renew();
            }
            () = serving.drain.cancelled(), if !leaving => {
                Pin::new(&mut connection).graceful_shutdown();
                leaving = true;
            }
            _ = patience.due() => {
                if leaving || !patience.is_idle() {
                    tracing::debug!("an application kept us waiting too long");
                    return;
                }
                Pin::new(&mut connection).graceful_shutdown();
                leaving = true;
                patience.renew();
            }
        }
    }
}

fn ended(outcome: hyper::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "an application's connection ended early");
    }
}

/// Answers one connection's requests.
fn service(
    worker: &Rc<Worker>,
    guest: &Rc<Guest>,
    patience: &Rc<Patience>,
) -> impl Service<Request<Incoming>, Response = Response<Paced>, Error = std::convert::Infallible> + use<>
{
    let (worker, patience) = (Rc::clone(worker), Rc::clone(patience));
    let guest = Rc::clone(guest);
    service_fn(move |request: Request<Incoming>| {
        let turn = patience.begins(request.version());
        guest.uploads.set(!request.body().is_end_stream());
        let visit = Visit::begin(&worker, guest.door, &guest.peer, request);
        attend(Rc::clone(&worker), Rc::clone(&guest), turn, visit)
    })
}

/// Answers one request.
#[allow(
    clippy::manual_async_fn,
    reason = "an async fn holds what it is given a second time; what a block captures stays in place"
)]
fn attend(
    worker: Rc<Worker>,
    guest: Rc<Guest>,
    turn: Turn,
    mut visit: Visit,
) -> impl Future<Output = Result<Response<Paced>, std::convert::Infallible>> {
    async move {
        let outcome = if guest.spare {
            Err(Fault::Crowded)
        } else {
            super::answer(&worker, guest.door, &guest.peer, &mut visit).await
        };
        let mut answer = visit.end(&worker, outcome);
        guest.part(&worker, &mut answer);
        Ok(answer.map(|reply| Paced::new(reply, turn)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, D, F>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// A shape and no time: what is held for each request is moved about, and lies in caches.
    #[test]
    fn a_request_under_way_takes_little_room() {
        let size = size_of_future(attend);
        assert!(size <= 2_176, "{size} bytes");
    }
}
