//! Promises of the whole room: input to `Config`, and input to message.

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

/// Each row: what stands in `FULL`, what replaces it, and the one problem that follows.
const RULES: &[(&str, &str, &str)] = &[
    (
        "environment = \"custom\"",
        "",
        r#"environment (not set): say "sandbox", "production" or "custom""#,
    ),
    (
        "plain = \"https://localhost:8443\"",
        "",
        r#"wise.plain (not set): environment = "custom" needs it, such as "https://localhost:8443""#,
    ),
    (
        "plain = \"https://localhost:8443\"",
        "plain = \"http://example.com\"",
        r#"wise.plain (house.toml): must begin with https://; http:// is for a loopback host with environment = "custom""#,
    ),
    (
        "environment = \"custom\"",
        "environment = \"sandbox\"",
        r#"wise.plain (house.toml): needs environment = "custom"; elsewhere leave it out"#,
    ),
    (
        "lane = \"oauth-mtls\"",
        "",
        r#"switch.lane (not set): say "personal", "oauth" or "oauth-mtls""#,
    ),
    (
        "lane = \"oauth-mtls\"",
        "lane = \"personal-mtls\"",
        r#"switch.lane (house.toml): must be "personal", "oauth" or "oauth-mtls""#,
    ),
    (
        "lane = \"oauth-mtls\"",
        "lane = \"oauth-mtls\"\nallow = [\"personal\"]",
        "switch.lane (house.toml): must be one of the lanes in switch.allow",
    ),
    (
        "[mtls]\ncertificate = \"client.pem\"\nkey = \"client.key\"",
        "",
        "switch.lane (house.toml): lane oauth-mtls needs [mtls]",
    ),
    (
        "key = \"client.key\"",
        "",
        "mtls.key (not set): say the PEM file of its private key",
    ),
    (
        "[mtls]",
        "[jose]\nsigning_kid = \"e87da464-8e5e-4380-8f2d-4e4e04052672\"\n[mtls]",
        "jose.signing_key (not set): jose.signing_kid is said of a key: name its PEM file; `jose keygen` makes one",
    ),
    (
        "[mtls]",
        "[jose]\nsigning_algorithm = \"ES256\"\n[mtls]",
        "jose.signing_key (not set): jose.signing_algorithm is said of a key: name its PEM file; `jose keygen` makes one",
    ),
    (
        "[mtls]",
        "[jose]\nencryption_kid = \"e87da464-8e5e-4380-8f2d-4e4e04052672\"\n[mtls]",
        "jose.encryption_key (not set): jose.encryption_kid is said of a key: name its PEM file; `jose keygen` makes one",
    ),
    (
        "[mtls]",
        "[jose]\nsigning_key = \"a.key\"\nsigning_kid = \"mine\"\n[mtls]",
        "jose.signing_kid (house.toml): must be the UUID under which Wise has the key, in quotes; `jose register` writes it",
    ),
    (
        "[mtls]",
        "[jose]\nsigning_key = \"a.key\"\nsigning_algorithm = \"RS256\"\n[mtls]",
        "jose.signing_algorithm (house.toml): must be \"ES256\", \"ES384\", \"ES512\", \"PS256\", \"PS384\" or \"PS512\"",
    ),
    (
        "[mtls]",
        "[[jose.route]]\nmatch = [\"POST /v1/quotes\"]\nmethod = \"jws\"\n[mtls]",
        "jose.signing_key (not set): is missing: a route signs; `jose keygen` makes one, `jose register` tells Wise",
    ),
    (
        "[mtls]",
        "[jose]\nencryption_key = \"a.key\"\n[[jose.route]]\nmatch = [\"POST /v1/quotes\"]\nmethod = \"jwe\"\n[mtls]",
        "jose.encryption_kid (not set): is missing: a route encrypts; `jose keygen` makes the key, `jose register` tells Wise and writes its id",
    ),
    (
        "[mtls]",
        "[jose]\nsigning_key = \"a.key\"\n[[jose.route]]\nmethod = \"jws\"\n[mtls]",
        "jose.route[0].match (not set): say which requests, such as [\"POST /v1/quotes\"]",
    ),
    (
        "[mtls]",
        "[[jose.route]]\nmatch = [\"POST /v1/quotes\"]\n[mtls]",
        "jose.route[0].method (not set): say \"jws\", \"jwe\" or \"jws+jwe\"",
    ),
    (
        "[mtls]",
        "[[jose.route]]\nmatch = [\"POST /v1/quotes\"]\nmethod = \"both\"\n[mtls]",
        "jose.route[0].method (house.toml): must be \"jws\", \"jwe\" or \"jws+jwe\"",
    ),
    (
        "[oauth]",
        "[jose]\nsigning_key = \"a.key\"\n[[jose.route]]\nmatch = [\"POST /v1/quotes\"]\nmethod = \"jws\"\nlanes = [\"personal\"]\n[oath]",
        "oath (house.toml): there is no such key; did you mean `oauth`?; switch.lane (house.toml): lane oauth-mtls needs [oauth]; jose.route[0].lanes (house.toml): lane personal needs [oauth] here: Wise gives its public keys to the OAuth client alone, and without them no answer can be verified",
    ),
    (
        "[mtls]",
        "[sca]\nkey = \"a.key\"\nlanes = []\n[mtls]",
        "sca.lanes (house.toml): name a lane, or leave sca.key out",
    ),
    (
        "[mtls]",
        "[sca]\napproval_authorization = { env = \"A\" }\n[mtls]",
        "sca.approval_webhook (not set): sca.approval_authorization is for a webhook; say where its URL is",
    ),
    (
        "[mtls]",
        "[[webhook]]\naddress = \"127.0.0.1:8443\"\nforward = \"http://app/\"\nsignature_key = \"k\"\n[mtls]",
        "webhook[0].name (not set): give the webhook a name, such as \"transfers\"",
    ),
    (
        "[mtls]",
        "[[webhook]]\nname = \"a\"\naddress = \"127.0.0.1:8443\"\nforward = \"http://app/\"\n[mtls]",
        "webhook[0].signature_key (not set): is missing: whose signatures to believe is known of the sandbox and of production only",
    ),
    (
        "[mtls]",
        "[[webhook]]\nname = \"a\"\nsignature_key = \"k\"\naddress = \"0.0.0.0:8443\"\nforward = \"http://127.0.0.1:9000/\"\n[mtls]",
        "webhook[0].certificate (not set): is missing: Wise speaks TLS. Beyond loopback a webhook has a certificate and a key",
    ),
    (
        "[mtls]",
        "[[webhook]]\nname = \"a\"\nsignature_key = \"k\"\naddress = \"127.0.0.1:8443\"\nforward = \"https://app/\"\n[mtls]",
        "webhook[0].forward (house.toml): must be an http URL such as \"http://127.0.0.1:9000/wise\"",
    ),
    (
        "[mtls]",
        "[[webhook]]\nname = \"a\"\nsignature_key = \"k\"\naddress = \"127.0.0.1:8443\"\nforward = \"http://app/\"\nkey = \"a\"\n[mtls]",
        "webhook[0].certificate (not set): is missing: the key is of one",
    ),
    (
        "[mtls]",
        "[[webhook]]\nname = \"a\"\nsignature_key = \"k\"\naddress = \"127.0.0.1:8443\"\nforward = \"http://app/\"\nwindow = \"1s\"\n[mtls]",
        "webhook[0].window (house.toml): must be from \"1m\" to \"30days\"",
    ),
    (
        "[mtls]",
        "[[webhook]]\nname = \"a\"\nsignature_key = \"k\"\naddress = \"127.0.0.1:8443\"\nforward = \"http://app/\"\nsubscriptions = [\"mine\"]\n[mtls]",
        "webhook[0].subscriptions[0] (house.toml): must be the UUID of a subscription, in quotes; `webhook list` shows those there are",
    ),
    (
        "[mtls]",
        "[[webhook]]\nname = \"a\"\nsignature_key = \"k\"\naddress = \"127.0.0.1:8443\"\nforward = \"http://app/\"\nsubscriptions = []\n[mtls]",
        "webhook[0].subscriptions (house.toml): name one, such as `webhook list` shows them, or leave it out",
    ),
    (
        "[mtls]",
        "[[webhook]]\nname = \"a\"\nsignature_key = \"k\"\naddress = \"127.0.0.1:8443\"\nforward = \"http://app/\"\nclient_names = [\"a\"]\n[mtls]",
        "webhook[0].client_ca (not set): is missing: webhook.client_names is said of certificates that it vouches for",
    ),
    (
        "[mtls]",
        "[[webhook]]\nname = \"a\"\nsignature_key = \"k\"\naddress = \"127.0.0.1:8443\"\nforward = \"http://app/\"\ncertificate = \"c\"\nkey = \"p\"\nclient_ca = \"ca\"\nclient_names = []\n[mtls]",
        "webhook[0].client_names (house.toml): name one, or leave it out",
    ),
    (
        "[[grant]]\nname = \"main\"\nprofile = 30000000",
        "",
        "switch.lane (house.toml): lane oauth-mtls needs a [[grant]]",
    ),
    (
        "name = \"main\"",
        "name = \"Main\"",
        "grant[0].name (house.toml): must be 1 to 64 lower-case letters, digits, hyphens or underscores",
    ),
    (
        "[[grant]]",
        "[[grant]]\nname = \"main\"\nprofile = 1\n[[grant]]",
        "grant[1].name (house.toml): another grant has this name",
    ),
    (
        "[[grant]]",
        "[[grant]]\nname = \"other\"\nprofile = 30000000\n[[grant]]",
        "grant[1].profile (house.toml): another grant has this profile",
    ),
    (
        "[[grant]]",
        "[[grant]]\nname = \"other\"\n[[grant]]",
        "grant[0].profile (not set): with several grants each must say its profile: requests are told apart by it",
    ),
    (
        "[[grant]]",
        "[[grant]]\nname = \"other\"\nprofile = 1\ndefault = true\n[[grant]]\ndefault = true",
        "grant[1].default (house.toml): another grant is the default; one can be",
    ),
    (
        "client_secret = { file = \"secrets/client_secret\" }",
        "client_secret = \"hunter2\"",
        r#"oauth.client_secret (house.toml): must be a source, never the secret itself: { file = "path" }, { env = "NAME" }, { exec = ["/absolute/program", "argument"] } or { credential = "name" }"#,
    ),
    (
        "client_secret = { file = \"secrets/client_secret\" }",
        "client_secret = { exec = [\"pass\"] }",
        r#"oauth.client_secret (house.toml): must be a source, never the secret itself: { file = "path" }, { env = "NAME" }, { exec = ["/absolute/program", "argument"] } or { credential = "name" }"#,
    ),
    (
        "client_secret = { file = \"secrets/client_secret\" }",
        "client_secret = { file = \"a\", env = \"B\" }",
        r#"oauth.client_secret (house.toml): must be a source, never the secret itself: { file = "path" }, { env = "NAME" }, { exec = ["/absolute/program", "argument"] } or { credential = "name" }"#,
    ),
    (
        "client_secret = { file = \"secrets/client_secret\" }",
        "client_secret = { credential = \"../x\" }",
        r#"oauth.client_secret (house.toml): must be a source, never the secret itself: { file = "path" }, { env = "NAME" }, { exec = ["/absolute/program", "argument"] } or { credential = "name" }"#,
    ),
    (
        "address = \"127.0.0.1:8080\"",
        "address = \"0.0.0.0:8080\"",
        "door[0].address (house.toml): is not a loopback address: whoever reaches it acts for you at Wise. Take 127.0.0.1, or say `expose = true` beside it",
    ),
    (
        "address = \"127.0.0.1:8080\"",
        "address = \"127.0.0.1:8081\"",
        "admin.address (default): a door listens there",
    ),
    (
        "address = \"127.0.0.1:8080\"",
        "address = \"127.0.0.1:8080\"\ngrant = \"other\"",
        "door[0].grant (house.toml): must be the name of a [[grant]]",
    ),
    (
        "address = \"127.0.0.1:8080\"",
        "address = \"127.0.0.1:8080\"\nmode = \"0660\"",
        "door[0].mode (house.toml): is for unix sockets; leave it out",
    ),
    (
        "address = \"127.0.0.1:8080\"",
        "address = \"unix:app.sock\"\nmode = \"888\"",
        r#"door[0].mode (house.toml): must be octal permissions in quotes, such as "0660""#,
    ),
    (
        "address = \"127.0.0.1:8080\"",
        "address = \"unix:app.sock\"\n[[door]]\naddress = \"unix:app.sock\"",
        "door[1].address (house.toml): another door listens there",
    ),
    (
        "address = \"127.0.0.1:8080\"",
        "address = \"127.0.0.1:8080\"\nhosts = [\"http://a\"]",
        r#"door[0].hosts[0] (house.toml): must be a host name without scheme and port, such as "wise-proxy.internal""#,
    ),
    (
        "[wise]",
        "[admin]\naddress = \"0.0.0.0:8081\"\n[wise]",
        r#"admin.address (house.toml): must be a loopback address, or "off""#,
    ),
    (
        "[wise]",
        "[wise]\nroots = \"only-extra\"",
        r#"wise.extra_ca (not set): roots = "only-extra" needs it: a PEM file of authorities"#,
    ),
    (
        "[wise]",
        "[upstream]\nvia = \"https://proxy.example:3128\"\n[wise]",
        "upstream.via (house.toml): must begin with http://, as CONNECT proxies do",
    ),
    (
        "[wise]",
        "[upstream]\nvia_credentials = { env = \"P\" }\n[wise]",
        "upstream.via (not set): via_credentials are for a CONNECT proxy; say which",
    ),
    (
        "[wise]",
        "[upstream]\nreplay_budget = \"1 MiB\"\n[wise]",
        "upstream.replay_budget (house.toml): must be at least upstream.replay_limit",
    ),
    (
        "[wise]",
        "[tokens]\nrenew_at = nan\n[wise]",
        "tokens.renew_at (house.toml): must lie between 0 and 1, without either",
    ),
    (
        "[wise]",
        "[runtime]\nworkers = 65\n[wise]",
        "runtime.workers (house.toml): must be from 1 to 64",
    ),
    (
        "[wise]",
        "[runtime]\nmax_header_size = 1000\n[wise]",
        r#"runtime.max_header_size (house.toml): must be from "8 KiB" to "1 MiB""#,
    ),
    (
        "[wise]",
        "[log]\nlevel = \"infoo\"\n[wise]",
        r#"log.level (house.toml): must be off, error, warn, info, debug or trace, or directives such as "info,wise_auth_proxy::tokens=debug""#,
    ),
    (
        "client_secret = { file = \"secrets/client_secret\" }",
        "client_secret = { exec = [\"/bin/pass\"] }\n[hardening]\nfiles = \"required\"",
        r#"hardening.files (house.toml): "required" is impossible with a secret from a program (exec), which would be confined with the proxy; name a file, or say "auto""#,
    ),
    (
        "client_secret = { file = \"secrets/client_secret\" }",
        "client_secret = { file = \"secrets/client_secret\" }\n[hardening]\nfiles = \"required\"\n[sca]\napproval_command = [\"/bin/approve\"]",
        r#"hardening.files (house.toml): "required" is impossible with sca.approval_command, which would be confined with the proxy; use sca.approval_webhook, or say "auto""#,
    ),
    (
        "address = \"127.0.0.1:8080\"",
        "address = \"127.0.0.1:8080\"\nkey = { file = \"door_key\" }\nread_only = true",
        r#"door[0].key (house.toml): is the key of a caller now: write [[caller]], name = "application" and this key there, and callers = ["application"] here; door[0].read_only (house.toml): is a policy now: write policy = "read-only" instead of true, nothing of false"#,
    ),
    (
        "address = \"127.0.0.1:8080\"",
        "address = \"0.0.0.0:8080\"\nexpose = true",
        "door[0].callers (not set): is missing: a door beyond loopback must know who calls. Run `wise-auth-proxy caller add`, and name the caller here, or ask for client certificates with tls.client_ca",
    ),
    (
        "address = \"127.0.0.1:8080\"",
        "address = \"127.0.0.1:8080\"\ncallers = [\"books\"]\n[[caller]]\nname = \"books\"\nusers = [\"books\"]",
        "door[0].callers (house.toml): `books` could never come in here: users and groups are known at unix doors alone, and not through `proxy_protocol`, certificates at doors with tls.client_ca; give it a key (`wise-auth-proxy caller rotate books`)",
    ),
    (
        "address = \"127.0.0.1:8080\"",
        "address = \"unix:app.sock\"\nproxy_protocol = true\ncallers = [\"books\"]\n[[caller]]\nname = \"books\"\nusers = [\"books\"]",
        "door[0].callers (house.toml): `books` could never come in here: users and groups are known at unix doors alone, and not through `proxy_protocol`, certificates at doors with tls.client_ca; give it a key (`wise-auth-proxy caller rotate books`)",
    ),
    (
        "[wise]",
        "[[caller]]\nname = \"a\"\nhashes = \"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n[[caller]]\nname = \"b\"\nhashes = [\"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef until 2027-01-31T00:00:00Z\"]\n[wise]",
        "caller[1].hashes (house.toml): another caller has one of these: they could not be told apart",
    ),
    (
        "[oauth]",
        "[oath]",
        "oath (house.toml): there is no such key; did you mean `oauth`?; switch.lane (house.toml): lane oauth-mtls needs [oauth]",
    ),
    (
        "[mtls]",
        "mtls = 5\n[mtlsx]",
        "mtlsx (house.toml): there is no such key; did you mean `mtls`?; personal.mtls (house.toml): there is no such key; the keys here are token; switch.lane (house.toml): lane oauth-mtls needs [mtls]",
    ),
];

