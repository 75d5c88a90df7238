//! The switch: one command, remembered, written down, and bounded by the configuration.

use bytes::Bytes;
use http::Request;
use wise_auth_proxy::simulator::{Credential, Simulator};

use crate::house::{self, Connection, House, PROFILE};

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

/// Rewrites a house's configuration and asks for a reload.
async fn reload_with(house: &House, change: impl Fn(&str) -> String) -> std::process::Output {
    let before = std::fs::read_to_string(&house.site.config).unwrap();
    let after = change(&before);
    assert_ne!(before, after, "the change must change something");
    std::fs::write(&house.site.config, after).unwrap();
    house.cli(&["reload"]).await
}

/// The same configuration for Wise's own sandbox, whose hosts are known.
fn in_the_sandbox(text: &str) -> String {
    let hosts = ["plain = ", "mtls = ", "authorise = "];
    let lines = text.lines();
    let kept = lines.filter(|line| !hosts.iter().any(|key| line.starts_with(key)));
    let kept: Vec<_> = kept.collect();
    kept.join("\n").replacen("\"custom\"", "\"sandbox\"", 1)
}

#[tokio::test]
async fn a_reload_never_takes_a_door_or_a_grant_to_another_account() {
    let wise = house::wise().await;
    let house = House::on(&wise).start().await;
    let original = std::fs::read_to_string(&house.site.config).unwrap();
    // The new grant is not in use before a restart: its door must not go as the default.
    let branch = "address = \"127.0.0.1:0\"\ngrant = \"branch\"\n[[grant]]\nname = \"branch\"\n\
                  profile = 30000001\n[switch]";
    for (after, key) in [
        (in_the_sandbox(&original), "environment"),
        (
            original.replacen("\"acme\"", "\"other\"", 1),
            "oauth.client_id",
        ),
        (
            original.replacen("address = \"127.0.0.1:0\"\n[switch]", branch, 1),
            "door.grant",
        ),
    ] {
        let output = reload_with(&house, |_| after.clone()).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(key) && said.contains("restart"), "{said}");
        let undone = reload_with(&house, |_| original.clone()).await;
        assert!(undone.status.success(), "{undone:?}");
    }
    assert_eq!(house.get("/v1/me").await.status, 200);
    let refreshed = house.cli(&["token", "refresh", "main"]).await;
    assert!(refreshed.status.success(), "the grant lives: {refreshed:?}");
}

#[tokio::test]
async fn doors_in_another_order_keep_their_own_rules() {
    let wise = house::wise().await;
    let second = "[[door]]\naddress = \"unix:app.sock\"\npolicy = \"read-only\"\n";
    let house = House::on(&wise).toml(second).start().await;

    let output = reload_with(&house, |text| {
        let (head, rest) = text.split_once("[[door]]").unwrap();
        format!("{head}{second}[[door]]{}", rest.replace(second, ""))
    });
    let output = output.await;

    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(
        !said.contains("door"),
        "a door is known by its address, not by its place: {said}"
    );
    let quote =
        serde_json::json!({ "sourceCurrency": "GBP", "targetCurrency": "EUR", "sourceAmount": 1 });
    let answer = house
        .request(house::post("/v3/profiles/30000000/quotes", &quote))
        .await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
}

#[tokio::test]
async fn each_door_asks_with_the_token_of_its_own_grant() {
    let mut options = house::wise_options();
    options.business_profiles = vec![PROFILE, PROFILE + 1, PROFILE + 2];
    let wise = Simulator::start(options).await.unwrap();
    let doors = r#"[{ address = "127.0.0.1:0", grant = "branch" },
        { address = "unix:works.sock", grant = "works" }, { address = "unix:any.sock" }]"#;
    let house = House::on(&wise)
        .grant("main", PROFILE)
        .grant("branch", PROFILE + 1)
        .grant("works", PROFILE + 2)
        .set("door", doors)
        .start()
        .await;
    wise.clear();
    let me = || Request::get("/v1/me").body(Bytes::new()).unwrap();
    let at = async |socket| {
        let stream = tokio::net::UnixStream::connect(house.site.path(socket)).await;
        Connection::over(stream.unwrap()).await
    };
    for lane in ["oauth-mtls", "oauth"] {
        house.turn(lane).await;
        for (door, mut connection, acts_for) in [
            ("branch", house.connect().await, PROFILE + 1),
            ("works", at("works.sock").await, PROFILE + 2),
            ("default", at("any.sock").await, PROFILE),
        ] {
            let answer = connection.request(me()).await.unwrap();
            assert_eq!(answer.status, 200, "{lane} {door}: {answer:?}");
            let arrived = wise.recorded().pop().unwrap();
            let by = matches!(arrived.credential, Credential::User { profile, live: true, .. }
                if profile == acts_for);
            assert!(by, "{lane} {door}: {arrived:?}");
        }
    }
    assert_eq!(wise.recorded().len(), 6);
}
