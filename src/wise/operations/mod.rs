//! What can be asked of Wise, as a table, and the named sets that policies are written with.
//!
//! An operation is looked up by walking a tree of path segments: a request costs a handful of
//! comparisons and no allocation, however long the table is.

mod table;
mod tree;

pub(crate) use table::OPERATIONS;
pub(crate) use tree::{Found, find, is_spelling_of};

use std::sync::LazyLock;

use super::routes;

/// One operation of Wise's API.
#[derive(Debug)]
pub(crate) struct Operation {
    /// What it is about; also the name of a set.
    pub(crate) subject: &'static str,
    pub(crate) method: &'static str,
    /// Without version. A segment in braces stands for one that differs from call to call.
    pub(crate) path: &'static str,
    /// Why it counts as funding, where it does.
    pub(crate) funds: Option<&'static str>,
    /// It changes something, whatever its method says.
    pub(crate) steers: bool,
}

impl Operation {
    /// Whether it only looks.
    pub(crate) fn reads(&self) -> bool {
        is_safe(self.method) && !self.steers
    }
}

/// Some of the operations, by their position in [`OPERATIONS`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ops([u64; WORDS]);

const WORDS: usize = 3;
const _: () = assert!(OPERATIONS.len() <= WORDS * 64, "make Ops wider");

impl Ops {
    pub(crate) fn insert(&mut self, position: usize) {
        self.0[position / 64] |= 1 << (position % 64);
    }

    pub(crate) fn contains(self, position: usize) -> bool {
        self.0[position / 64] & (1 << (position % 64)) != 0
    }

    pub(crate) fn meets(self, other: Self) -> bool {
        self.0
            .iter()
            .zip(other.0)
            .any(|(ours, theirs)| ours & theirs != 0)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    fn common(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    /// The first of them, as the operation that a log or a hint names.
    pub(crate) fn first(self) -> Option<usize> {
        (0..OPERATIONS.len()).find(|position| self.contains(*position))
    }

    fn that(are: impl Fn(&Operation) -> bool) -> Self {
        let mut ops = Self::default();
        for (position, operation) in OPERATIONS.iter().enumerate() {
            if are(operation) {
                ops.insert(position);
            }
        }
        ops
    }
}

/// The operations that make money leave.
pub(crate) static FUNDING: LazyLock<Ops> = LazyLock::new(|| Set::Funding.operations());

/// Those that change something, though their method says that they only look.
pub(crate) static STEERING: LazyLock<Ops> = LazyLock::new(|| Ops::that(|it| it.steers));

/// Segments of the longest path of [`FUNDING`].
const LONGEST_FUNDING: usize = 6;

/// The operations of [`FUNDING`] that some end of a path is, loosely: what stands before it may be
/// there for a gateway on the way, which takes it off.
pub(crate) fn funding_at_the_end(path: &str) -> Ops {
    let mut found = Ops::default();
    // No more ends than could be one: a long path costs no more than a short one.
    for (at, _) in path.rmatch_indices('/').take(LONGEST_FUNDING) {
        found = found.and(find("POST", &path[at..]).loose);
    }
    found.common(*FUNDING)
}

/// A named set of operations.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Set {
    /// GET, HEAD and OPTIONS, of operations known or not, but for those that change something.
    Reads,
    /// Whatever makes money leave.
    Funding,
    /// Every operation of the table.
    EverythingKnown,
    /// The operations with this subject.
    Subject(&'static str),
}

impl Set {
    /// Every set; the general ones first.
    pub(crate) fn all() -> Vec<Self> {
        let mut sets = vec![Self::Reads, Self::Funding, Self::EverythingKnown];
        for operation in OPERATIONS {
            let set = Self::Subject(operation.subject);
            if !sets.contains(&set) {
                sets.push(set);
            }
        }
        sets
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|set| set.name() == name)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Funding => "funding",
            Self::EverythingKnown => "everything-known",
            Self::Subject(name) => name,
        }
    }

    /// Its operations that the table knows.
    pub(crate) fn operations(self) -> Ops {
        Ops::that(|operation| match self {
            Self::Reads => operation.reads(),
            Self::Funding => operation.funds.is_some(),
            Self::EverythingKnown => true,
            Self::Subject(name) => operation.subject == name,
        })
    }
}

/// Whether a method promises to change nothing (RFC 9110 §9.2.1); TRACE never gets here.
pub(crate) fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

/// The path behind its version prefix, or the whole path where there is none.
pub(crate) fn without_version(path: &str) -> &str {
    routes::unversioned(path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_operation_stands_there_twice() {
        let mut seen = BTreeSet::new();
        for operation in OPERATIONS {
            assert!(
                seen.insert((operation.method, operation.path)),
                "{operation:?}"
            );
        }
    }

    #[test]
    fn what_pays_is_funding_and_says_why() {
        let funding: Vec<_> = OPERATIONS
            .iter()
            .filter_map(|operation| Some((operation.path, operation.funds?)))
            .collect();
        assert_eq!(funding.len(), 6, "{funding:#?}");
        for operation in OPERATIONS {
            // Every POST whose path ends as payments do is one, or a reader would wonder.
            let pays = operation.method == "POST" && operation.path.ends_with("/payments");
            assert!(!pays || operation.funds.is_some(), "{operation:?}");
            assert!(operation.funds.is_none() || operation.method == "POST");
        }
    }

    #[test]
    fn what_pays_is_found_at_the_end_of_every_path() {
        let funding = OPERATIONS.iter().enumerate();
        let funding = funding.filter(|(_, operation)| operation.funds.is_some());
        let mut longest = 0;
        for (position, operation) in funding {
            let path = operation.path.replace(['{', '}'], "");
            longest = longest.max(path.matches('/').count());
            for before in ["", "/v3", "/gateway", "/gateway/V3", "/a/b/c/d/e/f/g/h"] {
                for after in ["", ".json"] {
                    let path = format!("{before}{path}{after}");
                    assert!(funding_at_the_end(&path).contains(position), "{path}");
                }
            }
            let other = funding_at_the_end(&format!("/gateway{path}/status"));
            assert!(!other.contains(position), "{path}");
        }
        assert_eq!(longest, LONGEST_FUNDING);
        for path in ["", "/", "/v1/transfers", "/v1/profiles/1/quotes"] {
            assert_eq!(funding_at_the_end(path), Ops::default(), "{path}");
        }
    }

    #[test]
    fn every_set_is_found_by_its_name_and_is_not_empty() {
        for set in Set::all() {
            assert_eq!(Set::named(set.name()), Some(set));
            assert!(set.operations().first().is_some(), "{}", set.name());
        }
        assert_eq!(Set::named("Reads"), None);
        assert_eq!(Set::all().len(), 3 + 24);
    }

    #[test]
    fn a_get_that_moves_a_simulated_transfer_is_no_read() {
        let found = find("GET", "/simulation/transfers/17/processing");
        let only = found.exact.first().unwrap();
        assert!(!OPERATIONS[only].reads());
        assert!(!Set::Reads.operations().contains(only));
    }
}
