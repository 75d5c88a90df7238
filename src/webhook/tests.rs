//! The queue's file and the thread that owns it, without a door.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::Notify;

use super::queue::{Queue, Setting};
use super::shelf::{Change, Delivery, Fields, Outcome, Rules, Shelf, ShelfError};

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

fn rules(hours: u32) -> Rules {
    Rules {
        now: UNIX_EPOCH + 1_000 * HOUR + hours * HOUR,
        window: 24 * HOUR,
        most: 4,
    }
}

fn make(shelf: &Shelf, changes: &[Change], hours: u32) -> Vec<Outcome> {
    shelf.make(changes, rules(hours)).unwrap().0
}

fn first(shelf: &Shelf) -> Option<(u64, String)> {
    let waiting = shelf.first().unwrap()?;
    let id = waiting.delivery.fields.id;
    assert_eq!(waiting.delivery.body, format!("body of {id}"));
    Some((waiting.number, id))
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
    make(&shelf, &[Change::Remove(1)], 1);
    assert_eq!(first(&shelf), Some((2, "b".into())));
    make(&shelf, &[Change::Remove(2)], 1);
    assert_eq!(first(&shelf), None);
    // A number is never used again: an empty queue must not bring an old one back.
    make(&shelf, &[keep("c")], 2);
    assert_eq!(first(&shelf), Some((3, "c".into())));
}

#[test]
fn the_window_is_forgotten_from_its_far_end() {
    let (_dir, path) = file();
    let shelf = Shelf::open(&path).unwrap();
    make(&shelf, &[keep("a"), Change::Remove(1)], 0);
    make(&shelf, &[keep("b"), Change::Remove(2)], 12);
    assert_eq!(make(&shelf, &[keep("a")], 23), [Outcome::Duplicate]);
    assert_eq!(make(&shelf, &[keep("a")], 24), [Outcome::Kept]);
    assert_eq!(make(&shelf, &[keep("b")], 35), [Outcome::Duplicate]);
    // A clock that was set back brings nothing back.
    assert_eq!(make(&shelf, &[keep("a")], 0), [Outcome::Duplicate]);
}

#[test]
fn what_was_set_aside_counts_and_can_be_taken_up_until_it_is_forgotten() {
    let (_dir, path) = file();
    let shelf = Shelf::open(&path).unwrap();
    make(&shelf, &[keep("a"), keep("b"), keep("c")], 0);
    make(
        &shelf,
        &[Change::SetAside(1, 410), Change::SetAside(2, 400)],
        0,
    );
    let stock = shelf.stock().unwrap();
    assert_eq!((stock.queued, stock.set_aside), (1, 2));
    assert_eq!(
        make(&shelf, &[keep("d"), keep("e")], 1),
        [Outcome::Kept, Outcome::Full]
    );
    assert_eq!(make(&shelf, &[Change::TakeUp], 2), [Outcome::TakenUp(2)]);
    let mut order = Vec::new();
    while let Some((number, id)) = first(&shelf) {
        order.push(id);
        make(&shelf, &[Change::Remove(number)], 2);
    }
    assert_eq!(order, ["c", "d", "a", "b"]);
    make(&shelf, &[keep("e"), Change::SetAside(7, 410)], 3);
    assert_eq!(shelf.stock().unwrap().set_aside, 1);
    make(&shelf, &[keep("f")], 27);
    assert_eq!(shelf.stock().unwrap().set_aside, 0, "kept for the window");
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
        let opened = std::panic::catch_unwind(|| Shelf::open(&path).map(drop));
        // The library may panic; the thread above it counts that as damage.
        let Ok(opened) = opened else { continue };
        let error = opened.unwrap_err();
        assert!(
            matches!(error, ShelfError::Damaged { .. }),
            "{number}: {error}"
        );
    }
}

fn start(path: &Path, most: usize) -> (Queue, std::thread::JoinHandle<()>) {
    let setting = Setting {
        name: "a".into(),
        path: path.to_owned(),
        rules: Box::new(move || Rules { most, ..rules(0) }),
        news: Arc::new(Notify::new()),
        trouble: Box::new(|_| {}),
    };
    Queue::start(setting).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_once_is_kept_in_few_turns() {
    let (_dir, path) = file();
    let (queue, thread) = start(&path, 10_000);
    let ids: Vec<String> = (0..500).map(|number| format!("id-{number}")).collect();
    let begun = std::time::Instant::now();
    let all = futures_util::future::join_all(ids.iter().map(|id| queue.make(keep(id)))).await;
    println!("500 deliveries at once: {:?}", begun.elapsed());
    assert!(all.iter().all(|it| matches!(it, Ok(Outcome::Kept))));
    assert_eq!(queue.standing().stock.queued, 500);
    let begun = std::time::Instant::now();
    for number in 0..20 {
        queue.make(keep(&format!("single-{number}"))).await.unwrap();
    }
    println!("one after the other: {:?} each", begun.elapsed() / 20);
    let first = queue.first().await.unwrap().unwrap();
    assert_eq!(first.delivery.fields.id, "id-0");
    drop(queue);
    thread.join().unwrap();
    assert_eq!(Shelf::open(&path).unwrap().stock().unwrap().queued, 520);
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
