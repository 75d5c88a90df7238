//! What is known of an application before it asks for anything.

use std::rc::Rc;
use std::time::SystemTime;

use http::header::PROXY_AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use crate::guard::Presence;
use crate::listener;
use crate::proxy::departure::Departure;
use crate::proxy::ways::Ways;
use crate::tls::ClientCertificate;

/// Who is at the other end of a connection, whatever its requests say.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// An address, or a process by its user and group. Behind a balancer that sends PROXY protocol
    /// headers, the address of its client.
    pub(crate) from: listener::Peer,
    /// A balancer speaks for it: user and group, if it named nobody, are the balancer's own.
    pub(crate) introduced: bool,
    /// Its client certificate, which was verified when it came.
    pub(crate) certificate: Option<ClientCertificate>,
    /// The tunnel (CONNECT) in which it asks.
    pub(crate) tunnel: Option<Tunnel>,
    /// Whether it is still there.
    pub(crate) departure: Rc<Departure>,
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
            introduced: false,
            certificate: None,
            tunnel: None,
            departure: Rc::default(),
        }
    }

    /// Nobody: for requests of our own.
    pub(crate) fn ours() -> Self {
        let nowhere = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        Self::new(listener::Peer::Tcp(nowhere))
    }

    /// What a door may go by. `ways`: as they are by now.
    pub(crate) fn presence(&self, ways: &Ways, now: SystemTime) -> Presence<'_> {
        let certificate = self.certified(ways, now);
        Presence {
            from: (!self.introduced).then_some(&self.from),
            certificate: certificate.map_or(&[], |certificate| &certificate.names),
        }
    }

    /// Its certificate, if that would still do.
    pub(crate) fn certified(&self, ways: &Ways, now: SystemTime) -> Option<&ClientCertificate> {
        let shown = self.certificate.as_ref()?;
        let acceptor = ways.tls.as_ref()?;
        acceptor.trusts(shown, now).then_some(shown)
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

#[cfg(any(test, feature = "fuzzing", feature = "benchmarks"))]
impl Peer {
    /// A program of this machine, over TCP.
    pub(crate) fn local() -> Self {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 40000));
        Self::new(listener::Peer::Tcp(address))
    }
}
