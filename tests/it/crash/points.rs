//! A kill at each named point, one after the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wise_auth_proxy::simulator::{Rotation, Simulator};

use super::{
    Fate, MODES, Script, Toll, fate, kill, no_litter, no_payment_twice, payment, setting,
    was_killed, wise, wished,
};
use crate::house::{House, PROFILE, REDIRECT, Site, post};

/// What is under way when the kill comes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Errand {
    /// A running proxy renews its token.
    Renewal,
    /// A proxy starts and takes up what one before it had written when it was killed.
    TakeUp,
    /// A person logs in, and the command is killed.
    Login,
}

/// One place to die.
#[derive(Clone, Copy)]
struct Case {
    errand: Errand,
    point: &'static str,
    /// The first, second … time that the errand comes by.
    nth: usize,
    /// Wise has committed and the answer's bytes are not yet the kernel's: the one place at which
    /// nobody can help.
    answer_in_hand: bool,
}

const fn case(errand: Errand, point: &'static str, nth: usize) -> Case {
    Case {
        errand,
        point,
        nth,
        answer_in_hand: false,
    }
}

const fn in_hand(errand: Errand, point: &'static str, nth: usize) -> Case {
    Case {
        answer_in_hand: true,
        ..case(errand, point, nth)
    }
}

/// Not a point of ours: Wise has minted and its answer is on the way.
const ON_THE_WAY: &str = "(answer on the way)";

