//! What the running proxy has given up on its own machine, and that it misses none of it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use landlock::{
    ABI, Access as _, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _,
};
use serde_json::Value;

use crate::house::{self, House, PERSONAL_TOKEN, PROFILE, Site};

const FULL: &str = "confined: core dumps off, no new privileges, files by Landlock ABI ";

/// A user that owns nothing and may do nothing.
const NOBODY: u32 = 65_534;

fn of_process(house: &House, file: &str) -> String {
    fs::read_to_string(format!("/proc/{}/{file}", house.pid())).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn is_confined(status: &Value) -> bool {
    let measures = status["confinement"]["in_force"].as_array().unwrap();
    let mut measures = measures.iter().filter_map(Value::as_str);
    measures.any(|measure| measure.starts_with("files by Landlock ABI "))
}

#[tokio::test]
async fn the_proxy_starts_confined_and_says_so() {
    let wise = house::wise().await;
    let house = House::on(&wise).start().await;
    house.logs(FULL).await;
    let status = house.status().await;
    assert_eq!(status["confinement"]["left_out"], serde_json::json!([]));
    assert!(is_confined(&status), "{status:#}");
    let shown = house.cli(&["status"]).await.stdout;
    let shown = String::from_utf8_lossy(&shown).into_owned();
    let (_, words) = FULL.split_once(' ').unwrap();
    assert!(shown.contains(words), "{shown}");

    let limits = of_process(&house, "limits");
    let core = limits.lines().find(|line| line.contains("core file"));
    let words: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "soft and hard limit");
    // Threads have these of the thread that started them, and Landlock with them.
    let mut threads = 0;
    for thread in fs::read_dir(format!("/proc/{}/task", house.pid())).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        threads += 1;
    }
    assert!(threads >= 4, "log, control and two workers, not {threads}");
    // The metrics are made of /proc.
    assert!(house.metric("process_open_fds", "").await > 0.0);
}

#[tokio::test]
async fn everything_that_a_proxy_does_in_its_life_it_can_do_confined() {
    let wise = house::wise().await;
    let site = House::on(&wise)
        .set("log.access", "logs/access.log")
        .set("hardening.files", "required")
        .toml("[[door]]\naddress = \"unix:run/app.sock\"\n")
        .prepare()
        .await;
    for directory in ["logs", "run"] {
        fs::create_dir(site.path(directory)).unwrap();
    }
    let house = site.start().await;
    assert_eq!(house.get("/v1/me").await.status, 200);
    assert!(site.path("run/app.sock").exists());

    // Renewed and saved, by itself and by another process.
    let saved = fs::read(site.path("state/main.grant")).unwrap();
    let refreshed = house.cli(&["token", "refresh", "main"]).await;
    assert!(refreshed.status.success(), "{}", said(&refreshed));
    assert_ne!(fs::read(site.path("state/main.grant")).unwrap(), saved);
    site.log_in(&wise, "main", PROFILE).await;
    assert_eq!(house.get("/v1/me").await.status, 200);

    // The certificate rotates by renaming, which makes a file that no rule has seen.
    let old = house.status().await["certificate"]["serial"].clone();
    let put_aside = |name: &str| fs::rename(site.path(name), site.path("aside"));
    put_aside("client.pem").unwrap();
    put_aside("client.key").unwrap();
    site.certificate(&wise, "rotated");
    house.reload().await;
    let status = house.status().await;
    assert_ne!(status["certificate"]["serial"], old);
    assert_eq!(
        status["last_reload"]["needs_restart"],
        serde_json::json!([])
    );
    assert_eq!(house.get("/v1/me").await.status, 200);

    // The switch, remembered without a warning, and over a restart.
    let turned = house.cli(&["switch", "personal", "--reason", "test"]).await;
    assert!(!said(&turned).contains("warning"), "{}", said(&turned));
    assert_eq!(house.stop().await.code(), Some(0));
    assert!(!site.path("run/app.sock").exists(), "removed at the end");
    assert!(!house.log().contains("denied"), "{}", house.log());
    let lines = fs::read_to_string(site.path("logs/access.log")).unwrap();
    assert!(lines.lines().count() >= 3, "{lines}");
    let again = site.start().await;
    let status = again.status().await;
    assert_eq!(status["lane"], "personal");
    assert!(is_confined(&status), "{status:#}");
    assert_eq!(again.get("/v1/me").await.status, 200);
}

/// A house whose configuration is about to name a secret in another directory.
async fn with_a_secret_elsewhere(
    files: &str,
) -> (
    wise_auth_proxy::simulator::Simulator,
    House,
    tempfile::TempDir,
) {
    let wise = house::wise().await;
    let house = House::on(&wise)
        .lane("personal")
        .set("hardening.files", files)
        .set("runtime.reload_interval", "1h")
        .start()
        .await;
    let elsewhere = tempfile::tempdir().unwrap();
    let secret = elsewhere.path().join("token");
    fs::write(&secret, PERSONAL_TOKEN).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let config = fs::read_to_string(&house.site.config).unwrap();
    let named = format!("{{ file = \"{}\" }}", secret.display());
    let config = config.replace("{ file = \"personal_token\" }", &named);
    fs::write(&house.site.config, config).unwrap();
    (wise, house, elsewhere)
}

