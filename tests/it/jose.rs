//! Keys for signed and encrypted bodies: made, registered, listed and tried out, by the real binary
//! beside a simulated Wise.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use serde_json::Value;
use wise_auth_proxy::simulator::{Disturb, Disturbance, Simulator, Tamper, Tampering};

use crate::house::{CLIENT_SECRET, House, PATIENCE, PERSONAL_TOKEN, Site, files, wise};

pub const ALGORITHMS: [&str; 6] = ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512"];
pub const PLAYGROUND: &str = "/v1/auth/jose/playground/";

/// A site whose proxy never runs: none of this needs one.
async fn site(wise: &Simulator) -> Site {
    House::on(wise).logged_out().prepare().await
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What a command said, once no secret is among it.
fn looked_through(site: &Site, args: &[&str], output: Output) -> Output {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    for secret in [CLIENT_SECRET, PERSONAL_TOKEN, "PRIVATE KEY-----\n"] {
        assert!(!said.contains(secret), "{args:?}: {said}");
    }
    let keys = files(site.directory.path());
    let keys = keys
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|end| end == "key"));
    for (path, key) in keys {
        let text = String::from_utf8_lossy(key);
        let middle = text.lines().filter(|line| line.len() == 64);
        for line in middle {
            assert!(!said.contains(line), "{args:?} shows {}", path.display());
        }
    }
    output
}

async fn run(site: &Site, args: &[&str]) -> Output {
    let output = site.cli(args).await;
    looked_through(site, args, output)
}

/// A command that must succeed; its standard output.
pub async fn done(site: &Site, args: &[&str]) -> String {
    let output = run(site, args).await;
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

async fn json(site: &Site, args: &[&str]) -> Value {
    serde_json::from_str(&done(site, args).await).unwrap()
}

/// `jose test`: its exit code, its report, and what it said.
async fn tried(site: &Site) -> (i32, Value, String) {
    let output = run(site, &["jose", "test", "--json"]).await;
    let report = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code().unwrap(), report, told(&output))
}

fn states(report: &Value) -> Vec<&str> {
    let calls = report["calls"].as_array().unwrap();
    calls
        .iter()
        .map(|call| call["state"].as_str().unwrap())
        .collect()
}

/// Makes a key of each kind and registers it by the command that the making prints.
pub async fn prepared(site: &Site, algorithm: &str) {
    for kind in [&["--signing", algorithm][..], &["--encryption"]] {
        let file = format!("jose{}.key", kind[0]);
        let make = [&["jose", "keygen"], kind, &["--out", &file, "--json"]].concat();
        let made = json(site, &make).await;
        let next = made["next"]["command"].as_str().unwrap();
        let words: Vec<_> = next.split(' ').skip(1).collect();
        let end = words.iter().position(|word| *word == "--config").unwrap();
        done(site, &words[..end]).await;
    }
}

fn config(site: &Site) -> String {
    std::fs::read_to_string(&site.config).unwrap()
}

