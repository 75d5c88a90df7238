//! Who may subscribe to what, and who hears of it.

use super::*;

#[tokio::test]
async fn a_subscription_names_an_event_a_version_and_a_receiver_of_its_scope() {
    let house = House::open().await;
    let user = house.grant(BUSINESS).await.0;
    let client = house.client_token().await;
    let profile = format!("/v3/profiles/{BUSINESS}/subscriptions");
    let application = "/v3/applications/simulated-client/subscriptions";
    let url = "https://hooks.example.com/wise";
    for (token, path, event, version, url, refused) in [
        (&user, profile.as_str(), EVENT, "4.0.0", url, None),
        (&client, application, EVENT, "4.0.0", url, None),
        (&user, &profile, "balances#credit", "2.0.0", url, None),
        (
            &client,
            application,
            "cards#3ds-challenge",
            "2.0.0",
            url,
            None,
        ),
        (
            &client,
            application,
            "balances#credit",
            "2.0.0",
            url,
            Some("trigger_on"),
        ),
        (
            &user,
            &profile,
            "cards#3ds-challenge",
            "2.0.0",
            url,
            Some("trigger_on"),
        ),
        (
            &user,
            &profile,
            "transfers#nonsense",
            "2.0.0",
            url,
            Some("trigger_on"),
        ),
        (
            &user,
            &profile,
            EVENT,
            "3.0.0",
            url,
            Some("delivery.version"),
        ),
        (
            &user,
            &profile,
            EVENT,
            "2.0.0",
            "http://hooks.example.com/",
            Some("delivery.url"),
        ),
        (
            &user,
            &profile,
            EVENT,
            "2.0.0",
            "https://127.0.0.1/",
            Some("delivery.url"),
        ),
        (
            &user,
            &profile,
            EVENT,
            "2.0.0",
            "https://localhost:1/",
            Some("delivery.url"),
        ),
    ] {
        let ask = json!({
            "name": "sub 1",
            "trigger_on": event,
            "delivery": {"version": version, "url": url, "mtls_enabled": true},
        });
        let answer = house.call(token, "POST", path, Some(ask)).await;
        let status = answer.status();
        let body = body(&answer);
        match refused {
            None => {
                assert_eq!(status, 200, "{event} {version} {url}: {body}");
                assert_eq!(body["trigger_on"], event);
                assert_eq!(body["delivery"]["mtls_enabled"], true);
            }
            Some(field) => {
                assert_eq!(status, 400, "{event} {version} {url}");
                assert_eq!(body["errors"][0]["path"], field);
            }
        }
    }
    // Nothing beyond this machine is contacted unasked.
    assert_eq!(house.wise.publish(EVENT, None, json!({})).len(), 1);
    let all = house
        .until_deliveries(|all| !all[0].attempts.is_empty())
        .await;
    let error = all[0].attempts[0].error.as_deref().unwrap();
    assert!(error.contains("webhook.hosts"), "{error}");
}

#[tokio::test]
async fn the_application_hears_of_every_profile_and_can_be_tested() {
    let house = House::hooked().await;
    let receiver = Receiver::http().await;
    let id = house.subscribe(None, to(&receiver)).await;
    house.subscribe(Some(BUSINESS), to(&receiver)).await;
    let data = json!({"resource": {"id": 1}});
    let sent = house.wise.publish(EVENT, Some(OTHER), data.clone());
    assert_eq!(sent.len(), 1, "the application's alone");
    assert!(
        house
            .wise
            .publish("balances#update", Some(OTHER), data)
            .is_empty()
    );
    house.settled(1).await;
    let event: Value = serde_json::from_slice(&receiver.taken()[0].body).unwrap();
    assert_eq!(event["data"], json!({"resource": {"id": 1}}));

    let client = house.client_token().await;
    let base = "/v3/applications/simulated-client/subscriptions";
    let test = format!("{base}/{id}/test-notifications");
    let answer = body(&house.call(&client, "POST", &test, None).await);
    let delivery = word(&answer[0]["delivery_id"]);
    assert_eq!(word(&answer[0]["created_at"]).len(), 20);
    house.settled(2).await;
    let arrived = receiver.taken();
    assert_eq!(arrived.len(), 1, "to the tested subscription alone");
    assert_eq!(arrived[0].header("x-test-notification"), Some("true"));
    assert_eq!(arrived[0].header("x-delivery-id"), Some(delivery.as_str()));
    let user = house.grant(BUSINESS).await.0;
    let test = format!("/v3/profiles/{BUSINESS}/subscriptions/{id}/test-notifications");
    let answer = house.call(&user, "POST", &test, None).await;
    assert_eq!(answer.status(), 404, "profiles have no such call");
}

#[tokio::test]
async fn a_deleted_subscription_is_delivered_no_more() {
    let house = House::hooked().await;
    let receiver = Receiver::http().await;
    receiver.then([Script::Answer(503, None)]);
    let id = house.subscribe(None, to(&receiver)).await;
    house
        .wise
        .change_faults(|faults| faults.webhook.minute = 60_000);
    house.wise.publish(EVENT, None, json!({}));
    house
        .until_deliveries(|all| !all[0].attempts.is_empty())
        .await;
    let client = house.client_token().await;
    let path = format!("/v3/applications/simulated-client/subscriptions/{id}");
    assert_eq!(
        house.call(&client, "DELETE", &path, None).await.status(),
        204
    );
    let delivery = house.settled(1).await.remove(0);
    assert_eq!(delivery.state, DeliveryState::Abandoned);
    assert_eq!(delivery.attempts.len(), 1);
}
