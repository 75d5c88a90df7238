//! `migrate status`: every step from nothing to migrated, in order, each by its evidence; and each
//! taken back by taking its evidence away.

use std::fs;
use std::process::Output;
use std::sync::Arc;

use serde_json::Value;
use wise_auth_proxy::simulator::Simulator;

use crate::house::{
    CLIENT_ID, CLIENT_SECRET, House, PERSONAL_TOKEN, PROFILE, REDIRECT, Site, wise,
};

const CONFIG: &str = "wise-auth-proxy.toml";

/// What the guide says of this site now.
struct Guide(Value);

impl Guide {
    async fn of(site: &Site, flags: &[&str]) -> Self {
        let output = site
            .cli(&[&["migrate", "status", "--json"], flags].concat())
            .await;
        assert!(output.status.success(), "{output:?}");
        Self(serde_json::from_slice(&output.stdout).unwrap())
    }

    fn step(&self, name: &str) -> &Value {
        let steps = self.0["steps"].as_array().unwrap();
        steps
            .iter()
            .find(|step| step["step"] == name)
            .unwrap_or_else(|| panic!("no step {name}: {:#}", self.0))
    }

    fn is(&self, name: &str, state: &str) {
        let step = self.step(name);
        assert_eq!(step["state"], state, "{name}: {:#}", self.0);
    }

    /// What speaks for a step.
    fn seen(&self, name: &str) -> &str {
        self.step(name)["evidence"].as_str().unwrap()
    }

    fn next(&self) -> (&str, &str) {
        let next = &self.0["next"];
        let text = |key: &str| next[key].as_str().unwrap_or_default();
        (text("step"), text("command"))
    }

    fn done(&self) -> (u64, u64) {
        (
            self.0["done"].as_u64().unwrap(),
            self.0["total"].as_u64().unwrap(),
        )
    }
}

async fn succeeds(site: &Site, args: &[&str]) -> Output {
    let output = site.cli(args).await;
    assert!(output.status.success(), "{args:?}: {output:?}");
    output
}

/// A directory as `simulator --dir wise` leaves it, beside a Wise of this process.
fn beside(wise: &Simulator) -> Site {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let site = Site::of(directory, CONFIG);
    fs::create_dir(site.path("wise")).unwrap();
    site.secret("wise/client_secret", CLIENT_SECRET);
    site.secret("wise/personal_token", PERSONAL_TOKEN);
    fs::write(site.path("wise/ca.pem"), wise.ca_pem()).unwrap();
    let (plain, mtls) = (wise.plain_url(), wise.mtls_url());
    let proxy = format!(
        r#"environment = "custom"
[wise]
plain = "{plain}"
mtls = "{mtls}"
extra_ca = "ca.pem"
roots = "only-extra"
[switch]
lane = "oauth-mtls"
[oauth]
client_id = "{CLIENT_ID}"
client_secret = {{ file = "client_secret" }}
[[grant]]
name = "main"
[personal]
token = {{ file = "personal_token" }}
[mtls]
certificate = "client.pem"
key = "client.key"
"#
    );
    fs::write(site.path("wise/proxy.toml"), proxy).unwrap();
    site
}

async fn init(site: &Site, flags: &[&str]) {
    let usual = [
        "init",
        "--yes",
        "--simulator",
        "wise",
        "--organisation",
        "Acme Ltd",
        "--country",
        "GB",
        "--redirect-uri",
        REDIRECT,
    ];
    let output = site.cli(&[&usual, flags].concat()).await;
    assert!(output.status.success(), "{output:?}");
}

async fn certificate(site: &Site, wise: &Simulator, name: &str) {
    let csr = [
        "csr",
        "--organisation",
        "Acme Ltd",
        "--country",
        "GB",
        "--key-type",
        "p256",
    ];
    succeeds(site, &csr).await;
    install(site, wise, name).await;
}

async fn install(site: &Site, wise: &Simulator, name: &str) {
    let csr = fs::read_to_string(site.path("secrets/client.csr")).unwrap();
    let leaf = wise.sign_csr(name, &csr).unwrap();
    fs::write(site.path("downloaded.pem"), leaf).unwrap();
    succeeds(site, &["cert", "install", "downloaded.pem"]).await;
}

