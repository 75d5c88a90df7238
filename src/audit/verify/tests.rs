use proptest::prelude::*;

use super::*;

/// The lines of a record, with their line breaks.
fn chain(lines: u64) -> Vec<Vec<u8>> {
    let mut head = Head::START;
    let line = |number| {
        let mut text = Vec::new();
        let members = format!(
            "\"at\":\"2026-11-25T10:00:{number:02}.000Z\",\"kind\":\"request\",\"status\":200"
        );
        head.seal(&members, &mut text);
        text
    };
    (0..lines).map(line).collect()
}

fn head_of(line: &[u8]) -> Head {
    Link::parse(line.strip_suffix(b"\n").unwrap())
        .unwrap()
        .head()
}

fn verify(lines: &[Vec<u8>]) -> (Summary, Option<Broken>) {
    verify_with(lines, Verifier::default())
}

fn verify_with(lines: &[Vec<u8>], mut verifier: Verifier) -> (Summary, Option<Broken>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    std::fs::write(&path, lines.concat()).unwrap();
    let broken = verifier.file(&path).unwrap();
    let broken = broken.or_else(|| verifier.end(&path));
    (verifier.summary(), broken)
}

#[track_caller]
fn assert_flaw(lines: &[Vec<u8>], line: u64, flaw: Flaw) {
    let (_, broken) = verify(lines);
    let broken = broken.expect("it is noticed");
    assert_eq!((broken.line, broken.flaw), (Some(line), flaw), "{broken:?}");
}

/// A line that somebody who knows the form makes: its own hash is right.
fn forged(before: Head, members: &str) -> Vec<u8> {
    let (mut head, mut text) = (before, Vec::new());
    head.seal(members, &mut text);
    text
}

#[test]
fn a_record_is_summed_up() {
    let mut lines = chain(3);
    let mut head = head_of(&lines[2]);
    for members in [
        "\"at\":\"2026-11-25T10:01:00.000Z\",\"kind\":\"gap\",\"lost\":41",
        "\"at\":\"2026-11-25T10:02:00.000Z\",\"kind\":\"recovered\",\"bytes\":3",
    ] {
        let mut text = Vec::new();
        head.seal(members, &mut text);
        lines.push(text);
    }
    let (summary, broken) = verify(&lines);
    assert_eq!(broken, None);
    let expected = Summary {
        lines: 5,
        first_sequence: 1,
        last_sequence: 5,
        last_hash: head.hash.to_string(),
        from: "2026-11-25T10:00:00.000Z".into(),
        to: "2026-11-25T10:02:00.000Z".into(),
        gaps: 1,
        lost: 41,
        recoveries: 1,
        mismatches: 0,
        unfinished: 0,
    };
    assert_eq!(summary, expected);
}

#[test]
fn a_changed_line_is_named() {
    let mut lines = chain(5);
    let text = String::from_utf8(lines[2].clone()).unwrap();
    lines[2] = text.replace("200", "403").into_bytes();
    assert_flaw(&lines, 3, Flaw::Changed);
}

#[test]
fn a_changed_line_with_a_hash_made_anew_is_noticed_at_the_next() {
    let mut lines = chain(5);
    let before = head_of(&lines[1]);
    lines[2] = forged(before, "\"at\":\"x\",\"kind\":\"request\",\"status\":403");
    assert_flaw(&lines, 4, Flaw::Replaced);
}

#[test]
fn lines_taken_out_are_counted() {
    let mut lines = chain(9);
    lines.drain(3..5);
    let (_, broken) = verify(&lines);
    let broken = broken.unwrap();
    assert_eq!((broken.line, broken.flaw), (Some(4), Flaw::TakenOut));
    assert!(
        broken
            .text
            .starts_with("2 lines before it were taken out, from number 4 on"),
        "{broken:?}"
    );
}

#[test]
fn lines_that_changed_places_are_told_from_missing_ones() {
    let mut lines = chain(6);
    lines.swap(2, 4);
    assert_flaw(&lines, 3, Flaw::Reordered);
}