/// What stands behind a key of `[jose]`.
pub fn written(site: &Site, key: &str) -> String {
    let config = config(site);
    let line = config.lines().find(|line| line.starts_with(key));
    let line = line.unwrap_or_else(|| panic!("no {key}: {config}"));
    line.split('"').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn keys_of_every_algorithm_are_made_registered_listed_and_pass_all_calls() {
    for algorithm in ALGORITHMS {
        let wise = wise().await;
        let site = site(&wise).await;
        prepared(&site, algorithm).await;
        assert_eq!(written(&site, "signing_algorithm"), algorithm);
        assert_eq!(written(&site, "signing_key"), "jose--signing.key");

        let list = json(&site, &["jose", "list", "--json"]).await;
        let ours = list["ours"].as_array().unwrap();
        assert_eq!(ours[0]["kid"], written(&site, "signing_kid"));
        assert_eq!(ours[0]["algorithm"], algorithm);
        assert_eq!(ours[1]["kid"], written(&site, "encryption_kid"));
        assert_eq!(ours[1]["algorithm"], "RSA_OAEP_256");
        let theirs = list["wise"].as_array().unwrap();
        assert_eq!(theirs.len(), 7);
        assert!(theirs.iter().all(|key| key["version"] == 1), "{list}");

        let (code, report, said) = tried(&site).await;
        assert_eq!(
            (code, &report["passed"]),
            (0, &true.into()),
            "{report}{said}"
        );
        assert_eq!(states(&report), ["ok"; 5], "{algorithm}: {report}");
        let verified = report["calls"][0]["detail"].as_str().unwrap();
        assert_eq!(
            verified,
            format!("verified with Wise's {algorithm} key, version 1")
        );
        let nested = report["calls"][4]["detail"].as_str().unwrap();
        assert!(nested.starts_with("decrypted, verified with"), "{nested}");
    }
}

#[tokio::test]
async fn a_key_is_private_and_never_overwritten_unasked() {
    let wise = wise().await;
    let site = site(&wise).await;
    let make = [
        "jose",
        "keygen",
        "--signing",
        "ES256",
        "--out",
        "keys/a.key",
    ];
    done(&site, &make).await;
    let path = site.path("keys/a.key");
    let before = std::fs::read_to_string(&path).unwrap();
    assert!(before.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(&site.path("keys"))), (0o600, 0o700));

    let output = run(&site, &make).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains("is there already"),
        "{}",
        told(&output)
    );
    assert!(told(&output).contains("hint: "));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    done(&site, &[&make[..], &["--force"]].concat()).await;
    assert_ne!(std::fs::read_to_string(&path).unwrap(), before);
    assert_eq!(mode(&path), 0o600);

    // A key that others may read signs nothing.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let register = [
        "jose",
        "register",
        "--signing",
        "--key",
        "keys/a.key",
        "--algorithm",
        "ES256",
    ];
    let output = run(&site, &register).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("chmod 600"), "{}", told(&output));
    let output = run(&site, &["jose", "keygen", "--encryption"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("--out secrets/jose-encryption.key"));
}

#[tokio::test]
async fn a_configuration_keeps_its_comments_and_gets_the_id() {
    let wise = wise().await;
    let site = site(&wise).await;
    done(
        &site,
        &["jose", "keygen", "--signing", "--out", "signs.key"],
    )
    .await;
    let text = config(&site) + "# ours\n[jose]\n# how\nsigning_key = \"signs.key\" # here\n";
    std::fs::write(&site.config, &text).unwrap();
    let kid = "E87DA464-8e5e-4380-8f2d-4e4e04052672";
    let register = [
        "jose",
        "register",
        "--kid",
        kid,
        "--valid-days",
        "30",
        "--json",
    ];
    let registered = json(&site, &register).await;
    let registered = &registered["registered"][0];
    assert_eq!(registered["kid"], kid.to_lowercase());
    let till = registered["valid_till"].as_str().unwrap();
    assert_eq!(
        config(&site),
        format!(
            "{text}signing_kid = \"{}\" # valid until {}\n",
            kid.to_lowercase(),
            &till[..10]
        )
    );

    // The same id once more: Wise refuses, and everything stays.
    let before = config(&site);
    let output = run(&site, &register).await;
    assert_eq!(output.status.code(), Some(1));
    let said = told(&output);
    assert!(
        said.contains("Wise answers 409") && said.contains("leave --kid out"),
        "{said}"
    );
    assert_eq!(config(&site), before);

    // Another: the comment says the new end, and the first key is still good.
    let kid = done(
        &site,
        &["jose", "register", "--signing", "--valid-days", "60"],
    )
    .await;
    assert_eq!(kid.trim(), written(&site, "signing_kid"));
    assert_eq!(config(&site).matches("valid until").count(), 1);
    assert_ne!(config(&site), before);
    std::fs::write(&site.config, before).unwrap();
    assert_eq!(tried(&site).await.0, 0);
}

