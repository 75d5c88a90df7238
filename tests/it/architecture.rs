//! The wall between the rooms is this test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every room that may exist, by floor. A room imports only from floors below its own.
const FLOORS: [&[&str]; 10] = [
    &[
        "clock", "people", "secret", "sync", "wise", "durable", "event", CELLAR,
    ],
    &["config"],
    &[
        "confinement",
        "credentials",
        "listener",
        "supervisor",
        "telemetry",
    ],
    &["audit", "guard", "tokens"],
    &["tls", "jose", "sca"],
    &["switch", "upstream"],
    &["proxy", "webhook", "notify"],
    &["admin"],
    &["server", "simulator"],
    &["cli", "internal"],
];

/// Stands under the whole house, floor 0 included; nothing of it is left in a release.
const CELLAR: &str = "failpoint";

/// The fake Wise spells Wise's words itself, so that a wrong constant of ours meets a right one.
/// `jose` is cryptography: all that it knows of Wise are the names of algorithms, which are the RFCs'
/// own; other implementations vouch for it.
const SIMULATOR_MAY_IMPORT: [&str; 5] = ["clock", "secret", "listener", "tls", "jose"];

/// Libraries that stay in their rooms, so that a new major version is one room's work.
const LIBRARIES: [(&str, &[&str]); 11] = [
    ("figment", &["config"]),
    ("prometheus", &["telemetry"]),
    ("landlock", &["confinement"]),
    ("listenfd", &["supervisor"]),
    ("clap", &["cli"]),
    ("pkcs8", &["tls"]),
    ("redb", &["webhook"]),
    ("uzers", &["people"]),
    ("p12_keystore", &["tls"]),
    ("rustls", &["tls", "upstream", "simulator"]),
    ("tokio_rustls", &["tls", "upstream", "simulator"]),
];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Source files below `src` with the room each belongs to; `lib.rs` and `main.rs` have none.
fn files() -> Vec<(Option<String>, PathBuf)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut open = vec![src.clone()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&src).unwrap();
                let top = Path::new(inside.iter().next().unwrap());
                let room = top.file_stem().unwrap().to_str().unwrap().to_owned();
                let room = (room != "lib" && room != "main").then_some(room);
                found.push((room, path));
            }
        }
    }
    found
}

/// The code of a file, line by line, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| {
        let code = line.find("//").map_or(line, |comment| &line[..comment]);
        (index + 1, code)
    })
}

fn word(text: &str) -> &str {
    let end = text
        .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .unwrap_or(text.len());
    &text[..end]
}

/// What follows each whole-word `name::` in the line.
fn paths_from<'a>(line: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(name).filter_map(move |(at, _)| {
        let before = line[..at].chars().next_back();
        let inside = before.is_some_and(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        // `self::rustls::` or `other::rustls::` is another path.
        if inside || line[..at].ends_with("::") {
            return None;
        }
        line[at + name.len()..].strip_prefix("::")
    })
}

/// What is wrong with one file of a room.
fn faults(room: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let Some(own) = floor(room) else {
        return vec![format!("room `{room}` has no floor: add it to FLOORS")];
    };
    for (number, line) in code(text) {
        for rest in paths_from(line, "crate") {
            let target = word(rest);
            if target.is_empty() {
                faults.push(format!("{number}: a grouped or starred import of `crate`"));
            } else if target != room {
                match floor(target) {
                    Some(below) if below < own || target == CELLAR => {}
                    Some(_) => faults.push(format!("{number}: `{room}` may not import `{target}`")),
                    None => faults.push(format!("{number}: `crate::{target}` is no room")),
                }
                if room == "simulator" && !SIMULATOR_MAY_IMPORT.contains(&target) {
                    faults.push(format!("{number}: the simulator may not import `{target}`"));
                }
            }
        }
        for (library, rooms) in LIBRARIES {
            let named = paths_from(line, library).next().is_some()
                || line.trim() == format!("use {library};");
            if named && !rooms.contains(&room) {
                faults.push(format!("{number}: `{library}` belongs in {rooms:?}"));
            }
        }
    }
    faults
}

