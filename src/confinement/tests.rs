use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use super::places::needed;
use super::*;
use crate::config::{FileChoice, Sources, load};

const HOUSE: &str = r#"
environment = "sandbox"
[switch]
lane = "personal"
[personal]
token = { file = "secrets/token" }
[store]
path = "state"
[hardening]
files = "required"
"#;

fn house(directory: &Path) -> Loaded {
    let file = FileChoice::Text {
        name: "house.toml".to_owned(),
        text: HOUSE.to_owned(),
        directory: directory.to_owned(),
    };
    let sources = Sources {
        file,
        variables: Vec::new(),
        flags: Vec::new(),
    };
    load(&sources).unwrap()
}

/// A directory with a house in it, and one next door.
fn street() -> tempfile::TempDir {
    let street = tempfile::tempdir().unwrap();
    for path in ["house/secrets", "next-door"] {
        fs::create_dir_all(street.path().join(path)).unwrap();
    }
    fs::write(street.path().join("house/secrets/token"), "ours").unwrap();
    fs::write(street.path().join("next-door/token"), "theirs").unwrap();
    street
}

/// Confines a thread to the house and looks around from there. Landlock holds for the thread alone.
fn from_inside<T: Send>(street: &Path, look: impl FnOnce(&Confinement) -> T + Send) -> T {
    let loaded = house(&street.join("house"));
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| look(&confined(&loaded)));
        inside.join().unwrap()
    })
}

/// Like [`confine`], but leaves the memory of the process that runs the tests open.
fn confined(loaded: &Loaded) -> Confinement {
    let (abi, reach) = confine_files(loaded, &[]).expect("this kernel has Landlock");
    Confinement {
        in_force: vec![format!("files by Landlock ABI {abi}")],
        left_out: Vec::new(),
        reach: Some(reach),
    }
}

fn kind<T>(done: io::Result<T>) -> Result<(), ErrorKind> {
    done.map(drop).map_err(|error| error.kind())
}

