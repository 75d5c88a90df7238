//! Places on this machine: the store and the doors.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use super::{broken, doctor, plan};
use crate::disk::Mount;
use crate::house;

#[tokio::test]
async fn a_store_that_others_may_write_to_fails_and_everything_in_it_waits() {
    let wise = house::wise().await;
    let seen = broken(plan(&wise), |site| {
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(site.path("state"), open).unwrap();
    })
    .await;
    seen.only(&[("store.directory", "failed")]);
    seen.says("store.directory", "has permissions 777", "run chmod 700 ");
    let left = seen.left_out("store.directory");
    assert!(
        left.contains(&"grant.main.record") && left.contains(&"store.durable"),
        "{left:?}"
    );
}

#[tokio::test]
async fn a_store_whose_key_is_gone_fails_and_gets_no_new_one() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    fs::remove_file(site.path("state/seal.key")).unwrap();
    let seen = doctor(&site, &[]).await;
    seen.only(&[("store.directory", "failed")]);
    seen.says(
        "store.directory",
        "seal.key is missing",
        "restore it from a backup",
    );
    assert!(!site.path("state/seal.key").exists());
}

#[tokio::test]
async fn a_store_in_memory_is_a_warning_with_the_room_that_it_has() {
    let wise = house::wise().await;
    let site = plan(&wise).logged_out().prepare().await;
    fs::create_dir(site.path("state")).unwrap();
    let Some(_mount) = Mount::small(&site.path("state")) else {
        return;
    };
    site.log_in(&wise, "main", house::PROFILE).await;
    let seen = doctor(&site, &[]).await;
    seen.only(&[("store.filesystem", "warning"), ("store.space", "warning")]);
    seen.says(
        "store.filesystem",
        "tmpfs, mounted at ",
        "put store.path on a disk",
    );
    seen.says("store.space", "is little", "`df -h ");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_fails_and_what_it_holds_still_serves() {
    let wise = house::wise().await;
    let site = plan(&wise).logged_out().prepare().await;
    fs::create_dir(site.path("state")).unwrap();
    let Some(mount) = Mount::small(&site.path("state")) else {
        return;
    };
    site.log_in(&wise, "main", house::PROFILE).await;
    mount.again("remount,ro");
    let seen = doctor(&site, &[]).await;
    seen.only(&[
        ("store.durable", "failed"),
        ("store.filesystem", "warning"),
        ("store.space", "warning"),
    ]);
    seen.says(
        "store.durable",
        "Read-only file system",
        "mount it writable",
    );
    assert_eq!(seen.state("lane.oauth-mtls"), "good");
}

#[tokio::test]
async fn a_full_store_fails_for_want_of_room() {
    let wise = house::wise().await;
    let site = plan(&wise).logged_out().prepare().await;
    fs::create_dir(site.path("state")).unwrap();
    let Some(_mount) = Mount::small(&site.path("state")) else {
        return;
    };
    site.log_in(&wise, "main", house::PROFILE).await;
    fs::write(site.path("state/filler"), vec![0; 1 << 20]).unwrap_err();
    let seen = doctor(&site, &[]).await;
    seen.only(&[
        ("store.durable", "failed"),
        ("store.space", "failed"),
        ("store.filesystem", "warning"),
    ]);
    seen.says("store.durable", "takes no record", "free some space");
    seen.says("store.space", "the next record does not fit", "`df -h ");
}

#[tokio::test]
async fn a_record_without_room_fails_where_requests_need_it() {
    let wise = house::wise().await;
    let plan = plan(&wise).set("audit.file", "logs/audit.log");
    let site = plan.prepare().await;
    fs::create_dir(site.path("logs")).unwrap();
    let Some(_mount) = Mount::small(&site.path("logs")) else {
        return;
    };
    fs::write(site.path("logs/filler"), vec![0; 1 << 20]).unwrap_err();
    for (required, state) in [("false", "warning"), ("true", "failed")] {
        let set = format!("audit.required={required}");
        let seen = doctor(&site, &["--set", &set]).await;
        seen.only(&[
            ("audit.space", state),
            ("audit.file", "skipped"),
            ("audit.end", "skipped"),
        ]);
        seen.says("audit.space", "the next record does not fit", "`df -h ");
    }
}

#[tokio::test]
async fn a_door_whose_place_is_not_there_fails_before_the_start() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    let digest = "0123456789abcdef".repeat(4);
    let caller = format!("caller=[{{ name = \"payroll\", hashes = [\"sha256:{digest}\"] }}]");
    let beside = site.path("run/app.sock").display().to_string();
    for (door, text, hint) in [
        (
            "address = \"192.0.2.7:8080\", expose = true, callers = [\"payroll\"]".to_owned(),
            "192.0.2.7:8080 cannot be opened",
            "`ip -brief address`",
        ),
        (
            format!("address = \"unix:{beside}\""),
            "the directory of ",
            "RuntimeDirectory=",
        ),
    ] {
        let door = format!("door=[{{ {door} }}]");
        let seen = doctor(&site, &["--set", &door, "--set", &caller]).await;
        seen.only(&[("door.0", "failed")]);
        seen.says("door.0", text, hint);
    }
}

