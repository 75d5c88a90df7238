//! What a policy refuses never reaches Wise, and the application is told by whom and why.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::json;
use wise_auth_proxy::simulator::{Credential, Simulator};

use crate::failures_table::row;
use crate::house::{self, Answer, House, PROFILE, Plan, Site, post};
use crate::wire::{Stub, Wire};

const OTHER: u64 = 30_000_001;

/// A house whose door has the policy `payouts`, which holds these lines.
fn under<'a>(wise: &'a Simulator, lines: &str) -> Plan<'a> {
    let door = r#"[{ address = "127.0.0.1:0", policy = "payouts" }]"#;
    let policy = format!("[[policy]]\nname = \"payouts\"\n{lines}\n");
    House::on(wise).set("door", door).toml(&policy)
}

/// Puts other lines in the place of the policy's.
fn rewrite(site: &Site, before: &str, after: &str) {
    let text = std::fs::read_to_string(&site.config).unwrap();
    assert!(text.contains(before), "{text}");
    std::fs::write(&site.config, text.replace(before, after)).unwrap();
}

fn fund(transfer: u32) -> Request<Bytes> {
    let path = format!("/v3/profiles/{PROFILE}/transfers/{transfer}/payments");
    post(&path, &json!({ "type": "BALANCE" }))
}

/// A caller's key as the configuration knows it.
fn hash(key: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("sha256:{}", digits.collect::<String>())
}

/// What every refusal must look like.
fn refused(answer: &Answer, status: u16, kind: &str, detail: &str, hint: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.problem(), kind, "{answer:?}");
    let proxy_status = answer.headers["proxy-status"].to_str().unwrap();
    assert_eq!(
        proxy_status,
        format!("wise-auth-proxy; error=http_request_denied; details=\"{kind}\"")
    );
    let document = answer.json();
    assert_eq!(document["status"], status);
    assert_eq!(document["policy"], "payouts");
    let said = document["detail"].as_str().unwrap();
    assert!(
        said.contains(detail) && said.contains("`payouts`"),
        "{said}"
    );
    let advice = document["hint"].as_str().unwrap();
    assert!(advice.contains(hint), "{advice}");
}

#[tokio::test]
async fn what_no_rule_allows_or_one_denies_is_refused_with_the_rule() {
    let wise = house::wise().await;
    let house = under(
        &wise,
        "allow = [\"reads\", \"transfers\", \"POST /v3/profiles/*/quotes\"]\ndeny = [\"funding\"]",
    )
    .start()
    .await;
    wise.clear();

    let answer = house.request(post("/v1/accounts", &json!({}))).await;
    refused(
        &answer,
        403,
        "not-allowed",
        "no rule of the policy `payouts` allows it",
        "policy test",
    );
    assert_eq!(answer.json()["reason"], "not-in-allow");
    let answer = house.request(fund(17)).await;
    refused(
        &answer,
        403,
        "not-allowed",
        "by rule 1 of `deny`, `funding`",
        "policy test",
    );
    assert_eq!(answer.json()["rule"], "funding");
    for path in [
        "/v1//me",
        "/v1/me/",
        "/v1/%6de",
        "/v1/x/%2e%2e/me",
        "/v1/me;a=b",
        "/v1/me%2fx",
    ] {
        let answer = house.get(path).await;
        let detail = "could be read in more than one way";
        refused(
            &answer,
            403,
            "not-allowed",
            detail,
            "as Wise's reference writes it",
        );
    }
    for field in [
        "X-HTTP-Method-Override",
        "x-http-method",
        "X-Method-Override",
        "X_HTTP_Method_Override",
        "X-Original-URL",
        "X-Rewrite-URL",
    ] {
        let request = Request::get("/v1/me").header(field, "DELETE");
        let answer = house.request(request.body(Bytes::new()).unwrap()).await;
        let detail = "a field asks for another method or path";
        refused(&answer, 403, "not-allowed", detail, "where it belongs");
    }
    let answer = house.get("/v1/me?%5Fmethod=delete").await;
    let detail = "its query asks for another method";
    refused(&answer, 403, "not-allowed", detail, "where it belongs");
    assert_eq!(wise.recorded().len(), 0, "nothing may reach Wise");

    assert_eq!(house.get("/v1/me").await.status, 200);
    let quotes = format!("/v3/profiles/{PROFILE}/quotes");
    let quote = json!({ "sourceCurrency": "EUR", "targetCurrency": "GBP", "sourceAmount": 10 });
    assert_eq!(house.request(post(&quotes, &quote)).await.status, 200);
    let counted = "policy=\"payouts\",reason=\"denied\"";
    assert!(
        house
            .metric("wise_proxy_policy_refusals_total", counted)
            .await
            >= 1.0
    );
    let other = house.metric("wise_proxy_policy_refusals_total", "mode=\"observed\"");
    assert!(other.await < 0.5);
}

