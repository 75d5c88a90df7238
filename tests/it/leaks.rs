//! Every secret is planted, success and failure are driven, and every output is searched.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ffi::OsString;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use wise_auth_proxy::config::{FileChoice, Sources, load};

use crate::house::{self, Answer, Connection, House, PROFILE, Site};
use crate::page::form;
use crate::wire::{Stub, Wire};

const PASSPHRASE: &str = "planted-passphrase-8b21";
const CODE: &str = "planted-authorisation-code";
const DOOR_KEY: &str = "planted-door-key";
const ADMIN_KEY: &str = "planted-admin-key-2c7d";
const SEAL_KEY: &[u8; 32] = b"planted-seal-key-of-32-bytes-xyz";
const VIA: &str = "planted-user:planted-via-password";
const PASTED: &str = "planted-pasted-secret";

/// A Wise that hands out planted tokens, or whatever else it is told to answer.
struct Parrot {
    url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    minted: AtomicU32,
    /// Status and body of the next answers of the token endpoint.
    tokens: Mutex<VecDeque<(u16, String)>>,
    /// Status and body of the next answers of the API.
    calls: Mutex<VecDeque<(u16, String)>>,
}

impl Parrot {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                let answer = service_fn(move |request| answer(Arc::clone(&state), request));
                let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(serving);
            }
        });
        Self { url, state }
    }

    fn next_tokens(&self, status: u16, body: &impl ToString) {
        self.state
            .tokens
            .lock()
            .unwrap()
            .push_back((status, body.to_string()));
    }

    fn next_call(&self, status: u16, body: &impl ToString) {
        self.state
            .calls
            .lock()
            .unwrap()
            .push_back((status, body.to_string()));
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let _ = request.into_body().collect().await;
    let (queue, otherwise) = if path == "/oauth/token" {
        let number = state.minted.fetch_add(1, Ordering::Relaxed);
        (&state.tokens, minted(number))
    } else if path == "/v1/me" {
        (
            &state.calls,
            json!({"id": 1, "name": "Ada Example", "email": "ada@example.com"}),
        )
    } else {
        (&state.calls, json!({"id": PROFILE, "type": "BUSINESS"}))
    };
    let next = queue.lock().unwrap().pop_front();
    let (status, body) = next.unwrap_or_else(|| (200, otherwise.to_string()));
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("x-trace-id", "0123456789abcdef0123456789abcdef");
    Ok(response.body(Full::new(body.into())).unwrap())
}

fn minted(number: u32) -> serde_json::Value {
    json!({
        "access_token": format!("planted-access-{number}"),
        "token_type": "bearer",
        "refresh_token": format!("planted-refresh-{number}"),
        "expires_in": 43199,
        "scope": "transfers",
    })
}

/// Answers of a token endpoint that no client can use, each with tokens in it.
fn garbled() -> Vec<(u16, String)> {
    let of = |changes: serde_json::Value| {
        let mut answer = minted(900);
        for (key, value) in changes.as_object().unwrap() {
            answer[key] = value.clone();
        }
        answer.to_string()
    };
    vec![
        (200, minted(901).to_string()[..60].to_owned()),
        (200, "planted-access-902 is not JSON".into()),
        (200, "\"planted-access-903\"".into()),
        (200, of(json!({"access_token": {"planted-access-904": 1}}))),
        (
            200,
            of(json!({"access_token": "planted-access-905\nwith a line break"})),
        ),
        (200, of(json!({"access_token": ""}))),
        (200, of(json!({"refresh_token": null}))),
        (200, of(json!({"token_type": "planted-token-type"}))),
        (200, of(json!({"expires_in": "planted-lifetime"}))),
        (200, of(json!({"expires_at": "planted-end"}))),
        (
            400,
            json!({"error": "invalid_grant", "error_description": format!("bad {CODE}")})
                .to_string(),
        ),
        (
            401,
            json!({"error": "invalid_client", "error_description": house::CLIENT_SECRET})
                .to_string(),
        ),
        (
            400,
            json!({"error": "odd_error", "error_description": "planted"}).to_string(),
        ),
        (429, "planted-refresh-906".into()),
        (500, "planted-refresh-907".into()),
        (302, "planted-refresh-908".into()),
    ]
}

/// Everything that was said, by whom.
#[derive(Default)]
pub struct Heard(pub Vec<(String, Vec<u8>)>);

