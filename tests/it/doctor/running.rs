//! What a running proxy says of itself, and of the grants that it keeps.

use std::fs;

use bytes::Bytes;
use http::Request;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use wise_auth_proxy::simulator::{Disturb, Disturbance};

use super::{doctor, plan};
use crate::house::{self, post};

#[tokio::test]
async fn a_proxy_of_another_version_is_a_warning() {
    let wise = house::wise().await;
    let house = plan(&wise).start().await;
    house
        .status_until(|status| status["tokens"][0]["state"] == "live")
        .await;
    let asked = Request::get("/status").body(Bytes::new()).unwrap();
    let mut status = house.operate(asked).await.json();
    status["version"] = "0.0.9".into();
    let body = status.to_string();
    // Its words but for the version, which no proxy of today says.
    let other = UnixListener::bind(house.site.path("other.sock")).unwrap();
    let serving = async {
        loop {
            let (mut stream, _) = other.accept().await.unwrap();
            let _asked = stream.read(&mut [0; 4096]).await.unwrap();
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\
                 content-length: {length}\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    let set = format!("admin.socket={}", house.site.path("other.sock").display());
    let arguments = ["--set", &*set];
    let seen = tokio::select! {
        seen = doctor(&house.site, &arguments) => seen,
        () = serving => unreachable!(),
    };
    seen.only(&[("proxy.running", "warning")]);
    seen.says(
        "proxy.running",
        "version 0.0.9, ",
        "restart the proxy to have it run the installed version",
    );
}

#[tokio::test]
async fn a_proxy_that_goes_on_with_its_old_settings_says_what_was_wrong_with_the_new_ones() {
    let wise = house::wise().await;
    // What is put right on the disk is not taken up by itself.
    let plan = plan(&wise).set("runtime.reload_interval", "1h");
    let house = plan.start().await;
    house
        .status_until(|status| status["tokens"][0]["state"] == "live")
        .await;
    let good = fs::read_to_string(&house.site.config).unwrap();
    let bad = good.replace("workers = 2", "wokers = 2");
    fs::write(&house.site.config, bad).unwrap();
    // As SIGHUP does: the command itself would stop at the configuration.
    let refused = house.operate(post("/reload", &json!({}))).await;
    assert_ne!(refused.status, 200, "{refused:?}");
    fs::write(&house.site.config, good).unwrap();
    let seen = doctor(&house.site, &[]).await;
    seen.only(&[("proxy.ready", "warning")]);
    seen.says(
        "proxy.ready",
        "the last reload failed: ",
        "wise-auth-proxy reload",
    );
}

#[tokio::test]
async fn a_proxy_without_a_token_says_why() {
    let wise = house::wise().await;
    wise.change_faults(|faults| faults.token.lifetime = 1);
    let site = plan(&wise).prepare().await;
    wise.change_faults(|faults| {
        faults.token.disturb = Some(Disturb::always(Disturbance::ServerError));
    });
    let house = site.start().await;
    house
        .status_until(|status| {
            let token = &status["tokens"][0];
            token["state"] != "live" && token["last_error"]["text"].is_string()
        })
        .await;
    let seen = doctor(&house.site, &[]).await;
    assert_eq!(seen.state("grant.main.token"), "failed", "{:#}", seen.whole);
    seen.says("grant.main.token", "the proxy has no token: ", "");
    assert!(!seen.hint("grant.main.token").is_empty());
}
