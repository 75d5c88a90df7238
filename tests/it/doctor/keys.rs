//! Keys for bodies, approvals and webhooks: each can be read, by its owner alone where it is private.

use std::os::unix::fs::PermissionsExt as _;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use wise_auth_proxy::simulator::Simulator;

use super::{Seen, doctor, plan};
use crate::house::{self, Site};

const SIGNING: &str = "jose.signing_key";
const ENCRYPTION: &str = "jose.encryption_key";
const SCA: &str = "sca.key";
const SIGNATURE: &str = "webhook.money.signature_key";
const KID: &str = "e87da464-8e5e-4380-8f2d-4e4e04052672";

/// A house with a key of each kind, all of them good and needed.
async fn site(wise: &Simulator, more: &str) -> Site {
    let keys = format!(
        r#"
[jose]
signing_key = "signing.key"
signing_algorithm = "ES256"
signing_kid = "{KID}"
encryption_key = "encryption.key"
encryption_kid = "{KID}"
{more}
[sca]
key = "sca.key"
lanes = ["oauth-mtls"]
[[webhook]]
name = "money"
address = "127.0.0.1:0"
forward = "http://127.0.0.1:9/"
signature_key = "wise.pem"
subscriptions = ["{KID}"]
"#
    );
    let site = plan(wise).prepare().await;
    for (kind, file) in [
        (&["--signing", "ES256"][..], "signing.key"),
        (&["--encryption"], "encryption.key"),
    ] {
        let make = [&["jose", "keygen"], kind, &["--out", file]].concat();
        let made = site.cli(&make).await;
        assert!(made.status.success(), "{made:?}");
    }
    // An RSA key is an RSA key.
    std::fs::copy(site.path("encryption.key"), site.path("sca.key")).unwrap();
    std::fs::write(site.path("wise.pem"), public_key(wise).await).unwrap();
    mode(&site, "wise.pem", 0o644);
    // Said once they are there: nothing starts with keys that it cannot read.
    let config = std::fs::read_to_string(&site.config).unwrap();
    std::fs::write(&site.config, config + &keys).unwrap();
    site
}

/// What a simulated Wise signs deliveries with.
async fn public_key(wise: &Simulator) -> Vec<u8> {
    let mut connection = house::Connection::to(wise.control_address()).await;
    let request = http::Request::get("/webhooks/public-key.pem").body(bytes::Bytes::new());
    let answer = connection.request(request.unwrap()).await.unwrap();
    assert_eq!(answer.status, 200);
    answer.body.to_vec()
}

fn mode(site: &Site, file: &str, mode: u32) {
    std::fs::set_permissions(site.path(file), std::fs::Permissions::from_mode(mode)).unwrap();
}

const ROUTES: &str = r#"
[[jose.route]]
match = ["POST /v1/quotes"]
method = "jws+jwe"
lanes = ["oauth-mtls"]
"#;

/// What doctor and `config check --secrets` say of one thing that is wrong.
async fn says(site: &Site, id: &str, state: &str, text: &str, hint: &str) -> Seen {
    let seen = doctor(site, &["--offline"]).await;
    assert_eq!(seen.state(id), state, "{:#}", seen.check(id));
    seen.says(id, text, hint);
    let output = site.cli(&["config", "check", "--secrets", "--json"]).await;
    assert_eq!(output.status.code(), Some(64), "{id} {text}");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let setting = id.replace(".money", "");
    let findings = said["findings"].as_array().unwrap();
    let finding = findings
        .iter()
        .find(|finding| finding["key"] == setting.as_str());
    let finding = finding.unwrap_or_else(|| panic!("{setting}: {said:#}"));
    let message = finding["message"].as_str().unwrap();
    assert!(message.contains(text), "{setting}: {message}");
    seen
}

