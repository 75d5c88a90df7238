//! What is sent, signed and shown.

use super::*;

#[test]
fn wises_published_webhook_verifies_as_ours_are_verified_here() {
    let key = include_str!("../vectors/webhook-sandbox-key.pem");
    let body = include_bytes!("../vectors/webhook-body.json");
    let signature = include_str!("../vectors/webhook-signature.txt");
    assert_eq!(body.len(), 354);
    assert!(verifies(key, body, signature));
    assert!(!verifies(key, &body[1..], signature));
}

#[tokio::test]
async fn a_transfer_is_followed_from_state_to_state_by_signed_deliveries() {
    let house = House::hooked().await;
    let receiver = Receiver::http().await;
    let ours = house.subscribe(Some(BUSINESS), to(&receiver)).await;
    house.subscribe(Some(OTHER), to(&receiver)).await;
    let (user, _) = house.grant(BUSINESS).await;
    let transfer = house.transfer(&user, 100, "followed").await;
    let id = transfer["id"].as_u64().unwrap();
    let pay = format!("/v3/profiles/{BUSINESS}/transfers/{id}/payments");
    let paid = house
        .call(&user, "POST", &pay, Some(json!({"type": "BALANCE"})))
        .await;
    assert_eq!(paid.status(), 201);
    for state in ["funds_converted", "outgoing_payment_sent"] {
        let push = format!("/v1/simulation/transfers/{id}/{state}");
        assert_eq!(house.call(&user, "GET", &push, None).await.status(), 200);
    }
    let deliveries = house.settled(4).await;
    assert_eq!(deliveries.len(), 4, "none for the other profile");
    let key = house.wise.webhook_key_pem().unwrap();
    let arrived = receiver.taken();
    assert_eq!(arrived.len(), 4);
    let mut states = Vec::new();
    for delivery in &deliveries {
        let arrived = arrived
            .iter()
            .find(|it| it.header("x-delivery-id") == Some(&delivery.id))
            .unwrap();
        assert_eq!(arrived.body, delivery.body.as_bytes());
        assert_eq!(arrived.header("content-type"), Some("application/json"));
        assert_eq!(arrived.header("x-test-notification"), None);
        let signature = arrived.header("x-signature-sha256").unwrap();
        assert!(verifies(&key, &arrived.body, signature));
        assert_eq!(delivery.subscription, ours);
        let event: Value = serde_json::from_slice(&arrived.body).unwrap();
        assert_eq!(event["event_type"], EVENT);
        assert_eq!(event["subscription_id"], ours.as_str());
        assert_eq!(event["schema_version"], "2.0.0");
        let data = &event["data"];
        assert_eq!(data["resource"]["id"], id);
        assert_eq!(data["resource"]["profile_id"], BUSINESS);
        assert_eq!(data["resource"]["account_id"], transfer["targetAccount"]);
        states.push((
            data["previous_state"].clone(),
            data["current_state"].clone(),
        ));
    }
    assert_eq!(
        states,
        [
            (Value::Null, json!("incoming_payment_waiting")),
            (json!("incoming_payment_waiting"), json!("processing")),
            (json!("processing"), json!("funds_converted")),
            (json!("funds_converted"), json!("outgoing_payment_sent")),
        ]
    );
}

