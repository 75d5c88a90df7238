//! `config check`, `config show` and `config schema`.

use serde_json::{Value, json};

use super::args::{ConfigCommand, Global};
use super::failure::{Exit, Failure};
use super::keys::KeyFile;
use super::report;
use crate::config::{
    Config, ConfigError, Lane, Loaded, Problem, SecretSource, Setting, schema, settings,
};
use crate::server::unusable_certificates;

pub(crate) fn run(global: &Global, command: &ConfigCommand) -> Result<(), Failure> {
    match *command {
        ConfigCommand::Check { secrets, json } => check(global, secrets, json),
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

fn check(global: &Global, with_secrets: bool, as_json: bool) -> Result<(), Failure> {
    let loaded = match global.try_load()? {
        Ok(loaded) => loaded,
        Err(error) => {
            if as_json {
                report::json(&json!({ "usable": false, "findings": findings(&error) }))?;
            }
            return Err(error.into());
        }
    };
    let failed = if with_secrets {
        unusable(&loaded.config)
    } else {
        Vec::new()
    };
    if as_json {
        report::json(&checked(&loaded, with_secrets, &failed))?;
    }
    if !failed.is_empty() {
        return Err(refused(&failed));
    }
    report::say(&summary(&loaded));
    Ok(())
}

/// What is wrong, for programs.
fn findings(error: &ConfigError) -> Vec<Value> {
    let ConfigError::Invalid(problems) = error else {
        return vec![json!({ "key": null, "from": null, "message": error.to_string() })];
    };
    let finding = |problem: &Problem| {
        let from = problem.set_by.as_ref().map(ToString::to_string);
        json!({ "key": problem.key, "from": from, "message": problem.message })
    };
    problems.iter().map(finding).collect()
}

/// A configuration that can be read, for programs.
fn checked(loaded: &Loaded, with_secrets: bool, failed: &[(&'static str, String)]) -> Value {
    let config = &loaded.config;
    let lanes: Vec<_> = config.switch.lanes.iter().map(Lane::name).collect();
    let grants: Vec<_> = config.grants.iter().map(|grant| &grant.name).collect();
    let findings = failed
        .iter()
        .map(|(key, why)| json!({ "key": key, "from": null, "message": why }));
    json!({
        "usable": failed.is_empty(),
        "findings": findings.collect::<Vec<_>>(),
        "path": loaded.path,
        "environment": config.environment.to_string(),
        "lane": config.switch.lane.name(),
        "lanes": lanes,
        "doors": config.doors.len(),
        "grants": grants,
        "secrets_fetched": with_secrets,
    })
}

/// Fetches every secret once, reads every key file and certificate, and drops them; those that cannot
/// be used, and why.
fn unusable(config: &Config) -> Vec<(&'static str, String)> {
    let secrets = secrets(config).filter_map(|(key, source)| {
        let why = source.read().err()?;
        Some((key, format!("cannot be fetched: {why}")))
    });
    let keys = KeyFile::all(config).into_iter();
    let keys = keys.filter_map(|key| Some((key.setting(), key.prove().err()?.to_string())));
    let certificates = unusable_certificates(config).into_iter();
    secrets.chain(keys).chain(certificates).collect()
}

fn refused(failed: &[(&'static str, String)]) -> Failure {
    let failed: Vec<_> = failed
        .iter()
        .map(|(key, why)| format!("{key}: {why}"))
        .collect();
    let message = format!("what it names cannot be used\n  {}", failed.join("\n  "));
    Failure::new(Exit::Config, anyhow::Error::msg(message)).hint(
        "mend that; where a file may not be read, run this as the user that the proxy runs as",
    )
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

/// Every setting, its value and its origin.
pub(super) fn table(settings: &[Setting]) -> String {
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