impl Heard {
    pub fn output(&mut self, what: &str, output: &Output) {
        self.0
            .push((format!("{what}, standard output"), output.stdout.clone()));
        self.0
            .push((format!("{what}, standard error"), output.stderr.clone()));
    }

    pub fn answer(&mut self, what: &str, answer: &Answer) {
        self.0.push((what.to_owned(), answer.body.to_vec()));
        self.0.push((
            format!("{what}, fields"),
            format!("{:?}", answer.headers).into_bytes(),
        ));
    }

    /// Panics where any of the needles is in anything heard.
    pub fn assert_silent_about(&self, needles: &[Vec<u8>]) {
        assert!(
            self.0.iter().any(|(_, said)| !said.is_empty()),
            "nothing was heard at all"
        );
        for (what, said) in &self.0 {
            for needle in needles {
                let at = said
                    .windows(needle.len())
                    .position(|window| window == needle);
                if let Some(at) = at {
                    let around = &said[at.saturating_sub(160)..said.len().min(at + 160)];
                    panic!(
                        "{what} shows `{}`: {}",
                        String::from_utf8_lossy(needle),
                        String::from_utf8_lossy(around)
                    );
                }
            }
        }
    }
}

/// Every planted text, as it is and as it would look in base64; and the private key.
fn needles(site: &Site) -> Vec<Vec<u8>> {
    let basic = format!("{}:{}", house::CLIENT_ID, house::CLIENT_SECRET);
    // Every other secret begins with the first.
    let texts = [
        "planted",
        house::PERSONAL_TOKEN,
        house::CLIENT_SECRET,
        DOOR_KEY,
        VIA,
        PASTED,
        CODE,
        PASSPHRASE,
        "planted-access-",
        "planted-refresh-",
        basic.as_str(),
    ];
    let mut needles: Vec<Vec<u8>> = Vec::new();
    for text in texts {
        needles.extend(spellings(text));
    }
    let key = std::fs::read_to_string(site.path("client.key")).unwrap();
    needles.extend(spellings_of_key(&key));
    needles
}

/// A text as it is, in base64 and in hexadecimal.
pub fn spellings(text: &str) -> [Vec<u8>; 4] {
    // Without its end, which depends on what follows.
    let whole = text.len() / 3 * 3;
    [
        text.into(),
        STANDARD.encode(&text[..whole]).into(),
        URL_SAFE_NO_PAD.encode(&text[..whole]).into(),
        hex(text).into(),
    ]
}

/// A P-256 key in the clear, as lines of PEM and as bytes.
pub fn spellings_of_key(key: &str) -> Vec<Vec<u8>> {
    let lines = key.lines().filter(|line| !line.starts_with("-----"));
    let body: String = lines.clone().collect();
    // The first line names the algorithm, which is no secret.
    let mut found: Vec<_> = lines.skip(1).map(|line| line.as_bytes().to_vec()).collect();
    found.push(STANDARD.decode(body).unwrap()[36..60].to_vec());
    found
}

fn hex(text: &str) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap();
    let digits = |byte: u8| [digit(byte >> 4), digit(byte & 15)];
    text.bytes().flat_map(digits).collect()
}

