//! Kills in the middle of a switch, a reload and an installation of a certificate: what is in use
//! afterwards is the old or the new, wholly.

use std::collections::HashSet;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use wise_auth_proxy::simulator::{Credential, Door, Rotation, Simulator};

use super::{
    Fate, MODES, PATH, Script, Toll, age_left_overs, fate, kill, no_litter, random, was_killed,
    wise, wished,
};
use crate::house::{House, Site, post};

/// What is under way when the kill comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Errand {
    Switch,
    Reload,
    Install,
    Rollback,
}

/// One place to die.
pub(super) struct Case {
    errand: Errand,
    pub(super) point: &'static str,
    nth: usize,
    /// A restart finds the new setting; before this point it finds the old one.
    is_turned: bool,
}

const fn case(errand: Errand, point: &'static str, nth: usize, is_turned: bool) -> Case {
    Case {
        errand,
        point,
        nth,
        is_turned,
    }
}

pub(super) const CASES: &[Case] = &[
    case(Errand::Switch, "switch-begun", 1, false),
    case(Errand::Switch, "durable-write", 1, false),
    case(Errand::Switch, "durable-sync", 1, false),
    case(Errand::Switch, "durable-rename", 1, false),
    case(Errand::Switch, "durable-sync-dir", 1, true),
    case(Errand::Switch, "switch-set", 1, true),
    case(Errand::Switch, "durable-append", 1, true),
    case(Errand::Switch, "durable-sync", 2, true),
    case(Errand::Switch, "switch-recorded", 1, true),
    case(Errand::Switch, "switch-turned", 1, true),
    // A restart reads the files, which are the new ones.
    case(Errand::Reload, "reload-read", 1, true),
    case(Errand::Reload, "reload-published", 1, true),
    case(Errand::Install, "pair-staged", 1, false),
    case(Errand::Install, "pair-kept-half", 1, false),
    case(Errand::Install, "pair-kept", 1, false),
    case(Errand::Install, "pair-half", 1, true),
    case(Errand::Rollback, "pair-staged", 1, false),
    case(Errand::Rollback, "pair-kept-half", 1, false),
    case(Errand::Rollback, "pair-kept", 1, false),
    case(Errand::Rollback, "pair-half", 1, true),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_a_switch_a_reload_or_an_installation_leaves_the_old_or_the_new() {
    let rounds = wished(0.05, 1).div_ceil(CASES.len() * MODES.len()).max(1);
    let mut tracks = JoinSet::new();
    for mode in MODES {
        tracks.spawn(track(mode, rounds));
    }
    let mut toll = Toll::default();
    while let Some(of_one) = tracks.join_next().await {
        toll.add(of_one.unwrap());
    }
    toll.told();
    assert_eq!(toll.total()[0], CASES.len() * MODES.len() * rounds);
}

async fn track(mode: Rotation, rounds: usize) -> Toll {
    let wise = wise(mode).await;
    let site = House::on(&wise).prepare().await;
    let mut toll = Toll::default();
    let mut seen = HashSet::new();
    for round in 0..rounds {
        for case in CASES {
            let name = format!("{:?} {} {}", case.errand, case.point, case.nth);
            let house = match case.errand {
                Errand::Switch => switch(&wise, &site, case, &mut seen).await,
                Errand::Reload => reload(&wise, &site, case, round).await,
                Errand::Install | Errand::Rollback => exchange(&wise, &site, case, round).await,
            };
            house.turn("oauth-mtls").await;
            seen.insert(setting(&site));
            let fate = fate(&wise, &house).await;
            toll.count(mode, &name, fate, false);
            assert_eq!(fate, Fate::Alive, "{name}");
            kill(&house).await;
            no_litter(&site);
        }
    }
    toll
}

/// Dies in a switch. Returns the proxy that was started after it.
async fn switch(
    wise: &Simulator,
    site: &Site,
    case: &Case,
    settings: &mut HashSet<String>,
) -> House {
    age_left_overs(site);
    let script = Script::new(site);
    let house = site.scripted(&script.path).start().await;
    let old = if case.is_turned {
        "personal"
    } else {
        "oauth-mtls"
    };
    house.turn(old).await;
    settings.insert(setting(site));
    let new = other(old);
    script.kill_at(case.point, case.nth);
    let wish = json!({ "lane": new, "reason": case.point, "by": "test" });
    assert!(house.try_operate(post("/switch", &wish)).await.is_err());
    assert!(was_killed(house.ended().await), "{}", house.log());
    assert_eq!(script.trace().last().map(String::as_str), Some(case.point));

    let house = site.start().await;
    let expected = if case.is_turned { new } else { old };
    assert_eq!(lane(&house).await, expected, "{}", case.point);
    is_whole(wise, &house, expected).await;
    audited(site, settings);
    house
}

/// Dies in a reload. Returns the proxy that was started after it.
async fn reload(wise: &Simulator, site: &Site, case: &Case, round: usize) -> House {
    let script = Script::new(site);
    let house = site.scripted(&script.path).start().await;
    site.certificate(wise, &format!("{}-{round}", case.point));
    script.kill_at(case.point, case.nth);
    let wish = post("/reload", &json!({}));
    assert!(house.try_operate(wish).await.is_err());
    assert!(was_killed(house.ended().await), "{}", house.log());
    assert_eq!(script.trace().last().map(String::as_str), Some(case.point));

    let house = site.start().await;
    is_whole(wise, &house, "oauth-mtls").await;
    shows_the_newest_certificate(wise, &house);
    house
}

/// Has the command die on its way, beside a proxy that runs and before one that starts. Given
/// again it goes to the end, and both pairs are there. Returns a proxy with the new one.
async fn exchange(wise: &Simulator, site: &Site, case: &Case, round: usize) -> House {
    let house = site.start().await;
    let before = in_use(wise, &house).await;
    retire_all_but(wise, &before);
    let name = format!("{:?} {} {round}", case.errand, case.point);
    site.pair(wise, &name, "issued");
    let issued = wise.certificates().pop().unwrap().serial;
    let install = ["cert", "install", "issued.pem", "--key", "issued.key"];
    let rollback = ["cert", "rollback"];
    let (command, old, new) = if case.errand == Errand::Install {
        (&install[..], before, issued)
    } else {
        done(site, &install).await;
        house.reload().await;
        (&rollback[..], issued, before)
    };
    let script = Script::new(site);
    script.kill_at(case.point, case.nth);
    let output = site.scripted(&script.path).cli(command).await;
    assert!(was_killed(output.status), "{name}: {output:?}");
    assert_eq!(script.trace().last().map(String::as_str), Some(case.point));

    let expected = if case.is_turned { &new } else { &old };
    house.reload().await;
    assert_eq!(in_use(wise, &house).await, *expected, "{name}");
    kill(&house).await;
    let house = site.start().await;
    assert_eq!(in_use(wise, &house).await, *expected, "{name}");
    if case.is_turned {
        house
            .logs("run the same `cert` command again to finish it")
            .await;
    }

    done(site, command).await;
    for waiting in ["client.pem.next", "client.key.next"] {
        assert!(!site.path(waiting).exists(), "{name}: {waiting}");
    }
    house.reload().await;
    assert_eq!(in_use(wise, &house).await, new, "{name}");
    for expected in [&old, &new] {
        done(site, &rollback).await;
        house.reload().await;
        assert_eq!(
            in_use(wise, &house).await,
            *expected,
            "{name}: back and forth"
        );
    }
    kill(&house).await;
    let house = site.start().await;
    assert_eq!(in_use(wise, &house).await, new, "{name}");
    assert!(!house.log().contains("interrupted"), "{}", house.log());
    house
}

/// Runs a command that must succeed.
async fn done(site: &Site, command: &[&str]) {
    let output = site.cli(command).await;
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Serial of the certificate that a request comes with, all else being in order.
async fn in_use(wise: &Simulator, house: &House) -> String {
    is_whole(wise, house, "oauth-mtls").await;
    let arrived = wise.recorded();
    let last = arrived.iter().rfind(|seen| seen.target == PATH).unwrap();
    let shown = last.tls.as_ref().unwrap().client_certificate.as_ref();
    shown.unwrap().serial.clone()
}

/// Ten certificates may be active.
fn retire_all_but(wise: &Simulator, serial: &str) {
    for issued in wise.certificates() {
        if !issued.revoked && issued.serial != serial {
            wise.revoke_certificate(&issued.name).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_that_was_answered_survives_a_kill_at_any_moment_and_no_other_comes_about() {
    let rounds = wished(0.05, 9).div_ceil(3);
    let mut tracks = JoinSet::new();
    for _ in 0..3 {
        tracks.spawn(turn_and_kill(rounds));
    }
    let mut turns = 0;
    while let Some(of_one) = tracks.join_next().await {
        turns += of_one.unwrap();
    }
    println!("{} kills, {turns} turns that were answered", 3 * rounds);
}

/// Turns the switch without a pause and kills the proxy at random moments; counts the turns.
async fn turn_and_kill(rounds: usize) -> usize {
    let wise = wise(Rotation::Always).await;
    let site = House::on(&wise).prepare().await;
    let (mut turns, mut settings) = (0, HashSet::new());
    let mut house = site.start().await;
    for _ in 0..rounds {
        age_left_overs(&site);
        let mut answered = lane(&house).await;
        let mut asked = answered.clone();
        let moment = std::time::Duration::from_millis(random(150));
        let turning = async {
            loop {
                other(&answered).clone_into(&mut asked);
                let wish = json!({ "lane": asked, "reason": "often", "by": "test" });
                match house.try_operate(post("/switch", &wish)).await {
                    Ok(answer) if answer.status == 200 => answered.clone_from(&asked),
                    Ok(answer) => panic!("{answer:?}"),
                    Err(_) => return,
                }
                turns += 1;
                settings.insert(setting(&site));
            }
        };
        let dying = async {
            tokio::time::sleep(moment).await;
            kill(&house).await;
        };
        tokio::join!(turning, dying);

        house = site.start().await;
        let found = lane(&house).await;
        assert!(found == answered || found == asked, "{found}: {answered}");
        is_whole(&wise, &house, &found).await;
        audited(&site, &mut settings);
        no_litter(&site);
    }
    turns
}

async fn lane(house: &House) -> String {
    house.status().await["lane"].as_str().unwrap().to_owned()
}

fn other(lane: &str) -> &'static str {
    if lane == "personal" {
        "oauth-mtls"
    } else {
        "personal"
    }
}

/// A request has host, certificate and credential of the one lane.
async fn is_whole(wise: &Simulator, house: &House, lane: &str) {
    wise.clear();
    let answer = house.get(PATH).await;
    assert_eq!(answer.status, 200, "{answer:?} {}", house.log());
    let arrived = wise.recorded();
    let last = arrived.iter().rfind(|seen| seen.target == PATH).unwrap();
    let has_certificate = last
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_certificate.is_some());
    let found = match (last.door, &last.credential, has_certificate) {
        (Door::Plain, Credential::Personal, false) => "personal",
        (Door::Mtls, Credential::User { .. }, true) => "oauth-mtls",
        _ => panic!("a request in no lane: {last:?}"),
    };
    assert_eq!(found, lane);
}

/// The last request came with the certificate that was issued last.
fn shows_the_newest_certificate(wise: &Simulator, house: &House) {
    let issued = wise.certificates().pop().unwrap();
    let arrived = wise.recorded();
    let last = arrived.iter().rfind(|seen| seen.target == PATH).unwrap();
    let shown = last.tls.as_ref().unwrap().client_certificate.as_ref();
    assert_eq!(shown.unwrap().serial, issued.serial, "{}", house.log());
}

/// What the switch is remembered as.
fn setting(site: &Site) -> String {
    std::fs::read_to_string(site.path("state/switch.json")).unwrap()
}

/// Every line of the audit log was a setting at some time, and was one before it was a line.
fn audited(site: &Site, settings: &mut HashSet<String>) {
    if site.path("state/switch.json").exists() {
        settings.insert(setting(site));
    }
    let log = std::fs::read_to_string(site.path("state/switch.log")).unwrap_or_default();
    for line in log.lines() {
        let parsed: Value = serde_json::from_str(line).unwrap();
        assert!(parsed["to"].is_string(), "{line}");
        assert!(
            settings.contains(line),
            "a line without its setting: {line}"
        );
    }
}