#[tokio::test]
async fn a_door_that_another_program_has_taken_fails_before_the_start() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let set = format!("door=[{{ address = \"127.0.0.1:{port}\" }}]");
    let seen = doctor(&site, &["--set", &set]).await;
    seen.only(&[("door.0", "failed")]);
    let hint = format!("`ss -ltnp 'sport = :{port}'`");
    seen.says("door.0", "is taken by another program", &hint);

    let taken = UnixListener::bind(site.path("app.sock")).unwrap();
    let set = format!(
        "door=[{{ address = \"unix:{}\" }}]",
        site.path("app.sock").display()
    );
    let seen = doctor(&site, &["--set", &set]).await;
    seen.only(&[("door.0", "failed")]);
    seen.says("door.0", "is taken by another program", "`fuser ");
    drop(taken);
    let seen = doctor(&site, &["--set", &set]).await;
    seen.only(&[]);
    seen.says("door.0", "is left from before", "");

    fs::remove_file(site.path("app.sock")).unwrap();
    fs::write(site.path("app.sock"), "").unwrap();
    let seen = doctor(&site, &["--set", &set]).await;
    seen.only(&[("door.0", "failed")]);
    seen.says("door.0", "is no socket", "move it away");
}

#[tokio::test]
async fn a_door_that_another_proxy_has_opened_is_told_from_one_of_any_program() {
    let wise = house::wise().await;
    let other = plan(&wise).start().await;
    let site = plan(&wise).prepare().await;
    let set = format!("door=[{{ address = \"{}\" }}]", other.door);
    let seen = doctor(&site, &["--set", &set]).await;
    seen.only(&[("door.0", "failed")]);
    seen.says("door.0", "a proxy of another configuration", "`ss -ltnp ");
}

/// As who may not ask the proxy, nor read what it reads.
#[tokio::test]
async fn somebody_else_is_told_to_ask_as_the_proxys_user() {
    let wise = house::wise().await;
    let house = plan(&wise).start().await;
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(house.site.directory.path(), open).unwrap();
    let inner = house.site.command();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command
        .arg(inner.get_program())
        .args(["doctor", "--json", "--config"]);
    command.arg(&house.site.config).env_clear();
    command.current_dir(house.site.directory.path());
    let port = house.door.port();
    command.args([
        "--set",
        &format!("door=[{{ address = \"127.0.0.1:{port}\" }}]"),
    ]);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap();
    let output = match output {
        Ok(output) if !output.stdout.is_empty() => output,
        other => return house::skip(&format!("this user may not become another ({other:?})")),
    };
    let seen = super::Seen {
        code: output.status.code().unwrap(),
        whole: serde_json::from_slice(&output.stdout).unwrap(),
    };
    assert_eq!(seen.code, 1);
    assert_eq!(seen.state("proxy.running"), "warning");
    seen.says(
        "proxy.running",
        "may not use the admin socket",
        "as the user that the proxy runs as",
    );
    assert_eq!(
        seen.state("door.0"),
        "good",
        "whoever it is hears the proxy there"
    );
    let secret = "secret.personal.token";
    seen.says(
        secret,
        "Permission denied",
        "sudo -u USER wise-auth-proxy doctor",
    );
    assert_eq!(seen.state("store.directory"), "failed");
    assert_eq!(seen.state("tls.plain"), "good");
}

