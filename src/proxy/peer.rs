//! What is known of an application before it asks for anything.

use http::header::PROXY_AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use crate::guard::Presence;
use crate::listener;

/// Who is at the other end of a connection, whatever its requests say.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// An address, or a process by its user and group. Behind a balancer that sends PROXY protocol
    /// headers, the address of its client.
    pub(crate) from: listener::Peer,
    /// Names in its client certificate, which was verified: common name, DNS names, URIs. Empty
    /// without one.
    pub(crate) certificate: Vec<String>,
    /// The tunnel (CONNECT) in which it asks.
    pub(crate) tunnel: Option<Tunnel>,
}

/// A tunnel to one host, which ends here.
#[derive(Clone, Debug)]
pub(crate) struct Tunnel {
    /// The only host that is served inside, in lower case.
    pub(crate) host: String,
    /// What the application showed in `Proxy-Authorization` when it opened the tunnel: it counts
    /// for each request inside, and so ends with the key.
    pub(crate) shown: Option<HeaderValue>,
}

impl Peer {
    pub(crate) fn new(from: listener::Peer) -> Self {
        Self {
            from,
            certificate: Vec::new(),
            tunnel: None,
        }
    }

    pub(crate) fn presence(&self) -> Presence<'_> {
        Presence {
            from: &self.from,
            certificate: &self.certificate,
        }
    }

    /// Puts what was shown when the tunnel was opened onto a request inside. It stays here like
    /// any `Proxy-Authorization`.
    pub(crate) fn introduce(&self, headers: &mut HeaderMap) {
        if let Some(tunnel) = &self.tunnel
            && let Some(shown) = &tunnel.shown
        {
            headers.insert(PROXY_AUTHORIZATION, shown.clone());
        }
    }
}

#[cfg(any(test, fuzzing, feature = "benchmarks"))]
impl Peer {
    /// A program of this machine, over TCP.
    pub(crate) fn local() -> Self {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 40000));
        Self::new(listener::Peer::Tcp(address))
    }
}
