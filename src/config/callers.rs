//! Rules of callers and of what they may do.

use super::check::Check;
use super::file;
use super::leaf::{List, Parsed};
use super::values::{Name, Size};
use super::{Audit, Ca, Caller, Door, DoorAddress, Policy, Rule, Store};

impl Check<'_> {
    pub(super) fn callers(&mut self, typed: &[file::Caller]) -> Vec<Caller> {
        let mut callers: Vec<Caller> = Vec::new();
        for (i, caller) in typed.iter().enumerate() {
            let key = |name: &str| format!("caller.{i}.{name}");
            let Some(Parsed(Name(name))) = caller.name.clone() else {
                self.refuse(&key("name"), "give the caller a name, such as \"payroll\"");
                continue;
            };
            if callers.iter().any(|other| other.name == name) {
                self.refuse(&key("name"), "another caller has this name");
            }
            let known = Caller {
                name,
                key: self.source(caller.key.as_ref()),
                hashes: items(caller.hashes.as_ref()),
                users: items(caller.users.as_ref()),
                groups: items(caller.groups.as_ref()),
                certificates: items(caller.certificates.as_ref()),
                policy: caller.policy.clone().map(|Parsed(name)| name.0),
            };
            let Caller {
                hashes,
                users,
                groups,
                certificates,
                ..
            } = &known;
            if known.key.is_none()
                && hashes.is_empty()
                && users.is_empty()
                && groups.is_empty()
                && certificates.is_empty()
            {
                self.refuse(
                    &key("hashes"),
                    "is missing: nothing says how to know this caller. Run \
                     `wise-auth-proxy caller add`, or name its key, users, groups or certificates",
                );
            }
            let mut others = callers.iter().flat_map(|other| &other.hashes);
            if others.any(|other| known.hashes.iter().any(|hash| hash.digest == other.digest)) {
                self.refuse(
                    &key("hashes"),
                    "another caller has one of these: they could not be told apart",
                );
            }
            callers.push(known);
        }
        callers
    }

    pub(super) fn policies(&mut self, typed: &[file::Policy]) -> Vec<Policy> {
        let mut policies: Vec<Policy> = Vec::new();
        for (i, policy) in typed.iter().enumerate() {
            let key = |name: &str| format!("policy.{i}.{name}");
            let Some(Parsed(Name(name))) = policy.name.clone() else {
                self.refuse(&key("name"), "give the policy a name, such as \"payouts\"");
                continue;
            };
            if policies.iter().any(|other| other.name == name) {
                self.refuse(&key("name"), "another policy has this name");
            }
            let mut limit = |name: &str, typed: Option<Parsed<usize>>| {
                let Parsed(number) = typed?;
                let fits = u32::try_from(number).ok();
                if fits.is_none_or(|number| number > 1_000_000) {
                    self.refuse(&key(name), "must be at most 1000000");
                }
                fits
            };
            let requests_per_minute = limit("requests_per_minute", policy.requests_per_minute);
            let concurrent_requests = limit("concurrent_requests", policy.concurrent_requests);
            let fundings_per_hour = limit("fundings_per_hour", policy.fundings_per_hour);
            for (name, limit) in [
                ("requests_per_minute", requests_per_minute),
                ("concurrent_requests", concurrent_requests),
            ] {
                if limit == Some(0) {
                    self.refuse(&key(name), "must be at least 1, or nothing would pass");
                }
            }
            let allow = (policy.allow.as_ref()).map(|list| self.rules(&key("allow"), list));
            let deny = (policy.deny.as_ref()).map(|list| self.rules(&key("deny"), list));
            if allow.as_ref().is_some_and(Vec::is_empty) {
                self.refuse(
                    &key("allow"),
                    "lets nothing pass; name a set or a method and a path, or leave it out for \
                     everything",
                );
            }
            policies.push(Policy {
                name,
                observe: policy.observe.is_some_and(|Parsed(observe)| observe),
                requests_per_minute,
                concurrent_requests,
                fundings_per_hour,
                allow,
                deny: deny.unwrap_or_default(),
                profiles: policy.profiles.clone().map(|List(profiles)| profiles),
                lanes: (policy.lanes.as_ref()).map(|List(lanes)| lanes.iter().copied().collect()),
                max_body: policy.max_body.map(|Parsed(Size(size))| size),
            });
        }
        policies
    }

    /// Every rule that is one; the others are findings that name them by their position.
    pub(super) fn rules(&mut self, key: &str, List(typed): &List<String>) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (i, text) in typed.iter().enumerate() {
            match Rule::parse(text) {
                Ok(rule) => rules.push(rule),
                Err(wrong) => self.refuse(key, format!("rule {} {wrong}", i + 1)),
            }
        }
        rules
    }

    /// Names that callers and doors use must be there. `built_in` policies need no table.
    pub(super) fn names(
        &mut self,
        doors: &[Door],
        callers: &[Caller],
        policies: &[Policy],
        built_in: &[&str],
    ) {
        let known = |name: &String| {
            built_in.contains(&name.as_str()) || policies.iter().any(|policy| policy.name == *name)
        };
        let unknown = format!(
            "must be the name of a [[policy]], or one of {}",
            built_in.join(", ")
        );
        for (i, policy) in policies.iter().enumerate() {
            if built_in.contains(&policy.name.as_str()) {
                self.refuse(
                    &format!("policy.{i}.name"),
                    "is built in; choose another name",
                );
            }
        }
        for (i, caller) in callers.iter().enumerate() {
            if caller.policy.as_ref().is_some_and(|name| !known(name)) {
                self.refuse(&format!("caller.{i}.policy"), unknown.clone());
            }
        }
        for (i, door) in doors.iter().enumerate() {
            if door.policy.as_ref().is_some_and(|name| !known(name)) {
                self.refuse(&format!("door.{i}.policy"), unknown.clone());
            }
            let there = |name: &&String| callers.iter().any(|caller| caller.name == **name);
            let names = door.callers.iter().flatten();
            if names.clone().any(|name| !there(&name)) {
                self.refuse(
                    &format!("door.{i}.callers"),
                    "each must be the name of a [[caller]]",
                );
            }
            let mut known =
                names.filter_map(|name| callers.iter().find(|caller| caller.name == *name));
            if let Some(lost) = known.find(|caller| !can_come(caller, door)) {
                // The name is a checked one, no text that could be a secret.
                let name = &lost.name;
                self.refuse(
                    &format!("door.{i}.callers"),
                    format!(
                        "`{name}` could never come in here: users and groups are known at unix \
                         doors alone, and not through `proxy_protocol`, certificates at doors with \
                         tls.client_ca; give it a key \
                         (`wise-auth-proxy caller rotate {name}`)"
                    ),
                );
            }
            if door.callers.as_ref().is_some_and(Vec::is_empty) {
                self.refuse(
                    &format!("door.{i}.callers"),
                    "lets nobody in; name a caller, or leave it out for whoever reaches the door",
                );
            }
        }
    }

    pub(super) fn ca(&self, typed: &file::Ca, store: &Store) -> Ca {
        let place = |typed: &Option<Parsed<std::path::PathBuf>>, name: &str| match typed {
            Some(Parsed(path)) => self.base.join(path),
            None => store.path.join(name),
        };
        Ca {
            certificate: place(&typed.certificate, "ca.pem"),
            key: place(&typed.key, "ca.key"),
        }
    }

    pub(super) fn audit(&mut self, typed: &file::Audit) -> Audit {
        let Parsed(file) = &typed.file;
        let Parsed(required) = typed.required;
        if required && file.0.is_none() {
            self.refuse("audit.file", "`required` needs a file to record to");
        }
        Audit {
            file: file.0.as_ref().map(|path| self.base.join(path)),
            required,
        }
    }
}

/// Whether any of the caller's ways is one that the door looks at.
fn can_come(caller: &Caller, door: &Door) -> bool {
    // Of a balancer's connections the kernel knows the balancer.
    let unix = matches!(door.address, DoorAddress::Unix { .. }) && !door.proxy_protocol;
    let certified = door.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let by_user = !(caller.users.is_empty() && caller.groups.is_empty());
    caller.key.is_some()
        || !caller.hashes.is_empty()
        || unix && by_user
        || certified && !caller.certificates.is_empty()
}

fn items<T: Clone>(list: Option<&List<T>>) -> Vec<T> {
    list.map(|List(items)| items.clone()).unwrap_or_default()
}
