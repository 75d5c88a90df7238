//! Promises of the whole room: input to `Config`, and input to message.

mod keys;
mod rules;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::schema::SchemaKey;
use super::*;

/// A configuration with every table, so that every key can be set to something else.
const FULL: &str = r#"
environment = "custom"
[[door]]
address = "127.0.0.1:8080"
[switch]
lane = "oauth-mtls"
[oauth]
client_id = "acme"
client_secret = { file = "secrets/client_secret" }
[[grant]]
name = "main"
profile = 30000000
[personal]
token = { env = "PERSONAL" }
[mtls]
certificate = "client.pem"
key = "client.key"
[wise]
plain = "https://localhost:8443"
mtls = "https://localhost:8444"
"#;

fn sources(text: &str) -> Sources {
    Sources {
        file: FileChoice::Text {
            name: "house.toml".to_owned(),
            text: text.to_owned(),
            directory: PathBuf::from("/etc/house"),
        },
        variables: Vec::new(),
        flags: Vec::new(),
    }
}

fn with_variables(text: &str, variables: &[(&str, &str)]) -> Sources {
    Sources {
        variables: variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect(),
        ..sources(text)
    }
}

fn with_flags(text: &str, flags: &[(&str, &str)]) -> Sources {
    Sources {
        flags: flags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..sources(text)
    }
}

fn config(text: &str) -> Config {
    load(&sources(text)).unwrap().config
}

fn refusal(sources: &Sources) -> String {
    load(sources).unwrap_err().to_string()
}

/// `FULL` with one line, or several, in place of another.
fn full_with(old: &str, new: &str) -> String {
    assert!(FULL.contains(old), "{old} does not stand in the text");
    FULL.replacen(old, new, 1)
}

#[test]
fn the_full_example_loads_to_what_it_says() {
    let config = config(FULL);
    assert_eq!(config.environment, Environment::Custom);
    assert_eq!(config.hosts.plain.to_string(), "https://localhost:8443");
    assert_eq!(config.hosts.mtls.port, 8444);
    assert_eq!(
        config.hosts.authorise,
        "https://localhost:8443/oauth/authorize"
    );
    assert_eq!(config.hosts.token_url, None);
    assert_eq!(config.switch.lane, Lane::OAuthMtls);
    assert_eq!(config.switch.lanes.iter().count(), 3);
    let oauth = config.oauth.unwrap();
    assert_eq!(oauth.client_id, "acme");
    assert_eq!(
        oauth.client_secret,
        SecretSource::File("/etc/house/secrets/client_secret".into())
    );
    let [grant] = config.grants.as_slice() else {
        panic!("one grant")
    };
    assert_eq!(grant.name, "main");
    assert_eq!(grant.profile.as_ref().unwrap().as_str(), "30000000");
    assert!(grant.default, "a single grant is the default by itself");
    assert_eq!(config.personal, Some(SecretSource::Env("PERSONAL".into())));
    assert_eq!(
        config.mtls.unwrap().key,
        PathBuf::from("/etc/house/client.key")
    );
    assert_eq!(
        config.admin.socket,
        PathBuf::from("/etc/house/state/admin.sock")
    );
    assert_eq!(config.upstream.connect_timeout, Duration::from_secs(5));
    assert_eq!(config.upstream.replay_limit, 8 * 1024 * 1024);
    assert!((1..=4).contains(&config.runtime.workers));
    assert_eq!(config.log.access, AccessLog::Stderr);
}

#[test]
fn the_shipped_examples_load() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for (name, environment, lane) in [
        ("sandbox.toml", Environment::Sandbox, Lane::OAuthMtls),
        ("production.toml", Environment::Production, Lane::Personal),
        ("demo.toml", Environment::Custom, Lane::OAuthMtls),
    ] {
        let text = fs::read_to_string(examples.join(name)).unwrap();
        let config = config(&text);
        assert_eq!(
            (config.environment, config.switch.lane),
            (environment, lane),
            "{name}"
        );
    }
}

#[test]
fn the_hosts_of_an_environment_are_its_own_and_both_mtls_names_are_known() {
    let production = |wise: &str| {
        let rest = "[switch]\nlane = \"personal\"\n[personal]\ntoken = { env = \"T\" }";
        config(&format!("environment = \"production\"\n{wise}\n{rest}")).hosts
    };
    let usual = production("");
    assert_eq!(usual.plain.to_string(), "https://api.wise.com");
    assert_eq!(usual.mtls.to_string(), "https://api-mtls.wise.com");
    assert_eq!(usual.authorise, "https://wise.com/oauth/authorize/");
    assert!(
        usual
            .aliases
            .contains(&"api-mtls.transferwise.com".to_owned())
    );

    let guide = production("[wise]\nmtls = \"https://api-mtls.transferwise.com\"");
    assert_eq!(guide.mtls.to_string(), "https://api-mtls.transferwise.com");
    assert!(guide.aliases.contains(&"api-mtls.wise.com".to_owned()));
    assert!(!guide.aliases.contains(&guide.mtls.host));
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let text = full_with("[mtls]", "[log]\nlevel = \"error\"\n[mtls]");
    let from_file = load(&sources(&text)).unwrap();
    assert_eq!(from_file.config.log.level, "error");

    let mut sources = with_variables(&text, &[("WISE_PROXY_LOG__LEVEL", "warn")]);
    assert_eq!(load(&sources).unwrap().config.log.level, "warn");

    sources.flags = vec![("log.level".to_owned(), "debug".to_owned())];
    assert_eq!(load(&sources).unwrap().config.log.level, "debug");
}