#[tokio::test]
async fn a_receiver_is_reached_by_its_public_name_and_must_show_a_trusted_certificate() {
    let (receiver, certificate) = Receiver::tls(None).await;
    let (house, dir) = secure(&receiver, &certificate).await;
    house
        .wise
        .change_faults(|faults| faults.webhook.receivers = Receivers::Public);
    let delivery = json!({"url": "https://hooks.example.com/hook"});
    house.subscribe(None, delivery).await;
    house.wise.publish(EVENT, None, json!({}));
    house.settled(1).await;
    let arrived = receiver.taken();
    assert_eq!(arrived[0].header("host"), Some("hooks.example.com"));
    assert_eq!(arrived[0].certificate, None);

    house
        .wise
        .change_faults(|faults| faults.webhook.ca_file = None);
    house.wise.publish(EVENT, None, json!({}));
    let all = house
        .until_deliveries(|all| all.len() == 2 && !all[1].attempts.is_empty())
        .await;
    let error = all[1].attempts[0].error.as_deref().unwrap();
    assert!(error.starts_with("no TLS"), "{error}");
    assert!(receiver.taken().is_empty());
    drop(dir);
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_the_subscription_says_so() {
    let house = House::open().await;
    let chain = house.wise.webhook_ca_pem().unwrap();
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
    let (receiver, certificate) = Receiver::tls(Some(&chain)).await;
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("receiver.pem");
    std::fs::write(&ca, certificate).unwrap();
    house.wise.change_faults(|faults| {
        faults.webhook.receivers = Receivers::Loopback;
        faults.webhook.minute = 1;
        faults.webhook.ca_file = Some(ca);
    });
    let url = format!("https://localhost:{}/hook", receiver.address.port());
    let with = json!({"url": url, "mtls_enabled": true});
    house.subscribe(None, with).await;
    house.wise.publish(EVENT, None, json!({}));
    house.settled(1).await;
    let arrived = receiver.taken();
    let subject = arrived[0].certificate.as_deref().unwrap();
    assert_eq!(subject, "O=Simulated Wise, CN=webhooks.wise.invalid");

    for kind in [Forgery::NoCertificate, Forgery::OtherAuthority] {
        house.wise.change_faults(|faults| {
            faults.webhook.forge = Some(Forging {
                kind,
                times: Some(1),
            });
        });
        let before = house.wise.deliveries().len();
        house.wise.publish(EVENT, None, json!({}));
        let delivery = house.settled(before + 1).await.remove(before);
        assert_eq!(statuses(&delivery), [None, Some(200)], "{kind:?}");
    }
    receiver.taken();
    house
        .subscribe(Some(BUSINESS), json!({"url": url, "mtls_enabled": false}))
        .await;
    house.wise.publish(EVENT, Some(BUSINESS), json!({}));
    let all = house
        .until_deliveries(|all| {
            all.len() == 5
                && all[3..]
                    .iter()
                    .all(|delivery| !delivery.attempts.is_empty())
        })
        .await;
    let refused = |it: &&Delivery| statuses(it).first() == Some(&None);
    assert_eq!(all[3..].iter().filter(refused).count(), 1, "without mTLS");
}

#[tokio::test]
async fn deliveries_are_forged_repeated_and_doubled_on_wish() {
    let house = House::hooked().await;
    let receiver = Receiver::http().await;
    house.subscribe(None, to(&receiver)).await;
    let key = house.wise.webhook_key_pem().unwrap();
    for kind in [
        Forgery::WrongKey,
        Forgery::OtherBody,
        Forgery::Unsigned,
        Forgery::Garbled,
    ] {
        house.wise.change_faults(|faults| {
            faults.webhook.forge = Some(Forging {
                kind,
                times: Some(1),
            });
        });
        let before = house.wise.deliveries().len();
        house.wise.publish(EVENT, None, json!({}));
        house.settled(before + 1).await;
        let arrived = receiver.taken().remove(0);
        let signature = arrived.header("x-signature-sha256");
        assert_eq!(signature.is_none(), kind == Forgery::Unsigned);
        let good = signature.is_some_and(|it| verifies(&key, &arrived.body, it));
        assert!(!good, "{kind:?}");
    }
    house.wise.change_faults(|faults| {
        faults.webhook.duplicates = 2;
        faults.webhook.spaced = true;
    });
    house.wise.publish(EVENT, None, json!({"a": "b"}));
    let all = house
        .until_deliveries(|all| all[4..].iter().any(|it| it.attempts.len() == 3))
        .await;
    let id = all[4].id.clone();
    let arrived = receiver.taken();
    assert_eq!(arrived.len(), 3);
    for arrived in &arrived {
        assert_eq!(arrived.header("x-delivery-id"), Some(id.as_str()));
        let signature = arrived.header("x-signature-sha256").unwrap();
        assert!(verifies(&key, &arrived.body, signature));
        let parsed: Value = serde_json::from_slice(&arrived.body).unwrap();
        assert_ne!(parsed.to_string().as_bytes(), arrived.body);
    }
    assert!(house.wise.repeat_delivery(&id));
    assert!(!house.wise.repeat_delivery("none"));
    house
        .until_deliveries(|all| all[4].attempts.len() == 4)
        .await;
    assert_eq!(
        receiver.taken()[0].header("x-delivery-id"),
        Some(id.as_str())
    );
}

#[tokio::test]
async fn the_control_api_makes_events_and_shows_the_journal() {
    let house = House::hooked().await;
    let receiver = Receiver::http().await;
    house.subscribe(Some(BUSINESS), to(&receiver)).await;
    let control = async |method: &str, path: &str, json: Option<Value>| {
        house.control(request("", method, path, json)).await
    };
    let event = json!({"event": EVENT, "profile": BUSINESS, "data": {"mine": true}});
    let made = body(&control("POST", "/webhooks/events", Some(event)).await);
    let id = word(&made["deliveries"][0]);
    house.settled(1).await;
    let journal = body(&control("GET", "/webhooks/deliveries", None).await);
    assert_eq!(journal[0]["id"], id.as_str());
    assert_eq!(journal[0]["state"], "delivered");
    assert_eq!(journal[0]["attempts"][0]["status"], 200);
    let repeat = format!("/webhooks/deliveries/{id}/repeat");
    assert_eq!(control("POST", &repeat, None).await.status(), 202);
    house
        .until_deliveries(|all| all[0].attempts.len() == 2)
        .await;
    let arrived = receiver.taken();
    assert_eq!(arrived[0].body, arrived[1].body);
    let key = text(&control("GET", "/webhooks/public-key.pem", None).await);
    let signature = arrived[0].header("x-signature-sha256").unwrap();
    assert!(verifies(&key, &arrived[0].body, signature));
    let ca = text(&control("GET", "/webhooks/ca.pem", None).await);
    assert!(ca.contains("BEGIN CERTIFICATE"));
    let wrong = control("POST", "/webhooks/events", Some(json!({}))).await;
    assert_eq!(wrong.status(), 400);
    assert_eq!(
        control("DELETE", "/webhooks/deliveries", None)
            .await
            .status(),
        204
    );
    assert!(house.wise.deliveries().is_empty());
}
