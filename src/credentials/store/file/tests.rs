use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc;

use super::*;
use crate::credentials::record::tests::record;

pub(in crate::credentials::store) struct Shop {
    dir: tempfile::TempDir,
    pub(in crate::credentials::store) store: FileStore,
}

impl Shop {
    pub(in crate::credentials::store) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(&dir.path().join("state"), None).unwrap();
        Self { dir, store }
    }

    pub(in crate::credentials::store) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("state").join(name)
    }

    pub(in crate::credentials::store) fn save(&self, generation: u64) {
        let locked = self.store.lock("main", Duration::ZERO).unwrap();
        locked.save(&record(generation)).unwrap();
    }

    pub(in crate::credentials::store) fn generation(&self) -> u64 {
        self.store.load("main").unwrap().unwrap().generation
    }
}

#[test]
fn a_saved_record_is_found_by_a_later_process_and_nobody_else_can_read_it() {
    let shop = Shop::new();
    assert!(shop.store.load("main").unwrap().is_none());
    shop.save(1);

    let later = FileStore::open(&shop.path(""), None).unwrap();

    let found = later.load("main").unwrap().unwrap();
    assert!(found.refresh_token.matches(&record(1).refresh_token));
    assert_eq!(later.list().unwrap(), ["main"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&shop.path("")), 0o700);
    for name in ["main.grant", "main.lock", "seal.key"] {
        assert_eq!(mode(&shop.path(name)), 0o600, "{name}");
    }
    let bytes = fs::read(shop.path("main.grant")).unwrap();
    for marker in [&b"refresh-1"[..], b"access-1", b"acme", b"30000000"] {
        assert!(
            !bytes.windows(marker.len()).any(|window| window == marker),
            "nothing of a record is readable without the key"
        );
    }
}

#[test]
fn the_record_before_stays_as_a_way_back() {
    let shop = Shop::new();
    shop.save(1);
    assert!(!shop.path("main.previous").exists());
    shop.save(2);
    shop.save(3);
    assert_eq!(shop.generation(), 3);

    fs::rename(shop.path("main.previous"), shop.path("main.grant")).unwrap();

    assert_eq!(shop.generation(), 2);
}

#[test]
fn one_at_a_time_may_change_a_grant_and_waiting_is_bounded() {
    let shop = Shop::new();
    let other = FileStore::open(&shop.path(""), None).unwrap();
    let first = shop.store.lock("main", Duration::ZERO).unwrap();

    let busy = other.lock("main", Duration::from_millis(30)).err().unwrap();
    assert!(matches!(busy, StoreError::Busy { .. }), "{busy}");
    assert!(
        other.lock("other", Duration::ZERO).is_ok(),
        "grants do not wait for each other"
    );

    let (done, wait) = mpsc::channel();
    let waiter = thread::spawn(move || {
        done.send(()).unwrap();
        other.lock("main", Duration::from_secs(30)).map(drop)
    });
    wait.recv().unwrap();
    drop(first);
    waiter.join().unwrap().unwrap();
}

#[test]
fn the_stamp_changes_with_every_save_and_with_nothing_else() {
    let shop = Shop::new();
    let none = shop.store.stamp("main").unwrap();
    shop.save(1);
    let one = shop.store.stamp("main").unwrap();
    shop.store.load("main").unwrap();
    assert_eq!(shop.store.stamp("main").unwrap(), one);
    shop.save(2);
    let two = shop.store.stamp("main").unwrap();
    assert!(none != one && one != two);
    assert!(shop.store.remove("main", Duration::ZERO).unwrap());
    assert_eq!(shop.store.stamp("main").unwrap(), none);
}

#[test]
fn a_forgotten_grant_leaves_no_way_back() {
    let shop = Shop::new();
    shop.save(1);
    shop.save(2);

    assert!(shop.store.remove("main", Duration::ZERO).unwrap());

    assert!(shop.store.load("main").unwrap().is_none());
    assert!(!shop.path("main.previous").exists());
    assert!(!shop.store.remove("main", Duration::ZERO).unwrap());
}

