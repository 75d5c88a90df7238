//! Every rule of a configuration, broken once.

use super::*;

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
