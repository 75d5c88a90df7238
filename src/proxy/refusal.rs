//! Gives a malformed request a problem document.
//!
//! hyper answers what it cannot parse by itself, with an empty 400, 414 or 431 and no hook to say
//! more. It writes such an answer as one piece, while no request is being served, with only
//! `connection`, `content-length` and `date`; no answer of Wise's looks like that, for those carry
//! `x-trace-id`. That piece is replaced on its way out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::fault::{self, Kind};
use crate::telemetry::meter::Meter;

/// hyper's own answers are shorter than this.
const LONGEST: usize = 160;

/// A connection on which hyper's bare refusals become problem documents.
#[derive(Debug)]
pub(crate) struct Refusing<T> {
    io: T,
    /// A document on its way out, how much of it has left, and the length of what it replaces.
    pending: Option<(Vec<u8>, usize, usize)>,
    /// What never became a request has no record: it is counted here.
    meter: Arc<Meter>,
}

impl<T> Refusing<T> {
    pub(crate) fn new(io: T, meter: Arc<Meter>) -> Self {
        Self {
            io,
            pending: None,
            meter,
        }
    }

    pub(crate) fn into_inner(self) -> T {
        self.io
    }
}

impl<T: AsyncWrite + Unpin> Refusing<T> {
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some((document, left, stands_for)) = &mut self.pending {
            if *left == document.len() {
                let stands_for = *stands_for;
                self.pending = None;
                return Poll::Ready(Ok(stands_for));
            }
            let wrote = Pin::new(&mut self.io).poll_write(cx, &document[*left..]);
            match std::task::ready!(wrote)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                wrote => *left += wrote,
            }
        }
        Poll::Ready(Ok(0))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Refusing<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.pending.is_none() {
            match bare_refusal(buf).and_then(fault::unparsed) {
                Some(document) => {
                    self.meter.faults[Kind::BadRequest as usize].add(1);
                    self.pending = Some((document, 0, buf.len()));
                }
                None => return Pin::new(&mut self.io).poll_write(cx, buf),
            }
        }
        self.poll_pending(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [first, rest @ ..] = bufs
            && (self.pending.is_some() || rest.is_empty() && bare_refusal(first).is_some())
        {
            return self.poll_write(cx, first);
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Refusing<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

/// The status of an answer that is hyper's own, given the bytes of one write.
fn bare_refusal(bytes: &[u8]) -> Option<u16> {
    if bytes.len() > LONGEST || !bytes.starts_with(b"HTTP/1.1 4") || !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let status = lines.next()?.get(9..12)?.parse().ok()?;
    let bare = lines.all(|line| {
        matches!(line, "connection: close" | "content-length: 0") || line.starts_with("date: ")
    });
    let closes = text.contains("\r\nconnection: close\r\n");
    (bare && closes).then_some(status)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn through(answer: &[u8]) -> String {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let meter = Arc::new(Meter::new(0, Kind::NAMES.len()));
        let mut io = Refusing::new(ours, meter);
        io.write_all(answer).await.unwrap();
        io.shutdown().await.unwrap();
        let mut seen = String::new();
        theirs.read_to_string(&mut seen).await.unwrap();
        seen
    }

    #[tokio::test]
    async fn a_bare_refusal_becomes_a_problem_document() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
            content-length: 0\r\ndate: Sun, 22 Nov 2026 10:00:00 GMT\r\n\r\n";
        let seen = through(bare).await;
        assert!(seen.starts_with("HTTP/1.1 431 "), "{seen}");
        assert!(
            seen.contains("content-type: application/problem+json"),
            "{seen}"
        );
        assert!(
            seen.contains("urn:wise-auth-proxy:problem:bad-request"),
            "{seen}"
        );
    }

    #[tokio::test]
    async fn an_answer_of_wise_passes_whatever_its_status() {
        let wise = "HTTP/1.1 400 Bad Request\r\nx-trace-id: 00\r\nconnection: close\r\n\r\n";
        assert_eq!(through(wise.as_bytes()).await, wise);
    }
}
