//! The old application: it writes plain HTTP/1.1 into a TCP socket and knows of nothing else.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What it has always sent as its credential. The door asks for none, so any text will do.
pub(super) const HABIT: &str = "anything";

/// Longer than the proxy lets any request wait for Wise.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// A request, byte for byte.
pub(super) struct Request {
    pub(super) text: String,
    pub(super) path: String,
    door: SocketAddr,
}

impl Request {
    pub(super) fn get(door: SocketAddr, path: &str) -> Self {
        Self::new(door, "GET", path, None)
    }

    pub(super) fn post(door: SocketAddr, path: &str, body: &Value) -> Self {
        Self::new(door, "POST", path, Some(&body.to_string()))
    }

    fn new(door: SocketAddr, method: &str, path: &str, body: Option<&str>) -> Self {
        let content = body.map_or_else(String::new, |body| {
            let length = body.len();
            format!("Content-Type: application/json\r\nContent-Length: {length}\r\n")
        });
        let text = format!(
            "{method} {path} HTTP/1.1\r\n\
             Host: {door}\r\n\
             User-Agent: payroll/2.9\r\n\
             Authorization: Bearer {HABIT}\r\n\
             Accept: application/json\r\n\
             {content}\
             Connection: close\r\n\
             \r\n{}",
            body.unwrap_or_default()
        );
        let path = path.to_owned();
        Self { text, path, door }
    }

    /// Writes these bytes and reads until the door closes the connection.
    pub(super) async fn send(&self) -> anyhow::Result<Answer> {
        let exchange = async {
            let mut stream = TcpStream::connect(self.door).await?;
            stream.write_all(self.text.as_bytes()).await?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await?;
            Ok::<_, io::Error>(bytes)
        };
        let bytes = timeout(PATIENCE, exchange).await;
        Answer::read(&bytes.context("the door gave no answer")??)
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Status line and fields, without the empty line.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.context("the answer ended within its head")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let field = |wanted: &str| {
            head.lines().skip(1).find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case(wanted).then(|| value.trim())
            })
        };
        let rest = &bytes[end + 4..];
        let body = if field("transfer-encoding").is_some() {
            unchunked(rest).context("the answer ended within its chunks")?
        } else {
            rest.to_vec()
        };
        if let Some(length) = field("content-length")
            && length.parse() != Ok(body.len())
        {
            bail!("the answer announced {length} bytes and had {}", body.len());
        }
        Ok(Self {
            status: status.context("the answer has no status")?,
            head,
            body,
        })
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// The data of chunks (RFC 9112 §7.1); `None` when the last one is missing.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(data);
        }
        let start = line + 2;
        data.extend_from_slice(rest.get(start..start + size)?);
        rest = rest.get(start + size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_by_length_by_chunks_and_to_the_end() {
        for bytes in [
            "HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
            "HTTP/1.1 201 Created\r\n\r\nhello",
        ] {
            let answer = Answer::read(bytes.as_bytes()).unwrap();
            assert_eq!(
                (answer.status, answer.body.as_slice()),
                (201, &b"hello"[..])
            );
        }
    }

    #[test]
    fn a_cut_answer_is_no_answer() {
        for bytes in [
            "HTTP/1.1 200 OK\r\nContent-Le",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        ] {
            assert!(Answer::read(bytes.as_bytes()).is_err(), "{bytes}");
        }
    }

    #[test]
    fn a_post_announces_its_body_to_the_byte() {
        let door = "127.0.0.1:8080".parse().unwrap();
        let request = Request::post(door, "/v1/accounts", &serde_json::json!({ "a": 1 }));
        assert!(request.text.contains("\r\nContent-Length: 7\r\n"));
        assert!(request.text.ends_with("\r\n\r\n{\"a\":1}"));
    }
}
