use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::tls::HandshakeFailure;

/// A connection to Wise, with TLS or, towards a loopback simulator, without.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
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

/// What TLS last said went wrong on a connection.
///
/// HTTP/2 hands its streams an error without a cause, so the cause is noted where it arises.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict(Rc<Cell<Option<HandshakeFailure>>>);

impl Verdict {
    pub(crate) fn failure(&self) -> Option<HandshakeFailure> {
        self.0.get()
    }

    fn note(&self, error: &io::Error) {
        if let Some(failure) = HandshakeFailure::find(error) {
            self.0.set(Some(failure));
        }
    }
}

/// A connection whose TLS failures are noted.
#[derive(Debug)]
pub(crate) struct Noted {
    stream: Stream,
    verdict: Verdict,
    /// Something was read: Wise has let us in.
    heard: bool,
}

impl Noted {
    pub(crate) fn new(stream: Stream, verdict: Verdict) -> Self {
        Self {
            stream,
            verdict,
            heard: false,
        }
    }

    fn wrote<T>(&mut self, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &done {
            self.verdict.note(error);
            if let Stream::Tls(stream) = &mut self.stream
                && !self.heard
            {
                last_word(stream, &self.verdict);
            }
        }
        done
    }
}

/// Looks for the reason of a failed write: whoever slams the door may have said why before.
///
/// Asks the kernel itself, for the runtime may not have heard yet that there is something to read.
fn last_word(stream: &mut TlsStream<TcpStream>, verdict: &Verdict) {
    let (socket, session) = stream.get_mut();
    let mut said = [0; 512];
    let Ok(length) = rustix::io::read(&*socket, &mut said) else {
        return;
    };
    let mut said = &said[..length];
    let heard = session.read_tls(&mut said);
    if heard.is_ok()
        && let Err(error) = session.process_new_packets()
    {
        verdict.note(&io::Error::other(error));
    }
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &done {
            Poll::Ready(Ok(())) => self.heard = true,
            Poll::Ready(Err(error)) => self.verdict.note(error),
            Poll::Pending => {}
        }
        done
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(cx);
        self.wrote(done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.wrote(done)
    }
}
