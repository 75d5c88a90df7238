//! What holds of every path in the access log: called by the fuzzers and on their kept inputs.

use super::access::template;

/// A label repeats nothing of a path but words, versions and Wise's own file names: no id, no
/// token, nothing that could end a line or a JSON text. It has one part for each segment.
///
/// The input is a path.
pub(crate) fn access_label(input: &[u8]) {
    let Ok(path) = std::str::from_utf8(input) else {
        return;
    };
    let mut label = String::new();
    template(&mut label, path);
    assert!(label.starts_with('/'), "{label:?}");
    let safe = |letter: char| letter.is_ascii_alphanumeric() || "/{}-_.".contains(letter);
    assert!(label.chars().all(safe), "{label:?}");

    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let parts: Vec<&str> = label.split('/').skip(1).collect();
    let expected = segments.len().clamp(1, 16);
    assert_eq!(parts.len(), expected, "{label:?} of {path:?}");
    let mut behind = "";
    for (part, segment) in parts.into_iter().zip(segments) {
        assert!(part == "{id}" || part == segment, "{part:?} of {segment:?}");
        if part != "{id}" {
            assert!(behind != "applications", "{part:?} is a client id");
            assert!(tells_nothing(part), "{part:?} may be an id");
        } else if behind != "applications" {
            assert!(!tells_nothing(segment), "{segment:?} is no id");
        }
        behind = segment;
    }
}

fn tells_nothing(segment: &str) -> bool {
    let digits = segment.chars().filter(char::is_ascii_digit).count();
    let versions = segment
        .strip_prefix('v')
        .is_some_and(|number| number.len() <= 2 && digits == number.len());
    let calendar = segment.split_once('Q').is_some_and(|(year, quarter)| {
        digits == 5 && year.len() == 4 && quarter.len() == 1 && "1234".contains(quarter)
    });
    let file = segment
        .split_once('.')
        .is_some_and(|(name, ending)| match name {
            "statement" => ["json", "csv", "pdf", "xlsx", "xml", "mt940", "qif"].contains(&ending),
            "receipt" | "us-combined-receipt" => ending == "pdf",
            _ => false,
        });
    let word = segment.len() <= 40
        && segment
            .chars()
            .all(|letter| letter.is_ascii_alphabetic() || letter == '-' || letter == '_');
    word || versions || calendar || file || segment == "3dsecure"
}
