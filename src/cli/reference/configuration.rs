//! Every key of the configuration: `config/default.toml` with types from the schema.

use std::fmt::Write as _;

use serde_json::Value;

use super::MADE;
use crate::config::{DEFAULTS, schema};

pub(super) fn page() -> String {
    let schema = schema();
    let mut text = format!(
        "{MADE}\n\n# Configuration\n\nFrom [config/default.toml](../../config/default.toml), which \
         opens so:\n"
    );
    let mut prefix = String::new();
    for block in blocks(DEFAULTS) {
        match block {
            Block::Talk(lines) => {
                let _ok = write!(text, "\n{}\n", paragraphs(&lines));
            }
            Block::Table { name, list, talk } => {
                let title = if list {
                    format!("[[{name}]]")
                } else {
                    format!("[{name}]")
                };
                let _ok = write!(text, "\n## `{title}`\n");
                if !talk.is_empty() {
                    let _ok = write!(text, "\n{}\n", paragraphs(&talk));
                }
                prefix = name;
            }
            Block::Key { name, value, talk } => {
                let path = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                let node = node(&schema, &path);
                let _ok = write!(
                    text,
                    "\n### `{path}`\n\n{}\n",
                    facts(node, value.as_deref())
                );
                if !talk.is_empty() {
                    let _ok = write!(text, "\n{}\n", paragraphs(&talk));
                }
            }
        }
    }
    text
}

/// A piece of the file.
#[derive(Debug, Eq, PartialEq)]
enum Block {
    /// Text by itself.
    Talk(Vec<String>),
    /// A header, with the text above it.
    Table {
        name: String,
        list: bool,
        talk: Vec<String>,
    },
    /// A key, with the text above it. `value`: the default, where it has one.
    Key {
        name: String,
        value: Option<String>,
        talk: Vec<String>,
    },
}

/// Reads the file as people do: `# ` is text, `#` before a key or header is one without default.
fn blocks(file: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut talk: Vec<String> = Vec::new();
    let mut lines = file.lines();
    while let Some(line) = lines.next() {
        let commented = line.starts_with('#');
        let code = line.strip_prefix('#').unwrap_or(line);
        if commented && (code.is_empty() || code.starts_with(' ')) {
            talk.push(code.trim().to_owned());
            continue;
        }
        if code.trim().is_empty() {
            if !talk.is_empty() {
                found.push(Block::Talk(std::mem::take(&mut talk)));
            }
            continue;
        }
        let talk = std::mem::take(&mut talk);
        if let Some(header) = code.strip_prefix('[') {
            let list = header.starts_with('[');
            let name = header.trim_matches(['[', ']']).to_owned();
            found.push(Block::Table { name, list, talk });
        } else if let Some((name, value)) = code.split_once(" = ") {
            let mut value = value.to_owned();
            if value == "[" {
                // A list over several lines.
                for more in lines.by_ref() {
                    value.push_str(more.trim());
                    if more.trim() == "]" {
                        break;
                    }
                    value.push(' ');
                }
                value = value.replace("[ ", "[").replace(", ]", "]");
            }
            let value = (!commented).then_some(value);
            found.push(Block::Key {
                name: name.to_owned(),
                value,
                talk,
            });
        }
    }
    found
}

/// Type and default in one line.
fn facts(node: &Value, value: Option<&str>) -> String {
    let kind = if node["x-secret"] == true {
        "a secret's source".to_owned()
    } else if let Some(words) = node["enum"].as_array() {
        let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
        words.join(", ")
    } else {
        match &node["type"] {
            Value::String(kind) => kind.clone(),
            Value::Array(kinds) => {
                let kinds: Vec<_> = kinds.iter().filter_map(Value::as_str).collect();
                kinds.join(" or ")
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => "text".to_owned(),
        }
    };
    match value {
        Some(value) => format!("*{kind}* · default `{value}`"),
        None => format!("*{kind}* · no default"),
    }
}

fn node<'a>(schema: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(schema, |node, key| {
        let node = if node["items"]["properties"].is_object() {
            &node["items"]
        } else {
            node
        };
        &node["properties"][key]
    })
}

/// Lines of one paragraph stay lines; an empty one parts paragraphs.
fn paragraphs(lines: &[String]) -> String {
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_schema_has_its_place_in_the_page() {
        fn keys(node: &Value, path: &str, found: &mut Vec<String>) {
            let node = if node["items"]["properties"].is_object() {
                &node["items"]
            } else {
                node
            };
            match node["properties"]
                .as_object()
                .filter(|_| node["x-secret"] != true)
            {
                Some(properties) => {
                    for (key, property) in properties {
                        let path = if path.is_empty() {
                            key.clone()
                        } else {
                            format!("{path}.{key}")
                        };
                        keys(property, &path, found);
                    }
                }
                None => found.push(path.to_owned()),
            }
        }
        let (text, mut all) = (page(), Vec::new());
        keys(&schema(), "", &mut all);
        assert!(all.len() > 50);
        let missing: Vec<_> = all
            .iter()
            .filter(|key| !text.contains(&format!("\n### `{key}`\n")))
            .collect();
        assert!(
            missing.is_empty(),
            "not in config/default.toml: {missing:?}"
        );
    }

    #[test]
    fn text_keys_and_headers_are_told_apart() {
        let file = "# intro\n\n# of it\n[a]\n# one\nx = 1\n# two\n#y = { file = \"p\" }\nz = [\n    \"p\", \"q\",\n]\n";
        let wanted = |text: &str| vec![text.to_owned()];
        let key = |name: &str, value: Option<&str>, talk| Block::Key {
            name: name.into(),
            value: value.map(str::to_owned),
            talk,
        };
        assert_eq!(
            blocks(file),
            [
                Block::Talk(wanted("intro")),
                Block::Table {
                    name: "a".into(),
                    list: false,
                    talk: wanted("of it")
                },
                key("x", Some("1"), wanted("one")),
                key("y", None, wanted("two")),
                key("z", Some("[\"p\", \"q\"]"), vec![]),
            ]
        );
    }
}
