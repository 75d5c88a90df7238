//! What holds of every policy and every request, however odd: called by the fuzzers and on their
//! kept inputs.

#![allow(clippy::expect_used, reason = "what does not hold must panic")]

use crate::config::{self, Rule};
use crate::guard::{Asked, policy};
use crate::wise::operations::{OPERATIONS, Operation, Set};

pub(super) const METHODS: [&str; 7] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];
/// None of Wise's, but for a server that does not look at case.
pub(super) const ODD_METHODS: [&str; 7] =
    ["get", "hEAD", "Options", "post", "Put", "PA-TCH", "dELETE"];

/// A policy decides as a plain reading of its documentation does.
///
/// The input is three lines: the rules of `allow` with commas between (an empty line: there is no
/// `allow`), those of `deny`, and a path; before the path stands a letter for the method, beyond ASCII
/// one for an odd one.
pub(crate) fn policy_decision(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let mut lines = text.splitn(3, '\n');
    let (Some(allow), Some(deny), Some(request)) = (lines.next(), lines.next(), lines.next())
    else {
        return;
    };
    let mut letters = request.chars();
    let Some(method) = letters.next() else { return };
    let path = letters.as_str();
    let is_path = path.starts_with('/') && path.parse::<http::uri::PathAndQuery>().is_ok();
    if !is_path || !path.is_ascii() || path.contains(['?', '#']) {
        return;
    }
    let read = |line: &str| -> Option<Vec<Rule>> {
        let rules = line.split(',').filter(|rule| !rule.is_empty());
        rules.map(|rule| Rule::parse(rule).ok()).collect()
    };
    let (Some(allow), Some(deny)) = (read(allow), read(deny)) else {
        return;
    };
    let typed = config::Policy {
        allow: Some(allow).filter(|rules| !rules.is_empty()),
        deny,
        ..config::Policy::default()
    };
    let texts = |rules: &[Rule]| rules.iter().map(ToString::to_string).collect::<Vec<_>>();
    let written = Plain {
        allow: typed.allow.as_deref().map(texts),
        deny: texts(&typed.deny),
        ..Plain::default()
    };
    let methods = if method.is_ascii() {
        METHODS
    } else {
        ODD_METHODS
    };
    let method = methods[usize::try_from(u32::from(method)).unwrap_or(0) % methods.len()];
    let compiled = policy::Policy::new(&typed, &[], None);
    let decided = compiled.admit(&Asked::new(method, path), std::iter::empty(), None);
    let decided = decided.err().map(|reason| reason.name());
    let call = Call {
        method,
        path,
        query: None,
        body: None,
    };
    let plain = expected(&written, &call);
    assert_eq!(decided, plain, "{call:?} under {written:?}");
}

// The reference. Written from the documentation of [[policy]]: slow, and by lists of segments.

/// Whether a rule covers a request; `loose`: as rules of `deny` are read.
fn covers(rule: &str, method: &str, path: &str, loose: bool) -> bool {
    let method = if method == "HEAD" { "GET" } else { method };
    match rule.split_once(' ') {
        None if rule == "reads" => {
            let moves = |operation: &&Operation| {
                operation.path.starts_with("/simulation/") && operation.method == "GET"
            };
            let known = OPERATIONS.iter().filter(moves);
            let steers = known
                .into_iter()
                .any(|it| is(method, path, it.method, it.path, true));
            ["GET", "OPTIONS"].contains(&method) && (loose || !steers)
        }
        None => {
            let set = Set::named(rule)
                .expect("a rule is a set or a pattern")
                .operations();
            let members = OPERATIONS
                .iter()
                .enumerate()
                .filter(|(at, _)| set.contains(*at));
            members
                .into_iter()
                .any(|(_, it)| is(method, path, it.method, it.path, loose))
        }
        Some((wanted, pattern)) => {
            let versions = pattern
                .split('/')
                .nth(1)
                .is_some_and(|it| is_version(it, false));
            let same = |path: &str| {
                let pattern: Vec<_> = pattern.split('/').collect();
                let path: Vec<_> = path.split('/').collect();
                segments(&pattern, &path, loose)
            };
            (wanted == "*" || wanted == method)
                && (same(path) || !versions && behind(path, loose).is_some_and(same))
        }
    }
}

fn is(method: &str, path: &str, its_method: &str, its_path: &str, loose: bool) -> bool {
    let its: Vec<_> = its_path.split('/').collect();
    if loose && pays(its_method, its_path) && ends_as(&its, method, path) {
        return true;
    }
    let readings = [
        Some(path).filter(|path| behind(path, false).is_none()),
        behind(path, false),
        behind(path, true).filter(|_| loose),
    ];
    method == its_method
        && readings
            .into_iter()
            .flatten()
            .any(|path| segments(&its, &path.split('/').collect::<Vec<_>>(), loose))
}

fn pays(method: &str, path: &str) -> bool {
    let known = OPERATIONS.iter().filter(|it| it.funds.is_some());
    known
        .into_iter()
        .any(|it| (it.method, it.path) == (method, path))
}

/// Whether a request that is none of the table's and does not only look ends as this path.
fn ends_as(its: &[&str], method: &str, path: &str) -> bool {
    let known = |it: &Operation| is(method, path, it.method, it.path, false);
    let looks = ["GET", "HEAD", "OPTIONS"].contains(&method);
    let path: Vec<_> = path.split('/').collect();
    // Both begin with a slash, that is, with an empty segment.
    let mut ends = (0..path.len()).map(|at| &path[at + 1..]);
    let ends = ends.any(|end| segments(&its[1..], end, true));
    ends && !looks && !OPERATIONS.iter().any(known)
}

