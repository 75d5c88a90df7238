use std::io;
use std::io::BufRead as _;
use std::net::SocketAddr;
use std::process::{Child, ChildStdout};
use std::sync::Arc;
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::task::TaskTracker;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;
use crate::config::{HttpVersion, Roots, Trust};
use crate::tls::{self, HandshakeFailure, Identity, RootSet, Tickets};

/// More than the tickets that rustls keeps by itself.
const CROWD: usize = 64;

/// Certificates of a test world: `ca`, `server` for `localhost`, `client`.
pub(super) fn world() -> Bench {
    let bench = Bench::new();
    bench.authority();
    serve_as(&bench, "server", "DNS:localhost");
    bench.issue("client", P256, "acme-client");
    bench
}

pub(super) fn serve_as(bench: &Bench, name: &str, alternative: &str) {
    bench.issue(name, P256, "server");
    bench.sign(name, &format!("subjectAltName={alternative}"));
}

pub(super) fn roots(bench: &Bench, file: &str) -> RootSet {
    RootSet::load(&Trust {
        roots: Roots::OnlyExtra,
        extra_ca: Some(bench.path(file)),
    })
    .unwrap()
}

pub(super) fn identity(bench: &Bench, name: &str) -> Identity {
    Identity::load(
        &bench.path(&format!("{name}.pem")),
        &bench.path(&format!("{name}.key")),
        None,
    )
    .unwrap()
}

/// As the proxy makes it.
fn client_config(
    roots: &RootSet,
    identity: Option<&Identity>,
    http: HttpVersion,
) -> Result<Arc<rustls::ClientConfig>, tls::TlsError> {
    let age = Duration::from_mins(10);
    tls::client_config(roots, identity, http, Tickets { most: CROWD, age })
}

pub(super) fn server(
    bench: &Bench,
    name: &str,
    verify: bool,
    version: &'static rustls::SupportedProtocolVersion,
) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap();
    let builder = if verify {
        let mut store = rustls::RootCertStore::empty();
        store
            .add(CertificateDer::from_pem_file(bench.path("ca.pem")).unwrap())
            .unwrap();
        builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider)
                .build()
                .unwrap(),
        )
    } else {
        builder.with_no_client_auth()
    };
    builder
        .with_single_cert(
            vec![CertificateDer::from_pem_file(bench.path(&format!("{name}.pem"))).unwrap()],
            PrivateKeyDer::from_pem_file(bench.path(&format!("{name}.key"))).unwrap(),
        )
        .unwrap()
}

pub(super) async fn dial(
    address: SocketAddr,
    config: &Arc<rustls::ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::clone(config))
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
}

/// The handshake, then the server's byte. The error of either.
async fn exchange(
    address: SocketAddr,
    config: &Arc<rustls::ClientConfig>,
) -> io::Result<(TlsStream<TcpStream>, u8)> {
    let mut stream = dial(address, config).await?;
    let seen = stream.read_u8().await?;
    Ok((stream, seen))
}

/// A TLS server that says one byte to everyone it accepts and stays until they leave.
pub(super) async fn serve(config: ServerConfig) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let tasks = TaskTracker::new();
    let tracker = tasks.clone();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tracker.spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                // What the server saw, as the byte it says: the length of the leaf's name.
                let leaf = stream.get_ref().1.peer_certificates().map(|chain| {
                    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
                    let name = leaf.subject().iter_common_name().next().unwrap();
                    name.as_str().unwrap().len()
                });
                let seen = u8::try_from(leaf.unwrap_or(0)).unwrap();
                if stream.write_u8(seen).await.is_ok() {
                    let _ = stream.read_u8().await;
                }
            });
        }
    });
    address
}

/// What a client meets where bytes are said before any TLS, and then the door closes.
async fn meet_bytes(said: &'static [u8], client: &Arc<rustls::ClientConfig>) -> io::Error {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await.unwrap();
        stream.write_all(said).await.unwrap();
    };
    tokio::join!(exchange(address, client), serve)
        .0
        .unwrap_err()
}

async fn failure(server: ServerConfig, client: &Arc<rustls::ClientConfig>) -> HandshakeFailure {
    let error = exchange(serve(server).await, client).await.unwrap_err();
    HandshakeFailure::during_handshake(&error)
}

#[tokio::test]
async fn a_client_certificate_opens_the_door_in_both_versions() {
    let bench = world();
    let client = client_config(
        &roots(&bench, "ca.pem"),
        Some(&identity(&bench, "client")),
        HttpVersion::Auto,
    )
    .unwrap();
    for version in [&TLS12, &TLS13] {
        let address = serve(server(&bench, "server", true, version)).await;
        let (stream, seen) = exchange(address, &client).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        assert_eq!(usize::from(seen), "acme-client".len());
    }
}

