//! Rules, compiled, and a request as they see it.

use crate::config::{Covers, Pattern, Rule, Segment};
use crate::guard::path::ambiguity;
use crate::guard::spelling::odd_method;
use crate::wise::operations::{self, Found, Ops, Set};

/// A request as rules see it. Made once, for all policies that bear on it.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// HEAD goes as GET.
    method: &'a str,
    path: &'a str,
    /// Behind the version, where there is one.
    tail: &'a str,
    pub(super) found: Found,
    pub(super) ambiguity: Option<&'static str>,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(method: &'a str, path: &'a str) -> Self {
        let tail = operations::without_version(path);
        let mut found = operations::find(method, tail);
        // `/V3/…` is no version of Wise's, unless somebody on the way thinks so.
        if let Some(other) = behind_version_loosely(path).filter(|other| *other != tail) {
            found.loose = found.loose.and(operations::find(method, other).loose);
        }
        // What is none of Wise's operations but ends as one that pays does could reach it as that.
        if found.exact == Ops::default() && !operations::is_safe(method) {
            found.loose = found.loose.and(operations::funding_at_the_end(path));
        }
        Self {
            method: if method == "HEAD" { "GET" } else { method },
            path,
            tail,
            found,
            ambiguity: odd_method(method).or_else(|| ambiguity(path)),
        }
    }

    /// Something beside method and path makes it one that could be read differently.
    pub(crate) fn doubt(&mut self, why: &'static str) {
        self.ambiguity.get_or_insert(why);
    }

    /// The operation that it is, by position; of several the first.
    pub(crate) fn operation(&self) -> Option<usize> {
        self.found.exact.first()
    }

    /// Whether it is one that makes money leave, or could be taken for one.
    pub(crate) fn funds(&self) -> bool {
        operations::FUNDING.meets(self.found.loose)
    }
}

/// Some rules, ready to be asked.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    typed: Vec<Rule>,
    /// Operations of all sets together.
    named: Ops,
    /// The set of reads is among them, which has operations that the table does not know.
    reads: bool,
    /// Those with a pattern, by position.
    patterns: Vec<usize>,
}

/// How letters are compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Care {
    /// As they are: what is allowed must be just that.
    Exact,
    /// Without regard to case or to a suffix: what is denied must not pass under another spelling.
    Loose,
}

impl Rules {
    pub(crate) fn new(rules: &[Rule]) -> Self {
        let mut compiled = Self {
            typed: rules.to_vec(),
            ..Self::default()
        };
        for (position, rule) in rules.iter().enumerate() {
            match &rule.0 {
                Covers::Set(set) => {
                    compiled.named = compiled.named.and(set.operations());
                    compiled.reads |= *set == Set::Reads;
                }
                Covers::Pattern(_) => compiled.patterns.push(position),
            }
        }
        compiled
    }

    pub(super) fn is_empty(&self) -> bool {
        self.typed.is_empty()
    }

    /// Whether one of them covers a request.
    pub(crate) fn cover(&self, asked: &Asked<'_>, care: Care) -> bool {
        let found = match care {
            Care::Exact => asked.found.exact,
            Care::Loose => asked.found.loose,
        };
        self.named.meets(found)
            || self.reads && is_read(asked, care)
            || self.patterns.iter().any(|position| {
                matches!(&self.typed[*position].0, Covers::Pattern(it) if fits(it, asked, care))
            })
    }

    /// The first rule that covers a request, by position and as written.
    pub(super) fn which(&self, asked: &Asked<'_>, care: Care) -> Option<(usize, &Rule)> {
        let covers = |rule: &Rule| Self::new(std::slice::from_ref(rule)).cover(asked, care);
        self.typed.iter().enumerate().find(|(_, rule)| covers(rule))
    }
}

/// Whether it only looks, known or not. A known operation that changes something does not.
fn is_read(asked: &Asked<'_>, care: Care) -> bool {
    if !operations::is_safe(asked.method) {
        return false;
    }
    // What is denied as a read is one if it could be; what is allowed must be one in every reading.
    care == Care::Loose || !operations::STEERING.meets(asked.found.loose)
}

/// Whether a request is one of a pattern's. Without a version of its own, a pattern stands for
/// every version, and for none.
fn fits(pattern: &Pattern, asked: &Asked<'_>, care: Care) -> bool {
    if pattern.method.is_some_and(|method| method != asked.method) {
        return false;
    }
    if covers(pattern, asked.path, care) {
        return true;
    }
    if pattern.versioned {
        return false;
    }
    let behind = match care {
        Care::Exact => Some(asked.tail),
        Care::Loose => behind_version_loosely(asked.path),
    };
    behind.is_some_and(|tail| covers(pattern, tail, care))
}

fn covers(pattern: &Pattern, path: &str, care: Care) -> bool {
    let mut segments = path.split('/').skip(1);
    for wanted in &pattern.segments {
        let Some(segment) = segments.next().filter(|segment| !segment.is_empty()) else {
            return false;
        };
        let same = match (wanted, care) {
            (Segment::Any, _) => true,
            (Segment::Word(word), Care::Exact) => word == segment,
            (Segment::Word(word), Care::Loose) => {
                let is_last = segments.clone().next().is_none();
                operations::is_spelling_of(word, segment, is_last)
            }
        };
        if !same {
            return false;
        }
    }
    match segments.next() {
        Some(more) => pattern.goes_on && !more.is_empty(),
        None => !pattern.goes_on,
    }
}

/// As `routes::unversioned`, with `V3` and `2026q3` for versions, too.
fn behind_version_loosely(path: &str) -> Option<&str> {
    let rest = path.strip_prefix('/')?;
    let end = rest.find('/')?;
    let (version, tail) = rest.split_at(end);
    let is_version = match version.as_bytes() {
        [b'v' | b'V', digits @ ..] => {
            (1..=3).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
        }
        [years @ .., b'Q' | b'q', b'1'..=b'4'] => {
            years.len() == 4 && years.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    is_version.then_some(tail)
}
