//! The harness: the real binary beside a simulated Wise, each test with its own.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use wise_auth_proxy::simulator::{Options, Rotation, Simulator};

pub const PERSONAL_TOKEN: &str = "0c1d2e3f-planted-personal-token";
pub const CLIENT_SECRET: &str = "planted-client-secret-5f6a";
pub const CLIENT_ID: &str = "acme";
pub const REDIRECT: &str = "http://127.0.0.1/callback";
/// The simulator's first business profile.
pub const PROFILE: u64 = 30_000_000;

/// Says that something cannot be tried here. With `TESTS_STRICT=1` that is a failure; `TESTS_SKIPPED`
/// names a file that collects what was left out.
#[track_caller]
pub fn skip(why: &str) {
    let is_strict = std::env::var_os("TESTS_STRICT").is_some_and(|value| value == "1");
    assert!(!is_strict, "not run: {why}");
    println!("not run: {why}");
    if let Some(path) = std::env::var_os("TESTS_SKIPPED") {
        use std::io::Write as _;
        let file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path);
        // In one piece, since other tests write there too.
        let line = format!(
            "skipped: {}: {why}\n",
            std::thread::current().name().unwrap_or("a test")
        );
        file.unwrap().write_all(line.as_bytes()).unwrap();
    }
}

/// Nothing in a test takes this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Options of a Wise that knows the house's client, secret and personal token.
pub fn wise_options() -> Options {
    Options {
        client_id: CLIENT_ID.into(),
        client_secret: serde_json::from_value::<Options>(serde_json::json!({
            "client-secret": CLIENT_SECRET
        }))
        .unwrap()
        .client_secret,
        personal_token: serde_json::from_value::<Options>(serde_json::json!({
            "personal-token": PERSONAL_TOKEN
        }))
        .unwrap()
        .personal_token,
        redirect_uris: vec![REDIRECT.into()],
        ..Options::default()
    }
}

/// A Wise with the house's client.
pub async fn wise() -> Simulator {
    Simulator::start(wise_options()).await.unwrap()
}

/// What token endpoints do with the refresh token that was shown: always end it, and the grant with
/// it at a second use; forgive one second use; keep it.
pub const ROTATIONS: [Rotation; 3] = [Rotation::Always, Rotation::Grace, Rotation::Never];

/// One whose token endpoint rotates in this way.
pub async fn wise_that_rotates(rotation: Rotation) -> Simulator {
    let wise = wise().await;
    wise.change_faults(|faults| faults.token.rotation = rotation);
    wise
}

/// What a house is built with.
pub struct Plan<'a> {
    wise: &'a Simulator,
    grants: Vec<(String, u64)>,
    lane: &'static str,
    settings: Vec<(String, String)>,
    variables: Vec<(String, String)>,
    toml: String,
    mtls: bool,
    directory: Option<Arc<tempfile::TempDir>>,
    log_in: bool,
    files: Option<u32>,
}

