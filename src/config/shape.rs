//! From the merged layers to the [`File`] as typed, past every value of a wrong kind.

use std::collections::BTreeSet;

use figment::value::{Dict, Value};

use super::check::Finding;
use super::file::{self, File, Objection};
use super::{schema, secrets};

/// Reads the tree. What cannot be read is noted and replaced by its default, or left out, until
/// the rest can be: so that one start shows every mistake.
pub(super) fn shape(tree: &Value, defaults: &Value) -> (Option<File>, Vec<Finding>) {
    let mut tree = tree.clone();
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    let secrets = secret_keys();
    loop {
        let misshapen = match file::read(&tree) {
            Ok(file) => return (Some(file), findings),
            Err(misshapen) => misshapen,
        };
        let mut key = misshapen.key;
        // A source is right or wrong as a whole.
        if let Some(secret) = secrets.iter().find(|secret| key.starts_with(secret)) {
            key.truncate(secret.len());
        }
        let message = match misshapen.what {
            _ if secrets.contains(&key) => format!("must be {}", secrets::RIGHT),
            Objection::Unknown(known) => match retired(&key) {
                Some(instead) => instead.to_owned(),
                None => unknown(key.last().map_or("", String::as_str), known),
            },
            Objection::Wrong(right) => {
                let right = schema::shape_of(&key).unwrap_or(right);
                format!("must be {right}")
            }
            Objection::Missing => "is missing".to_owned(),
        };
        let default = find(defaults, &key);
        let healed = heal(&mut tree, &key, default);
        let progress = healed && seen.insert(key.clone());
        findings.push(Finding { key, message });
        if !progress {
            return (None, findings);
        }
    }
}

/// What to write instead of a key that there was once.
fn retired(key: &[String]) -> Option<&'static str> {
    let key: Vec<_> = key.iter().map(String::as_str).collect();
    match key.as_slice() {
        ["door", _, "key"] => Some(
            "is the key of a caller now: write [[caller]], name = \"application\" and this key \
             there, and callers = [\"application\"] here",
        ),
        ["door", _, "read_only"] => {
            Some("is a policy now: write policy = \"read-only\" instead of true, nothing of false")
        }
        _ => None,
    }
}

fn unknown(name: &str, known: &[&'static str]) -> String {
    match nearest(name, known) {
        Some(key) => format!("there is no such key; did you mean `{key}`?"),
        None => format!(
            "there is no such key; the keys here are {}",
            known.join(", ")
        ),
    }
}

/// The word that somebody may have meant who wrote another.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let nearest = known.iter().map(|word| (distance(name, word), *word)).min();
    let (_, word) = nearest.filter(|(distance, word)| *distance <= word.len() / 3 + 1)?;
    Some(word)
}

/// Levenshtein's distance.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (b, above) in other.bytes().zip(row.iter_mut().skip(1)) {
            let here = (diagonal + usize::from(a != b))
                .min(left + 1)
                .min(*above + 1);
            diagonal = *above;
            *above = here;
            left = here;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Puts the default in place of what stands at the path, or takes it away. A table of a list is
/// emptied, not taken away: the others keep their numbers. Any other list goes as a whole.
fn heal(tree: &mut Value, path: &[String], default: Option<&Value>) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    match (find_mut(tree, parents), default) {
        (Some(Value::Dict(_, dict)), Some(default)) => {
            dict.insert(last.clone(), default.clone());
            true
        }
        (Some(Value::Dict(_, dict)), None) => dict.remove(last).is_some(),
        (Some(Value::Array(tag, items)), _) if parents.len() == 1 => {
            let table = Value::Dict(*tag, Dict::new());
            let item = last.parse::<usize>().ok().and_then(|i| items.get_mut(i));
            item.map(|item| *item = table).is_some()
        }
        (Some(Value::Array(_, _)), _) => heal(tree, parents, None),
        _ => false,
    }
}

pub(super) fn find<'a>(tree: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(tree, |value, key| match value {
        Value::Dict(_, dict) => dict.get(key),
        Value::Array(_, items) => items.get(key.parse::<usize>().ok()?),
        Value::String(..)
        | Value::Char(..)
        | Value::Bool(..)
        | Value::Num(..)
        | Value::Empty(..) => None,
    })
}

pub(super) fn find_mut<'a>(tree: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(tree, |value, key| match value {
        Value::Dict(_, dict) => dict.get_mut(key),
        Value::Array(_, items) => items.get_mut(key.parse::<usize>().ok()?),
        Value::String(..)
        | Value::Char(..)
        | Value::Bool(..)
        | Value::Num(..)
        | Value::Empty(..) => None,
    })
}

/// `door[0].address` from its parts.
pub(super) fn spelled(path: &[String]) -> String {
    path.iter().fold(String::new(), |text, key| {
        match (text.as_str(), key.parse::<usize>()) {
            ("", _) => key.clone(),
            (parent, Ok(index)) => format!("{parent}[{index}]"),
            (parent, Err(_)) => format!("{parent}.{key}"),
        }
    })
}

/// Paths of the keys that name a secret.
pub(super) fn secret_keys() -> Vec<Vec<String>> {
    let secrets = schema::keys().iter().filter(|key| key.secret);
    secrets
        .map(|key| key.path.split('.').map(str::to_owned).collect())
        .collect()
}
