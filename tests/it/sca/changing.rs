//! What changes while a person thinks: an approval is for what was asked, and for nothing else.

use http::StatusCode;

use super::approving::Approver;
use super::*;
use crate::wire::{Stub, Wire};

/// Changes the configuration in the middle of a wait, and reloads.
async fn reloaded(guarded: &Guarded, from: &str, to: &str) {
    let config = &guarded.house.site.config;
    let before = std::fs::read_to_string(config).unwrap();
    assert!(before.contains(from), "{before}");
    std::fs::write(config, before.replacen(from, to, 1)).unwrap();
    guarded.house.reload().await;
}

/// Has a funding approved after `change`: the application gets Wise's first answer all the same, and
/// nothing leaves.
async fn is_withdrawn(
    plan: impl FnOnce(Plan<'_>) -> Plan<'_>,
    change: impl AsyncFnOnce(&Guarded),
    why: &str,
) {
    let approver = Approver::start().await;
    let guarded = approver.house(plan).await;
    let answering = async {
        let asked = approver.asked(1).await;
        change(&guarded).await;
        let ott = word(&asked.question["one_time_token"]);
        assert_eq!(guarded.wise.approve(Some(&ott), None), 1);
        asked.answer.send(StatusCode::OK).unwrap();
        ott
    };
    let (answer, ott) = tokio::join!(guarded.fund(), answering);
    assert_eq!(challenged(&answer), ott, "Wise's own answer: {why}");
    assert_eq!(guarded.statuses(), [403], "nothing was sent again: {why}");
    guarded.house.logs(why).await;
    guarded.is_noted(&ott, &["withdrawn"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_pay_any_more_does_not() {
    let change = async |guarded: &Guarded| {
        let door = "[[door]]\n";
        let strict = "[[door]]\npolicy = \"no-funding\"\n";
        reloaded(guarded, door, strict).await;
        assert_eq!(guarded.fund().await.problem(), "not-allowed");
    };
    is_withdrawn(|plan| plan, change, "were loaded anew").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_was_taken_away_carries_nothing_more() {
    let change = async |guarded: &Guarded| {
        guarded.house.turn("oauth").await;
        let (both, one) = (
            "lane = \"oauth-mtls\"",
            "lane = \"oauth\"\nallow = [\"oauth\"]",
        );
        reloaded(guarded, both, one).await;
    };
    is_withdrawn(|plan| plan, change, "approved, and not sent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_has_ended_pays_nothing_more() {
    let change = async |guarded: &Guarded| {
        assert_eq!(guarded.wise.disconnect(PROFILE), 1);
        let refreshed = guarded.house.cli(&["token", "refresh", "main"]).await;
        assert!(!refreshed.status.success(), "{refreshed:?}");
        let answer = guarded.house.get("/v1/me").await;
        assert_eq!(answer.problem(), "reauthorisation-required");
    };
    is_withdrawn(|plan| plan, change, "its grant has no living token").await;
}

/// Wise debits whom the path names, and the person would be told of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_asked_about_another_profile_than_wise_debits() {
    const OTT: &str = "65a31b86-aa2e-47fd-a7a4-3710437ba270";
    let approver = Approver::start().await;
    let mut options = house::wise_options();
    options.business_profiles = vec![PROFILE, PROFILE + 1];
    let wise = Simulator::start(options).await.unwrap();
    let mut stub = Stub::start().await;
    let plan = House::on(&wise).lane("oauth");
    let plan = plan
        .grant("main", PROFILE)
        .grant("branch", PROFILE + 1)
        .set("upstream.warm_connections", "0");
    let site = approver.site(plan).await;
    let config = std::fs::read_to_string(&site.config).unwrap();
    let (real, url) = (wise.plain_url(), stub.url());
    let there = format!("plain = \"{url}\"\ntoken_url = \"{real}/oauth/token\"");
    let config = config.replace(&format!("plain = \"{real}\""), &there);
    std::fs::write(&site.config, config).unwrap();
    let house = site.start().await;
    let (ours, other) = (PROFILE.to_string(), (PROFILE + 1).to_string());
    let path = |profile: &str| format!("/v3/profiles/{profile}/transfers/1/payments");
    let hidden = path(&other).replace("/profiles/", "/%70rofiles/");
    for (target, field) in [
        (path(&ours), Some(("x-wise-profile", &other))),
        (format!("{}?profile={other}", path(&ours)), None),
        (hidden, None),
        (path(&ours), Some(("x-original-url", &path(&other)))),
    ] {
        let mut request = post(&target, &json!({"type": "BALANCE"}));
        if let Some((name, value)) = field {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let answering = async {
            let mut wise = stub.connection().await;
            wise.request().await.unwrap();
            let answer = format!(
                "HTTP/1.1 403 Forbidden\r\nx-2fa-approval-result: REJECTED\r\n\
                 x-2fa-approval: {OTT}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
            );
            wise.send(answer).await;
        };
        let (answer, ()) = tokio::join!(house.request(request), answering);
        assert_eq!(answer.status, 403, "{answer:?}");
        assert_eq!(answer.headers["x-2fa-approval"], OTT);
        assert_eq!(stub.uncalled(), 0, "not even Wise was asked: {target}");
    }
    assert_eq!(*approver.came.borrow(), 0);
    house.logs("nobody was asked: the request names").await;
    house.logs("nobody was asked: its path encodes").await;
    house
        .logs("nobody was asked: a field asks for another")
        .await;
    house.logs(" sca=failed").await;
}

/// A person's time is no latency of ours, also where the application leaves in the middle of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_nobody_sees_the_end_of_is_not_ours() {
    let approver = Approver::start().await;
    let guarded = approver.house(|plan| plan).await;
    let body = "{\"type\":\"BALANCE\"}";
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        guarded.path,
        body.len()
    );
    let mut application = Wire::to(guarded.house.door).await;
    application.send(&head).await;
    let _asked = approver.asked(1).await;
    // What is to be measured.
    let thinking = std::time::Duration::from_secs(1);
    tokio::time::sleep(thinking).await;
    drop(application);
    guarded.house.logs(" sca=abandoned").await;
    let log = guarded.house.log();
    let line = log.lines().find(|line| line.contains(" sca=abandoned"));
    let line = line.unwrap();
    let number = |name: &str| -> u128 {
        let mut words = line.split(' ');
        let value = words.find_map(|word| word.strip_prefix(name));
        value.unwrap_or_else(|| panic!("{line}")).parse().unwrap()
    };
    assert!(number("upstream_us=") >= thinking.as_micros(), "{line}");
    let ours = number("total_us=") - number("upstream_us=");
    assert!(number("added_us=") <= ours, "{line}");
}
