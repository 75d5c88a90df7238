//! Every key with its value and who set it; secrets by their source alone.

use serde_json::{Value, json};

use super::error::SetBy;
use super::load::Loaded;
use super::{Config, DoorAddress};
use super::{schema, shape};

/// One key as it stands.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Such as `switch.lane` or `door[0].address`.
    pub key: String,
    /// The value in force; `None`: there is none.
    pub value: Option<Value>,
    /// Who set it; [`SetBy::Default`] also for what follows from other keys.
    pub set_by: SetBy,
}

/// All keys in alphabetical order, without one secret.
pub fn settings(loaded: &Loaded) -> Vec<Setting> {
    let mut settings = Vec::new();
    for key in schema::keys() {
        match key.path.split_once("[].") {
            None => settings.push(setting(loaded, key.path.split('.'), key.secret)),
            Some((list, name)) => {
                let list_path = [list.to_owned()];
                let items =
                    shape::find(&loaded.tree, &list_path).and_then(figment::value::Value::as_array);
                for index in 0..items.map_or(0, <[_]>::len) {
                    let index = index.to_string();
                    settings.push(setting(
                        loaded,
                        [list, &index, name].into_iter(),
                        key.secret,
                    ));
                }
            }
        }
    }
    settings.sort_by(|one, other| one.key.cmp(&other.key));
    settings
}

fn setting<'a>(loaded: &Loaded, path: impl Iterator<Item = &'a str>, secret: bool) -> Setting {
    let path: Vec<_> = path.map(str::to_owned).collect();
    let typed = shape::find(&loaded.tree, &path).and_then(|value| serde_json::to_value(value).ok());
    let typed = if secret { typed.map(masked) } else { typed };
    let key = shape::spelled(&path);
    Setting {
        value: typed.or_else(|| derived(&loaded.config, &path)),
        set_by: loaded
            .layers
            .set_by(&loaded.tree, &path)
            .unwrap_or(SetBy::Default),
        key,
    }
}

/// A source names a secret. A program's arguments may hold one.
fn masked(mut source: Value) -> Value {
    let Some(exec) = source.get_mut("exec") else {
        return source;
    };
    // A list, or one text with commas.
    let program = match &*exec {
        Value::Array(words) => words.first().and_then(Value::as_str),
        Value::String(text) => text.split(',').next(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    };
    *exec = json!([program.unwrap_or_default(), "…"]);
    source
}

/// What follows from other keys when the key itself is not there.
fn derived(config: &Config, path: &[String]) -> Option<Value> {
    let path: Vec<_> = path.iter().map(String::as_str).collect();
    let index = |text: &str| text.parse::<usize>().ok();
    match path.as_slice() {
        ["admin", "socket"] => Some(json!(config.admin.socket)),
        ["runtime", "workers"] => Some(json!(config.runtime.workers)),
        ["wise", "plain"] => Some(json!(config.hosts.plain.to_string())),
        ["wise", "mtls"] => Some(json!(config.hosts.mtls.to_string())),
        ["wise", "authorise"] => Some(json!(config.hosts.authorise)),
        ["switch", "allow"] => {
            let lanes = config.switch.lanes.iter();
            Some(json!(lanes.map(super::Lane::name).collect::<Vec<_>>()))
        }
        ["grant", i, "default"] => Some(json!(config.grants.get(index(i)?)?.default)),
        ["door", i, "hosts"] => Some(json!(config.doors.get(index(i)?)?.hosts)),
        ["door", i, "mode"] => match &config.doors.get(index(i)?)?.address {
            DoorAddress::Unix { mode, .. } => Some(json!(format!("{mode:04o}"))),
            DoorAddress::Tcp(_) => None,
        },
        [
            "door",
            _,
            "expose" | "connect" | "stand_in" | "proxy_protocol",
        ] => Some(json!(false)),
        _ => None,
    }
}
