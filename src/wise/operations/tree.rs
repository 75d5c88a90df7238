//! The table as a tree of segments.

use std::sync::LazyLock;

use super::{OPERATIONS, Ops};

/// The operations that a request is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    /// Letter by letter.
    pub(crate) exact: Ops,
    /// Without regard to case or to a suffix: what another server might take it for.
    pub(crate) loose: Ops,
}

/// Looks a request up by its method and its path without version. HEAD goes as GET.
///
/// More than one may be found: a word such as `hold-limit-breach` is also a balance's id.
pub(crate) fn find(method: &str, path: &str) -> Found {
    let method = if method == "HEAD" { "GET" } else { method };
    let mut found = Found::default();
    if let Some(rest) = path.strip_prefix('/') {
        TREE.walk(0, rest, method, true, &mut found);
    }
    found
}

/// Whether some server might take a segment for this word: letters of another case, and behind the
/// last word of a path a dot and what follows, as in `payments.json`.
pub(crate) fn is_spelling_of(word: &str, segment: &str, is_last: bool) -> bool {
    let parts = segment.as_bytes().split_at_checked(word.len());
    parts.is_some_and(|(same, rest)| {
        same.eq_ignore_ascii_case(word.as_bytes())
            && (rest.is_empty() || is_last && rest.starts_with(b"."))
    })
}

static TREE: LazyLock<Tree> = LazyLock::new(Tree::new);

/// Nodes by position; the root is the first.
struct Tree(Vec<Node>);

#[derive(Default)]
struct Node {
    words: Vec<(&'static str, usize)>,
    /// Segments that begin with a word and end with what differs, such as `statement.{format}`.
    beginnings: Vec<(&'static str, usize)>,
    any: Option<usize>,
    /// Operations whose path ends here.
    ends: Vec<(&'static str, usize)>,
}

impl Tree {
    fn new() -> Self {
        let mut tree = Self(vec![Node::default()]);
        for (position, operation) in OPERATIONS.iter().enumerate() {
            let mut at = 0;
            for segment in operation.path.split('/').skip(1) {
                at = tree.child(at, segment);
            }
            tree.0[at].ends.push((operation.method, position));
        }
        tree
    }

    /// The node behind a segment of the table, made where it is missing.
    fn child(&mut self, at: usize, segment: &'static str) -> usize {
        let new = self.0.len();
        let node = &mut self.0[at];
        let known = match segment.split_once('{') {
            None => named(&mut node.words, segment, new),
            Some(("", _)) => *node.any.get_or_insert(new),
            Some((beginning, _)) => named(&mut node.beginnings, beginning, new),
        };
        if known == new {
            self.0.push(Node::default());
        }
        known
    }

    fn walk(&self, at: usize, rest: &str, method: &str, exact: bool, found: &mut Found) {
        let (segment, rest) = match rest.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (rest, None),
        };
        if segment.is_empty() {
            return;
        }
        let node = &self.0[at];
        let mut go = |next: usize, exact: bool| match rest {
            Some(rest) => self.walk(next, rest, method, exact, found),
            None => {
                for (_, position) in self.0[next].ends.iter().filter(|end| end.0 == method) {
                    found.loose.insert(*position);
                    if exact {
                        found.exact.insert(*position);
                    }
                }
            }
        };
        for (word, next) in &node.words {
            if is_spelling_of(word, segment, rest.is_none()) {
                go(*next, exact && *word == segment);
            }
        }
        for (beginning, next) in &node.beginnings {
            let (ours, theirs) = (beginning.as_bytes(), segment.as_bytes());
            let begins =
                theirs.len() > ours.len() && theirs[..ours.len()].eq_ignore_ascii_case(ours);
            if begins {
                go(*next, exact && theirs.starts_with(ours));
            }
        }
        if let Some(next) = node.any {
            go(next, exact);
        }
    }
}

fn named(children: &mut Vec<(&'static str, usize)>, name: &'static str, new: usize) -> usize {
    if let Some((_, known)) = children.iter().find(|(word, _)| *word == name) {
        return *known;
    }
    children.push((name, new));
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path of an operation with something where the braces are.
    fn filled(path: &str) -> String {
        let mut out = String::new();
        for part in path.split('{') {
            match part.split_once('}') {
                Some((_, rest)) => {
                    out.push_str("x7");
                    out.push_str(rest);
                }
                None => out.push_str(part),
            }
        }
        out
    }

    #[test]
    fn every_operation_is_found_and_no_other_with_it_that_has_more_words() {
        for (position, operation) in OPERATIONS.iter().enumerate() {
            let path = filled(operation.path);
            let found = find(operation.method, &path);
            assert!(found.exact.contains(position), "{path}");
            let shouted = find(operation.method, &path.to_ascii_uppercase());
            assert!(shouted.loose.contains(position), "{path}");
            assert!(!shouted.exact.contains(position), "{path}");
        }
    }

    #[test]
    fn a_suffix_is_another_spelling_of_the_last_word_only() {
        let pay = |path: &str| find("POST", path);
        for path in [
            "/profiles/1/transfers/2/payments.json",
            "/profiles/1/transfers/2/payments.",
            "/profiles/1/transfers/2/Payments.v2.XML",
        ] {
            let found = pay(path);
            assert_eq!(found.exact.first(), None, "{path}");
            assert_eq!(
                found.loose,
                pay("/profiles/1/transfers/2/payments").loose,
                "{path}"
            );
        }
        for path in [
            "/profiles.json/1/transfers/2/payments",
            "/profiles/1/transfers/2/paymentsjson",
            "/profiles/1/transfers/2/pay.ments",
        ] {
            assert_eq!(pay(path).loose.first(), None, "{path}");
        }
    }

    #[test]
    fn head_goes_as_get_and_a_longer_path_is_another() {
        assert_eq!(find("HEAD", "/me").exact, find("GET", "/me").exact);
        assert!(find("HEAD", "/me").exact.first().is_some());
        for (method, path) in [
            ("GET", "/me/"),
            ("GET", "//me"),
            ("GET", "/me/x"),
            ("POST", "/me"),
            ("get", "/me"),
            ("GET", "/"),
            ("GET", ""),
            ("GET", "/profiles/1/balance-statements/2/statement."),
        ] {
            assert_eq!(find(method, path).loose.first(), None, "{method} {path:?}");
        }
    }
}
