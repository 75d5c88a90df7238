//! One pair takes the place of another, which is kept.

use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::time::Duration;

use super::*;
use crate::clock::{Clock, Manual, System};
use crate::tls::install::Installed;
use crate::tls::{Candidate, Finding, Identity, Pair, TlsError, complete};

/// A bench with a pair in use and pairs that could follow it.
struct House {
    bench: Bench,
    place: Pair,
}

impl House {
    fn new(others: &[&str]) -> Self {
        let bench = Bench::new();
        bench.authority();
        let (certificate, key) = bench.issue("live", P256, "acme-client");
        for name in others {
            bench.issue(name, P256, "acme-client");
        }
        let place = Pair { certificate, key };
        Self { bench, place }
    }

    /// As `cert install NAME.pem --key NAME.key` does.
    fn install(&self, name: &str) -> Result<Installed, TlsError> {
        self.install_at(name, &System)
    }

    fn install_at(&self, name: &str, clock: &dyn Clock) -> Result<Installed, TlsError> {
        let file = self.bench.path(&format!("{name}.pem"));
        let key = self.bench.path(&format!("{name}.key"));
        let candidate = Candidate::new(&fs::read(&file).unwrap(), &file, &key, None)?;
        candidate.check(clock, None)?;
        candidate.install(&self.place, None)
    }

    /// As `cert rollback` does.
    fn roll_back(&self) -> Result<Installed, TlsError> {
        let candidate = Candidate::previous_of(&self.place, None)?;
        candidate.check(&System, None)?;
        candidate.install(&self.place, None)
    }

    /// The fingerprint of a pair by the names that openssl made it under.
    fn of(&self, name: &str) -> String {
        let told = self
            .bench
            .openssl(&format!("x509 -in {name}.pem -noout -fingerprint -sha256"));
        let print = told.trim().split_once('=').unwrap().1;
        print.to_lowercase().replace(':', "")
    }

    fn in_use(&self) -> String {
        print(&self.place)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.bench.0.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("live")).collect();
        names.sort();
        names
    }
}

fn print(pair: &Pair) -> String {
    let identity = Identity::load(&pair.certificate, &pair.key, None).unwrap();
    identity.certificate().fingerprint.clone()
}

const WHOLE: [&str; 5] = [
    "live.csr",
    "live.key",
    "live.pem",
    "live.previous.key",
    "live.previous.pem",
];

#[test]
fn a_rotation_replaces_certificate_and_key_together_and_keeps_the_pair_before() {
    let house = House::new(&["next"]);
    let live = house.of("live");

    let installed = house.install("next").unwrap();

    assert_eq!(house.in_use(), house.of("next"));
    assert_eq!(
        installed.identity.certificate().fingerprint,
        house.of("next")
    );
    let previous = house.place.previous();
    assert_eq!(installed.kept.as_ref(), Some(&previous));
    assert_eq!(print(&previous), live);
    assert_eq!(mode(&house.place.key), 0o600);
    assert_eq!(mode(&house.place.certificate), 0o644);
    assert_eq!(
        (mode(&previous.key), mode(&previous.certificate)),
        (0o600, 0o600)
    );
    assert_eq!(house.names(), WHOLE, "nothing half-written may lie around");
}

#[test]
fn a_rollback_goes_back_and_another_goes_forward() {
    let house = House::new(&["next"]);
    let live = house.of("live");
    house.install("next").unwrap();

    for expected in [live.clone(), house.of("next"), live] {
        let before = house.in_use();
        let installed = house.roll_back().unwrap();
        assert_eq!(house.in_use(), expected);
        assert_eq!(print(&installed.kept.unwrap()), before);
        assert_eq!(mode(&house.place.key), 0o600);
        assert_eq!(house.names(), WHOLE);
    }
}

#[test]
fn the_same_certificate_installed_twice_does_not_drive_out_the_pair_before() {
    let house = House::new(&["next"]);
    let live = house.of("live");
    house.install("next").unwrap();

    let again = house.install("next").unwrap();

    assert_eq!(again.kept, None);
    assert_eq!(print(&house.place.previous()), live);
}

#[test]
fn a_certificate_renewed_for_the_same_key_leaves_the_key_file_alone() {
    let house = House::new(&[]);
    let (live, before) = (house.of("live"), fs::metadata(&house.place.key).unwrap());
    house.bench.openssl(
        "x509 -req -in live.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 -out again.pem",
    );
    fs::copy(&house.place.key, house.bench.path("again.key")).unwrap();
    house.bench.chmod("again.key", 0o600);

    house.install("again").unwrap();

    assert_eq!(house.in_use(), house.of("again"));
    let after = fs::metadata(&house.place.key).unwrap();
    assert_eq!(after.ino(), before.ino(), "it was not written");
    house.roll_back().unwrap();
    assert_eq!(house.in_use(), live);
}

#[test]
fn where_there_is_nothing_to_go_back_to_it_is_said_and_nothing_is_touched() {
    let house = House::new(&["next"]);
    let error = house.roll_back().unwrap_err();
    assert!(matches!(error, TlsError::NoPrevious { .. }), "{error}");

    house.install("next").unwrap();
    let previous = house.place.previous();
    fs::copy(&house.place.certificate, &previous.certificate).unwrap();
    fs::copy(&house.place.key, &previous.key).unwrap();
    let error = house.roll_back().unwrap_err();
    assert!(matches!(error, TlsError::PreviousInUse { .. }), "{error}");

    fs::write(&previous.certificate, "").unwrap();
    let error = house.roll_back().unwrap_err();
    assert!(error.to_string().contains("live.previous.pem"), "{error}");
    assert_eq!(house.in_use(), house.of("next"));
}

