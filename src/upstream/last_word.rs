use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tls::HandshakeFailure;
use crate::upstream::io::Stream;

/// What TLS said on a connection, noted where it arises: HTTP/2 hands its streams an error without
/// a cause.
#[derive(Clone, Debug, Default)]
pub(super) struct LastWord(Arc<Mutex<Option<HandshakeFailure>>>);

impl LastWord {
    pub(super) fn heard(&self) -> Option<HandshakeFailure> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, error: &io::Error) {
        if let Some(failure) = HandshakeFailure::find(error) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        }
    }
}

/// A connection for one request whose last word is heard, as a worker's is (`io.rs`): a server that
/// refuses our certificate says so and hangs up, and our write must not fail before it was read.
#[derive(Debug)]
pub(super) struct Heard {
    stream: Stream,
    word: LastWord,
    unwritable: bool,
}

impl Heard {
    pub(super) fn new(stream: Stream, word: LastWord) -> Self {
        Self {
            stream,
            word,
            unwritable: false,
        }
    }

    /// `done`, or as if `instead` had been done where the other side has gone.
    fn wrote<T>(&mut self, done: Poll<io::Result<T>>, instead: T) -> Poll<io::Result<T>> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        let Poll::Ready(Err(error)) = done else {
            return done;
        };
        self.word.note(&error);
        if ![BrokenPipe, ConnectionAborted, ConnectionReset].contains(&error.kind()) {
            return Poll::Ready(Err(error));
        }
        self.unwritable = true;
        Poll::Ready(Ok(instead))
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &done {
            self.word.note(error);
        }
        done
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.unwritable {
            return Poll::Ready(Ok(buf.len()));
        }
        let done = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(done, buf.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unwritable {
            return Poll::Ready(Ok(()));
        }
        let done = Pin::new(&mut self.stream).poll_flush(cx);
        self.wrote(done, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
