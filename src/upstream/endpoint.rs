use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;
use http::uri::{Authority, Scheme};
use rustls_pki_types::ServerName;

use crate::config::{self, HttpVersion, Origin};
use crate::secret::Secret;

/// One of Wise's hosts, with the TLS identity that we show it and how we get there.
///
/// Two endpoints never share a connection or a TLS session: a certificate rotation makes a new
/// endpoint, and with it a fresh resumption store. Swapping the certificate inside a living
/// configuration would let stored sessions go on under the old identity.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Unique within the process.
    pub(crate) id: u64,
    pub(crate) origin: Origin,
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
    /// `Host` of HTTP/1.1 requests.
    pub(crate) host: HeaderValue,
    pub(crate) tls: Option<Tls>,
    pub(crate) http: HttpVersion,
    /// Fixed address instead of a lookup.
    pub(crate) fixed: Option<IpAddr>,
    pub(crate) via: Option<Via>,
}

/// What a TLS handshake needs.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) config: Arc<rustls::ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A CONNECT proxy on the way, with its credentials at hand.
#[derive(Debug)]
pub(crate) struct Via {
    pub(crate) origin: Origin,
    pub(crate) fixed: Option<IpAddr>,
    /// `Proxy-Authorization`, sensitive.
    pub(crate) authorization: Option<HeaderValue>,
}

/// An endpoint's parts do not fit into a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndpointError {
    #[error("`{0}` cannot stand in a request; check the host names in [wise]")]
    Host(String),
    #[error("upstream.via_credentials must be `user:password`, without line breaks")]
    ViaCredentials,
}

impl Endpoint {
    /// An endpoint at `origin`, with a TLS configuration of its own where the origin wants TLS.
    ///
    /// `via_credentials` is what `upstream.via_credentials` holds, already read.
    pub(crate) fn new(
        origin: &Origin,
        tls: Option<Arc<rustls::ClientConfig>>,
        upstream: &config::Upstream,
        via_credentials: Option<&Secret>,
    ) -> Result<Self, EndpointError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let bad = || EndpointError::Host(origin.host.clone());
        let scheme = if origin.tls {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        let default_port = if origin.tls { 443 } else { 80 };
        let host = match origin.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            Ok(IpAddr::V4(_)) | Err(_) => origin.host.clone(),
        };
        let authority = if origin.port == default_port {
            host
        } else {
            format!("{host}:{}", origin.port)
        };
        let tls = match tls.filter(|_| origin.tls) {
            Some(config) => {
                let name = ServerName::try_from(origin.host.trim_end_matches('.').to_owned());
                Some(Tls {
                    config,
                    name: name.map_err(|_| bad())?,
                })
            }
            None => None,
        };
        let via = match &upstream.via {
            Some(via) => Some(Via {
                origin: via.origin.clone(),
                fixed: upstream.resolve.get(&via.origin.host).copied(),
                authorization: via_credentials.map(proxy_authorization).transpose()?,
            }),
            None => None,
        };
        Ok(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            scheme,
            host: HeaderValue::from_str(&authority).map_err(|_| bad())?,
            authority: Authority::try_from(authority).map_err(|_| bad())?,
            tls,
            http: upstream.http,
            fixed: upstream.resolve.get(&origin.host).copied(),
            via,
            origin: origin.clone(),
        })
    }

    /// The name that a connection is dialled by, and its fixed address where it has one.
    pub(crate) fn first_hop(&self) -> (&str, Option<IpAddr>) {
        match &self.via {
            Some(via) => (&via.origin.host, via.fixed),
            None => (&self.origin.host, self.fixed),
        }
    }
}

fn proxy_authorization(credentials: &Secret) -> Result<HeaderValue, EndpointError> {
    let (user, password) = credentials
        .expose()
        .split_once(':')
        .ok_or(EndpointError::ViaCredentials)?;
    Secret::new(password)
        .basic(user)
        .map_err(|_| EndpointError::ViaCredentials)
}
