//! `config check`, `config show` and `config schema`.

use serde_json::{Value, json};

use super::args::{ConfigCommand, Global};
use super::failure::{Exit, Failure};
use super::report;
use crate::config::{Config, Lane, Loaded, SecretSource, Setting, schema, settings};

pub(crate) fn run(global: &Global, command: &ConfigCommand) -> Result<(), Failure> {
    match *command {
        ConfigCommand::Check { secrets } => {
            let loaded = global.load()?;
            if secrets {
                fetch(&loaded.config)?;
            }
            report::say(&summary(&loaded));
            Ok(())
        }
        ConfigCommand::Show { json } => {
            let settings = settings(&global.load()?);
            if json {
                report::json(&by_key(&settings))
            } else {
                report::data(&table(&settings))
            }
        }
        ConfigCommand::Schema => report::json(&schema()),
    }
}

/// Fetches every secret once and drops it.
fn fetch(config: &Config) -> Result<(), Failure> {
    let failed: Vec<_> = secrets(config)
        .filter_map(|(key, source)| Some(format!("{key}: {}", source.read().err()?)))
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let message = format!("secrets cannot be fetched\n  {}", failed.join("\n  "));
    Err(Failure::new(Exit::Config, anyhow::Error::msg(message))
        .hint("run it as the user that the proxy runs as"))
}

fn secrets(config: &Config) -> impl Iterator<Item = (&'static str, &SecretSource)> {
    let seal_key = config.store.seal_key.iter();
    seal_key
        .map(|source| ("store.seal_key", source))
        .chain(config.secrets())
}

fn summary(loaded: &Loaded) -> String {
    let path = loaded.path.as_ref().map(|path| path.display().to_string());
    let lanes: Vec<_> = loaded.config.switch.lanes.iter().map(Lane::name).collect();
    format!(
        "{} can be used: {}, starts in lane {}, lanes {}, doors {}, grants {}",
        path.as_deref().unwrap_or("the configuration"),
        loaded.config.environment,
        loaded.config.switch.lane,
        lanes.join(" "),
        loaded.config.doors.len(),
        loaded.config.grants.len(),
    )
}

fn by_key(settings: &[Setting]) -> Value {
    settings
        .iter()
        .map(|setting| {
            let value = json!({ "value": setting.value, "from": setting.set_by.to_string() });
            (setting.key.clone(), value)
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn table(settings: &[Setting]) -> String {
    let rows: Vec<_> = settings
        .iter()
        .map(|setting| {
            let value = setting.value.as_ref().map_or("-".to_owned(), toml);
            vec![setting.key.clone(), value, setting.set_by.to_string()]
        })
        .collect();
    report::table(&rows)
}

/// The value as it would stand in the file.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, field)| format!("{} = {}", key(name), toml(field)))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// A key, in quotes where TOML wants them.
fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.bytes().all(bare) {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SetBy;

    #[test]
    fn a_table_of_settings_reads_like_the_file() {
        let setting = |key: &str, value, set_by| Setting {
            key: key.to_owned(),
            value,
            set_by,
        };
        let settings = [
            setting(
                "log.level",
                Some(json!("debug")),
                SetBy::Flag("log.level".to_owned()),
            ),
            setting("runtime.workers", Some(json!(2)), SetBy::Default),
            setting("store.seal_key", None, SetBy::Default),
            setting(
                "upstream.resolve",
                Some(json!({ "wise.test": "127.0.0.1" })),
                SetBy::File("a.toml".into()),
            ),
        ];
        insta::assert_snapshot!(table(&settings), @r#"
        log.level         "debug"                        --set log.level
        runtime.workers   2                              default
        store.seal_key    -                              default
        upstream.resolve  { "wise.test" = "127.0.0.1" }  a.toml
        "#);
        assert_eq!(
            by_key(&settings)["runtime.workers"],
            json!({ "value": 2, "from": "default" })
        );
    }
}
