//! The simulated Wise as the sender: signed by its own key, over TLS, tried again as Wise does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use wise_auth_proxy::simulator::{Delivery, DeliveryState, Forgery, Forging, Receivers};

use super::*;

const EVENT: &str = "transfers#state-change";

/// A webhook with TLS and, on wish, a client certificate, that Wise knows as `localhost`.
async fn secured(wise: &Simulator, application: &Application, mtls: bool) -> House {
    let client_ca = if mtls {
        "client_ca = \"wise-ca.pem\""
    } else {
        ""
    };
    let settings =
        format!("certificate = \"hook.pem\"\nkey = \"hook.key\"\npath = \"/wise\"\n{client_ca}");
    let site = webhook(House::on(wise).logged_out(), application, &settings);
    let site = site.prepare().await;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(site.path("hook.pem"), made.cert.pem()).unwrap();
    site.secret("hook.key", &made.signing_key.serialize_pem());
    let key = wise.webhook_key_pem().unwrap();
    std::fs::write(site.path("wise.pub"), key).unwrap();
    std::fs::write(site.path("wise-ca.pem"), wise.webhook_ca_pem().unwrap()).unwrap();
    wise.change_faults(|faults| {
        faults.webhook.receivers = Receivers::Loopback;
        faults.webhook.ca_file = Some(site.path("hook.pem"));
        faults.webhook.minute = 1;
    });
    let house = site.start().await;
    let url = format!("https://localhost:{}/wise", door(&house).await.port());
    let ask = json!({
        "name": "sub 1",
        "trigger_on": EVENT,
        "delivery": {"version": "4.0.0", "url": url, "mtls_enabled": mtls},
    });
    let path = format!("/v3/applications/{}/subscriptions", crate::house::CLIENT_ID);
    let answer = house.request(crate::house::post(&path, &ask)).await;
    assert_eq!(answer.status, OK, "{answer:?}");
    house
}

/// Of a resource of its own: of one in one second there are no two events.
fn publish(wise: &Simulator) -> String {
    static RESOURCE: AtomicU64 = AtomicU64::new(1);
    let resource = RESOURCE.fetch_add(1, Ordering::Relaxed);
    let mut ids = wise.publish(EVENT, None, json!({"resource": {"id": resource}}));
    assert_eq!(ids.len(), 1);
    ids.remove(0)
}

/// Waits until Wise has made an end of a delivery.
async fn settled(wise: &Simulator, id: &str) -> Delivery {
    let find = |wise: &Simulator| {
        let all = wise.deliveries();
        all.into_iter().find(|it| it.id == id).unwrap()
    };
    let waiting = wise.until(|wise| find(wise).state != DeliveryState::Pending);
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "{:#?}", find(wise));
    find(wise)
}

fn statuses(delivery: &Delivery) -> Vec<Option<u16>> {
    delivery.attempts.iter().map(|it| it.status).collect()
}

fn forge(wise: &Simulator, kind: Forgery) {
    wise.change_faults(|faults| {
        faults.webhook.forge = Some(Forging {
            kind,
            times: Some(1),
        });
    });
}

#[tokio::test]
async fn wise_delivers_with_its_certificate_and_nobody_else_gets_in() {
    let wise = crate::house::wise().await;
    let application = Application::start().await;
    let house = secured(&wise, &application, true).await;
    let id = publish(&wise);
    assert_eq!(statuses(&settled(&wise, &id).await), [Some(200)]);
    let arrived = application.got(1).await.remove(0);
    assert_eq!(arrived.id(), id);
    let sent = wise.deliveries().remove(0);
    assert_eq!(arrived.body, sent.body);
    let signature = sent.attempts[0].signature.clone();
    assert_eq!(arrived.header("x-signature-sha256"), signature.as_deref());

    // Without a certificate, or with one of another authority, there is not even an answer; Wise's
    // next attempt is right.
    for forgery in [Forgery::NoCertificate, Forgery::OtherAuthority] {
        forge(&wise, forgery);
        let id = publish(&wise);
        let delivery = settled(&wise, &id).await;
        assert_eq!(statuses(&delivery), [None, Some(200)], "{forgery:?}");
        let error = delivery.attempts[0].error.clone().unwrap();
        assert!(error.starts_with("no "), "{error}");
    }
    // Whoever has it must still sign.
    for (forgery, status) in [
        (Forgery::WrongKey, 503),
        (Forgery::OtherBody, 503),
        (Forgery::Unsigned, 400),
        (Forgery::Garbled, 400),
    ] {
        forge(&wise, forgery);
        let id = publish(&wise);
        let delivery = settled(&wise, &id).await;
        assert_eq!(
            statuses(&delivery),
            [Some(status), Some(200)],
            "{forgery:?}"
        );
    }
    application.got(7).await;
    queued(&house, 0).await;
    let refused = house.metric("wise_proxy_webhook_deliveries_total", "no_handshake");
    assert!((refused.await - 2.0).abs() < 0.5);
}

#[tokio::test]
async fn tests_doubles_and_odd_spelling_arrive_as_they_should() {
    let wise = crate::house::wise().await;
    let application = Application::start().await;
    let house = secured(&wise, &application, false).await;
    wise.change_faults(|faults| {
        faults.webhook.spaced = true;
        faults.webhook.duplicates = 2;
    });
    let id = publish(&wise);
    wise.until(|wise| wise.deliveries()[0].attempts.len() == 3)
        .await;
    assert!(wise.repeat_delivery(&id));
    wise.until(|wise| wise.deliveries()[0].attempts.len() == 4)
        .await;
    let delivery = settled(&wise, &id).await;
    assert_eq!(statuses(&delivery), [Some(200); 4]);

    let path = format!("/v3/applications/{}/subscriptions", crate::house::CLIENT_ID);
    let list = house.get(&path).await.json();
    let subscription = list[0]["id"].as_str().unwrap().to_owned();
    let test = format!("{path}/{subscription}/test-notifications");
    let answer = house.request(crate::house::post(&test, &Value::Null)).await;
    assert_eq!(answer.status, OK, "{answer:?}");
    let arrived = application.got(2).await;
    queued(&house, 0).await;
    assert_eq!(application.ids().len(), 2, "each once");
    assert_eq!(arrived[0].id(), id);
    assert!(
        arrived[0].body.windows(3).any(|it| it == b" : "),
        "as it was signed"
    );
    assert_eq!(arrived[0].header("x-test-notification"), None);
    assert_eq!(arrived[1].header("x-test-notification"), Some("true"));
}

#[tokio::test]
async fn wise_has_its_answer_at_once_although_the_application_never_gives_one() {
    let wise = crate::house::wise().await;
    let application = Application::start().await;
    let house = secured(&wise, &application, false).await;
    application.change(|mood| mood.down = true);
    let ids: Vec<_> = (0..5).map(|_| publish(&wise)).collect();
    for id in &ids {
        let delivery = settled(&wise, id).await;
        assert_eq!(statuses(&delivery), [Some(200)]);
        let took = Duration::from_millis(delivery.attempts[0].took);
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    queued(&house, 5).await;
    application.change(|mood| mood.down = false);
    let arrived = application.got(5).await;
    queued(&house, 0).await;
    let mut got: Vec<_> = arrived.iter().map(Arrived::id).collect();
    got.sort();
    let mut wanted = ids;
    wanted.sort();
    assert_eq!(got, wanted);
}
