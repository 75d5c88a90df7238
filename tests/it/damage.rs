//! A store that cannot be used: damaged, sealed under another key, open to others, not there. The
//! running proxy serves on from memory, a start keeps the personal lane, and each has its way back.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use wise_auth_proxy::simulator::{Rotation, Simulator};

use crate::disk::{Mount, gone};
use crate::house::{self, House, PROFILE, Site};
use crate::traffic::PATH;

/// Something that happens to a store, and what is then said of it.
struct Damage {
    name: &'static str,
    make: fn(&Path),
    text: fn(&Path) -> String,
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn change(state: &Path, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let record = state.join("main.grant");
    let bytes = fs::read(&record).unwrap();
    fs::write(record, change(bytes)).unwrap();
}

fn record(state: &Path) -> String {
    state.join("main.grant").display().to_string()
}

fn damaged(state: &Path) -> String {
    format!(
        "{} is damaged and cannot be opened; run `token restore` to go back to the record before, \
         or `login` to replace it",
        record(state)
    )
}

const DAMAGES: [Damage; 8] = [
    Damage {
        name: "a bit has flipped",
        make: |state| {
            change(state, |mut bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                bytes
            });
        },
        text: damaged,
    },
    Damage {
        name: "torn",
        make: |state| change(state, |bytes| bytes[..bytes.len() / 2].to_vec()),
        text: damaged,
    },
    Damage {
        name: "empty",
        make: |state| change(state, |_| Vec::new()),
        text: damaged,
    },
    Damage {
        name: "from a newer version",
        make: |state| {
            change(state, |mut bytes| {
                bytes[0] = 9;
                bytes
            });
        },
        text: |state| {
            format!(
                "{} was written by a newer version of wise-auth-proxy (format 9); run that version",
                record(state)
            )
        },
    },
    Damage {
        name: "sealed under another key",
        make: |state| {
            // Its key id is another one.
            change(state, |mut bytes| {
                bytes[1] ^= 1;
                bytes
            });
        },
        text: |state| {
            format!(
                "{} was sealed under another key; give the store its old seal key back, or run \
                 `login` to replace the record",
                record(state)
            )
        },
    },
    Damage {
        name: "others may read the record",
        make: |state| mode(&state.join("main.grant"), 0o644),
        text: |state| {
            let record = record(state);
            format!("{record} has permissions 644, others could use it; run: chmod 600 {record}")
        },
    },
    Damage {
        name: "others may read the key",
        make: |state| mode(&state.join("seal.key"), 0o640),
        text: |state| {
            let key = state.join("seal.key");
            let key = key.display();
            format!("{key} has permissions 640, others could use it; run: chmod 600 {key}")
        },
    },
    Damage {
        name: "the key is gone",
        make: |state| fs::remove_file(state.join("seal.key")).unwrap(),
        text: gone,
    },
];

/// A store as it was.
struct Copy(Vec<(std::path::PathBuf, Vec<u8>)>);

impl Copy {
    fn of(state: &Path) -> Self {
        Self(house::files(state))
    }

