//! Publishers that race, readers beside them, and requests that wait.

use super::*;
use crate::sync::{Pace, exhaust, explore, start};

#[test]
fn no_publication_is_lost_however_publishers_race() {
    exhaust("racing publishers", || async {
        let published = Published::new(first());
        let renewals = [0, 1].map(|slot| {
            let published = published.clone();
            start(async move {
                published.update(|snapshot| snapshot.tokens[slot] = live(2, false));
            })
        });
        published.update(|snapshot| snapshot.lane = Lane::Personal);
        for renewal in renewals {
            renewal.await.unwrap();
        }

        let last = published.load();
        assert_eq!(last.lane, Lane::Personal);
        assert_eq!([0, 1].map(|slot| generation(&last.tokens[slot])), [2, 2]);
    });
}

#[test]
fn who_waits_for_a_renewal_is_woken_by_its_end() {
    exhaust("a waiter's wake-up", || async {
        let published = Published::new(first());
        published.update(|snapshot| snapshot.tokens[0] = live(1, true));
        let request = start({
            let worker = worker(&published, &[]);
            async move { pass(&worker, FIRST).await.generation }
        });

        published.update(|snapshot| snapshot.tokens[0] = live(2, false));

        // Time stands still: who misses this publication waits for ever.
        assert_eq!(request.await.unwrap(), 2);
    });
}

#[test]
fn who_waits_sleeps_through_no_publication_however_many_come() {
    explore("waiters among publishers", Pace::Still, || async {
        let published = Published::new(first());
        let requests = [FIRST, SECOND, FIRST].map(|credential| {
            let worker = worker(&published, &[]);
            start(async move { pass(&worker, credential).await.generation })
        });
        let renewals = [0, 1].map(|slot| {
            let published = published.clone();
            start(async move {
                published.update(|snapshot| snapshot.tokens[slot] = live(1, true));
                published.update(|snapshot| snapshot.tokens[slot] = live(2, false));
            })
        });
        published.update(|snapshot| reload(snapshot, 1));
        for renewal in renewals {
            renewal.await.unwrap();
        }
        for request in requests {
            // Who came before the gate closed did not have to wait.
            assert!((1..=2).contains(&request.await.unwrap()));
        }
    });
}

#[test]
fn a_reader_sees_what_belongs_together_and_never_an_older_token() {
    explore("readers beside publishers", Pace::Still, || async {
        let published = Published::new(first());
        let readers = [0, 1].map(|_| {
            let worker = worker(&published, &[]);
            start(async move {
                let mut last = [0, 0];
                while last != [3, 3] {
                    let mut news = worker.subscribe();
                    let view = worker.view();
                    assert_whole(&view);
                    let now = [0, 1].map(|slot| generation(&view.tokens[slot]));
                    assert!(
                        now[0] >= last[0] && now[1] >= last[1],
                        "{now:?} after {last:?}"
                    );
                    last = now;
                    if last != [3, 3] {
                        news.changed().await.unwrap();
                    }
                }
            })
        });
        let renewals = [0, 1].map(|slot| {
            let published = published.clone();
            start(async move {
                for next in 2..=3 {
                    published.update(|snapshot| snapshot.tokens[slot] = live(next - 1, true));
                    published.update(|snapshot| snapshot.tokens[slot] = live(next, false));
                }
            })
        });
        let reloads = start({
            let published = published.clone();
            async move {
                for number in 1..=2 {
                    published.update(|snapshot| reload(snapshot, number));
                }
            }
        });
        for lane in [Lane::Personal, Lane::OAuthMtls] {
            published.update(|snapshot| snapshot.lane = lane);
        }
        for done in renewals {
            done.await.unwrap();
        }
        reloads.await.unwrap();
        for reader in readers {
            reader.await.unwrap();
        }

        let last = published.load();
        assert_eq!(last.lane, Lane::OAuthMtls);
        assert_eq!(last.personal.as_ref().unwrap(), "Bearer personal-2");
        assert_eq!([0, 1].map(|slot| generation(&last.tokens[slot])), [3, 3]);
    });
}
