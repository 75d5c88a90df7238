//! A healthy house.

use std::collections::BTreeSet;

use wise_auth_proxy::simulator::Outcome;

use super::{doctor, plan};
use crate::house::{self, PROFILE, Site};

/// The output of a command without what differs from run to run.
fn steady(site: &Site, text: &str, ports: &[(u16, &str)]) -> String {
    let mut text = text.replace(&site.socket.display().to_string(), "DIR/admin.sock");
    text = text.replace(&site.directory.path().display().to_string(), "DIR");
    for (port, name) in ports {
        text = text.replace(&format!(":{port}"), &format!(":{name}"));
    }
    let lines = text.lines().map(|line| {
        // What the disk has left, and what it is, is the machine's.
        for id in ["store.space", "store.filesystem"] {
            if let Some(at) = line.find(id) {
                return format!("{}{id} …", &line[..at]);
            }
        }
        dates(line)
    });
    let kept = lines.filter(|line| !line.contains("put store.path on a disk"));
    kept.collect::<Vec<_>>().join("\n")
}

/// Every day as `DATE`.
fn dates(line: &str) -> String {
    let is_day = |word: &[char]| {
        word.iter().enumerate().all(|(at, letter)| match at {
            4 | 7 => *letter == '-',
            _ => letter.is_ascii_digit(),
        })
    };
    let letters: Vec<char> = line.chars().collect();
    let (mut text, mut at) = (String::new(), 0);
    while at < letters.len() {
        if letters.get(at..at + 10).is_some_and(is_day) {
            text.push_str("DATE");
            at += 10;
        } else {
            text.push(letters[at]);
            at += 1;
        }
    }
    text
}

#[tokio::test]
async fn a_healthy_house_is_all_green_without_a_proxy() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    let seen = doctor(&site, &[]).await;
    seen.only(&[]);
    assert_eq!(seen.state("proxy.running"), "skipped");
    assert_eq!(seen.whole["lane"], "oauth-mtls");
    let accepted = seen.check("certificate.accepted");
    assert_eq!(accepted["facts"]["status"], 401, "no token was shown");
}

#[tokio::test]
async fn a_healthy_house_is_all_green_beside_its_proxy_and_undisturbed() {
    let wise = house::wise().await;
    let house = plan(&wise).start().await;
    house
        .status_until(|status| status["tokens"][0]["state"] == "live")
        .await;
    let client = "/v3/applications/acme/subscriptions";
    assert_eq!(house.get(client).await.status, 200, "it has a client token");
    let files = house::files(&house.site.path("state"));
    let (generation, before) = (wise.generation(PROFILE), wise.exchange_count());
    wise.clear();

    let seen = doctor(&house.site, &[]).await;

    seen.only(&[]);
    assert_eq!(seen.state("proxy.running"), "good");
    assert_eq!(seen.state("proxy.ready"), "good");
    seen.says("door.0", "answers; every program on this machine", "");
    seen.says("grant.main.token", "the proxy keeps it alive", "");

    // Nothing but reads and exchanges of client credentials, and nothing has changed.
    for asked in wise.recorded() {
        let what = (asked.method.as_str(), asked.target.as_str());
        assert!(
            matches!(what, ("GET", _) | ("POST", "/oauth/token")),
            "{what:?}"
        );
    }
    for exchange in &wise.exchanges()[before..] {
        assert_eq!(exchange.grant_type, "client_credentials");
        assert!(
            matches!(exchange.outcome, Outcome::Minted { .. }),
            "{exchange:?}"
        );
    }
    assert_eq!(wise.exchange_count(), before + 2, "one on each host");
    assert_eq!(wise.generation(PROFILE), generation);
    assert_eq!(house::files(&house.site.path("state")), files);
    assert_eq!(house.get("/v1/me").await.status, 200);
    assert_eq!(
        house.get(client).await.status,
        200,
        "its client token lives"
    );
    assert_eq!(wise.exchange_count(), before + 2);
}

