//! The replay rule, proven: a payment is sent a second time only if Wise provably did not act on the
//! first. Every fault that a Wise can have meets one transfer of its own, and then another.

use crate::house;
use crate::scripted::{Fate, Fault, Scripted, Seen, transfer};

/// What is provably not acted on by the peer's own word, and so must be done in the end.
const NOTHING_LOST: [Fault; 10] = [
    Fault::None,
    Fault::RefusedStream,
    Fault::GoAwayBelow,
    Fault::GoAwayAbove,
    Fault::SlowHead,
    Fault::SlowBody,
    Fault::CloseAfterAnswer,
    Fault::ServerError,
    Fault::SecondAnswer,
    Fault::ResetAfterAnswer,
];

/// What Wise says it has not acted on, and so is sent a second time. Nothing else is.
const DISCLAIMED: [Fault; 3] = [
    Fault::RefusedStream,
    Fault::RefusedTwice,
    Fault::GoAwayBelow,
];

#[tokio::test]
async fn through_every_fault_a_transfer_is_acted_on_at_most_once() {
    for http in ["1.1", "2"] {
        let (wise, scripted) = (house::wise().await, Scripted::start(http).await);
        let house = scripted.house(&wise).await;
        let (mut whole, mut ours, mut cut, mut again) = (0, 0, 0, 0);
        let faults = Fault::all(http);
        for fault in &faults {
            let (seen, fate) = scripted.meets(&house, *fault).await;
            println!("HTTP/{http} {fault:?}: {fate:?}");
            match &seen {
                Seen::Whole(answer) if answer.headers.contains_key("proxy-status") => ours += 1,
                Seen::Whole(_) => whole += 1,
                Seen::Cut(_) => cut += 1,
            }
            let times = if DISCLAIMED.contains(fault) { 2 } else { 1 };
            assert_eq!(fate.arrived, times, "{fault:?} arrived so often: {seen:?}");
            assert!(fate.acted_on <= 1, "{fault:?} was acted on twice");
            again += fate.arrived - 1;
            if NOTHING_LOST.contains(fault) {
                assert_eq!(fate.acted_on, 1, "{fault:?}");
                assert!(matches!(seen, Seen::Whole(_)), "{fault:?}: {seen:?}");
            }
            // The connection that the fault has left behind, if it did, meets the next transfers,
            // until one is answered.
            let mut next = scripted.meets(&house, Fault::None).await;
            while let Seen::Whole(answer) = &next.0
                && answer.status != 200
            {
                assert_eq!(answer.problem(), "upstream-broken", "after {fault:?}");
                next = scripted.meets(&house, Fault::None).await;
            }
            let once = Fate {
                arrived: 1,
                acted_on: 1,
            };
            assert_eq!(next.1, once, "after {fault:?}");
        }
        assert_eq!(scripted.repeated(), Vec::<String>::new(), "HTTP/{http}");
        println!(
            "HTTP/{http}: {} faults, {whole} answers of Wise's, {cut} cut, {ours} of ours; {again} \
             sent again, 0 acted on twice",
            faults.len()
        );
    }
}

/// Wise closes each connection within a quarter of a millisecond after its answer, which is when
/// the next transfer leaves on it.
#[tokio::test]
async fn a_connection_that_closes_in_the_moment_of_its_use_repeats_nothing() {
    const TRIES: usize = 1_000;
    for http in ["1.1", "2"] {
        let (wise, scripted) = (house::wise().await, Scripted::start(http).await);
        let house = scripted.house(&wise).await;
        let mut application = house.connect().await;
        let (mut served, mut broken, mut unseen) = (0, 0, 0);
        for _ in 0..TRIES {
            let (id, request) = transfer(Fault::CloseSoon);
            let answer = application.request(request).await.unwrap();
            let fate = scripted.fate(&id);
            if answer.status == 200 {
                assert_eq!(
                    fate,
                    Fate {
                        arrived: 1,
                        acted_on: 1
                    }
                );
                served += 1;
            } else {
                assert_eq!(answer.problem(), "upstream-broken");
                assert!(fate.arrived <= 1, "{fate:?}");
                unseen += usize::from(fate.arrived == 0);
                broken += 1;
            }
        }
        assert_eq!(scripted.repeated(), Vec::<String>::new(), "HTTP/{http}");
        assert_eq!(served + broken, TRIES);
        println!(
            "HTTP/{http}: {TRIES} transfers, {served} answered, {broken} broken ({unseen} of them \
             had not arrived), 0 sent twice"
        );
    }
}
