//! Keepers of several processes on one store, and others who write there.

use super::*;

#[test]
fn two_processes_that_meet_the_same_401_make_one_exchange() {
    explore("two processes, one 401", Pace::Fine, || async {
        let house = House::told(Rotate::Always).await;
        let (one, two) = (house.keep().await, house.keep().await);

        let requests = [&one, &two, &one, &two].map(|kept| kept.meets_401(1));
        for request in requests {
            assert_eq!(request.await.unwrap(), Renewal::Newer);
        }

        house.assert_one_exchange_per_generation(2);
        one.stop().await;
        two.stop().await;
    });
}

#[test]
fn a_process_that_is_killed_at_any_moment_stops_nobody() {
    explore("a killed process", Pace::Fine, || async {
        // Its exchange may have been carried out and its answer lost with it.
        let house = House::told(Rotate::Grace).await;
        let (killed, lives) = (house.keep().await, house.keep().await);

        let in_vain = killed.meets_401(1);
        let request = lives.meets_401(1);
        let axe = killed.task.abort_handle();
        start(async move { axe.abort() }).await.unwrap();

        assert_eq!(request.await.unwrap(), Renewal::Newer);
        let _ = in_vain.await.unwrap();
        assert_eq!(house.wise.refused(), 0, "a refresh token was used up twice");
        let minted = house.wise.minted();
        assert!((2..=3).contains(&minted), "{minted}");
        lives.stop().await;
        let stored = house.on_disk().unwrap();
        assert_eq!(number(stored.access_token.expose()), minted);
    });
}

#[test]
fn a_login_beside_a_renewal_uses_no_refresh_token_twice() {
    explore("login and renewal", Pace::Fine, || async {
        let house = Rc::new(House::told(Rotate::Always).await);
        let kept = house.keep().await;

        let request = kept.meets_401(1);
        let login = start({
            let house = Rc::clone(&house);
            async move { house.login().await.ok().unwrap().generation }
        });

        assert_eq!(request.await.unwrap(), Renewal::Newer);
        let generation = login.await.unwrap();
        // One exchange for the login, and one for the request if it did not wait for the login's.
        let minted = house.wise.minted();
        assert!((2..=3).contains(&minted), "{minted}");
        assert!((2..=3).contains(&generation), "{generation}");
        assert_eq!(house.wise.refused(), 0, "a refresh token was used twice");
        assert_eq!(
            house.wise.most_at_once(),
            1,
            "the lock keeps exchanges apart"
        );
        kept.stop().await;
        let stored = house.on_disk().unwrap();
        assert_eq!(number(stored.access_token.expose()), minted);
    });
}

#[test]
fn renewals_by_schedule_are_made_once_and_generations_never_fall() {
    explore("two schedules", Pace::Coarse, || async {
        let house = House::told(Rotate::Always).await;
        let (one, two) = (house.keep().await, house.keep().await);

        let readers = [&one, &two].map(|kept| {
            let mut view = kept.view.clone();
            start(async move {
                let mut last = (0, 0);
                while last.0 < 3 {
                    let now = token(&view);
                    if let Some(now) = now {
                        assert!(now >= last, "{now:?} after {last:?}");
                        last = now;
                    }
                    view.changed().await.unwrap();
                }
            })
        });
        for reader in readers {
            reader.await.unwrap();
        }

        assert_eq!(house.wise.refused(), 0, "a refresh token was used twice");
        assert_eq!(
            house.wise.most_at_once(),
            1,
            "the lock keeps exchanges apart"
        );
        one.stop().await;
        two.stop().await;
        let stored = house.on_disk().unwrap();
        assert_eq!(number(stored.access_token.expose()), house.wise.minted());
        assert_eq!(stored.generation, house.wise.minted());
    });
}

#[test]
fn answers_that_come_too_late_cost_no_grant_where_wise_forgives() {
    explore("late answers", Pace::Coarse, || async {
        let mut house = House::told(Rotate::Grace).await;
        house.policy.exchange_timeout = secs(10);
        let kept = house.keep().await;

        let requests = [kept.handle.clone(), kept.handle.clone()]
            .map(|handle| start(async move { handle.refused(1).await }));
        for request in requests {
            // Whatever came of it, and however long after.
            let _ = request.await.unwrap();
        }
        let mut view = kept.view.clone();
        while generation(&view) < 2 {
            view.changed().await.unwrap();
        }

        assert_eq!(house.wise.refused(), 0, "the right refresh token each time");
        kept.stop().await;
    });
}

/// Generation and number of the token that a request would leave with.
fn token(view: &modelled::Receiver<Option<TokenView>>) -> Option<(u64, u64)> {
    match &*view.borrow() {
        Some(TokenView::Live {
            authorization,
            generation,
            ..
        }) => Some((*generation, number(authorization.to_str().unwrap()))),
        Some(TokenView::Absent { .. } | TokenView::Dead { .. }) | None => None,
    }
}