#[tokio::test]
async fn a_person_reads_one_line_a_check_in_groups() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    let output = site.cli(&["doctor"]).await;
    let ports = [
        (wise.plain_address().port(), "PLAIN"),
        (wise.mtls_address().port(), "MTLS"),
    ];
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.stderr.is_empty(),
        "{:?}",
        String::from_utf8(output.stderr)
    );
    insta::assert_snapshot!(steady(&site, &text, &ports), @r#"
    Configuration
      ✓ config.file                 DIR/house.toml: custom, lanes personal oauth oauth-mtls
      ✓ config.lane                 oauth-mtls, as configured

    Secrets
      ✓ secret.personal.token       the file DIR/personal_token
      ✓ secret.oauth.client_secret  the file DIR/client_secret

    Clock
      ✓ clock.wise                  agrees with Wise's to a few seconds

    Names (DNS)
      ✓ dns.plain                   localhost: 127.0.0.1, fixed by upstream.resolve
      ✓ dns.mtls                    localhost: 127.0.0.1, fixed by upstream.resolve

    Connections (TCP)
      ✓ tcp.plain                   127.0.0.1:PLAIN answers
      ✓ tcp.mtls                    127.0.0.1:MTLS answers

    TLS
      ✓ tls.roots                   1 authority is trusted
      ✓ tls.plain                   localhost: TLS 1.3, HTTP/2
                                    CN=simulated Wise API, issued by O=Simulated Wise, CN=Simulated Wise server CA, until DATE
      ✓ tls.mtls                    localhost: TLS 1.3, HTTP/2, asks for a client certificate
                                    CN=simulated Wise API, issued by O=Simulated Wise, CN=Simulated Wise server CA, until DATE

    Client certificate
      ✓ certificate.pair            DIR/client.pem and its key (P-256), issued by O=Simulated Wise, CN=Simulated Wise client CA
      ✓ certificate.name            CN = acme, the client id
      ✓ certificate.days            364 days left, until DATE
      ✓ certificate.accepted        Wise takes it, and asks for a token next (401)

    OAuth client
      ✓ oauth.client.mtls           localhost knows client acme
      ✓ oauth.client.plain          localhost knows client acme

    Grants
      ✓ grant.main.record           granted by Ada Example for profile 30000000 on DATE, generation 1
      ✓ grant.main.token            11h 59m left; refresh token since DATE, until DATE
      ✓ grant.main.accepted         the token acts for Ada Example
      ✓ grant.main.profile          profile 30000000 is among the user's (business, Example Trading Ltd)

    Lanes
      ✓ lane.personal               reads 2 profiles
      ✓ lane.oauth                  reads 1 profile
      ✓ lane.oauth-mtls             reads 1 profile

    Store
      ✓ store.directory             DIR/state: grants main
      ✓ store.filesystem …
      ✓ store.space …
      ✓ store.durable               a record is written, synced, renamed and read back

    Proxy and doors
      – proxy.running               no proxy runs (nothing listens on DIR/admin.sock)
      ✓ door.0                      127.0.0.1:0 is free

    30 good, 1 not checked
    "#);
}

#[tokio::test]
async fn a_failure_is_marked_below_it_what_to_do_and_at_the_end_where_to_begin() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    std::fs::remove_file(site.path("client.key")).unwrap();
    let output = site.cli(&["doctor", "--offline"]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    insta::assert_snapshot!(steady(&site, &(text + &talk), &[]), @r#"
    Configuration
      ✓ config.file                 DIR/house.toml: custom, lanes personal oauth oauth-mtls
      ✓ config.lane                 oauth-mtls, as configured

    Secrets
      ✓ secret.personal.token       the file DIR/personal_token
      ✓ secret.oauth.client_secret  the file DIR/client_secret

    Clock
      – clock.wise                  not checked: --offline

    Names (DNS)
      – dns.plain                   not checked: --offline
      – dns.mtls                    not checked: --offline

    Connections (TCP)
      – tcp.plain                   not checked: --offline
      – tcp.mtls                    not checked: --offline

    TLS
      ✓ tls.roots                   1 authority is trusted
      – tls.plain                   not checked: --offline
      – tls.mtls                    not checked: --offline

    Client certificate
      ✗ certificate.pair            cannot read DIR/client.key: No such file or directory (os error 2)
                                    hint: `wise-auth-proxy csr --organisation "NAME" --config DIR/house.toml` makes the key and what Wise's Developer Hub signs
      – certificate.name            not checked, because certificate.pair failed
      – certificate.days            not checked, because certificate.pair failed
      – certificate.accepted        not checked, because certificate.pair failed

    OAuth client
      – oauth.client.mtls           not checked, because certificate.pair failed
      – oauth.client.plain          not checked: --offline

    Grants
      ✓ grant.main.record           granted by Ada Example for profile 30000000 on DATE, generation 1
      ✓ grant.main.token            11h 59m left; refresh token since DATE, until DATE
      – grant.main.accepted         not checked, because certificate.pair failed
      – grant.main.profile          not checked, because certificate.pair failed

    Lanes
      – lane.personal               not checked: --offline
      – lane.oauth                  not checked: --offline
      – lane.oauth-mtls             not checked, because certificate.pair failed

    Store
      ✓ store.directory             DIR/state: grants main
      ✓ store.filesystem …
      ✓ store.space …
      ✓ store.durable               a record is written, synced, renamed and read back

    Proxy and doors
      – proxy.running               no proxy runs (nothing listens on DIR/admin.sock)
      ✓ door.0                      127.0.0.1:0 is free

    12 good, 1 failed, 18 not checked
    error: 1 check failed
    hint: begin with certificate.pair, and run this again: others may go with it
    "#);
}

#[tokio::test]
async fn offline_nothing_leaves_the_machine() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    wise.clear();
    let (exchanges, before) = (wise.exchange_count(), wise.counters());
    let seen = doctor(&site, &["--offline"]).await;
    assert_eq!(seen.code, 0, "{:#}", seen.whole);
    assert!(wise.recorded().is_empty());
    assert_eq!(wise.exchange_count(), exchanges);
    assert_eq!(format!("{:?}", wise.counters()), format!("{before:?}"));
    for id in [
        "dns.plain",
        "tcp.mtls",
        "tls.mtls",
        "clock.wise",
        "lane.oauth",
    ] {
        assert_eq!(seen.text(id), "not checked: --offline");
    }
    for id in [
        "certificate.pair",
        "store.durable",
        "grant.main.token",
        "tls.roots",
    ] {
        assert_eq!(seen.state(id), "good");
    }
}

