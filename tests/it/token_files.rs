//! `token export` and `token import`: a grant moves to another host and is never in two.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};

use wise_auth_proxy::simulator::{Outcome, Simulator};

use crate::house::{self, House, PROFILE, Site};
use crate::traffic::PATH;

const PASSPHRASE: &str = "planted passphrase 9c1e";
const FILE: &str = "main.grants";
const KEY: [&str; 2] = ["--passphrase-file", "passphrase"];

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn export(site: &Site, flags: &[&str]) -> Output {
    site.secret("passphrase", PASSPHRASE);
    let args = [&["token", "export", "--out", FILE], &KEY[..], flags].concat();
    site.cli(&args).await
}

async fn import(site: &Site, flags: &[&str]) -> Output {
    site.secret("passphrase", PASSPHRASE);
    let args = [&["token", "import", FILE], &KEY[..], flags].concat();
    site.cli(&args).await
}

/// Another host of the same company: the same configuration, a store of its own, and the file.
async fn other_host(wise: &Simulator, first: &Site) -> Site {
    let site = House::on(wise).logged_out().prepare().await;
    fs::copy(first.path(FILE), site.path(FILE)).unwrap();
    site
}

fn is_refused(output: &Output, error: &str, hint: &str) {
    assert_eq!(output.status.code(), Some(1), "{}", said(output));
    assert!(output.stdout.is_empty());
    assert_eq!(said(output), format!("error: {error}\nhint: {hint}\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_moves_to_another_host_under_a_running_proxy_and_stays_behind_nowhere() {
    for rotation in house::ROTATIONS {
        let wise = house::wise_that_rotates(rotation).await;
        let here = House::on(&wise).start().await;
        assert!(
            here.cli(&["token", "refresh", "main"])
                .await
                .status
                .success()
        );

        let exported = export(&here.site, &["main", "--move"]).await;

        assert!(exported.status.success(), "{}", said(&exported));
        assert_eq!(
            said(&exported),
            "main.grants holds grant main\n\
             this host has forgotten grant main; `token import main.grants` goes on there\n"
        );
        let file = here.site.path(FILE);
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let left: Vec<_> = house::files(&here.site.path("state")).into_iter().collect();
        let left: Vec<_> = left
            .iter()
            .map(|(path, _)| path.file_name().unwrap())
            .collect();
        assert!(
            !left
                .iter()
                .any(|name| *name == "main.grant" || *name == "main.previous")
        );
        here.status_until(|status| status["ready"] == false).await;
        assert_eq!(here.get(PATH).await.problem(), "no-grant");

        let there = other_host(&wise, &here.site).await;
        let imported = import(&there, &[]).await;
        assert!(imported.status.success(), "{}", said(&imported));
        assert_eq!(
            said(&imported),
            "grant main is stored, generation 2\n\
             delete main.grants now: a grant goes on from its newest tokens, and older ones may end it\n"
        );
        let there = there.start().await;
        assert_eq!(there.get(PATH).await.status, 200, "the token itself moved");
        assert_eq!(wise.exchange_count(), 2);
        assert!(
            there
                .cli(&["token", "refresh", "main"])
                .await
                .status
                .success()
        );
        assert_eq!(there.get(PATH).await.status, 200);
        for exchange in wise.exchanges() {
            assert!(
                matches!(exchange.outcome, Outcome::Minted { .. }),
                "{exchange:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_proxy_takes_an_imported_grant_without_a_restart() {
    for rotation in house::ROTATIONS {
        let wise = house::wise_that_rotates(rotation).await;
        let here = House::on(&wise).prepare().await;
        assert!(export(&here, &["--move"]).await.status.success());
        let there = other_host(&wise, &here).await.start().await;
        assert_eq!(there.get(PATH).await.problem(), "no-grant");

        let imported = import(&there.site, &["--json"]).await;

        let told: serde_json::Value = serde_json::from_slice(&imported.stdout).unwrap();
        let grant = &told["grants"][0];
        assert_eq!(grant["grant"], "main");
        assert_eq!(
            (&grant["generation"], &grant["replaced"]),
            (&1.into(), &().into())
        );
        assert_eq!(there.get(PATH).await.status, 200, "at once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_warns_that_two_hosts_end_each_other() {
    for rotation in house::ROTATIONS {
        let wise = house::wise_that_rotates(rotation).await;
        let site = House::on(&wise).prepare().await;
        let advice = "two hosts with one grant end each other's tokens and may lose the grant; run \
                      `token forget` here before `token import` there (or export with --move)";

        let at_rest = export(&site, &["--all"]).await;
        assert!(at_rest.status.success(), "{}", said(&at_rest));
        let warning = format!("warning: its tokens are still in this store: {advice}\n");
        assert!(said(&at_rest).starts_with(&warning), "{}", said(&at_rest));

        let house = site.start().await;
        fs::remove_file(site.path(FILE)).unwrap();
        let running = export(&site, &["--json"]).await;
        let warning = format!("a proxy runs here with it: {advice}");
        assert!(said(&running).contains(&warning), "{}", said(&running));
        let told: serde_json::Value = serde_json::from_slice(&running.stdout).unwrap();
        assert_eq!(told["running"], true);
        assert_eq!(told["warnings"], serde_json::json!([warning]));
        assert_eq!(told["grants"][0]["forgotten"], false);
        assert_eq!(house.get(PATH).await.status, 200, "it goes on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_overwritten_and_each_refusal_changes_nothing() {
    for rotation in house::ROTATIONS {
        let wise = house::wise_that_rotates(rotation).await;
        let here = House::on(&wise).prepare().await;
        assert!(export(&here, &[]).await.status.success());
        let store = || house::files(&here.path("state"));
        let (before, file) = (store(), fs::read(here.path(FILE)).unwrap());

        let again = export(&here, &["--move"]).await;
        assert_eq!(again.status.code(), Some(1));
        let text = said(&again);
        assert!(
            text.starts_with("error: cannot write main.grants\n"),
            "{text}"
        );
        assert!(text.ends_with("hint: nothing was changed; choose another place with --out\n"));
        assert_eq!(fs::read(here.path(FILE)).unwrap(), file);
        assert_eq!(store(), before, "not forgotten either");

        let hint = "nothing was changed; --replace puts the file's tokens in its place, if you are \
                    sure that they are the ones which Wise still accepts";
        is_refused(
            &import(&here, &[]).await,
            "the store holds generation 1 of grant main, which is not older than the file's generation \
             1",
            hint,
        );
        assert_eq!(store(), before);

        let replaced = import(&here, &["--replace"]).await;
        assert!(replaced.status.success(), "{}", said(&replaced));
        assert!(
            said(&replaced).starts_with(
                "grant main is stored, generation 1, in the place of generation 1, which is kept\n"
            ),
            "{}",
            said(&replaced)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_tokens_are_not_put_under_a_proxy_that_has_living_ones() {
    for rotation in house::ROTATIONS {
        let wise = house::wise_that_rotates(rotation).await;
        let house = House::on(&wise).start().await;
        let site = &house.site;
        assert!(export(site, &[]).await.status.success());
        let renew = ["token", "refresh", "main"];
        assert!(house.cli(&renew).await.status.success());
        let record = site.path("state/main.grant");
        let present = fs::read(&record).unwrap();
        let text = "a proxy runs here and has a living token of grant main";
        let hint = "nothing was changed; the proxy stores its own tokens when it renews them, and `token \
                    forget main` has it let go of them";

        is_refused(&import(site, &["--replace"]).await, text, hint);
        assert_eq!(fs::read(&record).unwrap(), present);

        fs::write(&record, &present[..present.len() / 2]).unwrap();
        is_refused(&house.cli(&["token", "restore", "main"]).await, text, hint);
        assert_eq!(fs::read(&record).unwrap().len(), present.len() / 2);

        assert_eq!(house.get(PATH).await.status, 200);
        assert_eq!(wise.generation(PROFILE), Some(2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_passphrase_a_changed_byte_and_foreign_grants_are_refused_before_anything_is_written()
 {
    for rotation in house::ROTATIONS {
        let wise = house::wise_that_rotates(rotation).await;
        let here = House::on(&wise).prepare().await;
        assert!(export(&here, &[]).await.status.success());
        let there = other_host(&wise, &here).await;
        let untouched = || !there.path("state/main.grant").exists();
        let closed = "main.grants cannot be opened\n\
                      cause: the passphrase is wrong, or the file was changed";

        there.secret("wrong", "planted passphrase 9c1f");
        let args = ["token", "import", FILE, "--passphrase-file", "wrong"];
        let retry = "try again, or export again";
        is_refused(&there.cli(&args).await, closed, retry);
        assert!(untouched());

        let mut bytes = fs::read(there.path(FILE)).unwrap();
        let sound = bytes.clone();
        let last = bytes.len() - 10;
        bytes[last] = if bytes[last] == b'A' { b'B' } else { b'A' };
        fs::write(there.path(FILE), bytes).unwrap();
        is_refused(&import(&there, &[]).await, closed, retry);
        fs::write(there.path(FILE), "something else").unwrap();
        is_refused(
            &import(&there, &[]).await,
            "main.grants cannot be opened\n\
             cause: it is not a file of `token export`, or it was cut short",
            "export again",
        );
        fs::write(there.path(FILE), sound).unwrap();

        let other_client = import(&there, &["--set", "oauth.client_id=other"]).await;
        is_refused(
            &other_client,
            "grant main was given to the OAuth client acme, and this configuration is of other",
            "only that client can use it; correct oauth.client_id, or run `login` here",
        );
        let config = fs::read_to_string(&there.config).unwrap();
        let foreign = config.replace("profile = 30000000", "profile = 30000001");
        fs::write(&there.config, foreign).unwrap();
        is_refused(
            &import(&there, &[]).await,
            "grant main is for profile 30000000, the configuration says 30000001",
            "correct the profile of grant main in the configuration",
        );
        fs::write(&there.config, config.replace("\"main\"", "\"else\"")).unwrap();
        is_refused(
            &import(&there, &[]).await,
            "the configuration has no grant named main",
            "add a [[grant]] with `name = \"main\"`",
        );
        assert!(untouched());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passphrase_comes_by_standard_input_or_a_variable_and_never_by_the_command_line() {
    for rotation in house::ROTATIONS {
        let wise = house::wise_that_rotates(rotation).await;
        let site = House::on(&wise).prepare().await;
        let run = |args: Vec<&'static str>, stdin: &'static str| {
            let site = site.clone();
            tokio::task::spawn_blocking(move || {
                let mut command = site.command();
                command.args(args).arg("--config").arg(&site.config);
                command.env("GRANTS_PASSPHRASE", PASSPHRASE);
                let streams = (Stdio::piped(), Stdio::piped(), Stdio::piped());
                command.stdin(streams.0).stdout(streams.1).stderr(streams.2);
                let mut child = command.spawn().unwrap();
                let mut input = child.stdin.take().unwrap();
                input.write_all(stdin.as_bytes()).unwrap();
                drop(input);
                child.wait_with_output().unwrap()
            })
        };
        let export = ["token", "export", "--out", FILE].to_vec();
        let missing = run(export.clone(), "").await.unwrap();
        let hint = "give it on standard input, or with --passphrase-file or --passphrase-env";
        is_refused(&missing, "the passphrase is missing", hint);
        is_refused(
            &run(export.clone(), "hunter2\n").await.unwrap(),
            "the passphrase is shorter than 12 characters",
            "make one with: head -c 24 /dev/urandom | base64",
        );
        assert!(!site.path(FILE).exists());
        let typed = run(export, "planted passphrase 9c1e\n").await.unwrap();
        assert!(typed.status.success(), "{}", said(&typed));

        let import = "token import main.grants --replace --passphrase-env GRANTS_PASSPHRASE";
        let import: Vec<_> = import.split(' ').collect();
        let imported = run(import, "").await.unwrap();
        assert!(imported.status.success(), "{}", said(&imported));
        let flag = site
            .cli(&["token", "export", "--passphrase", PASSPHRASE])
            .await;
        assert_eq!(flag.status.code(), Some(2), "there is no such flag");
    }
}
