//! What the page shows, part by part. Each part has an id, and is sent anew when it has changed.
//!
//! maud escapes every text that is put in: reasons, names and errors are other people's words.

use maud::{Markup, html};

use super::words::{date, moment, prose, seconds_between, span};
use super::{draw, traffic};
use crate::admin::status::{Certificate, Status, rfc3339};
use crate::telemetry::events::Severity;
use crate::tokens::KeeperStatus;
use crate::webhook;
use crate::wise::Lane;

/// Events and renewals that are shown; `/status` has more.
const LINES: usize = 12;

/// The certificate is spoken of as near its end; `tls` says so with the same number of days.
const NEAR: i64 = 30;

/// All parts, in their order on the page, each with an id. `can_turn`: there is a key for changing
/// the lane here.
pub(super) fn all(status: &Status, can_turn: bool) -> [Markup; 8] {
    [
        lane(status, can_turn),
        ready(status),
        tokens(status),
        certificate(status),
        traffic::section(status),
        renewals(status),
        events(status),
        about(status),
    ]
}

/// In a word or two, for a window's title.
pub(super) fn title(status: &Status) -> String {
    let ready = if status.ready { "ready" } else { "NOT READY" };
    format!("{ready}, {} · wise-auth-proxy", status.lane)
}

/// What a lane is, as the glossary says it.
pub(super) const fn meaning(lane: Lane) -> &'static str {
    match lane {
        Lane::Personal => "Personal token, no client certificate: the way back",
        Lane::OAuth => "OAuth token, no client certificate",
        Lane::OAuthMtls => "OAuth token and client certificate: the destination",
    }
}

fn lane(status: &Status, can_turn: bool) -> Markup {
    let lane = status.lane;
    html! {
        section #lane .card.{ "in-" (lane) } data-title=(title(status)) {
            h2 { "Lane" }
            p .huge { (lane) }
            p { (meaning(lane)) }
            @if let Some(turn) = &status.switched {
                p .turn {
                    "Since " (moment(&turn.at, &status.at))
                    @if let Some(ago) = seconds_between(&turn.at, &status.at) {
                        ", " (span(ago)) " ago"
                    }
                    ", by " strong { (turn.by) } ", from " (turn.from)
                }
                blockquote { (turn.reason) }
            } @else {
                p .turn { "As configured; it was never switched" }
            }
            @if can_turn {
                p .act { a #turn .button href="/lane" { "Change the lane…" } }
            } @else if let Some(other) = other(status) {
                p .act { "To change it: "
                    code { "wise-auth-proxy switch " (other) " --reason \"…\"" } }
            } @else {
                p .act { "No other lane is configured" }
            }
        }
    }
}

/// The lane that a person is likely to want next: the way back, or from there the destination.
fn other(status: &Status) -> Option<Lane> {
    let mut others = status.lanes.iter().filter(|lane| **lane != status.lane);
    let other = match status.lane {
        Lane::Personal => others.next_back(),
        Lane::OAuth | Lane::OAuthMtls => others.next(),
    };
    other.copied()
}

fn ready(status: &Status) -> Markup {
    let traffic = &status.traffic;
    html! {
        section #ready .card.good[status.ready].bad[!status.ready] {
            h2 { "Readiness" }
            @if status.ready {
                p .huge { "Ready" }
                p { "Requests in this lane are served" }
            } @else {
                p .huge { "Not ready" }
                ul .reasons { @for reason in &status.reasons { li { (prose(reason)) } } }
            }
            dl .facts {
                div { dt { "Requests in flight" } dd { (traffic.in_flight) } }
                div { dt { "App connections" } dd { (traffic.downstream_connections) } }
                div { dt { "Connections to Wise" } dd { (traffic.upstream_connections) } }
            }
        }
    }
}

fn tokens(status: &Status) -> Markup {
    html! {
        section #tokens .card {
            h2 { "Tokens" }
            @if status.tokens.is_empty() {
                p .quiet { "No OAuth client is configured; the personal token has no clock" }
            }
            @for token in &status.tokens { (clock(token, status)) }
        }
    }
}