/// Takes a file away for as long as the look takes.
async fn without(site: &Site, file: &str, flags: &[&str]) -> Guide {
    let (here, away) = (site.path(file), site.path("away"));
    fs::rename(&here, &away).unwrap();
    let guide = Guide::of(site, flags).await;
    fs::rename(&away, &here).unwrap();
    guide
}

#[tokio::test]
async fn the_whole_way_from_a_personal_token_is_judged_by_evidence() {
    let wise = wise().await;
    let site = beside(&wise);

    // Nothing yet.
    let guide = Guide::of(&site, &[]).await;
    assert_eq!(guide.next().0, "configuration");
    guide.is("credentials", "blocked");

    // A configuration; Wise is asked over the plain host.
    init(&site, &[]).await;
    let asked = wise.exchange_count();
    let guide = Guide::of(&site, &[]).await;
    assert_eq!(wise.exchange_count(), asked + 1, "one question");
    guide.is("configuration", "done");
    guide.is("credentials", "done");
    guide.is("request", "to-do");
    guide.is("certificate", "blocked");
    guide.is("grant", "blocked");
    guide.is("way-back", "done");
    let (step, command) = guide.next();
    assert_eq!(step, "request");
    assert!(command.starts_with("wise-auth-proxy csr --organisation 'Acme Ltd' --country GB"));

    // What waits says already what it will be.
    for step in guide.0["steps"].as_array().unwrap() {
        let is_done = step["state"] == "done";
        assert_eq!(step["next"]["command"].is_null(), is_done, "{step:#}");
    }
    let grant = guide.step("grant")["next"]["command"].as_str().unwrap();
    assert!(grant.starts_with("wise-auth-proxy login"), "{grant}");

    // Offline nobody is asked, and nobody knows.
    let asked = wise.exchange_count();
    let guide = Guide::of(&site, &["--offline"]).await;
    assert_eq!(wise.exchange_count(), asked);
    guide.is("credentials", "to-do");
    assert_eq!(guide.seen("credentials"), "Wise was not asked");

    // Undone: another secret; none at all; no configuration.
    site.secret("wise/client_secret", "not-the-one");
    let guide = Guide::of(&site, &[]).await;
    guide.is("credentials", "to-do");
    assert!(
        guide.seen("credentials").contains("does not accept"),
        "{}",
        guide.0
    );
    site.secret("wise/client_secret", CLIENT_SECRET);
    let guide = without(&site, "wise/client_secret", &[]).await;
    assert_eq!(guide.next().1, "(umask 077; cat > wise/client_secret)");
    without(&site, CONFIG, &[])
        .await
        .is("configuration", "to-do");

    // Key, request, certificate. The first answer over mutual TLS proves the handshake.
    let guide = without(&site, "wise/personal_token", &[]).await;
    guide.is("way-back", "to-do");
    certificate(&site, &wise, "acme").await;
    let guide = Guide::of(&site, &[]).await;
    guide.is("request", "done");
    guide.is("certificate", "done");
    assert!(
        guide
            .seen("certificate")
            .starts_with("certificate acme, 364 days left")
    );
    guide.is("handshake", "done");
    guide.is("grant", "to-do");
    assert_eq!(guide.next().0, "grant");

    // The picture has the commands of all that can be done, in any order.
    let drawn = succeeds(&site, &["migrate", "status"]).await.stdout;
    let drawn = String::from_utf8(drawn).unwrap();
    let lines: Vec<_> = drawn.lines().collect();
    let proxy = lines.iter().position(|line| line.contains("○ proxy"));
    let command = lines[proxy.expect(&drawn) + 1].trim();
    assert!(command.starts_with("wise-auth-proxy run"), "{drawn}");
    let command = guide.next().1;
    assert_eq!(
        drawn.matches(command).count(),
        1,
        "only at the end: {drawn}"
    );
    without(&site, "secrets/client.pem", &[])
        .await
        .is("certificate", "to-do");
    let guide = without(&site, "secrets/client.key", &[]).await;
    guide.is("request", "to-do");
    guide.is("certificate", "blocked");
    let guide = without(&site, "secrets/client.csr", &[]).await;
    guide.is("request", "done");
    wise.revoke_certificate("acme").unwrap();
    let guide = Guide::of(&site, &[]).await;
    guide.is("handshake", "to-do");
    install(&site, &wise, "acme, the second").await;
    Guide::of(&site, &[]).await.is("handshake", "done");

    // A login, at rest.
    site.log_in(&wise, "main", PROFILE).await;
    let guide = Guide::of(&site, &[]).await;
    guide.is("grant", "done");
    assert!(
        guide.seen("grant").contains(&PROFILE.to_string()),
        "{}",
        guide.0
    );
    assert_eq!(guide.next().0, "proxy");
    let guide = Guide::of(&site, &["--offline"]).await;
    assert_ne!(guide.step("grant")["state"], "done");
    assert!(guide.seen("grant").contains("nobody knows"), "{}", guide.0);
    without(&site, "state/main.grant", &[])
        .await
        .is("grant", "to-do");
    let rendered = without(&site, "state/seal.key", &[]).await;
    rendered.is("grant", "to-do");

    // The proxy runs, where the company is today.
    let house = site.start().await;
    let guide = Guide::of(&site, &[]).await;
    guide.is("proxy", "done");
    guide.is("applications", "to-do");
    let door = house.door;
    assert_eq!(
        guide.next().1,
        format!("curl -sS http://{door}/v2/profiles")
    );
    assert!(guide.seen("lane").starts_with("personal, as configured"));
    assert_eq!(house.get("/v2/profiles").await.status, 200);
    let guide = Guide::of(&site, &[]).await;
    guide.is("applications", "done");
    guide.is("traffic", "blocked");
    assert_eq!(guide.next().0, "lane");

    // Over, back, and over again.
    house.switch("oauth-mtls").await;
    let guide = Guide::of(&site, &[]).await;
    guide.is("lane", "done");
    guide.is("traffic", "to-do");
    assert_eq!(house.get("/v2/profiles").await.status, 200);
    let guide = Guide::of(&site, &[]).await;
    guide.is("traffic", "done");
    assert_eq!(guide.next().0, "rehearsal");
    house.switch("personal").await;
    let guide = Guide::of(&site, &[]).await;
    guide.is("lane", "to-do");
    guide.is("rehearsal", "to-do");
    assert!(guide.next().1.starts_with("curl"), "{}", guide.0);
    house.switch("oauth-mtls").await;
    let guide = Guide::of(&site, &[]).await;
    guide.is("rehearsal", "to-do");
    assert!(
        guide
            .seen("rehearsal")
            .starts_with("no request was answered")
    );
    house.switch("personal").await;
    assert_eq!(house.get("/v2/profiles").await.status, 200);
    let guide = Guide::of(&site, &[]).await;
    assert_eq!(guide.next().0, "lane");
    assert!(guide.next().1.contains("'rehearsal over'"), "{}", guide.0);
    house.switch("oauth-mtls").await;
    let guide = Guide::of(&site, &[]).await;
    guide.is("rehearsal", "done");
    let (step, command) = guide.next();
    assert_eq!(step, "flows");
    assert!(
        command.starts_with("wise-auth-proxy migrate confirm flows"),
        "{command}"
    );
    succeeds(&site, &["migrate", "confirm", "flows"]).await;
    let guide = Guide::of(&site, &[]).await;
    assert_eq!(guide.done(), (13, 13), "{:#}", guide.0);
    assert_eq!(guide.next().0, "");

    // A grant that ends is seen at once, and so is a proxy that does.
    wise.disconnect(PROFILE);
    let refreshed = house.cli(&["token", "refresh", "main"]).await;
    assert!(!refreshed.status.success());
    Guide::of(&site, &[]).await.is("grant", "to-do");
    house.stop().await;
    let guide = Guide::of(&site, &[]).await;
    guide.is("proxy", "to-do");
    guide.is("traffic", "done");
    without(&site, "state/lanes.json", &[])
        .await
        .is("traffic", "blocked");
    without(&site, "state/switch.log", &[])
        .await
        .is("rehearsal", "to-do");
    without(&site, "state/migration.log", &[])
        .await
        .is("flows", "to-do");

    // Answers over the pair before say nothing of the one in use.
    install(&site, &wise, "acme, the third").await;
    Guide::of(&site, &[]).await.is("handshake", "done");
    wise.revoke_certificate("acme, the third").unwrap();
    Guide::of(&site, &[]).await.is("handshake", "to-do");
    let lanes = site.path("state/lanes.json");
    let mut usage: Value = serde_json::from_slice(&fs::read(&lanes).unwrap()).unwrap();
    usage["oauth-mtls"]["last_accepted"] = "2026-01-01T00:00:00Z".into();
    fs::write(&lanes, usage.to_string()).unwrap();
    let guide = Guide::of(&site, &["--offline"]).await;
    assert_ne!(guide.step("handshake")["state"], "done");
    usage["oauth-mtls"]["last_accepted"] = "2999-01-01T00:00:00Z".into();
    fs::write(&lanes, usage.to_string()).unwrap();
    let guide = Guide::of(&site, &["--offline"]).await;
    guide.is("handshake", "done");
}

