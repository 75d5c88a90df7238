//! How one comes in through a door, below HTTP.

use crate::tls::{Acceptor, Tunnels};

/// What a connection goes through before HTTP begins. Read once for each connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways {
    /// Each connection begins with a PROXY protocol header.
    pub(crate) proxy_protocol: bool,
    /// The door speaks TLS.
    pub(crate) tls: Option<Acceptor>,
    /// CONNECT is offered to these hosts.
    pub(crate) tunnels: Option<Tunnels>,
}
