//! Who calls: every way of being known, and nobody else.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use wise_auth_proxy::simulator::Simulator;

use crate::failures::{Problem, assert_problem};
use crate::house::{self, Answer, House, PERSONAL_TOKEN, Site};

/// A house whose only door is `payroll`'s, with the key that `caller add` made.
async fn with_payroll(wise: &Simulator) -> (House, String) {
    let site = House::on(wise).prepare().await;
    let key = add(&site, &["payroll", "--door", "127.0.0.1:0"]).await;
    (site.start().await, key)
}

async fn add(site: &Site, more: &[&str]) -> String {
    let output = site.cli(&[&["caller", "add"], more].concat()).await;
    printed(&output)
}

/// The one line of standard output.
fn printed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let line = text.strip_suffix('\n').unwrap();
    assert!(!line.contains('\n') && !said.contains(line), "{text}{said}");
    line.to_owned()
}

async fn bearer(house: &House, key: &str) -> Answer {
    let request = Request::get("/v1/me").header("authorization", format!("Bearer {key}"));
    house.send(request).await
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

/// Everything that Wise has heard so far.
fn heard(wise: &Simulator) -> String {
    format!("{:?}", wise.recorded())
}

fn detail(answer: &Answer) -> String {
    assert_eq!(answer.problem(), "caller-unknown");
    answer.json()["detail"].as_str().unwrap().to_owned()
}

const UNKNOWN: Problem = Problem {
    status: 407,
    kind: "caller-unknown",
    error: "http_request_denied",
    hint: "send the caller's key as `Authorization: Bearer`, as a Basic password or in \
        `Proxy-Authorization`",
    fields: &[
        ("proxy-authenticate", "Bearer realm=\"wise-auth-proxy\""),
        (
            "proxy-authenticate",
            "Basic realm=\"wise-auth-proxy\", charset=\"UTF-8\"",
        ),
    ],
};

#[tokio::test]
async fn a_key_is_known_wherever_it_is_shown_and_stays_here() {
    let wise = house::wise().await;
    let (house, key) = with_payroll(&wise).await;
    wise.clear();
    assert!(key.starts_with("wap_") && key.len() == 47, "{key}");
    for (field, value) in [
        ("authorization", format!("Bearer {key}")),
        ("authorization", basic(&format!("anybody:{key}"))),
        ("authorization", basic(&format!("{key}:"))),
        ("proxy-authorization", format!("Bearer {key}")),
        ("proxy-authorization", basic(&format!("{key}:"))),
    ] {
        let answer = house
            .send(Request::get("/v1/me").header(field, value))
            .await;
        assert_eq!(answer.status, 200, "{field}: {answer:?}");
    }
    let (plain, packed) = (heard(&wise), basic(&format!("{key}:")));
    assert!(
        !plain.contains(&key) && !plain.contains(&packed[6..]),
        "{plain}"
    );
    let foreign = bearer(&house, "wap_at_AAAA").await;
    assert!(
        detail(&foreign).contains("is of another door"),
        "{foreign:?}"
    );
    let hint = foreign.json()["hint"].as_str().unwrap().to_owned();
    assert!(!hint.contains("/oauth/token"), "{hint}");
    for shown in ["", "wrong", &key[..46], &format!("{key}x")] {
        assert_problem(&bearer(&house, shown).await, &UNKNOWN);
    }
    assert_problem(&house.get("/v1/me").await, &UNKNOWN);
    assert_eq!(
        wise.recorded().len(),
        5,
        "nothing of strangers reaches Wise"
    );

    house.logs("caller=payroll lane=oauth-mtls").await;
    let labels = "caller=\"payroll\",code=\"2xx\"";
    let name = "wise_proxy_caller_requests_total";
    assert!((house.metric(name, labels).await - 5.0).abs() < 0.1);
    let status = house.status().await;
    let caller = &status["callers"][0];
    assert_eq!(caller["name"], "payroll");
    assert_eq!(caller["known_by"], serde_json::json!(["key"]));
    assert_eq!(
        caller["keys"],
        serde_json::json!([{ "ends": null, "ended": false }])
    );
    assert_eq!(caller["requests"], 5);
    assert!(caller["last_seen"].is_string(), "{caller}");
    assert!(!house.log().contains(&key) && !status.to_string().contains(&key));
}

#[tokio::test]
async fn a_door_without_callers_counts_nobody() {
    let wise = house::wise().await;
    let house = House::on(&wise).start().await;
    assert_eq!(house.get("/v1/me").await.status, 200);
    let page = String::from_utf8(house.admin("/metrics").await.body.to_vec()).unwrap();
    assert!(!page.contains("wise_proxy_caller_requests_total"), "{page}");
    assert_eq!(house.status().await["callers"], serde_json::json!([]));
}

#[tokio::test]
async fn the_old_personal_token_is_a_local_password_and_leaves_no_more() {
    let wise = house::wise().await;
    let site = House::on(&wise)
        .toml("[[caller]]\nname = \"legacy\"\nkey = { file = \"personal_token\" }\n")
        .prepare()
        .await;
    let text = std::fs::read_to_string(&site.config).unwrap();
    let closed = text.replacen(":0\"\n", ":0\"\ncallers = [\"legacy\"]\n", 1);
    std::fs::write(&site.config, closed).unwrap();
    let house = site.start().await;
    wise.clear();
    assert_eq!(bearer(&house, PERSONAL_TOKEN).await.status, 200);
    assert!(!heard(&wise).contains(PERSONAL_TOKEN));
    assert_problem(&bearer(&house, "another-personal-token").await, &UNKNOWN);

    // It can end like any other key: rotated, it stands there as a hash.
    let new = printed(&house.cli(&["caller", "rotate", "legacy"]).await);
    house.reload().await;
    for key in [PERSONAL_TOKEN, &new] {
        assert_eq!(bearer(&house, key).await.status, 200, "in the overlap");
    }
    let text = std::fs::read_to_string(&site.config).unwrap();
    let caller = text.split("[[caller]]").nth(1).unwrap();
    assert!(
        !caller.contains("key =") && caller.contains(" until "),
        "{caller}"
    );
}

#[tokio::test]
async fn a_key_from_elsewhere_is_kept_as_its_hash_and_must_not_be_short() {
    use std::io::Write as _;
    let wise = house::wise().await;
    let site = House::on(&wise).prepare().await;
    let add = |key: &str| {
        let mut command = site.command();
        let args = [
            "caller",
            "add",
            "legacy",
            "--door",
            "127.0.0.1:0",
            "--key-stdin",
        ];
        command.args(args).arg("--config").arg(&site.config);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(key.as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap()
    };
    let short = add("fifteen-letters\n");
    let said = String::from_utf8(short.stderr).unwrap();
    assert_eq!(short.status.code(), Some(1));
    assert!(
        said.contains("too short: whoever guesses it acts for you"),
        "{said}"
    );
    assert!(!said.contains("fifteen"), "{said}");
    let token = add("wap_at_a-token-of-the-stand-in\n");
    let said = String::from_utf8(token.stderr).unwrap();
    assert_eq!(token.status.code(), Some(1));
    assert!(said.contains("would be taken for one"), "{said}");
    assert!(
        said.contains("hint:") && !said.contains("-of-the-"),
        "{said}"
    );
    let added = add(&format!("{PERSONAL_TOKEN}\n"));
    assert!(
        added.status.success() && added.stdout.is_empty(),
        "{added:?}"
    );
    let file = std::fs::read_to_string(&site.config).unwrap();
    assert!(file.contains("sha256:") && !file.contains(PERSONAL_TOKEN));
    let house = site.start().await;
    assert_eq!(bearer(&house, PERSONAL_TOKEN).await.status, 200);
}

#[tokio::test]
async fn keys_overlap_and_end_and_callers_come_and_go_without_a_restart() {
    let wise = house::wise().await;
    let (house, first) = with_payroll(&wise).await;
    let second = printed(&house.cli(&["caller", "rotate", "payroll"]).await);
    house.reload().await;
    assert_eq!(bearer(&house, &first).await.status, 200);
    assert_eq!(bearer(&house, &second).await.status, 200);
    let status = house.status().await;
    let keys = status["callers"][0]["keys"].as_array().unwrap();
    let ends: Vec<_> = keys.iter().map(|key| key["ends"].is_string()).collect();
    assert_eq!(ends, [true, false], "{status}");

    let rotate = ["caller", "rotate", "payroll", "--overlap", "0s"];
    let third = printed(&house.cli(&rotate).await);
    house.reload().await;
    assert_eq!(bearer(&house, &third).await.status, 200);
    for ended in [&first, &second] {
        let answer = bearer(&house, ended).await;
        assert_eq!(answer.status, 407);
        assert_eq!(detail(&answer), "the key that the caller shows has ended");
        let hash = String::from_utf8_lossy(&answer.body).contains("sha256");
        assert!(!hash, "{answer:?}");
    }

    let books = add(&house.site, &["books", "--door", "127.0.0.1:0"]).await;
    assert_eq!(bearer(&house, &books).await.status, 407, "not yet");
    house.reload().await;
    assert_eq!(bearer(&house, &books).await.status, 200);
    let removed = house.cli(&["caller", "remove", "payroll"]).await;
    assert!(removed.status.success() && removed.stdout.is_empty());
    house.reload().await;
    assert_problem(&bearer(&house, &third).await, &UNKNOWN);
    assert_eq!(bearer(&house, &books).await.status, 200);
}

#[tokio::test]
async fn what_stands_in_the_file_stays_and_nothing_is_written_that_cannot_be_used() {
    let wise = house::wise().await;
    let site = House::on(&wise).logged_out().prepare().await;
    let text = std::fs::read_to_string(&site.config).unwrap();
    let text = format!("# A person's word.\n{text}# The end.\n");
    std::fs::write(&site.config, &text).unwrap();
    let mode = |site: &Site| {
        std::fs::metadata(&site.config)
            .unwrap()
            .permissions()
            .mode()
    };
    std::fs::set_permissions(&site.config, std::fs::Permissions::from_mode(0o640)).unwrap();

    let fails = async |args: &[&str], why: &str| {
        let before = std::fs::read(&site.config).unwrap();
        let output = site.cli(args).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{said}");
        assert!(said.contains("hint:"), "{said}");
        assert!(output.stdout.is_empty(), "no key of what was not written");
        assert_eq!(std::fs::read(&site.config).unwrap(), before);
    };
    fails(&["caller", "add", "Payroll"], "nothing was written").await;
    fails(
        &["caller", "add", "a", "--policy", "none"],
        "must be the name of a [[policy]]",
    )
    .await;
    fails(
        &["caller", "add", "a", "--door", "127.0.0.1:9"],
        "there is no door 127.0.0.1:9",
    )
    .await;
    fails(
        &["caller", "add", "a", "--key-stdin"],
        "there is no key on standard input",
    )
    .await;
    fails(&["caller", "rotate", "a"], "there is no caller `a`").await;

    let output = site
        .cli(&["caller", "add", "a", "--door", "127.0.0.1:0", "--json"])
        .await;
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told["key"].as_str().unwrap().starts_with("wap_"), "{told}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nobody else"), "a door was closed: {said}");
    fails(&["caller", "add", "a"], "there is a caller `a` already").await;
    fails(&["caller", "remove", "a"], "the only caller of the door").await;

    let after = std::fs::read_to_string(&site.config).unwrap();
    assert!(after.starts_with("# A person's word.\n"), "{after}");
    assert!(after.trim_end().ends_with("# The end."), "{after}");
    assert!(after.contains(told["hash"].as_str().unwrap()));
    assert_eq!(mode(&site) & 0o777, 0o640);
    let list = site.cli(&["caller", "list"]).await;
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(
        list.contains("a       key, no end  -       127.0.0.1:0"),
        "{list}"
    );
}

