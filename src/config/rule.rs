//! One rule of a policy: the name of a set, or a method and a path.

use std::fmt;

use super::Policy;
use super::shape::nearest;
use crate::wise::operations::Set;
use crate::wise::routes;

/// What passes, or does not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule(pub(crate) Covers);

/// What a rule is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Covers {
    /// A set of Wise's operations.
    Set(Set),
    /// Requests of a method and a path.
    Pattern(Pattern),
}

/// `METHOD PATH`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pattern {
    /// `None`: any. GET stands for HEAD as well.
    pub(crate) method: Option<&'static str>,
    /// The first segment is a version: no other will do.
    pub(crate) versioned: bool,
    pub(crate) segments: Vec<Segment>,
    /// One segment more, or several.
    pub(crate) goes_on: bool,
}

/// One segment of a pattern.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Segment {
    /// Itself.
    Word(String),
    /// Any one.
    Any,
}

/// Methods that a pattern can name.
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

impl Rule {
    /// Reads a rule as typed; an error says what would be right and never repeats the rule.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text.split_once(char::is_whitespace) {
            Some((method, path)) => pattern(method, path.trim_start()).map(Covers::Pattern),
            None => set(text).map(Covers::Set),
        }
        .map(Self)
    }
}

fn set(name: &str) -> Result<Set, String> {
    if let Some(set) = Set::named(name) {
        return Ok(set);
    }
    if name.starts_with('/') {
        return Err("has no method; write one before the path, such as \"GET\" or \"*\"".into());
    }
    // Wise's words for what its reference has under another.
    let other = match name {
        "spend" | "card" => Some("cards"),
        "subscriptions" | "webhook" => Some("webhooks"),
        "accounts" | "beneficiaries" => Some("recipients"),
        "payments" | "fundings" | "money" => Some("funding"),
        "read" | "get" => Some("reads"),
        "all" | "everything" | "*" => Some("everything-known"),
        _ => None,
    };
    let names: Vec<_> = Set::all().into_iter().map(Set::name).collect();
    Err(match other.or_else(|| nearest(name, &names)) {
        Some(name) => format!("is no set of operations; did you mean \"{name}\"?"),
        None => "is neither a set of operations nor a method and a path; \
                 `wise-auth-proxy policy sets` lists the sets"
            .into(),
    })
}

fn pattern(method: &str, path: &str) -> Result<Pattern, String> {
    let method = match method {
        "*" => None,
        "HEAD" => return Err("names HEAD, which goes as GET; write \"GET\"".into()),
        _ => {
            let known = METHODS.iter().find(|known| **known == method);
            Some(*known.ok_or_else(|| no_method(method))?)
        }
    };
    let Some(rest) = path.strip_prefix('/') else {
        return Err("has a path that does not begin with `/`".into());
    };
    let mut segments = Vec::new();
    let mut goes_on = false;
    for segment in rest.split('/') {
        if goes_on {
            return Err("goes on behind `**`, which can only come last".into());
        }
        match segment {
            "" => return Err("has an empty segment, which no request that passes has".into()),
            "**" => goes_on = true,
            "*" => segments.push(Segment::Any),
            // As `policy sets` writes it.
            _ if segment.starts_with('{') && segment.ends_with('}') => segments.push(Segment::Any),
            _ if segment.contains('*') => {
                return Err("has a `*` inside a segment; it stands for a whole one".into());
            }
            _ if is_word(segment) => segments.push(Segment::Word(segment.to_owned())),
            _ => {
                return Err(
                    "has a segment that no request that passes has: letters, digits and \
                            -._~!$&'()+,=:@ stand for themselves, and nothing else does"
                        .into(),
                );
            }
        }
    }
    let versioned = matches!(segments.first(), Some(Segment::Word(word)) if routes::is_version(word.as_bytes()));
    Ok(Pattern {
        method,
        versioned,
        segments,
        goes_on,
    })
}