#[tokio::test]
async fn the_doors_of_a_running_proxy_are_knocked_at_without_bothering_wise() {
    let wise = house::wise().await;
    let door = "[[door]]\naddress = \"unix:app.sock\"\nmode = \"0666\"\n";
    let house = plan(&wise).lane("personal").toml(door).start().await;
    wise.clear();
    let seen = doctor(&house.site, &[]).await;
    seen.only(&[("door.1", "warning")]);
    seen.says("door.0", "answers; every program on this machine", "");
    seen.says(
        "door.1",
        "every user of this machine may use it",
        "a tighter mode",
    );
    assert!(wise.recorded().iter().all(|seen| seen.target != "/doctor"));

    // Somebody has deleted the socket, and put up another program in its place.
    fs::remove_file(house.site.path("app.sock")).unwrap();
    let seen = doctor(&house.site, &[]).await;
    seen.only(&[("door.1", "failed")]);
    seen.says("door.1", "does not answer", "restart the proxy");

    let other = tokio::net::UnixListener::bind(house.site.path("app.sock")).unwrap();
    let serving = async {
        loop {
            let (stream, _) = other.accept().await.unwrap();
            stream.try_write(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        }
    };
    let seen = tokio::select! {
        seen = doctor(&house.site, &[]) => seen,
        () = serving => unreachable!(),
    };
    seen.only(&[("door.1", "failed")]);
    seen.says("door.1", "it is another program", "restart the proxy");
}

#[tokio::test]
async fn a_socket_that_is_given_to_somebody_is_said_to_be_theirs() {
    let wise = house::wise().await;
    let me = String::from_utf8(
        std::process::Command::new("id")
            .arg("-un")
            .output()
            .unwrap()
            .stdout,
    );
    let me = me.unwrap().trim().to_owned();
    let door =
        format!("[[door]]\naddress = \"unix:app.sock\"\nmode = \"0600\"\nowner = \"{me}\"\n");
    let house = plan(&wise).lane("personal").toml(&door).start().await;
    let seen = doctor(&house.site, &[]).await;
    seen.only(&[]);
    seen.says(
        "door.1",
        &format!("answers; user `{me}` alone may use it"),
        "",
    );
}

#[tokio::test]
async fn an_open_door_beside_one_with_callers_is_a_way_around_them() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    let with = |open: &str| {
        format!(
            "door=[{{ address = \"127.0.0.1:0\"{open} }}, \
             {{ address = \"unix:{}\", callers = [\"books\"] }}]",
            site.path("app.sock").display()
        )
    };
    let caller = "caller=[{ name = \"books\", users = [\"root\"], policy = \"read-only\" }]";
    let seen = doctor(&site, &["--set", caller, "--set", &with("")]).await;
    seen.only(&[("door.0", "warning")]);
    seen.says(
        "door.0",
        "can be walked around here",
        "caller add NAME --door",
    );
    let bound = with(", policy = \"read-only\"");
    let seen = doctor(&site, &["--set", caller, "--set", &bound]).await;
    seen.only(&[]);
}

#[tokio::test]
async fn a_door_that_came_after_the_start_is_not_open_yet() {
    let wise = house::wise().await;
    let house = plan(&wise).start().await;
    let set = "door=[{ address = \"127.0.0.1:0\" }, { address = \"127.0.0.1:0\" }]";
    let seen = doctor(&house.site, &["--set", set]).await;
    seen.only(&[("door.1", "warning")]);
    seen.says("door.1", "has not opened", "restart the proxy");
}