fn clock(token: &KeeperStatus, status: &Status) -> Markup {
    let name = token.grant.as_deref().unwrap_or("client credentials");
    // Nobody asks for the client token before it is needed.
    let is_idle = token.absence == Some("not_fetched");
    let (word, mood) = match (token.state, token.renewing) {
        ("live", true) => ("renewing", "good"),
        ("live", false) => ("live", "good"),
        (_, true) => ("renewing", "warn"),
        _ if is_idle => ("not needed yet", "quiet"),
        ("dead", _) => ("dead", "bad"),
        _ => ("no token", "bad"),
    };
    let who = token
        .user
        .as_ref()
        .map(|user| user.name.as_ref().unwrap_or(&user.id));
    html! {
        article .token {
            h3 {
                (name) " " span .{ "chip " (mood) } { (word) }
                small {
                    @if let Some(profile) = &token.profile { "profile " (profile) }
                    @if let Some(who) = who { ", " (who) }
                }
            }
            @if let (Some(age), Some(left)) = (token.age, token.seconds_left) {
                div .ended[token.state != "live"] { (life(age, left, token.next_renewal_in)) }
                p .under {
                    span { (span(age)) " old" }
                    span { "generation " (token.generation) }
                    @if let Some(next) = token.next_renewal_in {
                        span { "renewal in " (span(next)) }
                    }
                    span { (span(left)) " left" }
                }
            }
            @if let Some(reason) = token.reason.as_ref().filter(|_| !is_idle) {
                p .note.bad { (prose(reason)) }
            }
            @if token.unsaved {
                p .note.bad {
                    "The newest tokens are not in the store; a restart now may lose the grant"
                }
            }
            @if let Some(error) = token.last_error.as_ref().filter(|error| token.reason.as_ref() != Some(&error.text)) {
                p .note.quiet {
                    "Last failure " (moment(&error.at, &status.at)) ": " (prose(&error.text))
                }
            }
        }
    }
}

fn life(age: u64, left: u64, next: Option<u64>) -> Markup {
    let whole = age + left;
    let mark = next.map(|next| share(age + next, whole));
    let says = format!("{} of {} are over", span(age), span(whole));
    draw::life(share(age, whole), mark, &says)
}

fn certificate(status: &Status) -> Markup {
    html! {
        section #certificate .card {
            h2 { "Client certificate" }
            @match &status.certificate {
                Some(certificate) => (of_certificate(certificate, status)),
                None => p .quiet { "None is configured; lane oauth-mtls needs one" },
            }
        }
    }
}

fn of_certificate(certificate: &Certificate, status: &Status) -> Markup {
    let left = certificate.days_left;
    let mood = match left {
        ..=7 => "bad",
        8..=NEAR => "warn",
        _ => "good",
    };
    let age = seconds_between(&certificate.not_before, &status.at);
    let whole = seconds_between(&certificate.not_before, &certificate.not_after);
    html! {
        p .huge.{ "is-" (mood) } {
            @if left < 0 { "Expired" } @else { (left) small { @if left == 1 { " day left" } @else { " days left" } } }
        }
        @if let (Some(age), Some(whole)) = (age, whole) {
            (draw::life(share(age, whole), None, &format!("{left} days are left")))
        }
        dl .facts {
            div { dt { "Name" } dd { (certificate.common_name.as_deref().unwrap_or("none")) } }
            div { dt { "Ends" } dd { (date(&certificate.not_after)) } }
            div .wide { dt { "Issuer" } dd { (certificate.issuer) } }
        }
        @for finding in &certificate.findings { p .note.{ (mood) } { (prose(finding)) } }
    }
}

