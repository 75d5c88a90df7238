//! Grants: what is stored, and what Wise says to it.

use std::fs;

use serde_json::json;

use super::{broken, doctor, plan};
use crate::house::{self, PROFILE, post};

/// The account's other profile.
const OTHER: u64 = 14_575_282;

#[tokio::test]
async fn a_grant_that_wise_has_ended_fails_without_a_proxy_and_lanes_are_not_blamed() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    wise.disconnect(PROFILE);
    let seen = doctor(&site, &[]).await;
    seen.only(&[("grant.main.accepted", "failed")]);
    let login = "login --grant main";
    seen.says(
        "grant.main.accepted",
        "no longer knows the access token",
        login,
    );
    let left = seen.left_out("grant.main.accepted");
    assert_eq!(
        left,
        ["grant.main.profile", "lane.oauth", "lane.oauth-mtls"]
    );
}

#[tokio::test]
async fn a_grant_that_wise_has_ended_fails_where_a_door_with_a_lane_of_its_own_uses_it() {
    for (pinned, state) in [("", "warning"), ("lane = \"oauth\"\n", "failed")] {
        let wise = house::wise().await;
        let door = format!("[[door]]\naddress = \"unix:old.sock\"\n{pinned}");
        let site = plan(&wise).lane("personal").toml(&door).prepare().await;
        wise.disconnect(PROFILE);
        let seen = doctor(&site, &[]).await;
        seen.only(&[("grant.main.accepted", state)]);
        let asked = if pinned.is_empty() {
            "oauth-mtls"
        } else {
            "oauth"
        };
        assert_eq!(seen.check("grant.main.accepted")["facts"]["lane"], asked);
    }
}

#[tokio::test]
async fn a_grant_that_its_proxy_knows_to_be_over_fails_by_the_proxys_word() {
    let wise = house::wise().await;
    let house = plan(&wise).start().await;
    house
        .status_until(|status| status["tokens"][0]["state"] == "live")
        .await;
    wise.disconnect(PROFILE);
    house.cli(&["token", "refresh", "main"]).await;
    house
        .status_until(|status| status["tokens"][0]["state"] == "dead")
        .await;
    let seen = doctor(&house.site, &[]).await;
    seen.only(&[("grant.main.token", "failed"), ("proxy.ready", "failed")]);
    seen.says(
        "grant.main.token",
        "the grant is over",
        "login --grant main",
    );
    let details = seen.check("proxy.ready")["details"].to_string();
    assert!(details.contains("grant main"), "{details}");
}

#[tokio::test]
async fn a_proxy_that_renewed_while_we_looked_is_no_failure() {
    let wise = house::wise().await;
    let house = plan(&wise).start().await;
    // Wise ends a token with each of them, at whatever moment of the rounds.
    let refreshing = async {
        loop {
            let answer = house
                .operate(post("/tokens/main/refresh", &json!({})))
                .await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    };
    let looking = async {
        for _ in 0..5 {
            doctor(&house.site, &[]).await.only(&[]);
        }
    };
    tokio::select! {
        () = looking => {}
        () = refreshing => unreachable!(),
    }
    assert!(
        wise.exchange_count() > 20,
        "{} exchanges",
        wise.exchange_count()
    );
}

#[tokio::test]
async fn a_grant_of_another_client_or_another_profile_is_told_apart() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    let mut config = fs::read_to_string(&site.config).unwrap();
    let seen = doctor(&site, &["--set", "oauth.client_id=other"]).await;
    assert_eq!(seen.state("grant.main.record"), "failed");
    seen.says(
        "grant.main.record",
        "belongs to client acme, not to other",
        "oauth.client_id",
    );

    config = config.replace(&format!("profile = {PROFILE}"), "profile = 77");
    fs::write(&site.config, config).unwrap();
    let seen = doctor(&site, &[]).await;
    seen.only(&[("grant.main.record", "failed")]);
    let hint = format!("correct the grant's profile to {PROFILE}");
    seen.says(
        "grant.main.record",
        "the configuration says profile 77",
        &hint,
    );
}