fn no_method(typed: &str) -> String {
    if let Some(near) = nearest(&typed.to_ascii_uppercase(), &METHODS) {
        return format!("begins with no method; did you mean \"{near}\"?");
    }
    let methods = METHODS.join(", ");
    format!("begins with no method; write \"*\" or one of {methods}")
}

fn is_word(segment: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()+,=:@".contains(&byte);
    segment != "." && segment != ".." && segment.bytes().all(fits)
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = match &self.0 {
            Covers::Set(set) => return f.write_str(set.name()),
            Covers::Pattern(pattern) => pattern,
        };
        f.write_str(pattern.method.unwrap_or("*"))?;
        f.write_str(" ")?;
        for segment in &pattern.segments {
            match segment {
                Segment::Word(word) => write!(f, "/{word}")?,
                Segment::Any => f.write_str("/*")?,
            }
        }
        f.write_str(if pattern.goes_on { "/**" } else { "" })
    }
}

impl Policy {
    /// Names of the policies that need no table.
    pub(crate) const BUILT_IN: [&str; 3] = ["read-only", "no-funding", "quotes-only"];

    /// The policies that need no table.
    pub(crate) fn built_in() -> Vec<Self> {
        let sets = |names: &[&str]| {
            let sets = names.iter().filter_map(|name| Set::named(name));
            sets.map(|set| Rule(Covers::Set(set))).collect::<Vec<_>>()
        };
        Self::BUILT_IN
            .map(|name| {
                let (allow, deny) = match name {
                    "read-only" => (Some(sets(&["reads"])), Vec::new()),
                    "no-funding" => (None, sets(&["funding"])),
                    _ => {
                        let about = ["quotes", "rates", "currencies", "comparisons"];
                        (Some(sets(&about)), Vec::new())
                    }
                };
                Self {
                    name: name.to_owned(),
                    allow,
                    deny,
                    ..Self::default()
                }
            })
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_as_it_was_written() {
        for text in [
            "reads",
            "quotes",
            "GET /v1/transfers/*",
            "* /v3/profiles/*/quotes/**",
            "* /**",
            "DELETE /accounts/17",
        ] {
            assert_eq!(Rule::parse(text).unwrap().to_string(), text);
        }
        let pasted = Rule::parse(" POST   /profiles/{profileId}/quotes").unwrap();
        assert_eq!(pasted.to_string(), "POST /profiles/*/quotes");
    }

    #[test]
    fn a_wrong_rule_says_what_would_be_right() {
        for (text, says) in [
            ("quote", "did you mean \"quotes\"?"),
            ("fundings", "did you mean \"funding\"?"),
            ("subscriptions", "did you mean \"webhooks\"?"),
            ("zzzzzzzzzzzz", "policy sets"),
            ("/v1/transfers", "has no method"),
            ("get /v1/transfers", "did you mean \"GET\"?"),
            ("PSOT /v1/transfers", "did you mean \"POST\"?"),
            ("HEAD /v1/transfers", "goes as GET"),
            ("GET v1/transfers", "does not begin with `/`"),
            ("GET /v1//transfers", "empty segment"),
            ("GET /v1/transfers/", "empty segment"),
            ("GET /v1/**/transfers", "only come last"),
            ("GET /v1/trans*", "a whole one"),
            ("GET /v1/a%2Fb", "nothing else does"),
            ("GET /v1/../b", "nothing else does"),
            ("GET /v1/a b", "nothing else does"),
        ] {
            let wrong = Rule::parse(text).unwrap_err();
            assert!(wrong.contains(says), "{text}: {wrong}");
            let quoted = text.contains(' ') && wrong.contains(text);
            assert!(!quoted, "{wrong} repeats what was found");
        }
    }

    #[test]
    fn what_is_built_in_goes_by_its_names() {
        let names: Vec<_> = Policy::built_in().into_iter().map(|it| it.name).collect();
        assert_eq!(names, Policy::BUILT_IN);
        let quotes = &Policy::built_in()[2];
        assert_eq!(quotes.allow.as_ref().map(Vec::len), Some(4));
    }
}
