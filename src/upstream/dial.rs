use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::Origin;
use crate::tls::HandshakeFailure;
use crate::upstream::endpoint::{Endpoint, Via};
use crate::upstream::io::Stream;
use crate::upstream::read_ahead::ReadAhead;
use crate::upstream::resolve::Resolver;
use crate::upstream::via;

/// The next address is tried when the one before has not answered for this long (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(300);

/// What a dial does first, as its error says it.
pub(super) const CONNECTING: &str = "connecting";

/// A fresh connection to Wise.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) stream: Stream,
    /// Where it leads: Wise's address, or that of the proxy on the way.
    pub(crate) peer: Option<IpAddr>,
    /// ALPN settled on HTTP/2.
    pub(crate) http2: bool,
    /// The handshake resumed a session; `None` without TLS.
    pub(crate) resumed: Option<bool>,
}

/// No connection came about. Nothing of a request has been sent.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the name `{host}` could not be resolved")]
    Dns { host: String },
    #[error("the name `{host}` was not resolved in time")]
    DnsTimeout { host: String },
    #[error("`{host}` refused the connection")]
    Refused { host: String },
    #[error("`{host}` could not be reached: {kind}")]
    Unreachable { host: String, kind: io::ErrorKind },
    #[error("`{host}` did not answer in time while {phase}")]
    Timeout { host: String, phase: &'static str },
    #[error("the proxy `{proxy}` on the way out answered {status} to CONNECT")]
    Via { proxy: String, status: u16 },
    #[error("the proxy `{proxy}` on the way out closed or garbled the tunnel")]
    ViaBroken { proxy: String },
    #[error("TLS with `{host}` failed: {failure}")]
    Tls {
        host: String,
        failure: HandshakeFailure,
    },
    #[error("`{host}` does not speak HTTP/2, and upstream.http = \"2\" wants it")]
    NoHttp2 { host: String },
}

/// Connects: name, TCP, CONNECT where configured, TLS; all within `limit`.
///
/// Cancel safe: dropping the future closes what was opened.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    resolver: &Resolver,
    limit: Duration,
) -> Result<Dialled, DialError> {
    let host = &endpoint.origin.host;
    let mut phase = CONNECTING;
    let dialling = async {
        let tcp = match &endpoint.via {
            Some(via) => through(via, endpoint, resolver).await?,
            None => connect(&endpoint.origin, endpoint.fixed, resolver).await?,
        };
        phase = "shaking hands";
        handshake(endpoint, tcp).await
    };
    let outcome = tokio::time::timeout(limit, dialling).await;
    outcome.unwrap_or_else(|_| {
        let (hop, _) = endpoint.first_hop();
        if resolver.is_in_the_dark(hop) {
            let host = hop.to_owned();
            return Err(DialError::DnsTimeout { host });
        }
        if phase == CONNECTING {
            // The addresses may be those of yesterday.
            resolver.forget(hop);
        }
        Err(DialError::Timeout {
            host: host.clone(),
            phase,
        })
    })
}

async fn handshake(endpoint: &Endpoint, tcp: TcpStream) -> Result<Dialled, DialError> {
    use crate::config::HttpVersion;
    let host = &endpoint.origin.host;
    let peer = tcp.peer_addr().map(|peer| peer.ip()).ok();
    let Some(tls) = &endpoint.tls else {
        let http2 = endpoint.http == HttpVersion::Http2;
        return Ok(Dialled {
            stream: Stream::Plain(tcp),
            peer,
            http2,
            resumed: None,
        });
    };
    let connector = TlsConnector::from(tls.config.clone());
    let stream = connector
        .connect(tls.name.clone(), ReadAhead::new(tcp))
        .await
        .map_err(|error| DialError::Tls {
            host: host.clone(),
            failure: HandshakeFailure::during_handshake(&error),
        })?;
    let (_, session) = stream.get_ref();
    let http2 = session.alpn_protocol() == Some(b"h2");
    if endpoint.http == HttpVersion::Http2 && !http2 {
        return Err(DialError::NoHttp2 { host: host.clone() });
    }
    let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
    Ok(Dialled {
        stream: Stream::Tls(Box::new(stream)),
        peer,
        http2,
        resumed: Some(resumed),
    })
}

async fn through(
    via: &Via,
    endpoint: &Endpoint,
    resolver: &Resolver,
) -> Result<TcpStream, DialError> {
    let mut tcp = connect(&via.origin, via.fixed, resolver).await?;
    let proxy = || format!("{}:{}", via.origin.host, via.origin.port);
    let target = format!("{}:{}", endpoint.authority.host(), endpoint.origin.port);
    match via::tunnel(&mut tcp, &target, via.authorization.as_ref()).await {
        Ok(200..=299) => Ok(tcp),
        Ok(status) => Err(DialError::Via {
            proxy: proxy(),
            status,
        }),
        Err(_) => Err(DialError::ViaBroken { proxy: proxy() }),
    }
}

/// TCP to the first address that answers; a slow one does not hold up the next.
pub(super) async fn connect(
    origin: &Origin,
    fixed: Option<IpAddr>,
    resolver: &Resolver,
) -> Result<TcpStream, DialError> {
    let host = &origin.host;
    let addresses = resolver
        .lookup(host, fixed)
        .await
        .map_err(|_| DialError::Dns { host: host.clone() })?;
    let mut attempts = FuturesUnordered::new();
    let mut last = None;
    let mut rest = addresses
        .iter()
        .map(|address| SocketAddr::new(*address, origin.port));
    let mut next = rest.next();
    loop {
        if let Some(address) = next.take() {
            attempts.push(TcpStream::connect(address));
        }
        let answered = if rest.len() == 0 {
            attempts.next().await
        } else {
            tokio::time::timeout(STAGGER, attempts.next())
                .await
                .unwrap_or_default()
        };
        match answered {
            Some(Ok(tcp)) => {
                // Requests are written whole; waiting for more would only add delay.
                let _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Some(Err(error)) => last = Some(error.kind()),
            None => {}
        }
        next = rest.next();
        if next.is_none() && attempts.is_empty() {
            resolver.forget(host);
            let host = host.clone();
            return Err(match last {
                Some(io::ErrorKind::ConnectionRefused) => DialError::Refused { host },
                Some(kind) => DialError::Unreachable { host, kind },
                None => DialError::Dns { host },
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_first_address_does_not_stop_the_dial() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let resolver = Resolver::new(Duration::from_mins(1));
        // Nothing listens on 127.0.0.2 at this port; it refuses at once.
        resolver.learn(
            "wise.test",
            &["127.0.0.2".parse().unwrap(), "127.0.0.1".parse().unwrap()],
        );
        let origin = Origin {
            host: "wise.test".into(),
            port,
            tls: false,
        };
        let tcp = connect(&origin, None, &resolver).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), listener.local_addr().unwrap());
    }
}
