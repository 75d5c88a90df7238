//! One worker's connections to one endpoint.
//!
//! Lives on the worker's thread: `Rc` and `RefCell`, no lock, no atomic. Requests wait in line for
//! a connection; a connection that comes free and one that was just dialled serve the line alike,
//! so a slow handshake never holds a request that a free connection could carry.

mod lease;
mod spares;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error as StdError;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::Upstream;
use crate::telemetry::meter::Meter;
use crate::tls::HandshakeFailure;
use crate::upstream::answer::ConnectionError;
use crate::upstream::dial::{DialError, Dialled, dial};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::http2;
use crate::upstream::io::{Attentive, Verdict};
use crate::upstream::resolve::Resolver;

pub(crate) use self::lease::Lease;
use self::lease::{Kind, Stream, Whole};
use self::spares::Spares;

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
    pub(crate) error: ConnectionError,
    /// The request's body, when not a byte of the request has left.
    pub(crate) unsent: Option<B>,
    /// Wise's HTTP/2 says that it did nothing with it (RFC 9113 §8.7: `REFUSED_STREAM`, or a GOAWAY
    /// without error).
    pub(crate) was_not_processed: bool,
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
    warm: usize,
    waiting: usize,
    connect: Duration,
    idle: Duration,
    age: Duration,
}

struct State<B> {
    /// HTTP/1.1 connections without a request, the last used at the end.
    idle: Vec<Idle<B>>,
    /// HTTP/2 connections.
    shared: Vec<Rc<Shared>>,
    /// Requests without a connection, in order of arrival.
    line: VecDeque<oneshot::Sender<Result<Lease<B>, DialError>>>,
    /// Connections that exist, idle or not.
    open: usize,
    dialling: usize,
    spares: Spares,
    /// What ALPN settled on last; `None` before the first connection.
    http2: Option<bool>,
    /// Taken out of service: connections end with their request.
    retired: bool,
    /// What the name led to when it was last looked up; `None` for what is no name.
    addresses: Option<Arc<[IpAddr]>>,
    /// Such a look-up is running.
    looking: bool,
}

struct Idle<B> {
    sender: http1::SendRequest<B>,
    verdict: Verdict,
    origin: Origin,
    since: Instant,
}

/// When and where to a connection was made, and whether it was of use.
#[derive(Clone, Copy, Debug)]
struct Origin {
    born: Instant,
    peer: Option<IpAddr>,
    used: bool,
}

struct Shared {
    sender: http2::Sender,
    load: Rc<http2::Load>,
    verdict: Verdict,
    origin: Origin,
    /// When the last stream ended.
    since: Cell<Instant>,
    /// A request has waited here in vain: no more of them.
    distrusted: Cell<bool>,
}

impl Origin {
    /// Whether a connection may carry one more request: it is not too old, and the name still leads
    /// where it leads.
    fn is_fit(&self, now: Instant, age: Duration, addresses: Option<&[IpAddr]>) -> bool {
        let left = addresses.zip(self.peer);
        now - self.born < age && left.is_none_or(|(all, peer)| all.contains(&peer))
    }
}

impl<B> Idle<B> {
    /// Whether it may carry a request.
    fn is_fit(&self, now: Instant, limits: &Limits, addresses: Option<&[IpAddr]>) -> bool {
        let fresh = !self.sender.is_closed() && now - self.since < limits.idle;
        fresh && self.origin.is_fit(now, limits.age, addresses)
    }
}

impl Shared {
    /// Whether it may carry one more request.
    fn is_fit(&self, now: Instant, age: Duration, addresses: Option<&[IpAddr]>) -> bool {
        let usable = self.sender.is_open() && !self.distrusted.get();
        usable && self.origin.is_fit(now, age, addresses)
    }

    /// Whether it has been idle too long.
    fn is_quiet(&self, now: Instant, limits: &Limits) -> bool {
        self.load.streams.get() == 0 && now - self.since.get() >= limits.idle
    }

    /// Whether it has never carried a request.
    fn is_unused(&self) -> bool {
        self.load.streams.get() == 0 && self.since.get() == self.origin.born
    }

    /// Whether a stream is free.
    fn is_free(&self) -> bool {
        self.load.streams.get() < self.load.allowed.get()
    }

    /// Whether less than three quarters of its streams are in use.
    fn has_room(&self) -> bool {
        let streams = self.load.streams.get();
        streams == 0 || streams * 4 < self.load.allowed.get() * 3
    }
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
                warm: upstream.warm_connections,
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
                spares: Spares::none(),
                http2: None,
                retired: false,
                addresses: None,
                looking: false,
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
            if lease.is_crowded() && !self.0.has_room() {
                self.keep_warm();
            }
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

