//! Passphrases of keys and the keys under them are planted, and every output is searched.

use std::process::Command;

use crate::house::{self, House, Site};
use crate::leaks::{Heard, spellings, spellings_of_key};

const KEY_PASSPHRASE: &str = "planted-key-passphrase-77c1";
const ARCHIVE_PASSPHRASE: &str = "planted-archive-passphrase-09";
const WRONG: &str = "planted-wrong-passphrase-5d";

fn openssl(site: &Site, arguments: &str) {
    let mut command = Command::new("openssl");
    command.current_dir(site.directory.path());
    let output = command.args(arguments.split_whitespace()).output();
    let output = output.expect("the openssl command must be installed");
    assert!(output.status.success(), "openssl {arguments}: {output:?}");
}

/// Runs a command with a passphrase in a variable, and has what it says heard.
fn with_variable(site: &Site, heard: &mut Heard, args: &[&str], expected: i32) {
    let mut command = site.command();
    command.args(args).arg("--config").arg(&site.config);
    command.env("KEY_PASSPHRASE", KEY_PASSPHRASE);
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(expected), "{args:?}: {output:?}");
    heard.output(&args.join(" "), &output);
}

#[tokio::test]
async fn no_passphrase_and_no_key_under_one_is_shown() {
    let wise = house::wise().await;
    let site = House::on(&wise)
        .set("mtls.key_passphrase", "{ file = \"key_passphrase\" }")
        .set("log.level", "trace")
        .logged_out()
        .prepare()
        .await;
    site.secret("key_passphrase", KEY_PASSPHRASE);
    site.secret("archive_passphrase", ARCHIVE_PASSPHRASE);
    site.secret("wrong", WRONG);
    site.pair(&wise, "handed over", "handed");
    let plain = |name: &str| std::fs::read_to_string(site.path(name)).unwrap();
    let mut needles: Vec<Vec<u8>> = Vec::new();
    for text in ["planted", KEY_PASSPHRASE, ARCHIVE_PASSPHRASE, WRONG] {
        needles.extend(spellings(text));
    }
    for key in ["client.key", "handed.key"] {
        needles.extend(spellings_of_key(&plain(key)));
    }
    openssl(
        &site,
        "pkcs8 -topk8 -v2 aes-256-cbc -in client.key -out sealed -passout file:key_passphrase",
    );
    site.secret("client.key", &plain("sealed"));
    openssl(
        &site,
        "pkcs12 -export -inkey handed.key -in handed.pem -out handed.p12 -passout file:archive_passphrase",
    );
    let mut heard = Heard::default();
    site.log_in(&wise, "main", house::PROFILE).await;
    let house = site.start().await;
    heard.answer("an answer", &house.get("/v1/me").await);
    for (args, code) in [
        (&["csr", "--renew", "--key-type", "p256"][..], 0),
        (&["csr", "--renew"], 1),
        (
            &[
                "cert",
                "install",
                "handed.p12",
                "--passphrase-file",
                "wrong",
            ],
            1,
        ),
        (
            &[
                "cert",
                "install",
                "handed.p12",
                "--passphrase-file",
                "archive_passphrase",
            ],
            0,
        ),
        (&["reload"], 0),
        (&["cert", "show"], 0),
        (&["cert", "show", "--json"], 0),
        (&["cert", "rollback"], 0),
        (&["reload"], 0),
        (&["config", "show"], 0),
        (&["config", "show", "--json"], 0),
        (&["config", "check", "--secrets"], 0),
        (&["status", "--json"], 0),
    ] {
        let output = house.cli(args).await;
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        heard.output(&args.join(" "), &output);
    }
    let named =
        "csr --organisation Acme --key-type p256 --key named.key --passphrase-env KEY_PASSPHRASE";
    let named: Vec<_> = named.split(' ').collect();
    with_variable(&site, &mut heard, &named, 0);
    with_variable(&site, &mut heard, &named, 1);

    // A passphrase that does not fit, to a proxy that runs and to one that starts.
    site.secret("key_passphrase", WRONG);
    for args in [&["reload"][..], &["cert", "show"], &["cert", "rollback"]] {
        let output = house.cli(args).await;
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        heard.output(&args.join(" "), &output);
    }
    for path in ["/status", "/metrics", "/readyz"] {
        heard.answer(path, &house.admin(path).await);
    }
    assert_eq!(house.stop().await.code(), Some(0));
    house.logs("DEBUG").await;
    heard.0.push(("the log".into(), house.log().into_bytes()));
    let output = site.cli(&["run"]).await;
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    heard.output("a start with a wrong passphrase", &output);

    let own = [
        "key_passphrase",
        "archive_passphrase",
        "wrong",
        "handed.key",
    ];
    let mut searched = Vec::new();
    for (path, content) in house::files(site.directory.path()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // Each holds a planted secret of another kind, by its name.
        let planted = ["client_secret", "personal_token"];
        if !own.contains(&name.as_str()) && !planted.contains(&name.as_str()) {
            heard.0.push((path.display().to_string(), content));
            searched.push(name);
        }
    }
    for name in [
        "client.key",
        "client.previous.key",
        "client.next.key",
        "named.key",
    ] {
        assert!(
            searched.iter().any(|found| found == name),
            "{name}: {searched:?}"
        );
    }
    heard.assert_silent_about(&needles);
}
