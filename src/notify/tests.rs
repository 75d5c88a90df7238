use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::clock::Manual;
use crate::telemetry::events::Events;

const HOUR: Duration = Duration::from_hours(1);

fn settings(events: &[Kind]) -> Notify {
    Notify {
        webhook: None,
        authorization: None,
        command: None,
        events: events.to_vec(),
        repeat: HOUR,
    }
}

fn event(kind: Kind, grant: Option<&str>) -> Event {
    Event {
        number: 7,
        at: SystemTime::UNIX_EPOCH,
        kind,
        severity: kind.severity(),
        grant: grant.map(str::to_owned),
        text: "no new token: \"quoted\"".into(),
    }
}

#[test]
fn a_renewal_that_goes_on_failing_is_told_once_an_hour_for_each_grant() {
    let mut selection = Selection::new(&settings(&[Kind::RenewalFailed, Kind::RenewalRecovered]));
    let mut tells = |kind, grant, minutes| {
        selection.tells(&event(kind, Some(grant)), Duration::from_mins(minutes))
    };
    assert!(tells(Kind::RenewalFailed, "main", 0));
    assert!(!tells(Kind::RenewalFailed, "main", 59));
    assert!(tells(Kind::RenewalFailed, "other", 59));
    assert!(tells(Kind::RenewalFailed, "main", 60));
    assert!(tells(Kind::RenewalRecovered, "main", 61));
    assert!(
        !tells(Kind::RenewalRecovered, "main", 62),
        "nobody was told of a trouble"
    );
    assert!(tells(Kind::RenewalFailed, "main", 63), "a new trouble");
}

#[test]
fn what_was_not_asked_for_is_not_told() {
    let mut selection = Selection::new(&settings(&[Kind::GrantDead]));
    let told: Vec<_> = Kind::ALL
        .into_iter()
        .filter(|kind| selection.tells(&event(*kind, None), Duration::ZERO))
        .collect();
    assert_eq!(told, [Kind::GrantDead]);
}

#[test]
fn a_message_says_who_where_and_how_bad() {
    let letterhead = Letterhead {
        environment: Environment::Production,
        machine: "pay-1".into(),
        instance: "0f".into(),
    };
    let message = letterhead.message(&event(Kind::GrantDead, Some("main")));
    let message: Value = serde_json::from_slice(&message).unwrap();
    insta::assert_json_snapshot!(message, { ".version" => "[version]" }, @r#"
    {
      "at": "1970-01-01T00:00:00Z",
      "detail": "no new token: \"quoted\"",
      "environment": "production",
      "grant": "main",
      "id": "0f-7",
      "kind": "grant_dead",
      "machine": "pay-1",
      "number": 7,
      "severity": "error",
      "source": "wise-auth-proxy",
      "text": "wise-auth-proxy on pay-1 (production): ALARM: grant main: no new token: \"quoted\"",
      "version": "[version]"
    }
    "#);
}

fn script(directory: &Path, text: &str) -> Command {
    use std::os::unix::fs::PermissionsExt as _;
    let path = directory.join("script");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    Command::new(vec![
        path.to_str().unwrap().to_owned(),
        "an argument".to_owned(),
    ])
}

#[tokio::test]
async fn a_program_gets_the_event_and_nothing_of_our_environment() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let command = script(
        directory.path(),
        &format!("{{ cat; echo; echo \"$1\"; env; }} > {}", out.display()),
    );
    command.tell(Bytes::from_static(b"{}")).await.unwrap();
    let seen = std::fs::read_to_string(out).unwrap();
    let mut lines = seen.lines();
    assert_eq!(lines.next(), Some("{}"));
    assert_eq!(lines.next(), Some("an argument"));
    let known: BTreeMap<_, _> = lines.filter_map(|line| line.split_once('=')).collect();
    // The shell adds its own.
    let foreign: Vec<_> = known
        .keys()
        .filter(|name| !["PATH", "PWD", "_", "SHLVL", "OLDPWD"].contains(name))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

#[tokio::test]
async fn a_program_that_fails_or_is_not_there_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let broken = script(directory.path(), "exit 3").tell(Bytes::new()).await;
    assert!(matches!(&broken, Err(NotifyError::Failed(why)) if why.contains("exit status: 3")));
    let missing = Command::new(vec!["/nowhere/at/all".into()]);
    let missing = missing.tell(Bytes::new()).await;
    assert!(
        matches!(missing, Err(NotifyError::Failed(_))),
        "{missing:?}"
    );
}

proptest! {
    /// However troubles come and go: between two tellings of one trouble of one grant lies its end,
    /// or an hour; and no end is told twice.
    #[test]
    fn troubles_are_told_in_turn(steps in prop::collection::vec((any::<bool>(), 0..3usize, 0..40u64), 1..80)) {
        let mut selection = Selection::new(&settings(&[Kind::RenewalFailed, Kind::RenewalRecovered]));
        let mut now = Duration::ZERO;
        let mut open = [None; 3];
        for (fails, grant, minutes) in steps {
            now += Duration::from_mins(minutes);
            let kind = if fails { Kind::RenewalFailed } else { Kind::RenewalRecovered };
            let told = selection.tells(&event(kind, Some(&grant.to_string())), now);
            let due = match (fails, open[grant]) {
                (true, None) => true,
                (true, Some(last)) => now >= last + HOUR,
                (false, last) => last.is_some(),
            };
            prop_assert_eq!(told, due);
            if told {
                open[grant] = fails.then_some(now);
            }
        }
    }
}

#[tokio::test]
async fn without_a_receiver_nothing_runs() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    std::fs::write(
        &file,
        "environment = \"sandbox\"\n[switch]\nlane = \"personal\"\n[personal]\ntoken = { env = \"T\" }",
    )
    .unwrap();
    let sources = crate::config::Sources::of_process(Some(file), Vec::new());
    let config = crate::config::load(&sources).unwrap().config;
    let notifier = Notifier::new(&config);
    let clock = Arc::new(Manual::at(SystemTime::UNIX_EPOCH));
    let events = Events::new(clock.clone());
    let news = events.subscribe();
    notifier.run(news, clock, CancellationToken::new()).await;
    assert_eq!(notifier.tallies().count(), 0);
}