    /// Closes what has been idle or alive too long, and what leads where its name no longer does,
    /// and dials what should lie ready while requests come this way (`in_use`).
    /// Called every now and then by the worker.
    pub(crate) fn sweep(&self, in_use: bool) {
        let limits = &self.0.limits;
        let mut state = self.0.state.borrow_mut();
        state.spares.wanted = if in_use { limits.warm } else { 0 };
        state.clear(limits, Instant::now());
        let (host, _) = self.0.endpoint.first_hop();
        let look = state.open > 0 && !state.looking && self.0.resolver.is_stale(host);
        if look {
            state.looking = true;
            let pool = self.clone();
            tokio::task::spawn_local(async move { pool.look().await });
        }
        drop(state);
        self.keep_warm();
    }

    /// Looks up the name on behalf of open connections: without it, one in steady use would lead to
    /// the old address for as long as it lives. A name that does not resolve changes nothing.
    async fn look(&self) {
        let (host, _) = self.0.endpoint.first_hop();
        self.0.resolver.renew(host).await;
        let mut state = self.0.state.borrow_mut();
        state.looking = false;
        state.addresses = self.0.resolver.last(host);
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
                .then(|| self.0.stream(&mut state, now))
                .flatten()
        } else {
            while let Some(idle) = state.idle.pop() {
                let addresses = state.addresses.as_deref();
                if idle.is_fit(now, &self.0.limits, addresses) && idle.sender.is_ready() {
                    return Some(self.lease1(idle.sender, idle.verdict, idle.origin));
                }
            }
            None
        }
    }

    fn lease1(&self, sender: http1::SendRequest<B>, verdict: Verdict, origin: Origin) -> Lease<B> {
        Lease::of(Kind::Http1(Whole {
            sender,
            verdict,
            origin,
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
                Some(true) => state.dialling * usize::from(http2::STREAMS) < state.line.len(),
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

    /// Dials ahead of requests what should lie ready and does not.
    fn keep_warm(&self) {
        loop {
            let mut state = self.0.state.borrow_mut();
            if !state.lacks_spare(&self.0.limits, Instant::now()) {
                return;
            }
            state.dialling += 1;
            drop(state);
            let pool = self.clone();
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
        let mut state = inner.state.borrow_mut();
        state.dialling -= 1;
        state.addresses = inner.resolver.last(inner.endpoint.first_hop().0);
        drop(state);
        match joined {
            Ok(Some(lease)) => self.offer(lease),
            Ok(None) => inner.serve_streams(),
            Err(error) => {
                inner.meter.dials_failed.add(1);
                inner.state.borrow_mut().spares.lost(Instant::now());
                tracing::debug!(%error, "no connection to Wise");
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
        let broken = || DialError::Unreachable {
            host: host(),
            kind: std::io::ErrorKind::ConnectionReset,
        };
        let verdict = Verdict::default();
        let io = Attentive::new(dialled.stream, verdict.clone());
        let born = Instant::now();
        let peer = dialled.peer;
        let origin = Origin {
            born,
            peer,
            used: false,
        };
        if dialled.http2 {
            let load = Rc::<http2::Load>::default();
            let (sender, connection) = http2::handshake(io, verdict.clone(), Rc::clone(&load))
                .await
                .map_err(|_| broken())?;
            self.drive(connection);
            let mut state = inner.state.borrow_mut();
            state.http2 = Some(true);
            state.shared.push(Rc::new(Shared {
                sender,
                load,
                verdict,
                origin,
                since: Cell::new(born),
                distrusted: Cell::new(false),
            }));
            Ok(None)
        } else {
            let (sender, connection) = http1::Builder::new()
                .handshake(TokioIo::new(io))
                .await
                .map_err(|_| broken())?;
            self.drive(async move { connection.await.err().map(ConnectionError::Http1) });
            inner.state.borrow_mut().http2 = Some(false);
            Ok(Some(self.lease1(sender, verdict, origin)))
        }
    }

    /// Runs a connection until it ends and keeps count of it.
    fn drive(&self, connection: impl Future<Output = Option<ConnectionError>> + 'static) {
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
            pool.keep_warm();
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
    /// Whether an HTTP/2 connection has room for many more requests.
    fn has_room(&self) -> bool {
        let state = self.state.borrow();
        // The youngest carry the least.
        state.shared.iter().rev().any(|shared| shared.has_room())
    }

    /// A free stream on the oldest HTTP/2 connection that has one.
    ///
    /// Many requests on few connections leave, and are answered, in few records and system calls; and
    /// connections that a burst has made go unused afterwards, so that they are closed (0055).
    fn stream(self: &Rc<Self>, state: &mut State<B>, now: Instant) -> Option<Lease<B>> {
        let age = self.limits.age;
        let shared = loop {
            let at = state.shared.iter().position(|it| it.is_free())?;
            // Only this one is looked at closely: the others are the sweep's.
            if state.shared[at].is_fit(now, age, state.addresses.as_deref()) {
                break &state.shared[at];
            }
            state.shared.remove(at);
        };
        shared.load.streams.set(shared.load.streams.get() + 1);
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
            let Some(lease) = self.stream(&mut state, Instant::now()) else {
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
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, future: F) {
        // As it is: in an `async` block it would be held a second time.
        drop(tokio::task::spawn_local(future));
    }
}
