use std::fs;

use super::*;
use crate::credentials::User;

#[tokio::test(start_paused = true)]
async fn a_login_stores_a_grant_that_a_proxy_serves_at_once() {
    let mut house = House::new(Rotate::Always);
    let mut proxy = house.start();
    let absence = proxy.handle.status().absence;
    assert_eq!(absence, Some("not_looked_yet"), "nobody knows yet");
    proxy.until_absent(Absence::NeverLoggedIn).await;
    let absence = proxy.handle.status().absence;
    assert_eq!(absence, Some("never_logged_in"));

    let enrolled = house.login().await.ok().unwrap();

    assert_eq!(enrolled.generation, 1);
    assert_eq!(enrolled.authorization, *house.wise.bearer());
    assert!(enrolled.authorization.is_sensitive());
    let start = Instant::now();
    proxy.until_live(1).await;
    assert!(start.elapsed() <= secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_second_login_counts_on_and_keeps_the_first_as_a_way_back() {
    let house = House::new(Rotate::Always);
    house.login().await.ok().unwrap();
    assert_eq!(house.login().await.ok().unwrap().generation, 2);
    assert!(house.state().join("main.previous").exists());
}

#[tokio::test(start_paused = true)]
async fn a_code_is_not_spent_while_the_store_cannot_take_the_answer() {
    let house = House::new(Rotate::Always);
    let store = house.store();
    fs::remove_dir_all(house.state()).unwrap();
    let who = Enrolment {
        grant: "main".into(),
        profile: None,
        client_id: "acme".into(),
        timeout: secs(1),
    };
    let proof = Proof::RegistrationCode {
        email: "user@example.com".into(),
        registration_code: Secret::new("marker"),
    };

    let refused = enrol(store, house.wise.as_ref(), house.clock.as_ref(), who, proof)
        .await
        .err()
        .unwrap();

    assert!(matches!(refused, EnrolError::Store(_)), "{refused}");
    assert!(house.wise.tries().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_tokens_stores_nothing() {
    let house = House::new(Rotate::Always);
    house.login().await.ok().unwrap();
    for fault in [
        Fault::Says(ExchangeError::InvalidGrant { status: 400 }),
        Fault::Access("bad\ntoken"),
        Fault::Hangs,
    ] {
        house.wise.plan([fault]);
        assert!(matches!(
            house.login().await.err().unwrap(),
            EnrolError::Exchange(_)
        ));
        assert_eq!(house.on_disk().unwrap().generation, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_that_was_not_sent_is_said_to_be_unused() {
    let house = House::new(Rotate::Always);
    for fault in [Fault::Down, Fault::NoConnection] {
        house.wise.plan([fault]);
        let refused = house.login().await.err().unwrap();
        assert!(matches!(refused, EnrolError::NotAsked(_)), "{refused}");
        assert!(house.on_disk().is_none());
    }
    assert_eq!(house.login().await.ok().unwrap().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_login_during_a_renewal_waits_for_it() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    *house.wise.latency.lock().unwrap() = secs(3);
    let handle = proxy.handle.clone();
    let mut asking = JoinSet::new();
    asking.spawn(async move { handle.refresh().await });
    house.wise.arrived.notified().await; // the first login's
    house.wise.arrived.notified().await;

    let enrolled = house.login().await.ok().unwrap();

    assert_eq!(enrolled.generation, 3);
    assert_eq!(house.wise.most_at_once(), 1);
    proxy.until_live(3).await;
    assert_eq!(proxy.authorization().unwrap(), house.wise.bearer());
}

#[tokio::test(start_paused = true)]
async fn what_wise_tells_after_a_login_is_added_and_survives_renewals() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    let ada = User {
        id: "17".into(),
        name: Some("Ada".into()),
    };

    describe(house.store(), "main", Some(ada.clone()), None)
        .await
        .unwrap();
    proxy.until_live(2).await;

    assert_eq!(house.on_disk().unwrap().user, Some(ada.clone()));
    assert_eq!(proxy.handle.status().user, Some(ada));
    assert_eq!(house.wise.minted(), 2, "not taken for a new login");
}