    fn put_back(&self) {
        for (path, bytes) in &self.0 {
            if fs::read(path).ok().as_ref() != Some(bytes) {
                fs::write(path, bytes).unwrap();
            }
            mode(path, 0o600);
        }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The record as it is, which no error may change.
fn bytes(state: &Path) -> Vec<u8> {
    fs::read(state.join("main.grant")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_spoilt_under_a_running_proxy_is_named_left_alone_and_taken_up_again() {
    for rotation in house::ROTATIONS {
        let wise = house::wise_that_rotates(rotation).await;
        let house = House::on(&wise).start().await;
        let state = house.site.path("state");
        for damage in &DAMAGES {
            let name = damage.name;
            let before = Copy::of(&state);
            (damage.make)(&state);
            let (spoilt, exchanges) = (bytes(&state), wise.exchange_count());
            let text = (damage.text)(&state);

            let refused = house.cli(&["token", "refresh", "main"]).await;

            assert_eq!(refused.status.code(), Some(1), "{name}: {}", said(&refused));
            let told = said(&refused);
            assert!(told.contains(&text), "{name}: {told}\nnot: {text}");
            house.logs(&text).await;
            let status = house.status().await;
            assert_eq!(status["tokens"][0]["last_error"]["text"], *text, "{name}");
            assert_eq!(house.admin("/readyz").await.status, 200, "{name}");
            assert_eq!(house.get(PATH).await.status, 200, "{name}");
            assert_eq!(
                wise.exchange_count(),
                exchanges,
                "{name}: with time in hand"
            );
            assert_eq!(bytes(&state), spoilt, "{name}: never overwritten");

            before.put_back();
            let renewed = house.cli(&["token", "refresh", "main"]).await;
            assert!(renewed.status.success(), "{name}: {}", said(&renewed));
            assert_ne!(bytes(&state), spoilt, "{name}: written anew");
            assert_eq!(house.get(PATH).await.status, 200, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unmounted_store_is_not_a_forgotten_grant_and_nothing_is_written_in_its_place() {
    for rotation in house::ROTATIONS {
        let wise = house::wise_that_rotates(rotation).await;
        let site = House::on(&wise).logged_out().prepare().await;
        let (disk, state) = (site.path("disk"), site.path("state"));
        for dir in [&disk, &state] {
            fs::create_dir(dir).unwrap();
            mode(dir, 0o700);
        }
        let bind = ["--bind", disk.to_str().unwrap()];
        let Some(mounted) = Mount::new(&bind, &state) else {
            return;
        };
        site.log_in(&wise, "main", PROFILE).await;
        let house = site.start().await;

        drop(mounted);
        house.logs(&gone(&state)).await;
        let refused = house.cli(&["token", "refresh", "main"]).await;
        assert!(said(&refused).contains(&gone(&state)), "{}", said(&refused));
        assert_eq!(house.get(PATH).await.status, 200);
        assert_eq!(house.admin("/readyz").await.status, 200);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0, "under the disk");

        let _mounted = Mount::new(&bind, &state).unwrap();
        let renewed = house.cli(&["token", "refresh", "main"]).await;
        assert!(renewed.status.success(), "{}", said(&renewed));
        assert_eq!(house.get(PATH).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_before_the_disk_of_the_store_is_there_finds_it_when_it_comes() {
    for rotation in house::ROTATIONS {
        let wise = house::wise_that_rotates(rotation).await;
        let site = House::on(&wise).prepare().await;
        let (disk, state) = (site.path("disk"), site.path("state"));
        fs::rename(&state, &disk).unwrap();
        let house = site.start().await;
        assert_eq!(house.get(PATH).await.problem(), "no-grant");

        // With a key of its own by now.
        assert!(state.join("seal.key").exists());
        let bind = ["--bind", disk.to_str().unwrap()];
        let Some(_mounted) = Mount::new(&bind, &state) else {
            return;
        };

        house.status_until(|status| status["ready"] == true).await;
        assert_eq!(house.get(PATH).await.status, 200);
    }
}

/// Starts on the damaged store, takes the way back, and has the store mended without a restart.
async fn starts(wise: &Simulator, site: &Site, damage: &Damage) {
    let (name, state) = (damage.name, site.path("state"));
    let before = Copy::of(&state);
    (damage.make)(&state);
    let spoilt = bytes(&state);
    let text = match damage.name {
        "the key is gone" => format!(
            "{} is missing but the store holds records sealed under it; restore it from a backup, \
             or move the records away and run `login` again",
            state.join("seal.key").display()
        ),
        _ => (damage.text)(&state),
    };

    let house = site.start().await;

    let answer = house.get(PATH).await;
    assert_eq!(answer.problem(), "token-unavailable", "{name}");
    assert!(!String::from_utf8_lossy(&answer.body).contains("grant\""));
    let ready = house.admin("/readyz").await;
    assert_eq!(ready.status, 503, "{name}");
    let reason = String::from_utf8(ready.body.to_vec()).unwrap();
    assert_eq!(reason, format!("grant main: {text}\n"), "{name}");
    house.logs(&text).await;
    let shown = house.cli(&["status"]).await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(&text), "{name}: {shown}");

    house.switch("personal").await;
    assert_eq!(house.get(PATH).await.status, 200, "{name}: the way back");
    assert_eq!(house.admin("/readyz").await.status, 200, "{name}");
    house.switch("oauth-mtls").await;
    assert_eq!(bytes(&state), spoilt, "{name}: never overwritten");

    before.put_back();
    house.status_until(|status| status["ready"] == true).await;
    assert_eq!(house.get(PATH).await.status, 200, "{name}: no restart");
    assert!(house.stop().await.success());
    assert_eq!(wise.exchange_count(), 1, "{name}: nothing to exchange");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_a_spoilt_store_says_why_keeps_the_way_back_and_needs_no_second_start() {
    for rotation in house::ROTATIONS {
        let wise = house::wise_that_rotates(rotation).await;
        let site = House::on(&wise).prepare().await;
        for damage in &DAMAGES {
            starts(&wise, &site, damage).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_a_full_or_read_only_disk_serves_and_switches() {
    for options in ["remount,ro", "size=64k"] {
        let wise = house::wise().await;
        // The admin socket in the store, as it is by default.
        let socket = "state/admin.sock";
        let plan = House::on(&wise).logged_out().set("admin.socket", socket);
        let mut site = plan.prepare().await;
        let state = site.path("state");
        fs::create_dir(&state).unwrap();
        let small = ["-t", "tmpfs", "-o", "size=64k,mode=0700", "none"];
        let Some(mount) = Mount::new(&small, &state) else {
            return;
        };
        site.socket = site.path(socket);
        site.log_in(&wise, "main", PROFILE).await;
        if options == "size=64k" {
            fs::write(state.join("filler"), vec![0; 1 << 20]).unwrap_err();
        } else {
            mount.again(options);
        }

        let house = site.start().await;

        assert_eq!(house.get(PATH).await.status, 200, "{}", house.log());
        if options == "size=64k" {
            house.turn("personal").await;
            assert_eq!(house.get(PATH).await.status, 200);
            house.logs("the switch could not be remembered: ").await;
        } else {
            let no_socket = format!("admin.socket {}: ", site.socket.display());
            house.logs(&no_socket).await;
            house.logs("Read-only file system (os error 30)").await;
            house
                .logs(
                    "commands cannot reach this proxy until it is started again, with \
                     admin.socket on another disk such as /run",
                )
                .await;
            house.stop().await;
            site.socket = site.path("admin.sock");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_others_may_write_to_stops_a_start_for_they_may_have_turned_the_switch() {
    for rotation in house::ROTATIONS {
        let wise = house::wise_that_rotates(rotation).await;
        let site = House::on(&wise).prepare().await;
        let state = site.path("state");
        mode(&state, 0o770);

        let output = site.cli(&["run"]).await;

        assert_eq!(output.status.code(), Some(1));
        let text = format!(
            "error: {0} has permissions 770, others could use it; run: chmod 700 {0}",
            state.display()
        );
        assert!(said(&output).contains(&text), "{}", said(&output));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_heals_a_damaged_store_and_one_that_fails_costs_nothing() {
    for rotation in house::ROTATIONS {
        let wise = house::wise_that_rotates(rotation).await;
        let house = House::on(&wise).start().await;
        let state = house.site.path("state");
        (DAMAGES[0].make)(&state);
        let spoilt = bytes(&state);
        house.logs(&damaged(&state)).await;

        let login = [
            "login",
            "--code",
            "nonsense",
            "--redirect-uri",
            house::REDIRECT,
        ];
        assert_eq!(house.cli(&login).await.status.code(), Some(1));
        // A look into the store later.
        house.cli(&["token", "refresh", "main"]).await;
        assert_eq!(house.get(PATH).await.status, 200, "the token in memory");
        assert_eq!(bytes(&state), spoilt);

        house.site.log_in(&wise, "main", PROFILE).await;
        house.logs("took a newer token from the store").await;
        assert_eq!(house.get(PATH).await.status, 200);
        let aside = fs::read(state.join("main.unreadable-1")).unwrap();
        assert_eq!(aside, spoilt, "kept for whoever wants to know");
        let renewed = house.cli(&["token", "refresh", "main"]).await;
        assert!(renewed.status.success(), "{}", said(&renewed));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_wise_gave_last_take_the_place_of_a_damaged_record() {
    for rotation in house::ROTATIONS {
        let wise = house::wise_that_rotates(rotation).await;
        let house = House::on(&wise).start().await;
        let state = house.site.path("state");
        (DAMAGES[1].make)(&state);
        let spoilt = bytes(&state);
        house.logs(&damaged(&state)).await;

        // A 401 leaves no time to wait for an operator.
        wise.revoke_access(PROFILE);
        assert_eq!(house.get(PATH).await.status, 200, "{}", house.log());

        let aside = state.join("main.unreadable-1");
        house
            .logs(&format!(
                "the damaged record was moved to {}",
                aside.display()
            ))
            .await;
        assert_eq!(fs::read(&aside).unwrap(), spoilt);
        house.stop().await;
        let house = house.site.start().await;
        assert_eq!(house.get(PATH).await.status, 200, "{}", house.log());
        assert_eq!(wise.exchange_count(), 2, "what was stored is the newest");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_goes_back_to_the_record_before_which_serves_where_wise_still_takes_it() {
    for rotation in [Rotation::Always, Rotation::Grace, Rotation::Never] {
        let wise = house::wise().await;
        wise.change_faults(|faults| faults.token.rotation = rotation);
        let house = House::on(&wise).start().await;
        let site = house.site.clone();
        let restore = ["token", "restore", "main", "--json"];

        let needless = house.cli(&restore).await;
        assert_eq!(needless.status.code(), Some(1));
        assert_eq!(
            said(&needless),
            "error: the record of grant main can be opened, generation 1\n\
             hint: nothing was changed; `token show` says how the grant is\n"
        );
        let renewed = house.cli(&["token", "refresh", "main"]).await;
        assert!(renewed.status.success(), "{}", said(&renewed));
        house.stop().await;
        let state = site.path("state");
        (DAMAGES[0].make)(&state);
        let spoilt = bytes(&state);
        let house = site.start().await;
        let reason = house.admin("/readyz").await.body;
        let reason = String::from_utf8(reason.to_vec()).unwrap();
        assert_eq!(reason, format!("grant main: {}\n", damaged(&state)));

        let restored = house.cli(&restore).await;

        assert!(restored.status.success(), "{}", said(&restored));
        let told: serde_json::Value = serde_json::from_slice(&restored.stdout).unwrap();
        assert_eq!(told["generation"], 1);
        let aside = state.join("main.unreadable-1");
        assert_eq!(told["set_aside"], aside.to_str().unwrap());
        assert_eq!(fs::read(aside).unwrap(), spoilt);
        house.status_until(|status| status["ready"] == true).await;
        // Its access token is dead; its refresh token is what counts.
        let answer = house.get(PATH).await;
        if rotation == Rotation::Always {
            assert_eq!(answer.status, 401, "Wise's own word to who finds out");
            let answer = house.get(PATH).await;
            assert_eq!(answer.problem(), "reauthorisation-required");
            house.site.log_in(&wise, "main", PROFILE).await;
            house.status_until(|status| status["ready"] == true).await;
        } else {
            assert_eq!(answer.status, 200, "{rotation:?}: {}", house.log());
        }
        assert_eq!(house.get(PATH).await.status, 200, "{rotation:?}");
    }
}
