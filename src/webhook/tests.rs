//! The queue's file and the thread that owns it, without a door.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::Notify;

use super::queue::{Limits, Queue, QueueError, Setting};
use super::shelf::{self, Change, Delivery, Entry, Fields, Outcome, Rules, Shelf, ShelfError};
use crate::clock::Manual;

const HOUR: Duration = Duration::from_hours(1);

fn delivery(id: &str) -> Delivery {
    Delivery {
        fields: Fields {
            id: id.into(),
            signature: "c2lnbmVk".into(),
            content_type: Some("application/json".into()),
            user_agent: None,
            test: None,
        },
        body: Bytes::from(format!("body of {id}")),
    }
}

fn keep(id: &str) -> Change {
    Change::Keep(delivery(id))
}

/// So many hours after the last change.
fn rules(hours: u32) -> Rules {
    Rules {
        now: UNIX_EPOCH + 1_000 * HOUR,
        elapsed: hours * HOUR,
        window: 24 * HOUR,
        most: 4,
    }
}

fn make(shelf: &Shelf, changes: &[Change], hours: u32) -> Vec<Outcome> {
    shelf.make(changes, rules(hours)).unwrap().outcomes
}

fn first(shelf: &Shelf) -> Option<(u64, String)> {
    let waiting = shelf.first().unwrap()?;
    let id = waiting.delivery.fields.id;
    assert_eq!(waiting.delivery.body, format!("body of {id}"));
    Some((waiting.number, id))
}

/// The entry of that number, whose id is the delivery's.
fn entry(number: u64, id: &str) -> Entry {
    let id = id.to_owned();
    Entry { number, id }
}

fn file() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("webhooks/a.redb");
    (dir, path)
}

#[test]
fn what_is_kept_comes_back_in_order_once_and_over_a_close() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_dir, path) = file();
    let shelf = Shelf::open(&path).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(first(&shelf), None);
    let outcomes = make(&shelf, &[keep("a"), keep("b"), keep("a")], 0);
    assert_eq!(outcomes, [Outcome::Kept, Outcome::Kept, Outcome::Duplicate]);
    drop(shelf);
    let shelf = Shelf::open(&path).unwrap();
    let stock = shelf.stock().unwrap();
    assert_eq!((stock.queued, stock.set_aside), (2, 0));
    assert_eq!(stock.oldest, Some(rules(0).now));
    assert_eq!(first(&shelf), Some((1, "a".into())));
    make(&shelf, &[Change::Remove(entry(1, "a"))], 1);
    assert_eq!(first(&shelf), Some((2, "b".into())));
    make(&shelf, &[Change::Remove(entry(2, "b"))], 0);
    assert_eq!(first(&shelf), None);
    // A number is never used again: an empty queue must not bring an old one back.
    make(&shelf, &[keep("c")], 1);
    assert_eq!(first(&shelf), Some((3, "c".into())));
}

/// What is in hand while the file is moved away and a new one begun is none of the new one's.
#[test]
fn a_delivery_of_another_file_takes_nothing_of_this_one_along() {
    let (_dir, path) = file();
    let shelf = Shelf::open(&path).unwrap();
    make(&shelf, &[keep("a")], 0);
    let in_hand = shelf.first().unwrap().unwrap().entry();
    drop(shelf);
    std::fs::rename(&path, path.with_extension("away")).unwrap();
    let shelf = Shelf::open(&path).unwrap();
    make(&shelf, &[keep("b")], 0);
    for change in [
        Change::SetAside(in_hand.clone(), 410),
        Change::Remove(in_hand),
    ] {
        make(&shelf, &[change], 0);
        assert_eq!(first(&shelf), Some((1, "b".into())));
        assert_eq!(shelf.stock().unwrap().set_aside, 0);
    }
    make(&shelf, &[Change::Remove(entry(1, "b"))], 0);
    assert_eq!(first(&shelf), None);
}

#[test]
fn a_file_that_cannot_be_looked_for_is_not_begun_anew() {
    use std::io::{Error, ErrorKind};
    let found = |kind: ErrorKind| shelf::is_there::<()>(Err(Error::from(kind)));
    assert!(!found(ErrorKind::NotFound).unwrap());
    for kind in [
        ErrorKind::PermissionDenied,
        ErrorKind::StaleNetworkFileHandle,
        ErrorKind::OutOfMemory,
    ] {
        assert_eq!(found(kind).unwrap_err().kind(), kind);
    }
    assert!(shelf::is_there(Ok(())).unwrap());
}

#[test]
fn the_window_is_forgotten_from_its_far_end() {
    let (_dir, path) = file();
    let shelf = Shelf::open(&path).unwrap();
    make(&shelf, &[keep("a"), Change::Remove(entry(1, "a"))], 0);
    make(&shelf, &[keep("b"), Change::Remove(entry(2, "b"))], 12);
    assert_eq!(make(&shelf, &[keep("a")], 11), [Outcome::Duplicate]);
    assert_eq!(make(&shelf, &[keep("a")], 1), [Outcome::Kept]);
    assert_eq!(make(&shelf, &[keep("b")], 11), [Outcome::Duplicate]);
}

