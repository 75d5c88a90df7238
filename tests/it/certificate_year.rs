//! A certificate's year: it is said that it ends, the next is made beside it, takes its place under
//! load, and the way back is open.

use std::collections::BTreeSet;

use wise_auth_proxy::simulator::{Options, Recorded, Simulator};

use crate::house::{self, House, PATIENCE, Site};
use crate::traffic::Traffic;
use crate::wire::Wire;

const DAY: u32 = 86_400;

/// Issues certificates that live so long from now on.
fn issue_for(wise: &Simulator, seconds: u32) {
    wise.change_faults(|faults| faults.hub.certificate_lifetime = seconds);
}

/// Serial of the certificate that a request came with.
fn shown(arrived: &Recorded) -> Option<String> {
    let certificate = arrived.tls.as_ref()?.client_certificate.as_ref()?;
    Some(certificate.serial.clone())
}

/// What `/status` says of the end of the certificate in use.
async fn findings(house: &House) -> String {
    house.status().await["certificate"]["findings"].to_string()
}

/// Lines of the log that hold all of these.
fn lines(log: &str, words: &[&str]) -> usize {
    log.lines()
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .count()
}

#[tokio::test]
async fn a_certificate_near_its_end_is_said_once_where_an_operator_looks() {
    let wise = house::wise().await;
    let site = House::on(&wise)
        .set("runtime.reload_interval", "100ms")
        .prepare()
        .await;
    let house = site.start().await;
    house.get("/v1/me").await;
    assert_eq!(findings(&house).await, "[]");
    assert_eq!(lines(&house.log(), &["expires in"]), 0, "{}", house.log());
    let days = house.metric("wise_proxy_certificate_days_left", "").await;
    assert!((363.0..=365.0).contains(&days), "{days}");

    let mut said = 0;
    for (lifetime, days, level) in [
        (25 * DAY, "24 days", "WARN"),
        (10 * DAY, "9 days", "WARN"),
        (5 * DAY, "4 days", "WARN"),
        (DAY / 2, "less than a day", "ERROR"),
    ] {
        issue_for(&wise, lifetime);
        site.certificate(&wise, days);
        let wanted = format!("the client certificate expires in {days}");
        house.logs(&wanted).await;
        said += 1;
        assert_eq!(lines(&house.log(), &[level, &wanted]), 1, "{}", house.log());
        let told = findings(&house).await;
        assert!(
            told.contains(&wanted) && told.contains("csr --renew"),
            "{told}"
        );
        let end = wise.certificates().pop().unwrap().expires;
        let metric = "wise_proxy_certificate_not_after_timestamp_seconds";
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let expected = end as f64;
        assert!((house.metric(metric, "").await - expected).abs() < 0.5);
        let shown = house.cli(&["status"]).await;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains(&wanted), "{shown}");
        let shown = house.cli(&["cert", "show"]).await;
        assert!(shown.status.success(), "it can still be used");
        let shown = String::from_utf8_lossy(&shown.stderr).into_owned();
        assert!(shown.contains(&wanted), "{shown}");
    }
    assert_eq!(house.get("/v1/me").await.status, 200);
    assert_eq!(house.admin("/readyz").await.status, 200, "it still serves");
    // Each only once, however often it was looked at.
    assert_eq!(
        lines(&house.log(), &["expires in"]),
        said,
        "{}",
        house.log()
    );

    let status = house.status().await;
    let events = status["events"].as_array().unwrap().iter();
    let ends: Vec<_> = events
        .filter(|event| event["kind"] == "certificate_expiring")
        .collect();
    assert_eq!(ends.len(), said, "{ends:#?}");
    let last = ends.last().unwrap()["text"].as_str().unwrap();
    assert!(last.contains("expires in less than a day"), "{last}");

    // A restart says where it stands, once.
    assert_eq!(house.stop().await.code(), Some(0));
    let house = site.start().await;
    house.logs("expires in less than a day").await;
    house.get("/v1/me").await;
    assert_eq!(house.stop().await.code(), Some(0));
    assert_eq!(lines(&house.log(), &["expires in"]), 1, "{}", house.log());
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn each_threshold_is_said_when_its_day_comes() {
    let wise = house::wise().await;
    let site = House::on(&wise)
        .set("runtime.reload_interval", "50ms")
        .prepare()
        .await;
    issue_for(&wise, 40 * DAY);
    site.certificate(&wise, "forty");
    let house = site.start().await;
    for (day, level, words) in [
        (11_u32, "WARN", "expires in 28 days"),
        (27, "WARN", "expires in 12 days"),
        (34, "WARN", "expires in 5 days"),
        (39, "ERROR", "expires in less than a day"),
        (43, "ERROR", "expired 3 days ago"),
    ] {
        // An hour later each time: a reminder a day is not what is looked for here.
        site.failpoints(&format!("wall = {}", day * DAY + 3600));
        house.logs(words).await;
        assert_eq!(lines(&house.log(), &[level, words]), 1, "{}", house.log());
    }
    // The clock goes back to the right time and forth again: nothing is said anew.
    for day in [0, 28, 0, 40, 43] {
        site.failpoints(&format!("wall = {}", day * DAY + 3600));
        let left = 40 - i64::from(day) - 1;
        let wanted = |status: &serde_json::Value| {
            let days = status["certificate"]["days_left"].as_i64().unwrap();
            (left - 1..=left).contains(&days)
        };
        house.status_until(wanted).await;
    }
    assert_eq!(
        lines(&house.log(), &["the client certificate expire"]),
        5,
        "{}",
        house.log()
    );
    let ready = house.admin("/readyz").await;
    let reason = String::from_utf8_lossy(&ready.body).into_owned();
    assert!(reason.contains("expired 3 days ago"), "{reason}");
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_certificate_that_only_a_door_with_a_lane_of_its_own_needs_counts_for_readiness() {
    for (pinned, status) in [("", 200), ("lane = \"oauth-mtls\"\n", 503)] {
        let wise = house::wise().await;
        let door = format!("[[door]]\naddress = \"unix:old.sock\"\n{pinned}");
        let plan = House::on(&wise).lane("personal").logged_out().toml(&door);
        let site = plan.prepare().await;
        issue_for(&wise, 40 * DAY);
        site.certificate(&wise, "forty");
        let house = site.start().await;
        site.failpoints(&format!("wall = {}", 43 * DAY));
        let ended = |status: &serde_json::Value| {
            let left = status["certificate"]["days_left"].as_i64();
            left.is_some_and(|days| days < 0)
        };
        house.status_until(ended).await;
        let ready = house.admin("/readyz").await;
        let reasons = String::from_utf8_lossy(&ready.body).into_owned();
        assert_eq!(ready.status, status, "{reasons}");
        let said = reasons.contains("client certificate: ");
        assert_eq!(said, status == 503, "{reasons}");
    }
}

/// Runs a command that must succeed; returns what it said.
async fn done(site: &Site, args: &[&str]) -> String {
    let output = site.cli(args).await;
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{args:?}: {said}");
    said
}

/// What a person does in the Developer Hub with the request that lies there.
fn sign(site: &Site, wise: &Simulator, name: &str) {
    let csr = std::fs::read_to_string(site.path("client.next.csr")).unwrap();
    let leaf = wise.sign_csr(name, &csr).unwrap();
    std::fs::write(site.path("client.next.pem"), leaf).unwrap();
}

/// A request whose second half is still to come.
struct Upload(Wire);

const HALF: usize = 64 * 1024;

impl Upload {
    async fn begin(house: &House, path: &str) -> Self {
        let mut wire = Wire::to(house.door).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Wise-Profile: 30000000\r\n\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            2 * HALF
        );
        wire.send(head).await;
        wire.send(vec![b'a'; HALF]).await;
        Self(wire)
    }

    async fn end(mut self) {
        self.0.send(vec![b'b'; HALF]).await;
        let answer = self.0.answer().await;
        assert_eq!(
            answer.status, 200,
            "a request under way ends well: {answer:?}"
        );
        assert_eq!(answer.json()["bytes"], 2 * HALF);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_takes_over_under_load_and_goes_back_without_a_lost_request() {
    const SLOW: usize = 12;
    let wise = Simulator::start(Options {
        recorder_capacity: 200_000,
        ..house::wise_options()
    })
    .await
    .unwrap();
    for http in ["1.1", "2"] {
        wise.clear();
        let house = House::on(&wise).set("upstream.http", http).start().await;
        let old = wise.certificates().pop().unwrap().serial;
        let traffic = Traffic::on(&house);
        traffic.goes_on().await;
        done(&house.site, &["csr", "--renew", "--key-type", "p256"]).await;
        sign(&house.site, &wise, &format!("renewed for {http}"));
        let new = wise.certificates().pop().unwrap().serial;

        let mut seen = Vec::new();
        for (command, before, after) in [
            (&["cert", "install", "client.next.pem"][..], &old, &new),
            (&["cert", "rollback"], &new, &old),
            (&["cert", "rollback"], &old, &new),
        ] {
            // Requests that are with Wise while the certificate is replaced.
            let path = format!("/v1/simulator/echo?slow={}", seen.len());
            let mut slow = Vec::new();
            for _ in 0..SLOW {
                slow.push(Upload::begin(&house, &path).await);
            }
            let under_way = |wise: &Simulator| {
                let arrived = wise.recorded();
                let open = arrived
                    .iter()
                    .filter(|it| it.target == path && it.status.is_none());
                open.count()
            };
            let all = wise.until(|wise| under_way(wise) == SLOW);
            tokio::time::timeout(PATIENCE, all).await.unwrap();

            done(&house.site, command).await;
            house.reload().await;
            let mark = wise.recorded().last().unwrap().sequence;
            traffic.goes_on().await;
            assert_eq!(under_way(&wise), SLOW, "they outlast the exchange");

            for upload in slow {
                upload.end().await;
            }
            let arrived = wise.recorded();
            let of_slow = arrived.iter().filter(|it| it.target == path);
            let serials: BTreeSet<_> = of_slow.filter_map(shown).collect();
            assert_eq!(
                serials,
                BTreeSet::from([before.clone()]),
                "they end on the certificate that they began with, over HTTP/{http}"
            );
            // What had set out before the reload was answered may have arrived after it.
            let later = arrived.iter().filter(|it| it.sequence > mark + 8);
            let later: Vec<_> = later.filter(|it| it.target != path).collect();
            assert!(later.len() > 50, "the traffic went on: {}", later.len());
            for it in later {
                assert_eq!(shown(it).as_ref(), Some(after), "{it:?}");
            }
            seen.push(house.status().await["certificate"]["serial"].to_string());
        }
        assert_eq!(seen[0], seen[2]);
        assert_ne!(seen[0], seen[1]);
        let answers = traffic.unharmed().await.answers;
        let arrived = wise.recorded();
        let serials: BTreeSet<_> = arrived.iter().filter_map(shown).collect();
        assert_eq!(
            serials,
            BTreeSet::from([old, new]),
            "Wise sees both, and no other"
        );
        assert_eq!(wise.counters().repeated(), Vec::<&str>::new());
        println!(
            "HTTP/{http}: {answers} answers beside {} slow ones, 0 wrong",
            3 * SLOW
        );
    }
}

#[tokio::test]
async fn a_renewal_says_each_next_step_and_clears_up_after_itself() {
    let wise = house::wise().await;
    let site = House::on(&wise).logged_out().prepare().await;
    let directory = site.directory.path().display().to_string();
    let say = |text: String| text.replace(&directory, "DIR");

    let said = say(done(&site, &["csr", "--renew"]).await);
    let (csr, talk) = said
        .split_once("-----END CERTIFICATE REQUEST-----\n")
        .unwrap();
    assert!(
        csr.starts_with("-----BEGIN CERTIFICATE REQUEST-----"),
        "{csr}"
    );
    let until = talk
        .split_once("goes on until ")
        .and_then(|(_, rest)| rest.get(..20))
        .unwrap();
    insta::assert_snapshot!(talk.replace(until, "DATE"), @r"
    the private key is in DIR/client.next.key: it stays on this machine
    the request is in DIR/client.next.csr
    it follows the certificate of Acme Ltd, with a key of type p-256; the one in use goes on until DATE
    next: in Wise's Developer Hub, Authentication > Generate certificate, paste the request; save what it gives as DIR/client.next.pem and run `wise-auth-proxy cert install DIR/client.next.pem --config DIR/house.toml`
    ");
    let again = site.cli(&["csr", "--renew"]).await;
    assert_eq!(again.status.code(), Some(1));
    insta::assert_snapshot!(say(String::from_utf8(again.stderr).unwrap()), @r"
    error: a renewal is under way: DIR/client.next.key is there
    hint: have Wise sign DIR/client.next.csr and run `wise-auth-proxy cert install DIR/client.next.pem --config DIR/house.toml`; to begin anew, remove key and request
    ");
    let text = say(done(&site, &["cert", "show"]).await);
    assert!(
        text.contains("next         DIR/client.next.key waits for its certificate; its request is DIR/client.next.csr"),
        "{text}"
    );

    sign(&site, &wise, "renewed");
    let text = say(done(&site, &["cert", "show"]).await);
    assert!(
        text.contains(
            "(364 days left); `wise-auth-proxy cert install DIR/client.next.pem --config DIR/house.toml` puts it to use"
        ),
        "{text}"
    );
    let text = say(done(&site, &["cert", "install", "client.next.pem"]).await);
    assert!(
        text.contains("`wise-auth-proxy cert rollback --config DIR/house.toml` goes back to it"),
        "{text}"
    );
    for gone in ["client.next.key", "client.next.csr", "client.next.pem"] {
        assert!(!site.path(gone).exists(), "{gone}");
    }
    let shown: serde_json::Value =
        serde_json::from_str(&done(&site, &["cert", "show", "--json"]).await).unwrap();
    assert!(shown["next"].is_null(), "{shown:#}");
    assert_eq!(shown["previous"]["days_left"], 364);
    assert!(shown["previous"]["problem"].is_null(), "{shown:#}");
    let text = say(done(&site, &["cert", "rollback"]).await);
    assert!(text.contains("again goes forward to it"), "{text}");
    let back: serde_json::Value =
        serde_json::from_str(&done(&site, &["cert", "show", "--json"]).await).unwrap();
    assert_eq!(
        back["fingerprint_sha256"],
        shown["previous"]["fingerprint_sha256"]
    );

    // What an installation could not clear away is no renewal under way.
    site.secret(
        "client.next.key",
        &std::fs::read_to_string(site.path("client.previous.key")).unwrap(),
    );
    done(&site, &["csr", "--renew"]).await;

    // A certificate of neither key names both.
    site.pair(&wise, "stranger", "stranger");
    let output = site.cli(&["cert", "install", "stranger.pem"]).await;
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(say(String::from_utf8(output.stderr).unwrap()), @r"
    error: the certificate in stranger.pem belongs neither to DIR/client.key nor to DIR/client.next.key
    hint: name the key whose CSR was signed with --key
    ");
}

#[tokio::test]
async fn each_step_of_a_renewal_is_told_to_programs() {
    let wise = house::wise().await;
    let site = House::on(&wise).logged_out().prepare().await;
    let run = async |args: &[&str]| -> serde_json::Value {
        let output = site.cli(&[args, &["--json"]].concat()).await;
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let path = |name: &str| site.path(name).display().to_string();
    let config = site.config.display().to_string();
    let before = run(&["cert", "show"]).await;

    let made = run(&["csr", "--renew"]).await;
    assert_eq!(made["key"], path("client.next.key"));
    assert_eq!(made["request"], path("client.next.csr"));
    let request = std::fs::read_to_string(site.path("client.next.csr")).unwrap();
    assert_eq!(made["request_pem"], request);
    assert_eq!(made["key_type"], "p-256");
    assert_eq!(made["encrypted"], false);
    assert_eq!(made["follows"]["organisation"], "Acme Ltd");
    assert_eq!(made["follows"]["not_after"], before["not_after"]);
    let next = path("client.next.pem");
    assert_eq!(
        made["next"]["command"],
        format!("wise-auth-proxy cert install {next} --config {config}")
    );

    sign(&site, &wise, "renewed");
    let installed = run(&["cert", "install", "client.next.pem"]).await;
    assert_eq!(installed["certificate"], path("client.pem"));
    assert_eq!(installed["key"], path("client.key"));
    assert_eq!(installed["common_name"], "acme");
    assert_eq!(installed["days_left"], 364);
    assert_eq!(installed["findings"], serde_json::json!([]));
    let previous = serde_json::json!({
        "certificate": path("client.previous.pem"), "key": path("client.previous.key"),
    });
    assert_eq!(installed["previous"], previous);
    assert_eq!(
        installed["next"]["command"],
        format!("wise-auth-proxy reload --config {config}")
    );

    let back = run(&["cert", "rollback"]).await;
    assert_eq!(back["fingerprint_sha256"], before["fingerprint_sha256"]);
    assert_ne!(back["fingerprint_sha256"], installed["fingerprint_sha256"]);
    assert_eq!(back["previous"], previous);
}

#[tokio::test]
async fn a_rollback_without_a_pair_to_go_back_to_changes_nothing() {
    let wise = house::wise().await;
    let site = House::on(&wise).logged_out().prepare().await;
    let before = std::fs::read(site.path("client.pem")).unwrap();
    let directory = site.directory.path().display().to_string();
    let refused = async |site: &Site| {
        let output = site.cli(&["cert", "rollback"]).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        text.replace(&directory, "DIR")
    };
    insta::assert_snapshot!(refused(&site).await, @r"
    error: there is no pair to go back to: DIR/client.previous.pem does not exist
    hint: `cert install` keeps the pair that it replaces
    ");
    issue_for(&wise, 0);
    site.pair(&wise, "ended", "client.previous");
    let text = refused(&site).await;
    assert!(
        text.starts_with(
            "error: the pair before cannot be used any more, and nothing was changed\n"
        ) && text.contains("cause: the client certificate expired less than a day ago"),
        "{text}"
    );
    assert_eq!(std::fs::read(site.path("client.pem")).unwrap(), before);
}

const PASSPHRASE: &str = "certificate year passphrase";

/// Has the house's key lie there encrypted, as openssl does it.
fn seal(site: &Site, passphrase: &str) {
    site.secret("key_passphrase", passphrase);
    openssl(
        site,
        "pkcs8 -topk8 -v2 aes-256-cbc -in client.key -out sealed.key -passout file:key_passphrase",
    );
    let sealed = std::fs::read_to_string(site.path("sealed.key")).unwrap();
    site.secret("client.key", &sealed);
}

fn openssl(site: &Site, arguments: &str) {
    let mut command = std::process::Command::new("openssl");
    command.current_dir(site.directory.path());
    let output = command.args(arguments.split_whitespace()).output();
    let output = output.expect("the openssl command must be installed");
    assert!(output.status.success(), "openssl {arguments}: {output:?}");
}

#[tokio::test]
async fn an_encrypted_key_is_used_renewed_and_read_again_with_its_passphrase() {
    let wise = house::wise().await;
    let site = House::on(&wise)
        .set("mtls.key_passphrase", "{ file = \"key_passphrase\" }")
        .logged_out()
        .prepare()
        .await;
    seal(&site, PASSPHRASE);
    site.log_in(&wise, "main", house::PROFILE).await;
    let house = site.start().await;
    assert_eq!(house.get("/v1/me").await.status, 200);
    let old = house.status().await["certificate"]["serial"].clone();

    // The next key is encrypted under the same passphrase, and moves in so.
    let said = done(&site, &["csr", "--renew"]).await;
    assert!(
        said.contains("client.next.key, encrypted: it stays"),
        "{said}"
    );
    openssl(
        &site,
        "pkey -in client.next.key -passin file:key_passphrase -check -noout",
    );
    sign(&site, &wise, "encrypted");
    done(&site, &["cert", "install", "client.next.pem"]).await;
    house.reload().await;
    assert_eq!(house.get("/v1/me").await.status, 200);
    assert_ne!(house.status().await["certificate"]["serial"], old);
    let key = std::fs::read_to_string(site.path("client.key")).unwrap();
    assert!(key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));

    // A passphrase that does not fit any more changes nothing, and says so with a way out.
    site.secret("key_passphrase", "another one altogether");
    let output = site.cli(&["reload"]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("the passphrase does not open") && text.contains("hint:"),
        "{text}"
    );
    assert_eq!(house.get("/v1/me").await.status, 200);
    // It is followed to the key that was encrypted anew.
    site.secret("first", PASSPHRASE);
    openssl(
        &site,
        "pkcs8 -topk8 -in client.key -passin file:first -out anew.key -passout file:key_passphrase",
    );
    let anew = std::fs::read_to_string(site.path("anew.key")).unwrap();
    site.secret("client.key", &anew);
    house.reload().await;

    // The pair before is still under the passphrase before: with that one it is gone back to, and
    // its key lies there under the present one.
    let output = site.cli(&["cert", "rollback"]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("with --passphrase-file it is opened"),
        "{text}"
    );
    done(&site, &["cert", "rollback", "--passphrase-file", "first"]).await;
    openssl(
        &site,
        "pkey -in client.key -passin file:key_passphrase -check -noout",
    );
    house.reload().await;
    assert_eq!(house.get("/v1/me").await.status, 200);
    assert_eq!(house.status().await["certificate"]["serial"], old);
    assert_eq!(house.stop().await.code(), Some(0));
}

#[tokio::test]
async fn an_ended_certificate_keeps_nothing_else_from_being_mended() {
    let wise = house::wise().await;
    let site = House::on(&wise)
        .lane("personal")
        .set("runtime.reload_interval", "100ms")
        .prepare()
        .await;
    issue_for(&wise, 0);
    site.certificate(&wise, "ended");
    let house = site.start().await;
    house.logs("the client certificate expired").await;
    assert_eq!(
        house.get("/v1/me").await.status,
        200,
        "the way back is open"
    );

    // A token can be replaced all the same.
    site.secret("personal_token", "another-personal-token");
    house.logs("changed=\"secrets\"").await;
    site.secret("personal_token", house::PERSONAL_TOKEN);
    // What has ended is not taken in anew.
    site.certificate(&wise, "ended as well");
    house
        .logs("everything stays as it was: client certificate")
        .await;
    let serial = house.status().await["certificate"]["serial"].to_string();
    let first = &wise.certificates()[1].serial;
    assert_eq!(serial.replace([':', '"'], ""), *first);
}

#[tokio::test]
async fn a_passphrase_is_asked_for_where_it_is_needed_and_nowhere_else() {
    let wise = house::wise().await;
    let site = House::on(&wise).logged_out().prepare().await;
    site.secret("passphrase", PASSPHRASE);
    site.secret("short", "short");
    let csr = ["csr", "--renew", "--key-type", "p256"];
    let with = |more: &[&'static str]| [&csr[..], more].concat();

    let weak = site.cli(&with(&["--passphrase-file", "short"])).await;
    let text = String::from_utf8(weak.stderr).unwrap();
    assert!(
        text.contains("shorter than 12 characters") && text.contains("hint:"),
        "{text}"
    );
    assert!(!site.path("client.next.key").exists());

    // Standard input is empty here.
    let none = site.cli(&with(&["--encrypt"])).await;
    let text = String::from_utf8(none.stderr).unwrap();
    assert!(text.contains("--passphrase-file"), "{text}");

    let said = done(&site, &with(&["--passphrase-file", "passphrase"])).await;
    assert!(
        said.contains("put `key_passphrase = { file = \"path\" }` under [mtls]"),
        "{said}"
    );
    openssl(
        &site,
        "pkey -in client.next.key -passin file:passphrase -check -noout",
    );
    sign(&site, &wise, "sealed");

    // The proxy could not open it: it is not let in.
    let before = std::fs::read(site.path("client.key")).unwrap();
    for more in [&[][..], &["--passphrase-file", "passphrase"]] {
        let install = [&["cert", "install", "client.next.pem"], more].concat();
        let output = site.cli(&install).await;
        assert!(!output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.contains("hint:") && text.contains("key_passphrase = { file"),
            "{text}"
        );
        assert_eq!(std::fs::read(site.path("client.key")).unwrap(), before);
    }
    // With a passphrase that the operator cannot read, the one that is given has to do.
    let credential = "mtls.key_passphrase={ credential = \"key_passphrase\" }";
    let install = [
        "cert",
        "install",
        "client.next.pem",
        "--set",
        credential,
        "--passphrase-file",
        "passphrase",
    ];
    let said = done(&site, &install).await;
    assert!(
        said.contains("warning: mtls.key_passphrase cannot be read here"),
        "{said}"
    );
    let key = std::fs::read_to_string(site.path("client.key")).unwrap();
    assert!(key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    let output = site
        .cli(&["config", "check", "--secrets", "--set", credential])
        .await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("mtls.key_passphrase: "), "{text}");
    // What a certificate says is shown to who cannot open its key.
    let output = site.cli(&["cert", "show", "--set", credential]).await;
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("(364 days left)"), "{text}");
}

#[tokio::test]
async fn a_pkcs12_file_is_installed_as_it_is_handed_over() {
    let wise = house::wise().await;
    let site = House::on(&wise).prepare().await;
    site.pair(&wise, "elsewhere", "made");
    std::fs::write(site.path("ca-chain.pem"), wise.ca_pem()).unwrap();
    site.secret("p12-pass", "handed over by telephone");
    let export = |how: &str, out: &str| {
        openssl(
            &site,
            &format!("pkcs12 -export -inkey made.key -in made.pem {how} -out {out}"),
        );
    };
    export(
        "-passout file:p12-pass -certfile ca-chain.pem",
        "modern.p12",
    );
    export("-passout file:p12-pass -legacy", "legacy.p12");
    export("-passout pass:", "open.p12");
    let house = site.start().await;
    house.get("/v1/me").await;
    let issued = wise.certificates().pop().unwrap().serial;

    // Nobody says the passphrase, and then a wrong one.
    let before = std::fs::read(site.path("client.key")).unwrap();
    let output = site.cli(&["cert", "install", "modern.p12"]).await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("--passphrase-file"), "{text}");
    site.secret("wrong", "something else");
    let wrong = ["cert", "import", "modern.p12", "--passphrase-file", "wrong"];
    let output = site.cli(&wrong).await;
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @r"
    error: the passphrase does not open modern.p12
    hint: name the one that it was encrypted with
    ");
    assert_eq!(std::fs::read(site.path("client.key")).unwrap(), before);

    for (file, passphrase) in [
        ("modern.p12", &["--passphrase-file", "p12-pass"][..]),
        ("legacy.p12", &["--passphrase-file", "p12-pass"]),
        ("open.p12", &[]),
    ] {
        let install = [&["cert", "import", file], passphrase].concat();
        let said = done(&site, &install).await;
        assert!(
            said.contains("mtls.key_passphrase would have it encrypted"),
            "{said}"
        );
        house.reload().await;
        assert_eq!(house.get("/v1/me").await.status, 200);
        let arrived = wise.recorded();
        let last = arrived.iter().rfind(|it| it.target == "/v1/me").unwrap();
        assert_eq!(shown(last), Some(issued.clone()), "{file}");
        done(&site, &["cert", "rollback"]).await;
        house.reload().await;
        assert_eq!(std::fs::read(site.path("client.key")).unwrap(), before);
    }

    // With a passphrase of its own for the proxy, the key lies under that one.
    site.secret("key_passphrase", PASSPHRASE);
    let file = "mtls.key_passphrase={ file = \"key_passphrase\" }";
    let install = ["cert", "install", "open.p12", "--set", file];
    let said = done(&site, &install).await;
    assert!(
        said.contains("encrypted under mtls.key_passphrase"),
        "{said}"
    );
    openssl(
        &site,
        "pkey -in client.key -passin file:key_passphrase -check -noout",
    );
}
