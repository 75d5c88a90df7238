//! A kill at each step of a delivery's way, and a disk that fails there.

use super::*;

/// Moments at which a delivery's way may be cut.
pub const POINTS: [&str; 6] = [
    "webhook-verified",
    "webhook-commit",
    "webhook-committed",
    "webhook-stored",
    "webhook-taken",
    "webhook-remove",
];

#[tokio::test]
async fn a_kill_at_any_step_loses_nothing_and_doubles_only_what_the_application_was_taking() {
    for point in POINTS {
        let setup = Setup::new().await;
        let trace = setup.site.path("trace");
        let script = format!("{point} = kill @2\ntrace = {}", trace.display());
        setup.site.failpoints(&script);
        let house = setup.site.start().await;
        let to = door(&house).await;
        assert_eq!(setup.sender.send(to, "one").await.status, OK);
        // Has been by every point before the next begins.
        setup.application.got(1).await;
        queued(&house, 0).await;
        let request = setup.sender.delivery("two", body("two").as_bytes());
        let answered = match Connection::try_to(to).await {
            Ok(mut connection) => connection.request(request).await.is_ok(),
            Err(_) => false,
        };
        house.ended().await;
        let passed = std::fs::read_to_string(&trace).unwrap();
        assert_eq!(passed.lines().last(), Some(point), "it died there");
        std::fs::remove_file(setup.site.path("failpoints")).unwrap();

        let house = setup.site.start().await;
        let to = door(&house).await;
        // Wise had no answer, and sends it again.
        if !answered {
            assert_eq!(setup.sender.send(to, "two").await.status, OK, "{point}");
        }
        assert_eq!(setup.sender.send(to, "three").await.status, OK);
        let in_hand = matches!(point, "webhook-taken" | "webhook-remove");
        let wanted: &[&str] = if in_hand {
            &["one", "two", "two", "three"]
        } else {
            &["one", "two", "three"]
        };
        setup.application.got(wanted.len()).await;
        queued(&house, 0).await;
        assert_eq!(setup.application.ids(), wanted, "{point}");
    }
}

#[tokio::test]
async fn a_disk_that_fails_at_the_commit_is_503_and_wises_next_try_succeeds() {
    for error in ["ENOSPC", "EIO", "EROFS"] {
        let setup = Setup::new().await;
        let house = setup.site.start().await;
        let to = door(&house).await;
        assert_eq!(setup.sender.send(to, "one").await.status, OK);
        setup.application.got(1).await;
        queued(&house, 0).await;
        setup.site.failpoints(&format!("webhook-commit = {error}"));
        for _ in 0..2 {
            let answer = setup.sender.send(to, "two").await;
            let said = (answer.status.as_u16(), answer.problem());
            assert_eq!(said, (503, "queue-unavailable".to_owned()));
        }
        let status = house.status().await;
        let cannot = status["webhooks"][0]["error"].as_str().unwrap();
        assert!(cannot.contains("cannot be used"), "{cannot}");
        // Said once, however often it is tried.
        house.logs("deliveries cannot be kept").await;
        let kinds = status["events"].as_array().unwrap().iter();
        let told = kinds.filter(|event| event["kind"] == "webhook_unkept");
        assert_eq!(told.count(), 1);
        setup.site.failpoints("");
        assert_eq!(setup.sender.send(to, "two").await.status, OK);
        setup.application.got(2).await;
        let status = queued(&house, 0).await;
        assert!(status["webhooks"][0]["error"].is_null(), "{status}");
        assert_eq!(setup.application.ids(), ["one", "two"]);
    }
}

#[tokio::test]
async fn a_disk_that_hangs_is_503_in_time_and_told_of_and_what_it_took_is_a_duplicate() {
    let setup = Setup::new().await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    setup.site.failpoints("webhook-commit = pause");
    // The second does not even wait: it would lie in memory.
    for name in ["one", "two"] {
        let begun = std::time::Instant::now();
        let answer = setup.sender.send(to, name).await;
        let said = (answer.status.as_u16(), answer.problem());
        assert_eq!(said, (503, "queue-unavailable".to_owned()));
        let took = begun.elapsed();
        assert!(took.as_secs() < 5, "Wise has gone after {took:?}");
    }
    let status = house.status().await;
    let error = status["webhooks"][0]["error"].as_str().unwrap();
    assert!(error.contains("has not taken a change"), "{error}");
    let kinds = status["events"].as_array().unwrap().iter();
    let told = kinds.filter(|event| event["kind"] == "webhook_unkept");
    assert_eq!(told.count(), 1);
    house.metric_until("wise_proxy_webhook_failing", 1.0).await;
    setup.site.failpoints("");
    house.metric_until("wise_proxy_webhook_failing", 0.0).await;
    house.logs("the disk takes changes again").await;
    for name in ["one", "two"] {
        assert_eq!(setup.sender.send(to, name).await.status, OK);
    }
    setup.application.got(2).await;
    queued(&house, 0).await;
    assert_eq!(setup.application.ids(), ["one", "two"]);
}

#[tokio::test]
async fn a_sync_that_failed_after_all_is_no_duplicate_that_can_be_answered() {
    let setup = Setup::new().await;
    setup.site.failpoints("webhook-committed = EIO @2");
    let house = setup.site.start().await;
    let to = door(&house).await;
    assert_eq!(setup.sender.send(to, "one").await.status, OK);
    let answer = setup.sender.send(to, "two").await;
    let said = (answer.status.as_u16(), answer.problem());
    assert_eq!(said, (503, "queue-unavailable".to_owned()));
    assert_eq!(setup.sender.send(to, "two").await.status, OK);
    setup.application.got(2).await;
    queued(&house, 0).await;
    assert_eq!(setup.application.ids(), ["one", "two"]);
}

#[tokio::test]
async fn what_the_application_took_is_not_sent_again_although_the_disk_fails_just_then() {
    let setup = Setup::new().await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    // Both are kept before the disk fails: a removal and what is kept meanwhile are one transaction.
    setup.application.change(|mood| mood.down = true);
    for name in ["one", "two"] {
        assert_eq!(setup.sender.send(to, name).await.status, OK);
    }
    setup.site.failpoints("webhook-remove = EIO");
    setup.application.change(|mood| mood.down = false);
    setup.application.got(1).await;
    house
        .status_until(|status| {
            let trouble = status["webhooks"][0]["trouble"].as_str();
            trouble.is_some_and(|trouble| trouble.contains("cannot be noted"))
        })
        .await;
    setup.site.failpoints("");
    setup.application.got(2).await;
    queued(&house, 0).await;
    assert_eq!(setup.application.ids(), ["one", "two"]);
}