#[tokio::test]
async fn a_denied_funding_does_not_pass_under_another_spelling() {
    let wise = house::wise().await;
    let house = under(&wise, "deny = [\"funding\"]\nfundings_per_hour = 9")
        .start()
        .await;
    wise.clear();
    let path = format!("/v3/profiles/{PROFILE}/transfers/17/payments");
    let twice = "could be read in more than one way";
    let denied = "by rule 1 of `deny`, `funding`";
    for (method, before, end, detail) in [
        ("post", "", "", twice),
        ("Post", "", "", twice),
        ("POST", "", "%20", twice),
        ("POST", "", "%C2%A0", twice),
        ("POST", "", ".json", denied),
        ("POST", "", ".", denied),
        ("PUT", "", "", denied),
        ("POST", "/gateway", "", denied),
        ("POST", "/api/V9/Gateway", ".json", denied),
    ] {
        let mut wire = Wire::to(house.door).await;
        let head = "HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";
        let target = format!("{before}{path}{end}");
        wire.send(format!("{method} {target} {head}")).await;
        let answer = wire.answer().await;
        println!("{method} {target}");
        refused(&answer, 403, "not-allowed", detail, "");
        let said = house.cli(&["policy", "test", method, &target]).await;
        assert_eq!(said.status.code(), Some(3), "{method} {target}: {said:?}");
    }
    assert_eq!(wise.recorded().len(), 0, "nothing may reach Wise");
}

#[tokio::test]
async fn a_profile_that_may_not_be_acted_for_is_refused_wherever_it_is_named() {
    let wise = house::wise().await;
    // The account has one profile; of the other nothing but its name is needed.
    let lines = format!("profiles = [{PROFILE}]\n[[grant]]\nname = \"branch\"\nprofile = {OTHER}");
    let house = under(&wise, &lines).start().await;
    wise.clear();
    let paths = [
        format!("/v2/profiles/{OTHER}"),
        format!("/v1/transfers?profile={OTHER}"),
        format!("/v1/transfers?profile={PROFILE}&%70rofileId={OTHER}"),
    ];
    for path in &paths {
        let answer = house.get(path).await;
        let detail = format!("does not let profile {OTHER} be acted for");
        refused(
            &answer,
            403,
            "not-allowed",
            &detail,
            "lists what it lets pass",
        );
    }
    let field = Request::get("/v1/me").header("x-wise-profile", OTHER.to_string());
    let answer = house.send(field).await;
    refused(
        &answer,
        403,
        "not-allowed",
        "be acted for",
        "lists what it lets pass",
    );
    assert_eq!(wise.recorded().len(), 0);
    assert_eq!(
        house.get("/v1/me").await.status,
        200,
        "the default grant acts for it"
    );
    let path = format!("/v2/profiles/{PROFILE}");
    assert_eq!(house.get(&path).await.status, 200);

    house.turn("personal").await;
    wise.clear();
    let answer = house.get("/v1/me").await;
    refused(
        &answer,
        403,
        "not-allowed",
        "the personal token would act for any",
        "name the profile",
    );
    // Our own field says whom we ask for, and Wise never sees it.
    let field = Request::get("/v1/me").header("x-wise-profile", PROFILE.to_string());
    let answer = house.send(field).await;
    let hint = "in the path, or as `profile` in the query";
    let detail = "the personal token would act for any";
    refused(&answer, 403, "not-allowed", detail, hint);
    assert_eq!(wise.recorded().len(), 0);
    assert_eq!(house.get(&path).await.status, 200);
    let named = format!("/v1/transfers?profile={PROFILE}");
    assert_eq!(house.get(&named).await.status, 200);
}

