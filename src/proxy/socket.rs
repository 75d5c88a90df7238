//! An application's socket below HTTP: what came before HTTP was there, and who must be told.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::listener::Connection;
use crate::proxy::patience::Patience;

/// The first bytes of a client that knows in advance to speak HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes read at once from a socket that was silent: most requests, whole.
const FIRST_READ: usize = 8 * 1024;

/// A connection, whose patience hears of every byte that comes.
#[derive(Debug)]
pub(crate) struct Socket {
    io: Connection,
    patience: Rc<Patience>,
    /// Read already, to be read again.
    ahead: Bytes,
}

impl Socket {
    pub(crate) fn new(io: Connection, patience: Rc<Patience>) -> Self {
        Self {
            io,
            patience,
            ahead: Bytes::new(),
        }
    }

    /// Puts bytes back in front of what has not been read: a head that began behind a request.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        debug_assert!(self.ahead.is_empty());
        // No bytes at all may still hold the buffer that they were cut from.
        if !bytes.is_empty() {
            self.ahead = bytes;
            self.patience.heard();
        }
    }

    /// Waits, with no buffer, until the application says something; nothing of it is lost. Says
    /// whether it speaks HTTP/2 from the start; `None`: it has gone.
    pub(crate) async fn opening(&mut self) -> Option<bool> {
        let mut begun = std::mem::take(&mut self.ahead);
        std::future::poll_fn(|cx| {
            loop {
                if begun.len() >= PREFACE.len() || !PREFACE.starts_with(&begun) {
                    return Poll::Ready(Some(begun.starts_with(PREFACE)));
                }
                let mut space = [const { MaybeUninit::uninit() }; FIRST_READ];
                let mut space = ReadBuf::uninit(&mut space);
                if std::task::ready!(Pin::new(&mut *self).poll_read(cx, &mut space)).is_err() {
                    return Poll::Ready(None);
                }
                match space.filled() {
                    [] if begun.is_empty() => return Poll::Ready(None),
                    // Half a preface is no HTTP/1 either, but that is for HTTP/1 to say.
                    [] => return Poll::Ready(Some(false)),
                    more => begun = [&begun, more].concat().into(),
                }
            }
        })
        .await
        .inspect(|_| self.ahead = begun)
    }
}

impl AsyncRead for Socket {
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
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
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
        let wrote = Pin::new(&mut self.io).poll_write(cx, buf);
        self.patience.full.set(wrote.is_pending());
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.patience.full.set(wrote.is_pending());
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// A connection that ends is dropped next, which says all that this would; one that goes to
    /// rest keeps its socket open.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
