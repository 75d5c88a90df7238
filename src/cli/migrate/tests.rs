//! The judge on its own: every step by its evidence, every state with what comes next.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::evidence::{
    Certificate, Client, Confirmation, Evidence, Grant, GrantState, Guide, Handshake, Personal,
    Proxy, Rehearsal, Request, Start, Typed, WayBack,
};
use super::picture;
use super::step::Step;
use super::steps::{Judged, State, first, judge};
use super::words::moment;
use crate::config::Lane;
use crate::switch::Usage;

const NOW: &str = "2026-11-22T10:00:00Z";
const LONG_AGO: &str = "2026-11-01T10:00:00Z";

fn word(step: Step) -> Confirmation {
    Confirmation {
        step,
        at: LONG_AGO.to_owned(),
        by: "ann (uid 1000)".to_owned(),
        undone: false,
    }
}

/// Everything is done, at a company that came from a personal token.
fn whole(guide: Guide, start: Start) -> Evidence {
    let mut usage = Usage::default();
    usage.add(Lane::Personal, 900, 890, LONG_AGO);
    usage.add(Lane::OAuthMtls, 412, 400, "2026-11-22T09:58:30Z");
    Evidence {
        guide,
        start,
        now: moment(NOW).unwrap(),
        typed: Typed {
            organisation: Some("Acme Ltd".to_owned()),
            country: Some("GB".to_owned()),
            hub: "https://wise-sandbox.com/developer-hub".to_owned(),
            settings: "https://wise-sandbox.com/settings".to_owned(),
            redirect: "http://127.0.0.1:8976/callback".to_owned(),
            door: Some("127.0.0.1:8080".to_owned()),
            ..Typed::default()
        },
        configuration: Some("wise-auth-proxy.toml, sandbox".to_owned()),
        client: Client::Accepted("client acme: Wise gave a token just now".to_owned()),
        request: Request::Made {
            csr: "secrets/client.csr".into(),
        },
        certificate: Certificate::Installed("certificate acme, 364 days left".to_owned()),
        grants: vec![Grant {
            name: "main".to_owned(),
            state: GrantState::Alive("profile 30000000, granted by Ada".to_owned()),
        }],
        proxy: Proxy::Running {
            lane: Lane::OAuthMtls,
            reasons: Vec::new(),
        },
        way_back: WayBack {
            lane: Lane::Personal,
            shut: None,
        },
        handshake: Handshake::Done("requests were answered over it".to_owned()),
        lane: Some((Lane::OAuthMtls, "oauth-mtls since 2026-11-20".to_owned())),
        is_turned: true,
        usage,
        rehearsal: Rehearsal::Over(LONG_AGO.to_owned()),
        personal: Personal::default(),
        confirmed: Step::ALL
            .into_iter()
            .filter(|step| step.is_confirmed())
            .map(|step| (step, word(step)))
            .collect(),
    }
}

/// Takes away what speaks for one step.
fn undo(step: Step, evidence: &mut Evidence) {
    match step {
        Step::Configuration => evidence.configuration = None,
        Step::Credentials => evidence.client = Client::Refused("Wise refuses it".into()),
        Step::Request => {
            evidence.request = Request::None {
                key: "secrets/client.key".into(),
            };
            // An installed certificate stands for its request.
            undo(Step::Certificate, evidence);
        }
        Step::Certificate => {
            evidence.certificate = Certificate::Missing {
                path: "secrets/client.pem".into(),
            };
        }
        Step::Grant => evidence.grants[0].state = GrantState::Absent,
        Step::Proxy => evidence.proxy = Proxy::Stopped,
        Step::Applications => {
            evidence.usage = Usage::default();
        }
        Step::WayBack => {
            evidence.way_back.shut = Some(("secrets/personal_token is not there".into(), None));
            evidence.confirmed.remove(&Step::Enforced);
            evidence.confirmed.remove(&Step::Deleted);
        }
        Step::Handshake => evidence.handshake = Handshake::Failed("certificate revoked".into()),
        Step::Lane => evidence.lane = Some((Lane::OAuth, "oauth, as configured".into())),
        Step::Traffic => {
            evidence.usage = Usage::default();
            evidence.usage.add(Lane::Personal, 1, 1, LONG_AGO);
        }
        Step::Rehearsal => evidence.rehearsal = Rehearsal::None,
        Step::Unused => {
            evidence
                .usage
                .add(Lane::Personal, 1, 0, "2026-11-21T10:00:00Z");
        }
        Step::Flows | Step::Told | Step::Enforced | Step::Deleted => {
            evidence.confirmed.remove(&step);
        }
    }
}

