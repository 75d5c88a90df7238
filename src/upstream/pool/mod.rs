//! One worker's connections to one endpoint.
//!
//! Lives on the worker's thread: `Rc` and `RefCell`, no lock, no atomic. Requests wait in line for
//! a connection; a connection that comes free and one that was just dialled serve the line alike,
//! so a slow handshake never holds a request that a free connection could carry.

mod lease;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error as StdError;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::Body;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::Upstream;
use crate::telemetry::meter::Meter;
use crate::tls::HandshakeFailure;
use crate::upstream::dial::{DialError, Dialled, dial};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::io::{Attentive, Verdict};
use crate::upstream::resolve::Resolver;

pub(crate) use self::lease::Lease;
use self::lease::{Kind, Stream, Whole};

/// Streams that one HTTP/2 connection carries before another is dialled, whatever Wise allows.
const STREAMS: u8 = 100;

/// What Wise may send ahead on one stream. A connection's window holds all its streams' windows:
/// applications that do not read their answers cannot use up what the others' answers need.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;

/// No connection for a request.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum AcquireError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("all connections are busy and the queue for them is full")]
    Overloaded,
}

/// A request failed after it got a connection.
#[derive(Debug)]
pub(crate) struct SendError<B> {
    pub(crate) error: hyper::Error,
    /// The request, when not a byte of it has left.
    pub(crate) unsent: Option<Request<B>>,
    /// What TLS said, if it ended the connection.
    pub(crate) tls: Option<HandshakeFailure>,
}

/// One worker's connections to one endpoint. Cloning shares them.
pub(crate) struct Pool<B>(Rc<Inner<B>>);

struct Inner<B> {
    endpoint: Arc<Endpoint>,
    limits: Limits,
    resolver: Resolver,
    meter: Arc<Meter>,
    state: RefCell<State<B>>,
}

#[derive(Clone, Debug)]
struct Limits {
    connections: usize,
    waiting: usize,
    connect: Duration,
    idle: Duration,
    age: Duration,
}

struct State<B> {
    /// HTTP/1.1 connections without a request, the last used at the end.
    idle: Vec<Idle<B>>,
    /// HTTP/2 connections.
    shared: Vec<Rc<Shared<B>>>,
    /// Requests without a connection, in order of arrival.
    line: VecDeque<oneshot::Sender<Result<Lease<B>, DialError>>>,
    /// Connections that exist, idle or not.
    open: usize,
    dialling: usize,
    /// What ALPN settled on last; `None` before the first connection.
    http2: Option<bool>,
    /// Taken out of service: connections end with their request.
    retired: bool,
}

struct Idle<B> {
    sender: http1::SendRequest<B>,
    verdict: Verdict,
    born: Instant,
    since: Instant,
}

struct Shared<B> {
    sender: http2::SendRequest<B>,
    verdict: Verdict,
    born: Instant,
    streams: Cell<usize>,
    /// Streams that Wise allows, as of the connection's last turn.
    allowed: Rc<Cell<usize>>,
    /// When the last stream ended.
    since: Cell<Instant>,
}

