//! The switch: one command, remembered, written down, and bounded by the configuration.

use crate::house::{self, House};

#[tokio::test]
async fn a_switch_is_remembered_over_a_restart_and_written_down() {
    let wise = house::wise().await;
    let house = House::on(&wise).start().await;

    house.switch("personal").await;
    assert_eq!(house.status().await["lane"], "personal");
    assert_eq!(house.stop().await.code(), Some(0));

    let house = house.site.start().await;
    let status = house.status().await;
    assert_eq!(status["lane"], "personal", "{status:#}");
    assert_eq!(status["switched"]["reason"], "test");
    let log = std::fs::read_to_string(house.site.path("state/switch.log")).unwrap();
    let line: serde_json::Value = serde_json::from_str(log.trim()).unwrap();
    assert_eq!(
        (&line["from"], &line["to"]),
        (&"oauth-mtls".into(), &"personal".into())
    );
    assert!(line["by"].as_str().unwrap().contains("uid"), "{line}");
}

#[tokio::test]
async fn a_forbidden_lane_cannot_be_switched_to() {
    let wise = house::wise().await;
    let plan = House::on(&wise).set("switch.allow", "[\"oauth-mtls\", \"oauth\"]");
    let house = plan.start().await;

    let output = house.cli(&["switch", "personal", "--reason", "test"]).await;

    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("lane `personal` is not available") && said.contains("hint:"),
        "{said}"
    );
    assert_eq!(house.status().await["lane"], "oauth-mtls");
    assert_eq!(
        house.status().await["lanes"],
        serde_json::json!(["oauth", "oauth-mtls"])
    );
}

#[tokio::test]
async fn a_half_written_certificate_changes_nothing_and_is_said() {
    let wise = house::wise().await;
    let house = House::on(&wise).start().await;
    let good = std::fs::read(house.site.path("client.pem")).unwrap();
    let serial = house.status().await["certificate"]["serial"].clone();

    std::fs::write(house.site.path("client.pem"), &good[..good.len() / 2]).unwrap();
    let output = house.cli(&["reload"]).await;

    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let status = house.status().await;
    assert_eq!(
        status["certificate"]["serial"], serial,
        "the old pair stays in use"
    );
    assert!(status["last_reload"]["error"].is_string(), "{status:#}");
    assert_eq!(house.get("/v1/me").await.status, 200);
    assert!(house.metric("wise_proxy_reloads_total", "failed").await >= 1.0);

    std::fs::write(house.site.path("client.pem"), &good).unwrap();
    assert!(house.cli(&["reload"]).await.status.success());
    assert!(house.status().await["last_reload"]["error"].is_null());
}

#[tokio::test]
async fn a_replaced_certificate_is_used_without_a_word() {
    let wise = house::wise().await;
    let house = House::on(&wise)
        .set("runtime.reload_interval", "1s")
        .start()
        .await;
    assert_eq!(house.get("/v1/me").await.status, 200);
    let old = house.status().await["certificate"]["serial"].clone();

    house.site.certificate(&wise, "second");
    let status = house
        .status_until(|status| status["certificate"]["serial"] != old)
        .await;

    assert_eq!(house.get("/v1/me").await.status, 200);
    let shown = wise
        .recorded()
        .pop()
        .unwrap()
        .tls
        .unwrap()
        .client_certificate
        .unwrap()
        .serial;
    let bare = |text: &str| text.replace(':', "").trim_start_matches('0').to_owned();
    assert_eq!(
        bare(&shown),
        bare(status["certificate"]["serial"].as_str().unwrap())
    );
}
