use rustls::version::{TLS12, TLS13};

use super::handshake::{dial, identity, roots, serve, serve_as, server, world};
use crate::config::HttpVersion;
use crate::tls::{HandshakeFailure, watched_config};

const BOTH: [(&rustls::SupportedProtocolVersion, &str); 2] =
    [(&TLS12, "TLS 1.2"), (&TLS13, "TLS 1.3")];

#[tokio::test]
async fn a_handshake_is_told_with_its_chain_and_what_the_server_asks_for() {
    for (version, name) in BOTH {
        let bench = world();
        let address = serve(server(&bench, "server", true, version)).await;
        let client = identity(&bench, "client");
        let roots = roots(&bench, "ca.pem");
        let (config, watch) = watched_config(&roots, Some(&client), HttpVersion::Http1).unwrap();
        dial(address, &config).await.unwrap();
        let shown = watch.shown();
        assert!(shown.believed, "{name}");
        assert_eq!(shown.version, Some(name));
        assert_eq!(shown.chain.len(), 1);
        assert_eq!(shown.chain[0].issuer, "O=Test, CN=Test-CA");
        assert_eq!(
            shown.asked.as_deref(),
            Some(&["O=Test, CN=Test-CA".to_owned()][..])
        );
    }
}

#[tokio::test]
async fn a_server_that_asks_for_nothing_is_said_to() {
    let bench = world();
    let address = serve(server(&bench, "server", false, &TLS13)).await;
    let (config, watch) =
        watched_config(&roots(&bench, "ca.pem"), None, HttpVersion::Auto).unwrap();
    dial(address, &config).await.unwrap();
    assert!(watch.shown().believed && watch.shown().asked.is_none());
}

#[tokio::test]
async fn who_looks_on_believes_no_more_than_anybody_and_still_says_who_it_was() {
    for (version, _) in BOTH {
        let (bench, other) = (world(), world());
        let address = serve(server(&bench, "server", false, version)).await;
        let (config, watch) =
            watched_config(&roots(&other, "ca.pem"), None, HttpVersion::Http1).unwrap();
        let error = dial(address, &config).await.unwrap_err();
        assert_eq!(
            HandshakeFailure::find(&error),
            Some(HandshakeFailure::UnknownCa)
        );
        let shown = watch.shown();
        assert!(!shown.believed);
        assert_eq!(shown.chain[0].issuer, "O=Test, CN=Test-CA");

        serve_as(&bench, "elsewhere", "DNS:elsewhere.test");
        let address = serve(server(&bench, "elsewhere", false, version)).await;
        let (config, watch) =
            watched_config(&roots(&bench, "ca.pem"), None, HttpVersion::Http1).unwrap();
        let error = dial(address, &config).await.unwrap_err();
        assert_eq!(
            HandshakeFailure::find(&error),
            Some(HandshakeFailure::WrongName)
        );
        assert!(!watch.shown().believed);
    }
}