/// Asks at a unix socket as a user of our choice, as curl does; status and body.
fn curl(socket: &std::path::Path, user: (u32, u32)) -> Option<(u16, String)> {
    let mut command = Command::new("curl");
    command.args(["-sS", "-w", "\n%{http_code}", "--unix-socket"]);
    command.arg(socket).arg("http://localhost/v1/me");
    if user != ids() {
        command.uid(user.0).gid(user.1);
    }
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let status = status.parse().unwrap_or_else(|_| panic!("{said}"));
    Some((status, body.to_owned()))
}

fn ids() -> (u32, u32) {
    let user = rustix::process::geteuid().as_raw();
    (user, rustix::process::getegid().as_raw())
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_unix_door_the_kernel_says_who_calls_and_other_users_are_refused() {
    let (own, _) = ids();
    let (wise, other, member) = (house::wise().await, 64_001, 64_002);
    let mut toml = format!(
        "[[door]]\naddress = \"unix:app.sock\"\nmode = \"0666\"\ncallers = [\"us\", \"books\"]\n\
         [[caller]]\nname = \"us\"\nusers = [\"{own}\"]\n\
         [[caller]]\nname = \"books\"\ngroups = [\"{member}\"]\n"
    );
    if own == 0 {
        let owner = format!("owner = \":{member}\"\n");
        toml.push_str("[[door]]\naddress = \"unix:closed.sock\"\nmode = \"0660\"\n");
        toml.push_str(&owner);
    }
    let house = House::on(&wise).toml(&toml).start().await;
    let directory = house.site.directory.path();
    // Others come as far as the socket.
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o711)).unwrap();
    let socket = house.site.path("app.sock");
    let ours = curl(&socket, ids()).expect("curl is needed: apt-get install curl");
    assert_eq!(ours.0, 200, "{ours:?}");
    house.logs("caller=us").await;
    if own != 0 {
        return house::skip("nobody can be asked as another user");
    }
    wise.clear();
    let (status, body) = curl(&socket, (other, other)).unwrap();
    assert_eq!(status, 407, "{body}");
    assert!(
        body.contains("the caller is none that this door knows"),
        "{body}"
    );
    assert!(
        body.contains("\"hint\":\"run as the caller's user or group\""),
        "{body}"
    );
    assert_eq!(wise.recorded().len(), 0, "nothing of it reaches Wise");
    assert_eq!(curl(&socket, (other, member)).unwrap().0, 200);
    house.logs("caller=books").await;

    // Mode and owner keep others from coming as far as that.
    wise.clear();
    let closed = house.site.path("closed.sock");
    let refused = curl(&closed, (other, other)).unwrap();
    assert_eq!(refused, (0, String::new()), "no connection, no answer");
    assert_eq!(wise.recorded().len(), 0);
    assert_eq!(curl(&closed, (other, member)).unwrap().0, 200);
}

