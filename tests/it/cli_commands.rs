//! The commands that prepare what a proxy needs, each as the real binary beside a simulated Wise.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use bytes::Bytes;
use http::Request;
use wise_auth_proxy::simulator::{Disturb, Disturbance, Simulator};

use crate::house::{
    Answer, CLIENT_SECRET, Connection, House, PATIENCE, PERSONAL_TOKEN, PROFILE, REDIRECT, Site,
    files, post, wise, wise_options,
};

/// What a command said: exit code, standard output, standard error, without what differs by run.
fn said(site: &Site, output: &Output) -> String {
    let text = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.replace(&site.directory.path().display().to_string(), "DIR")
    };
    let text = format!(
        "exit {}\n{}{}",
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr)
    );
    for secret in [CLIENT_SECRET, PERSONAL_TOKEN, "PRIVATE KEY"] {
        assert!(!text.contains(secret), "a secret was shown: {text}");
    }
    text
}

/// A command that runs while the test does its part, and ends with it.
struct Talk {
    child: Reaped,
    out: BufReader<std::process::ChildStdout>,
}

struct Reaped(Option<Child>);

impl Drop for Reaped {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Talk {
    fn start(site: &Site, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wise-auth-proxy"));
        command.env_clear().current_dir(site.directory.path());
        command.args(args).arg("--config").arg(&site.config);
        Self::spawn(&mut command)
    }

    fn spawn(command: &mut Command) -> Self {
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self {
            child: Reaped(Some(child)),
            out,
        }
    }

    async fn line(self) -> (Self, String) {
        let mut this = self;
        let read = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            this.out.read_line(&mut line).unwrap();
            (this, line.trim().to_owned())
        });
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("it speaks")
            .unwrap()
    }

    fn child(&mut self) -> &mut Child {
        self.child.0.as_mut().expect("it has not ended")
    }

    fn type_in(&mut self, text: &str) {
        let mut input = self.child().stdin.take().unwrap();
        input.write_all(text.as_bytes()).unwrap();
    }

    async fn end(self) -> Output {
        let Self { mut child, mut out } = self;
        let ending = tokio::task::spawn_blocking(move || {
            let mut rest = Vec::new();
            out.read_to_end(&mut rest).unwrap();
            let output = child
                .0
                .take()
                .expect("it ends once")
                .wait_with_output()
                .unwrap();
            Output {
                stdout: rest,
                ..output
            }
        });
        tokio::time::timeout(PATIENCE, ending)
            .await
            .expect("it ends")
            .unwrap()
    }
}

/// What stands in the query of an address.
fn query(url: &str, name: &str) -> String {
    let query = url.split_once('?').unwrap().1;
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .unwrap_or_else(|| panic!("no {name} in {url}"))
        .1
        .into_owned()
}

async fn browse(address: SocketAddr, path: &str, host: &str) -> Answer {
    let request = Request::get(path)
        .header("host", host)
        .body(Bytes::new())
        .unwrap();
    Connection::to(address)
        .await
        .request(request)
        .await
        .unwrap()
}

/// A `login` that listens, with the address it printed.
async fn listening(site: &Site, extra: &[&str]) -> (Talk, String, SocketAddr) {
    let args = ["login", "--redirect-uri", "http://127.0.0.1/callback"];
    let args: Vec<_> = args.iter().chain(extra).copied().collect();
    let (talk, url) = Talk::start(site, &args).line().await;
    let redirect = query(&url, "redirect_uri");
    let address = redirect.strip_prefix("http://").unwrap();
    let address = address.strip_suffix("/callback").unwrap().parse().unwrap();
    (talk, url, address)
}

async fn logged_out(wise: &Simulator) -> Site {
    House::on(wise).logged_out().prepare().await
}

