//! Everything the story needs: a simulated Wise, a certificate, a stored grant, and the proxy,
//! made with the same parts as the commands that a person would type one after the other.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::clock::System;
use crate::config::{FileChoice, Sources, load};
use crate::confinement::Confinement;
use crate::secret::Secret;
use crate::server::{Errand, Running, Server};
use crate::simulator::{Options, Simulator};
use crate::telemetry::log::{self, Sink};
use crate::tls::{Candidate, KeyType, Pair, Request, Subject};
use crate::tokens::{Enrolment, Proof, enrol};

/// The profile that a person grants access to.
pub(super) const PROFILE: u64 = 30_000_000;

/// The simulated Wise's names; `.test` belongs to nobody (RFC 6761 §6.2).
pub(super) const PLAIN: &str = "api.wise.test";
pub(super) const MTLS: &str = "api-mtls.wise.test";

pub(super) const CLIENT_ID: &str = "demo";

/// Where the proxy listens unless told otherwise or taken.
const DOOR: SocketAddr = loopback(8080);
const ADMIN: SocketAddr = loopback(8081);
const ANY: SocketAddr = loopback(0);

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

pub(super) struct Stage {
    directory: TempDir,
    log: Sink,
    running: Running,
    pub(super) wise: Simulator,
    pub(super) door: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) socket: PathBuf,
    /// The proxy's store, and its way to Wise in lane oauth-mtls, past the proxy.
    pub(super) errand: Errand,
    /// The usual door, if something else listens there.
    pub(super) taken: Option<SocketAddr>,
}

impl Stage {
    /// Sets everything up. Nothing outside a fresh temporary directory is touched.
    pub(super) async fn set(door: Option<SocketAddr>) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("wise-auth-proxy-demo-")
            .tempdir()
            .context("cannot make a temporary directory")?;
        let home = directory.path();
        let options = Options {
            client_id: CLIENT_ID.to_owned(),
            names: vec![PLAIN.to_owned(), MTLS.to_owned()],
            business_profiles: vec![PROFILE],
            ..Options::default()
        };
        let redirect_uri = options.redirect_uris.first().cloned().unwrap_or_default();
        private(&home.join("client_secret"), &options.client_secret)?;
        private(&home.join("personal_token"), &options.personal_token)?;
        let wise = Simulator::start(options).await?;
        fs::write(home.join("ca.pem"), wise.ca_pem())?;
        certify(home, &wise)?;

        let free = door.is_some() || is_free(DOOR)?;
        let (wanted, admin) = match door {
            Some(door) => (door, ANY),
            None if free => (DOOR, if is_free(ADMIN)? { ADMIN } else { ANY }),
            None => (ANY, ANY),
        };
        let sources = sources(home, &wise, wanted, admin);
        let log = Sink::file(&home.join("proxy.log"))?;

        let config = load(&sources)?.config;
        log::start(&config.log, log.clone(), false)?;
        let errand = Errand::prepare(&config)?;
        let exchange = errand.tokens.as_ref();
        let exchange = exchange.context("the demo's configuration has no OAuth client")?;
        let code = wise.authorise(PROFILE);
        let code = Secret::new(code.context("the simulated account lacks the profile")?);
        let who = Enrolment {
            grant: "main".to_owned(),
            profile: Some(PROFILE.to_string().parse()?),
            client_id: CLIENT_ID.to_owned(),
            timeout: config.tokens.exchange_timeout,
        };
        let proof = Proof::AuthorizationCode { code, redirect_uri };
        enrol(Arc::clone(&errand.store), exchange, &System, who, proof).await?;

        let server = Server::build(sources, log.clone(), Confinement::of_guest())?;
        let running = server.start().await?;
        let address = running.door_addresses().first().copied();
        Ok(Self {
            door: address.context("the proxy has no TCP door")?,
            admin: running.admin_address().unwrap_or(admin),
            directory,
            log,
            running,
            wise,
            socket: config.admin.socket,
            errand,
            taken: (!free).then_some(DOOR),
        })
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.directory.path().join("proxy.log")
    }

    /// Returns once somebody has asked for a stop over the admin socket.
    pub(super) async fn stop_asked(&self) {
        self.running.stop_asked().await;
    }

    /// Ends everything in order and removes the directory.
    pub(super) async fn strike(self) -> io::Result<()> {
        self.running.stop().await;
        self.wise.stop().await;
        self.log.flush();
        self.directory.close()
    }
}

/// `csr`, the Developer Hub, and `cert install`.
fn certify(home: &Path, wise: &Simulator) -> anyhow::Result<()> {
    let (key, csr) = (home.join("client.key"), home.join("client.csr"));
    let subject = Subject::new("Example Ltd", Some("GB"), None)?;
    Request::generate(KeyType::P256, &subject)?.write(&key, &csr)?;
    let signed = wise.sign_csr("wise-auth-proxy demo", &fs::read_to_string(&csr)?)?;
    let origin = Path::new("the Developer Hub's answer");
    let candidate = Candidate::new(signed.as_bytes(), origin, &key, None)?;
    candidate.check(&System, Some(CLIENT_ID))?;
    let certificate = home.join("client.pem");
    candidate.install(&Pair { certificate, key }, None)?;
    Ok(())
}

/// `config/demo.toml`, with the simulator's ports. The person's own settings are not asked.
fn sources(home: &Path, wise: &Simulator, door: SocketAddr, admin: SocketAddr) -> Sources {
    let plain = format!("https://{PLAIN}:{}", wise.plain_address().port());
    let mtls = format!("https://{MTLS}:{}", wise.mtls_address().port());
    let resolve = format!("{{ \"{PLAIN}\" = \"127.0.0.1\", \"{MTLS}\" = \"127.0.0.1\" }}");
    let flags = [
        ("door", format!("[{{ address = \"{door}\" }}]")),
        ("admin.address", admin.to_string()),
        ("wise.authorise", format!("{plain}/oauth/authorize")),
        ("wise.plain", plain),
        ("wise.mtls", mtls),
        ("upstream.resolve", resolve),
    ];
    Sources {
        file: FileChoice::Text {
            name: "config/demo.toml".to_owned(),
            text: include_str!("../../../config/demo.toml").to_owned(),
            directory: home.to_owned(),
        },
        variables: Vec::new(),
        flags: flags.map(|(key, value)| (key.to_owned(), value)).to_vec(),
    }
}

fn private(path: &Path, secret: &Secret) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(secret.expose().as_bytes())
}

fn is_free(address: SocketAddr) -> io::Result<bool> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(false),
        Err(error) => Err(error),
    }
}
