use super::*;

/// A chain of so many lines, its ends, and the text of each line.
fn chain(lines: u64) -> (Vec<Vec<u8>>, Vec<Head>) {
    let mut head = Head::START;
    let (mut texts, mut heads) = (Vec::new(), Vec::new());
    for number in 0..lines {
        let mut text = Vec::new();
        head.seal(
            &format!("\"at\":\"x\",\"kind\":\"request\",\"n\":{number}"),
            &mut text,
        );
        texts.push(text);
        heads.push(head);
    }
    (texts, heads)
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn with(text: &[u8]) -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::write(place.path(), text).unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o600)).unwrap();
        place
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("audit.log")
    }

    fn open(&self, known: Option<Head>) -> (Head, Vec<Found>) {
        let (_, head, found) = Book::open(&self.path(), known).unwrap();
        (head, found)
    }

    fn text(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    fn aside(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("audit.log.torn")).unwrap_or_default()
    }
}

#[test]
fn a_crash_at_any_byte_of_the_last_lines_loses_no_whole_line_and_keeps_the_rest_beside() {
    let (texts, heads) = chain(4);
    let whole = texts.concat();
    // The head was saved at the second line; the rest came after it.
    let known = heads[1];
    let first = texts[..2].concat().len();
    for cut in first..=whole.len() {
        let place = Place::with(&whole[..cut]);
        let (head, found) = place.open(Some(known));
        let mut ends = texts.iter().scan(0, |end, text| {
            *end += text.len();
            Some(*end)
        });
        // A line that lacks its line break only is whole.
        let lines = ends.by_ref().filter(|end| end - 1 <= cut).count();
        assert_eq!(head, heads[lines - 1], "cut at {cut}");
        let kept = texts[..lines].concat();
        assert_eq!(place.text(), kept, "cut at {cut}");
        let torn = whole[..cut].get(kept.len()..).unwrap_or_default();
        assert_eq!(found.is_empty(), torn.is_empty(), "cut at {cut}");
        if !torn.is_empty() {
            assert_eq!(place.aside().strip_suffix(b"\n"), Some(torn));
            let Found::Torn { bytes, sha256, .. } = &found[0] else {
                panic!("{found:?}");
            };
            assert_eq!((*bytes, *sha256), (torn.len() as u64, Hash::of(&[torn])));
        }
    }
}

#[test]
fn blocks_of_nothing_that_a_power_cut_left_are_set_aside() {
    let (texts, heads) = chain(3);
    let mut text = texts.concat();
    text.extend_from_slice(&[0; 5000]);
    let place = Place::with(&text);
    let (head, found) = place.open(Some(heads[0]));
    assert_eq!(head, heads[2]);
    assert!(
        matches!(found[..], [Found::Torn { bytes: 5000, .. }]),
        "{found:?}"
    );
    assert_eq!(place.text(), texts.concat());
}

#[test]
fn a_tail_cut_off_is_noticed_and_the_chain_goes_on_from_what_the_store_knows() {
    let (texts, heads) = chain(5);
    let place = Place::with(&texts[..3].concat());
    let (head, found) = place.open(Some(heads[4]));
    assert_eq!(head, heads[4], "so that the gap is in the chain for good");
    let last = Some(heads[2]);
    assert_eq!(found, [Found::Mismatch { found: last }]);
    assert_eq!(place.text(), texts[..3].concat());
}

#[test]
fn a_line_behind_the_known_one_that_was_changed_goes_aside_with_all_that_follow() {
    let (mut texts, heads) = chain(5);
    texts[3][30] ^= 1;
    let place = Place::with(&texts.concat());
    let (head, found) = place.open(Some(heads[1]));
    assert_eq!(head, heads[2]);
    assert!(matches!(found[..], [Found::Torn { .. }]), "{found:?}");
    assert_eq!(
        place.aside().strip_suffix(b"\n"),
        Some(&texts[3..].concat()[..])
    );
}

#[test]
fn a_new_file_goes_on_with_the_chain_of_the_one_that_was_moved_away() {
    let (_, heads) = chain(2);
    let place = Place::with(b"");
    assert_eq!(place.open(Some(heads[1])), (heads[1], Vec::new()));
    assert_eq!(place.open(None), (Head::START, Vec::new()));
    let torn = Place::with(b"{\"seq\":3,\"at\":");
    let (head, found) = torn.open(Some(heads[1]));
    assert_eq!(head, heads[1]);
    assert!(
        matches!(found[..], [Found::Torn { bytes: 14, .. }]),
        "{found:?}"
    );
}

#[test]
fn a_record_that_the_store_knows_nothing_of_is_taken_over() {
    let (texts, heads) = chain(2);
    let place = Place::with(&texts.concat());
    assert_eq!(place.open(None), (heads[1], vec![Found::Adopted]));
}

#[test]
fn the_known_line_is_found_far_from_the_end() {
    let mut head = Head::START;
    let mut text = Vec::new();
    head.seal("\"n\":0", &mut text);
    let known = head;
    let long = format!("\"n\":\"{}\"", "x".repeat(100_000));
    for _ in 0..30 {
        head.seal(&long, &mut text);
    }
    assert!(text.len() as u64 > 2 * TAIL);
    let place = Place::with(&text);
    assert_eq!(place.open(Some(known)), (head, Vec::new()));
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    for text in ["[door]\naddress = 1\n", "no line break", "{\"seq\":1}\n"] {
        let place = Place::with(text.as_bytes());
        let (_, heads) = chain(1);
        for known in [None, Some(heads[0])] {
            let error = Book::open(&place.path(), known).unwrap_err();
            assert!(
                matches!(error, AuditError::Foreign { .. }),
                "{text}: {error}"
            );
        }
        assert_eq!(place.text(), text.as_bytes());
    }
}

#[test]
fn a_file_that_others_may_change_is_refused_and_one_that_a_group_may_read_is_not() {
    let place = Place::with(b"");
    for (mode, fits) in [(0o600, true), (0o640, true), (0o660, false), (0o604, false)] {
        fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).unwrap();
        let outcome = Book::open(&place.path(), None);
        assert_eq!(outcome.is_ok(), fits, "{mode:o}");
    }
}

#[test]
fn one_process_at_a_time_writes_a_record() {
    let place = Place::with(b"");
    let held = Book::open(&place.path(), None).unwrap();
    let error = Book::open(&place.path(), None).unwrap_err();
    assert!(matches!(error, AuditError::Taken { .. }), "{error}");
    drop(held);
    Book::open(&place.path(), None).unwrap();
}

#[test]
fn a_file_that_was_moved_or_deleted_is_noticed() {
    let place = Place::with(b"");
    let (book, ..) = Book::open(&place.path(), None).unwrap();
    assert!(!book.is_moved());
    fs::rename(place.path(), place.dir.path().join("audit.log.1")).unwrap();
    assert!(book.is_moved());
    fs::write(place.path(), "").unwrap();
    assert!(book.is_moved());
}