#[tokio::test]
async fn a_grant_of_another_profile_does_not_serve_and_neither_does_another_lane() {
    let wise = house::wise().await;
    let house = under(&wise, &format!("profiles = [{OTHER}]")).start().await;
    wise.clear();
    let answer = house.get("/v1/me").await;
    refused(
        &answer,
        403,
        "not-allowed",
        "the profile of the grant",
        "lists what it lets pass",
    );
    assert_eq!(wise.recorded().len(), 0);

    rewrite(
        &house.site,
        &format!("profiles = [{OTHER}]"),
        "lanes = [\"oauth\"]",
    );
    house.reload().await;
    let answer = house.get("/v1/me").await;
    refused(
        &answer,
        403,
        "not-allowed",
        "does not let lane oauth-mtls be used",
        "policy test",
    );
    assert_eq!(wise.recorded().len(), 0);
    house.turn("oauth").await;
    assert_eq!(house.get("/v1/me").await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_before_or_broken_while_it_goes() {
    for http in ["1.1", "2"] {
        let wise = house::wise().await;
        let house = under(&wise, "max_body = 10")
            .set("upstream.http", http)
            .start()
            .await;
        wise.clear();
        let long = Request::post("/v1/simulator/echo").body(Bytes::from_static(b"hello world"));
        let answer = house.request(long.unwrap()).await;
        refused(
            &answer,
            413,
            "body-too-large",
            "longer than the 10 bytes",
            "max_body",
        );
        row("door-body-too-large")
            .shown(&house, &answer, wise.recorded().len())
            .await;

        let head = "POST /v1/simulator/echo HTTP/1.1\r\nHost: localhost\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        let mut wire = Wire::to(house.door).await;
        wire.send(format!("{head}5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"))
            .await;
        let answer = wire.answer().await;
        refused(
            &answer,
            413,
            "body-too-large",
            "longer than the 10 bytes",
            "max_body",
        );
        let whole = wise
            .recorded()
            .into_iter()
            .filter(|it| it.body.complete)
            .count();
        assert_eq!(whole, 0, "half a payment must not look whole");

        let mut wire = Wire::to(house.door).await;
        wire.send(format!("{head}5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"))
            .await;
        let answer = wire.answer().await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["bytes"]),
            (200, &json!(10))
        );
    }
}

#[tokio::test]
async fn of_requests_that_come_at_once_as_many_pass_as_the_minute_allows() {
    let wise = house::wise().await;
    let house = under(&wise, "requests_per_minute = 1").start().await;
    wise.clear();
    let answers = futures_util::future::join_all((0..20).map(|_| house.get("/v1/me"))).await;
    let (passed, others): (Vec<_>, Vec<_>) = answers.iter().partition(|it| it.status == 200);
    assert_eq!(passed.len(), 1, "two workers share one count");
    for answer in others {
        refused(
            answer,
            429,
            "rate-limited",
            "lets 1 requests a minute pass",
            "slow down",
        );
        let after = answer.headers["retry-after"].to_str().unwrap();
        assert!((1..=60).contains(&after.parse::<u32>().unwrap()), "{after}");
        let others = wise.recorded().len() - 1;
        row("door-rate").shown(&house, answer, others).await;
    }

    house.reload().await;
    let answer = house.get("/v1/me").await;
    assert_eq!(answer.status, 429, "a reload gives nobody a fresh start");
}

#[tokio::test]
async fn so_many_are_served_at_once_and_a_place_is_free_when_the_answer_went_or_nobody_waits() {
    let wise = house::wise().await;
    let mut stub = Stub::start().await;
    let house = under(&wise, "concurrent_requests = 2")
        .lane("personal")
        .logged_out()
        .towards(&stub)
        .start()
        .await;
    let ask = "GET /v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (mut one, mut other) = (Wire::to(house.door).await, Wire::to(house.door).await);
    one.send(ask).await;
    let mut first = stub.connection().await;
    first.request().await.unwrap();
    other.send(ask).await;
    let mut second = stub.connection().await;
    second.request().await.unwrap();

    let answer = house.get("/v1/me").await;
    refused(
        &answer,
        429,
        "too-many-at-once",
        "lets 2 requests be served at once",
        "wait for",
    );
    assert_eq!(answer.headers["retry-after"], "1");
    row("door-at-once")
        .shown(&house, &answer, stub.uncalled())
        .await;

    first
        .say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    assert_eq!(one.answer().await.body, "hi");
    one.send(ask).await;
    tokio::select! {
        request = first.request() => assert!(request.is_some()),
        mut connection = stub.connection() => {
            connection.request().await.unwrap();
        }
        answer = one.answer() => panic!("{answer:?}: {}", house.log()),
    }

    // Whoever goes away leaves a place, too.
    other.reset();
    second
        .say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    house
        .metric_until("wise_proxy_requests_in_flight", 1.0)
        .await;
    let mut third = Wire::to(house.door).await;
    third.send(ask).await;
    tokio::select! {
        request = second.request() => assert!(request.is_some()),
        mut connection = stub.connection() => assert!(connection.request().await.is_some()),
        answer = third.answer() => panic!("{answer:?}: {}", house.log()),
    }
}