#[tokio::test]
async fn no_key_is_shown_but_the_once() {
    let wise = house::wise().await;
    let site = House::on(&wise)
        .set("log.level", "trace")
        .set("log.access", "access.log")
        .set("audit.file", "audit.log")
        .prepare()
        .await;
    assert!(site.cli(&["ca", "init"]).await.status.success());
    let door = ["payroll", "--door", "127.0.0.1:0", "--policy", "read-only"];
    let key = add(&site, &door).await;
    let house = site.start().await;
    let wrong = "planted-wrong-key-of-somebody";
    for key in [&*key, wrong] {
        bearer(&house, key).await;
        house
            .send(Request::get("/v1/me").header("proxy-authorization", basic(&format!("{key}:"))))
            .await;
    }
    let mut outputs = Vec::new();
    for args in [
        &["caller", "list"][..],
        &["caller", "list", "--json"],
        &["status"],
        &["status", "--json"],
        &["config", "show"],
        &["config", "check"],
        &["doctor", "--offline"],
        &["doctor", "--offline", "--report", "report.txt"],
        &["policy", "list"],
        &["policy", "list", "--json"],
        &["policy", "test", "GET", "/v1/me", "--caller", "payroll"],
        &["ca", "show"],
        &["ca", "export"],
        &["audit", "show"],
    ] {
        let output = house.cli(args).await;
        assert_ne!(output.status.code(), Some(2), "{args:?}: {output:?}");
        outputs.push([output.stdout, output.stderr].concat());
    }
    for page in ["/status", "/metrics", "/"] {
        outputs.push(house.admin(page).await.body.to_vec());
    }
    let new = printed(&house.cli(&["caller", "rotate", "payroll"]).await);
    house.reload().await;
    bearer(&house, &new).await;
    assert_eq!(house.stop().await.code(), Some(0));
    outputs.push(house.log().into_bytes());
    // Now that all of it is written.
    let shown = site.cli(&["audit", "show", "--json"]).await.stdout;
    let known = String::from_utf8_lossy(&shown).matches("payroll").count();
    assert!(known >= 3, "{known}");
    outputs.push(shown);
    outputs.extend(
        house::files(site.directory.path())
            .into_iter()
            .map(|it| it.1),
    );
    for written in ["access.log", "audit.log", "report.txt"] {
        assert!(site.path(written).exists(), "{written}");
    }
    for output in outputs {
        let text = String::from_utf8_lossy(&output);
        for key in [&*key, wrong, &new] {
            assert!(!text.contains(key), "{text}");
            let packed = STANDARD.encode(format!("{key}:"));
            assert!(!text.contains(&packed[..40]), "{text}");
        }
    }
}