#[test]
fn from_inside_nothing_can_be_read_written_or_started_but_what_the_house_needs() {
    let street = street();
    let mut neighbour = Command::new("/bin/cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Not its environment: that stays open to root, whom nothing here stops.
    let memory = format!("/proc/{}/mem", neighbour.id());
    kind(File::open(&memory)).expect("until then it can be read");
    let at = |path: &str| street.path().join(path);
    let denied = Err(ErrorKind::PermissionDenied);

    from_inside(street.path(), |_| {
        assert_eq!(kind(fs::read(at("house/secrets/token"))), Ok(()));
        assert_eq!(kind(fs::read("/etc/hosts")), Ok(()));
        assert_eq!(kind(fs::read("/proc/self/stat")), Ok(()));
        assert_eq!(kind(fs::read(at("next-door/token"))), denied);
        assert_eq!(kind(fs::read_dir(at("next-door"))), denied);
        assert_eq!(kind(File::open(&memory)), denied);

        let record = at("house/state/main.grant");
        crate::durable::replace(&record, b"sealed").unwrap();
        crate::durable::append(&record, b"line").unwrap();
        fs::hard_link(&record, at("house/state/main.previous")).unwrap();
        assert_eq!(kind(fs::remove_file(&record)), Ok(()));
        assert_eq!(kind(fs::write(at("house/secrets/token"), "x")), denied);
        assert_eq!(kind(fs::write(at("house/secrets/new"), "x")), denied);
        assert_eq!(kind(fs::remove_file(at("house/secrets/token"))), denied);

        let program = Command::new("/bin/cat").stdin(Stdio::null()).status();
        assert_eq!(kind(program), denied);
    });
    neighbour.kill().unwrap();
    neighbour.wait().unwrap();
}

/// What happens to `house/secrets/token` while the proxy runs, and whether it can be read then.
type Change = (&'static str, fn(&Path), bool);

const CHANGES: [Change; 7] = [
    ("nothing", |_| {}, true),
    (
        "another file is renamed to its place",
        |street| {
            fs::write(street.join("house/secrets/new"), "new").unwrap();
            replace(&street.join("house/secrets/new"), street);
        },
        true,
    ),
    (
        "a file from elsewhere is renamed to its place",
        |street| replace(&street.join("next-door/token"), street),
        true,
    ),
    (
        "a link within its directory takes its place, as Kubernetes does it",
        |street| {
            fs::create_dir(street.join("house/secrets/..2026")).unwrap();
            fs::write(street.join("house/secrets/..2026/token"), "new").unwrap();
            symlink("..2026", street.join("house/secrets/..data")).unwrap();
            symlink("..data/token", street.join("link")).unwrap();
            replace(&street.join("link"), street);
        },
        true,
    ),
    (
        "a link next door takes its place",
        |street| {
            symlink(street.join("next-door/token"), street.join("link")).unwrap();
            replace(&street.join("link"), street);
        },
        false,
    ),
    (
        "its directory is another one of the same name",
        |street| {
            fs::rename(street.join("house/secrets"), street.join("old")).unwrap();
            fs::rename(street.join("next-door"), street.join("house/secrets")).unwrap();
        },
        false,
    ),
    (
        "its directory has another name, and a link leads there",
        |street| {
            fs::rename(street.join("house/secrets"), street.join("old")).unwrap();
            symlink(street.join("old"), street.join("house/secrets")).unwrap();
        },
        true,
    ),
];

fn replace(new: &Path, street: &Path) {
    fs::rename(new, street.join("house/secrets/token")).unwrap();
}

#[test]
fn what_is_said_to_be_within_reach_is_what_the_kernel_lets_pass() {
    for (change, make, readable) in CHANGES {
        let street = street();
        let loaded = house(&street.path().join("house"));
        std::thread::scope(|scope| {
            let (told, changed) = std::sync::mpsc::sync_channel::<()>(0);
            let (ready, is_ready) = std::sync::mpsc::sync_channel::<()>(0);
            let loaded = &loaded;
            let inside = scope.spawn(move || {
                let confinement = confined(loaded);
                ready.send(()).unwrap();
                let _ = changed.recv();
                let reach = confinement.check(&loaded.config);
                (reach, kind(fs::read(street_token(loaded))))
            });
            is_ready.recv().unwrap();
            make(street.path());
            drop(told);
            let (reach, read) = inside.join().unwrap();
            assert_eq!(reach.is_ok(), readable, "{change}: {reach:?}");
            assert_eq!(read.is_ok(), readable, "{change}: {read:?}");
        });
    }
}

fn street_token(loaded: &Loaded) -> PathBuf {
    loaded.config.store.path.with_file_name("secrets/token")
}

#[test]
fn a_link_that_was_there_at_the_start_may_lead_out_of_the_directory() {
    let street = street();
    let token = street.path().join("house/secrets/token");
    fs::remove_file(&token).unwrap();
    symlink("../../next-door/token", &token).unwrap();
    from_inside(street.path(), |confinement| {
        let config = house(&street.path().join("house")).config;
        assert_eq!(confinement.check(&config), Ok(()));
        assert_eq!(fs::read(&token).unwrap(), b"theirs");
    });
}

#[test]
fn a_file_in_the_root_directory_stands_for_itself() {
    let mut loaded = house(Path::new("/"));
    loaded.path = Some("/wise-auth-proxy.toml".into());
    let places = needed(&loaded, &[]);
    let readable = |path: &str| {
        let mut of_path = places.iter().filter(|place| place.path == Path::new(path));
        of_path.any(|place| place.rights.contains(landlock::AccessFs::ReadFile))
    };
    assert!(readable("/wise-auth-proxy.toml") && readable("/secrets"));
    assert!(!readable("/"));
}

#[test]
fn variables_of_the_system_name_roots_and_credentials() {
    let street = street();
    let loaded = house(&street.path().join("house"));
    let variables = [
        ("SSL_CERT_FILE", "/opt/one/roots.pem"),
        ("SSL_CERT_DIR", "/opt/two:/opt/three"),
        ("CREDENTIALS_DIRECTORY", "/run/credentials/it"),
    ]
    .map(|(name, value)| (name.into(), value.into()));
    let places = needed(&loaded, &variables);
    for wanted in ["/opt/one", "/opt/two", "/opt/three", "/run/credentials/it"] {
        let found = places.iter().any(|place| place.path == Path::new(wanted));
        assert!(found, "{wanted}");
    }
}

#[test]
fn what_is_required_and_cannot_be_had_stops_the_start_and_what_is_optional_is_noted() {
    let mut confinement = Confinement {
        in_force: Vec::new(),
        left_out: Vec::new(),
        reach: None,
    };
    let mut note = |wanted| confinement.note("hardening.files", wanted, Err(Left::NoLandlock));
    let refused = note(Measure::Required).unwrap_err().to_string();
    assert_eq!(
        refused,
        "hardening.files is \"required\", but this kernel has no Landlock, or it is disabled"
    );
    note(Measure::Auto).unwrap();
    assert_eq!(
        confinement.to_string(),
        "nothing; left out: hardening.files: this kernel has no Landlock, or it is disabled"
    );
    assert!(!confinement.is_troubled());
}

#[test]
fn a_store_that_cannot_be_made_now_is_not_put_out_of_reach() {
    let street = street();
    let loaded = house(&street.path().join("house"));
    fs::write(&loaded.config.store.path, "in its place").unwrap();
    let Err(left) = confine_files(&loaded, &[]) else {
        panic!("confined without a store");
    };
    assert!(matches!(left, Left::NoStore { .. }), "{left}");
}
