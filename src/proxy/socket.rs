//! An application's socket below HTTP: what came before HTTP was there, and who must be told.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use crate::listener::Connection;
use crate::proxy::departure::Departure;
use crate::proxy::patience::Patience;
use crate::tls::{Acceptor, ClientCertificate, HANDSHAKE, ServerStream};

/// The first bytes of a client that knows in advance to speak HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first bytes of a client that wants a tunnel.
const CONNECT: &[u8] = b"CONNECT ";

/// Bytes read at once from a socket that was silent: most requests, whole.
const FIRST_READ: usize = 8 * 1024;

/// What an application begins to say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Opening {
    Http1,
    /// With prior knowledge.
    Http2,
    /// A request for a tunnel.
    Connect,
    /// The handshake of TLS.
    Handshake,
}

impl Opening {
    /// `None`: it could still become one or another.
    fn of(begun: &[u8]) -> Option<Self> {
        for (whole, opening) in [(PREFACE, Self::Http2), (CONNECT, Self::Connect)] {
            if begun.starts_with(whole) {
                return Some(opening);
            }
            if whole.starts_with(begun) {
                return None;
            }
        }
        Some(match begun.first() {
            Some(&HANDSHAKE) => Self::Handshake,
            _ => Self::Http1,
        })
    }
}

/// A connection, whose patience hears of every byte that comes.
#[derive(Debug)]
pub(crate) struct Socket {
    bytes: Begun,
    patience: Rc<Patience>,
    departure: Rc<Departure>,
}

/// A connection of which something may have been read already.
#[derive(Debug)]
struct Begun {
    wire: Wire,
    /// Read already, to be read again.
    ahead: Bytes,
}

/// Where the bytes come from.
#[derive(Debug)]
enum Wire {
    Plain(Connection),
    /// From another connection, inside TLS.
    Tls(Box<ServerStream<Begun>>),
}

impl Socket {
    pub(crate) fn new(io: Connection, patience: Rc<Patience>, departure: Rc<Departure>) -> Self {
        Self {
            bytes: Begun {
                wire: Wire::Plain(io),
                ahead: Bytes::new(),
            },
            patience,
            departure,
        }
    }

    /// Puts bytes back in front of what has not been read: a head that began behind a request.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        debug_assert!(self.bytes.ahead.is_empty());
        // No bytes at all may still hold the buffer that they were cut from.
        if !bytes.is_empty() {
            self.bytes.ahead = bytes;
            self.patience.heard();
        }
    }

    /// Goes on inside TLS. Also hands out the client's certificate.
    pub(crate) async fn shake_hands(
        self,
        acceptor: &Acceptor,
    ) -> io::Result<(Self, Option<ClientCertificate>)> {
        let stream = Box::pin(acceptor.accept(self.bytes)).await?;
        let shown = acceptor.shown(&stream);
        let bytes = Begun {
            wire: Wire::Tls(Box::new(stream)),
            ahead: Bytes::new(),
        };
        let socket = Self {
            bytes,
            patience: self.patience,
            departure: self.departure,
        };
        Ok((socket, shown))
    }

    /// Waits, with no buffer, until the application says something, and tells what that is; nothing
    /// of it is lost. `None`: it has gone.
    pub(crate) async fn opening(&mut self) -> Option<Opening> {
        let mut begun = BytesMut::from(std::mem::take(&mut self.bytes.ahead));
        let opening = loop {
            if !begun.is_empty()
                && let Some(opening) = Opening::of(&begun)
            {
                break Some(opening);
            }
            match self.more(&mut begun).await {
                Err(_) => break None,
                Ok(false) if begun.is_empty() => break None,
                // Half a preface is no HTTP/1 either, but that is for HTTP/1 to say.
                Ok(false) => break Some(Opening::Http1),
                Ok(true) => {}
            }
        };
        self.bytes.ahead = begun.freeze();
        opening
    }

    /// Reads what `measure` takes for whole: it says how many bytes that are, `None` if it cannot
    /// tell yet, or why it never will. What follows stays to be read.
    pub(crate) async fn take<E>(
        &mut self,
        mut measure: impl FnMut(&[u8]) -> Result<Option<usize>, E>,
    ) -> Result<Bytes, Incomplete<E>> {
        let mut begun = BytesMut::from(std::mem::take(&mut self.bytes.ahead));
        loop {
            if let Some(length) = measure(&begun).map_err(Incomplete::Wrong)? {
                let mut begun = begun.freeze();
                let whole = begun.split_to(length.min(begun.len()));
                self.bytes.ahead = begun;
                return Ok(whole);
            }
            match self.more(&mut begun).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return Err(Incomplete::Gone),
            }
        }
    }

    /// Reads more behind what has begun; false: nothing will come.
    async fn more(&mut self, begun: &mut BytesMut) -> io::Result<bool> {
        std::future::poll_fn(|cx| {
            let mut space = [const { MaybeUninit::uninit() }; FIRST_READ];
            let mut space = ReadBuf::uninit(&mut space);
            std::task::ready!(Pin::new(&mut *self).poll_read(cx, &mut space))?;
            let more = space.filled();
            // What comes at once, as most does, is kept in just as many bytes.
            if begun.is_empty() {
                *begun = BytesMut::from(more);
            } else {
                begun.extend_from_slice(more);
            }
            Poll::Ready(Ok(!more.is_empty()))
        })
        .await
    }

    /// Writes an answer that no HTTP library writes.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes).await?;
        self.flush().await
    }
}