/// Runs a command that a test hands an environment of its own.
fn run(site: &Site, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wise-auth-proxy"));
    command.env_clear().envs(variables.iter().copied());
    command.current_dir(site.directory.path()).args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

async fn the_whole_story_shows_nothing(format: &str) {
    let (wise, parrot) = (house::wise().await, Parrot::start().await);
    let door = "[[door]]\naddress = \"127.0.0.1:0\"\ncallers = [\"payroll\"]\n\
        [[caller]]\nname = \"payroll\"\nkey = { file = \"door_key\" }\n";
    let site = House::on(&wise)
        .lane("oauth")
        .logged_out()
        .toml(door)
        .set("wise.plain", &parrot.url)
        .set("wise.token_url", &format!("{}/oauth/token", parrot.url))
        .set("log.level", "trace")
        .set("log.format", format)
        .set("log.access", "access.log")
        .set("audit.file", "audit.log")
        .set("store.seal_key", "{ file = \"seal_key\" }")
        .set("admin.key", "{ file = \"admin_key\" }")
        .set("tokens.forced_interval", "0s")
        .prepare()
        .await;
    site.secret("door_key", DOOR_KEY);
    site.secret("seal_key", &STANDARD.encode(SEAL_KEY));
    site.secret("admin_key", ADMIN_KEY);
    let mut heard = Heard::default();
    let login = [
        "login",
        "--grant",
        "main",
        "--code",
        CODE,
        "--redirect-uri",
        house::REDIRECT,
    ];

    // Logins that fail, then one that does not.
    let mut failed = 0;
    for (status, body) in garbled() {
        parrot.next_tokens(status, &body);
        let output = site.cli(&login).await;
        // Some oddities are forgiven; whatever comes of it is searched.
        failed += usize::from(!output.status.success());
        heard.output(&format!("a login with {status}"), &output);
    }
    assert!(failed >= 10, "only {failed} logins failed");
    let output = site.cli(&login).await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    heard.output("a login", &output);

    // Requests, with the door's key and without.
    let house = site.start().await;
    let ask = async |path: &str| {
        house
            .send(Request::get(path).header("authorization", "Bearer planted-by-the-application"))
            .await
    };
    heard.answer("an answer", &ask("/v1/me").await);
    let odd = ask("/v1/me?access_token=planted-in-a-query&planted-without-a-name").await;
    heard.answer("an answer to an odd query", &odd);
    parrot.next_call(
        401,
        &json!({"error": "invalid_token", "error_description": "Invalid token"}),
    );
    assert_eq!(ask("/v1/me").await.status, 200, "renewed and sent again");
    heard.answer("an answer without a grant", &ask("/v2/profiles/999").await);
    heard.answer(
        "the client's answer",
        &ask("/v3/applications/acme/subscriptions").await,
    );
    let keyed = house.status().await["doors"][1]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    for key in [DOOR_KEY, "planted-wrong-key"] {
        let mut wire = Wire::to(keyed).await;
        wire.send(format!(
            "GET /v1/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n"
        ))
        .await;
        heard.answer("the keyed door's answer", &wire.answer().await);
    }
    let mut wire = Wire::to(house.door).await;
    wire.send("GET /v1/me HTTP/1.1\r\nAuthorization: Bearer planted\r\nno colon planted\r\n\r\n")
        .await;
    heard.0.push(("a refusal".into(), wire.rest().await));

    // Refreshes that fail, over the operator's socket and after a 401.
    for (status, body) in garbled() {
        if body.contains("invalid_grant") || status == 429 {
            continue; // They end what is still needed below, or make it wait.
        }
        parrot.next_tokens(status, &body);
        let output = house.cli(&["token", "refresh", "main"]).await;
        heard.output(&format!("a refresh with {status}"), &output);
    }

    // Tokens on their way to another host: the commands, and the file, which stays for the search.
    site.secret("passphrase", PASSPHRASE);
    site.secret("wrong", "planted-passphrase-wrong");
    for (arguments, key, code) in [
        (&["token", "export", "--out", "grants"][..], "passphrase", 0),
        (&["token", "import", "grants"], "wrong", 1),
        (&["token", "import", "grants"], "passphrase", 1),
        (&["token", "import", "grants", "--replace"], "passphrase", 1),
        (&["token", "forget", "main"], "", 0),
        (&["token", "import", "grants", "--json"], "passphrase", 0),
    ] {
        let passphrase = ["--passphrase-file", key];
        let passphrase = if key.is_empty() { &[][..] } else { &passphrase };
        let output = house.cli(&[arguments, passphrase].concat()).await;
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {output:?}"
        );
        heard.output(&arguments.join(" "), &output);
    }
    let output = house.cli(&["token", "restore", "main", "--json"]).await;
    heard.output("a restore", &output);
    house
        .status_until(|status| status["tokens"][0]["state"] == "live")
        .await;

    // The operator's views, before and after the grant has ended.
    for end in [false, true] {
        if end {
            let body = json!({"error": "invalid_grant", "error_description": "planted-refresh-1"});
            parrot.next_tokens(400, &body);
            heard.output(
                "the last refresh",
                &house.cli(&["token", "refresh", "main"]).await,
            );
            heard.answer("a dead grant's answer", &ask("/v1/me").await);
        }
        for arguments in [
            &["status"][..],
            &["status", "--json"],
            &["token", "show"],
            &["token", "show", "--json"],
            &["config", "show"],
            &["config", "show", "--json"],
            &["config", "check", "--secrets"],
            &["migrate", "status"],
            &["migrate", "status", "--json"],
            &["migrate", "confirm", "told"],
            // Shows the configuration as a diff, and changes nothing.
            &[
                "init",
                "--yes",
                "--environment",
                "sandbox",
                "--organisation",
                "Acme Ltd",
            ],
            &["cert", "show"],
            &["doctor"],
            &["doctor", "--json"],
            &["doctor", "--offline"],
            &["reload"],
            &["switch", "personal", "--reason", "test"],
            &["switch", "oauth", "--reason", "test"],
        ] {
            let output = house.cli(arguments).await;
            assert!(
                !output.stdout.is_empty() || !output.stderr.is_empty(),
                "{arguments:?}"
            );
            heard.output(&arguments.join(" "), &output);
        }
        // The report stays, and is searched with everything else that rests on the disk. Before one of
        // them Wise echoes what it was shown.
        for (number, body) in garbled().into_iter().enumerate().take(4) {
            parrot.next_call(401, &body.1);
            let file = format!("report-{end}-{number}");
            let output = house.cli(&["doctor", "--report", &file, "--names"]).await;
            assert!(site.path(&file).exists(), "{output:?}");
            heard.output("doctor --report", &output);
        }
        for path in ["/status", "/metrics", "/readyz", "/livez", "/", "/lane"] {
            heard.answer(path, &house.admin(path).await);
        }
        for key in [ADMIN_KEY, "planted-wrong-admin-key"] {
            let form = form(&house, "oauth", "test", key);
            let mut connection = Connection::to(house.admin).await;
            heard.answer(
                "the form's answer",
                &connection.request(form).await.unwrap(),
            );
        }
    }

    // What the machine shows of the process, and what rests on the disk.
    for file in ["cmdline", "environ", "status", "mountinfo", "maps"] {
        // Of a process that cannot be dumped most is for root alone.
        match std::fs::read(format!("/proc/{}/{file}", house.pid())) {
            Ok(shown) => heard.0.push((format!("/proc/…/{file}"), shown)),
            Err(error) => assert_ne!(file, "cmdline", "{error}"),
        }
    }
    assert_eq!(house.stop().await.code(), Some(0));
    heard.0.push(("the log".into(), house.log().into_bytes()));
    house.logs("DEBUG").await;
    let own = [
        "client_secret",
        "personal_token",
        "door_key",
        "seal_key",
        "admin_key",
        "client.key",
        "passphrase",
        "wrong",
    ];
    let mut stored = 0;
    for (path, content) in house::files(site.directory.path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !own.contains(&name) {
            stored += usize::from(path.starts_with(site.path("state")));
            heard.0.push((path.display().to_string(), content));
        }
    }
    assert!(
        stored > 0 && site.path("access.log").exists() && site.path("audit.log").exists(),
        "the store, the access log and the record were read"
    );

    heard.assert_silent_about(&needles(&site));
}

