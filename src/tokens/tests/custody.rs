use std::fs;

use super::*;

const POLICIES: [Rotate; 3] = [Rotate::Always, Rotate::Grace, Rotate::Never];

#[tokio::test(start_paused = true)]
async fn two_proxies_on_one_store_make_one_exchange_per_generation() {
    for rotate in POLICIES {
        let (mut house, mut one) = House::serving(rotate).await;
        let mut two = house.start();
        two.until_live(1).await;

        for generation in 2..12 {
            one.until_live(generation).await;
            two.until_live(generation).await;
            assert_eq!(one.authorization(), two.authorization(), "{rotate:?}");
        }

        assert_eq!(house.wise.minted(), 11, "{rotate:?}");
        assert_eq!(house.wise.refused(), 0, "{rotate:?}");
        assert_eq!(house.wise.most_at_once(), 1, "{rotate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_proxies_that_both_renew_each_second_never_use_a_refresh_token_twice() {
    for latency in [20, 1_500] {
        let (mut house, one) = House::serving(Rotate::Always).await;
        *house.wise.latency.lock().unwrap() = Duration::from_millis(latency);
        let mut two = house.start();
        two.until_live(1).await;

        for _ in 0..15 {
            let (first, second) =
                futures_util::future::join(one.handle.refresh(), two.handle.refresh()).await;
            assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
            time::sleep(secs(1)).await;
        }

        assert_eq!(house.wise.refused(), 0);
        assert_eq!(house.wise.most_at_once(), 1);
        assert_eq!(house.on_disk().unwrap().generation, house.wise.minted());
    }
}

#[tokio::test(start_paused = true)]
async fn a_401_in_the_middle_of_another_process_s_exchange_waits_for_its_token() {
    let (mut house, one) = House::serving(Rotate::Always).await;
    let mut two = house.start();
    two.until_live(1).await;
    // A renewal that was forced just now does not change that: none is made.
    assert_eq!(two.handle.refused(1).await, Renewal::Newer);
    *house.wise.latency.lock().unwrap() = secs(4);
    for generation in 2..6 {
        time::sleep(secs(1)).await;
        let middle = async {
            // Wise has ended the old token; the answer is on its way to the other.
            time::sleep(secs(3)).await;
            two.handle.refused(generation).await
        };
        let (renewed, waited) = futures_util::future::join(one.handle.refresh(), middle).await;
        assert_eq!(renewed, Ok(generation + 1));
        assert_eq!(waited, Renewal::Newer);
        assert_eq!(two.authorization().unwrap(), house.wise.bearer());
    }
    assert_eq!(house.wise.refused(), 0);
    assert_eq!(house.wise.minted(), 6, "one for each generation");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_with_the_same_refresh_token() {
    for rotate in [Rotate::Grace, Rotate::Never] {
        let (house, mut proxy) = House::serving(rotate).await;
        house.wise.plan([Fault::AnswerLost, Fault::AnswerLost]);

        proxy.until_live(2).await;

        assert_eq!(
            proxy.authorization().unwrap(),
            house.wise.bearer(),
            "{rotate:?}"
        );
        assert_eq!(house.wise.refused(), 0, "{rotate:?}");
        let status = proxy.handle.status();
        assert_eq!(status.refreshes.of(Outcome::AnswerLost), 2);
        assert_eq!(status.refreshes.of(Outcome::Renewed), 1);
        assert_eq!(house.on_disk().unwrap().generation, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_under_strict_rotation_ends_the_grant_and_says_so() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    house.wise.plan([Fault::AnswerLost]);

    let reason = proxy.until_dead().await;

    assert!(reason.contains("lost on the way"), "{reason}");
    assert!(reason.contains("login` for grant `main`"), "{reason}");
    assert_eq!(house.wise.refused(), 1, "tried once, not for ever");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_in_an_unusable_answer_is_stored_and_used() {
    let bends: [fn(&mut TokenAnswer); 3] = [
        |answer| answer.access_token = "two words".into(),
        |answer| answer.access_token.clear(),
        |answer| answer.token_type = Some("mac".into()),
    ];
    for bend in bends {
        let (mut house, mut one) = House::serving(Rotate::Always).await;
        let mut two = house.start();
        two.until_live(1).await;
        house.wise.plan([Fault::Odd(bend)]);

        assert_eq!(one.handle.refused(1).await, Renewal::NotRenewed);

        let status = one.handle.status();
        assert_eq!(status.refreshes.of(Outcome::Garbled), 1);
        assert_eq!(one.authorization().unwrap(), "Bearer access-1");
        let stored = house.on_disk().unwrap();
        assert_eq!(stored.refresh_token.expose(), "refresh-2");
        assert_eq!(stored.generation, 2);

        one.until_live(2).await;
        two.until_live(2).await;
        assert_eq!(one.authorization().unwrap(), house.wise.bearer());
        assert_eq!(two.authorization().unwrap(), house.wise.bearer());
        assert_eq!(house.wise.minted(), 3, "for both");
        assert_eq!(house.wise.refused(), 0, "the spent one was not shown again");
        assert_eq!(house.on_disk().unwrap().generation, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_in_an_unusable_answer_outlives_the_process() {
    let (mut house, proxy) = House::serving(Rotate::Always).await;
    house.wise.plan([Fault::Access("two words")]);
    assert_eq!(proxy.handle.refused(1).await, Renewal::NotRenewed);
    proxy.kill();

    let mut again = house.start();

    again.until_live(2).await;
    assert_eq!(again.authorization().unwrap(), house.wise.bearer());
    let dead = "Bearer access-1";
    let shown = again
        .views()
        .into_iter()
        .any(|view| matches!(view, TokenView::Live { authorization, .. } if authorization == dead));
    assert!(!shown, "the old token is dead");
    assert_eq!(house.wise.refused(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_empty_refresh_token_is_an_unchanged_one() {
    let (house, mut proxy) = House::serving(Rotate::Never).await;
    let empty = |answer: &mut TokenAnswer| answer.refresh_token = Some(String::new());
    house.wise.plan([Fault::Odd(empty)]);

    proxy.until_live(3).await;

    assert_eq!(proxy.handle.status().refreshes.of(Outcome::Garbled), 0);
    assert_eq!(house.on_disk().unwrap().refresh_token.expose(), "refresh-1");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_endpoint_is_given_up_and_tried_again() {
    let (house, mut proxy) = House::serving(Rotate::Grace).await;
    house.wise.plan([Fault::Hangs]);
    proxy.until_live(2).await;
    assert_eq!(proxy.handle.status().refreshes.of(Outcome::AnswerLost), 1);
}

#[tokio::test(start_paused = true)]
async fn invalid_grant_is_the_end_until_somebody_logs_in() {
    for status in [400, 401] {
        let (house, mut proxy) = House::serving(Rotate::Always).await;
        house.wise.plan([Fault::Says(ExchangeError::answered(
            status,
            Some("invalid_grant"),
            None,
        ))]);

        let reason = proxy.until_dead().await;
        assert!(reason.contains("login"), "{reason}");
        let tries = house.wise.tries().len();
        time::sleep(secs(5_000)).await;
        assert_eq!(proxy.handle.refused(1).await, Renewal::NotRenewed);
        assert!(matches!(
            proxy.handle.refresh().await,
            Err(RefreshError::Dead(_))
        ));
        assert_eq!(house.wise.tries().len(), tries, "trying again is useless");
        assert_eq!(proxy.handle.status().state, "dead");

        house.login().await.ok().unwrap();
        let start = Instant::now();
        proxy.until_live(2).await;
        assert!(start.elapsed() <= secs(1));
        assert_eq!(proxy.authorization().unwrap(), house.wise.bearer());
    }
}

#[tokio::test(start_paused = true)]
async fn invalid_grant_because_another_process_was_faster_is_no_death() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    // A process that our lock does not reach stores its renewal while our exchange is under way.
    let twin = house.dir.path().join("twin");
    fs::create_dir(&twin).unwrap();
    fs::copy(house.state().join("seal.key"), twin.join("seal.key")).unwrap();
    let old = house.on_disk().unwrap();
    let record = Record {
        generation: 2,
        access_token: Secret::new("access-of-the-other"),
        issued: old.issued + secs(500),
        expires: old.expires + secs(500),
        ..old
    };
    let other = FileStore::open(&twin, None).unwrap();
    other.lock("main", secs(1)).unwrap().save(&record).unwrap();
    let (from, to) = (twin.join("main.grant"), house.state().join("main.grant"));
    house.wise.plan([Fault::Meanwhile(
        Box::new(move || fs::rename(from, to).unwrap()),
        ExchangeError::InvalidGrant { status: 400 },
    )]);

    proxy.until_live(2).await;

    assert_eq!(proxy.authorization().unwrap(), "Bearer access-of-the-other");
    let status = proxy.handle.status();
    assert_eq!(status.refreshes.of(Outcome::Adopted), 1);
    assert_eq!(status.refreshes.of(Outcome::InvalidGrant), 0);
}

#[tokio::test(start_paused = true)]
async fn a_login_while_serving_is_picked_up_without_a_word() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    proxy.until_live(3).await;

    house.login().await.ok().unwrap();

    proxy.until_live(4).await;
    assert_eq!(proxy.authorization().unwrap(), house.wise.bearer());
    proxy.until_live(5).await;
    assert_eq!(house.wise.refused(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_brings_the_same_refresh_token_brings_a_dead_grant_back() {
    let (house, mut proxy) = House::serving(Rotate::Never).await;
    let ended = ExchangeError::InvalidGrant { status: 400 };
    house.wise.plan([Fault::Says(ended)]);
    proxy.until_dead().await;
    let old = house.on_disk().unwrap();
    let now = house.clock.wall();

    let login = Record {
        granted: now,
        access_token: Secret::new("access-of-the-login"),
        issued: now,
        expires: now + secs(1_000),
        ..old
    };
    let hold = house.store().lock("main", secs(1)).unwrap();
    hold.save(&login).unwrap();
    drop(hold);

    proxy.until_live(2).await;
    assert_eq!(proxy.authorization().unwrap(), "Bearer access-of-the-login");
    proxy.until_live(3).await;
    assert_eq!(proxy.authorization().unwrap(), house.wise.bearer());
}

#[tokio::test(start_paused = true)]
async fn an_older_login_put_back_does_not_take_the_place_of_living_tokens() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    let older = fs::read(house.state().join("main.grant")).unwrap();
    time::sleep(secs(10)).await;
    house.login().await.unwrap();
    proxy.until_live(2).await;

    fs::write(house.state().join("main.grant"), older).unwrap();
    time::sleep(secs(10)).await;

    assert_eq!(proxy.authorization().unwrap(), house.wise.bearer());
    proxy.until_live(3).await;
    assert_eq!(house.on_disk().unwrap().generation, 3, "and it is stored");
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_grant_is_served_no_longer_and_a_new_login_counts_on() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    proxy.until_live(3).await;

    house.store().remove("main", secs(1)).unwrap();
    proxy.until_absent(Absence::NeverLoggedIn).await;
    house.login().await.ok().unwrap();

    // The store counts from 1 again; what requests compare must not.
    let view = proxy.until_live(1).await;
    assert!(
        matches!(view, TokenView::Live { generation: 4, .. }),
        "{view:?}"
    );
    proxy.until_live(5).await;
    assert_eq!(house.on_disk().unwrap().generation, 5);
}

#[tokio::test(start_paused = true)]
async fn a_restart_serves_from_the_store_with_the_endpoint_down() {
    let (mut house, proxy) = House::serving(Rotate::Always).await;
    proxy.handle.stop().await;
    house.wise.take_down();
    time::sleep(secs(300)).await;

    let mut again = house.start();

    let start = Instant::now();
    again.until_live(1).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(again.authorization().unwrap(), house.wise.bearer());
    assert_eq!(house.wise.tries().len(), 1, "nobody was asked");
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_any_step_of_a_renewal_loses_nothing_that_wise_keeps() {
    // An exchange takes 20 ms and is carried out half-way; the save follows. A kill at every
    // millisecond from the gate on meets each step.
    for rotate in POLICIES {
        for moment in 0..24 {
            let (mut house, mut proxy) = House::serving(rotate).await;
            proxy
                .until(|view| matches!(view, TokenView::Live { renewing: true, .. }))
                .await;
            time::sleep(Duration::from_millis(moment)).await;
            proxy.kill();
            // What was begun off the runtime ends by itself.
            let spared = house.wise.minted() == 1 || house.on_disk().unwrap().generation == 2;

            let mut again = house.start();
            let token = again
                .until(|view| {
                    matches!(view, TokenView::Dead { .. })
                        || matches!(view, TokenView::Live { generation, renewing: false, .. }
                            if *generation >= 2)
                })
                .await;

            let dead = matches!(token, TokenView::Dead { .. });
            assert!(
                !dead || (rotate == Rotate::Always && !spared),
                "{rotate:?}, killed after {moment} ms"
            );
            if !dead {
                assert_eq!(again.authorization().unwrap(), house.wise.bearer());
            }
            assert!(house.on_disk().is_some());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_of_another_client_or_profile_is_never_used() {
    let (mut house, proxy) = House::serving(Rotate::Always).await;
    proxy.handle.stop().await;
    let user = |profile: &str, client: &str| Subject::User {
        grant: "main".into(),
        profile: Some(profile.parse().unwrap()),
        client_id: client.into(),
    };

    let mut other = house.start_as(user("30000000", "rival"));
    other.until_absent(Absence::OtherClient).await;
    let mut wrong = house.start_as(user("40000000", "acme"));
    wrong.until_absent(Absence::OtherProfile).await;

    time::sleep(secs(5_000)).await;
    assert_eq!(house.wise.tries().len(), 1, "nor renewed");
    for proxy in [other, wrong] {
        assert_eq!(proxy.handle.refused(0).await, Renewal::NotRenewed);
        assert_eq!(proxy.authorization(), None);
    }
}