#[tokio::test]
async fn alpn_offers_what_the_configuration_allows() {
    let bench = world();
    let roots = roots(&bench, "ca.pem");
    for (http, spoken, expected) in [
        (HttpVersion::Auto, &["h2", "http/1.1"][..], Some("h2")),
        (HttpVersion::Auto, &["http/1.1"], Some("http/1.1")),
        (HttpVersion::Http1, &["h2", "http/1.1"], Some("http/1.1")),
        (HttpVersion::Http2, &["http/1.1", "h2"], Some("h2")),
    ] {
        let client = client_config(&roots, None, http).unwrap();
        assert!(!client.enable_early_data);
        let mut server = server(&bench, "server", false, &TLS13);
        server.alpn_protocols = spoken.iter().map(|name| name.as_bytes().to_vec()).collect();
        let (stream, _) = exchange(serve(server).await, &client).await.unwrap();
        assert_eq!(
            stream.get_ref().1.alpn_protocol(),
            expected.map(str::as_bytes)
        );
    }
}

#[tokio::test]
async fn a_rotated_certificate_is_the_one_the_server_sees_despite_resumption() {
    let bench = world();
    bench.issue("next", P256, "acme-client-next");
    let roots = roots(&bench, "ca.pem");
    for version in [&TLS12, &TLS13] {
        let address = serve(server(&bench, "server", true, version)).await;
        let old = identity(&bench, "client");
        let config = client_config(&roots, Some(&old), HttpVersion::Http1).unwrap();
        let (first, _) = exchange(address, &config).await.unwrap();
        assert_eq!(
            first.get_ref().1.handshake_kind(),
            Some(HandshakeKind::Full)
        );
        let (second, _) = exchange(address, &config).await.unwrap();
        assert_eq!(
            second.get_ref().1.handshake_kind(),
            Some(HandshakeKind::Resumed),
            "one identity must profit from resumption"
        );

        let new = identity(&bench, "next");
        let config = client_config(&roots, Some(&new), HttpVersion::Http1).unwrap();
        let (third, seen) = exchange(address, &config).await.unwrap();

        assert_eq!(
            third.get_ref().1.handshake_kind(),
            Some(HandshakeKind::Full)
        );
        assert_eq!(usize::from(seen), "acme-client-next".len());
    }
}

/// Every connection that ends comes back by a ticket of its own.
#[tokio::test]
async fn a_crowd_that_is_hung_up_on_at_once_comes_back_without_one_full_handshake() {
    let bench = world();
    let client = identity(&bench, "client");
    let config =
        client_config(&roots(&bench, "ca.pem"), Some(&client), HttpVersion::Http1).unwrap();
    for version in [&TLS12, &TLS13] {
        let mut server = server(&bench, "server", true, version);
        server.session_storage = rustls::server::ServerSessionMemoryCache::new(8 * CROWD);
        // As many as openssl gives to a connection that resumes.
        server.send_tls13_tickets = 1;
        let address = serve(server).await;
        // One session is enough for TLS 1.2, but it has to be there.
        drop(exchange(address, &config).await.unwrap());
        let meet = async || {
            let crowd = (0..CROWD).map(|_| exchange(address, &config));
            let met = futures_util::future::try_join_all(crowd).await.unwrap();
            let resumed = met
                .iter()
                .filter(|(it, _)| it.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed));
            resumed.count()
        };
        meet().await;
        for _ in 0..3 {
            assert_eq!(meet().await, CROWD, "{:?}", version.version);
        }
    }
}