#[test]
fn a_room_imports_only_from_floors_below() {
    let mut all = Vec::new();
    let mut rooms = BTreeMap::new();
    for (room, path) in files() {
        let Some(room) = room else { continue };
        let text = fs::read_to_string(&path).unwrap();
        for fault in faults(&room, &text) {
            all.push(format!("{}:{fault}", path.display()));
        }
        *rooms.entry(room).or_insert(0) += 1;
    }
    assert!(
        rooms.contains_key("wise"),
        "the scan found no rooms: {rooms:?}"
    );
    assert!(all.is_empty(), "the house leans:\n{}", all.join("\n"));
}

#[test]
fn lib_rs_lists_every_room_under_its_floor() {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let text = fs::read_to_string(lib).unwrap();
    let mut floor_now = None;
    let mut listed = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(number) = line.strip_prefix("// floor ") {
            floor_now = Some(number.parse::<usize>().unwrap());
        }
        let Some((public, rest)) = line
            .strip_prefix("pub mod ")
            .map(|rest| (true, rest))
            .or_else(|| line.strip_prefix("mod ").map(|rest| (false, rest)))
        else {
            continue;
        };
        let room = word(rest);
        assert_eq!(
            floor(room),
            floor_now,
            "`{room}` stands under the wrong floor"
        );
        assert_eq!(
            public,
            ["cli", "config", "server", "simulator", "internal"].contains(&room),
            "`{room}`: the public rooms are cli, config, server and simulator"
        );
        listed.push(room.to_owned());
    }
    assert!(
        text.contains(
            "#[cfg(any(test, feature = \"fuzzing\", feature = \"benchmarks\"))]\n\
             #[doc(hidden)]\npub mod internal;"
        ),
        "`internal` is in no build but those of tests, fuzzers and benchmarks"
    );
    let mut found: Vec<_> = files().into_iter().filter_map(|(room, _)| room).collect();
    found.sort();
    found.dedup();
    listed.sort();
    assert_eq!(listed, found, "every room is a module of lib.rs");
}

#[test]
fn rooms_open_with_what_they_are_for() {
    for (room, path) in files() {
        let inside = path.file_name().unwrap() == "mod.rs";
        let top = path.parent().unwrap().file_name().unwrap() == room.as_deref().unwrap_or("src");
        if inside && top {
            let text = fs::read_to_string(&path).unwrap();
            assert!(
                text.starts_with("//! "),
                "{} must open with `//!`",
                path.display()
            );
        }
    }
}

#[test]
fn a_leaning_wall_is_seen() {
    for (room, text, seen) in [
        ("tls", "use crate::proxy::Target;", true),
        ("tls", "use crate::jose::Key;", true),
        ("tls", "use crate::clock::Clock;", false),
        ("clock", "use crate::failpoint::Point;", false),
        ("failpoint", "use crate::clock::Clock;", true),
        ("tls", "use crate::{clock, secret};", true),
        ("tls", "use crate::tls::Identity;", false),
        ("tls", "let a = crate::upstream::dial();", true),
        ("tls", "// see crate::proxy", false),
        ("tls", "use crate::nowhere::Thing;", true),
        ("tls", "pub(crate) fn a() {}", false),
        ("simulator", "use crate::wise::Lane;", true),
        ("simulator", "use crate::tls::Identity;", false),
        ("proxy", "use rustls::ClientConfig;", true),
        ("proxy", "use rustls_pki_types::ServerName;", false),
        ("upstream", "use rustls::ClientConfig;", false),
        ("admin", "prometheus::TextEncoder::new();", true),
        ("attic", "", true),
    ] {
        assert_eq!(!faults(room, text).is_empty(), seen, "{room}: {text}");
    }
}