#[tokio::test]
async fn a_reload_that_names_a_file_outside_is_refused_and_wants_a_restart() {
    let (_wise, house, elsewhere) = with_a_secret_elsewhere("auto").await;
    let refused = house.cli(&["reload"]).await;
    assert!(!refused.status.success());
    let wanted = format!(
        "personal.token: {} lies outside the directories that this process may read since its \
         start (hardening.files); restart the proxy to use it",
        elsewhere.path().join("token").display()
    );
    assert!(said(&refused).contains(&wanted), "{}", said(&refused));
    let status = house.status().await;
    assert_eq!(status["last_reload"]["error"], wanted);
    assert_eq!(house.get("/v1/me").await.status, 200, "the old set serves");

    assert_eq!(house.stop().await.code(), Some(0));
    let again = house.site.start().await;
    assert_eq!(again.get("/v1/me").await.status, 200, "after a restart");
}

#[tokio::test]
async fn without_confinement_a_reload_may_name_any_file() {
    let (_wise, house, _elsewhere) = with_a_secret_elsewhere("off").await;
    house.logs("left out: hardening.files: it is \"off\"").await;
    house.reload().await;
    assert_eq!(house.get("/v1/me").await.status, 200);
}

#[tokio::test]
async fn a_reload_cannot_bring_a_program() {
    let wise = house::wise().await;
    let house = House::on(&wise).lane("personal").start().await;
    let config = fs::read_to_string(&house.site.config).unwrap();
    let config = config.replace(
        "{ file = \"personal_token\" }",
        "{ exec = [\"/bin/cat\", \"personal_token\"] }",
    );
    fs::write(&house.site.config, config).unwrap();
    let refused = house.cli(&["reload"]).await;
    let wanted = "personal.token comes from a program (exec), and this process may start none";
    assert!(said(&refused).contains(wanted), "{}", said(&refused));
    assert_eq!(house.stop().await.code(), Some(0));

    // From the start it may, and then files are not confined, which is said.
    let house = house.site.start().await;
    let wanted = "left out: hardening.files: personal.token comes from a program (exec)";
    house.logs(wanted).await;
    assert_eq!(house.get("/v1/me").await.status, 200);
}

/// Not our own check but the kernel: the system's roots are read by a library that asks nobody.
#[tokio::test]
async fn the_kernel_keeps_the_proxy_from_a_file_outside() {
    for (files, passes) in [("auto", false), ("off", true)] {
        let wise = house::wise().await;
        let roots = tempfile::tempdir().unwrap();
        let (own, outside) = (roots.path().join("own"), roots.path().join("outside"));
        for directory in [&own, &outside] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join("roots.pem"), wise.ca_pem()).unwrap();
        }
        let named = own.join("roots.pem");
        let house = House::on(&wise)
            .lane("personal")
            .set("hardening.files", files)
            .set("wise.roots", "system")
            .variable("SSL_CERT_FILE", named.to_str().unwrap())
            .start()
            .await;
        house.reload().await;
        assert_eq!(house.get("/v1/me").await.status, 200);

        // The same name and content, but read in another directory.
        fs::remove_file(&named).unwrap();
        symlink(outside.join("roots.pem"), &named).unwrap();
        // The file beside it is the whole set otherwise.
        let config = fs::read_to_string(&house.site.config).unwrap();
        let config = config.replace("extra_ca = \"ca.pem\"\n", "");
        fs::write(&house.site.config, config).unwrap();
        let reloaded = house.cli(&["reload"]).await;
        assert_eq!(reloaded.status.success(), passes, "{}", said(&reloaded));
        assert_eq!(
            said(&reloaded).contains("Permission denied"),
            !passes,
            "{}",
            said(&reloaded)
        );
        assert_eq!(
            house.get("/v1/me").await.status,
            200,
            "either way it serves"
        );
    }
}

/// Runs on a thread that has as many layers of Landlock as a kernel allows, which its children
/// inherit: the proxy's own layer is refused.
fn crowded<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let crowded = scope.spawn(|| {
            let layer = || {
                Ruleset::default()
                    .handle_access(AccessFs::from_all(ABI::V1))?
                    .create()?
                    .add_rule(PathBeneath::new(
                        PathFd::new("/").unwrap(),
                        AccessFs::from_all(ABI::V1),
                    ))?
                    .restrict_self()
            };
            let layers = (0..64).take_while(|_| layer().is_ok()).count();
            assert!((1..64).contains(&layers), "{layers} layers");
            act()
        });
        crowded.join().unwrap()
    })
}