#[tokio::test]
async fn tickets_are_bounded_in_number_and_in_age_and_never_shown() {
    let bench = world();
    let roots = roots(&bench, "ca.pem");
    let address = serve(server(&bench, "server", false, &TLS13)).await;
    let config = |most, age| {
        let tickets = Tickets { most, age };
        tls::client_config(&roots, None, HttpVersion::Http1, tickets).unwrap()
    };
    let hour = Duration::from_hours(1);
    // Two come with each handshake, and one goes with each but the first.
    for (most, age, kept) in [(20, hour, 20), (1024, hour, 31), (1024, Duration::ZERO, 8)] {
        let config = config(most, age);
        for _ in 0..30 {
            drop(exchange(address, &config).await.unwrap());
        }
        let shown = format!("{:?}", config.resumption);
        assert!(shown.contains(&format!("kept: {kept},")), "{shown}");
        assert!(!shown.contains("ecret"), "{shown}");
    }
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_named_so() {
    let bench = world();
    let stranger = Bench::new();
    stranger.authority();
    let client = client_config(&roots(&stranger, "ca.pem"), None, HttpVersion::Auto).unwrap();
    let failure = failure(server(&bench, "server", false, &TLS13), &client).await;
    // The stranger's CA has the same name and another key.
    assert!(
        matches!(
            failure,
            HandshakeFailure::UnknownCa | HandshakeFailure::BadCertificate
        ),
        "{failure:?}"
    );
    assert_eq!(failure.proxy_status(), "tls_certificate_error");
}

#[tokio::test]
async fn a_server_for_another_name_is_named_so() {
    let bench = world();
    serve_as(&bench, "elsewhere", "DNS:elsewhere.example");
    let client = client_config(&roots(&bench, "ca.pem"), None, HttpVersion::Auto).unwrap();
    assert_eq!(
        failure(server(&bench, "elsewhere", false, &TLS13), &client).await,
        HandshakeFailure::WrongName
    );
}

#[tokio::test]
async fn an_expired_server_is_named_so() {
    let bench = world();
    let issuer = rcgen::Issuer::from_ca_cert_pem(
        &bench.read("ca.pem"),
        rcgen::KeyPair::from_pem(&bench.read("ca.key")).unwrap(),
    )
    .unwrap();
    let client = client_config(&roots(&bench, "ca.pem"), None, HttpVersion::Auto).unwrap();
    for (years, expected) in [
        ((2019, 2020), HandshakeFailure::Expired),
        ((2090, 2091), HandshakeFailure::NotYetValid),
    ] {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        bench.write("timed.pem", certificate.pem());
        bench.write("timed.key", key.serialize_pem());
        assert_eq!(
            failure(server(&bench, "timed", false, &TLS13), &client).await,
            expected
        );
    }
}

#[tokio::test]
async fn a_missing_client_certificate_is_rejected_by_name() {
    let bench = world();
    let client = client_config(&roots(&bench, "ca.pem"), None, HttpVersion::Auto).unwrap();
    let failure = failure(server(&bench, "server", true, &TLS13), &client).await;
    let HandshakeFailure::ClientCertificateRejected(alert) = failure else {
        panic!("{failure:?}")
    };
    assert_eq!((alert.code, alert.name), (116, "certificate_required"));
    assert_eq!(failure.proxy_status(), "tls_alert_received");
    assert_eq!(failure.alert(), Some(alert));
}

#[tokio::test]
async fn openssl_rejecting_our_certificate_is_understood_in_both_versions() {
    let bench = world();
    let stranger = Bench::new();
    stranger.openssl("req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=Elsewhere -keyout client.key -out client.pem");
    stranger.chmod("client.key", 0o600);
    let client = client_config(
        &roots(&bench, "ca.pem"),
        Some(&identity(&stranger, "client")),
        HttpVersion::Http1,
    )
    .unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let server = OpensslServer::start(&bench, version);
        let error = exchange(server.address, &client).await.unwrap_err();
        let failure =
            HandshakeFailure::find(&error).unwrap_or_else(|| panic!("{version}: {error:?}"));
        assert!(
            failure.is_client_certificate_rejected(),
            "{version}: {failure:?}"
        );
    }
}

#[tokio::test]
async fn a_rejection_is_found_through_whoever_wrapped_it() {
    let inner = rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA);
    let io = io::Error::new(io::ErrorKind::InvalidData, inner);
    let outer = io::Error::other(Wrapped(io));
    assert!(
        HandshakeFailure::find(&outer)
            .unwrap()
            .is_client_certificate_rejected()
    );
    let unrelated = io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(HandshakeFailure::find(&unrelated), None);
}

#[derive(Debug, thiserror::Error)]
#[error("wrapped")]
struct Wrapped(#[source] io::Error);

#[tokio::test]
async fn a_server_without_tls_or_of_another_age_is_named_so() {
    let bench = world();
    let client = client_config(&roots(&bench, "ca.pem"), None, HttpVersion::Auto).unwrap();
    for (said, expected) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            HandshakeFailure::NotTls,
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", HandshakeFailure::NotTls),
        (b"220 mail.example ESMTP\r\n", HandshakeFailure::NotTls),
        // Fatal alert protocol_version, as an old server sends it.
        (
            b"\x15\x03\x01\x00\x02\x02\x46",
            HandshakeFailure::Incompatible,
        ),
        (b"", HandshakeFailure::Closed),
    ] {
        let error = meet_bytes(said, &client).await;
        assert_eq!(
            HandshakeFailure::during_handshake(&error),
            expected,
            "{said:?}: {error}"
        );
    }
}

/// `openssl s_server` on a port of its own, demanding a certificate that `ca.pem` signed.
struct OpensslServer {
    child: Child,
    address: SocketAddr,
    /// Kept open, for openssl goes on writing.
    _said: io::Lines<io::BufReader<ChildStdout>>,
}

impl OpensslServer {
    fn start(bench: &Bench, version: &str) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-naccept", "1"])
            .args(["-cert", "server.pem", "-key", "server.key"])
            .args(["-CAfile", "ca.pem", "-Verify", "1", "-verify_return_error"])
            .arg(version)
            .current_dir(bench.0.path())
            // Open until it is dropped: at its end openssl hangs up without an alert.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = io::BufReader::new(child.stdout.take().unwrap()).lines();
        let address = said
            .find_map(|line| line.unwrap().strip_prefix("ACCEPT ")?.parse().ok())
            .expect("openssl must say where it listens");
        Self {
            child,
            address,
            _said: said,
        }
    }
}

impl Drop for OpensslServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
