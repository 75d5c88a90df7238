use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc::{channel, sync_channel};
use std::time::SystemTime;

use super::*;
use crate::audit::Verifier;
use crate::clock::Manual;

struct Desk {
    dir: tempfile::TempDir,
    writer: Writer,
    shared: Arc<Shared>,
    queue: SyncSender<Message>,
}

impl Desk {
    fn new() -> Self {
        Self::inside(tempfile::tempdir().unwrap())
    }

    fn inside(dir: tempfile::TempDir) -> Self {
        let path = dir.path().join("audit.log");
        let shared = Arc::new(Shared::default());
        let clock = Arc::new(Manual::at(SystemTime::UNIX_EPOCH));
        let (queue, messages) = sync_channel(64);
        let head = HeadFile::new(dir.path(), &path);
        let writer = Writer::new(&path, head, clock, Arc::clone(&shared), messages);
        Self {
            dir,
            writer,
            shared,
            queue,
        }
    }

    fn add(&mut self, records: u64) {
        let text = "\"at\":\"1970-01-01T00:00:00.000Z\",\"kind\":\"request\"\n";
        let text = text.repeat(usize::try_from(records).unwrap());
        self.shared.hand(records);
        self.writer.take(&text, records);
    }

    /// A turn as if the disk's pause were over.
    fn turn(&mut self) {
        self.writer.due = Instant::now();
        self.writer.turn();
    }

    fn blocked(&self) -> bool {
        self.shared.blocked.load(Ordering::Relaxed)
    }

    /// How many lines the files hold together, all of them in order.
    fn verified(&self, files: &[&str]) -> u64 {
        let mut verifier = Verifier::new(Vec::new(), self.writer.head_file.load().unwrap());
        let mut last = self.dir.path().to_owned();
        for file in files {
            last = self.dir.path().join(file);
            assert_eq!(verifier.file(&last).unwrap(), None);
        }
        assert_eq!(verifier.end(&last), None);
        verifier.summary().lines
    }
}

#[test]
fn what_was_written_is_remembered_by_the_store() {
    let mut desk = Desk::new();
    desk.add(3);
    desk.turn();
    let head = desk.writer.head_file.load().unwrap().unwrap();
    assert_eq!((head.seq, head), (3, desk.writer.head));
    assert_eq!(desk.verified(&["audit.log"]), 3);
    assert!(!desk.blocked());
}

#[test]
fn nothing_is_lost_while_the_file_cannot_be_opened() {
    let mut desk = Desk::new();
    std::fs::write(desk.dir.path().join("audit.log"), "").unwrap();
    let loose = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(desk.dir.path().join("audit.log"), loose).unwrap();
    desk.add(5);
    desk.turn();
    assert!(desk.blocked());
    assert!(
        desk.writer
            .error
            .as_ref()
            .unwrap()
            .contains("permissions 666")
    );

    let tight = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(desk.dir.path().join("audit.log"), tight).unwrap();
    desk.turn();
    assert!(!desk.blocked());
    assert_eq!(desk.verified(&["audit.log"]), 5);
}

#[test]
fn what_was_lost_is_a_record_of_its_own() {
    let mut desk = Desk::new();
    desk.turn();
    desk.shared.lose(12);
    desk.add(1);
    desk.turn();
    let text = std::fs::read_to_string(desk.dir.path().join("audit.log")).unwrap();
    assert!(text.contains("\"kind\":\"gap\",\"lost\":12"), "{text}");
    assert_eq!(desk.verified(&["audit.log"]), 2);
    assert_eq!(desk.shared.lost.load(Ordering::Relaxed), 0);
}

#[test]
fn more_than_the_backlog_holds_is_counted_as_lost() {
    let mut desk = Desk::new();
    let text = "x".repeat(BACKLOG - 10);
    desk.writer.take(&format!("{text}\n"), 1);
    desk.add(7);
    assert_eq!(desk.shared.lost.load(Ordering::Relaxed), 7);
    assert_eq!(desk.writer.waiting, 1);
}

#[test]
fn half_a_line_that_the_disk_took_is_completed_later() {
    let mut desk = Desk::new();
    desk.turn();
    desk.add(2);
    let members: Vec<String> = desk.writer.backlog.lines().map(str::to_owned).collect();
    desk.writer.backlog.clear();
    desk.writer.waiting = 0;
    for members in &members {
        desk.writer.seal(members);
    }
    // As a full disk does.
    let half = desk.writer.sealed.len() - 20;
    let book = desk.writer.book.as_mut().unwrap();
    book.file.write_all(&desk.writer.sealed[..half]).unwrap();
    desk.writer.written = half;
    desk.turn();
    assert_eq!(desk.verified(&["audit.log"]), 2);
}

#[test]
fn a_line_that_the_moved_file_has_half_of_is_whole_in_the_new_one() {
    let mut desk = Desk::new();
    desk.turn();
    for number in 0..3 {
        desk.writer
            .seal(&format!("\"at\":\"x\",\"kind\":\"request\",\"n\":{number}"));
    }
    let half = desk.writer.sealed.len() - 20;
    let book = desk.writer.book.as_mut().unwrap();
    book.file.write_all(&desk.writer.sealed[..half]).unwrap();
    desk.writer.written = half;
    let path = desk.dir.path().join("audit.log");
    std::fs::rename(&path, desk.dir.path().join("audit.log.1")).unwrap();
    // Where writing goes on failing, the turn comes to no more than this.
    desk.writer.rotate().unwrap();
    desk.turn();
    assert_eq!(desk.verified(&["audit.log.1", "audit.log"]), 4);
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.starts_with("{\"seq\":3,"), "{text}");
    assert!(text.contains("\"kind\":\"rotated\""), "{text}");
}

#[test]
fn a_file_that_cannot_be_made_anew_is_written_on_where_it_was_moved() {
    let mut desk = Desk::new();
    desk.add(1);
    desk.turn();
    let path = desk.dir.path().join("audit.log");
    std::fs::rename(&path, desk.dir.path().join("audit.log.1")).unwrap();
    std::fs::create_dir(&path).unwrap();
    desk.add(2);
    desk.turn();
    assert!(desk.writer.error.is_some());
    std::fs::remove_dir(&path).unwrap();
    desk.add(1);
    desk.turn();
    assert_eq!(desk.verified(&["audit.log.1", "audit.log"]), 5);
}

#[test]
fn a_closed_record_says_that_it_was_and_goes_on_at_the_next_start() {
    let mut desk = Desk::new();
    desk.add(2);
    let (told, outcome) = channel();
    let (done, closed) = sync_channel(1);
    desk.queue.try_send(Message::Close(done)).unwrap();
    desk.writer.run(&told);
    assert!(outcome.recv().unwrap().is_ok());
    assert!(closed.recv().is_err(), "it is answered by dropping");

    let mut next = Desk::inside(desk.dir);
    next.add(1);
    next.turn();
    let text = std::fs::read_to_string(next.dir.path().join("audit.log")).unwrap();
    assert!(
        text.lines()
            .nth(2)
            .unwrap()
            .contains("\"kind\":\"stopped\""),
        "{text}"
    );
    assert_eq!(next.verified(&["audit.log"]), 4);
}