#[tokio::test]
async fn no_secret_is_shown_to_people() {
    the_whole_story_shows_nothing("human").await;
}

#[tokio::test]
async fn no_secret_is_shown_in_json() {
    the_whole_story_shows_nothing("json").await;
}

#[tokio::test]
async fn a_wise_that_echoes_the_token_puts_it_into_no_log() {
    let wise = house::wise().await;
    let house = House::on(&wise).set("log.level", "trace").start().await;
    wise.change_faults(|faults| {
        faults.resource.unauthorized = wise_auth_proxy::simulator::UnauthorizedShape::EchoesToken;
        faults.token.latency = 1;
    });
    house.get("/v1/me").await;
    wise.revoke_access(PROFILE);
    assert_eq!(house.get("/v1/me").await.status, 200);
    let fields = wise.recorded();
    let mut tokens: Vec<Vec<u8>> = fields
        .iter()
        .flat_map(|seen| seen.header("authorization"))
        .map(|value| value.split(' ').next_back().unwrap().as_bytes().to_vec())
        .collect();
    tokens.sort();
    tokens.dedup();
    assert!(tokens.len() >= 3, "two access tokens and the client's own");
    let mut heard = Heard::default();
    heard.answer("/metrics", &house.admin("/metrics").await);
    heard.answer("/status", &house.admin("/status").await);
    house.stop().await;
    assert!(
        house.log().contains("TRACE"),
        "it is as talkative as it can be"
    );
    heard.0.push(("the log".into(), house.log().into_bytes()));
    for (path, content) in house::files(&house.site.path("state")) {
        heard.0.push((path.display().to_string(), content));
    }
    heard.assert_silent_about(&tokens);
}

