//! All callers of the configuration, checked.

use std::time::SystemTime;

use crate::config::{self, KeyHash};
use crate::guard::GuardError;
use crate::guard::key::{SHORTEST_KEY, digest, is_stand_in};
use crate::people;

/// A caller, by its place in the configuration.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct CallerId(usize);

impl CallerId {
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// Every caller, in the order of the configuration.
#[derive(Debug, Default)]
pub(crate) struct Callers(pub(super) Box<[Caller]>);

/// An application that doors can tell apart.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) name: String,
    /// Of its keys, the one that is read from elsewhere included.
    pub(super) hashes: Vec<KeyHash>,
    pub(super) users: Vec<u32>,
    pub(super) groups: Vec<u32>,
    /// Users that are listed as members of the groups.
    pub(super) members: Vec<u32>,
    pub(super) certificates: Vec<String>,
}

impl Callers {
    /// Reads keys and looks up names. Blocks as [`config::SecretSource::read`] does.
    pub(crate) fn read(typed: &[config::Caller]) -> Result<Self, GuardError> {
        let callers: Vec<Caller> = typed.iter().map(Caller::read).collect::<Result<_, _>>()?;
        for (i, one) in callers.iter().enumerate() {
            for other in &callers[..i] {
                let same = |hash: &KeyHash| other.hashes.iter().any(|it| it.digest == hash.digest);
                if one.hashes.iter().any(same) {
                    return Err(GuardError::SameKey {
                        one: other.name.clone(),
                        other: one.name.clone(),
                    });
                }
            }
        }
        Ok(Self(callers.into()))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (CallerId, &Caller)> {
        let callers = self.0.iter().enumerate();
        callers.map(|(index, caller)| (CallerId(index), caller))
    }

    /// Its name; empty for a caller of another configuration.
    pub(crate) fn name(&self, id: CallerId) -> &str {
        self.0.get(id.0).map_or("", |caller| &caller.name)
    }

    pub(super) fn find(&self, name: &str) -> Option<(CallerId, &Caller)> {
        self.iter().find(|(_, caller)| caller.name == name)
    }
}

impl Caller {
    fn read(typed: &config::Caller) -> Result<Self, GuardError> {
        let caller = || typed.name.clone();
        let mut hashes = typed.hashes.clone();
        if let Some(source) = &typed.key {
            let key = source.read().map_err(|source| GuardError::Secret {
                caller: caller(),
                source,
            })?;
            if key.expose().chars().count() < SHORTEST_KEY {
                return Err(GuardError::ShortKey { caller: caller() });
            }
            if is_stand_in(key.expose().as_bytes()) {
                return Err(GuardError::TokenForKey { caller: caller() });
            }
            hashes.push(KeyHash {
                digest: digest(key.expose().as_bytes()),
                until: None,
            });
        }
        let user = |name: &String| {
            people::user(name).ok_or_else(|| GuardError::NoSuchUser {
                caller: caller(),
                name: name.clone(),
            })
        };
        let group = |name: &String| {
            people::group(name).ok_or_else(|| GuardError::NoSuchGroup {
                caller: caller(),
                name: name.clone(),
            })
        };
        let groups: Vec<_> = typed.groups.iter().map(group).collect::<Result<_, _>>()?;
        Ok(Self {
            users: typed.users.iter().map(user).collect::<Result<_, _>>()?,
            members: groups
                .iter()
                .flat_map(|(_, members)| members)
                .copied()
                .collect(),
            groups: groups.into_iter().map(|(number, _)| number).collect(),
            certificates: typed.certificates.clone(),
            name: caller(),
            hashes,
        })
    }

    /// By what it is known.
    pub(crate) fn known_by(&self) -> Vec<&'static str> {
        [
            ("key", !self.hashes.is_empty()),
            ("certificate", !self.certificates.is_empty()),
            ("user", !self.users.is_empty()),
            ("group", !self.groups.is_empty()),
        ]
        .into_iter()
        .filter_map(|(way, is)| is.then_some(way))
        .collect()
    }

    /// When each of its keys ends; `None`: never.
    pub(crate) fn ends(&self) -> impl Iterator<Item = Option<SystemTime>> {
        self.hashes.iter().map(|hash| hash.until)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::SecretSource;

    /// A caller without any way to know it.
    pub(in crate::guard) fn typed(name: &str) -> config::Caller {
        config::Caller {
            name: name.to_owned(),
            key: None,
            hashes: Vec::new(),
            users: Vec::new(),
            groups: Vec::new(),
            certificates: Vec::new(),
            policy: None,
        }
    }

    pub(in crate::guard) fn hash(key: &str, until: Option<SystemTime>) -> KeyHash {
        KeyHash {
            digest: digest(key.as_bytes()),
            until,
        }
    }

    fn refused(typed: &[config::Caller]) -> String {
        Callers::read(typed).unwrap_err().to_string()
    }

    #[test]
    fn a_key_that_is_read_is_kept_as_its_hash_and_a_short_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let write = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&path, mode).unwrap();
        };
        let caller = config::Caller {
            key: Some(SecretSource::File(path.clone())),
            ..typed("payroll")
        };
        write("sixteen-letters!\n");
        let callers = Callers::read(std::slice::from_ref(&caller)).unwrap();
        assert!(!format!("{callers:?}").contains("sixteen"));
        assert_eq!(callers.0[0].hashes, [hash("sixteen-letters!", None)]);
        write("fifteen-letters\n");
        let said = refused(std::slice::from_ref(&caller));
        assert!(said.contains("`payroll` is too short"), "{said}");
        assert!(!said.contains("fifteen"), "{said}");
        write("wap_at_eighteen-letters\n");
        let said = refused(std::slice::from_ref(&caller));
        assert!(
            said.contains("`payroll` begins as tokens of a door's own"),
            "{said}"
        );
        assert!(!said.contains("eighteen"), "{said}");
        std::fs::remove_file(&path).unwrap();
        assert!(refused(&[caller]).starts_with("caller.key of `payroll`: "));
    }

    #[test]
    fn two_callers_with_one_key_are_refused_by_their_names() {
        let with = |name, key| config::Caller {
            hashes: vec![hash(key, None)],
            ..typed(name)
        };
        assert_eq!(
            refused(&[with("payroll", "a"), with("books", "b"), with("shop", "a")]),
            "`payroll` and `shop` have the same key, and could not be told apart by it"
        );
    }

    #[test]
    fn a_user_or_group_that_is_not_there_is_named() {
        let users = config::Caller {
            users: vec!["root".into(), "nobody-here".into()],
            ..typed("payroll")
        };
        assert!(refused(&[users]).contains("no user `nobody-here`"));
        let groups = config::Caller {
            groups: vec!["no-group-here".into()],
            ..typed("payroll")
        };
        assert!(refused(&[groups]).contains("no group `no-group-here`"));
    }
}