#[tokio::test]
async fn a_house_that_nobody_has_logged_in_to_is_told_how_and_left_as_it_was() {
    let wise = house::wise().await;
    let site = plan(&wise).logged_out().prepare().await;
    let seen = doctor(&site, &[]).await;
    seen.only(&[
        ("grant.main.record", "failed"),
        ("store.directory", "skipped"),
    ]);
    let config = site.config.display();
    let login = format!("`wise-auth-proxy login --grant main --config {config}`");
    seen.says("grant.main.record", "nobody has logged in", &login);
    assert_eq!(
        seen.left_out("grant.main.record"),
        ["lane.oauth", "lane.oauth-mtls"]
    );
    assert!(!site.path("state").exists(), "looking makes no store");
}

/// The ids on the page of checks.
pub fn listed() -> BTreeSet<&'static str> {
    const PAGE: &str = include_str!("../../../docs/doctor.md");
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).collect()
}

/// Ids are promised to programs: the page lists every one, and no check has another.
#[tokio::test]
async fn every_check_is_on_the_page_of_checks() {
    let listed = listed();
    let wise = house::wise().await;
    let doors = "[[door]]\naddress = \"127.0.0.1:0\"\ncallers = [\"payroll\"]\n[[caller]]\n\
        name = \"payroll\"\nkey = { file = \"door_key\" }\n";
    let plan = plan(&wise)
        .toml(doors)
        .set("store.seal_key", "{ file = \"seal_key\" }");
    let site = plan.logged_out().prepare().await;
    site.secret("door_key", "a key of this door's own");
    site.secret("seal_key", "c2V2ZW5zZXZlbnNldmVuc2V2ZW5zZXZlbnNldmVuMTI=");
    site.log_in(&wise, "main", PROFILE).await;
    let house = site.start().await;
    let elsewhere = format!(
        "wise.token_url=https://127.0.0.1:{}/oauth/token",
        wise.plain_address().port()
    );
    let mut unseen = listed.clone();
    for more in [&[][..], &["--set", &elsewhere]] {
        let seen = doctor(&house.site, more).await;
        // Which is a way around the callers of the other.
        seen.only(&[("door.0", "warning")]);
        for check in seen.checks() {
            let id = check["id"].as_str().unwrap();
            let general = id.replace("door.0", "door.N").replace("door.1", "door.N");
            let general = general.replace("grant.main.", "grant.NAME.");
            let general = general.replace("caller.payroll", "caller.NAME");
            assert!(listed.contains(&*general), "{general} is not on the page");
            unseen.remove(&*general);
        }
    }
    // Of production, and of houses with a record, CONNECT, a proxy on the way out, notifications or
    // keys for bodies, approvals and webhooks.
    let elsewhere = [
        "audit.end",
        "audit.file",
        "audit.space",
        "ca",
        "jose.encryption_key",
        "jose.signing_key",
        "sca.key",
        "secret.admin.key",
        "secret.mtls.key_passphrase",
        "secret.notify.authorization",
        "secret.notify.webhook",
        "secret.sca.approval_authorization",
        "secret.sca.approval_webhook",
        "secret.upstream.via_credentials",
        "tls.mtls-other",
        "webhook.NAME.forward",
        "webhook.NAME.keys",
        "webhook.NAME.queue",
        "webhook.NAME.signature_key",
    ];
    assert_eq!(unseen.into_iter().collect::<Vec<_>>(), elsewhere);
}