fn halves() -> [(Guide, Start); 4] {
    [
        (Guide::Sandbox, Start::PersonalToken),
        (Guide::Sandbox, Start::ClientCredentials),
        (Guide::Production, Start::PersonalToken),
        (Guide::Production, Start::ClientCredentials),
    ]
}

fn open(steps: &[Judged]) -> BTreeSet<&'static str> {
    let open = steps.iter().filter(|judged| judged.state != State::Done);
    open.map(|judged| judged.step.name()).collect()
}

#[test]
fn with_all_evidence_every_step_is_done_and_nothing_is_next() {
    for (guide, start) in halves() {
        let steps = judge(&whole(guide, start));
        assert!(open(&steps).is_empty(), "{guide:?} {start:?}: {steps:#?}");
        assert!(first(&steps).is_none());
    }
}

#[test]
fn each_step_hangs_on_its_own_evidence() {
    for (guide, start) in halves() {
        for step in Step::of(guide, start) {
            let mut evidence = whole(guide, start);
            undo(step, &mut evidence);
            let mut expected = BTreeSet::from([step.name()]);
            // Evidence that two steps share.
            if step == Step::Request {
                expected.insert("certificate");
            } else if step == Step::Applications {
                expected.insert("traffic");
                if guide == Guide::Production && start == Start::PersonalToken {
                    expected.insert("unused");
                }
            } else if step == Step::WayBack && guide == Guide::Production {
                expected.insert("enforced");
                if start == Start::PersonalToken {
                    expected.insert("deleted");
                }
            }
            let steps = judge(&evidence);
            assert_eq!(
                open(&steps),
                expected,
                "{guide:?} {start:?} without {step:?}"
            );
            let (next, then) = first(&steps).expect("something is to be done");
            assert_eq!(next, step, "it is the next one");
            assert!(!then.text.is_empty());
        }
    }
}

#[test]
fn before_anything_is_done_all_waits_for_the_configuration() {
    let start = Start::PersonalToken;
    let now = moment(NOW).unwrap();
    let steps = judge(&Evidence::none(
        Guide::Sandbox,
        start,
        now,
        Typed::default(),
    ));
    let (step, next) = first(&steps).unwrap();
    assert_eq!(step, Step::Configuration);
    assert_eq!(next.command.as_deref(), Some("wise-auth-proxy init"));
    assert!(
        steps[1..]
            .iter()
            .all(|judged| matches!(judged.state, State::Blocked(_)))
    );
}

#[test]
fn the_personal_token_is_unused_after_a_week_and_not_before() {
    let judged = |last: &str, lane| {
        let mut evidence = whole(Guide::Production, Start::PersonalToken);
        evidence.usage.add(Lane::Personal, 1, 1, last);
        evidence.lane = Some((lane, lane.name().to_owned()));
        let steps = judge(&evidence);
        steps
            .into_iter()
            .find(|judged| judged.step == Step::Unused)
            .unwrap()
    };
    let week = judged("2026-11-15T10:00:00Z", Lane::OAuthMtls);
    assert_eq!(
        (week.state, week.evidence.as_str()),
        (State::Done, "last used 7 days ago")
    );
    let less = judged("2026-11-15T10:00:01Z", Lane::OAuthMtls);
    let State::ToDo(next) = less.state else {
        panic!("{less:?}");
    };
    assert!(next.text.contains("2026-11-22T10:00:01Z"), "{}", next.text);
    let unreadable = judged("once", Lane::OAuthMtls);
    assert!(matches!(unreadable.state, State::ToDo(_)), "{unreadable:?}");
    let in_use = judged(LONG_AGO, Lane::Personal);
    assert!(!matches!(in_use.state, State::Done), "{in_use:?}");
}

#[test]
fn what_only_a_question_would_tell_waits_behind_what_can_be_done() {
    let mut evidence = whole(Guide::Sandbox, Start::PersonalToken);
    evidence.client = Client::Unasked("Wise cannot be reached".to_owned());
    assert_eq!(first(&judge(&evidence)).unwrap().0, Step::Credentials);
    undo(Step::Flows, &mut evidence);
    assert_eq!(first(&judge(&evidence)).unwrap().0, Step::Flows);
}

#[test]
fn a_lane_that_is_only_configured_is_not_in_use() {
    let mut evidence = whole(Guide::Sandbox, Start::PersonalToken);
    (evidence.proxy, evidence.is_turned) = (Proxy::Stopped, false);
    assert!(open(&judge(&evidence)).contains("lane"));
    evidence.is_turned = true;
    assert!(
        !open(&judge(&evidence)).contains("lane"),
        "it is what it starts on"
    );
}