impl Plan<'_> {
    /// Adds a grant; without any there is one, `main`, for [`PROFILE`].
    pub fn grant(mut self, name: &str, profile: u64) -> Self {
        self.grants.push((name.into(), profile));
        self
    }

    pub fn lane(mut self, lane: &'static str) -> Self {
        self.lane = lane;
        self
    }

    /// Sets a key, as `--set` does.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.into(), value.into()));
        self
    }

    /// Sets a variable of the proxy's environment, which is empty otherwise.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Adds a piece of TOML to the end of the configuration.
    pub fn toml(mut self, piece: &str) -> Self {
        self.toml.push_str(piece);
        self
    }

    /// Leaves the grants without a login.
    pub fn logged_out(mut self) -> Self {
        self.log_in = false;
        self
    }

    /// Bounds the open files of the proxy, as `ulimit -n` does.
    pub fn files(mut self, most: u32) -> Self {
        self.files = Some(most);
        self
    }

    /// Uses the directory, and so the store, of another house.
    pub fn beside(mut self, other: &House) -> Self {
        self.directory = Some(Arc::clone(&other.directory));
        self.log_in = false;
        self
    }

    /// Settles where another has prepared everything, under its own settings.
    pub fn inside(mut self, site: &Site) -> Self {
        self.directory = Some(Arc::clone(&site.directory));
        self.log_in = false;
        self
    }

    /// Writes the configuration and the secrets, logs in, starts the proxy and waits until its
    /// doors are open.
    pub async fn start(self) -> House {
        self.prepare().await.start().await
    }

    /// Everything but the start of the proxy.
    pub async fn prepare(mut self) -> Site {
        if self.grants.is_empty() {
            self.grants.push(("main".into(), PROFILE));
        }
        let fresh = self.directory.is_none();
        let directory = self
            .directory
            .clone()
            .unwrap_or_else(|| Arc::new(tempfile::tempdir().unwrap()));
        let site = Site {
            socket: directory.path().join(unique("admin")),
            config: directory.path().join(if fresh {
                "house.toml".into()
            } else {
                unique("house")
            }),
            directory,
            settings: self.settings.clone(),
            failpoints: None,
            files: self.files,
            variables: self.variables.clone(),
        };
        if fresh {
            site.secret("client_secret", CLIENT_SECRET);
            site.secret("personal_token", PERSONAL_TOKEN);
            std::fs::write(site.path("ca.pem"), self.wise.ca_pem()).unwrap();
            if self.mtls {
                let first = self.wise.certificates().is_empty();
                let name = first.then(|| "house".to_owned());
                site.certificate(self.wise, &name.unwrap_or_else(|| unique("house")));
            }
        }
        std::fs::write(&site.config, self.configuration(&site)).unwrap();
        if self.log_in {
            for (name, profile) in &self.grants {
                site.log_in(self.wise, name, *profile).await;
            }
        }
        site
    }

    fn configuration(&self, site: &Site) -> String {
        let (plain, mtls) = (self.wise.plain_url(), self.wise.mtls_url());
        let authorise = format!("{plain}/oauth/authorize/");
        let mut config = format!(
            r#"environment = "custom"
[[door]]
address = "127.0.0.1:0"
[switch]
lane = "{lane}"
[oauth]
client_id = "{CLIENT_ID}"
client_secret = {{ file = "client_secret" }}
[personal]
token = {{ file = "personal_token" }}
[store]
path = "state"
[admin]
socket = "{socket}"
address = "127.0.0.1:0"
[runtime]
workers = 2
[wise]
plain = "{plain}"
mtls = "{mtls}"
authorise = "{authorise}"
extra_ca = "ca.pem"
roots = "only-extra"
"#,
            lane = self.lane,
            socket = site.socket.display(),
        );
        if self.mtls {
            config.push_str("[mtls]\ncertificate = \"client.pem\"\nkey = \"client.key\"\n");
        }
        for (index, (name, profile)) in self.grants.iter().enumerate() {
            let default = index == 0;
            config.extend([
                "[[grant]]\n",
                &format!("name = \"{name}\"\nprofile = {profile}\ndefault = {default}\n"),
            ]);
        }
        config + &self.toml
    }
}