#[tokio::test]
async fn a_key_changes_without_a_gap() {
    let wise = wise().await;
    let site = site(&wise).await;
    prepared(&site, "ES512").await;
    let before = config(&site);
    done(
        &site,
        &[
            "jose",
            "keygen",
            "--signing",
            "ES256",
            "--out",
            "second.key",
        ],
    )
    .await;
    assert_eq!(config(&site), before, "making a key changes nothing");
    assert_eq!(tried(&site).await.0, 0);
    let register = [
        "jose",
        "register",
        "--signing",
        "--key",
        "second.key",
        "--algorithm",
        "ES256",
    ];
    done(&site, &register).await;
    let after = config(&site);
    assert_eq!(written(&site, "signing_key"), "second.key");
    assert_eq!(written(&site, "signing_algorithm"), "ES256");
    for config in [before, after] {
        std::fs::write(&site.config, config).unwrap();
        let (code, report, _) = tried(&site).await;
        assert_eq!(code, 0, "{report}");
    }
}

#[tokio::test]
async fn what_wise_does_not_know_is_named() {
    let wise = wise().await;
    let site = site(&wise).await;
    prepared(&site, "ES512").await;
    let good = config(&site);
    let (signing, encryption) = (
        written(&site, "signing_kid"),
        written(&site, "encryption_kid"),
    );
    let unknown = "00000000-8e5e-4380-8f2d-4e4e04052672";

    // A wrong id of a key that Wise has.
    std::fs::write(&site.config, good.replace(&signing, unknown)).unwrap();
    let (code, report, said) = tried(&site).await;
    assert_eq!(code, 1);
    assert_eq!(states(&report), ["failed", "ok", "ok", "ok", "failed"]);
    assert!(said.contains("2 of 5 calls failed"), "{said}");
    assert!(
        said.contains(&format!("Wise has our key, but not as {unknown}")),
        "{said}"
    );

    std::fs::write(&site.config, good.replace(&encryption, unknown)).unwrap();
    let (code, report, said) = tried(&site).await;
    assert_eq!(code, 1);
    assert_eq!(states(&report), ["ok", "failed", "failed", "ok", "failed"]);
    assert!(
        said.contains(&format!("the encryption key {unknown} is not registered")),
        "{said}"
    );

    // Other keys under ids that Wise has.
    std::fs::write(&site.config, &good).unwrap();
    for kind in ["--signing", "--encryption"] {
        let file = format!("jose{kind}.key");
        let make = ["jose", "keygen", kind, "--out", &file, "--force"];
        done(&site, &make).await;
    }
    let (code, report, said) = tried(&site).await;
    assert_eq!(code, 1);
    assert_eq!(
        states(&report),
        ["failed", "failed", "failed", "ok", "failed"]
    );
    assert!(said.contains("the signing key is not registered"), "{said}");
    assert!(
        said.contains("which the signature covers (`url`)"),
        "{said}"
    );
    assert!(
        said.contains(&format!("not the key that Wise has as {encryption}")),
        "{said}"
    );

    // Registered anew, all is well; taken out of use by Wise, it is not.
    done(&site, &["jose", "register"]).await;
    assert_eq!(tried(&site).await.0, 0);
    assert!(wise.deactivate_jose_key(&written(&site, "signing_kid")));
    let (code, _, said) = tried(&site).await;
    assert_eq!(code, 1);
    assert!(said.contains("taken out of use"), "{said}");
}

