//! Profiles as they are typed, and the grants that they become.

use super::answers::Grant;
use crate::config::ProfileId;

/// One grant, for whatever profile is picked.
pub(super) fn any(known: &[Grant]) -> Vec<Grant> {
    let name = known.first().map_or("main", |grant| &grant.name);
    vec![Grant {
        name: name.to_owned(),
        profile: None,
    }]
}

/// `NAME=ID` or `ID`, several of them.
pub(super) fn profiles(text: &str) -> Result<Vec<(Option<String>, String)>, String> {
    let words = text.split([' ', ',']).filter(|word| !word.is_empty());
    let read = words.map(|word| {
        let (name, id) = match word.split_once('=') {
            Some((name, id)) => (Some(name.to_owned()), id),
            None => (None, word),
        };
        let id: ProfileId = id.parse().map_err(|_| {
            "a profile id is a number, or 1 to 64 letters, digits or hyphens".to_owned()
        })?;
        let fits = |name: &str| {
            (1..=64).contains(&name.len())
                && name
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
        };
        if name.as_deref().is_some_and(|name| !fits(name)) {
            return Err(
                "a name has lower-case letters, digits, hyphens and underscores".to_owned(),
            );
        }
        Ok((name, id.to_string()))
    });
    read.collect()
}

/// The first is `main`, the others are called after their profile.
pub(super) fn name_grants(
    profiles: Vec<(Option<String>, String)>,
    known: &[Grant],
) -> Result<Vec<Grant>, String> {
    let mut grants: Vec<Grant> = Vec::new();
    for (name, id) in profiles {
        let same = |grant: &&Grant| grant.profile.as_deref() == Some(id.as_str());
        let name = name
            .or_else(|| known.iter().find(same).map(|grant| grant.name.clone()))
            .unwrap_or_else(|| match grants.len() {
                0 => known
                    .first()
                    .map_or("main".to_owned(), |grant| grant.name.clone()),
                _ => format!("profile-{}", id.to_lowercase()),
            });
        if grants.iter().any(|grant| grant.name == name) {
            return Err(format!(
                "two profiles are called {name}; name them as name=id"
            ));
        }
        if grants
            .iter()
            .any(|grant| grant.profile.as_deref() == Some(id.as_str()))
        {
            return Err("a profile stands there twice".to_owned());
        }
        grants.push(Grant {
            name,
            profile: Some(id),
        });
    }
    Ok(grants)
}