#[test]
fn a_variable_is_its_text_without_quotes_and_lists_are_toml() {
    let loaded = load(&with_variables(
        FULL,
        &[
            ("WISE_PROXY_UPSTREAM__HTTP", "1.1"),
            ("WISE_PROXY_OAUTH__CLIENT_ID", "007"),
            ("WISE_PROXY_RUNTIME__WORKERS", "3"),
            ("WISE_PROXY_TOKENS__RENEW_AT", "0.25"),
            ("WISE_PROXY_SWITCH__ALLOW", "personal, oauth-mtls"),
            (
                "WISE_PROXY_UPSTREAM__RESOLVE",
                r#"{ "Localhost" = "127.0.0.1" }"#,
            ),
            ("WISE_PROXY_DOOR", r#"[{ address = "127.0.0.1:9000" }]"#),
            ("WISE_PROXY_CONFIG", "elsewhere.toml"),
            ("UNRELATED", "x"),
        ],
    ));
    let config = loaded.unwrap().config;
    assert_eq!(config.upstream.http, HttpVersion::Http1);
    assert_eq!(config.oauth.unwrap().client_id, "007");
    assert_eq!(config.runtime.workers, 3);
    assert!((config.tokens.renew_at - 0.25).abs() < f64::EPSILON);
    assert!(!config.switch.lanes.contains(Lane::OAuth));
    assert!(config.upstream.resolve.contains_key("localhost"));
    let [door] = config.doors.as_slice() else {
        panic!("a list replaces the list below it")
    };
    let address = "127.0.0.1:9000".parse().unwrap();
    assert_eq!(door.address, DoorAddress::Tcp(address));
}

#[test]
fn a_secret_source_of_an_upper_layer_replaces_the_lower_one() {
    let variable = ("WISE_PROXY_OAUTH__CLIENT_SECRET__ENV", "FROM_HERE");
    let loaded = load(&with_variables(FULL, &[variable])).unwrap();
    assert_eq!(
        loaded.config.oauth.unwrap().client_secret,
        SecretSource::Env("FROM_HERE".to_owned())
    );
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_are_no_settings() {
    let loaded = load(&with_variables(
        FULL,
        &[
            ("WISE_PROXY_PORT", "tcp://10.0.0.1:8080"),
            ("WISE_PROXY_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("WISE_PROXY_SERVICE_HOST", "10.0.0.1"),
            ("WISE_PROXY_SERVICE_PORT_HTTP", "8080"),
        ],
    ));
    assert_eq!(loaded.unwrap().config.doors.len(), 1);
}

#[test]
fn without_a_file_the_places_looked_at_and_the_demo_are_named() {
    let error = load(&Sources {
        file: FileChoice::FirstOf(vec!["/nowhere/a.toml".into(), "/nowhere/b.toml".into()]),
        ..sources("")
    })
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no configuration file; looked for /nowhere/a.toml and /nowhere/b.toml"
    );
    assert!(error.hint().contains("`wise-auth-proxy demo`"));
}

#[test]
fn relative_paths_start_at_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wise-auth-proxy.toml");
    fs::write(&path, FULL).unwrap();
    let loaded = load(&Sources {
        file: FileChoice::FirstOf(vec!["/nowhere/a.toml".into(), path.clone()]),
        ..sources("")
    })
    .unwrap();
    assert_eq!(loaded.path, Some(path));
    assert_eq!(loaded.config.store.path, directory.path().join("state"));
}

#[test]
fn all_problems_are_shown_at_once_each_with_key_and_origin() {
    let text = full_with(
        "[oauth]",
        "[upstream]\nhttp = 1.1\nconnect_timeout = 5\n[oauth]",
    )
    .replace("client_id", "clientid")
    .replace("127.0.0.1:8080", "0.0.0.0:8080");
    let mut sources = with_variables(&text, &[("WISE_PROXY_RUNTIME__WORKERS", "0")]);
    sources.flags = vec![("tokens.renew_at".to_owned(), "1".to_owned())];
    insta::assert_snapshot!(refusal(&sources), @r#"
    the configuration has 7 problems
      oauth.clientid (house.toml): there is no such key; did you mean `client_id`?
      upstream.connect_timeout (house.toml): must be a duration in quotes with its unit, such as "30s" or "10m"
      upstream.http (house.toml): must be "auto", "1.1" or "2", in quotes
      door[0].address (house.toml): is not a loopback address: whoever reaches it acts for you at Wise. Take 127.0.0.1, or say `expose = true` beside it
      oauth.client_id (not set): say the client id that Wise gave you
      tokens.renew_at (--set tokens.renew_at): must lie between 0 and 1, without either
      runtime.workers (WISE_PROXY_RUNTIME__WORKERS): must be from 1 to 64
    "#);
}

#[test]
fn a_wrong_value_is_never_repeated() {
    const MARKER: &str = "hunter2-\u{1}-MARKER";
    let shown = |error: &ConfigError| format!("{error} {error:?} {}", error.hint());
    for SchemaKey { path, .. } in schema::keys() {
        let (list, name) = path.split_once("[].").unwrap_or(("", path));
        let values = [
            toml_text(MARKER),
            format!("{{ other = {} }}", toml_text(MARKER)),
            format!("{{ file = {0}, env = {0} }}", toml_text(MARKER)),
            format!("{{ exec = [{}] }}", toml_text(MARKER)),
            format!("[{}, [{0}]]", toml_text(MARKER)),
            format!("\"http://{}@\"", "MARKER"),
            // Not TOML at all.
            "MARKER".to_owned(),
        ];
        let mut refused = 0;
        for value in values {
            let mut wrong = vec![match list {
                "" => sources(&format!("{name} = {value}")),
                list => sources(&format!("[[{list}]]\n{name} = {value}")),
            }];
            if list.is_empty() {
                let variable = format!("WISE_PROXY_{}", path.replace('.', "__").to_uppercase());
                wrong.push(with_variables(FULL, &[(&variable, &value)]));
                wrong.push(with_flags(FULL, &[(path, &value)]));
            }
            for sources in wrong {
                // A path or a client id may have any text: then there is no message to search.
                if let Err(error) = load(&sources) {
                    assert!(!shown(&error).contains("MARKER"), "{path}: {error}");
                    refused += 1;
                }
            }
        }
        assert!(refused >= 7, "{path} takes anything");
    }
}

fn toml_text(text: &str) -> String {
    format!("{text:?}").replace("\\u{1}", "\\u0001")
}

#[test]
fn a_line_that_is_no_toml_is_named_by_its_place() {
    let error = load(&sources("a = 1\nclient_secret = hunter2\n")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "house.toml, line 2, column 17: this is not TOML"
    );
    let error = load(&sources("a = 1\na = 2\n")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "house.toml, line 2, column 1: this key or table stands here a second time"
    );
}

#[test]
fn settings_show_value_and_origin_and_mask_the_arguments_of_programs() {
    let mut sources = with_variables(
        FULL,
        &[(
            "WISE_PROXY_OAUTH__CLIENT_SECRET",
            r#"{ exec = ["/bin/pass", "MARKER"] }"#,
        )],
    );
    sources.flags = vec![("switch.lane".to_owned(), "personal".to_owned())];
    let settings = settings(&load(&sources).unwrap());
    let line = |key: &str| {
        let setting = settings.iter().find(|setting| setting.key == key).unwrap();
        let value = setting
            .value
            .as_ref()
            .map_or("-".to_owned(), ToString::to_string);
        format!("{value} | {}", setting.set_by)
    };
    assert_eq!(line("switch.lane"), r#""personal" | --set switch.lane"#);
    assert_eq!(
        line("oauth.client_secret"),
        r#"{"exec":["/bin/pass","…"]} | WISE_PROXY_OAUTH__CLIENT_SECRET"#
    );
    assert_eq!(line("personal.token"), r#"{"env":"PERSONAL"} | house.toml"#);
    assert_eq!(line("upstream.http"), r#""auto" | default"#);
    assert_eq!(line("grant[0].default"), "true | default");
    assert_eq!(
        line("admin.socket"),
        r#""/etc/house/state/admin.sock" | default"#
    );
    assert_eq!(line("store.seal_key"), "- | default");
    assert!(!format!("{settings:?}").contains("MARKER"));
}

#[test]
fn the_schema_has_descriptions_defaults_and_nothing_null() {
    let schema = schema();
    let upstream = &schema["properties"]["upstream"]["properties"];
    assert_eq!(upstream["connect_timeout"]["default"], "5s");
    assert_eq!(
        upstream["connect_timeout"]["description"],
        "TCP, CONNECT and TLS together."
    );
    assert_eq!(
        upstream["http"]["enum"],
        serde_json::json!(["auto", "1.1", "2"])
    );
    assert_eq!(schema["properties"]["door"]["type"], "array");
    assert!(!schema.to_string().contains("null"));
}