#[tokio::test]
async fn what_is_not_configured_is_not_tried() {
    let wise = wise().await;
    let site = site(&wise).await;
    let output = run(&site, &["jose", "test"]).await;
    assert_eq!(output.status.code(), Some(64));
    assert!(
        told(&output).contains("jose keygen --signing"),
        "{}",
        told(&output)
    );
    let output = run(&site, &["jose", "register"]).await;
    assert_eq!(output.status.code(), Some(64));
    let list = done(&site, &["jose", "list"]).await;
    assert_eq!(list.lines().count(), 8, "{list}");

    done(
        &site,
        &["jose", "keygen", "--encryption", "--out", "decrypts.key"],
    )
    .await;
    let text = config(&site) + "[jose]\nencryption_key = \"decrypts.key\"\n";
    std::fs::write(&site.config, text).unwrap();
    let (code, report, said) = tried(&site).await;
    assert_eq!(code, 0);
    assert_eq!(
        states(&report),
        ["skipped", "skipped", "skipped", "ok", "skipped"]
    );
    assert!(said.contains("jose register --encryption"), "{said}");
    done(&site, &["jose", "register"]).await;
    assert_eq!(
        states(&tried(&site).await.1),
        ["skipped", "ok", "ok", "ok", "skipped"]
    );
    let table = done(&site, &["jose", "test"]).await;
    assert_eq!(table.lines().count(), 6, "{table}");
}

#[tokio::test]
async fn wise_changes_its_key_between_two_calls_and_the_answer_still_verifies() {
    let wise = wise().await;
    let site = site(&wise).await;
    prepared(&site, "ES512").await;
    wise.clear();
    // The answer is signed after the request has waited.
    wise.change_faults(|faults| faults.resource.latency = 700);
    let trying = tried(&site);
    let changing = async {
        let signed = format!("{PLAYGROUND}jws");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !wise.recorded().iter().any(|seen| seen.target == signed) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "the call never came"
            );
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(wise.rotate_jose_key("ES512"), Some(2));
        wise.change_faults(|faults| faults.resource.latency = 0);
    };
    let ((code, report, said), ()) = tokio::join!(trying, changing);
    assert_eq!(code, 0, "{report}{said}");
    let first = &report["calls"][0];
    assert_eq!(first["wise_key_version"], 2, "{report}");
    assert_eq!(first["wise_key_fetched_again"], true);
    assert_eq!(report["calls"][4]["wise_key_fetched_again"], false);
    let fetched = wise.recorded();
    let fetched = fetched
        .iter()
        .filter(|seen| seen.target.contains("algorithm=ES512"));
    assert_eq!(fetched.count(), 2, "once before, once more");
}

#[tokio::test]
async fn an_answer_that_was_tampered_with_is_refused_after_one_more_look_at_the_key() {
    let wise = wise().await;
    let site = site(&wise).await;
    prepared(&site, "PS256").await;
    for (kind, words, fetches) in [
        (Tamper::Content, "is not verified", 2),
        (Tamper::Signature, "is not verified", 2),
        (Tamper::WrongKey, "is not verified", 2),
        (Tamper::NoAlgorithm, "another signature algorithm", 1),
        (Tamper::Plain, "did not come signed", 1),
    ] {
        wise.change_faults(|faults| {
            faults.jose.tamper = Some(Tampering {
                kind,
                times: Some(1),
            });
        });
        wise.clear();
        let (code, report, said) = tried(&site).await;
        assert_eq!(code, 1, "{kind:?}");
        assert_eq!(
            states(&report),
            ["failed", "ok", "ok", "ok", "ok"],
            "{report}"
        );
        let detail = report["calls"][0]["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{kind:?}: {detail}");
        assert!(said.contains("do not trust what comes this way"), "{said}");
        let fetched = wise.recorded();
        let fetched = fetched
            .iter()
            .filter(|seen| seen.target.contains("algorithm=PS256"));
        assert_eq!(fetched.count(), fetches, "{kind:?}");
    }
    // Encrypted answers: nothing of them is handed on either.
    for kind in [Tamper::Content, Tamper::Signature, Tamper::Plain] {
        wise.change_faults(|faults| faults.jose.tamper = Some(Tampering { kind, times: None }));
        let (code, report, _) = tried(&site).await;
        assert_eq!(
            (code, states(&report)),
            (1, vec!["failed"; 5]),
            "{kind:?}: {report}"
        );
    }
}