#[test]
fn a_pair_that_has_ended_is_not_gone_back_to() {
    let house = House::new(&["next"]);
    house.install("next").unwrap();
    let candidate = Candidate::previous_of(&house.place, None).unwrap();
    let later = Manual::at(System.wall() + Duration::from_hours(400 * 24));

    let error = candidate.check(&later, None).unwrap_err();

    assert!(matches!(
        error,
        TlsError::Unfit {
            finding: Finding::Expired { .. }
        }
    ));
}

#[test]
fn what_is_no_pair_is_not_kept() {
    let house = House::new(&["next", "third"]);
    let live = house.of("live");
    house.install("next").unwrap();
    // Somebody has put the wrong file there.
    fs::copy(house.bench.path("ca.pem"), &house.place.certificate).unwrap();

    let installed = house.install("third").unwrap();

    assert_eq!(installed.kept, None);
    assert_eq!(print(&house.place.previous()), live, "the good one stays");
}

#[test]
fn a_rotation_that_was_killed_half_way_is_a_pair_and_stays_one() {
    let house = House::new(&["second", "third"]);
    let path = |name: &str| house.bench.path(name);
    // As a kill leaves it: the new key is in its place, the certificate waits.
    fs::copy(path("second.pem"), path("live.pem.next")).unwrap();
    fs::copy(path("second.key"), &house.place.key).unwrap();

    assert_eq!(house.in_use(), house.of("second"));

    // The next installation may die as well: before its key is in place the pair is the second.
    fs::create_dir(path("live.key.next")).unwrap();
    fs::write(path("live.key.next/x"), "").unwrap();
    assert!(house.install("third").is_err());
    assert_eq!(house.in_use(), house.of("second"));

    fs::remove_dir_all(path("live.key.next")).unwrap();
    house.install("third").unwrap();
    assert_eq!(house.in_use(), house.of("third"));
    assert_eq!(print(&house.place.previous()), house.of("second"));
    assert!(!path("live.pem.next").exists());
}

#[test]
fn an_exchange_that_was_killed_half_way_is_completed_before_a_rollback() {
    let house = House::new(&["second"]);
    let (live, path) = (house.of("live"), |name: &str| house.bench.path(name));
    let previous = house.place.previous();
    fs::copy(&house.place.certificate, &previous.certificate).unwrap();
    fs::copy(&house.place.key, &previous.key).unwrap();
    fs::copy(path("second.pem"), path("live.pem.next")).unwrap();
    fs::copy(path("second.key"), &house.place.key).unwrap();

    let found = complete(&house.place, None).unwrap().unwrap();
    assert_eq!(found.certificate().fingerprint, house.of("second"));
    assert!(complete(&house.place, None).unwrap().is_none());
    house.roll_back().unwrap();
    assert_eq!(house.in_use(), live);
    assert_eq!(print(&previous), house.of("second"));
}

#[test]
fn a_waiting_certificate_of_another_key_is_not_used() {
    let house = House::new(&["other", "stranger"]);
    let path = |name: &str| house.bench.path(name);
    let (certificate, other_key) = (&house.place.certificate, path("other.key"));
    fs::copy(path("stranger.pem"), path("live.pem.next")).unwrap();

    let error = Identity::load(certificate, &other_key, None).unwrap_err();

    assert!(
        matches!(&error, TlsError::KeyMismatch { certificate: named, .. } if named == certificate),
        "{error}"
    );
    assert!(Identity::load(&path("other.pem"), &other_key, None).is_ok());
}

#[test]
fn what_does_not_fit_leaves_the_old_pair_alone() {
    let house = House::new(&["next"]);
    let before = (house.bench.read("live.pem"), house.bench.read("live.key"));

    // The key is the live one, the certificate is not.
    let next = house.bench.path("next.pem");
    let pem = fs::read(&next).unwrap();
    let error = Candidate::new(&pem, &next, &house.place.key, None).unwrap_err();
    assert!(matches!(error, TlsError::KeyMismatch { .. }));

    let later = Manual::at(System.wall() + Duration::from_hours(400 * 24));
    let error = house.install_at("next", &later).unwrap_err();
    assert!(matches!(
        error,
        TlsError::Unfit {
            finding: Finding::Expired { days: 34 | 35 }
        }
    ));
    assert_eq!(
        (house.bench.read("live.pem"), house.bench.read("live.key")),
        before
    );
    assert!(!house.place.previous().key.exists());
}

#[test]
fn certificate_and_key_in_one_file_are_not_written_over() {
    let mut house = House::new(&["next"]);
    let both = house.bench.read("live.key") + &house.bench.read("live.pem");
    let one = house.bench.write("both.pem", &both);
    symlink(&one, house.bench.path("link.pem")).unwrap();
    for key in [one.clone(), house.bench.path("link.pem")] {
        house.place = Pair {
            certificate: one.clone(),
            key,
        };
        let error = house.install("next").unwrap_err();
        assert!(matches!(error, TlsError::OneFile { .. }), "{error}");
        assert_eq!(house.bench.read("both.pem"), both);
    }
}

#[test]
fn what_root_installs_is_for_the_owner_of_the_pair_before() {
    if !rustix::process::geteuid().is_root() {
        return; // Nobody else may give files away.
    }
    let house = House::new(&["next"]);
    for path in [&house.place.certificate, &house.place.key] {
        chown(path, Some(12_345), Some(12_345)).unwrap();
    }

    house.install("next").unwrap();

    let previous = house.place.previous();
    for path in [
        &house.place.certificate,
        &house.place.key,
        &previous.certificate,
        &previous.key,
    ] {
        assert_eq!(
            fs::metadata(path).unwrap().uid(),
            12_345,
            "{}",
            path.display()
        );
    }
}
