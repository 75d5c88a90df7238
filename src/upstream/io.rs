use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::tls::HandshakeFailure;
use crate::upstream::read_ahead::ReadAhead;

/// A connection to Wise, with TLS or, towards a loopback simulator, without.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<ReadAhead>>),
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Self::Tls($stream) => {
                let $stream = Pin::new($stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
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
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}

/// What went wrong on a connection, noted where it arises: HTTP/2 hands its streams an error
/// without a cause.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict(Rc<Findings>);

#[derive(Debug, Default)]
struct Findings {
    tls: Cell<Option<HandshakeFailure>>,
    unwritable: Cell<bool>,
    heard: Cell<bool>,
}

impl Verdict {
    /// What TLS said.
    pub(crate) fn tls(&self) -> Option<HandshakeFailure> {
        self.0.tls.get()
    }

    /// Nothing reaches the other side any more.
    pub(crate) fn is_unwritable(&self) -> bool {
        self.0.unwritable.get()
    }

    /// Whether a byte has come since this was last asked.
    pub(crate) fn has_heard(&self) -> bool {
        self.0.heard.take()
    }

    fn note(&self, error: &io::Error) {
        if let Some(failure) = HandshakeFailure::find(error) {
            self.0.tls.set(Some(failure));
        }
    }
}

/// A connection whose last word is heard.
///
/// Whoever refuses an upload, or our certificate, says so and hangs up; our next write then fails
/// while the reason lies ready to be read. So a failed write only makes the connection unfit for
/// more, and reading decides how it ends: with an answer, an alert, or the end of the stream.
#[derive(Debug)]
pub(crate) struct Attentive {
    stream: Stream,
    verdict: Verdict,
}

impl Attentive {
    pub(crate) fn new(stream: Stream, verdict: Verdict) -> Self {
        Self { stream, verdict }
    }

    /// `done`, or as if `instead` had been done where the other side has gone.
    fn wrote<T>(&self, done: Poll<io::Result<T>>, instead: T) -> Poll<io::Result<T>> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        let Poll::Ready(Err(error)) = done else {
            return done;
        };
        self.verdict.note(&error);
        let gone = [BrokenPipe, ConnectionAborted, ConnectionReset].contains(&error.kind());
        if !gone {
            return Poll::Ready(Err(error));
        }
        self.verdict.0.unwritable.set(true);
        Poll::Ready(Ok(instead))
    }
}

impl AsyncRead for Attentive {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &done {
            Poll::Ready(Ok(())) => self.verdict.0.heard.set(true),
            Poll::Ready(Err(error)) => self.verdict.note(error),
            Poll::Pending => {}
        }
        done
    }
}

impl AsyncWrite for Attentive {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.verdict.is_unwritable() {
            return Poll::Ready(Ok(buf.len()));
        }
        let done = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(done, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.verdict.is_unwritable() {
            return Poll::Ready(Ok(length));
        }
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(done, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.verdict.is_unwritable() {
            return Poll::Ready(Ok(()));
        }
        let done = Pin::new(&mut self.stream).poll_flush(cx);
        self.wrote(done, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
