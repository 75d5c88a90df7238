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

/// What was gathered, and pieces of what is written: h2 writes a frame's head and its payload.
const TOGETHER: usize = 4;

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
        ready!(self.poll_empty(cx, &[]))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Writes out what was gathered, together with `after` it, as far as that goes along: how much
    /// of `after` did.
    fn poll_empty(
        &mut self,
        cx: &mut Context<'_>,
        after: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut along = 0;
        while self.left < self.out.len() {
            let rest = &self.out[self.left..];
            let io = Pin::new(&mut self.io);
            let wrote = if after.is_empty() {
                io.poll_write(cx, rest)
            } else {
                let mut all = [io::IoSlice::new(&[]); TOGETHER];
                all[0] = io::IoSlice::new(rest);
                for (place, piece) in all[1..].iter_mut().zip(after) {
                    *place = io::IoSlice::new(piece);
                }
                io.poll_write_vectored(cx, &all)
            };
            let wrote = ready!(wrote)?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            along = wrote.saturating_sub(rest.len());
            self.left += wrote - along;
        }
        if self.out.capacity() > 0 {
            buffers::give_back(std::mem::take(&mut self.out));
            self.left = 0;
        }
        Poll::Ready(Ok(along))
    }

    /// Takes `bufs`, which are not empty, into what is gathered, or writes them at once where they
    /// are worth it or do not fit.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        if length >= LARGE || self.out.len() + length > buffers::SIZE {
            let along = ready!(self.poll_empty(cx, bufs))?;
            if along > 0 {
                return Poll::Ready(Ok(along));
            }
        }
        if length >= LARGE {
            return Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        }
        if self.out.capacity() == 0 {
            self.out = buffers::lend();
        }
        for buf in bufs {
            self.out.extend_from_slice(buf);
        }
        Poll::Ready(Ok(length))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathering<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(cx, bufs)
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

    /// Takes so many bytes at a time, and nothing every other time.
    #[derive(Debug)]
    struct Narrow {
        width: usize,
        taken: Vec<u8>,
        writes: usize,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.writes += 1;
            if self.width < LARGE && self.writes.is_multiple_of(2) {
                return Poll::Pending;
            }
            let all = bufs.iter().flat_map(|buf| buf.iter().copied());
            let before = self.taken.len();
            let width = self.width;
            self.taken.extend(all.take(width));
            Poll::Ready(Ok(self.taken.len() - before))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Writes pieces of these lengths as h2 does, a head before each, and what then lies at the
    /// other end, in how many writes.
    fn written(lengths: &[usize], width: usize) -> (Vec<u8>, Vec<u8>, usize) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (mut socket, outbox) = Gathering::new(Narrow {
            width,
            taken: Vec::new(),
            writes: 0,
        });
        let mut sent = Vec::new();
        for (number, length) in (0u8..).zip(lengths) {
            let frame = vec![number; 9 + length];
            let mut left = &frame[..];
            while !left.is_empty() {
                let (head, payload) = left.split_at(left.len().min(9));
                let pieces = [io::IoSlice::new(head), io::IoSlice::new(payload)];
                let wrote = Pin::new(&mut socket).poll_write_vectored(&mut cx, &pieces);
                if let Poll::Ready(wrote) = wrote {
                    left = &left[wrote.unwrap()..];
                }
            }
            sent.extend(frame);
        }
        while outbox.poll_drain(&mut cx).is_pending() {}
        let inner = outbox.0.borrow();
        (sent, inner.io.taken.clone(), inner.io.writes)
    }

    #[test]
    fn a_large_piece_takes_along_what_was_gathered() {
        let (sent, taken, writes) = written(&[10, 20, LARGE, 5], usize::MAX);
        assert!(taken == sent);
        assert_eq!(writes, 2, "up to the large one, and what came after it");
    }

    #[test]
    fn every_byte_leaves_once_and_in_order_whatever_the_socket_takes() {
        let lengths = [10, LARGE, 0, 3, LARGE - 9, LARGE - 10, 1, 70_000, 70_000, 5];
        for width in [1, 2, 8, 9, 10, 11, 100, LARGE - 1, LARGE, LARGE + 1, 65_536] {
            let (sent, taken, _) = written(&lengths, width);
            assert!(taken == sent, "{width} bytes at a time");
        }
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