/// Nothing whole was read.
#[derive(Debug)]
pub(crate) enum Incomplete<E> {
    Gone,
    Wrong(E),
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.wire {
            Wire::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Wire::Tls($stream) => {
                let $stream = Pin::new($stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let fits = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..fits]);
            self.ahead.advance(fits);
            if self.ahead.is_empty() {
                self.ahead = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        each!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    /// A connection that ends is dropped next, which says all that there is to say below TLS.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(_) => Poll::Ready(Ok(())),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

impl Begun {
    /// Whether TLS holds something that the socket below has not taken.
    fn is_full(&self) -> bool {
        match &self.wire {
            Wire::Plain(_) => false,
            Wire::Tls(stream) => stream.is_full(),
        }
    }

    /// Whether the other side has ended; where not, the task is woken when it may have.
    fn is_over(&self, cx: &mut Context<'_>) -> bool {
        match &self.wire {
            Wire::Plain(stream) => stream.is_over(cx),
            Wire::Tls(stream) => stream.below().is_over(cx),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let fresh = self.bytes.ahead.is_empty();
        let before = buf.filled().len();
        let read = Pin::new(&mut self.bytes).poll_read(cx, buf);
        if fresh && buf.filled().len() > before {
            self.patience.heard();
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.bytes).poll_write(cx, buf);
        let full = wrote.is_pending() || self.bytes.is_full();
        self.patience.full.set(full);
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.bytes).poll_write_vectored(cx, bufs);
        let full = wrote.is_pending() || self.bytes.is_full();
        self.patience.full.set(full);
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.bytes.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.bytes).poll_flush(cx);
        if matches!(self.bytes.wire, Wire::Tls(_)) {
            self.patience.full.set(flushed.is_pending());
        }
        self.departure.look(cx, |cx| self.bytes.is_over(cx));
        flushed
    }

    /// One that goes to rest keeps its socket open.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.patience.rests() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.bytes).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_is_told_by_its_first_bytes_and_by_no_fewer() {
        for (begun, opening) in [
            (&b"GET / HTTP/1.1"[..], Some(Opening::Http1)),
            (b"C", None),
            (b"CONNECT", None),
            (b"CONNECT api.wise.com:443", Some(Opening::Connect)),
            (b"connect api.wise.com:443", Some(Opening::Http1)),
            (b"COPY /", Some(Opening::Http1)),
            (b"PRI * HTTP/2.0\r\n", None),
            (PREFACE, Some(Opening::Http2)),
            (b"POST /", Some(Opening::Http1)),
            (&[22, 3, 1], Some(Opening::Handshake)),
            (&[22], Some(Opening::Handshake)),
            (b"\r\n", Some(Opening::Http1)),
        ] {
            assert_eq!(Opening::of(begun), opening, "{begun:?}");
        }
    }
}
