//! One keeper, and everybody who may ask it something at once.

use super::*;
use crate::sync::oneshot;
use crate::tokens::handle::Ask;

#[test]
fn all_who_meet_the_same_401_share_one_exchange() {
    explore("one 401, one exchange", Pace::Fine, || async {
        let house = House::told(Rotate::Always).await;
        let kept = house.keep().await;

        let requests: Vec<_> = (0..4).map(|_| kept.meets_401(1)).collect();
        let listener = start({
            let (mut facts, view) = (kept.handle.facts.clone(), kept.view.clone());
            async move {
                while facts.borrow().serial < 2 {
                    facts.changed().await.unwrap();
                    let told = facts.borrow().serial;
                    assert!(generation(&view) >= told, "told of a token not there");
                }
            }
        });
        for request in requests {
            assert_eq!(request.await.unwrap(), Renewal::Newer);
        }
        listener.await.unwrap();

        house.assert_one_exchange_per_generation(2);
        assert_eq!(kept.generation(), 2);
        kept.stop().await;
    });
}

#[test]
fn askers_who_leave_and_askers_of_every_kind_cost_no_second_exchange() {
    explore("mixed askers", Pace::Fine, || async {
        let house = House::told(Rotate::Always).await;
        let kept = house.keep().await;

        let stays = kept.meets_401(1);
        let leaves = kept.meets_401(1);
        let operator = start({
            let (handle, view) = (kept.handle.clone(), kept.view.clone());
            async move {
                let renewed = handle.refresh().await.unwrap();
                assert!(generation(&view) >= renewed, "told of a token not there");
                renewed
            }
        });
        let wakes = start({
            let handle = kept.handle.clone();
            async move { handle.wake().await }
        });
        let leaver = leaves.abort_handle();
        start(async move { leaver.abort() }).await.unwrap();

        assert_eq!(stays.await.unwrap(), Renewal::Newer);
        let renewed = operator.await.unwrap();
        wakes.await.unwrap();
        // The one who left may have asked first; the operator may have come before or after.
        assert!((2..=3).contains(&renewed), "{renewed}");
        assert_eq!(kept.generation(), renewed);
        house.assert_one_exchange_per_generation(renewed);
        kept.stop().await;
    });
}

#[test]
fn operators_who_ask_about_the_same_token_share_one_exchange_with_those_who_met_a_401() {
    explore("operators", Pace::Fine, || async {
        let house = House::told(Rotate::Always).await;
        let kept = house.keep().await;

        let operators = [(); 2].map(|()| {
            let asks = kept.handle.asks.clone();
            start(async move {
                let (reply, answer) = oneshot::channel();
                // As `refresh` asks, had both read the facts before anything happened.
                let ask = Ask::Refresh { seen: 1, reply };
                assert!(asks.send(ask).await.is_ok());
                answer.await.unwrap()
            })
        });
        let request = kept.meets_401(1);
        for operator in operators {
            assert_eq!(operator.await.unwrap(), Ok(2));
        }
        assert_eq!(request.await.unwrap(), Renewal::Newer);

        house.assert_one_exchange_per_generation(2);
        kept.stop().await;
    });
}

#[test]
fn a_stop_at_any_moment_leaves_nobody_waiting_and_nothing_unsaved() {
    explore("stop", Pace::Fine, || async {
        let house = House::told(Rotate::Always).await;
        let kept = house.keep().await;

        let requests: Vec<_> = (0..3).map(|_| kept.meets_401(1)).collect();
        kept.stop().await;
        for request in requests {
            let _ = request.await.unwrap();
        }

        let minted = house.wise.minted();
        assert!((1..=2).contains(&minted), "{minted}");
        house.assert_one_exchange_per_generation(minted);
        let stored = house.on_disk().unwrap();
        assert_eq!(number(stored.access_token.expose()), minted);
    });
}

#[test]
fn the_client_token_is_fetched_once_for_all_who_wait_for_it() {
    explore("client token", Pace::Fine, || async {
        let house = House::new(Rotate::Always);
        let kept = house.keep_as(Subject::Client);

        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let (handle, view) = (kept.handle.clone(), kept.view.clone());
                start(async move {
                    handle.wake().await;
                    assert_eq!(generation(&view), 1, "woken without a token");
                })
            })
            .collect();
        for waiter in waiters {
            waiter.await.unwrap();
        }

        house.assert_one_exchange_per_generation(1);
        kept.stop().await;
    });
}

#[test]
fn a_schedule_can_be_played_again() {
    // What the checker does not decide would make its failures unrepeatable.
    replayable(Pace::Fine, || async {
        let house = House::told(Rotate::Always).await;
        let kept = house.keep().await;
        let (one, other) = (kept.meets_401(1), kept.meets_401(1));
        let _ = (one.await, other.await);
        kept.stop().await;
    });
}
