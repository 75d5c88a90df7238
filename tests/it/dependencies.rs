//! What `Cargo.lock` pins: floors below which a known hole lies open.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The oldest version of each crate that has none of the advisories known to us, and why.
///
/// `cargo deny check advisories` knows more, where it can fetch its database; these hold anywhere.
const FLOORS: [(&str, [u64; 3], &str); 6] = [
    (
        "rustls",
        [0, 23, 46],
        "RUSTSEC-2024-0336, -0399, RUSTSEC-2026-0285, -0346 to -0349",
    ),
    (
        "rustls-webpki",
        [0, 103, 13],
        "RUSTSEC-2026-0049, -0098, -0099, -0104",
    ),
    ("aws-lc-sys", [0, 39, 0], "RUSTSEC-2026-0044 to -0048"),
    (
        "h2",
        [0, 4, 16],
        "RUSTSEC-2024-0003, -0332, RUSTSEC-2026-0258",
    ),
    (
        "hyper",
        [1, 12, 0],
        "CVE-2021-21299, -32714, -32715; the line that is mended",
    ),
    ("tokio", [1, 54, 0], "the line that is mended"),
];

/// Every version of every package of a lock file.
fn locked(path: &str) -> BTreeMap<String, Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs::read_to_string(path).unwrap();
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in text.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let mut lines = package.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
            value.unwrap().trim_matches('"').to_owned()
        };
        versions
            .entry(field("name"))
            .or_default()
            .push(field("version"));
    }
    assert!(versions.len() > 100, "a lock file has more packages");
    versions
}

fn number(version: &str) -> [u64; 3] {
    let release = version.split(['-', '+']).next().unwrap();
    let parts: Vec<u64> = release
        .split('.')
        .map(|part| part.parse().unwrap())
        .collect();
    parts.try_into().unwrap()
}

#[test]
fn no_dependency_is_older_than_its_last_known_hole() {
    let locked = locked("Cargo.lock");
    for (name, floor, why) in FLOORS {
        let versions = locked.get(name);
        for version in versions.unwrap_or_else(|| panic!("{name} is not in Cargo.lock")) {
            assert!(
                number(version) >= floor,
                "{name} {version} is older than {floor:?}: {why}"
            );
        }
    }
}