#[tokio::test]
async fn credentials_for_the_way_out_are_shown_to_nobody_but_it() {
    let wise = house::wise().await;
    let mut corporate = Stub::start().await;
    let site = House::on(&wise)
        .lane("personal")
        .logged_out()
        .set("upstream.via", &corporate.url())
        .set("upstream.via_credentials", "{ file = \"via\" }")
        .set("log.level", "trace")
        .prepare()
        .await;
    site.secret("via", VIA);
    let house = site.start().await;
    let mut heard = Heard::default();
    let refuses = async {
        let mut wire = corporate.connection().await;
        let asked = wire.read_to("\r\n\r\n").await;
        assert!(
            asked.contains(&STANDARD.encode(VIA)),
            "it is shown there: {asked}"
        );
        wire.send("HTTP/1.1 407 Proxy Authentication Required\r\n\r\nplanted echo")
            .await;
    };
    let (answer, ()) = tokio::join!(house.get("/v1/me"), refuses);
    assert_eq!(answer.problem(), "upstream-unreachable");
    heard.answer("the answer", &answer);
    heard.output("config show", &house.cli(&["config", "show"]).await);
    let offline = [
        "doctor",
        "--offline",
        "--json",
        "--report",
        "report",
        "--names",
    ];
    heard.output("doctor", &house.cli(&offline).await);
    let report = std::fs::read(site.path("report")).unwrap();
    heard.0.push(("the report".into(), report));
    heard.answer("/status", &house.admin("/status").await);
    house.stop().await;
    heard.0.push(("the log".into(), house.log().into_bytes()));
    heard.assert_silent_about(&needles(&site));
}

#[tokio::test]
async fn a_secret_in_the_wrong_place_is_refused_and_not_repeated() {
    let wise = house::wise().await;
    let site = House::on(&wise).logged_out().prepare().await;
    let good = std::fs::read_to_string(&site.config).unwrap();
    let mut heard = Heard::default();
    for (from, to) in [
        ("{ file = \"client_secret\" }", format!("\"{PASTED}\"")),
        ("{ file = \"personal_token\" }", format!("\"{PASTED}\"")),
        (
            "{ file = \"client_secret\" }",
            format!("{{ file = \"{PASTED}\", env = \"X\" }}"),
        ),
        (
            "{ file = \"client_secret\" }",
            format!("{{ value = \"{PASTED}\" }}"),
        ),
        (
            "client_id = \"acme\"",
            format!("client_id = [\"{PASTED}\"]"),
        ),
        ("lane = \"oauth-mtls\"", format!("lane = \"{PASTED}\"")),
        ("workers = 2", format!("workers = \"{PASTED}\"")),
        ("workers = 2", format!("workers = {PASTED}")),
    ] {
        assert!(good.contains(from), "{from}");
        std::fs::write(&site.config, good.replace(from, &to)).unwrap();
        for command in [
            &["config", "check"][..],
            &["config", "show"],
            &["run"],
            &["status"],
            &["doctor"],
            &["doctor", "--json"],
        ] {
            let output = site.cli(command).await;
            assert!(!output.status.success(), "{command:?} with {to}");
            heard.output(&format!("{command:?} with {to}"), &output);
        }
    }
    std::fs::write(&site.config, &good).unwrap();
    let config = site.config.to_str().unwrap();
    for set in [
        "oauth.client_secret",
        "personal.token",
        "store.seal_key",
        "admin.key",
        "oauth.no_such_key",
    ] {
        let pair = format!("{set}={PASTED}");
        let output = run(
            &site,
            &["config", "check", "--config", config, "--set", &pair],
            &[],
        );
        assert!(!output.status.success(), "{set}");
        heard.output(set, &output);
        let name = format!("WISE_PROXY_{}", set.to_uppercase().replace('.', "__"));
        let output = run(
            &site,
            &["config", "check", "--config", config],
            &[(&name, PASTED)],
        );
        assert!(!output.status.success(), "{name}");
        heard.output(&name, &output);
    }
    heard.assert_silent_about(&[PASTED.into()]);
}

