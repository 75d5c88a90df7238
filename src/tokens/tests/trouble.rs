use std::fs;

use super::*;
use crate::tokens::Garbled;

#[tokio::test(start_paused = true)]
async fn with_the_endpoint_down_the_token_serves_to_its_last_second_and_never_beyond() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    house.wise.take_down();
    let life = Duration::from_secs(u64::try_from(LIFE).unwrap());
    let begun = *house.wise.tries().first().unwrap();

    proxy.until_absent(Absence::Expired).await;

    let served = begun.elapsed();
    assert!(served <= life + Duration::from_millis(50), "{served:?}");
    assert!(served + secs(1) >= life, "{served:?}");
    for view in proxy.views() {
        if let TokenView::Live { ends, .. } = view {
            assert!(ends <= secs(1_000) + CONNECTING + life); // from the question on
        }
    }

    house.wise.mend();
    let mended = Instant::now();
    proxy.until_live(2).await;
    assert!(mended.elapsed() < secs(35), "{:?}", mended.elapsed());
}

#[tokio::test(start_paused = true)]
async fn tries_become_denser_towards_the_end_and_never_hammer() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    house.wise.take_down();
    proxy.until_absent(Absence::Expired).await;
    time::sleep(secs(300)).await;

    let tries = house.wise.tries();
    let life = Duration::from_secs(u64::try_from(LIFE).unwrap());
    let end = tries[0] + life;
    let gaps = |from: Instant, to: Instant| -> Vec<Duration> {
        tries
            .windows(2)
            .filter(|pair| pair[0] >= from && pair[1] <= to)
            .map(|pair| pair[1] - pair[0])
            .collect()
    };
    let longest = |gaps: &[Duration]| *gaps.iter().max().unwrap();
    let early = gaps(end - secs(550), end - secs(240));
    let late = gaps(end - secs(30), end);
    assert!(longest(&early) > secs(40), "{early:?}");
    assert!(longest(&late) < secs(10), "{late:?}");
    for pair in tries.windows(2).skip(1) {
        assert!(pair[1] - pair[0] >= secs(1), "at most one a second");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_endpoint_does_not_hold_up_requests_again_and_again() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    house.wise.take_down();
    while house.wise.tries().len() < 6 {
        house.wise.arrived.notified().await;
    }
    let closed = |proxy: &Proxy| {
        let views = proxy.views();
        let gated = |view: &&TokenView| matches!(view, TokenView::Live { renewing: true, .. });
        views.iter().filter(gated).count()
    };
    assert_eq!(
        closed(&proxy),
        0,
        "nobody who could end the token was reached"
    );
    house.wise.mend();
    proxy.until_live(2).await;
    assert_eq!(closed(&proxy), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_do_not_wait_for_a_connection_to_the_endpoint() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    house.wise.plan([Fault::NoConnection]);
    house.wise.arrived.notified().await; // the login's
    house.wise.arrived.notified().await;
    time::sleep(secs(5)).await;

    let view = proxy.views().pop();
    let serves = matches!(
        view,
        Some(TokenView::Live {
            generation: 1,
            renewing: false,
            ..
        })
    );
    assert!(serves, "{view:?}");

    time::sleep(secs(6)).await;
    let error = proxy.handle.status().last_error.unwrap();
    assert_eq!(error.result, "unreachable");
    proxy.until_live(2).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ends_while_an_operator_renews_it_has_requests_wait() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    // A mistake, which is tried again every few minutes.
    let mistake = || Fault::Says(ExchangeError::answered(401, None, None));
    house.wise.plan((0..1_000).map(|_| mistake()));
    let life = u64::try_from(LIFE).unwrap();
    time::sleep(secs(life - 5)).await;
    house.wise.mend();
    house.wise.plan([Fault::NoConnection]);

    let handle = proxy.handle.clone();
    let mut asking = JoinSet::new();
    asking.spawn(async move { handle.refresh().await });
    let ended = proxy
        .until(|view| matches!(view, TokenView::Absent { .. }))
        .await;

    let waits = matches!(ended, TokenView::Absent { renewing: true, .. });
    assert!(waits, "no other try is due: {ended:?}");
}

#[tokio::test(start_paused = true)]
async fn all_who_meet_a_401_in_an_outage_share_one_try_for_each_rest() {
    for store in [false, true] {
        let (mut house, proxy) = House::serving(Rotate::Always).await;
        let mut two = house.start();
        two.until_live(1).await;
        // The endpoint is down, or another process hangs with the lock in its hands.
        let lock = store.then(|| house.store().lock("main", secs(1)).unwrap());
        house.wise.take_down();
        let tries = || {
            let refreshes = proxy.handle.status().refreshes;
            refreshes.of(Outcome::Unreachable) + refreshes.of(Outcome::StoreFailed)
        };
        let ask = || futures_util::future::join_all((0..50).map(|_| proxy.handle.refused(1)));

        let asked = Instant::now();
        assert_eq!(ask().await, [Renewal::NotRenewed; 50]);
        assert_eq!(tries(), 1, "one for fifty, store: {store}");
        assert!(asked.elapsed() < secs(11), "and one wait for the lock");

        // A minute of requests that are all refused: no more tries than by the keeper itself.
        let begun = Instant::now();
        while begun.elapsed() < secs(60) {
            let asks = (0..4).map(|_| proxy.handle.refused(1));
            let told = futures_util::future::join_all(asks).await;
            assert_eq!(told, [Renewal::NotRenewed; 4]);
            time::sleep(Duration::from_millis(500)).await;
        }
        let made = tries();
        assert!((3..=10).contains(&made), "{made} in 60 s, store: {store}");

        if !store {
            let made = tries();
            proxy.handle.refresh().await.unwrap_err();
            assert_eq!(tries(), made + 1, "an operator does not wait for the rest");
        }
        drop(lock);
        house.wise.mend();
        let mended = Instant::now();
        two.until_live(2).await;
        assert!(mended.elapsed() < secs(45), "{:?}", mended.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_even_by_forced_renewals() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    house.wise.plan([Fault::Says(ExchangeError::Throttled {
        retry_after: Some(secs(100)),
    })]);
    assert_eq!(proxy.handle.refused(1).await, Renewal::NotRenewed);
    let throttled = Instant::now();

    time::sleep(secs(50)).await;
    assert_eq!(proxy.handle.refused(1).await, Renewal::NotRenewed);
    proxy.until_live(2).await;

    assert!(
        throttled.elapsed() >= secs(100),
        "{:?}",
        throttled.elapsed()
    );
    assert!(throttled.elapsed() < secs(102), "{:?}", throttled.elapsed());
    assert_eq!(house.wise.tries().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_is_a_mistake_to_mend_and_not_the_end_of_the_grant() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    house
        .wise
        .plan((0..1_000).map(|_| Fault::Says(ExchangeError::answered(401, None, None))));
    while house.wise.tries().len() < 6 {
        house.wise.arrived.notified().await;
    }
    let tries = house.wise.tries();
    for pair in tries.windows(2).skip(1) {
        assert!(pair[1] - pair[0] >= secs(24), "{:?}", pair[1] - pair[0]);
    }
    assert_eq!(proxy.authorization().unwrap(), house.wise.bearer());
    let error = proxy.handle.status().last_error.unwrap();
    assert_eq!(error.result, "invalid_client");
    assert!(error.text.contains("oauth.client_secret"), "{}", error.text);

    house.wise.mend();
    let mended = Instant::now();
    proxy.handle.nudge().await;
    proxy.until_live(2).await;
    assert!(mended.elapsed() < secs(1), "a reload makes it due at once");
}

#[tokio::test(start_paused = true)]
async fn unusable_answers_never_replace_a_token() {
    for (fault, word) in [
        (Fault::Access("a\r\nx-evil: 1"), "characters"),
        (Fault::Access("two words"), "characters"),
        (Fault::Access(""), "empty"),
        (
            Fault::Says(ExchangeError::Garbled(Garbled::NotJson)),
            "not JSON",
        ),
        (
            Fault::Says(ExchangeError::answered(307, None, None)),
            "redirect",
        ),
    ] {
        let (house, mut proxy) = House::serving(Rotate::Grace).await;
        house.wise.plan([fault]);
        while proxy.handle.status().refreshes.of(Outcome::Garbled) == 0 {
            proxy.view.changed().await.unwrap();
        }
        assert_eq!(proxy.authorization().unwrap(), "Bearer access-1");
        let text = proxy.handle.status().last_error.unwrap().text;
        assert!(text.contains(word), "{text}");
        assert!(!text.contains("evil"), "{text}");
        proxy.until_live(2).await;
        assert_eq!(proxy.authorization().unwrap(), house.wise.bearer());
    }
}

#[tokio::test(start_paused = true)]
async fn odd_lifetimes_neither_stop_the_service_nor_hammer_the_endpoint() {
    for odd in [Some(0), Some(-5), Some(i64::MIN), Some(1)] {
        let (house, mut proxy) = House::serving(Rotate::Always).await;
        house.wise.plan((0..10_000).map(|_| Fault::ExpiresIn(odd)));
        proxy.handle.refresh().await.unwrap();
        let before = house.wise.minted();
        time::sleep(secs(8)).await;
        let made = house.wise.minted() - before;
        assert!((4..=9).contains(&made), "{odd:?}: {made} in 8 s");
        house.wise.mend();
        let generation = house.wise.minted() + 1;
        proxy.until_live(generation).await;
    }
    for (odd, bound) in [(Some(i64::MAX), 24 * 3_600), (None, 3_600)] {
        let (house, proxy) = House::serving(Rotate::Always).await;
        house.wise.plan([Fault::ExpiresIn(odd)]);
        proxy.handle.refresh().await.unwrap();
        let left = proxy.handle.status().seconds_left.unwrap();
        assert!(left <= bound && left > bound - 5, "{odd:?}: {left}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_set_while_running_changes_nothing() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    for (generation, shift) in [(2, 40_000_i64), (3, -90_000), (4, 1_000_000)] {
        house.clock.shift_wall(|wall| {
            let by = secs(shift.unsigned_abs());
            if shift > 0 { wall + by } else { wall - by }
        });
        let before = *house.wise.tries().last().unwrap();
        proxy.until_live(generation).await;
        let gap = *house.wise.tries().last().unwrap() - before;
        assert!((secs(560)..secs(640)).contains(&gap), "{gap:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_was_wrong_at_a_restart_costs_a_renewal_at_most() {
    for (forward, by) in [(true, 50_000), (false, 50_000)] {
        let (mut house, proxy) = House::serving(Rotate::Always).await;
        proxy.handle.stop().await;
        house.clock.shift_wall(|wall| {
            if forward {
                wall + secs(by)
            } else {
                wall - secs(by)
            }
        });

        let mut again = house.start();

        let view = again.until_live(2).await;
        let TokenView::Live { ends, .. } = view else {
            panic!("{view:?}")
        };
        let life = Duration::from_secs(u64::try_from(LIFE).unwrap());
        assert!(
            ends <= house.clock.boot() + life,
            "no more than a whole life"
        );
        time::sleep(secs(60)).await;
        assert_eq!(house.wise.minted(), 2, "one renewal, by a clock {by} s off");
    }
}

/// A store that takes no writes: a file stands where its directory was.
fn break_store(house: &House) {
    fs::rename(house.state(), house.dir.path().join("away")).unwrap();
    fs::write(house.state(), "in the way").unwrap();
}

fn mend_store(house: &House) {
    fs::remove_file(house.state()).unwrap();
    fs::rename(house.dir.path().join("away"), house.state()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn with_time_in_hand_a_broken_store_postpones_the_renewal() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    break_store(&house);
    while proxy.handle.status().refreshes.of(Outcome::StoreFailed) < 3 {
        proxy.view.changed().await.unwrap();
    }
    assert_eq!(
        house.wise.minted(),
        1,
        "the only refresh token stays on disk"
    );
    assert_eq!(proxy.authorization().unwrap(), house.wise.bearer());

    mend_store(&house);
    proxy.until_live(2).await;
    assert_eq!(house.on_disk().unwrap().generation, 2);
    assert!(!proxy.handle.status().unsaved);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_broken_does_not_stop_the_service_and_is_caught_up_later() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    break_store(&house);

    proxy.until_live(2).await;
    assert_eq!(proxy.authorization().unwrap(), house.wise.bearer());
    assert!(proxy.handle.status().unsaved, "loudly");
    proxy.until_live(3).await;
    let seen: Vec<TokenView> = proxy.views();
    assert!(
        seen.iter()
            .all(|view| matches!(view, TokenView::Live { .. })),
        "not a moment without a token: {seen:?}"
    );

    mend_store(&house);
    while proxy.handle.status().unsaved {
        proxy.view.changed().await.unwrap();
    }
    let stored = house.on_disk().unwrap();
    assert_eq!(stored.generation, 3);
    assert_eq!(
        stored.access_token.bearer().unwrap().to_str().unwrap(),
        house.wise.bearer()
    );
}

#[tokio::test(start_paused = true)]
async fn while_a_new_refresh_token_is_unsaved_no_other_process_spends_the_old_one() {
    let (mut house, mut one) = House::serving(Rotate::Always).await;
    let mut two = house.start();
    two.until_live(1).await;
    // The way back cannot be made, which shows only after the exchange.
    let obstacle = house.state().join("main.previous").join("x");
    fs::create_dir_all(&obstacle).unwrap();

    assert_eq!(one.handle.refresh().await, Ok(2));
    assert!(one.handle.status().unsaved);
    assert_eq!(one.authorization().unwrap(), house.wise.bearer());
    assert_eq!(
        house.on_disk().unwrap().generation,
        1,
        "the old record is intact"
    );
    assert_eq!(two.handle.refused(1).await, Renewal::NotRenewed);
    assert_eq!(
        house.wise.refused(),
        0,
        "a strict server would end the grant"
    );

    fs::remove_dir_all(house.state().join("main.previous")).unwrap();
    two.until_live(2).await;
    assert_eq!(two.authorization().unwrap(), house.wise.bearer());
    // The other may have read the record before this one has come back from writing it.
    while one.handle.status().unsaved {
        one.view.changed().await.unwrap();
    }
    assert_eq!(one.handle.status().refreshes.of(Outcome::StoreFailed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_login_during_an_exchange_without_the_lock_is_not_overwritten() {
    let (house, mut proxy) = House::serving(Rotate::Always).await;
    let old = house.on_disk().unwrap();
    break_store(&house);
    let (state, away) = (house.state(), house.dir.path().join("away"));
    let login = Record {
        generation: 2,
        granted: old.granted + secs(60),
        access_token: Secret::new("access-of-the-login"),
        refresh_token: Secret::new("refresh-of-the-login"),
        ..old
    };
    let logs_in = move || {
        fs::remove_file(&state).unwrap();
        fs::rename(away, &state).unwrap();
        let store = FileStore::open(&state, None).unwrap();
        store.lock("main", secs(1)).unwrap().save(&login).unwrap();
    };
    house.wise.plan([Fault::After(Box::new(logs_in))]);

    assert_eq!(proxy.handle.refused(1).await, Renewal::Newer);

    proxy.until_live(2).await;
    assert_eq!(proxy.authorization().unwrap(), "Bearer access-of-the-login");
    let stored = house.on_disk().unwrap();
    assert_eq!(stored.refresh_token.expose(), "refresh-of-the-login");
    assert!(!proxy.handle.status().unsaved);
}

#[tokio::test(start_paused = true)]
async fn a_stop_makes_a_last_try_to_save() {
    let (house, proxy) = House::serving(Rotate::Always).await;
    fs::create_dir_all(house.state().join("main.previous").join("x")).unwrap();
    proxy.handle.refresh().await.unwrap();
    assert_eq!(house.on_disk().unwrap().generation, 1);

    fs::remove_dir_all(house.state().join("main.previous")).unwrap();
    proxy.handle.stop().await;

    assert_eq!(house.on_disk().unwrap().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_store_is_reported_left_alone_and_healed_by_a_login() {
    let (mut house, proxy) = House::serving(Rotate::Always).await;
    proxy.handle.stop().await;
    let path = house.state().join("main.grant");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();

    let mut again = house.start();
    again.until_absent(Absence::StoreUnreadable).await;
    time::sleep(secs(100)).await;
    assert_eq!(fs::read(&path).unwrap(), bytes, "never overwritten");
    let error = again.handle.status().last_error.unwrap();
    assert!(error.text.contains("damaged"), "{}", error.text);

    let enrolled = house.login().await.ok().unwrap();
    again.until_live(1).await;
    assert_eq!(again.authorization().unwrap(), house.wise.bearer());
    assert_eq!(fs::read(enrolled.set_aside.unwrap()).unwrap(), bytes);
}

#[tokio::test(start_paused = true)]
async fn renewals_that_follow_one_another_without_a_pause_keep_nobody_waiting() {
    let (house, proxy) = House::serving(Rotate::Always).await;
    // Dead when it arrives: the next one is due at once, and again.
    house
        .wise
        .plan((0..1_000).map(|_| Fault::ExpiresIn(Some(1))));
    proxy.handle.refresh().await.unwrap();
    house.wise.mend();
    *house.wise.latency.lock().unwrap() = secs(3);
    house.wise.lives(1);
    let before = house.wise.tries().len();
    while house.wise.tries().len() < before + 3 {
        house.wise.arrived.notified().await;
    }

    let asked = Instant::now();
    let seen = proxy.handle.status().generation;
    let asks = (0..50).map(|_| proxy.handle.refused(seen));
    let answers = time::timeout(secs(60), futures_util::future::join_all(asks));
    for came in answers.await.expect("all are answered") {
        assert_eq!(came, Renewal::Newer);
    }
    assert!(asked.elapsed() < secs(7), "{:?}", asked.elapsed());

    let stopped = Instant::now();
    let stop = time::timeout(secs(60), proxy.handle.stop());
    stop.await.expect("it stops");
    assert!(stopped.elapsed() < secs(7), "{:?}", stopped.elapsed());
}
