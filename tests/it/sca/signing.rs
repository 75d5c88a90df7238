//! The one-time token is signed, and the identical request leaves once more.

use wise_auth_proxy::simulator::ScaSigning;

use super::*;
use crate::failures_table::row;
use crate::wire::{Stub, Wire};

#[tokio::test]
async fn a_challenge_is_signed_and_the_identical_request_repeated_once() {
    for http in ["1.1", "2"] {
        let guarded = signing(|plan| plan.set("upstream.http", http)).await;
        let paid = guarded.fund().await;
        assert_paid(&paid);
        assert_eq!(guarded.statuses(), [403, 201]);
        let arrived = guarded.arrived();
        let [first, second] = &arrived[..] else {
            panic!("two: {arrived:?}");
        };
        assert!(field(first, "x-2fa-approval").is_empty());
        assert!(field(first, "x-signature").is_empty());
        let ott = field(second, "x-2fa-approval").concat();
        assert_eq!(field(second, "x-signature").len(), 1);
        assert_eq!(others(first), others(second), "HTTP/{http}");
        assert_eq!(field(second, "x-of-the-application"), ["1"]);
        assert_eq!(first.body, second.body);
        assert_eq!(
            (&first.method, &first.target),
            (&second.method, &second.target)
        );
        assert!((guarded.paid().await - 1.0).abs() < 0.01, "paid once");
        guarded.is_noted(&ott, &["signed"]).await;
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_repeated_to_the_byte() {
    let guarded = signing(|plan| plan).await;
    let mut wire = Wire::to(guarded.house.door).await;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        guarded.path
    );
    wire.send(head).await;
    wire.send("8\r\n{\"type\":\r\n").await;
    wire.send("a\r\n\"BALANCE\"}\r\n0\r\n\r\n").await;
    let answer = wire.read_to("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let arrived = guarded.arrived();
    assert_eq!(guarded.statuses(), [403, 201]);
    assert_eq!(arrived[0].body, arrived[1].body);
    assert_eq!(arrived[1].body.bytes, 18);
}

#[tokio::test]
async fn a_body_too_large_to_keep_is_not_repeated() {
    let guarded = signing(|plan| plan.set("upstream.replay_limit", "1 KiB")).await;
    let padding = "x".repeat(2_000);
    let body = json!({"type": "BALANCE", "padding": padding});
    let ott = challenged(&guarded.house.request(post(&guarded.path, &body)).await);
    assert_eq!(guarded.statuses(), [403]);
    guarded.is_noted(&ott, &["passed"]).await;
    assert_paid(&guarded.fund().await);
}

#[tokio::test]
async fn an_application_that_waits_for_wises_word_has_its_body_sent_once_more() {
    let guarded = signing(|plan| plan).await;
    let mut wire = Wire::to(guarded.house.door).await;
    let body = "{\"type\":\"BALANCE\"}";
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        guarded.path,
        body.len()
    );
    wire.send(head).await;
    let word = wire.read_to("\r\n\r\n").await;
    assert!(word.starts_with("HTTP/1.1 100"), "{word}");
    wire.send(body).await;
    let answer = wire.read_to("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(guarded.statuses(), [403, 201]);
}

#[tokio::test]
async fn a_key_that_wise_does_not_have_costs_one_attempt() {
    let wise = house::wise().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    let site = plan.set("sca.key", "other.key").prepare().await;
    with_key(&site, &wise, "known.key").await;
    let made = site.cli(&["sca", "keygen", "--out", "other.key"]).await;
    assert!(made.status.success(), "{made:?}");
    let house = site.start().await;
    let guarded = Guarded::new(wise, house).await;
    let ott = challenged(&guarded.fund().await);
    assert_eq!(guarded.statuses(), [403, 403], "no third");
    let arrived = guarded.arrived();
    assert_ne!(
        field(&arrived[1], "x-2fa-approval"),
        [&*ott],
        "Wise's newest token"
    );
    assert!(guarded.paid().await.abs() < 0.01);
    guarded.is_noted(&ott, &["signature_not_taken"]).await;

    // The right one is put in its place, and a reload takes it up; a wrong file changes nothing.
    let good = std::fs::read_to_string(site.path("known.key")).unwrap();
    site.secret("other.key", "-----BEGIN nothing-----");
    let failed = guarded.house.cli(&["reload"]).await;
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success());
    assert!(
        said.contains("sca.key: ") && said.contains("no private key in PEM"),
        "{said}"
    );
    challenged(&guarded.fund().await);
    site.secret("other.key", &good);
    guarded.house.reload().await;
    assert_paid(&guarded.fund().await);
    assert!((guarded.paid().await - 1.0).abs() < 0.01);
}

#[tokio::test]
async fn in_a_lane_that_is_not_named_nothing_is_signed() {
    let guarded = signing(|plan| plan.set("sca.lanes", "oauth")).await;
    challenged(&guarded.fund().await);
    assert_eq!(guarded.statuses(), [403]);
}

/// Both have their turn, each once: Wise acted on neither.
#[tokio::test]
async fn a_dead_token_and_a_challenge_are_both_met() {
    let wise = house::wise().await;
    let plan = House::on(&wise).lane("oauth");
    let plan = plan.set("sca.key", "sca.key").set("sca.lanes", "oauth");
    // Made before the login, which wants everything to be there.
    let site = House::on(&wise).lane("oauth").prepare().await;
    with_key(&site, &wise, "sca.key").await;
    let house = plan.inside(&site).start().await;
    let guarded = Guarded::new(wise, house).await;
    guarded
        .wise
        .change_faults(|faults| faults.sca.signing = ScaSigning::Anyone);
    guarded.wise.revoke_access(PROFILE);
    assert_paid(&guarded.fund().await);
    assert_eq!(guarded.statuses(), [401, 403, 201]);
    assert!((guarded.paid().await - 1.0).abs() < 0.01);
    guarded.house.logs("replayed=true").await;
    let ott = field(&guarded.arrived()[2], "x-2fa-approval").concat();
    guarded.is_noted(&ott, &["signed"]).await;
}

/// What was sent again may have been carried out: the application hears what came of that, and it is
/// not sent a third time.
#[tokio::test]
async fn an_answer_that_is_lost_after_the_signing_is_not_called_a_challenge() {
    const OTT: &str = "65a31b86-aa2e-47fd-a7a4-3710437ba270";
    let wise = house::wise().await;
    let mut stub = Stub::start().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    let plan = plan.set("sca.key", "sca.key").towards(&stub);
    let site = plan.prepare().await;
    with_key(&site, &wise, "sca.key").await;
    let house = site.start().await;
    let asking = house.request(post("/v1/transfers", &json!({})));
    let answering = async {
        let mut first = stub.connection().await;
        first.request().await.unwrap();
        let answer = format!(
            "HTTP/1.1 403 Forbidden\r\nx-2fa-approval-result: REJECTED\r\nx-2fa-approval: {OTT}\r\n\
             connection: close\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        first.send(answer).await;
        let mut second = stub.connection().await;
        let (head, body) = second.request().await.unwrap();
        assert!(
            head.contains(&format!("x-2fa-approval: {OTT}\r\n")),
            "{head}"
        );
        assert_eq!(body, b"{}");
        // And it hangs up without a word.
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(stub.uncalled(), 0, "there is no third");
    let row = row("sca-lost");
    row.told(&answer);
    row.sent(2, 1);
    row.operator(&house).await;
    house.logs("ask Wise before repeating a payment").await;
    assert!(!house.log().contains(OTT), "{}", house.log());
}

/// Wise took the token, and has something else against the request: that is no challenge.
#[tokio::test]
async fn a_403_after_the_token_was_taken_is_no_second_challenge() {
    const OTT: &str = "65a31b86-aa2e-47fd-a7a4-3710437ba270";
    let wise = house::wise().await;
    let mut stub = Stub::start().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    let plan = plan.set("sca.key", "sca.key").towards(&stub);
    let site = plan.prepare().await;
    with_key(&site, &wise, "sca.key").await;
    let house = site.start().await;
    let asking = house.request(post("/v1/transfers", &json!({})));
    let answering = async {
        for result in [&format!("REJECTED\r\nx-2fa-approval: {OTT}"), "APPROVED"] {
            let mut wise = stub.connection().await;
            wise.request().await.unwrap();
            let answer = format!(
                "HTTP/1.1 403 Forbidden\r\nx-2fa-approval-result: {result}\r\n\
                 connection: close\r\ncontent-length: 2\r\n\r\n{{}}"
            );
            wise.send(answer).await;
        }
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(answer.headers["x-2fa-approval-result"], "APPROVED");
    house.logs(" sca=signed").await;
    let refusals = "wise_proxy_upstream_refusals_total";
    let of = async |reason: &str| {
        let label = format!("reason=\"{reason}\"");
        house.metric(refusals, &label).await
    };
    assert!((of("forbidden").await - 1.0).abs() < 0.1);
    assert!(of("sca").await.abs() < 0.1);
}

#[tokio::test]
async fn the_record_says_that_it_was_signed() {
    let guarded = signing(|plan| plan.set("audit.file", "audit.log")).await;
    assert_paid(&guarded.fund().await);
    let ott = field(&guarded.arrived()[1], "x-2fa-approval").concat();
    assert!(guarded.house.stop().await.success());
    let record = std::fs::read_to_string(guarded.house.site.path("audit.log")).unwrap();
    let line = record.lines().find(|line| line.contains("/payments"));
    assert!(line.unwrap().contains("\"sca\":\"signed\""), "{record}");
    for (path, content) in crate::house::files(guarded.house.directory.path()) {
        let content = String::from_utf8_lossy(&content);
        assert!(!content.contains(&ott), "{}", path.display());
    }
}