#[tokio::test]
async fn fundings_are_capped_and_neither_a_kill_nor_a_reload_forgets_them() {
    let wise = house::wise().await;
    let house = under(&wise, "fundings_per_hour = 2").start().await;
    wise.clear();
    for transfer in [1, 2] {
        let answer = house.request(fund(transfer)).await;
        assert!(
            answer.headers.get("proxy-status").is_none(),
            "Wise's own: {answer:?}"
        );
    }
    let capped = |answer: &Answer| {
        refused(
            answer,
            429,
            "funding-cap",
            "lets 2 fundings pass in any hour",
            "raise `fundings_per_hour` of the policy `payouts`",
        );
        let after = answer.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u32>()
            .unwrap();
        assert!((3000..=3600).contains(&after), "{after}");
    };
    let answer = house.request(fund(3)).await;
    capped(&answer);
    let others = wise.recorded().len() - 2;
    row("door-funding-cap").shown(&house, &answer, others).await;
    assert_eq!(
        house.get("/v1/me").await.status,
        200,
        "only fundings are capped"
    );
    house.reload().await;
    capped(&house.request(fund(3)).await);
    let told = house
        .status_until(|status| status["events"].to_string().contains("funding_capped"))
        .await;
    let events = told["events"].as_array().unwrap().iter();
    assert_eq!(
        events
            .filter(|event| event["kind"] == "funding_capped")
            .count(),
        1
    );

    house.signal("KILL");
    house.ended().await;
    let house = house.site.start().await;
    capped(&house.request(fund(3)).await);
    let fundings = wise
        .recorded()
        .into_iter()
        .filter(|it| it.target.ends_with("/payments"));
    assert_eq!(fundings.count(), 2);
    rewrite(
        &house.site,
        "fundings_per_hour = 2",
        "fundings_per_hour = 3",
    );
    house.reload().await;
    let answer = house.request(fund(3)).await;
    assert!(answer.headers.get("proxy-status").is_none(), "{answer:?}");
}

#[tokio::test]
async fn of_fundings_that_race_exactly_as_many_pass_as_the_cap_says() {
    let wise = house::wise().await;
    let house = under(&wise, "fundings_per_hour = 5").start().await;
    wise.clear();
    let fundings = (0..40).map(|transfer| house.request(fund(transfer)));
    let answers = futures_util::future::join_all(fundings).await;
    let capped = answers
        .iter()
        .filter(|it| it.headers.contains_key("proxy-status"));
    assert_eq!(capped.count(), 35);
    assert_eq!(wise.recorded().len(), 5);
    let ledger = std::fs::read_to_string(house.site.path("state/fundings.log")).unwrap();
    assert_eq!(ledger.lines().count(), 5, "{ledger}");
    assert!(
        !ledger.contains("payments") && !ledger.contains("30000000"),
        "{ledger}"
    );
}

#[tokio::test]
async fn a_funding_that_was_sent_again_after_a_401_counts_once() {
    let wise = house::wise().await;
    let house = under(&wise, "fundings_per_hour = 1").start().await;
    wise.clear();
    wise.revoke_access(PROFILE);
    let answer = house.request(fund(1)).await;
    assert!(answer.headers.get("proxy-status").is_none(), "{answer:?}");
    let fundings = wise
        .recorded()
        .into_iter()
        .filter(|it| it.target.ends_with("/payments"));
    assert_eq!(fundings.count(), 2, "it was sent again");
    let ledger = std::fs::read_to_string(house.site.path("state/fundings.log")).unwrap();
    assert_eq!(ledger.lines().count(), 1, "{ledger}");
}

#[tokio::test]
async fn a_funding_that_cannot_be_written_down_does_not_leave() {
    let wise = house::wise().await;
    let house = under(&wise, "fundings_per_hour = 2").start().await;
    wise.clear();
    let ledger = house.site.path("state/fundings.log");
    std::fs::create_dir(&ledger).unwrap();
    let answer = house.request(fund(1)).await;
    refused(
        &answer,
        503,
        "funding-unrecorded",
        "cannot be written down",
        "nothing was paid",
    );
    assert!(answer.headers.contains_key("retry-after"));
    row("door-funding-unrecorded")
        .shown(&house, &answer, wise.recorded().len())
        .await;
    assert_eq!(house.get("/v1/me").await.status, 200);

    std::fs::remove_dir(&ledger).unwrap();
    let answer = house.request(fund(1)).await;
    assert!(answer.headers.get("proxy-status").is_none(), "{answer:?}");
}