#[test]
fn a_wall_clock_that_jumps_ages_nothing() {
    let (_dir, path) = file();
    let shelf = Shelf::open(&path).unwrap();
    make(
        &shelf,
        &[keep("a"), keep("b"), Change::SetAside(entry(1, "a"), 410)],
        0,
    );
    drop(shelf);
    let shelf = Shelf::open(&path).unwrap();
    for years in [-1, 100] {
        let year = 24 * 365 * HOUR;
        let now = if years < 0 {
            UNIX_EPOCH
        } else {
            UNIX_EPOCH + 100 * year
        };
        let rules = Rules { now, ..rules(1) };
        let made = shelf.make(&[keep("a"), keep("b")], rules).unwrap();
        assert_eq!(made.outcomes, [Outcome::Duplicate, Outcome::Duplicate]);
        assert_eq!((made.stock.set_aside, made.expired.len()), (1, 0));
    }
    let made = shelf.make(&[], rules(22)).unwrap();
    assert_eq!(
        (made.stock.set_aside, made.expired),
        (0, vec!["a".to_owned()])
    );
}

#[test]
fn one_body_under_many_ids_is_one_delivery_and_one_entry() {
    let (_dir, path) = file();
    let shelf = Shelf::open(&path).unwrap();
    assert_eq!(
        make(&shelf, &[keep("a"), Change::Remove(entry(1, "a"))], 0)[0],
        Outcome::Kept
    );
    let size = path.metadata().unwrap().len();
    let replays: Vec<_> = (0..2_000)
        .map(|number| {
            let mut replay = delivery("a");
            replay.fields.id = format!("replay-{number}-{}", "x".repeat(100));
            Change::Keep(replay)
        })
        .collect();
    for replays in replays.chunks(200) {
        let outcomes = make(&shelf, replays, 0);
        assert!(outcomes.iter().all(|it| *it == Outcome::Duplicate));
    }
    assert_eq!(shelf.stock().unwrap().queued, 0);
    assert_eq!(
        path.metadata().unwrap().len(),
        size,
        "nothing was written of them"
    );
    // Over a restart as well, and no longer than the window.
    drop(shelf);
    let shelf = Shelf::open(&path).unwrap();
    assert_eq!(make(&shelf, &replays[..1], 0), [Outcome::Duplicate]);
    assert_eq!(make(&shelf, &replays[..1], 24), [Outcome::Kept]);
}

#[test]
fn one_id_with_two_bodies_is_one_delivery() {
    let (_dir, path) = file();
    let shelf = Shelf::open(&path).unwrap();
    let mut again = delivery("a");
    again.body = Bytes::from_static(b"another body");
    let changes = [keep("a"), Change::Keep(again)];
    assert_eq!(
        make(&shelf, &changes, 0),
        [Outcome::Kept, Outcome::Duplicate]
    );
    assert_eq!(shelf.stock().unwrap().queued, 1);
}

#[test]
fn a_queue_without_a_webhook_is_counted_as_it_lies() {
    let (_dir, path) = file();
    assert_eq!(shelf::count(&path), None);
    let shelf = Shelf::open(&path).unwrap();
    make(
        &shelf,
        &[keep("a"), keep("b"), Change::SetAside(entry(1, "a"), 410)],
        0,
    );
    assert_eq!(shelf::count(&path), None, "it is open elsewhere");
    drop(shelf);
    let before = std::fs::read(&path).unwrap();
    assert_eq!(shelf::count(&path), Some(2));
    assert!(before == std::fs::read(&path).unwrap(), "it was changed");
    std::fs::write(&path, "something else").unwrap();
    assert_eq!(shelf::count(&path), None);
}

#[test]
fn what_was_set_aside_counts_and_can_be_taken_up_until_it_is_forgotten() {
    let (_dir, path) = file();
    let shelf = Shelf::open(&path).unwrap();
    make(&shelf, &[keep("a"), keep("b"), keep("c")], 0);
    make(
        &shelf,
        &[
            Change::SetAside(entry(1, "a"), 410),
            Change::SetAside(entry(2, "b"), 400),
        ],
        0,
    );
    let stock = shelf.stock().unwrap();
    assert_eq!((stock.queued, stock.set_aside), (1, 2));
    assert_eq!(
        make(&shelf, &[keep("d"), keep("e")], 1),
        [Outcome::Kept, Outcome::Full]
    );
    assert_eq!(make(&shelf, &[Change::TakeUp], 1), [Outcome::TakenUp(2)]);
    let mut order = Vec::new();
    while let Some((number, id)) = first(&shelf) {
        make(&shelf, &[Change::Remove(entry(number, &id))], 0);
        order.push(id);
    }
    assert_eq!(order, ["c", "d", "a", "b"]);
    make(
        &shelf,
        &[keep("e"), Change::SetAside(entry(7, "e"), 410)],
        1,
    );
    make(&shelf, &[keep("f")], 23);
    assert_eq!(shelf.stock().unwrap().set_aside, 1);
    let made = shelf.make(&[keep("g")], rules(1)).unwrap();
    assert_eq!(made.stock.set_aside, 0, "kept for the window");
    assert_eq!(made.expired, ["e"], "and never forgotten without a word");
}

