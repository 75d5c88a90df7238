//! `ca init`, `ca show` and `ca export`, and what the authority's certificate says of itself.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::house::{self, House, Site};
use crate::tls_client::{Client, der, key_of};

async fn site(door: &str) -> Site {
    let wise = house::wise().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    plan.set("door", door).prepare().await
}

const DOOR: &str = "[{ address = \"127.0.0.1:0\", connect = true }]";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn ca_init_makes_an_authority_that_is_bound_to_wise_s_hosts() {
    let site = site(DOOR).await;
    let made = site.cli(&["ca", "init", "--days", "100", "--json"]).await;
    assert!(made.status.success(), "{made:?}");
    let told: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(told["hosts"], serde_json::json!(["localhost"]));
    assert_eq!(told["days_left"], 99);
    for (name, mode) in [("state/ca.pem", 0o644), ("state/ca.key", 0o600)] {
        let found = std::fs::metadata(site.path(name)).unwrap().permissions();
        assert_eq!(found.mode() & 0o7777, mode, "{name}");
    }
    let pem = std::fs::read_to_string(site.path("state/ca.pem")).unwrap();
    let der = der(&pem);
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let basic = certificate.basic_constraints().unwrap().unwrap();
    assert!(basic.critical && basic.value.ca);
    assert_eq!(basic.value.path_len_constraint, Some(0));
    let usage = certificate.key_usage().unwrap().unwrap();
    assert!(usage.value.key_cert_sign() && !usage.value.digital_signature());
    let bound = certificate.name_constraints().unwrap().unwrap();
    assert!(bound.critical);
    let permitted = bound.value.permitted_subtrees.as_ref().unwrap();
    let names: Vec<_> = permitted.iter().map(|subtree| &subtree.base).collect();
    assert_eq!(names, [&GeneralName::DNSName("localhost")]);
    let excluded = bound.value.excluded_subtrees.as_ref().unwrap();
    assert_eq!(excluded.len(), 2, "every address of both kinds");

    // Once it is there it stays, unless somebody insists.
    let again = site.cli(&["ca", "init"]).await;
    assert!(!again.status.success());
    assert!(
        text(&again.stderr).contains("is there already"),
        "{again:?}"
    );
    assert_eq!(
        std::fs::read_to_string(site.path("state/ca.pem")).unwrap(),
        pem
    );
    let forced = site.cli(&["ca", "init", "--force"]).await;
    assert!(forced.status.success(), "{forced:?}");
    assert!(text(&forced.stderr).contains("must be given this one"));
    assert_ne!(
        std::fs::read_to_string(site.path("state/ca.pem")).unwrap(),
        pem
    );
}

#[tokio::test]
async fn who_steals_the_authority_s_key_can_still_vouch_for_nobody_else() {
    let site = site(DOOR).await;
    assert!(site.cli(&["ca", "init"]).await.status.success());
    let pem = std::fs::read_to_string(site.path("state/ca.pem")).unwrap();
    let key = std::fs::read_to_string(site.path("state/ca.key")).unwrap();
    let key = rcgen::KeyPair::from_pem(&key).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_der(&der(&pem), key).unwrap();
    for (name, believed) in [
        ("localhost", true),
        ("evil.example", false),
        ("127.0.0.1", false),
    ] {
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let own = rcgen::KeyPair::generate().unwrap();
        let leaf = params.signed_by(&own, &issuer).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key_of(&own))
        .unwrap();
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let server = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(theirs);
        let client = Client::trusting(&pem);
        let (shaken, _) = tokio::join!(client.shake(ours, name, &[]), server);
        assert_eq!(shaken.is_ok(), believed, "{name}: {:?}", shaken.err());
    }
}