impl<B> Clone for Pool<B> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<B> std::fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("endpoint", &self.0.endpoint)
            .finish_non_exhaustive()
    }
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    /// An empty pool. Must be used on one thread's local runtime.
    pub(crate) fn new(endpoint: Arc<Endpoint>, upstream: &Upstream, meter: Arc<Meter>) -> Self {
        Self(Rc::new(Inner {
            endpoint,
            limits: Limits {
                connections: upstream.max_connections,
                waiting: upstream.max_waiting,
                connect: upstream.connect_timeout,
                idle: upstream.idle_timeout,
                age: upstream.max_age,
            },
            resolver: Resolver::new(upstream.dns_ttl),
            meter,
            state: RefCell::new(State {
                idle: Vec::new(),
                shared: Vec::new(),
                line: VecDeque::new(),
                open: 0,
                dialling: 0,
                http2: None,
                retired: false,
            }),
        }))
    }

    /// Where the connections lead.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0.endpoint
    }

    /// A connection that is ready for a request.
    ///
    /// Cancel safe: a stream handed to a dropped future goes to the next in line; an HTTP/1.1
    /// connection closes, and the line gets another.
    pub(crate) async fn acquire(&self) -> Result<Lease<B>, AcquireError> {
        if let Some(lease) = self.ready() {
            return Ok(lease);
        }
        let turn = {
            let mut state = self.0.state.borrow_mut();
            if state.line.len() >= self.0.limits.waiting {
                // Those who left do not count.
                state.line.retain(|turn| !turn.is_closed());
            }
            if state.line.len() >= self.0.limits.waiting {
                return Err(AcquireError::Overloaded);
            }
            let (turn, wait) = oneshot::channel();
            state.line.push_back(turn);
            wait
        };
        self.dial_for_the_line();
        // Longer than a dial may take, so that a dial's own error is heard.
        let patience = self.0.limits.connect + Duration::from_millis(500);
        match tokio::time::timeout(patience, turn).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            // Every connection stayed busy for as long as a new one may take; or the worker ends.
            Err(_) | Ok(Err(_)) => Err(AcquireError::Overloaded),
        }
    }

    /// Closes what has been idle or alive too long. Called every now and then by the worker.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let limits = &self.0.limits;
        let mut state = self.0.state.borrow_mut();
        state.idle.retain(|idle| {
            !idle.sender.is_closed()
                && now - idle.since < limits.idle
                && now - idle.born < limits.age
        });
        state.shared.retain(|shared| {
            let quiet = shared.streams.get() == 0 && now - shared.since.get() >= limits.idle;
            !shared.sender.is_closed() && !quiet && now - shared.born < limits.age
        });
    }

    /// Takes the pool out of service: idle connections close now, the others after their request.
    /// Who already waits in line is still served.
    pub(crate) fn retire(&self) {
        let mut state = self.0.state.borrow_mut();
        state.retired = true;
        state.idle.clear();
        drop(state);
        self.0.serve_streams();
    }

    /// A connection that can take a request this very moment.
    fn ready(&self) -> Option<Lease<B>> {
        let now = Instant::now();
        let mut state = self.0.state.borrow_mut();
        // Whoever waits is served first, or the line would never move under load.
        if state.http2 == Some(true) {
            state
                .line
                .is_empty()
                .then(|| self.0.stream(&mut state))
                .flatten()
        } else {
            while let Some(idle) = state.idle.pop() {
                let fresh =
                    now - idle.since < self.0.limits.idle && now - idle.born < self.0.limits.age;
                if fresh && idle.sender.is_ready() {
                    return Some(self.lease1(idle.sender, idle.verdict, idle.born));
                }
            }
            None
        }
    }

    fn lease1(&self, sender: http1::SendRequest<B>, verdict: Verdict, born: Instant) -> Lease<B> {
        Lease::of(Kind::Http1(Whole {
            sender,
            verdict,
            born,
            pool: Rc::downgrade(&self.0),
        }))
    }

    /// Dials as long as somebody waits for whom nobody dials yet.
    fn dial_for_the_line(&self) {
        loop {
            let mut state = self.0.state.borrow_mut();
            let room = state.open + state.dialling < self.0.limits.connections;
            // Before the first answer we do not know whether one connection will carry them all.
            let useful = match state.http2 {
                Some(false) => state.dialling < state.line.len(),
                Some(true) => state.dialling * usize::from(STREAMS) < state.line.len(),
                None => state.dialling == 0 && !state.line.is_empty(),
            };
            if !room || !useful {
                return;
            }
            state.dialling += 1;
            drop(state);
            let pool = self.clone();
            // Outlives the request that asked for it: the next one will want the connection too.
            tokio::task::spawn_local(async move { pool.dial().await });
        }
    }

    async fn dial(self) {
        let inner = &self.0;
        inner.meter.dials.add(1);
        let dialled = dial(&inner.endpoint, &inner.resolver, inner.limits.connect).await;
        let joined = match dialled {
            Ok(dialled) => self.join(dialled).await,
            Err(error) => Err(error),
        };
        inner.state.borrow_mut().dialling -= 1;
        match joined {
            Ok(Some(lease)) => self.offer(lease),
            Ok(None) => inner.serve_streams(),
            Err(error) => {
                inner.meter.dials_failed.add(1);
                self.fail(&error);
            }
        }
        self.dial_for_the_line();
    }

    /// Starts HTTP on a new connection. `None`: it is an HTTP/2 connection, now in the pool.
    async fn join(&self, dialled: Dialled) -> Result<Option<Lease<B>>, DialError> {
        let inner = &self.0;
        let host = || inner.endpoint.origin.host.clone();
        match dialled.resumed {
            Some(true) => inner.meter.handshakes_resumed.add(1),
            Some(false) => inner.meter.handshakes_full.add(1),
            None => {}
        }
        let broken = |_| DialError::Unreachable {
            host: host(),
            kind: std::io::ErrorKind::ConnectionReset,
        };
        let verdict = Verdict::default();
        let io = TokioIo::new(Attentive::new(dialled.stream, verdict.clone()));
        let born = Instant::now();
        let http2 = dialled.http2;
        if http2 {
            let (sender, mut connection) = http2::Builder::new(Local)
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(64 * 1024)
                .keep_alive_interval(Duration::from_secs(20))
                .keep_alive_timeout(Duration::from_secs(10))
                .handshake(io)
                .await
                .map_err(broken)?;
            let allowed = Rc::new(Cell::new(
                connection
                    .current_max_send_streams()
                    .min(usize::from(STREAMS)),
            ));
            let told = Rc::clone(&allowed);
            // Wise may change its mind about the number of streams at any time.
            self.drive(std::future::poll_fn(move |cx| {
                let ended = Pin::new(&mut connection).poll(cx);
                told.set(
                    connection
                        .current_max_send_streams()
                        .min(usize::from(STREAMS)),
                );
                ended.map(Result::err)
            }));
            let mut state = inner.state.borrow_mut();
            state.http2 = Some(true);
            let (streams, since) = (Cell::new(0), Cell::new(born));
            state.shared.push(Rc::new(Shared {
                sender,
                verdict,
                born,
                streams,
                allowed,
                since,
            }));
            Ok(None)
        } else {
            let (sender, connection) = http1::Builder::new()
                .max_headers(256)
                .handshake(io)
                .await
                .map_err(broken)?;
            self.drive(async move { connection.await.err() });
            inner.state.borrow_mut().http2 = Some(false);
            Ok(Some(self.lease1(sender, verdict, born)))
        }
    }

    /// Runs a connection until it ends and keeps count of it.
    fn drive(&self, connection: impl Future<Output = Option<hyper::Error>> + 'static) {
        let pool = self.clone();
        pool.0.state.borrow_mut().open += 1;
        pool.0.meter.connections.up();
        tokio::task::spawn_local(async move {
            if let Some(error) = connection.await {
                let host = &pool.0.endpoint.origin.host;
                tracing::debug!(%error, host, "connection to Wise ended");
            }
            pool.0.meter.connections.down();
            pool.0.state.borrow_mut().open -= 1;
            pool.dial_for_the_line();
        });
    }

    /// Gives a free HTTP/1.1 connection to the first in line, or to the shelf.
    fn offer(&self, mut lease: Lease<B>) {
        loop {
            let Some(turn) = self.0.state.borrow_mut().line.pop_front() else {
                lease.shelve();
                return;
            };
            match turn.send(Ok(lease)) {
                // That request went away; its place goes to the next.
                Err(Ok(unwanted)) => lease = unwanted,
                Ok(()) | Err(Err(_)) => return,
            }
        }
    }

    /// A dial failed: the first in line hears why, and everybody if nothing else can serve them.
    fn fail(&self, error: &DialError) {
        loop {
            let mut state = self.0.state.borrow_mut();
            let Some(turn) = state.line.pop_front() else {
                return;
            };
            let others_may_serve = state.open + state.dialling > 0;
            drop(state);
            if turn.send(Err(error.clone())).is_ok() && others_may_serve {
                return;
            }
        }
    }
}