#[tokio::test]
async fn keys_that_are_good_say_what_they_do_and_who_knows_whether_wise_has_them() {
    let wise = house::wise().await;
    let site = site(&wise, ROUTES).await;
    let seen = doctor(&site, &["--offline"]).await;
    for (id, text) in [
        (SIGNING, format!("signs ES256, as {KID}")),
        (ENCRYPTION, format!("decrypts RSA-OAEP-256, as {KID}")),
        (SCA, "signs one-time tokens".to_owned()),
        (SIGNATURE, "whose signatures are believed".to_owned()),
    ] {
        assert_eq!(seen.state(id), "good", "{:#}", seen.check(id));
        assert!(seen.text(id).contains(&text), "{:#}", seen.check(id));
        assert_eq!(seen.check(id)["group"], "keys");
    }
    let details = seen.check(SIGNING)["details"].to_string();
    assert!(details.contains("jose test"), "{details}");
    let output = site.cli(&["config", "check", "--secrets"]).await;
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn a_key_that_signs_or_decrypts_fails_where_requests_need_it() {
    let wise = house::wise().await;
    let site = site(&wise, ROUTES).await;
    mode(&site, "signing.key", 0o640);
    says(
        &site,
        SIGNING,
        "failed",
        "signing.key may be read by others (mode 0640)",
        "`chmod 600 ",
    )
    .await;
    mode(&site, "encryption.key", 0o604);
    says(
        &site,
        ENCRYPTION,
        "failed",
        "encryption.key may be read by others (mode 0604)",
        "`chmod 600 ",
    )
    .await;
    mode(&site, "encryption.key", 0o600);

    std::fs::remove_file(site.path("signing.key")).unwrap();
    let missing = "signing.key cannot be read: No such file";
    says(
        &site,
        SIGNING,
        "failed",
        missing,
        "jose keygen --signing ES256",
    )
    .await;
    std::fs::copy(site.path("encryption.key"), site.path("signing.key")).unwrap();
    says(
        &site,
        SIGNING,
        "failed",
        "is not one for ES256",
        "jose keygen",
    )
    .await;
    site.secret(
        "signing.key",
        "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n",
    );
    says(
        &site,
        SIGNING,
        "failed",
        "holds no private key in PKCS#8",
        "openssl pkcs8",
    )
    .await;

    site.secret(
        "encryption.key",
        &KeyPair::generate().unwrap().serialize_pem(),
    );
    let unfit = "is not one for RSA-OAEP-256";
    says(&site, ENCRYPTION, "failed", unfit, "jose keygen").await;
    // Where no lane of the routes is in use, it is a warning.
    let seen = doctor(&site, &["--offline", "--set", "switch.lane=personal"]).await;
    assert_eq!(seen.state(ENCRYPTION), "warning");
}

#[tokio::test]
async fn a_key_that_no_route_needs_is_a_warning() {
    let wise = house::wise().await;
    let site = site(&wise, "").await;
    std::fs::remove_file(site.path("encryption.key")).unwrap();
    let seen = says(
        &site,
        ENCRYPTION,
        "warning",
        "cannot be read",
        "jose keygen --encryption",
    )
    .await;
    assert!(seen.text(ENCRYPTION).ends_with("(no request needs it)"));
}

#[tokio::test]
async fn a_key_without_an_id_is_to_be_registered() {
    let wise = house::wise().await;
    let site = site(&wise, "").await;
    let text = std::fs::read_to_string(&site.config).unwrap();
    let line = format!("signing_kid = \"{KID}\"\n");
    std::fs::write(&site.config, text.replace(&line, "")).unwrap();
    let seen = doctor(&site, &["--offline"]).await;
    assert_eq!(seen.state(SIGNING), "warning");
    seen.says(SIGNING, "it has no id", "jose register --signing");
}

#[tokio::test]
async fn a_key_for_approvals_is_private_and_there() {
    let wise = house::wise().await;
    let site = site(&wise, "").await;
    mode(&site, "sca.key", 0o644);
    says(
        &site,
        SCA,
        "failed",
        "sca.key may be read by others (mode 0644)",
        "`chmod 600 ",
    )
    .await;
    site.secret("sca.key", "not a key");
    says(&site, SCA, "failed", "holds no private key", "sca keygen").await;
    // A frame is no key, and a key that Wise takes no signatures of is no better.
    let frame = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let curve = KeyPair::generate().unwrap().serialize_pem();
    for unfit in [frame, &curve] {
        site.secret("sca.key", unfit);
        says(&site, SCA, "failed", "is no RSA key of 2048", "sca keygen").await;
    }
    std::fs::remove_file(site.path("sca.key")).unwrap();
    says(
        &site,
        SCA,
        "failed",
        "cannot be read: No such file",
        "install -m 0600",
    )
    .await;
}

#[tokio::test]
async fn keys_that_webhooks_believe_are_wises_and_nobody_else_may_change_them() {
    let wise = house::wise().await;
    let site = site(&wise, "").await;
    mode(&site, "wise.pem", 0o666);
    says(
        &site,
        SIGNATURE,
        "failed",
        "others may write to",
        "chmod go-w ",
    )
    .await;
    mode(&site, "wise.pem", 0o644);

    let write = |text: &str| std::fs::write(site.path("wise.pem"), text).unwrap();
    write("no key");
    says(
        &site,
        SIGNATURE,
        "failed",
        "holds no public key",
        "Wise signs deliveries with",
    )
    .await;
    write("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n");
    says(
        &site,
        SIGNATURE,
        "failed",
        "holds no public key",
        "Wise signs deliveries with",
    )
    .await;
    let curve = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    write(&curve.public_key_pem());
    says(
        &site,
        SIGNATURE,
        "failed",
        "that is not RSA of 2048 bits",
        "Wise signs deliveries with RSA",
    )
    .await;
    std::fs::remove_file(site.path("wise.pem")).unwrap();
    says(
        &site,
        SIGNATURE,
        "failed",
        "cannot be read: No such file",
        "put Wise's public keys there",
    )
    .await;
}

/// A check that is good, and in this state once the configuration says `to` for `from`.
async fn turns(id: &str, (from, to): (&str, &str), state: &str, text: &str, hint: &str) {
    let wise = house::wise().await;
    let site = site(&wise, "").await;
    assert_eq!(doctor(&site, &["--offline"]).await.state(id), "good");
    let typed = std::fs::read_to_string(site.path("house.toml")).unwrap();
    assert!(typed.contains(from), "{typed}");
    std::fs::write(site.path("house.toml"), typed.replace(from, to)).unwrap();
    let seen = doctor(&site, &["--offline"]).await;
    assert_eq!(seen.state(id), state, "{:#}", seen.check(id));
    seen.says(id, text, hint);
}

#[tokio::test]
async fn a_webhook_that_takes_deliveries_of_every_subscription_is_a_warning() {
    let ours = format!("subscriptions = [\"{KID}\"]");
    turns(
        "webhook.money.keys",
        (&ours, ""),
        "warning",
        "another customer of Wise can point a subscription here",
        "webhook.subscriptions",
    )
    .await;
}

#[tokio::test]
async fn a_webhook_whose_certificate_is_not_there_fails() {
    let forward = "forward = \"http://127.0.0.1:9/\"";
    let tls = "certificate = \"hook.pem\"\nkey = \"hook.key\"";
    turns(
        "webhook.money.keys",
        (forward, &format!("{forward}\n{tls}")),
        "failed",
        "hook.pem",
        "the proxy does not start, or reload, until then",
    )
    .await;
}

#[tokio::test]
async fn a_webhook_that_goes_on_to_another_host_is_a_warning() {
    turns(
        "webhook.money.forward",
        ("http://127.0.0.1:9/", "http://app.internal:8080/"),
        "warning",
        "deliveries go to http://app.internal:8080 by plain HTTP",
        "127.0.0.1",
    )
    .await;
}
