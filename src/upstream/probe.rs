//! The way to Wise step by step, for whoever wants to know at which one it ends.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::upstream::dial::{CONNECTING, DialError, connect, dial};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::io::Stream;
use crate::upstream::resolve::Resolver;

/// A server that is slow to say goodbye is left.
const GOODBYE: Duration = Duration::from_millis(200);

/// What a handshake settled on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    /// Such as `TLS 1.3`; none without TLS.
    pub(crate) version: Option<&'static str>,
    /// The protocol that ALPN settled on; none where the server chose none.
    pub(crate) alpn: Option<String>,
    /// The cipher suite, by its name in the standards.
    pub(crate) suite: Option<String>,
}

/// The addresses of the first hop: of Wise, or of the proxy on the way out.
pub(crate) async fn addresses(endpoint: &Endpoint) -> io::Result<Vec<IpAddr>> {
    let (host, fixed) = endpoint.first_hop();
    let resolver = Resolver::new(Duration::ZERO);
    let found = resolver.lookup(host, fixed).await?;
    Ok(found.to_vec())
}

/// Connects to the first hop and hangs up; says where it led.
pub(crate) async fn reach(endpoint: &Endpoint, limit: Duration) -> Result<SocketAddr, DialError> {
    let resolver = Resolver::new(Duration::ZERO);
    let origin = endpoint
        .via
        .as_ref()
        .map_or(&endpoint.origin, |via| &via.origin);
    let (host, fixed) = endpoint.first_hop();
    let connecting = connect(origin, fixed, &resolver);
    let timed = tokio::time::timeout(limit, connecting).await;
    let tcp = timed.unwrap_or_else(|_elapsed| {
        Err(DialError::Timeout {
            host: host.to_owned(),
            phase: CONNECTING,
        })
    })?;
    tcp.peer_addr().map_err(|error| DialError::Unreachable {
        host: host.to_owned(),
        kind: error.kind(),
    })
}

/// Goes all the way to a finished handshake and hangs up.
pub(crate) async fn greet(endpoint: &Endpoint, limit: Duration) -> Result<Session, DialError> {
    let resolver = Resolver::new(Duration::ZERO);
    let mut dialled = dial(endpoint, &resolver, limit).await?;
    let session = match &dialled.stream {
        Stream::Plain(_) => Session::default(),
        Stream::Tls(stream) => {
            let (_, session) = stream.get_ref();
            let suite = session.negotiated_cipher_suite();
            let alpn = session.alpn_protocol();
            Session {
                version: session.protocol_version().map(version),
                alpn: alpn.map(|name| String::from_utf8_lossy(name).into_owned()),
                suite: suite.and_then(|suite| suite.suite().as_str().map(str::to_owned)),
            }
        }
    };
    let _unheard = tokio::time::timeout(GOODBYE, dialled.stream.shutdown()).await;
    Ok(session)
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "versions of the protocol are an open list, of which we speak two"
)]
fn version(version: rustls::ProtocolVersion) -> &'static str {
    match version {
        rustls::ProtocolVersion::TLSv1_3 => "TLS 1.3",
        rustls::ProtocolVersion::TLSv1_2 => "TLS 1.2",
        _ => "TLS",
    }
}
