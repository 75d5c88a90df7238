use std::io;

use http::HeaderValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest answer head of a CONNECT proxy.
const LONGEST: usize = 8 * 1024;

/// Asks a proxy for a tunnel to `target` (`host:port`) and returns its status (RFC 9110 §9.3.6).
///
/// Reads exactly up to the end of the answer's head: what follows belongs to the tunnel.
pub(crate) async fn tunnel(
    tcp: &mut TcpStream,
    target: &str,
    authorization: Option<&HeaderValue>,
) -> io::Result<u16> {
    let mut ask = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(value) = authorization {
        ask.extend_from_slice(b"Proxy-Authorization: ");
        ask.extend_from_slice(value.as_bytes());
        ask.extend_from_slice(b"\r\n");
    }
    ask.extend_from_slice(b"\r\n");
    tcp.write_all(&ask).await?;
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // One byte at a time: a tunnel is opened rarely, and not a byte too many may be taken.
        head.push(tcp.read_u8().await?);
    }
    status(&head).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn status(head: &[u8]) -> Option<u16> {
    let rest = head
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| head.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}
