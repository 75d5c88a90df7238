//! What a writer that died half-way leaves, and what the next one makes of it.

use std::fs;
use std::time::Duration;

use super::file::tests::Shop;
use super::{FileStore, StoreError};
use crate::credentials::record::tests::record;
use crate::secret::Secret;

impl Shop {
    /// Leaves the record as a writer does that dies directly before the rename.
    fn leave(&self, generation: u64) {
        let (grant, next) = (self.path("main.grant"), self.path("main.next"));
        let present = self.path("present");
        let was_there = fs::rename(&grant, &present).is_ok();
        self.save(generation);
        fs::rename(&grant, next).unwrap();
        if was_there {
            fs::rename(present, grant).unwrap();
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("")).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }
}

#[test]
fn a_record_that_was_written_whole_is_taken_up_by_whoever_comes_next() {
    for locking in [false, true] {
        let shop = Shop::new();
        shop.save(1);
        shop.leave(2);
        let later = FileStore::open(&shop.path(""), None).unwrap();

        let found = if locking {
            later.lock("main", Duration::ZERO).unwrap().load().unwrap()
        } else {
            later.load("main").unwrap()
        };

        let found = found.unwrap();
        assert_eq!(found.generation, 2);
        assert!(found.refresh_token.matches(&record(2).refresh_token));
        assert_eq!(
            shop.names(),
            ["main.grant", "main.lock", "main.previous", "seal.key"]
        );
        assert_eq!(shop.generation(), 2);
        fs::rename(shop.path("main.previous"), shop.path("main.grant")).unwrap();
        assert_eq!(shop.generation(), 1, "and the one before is the way back");
    }
}

#[test]
fn a_first_record_that_has_no_name_yet_is_one() {
    let shop = Shop::new();
    shop.leave(1);
    assert_eq!(shop.names(), ["main.lock", "main.next", "seal.key"]);

    assert_eq!(shop.generation(), 1);
    assert_eq!(shop.names(), ["main.grant", "main.lock", "seal.key"]);
}

#[test]
fn its_key_is_missed_where_there_is_only_a_next_record() {
    let shop = Shop::new();
    shop.leave(1);
    fs::remove_file(shop.path("seal.key")).unwrap();

    let refused = FileStore::open(&shop.path(""), None).err().unwrap();

    assert!(
        matches!(refused, StoreError::KeyMissing { .. }),
        "{refused}"
    );
}

#[test]
fn a_torn_next_record_goes_and_the_present_one_stays_wherever_it_was_cut() {
    let shop = Shop::new();
    shop.save(1);
    shop.leave(2);
    let whole = fs::read(shop.path("main.next")).unwrap();
    for length in 0..whole.len() {
        fs::write(shop.path("main.next"), &whole[..length]).unwrap();

        assert_eq!(shop.generation(), 1, "{length} bytes");

        assert!(!shop.path("main.next").exists(), "{length} bytes");
        fs::write(shop.path("main.next"), "").unwrap();
        private(&shop, "main.next");
    }
}

#[test]
fn a_next_record_that_is_no_newer_goes() {
    for left in [1, 2] {
        let shop = Shop::new();
        shop.save(2);
        shop.leave(left);

        assert_eq!(shop.generation(), 2);

        assert!(!shop.path("main.next").exists());
    }
}

#[test]
fn a_next_record_of_a_living_writer_is_neither_seen_nor_touched() {
    let shop = Shop::new();
    shop.save(1);
    shop.leave(2);
    let writer = FileStore::open(&shop.path(""), None).unwrap();
    let at_it = writer.lock("main", Duration::ZERO).unwrap();

    assert_eq!(shop.generation(), 1, "it may not be durable yet");
    assert!(shop.path("main.next").exists());

    drop(at_it);
    assert_eq!(shop.generation(), 2);
}

