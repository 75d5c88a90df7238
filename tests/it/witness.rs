//! A Wise that takes nothing on trust: it keeps the bytes that arrive and reads them by the letter
//! of RFC 9112, sharing no parser with the proxy.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// One message as it arrived.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A request, well-formed to the last byte.
    Whole(Message),
    /// A connection that ended, or stands, inside a message that is well-formed so far.
    Cut,
    /// Bytes that are no HTTP/1.1 request, and why.
    Malformed(&'static str, Vec<u8>),
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Message {
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Message {
    /// Every value of a field; `name` in lower case.
    pub fn field<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_name = self.fields.iter().filter(move |(known, _)| known == name);
        of_name.map(|(_, value)| value.as_str())
    }
}

/// The server. It answers every request with 200 and keeps connections open.
pub struct Witness {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Witness {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::default();
        let kept = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(listen(stream, Arc::clone(&kept)));
            }
        });
        Self { address, seen }
    }

    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    /// What has arrived since the last call. A message that is under way shows once it has ended.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn listen(mut stream: TcpStream, seen: Arc<Mutex<Vec<Seen>>>) {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nx-trace-id: 0\r\ncontent-length: 2\r\n\r\nok";
    let mut bytes = Vec::new();
    loop {
        match read(&bytes) {
            Ok(Some((message, length))) => {
                seen.lock().unwrap().push(Seen::Whole(message));
                bytes.drain(..length);
                if stream.write_all(ANSWER).await.is_err() {
                    return;
                }
                continue;
            }
            Ok(None) => {}
            Err(why) => {
                seen.lock().unwrap().push(Seen::Malformed(why, bytes));
                return;
            }
        }
        if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
            if !bytes.is_empty() {
                seen.lock().unwrap().push(Seen::Cut);
            }
            return;
        }
    }
}

/// Reads one request; `None`: it is not whole yet. Stricter than the RFC asks of a server: this is
/// what a sender must send.
pub fn read(bytes: &[u8]) -> Result<Option<(Message, usize)>, &'static str> {
    let mut rest = Rest { bytes, at: 0 };
    let Some(line) = rest.line()? else {
        return Ok(None);
    };
    let mut message = Message::default();
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else {
        return Err("the request line is not `method SP target SP HTTP/1.1`");
    };
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err("the method is no token");
    }
    if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the target is not in origin-form");
    }
    (message.method, message.target) = (method.into(), target.into());
    let Some(fields) = rest.fields()? else {
        return Ok(None);
    };
    message.fields = fields;

    if message.field("host").count() != 1 {
        return Err("there is not exactly one Host");
    }
    let lengths: Vec<&str> = message.field("content-length").collect();
    let codings: Vec<&str> = message.field("transfer-encoding").collect();
    let body = match (&lengths[..], &codings[..]) {
        ([], []) => Some(Vec::new()),
        ([length], []) => {
            if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err("Content-Length is not digits");
            }
            let length = length.parse().map_err(|_| "Content-Length is too large")?;
            rest.take(length).map(<[u8]>::to_vec)
        }
        ([], ["chunked"]) => match rest.chunks()? {
            Some((body, trailers)) => {
                message.trailers = trailers;
                Some(body)
            }
            None => None,
        },
        _ => return Err("the framing is not one of the two ways"),
    };
    let Some(body) = body else {
        return Ok(None);
    };
    message.body = body;
    Ok(Some((message, rest.at)))
}

struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    /// A line without its end, which is CR LF and nothing else.
    fn line(&mut self) -> Result<Option<&'a str>, &'static str> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
            return Ok(None);
        };
        match rest[end..] {
            [b'\r'] => Ok(None),
            [b'\r', b'\n', ..] => {
                self.at += end + 2;
                std::str::from_utf8(&rest[..end])
                    .map(Some)
                    .map_err(|_| "a line is not text")
            }
            _ => Err("a line ends with something other than CR LF"),
        }
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    /// Field lines up to the empty one.
    fn fields(&mut self) -> Result<Option<Vec<(String, String)>>, &'static str> {
        let mut fields = Vec::new();
        loop {
            let Some(line) = self.line()? else {
                return Ok(None);
            };
            if line.is_empty() {
                return Ok(Some(fields));
            }
            let (name, value) = line.split_once(':').ok_or("a field has no colon")?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err("a field's name is no token");
            }
            let value = value.strip_prefix(' ').unwrap_or(value);
            let is_content =
                |byte: u8| byte == b'\t' || (b' '..0x7f).contains(&byte) || byte > 0x7f;
            if value != value.trim() || !value.bytes().all(is_content) {
                return Err("a field's value has what it must not have");
            }
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    /// A chunked body and its trailers.
    #[allow(clippy::type_complexity, reason = "body and trailers, used once")]
    fn chunks(&mut self) -> Result<Option<(Vec<u8>, Vec<(String, String)>)>, &'static str> {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.line()? else {
                return Ok(None);
            };
            if line.is_empty() || !line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err("a chunk's size is not hexadecimal digits alone");
            }
            let size = usize::from_str_radix(line, 16).map_err(|_| "a chunk is too large")?;
            if size == 0 {
                return Ok(self.fields()?.map(|trailers| (body, trailers)));
            }
            let Some(chunk) = self.take(size) else {
                return Ok(None);
            };
            body.extend_from_slice(chunk);
            match self.take(2) {
                Some(b"\r\n") => {}
                Some(_) => return Err("a chunk does not end where it said"),
                None => return Ok(None),
            }
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[test]
fn the_witness_takes_nothing_but_well_formed_requests() {
    let host = "Host: a\r\n";
    for (bytes, whole) in [
        (format!("GET / HTTP/1.1\r\n{host}\r\n"), true),
        (
            format!("PUT /x HTTP/1.1\r\n{host}Content-Length: 1\r\n\r\nx"),
            true,
        ),
        (
            format!(
                "PUT /x HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n"
            ),
            true,
        ),
        (format!("GET / HTTP/1.1\n{host}\r\n"), false),
        (format!("GET  / HTTP/1.1\r\n{host}\r\n"), false),
        (format!("GET /\u{e9} HTTP/1.1\r\n{host}\r\n"), false),
        (format!("GET / HTTP/1.1\r\n{host}{host}\r\n"), false),
        (format!("GET / HTTP/1.1\r\n{host}A : b\r\n\r\n"), false),
        (format!("GET / HTTP/1.1\r\n{host}A: b \r\n\r\n"), false),
        (
            format!("PUT / HTTP/1.1\r\n{host}Content-Length: +1\r\n\r\nx"),
            false,
        ),
        (
            format!(
                "PUT / HTTP/1.1\r\n{host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            false,
        ),
        (
            format!(
                "PUT / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n1;a\r\nx\r\n0\r\n\r\n"
            ),
            false,
        ),
    ] {
        match read(bytes.as_bytes()) {
            Ok(Some((_, length))) => {
                assert!(whole, "{bytes:?} is not well-formed");
                assert_eq!(length, bytes.len());
            }
            other => assert!(!whole && other.is_err(), "{bytes:?}: {other:?}"),
        }
    }
}