#[test]
fn another_process_and_damage_are_told_apart() {
    let (_dir, path) = file();
    let shelf = Shelf::open(&path).unwrap();
    let error = Shelf::open(&path).unwrap_err();
    assert!(matches!(error, ShelfError::Busy { .. }), "{error}");
    make(&shelf, &[keep("needle")], 0);
    drop(shelf);
    let whole = std::fs::read(&path).unwrap();
    let at = whole.windows(14).position(|it| it == b"body of needle");
    let mut flipped = whole.clone();
    flipped[at.unwrap()] ^= 1;
    let cases = [Vec::from(b"no such thing"), whole[..4096].to_vec(), flipped];
    for (number, bytes) in cases.into_iter().enumerate() {
        std::fs::write(&path, bytes).unwrap();
        // Through the thread: what the library says by a panic is told like the rest.
        let (queue, thread) = start(&path, 10);
        let error = queue.standing().error.unwrap();
        let says_what_to_do = error.contains("is damaged") && error.contains("move it away");
        assert!(says_what_to_do, "{number}: {error}");
        drop(queue);
        thread.join().unwrap();
    }
}

fn setting(path: &Path, limits: impl Fn() -> Limits + Send + 'static) -> Setting {
    Setting {
        name: "a".into(),
        path: path.to_owned(),
        clock: Arc::new(Manual::at(rules(0).now)),
        limits: Box::new(limits),
        news: Arc::new(Notify::new()),
        trouble: Box::new(|_| {}),
        expired: Box::new(|_| {}),
    }
}

fn limits(most: usize) -> Limits {
    Limits {
        window: 24 * HOUR,
        most,
    }
}

fn start(path: &Path, most: usize) -> (Queue, std::thread::JoinHandle<()>) {
    Queue::start(setting(path, move || limits(most))).unwrap()
}

#[tokio::test]
async fn a_crowd_at_once_is_kept_in_few_turns() {
    let (_dir, path) = file();
    let turns = Arc::new(AtomicUsize::new(0));
    let (go, gate) = mpsc::channel();
    // The first turn goes on once everything is asked for.
    let (counted, gate) = (Arc::clone(&turns), Mutex::new(gate));
    let asked = move || {
        if counted.fetch_add(1, Ordering::Relaxed) == 0 {
            gate.lock().unwrap().recv().unwrap();
        }
        limits(10_000)
    };
    let (queue, thread) = Queue::start(setting(&path, asked)).unwrap();
    let ids: Vec<String> = (0..500).map(|number| format!("id-{number}")).collect();
    let all = futures_util::future::join_all(ids.iter().map(|id| queue.make(keep(id))));
    let all = futures_util::future::join(all, async { go.send(()).unwrap() });
    let (all, ()) = tokio::task::unconstrained(all).await;
    assert!(all.iter().all(|it| matches!(it, Ok(Outcome::Kept))));
    assert_eq!(queue.standing().stock.queued, 500);
    // 64 each, but for the first, which may have been alone.
    let turns = turns.load(Ordering::Relaxed);
    assert!((8..=9).contains(&turns), "{turns} transactions");
    let first = queue.first().await.unwrap().unwrap();
    assert_eq!(first.delivery.fields.id, "id-0");
    drop(queue);
    thread.join().unwrap();
    assert_eq!(Shelf::open(&path).unwrap().stock().unwrap().queued, 500);
}

#[tokio::test]
async fn a_thread_that_dies_is_told_of() {
    let (_dir, path) = file();
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let setting = Setting {
        trouble: Box::new(move |why| heard.lock().unwrap().push(why.to_owned())),
        ..setting(&path, || panic!("on purpose"))
    };
    let (queue, thread) = Queue::start(setting).unwrap();
    assert!(matches!(
        queue.make(keep("a")).await,
        Err(QueueError::Ended)
    ));
    thread.join().unwrap();
    let error = queue.standing().error.unwrap();
    assert!(error.contains("has died"), "{error}");
    assert_eq!(*told.lock().unwrap(), [error]);
    assert!(matches!(
        queue.make(keep("a")).await,
        Err(QueueError::Ended)
    ));
    assert!(matches!(queue.first().await, Err(QueueError::Ended)));
}

#[tokio::test]
async fn a_file_that_is_in_the_way_is_refused_until_it_is_gone() {
    let (_dir, path) = file();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "something else").unwrap();
    let (queue, _thread) = start(&path, 10);
    assert!(queue.make(keep("a")).await.is_err());
    let error = queue.standing().error.unwrap();
    assert!(
        error.contains("a.redb") && error.contains("move it away"),
        "{error}"
    );
    std::fs::remove_file(&path).unwrap();
    while queue.standing().error.is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(queue.make(keep("a")).await.unwrap(), Outcome::Kept);
}
