//! Reads more from a socket than TLS asks for, where there is more.
//!
//! rustls asks for 4 KiB at a time. A small answer is whole in one such read, and goes straight
//! where rustls wants it; a long body would cost a system call for each quarter of a record.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::upstream::buffers;

/// After a read of less than this, which a small one holds, the next is a small one again.
const LITTLE: usize = 4 * 1024;

/// A socket that is read in large pieces while a long body comes, without a buffer else.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    stream: TcpStream,
    /// Read, and how much of it was asked for. Without capacity while there is nothing more.
    ahead: Vec<u8>,
    asked: usize,
    /// The last read took all that it had room for.
    more: bool,
}

impl ReadAhead {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
            asked: 0,
            more: false,
        }
    }

    /// Hands on what lies ready. A body that pauses, or has ended, holds no buffer.
    fn take(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = &self.ahead[self.asked..];
        let fits = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..fits]);
        self.asked += fits;
        if self.asked == self.ahead.len() {
            buffers::give_back(std::mem::take(&mut self.ahead));
        }
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            if !this.more {
                ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
                this.more = buf.remaining() == 0;
                return Poll::Ready(Ok(()));
            }
            // A connection has more turns than there are answers: a buffer is for something to read.
            ready!(this.stream.poll_read_ready(cx))?;
            let mut ahead = buffers::lend();
            let stream = Pin::new(&mut this.stream);
            let read = tokio_util::io::poll_read_buf(stream, cx, &mut ahead);
            if !matches!(read, Poll::Ready(Ok(1..))) {
                buffers::give_back(ahead);
                return read.map_ok(|_| ());
            }
            this.more = ahead.len() >= LITTLE;
            (this.ahead, this.asked) = (ahead, 0);
        }
        this.take(buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ReadAhead {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (ReadAhead, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap());
        let (ours, theirs) = tokio::join!(ours, listener.accept());
        (ReadAhead::new(ours.unwrap()), theirs.unwrap().0)
    }

    #[tokio::test]
    async fn every_byte_comes_once_and_in_order_whatever_is_asked_for() {
        let (mut ours, mut theirs) = pair().await;
        let sent: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
        let writing = async {
            // Little by little, then much.
            for piece in sent[..50_000].chunks(1_000) {
                theirs.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            theirs.write_all(&sent[50_000..]).await.unwrap();
            drop(theirs);
        };
        let mut large = 0;
        let reading = async {
            let mut seen = Vec::with_capacity(sent.len());
            let mut room = vec![0; 4096];
            loop {
                let size = room.len() - seen.len() % 97;
                match ours.read(&mut room[..size]).await.unwrap() {
                    0 => return seen,
                    read => seen.extend_from_slice(&room[..read]),
                }
                large = large.max(ours.ahead.len());
            }
        };
        let ((), seen) = tokio::join!(writing, reading);
        assert!(seen == sent);
        assert!(large > 4096, "it read ahead");
        assert_eq!(ours.ahead.capacity(), 0, "and holds nothing now");
    }

    #[tokio::test]
    async fn a_body_that_pauses_holds_no_buffer() {
        let (mut ours, mut theirs) = pair().await;
        theirs.write_all(&vec![7; 20_000]).await.unwrap();
        let mut seen = vec![0; 20_000];
        for piece in seen.chunks_mut(4096) {
            ours.read_exact(piece).await.unwrap();
        }
        let mut room = [0];
        let mut next = std::pin::pin!(ours.read(&mut room));
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        assert_eq!(ours.ahead.capacity(), 0);
    }
}