const CASES: &[Case] = &[
    case(Errand::Renewal, "renewal-locked", 1),
    // The first of each is the trial whether the disk takes anything, before Wise is asked.
    case(Errand::Renewal, "durable-write", 1),
    case(Errand::Renewal, "durable-sync", 1),
    case(Errand::Renewal, "durable-sync-dir", 1),
    case(Errand::Renewal, "renewal-gated", 1),
    in_hand(Errand::Renewal, ON_THE_WAY, 1),
    in_hand(Errand::Renewal, "renewal-answered", 1),
    in_hand(Errand::Renewal, "durable-write", 2),
    case(Errand::Renewal, "durable-sync", 2),
    case(Errand::Renewal, "store-staged", 1),
    case(Errand::Renewal, "store-kept", 1),
    case(Errand::Renewal, "store-named", 1),
    case(Errand::Renewal, "durable-sync-dir", 2),
    case(Errand::Renewal, "renewal-saved", 1),
    case(Errand::Renewal, "renewal-published", 1),
    case(Errand::TakeUp, "store-kept", 1),
    case(Errand::TakeUp, "store-named", 1),
    case(Errand::TakeUp, "durable-sync-dir", 1),
    case(Errand::Login, "durable-write", 1),
    case(Errand::Login, "durable-sync", 1),
    case(Errand::Login, "durable-sync-dir", 1),
    in_hand(Errand::Login, "login-answered", 1),
    in_hand(Errand::Login, "durable-write", 2),
    case(Errand::Login, "durable-sync", 2),
    case(Errand::Login, "store-staged", 1),
    case(Errand::Login, "store-kept", 1),
    case(Errand::Login, "store-named", 1),
    case(Errand::Login, "durable-sync-dir", 2),
    case(Errand::Login, "login-saved", 1),
    // The same once more, with the name of who logged in.
    case(Errand::Login, "durable-write", 3),
    case(Errand::Login, "durable-sync", 3),
    case(Errand::Login, "store-staged", 2),
    case(Errand::Login, "store-kept", 2),
    case(Errand::Login, "store-named", 2),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_point_of_a_renewal_or_a_login_loses_nothing_that_could_be_kept() {
    let rounds = wished(0.55, 1).div_ceil(CASES.len() * MODES.len()).max(1);
    let at_once = Arc::new(Semaphore::new(6));
    let mut tracks = JoinSet::new();
    for mode in MODES {
        for errand in [Errand::Renewal, Errand::TakeUp, Errand::Login] {
            let at_once = Arc::clone(&at_once);
            tracks.spawn(async move {
                let _turn = at_once.acquire_owned().await.unwrap();
                track(mode, errand, rounds).await
            });
        }
    }
    let mut toll = Toll::default();
    while let Some(of_one) = tracks.join_next().await {
        toll.add(of_one.unwrap());
    }
    toll.told();
    assert_eq!(toll.total()[0], CASES.len() * MODES.len() * rounds);
}

#[test]
fn every_point_of_the_program_is_one_at_which_a_test_kills() {
    // That each case dies where it says is asserted where it is run; here it is asked whether the
    // cases are all.
    let source = include_str!("../../../src/failpoint.rs");
    let names: BTreeSet<_> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Self::"))
        .filter_map(|line| line.split_once(" => \""))
        .map(|(_, name)| name.trim_end_matches("\","))
        .collect();
    let killed: BTreeSet<_> = CASES
        .iter()
        .map(|case| case.point)
        .filter(|point| *point != ON_THE_WAY)
        .chain(setting::CASES.iter().map(|case| case.point))
        .chain(crate::audit::POINTS)
        .chain(crate::webhooks::POINTS)
        .collect();
    assert_eq!(names, killed);
}

/// All cases of one errand at a Wise and a site of their own.
async fn track(mode: Rotation, errand: Errand, rounds: usize) -> Toll {
    let wise = wise(mode).await;
    let site = House::on(&wise).prepare().await;
    let mut toll = Toll::default();
    for round in 0..rounds {
        for case in CASES.iter().filter(|case| case.errand == errand) {
            let place = format!("{errand:?} {} {}", case.point, case.nth);
            match errand {
                Errand::Renewal => die_renewing(&wise, &site, case).await,
                Errand::TakeUp => die_taking_up(&wise, &site, case).await,
                Errand::Login => die_logging_in(&wise, &site, case).await,
            }
            // A login uses its code up and ends the grant before it, however Wise rotates.
            let strict = mode == Rotation::Always || errand == Errand::Login;
            let unavoidable = case.answer_in_hand && strict;
            let house = site.start().await;
            let fate = fate(&wise, &house).await;
            if unavoidable {
                assert_eq!(fate, Fate::Lost, "round {round}: {place} kills in vain");
            }
            toll.count(mode, &place, fate, unavoidable);
            kill(&house).await;
            no_litter(&site);
        }
    }
    no_payment_twice(&wise);
    toll
}

/// Starts a proxy and has it die in the middle of a renewal, with requests on their way.
async fn die_renewing(wise: &Simulator, site: &Site, case: &Case) {
    let script = Script::new(site);
    let house = site.scripted(&script.path).start().await;
    assert_eq!(house.request(payment()).await.status, 200);
    let exchanges = wise.exchange_count();
    if case.point == ON_THE_WAY {
        wise.change_faults(|faults| faults.token.latency = 60_000);
    } else {
        script.kill_at(case.point, case.nth);
    }
    let refresh = post("/tokens/main/refresh", &json!({}));
    let mut door = house.connect().await;
    let renewing = async {
        assert!(house.try_operate(refresh).await.is_err(), "it survived");
    };
    let paying = async { drop(door.request(payment()).await) };
    let dying = async {
        if case.point == ON_THE_WAY {
            wise.until(|wise| wise.exchange_count() > exchanges).await;
            house.signal("KILL");
        }
        assert!(was_killed(house.ended().await), "{}", house.log());
    };
    tokio::join!(renewing, paying, dying);
    wise.change_faults(|faults| faults.token.latency = 0);
    if case.point != ON_THE_WAY {
        let trace = script.trace();
        assert_eq!(trace.last().map(String::as_str), Some(case.point));
    }
}

/// Has a proxy die with the new record under its passing name, and the next one of taking it up.
async fn die_taking_up(wise: &Simulator, site: &Site, case: &Case) {
    die_renewing(wise, site, &self::case(Errand::Renewal, "store-staged", 1)).await;
    let script = Script::new(site);
    script.kill_at(case.point, case.nth);
    let (house, _) = site.scripted(&script.path).spawn();
    assert!(was_killed(house.ended().await), "{}", house.log());
    let trace = script.trace();
    assert_eq!(trace.last().map(String::as_str), Some(case.point));
}

/// Kills the command that a person logs in with.
async fn die_logging_in(wise: &Simulator, site: &Site, case: &Case) {
    let script = Script::new(site);
    script.kill_at(case.point, case.nth);
    let code = wise.authorise(PROFILE).unwrap();
    let login = [
        "login",
        "--grant",
        "main",
        "--code",
        &code,
        "--redirect-uri",
        REDIRECT,
    ];
    let output = site.scripted(&script.path).cli(&login).await;
    assert!(
        was_killed(output.status),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let trace = script.trace();
    assert_eq!(trace.last().map(String::as_str), Some(case.point));
}
