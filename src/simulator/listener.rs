//! Connections: accept, handshake, serve, and end when asked, politely or not.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::recorder::Door;
use super::recorder::TlsSession;
use super::service;
use super::shared::Shared;
use super::tls;

/// What a request may know of, and do to, the connection it came over.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) door: Door,
    pub(super) remote: SocketAddr,
    pub(super) tls: Option<TlsSession>,
    ended: CancellationToken,
    reset: AtomicBool,
    early: Mutex<VecDeque<u8>>,
}

impl Connection {
    /// Ends the connection at once; with `reset`, by a TCP reset.
    pub(super) fn cut(&self, reset: bool) {
        self.reset.store(reset, Ordering::Release);
        self.ended.cancel();
    }

    /// Puts bytes on the wire before whatever is written next. Only sensible on HTTP/1.1.
    pub(super) fn write_early(&self, bytes: &[u8]) {
        self.early
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(bytes);
    }

    /// Waits until somebody ended the connection.
    pub(super) async fn until_ended(&self) {
        self.ended.cancelled().await;
    }

    /// Serial of the client certificate.
    pub(super) fn serial(&self) -> Option<&str> {
        let certificate = self.tls.as_ref()?.client_certificate.as_ref()?;
        Some(&certificate.serial)
    }
}

/// Accepts until the simulator stops.
pub(super) async fn accept(listener: TcpListener, door: Door, shared: Arc<Shared>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        // A failed accept is the caller's trouble (or a full table of files): it may pass.
        let Ok((stream, remote)) = accepted else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let tracker = shared.tracker.clone();
        tracker.spawn(connect(stream, remote, door, Arc::clone(&shared)));
    }
}

const HANDSHAKE: Duration = Duration::from_secs(10);

async fn connect(stream: TcpStream, remote: SocketAddr, door: Door, shared: Arc<Shared>) {
    let secure = match door {
        Door::Plain => shared.tls_plain,
        Door::Mtls => true,
        Door::Control => false,
    };
    let ended = shared.connections.child();
    let mut session = None;
    let transport = if secure {
        let faults = shared.lock().faults.tls.clone();
        let Ok(config) = shared.tls.config(door == Door::Mtls, &faults) else {
            return;
        };
        let handshake = TlsAcceptor::from(config).accept(stream);
        let stream = tokio::select! {
            done = tokio::time::timeout(HANDSHAKE, handshake) => match done {
                Ok(Ok(stream)) => stream,
                Ok(Err(_)) | Err(_) => return,
            },
            () = ended.cancelled() => return,
        };
        session = Some(tls::describe(stream.get_ref().1));
        Transport::Tls(Box::new(stream))
    } else {
        Transport::Bare(stream)
    };
    let http2 = session
        .as_ref()
        .map(|session| session.alpn.as_deref() == Some("h2"));
    let connection = Arc::new(Connection {
        id: shared.next_connection(),
        door,
        remote,
        tls: session,
        ended,
        reset: AtomicBool::new(false),
        early: Mutex::default(),
    });
    // A resumed session skips the verifier, so a revoked certificate is looked for here again.
    if connection
        .serial()
        .is_some_and(|serial| shared.revocations.contains(serial))
    {
        return;
    }
    serve(transport, http2, connection, shared).await;
}

async fn serve(
    transport: Transport,
    http2: Option<bool>,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
) {
    let wire = Wire {
        transport,
        connection: Arc::clone(&connection),
    };
    let mut builder = auto::Builder::new(Tracked(shared.tracker.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(64 * 1_024);
    let builder = match http2 {
        Some(true) => builder.http2_only(),
        Some(false) => builder.http1_only(),
        None => builder,
    };
    let drain = shared.connections.drain();
    let service = service_fn({
        let connection = Arc::clone(&connection);
        move |request: Request<Incoming>| {
            service::answer(Arc::clone(&shared), Arc::clone(&connection), request)
        }
    });
    let mut serving = pin!(builder.serve_connection(TokioIo::new(wire), service));
    let mut drained = pin!(drain.cancelled());
    let mut draining = false;
    loop {
        tokio::select! {
            _ = serving.as_mut() => return,
            () = connection.ended.cancelled() => return,
            () = drained.as_mut(), if !draining => {
                draining = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// All open connections, so that they can be ended together.
#[derive(Debug)]
pub(super) struct Connections {
    stop: CancellationToken,
    epoch: Mutex<Epoch>,
}

#[derive(Debug)]
struct Epoch {
    ended: CancellationToken,
    drain: CancellationToken,
}

impl Connections {
    pub(super) fn new(stop: CancellationToken) -> Self {
        let epoch = Epoch {
            ended: stop.child_token(),
            drain: stop.child_token(),
        };
        Self {
            stop,
            epoch: Mutex::new(epoch),
        }
    }

    /// Ends every connection at once, answered or not.
    pub(super) fn close(&self) {
        let mut epoch = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut epoch.ended, self.stop.child_token()).cancel();
    }

    /// Lets every connection finish what it has begun, and take nothing new.
    pub(super) fn finish(&self) {
        let mut epoch = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut epoch.drain, self.stop.child_token()).cancel();
    }

    fn child(&self) -> CancellationToken {
        self.epoch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ended
            .child_token()
    }

    fn drain(&self) -> CancellationToken {
        self.epoch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain
            .clone()
    }
}

/// Runs hyper's tasks on the simulator's tracker, so that `stop` waits for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

enum Transport {
    Bare(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The connection's bytes, with a way to slip some in first and to end by a reset.
struct Wire {
    transport: Transport,
    connection: Arc<Connection>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.connection.reset.load(Ordering::Acquire) {
            let stream = match &self.transport {
                Transport::Bare(stream) => stream,
                Transport::Tls(stream) => stream.get_ref().0,
            };
            let _ = stream.set_zero_linger();
        }
    }
}

impl Transport {
    fn reader(&mut self) -> Pin<&mut (dyn AsyncRead + Unpin)> {
        match self {
            Self::Bare(stream) => Pin::new(stream),
            Self::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }

    fn writer(&mut self) -> Pin<&mut (dyn AsyncWrite + Unpin)> {
        match self {
            Self::Bare(stream) => Pin::new(stream),
            Self::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }
}

impl Wire {
    /// Writes what must go first; ready when nothing is left of it.
    fn poll_early(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut early = self
            .connection
            .early
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while !early.is_empty() {
            let (bytes, _) = early.as_slices();
            match self.transport.writer().poll_write(context, bytes) {
                Poll::Ready(Ok(written)) => drop(early.drain(..written)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.transport.reader().poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_early(context))?;
        self.transport.writer().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_early(context))?;
        self.transport.writer().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Bare(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.writer().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.writer().poll_shutdown(context)
    }
}