#[tokio::test]
async fn a_cap_that_is_tried_out_waits_for_no_disk_and_counts_only_what_leaves() {
    let wise = house::wise().await;
    let door = r#"[{ address = "127.0.0.1:0", policy = "payouts", callers = ["payroll"] }]"#;
    let lines = format!(
        "[[policy]]\nname = \"payouts\"\nfundings_per_hour = 1\n\
         [[policy]]\nname = \"trial\"\nobserve = true\nfundings_per_hour = 2\n\
         [[caller]]\nname = \"payroll\"\npolicy = \"trial\"\nhashes = [\"{}\"]\n",
        hash("planted-door-key")
    );
    let house = House::on(&wise)
        .set("door", door)
        .toml(&lines)
        .start()
        .await;
    wise.clear();
    let fund = |transfer| {
        let mut request = fund(transfer);
        let key = "Bearer planted-door-key".parse().unwrap();
        request.headers_mut().insert("authorization", key);
        request
    };
    let observed = "policy=\"trial\",reason=\"funding-cap\",mode=\"observed\"";
    let counted = async |house: &House| {
        let name = "wise_proxy_policy_refusals_total";
        house.metric(name, observed).await
    };
    let ours = |answer: &Answer| answer.headers.contains_key("proxy-status");
    assert!(!ours(&house.request(fund(1)).await));
    for transfer in 2..5 {
        let answer = house.request(fund(transfer)).await;
        let detail = "lets 1 fundings pass in any hour";
        refused(
            &answer,
            429,
            "funding-cap",
            detail,
            "of the policy `payouts`",
        );
    }
    assert!(
        counted(&house).await < 0.5,
        "what did not leave is no funding"
    );

    // With nothing in force, nothing is written down.
    rewrite(&house.site, "fundings_per_hour = 1\n", "");
    house.reload().await;
    let ledger = house.site.path("state/fundings.log");
    std::fs::remove_file(&ledger).unwrap();
    std::fs::create_dir(&ledger).unwrap();
    assert!(!ours(&house.request(fund(5)).await));
    assert!(counted(&house).await < 0.5);
    assert!(!ours(&house.request(fund(6)).await));
    assert!(counted(&house).await > 0.5, "a reload gives no fresh start");
    house.logs("would_refuse=funding-cap policy=trial").await;
}

#[tokio::test]
async fn a_policy_that_observes_refuses_nothing_and_says_what_it_would_have() {
    let wise = house::wise().await;
    let rules = "observe = true\nallow = [\"quotes\"]\nmax_body = 1\nrequests_per_minute = 1\n\
                 concurrent_requests = 1\nfundings_per_hour = 0\nlanes = [\"oauth\"]\nprofiles = [1]";
    let house = under(&wise, rules).start().await;
    wise.clear();
    for _ in 0..3 {
        assert_eq!(house.get("/v1/me").await.status, 200);
    }
    let answer = house.request(fund(1)).await;
    assert!(answer.headers.get("proxy-status").is_none(), "{answer:?}");
    let mut wire = Wire::to(house.door).await;
    wire.send(
        "POST /v1/simulator/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    assert_eq!(wire.answer().await.json()["bytes"], 5);
    for (reason, least) in [
        ("not-in-allow", 3.0),
        ("rate", 2.0),
        ("grant", 1.0),
        ("lane", 3.0),
        ("funding-cap", 1.0),
        ("body", 1.0),
    ] {
        let labels = format!("reason=\"{reason}\",mode=\"observed\"");
        let labels = format!("policy=\"payouts\",{labels}");
        let counted = house
            .metric("wise_proxy_policy_refusals_total", &labels)
            .await;
        if reason == "grant" {
            // A lane that is not allowed is found first.
            continue;
        }
        assert!(counted >= least, "{reason}: {counted}");
    }
    let other = house.metric("wise_proxy_policy_refusals_total", "enforced");
    assert!(other.await < 0.5);
    house.logs("would_refuse=not-in-allow policy=payouts").await;
    let told = house
        .log()
        .matches("no rule of the policy `payouts` allows it")
        .count();
    assert!(
        (1..=4).contains(&told),
        "once a minute for each operation: {told}"
    );

    rewrite(&house.site, "observe = true", "observe = false");
    house.reload().await;
    assert_eq!(
        house.get("/v1/me").await.status,
        403,
        "and is in force after a reload"
    );
}

#[tokio::test]
async fn a_login_for_another_profile_is_judged_as_that_from_its_first_token_on() {
    const PATH: &str = "/v1/transfers?limit=3";
    let mut options = house::wise_options();
    options.business_profiles = vec![PROFILE, OTHER];
    let wise = Simulator::start(options).await.unwrap();
    let plan = under(&wise, &format!("profiles = [{PROFILE}]"));
    // What is known of a login does not come from a look at the files.
    let plan = plan.set("runtime.reload_interval", "1h");
    let site = plan.prepare().await;
    rewrite(&site, &format!("\nprofile = {PROFILE}\n"), "\n");
    let house = site.start().await;
    assert_eq!(house.get(PATH).await.status, 200);

    let asking = async {
        let began = std::time::Instant::now();
        loop {
            let answer = house.get(PATH).await;
            if answer.status == 403 {
                return answer;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{answer:?}");
        }
    };
    let login = house.site.log_in(&wise, "main", OTHER);
    let (refused, ()) = tokio::join!(asking, login);

    assert_eq!(refused.problem(), "not-allowed");
    for arrived in wise.recorded() {
        let by_other = matches!(arrived.credential, Credential::User { profile, .. }
            if profile == OTHER);
        assert!(
            arrived.target != PATH || !by_other,
            "the policy is for the profile before: {arrived:?}"
        );
    }
    let other = OTHER.to_string();
    let status = house
        .status_until(|status| status["tokens"][0]["profile"] == *other)
        .await;
    assert_eq!(status["tokens"][0]["generation"], 2);
}

#[tokio::test]
async fn a_door_with_a_lane_of_its_own_is_not_moved_by_the_switch() {
    let wise = house::wise().await;
    let door = r#"[{ address = "127.0.0.1:0", lane = "personal" }]"#;
    let house = House::on(&wise).set("door", door).start().await;
    let by_personal = || wise.recorded().last().unwrap().credential == Credential::Personal;
    for lane in ["oauth-mtls", "oauth", "personal", "oauth-mtls"] {
        house.turn(lane).await;
        assert_eq!(house.get("/v1/me").await.status, 200);
        assert!(by_personal(), "{lane}");
        let status = house.status().await;
        assert_eq!(status["lane"], lane);
        let pinned = json!([{ "door": house.door.to_string(), "lane": "personal" }]);
        assert_eq!(status["pinned"], pinned);
    }
    house.logs("ACCESS GET /v1/me 200 lane=personal").await;
    assert!(
        house
            .metric("wise_proxy_requests_total", "lane=\"personal\"")
            .await
            >= 4.0
    );
    let shown = house.cli(&["status"]).await;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("always takes lane personal"), "{shown}");
}

#[tokio::test]
async fn a_door_can_stay_in_mutual_tls_while_the_switch_is_at_the_personal_token() {
    let wise = house::wise().await;
    let door = r#"[{ address = "127.0.0.1:0", lane = "oauth-mtls" }]"#;
    let house = House::on(&wise)
        .lane("personal")
        .set("door", door)
        .start()
        .await;
    assert_eq!(house.get("/v1/me").await.status, 200);
    let arrived = wise.recorded().pop().unwrap();
    assert!(
        matches!(arrived.credential, Credential::User { .. }),
        "{arrived:?}"
    );
    assert!(
        arrived
            .tls
            .is_some_and(|tls| tls.client_certificate.is_some())
    );
    // The spare lies ready in that lane, although the switch is elsewhere.
    let begun = std::time::Instant::now();
    while house.metric("wise_proxy_upstream_connections", "").await < 1.0 {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "no connection is warm"
        );
    }
}