#[tokio::test]
async fn a_grant_that_was_taken_back_at_wise_is_not_alive_though_it_is_stored() {
    let wise = wise().await;
    let site = beside(&wise);
    init(&site, &[]).await;
    certificate(&site, &wise, "acme").await;
    site.log_in(&wise, "main", PROFILE).await;
    let guide = Guide::of(&site, &[]).await;
    guide.is("grant", "done");
    let record = fs::read(site.path("state/main.grant")).unwrap();
    wise.disconnect(PROFILE);
    let guide = Guide::of(&site, &[]).await;
    guide.is("grant", "to-do");
    assert!(guide.seen("grant").contains("does not know"), "{}", guide.0);
    let after = fs::read(site.path("state/main.grant")).unwrap();
    assert_eq!(record, after, "a question renews nothing");
}

#[tokio::test]
async fn production_ends_with_the_personal_token_gone() {
    let wise = wise().await;
    let site = beside(&wise);
    init(&site, &[]).await;
    certificate(&site, &wise, "acme").await;
    site.log_in(&wise, "main", PROFILE).await;
    let house = site.start().await;
    assert_eq!(house.get("/v2/profiles").await.status, 200);
    house.switch("oauth-mtls").await;
    assert_eq!(house.get("/v2/profiles").await.status, 200);
    let production = &["--guide", "production"][..];

    let guide = Guide::of(&site, production).await;
    assert_eq!(guide.next().0, "told");
    guide.is("enforced", "blocked");
    for step in ["told", "enforced"] {
        succeeds(&site, &["migrate", "confirm", step]).await;
        Guide::of(&site, production).await.is(step, "done");
        succeeds(&site, &["migrate", "confirm", step, "--undo"]).await;
        Guide::of(&site, production).await.is(step, "to-do");
        succeeds(&site, &["migrate", "confirm", step]).await;
    }
    let guide = Guide::of(&site, production).await;
    assert!(
        guide.seen("way-back").starts_with("closed: "),
        "{}",
        guide.0
    );
    assert_eq!(guide.next().0, "unused");
    assert_eq!(guide.seen("unused"), "last used just now");

    // A week later.
    house.stop().await;
    let lanes = site.path("state/lanes.json");
    let mut usage: Value = serde_json::from_slice(&fs::read(&lanes).unwrap()).unwrap();
    assert_eq!(
        usage["personal"]["answers"], 1,
        "remembered at the stop: {usage}"
    );
    usage["personal"]["last"] = "2026-01-01T00:00:00Z".into();
    fs::write(&lanes, usage.to_string()).unwrap();
    let house = site.start().await;
    let guide = Guide::of(&site, production).await;
    guide.is("unused", "done");
    // The configuration as it was named, so that it is right from anywhere.
    let config = site.config.display();
    let take_out = format!("wise-auth-proxy init --personal-token no --config {config}");
    assert_eq!(guide.next(), ("deleted", take_out.as_str()));
    succeeds(&site, &["migrate", "confirm", "deleted"]).await;
    Guide::of(&site, production).await.is("deleted", "to-do");
    init(&site, &["--personal-token", "no", "--force"]).await;
    house.stop().await;
    let house = site.start().await;
    let guide = Guide::of(&site, production).await;
    assert_eq!(guide.next(), ("deleted", "rm wise/personal_token"));
    fs::remove_file(site.path("wise/personal_token")).unwrap();
    let guide = Guide::of(&site, production).await;
    let (done, total) = guide.done();
    assert_eq!(done, total, "{:#}", guide.0);
    drop(house);
}