/// A request for a token, as curl sends it; `field`: its `Authorization`.
async fn token(house: &House, field: Option<String>, form: &str) -> Answer {
    let mut request =
        Request::post("/oauth/token").header("content-type", "application/x-www-form-urlencoded");
    if let Some(field) = field {
        request = request.header("authorization", field);
    }
    house
        .request(request.body(Bytes::from(form.to_owned())).unwrap())
        .await
}

fn text<'a>(answer: &'a serde_json::Value, name: &str) -> &'a str {
    answer[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name}: {answer}"))
}

/// A house that answers `/oauth/token` itself, for `payroll` alone.
async fn standing_in(wise: &Simulator) -> (Site, House, String) {
    let plan = House::on(wise).set("log.access", "access.log");
    let site = plan.set("audit.file", "audit.log").prepare().await;
    let text = std::fs::read_to_string(&site.config).unwrap();
    let door = text.replacen(":0\"\n", ":0\"\nstand_in = true\n", 1);
    std::fs::write(&site.config, door).unwrap();
    let key = add(&site, &["payroll", "--door", "127.0.0.1:0"]).await;
    let house = site.start().await;
    wise.clear();
    (site, house, key)
}

#[tokio::test]
async fn an_application_that_runs_its_own_oauth_is_answered_here() {
    let wise = house::wise().await;
    let (site, house, key) = standing_in(&wise).await;
    let client = |key: &str| Some(basic(&format!("any-client-id:{key}")));

    let answer = token(&house, client(&key), "grant_type=client_credentials").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["content-type"], "application/json");
    let told = answer.json();
    assert_eq!(
        (&told["token_type"], &told["expires_in"]),
        (&"bearer".into(), &43_200.into())
    );
    assert!(
        told.get("refresh_token").is_none(),
        "client credentials have none: {told}"
    );
    let access = text(&told, "access_token").to_owned();
    assert!(access.starts_with("wap_at_"));
    assert_eq!(wise.recorded().len(), 0, "nothing of it reaches Wise");
    assert_eq!(bearer(&house, &access).await.status, 200);
    assert!(!heard(&wise).contains("wap_"));

    let form = "grant_type=authorization_code&client_id=acme&code=old&redirect_uri=https%3A%2F%2Fa";
    let told = token(&house, client(&key), form).await.json();
    let refresh = text(&told, "refresh_token").to_owned();
    assert_eq!(told["refresh_token_expires_in"], 10_u64 * 365 * 24 * 3600);
    // The secret in the form, and a refresh token of ours and one of Wise's from before.
    for refresh in [&*refresh, "01234567-89ab-cdef-0123-456789abcdef"] {
        let form = format!(
            "grant_type=refresh_token&refresh_token={refresh}&client_id=acme&client_secret={key}"
        );
        let answer = token(&house, None, &form).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let again = answer.json();
        assert_eq!(
            bearer(&house, text(&again, "access_token")).await.status,
            200
        );
    }
    let form = "grant_type=registration_code&client_id=acme&email=a%40b&registration_code=c";
    assert_eq!(token(&house, client(&key), form).await.status, 200);

    let refused = async |field, form: &str, status: u16, error: &str| {
        let answer = token(&house, field, form).await;
        assert_eq!(answer.status.as_u16(), status, "{form}: {answer:?}");
        assert_eq!(answer.json()["error"], error, "{form}");
        assert_eq!(answer.headers["cache-control"], "no-store");
        answer
    };
    let credentials = "grant_type=client_credentials";
    let unknown = refused(client("wrong"), credentials, 401, "invalid_client").await;
    assert_eq!(
        unknown.headers["www-authenticate"],
        "Basic realm=\"wise-auth-proxy\""
    );
    refused(None, credentials, 401, "invalid_client").await;
    refused(client(&access), credentials, 401, "invalid_client").await;
    refused(
        client(&key),
        "grant_type=password",
        400,
        "unsupported_grant_type",
    )
    .await;
    refused(client(&key), "", 400, "invalid_request").await;
    refused(
        client(&key),
        "grant_type=refresh_token",
        400,
        "invalid_request",
    )
    .await;
    let forged = format!("grant_type=refresh_token&refresh_token={access}");
    refused(client(&key), &forged, 400, "invalid_grant").await;
    // With the right secret in it: what is wrong is the type, and not the client.
    let json = serde_json::json!({ "grant_type": "client_credentials", "client_secret": key });
    let answer = house.request(house::post("/oauth/token", &json)).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.json()["error"], "invalid_request");
    assert!(text(&answer.json(), "error_description").contains("no form"));
    let long = format!("grant_type=client_credentials&x={}", "x".repeat(64 * 1024));
    refused(client(&key), &long, 413, "invalid_request").await;
    for shown in [&*refresh, &format!("{access}x"), "wap_at_AAAA"] {
        let answer = bearer(&house, shown).await;
        assert_eq!(answer.status, 407, "{shown}");
        assert!(
            answer.json()["hint"]
                .as_str()
                .unwrap()
                .contains("/oauth/token")
        );
    }
    assert!(!heard(&wise).contains("/oauth/token"));

    // Neither the key nor a token made of it is shown or written down anywhere.
    let mut shown = Vec::new();
    for page in ["/status", "/metrics", "/"] {
        shown.push((page.into(), house.admin(page).await.body.to_vec()));
    }
    assert_eq!(house.stop().await.code(), Some(0));
    shown.push(("log".into(), house.log().into_bytes()));
    let files = house::files(site.directory.path());
    for (name, says) in [("access.log", "caller=payroll"), ("audit.log", "payroll")] {
        let path = site.path(name);
        let written = files.iter().find(|(file, _)| *file == path).unwrap();
        let text = String::from_utf8_lossy(&written.1);
        assert!(text.contains(says), "{name}: {text}");
    }
    shown.extend(files);
    for (place, bytes) in shown {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("wap_"), "{}: {text}", place.display());
    }
}

