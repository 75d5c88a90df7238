//! Writes gathered until the end of a connection's turn.
//!
//! h2 writes each DATA frame of some size by itself and flushes after it, so sixteen small bodies
//! are sixteen records and sixteen system calls. Over a [`Gathering`] socket they lie in one buffer
//! until the connection has had its turn and whoever drives it calls [`Outbox::poll_drain`].

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::upstream::buffers;

/// A piece of this size is worth a write of its own and no copy.
const LARGE: usize = 8 * 1024;

/// A socket that holds small writes back.
#[derive(Debug)]
pub(crate) struct Gathering<T>(Rc<RefCell<Inner<T>>>);

/// What a [`Gathering`] socket holds back.
#[derive(Debug)]
pub(crate) struct Outbox<T>(Rc<RefCell<Inner<T>>>);

#[derive(Debug)]
struct Inner<T> {
    io: T,
    /// Without capacity between turns.
    out: Vec<u8>,
    /// How much of `out` has left.
    left: usize,
}

impl<T> Gathering<T> {
    pub(crate) fn new(io: T) -> (Self, Outbox<T>) {
        let inner = Rc::new(RefCell::new(Inner {
            io,
            out: Vec::new(),
            left: 0,
        }));
        (Self(Rc::clone(&inner)), Outbox(inner))
    }
}

impl<T: AsyncWrite + Unpin> Outbox<T> {
    /// Writes out what was gathered. To be called after each turn of the connection.
    pub(crate) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_drain(cx)
    }
}

impl<T: AsyncWrite + Unpin> Inner<T> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.left < self.out.len() {
            let rest = &self.out[self.left..];
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                wrote => self.left += wrote,
            }
        }
        if self.out.capacity() > 0 {
            buffers::give_back(std::mem::take(&mut self.out));
            self.left = 0;
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Where to put `length` bytes, or `None` where they are worth a write of their own. What does
    /// not fit beside what lies ready waits until that has left.
    fn poll_room(
        &mut self,
        cx: &mut Context<'_>,
        length: usize,
    ) -> Poll<io::Result<Option<&mut Vec<u8>>>> {
        if length >= LARGE || self.out.len() + length > buffers::SIZE {
            ready!(self.poll_drain(cx))?;
        }
        if length >= LARGE {
            return Poll::Ready(Ok(None));
        }
        if self.out.capacity() == 0 {
            self.out = buffers::lend();
        }
        Poll::Ready(Ok(Some(&mut self.out)))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathering<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let inner = &mut *self.0.borrow_mut();
        let Some(out) = ready!(inner.poll_room(cx, buf.len()))? else {
            return Pin::new(&mut inner.io).poll_write(cx, buf);
        };
        out.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        let inner = &mut *self.0.borrow_mut();
        let Some(out) = ready!(inner.poll_room(cx, length))? else {
            return Pin::new(&mut inner.io).poll_write_vectored(cx, bufs);
        };
        for buf in bufs {
            out.extend_from_slice(buf);
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().io.is_write_vectored()
    }

    /// What was gathered leaves at the end of the turn.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        ready!(inner.poll_drain(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathering<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn small_writes_leave_together_and_large_ones_at_once_all_in_order() {
        let (ours, mut theirs) = tokio::io::duplex(1024 * 1024);
        let (mut socket, outbox) = Gathering::new(ours);
        let mut seen = [0; 100];

        socket.write_all(b"one").await.unwrap();
        socket.flush().await.unwrap();
        socket.write_all(b"two").await.unwrap();
        let early = tokio::time::timeout(std::time::Duration::ZERO, theirs.read(&mut seen));
        assert!(early.await.is_err(), "held back");
        std::future::poll_fn(|cx| outbox.poll_drain(cx))
            .await
            .unwrap();
        let read = theirs.read(&mut seen).await.unwrap();
        assert_eq!(&seen[..read], b"onetwo");

        socket.write_all(b"three").await.unwrap();
        let large = vec![b'.'; LARGE];
        socket.write_all(&large).await.unwrap();
        let mut all = vec![0; 5 + LARGE];
        theirs.read_exact(&mut all).await.unwrap();
        assert!(all.starts_with(b"three.") && all.ends_with(b"."));

        socket.write_all(b"end").await.unwrap();
        socket.shutdown().await.unwrap();
        drop((socket, outbox));
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"end");
    }

    #[tokio::test]
    async fn a_socket_that_takes_nothing_is_not_written_without_bound() {
        let (ours, mut theirs) = tokio::io::duplex(10);
        let (mut socket, outbox) = Gathering::new(ours);
        let piece = [b'x'; 1024];
        let mut wrote = 0;
        let limit = std::future::poll_fn(|cx| {
            while let Poll::Ready(piece) = Pin::new(&mut socket).poll_write(cx, &piece) {
                wrote += piece.unwrap();
            }
            Poll::Ready(wrote)
        });
        assert_eq!(limit.await, buffers::SIZE);
        let reading = async {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).await.unwrap();
            all.len()
        };
        let draining = async {
            let drained = std::future::poll_fn(|cx| outbox.poll_drain(cx)).await;
            drained.unwrap();
            drop((socket, outbox));
        };
        let (read, ()) = tokio::join!(reading, draining);
        assert_eq!(read, buffers::SIZE);
    }
}