#[tokio::test]
async fn who_comes_from_client_credentials_goes_back_to_ordinary_tls() {
    let wise = wise().await;
    let site = beside(&wise);
    init(&site, &["--from", "client-credentials"]).await;
    certificate(&site, &wise, "acme").await;
    site.log_in(&wise, "main", PROFILE).await;
    let house = site.start().await;
    assert_eq!(house.get("/v2/profiles").await.status, 200);
    let guide = Guide::of(&site, &["--guide", "production"]).await;
    assert_eq!(guide.0["from"], "client-credentials");
    assert_eq!(
        guide.seen("way-back"),
        "lane oauth can be taken at any time"
    );
    assert!(guide.seen("lane").starts_with("oauth, as configured"));
    assert_eq!(guide.next().0, "lane");
    let names: Vec<_> = guide.0["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert!(
        !names.contains(&"deleted") && names.ends_with(&["told", "enforced"]),
        "{names:?}"
    );
    house.switch("oauth-mtls").await;
    assert_eq!(house.get("/v2/profiles").await.status, 200);
    assert_eq!(Guide::of(&site, &[]).await.next().0, "rehearsal");
    house.switch("oauth").await;
    assert_eq!(house.get("/v2/profiles").await.status, 200);
    house.switch("oauth-mtls").await;
    Guide::of(&site, &[]).await.is("rehearsal", "done");
}

