//! Every key: in the defaults, in the schema, and of consequence.

use super::*;

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
    let defaults = include_str!("../../../config/default.toml");
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
