//! SECURITY.md says by which tests its promises are shown.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `room::name`, wherever it stands between backticks.
fn named(text: &str) -> Vec<(&str, &str)> {
    let word = |text: &str| {
        let mut letters = text.bytes();
        !text.is_empty() && letters.all(|letter| matches!(letter, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    let quoted = text.split('`').skip(1).step_by(2);
    let pairs = quoted.filter_map(|quoted| quoted.split_once("::"));
    pairs
        .filter(|(room, name)| word(room) && word(name))
        .collect()
}

/// The sources of a room, and the file of tests of that name.
fn sources(room: &str) -> String {
    let mut open: Vec<PathBuf> = ["src", "tests/it"]
        .iter()
        .flat_map(|above| {
            [room.to_owned(), format!("{room}.rs")].map(|name| root().join(above).join(name))
        })
        .collect();
    let mut text = String::new();
    while let Some(path) = open.pop() {
        if let Ok(entries) = fs::read_dir(&path) {
            open.extend(entries.map(|entry| entry.unwrap().path()));
        } else if let Ok(source) = fs::read_to_string(&path) {
            text.push_str(&source);
        }
    }
    text
}

fn is_a_test(source: &str, name: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    lines.windows(4).any(|lines| {
        let function = lines
            .iter()
            .any(|line| line.contains(&format!("fn {name}(")));
        function
            && lines
                .iter()
                .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let named = named(&text);
    assert!(named.len() >= 30, "only {}: {named:?}", named.len());
    let missing: Vec<_> = named
        .iter()
        .filter(|(room, name)| !is_a_test(&sources(room), name))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

#[test]
fn a_name_that_is_no_test_is_seen() {
    assert_eq!(
        named("a `room::name` and `two words::here`"),
        [("room", "name")]
    );
    let source = "#[test]\nfn it_holds() {\n}\n\nfn helper() {\n}\n";
    assert!(is_a_test(source, "it_holds"));
    assert!(!is_a_test(source, "it_does_not"));
    assert!(!is_a_test("fn helper() {\n}\n\n\n", "helper"));
}