#[test]
fn each_rule_has_its_sentence() {
    let mut wrong = Vec::new();
    for (old, new, wanted) in RULES {
        let Err(ConfigError::Invalid(problems)) = load(&sources(&full_with(old, new))) else {
            panic!("{new} must be refused")
        };
        let found: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let found = found.join("; ");
        if found != *wanted {
            wrong.push((new, found));
        }
    }
    assert_eq!(wrong, [], "these were refused with another sentence");
}

#[test]
fn the_defaults_name_every_key_of_the_schema_and_no_other() {
    let named: BTreeSet<_> = flattened(&uncommented()).into_iter().collect();
    let known = schema::keys().iter().map(|key| key.path.clone());
    let known: BTreeSet<_> = known.collect();
    assert_eq!(named, known, "config/default.toml against the schema");
}

#[test]
fn every_value_that_the_defaults_suggest_can_be_used() {
    let mut text = uncommented();
    // A door is either TCP or unix; the file shows keys of both.
    text = text.replace("mode = \"0660\"\n", "");
    text = text.replace("owner = \":payments\"\n", "");
    // Hosts are for a custom environment.
    text = text.replace("\"sandbox\"\n", "\"custom\"\n");
    assert_eq!(config(&text).grants.len(), 1);
}

/// The defaults with every commented key in force: `#key = value`, against `# prose`.
fn uncommented() -> String {
    let defaults = include_str!("../../config/default.toml");
    let lines = defaults.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|first: char| first == '[' || first.is_ascii_lowercase()) => {
            key
        }
        _ => line,
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn flattened(text: &str) -> Vec<String> {
    use figment::providers::{Format as _, Toml};

    let value: serde_json::Value = Toml::from_str(text).unwrap();
    let secrets: Vec<_> = schema::keys().iter().filter(|key| key.secret).collect();
    let mut keys = Vec::new();
    let mut todo = vec![(String::new(), &value)];
    while let Some((path, value)) = todo.pop() {
        let leaf = path == "upstream.resolve" || secrets.iter().any(|secret| secret.path == path);
        match value {
            serde_json::Value::Object(table) if !leaf => {
                todo.extend(table.iter().map(|(key, value)| {
                    let dot = if path.is_empty() { "" } else { "." };
                    (format!("{path}{dot}{key}"), value)
                }));
            }
            serde_json::Value::Array(items) if items.iter().any(serde_json::Value::is_object) => {
                todo.extend(items.iter().map(|item| (format!("{path}[]"), item)));
            }
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => keys.push(path),
        }
    }
    keys
}