#[tokio::test]
async fn what_wise_answers_instead_is_said_and_never_a_token() {
    let wise = wise().await;
    let site = site(&wise).await;
    prepared(&site, "ES256").await;
    let disturb = |kind, path: &str| Disturb {
        prefix: Some(path.into()),
        ..Disturb::always(kind)
    };
    for (kind, words) in [
        (Disturbance::ServerError, "Wise answers 500"),
        (Disturbance::FalseUnauthorized, "Wise answers 401"),
        (Disturbance::Garbage, "did not come signed"),
        (Disturbance::DropBefore, "no answer"),
        (Disturbance::Html, "Wise answers 503"),
    ] {
        let path = format!("{PLAYGROUND}jws");
        wise.change_faults(|faults| faults.resource.disturb = Some(disturb(kind, &path)));
        let (code, report, said) = tried(&site).await;
        assert_eq!(code, 1, "{kind:?}");
        let detail = report["calls"][0]["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{kind:?}: {detail}");
        assert!(said.contains("hint: "), "{said}");
    }
    let before = config(&site);
    let path = "/v1/auth/jose/request/public-keys";
    for kind in [
        Disturbance::ServerError,
        Disturbance::FalseUnauthorized,
        Disturbance::LoseAnswer,
    ] {
        wise.change_faults(|faults| faults.resource.disturb = Some(disturb(kind, path)));
        let output = run(&site, &["jose", "register", "--signing"]).await;
        assert_eq!(output.status.code(), Some(1), "{kind:?}");
        let said = told(&output);
        assert!(
            said.contains("the signing key is not registered") && said.contains("hint: "),
            "{said}"
        );
        assert_eq!(config(&site), before);
    }
    wise.change_faults(|faults| faults.resource.disturb = None);

    // No token: nothing else is asked.
    site.secret("client_secret", "another-secret-0000");
    wise.clear();
    let output = run(&site, &["jose", "list"]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = told(&output);
    assert!(said.contains("does not accept the OAuth client"), "{said}");
    assert!(
        wise.recorded()
            .iter()
            .all(|seen| !seen.target.contains("jose"))
    );
}

#[tokio::test]
async fn files_that_hold_no_fitting_key_are_refused_before_wise_hears_of_them() {
    let wise = wise().await;
    let site = site(&wise).await;
    done(
        &site,
        &["jose", "keygen", "--signing", "ES256", "--out", "p256.key"],
    )
    .await;
    site.secret(
        "none.key",
        "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n",
    );
    wise.clear();
    for (args, words) in [
        (
            &["--signing", "--key", "p256.key", "--algorithm", "ES512"][..],
            "is not one for ES512",
        ),
        (
            &["--signing", "--key", "p256.key", "--algorithm", "PS256"],
            "is not one for PS256",
        ),
        (
            &["--encryption", "--key", "p256.key"],
            "is not one for RSA-OAEP-256",
        ),
        (
            &["--signing", "--key", "none.key"],
            "holds no private key in PKCS#8",
        ),
        (&["--signing", "--key", "nowhere.key"], "cannot be read"),
    ] {
        let output = run(&site, &[&["jose", "register"], args].concat()).await;
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = told(&output);
        assert!(
            said.contains(words) && said.contains("hint: "),
            "{args:?}: {said}"
        );
    }
    for args in [
        &["--key", "p256.key"][..],
        &["--signing", "--kid", "not-a-uuid"],
        &["--signing", "--valid-days", "0"],
        &["--algorithm", "ES256"],
    ] {
        let output = run(&site, &[&["jose", "register"], args].concat()).await;
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", told(&output));
    }
    assert_eq!(wise.exchange_count(), 0);
    assert_eq!(wise.recorded().len(), 0);
}
