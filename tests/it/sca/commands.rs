//! `sca keygen`, `sca test` and `sca status`.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use wise_auth_proxy::simulator::ScaSigning;

use super::*;

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[tokio::test]
async fn a_key_is_made_private_entered_and_tried_out() {
    let wise = house::wise().await;
    let site = House::on(&wise)
        .lane("personal")
        .logged_out()
        .prepare()
        .await;
    let missing = site.cli(&["sca", "test"]).await;
    assert_eq!(missing.status.code(), Some(64));
    assert!(
        told(&missing).contains("sca keygen --out FILE --write"),
        "{}",
        told(&missing)
    );
    let nowhere = site.cli(&["sca", "keygen"]).await;
    assert_eq!(nowhere.status.code(), Some(2));

    let make = [
        "sca",
        "keygen",
        "--out",
        "keys/sca.key",
        "--bits",
        "3072",
        "--write",
    ];
    let made = site.cli(&make).await;
    assert!(made.status.success(), "{}", told(&made));
    let public = String::from_utf8(made.stdout.clone()).unwrap();
    assert!(
        public.starts_with("-----BEGIN PUBLIC KEY-----\n"),
        "{public}"
    );
    assert!(public.ends_with("-----END PUBLIC KEY-----\n"), "{public}");
    assert!(
        told(&made).contains("Manage public keys"),
        "{}",
        told(&made)
    );
    assert!(
        told(&made).contains("names it, as sca.key"),
        "{}",
        told(&made)
    );
    let path = site.path("keys/sca.key");
    let private = std::fs::read_to_string(&path).unwrap();
    assert!(private.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert_eq!(
        path.metadata().unwrap().permissions().mode() & 0o7777,
        0o600
    );
    let config = std::fs::read_to_string(&site.config).unwrap();
    assert!(config.contains("[sca]\nkey = \"keys/sca.key\""), "{config}");

    let again = site.cli(&make).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(
        told(&again).contains("is there already"),
        "{}",
        told(&again)
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), private);

    let tried = json_of(&site.cli(&["sca", "test", "--json"]).await);
    assert_eq!(tried["bits"], 3072);
    assert_eq!(tried["lanes"], json!(["personal"]));
    assert_eq!(tried["asked"], Value::Null);
    // The line that it prints makes the same signature.
    let line = tried["sample"]["openssl"].as_str().unwrap();
    let shell = std::process::Command::new("sh").args(["-c", line]).output();
    let signature = String::from_utf8(shell.unwrap().stdout).unwrap();
    assert_eq!(tried["sample"]["signature"], signature.trim());
    let table = site.cli(&["sca", "test"]).await;
    let table = String::from_utf8(table.stdout).unwrap();
    let print = tried["public_key_sha256"].as_str().unwrap();
    assert!(
        table.contains(print) && table.contains("openssl dgst"),
        "{table}"
    );

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let loose = site.cli(&["sca", "test"]).await;
    assert_eq!(loose.status.code(), Some(1));
    assert!(told(&loose).contains("chmod 600"), "{}", told(&loose));
}

#[tokio::test]
async fn a_real_request_says_whether_wise_takes_the_signature() {
    let guarded = signing(|plan| plan).await;
    let list = format!("/v4/profiles/{PROFILE}/balances?types=STANDARD");
    let balance = guarded.house.get(&list).await.json()[0].clone();
    let (id, currency) = (&balance["id"], word(&balance["currency"]));
    let path = format!(
        "/v1/profiles/{PROFILE}/balance-statements/{id}/statement.json?currency={currency}&\
         intervalStart=2026-10-01T00:00:00Z&intervalEnd=2026-11-01T00:00:00Z&type=COMPACT"
    );
    let ask = async || {
        guarded
            .house
            .cli(&["sca", "test", "--json", "--ask", &path])
            .await
    };
    let output = ask().await;
    let asked = json_of(&output);
    assert_eq!(asked["asked"]["outcome"], "not_challenged", "{asked}");
    guarded
        .wise
        .change_faults(|faults| faults.resource.sca = Sca::All);
    let output = ask().await;
    let asked = json_of(&output);
    assert_eq!(
        asked["asked"],
        json!({"lane": "personal", "outcome": "accepted", "status": 200})
    );
    assert!(output.status.success());
    guarded.wise.change_faults(|faults| {
        faults.sca.signing = ScaSigning::Off;
        faults.sca.statement_memory = false;
    });
    let output = ask().await;
    assert_eq!(json_of(&output)["asked"]["outcome"], "refused");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains("Manage public keys"),
        "{}",
        told(&output)
    );
}

#[tokio::test]
async fn a_token_is_asked_about() {
    let wise = house::wise().await;
    let house = House::on(&wise).start().await;
    let guarded = Guarded::new(wise, house).await;
    let ott = challenged(&guarded.fund().await);
    let ask = async |args: &[&str]| {
        guarded
            .house
            .cli(&[&["sca", "status"], args].concat())
            .await
    };
    let status = json_of(&ask(&[&ott, "--json"]).await);
    assert_eq!(status["challenges"], json!(["SMS"]));
    assert_eq!(status["action"], "TRANSFER__FUND");
    assert!(status["validity"].as_u64().unwrap() > 3_500);
    guarded.wise.approve(Some(&ott), None);
    let table = ask(&[&ott, "--grant", "main"]).await;
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("none: repeat the request"), "{table}");

    let unknown = ask(&["65a31b86-aa2e-47fd-a7a4-3710437ba270"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(told(&unknown).contains("it was used"), "{}", told(&unknown));
    let wrong = ask(&["not a token"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(!told(&wrong).contains("not a token"), "{}", told(&wrong));
    let wrong = ask(&[&ott, "--grant", "nobody"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(told(&wrong).contains("--grant: main"), "{}", told(&wrong));
}