fn unique(name: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A configured directory, with no proxy running yet.
#[derive(Clone)]
pub struct Site {
    pub directory: Arc<tempfile::TempDir>,
    pub config: PathBuf,
    /// The admin socket.
    pub socket: PathBuf,
    settings: Vec<(String, String)>,
    failpoints: Option<PathBuf>,
    files: Option<u32>,
    variables: Vec<(String, String)>,
}

impl Site {
    /// Where `init` wrote the configuration, which leaves the proxy on fixed ports: here they are free.
    pub fn of(directory: Arc<tempfile::TempDir>, config: &str) -> Self {
        let free = [
            ("door", "[{ address = \"127.0.0.1:0\" }]"),
            ("admin.address", "127.0.0.1:0"),
            ("runtime.workers", "1"),
        ];
        Self {
            config: directory.path().join(config),
            socket: directory.path().join("state/admin.sock"),
            directory,
            settings: free.map(|(key, value)| (key.into(), value.into())).into(),
            failpoints: None,
            files: None,
            variables: Vec::new(),
        }
    }

    /// The same site, whose programs do at their failpoints what is written in `script`.
    pub fn scripted(&self, script: &Path) -> Self {
        Self {
            failpoints: Some(script.to_owned()),
            ..self.clone()
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file that only we may read.
    pub fn secret(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Makes a key, has the hub sign it under `name`, and puts both in place, certificate last.
    pub fn certificate(&self, wise: &Simulator, name: &str) {
        self.pair(wise, name, "client");
    }

    /// Makes a key, has the hub sign it under `name`, and writes `<stem>.key` and `<stem>.pem`.
    pub fn pair(&self, wise: &Simulator, name: &str, stem: &str) {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, "Acme Ltd");
        let csr = params.serialize_request(&key).unwrap().pem().unwrap();
        let leaf = wise.sign_csr(name, &csr).unwrap();
        self.secret(&format!("{stem}.key"), &key.serialize_pem());
        std::fs::write(self.path(&format!("{stem}.pem")), leaf).unwrap();
    }

    /// What a person does once per grant: authorise in the browser, hand over the code.
    pub async fn log_in(&self, wise: &Simulator, grant: &str, profile: u64) {
        let code = wise
            .authorise(profile)
            .expect("the profile is the account's");
        let args = [
            "login",
            "--grant",
            grant,
            "--code",
            &code,
            "--redirect-uri",
            REDIRECT,
        ];
        let output = self.cli(&args).await;
        assert!(
            output.status.success(),
            "login failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Runs a command to its end.
    pub async fn cli(&self, args: &[&str]) -> Output {
        let mut command = self.command();
        command.args(args).arg("--config").arg(&self.config);
        for (key, value) in &self.settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let running = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output());
        tokio::time::timeout(PATIENCE, running)
            .await
            .expect("the command ends")
            .unwrap()
            .unwrap()
    }

    pub fn command(&self) -> Command {
        // Another build, such as the trained one, goes through the same tests.
        let program = std::env::var_os("WISE_PROXY_PROGRAM");
        let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_wise-auth-proxy").into());
        let mut command = match self.files {
            None => Command::new(program),
            Some(most) => {
                let mut command = Command::new("/bin/sh");
                let limited = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
                command.args(["-c", &limited]).arg(program);
                command
            }
        };
        command.env_clear().current_dir(self.directory.path());
        // Where there is no such file, nothing happens at any point.
        let script = self.failpoints.clone();
        command.env(
            "FAILPOINTS",
            script.unwrap_or_else(|| self.path("failpoints")),
        );
        command.envs(self.variables.iter().cloned());
        command
    }

    /// Says what happens at which point, from now on; see `src/failpoint.rs`.
    #[cfg(feature = "failpoints")]
    pub fn failpoints(&self, script: &str) {
        let written = self.path("failpoints.new");
        std::fs::write(&written, script).unwrap();
        std::fs::rename(written, self.path("failpoints")).unwrap();
    }

    /// Starts the proxy and waits until its doors are open.
    pub async fn start(&self) -> House {
        let (house, seen) = self.spawn();
        house.expect(seen).await
    }

    /// The command that starts the proxy.
    pub fn run(&self) -> Command {
        let mut command = self.command();
        command.arg("run").arg("--config").arg(&self.config);
        for (key, value) in &self.settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command
    }

    /// Starts the proxy and returns at once.
    pub fn spawn(&self) -> (House, watch::Receiver<String>) {
        self.spawn_as(self.run())
    }

    /// Starts the proxy by a command that a test has changed.
    pub async fn start_as(&self, command: Command) -> House {
        let (house, seen) = self.spawn_as(command);
        house.expect(seen).await
    }

    fn spawn_as(&self, command: Command) -> (House, watch::Receiver<String>) {
        self.spawn_from(command, Stdio::null())
    }

    /// As [`Self::start_as`], with something to read.
    pub fn spawn_from(
        &self,
        mut command: Command,
        stdin: Stdio,
    ) -> (House, watch::Receiver<String>) {
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (log, seen) = watch::channel(String::new());
        let lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.send_modify(|log| {
                    log.push_str(&line);
                    log.push('\n');
                });
            }
        });
        let unset = SocketAddr::from(([0, 0, 0, 0], 0));
        let house = House {
            site: self.clone(),
            directory: Arc::clone(&self.directory),
            child: Mutex::new(Some(child)),
            door: unset,
            admin: unset,
            log: seen.clone(),
        };
        (house, seen)
    }
}

/// A running proxy.
pub struct House {
    pub site: Site,
    pub directory: Arc<tempfile::TempDir>,
    child: Mutex<Option<Child>>,
    pub door: SocketAddr,
    pub admin: SocketAddr,
    log: watch::Receiver<String>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The end of a problem document's type.
    pub fn problem(&self) -> String {
        let kind = self
            .headers
            .get("content-type")
            .map(|kind| kind.to_str().unwrap().to_owned());
        assert_eq!(
            kind.as_deref(),
            Some("application/problem+json"),
            "{self:?}"
        );
        let document = self.json();
        let name = document["type"].as_str().unwrap();
        name.strip_prefix("urn:wise-auth-proxy:problem:")
            .unwrap()
            .to_owned()
    }
}

impl House {
    /// A house beside `wise`, in lane `oauth-mtls` unless told otherwise.
    pub fn on(wise: &Simulator) -> Plan<'_> {
        Plan {
            wise,
            grants: Vec::new(),
            lane: "oauth-mtls",
            settings: Vec::new(),
            variables: Vec::new(),
            toml: String::new(),
            mtls: true,
            directory: None,
            log_in: true,
            files: None,
        }
    }

    /// Waits until the doors are open.
    pub async fn expect(mut self, mut seen: watch::Receiver<String>) -> Self {
        let open = seen.wait_for(|log| log.contains("serving on ") && log.contains("status on "));
        match tokio::time::timeout(PATIENCE, open).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => panic!("the proxy ended: {}", self.log()),
            Err(slow) => panic!("the proxy does not open its doors, {slow}: {}", self.log()),
        }
        let log = self.log();
        let after = |word: &str| {
            let text = log.split(word).nth(1).unwrap();
            let end = text
                .find(|c: char| c.is_whitespace() || c == ',' || c == '/')
                .unwrap_or(text.len());
            text[..end]
                .parse()
                .unwrap_or_else(|_| panic!("no address after {word:?}: {log}"))
        };
        self.door = after("serving on ");
        self.admin = after("status on http://");
        self
    }

    /// What the proxy has said so far.
    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Waits until the log holds `text`.
    pub async fn logs(&self, text: &str) {
        self.logs_times(1, text).await;
    }

    /// Waits until the log holds `text` so many times, or more often.
    pub async fn logs_times(&self, times: usize, text: &str) {
        let mut log = self.log.clone();
        let said = log.wait_for(|log| log.matches(text).count() >= times);
        let said = tokio::time::timeout(PATIENCE, said).await;
        assert!(
            matches!(said, Ok(Ok(_))),
            "never logged {text:?} {times} times: {}",
            self.log()
        );
    }

    pub async fn cli(&self, args: &[&str]) -> Output {
        self.site.cli(args).await
    }

    /// A keep-alive connection to the door.
    pub async fn connect(&self) -> Connection {
        Connection::to(self.door).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path)).await
    }

    /// Sends a request without a body on a connection of its own.
    pub async fn send(&self, request: http::request::Builder) -> Answer {
        self.request(request.body(Bytes::new()).unwrap()).await
    }

    pub async fn request(&self, request: Request<Bytes>) -> Answer {
        let mut connection = self.connect().await;
        self.answers("the door", connection.request(request))
            .await
            .unwrap()
    }

    /// What `asking` comes to; panics with the log when nothing comes for longer than the proxy's own
    /// deadlines take together, so that a hang is told from a slow machine.
    pub async fn answers<T>(&self, whom: &str, asking: impl Future<Output = T>) -> T {
        let Ok(answer) = tokio::time::timeout(5 * PATIENCE, asking).await else {
            panic!("{whom} does not answer: {}", self.log());
        };
        answer
    }

    /// The proxy's admin page.
    pub async fn admin(&self, path: &str) -> Answer {
        let request = Request::get(path).body(Bytes::new()).unwrap();
        let mut connection = Connection::to(self.admin).await;
        self.answers("the status page", connection.request(request))
            .await
            .unwrap()
    }

    pub async fn status(&self) -> serde_json::Value {
        self.admin("/status").await.json()
    }

    /// Polls the status until `wanted` holds; panics with the last one if it never does.
    pub async fn status_until(
        &self,
        wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let mut last = self.status().await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !wanted(&last) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "the status never became so: {last:#}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
            last = self.status().await;
        }
        last
    }

    /// The sum of a metric's samples whose line contains `labels`.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let page = String::from_utf8(self.admin("/metrics").await.body.to_vec()).unwrap();
        let of_name = page.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        let matching = of_name.filter(|line| line.contains(labels));
        matching
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// Polls a metric until its samples sum up to `wanted`.
    pub async fn metric_until(&self, name: &str, wanted: f64) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let value = self.metric(name, "").await;
            if (value - wanted).abs() < 0.5 {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{name} stays at {value}, not {wanted}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn switch(&self, lane: &str) {
        let output = self.cli(&["switch", lane, "--reason", "test"]).await;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Turns the switch over the admin socket, without a process of its own.
    pub async fn turn(&self, lane: &str) {
        let wish = serde_json::json!({ "lane": lane, "reason": "test", "by": "test" });
        let answer = self.operate(post("/switch", &wish)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Reloads over the admin socket.
    pub async fn reload(&self) {
        let answer = self.operate(post("/reload", &serde_json::json!({}))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Sends a request to the admin socket.
    pub async fn operate(&self, request: Request<Bytes>) -> Answer {
        self.try_operate(request).await.unwrap()
    }

    /// Sends a request to the admin socket of a proxy that may die of it.
    pub async fn try_operate(
        &self,
        request: Request<Bytes>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let stream = tokio::net::UnixStream::connect(&self.site.socket).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut connection = Connection(sender);
        let asking = connection.request(request);
        Ok(self.answers("the admin socket", asking).await?)
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<usize>().unwrap() * 1024
    }

    pub fn pid(&self) -> u32 {
        self.child.lock().unwrap().as_ref().expect("it runs").id()
    }

    /// Sends a signal by name, as `kill -NAME` does.
    pub fn signal(&self, name: &str) {
        use rustix::process::Signal;
        let signal = match name {
            "ABRT" => Signal::ABORT,
            "CONT" => Signal::CONT,
            "HUP" => Signal::HUP,
            "INT" => Signal::INT,
            "KILL" => Signal::KILL,
            "STOP" => Signal::STOP,
            "TERM" => Signal::TERM,
            other => panic!("no test sends {other}"),
        };
        let pid = i32::try_from(self.pid()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the proxy to end.
    pub async fn ended(&self) -> ExitStatus {
        let mut child = self
            .child
            .lock()
            .unwrap()
            .take()
            .expect("it is waited for once");
        // A test that gives up must not leave it running, with a thread that waits for its end.
        let guard = KillOnDrop(Some(child.id()));
        let waiting = tokio::task::spawn_blocking(move || child.wait());
        let status = tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("it ends")
            .unwrap()
            .unwrap();
        guard.let_go();
        // Its last words may still be on their way.
        let mut log = self.log.clone();
        let silence = async { while log.changed().await.is_ok() {} };
        let silent = tokio::time::timeout(PATIENCE, silence).await;
        silent.expect("nobody holds its log open");
        status
    }

    /// Stops the proxy as systemd does.
    pub async fn stop(&self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Kills a child that nobody holds any more.
struct KillOnDrop(Option<u32>);

impl KillOnDrop {
    fn let_go(mut self) {
        self.0 = None;
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let pid = self.0.and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// A keep-alive connection of an application.
pub struct Connection(http1::SendRequest<Full<Bytes>>);

impl Connection {
    pub async fn to(address: SocketAddr) -> Self {
        Self::try_to(address).await.unwrap()
    }

    /// Connects to a proxy that may be gone.
    pub async fn try_to(
        address: SocketAddr,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(address).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Speaks HTTP/1.1 over what is connected already.
    pub async fn over<T>(io: T) -> Self
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Sends a request and reads the answer to its end.
    pub async fn request(&mut self, request: Request<Bytes>) -> Result<Answer, hyper::Error> {
        let response = self.open(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    /// Sends a request and returns with the head of the answer.
    pub async fn open(
        &mut self,
        request: Request<Bytes>,
    ) -> Result<Response<hyper::body::Incoming>, hyper::Error> {
        self.0.ready().await?;
        let (mut head, body) = request.into_parts();
        if !head.headers.contains_key("host") {
            head.headers.insert("host", "localhost".parse().unwrap());
        }
        self.0
            .send_request(Request::from_parts(head, Full::new(body)))
            .await
    }
}

/// A request with a JSON body.
pub fn post(path: &str, body: &serde_json::Value) -> Request<Bytes> {
    let request = Request::builder().method(Method::POST).uri(path);
    let request = request.header("content-type", "application/json");
    request.body(Bytes::from(body.to_string())).unwrap()
}

/// All files below a directory, with their contents.
pub fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found
}