#[test]
fn a_line_put_in_is_noticed_whether_copied_or_made() {
    let mut copied = chain(6);
    let copy = copied[1].clone();
    copied.insert(4, copy);
    assert_flaw(&copied, 5, Flaw::Inserted);

    let mut made = chain(6);
    let before = head_of(&made[2]);
    made.insert(3, forged(before, "\"at\":\"x\",\"kind\":\"request\""));
    assert_flaw(&made, 5, Flaw::Inserted);

    let mut garbled = chain(3);
    garbled.insert(1, b"{\"seq\":2,\"note\":\"hello\"}\n".to_vec());
    assert_flaw(&garbled, 2, Flaw::Garbled);
}

#[test]
fn a_tail_cut_off_is_known_by_the_store_alone() {
    let lines = chain(6);
    let known = Some(head_of(&lines[5]));
    assert_eq!(
        verify(&lines[..4]).1,
        None,
        "the lines themselves cannot say it"
    );
    let (_, broken) = verify_with(&lines[..4], Verifier::new(Vec::new(), known));
    let broken = broken.unwrap();
    assert_eq!(
        (broken.line, broken.flaw, broken.sequence),
        (None, Flaw::CutOff, Some(6))
    );
    let (_, broken) = verify_with(&lines, Verifier::new(Vec::new(), known));
    assert_eq!(broken, None);
}

#[test]
fn a_line_that_is_still_being_written_is_no_fault() {
    let mut lines = chain(3);
    lines[2].truncate(40);
    let (summary, broken) = verify(&lines);
    assert_eq!((broken, summary.lines, summary.unfinished), (None, 2, 1));
}

#[test]
fn a_record_written_anew_is_known_by_a_hash_noted_elsewhere_or_in_the_store() {
    let lines = chain(6);
    let mut head = Head::START;
    let anew: Vec<_> = (0..6)
        .map(|_| {
            let mut text = Vec::new();
            head.seal("\"at\":\"x\",\"kind\":\"request\"", &mut text);
            text
        })
        .collect();
    let noted = head_of(&lines[3]);
    for verifier in [
        Verifier::new(vec![noted.hash], None),
        Verifier::new(Vec::new(), Some(noted)),
    ] {
        let (_, broken) = verify_with(&anew, verifier);
        assert_eq!(broken.unwrap().flaw, Flaw::Rewritten);
    }
    let (_, broken) = verify_with(&lines, Verifier::new(vec![noted.hash], Some(noted)));
    assert_eq!(broken, None);
}

#[test]
fn a_record_goes_on_from_file_to_file_and_may_begin_later() {
    let dir = tempfile::tempdir().unwrap();
    let lines = chain(9);
    let pieces = [&lines[2..5], &lines[5..6], &lines[6..]];
    let paths = ["b", "c", "a"].map(|name| dir.path().join(name));
    for (path, piece) in paths.iter().zip(pieces) {
        std::fs::write(path, piece.concat()).unwrap();
    }
    assert_eq!(first_line(&paths[1]).unwrap(), Some(6));
    let mut verifier = Verifier::default();
    for path in &paths {
        assert_eq!(verifier.file(path).unwrap(), None);
    }
    assert_eq!(
        (verifier.summary().first_sequence, verifier.summary().lines),
        (3, 7)
    );

    let mut verifier = Verifier::default();
    verifier.file(&paths[0]).unwrap();
    let broken = verifier.file(&paths[2]).unwrap().unwrap();
    assert_eq!((broken.flaw, broken.line), (Flaw::TakenOut, Some(1)));
    assert_eq!(broken.file, paths[2]);
}

proptest! {
    /// Whatever is done to lines, unless it is at the end, is noticed.
    #[test]
    fn no_edit_of_lines_goes_unnoticed(from in 0_usize..8, to in 0_usize..8, what in 0..3) {
        let original = chain(9);
        let mut lines = original.clone();
        match what {
            0 => lines.swap(from, to),
            1 => drop(lines.remove(from)),
            _ => {
                let line = lines[from].clone();
                lines.insert(to, line);
            }
        }
        // Without its first line it is a later part of the record, which is no fault.
        let is_part = original.ends_with(&lines);
        prop_assert_eq!(verify(&lines).1.is_none(), is_part);
    }
}
