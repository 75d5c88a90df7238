use super::*;

#[tokio::test(start_paused = true)]
async fn a_hundred_waiters_share_one_exchange() {
    let (house, proxy) = House::serving(Rotate::Always).await;

    let mut waiters = JoinSet::new();
    for _ in 0..100 {
        let handle = proxy.handle.clone();
        waiters.spawn(async move { handle.refused(1).await });
    }
    let answers = waiters.join_all().await;

    assert_eq!(answers, [Renewal::Newer; 100]);
    assert_eq!(
        house.wise.minted(),
        2,
        "each refresh revokes the last token"
    );
    assert_eq!(proxy.authorization().unwrap(), house.wise.bearer());
}

#[tokio::test(start_paused = true)]
async fn an_exchange_ends_and_is_stored_although_every_waiter_went_away() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    let handle = proxy.handle.clone();
    let mut waiter = JoinSet::new();
    waiter.spawn(async move { handle.refused(1).await });

    house.wise.arrived.notified().await; // the login's
    house.wise.arrived.notified().await;
    waiter.abort_all();

    proxy.until_live(2).await;
    assert_eq!(house.on_disk().unwrap().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn renewal_comes_at_half_of_life_give_or_take_a_twentieth() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    for generation in 2..6 {
        let before = *house.wise.tries().last().unwrap();
        proxy.until_live(generation).await;
        let after = *house.wise.tries().last().unwrap();
        let share = (after - before).as_secs_f64() / f64::from(i32::try_from(LIFE).unwrap());
        assert!((0.47..0.53).contains(&share), "{share}");
    }
    assert_eq!(house.wise.minted(), 5);
    assert_eq!(proxy.handle.status().refreshes.of(Outcome::Renewed), 4);
}

#[tokio::test(start_paused = true)]
async fn no_token_is_seen_before_it_is_sealed_on_disk() {
    let (_house, mut proxy) = House::serving(Rotate::Always).await;
    proxy.until_live(6).await;

    let seen = proxy.seen.lock().unwrap();
    let mut checked = 0;
    for (view, stored) in seen.iter() {
        if let TokenView::Live { authorization, .. } = view {
            let stored = stored.as_ref().unwrap().access_token.bearer().unwrap();
            assert_eq!(
                *authorization, stored,
                "a crash now would leave a token on disk that Wise has killed"
            );
            checked += 1;
        }
    }
    assert!(checked >= 6, "{checked}");
}

#[tokio::test(start_paused = true)]
async fn the_gate_closes_before_an_exchange_and_opens_after() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;

    let gate = proxy
        .until(|view| matches!(view, TokenView::Live { renewing: true, .. }))
        .await;

    assert!(matches!(gate, TokenView::Live { generation: 1, .. }));
    assert_eq!(house.wise.minted(), 1, "closed before Wise is asked");
    assert!(proxy.handle.status().renewing);
    proxy.until_live(2).await;
}