fn segments(pattern: &[&str], path: &[&str], loose: bool) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**"], rest) => !rest.is_empty() && !rest[0].is_empty(),
        ([word, pattern @ ..], [segment, path @ ..]) => {
            // What stands before any dot of a path's last segment may be all that counts.
            let cuts = segment.match_indices('.').map(|(at, _)| &segment[..at]);
            let shorter = cuts.filter(|_| loose && path.is_empty());
            let fold = |text: &str| {
                if loose {
                    text.to_lowercase()
                } else {
                    text.to_owned()
                }
            };
            let (own, theirs) = (fold(word), fold(segment));
            let fits = match own.split_once('{') {
                _ if *word == "*" => !segment.is_empty(),
                Some((start, _)) => theirs.len() > start.len() && theirs.starts_with(start),
                None => own == theirs || shorter.map(fold).any(|theirs| own == theirs),
            };
            fits && segments(pattern, path, loose)
        }
        _ => false,
    }
}

fn is_version(segment: &str, loose: bool) -> bool {
    let segment = if loose {
        segment.to_lowercase()
    } else {
        segment.replace('q', "-")
    };
    let digits = |text: &str| text.chars().all(|letter| letter.is_ascii_digit());
    let number = segment
        .strip_prefix('v')
        .filter(|it| (1..=3).contains(&it.len()));
    let quarter = segment.to_lowercase();
    let quarter = quarter.split_once('q').filter(|(year, _)| year.len() == 4);
    number.is_some_and(digits)
        || quarter.is_some_and(|(year, it)| digits(year) && ["1", "2", "3", "4"].contains(&it))
}

fn behind(path: &str, loose: bool) -> Option<&str> {
    let rest = path.strip_prefix('/')?;
    let (version, _) = rest.split_once('/')?;
    is_version(version, loose).then(|| &rest[version.len()..])
}

/// Whether every server reads a path the same.
fn is_plain(path: &str) -> bool {
    if path == "/" {
        return true;
    }
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    let mut letters = rest
        .replace(['\\', ';'], "//")
        .split('%')
        .enumerate()
        .map(|(at, part)| {
            let escape = u8::from_str_radix(part.get(..2).unwrap_or(""), 16);
            let fine = escape.is_ok_and(|byte| {
                let letter = char::from(byte);
                !(letter.is_ascii_alphanumeric()
                    || byte <= 32
                    || byte == 127
                    || "-._~/\\;%".contains(letter))
            });
            // A sign before the digits is none of them.
            at == 0 || fine && !part.starts_with('+')
        })
        .collect::<Vec<_>>()
        .into_iter();
    let segments = rest.replace(['\\', ';'], "//");
    let is_blank =
        |letter: char| letter.is_whitespace() || letter.is_control() || letter == '\u{feff}';
    let in_plain = unescaped(rest).is_some_and(|text| !text.contains(is_blank));
    in_plain
        && letters.all(|fine| fine)
        && segments.split('/').all(|it| !["", ".", ".."].contains(&it))
}

/// The text behind the escapes; `None`: it is none.
fn unescaped(path: &str) -> Option<String> {
    let mut parts = path.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

/// Every profile that a request names, decoded.
fn profiles_of(call: &Call<'_>) -> Vec<String> {
    let segments: Vec<_> = call.path.split('/').collect();
    let follow = segments.windows(2).filter(|two| {
        two[0].eq_ignore_ascii_case("profiles") && two[1].contains(|it: char| it.is_ascii_digit())
    });
    let mut named: Vec<String> = follow.map(|two| two[1].to_owned()).collect();
    for pair in call.query.unwrap_or("").split(['&', ';']) {
        for (name, value) in form_urlencoded::parse(pair.as_bytes()) {
            if ["profile", "profileid"].contains(&&*name.to_lowercase()) {
                named.push(value.into_owned());
            }
        }
    }
    named
}

/// A policy as somebody types it.
#[derive(Clone, Debug, Default)]
pub(super) struct Plain {
    pub(super) allow: Option<Vec<String>>,
    pub(super) deny: Vec<String>,
    pub(super) profiles: Option<Vec<String>>,
    pub(super) max_body: Option<u64>,
}

/// What is asked, as far as a policy looks at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) body: Option<u64>,
}

pub(super) fn expected(policy: &Plain, call: &Call<'_>) -> Option<&'static str> {
    let (method, path) = (call.method, call.path);
    let looks = policy.allow.is_some() || policy.profiles.is_some() || !policy.deny.is_empty();
    let odd = method.contains(|letter: char| !letter.is_ascii_uppercase());
    if looks && (odd || !is_plain(path)) {
        return Some("ambiguous-path");
    }
    let covered =
        |rules: &[String], loose| rules.iter().any(|rule| covers(rule, method, path, loose));
    if covered(&policy.deny, true) {
        return Some("denied");
    }
    if policy
        .allow
        .as_ref()
        .is_some_and(|rules| !covered(rules, false))
    {
        return Some("not-in-allow");
    }
    let others = |own: &Vec<String>| profiles_of(call).iter().any(|it| !own.contains(it));
    if policy.profiles.as_ref().is_some_and(others) {
        return Some("profile");
    }
    let long = policy.max_body.is_some_and(|most| call.body > Some(most));
    long.then_some("body")
}