impl<B> Inner<B> {
    /// A free stream on the least used HTTP/2 connection.
    fn stream(self: &Rc<Self>, state: &mut State<B>) -> Option<Lease<B>> {
        let (now, age) = (Instant::now(), self.limits.age);
        state
            .shared
            .retain(|shared| !shared.sender.is_closed() && now - shared.born < age);
        let free = |shared: &&Rc<Shared<B>>| shared.streams.get() < shared.allowed.get();
        let shared = state
            .shared
            .iter()
            .filter(free)
            .min_by_key(|shared| shared.streams.get())?;
        shared.streams.set(shared.streams.get() + 1);
        Some(Lease::of(Kind::Http2(Stream {
            shared: Rc::clone(shared),
            pool: Rc::downgrade(self),
        })))
    }

    /// Gives free HTTP/2 streams to the line. Out of service, the connections end with it.
    fn serve_streams(self: &Rc<Self>) {
        loop {
            let mut state = self.state.borrow_mut();
            while state.line.front().is_some_and(oneshot::Sender::is_closed) {
                state.line.pop_front();
            }
            if state.line.is_empty() {
                if state.retired {
                    state.shared.clear();
                }
                return;
            }
            let Some(lease) = self.stream(&mut state) else {
                return;
            };
            let turn = state.line.pop_front();
            drop(state);
            if let Some(turn) = turn {
                drop(turn.send(Ok(lease)));
            }
        }
    }
}

/// Runs what hyper spawns on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}