#[tokio::test]
async fn a_certificate_of_another_client_is_not_in_place() {
    let wise = wise().await;
    let site = beside(&wise);
    init(&site, &[]).await;
    wise.change_faults(|faults| faults.hub.common_name = Some("somebody-else".into()));
    certificate(&site, &wise, "wrong").await;
    let guide = Guide::of(&site, &[]).await;
    guide.is("certificate", "to-do");
    let seen = guide.seen("certificate");
    assert!(
        seen.contains("`somebody-else`") && seen.contains("`acme`"),
        "{seen}"
    );
    wise.change_faults(|faults| faults.hub.common_name = None);
    install(&site, &wise, "right").await;
    Guide::of(&site, &[]).await.is("certificate", "done");
}

#[tokio::test]
async fn asking_ends_no_token_of_a_running_proxy() {
    let wise = wise().await;
    let house = House::on(&wise).start().await;
    assert_eq!(house.get("/v1/me").await.status, 200);
    let before = house.status().await["tokens"][0]["generation"].clone();
    let guide = Guide::of(&house.site, &[]).await;
    guide.is("credentials", "done");
    assert_eq!(house.get("/v1/me").await.status, 200);
    let after = house.status().await;
    assert_eq!(
        after["tokens"][0]["generation"], before,
        "no renewal was forced"
    );
}

#[tokio::test]
async fn what_cannot_be_told_is_an_error_and_not_a_list() {
    let wise = wise().await;
    let site = beside(&wise);
    init(&site, &[]).await;
    let good = fs::read_to_string(&site.config).unwrap();
    fs::write(&site.config, format!("{good}\nsurplus = 1\n")).unwrap();
    let output = site.cli(&["migrate", "status"]).await;
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(output.stdout.is_empty());
    fs::write(&site.config, &good).unwrap();
    for file in ["lanes.json", "migration.json", "switch.json"] {
        let path = site.path("state").join(file);
        let before = fs::read(&path).ok();
        fs::write(&path, "{\"to\": 1}x").unwrap();
        let output = site.cli(&["migrate", "status", "--offline"]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(file) && said.contains("hint:"), "{said}");
        match before {
            Some(before) => fs::write(&path, before).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    }
}

#[tokio::test]
async fn only_what_a_person_alone_can_know_is_confirmed() {
    let wise = wise().await;
    let site = beside(&wise);
    init(&site, &[]).await;
    for (args, code, words) in [
        (
            &["certificate"][..],
            2,
            "the steps to confirm are flows, told, enforced and deleted",
        ),
        (
            &["nonsense"],
            2,
            "the steps to confirm are flows, told, enforced and deleted",
        ),
        (&["told", "--undo"], 1, "step told is not confirmed"),
        (&["told", "--json"], 0, ""),
        (&["told", "--undo"], 0, "taken back"),
    ] {
        let output = site.cli(&[&["migrate", "confirm"], args].concat()).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
    let log = fs::read_to_string(site.path("state/migration.log")).unwrap();
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(log.contains("(uid "), "{log}");
}