fn renewals(status: &Status) -> Markup {
    html! {
        section #renewals .card {
            h2 { "Renewals" }
            @if status.refresh_history.is_empty() { p .quiet { "None since the start" } }
            @else { ol .log {
                @for ended in status.refresh_history.iter().take(LINES) {
                    @let good = matches!(ended.result, "renewed" | "adopted");
                    li {
                        (moment(&ended.at, &status.at))
                        p {
                            span .chip.good[good].bad[!good] { (ended.result.replace('_', " ")) }
                            " " strong { (ended.grant.as_deref().unwrap_or("client credentials")) }
                            @if good { ", generation " (ended.generation) }
                            @if let Some(text) = &ended.text { ": " (prose(text)) }
                        }
                    }
                }
            } }
        }
    }
}

fn events(status: &Status) -> Markup {
    html! {
        section #events .card {
            h2 { "Events" }
            @if status.events.is_empty() { p .quiet { "None since the start" } }
            @else { ol .log {
                @for event in status.events.iter().rev().take(LINES) {
                    @let mood = match event.severity {
                        Severity::Info => "quiet",
                        Severity::Warning => "warn",
                        Severity::Error => "bad",
                    };
                    li {
                        (moment(&rfc3339(event.at), &status.at))
                        p {
                            span .{ "chip " (mood) } { (event.kind.name().replace('_', " ")) }
                            @if let Some(grant) = &event.grant { " " strong { (grant) } }
                            " " (prose(&event.text))
                        }
                    }
                }
            } }
        }
    }
}

/// What waits for the application, and why.
fn webhook_line(webhook: &webhook::Standing) -> Markup {
    html! {
        strong { (webhook.name) }
        @if let Some(address) = &webhook.address { " at " (address) }
        ", " (webhook.queued) " waiting"
        @if let Some(seconds) = webhook.oldest_seconds { " for up to " (span(seconds)) }
        @if webhook.set_aside > 0 {
            span .is-bad { ", " (webhook.set_aside) " set aside" }
        }
        @for trouble in webhook.error.iter().chain(&webhook.trouble) {
            span .is-bad { ": " (prose(trouble)) }
        }
    }
}

fn about(status: &Status) -> Markup {
    let confinement = &status.confinement;
    html! {
        section #about .card {
            h2 { "Proxy" }
            dl .facts {
                div .wide { dt { "Doors" } dd {
                    (status.doors.join(", "))
                    @for pinned in &status.pinned {
                        br; (pinned.door) " always takes lane " (pinned.lane)
                    }
                } }
                @if !status.callers.is_empty() {
                    div .wide { dt { "Callers" } dd {
                        @for (number, caller) in status.callers.iter().enumerate() {
                            @if number > 0 { br; }
                            strong { (caller.name) } " by " (caller.known_by.join(", "))
                            @match &caller.last_seen {
                                None => ", not seen since the start",
                                Some(at) => { ", last seen " (moment(at, &status.at)) }
                            }
                        }
                    } }
                }
                @if !status.webhooks.is_empty() {
                    div .wide { dt { "Webhooks" } dd {
                        @for (number, webhook) in status.webhooks.iter().enumerate() {
                            @if number > 0 { br; }
                            (webhook_line(webhook))
                        }
                    } }
                }
                div .wide { dt { "Last reload" } dd {
                    @match &status.last_reload {
                        None => "None since the start",
                        Some(note) => {
                            (moment(&note.at, &status.at))
                            @if let Some(error) = &note.error {
                                span .is-bad { " failed: " (prose(error)) }
                            }
                            @if !note.needs_restart.is_empty() {
                                ", read at the start only: " (note.needs_restart.join(", "))
                            }
                        }
                    }
                } }
                div .wide { dt { "Confined" } dd {
                    @if confinement.in_force.is_empty() { "no" }
                    (confinement.in_force.join(", "))
                    @for left_out in &confinement.left_out { br; "left out: " (left_out) }
                } }
                div .wide { dt { "Started" } dd {
                    (moment(&status.started, &status.at)) ", up " (span(status.uptime_seconds)) ", version "
                    (status.version)
                } }
            }
        }
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "seconds of a life are far below 2^52"
)]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
