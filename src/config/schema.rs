//! The JSON schema, and from it the list of all keys.

use std::sync::LazyLock;

use figment::value::Dict;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::file::File;
use super::load;

/// The configuration file as a JSON schema (draft 2020-12), with defaults and descriptions.
pub fn schema() -> Value {
    SCHEMA.clone()
}

/// Made once: it is the same for every configuration, and loading asks for it several times.
static SCHEMA: LazyLock<Value> = LazyLock::new(made);
static KEYS: LazyLock<Vec<SchemaKey>> = LazyLock::new(|| {
    let mut keys = Vec::new();
    collect(&SCHEMA, String::new(), &mut keys);
    keys
});

fn made() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<File>()
        .to_value();
    tidy(&mut schema, load::defaults().ok().as_ref());
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), json!("wise-auth-proxy"));
        root.insert("required".to_owned(), json!(["environment", "switch"]));
    }
    schema
}

/// Nothing is null in TOML, and what has a default need not be given.
fn tidy(node: &mut Value, default: Option<&Dict>) {
    let Some(object) = node.as_object_mut() else {
        return;
    };
    strip_null(object);
    object.remove("required");
    if let Some(items) = object.get_mut("items") {
        tidy(items, None);
    }
    let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (key, property) in properties {
        let default = default.and_then(|dict| dict.get(key));
        tidy(property, default.and_then(figment::value::Value::as_dict));
        let (Some(property), Some(default)) = (property.as_object_mut(), default) else {
            continue;
        };
        if default.as_dict().is_none()
            && let Ok(default) = serde_json::to_value(default)
        {
            property.insert("default".to_owned(), default);
        }
    }
}

fn strip_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(choices)) = object.remove("anyOf") {
        let choice = choices.into_iter().find(|choice| choice["type"] != "null");
        for (key, value) in choice
            .and_then(|choice| choice.as_object().cloned())
            .into_iter()
            .flatten()
        {
            object.entry(key).or_insert(value);
        }
    }
    for key in ["type", "enum"] {
        if let Some(Value::Array(list)) = object.get_mut(key) {
            list.retain(|item| !item.is_null() && item != "null");
            if key == "type" && list.len() == 1 {
                let only = list.remove(0);
                object.insert(key.to_owned(), only);
            }
        }
    }
    object.remove("default");
}

/// One key of the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SchemaKey {
    /// Such as `switch.lane` or `door[].address`.
    pub(super) path: String,
    /// Whether it names a secret.
    pub(super) secret: bool,
}

/// Every key that holds a value.
pub(super) fn keys() -> &'static [SchemaKey] {
    &KEYS
}

fn collect(node: &Value, path: String, keys: &mut Vec<SchemaKey>) {
    let secret = node["x-secret"] == true;
    if !secret && let Some(properties) = node["properties"].as_object() {
        for (key, property) in properties {
            let path = match path.as_str() {
                "" => key.clone(),
                parent => format!("{parent}.{key}"),
            };
            collect(property, path, keys);
        }
    } else if node["items"]["properties"].is_object() {
        collect(&node["items"], format!("{path}[]"), keys);
    } else {
        keys.push(SchemaKey { path, secret });
    }
}

/// What would be right for a table or a list of tables; `None` for a key that holds a value.
pub(super) fn shape_of(path: &[String]) -> Option<String> {
    let mut node = &*SCHEMA;
    for key in path {
        node = match key.parse::<usize>() {
            Ok(_) => &node["items"],
            Err(_) => &node["properties"][key],
        };
    }
    let name = path.iter().filter(|key| key.parse::<usize>().is_err());
    let name: Vec<_> = name.map(String::as_str).collect();
    let name = name.join(".");
    if node["items"]["properties"].is_object() {
        Some(format!("one or more tables that open with [[{name}]]"))
    } else if node["x-secret"] != true && node["type"] == "object" {
        Some(format!("a table that opens with [{name}]"))
    } else {
        None
    }
}