#[tokio::test]
async fn ca_show_and_export_tell_what_is_there_and_never_the_key() {
    let site = site(DOOR).await;
    let none = site.cli(&["ca", "show"]).await;
    assert!(!none.status.success());
    assert!(site.cli(&["ca", "init"]).await.status.success());
    let shown = site.cli(&["ca", "show", "--json"]).await;
    assert!(shown.status.success(), "{shown:?}");
    let told: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(told["hosts"], serde_json::json!(["localhost"]));
    assert_eq!(told["problem"], serde_json::Value::Null);
    assert_eq!(told["fingerprint_sha256"].as_str().unwrap().len(), 64);

    let pem = std::fs::read_to_string(site.path("state/ca.pem")).unwrap();
    let exported = site.cli(&["ca", "export", "--for", "node"]).await;
    assert_eq!(text(&exported.stdout), pem);
    assert!(
        text(&exported.stderr).contains("NODE_EXTRA_CA_CERTS"),
        "{exported:?}"
    );
    let out = site.path("out.der");
    let out = out.to_str().unwrap();
    let exported = site.cli(&["ca", "export", "--out", out, "--der"]).await;
    assert!(exported.status.success(), "{exported:?}");
    assert_eq!(std::fs::read(out).unwrap(), der(&pem).as_ref());
    let key = std::fs::read_to_string(site.path("state/ca.key")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    for output in [shown, exported] {
        assert!(!text(&output.stdout).contains(secret));
        assert!(!text(&output.stderr).contains(secret));
    }
    // A key of another authority is no key of this one.
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    site.secret("state/ca.key", &other);
    let broken = site.cli(&["ca", "show"]).await;
    assert!(!broken.status.success());
    assert!(
        text(&broken.stderr).contains("belongs to none of"),
        "{broken:?}"
    );
}

#[tokio::test]
async fn a_door_that_offers_connect_does_not_open_without_an_authority() {
    let site = site(DOOR).await;
    let failed = site.cli(&["run"]).await;
    assert!(!failed.status.success());
    let said = text(&failed.stderr);
    assert!(said.contains("there is no local authority in"), "{said}");
    assert!(said.contains("wise-auth-proxy ca init"), "{said}");
    let found = site.cli(&["doctor", "--offline", "--json"]).await;
    let told: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    let of_ca = |told: &serde_json::Value| {
        let mut checks = told["checks"].as_array().unwrap().iter();
        checks.find(|check| check["id"] == "ca").cloned()
    };
    assert_eq!(of_ca(&told).unwrap()["state"], "failed");

    assert!(site.cli(&["ca", "init"]).await.status.success());
    let found = site.cli(&["doctor", "--offline", "--json"]).await;
    let told: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(of_ca(&told).unwrap()["state"], "good", "{told:#}");
    assert!(
        site.cli(&["ca", "init", "--force", "--days", "20"])
            .await
            .status
            .success()
    );
    let found = site.cli(&["doctor", "--offline", "--json"]).await;
    let told: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(of_ca(&told).unwrap()["state"], "warning", "{told:#}");
    let house = site.start().await;
    house.logs("the local authority ends in").await;
}

#[tokio::test]
async fn doctor_finds_doors_that_want_something_before_http() {
    let wise = house::wise().await;
    let doors = "[{ address = \"127.0.0.1:0\", proxy_protocol = true }, { address = \"127.0.0.1:0\", \
                 tls = { certificate = \"door.pem\", key = \"door.key\" } }]";
    let plan = House::on(&wise).lane("personal").logged_out();
    let site = plan.set("door", doors).prepare().await;
    let authority = crate::tls_client::Authority::new();
    authority.leaf(&["localhost"]).write(&site, "door");
    let house = site.start().await;
    let found = house.cli(&["doctor", "--offline", "--json"]).await;
    let told: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    for check in told["checks"].as_array().unwrap() {
        if check["id"].as_str().unwrap().starts_with("door.") {
            assert_eq!(check["state"], "good", "{check:#}");
        }
    }
}

#[tokio::test]
async fn an_authority_is_not_put_where_others_may_write() {
    let site = site(DOOR).await;
    let open = site.path("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let key = format!("ca.key={}", open.join("ca.key").display());
    let refused = site.cli(&["ca", "init", "--set", &key]).await;
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("chmod go-w"), "{refused:?}");
    assert!(!open.join("ca.key").exists());
}
