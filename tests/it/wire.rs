//! Bytes on a wire: applications and Wises that no HTTP library would let a test be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::house::{Answer, PATIENCE, Plan, Site};

/// A socket that says exactly what it is told, at either end.
pub struct Wire {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Wire {
    pub async fn to(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).await.unwrap())
    }

    /// A connection that takes in little before it is read.
    pub async fn narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::of(socket.connect(address).await.unwrap())
    }

    pub fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            seen: Vec::new(),
        }
    }

    /// What lies below, once everything that came has been read.
    pub fn stream(&mut self) -> &mut TcpStream {
        assert!(self.seen.is_empty(), "{:?}", self.seen);
        &mut self.stream
    }

    /// The connection itself, once everything that came has been read.
    pub fn into_stream(self) -> TcpStream {
        assert!(self.seen.is_empty(), "{:?}", self.seen);
        self.stream
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sending = self.stream.write_all(bytes.as_ref());
        timeout(PATIENCE, sending)
            .await
            .expect("it is read")
            .unwrap();
    }

    /// Reads until what was read ends with `end`, and takes it all.
    pub async fn read_to(&mut self, end: &str) -> String {
        loop {
            let at = self
                .seen
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            if let Some(at) = at {
                let rest = self.seen.split_off(at + end.len());
                return String::from_utf8(std::mem::replace(&mut self.seen, rest)).unwrap();
            }
            assert!(
                self.more().await,
                "it ended before {end:?}: {:?}",
                String::from_utf8_lossy(&self.seen)
            );
        }
    }

    /// Reads `length` bytes.
    pub async fn read_exact(&mut self, length: usize) -> Vec<u8> {
        let read = self.exactly(length).await;
        read.unwrap_or_else(|| panic!("it ended after {}", self.seen.len()))
    }

    /// Reads `length` bytes; `None`: the stream ends before.
    pub async fn try_exact(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.seen.len() < length {
            if !self.more().await {
                return None;
            }
        }
        let rest = self.seen.split_off(length);
        Some(std::mem::replace(&mut self.seen, rest))
    }

    /// Sends bytes as long as the other side takes them; whether it took them all.
    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        let sending = self.stream.write_all(bytes);
        timeout(PATIENCE, sending)
            .await
            .expect("it is read")
            .is_ok()
    }

    /// Reads one answer whose body has a declared length.
    pub async fn answer(&mut self) -> Answer {
        let head = self.read_to("\r\n\r\n").await;
        let (status, headers) = parse_head(&head);
        let length = headers
            .get("content-length")
            .map_or(0, |length| length.to_str().unwrap().parse().unwrap());
        let body = Bytes::from(self.read_exact(length).await);
        Answer {
            status,
            headers,
            body,
        }
    }

    /// Reads to the end of the stream, however it ends.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.seen)
    }

    /// Reads one request with a declared length, head and body; `None` at the end of the stream.
    pub async fn request(&mut self) -> Option<(String, Vec<u8>)> {
        let end = loop {
            let found = self.seen.windows(4).position(|four| four == b"\r\n\r\n");
            match found {
                Some(at) => break at + 4,
                None if self.more().await => {}
                None => return None,
            }
        };
        let rest = self.seen.split_off(end);
        let head = String::from_utf8(std::mem::replace(&mut self.seen, rest)).unwrap();
        let lower = head.to_lowercase();
        let length = lower
            .split_once("content-length: ")
            .and_then(|(_, rest)| rest.split("\r\n").next())
            .map_or(0, |length| length.parse().unwrap());
        let body = self.exactly(length).await?;
        Some((head, body))
    }

    /// Reads `length` bytes; `None` when the stream ends before.
    pub async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.seen.len() < length {
            if !self.more().await {
                return None;
            }
        }
        let rest = self.seen.split_off(length);
        Some(std::mem::replace(&mut self.seen, rest))
    }

    /// Sends what still gets through: the other side may have hung up.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sending = self.stream.write_all(bytes.as_ref());
        matches!(timeout(PATIENCE, sending).await, Ok(Ok(())))
    }

    /// Ends our side of the stream and goes on reading.
    pub async fn half_close(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Ends the connection by a TCP reset.
    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// What has arrived so far, without waiting.
    pub fn arrived(&mut self) -> &[u8] {
        let mut more = [0; 4096];
        while let Ok(read @ 1..) = self.stream.try_read(&mut more) {
            self.seen.extend_from_slice(&more[..read]);
        }
        &self.seen
    }

    /// Waits until the other side has read everything that was sent.
    pub async fn taken(&self) {
        let ours = format!(":{:04X} ", self.stream.local_addr().unwrap().port());
        let theirs = format!(":{:04X} ", self.stream.peer_addr().unwrap().port());
        let unread = || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let row = table.lines().find(|row| {
                let mut ends = row.split_whitespace().skip(1).map(|end| format!("{end} "));
                ends.next().is_some_and(|end| end.ends_with(&theirs))
                    && ends.next().is_some_and(|end| end.ends_with(&ours))
            });
            let queues = row
                .expect("it is connected")
                .split_whitespace()
                .nth(4)
                .unwrap();
            !queues.ends_with(":00000000")
        };
        let reading = async {
            while unread() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reading).await.expect("it is read");
    }

    async fn more(&mut self) -> bool {
        let reading = self.stream.read_buf(&mut self.seen);
        let read = timeout(PATIENCE, reading)
            .await
            .expect("it goes on or ends");
        read.is_ok_and(|read| read > 0)
    }
}

fn parse_head(head: &str) -> (StatusCode, HeaderMap) {
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().unwrap();
    assert!(status.starts_with("HTTP/1.1 "), "{head}");
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(
            HeaderName::try_from(name).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    (status[9..12].parse().unwrap(), headers)
}

/// A Wise of few words: each connection is handed to the test.
pub struct Stub {
    pub address: SocketAddr,
    connections: mpsc::UnboundedReceiver<Wire>,
}

impl Stub {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, connections) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if sender.send(Wire::of(stream)).is_err() {
                    return;
                }
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// Its base URL, without TLS.
    pub fn url(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    pub async fn connection(&mut self) -> Wire {
        let next = self.connections.recv();
        timeout(PATIENCE, next)
            .await
            .expect("it is called")
            .unwrap()
    }

    /// How many more connections came than were taken.
    pub fn uncalled(&self) -> usize {
        self.connections.len()
    }
}

impl Plan<'_> {
    /// Leads to the stub, which then meets no connection but those that requests make.
    pub fn towards(self, stub: &Stub) -> Self {
        self.set("wise.plain", &stub.url())
            .set("upstream.warm_connections", "0")
    }
}

/// A certificate authority of the test's own, and a TLS server whose certificate ended yesterday.
///
/// The authority is put where the site looks for the one of Wise. Returns the server's port and how
/// many handshakes came to an end, after which a request could be sent.
pub async fn expired_server(site: &Site) -> (u16, Arc<AtomicUsize>) {
    let day = std::time::Duration::from_hours(24);
    let now = std::time::SystemTime::now();
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap();
    std::fs::write(site.path("ca.pem"), root.pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);

    let mut leaf = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    leaf.not_before = (now - 3 * day).into();
    leaf.not_after = (now - day).into();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &issuer).unwrap();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![certificate.der().clone()], key.into())
    .unwrap();

    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let done = Arc::new(AtomicUsize::new(0));
    let shaken = Arc::clone(&done);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (handshake, shaken) = (acceptor.accept(stream), Arc::clone(&shaken));
            tokio::spawn(async move {
                // It is meant to fail; the proxy says why.
                if handshake.await.is_ok() {
                    shaken.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    (port, done)
}