/// Each row sets a key to something else than `FULL` and the defaults do.
const OTHER_VALUES: &[(&str, &str)] = &[
    ("admin.address", "off"),
    ("admin.key.file", "other"),
    ("admin.socket", "other.sock"),
    ("audit.file", "audit.jsonl"),
    ("ca.certificate", "authority.pem"),
    ("ca.key", "authority.key"),
    ("caller", "[{ name = \"a\", users = [\"1001\"] }]"),
    ("environment", "sandbox"),
    ("hardening.files", "off"),
    ("hardening.memory", "off"),
    ("hardening.privileges", "required"),
    ("jose.encryption_key", "decrypts.key"),
    ("jose.max_body", "2 MiB"),
    ("jose.signing_key", "signs.key"),
    ("log.access", "access.log"),
    ("log.format", "json"),
    ("log.level", "debug"),
    ("mtls.certificate", "other.pem"),
    ("mtls.key", "other.key"),
    ("mtls.key_passphrase.env", "OTHER"),
    ("notify.command", "/bin/other,-x"),
    ("notify.events", "started"),
    ("notify.repeat", "2h"),
    ("notify.webhook.env", "OTHER"),
    ("oauth.client_id", "other"),
    ("oauth.client_secret.file", "other"),
    ("oauth.redirect_uri", "https://app.example/cb"),
    ("personal.token.env", "OTHER"),
    ("policy", "[{ name = \"a\", deny = [\"funding\"] }]"),
    ("runtime.drain_timeout", "1s"),
    ("runtime.header_timeout", "1s"),
    ("runtime.idle_timeout", "1s"),
    ("runtime.max_connections", "7"),
    ("runtime.max_header_size", "16 KiB"),
    ("runtime.max_headers", "50"),
    ("runtime.reload_interval", "1s"),
    ("runtime.workers", "7"),
    ("sca.approval_command", "/bin/other"),
    ("sca.approval_wait", "1s"),
    ("sca.approval_webhook.env", "OTHER"),
    ("sca.key", "sca.key"),
    ("sca.lanes", "oauth"),
    ("sca.max_waiting", "7"),
    ("store.path", "other"),
    ("store.seal_key.credential", "other"),
    ("switch.allow", "oauth-mtls"),
    ("switch.lane", "personal"),
    ("tokens.exchange_timeout", "1s"),
    ("tokens.forced_interval", "1s"),
    ("tokens.quiet", "1s"),
    ("tokens.renew_at", "0.75"),
    ("tokens.wait", "1s"),
    ("upstream.answer_timeout", "1s"),
    ("upstream.body_idle_timeout", "1s"),
    ("upstream.connect_timeout", "1s"),
    ("upstream.dns_ttl", "1s"),
    ("upstream.http", "2"),
    ("upstream.idle_timeout", "1s"),
    ("upstream.max_age", "1s"),
    ("upstream.max_connections", "7"),
    ("upstream.max_waiting", "7"),
    ("upstream.replay_budget", "16 MiB"),
    ("upstream.replay_limit", "1 MiB"),
    ("upstream.resolve", "{ localhost = \"127.0.0.1\" }"),
    ("upstream.via", "http://proxy.example:3128"),
    ("upstream.warm_connections", "7"),
    ("wise.authorise", "https://localhost/page"),
    ("wise.extra_ca", "ca.pem"),
    ("wise.mtls", "https://other"),
    ("wise.plain", "https://other"),
    ("wise.roots", "bundled"),
    ("wise.token_url", "https://other/token"),
    ("door", "[{ address = \"127.0.0.1:9\" }]"),
    (
        "door",
        "[{ address = \"127.0.0.1:8080\", grant = \"main\" }]",
    ),
    (
        "door",
        "[{ address = \"127.0.0.1:8080\", hosts = [\"a\"] }]",
    ),
    ("grant", "[{ name = \"other\", profile = 30000000 }]"),
    ("grant", "[{ name = \"main\", profile = 1 }]"),
    (
        "webhook",
        "[{ name = \"a\", address = \"127.0.0.1:1\", forward = \"http://a/\", signature_key = \"b\" }]",
    ),
];