#[tokio::test(start_paused = true)]
async fn a_due_renewal_waits_for_requests_without_an_answer_but_not_for_ever() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    proxy.unanswered.store(1, Ordering::SeqCst);
    let gated = |view: &TokenView| matches!(view, TokenView::Live { renewing: true, .. });

    proxy.until(gated).await;
    let closed = Instant::now();
    proxy.until_live(2).await;
    let waited = *house.wise.tries().last().unwrap() - closed;
    assert!(waited >= house.policy.quiet, "{waited:?}");
    assert!(waited < house.policy.quiet + secs(1), "{waited:?}");

    proxy.until(gated).await;
    let closed = Instant::now();
    proxy.unanswered.store(0, Ordering::SeqCst);
    proxy.until_live(3).await;
    let waited = *house.wise.tries().last().unwrap() - closed;
    assert!(waited < house.policy.quiet, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_that_has_been_replaced_costs_no_exchange() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    proxy.until_live(2).await;

    assert_eq!(proxy.handle.refused(1).await, Renewal::Newer);

    assert_eq!(house.wise.minted(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_401_forces_one_renewal_in_thirty_seconds_and_no_more() {
    let (house, proxy) = House::serving(Rotate::Always).await;

    assert_eq!(proxy.handle.refused(1).await, Renewal::Newer);
    assert_eq!(proxy.handle.refused(2).await, Renewal::NotRenewed);
    time::sleep(secs(29)).await;
    assert_eq!(proxy.handle.refused(2).await, Renewal::NotRenewed);
    time::sleep(secs(2)).await;
    assert_eq!(proxy.handle.refused(2).await, Renewal::Newer);

    assert_eq!(house.wise.minted(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_by_schedule_does_not_use_up_the_forced_one() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    proxy.until_live(2).await;

    assert_eq!(proxy.handle.refused(2).await, Renewal::Newer);

    assert_eq!(house.wise.minted(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_newer_token_in_the_store_does_not_use_up_the_forced_renewal_either() {
    let (mut house, one) = House::serving(Rotate::Always).await;
    let mut two = house.start();
    two.until_live(1).await;
    one.handle.refresh().await.unwrap();

    assert_eq!(two.handle.refused(1).await, Renewal::Newer);
    assert_eq!(house.wise.minted(), 2, "taken from the store");
    assert_eq!(two.handle.refused(2).await, Renewal::Newer);

    assert_eq!(house.wise.minted(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_as_soon_as_the_endpoint_is_back() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    house.wise.plan([Fault::Down]);

    assert_eq!(proxy.handle.refused(1).await, Renewal::NotRenewed);

    let start = Instant::now();
    proxy.until_live(2).await;
    assert!(start.elapsed() < secs(3), "not only at half of life");
}

#[tokio::test(start_paused = true)]
async fn an_operator_may_renew_at_any_time() {
    let (house, proxy) = House::serving(Rotate::Always).await;
    assert_eq!(proxy.handle.refresh().await, Ok(2));
    assert_eq!(proxy.handle.refresh().await, Ok(3));
    house.wise.plan([Fault::Down]);
    let failed = proxy.handle.refresh().await.unwrap_err();
    assert!(
        matches!(
            &failed,
            RefreshError::Failed {
                result: Outcome::Unreachable,
                ..
            }
        ),
        "{failed}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_client_token_is_fetched_when_first_asked_for_renewed_and_never_stored() {
    let mut house = House::new(Rotate::Always);
    let mut proxy = house.start_as(Subject::Client);
    proxy.until_absent(Absence::NotFetched).await;
    time::sleep(secs(5_000)).await;
    assert_eq!(house.wise.minted(), 0, "nobody needed it");

    proxy.handle.wake().await;
    assert_eq!(proxy.authorization().unwrap(), house.wise.bearer());
    proxy.handle.wake().await;
    assert_eq!(house.wise.minted(), 1);
    proxy.until_live(2).await;

    assert!(house.store().list().unwrap().is_empty());
    let names: Vec<_> = std::fs::read_dir(house.state())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["seal.key"]);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_first_requests_fetch_one_client_token() {
    let mut house = House::new(Rotate::Always);
    let proxy = house.start_as(Subject::Client);
    let mut waiters = JoinSet::new();
    for _ in 0..100 {
        let handle = proxy.handle.clone();
        waiters.spawn(async move { handle.wake().await });
    }
    waiters.join_all().await;
    assert_eq!(house.wise.minted(), 1);
    assert!(proxy.authorization().is_some());
}

#[tokio::test(start_paused = true)]
async fn status_tells_all_but_secrets() {
    let (house, proxy) = House::serving(Rotate::Always).await;
    proxy.handle.refresh().await.unwrap();
    time::sleep(secs(100)).await;
    house.wise.plan([Fault::Down]);
    proxy.handle.refresh().await.unwrap_err();

    let status = proxy.handle.status();
    assert_eq!((status.state, status.generation), ("live", 2));
    assert_eq!(status.age, Some(100));
    assert_eq!(
        status.seconds_left,
        Some(u64::try_from(LIFE).unwrap() - 101)
    );
    let text = serde_json::to_string(&status).unwrap();
    assert!(text.contains(r#""renewed":1,"#), "{text}");
    assert!(text.contains("connection refused"), "{text}");
    for secret in ["access-", "refresh-"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_the_exchange_under_way() {
    let (house, proxy) = House::serving(Rotate::Always).await;
    let handle = proxy.handle.clone();
    let mut asking = JoinSet::new();
    asking.spawn(async move { handle.refresh().await });
    house.wise.arrived.notified().await; // the login's
    house.wise.arrived.notified().await;

    proxy.handle.stop().await;

    assert_eq!(asking.join_next().await.unwrap().unwrap(), Ok(2));
    assert_eq!(house.on_disk().unwrap().generation, 2);
    assert_eq!(proxy.handle.refresh().await, Err(RefreshError::Stopped));
    assert_eq!(proxy.handle.refused(2).await, Renewal::NotRenewed);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_lives_no_longer_than_the_spacing_ends_in_a_renewal_and_not_in_a_refusal() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    house.wise.plan((0..20).map(|_| Fault::ExpiresIn(Some(0))));
    let renewed = proxy.handle.refused(1).await;
    assert_eq!(renewed, Renewal::Newer);

    proxy.until_live(10).await;

    let refused = |view: &TokenView| {
        matches!(
            view,
            TokenView::Absent {
                renewing: false,
                ..
            }
        )
    };
    let views = proxy.views();
    let first = views
        .iter()
        .position(|view| matches!(view, TokenView::Live { .. }));
    assert!(
        !views.iter().skip(first.unwrap()).any(refused),
        "{views:#?}"
    );
}