#[tokio::test]
async fn what_the_kernel_refuses_is_said_or_stops_the_start_if_it_is_required() {
    let wise = house::wise().await;
    let site = House::on(&wise).prepare().await;
    let mut command = site.run();
    command.args(["--set", "hardening.files=required"]);
    let output = crowded(|| command.stdin(Stdio::null()).output().unwrap());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let wanted = "hardening.files is \"required\", but the system refused";
    assert!(said(&output).contains(wanted), "{}", said(&output));
    let hint = "hardening.files = \"auto\" starts without it";
    assert!(said(&output).contains(hint), "{}", said(&output));

    let (house, seen) = crowded(|| site.spawn());
    let house = house.expect(seen).await;
    let wanted = "confined: core dumps off, no new privileges; left out: hardening.files";
    house.logs(wanted).await;
    house.logs(" WARN confined").await;
    assert_eq!(house.get("/v1/me").await.status, 200);
}

/// Gives a directory to the user that the proxy runs as in these tests.
fn hand_over(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            hand_over(&entry.unwrap().path(), user);
        }
    }
}

#[tokio::test]
async fn another_process_of_the_same_user_cannot_look_into_the_proxy() {
    let wise = house::wise().await;
    let site = House::on(&wise)
        .variable("SECRET", "planted-in-the-environment")
        .prepare()
        .await;
    // Root may look everywhere, so a test that runs as root needs another user.
    let own = fs::metadata(site.directory.path()).unwrap().uid();
    let user = if own == 0 { NOBODY } else { own };
    let program = site.path("proxy");
    let built = env!("CARGO_BIN_EXE_wise-auth-proxy");
    fs::copy(built, &program).unwrap();
    for memory in ["auto", "off"] {
        let mut command = Command::new(&program);
        command.args(site.run().get_args()).env_clear();
        command.env("SECRET", "planted-in-the-environment");
        command.args(["--set", &format!("hardening.memory={memory}")]);
        command.current_dir(site.directory.path());
        if own == 0 {
            hand_over(site.directory.path(), user);
            command.uid(user).gid(user);
        }
        let house = site.start_as(command).await;
        let look = |file: &str| {
            let mut look = Command::new("/bin/cat");
            look.arg(format!("/proc/{}/{file}", house.pid()));
            if own == 0 {
                look.uid(user).gid(user);
            }
            look.output().unwrap()
        };
        let owner = fs::metadata(format!("/proc/{}/environ", house.pid())).unwrap();
        let (environment, maps) = (look("environ"), look("maps"));
        if memory == "auto" {
            assert_eq!(owner.uid(), 0, "what is not dumpable belongs to root");
            assert!(!environment.status.success() && !maps.status.success());
        } else {
            let seen = String::from_utf8_lossy(&environment.stdout).into_owned();
            assert!(seen.contains("planted-in-the-environment"), "{seen}");
            assert!(maps.status.success(), "the other way it can");
        }
        assert_eq!(house.stop().await.code(), Some(0));
    }
    hand_over(site.directory.path(), own);
}

/// Ends a proxy that was started with leave to dump, and tells whether it did.
async fn dumps_core(site: &Site, memory: &str) -> bool {
    let mut command = Command::new("/bin/sh");
    let script = "ulimit -c unlimited; exec \"$0\" \"$@\"";
    let run = site.run();
    command.args(["-c", script]).arg(run.get_program());
    command
        .args(run.get_args())
        .env_remove("WISE_PROXY_PROGRAM") // ours, and no key of the configuration
        .current_dir(site.directory.path());
    command.args(["--set", &format!("hardening.memory={memory}")]);
    let house = site.start_as(command).await;
    assert_eq!(house.get("/v1/me").await.status, 200);
    house.signal("ABRT");
    let ended = house.ended().await;
    assert_eq!(ended.signal(), Some(6));
    let entries = fs::read_dir(site.directory.path()).unwrap();
    let core = |name: &str| name == "core" || name.starts_with("core.");
    let mut names = entries.map(|entry| entry.unwrap().file_name());
    ended.core_dumped() || names.any(|name| name.to_str().is_some_and(core))
}

#[tokio::test]
async fn a_crash_leaves_no_memory_on_the_disk() {
    let wise = house::wise().await;
    // Landlock alone would keep a dump from being written here.
    let site = House::on(&wise)
        .lane("personal")
        .set("hardening.files", "off")
        .prepare()
        .await;
    assert!(!dumps_core(&site, "auto").await);
    // Whether this machine would have: a shell of the same kind says so.
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "ulimit -c unlimited && kill -ABRT $$"]);
    let able = shell.current_dir(site.directory.path()).status().unwrap();
    if able.core_dumped() {
        let _ = fs::remove_file(site.path("core"));
        assert!(dumps_core(&site, "off").await, "the other way it does");
    }
}