#[tokio::test]
async fn a_profile_that_is_not_among_the_users_fails_and_the_rest_is_good() {
    let wise = house::wise().await;
    let site = plan(&wise).logged_out().prepare().await;
    // A code says nothing of its profile: the configuration's is taken on trust.
    site.log_in(&wise, "main", OTHER).await;
    let seen = doctor(&site, &[]).await;
    seen.only(&[("grant.main.profile", "failed")]);
    let text = format!("profile {PROFILE} is not among the user's: {OTHER}");
    seen.says("grant.main.profile", &text, &format!("and pick {PROFILE}"));
}

#[tokio::test]
async fn a_record_that_is_damaged_or_sealed_under_another_key_has_its_own_way_back() {
    let wise = house::wise().await;
    let site = plan(&wise).prepare().await;
    let record = site.path("state/main.grant");
    let good = fs::read(&record).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(&record, bad).unwrap();
    let seen = doctor(&site, &[]).await;
    seen.only(&[("grant.main.record", "failed")]);
    seen.says("grant.main.record", "is damaged", "token restore main");

    fs::write(&record, good).unwrap();
    site.secret("seal_key", "c2V2ZW5zZXZlbnNldmVuc2V2ZW5zZXZlbnNldmVuMTI=");
    let seen = doctor(&site, &["--set", "store.seal_key={ file = \"seal_key\" }"]).await;
    seen.only(&[("grant.main.record", "failed")]);
    seen.says("grant.main.record", "under another key", "store.seal_key");
}

#[tokio::test]
async fn an_access_token_that_has_ended_without_a_proxy_is_a_warning() {
    let wise = house::wise().await;
    wise.change_faults(|faults| faults.token.lifetime = 1);
    let site = plan(&wise).prepare().await;
    let deadline = tokio::time::Instant::now() + house::PATIENCE;
    let seen = loop {
        let seen = doctor(&site, &[]).await;
        if seen.text("grant.main.token").contains("ended") {
            break seen;
        }
        assert!(tokio::time::Instant::now() < deadline, "it never ends");
    };
    seen.only(&[
        ("grant.main.token", "warning"),
        ("grant.main.accepted", "skipped"),
        ("grant.main.profile", "skipped"),
        ("lane.oauth", "skipped"),
        ("lane.oauth-mtls", "skipped"),
    ]);
    seen.says(
        "grant.main.token",
        "the access token ended",
        "run --config ",
    );
    seen.says(
        "lane.oauth-mtls",
        "not asked: the access token has ended",
        "",
    );
}

#[tokio::test]
async fn a_refresh_token_that_has_ended_needs_a_login() {
    let wise = house::wise().await;
    wise.change_faults(|faults| faults.token.refresh_lifetime = 1);
    let site = plan(&wise).prepare().await;
    let deadline = tokio::time::Instant::now() + house::PATIENCE;
    let seen = loop {
        let seen = doctor(&site, &[]).await;
        if seen.state("grant.main.token") == "failed" {
            break seen;
        }
        assert!(tokio::time::Instant::now() < deadline, "it never ends");
    };
    seen.only(&[("grant.main.token", "failed")]);
    seen.says(
        "grant.main.token",
        "the refresh token ended",
        "login --grant main",
    );
}

#[tokio::test]
async fn a_grant_without_a_login_beside_one_that_works_names_itself() {
    let wise = house::wise().await;
    let seen = broken(
        plan(&wise).grant("main", PROFILE).grant("other", OTHER),
        |site| fs::remove_file(site.path("state/other.grant")).unwrap(),
    )
    .await;
    seen.only(&[("grant.other.record", "failed")]);
    seen.says(
        "grant.other.record",
        "nobody has logged in",
        "login --grant other",
    );
    assert_eq!(seen.state("lane.oauth-mtls"), "good");
}
