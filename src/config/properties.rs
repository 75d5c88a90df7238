//! What holds of every configuration: called by the fuzzers and on their kept inputs.

#![allow(clippy::expect_used, reason = "what does not hold must panic")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Value};

use super::{
    Config, DoorAddress, Environment, FileChoice, Lane, Loaded, SetBy, Setting, Sources, load,
    settings,
};

/// Stands in inputs for a secret in the wrong place.
const PLANTED: &str = "PLANTED";

/// Any text is refused without repeating one of its values, or becomes a configuration that can
/// be run; what `config show` says of it has no secret, and loads to the same again.
///
/// The input is TOML, then after a zero byte lines `NAME=value` of the environment.
pub(crate) fn config(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else {
        return;
    };
    let (text, environment) = input.split_once('\0').unwrap_or((input, ""));
    let variables: Vec<_> = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (format!("WISE_PROXY_{name}"), value))
        .collect();
    let sources = |text: &str| Sources {
        file: FileChoice::Text {
            name: "house.toml".to_owned(),
            text: text.to_owned(),
            directory: PathBuf::from("/etc/house"),
        },
        variables: variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        flags: Vec::new(),
    };
    let typed: Option<Dict> = Toml::from_str(text).ok();
    match load(&sources(text)) {
        Err(error) => {
            // Keys are named by design, and a secret is no key.
            let named = variables
                .iter()
                .any(|(name, _)| name.to_ascii_uppercase().contains(PLANTED))
                || typed.is_some_and(|typed| names(&typed));
            let said = format!("{error} {error:?} {}", error.hint());
            assert!(named || !said.contains(PLANTED), "{said}");
        }
        Ok(loaded) => {
            let typed = typed.expect("it was loaded");
            stands(&loaded.config);
            let shown = settings(&loaded);
            if environment.is_empty() && planted(&Value::from(typed), false) {
                let said = format!("{shown:?} {:?}", loaded.config);
                assert!(!said.contains(PLANTED), "{said}");
            }
            if let Some(text) = written(&shown) {
                let again = load(&sources(&text)).expect("it was loaded before");
                same(&loaded, &again);
            }
        }
    }
}

/// What whoever holds a `Config` relies on.
fn stands(config: &Config) {
    let allowed = |lane| config.switch.lanes.contains(lane);
    assert!(allowed(config.switch.lane));
    let oauth = allowed(Lane::OAuth) || allowed(Lane::OAuthMtls);
    assert!(!oauth || config.oauth.is_some() && !config.grants.is_empty());
    assert!(!allowed(Lane::OAuthMtls) || config.mtls.is_some());
    assert!(!allowed(Lane::Personal) || config.personal.is_some());

    let names: BTreeSet<_> = config.grants.iter().map(|grant| &grant.name).collect();
    assert_eq!(names.len(), config.grants.len(), "names are unique");
    let profiles: Vec<_> = config.grants.iter().map(|grant| &grant.profile).collect();
    let known: BTreeSet<_> = profiles.iter().collect();
    assert_eq!(known.len(), profiles.len(), "profiles are unique");
    let defaults = config.grants.iter().filter(|grant| grant.default).count();
    assert!(defaults <= 1 && (config.grants.len() != 1 || defaults == 1));

    assert!(!config.doors.is_empty());
    for door in &config.doors {
        assert!(door.grant.as_ref().is_none_or(|name| names.contains(name)));
        match &door.address {
            DoorAddress::Tcp(address) => {
                assert!(
                    address.ip().is_loopback()
                        || door.callers.is_some()
                        || door.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()),
                    "{door:?}"
                );
            }
            DoorAddress::Unix { path, mode, .. } => {
                assert!(path.is_absolute() && mode & 0o600 == 0o600 && *mode <= 0o777);
            }
        }
    }
    assert!(
        config
            .admin
            .address
            .is_none_or(|address| address.ip().is_loopback())
    );
    assert!(config.admin.socket.is_absolute() && config.store.path.is_absolute());

    let token_url = config.hosts.token_url.as_ref().map(|url| &url.origin);
    for origin in [&config.hosts.plain, &config.hosts.mtls]
        .into_iter()
        .chain(token_url)
    {
        let at_home = config.environment == Environment::Custom && origin.is_loopback();
        assert!(origin.tls || at_home, "{origin} is not encrypted");
    }
    assert!(config.tokens.renew_at > 0.0 && config.tokens.renew_at < 1.0);
    assert!((1..=64).contains(&config.runtime.workers));
    assert!(config.upstream.replay_limit <= config.upstream.replay_budget);
}

/// Whether a key has the planted text in its name.
fn names(dict: &Dict) -> bool {
    dict.iter()
        .any(|(name, value)| name.contains(PLANTED) || names_in(value))
}

fn names_in(value: &Value) -> bool {
    match value {
        Value::Dict(_, dict) => names(dict),
        Value::Array(_, items) => items.iter().any(names_in),
        Value::String(..)
        | Value::Char(..)
        | Value::Bool(..)
        | Value::Num(..)
        | Value::Empty(..) => false,
    }
}

/// Whether the planted text stands nowhere but among the arguments of a program.
fn planted(value: &Value, argument: bool) -> bool {
    match value {
        Value::Dict(_, dict) => dict.iter().all(|(name, value)| {
            let hidden = match (name.as_str(), value) {
                ("exec", Value::Array(_, words)) => {
                    return words.first().is_none_or(|word| planted(word, false));
                }
                _ => argument,
            };
            !name.contains(PLANTED) && planted(value, hidden)
        }),
        Value::Array(_, items) => items.iter().all(|item| planted(item, argument)),
        Value::String(_, text) => argument || !text.contains(PLANTED),
        Value::Char(..) | Value::Bool(..) | Value::Num(..) | Value::Empty(..) => true,
    }
}

/// The file again, from what is shown of it; `None` where a program's arguments are not shown.
fn written(shown: &[Setting]) -> Option<String> {
    let mut tree = serde_json::Value::Null;
    for setting in shown {
        let (SetBy::File(_), Some(value)) = (&setting.set_by, &setting.value) else {
            continue;
        };
        if value.get("exec").is_some() {
            return None;
        }
        let mut place = &mut tree;
        for part in setting.key.split('.') {
            let (name, index) = match part.split_once('[') {
                Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
                None => (part, None),
            };
            place = &mut place[name];
            if let Some(index) = index {
                let list = place.as_array_mut();
                if list.is_none() {
                    *place = serde_json::json!([]);
                }
                let list = place.as_array_mut()?;
                while list.len() <= index {
                    list.push(serde_json::json!({}));
                }
                place = &mut place[index];
            }
        }
        *place = value.clone();
    }
    let mut text = String::new();
    for (key, value) in tree.as_object()? {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key} = {}", toml(value));
    }
    Some(text)
}

/// TOML of one value; JSON is nearly that.
fn toml(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(table) => {
            let pairs = table
                .iter()
                .map(|(key, value)| format!("{} = {}", quoted(key), toml(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        serde_json::Value::Array(items) => {
            format!(
                "[{}]",
                items.iter().map(toml).collect::<Vec<_>>().join(", ")
            )
        }
        serde_json::Value::String(text) => quoted(text),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            value.to_string()
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

fn same(one: &Loaded, other: &Loaded) {
    let told = |loaded: &Loaded| -> Vec<String> {
        let told = |setting: Setting| format!("{} = {:?}", setting.key, setting.value);
        settings(loaded).into_iter().map(told).collect()
    };
    assert_eq!(told(one), told(other));
    assert_eq!(format!("{:?}", one.config), format!("{:?}", other.config));
}