#[test]
fn no_key_is_dead() {
    let baseline = format!("{:?}", config(FULL));
    for (key, value) in OTHER_VALUES {
        let text = match *key {
            // What a custom environment alone may say.
            "environment" => FULL.replace("plain = \"https://localhost:8443\"", ""),
            _ => FULL.to_owned(),
        };
        let loaded = load(&with_flags(&text, &[(key, value)]));
        let changed = format!(
            "{:?}",
            loaded
                .unwrap_or_else(|error| panic!("{key}: {error}"))
                .config
        );
        assert_ne!(changed, baseline, "{key} changes nothing");
    }
    // Keys that are told by their neighbours.
    let exposed = "[{ address = \"0.0.0.0:8080\", expose = true, callers = [\"payroll\"], policy = \"read-only\" }]";
    let caller = (
        "caller",
        "[{ name = \"payroll\", key = { env = \"KEY\" } }]",
    );
    let door = load(&with_flags(FULL, &[("door", exposed), caller]))
        .unwrap()
        .config
        .doors
        .remove(0);
    assert_eq!(door.callers, Some(vec!["payroll".to_owned()]));
    let keyless = "[{ address = \"0.0.0.0:8080\", expose = true }]";
    let refused = load(&with_flags(FULL, &[("door", keyless)])).unwrap_err();
    assert!(refused.to_string().contains("door[0].callers"), "{refused}");
    let two = "[{ name = \"a\", profile = 1 }, { name = \"b\", profile = 2, default = true }]";
    let two = load(&with_flags(FULL, &[("grant", two)]))
        .unwrap()
        .config
        .grants;
    assert_eq!(
        two.iter().map(|grant| grant.default).collect::<Vec<_>>(),
        [false, true]
    );
    let unix = "[{ address = \"unix:a.sock\", mode = \"0660\" }]";
    let unix = load(&with_flags(FULL, &[("door", unix)]))
        .unwrap()
        .config
        .doors;
    let path = PathBuf::from("/etc/house/a.sock");
    assert_eq!(
        unix[0].address,
        DoorAddress::Unix {
            path,
            mode: 0o660,
            owner: None
        }
    );
    let via = [
        ("upstream.via", "http://p:1"),
        ("upstream.via_credentials.env", "VIA"),
    ];
    let via = load(&with_flags(FULL, &via))
        .unwrap()
        .config
        .upstream
        .via
        .unwrap();
    assert_eq!(via.credentials, Some(SecretSource::Env("VIA".to_owned())));
    let keys = [
        ("jose.signing_algorithm", "PS256"),
        ("jose.signing_key", "signs.key"),
        ("jose.signing_kid", "E87DA464-8e5e-4380-8f2d-4e4e04052672"),
        ("jose.encryption_key", "decrypts.key"),
        (
            "jose.encryption_kid",
            "1d4c2a3b-8e5e-4380-8f2d-4e4e04052672",
        ),
    ];
    let loaded = load(&with_flags(FULL, &keys)).unwrap().config;
    let files: Vec<_> = loaded.files().map(|(key, _)| key).collect();
    assert!(files.ends_with(&["jose.signing_key", "jose.encryption_key"]));
    let signing = loaded.jose.signing.unwrap();
    assert_eq!(signing.algorithm, SigningAlgorithm::Ps256);
    assert_eq!(signing.path, PathBuf::from("/etc/house/signs.key"));
    let kid = "e87da464-8e5e-4380-8f2d-4e4e04052672";
    assert_eq!(signing.kid.as_deref(), Some(kid));
    let decrypting = loaded.jose.decrypting.unwrap();
    assert_eq!(decrypting.path, PathBuf::from("/etc/house/decrypts.key"));
    assert!(decrypting.kid.is_some());
    let plain = load(&with_flags(FULL, &keys[1..2])).unwrap().config.jose;
    assert_eq!(plain.max_body, 1024 * 1024);
    let routes = "[{ match = [\"reads\"], method = \"jws\" }, { match = [\"funding\"], \
                  method = \"jws+jwe\", lanes = [\"personal\"] }]";
    let routed = [&keys[..], &[("jose.route", routes)]].concat();
    let routed = load(&with_flags(FULL, &routed)).unwrap().config.jose.routes;
    assert_eq!(routed[0].method, JoseMethod::Jws);
    assert!(routed[0].lanes.contains(Lane::OAuth) && !routed[0].lanes.contains(Lane::Personal));
    assert_eq!(routed[1].method, JoseMethod::JwsJwe);
    assert!(routed[1].lanes.contains(Lane::Personal) && !routed[1].lanes.contains(Lane::OAuth));
    let asked = [
        ("sca.approval_webhook.env", "URL"),
        ("sca.approval_authorization.env", "KEY"),
    ];
    let asked = load(&with_flags(FULL, &asked)).unwrap().config.sca;
    let key = SecretSource::Env("KEY".to_owned());
    assert_eq!(asked.approval_authorization, Some(key));
    assert_eq!(plain.signing.unwrap().algorithm, SigningAlgorithm::Es512);
    let told = [
        ("notify.webhook.env", "URL"),
        ("notify.authorization.env", "KEY"),
    ];
    let told = load(&with_flags(FULL, &told)).unwrap().config.notify;
    assert_eq!(
        told.authorization,
        Some(SecretSource::Env("KEY".to_owned()))
    );

    let audit = [("audit.file", "a"), ("audit.required", "true")];
    let audit = load(&with_flags(FULL, &audit)).unwrap().config.audit;
    assert!(audit.required && audit.file.is_some());

    let told = [
        "audit.required",
        "notify.authorization",
        "door[].expose",
        "door[].mode",
        "grant[].default",
        "jose.encryption_kid",
        "jose.route[].lanes",
        "jose.route[].match",
        "jose.route[].method",
        "jose.signing_algorithm",
        "jose.signing_kid",
        "sca.approval_authorization",
        "upstream.via_credentials",
    ];
    for SchemaKey { path, .. } in schema::keys() {
        let list = path
            .split_once("[]")
            .map_or(path.as_str(), |(list, _)| list);
        let tried = OTHER_VALUES.iter().any(|(key, _)| key.starts_with(list));
        assert!(
            tried || told.contains(&path.as_str()),
            "no row tries {path}"
        );
    }
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
