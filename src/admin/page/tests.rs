//! What the page says of a status, part by part.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use maud::Markup;

use super::sections;
use crate::admin::control::ReloadNote;
use crate::admin::status::{Certificate, Confined, KnownCaller, Status};
use crate::credentials::User;
use crate::switch::Entry;
use crate::telemetry::events::{Event, Kind, Severity};
use crate::telemetry::traffic::{LaneReport, Quantiles, Refusals, Report, Slot};
use crate::tokens::{EndedTry, KeeperStatus, LastError, Tally};
use crate::wise::Lane;

const AT: &str = "2026-11-25T12:00:00Z";

/// A text that somebody else chose.
const OTHERS: &str = "</p><b>\"it's\" & more</b>";

fn token() -> KeeperStatus {
    KeeperStatus {
        kind: "user",
        grant: Some("main".into()),
        profile: Some("30000000".into()),
        user: None,
        state: "live",
        absence: None,
        reason: None,
        renewing: false,
        generation: 7,
        issued: None,
        expires: None,
        refresh_expires: None,
        seconds_left: Some(10_800),
        age: Some(32_400),
        next_renewal_in: Some(3_600),
        refreshes: Tally::default(),
        last_error: None,
        last_renewal: None,
        unsaved: false,
        tries: Vec::new(),
    }
}

fn report(lane: Lane) -> LaneReport {
    LaneReport {
        lane,
        requests_per_second: 2.0,
        requests: 600,
        status_4xx: 3,
        status_5xx: 0,
        refusals: Refusals::default(),
        latency: Some(Quantiles {
            p50_ms: 40.0,
            p99_ms: 120.0,
        }),
        added: None,
        series: vec![Slot {
            requests: 10,
            status_5xx: 0,
            p99_ms: Some(120.0),
        }],
    }
}

fn status() -> Status {
    Status {
        audit: None,
        at: AT.into(),
        version: "0.1.0",
        environment: "sandbox".into(),
        ready: true,
        reasons: Vec::new(),
        lane: Lane::OAuth,
        lanes: vec![Lane::Personal, Lane::OAuth],
        switched: None,
        tokens: vec![token()],
        certificate: None,
        doors: vec!["127.0.0.1:8080".into()],
        pinned: Vec::new(),
        callers: Vec::new(),
        webhooks: Vec::new(),
        last_reload: None,
        confinement: Confined {
            in_force: Vec::new(),
            left_out: Vec::new(),
        },
        started: AT.into(),
        uptime_seconds: 60,
        traffic: Report {
            window_seconds: 300,
            slot_seconds: 5,
            in_flight: 0,
            downstream_connections: 0,
            upstream_connections: 0,
            lanes: Lane::ALL.map(report).into(),
        },
        refresh_history: Vec::new(),
        events: Vec::new(),
    }
}

fn certificate(days_left: i64) -> Certificate {
    Certificate {
        common_name: Some("acme".into()),
        issuer: "CN=Wise".into(),
        serial: "01".into(),
        not_before: "2025-12-25T12:00:00Z".into(),
        not_after: "2026-12-25T12:00:00Z".into(),
        days_left,
        fingerprint_sha256: "00".into(),
        findings: Vec::new(),
    }
}

/// The part with this id.
fn part(status: &Status, id: &str) -> String {
    let parts = sections::all(status, false).map(Markup::into_string);
    let id = format!(" id=\"{id}\"");
    let mut parts = parts.into_iter();
    parts
        .find(|part| part.split_once('>').unwrap().0.contains(&id))
        .unwrap()
}

#[test]
fn every_text_of_others_is_escaped_wherever_it_stands() {
    let mut status = status();
    status.ready = false;
    status.reasons = vec![OTHERS.into()];
    status.doors = vec![OTHERS.into()];
    status.callers = vec![KnownCaller {
        name: OTHERS.into(),
        known_by: vec!["key"],
        keys: Vec::new(),
        requests: 1,
        last_seen: Some(AT.into()),
    }];
    status.environment = OTHERS.into();
    status.switched = Some(Entry {
        at: OTHERS.into(),
        by: OTHERS.into(),
        from: Lane::Personal,
        to: Lane::OAuth,
        reason: OTHERS.into(),
    });
    let token = &mut status.tokens[0];
    token.grant = Some(OTHERS.into());
    token.profile = Some(OTHERS.into());
    token.user = Some(User {
        id: OTHERS.into(),
        name: Some(OTHERS.into()),
    });
    token.reason = Some(OTHERS.into());
    token.last_error = Some(LastError {
        at: OTHERS.into(),
        result: "refused",
        text: OTHERS.into(),
    });
    status.certificate = Some(Certificate {
        common_name: Some(OTHERS.into()),
        issuer: OTHERS.into(),
        not_after: OTHERS.into(),
        findings: vec![OTHERS.into()],
        ..certificate(3)
    });
    status.last_reload = Some(ReloadNote {
        at: OTHERS.into(),
        error: Some(OTHERS.into()),
        needs_restart: vec![OTHERS.into()],
    });
    status.confinement = Confined {
        in_force: vec![OTHERS.into()],
        left_out: vec![OTHERS.into()],
    };
    status.refresh_history = vec![EndedTry {
        at: OTHERS.into(),
        grant: Some(OTHERS.into()),
        result: "refused",
        generation: 1,
        text: Some(OTHERS.into()),
    }];
    status.events = vec![Arc::new(Event {
        number: 1,
        at: UNIX_EPOCH,
        kind: Kind::ReloadFailed,
        severity: Severity::Error,
        grant: Some(OTHERS.into()),
        text: OTHERS.into(),
    })];
    let page: String = sections::all(&status, false)
        .map(Markup::into_string)
        .concat();
    assert!(!page.contains("<b>"), "{page}");
    assert!(!page.contains("\"it's"), "no attribute ends early: {page}");
    let escaped = "&lt;/p&gt;&lt;b&gt;&quot;it's&quot; &amp; more&lt;/b&gt;";
    let shown = page.matches(escaped).count();
    assert!(shown >= 20, "only {shown} of the texts are shown: {page}");
}