#[tokio::test]
async fn a_code_logs_in_and_says_who_and_for_which_profile() {
    let wise = wise().await;
    let site = logged_out(&wise).await;
    let code = wise.authorise(PROFILE).unwrap();
    let args = ["login", "--code", &code, "--redirect-uri", REDIRECT];
    let output = site.cli(&args).await;
    insta::assert_snapshot!(said(&site, &output), @"
    exit 0
    grant main is stored, by way of lane oauth-mtls: Ada Example (user 9889627), acting for Example Trading Ltd (profile 30000000, BUSINESS)
    next: `wise-auth-proxy doctor --config DIR/house.toml` proves everything else that a request needs
    ");
    assert!(!said(&site, &output).contains(&code), "the code was shown");
    let again = said(&site, &site.cli(&args).await);
    insta::assert_snapshot!(again, @"
    exit 1
    error: Wise does not accept the code (invalid_grant, status 400)
    hint: it was used before, is too old, or was made for another redirect address or client id: run `login` again for a fresh one
    ");
    for (path, bytes) in files(&site.path("state")) {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(&code), "{} holds the code", path.display());
    }
    assert_eq!(wise.generation(PROFILE), Some(1));
}

#[tokio::test]
async fn a_code_that_found_no_way_to_wise_is_still_good() {
    let wise = wise().await;
    let lost = House::on(&wise).logged_out();
    let lost = lost.set("wise.token_url", "https://127.0.0.1:1/oauth/token");
    let lost = lost.prepare().await;
    let code = wise.authorise(PROFILE).unwrap();
    let args = ["login", "--code", &code, "--redirect-uri", REDIRECT];
    let output = said(&lost, &lost.cli(&args).await);
    insta::assert_snapshot!(output, @"
    exit 1
    error: the token endpoint cannot be reached: `127.0.0.1` refused the connection
    hint: the code has not been used, run `login` again when this is mended
    ");
    assert_eq!(wise.generation(PROFILE), None);

    let mended = House::on(&wise).logged_out().inside(&lost).prepare().await;
    let output = mended.cli(&args).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(wise.generation(PROFILE), Some(1));
}

#[tokio::test]
async fn a_proxy_that_runs_serves_with_a_new_grant_as_soon_as_the_login_says_so() {
    let wise = wise().await;
    let house = logged_out(&wise).await.start().await;
    assert_eq!(house.get("/v1/me").await.problem(), "no-grant");
    let code = wise.authorise(PROFILE).unwrap();
    let args = ["login", "--code", &code, "--redirect-uri", REDIRECT];
    let output = house.cli(&args).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(house.get("/v1/me").await.status, 200);
}

#[tokio::test]
async fn a_login_answers_programs_in_json() {
    let wise = wise().await;
    let site = logged_out(&wise).await;
    let code = wise.authorise(PROFILE).unwrap();
    let mut talk = Talk::start(
        &site,
        &["login", "--json", "--code", "-", "--redirect-uri", REDIRECT],
    );
    talk.type_in(&format!("{code}\n"));
    let output = talk.end().await;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        answer,
        serde_json::json!({
            "grant": "main", "generation": 1, "lane": "oauth-mtls",
            "user": { "id": "9889627", "name": "Ada Example" },
            "profile": { "id": "30000000", "type": "BUSINESS", "name": "Example Trading Ltd" },
            "warnings": [],
            "next": { "command": format!("wise-auth-proxy doctor --config {}", site.config.display()) },
        })
    );
}

#[tokio::test]
async fn the_browser_brings_the_code_to_loopback() {
    let wise = wise().await;
    let site = logged_out(&wise).await;
    let (talk, url, address) = listening(&site, &[]).await;
    assert!(
        url.starts_with(&format!("{}/oauth/authorize/?", wise.plain_url())),
        "{url}"
    );
    assert_eq!(query(&url, "client_id"), "acme");
    let (state, redirect) = (query(&url, "state"), query(&url, "redirect_uri"));
    let code = wise.authorise_for(PROFILE, &redirect).unwrap();
    let host = address.to_string();

    let wrong = browse(
        address,
        &format!("/callback?code={code}&state=forged"),
        &host,
    )
    .await;
    assert_eq!(wrong.status, 400, "a forged state must be refused");
    let path = format!("/callback?code={code}&profileID={PROFILE}&state={state}");
    let rebound = browse(address, &path, "evil.example").await;
    assert_eq!(rebound.status, 421, "another site's name must be refused");
    assert_eq!(browse(address, "/favicon.ico", &host).await.status, 404);
    assert_eq!(wise.exchanges().len(), 0, "nothing may have been exchanged");

    let right = browse(address, &path, &host).await;
    assert_eq!(right.status, 200);
    let page = String::from_utf8(right.body.to_vec()).unwrap();
    assert!(page.contains("Go back to the terminal"), "{page}");
    assert!(!page.contains(&code) && !page.contains(&state), "{page}");
    assert_eq!(right.headers["cache-control"], "no-store");
    let output = talk.end().await;
    let text = said(&site, &output);
    assert!(text.starts_with("exit 0\n"), "{text}");
    assert!(
        text.contains("a redirect that belongs to another login was turned away"),
        "{text}"
    );
    assert!(
        text.contains("acting for Example Trading Ltd (profile 30000000, BUSINESS)"),
        "{text}"
    );
    assert_eq!(wise.generation(PROFILE), Some(1));
}

#[tokio::test]
async fn what_wise_refuses_ends_the_login_with_its_words() {
    let wise = wise().await;
    let site = logged_out(&wise).await;
    let (talk, url, address) = listening(&site, &["--no-browser"]).await;
    let state = query(&url, "state");
    let path = format!("/callback?error=access_denied&error_description=No%20way&state={state}");
    let page = browse(address, &path, &address.to_string()).await;
    assert_eq!(page.status, 200);
    let text = said(&site, &talk.end().await);
    let end = text.split("\nerror:").nth(1).unwrap();
    insta::assert_snapshot!(end, @"
     Wise's page says: No way (access_denied)
    hint: run `login` again and approve on Wise's page
    ");
}

#[tokio::test]
async fn a_pasted_address_logs_in_and_one_of_another_login_does_not() {
    let wise = wise().await;
    let site = logged_out(&wise).await;
    let redirect = "https://app.example/callback";
    for right in [false, true] {
        let code = wise.authorise_for(PROFILE, redirect).unwrap();
        let args = ["login", "--paste", "--redirect-uri", redirect];
        let (mut talk, url) = Talk::start(&site, &args).line().await;
        let state = if right {
            query(&url, "state")
        } else {
            "forged".to_owned()
        };
        talk.type_in(&format!(
            "{redirect}?code={code}&profileId={PROFILE}&state={state}\n"
        ));
        let text = said(&site, &talk.end().await);
        if right {
            assert!(text.starts_with("exit 0\n"), "{text}");
            assert_eq!(wise.generation(PROFILE), Some(1));
        } else {
            insta::assert_snapshot!(text, @"
            exit 1
            open this address, log in to Wise, pick one profile and approve:
            error: this answer belongs to another login: its `state` is not the one that was sent
            hint: run `login` again and use the address it prints then; a code from elsewhere goes with --code
            ");
            assert_eq!(
                wise.exchanges().len(),
                0,
                "a forged state must not be exchanged"
            );
        }
    }
}

#[tokio::test]
async fn a_profile_that_was_not_meant_costs_no_code() {
    let mut options = wise_options();
    options.business_profiles = vec![PROFILE, PROFILE + 1];
    let wise = Simulator::start(options).await.unwrap();
    let site = logged_out(&wise).await;
    let (talk, url, address) = listening(&site, &[]).await;
    let (state, redirect) = (query(&url, "state"), query(&url, "redirect_uri"));
    let code = wise.authorise_for(PROFILE + 1, &redirect).unwrap();
    let path = format!(
        "/callback?code={code}&profileId={}&state={state}",
        PROFILE + 1
    );
    browse(address, &path, &address.to_string()).await;
    let text = said(&site, &talk.end().await);
    let end = text.split("\nerror:").nth(1).unwrap();
    insta::assert_snapshot!(end, @"
     profile 30000001 was picked on Wise's page, but grant main is for profile 30000000; the code has not been used
    hint: log in again and pick 30000000, or add a [[grant]] with `profile = 30000001`
    ");
    assert_eq!(wise.exchanges().len(), 0, "the code must stay good");
}

#[tokio::test]
async fn the_profile_that_was_picked_chooses_among_grants() {
    let mut options = wise_options();
    options.business_profiles = vec![PROFILE, PROFILE + 1];
    let wise = Simulator::start(options).await.unwrap();
    let plan = House::on(&wise)
        .grant("main", PROFILE)
        .grant("other", PROFILE + 1);
    let site = plan.logged_out().prepare().await;
    let (talk, url, address) = listening(&site, &[]).await;
    let (state, redirect) = (query(&url, "state"), query(&url, "redirect_uri"));
    let code = wise.authorise_for(PROFILE + 1, &redirect).unwrap();
    let path = format!(
        "/callback?code={code}&profileId={}&state={state}",
        PROFILE + 1
    );
    browse(address, &path, &address.to_string()).await;
    let text = said(&site, &talk.end().await);
    assert!(text.contains("grant other is stored"), "{text}");
    assert!(site.path("state/other.grant").exists() && !site.path("state/main.grant").exists());
}

#[tokio::test]
async fn a_registration_code_logs_in_without_a_browser() {
    let wise = wise().await;
    let site = logged_out(&wise).await;
    let code = "0123456789abcdef0123456789abcdef-registered";
    let house = site.start().await;
    let user = serde_json::json!({ "email": "user@example.com", "registrationCode": code });
    let made = house
        .request(post("/v1/user/signup/registration_code", &user))
        .await;
    assert_eq!(made.status, 200, "{made:?}");
    let args = [
        "login",
        "--registration-code",
        "--email",
        "user@example.com",
    ];
    let mut talk = Talk::start(&site, &args);
    talk.type_in(code);
    let text = said(&site, &talk.end().await);
    assert!(text.starts_with("exit 0\n"), "{text}");
    assert!(!text.contains(code), "the code was shown: {text}");

    std::fs::write(site.path("code"), code).unwrap();
    std::fs::set_permissions(site.path("code"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let args = [
        "login",
        "--registration-code-file",
        "code",
        "--email",
        "user@example.com",
    ];
    insta::assert_snapshot!(said(&site, &site.cli(&args).await), @"
    exit 1
    error: code may be read by others (mode 0644): run `chmod 600 code`
    hint: put the code alone into a file of mode 0600, or give it on standard input
    ");
    site.secret("code", code);
    let text = said(&site, &site.cli(&args).await);
    assert!(text.starts_with("exit 0\n"), "{text}");
}

#[tokio::test]
async fn a_login_that_cannot_work_says_so_before_anybody_is_asked() {
    let wise = wise().await;
    let site = logged_out(&wise).await;
    for (args, wanted) in [
        (
            &["login", "--grant", "mane"][..],
            "hint: the grants are: main",
        ),
        (
            &["login", "--profile", "7"],
            "hint: add a [[grant]] with `profile = 7`",
        ),
        (
            &["login", "--redirect-uri", "https://app.example/cb"],
            "hint: add --paste",
        ),
        (&["login", "--code", "A"], "--redirect-uri"),
        (&["login", "--registration-code"], "--email"),
        (
            &["login", "--grant", "main", "--profile", "7"],
            "hint: leave out --grant or --profile",
        ),
    ] {
        let text = said(&site, &site.cli(args).await);
        assert!(!text.starts_with("exit 0"), "{args:?}: {text}");
        assert!(text.contains(wanted), "{args:?}: {text}");
    }
    assert_eq!(wise.exchanges().len(), 0);
}

#[tokio::test]
async fn a_grant_is_kept_when_wise_does_not_say_who_it_is() {
    let wise = wise().await;
    let site = logged_out(&wise).await;
    let code = wise.authorise(PROFILE).unwrap();
    wise.change_faults(|faults| {
        faults.resource.disturb = Some(Disturb::always(Disturbance::ServerError));
    });
    let args = ["login", "--code", &code, "--redirect-uri", REDIRECT];
    insta::assert_snapshot!(said(&site, &site.cli(&args).await), @"
    exit 0
    warning: Wise does not say who this is: it answers 500 Internal Server Error
    warning: Wise does not show profile 30000000 to the new token: it answers 500 Internal Server Error; if another profile was picked, log in again and pick the right one
    grant main is stored, by way of lane oauth-mtls: an unknown user, acting for profile 30000000
    next: `wise-auth-proxy doctor --config DIR/house.toml` proves everything else that a request needs
    ");
    assert_eq!(wise.generation(PROFILE), Some(1));
}

#[tokio::test]
async fn a_csr_is_signed_and_its_certificate_installed() {
    let wise = wise().await;
    let site = logged_out(&wise).await;
    let args = [
        "csr",
        "--organisation",
        "Acme Ltd",
        "--country",
        "GB",
        "--key-type",
        "p256",
    ];
    let taken = said(&site, &site.cli(&args).await);
    insta::assert_snapshot!(taken, @"
    exit 1
    error: DIR/client.key is there already and is never overwritten
    hint: name another file, or move it away if no certificate belongs to it
    hint: once it has its certificate, `wise-auth-proxy csr --renew --config DIR/house.toml` makes the next beside it
    ");

    let key_before = std::fs::read(site.path("client.key")).unwrap();
    let next = [&args[..], &["--key", "next.key"]].concat();
    let output = site.cli(&next).await;
    let csr = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(
        csr.starts_with("-----BEGIN CERTIFICATE REQUEST-----\n"),
        "{csr}"
    );
    assert_eq!(csr, std::fs::read_to_string(site.path("next.csr")).unwrap());
    let mode = std::fs::metadata(site.path("next.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let talk = String::from_utf8(output.stderr.clone()).unwrap();
    let directory = site.directory.path().display().to_string();
    insta::assert_snapshot!(talk.replace(&directory, "DIR"), @"
    the private key is in next.key: it stays on this machine
    the request is in next.csr
    next: in Wise's Developer Hub, Authentication > Generate certificate, paste the request; save what it gives to a file and run `wise-auth-proxy cert install FILE --key next.key --config DIR/house.toml`
    ");
    assert!(
        !site.cli(&next).await.status.success(),
        "a second run must not overwrite the key"
    );

    let leaf = wise.sign_csr("next", &csr).unwrap();
    std::fs::write(site.path("next.pem"), leaf).unwrap();
    let mismatch = site.cli(&["cert", "install", "next.pem"]).await;
    insta::assert_snapshot!(said(&site, &mismatch), @"
    exit 1
    error: the private key in DIR/client.key belongs to none of the certificates in next.pem
    hint: pair the certificate with the key whose CSR was signed
    ");
    assert_eq!(std::fs::read(site.path("client.key")).unwrap(), key_before);

    let output = site
        .cli(&["cert", "install", "next.pem", "--key", "next.key"])
        .await;
    let text = said(&site, &output);
    assert!(
        text.starts_with("exit 0\nthe certificate of acme is in "),
        "{text}"
    );
    assert!(text.contains("takes it by itself within 5s"), "{text}");
    assert_eq!(
        std::fs::read(site.path("client.key")).unwrap(),
        std::fs::read(site.path("next.key")).unwrap()
    );

    let shown = site.cli(&["cert", "show", "--json"]).await;
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["common_name"], "acme");
    assert_eq!(shown["organisation"], "Acme Ltd");
    assert_eq!(shown["key_kind"], "P-256");
    assert_eq!(shown["days_left"], 364);
    assert_eq!(shown["findings"], serde_json::json!([]));
    let text = said(&site, &site.cli(&["cert", "show"]).await);
    assert!(
        text.contains("common name  acme, the client id\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_certificate_that_is_none_changes_nothing() {
    let wise = wise().await;
    let site = logged_out(&wise).await;
    let before = std::fs::read(site.path("client.pem")).unwrap();
    std::fs::write(site.path("page.html"), "<html>log in</html>").unwrap();
    let text = said(&site, &site.cli(&["cert", "install", "page.html"]).await);
    insta::assert_snapshot!(text, @"
    exit 1
    error: page.html should hold a certificate in PEM (`-----BEGIN CERTIFICATE-----`), but it is text without a PEM block
    hint: copy it again from `-----BEGIN` to `-----END …-----`
    ");
    let text = said(&site, &site.cli(&["cert", "install", "gone.pem"]).await);
    insta::assert_snapshot!(text, @"
    exit 1
    error: cannot read gone.pem
    cause: No such file or directory (os error 2)
    hint: name the file that Wise's Developer Hub gave you, or `-` for standard input
    ");
    let text = said(
        &site,
        &site
            .cli(&["csr", "--organisation", " ", "--key", "k"])
            .await,
    );
    insta::assert_snapshot!(text, @"
    exit 2
    error: the organisation (O) must not be empty
    hint: Wise reads it from the CSR's subject
    ");
    assert_eq!(std::fs::read(site.path("client.pem")).unwrap(), before);
    assert!(!site.path("k").exists(), "a refused CSR must leave no key");
}

#[tokio::test]
async fn a_certificate_for_another_client_is_warned_of_and_an_expired_one_refused() {
    let wise = wise().await;
    let site = logged_out(&wise).await;
    let csr = [
        "csr",
        "--organisation",
        "Acme",
        "--key-type",
        "p-384",
        "--key",
        "k",
        "--out",
        "r",
    ];
    let output = site.cli(&csr).await;
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    let csr = std::fs::read_to_string(site.path("r")).unwrap();

    wise.change_faults(|faults| faults.hub.common_name = Some("somebody".into()));
    std::fs::write(
        site.path("other.pem"),
        wise.sign_csr("other", &csr).unwrap(),
    )
    .unwrap();
    let text = said(
        &site,
        &site
            .cli(&["cert", "install", "other.pem", "--key", "k"])
            .await,
    );
    let warning =
        "exit 0\nwarning: the client certificate is for `somebody`, not for the client id";
    assert!(text.starts_with(warning), "{text}");
    let text = said(&site, &site.cli(&["cert", "show"]).await);
    assert!(
        text.contains("common name  somebody, NOT the client id acme\n"),
        "{text}"
    );
    assert!(text.contains("key          P-384\n"), "{text}");

    wise.change_faults(|faults| faults.hub.certificate_lifetime = 0);
    std::fs::write(site.path("old.pem"), wise.sign_csr("old", &csr).unwrap()).unwrap();
    let before = std::fs::read(site.path("client.pem")).unwrap();
    let text = said(&site, &site.cli(&["cert", "install", "old.pem"]).await);
    insta::assert_snapshot!(text, @"
    exit 1
    error: the client certificate expired less than a day ago
    hint: begin the next with `wise-auth-proxy csr --renew --config DIR/house.toml`
    ");
    assert_eq!(std::fs::read(site.path("client.pem")).unwrap(), before);
    std::fs::copy(site.path("old.pem"), site.path("client.pem")).unwrap();
    let output = site.cli(&["cert", "show", "--json"]).await;
    assert_eq!(
        output.status.code(),
        Some(1),
        "a check in a script must fail"
    );
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["days_left"], -1);

    // A key that others may read is no key; what the certificate says is shown all the same.
    let loose = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(site.path("client.key"), loose).unwrap();
    let text = said(&site, &site.cli(&["cert", "show"]).await);
    assert!(text.contains("key          P-384\n"), "{text}");
    assert!(
        text.contains("hint: run `chmod 600 DIR/client.key`"),
        "{text}"
    );
}

#[tokio::test]
async fn a_simulator_writes_what_the_demo_configuration_needs() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("wise");
    let any = "127.0.0.1:0";
    let start = |dir: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wise-auth-proxy"));
        command.env_clear().current_dir(directory.path());
        command.args(["simulator", "--plain", any, "--mtls", any, "--control", any]);
        command
            .args(["--json", "--profile", "30000007", "--dir"])
            .arg(dir);
        Talk::spawn(&mut command)
    };
    let (mut talk, brace) = start(&dir).line().await;
    assert_eq!(brace, "{");
    // It speaks when everything is in place.
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo.toml");
    std::fs::copy(demo, dir.join("demo.toml")).unwrap();
    for config in ["demo.toml", "proxy.toml"] {
        let checked = Command::new(env!("CARGO_BIN_EXE_wise-auth-proxy"))
            .env_clear()
            .args(["config", "check", "--secrets", "--config"])
            .arg(dir.join(config))
            .output()
            .unwrap();
        let text = String::from_utf8(checked.stderr).unwrap();
        assert!(checked.status.success(), "{config}: {text}");
    }
    for name in ["client.key", "client_secret", "personal_token"] {
        let mode = std::fs::metadata(dir.join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    for (name, block) in [
        ("webhook-key.pem", "-----BEGIN PUBLIC KEY-----"),
        ("webhook-ca.pem", "-----BEGIN CERTIFICATE-----"),
    ] {
        let text = std::fs::read_to_string(dir.join(name)).unwrap();
        assert!(text.starts_with(block), "{name}: {text}");
    }
    let shown = Command::new(env!("CARGO_BIN_EXE_wise-auth-proxy"))
        .env_clear()
        .args(["cert", "show", "--json", "--config"])
        .arg(dir.join("proxy.toml"))
        .output()
        .unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["common_name"], "demo");

    let pid = talk.child().id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = talk.end().await;
    assert_eq!(output.status.code(), Some(0));
    let rest = format!("{{{}", String::from_utf8(output.stdout).unwrap());
    let told: serde_json::Value = serde_json::from_str(&rest).unwrap();
    assert_eq!(told["dir"], dir.to_str().unwrap());

    // Its own directory it takes again; somebody's secrets it leaves alone.
    let (mut talk, _) = start(&dir).line().await;
    talk.child().kill().unwrap();
    talk.end().await;
    std::fs::remove_file(dir.join("proxy.toml")).unwrap();
    let refused = start(&dir).end().await;
    assert_eq!(refused.status.code(), Some(1));
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(
        text.contains("was not made by the simulator\nhint: name another"),
        "{text}"
    );
}

#[tokio::test]
async fn a_switch_without_a_proxy_counts_from_the_next_start() {
    let wise = wise().await;
    let site = House::on(&wise).prepare().await;
    let output = site
        .cli(&["switch", "personal", "--reason", "step back"])
        .await;
    insta::assert_snapshot!(said(&site, &output), @"
    exit 0
    the proxy is not running; it will start on lane personal
    ");
    let house = site.start().await;
    let status = house.status().await;
    assert_eq!(status["lane"], "personal");
    assert_eq!(status["switched"]["from"], "oauth-mtls");
    assert_eq!(status["switched"]["reason"], "step back");
    let log = std::fs::read_to_string(site.path("state/switch.log")).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
}

#[tokio::test]
async fn a_switch_without_a_proxy_keeps_to_the_allowed_lanes() {
    let wise = wise().await;
    let plan = House::on(&wise).set("switch.allow", "[\"oauth-mtls\"]");
    let site = plan.logged_out().prepare().await;
    let text = said(
        &site,
        &site.cli(&["switch", "personal", "--reason", "x"]).await,
    );
    insta::assert_snapshot!(text, @"
    exit 64
    error: lane `personal` is not available
    hint: the configuration forbids it or lacks what it needs; see switch.allow
    ");
    // Another proxy's socket says nothing about this one's store.
    let args = [
        "switch",
        "oauth-mtls",
        "--reason",
        "x",
        "--socket",
        "none.sock",
    ];
    let output = site.cli(&args).await;
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(!site.path("state/switch.json").exists());
}

#[tokio::test]
async fn a_grant_is_forgotten_with_and_without_a_proxy() {
    let wise = wise().await;
    let site = House::on(&wise).prepare().await;
    let house = site.start().await;
    house
        .status_until(|status| status["tokens"][0]["state"] == "live")
        .await;
    let text = said(&site, &site.cli(&["status"]).await);
    assert!(
        text.contains("lane         oauth-mtls, as configured\n"),
        "{text}"
    );
    let text = said(&site, &site.cli(&["token", "show", "main"]).await);
    assert!(text.contains("main   live   1 "), "{text}");

    let forget = ["token", "forget", "main"];
    insta::assert_snapshot!(said(&site, &site.cli(&forget).await), @"
    exit 0
    grant main has no tokens any more; `login` brings new ones
    ");
    house
        .status_until(|status| status["tokens"][0]["absence"] == "never_logged_in")
        .await;
    insta::assert_snapshot!(said(&site, &site.cli(&forget).await), @"
    exit 0
    grant main had no tokens
    ");
    let unknown = said(&site, &site.cli(&["token", "forget", "mane"]).await);
    insta::assert_snapshot!(unknown, @"
    exit 1
    error: Not Found: there is no grant named `mane`
    hint: `wise-auth-proxy token show --config DIR/house.toml` lists the grants
    ");

    // A running proxy takes a new login by itself.
    site.log_in(&wise, "main", PROFILE).await;
    house
        .status_until(|status| status["tokens"][0]["state"] == "live")
        .await;
    house.stop().await;
    insta::assert_snapshot!(said(&site, &site.cli(&forget).await), @"
    exit 0
    the proxy is not running; its store was changed
    grant main has no tokens any more; `login` brings new ones
    ");
    insta::assert_snapshot!(said(&site, &site.cli(&["token", "forget", "mane"]).await), @"
    exit 1
    error: there is no grant mane
    hint: the grants are: main
    ");
    assert!(!site.path("state/main.grant").exists());
}

/// What a shell makes of a command that was printed: its words.
fn pasted(site: &Site, command: &str) -> Vec<String> {
    let program = site.path("bin/wise-auth-proxy");
    if !program.exists() {
        std::fs::create_dir(site.path("bin")).unwrap();
        std::fs::write(&program, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    let mut shell = Command::new("sh");
    let path = format!("{}:/usr/bin:/bin", site.path("bin").display());
    shell.args(["-c", command]).env("PATH", path);
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    let words = String::from_utf8(output.stdout).unwrap();
    words.lines().map(str::to_owned).collect()
}

const POLICED: &str = r#"door=[{ address = "127.0.0.1:0", policy = "read-only" }]"#;
const CONNECT: &str = r#"door=[{ address = "127.0.0.1:0", connect = true }]"#;

#[tokio::test]
async fn every_command_that_is_printed_can_be_pasted_as_it_stands() {
    let wise = wise().await;
    let mut site = logged_out(&wise).await;
    let config = site.path("a b.toml");
    std::fs::rename(&site.config, &config).unwrap();
    site.config = config;
    let code = wise.authorise(PROFILE).unwrap();
    let config = site.config.display().to_string();
    let mut named = std::collections::BTreeSet::new();
    for line in [
        &[
            "token",
            "export",
            "main",
            "--out",
            "my grants",
            "--passphrase-file",
            "none",
        ][..],
        &["login", "--code", &code, "--redirect-uri", REDIRECT],
        &["token", "restore", "main"],
        &["csr", "--organisation", "Acme Ltd"],
        &["csr", "--renew", "--key", "my next.key"],
        &["csr", "--renew"],
        &["csr", "--renew"],
        &["cert", "show"],
        &["sign"],
        &["cert", "show"],
        &["cert", "install", "client.next.pem"],
        &["cert", "show"],
        &["cert", "rollback"],
        &["doctor", "--offline"],
        &["migrate", "confirm", "told"],
        &["migrate", "status", "--offline"],
        // Of failures: also what rooms say that do not know the name.
        &["status"],
        &["wait", "--timeout", "0s", "--address", "127.0.0.1:1"],
        &["caller", "remove", "nobody"],
        &["policy", "sets", "nonsense"],
        &["policy", "test", "POST", "/v1/transfers", "--set", POLICED],
        &["audit", "verify", "--expect", "short"],
        &["audit", "verify", "nowhere.log"],
        &[
            "run",
            "--set",
            "ca.certificate=nowhere.pem",
            "--set",
            CONNECT,
        ],
        &["config", "check", "--set", "tokens.exchange_timeout=never"],
        &["doctor", "--offline", "--set", CONNECT],
    ] {
        if line == ["sign"] {
            let csr = std::fs::read_to_string(site.path("client.next.csr")).unwrap();
            let leaf = wise.sign_csr("next", &csr).unwrap();
            std::fs::write(site.path("client.next.pem"), leaf).unwrap();
            continue;
        }
        let output = site.cli(line).await;
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        for command in text.split('`').skip(1).step_by(2) {
            let Some(rest) = command.strip_prefix("wise-auth-proxy ") else {
                continue;
            };
            let words = pasted(&site, command);
            let at = words.iter().position(|word| word == "--config");
            let at = at.unwrap_or_else(|| panic!("{line:?}: {command}"));
            // The other half of the guide has a configuration of its own.
            if words[at + 1] != "production.toml" && words[at + 1] != "sandbox.toml" {
                assert_eq!(words[at + 1], config, "{line:?}: {command}");
            }
            if let Some(key) = words.iter().position(|word| word == "--key") {
                assert_eq!(words[key + 1], "my next.key");
            }
            named.insert(rest.split(" --").next().unwrap().to_owned());
        }
    }
    let client = site.path("client.next.pem").display().to_string();
    let install = format!("cert install {client}");
    for wanted in [
        "doctor",
        "csr",
        "cert install FILE",
        &install,
        "cert rollback",
        "reload",
        "migrate status",
        "run",
        "config show",
        "caller list",
        "policy sets",
        "policy list",
        "status",
        "ca init",
    ] {
        assert!(named.contains(wanted), "{wanted}: {named:#?}");
    }
}

#[tokio::test]
async fn a_full_disk_under_standard_output_is_a_failure_with_a_hint() {
    let wise = wise().await;
    let site = logged_out(&wise).await;
    for args in [
        &["config", "show"][..],
        &["policy", "sets"],
        &["migrate", "status", "--offline"],
        &["man"],
    ] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut command = site.command();
        command
            .args(args)
            .arg("--config")
            .arg(&site.config)
            .stdout(full);
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(
            said.contains("error: cannot write to standard output"),
            "{args:?}: {said}"
        );
        assert!(said.contains("No space left on device"), "{args:?}: {said}");
        assert!(said.contains("\nhint: "), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn a_checked_configuration_is_told_to_programs_whether_it_can_be_used_or_not() {
    let wise = wise().await;
    let site = logged_out(&wise).await;
    let check = async |more: &[&str], code: i32| -> serde_json::Value {
        let typed = [&["config", "check", "--json"], more].concat();
        let output = site.cli(&typed).await;
        assert_eq!(output.status.code(), Some(code), "{}", said(&site, &output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let good = check(&["--secrets"], 0).await;
    assert_eq!(good["usable"], true);
    assert_eq!(good["findings"], serde_json::json!([]));
    assert_eq!(good["path"], site.config.display().to_string());
    assert_eq!(good["lane"], "oauth-mtls");
    assert_eq!(good["grants"], serde_json::json!(["main"]));
    assert_eq!(good["secrets_fetched"], true);

    let bad = check(&["--set", "tokens.exchange_timeout=never"], 64).await;
    assert_eq!(bad["usable"], false);
    assert_eq!(bad["findings"][0]["key"], "tokens.exchange_timeout");
    assert_eq!(bad["findings"][0]["from"], "--set tokens.exchange_timeout");

    // As a start would find it.
    let pem = std::fs::read(site.path("client.pem")).unwrap();
    std::fs::write(site.path("client.pem"), "YOUR-CERTIFICATE").unwrap();
    assert_eq!(check(&[], 0).await["usable"], true);
    let stand_in = check(&["--secrets"], 64).await;
    assert_eq!(stand_in["findings"][0]["key"], "mtls");
    std::fs::write(site.path("client.pem"), pem).unwrap();
    let connect = check(&["--secrets", "--set", CONNECT], 64).await;
    assert_eq!(connect["findings"][0]["key"], "ca", "{connect:#}");
    let of_door =
        r#"door=[{ address = "127.0.0.1:0", tls = { certificate = "no.pem", key = "no.key" } }]"#;
    let of_door = check(&["--secrets", "--set", of_door], 64).await;
    assert_eq!(of_door["findings"][0]["key"], "door.tls", "{of_door:#}");

    std::fs::remove_file(site.path("client_secret")).unwrap();
    assert_eq!(check(&[], 0).await["usable"], true);
    let lost = check(&["--secrets"], 64).await;
    assert_eq!(lost["usable"], false);
    assert_eq!(lost["findings"][0]["key"], "oauth.client_secret");
}