#[test]
fn the_token_is_not_deleted_while_it_lies_about() {
    let mut evidence = whole(Guide::Production, Start::PersonalToken);
    for (configured, file, command) in [
        (
            true,
            Some("secrets/personal_token"),
            "wise-auth-proxy init --personal-token no",
        ),
        (
            false,
            Some("secrets/personal_token"),
            "rm secrets/personal_token",
        ),
    ] {
        evidence.personal = Personal {
            configured,
            file: file.map(Into::into),
        };
        let steps = judge(&evidence);
        let (step, next) = first(&steps).expect("its confirmation is not enough");
        assert_eq!(
            (step, next.command.as_deref()),
            (Step::Deleted, Some(command))
        );
    }
}

#[test]
fn every_command_goes_to_the_configuration_that_was_named() {
    for (guide, start) in halves() {
        for step in Step::of(guide, start).skip(1) {
            let mut evidence = whole(guide, start);
            evidence.typed.config = Some("my own.toml".into());
            undo(step, &mut evidence);
            let steps = judge(&evidence);
            let (_, next) = first(&steps).unwrap();
            let command = next.command.as_deref().unwrap_or_default();
            assert!(
                !command.contains("wise-auth-proxy") || command.ends_with("--config 'my own.toml'"),
                "{command}"
            );
            let quoted = format!("`{command}`");
            assert!(next.text.contains(&quoted), "{}", next.text);
        }
    }
}