#[tokio::test]
async fn a_token_of_the_stand_in_outlives_a_restart_and_dies_with_its_key() {
    let wise = house::wise().await;
    let (site, house, key) = standing_in(&wise).await;
    let client = Some(basic(&format!("acme:{key}")));
    let form = "grant_type=client_credentials";
    let told = token(&house, client.clone(), form).await.json();
    let access = text(&told, "access_token").to_owned();
    assert_eq!(house.stop().await.code(), Some(0));
    let house = site.start().await;
    assert_eq!(bearer(&house, &access).await.status, 200, "after a restart");

    let rotate = ["caller", "rotate", "payroll", "--overlap", "1h"];
    let new = printed(&house.cli(&rotate).await);
    house.reload().await;
    assert_eq!(bearer(&house, &access).await.status, 200, "in the overlap");
    let told = token(&house, client.clone(), form).await.json();
    let life = told["expires_in"].as_u64().unwrap();
    assert!(
        (3500..=3600).contains(&life),
        "no longer than its key: {told}"
    );

    let rotate = ["caller", "rotate", "payroll", "--overlap", "0s"];
    printed(&house.cli(&rotate).await);
    house.reload().await;
    assert_eq!(
        bearer(&house, &access).await.status,
        407,
        "its key has ended"
    );
    assert_eq!(token(&house, client, form).await.status, 401);
    assert_eq!(bearer(&house, &new).await.status, 407);
}