#[test]
fn a_record_that_cannot_be_opened_is_named_and_never_overwritten() {
    type Damage = fn(&Shop);
    type Expected = fn(&StoreError) -> bool;
    let cases: [(&str, Damage, Expected); 5] = [
        (
            "torn",
            |shop| {
                let bytes = fs::read(shop.path("main.grant")).unwrap();
                fs::write(shop.path("main.grant"), &bytes[..bytes.len() / 2]).unwrap();
            },
            |error| matches!(error, StoreError::Corrupt { .. }),
        ),
        (
            "emptied",
            |shop| fs::write(shop.path("main.grant"), "").unwrap(),
            |error| matches!(error, StoreError::Corrupt { .. }),
        ),
        (
            "of another grant",
            |shop| {
                let other = shop.store.lock("other", Duration::ZERO).unwrap();
                other.save(&record(9)).unwrap();
                fs::copy(shop.path("other.grant"), shop.path("main.grant")).unwrap();
            },
            |error| matches!(error, StoreError::Corrupt { .. }),
        ),
        (
            "from a newer version",
            |shop| {
                let mut bytes = fs::read(shop.path("main.grant")).unwrap();
                bytes[0] = 9;
                fs::write(shop.path("main.grant"), bytes).unwrap();
            },
            |error| matches!(error, StoreError::NewerVersion { version: 9, .. }),
        ),
        (
            "readable by others",
            |shop| {
                let open = fs::Permissions::from_mode(0o644);
                fs::set_permissions(shop.path("main.grant"), open).unwrap();
            },
            |error| matches!(error, StoreError::Loose { mode: 0o644, .. }),
        ),
    ];
    for (name, damage, expected) in cases {
        let shop = Shop::new();
        shop.save(1);
        damage(&shop);
        let before = fs::read(shop.path("main.grant")).unwrap();

        let loading = shop.store.load("main").unwrap_err();
        let locked = shop.store.lock("main", Duration::ZERO).unwrap();
        let saving = locked.save(&record(2)).unwrap_err();

        assert!(expected(&loading), "{name}: {loading}");
        assert!(expected(&saving), "{name}: {saving}");
        assert_eq!(fs::read(shop.path("main.grant")).unwrap(), before, "{name}");
    }
}

#[test]
fn another_seal_key_is_named_and_the_right_one_opens_again() {
    let shop = Shop::new();
    shop.save(1);
    let other = Secret::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");

    let wrong = FileStore::open(&shop.path(""), Some(&other)).unwrap();

    let error = wrong.load("main").unwrap_err();
    assert!(matches!(error, StoreError::WrongKey { .. }), "{error}");
    let locked = wrong.lock("main", Duration::ZERO).unwrap();
    assert!(locked.save(&record(2)).is_err());
    assert_eq!(shop.generation(), 1);
}

#[test]
fn set_aside_keeps_every_unreadable_record_and_makes_room() {
    let shop = Shop::new();
    for number in 1..=2 {
        fs::write(shop.path("main.grant"), format!("noise {number}")).unwrap();
        fs::set_permissions(shop.path("main.grant"), fs::Permissions::from_mode(0o600)).unwrap();
        let locked = shop.store.lock("main", Duration::ZERO).unwrap();
        locked.set_aside().unwrap();
    }
    shop.save(1);

    assert_eq!(shop.generation(), 1);
    for number in 1..=2 {
        assert_eq!(
            fs::read_to_string(shop.path(&format!("main.unreadable-{number}"))).unwrap(),
            format!("noise {number}")
        );
    }
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let shop = Shop::new();
    fs::set_permissions(shop.path(""), fs::Permissions::from_mode(0o770)).unwrap();
    let refused = FileStore::open(&shop.path(""), None).err().unwrap();
    assert!(
        matches!(refused, StoreError::Loose { mode: 0o770, .. }),
        "{refused}"
    );
}

#[test]
fn a_store_that_went_away_is_an_error_and_not_a_forgotten_grant() {
    let shop = Shop::new();
    shop.save(1);
    fs::rename(shop.path(""), shop.dir.path().join("elsewhere")).unwrap();
    assert!(shop.store.load("main").is_err());
    assert!(shop.store.stamp("main").is_err());

    fs::write(shop.dir.path().join("state"), "a file in its place").unwrap();
    assert!(shop.store.load("main").is_err());
    assert!(shop.store.lock("main", Duration::ZERO).is_err());

    fs::remove_file(shop.dir.path().join("state")).unwrap();
    fs::rename(shop.dir.path().join("elsewhere"), shop.path("")).unwrap();
    assert_eq!(shop.generation(), 1);
}

#[test]
fn a_failed_save_leaves_the_old_record_in_place_and_no_litter() {
    let shop = Shop::new();
    shop.save(1);
    let locked = shop.store.lock("main", Duration::ZERO).unwrap();
    // A directory where the new record is written first: nothing can be.
    fs::create_dir_all(shop.path("main.next").join("x")).unwrap();
    let before = fs::read_dir(shop.path("")).unwrap().count();

    assert!(locked.save(&record(2)).is_err());

    assert_eq!(shop.generation(), 1);
    assert_eq!(fs::read_dir(shop.path("")).unwrap().count(), before);
}

#[test]
fn what_a_killed_writer_left_behind_is_swept_away() {
    let shop = Shop::new();
    shop.save(1);
    fs::write(shop.path(".main.grant.abc123.tmp"), "half").unwrap();
    fs::write(shop.path(".other.grant.abc123.tmp"), "half").unwrap();

    shop.save(2);

    assert!(!shop.path(".main.grant.abc123.tmp").exists());
    assert!(
        shop.path(".other.grant.abc123.tmp").exists(),
        "its writer may be at it, under its own lock"
    );
}

#[test]
fn names_that_would_leave_the_store_are_refused() {
    let shop = Shop::new();
    for name in ["", "..", "a/b", "a.b", "Main", &"x".repeat(65)] {
        assert!(
            matches!(shop.store.load(name), Err(StoreError::BadName)),
            "{name}"
        );
    }
}
