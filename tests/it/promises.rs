//! `docs/testing.md` and `SECURITY.md` say of each promise which test shows it. This holds the pages
//! to it: every test that they name is there, and no promise of the list is left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The promises that others make and we keep, by their numbers in `docs/testing.md`.
const PROMISES: u32 = 26;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every test as `module::name`, where the module is its file, the folder of a `mod.rs`, or the room
/// that it stands in.
pub fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    for directory in ["src", "tests/it"] {
        sources(&root().join(directory), &mut files);
    }
    let mut found = BTreeSet::new();
    for file in files {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let folder = file.parent().unwrap().file_name().unwrap();
        let module = match stem {
            "mod" => folder.to_str().unwrap(),
            stem => stem,
        };
        let below = |directory: &str| file.strip_prefix(root().join(directory));
        let inside = below("src").or_else(|_| below("tests/it")).unwrap();
        let room = Path::new(inside.iter().next().unwrap())
            .file_stem()
            .unwrap();
        let room = room.to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let mut marked = false;
        for line in text.lines().map(str::trim) {
            marked |= line.starts_with("#[") && line.contains("test");
            let function = line.strip_prefix("async ").unwrap_or(line);
            if let Some(rest) = function.strip_prefix("fn ") {
                let name = rest.split(['(', '<']).next().unwrap();
                // Properties stand inside `proptest!`, marked like any other test.
                if marked {
                    found.insert(format!("{module}::{name}"));
                    found.insert(format!("{room}::{name}"));
                }
                marked = false;
            }
        }
    }
    found
}

/// What stands between backticks and looks like a test.
fn named(page: &str) -> impl Iterator<Item = &str> {
    let quoted = page.split('`').skip(1).step_by(2);
    quoted.filter(|text| {
        text.split_once("::").is_some_and(|(module, name)| {
            let plain = |part: &str| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
            };
            plain(module) && plain(name)
        })
    })
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let page = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let tests = tests();
    let named: Vec<_> = named(&page).collect();
    assert!(named.len() >= 30, "only {named:?}");
    let gone: Vec<_> = named
        .iter()
        .filter(|name| !tests.contains(**name))
        .collect();
    assert!(gone.is_empty(), "no such tests: {gone:#?}");
}

#[test]
fn every_promise_has_its_row_and_every_test_that_it_names_is_there() {
    let page = fs::read_to_string(root().join("docs/testing.md")).unwrap();
    let tests = tests();
    let gone: Vec<_> = named(&page).filter(|name| !tests.contains(*name)).collect();
    assert!(gone.is_empty(), "no such tests: {gone:#?}");
    for number in 1..=PROMISES {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| {number} |")));
        let row = row.unwrap_or_else(|| panic!("promise {number} has no row"));
        let shown = named(row).count() > 0 || row.contains("`tests/");
        assert!(shown, "promise {number} names no test: {row}");
    }
}

#[test]
fn a_test_that_is_gone_is_noticed() {
    let tests = tests();
    let own = "promises::a_test_that_is_gone_is_noticed";
    assert!(tests.contains(own));
    let page = format!("| 1 | x | `{own}`, `promises::nowhere`, `tokio::spawn(x)`, `cargo test` |");
    let missing: Vec<_> = named(&page).filter(|name| !tests.contains(*name)).collect();
    assert_eq!(missing, ["promises::nowhere"]);
}