#[test]
fn a_list_half_way_reads_so() {
    let mut evidence = whole(Guide::Sandbox, Start::PersonalToken);
    undo(Step::Certificate, &mut evidence);
    for step in [
        Step::Grant,
        Step::Proxy,
        Step::Handshake,
        Step::Rehearsal,
        Step::Flows,
    ] {
        undo(step, &mut evidence);
    }
    evidence.usage = Usage::default();
    evidence.lane = Some((Lane::Personal, "personal, as configured".to_owned()));
    let steps = judge(&evidence);
    let drawn = picture::drawn(&evidence, &steps);
    insta::assert_snapshot!(anstream::adapter::strip_str(&drawn), @"
    migration in the sandbox, from a personal token
      ✓ configuration  wise-auth-proxy.toml, sandbox
      ✓ credentials    client acme: Wise gave a token just now
      ✓ request        secrets/client.csr
      ▸ certificate    secrets/client.pem is not there
      · grant          blocked by certificate
      · proxy          blocked by certificate
      · applications   blocked by proxy
      ✓ way-back       lane personal can be taken at any time
      · handshake      blocked by certificate
      · lane           blocked by grant
      · traffic        blocked by applications
      · rehearsal      blocked by traffic
      · flows          blocked by traffic
    4 of 13 done
    next: open https://wise-sandbox.com/developer-hub, Authentication > Generate certificate, paste secrets/client.csr and save what it gives to a file; then `wise-auth-proxy cert install FILE`
    production comes after it, with a configuration of its own: `wise-auth-proxy init --environment production --config production.toml`
    ");
    insta::assert_json_snapshot!(picture::as_json(&evidence, &steps)["steps"][3], @r#"
    {
      "blocked_by": null,
      "evidence": "secrets/client.pem is not there",
      "next": {
        "command": "wise-auth-proxy cert install FILE",
        "text": "open https://wise-sandbox.com/developer-hub, Authentication > Generate certificate, paste secrets/client.csr and save what it gives to a file; then `wise-auth-proxy cert install FILE`"
      },
      "state": "to-do",
      "step": "certificate",
      "title": "the client certificate is in place"
    }
    "#);
}

#[test]
fn a_list_at_the_end_reads_so() {
    let mut evidence = whole(Guide::Production, Start::PersonalToken);
    let drawn = |evidence: &Evidence| {
        let drawn = picture::drawn(evidence, &judge(evidence));
        anstream::adapter::strip_str(&drawn).to_string()
    };
    insta::assert_snapshot!(drawn(&evidence), @"
    migration in production, from a personal token
      ✓ configuration  wise-auth-proxy.toml, sandbox
      ✓ credentials    client acme: Wise gave a token just now
      ✓ request        secrets/client.csr
      ✓ certificate    certificate acme, 364 days left
      ✓ grant          main: profile 30000000, granted by Ada
      ✓ proxy          running on lane oauth-mtls, ready
      ✓ applications   1290 requests answered, last on lane oauth-mtls, just now
      ✓ way-back       closed: the personal token is deleted, 2026-11-01T10:00:00Z
      ✓ handshake      requests were answered over it
      ✓ lane           oauth-mtls since 2026-11-20
      ✓ traffic        400 requests answered on lane oauth-mtls, last just now
      ✓ told           confirmed 2026-11-01T10:00:00Z by ann (uid 1000)
      ✓ enforced       confirmed 2026-11-01T10:00:00Z by ann (uid 1000)
      ✓ unused         last used 21 days ago
      ✓ deleted        confirmed 2026-11-01T10:00:00Z by ann (uid 1000)
    15 of 15 done
    the sandbox comes before it, with a configuration of its own: `wise-auth-proxy init --environment sandbox --config sandbox.toml`
    ");
    evidence.start = Start::ClientCredentials;
    evidence.way_back.lane = Lane::OAuth;
    undo(Step::Told, &mut evidence);
    undo(Step::Enforced, &mut evidence);
    insta::assert_snapshot!(drawn(&evidence), @"
    migration in production, from client credentials over ordinary TLS
      ✓ configuration  wise-auth-proxy.toml, sandbox
      ✓ credentials    client acme: Wise gave a token just now
      ✓ request        secrets/client.csr
      ✓ certificate    certificate acme, 364 days left
      ✓ grant          main: profile 30000000, granted by Ada
      ✓ proxy          running on lane oauth-mtls, ready
      ✓ applications   1290 requests answered, last on lane oauth-mtls, just now
      ✓ way-back       lane oauth can be taken at any time
      ✓ handshake      requests were answered over it
      ✓ lane           oauth-mtls since 2026-11-20
      ✓ traffic        400 requests answered on lane oauth-mtls, last just now
      ▸ told           nobody has confirmed it
      · enforced       blocked by told
    11 of 13 done
    next: tell your Customer Success Manager at Wise that mutual TLS works for you; then `wise-auth-proxy migrate confirm told`
    the sandbox comes before it, with a configuration of its own: `wise-auth-proxy init --environment sandbox --config sandbox.toml`
    ");
}

#[test]
fn the_way_back_is_tried_with_a_request_and_left_again() {
    let next = |rehearsal, lane: Lane| {
        let mut evidence = whole(Guide::Sandbox, Start::PersonalToken);
        evidence.rehearsal = rehearsal;
        evidence.lane = Some((lane, lane.name().to_owned()));
        let steps = judge(&evidence);
        first(&steps).map(|(_, next)| next.command.clone().unwrap())
    };
    let (there, mtls) = (Lane::Personal, Lane::OAuthMtls);
    let go = "wise-auth-proxy switch personal --reason rehearsal";
    let ask = "curl -sS http://127.0.0.1:8080/v2/profiles";
    let back = "wise-auth-proxy switch oauth-mtls --reason 'rehearsal over'";
    for (rehearsal, lane, command) in [
        (Rehearsal::None, mtls, Some(go)),
        (Rehearsal::Taken { answered: false }, there, Some(ask)),
        (Rehearsal::Taken { answered: true }, there, Some(back)),
        (Rehearsal::Idle, mtls, Some(go)),
        (Rehearsal::Over(LONG_AGO.to_owned()), mtls, None),
    ] {
        let shown = format!("{rehearsal:?}");
        assert_eq!(next(rehearsal, lane).as_deref(), command, "{shown}");
    }
}

proptest! {
    /// Whatever is missing: a step is blocked by an earlier one that is not done, what is done says
    /// why, and there is always a next step until all is done.
    #[test]
    fn whatever_is_missing_the_list_holds_together(
        half in 0..4_usize,
        missing in prop::collection::vec(prop::sample::select(Step::ALL.to_vec()), 0..17),
    ) {
        let (guide, start) = halves()[half];
        let mut evidence = whole(guide, start);
        for step in missing {
            undo(step, &mut evidence);
        }
        let steps = judge(&evidence);
        let mut done = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for judged in &steps {
            match &judged.state {
                State::Done => {
                    prop_assert!(!judged.evidence.is_empty());
                    done.insert(judged.step);
                }
                State::ToDo(next) => prop_assert!(!next.text.is_empty()),
                State::Blocked(by) => {
                    prop_assert!(seen.contains(by), "{:?} by {by:?}", judged.step);
                    prop_assert!(!done.contains(by));
                }
            }
            seen.insert(judged.step);
        }
        prop_assert_eq!(first(&steps).is_none(), done.len() == steps.len());
    }
}