#[test]
fn the_stamp_tells_of_a_next_record() {
    let shop = Shop::new();
    shop.save(1);
    let before = shop.store.stamp("main").unwrap();
    let whole = fs::read(shop.path("main.grant")).unwrap();

    fs::write(shop.path("main.next"), whole).unwrap();

    assert_ne!(shop.store.stamp("main").unwrap(), before);
}

#[test]
fn a_next_record_that_is_not_ours_to_open_is_named_and_left_alone() {
    type Damage = fn(&Shop);
    type Expected = fn(&StoreError) -> bool;
    let cases: [(&str, Damage, Expected); 2] = [
        (
            "of a newer version",
            |shop| {
                let mut bytes = fs::read(shop.path("main.next")).unwrap();
                bytes[0] = 9;
                fs::write(shop.path("main.next"), bytes).unwrap();
            },
            |error| matches!(error, StoreError::NewerVersion { path, version: 9 } if path.ends_with("main.next")),
        ),
        (
            "under another key",
            |shop| {
                let key = Secret::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
                let elsewhere = tempfile::tempdir().unwrap();
                let other = FileStore::open(elsewhere.path(), Some(&key)).unwrap();
                let locked = other.lock("main", Duration::ZERO).unwrap();
                locked.save(&record(2)).unwrap();
                fs::copy(elsewhere.path().join("main.grant"), shop.path("main.next")).unwrap();
            },
            |error| matches!(error, StoreError::WrongKey { path } if path.ends_with("main.next")),
        ),
    ];
    for (name, damage, expected) in cases {
        let shop = Shop::new();
        shop.save(1);
        shop.leave(2);
        damage(&shop);
        let before = fs::read(shop.path("main.next")).unwrap();
        let locked = shop.store.lock("main", Duration::ZERO).unwrap();

        let loading = locked.load().unwrap_err();
        let saving = locked.save(&record(3)).unwrap_err();

        assert!(expected(&loading), "{name}: {loading}");
        assert!(expected(&saving), "{name}: {saving}");
        assert_eq!(fs::read(shop.path("main.next")).unwrap(), before, "{name}");

        // A login makes room, and the record that does open stays where it is.
        let moved = locked.set_aside().unwrap().unwrap();
        assert_eq!(fs::read(moved).unwrap(), before, "{name}");
        drop(locked);
        assert_eq!(shop.generation(), 1, "{name}");
    }
}

#[test]
fn forgetting_a_grant_forgets_what_was_about_to_come() {
    let shop = Shop::new();
    shop.save(1);
    shop.leave(2);

    assert!(shop.store.remove("main", Duration::ZERO).unwrap());

    assert!(shop.store.load("main").unwrap().is_none());
    assert_eq!(shop.names(), ["main.lock", "seal.key"]);
}

#[test]
fn a_record_that_gets_no_name_is_used_all_the_same_and_named_later() {
    let shop = Shop::new();
    shop.save(1);
    // A directory where the way back belongs: the save fails after the new record is written.
    fs::create_dir_all(shop.path("main.previous").join("x")).unwrap();
    let locked = shop.store.lock("main", Duration::ZERO).unwrap();
    assert!(locked.save(&record(2)).is_err());
    assert_eq!(shop.generation(), 1, "the record in place is as it was");
    drop(locked);

    assert_eq!(shop.generation(), 2, "whoever has the lock finds it");
    fs::remove_dir_all(shop.path("main.previous")).unwrap();
    let locked = shop.store.lock("main", Duration::ZERO).unwrap();
    locked.save(&record(2)).unwrap();

    assert!(!shop.path("main.next").exists());
    fs::rename(shop.path("main.previous"), shop.path("main.grant")).unwrap();
    assert_eq!(
        locked.load().unwrap().unwrap().generation,
        1,
        "a second try does not cost the record before"
    );
}

fn private(shop: &Shop, name: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(shop.path(name), fs::Permissions::from_mode(0o600)).unwrap();
}