#[tokio::test]
async fn a_stand_in_without_callers_serves_whoever_reaches_the_door() {
    let wise = house::wise().await;
    let site = House::on(&wise).prepare().await;
    let text_before = std::fs::read_to_string(&site.config).unwrap();
    let door = text_before.replacen(":0\"\n", ":0\"\nstand_in = true\n", 1);
    std::fs::write(&site.config, door).unwrap();
    let house = site.start().await;
    wise.clear();
    let client = basic("acme:the-applications-own-secret");
    let form = "grant_type=client_credentials";
    let told = token(&house, Some(client.clone()), form).await.json();
    assert_eq!(
        bearer(&house, text(&told, "access_token")).await.status,
        200
    );
    // Under the name that Wise's newer documents use.
    let calver = Request::post("/2026Q3/oauth/token").header("authorization", client);
    let answer = house.request(calver.body(Bytes::from(form)).unwrap()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let all = heard(&wise);
    assert!(
        !all.contains("oauth/token") && !all.contains("own-secret"),
        "{all}"
    );
    // A page of another origin gets none, whatever it sends.
    let page = Request::post("/oauth/token").header("origin", "https://evil.example");
    let answer = house.request(page.body(Bytes::from(form)).unwrap()).await;
    assert_eq!(answer.problem(), "wrong-host");
}