#[test]
fn init_shows_no_secret_wherever_it_was_typed() {
    let mut heard = Heard::default();
    // The answers in their order, and the secret in the place of each: too early, too late, twice.
    let answers = [
        "sandbox", "", "acme", "", PASTED, "", PASTED, "Acme Ltd", "GB", "", "", "",
    ];
    for slip in 0..answers.len() {
        let desk = tempfile::tempdir().unwrap();
        let mut lines = answers.to_vec();
        lines.insert(slip, PASTED);
        let mut command = Command::new(env!("CARGO_BIN_EXE_wise-auth-proxy"));
        command
            .env_clear()
            .current_dir(desk.path())
            .args(["init", "--json"]);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.stderr(Stdio::piped()).spawn().unwrap();
        let text = lines.join("\n") + "\n";
        let mut input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, text.as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        // Where it fits the question it is the answer: client id, company, profile, directory.
        if [2, 6, 7, 10, 11].contains(&slip) {
            continue;
        }
        heard.output(&format!("init with a slip at {slip}"), &output);
        for (path, content) in house::files(desk.path()) {
            if !path.parent().unwrap().ends_with("secrets") {
                heard.0.push((path.display().to_string(), content));
            }
        }
    }
    heard.assert_silent_about(&[PASTED.into()]);
}

#[tokio::test]
async fn what_is_stored_can_be_read_by_its_owner_alone_whatever_the_umask() {
    let wise = house::wise().await;
    let site = House::on(&wise).logged_out().prepare().await;
    let under_no_umask = |command: &Command| {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "umask 0; exec \"$0\" \"$@\""]);
        shell.arg(command.get_program()).args(command.get_args());
        shell.env_clear().current_dir(site.directory.path());
        shell
    };
    // The store and its key are made by whoever comes first.
    let code = wise.authorise(PROFILE).unwrap();
    let mut login = Command::new(env!("CARGO_BIN_EXE_wise-auth-proxy"));
    login.args(["login", "--grant", "main", "--code", &code]);
    login.args(["--redirect-uri", house::REDIRECT, "--config"]);
    login.arg(&site.config);
    let mut login = under_no_umask(&login);
    // Wise answers from this thread.
    let output = tokio::task::spawn_blocking(move || login.output());
    let output = output.await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mode = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::symlink_metadata(path)
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    let house = site.start_as(under_no_umask(&site.run())).await;
    let refreshed = house.cli(&["token", "refresh", "main"]).await;
    assert!(refreshed.status.success(), "{refreshed:?}");
    house.get("/v1/me").await;
    house.turn("personal").await;
    assert_eq!(mode(&site.socket), 0o600, "the operator's socket");
    for args in [&["migrate", "confirm", "told"][..], &["migrate", "status"]] {
        assert!(house.cli(args).await.status.success());
    }
    assert_eq!(house.stop().await.code(), Some(0));

    assert_eq!(mode(&site.path("state")), 0o700);
    let mut stored: Vec<_> = std::fs::read_dir(site.path("state"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .inspect(|path| assert_eq!(mode(path), 0o600, "{}", path.display()))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    stored.sort();
    let expected = [
        "lanes.json",
        "main.grant",
        "main.lock",
        "main.previous",
        "migration.log",
        "seal.key",
        "switch.json",
        "switch.log",
    ];
    for name in expected {
        assert!(
            stored.iter().any(|found| found == name),
            "{name}: {stored:?}"
        );
    }
}

#[tokio::test]
async fn debug_output_shows_no_secret() {
    let wise = house::wise().await;
    let site = House::on(&wise).logged_out().prepare().await;
    let variables: [(OsString, OsString); 2] = [
        ("WISE_PROXY_RUNTIME__WORKERS".into(), "1".into()),
        ("UNRELATED".into(), PASTED.into()),
    ];
    let sources = Sources {
        file: FileChoice::Path(site.config.clone()),
        variables: variables.into(),
        flags: Vec::new(),
    };
    let loaded = load(&sources).unwrap();
    let mut field = HeaderMap::new();
    field.insert("authorization", "Bearer planted".parse().unwrap());
    let mut heard = Heard::default();
    let shown = [
        ("Sources", format!("{sources:?}")),
        ("Loaded", format!("{loaded:?}")),
        ("Config", format!("{:?}", loaded.config)),
        ("Options", format!("{:?}", house::wise_options())),
        ("Simulator", format!("{wise:?}")),
    ];
    for (what, text) in shown {
        assert!(text.len() > 2, "{what} says something");
        heard.0.push((what.into(), text.into_bytes()));
    }
    heard.assert_silent_about(&needles(&site));
}