#[test]
fn a_life_is_drawn_with_its_renewal() {
    let tokens = part(&status(), "tokens");
    // 9 of 12 hours are over; the renewal is after 10 of them.
    assert!(tokens.contains(r#"class="over" width="750.0""#), "{tokens}");
    assert!(tokens.contains(r#"class="mark" x="830.8""#), "{tokens}");
    for wanted in ["9 h old", "generation 7", "renewal in 1 h", "3 h left"] {
        assert!(tokens.contains(wanted), "{wanted}: {tokens}");
    }
}

#[test]
fn a_client_token_that_nobody_needs_is_no_alarm() {
    let mut status = status();
    status.tokens = vec![KeeperStatus {
        kind: "client",
        grant: None,
        state: "absent",
        absence: Some("not_fetched"),
        reason: Some("nobody has asked for it".into()),
        seconds_left: None,
        age: None,
        ..token()
    }];
    let tokens = part(&status, "tokens");
    assert!(
        tokens.contains("chip quiet") && tokens.contains("not needed yet"),
        "{tokens}"
    );
    assert!(!tokens.contains("bad"), "{tokens}");
}

#[test]
fn tokens_that_are_only_in_memory_are_an_alarm() {
    let mut status = status();
    status.tokens[0].unsaved = true;
    let tokens = part(&status, "tokens");
    assert!(
        tokens.contains("a restart now may lose the grant"),
        "{tokens}"
    );
}

#[test]
fn a_certificate_is_louder_the_nearer_its_end_is() {
    let of = |days| {
        let mut status = status();
        status.certificate = Some(certificate(days));
        part(&status, "certificate")
    };
    for (days, mood, says) in [
        (300, "is-good", "300<small> days left"),
        (30, "is-warn", "30<small> days left"),
        (7, "is-bad", "7<small> days left"),
        (1, "is-bad", "1<small> day left"),
        (-1, "is-bad", "Expired"),
    ] {
        let shown = of(days);
        assert!(
            shown.contains(mood) && shown.contains(says),
            "{days}: {shown}"
        );
    }
}

#[test]
fn a_lane_that_nobody_can_use_or_has_used_is_left_out_of_traffic() {
    let mut status = status();
    status.traffic.lanes[Lane::OAuthMtls.index()].requests = 0;
    let traffic = part(&status, "traffic");
    assert!(!traffic.contains("in-oauth-mtls"), "{traffic}");
    assert!(
        traffic.contains("in-personal") && traffic.contains("in-oauth"),
        "{traffic}"
    );
    assert!(
        traffic.contains("2.0/s") && traffic.contains("120 ms"),
        "{traffic}"
    );
}

#[test]
fn refusals_of_wise_are_named() {
    let mut status = status();
    status.traffic.lanes[1].refusals = Refusals {
        unauthorised: 2,
        throttled: 1,
        ..Refusals::default()
    };
    let traffic = part(&status, "traffic");
    assert!(
        traffic.contains("Wise refused: 2 × 401, 1 × 429"),
        "{traffic}"
    );
}

#[test]
fn the_command_that_is_shown_leads_back_or_to_the_destination() {
    for (lane, other) in [
        (Lane::OAuthMtls, "personal"),
        (Lane::OAuth, "personal"),
        (Lane::Personal, "oauth-mtls"),
    ] {
        let mut status = status();
        status.lane = lane;
        status.lanes = Lane::ALL.into();
        let shown = part(&status, "lane");
        let command = format!("wise-auth-proxy switch {other} --reason");
        assert!(shown.contains(&command), "{lane}: {shown}");
    }
}

#[test]
fn with_a_key_there_is_a_button_and_without_one_the_command() {
    let [with, without] = [true, false].map(|can_turn| {
        sections::all(&status(), can_turn)
            .map(Markup::into_string)
            .concat()
    });
    assert!(with.contains(r#"href="/lane""#) && !with.contains("wise-auth-proxy switch"));
    assert!(without.contains("wise-auth-proxy switch personal --reason"));
    assert!(!without.contains(r#"href="/lane""#));
}