#[tokio::test]
async fn a_grant_that_only_a_door_with_a_lane_of_its_own_needs_counts_for_readiness() {
    let wise = house::wise().await;
    let pinned = "lane = \"oauth-mtls\"\n";
    let door = format!("[[door]]\naddress = \"unix:old.sock\"\n{pinned}");
    let house = House::on(&wise).lane("personal").toml(&door).start().await;
    assert_eq!(house.admin("/readyz").await.status, 200);
    wise.disconnect(PROFILE);
    house.cli(&["token", "refresh", "main"]).await;
    house
        .status_until(|status| status["tokens"][0]["state"] == "dead")
        .await;
    let ready = house.admin("/readyz").await;
    let reason = String::from_utf8_lossy(&ready.body).into_owned();
    assert_eq!(ready.status, 503, "{reason}");
    assert!(reason.starts_with("grant main: "), "{reason}");

    rewrite(&house.site, pinned, "");
    house.reload().await;
    assert_eq!(
        house.admin("/readyz").await.status,
        200,
        "no door needs the grant any more"
    );
}

#[tokio::test]
async fn a_lane_that_a_door_cannot_use_is_found_by_config_check() {
    let wise = house::wise().await;
    let door = r#"[{ address = "127.0.0.1:0", lane = "oauth-mtls" }]"#;
    let site = House::on(&wise)
        .lane("personal")
        .logged_out()
        .set("switch.allow", "[\"personal\"]")
        .set("door", door)
        .prepare()
        .await;
    let output = site.cli(&["config", "check"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(
        said.contains("door[0].lane") && said.contains("switch.allow"),
        "{said}"
    );
}

#[tokio::test]
async fn a_rule_that_is_none_is_found_by_config_check_with_what_was_meant() {
    let wise = house::wise().await;
    let lines = "allow = [\"read\", \"qoutes\", \"GET /v1//me\"]\ndeny = [\"get /v1/me\"]";
    let site = under(&wise, lines).logged_out().prepare().await;
    let output = site.cli(&["config", "check"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    for line in [
        "policy[0].allow",
        "rule 1 is no set of operations; did you mean \"reads\"?",
        "rule 2 is no set of operations; did you mean \"quotes\"?",
        "rule 3 has an empty segment",
        "policy[0].deny",
        "did you mean \"GET\"?",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[tokio::test]
async fn policy_test_says_what_the_proxy_would_do_without_one() {
    let wise = house::wise().await;
    let lines = format!(
        "allow = [\"reads\", \"transfers\"]\ndeny = [\"funding\"]\nprofiles = [{PROFILE}]\nmax_body = \"1 KiB\"\nrequests_per_minute = 60"
    );
    let site = under(&wise, &lines).logged_out().prepare().await;
    let fund = format!("/v3/profiles/{PROFILE}/transfers/17/payments");
    let other = format!("/v2/profiles/{OTHER}");
    let by_query = format!("/v1/transfers?profile={PROFILE}");
    let (profile, other_id) = (PROFILE.to_string(), OTHER.to_string());
    for (args, code, says) in [
        (vec!["GET", "/v1/me"], 0, "allows it by `reads`"),
        (vec!["POST", "/v1/transfers"], 0, "allows it by `transfers`"),
        (vec!["POST", &fund], 3, "by rule 1 of `deny`, `funding`"),
        (
            vec!["GET", &other],
            3,
            "does not let profile 30000001 be acted for",
        ),
        (
            vec!["GET", "/v1/me", "--profile", &other_id],
            3,
            "be acted for",
        ),
        (
            vec!["GET", "/v1/me", "--lane", "personal"],
            3,
            "would act for any",
        ),
        // The field is not for Wise, so it binds nobody there.
        (
            vec!["GET", "/v1/me", "--lane", "personal", "--profile", &profile],
            3,
            "would act for any",
        ),
        (
            vec!["GET", &by_query, "--lane", "personal"],
            0,
            "as long as",
        ),
        (vec!["get", "/v1/me"], 3, "not all upper-case letters"),
        (
            vec!["GET", "/v1/me?_method=PUT"],
            3,
            "its query asks for another method",
        ),
        (
            vec!["POST", "/v1/transfers", "--body-size", "1025"],
            3,
            "longer than the 1024 bytes",
        ),
        (vec!["GET", "/v1//me"], 3, "read in more than one way"),
        (
            vec!["GET", "/v1/me", "--door", "127.0.0.1:1"],
            2,
            "no such door",
        ),
        (
            vec!["GET", "/v1/me", "--caller", "nobody"],
            2,
            "no such caller",
        ),
        (vec!["GET", "v1/me"], 2, "the path is none"),
    ] {
        let output = site
            .cli(&[&["policy", "test"], args.as_slice()].concat())
            .await;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
        assert!(code == 0 || said.contains("hint:"), "{args:?}: {said}");
    }
    // Of two doors the one that the caller may use, and nobody's where there is one.
    let two = House::on(&wise).logged_out().prepare().await;
    let unix = format!("unix:{}", two.path("app.sock").display());
    let open = "{ address = \"127.0.0.1:1\" }";
    let closed = format!("{{ address = \"{unix}\", callers = [\"books\"] }}");
    let callers = "caller=[{ name = \"books\", users = [\"root\"], policy = \"read-only\" }, \
                   { name = \"web\", users = [\"root\"] }]";
    let (both, alone) = (
        format!("door=[{open}, {closed}]"),
        format!("door=[{closed}]"),
    );
    for (doors, more, code, says) in [
        (&both, vec![], 0, "127.0.0.1:1"),
        (&both, vec!["--caller", "books"], 3, "read-only"),
        (&both, vec!["--caller", "web"], 0, "127.0.0.1:1"),
        (
            &both,
            vec!["--caller", "web", "--door", &unix],
            3,
            "does not let caller web in",
        ),
        (&both, vec!["--door", &unix], 3, "it lets in books"),
        (
            &both,
            vec!["--caller", "books", "--door", "127.0.0.1:1"],
            0,
            "counted for",
        ),
        (&alone, vec![], 3, "say who asks with --caller"),
        (
            &alone,
            vec!["--caller", "web"],
            3,
            "no door lets caller web in",
        ),
    ] {
        let args = [
            "policy",
            "test",
            "POST",
            "/v1/transfers",
            "--set",
            callers,
            "--set",
            doors,
        ];
        let output = two.cli(&[&args[..], &more].concat()).await;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {said}");
        assert!(said.contains(says), "{more:?}: {said}");
    }
    let output = site.cli(&["policy", "test", "POST", &fund, "--json"]).await;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["allowed"], false);
    assert_eq!(said["funding"], true);
    assert_eq!(said["policies"][0]["reason"], "denied");
}

#[tokio::test]
async fn policy_list_and_sets_show_what_there_is() {
    let wise = house::wise().await;
    let site = under(&wise, "deny = [\"funding\"]")
        .logged_out()
        .prepare()
        .await;
    let list = site.cli(&["policy", "list"]).await;
    let list = String::from_utf8(list.stdout).unwrap();
    for line in [
        "read-only",
        "no-funding",
        "quotes-only",
        "payouts",
        "funding",
        "127.0.0.1:0",
    ] {
        assert!(list.contains(line), "{line}: {list}");
    }
    let list = site.cli(&["policy", "list", "--json"]).await;
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list[3]["deny"], json!(["funding"]));
    assert_eq!(list[3]["doors"], json!(["127.0.0.1:0"]));
    let sets = site.cli(&["policy", "sets", "funding"]).await;
    let sets = String::from_utf8(sets.stdout).unwrap();
    assert_eq!(sets.lines().count(), 6, "{sets}");
    assert!(
        sets.contains("pays for a transfer: the money leaves the balance"),
        "{sets}"
    );
    let sets = site.cli(&["policy", "sets", "--json"]).await;
    let sets: serde_json::Value = serde_json::from_slice(&sets.stdout).unwrap();
    assert_eq!(sets["rates"][0]["path"], "/rates");
    let unknown = site.cli(&["policy", "sets", "fundings"]).await;
    assert_eq!(unknown.status.code(), Some(2));
}

#[tokio::test]
async fn a_callers_own_policy_applies_beside_that_of_the_door_and_limits_are_its_own() {
    let wise = house::wise().await;
    let door =
        r#"[{ address = "127.0.0.1:0", policy = "narrow", callers = ["payroll", "books"] }]"#;
    let mut lines = String::from(
        "[[policy]]\nname = \"narrow\"\ndeny = [\"funding\"]\n\
         [[policy]]\nname = \"payouts\"\nallow = [\"reads\"]\nrequests_per_minute = 1\n",
    );
    for name in ["payroll", "books"] {
        let hash = hash(&format!("the key of {name}"));
        let caller =
            format!("[[caller]]\nname = \"{name}\"\npolicy = \"payouts\"\nhashes = [\"{hash}\"]\n");
        lines.push_str(&caller);
    }
    let house = House::on(&wise)
        .set("door", door)
        .toml(&lines)
        .start()
        .await;
    wise.clear();
    let ask = |name: &str, mut request: Request<Bytes>| {
        let key = format!("Bearer the key of {name}").parse().unwrap();
        request.headers_mut().insert("authorization", key);
        request
    };
    let me = || Request::get("/v1/me").body(Bytes::new()).unwrap();
    let answer = house.request(ask("payroll", fund(1))).await;
    assert_eq!(
        answer.json()["policy"],
        "narrow",
        "the door's comes first: {answer:?}"
    );
    let answer = house
        .request(ask("payroll", post("/v1/transfers", &json!({}))))
        .await;
    refused(
        &answer,
        403,
        "not-allowed",
        "no rule of the policy",
        "policy test",
    );
    assert_eq!(wise.recorded().len(), 0);
    for name in ["payroll", "books"] {
        let answer = house.request(ask(name, me())).await;
        assert_eq!(answer.status, 200, "{name} has a count of its own");
        let answer = house.request(ask(name, me())).await;
        refused(
            &answer,
            429,
            "rate-limited",
            "lets 1 requests a minute pass",
            "slow down",
        );
    }
    let said = house
        .cli(&[
            "policy",
            "test",
            "POST",
            "/v1/transfers",
            "--caller",
            "books",
        ])
        .await;
    assert_eq!(said.status.code(), Some(3));
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.contains("caller books") && said.contains("narrow"),
        "{said}"
    );

    rewrite(&house.site, "deny = [\"funding\"]", "deny = []");
    let rules = "allow = [\"reads\"]\nrequests_per_minute = 1";
    rewrite(&house.site, rules, "fundings_per_hour = 1");
    house.reload().await;
    wise.clear();
    for name in ["payroll", "books"] {
        // Whatever becomes of it behind a gateway, it could have paid.
        let path = format!("/gateway/v3/profiles/{PROFILE}/transfers/1/payments");
        let answer = house.request(ask(name, post(&path, &json!({})))).await;
        assert!(
            answer.headers.get("proxy-status").is_none(),
            "{name} has a count of its own: {answer:?}"
        );
        let answer = house.request(ask(name, fund(2))).await;
        let detail = "lets 1 fundings pass in any hour";
        refused(&answer, 429, "funding-cap", detail, "`payouts`");
    }
    assert_eq!(wise.recorded().len(), 2);
}
