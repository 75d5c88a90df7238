//! What is known of an application before it asks for anything.

use crate::guard::Presence;
use crate::listener;

/// Who is at the other end of a connection, whatever its requests say.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// An address, or a process by its user and group.
    pub(crate) from: listener::Peer,
    /// Names in its client certificate, which was verified: common name, DNS names, URIs.
    pub(crate) certificate: Vec<String>,
}

impl Peer {
    pub(crate) fn presence(&self) -> Presence<'_> {
        Presence {
            from: &self.from,
            certificate: &self.certificate,
        }
    }
}

#[cfg(any(test, fuzzing, feature = "benchmarks"))]
impl Peer {
    /// A program of this machine, over TCP.
    pub(crate) fn local() -> Self {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 40000));
        Self {
            from: listener::Peer::Tcp(address),
            certificate: Vec::new(),
        }
    }
}
