use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::Stream;

impl Stream {
    /// The connection on the runtime of the caller.
    pub(crate) fn watched(self) -> io::Result<Connection> {
        match self {
            Self::Here(connection) => Ok(connection),
            Self::Tcp(stream) => tokio::net::TcpStream::from_std(stream).map(Connection::Tcp),
            Self::Unix(stream) => tokio::net::UnixStream::from_std(stream).map(Connection::Unix),
        }
    }
}

/// An accepted connection, watched by the runtime it was made on.
#[derive(Debug)]
pub(crate) enum Connection {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Connection {
    /// Whether the other side has ended, or broken off; where not, the task is woken when something
    /// comes from there. What has come and was not read stays, and hides an end behind it.
    pub(crate) fn is_over(&self, cx: &mut Context<'_>) -> bool {
        let (polled, ready) = match self {
            Self::Tcp(stream) => (
                stream.poll_read_ready(cx),
                stream.ready(Interest::READABLE).now_or_never(),
            ),
            Self::Unix(stream) => (
                stream.poll_read_ready(cx),
                stream.ready(Interest::READABLE).now_or_never(),
            ),
        };
        let is_closed = matches!(ready, Some(Ok(ready)) if ready.is_read_closed());
        is_closed || matches!(polled, Poll::Ready(Err(_)))
    }

    /// The connection without its runtime.
    pub(super) fn unwatched(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(Stream::Tcp),
            Self::Unix(stream) => stream.into_std().map(Stream::Unix),
        }
    }
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Tcp($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Self::Unix($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}
