use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};

use super::{Identity, RootSet, Tickets, TlsError};
use crate::config::HttpVersion;

/// How to speak TLS to Wise: 1.2 or 1.3, servers always verified, no early data.
///
/// Call it once for each identity and again whenever the identity changes: every call makes a
/// fresh session store. A session made under an old certificate resumes under the old one, so a
/// configuration that outlives its identity would keep presenting it.
pub(crate) fn client_config(
    roots: &RootSet,
    identity: Option<&Identity>,
    http: HttpVersion,
    tickets: Tickets,
) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    // Named here and never installed process-wide: a second provider in the tree changes nothing.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Setup)?
        .with_root_certificates(roots.store());
    let mut config = match identity {
        Some(identity) => builder
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified_key()))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match http {
        HttpVersion::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        HttpVersion::Http1 => vec![b"http/1.1".to_vec()],
        HttpVersion::Http2 => vec![b"h2".to_vec()],
    };
    config.resumption = tickets.store();
    // Early data can be replayed by whoever is on the wire: never in front of money.
    config.enable_early_data = false;
    Ok(Arc::new(config))
}
