//! Traffic and latency by lane.

use maud::{Markup, html};

use super::draw;
use super::words::{grouped, latency, rate, span};
use crate::admin::status::Status;
use crate::telemetry::traffic::{LaneReport, Quantiles};

pub(super) fn section(status: &Status) -> Markup {
    let traffic = &status.traffic;
    // A lane that nobody can use and nobody has used is not worth a row.
    let shown = traffic
        .lanes
        .iter()
        .filter(|report| report.requests > 0 || status.lanes.contains(&report.lane));
    let shown: Vec<_> = shown.collect();
    // One scale for all lanes: a switch is then seen as traffic that moves over.
    let slots = || shown.iter().flat_map(|report| &report.series);
    let most = slots().map(|slot| slot.requests).max().unwrap_or(0);
    let slowest = slots().filter_map(|slot| slot.p99_ms).fold(0.0, f64::max);
    let window = span(traffic.window_seconds);
    html! {
        section #traffic .card {
            h2 { "Traffic " small { "the last " (window) } }
            @for report in shown {
                @if report.requests == 0 { (idle(report, report.lane == status.lane)) } @else {
                (of_lane(report, report.lane == status.lane, most, slowest, traffic.slot_seconds))
                }
            }
        }
    }
}

fn idle(report: &LaneReport, in_use: bool) -> Markup {
    html! {
        article .traffic.idle.{ "in-" (report.lane) } {
            h3 { (name(report, in_use)) }
            p .quiet { "No requests" }
        }
    }
}

fn name(report: &LaneReport, in_use: bool) -> Markup {
    html! { (report.lane) @if in_use { " " span .chip.lane { "in use" } } }
}

fn of_lane(report: &LaneReport, in_use: bool, most: u64, slowest: f64, slot: u64) -> Markup {
    let (lane, refusals) = (report.lane, report.refusals);
    let refused = [
        ("401", refusals.unauthorised),
        ("403", refusals.forbidden),
        ("403 for SCA", refusals.sca),
        ("429", refusals.throttled),
    ];
    let peak = per_second(report.series.iter().map(|slot| slot.requests).max(), slot);
    let worst = report.series.iter().filter_map(|slot| slot.p99_ms);
    let worst = worst.fold(0.0, f64::max);
    let calls = format!(
        "Requests of lane {lane}, at most {} each second",
        rate(peak)
    );
    let waits = format!("Latency of lane {lane}, p99 at most {}", latency(worst));
    html! {
        article .traffic.{ "in-" (lane) } {
            h3 { (name(report, in_use)) }
            figure {
                (draw::bars(&report.series, most, &calls))
                figcaption { "Requests, at most " (rate(peak)) "/s" }
            }
            figure {
                (draw::line(&report.series, slowest, &waits))
                figcaption {
                    "Latency p99, at most " (latency(worst))
                }
            }
            dl .facts {
                div { dt { "Now" } dd { (rate(report.requests_per_second)) "/s" } }
                div { dt { "Requests" } dd { (grouped(report.requests)) } }
                div { dt { "4xx" } dd { (grouped(report.status_4xx)) } }
                div { dt { "5xx" } dd .is-bad[report.status_5xx > 0] { (grouped(report.status_5xx)) } }
                div { dt { "p50" } dd { (shown(report.latency, |it| it.p50_ms)) } }
                div { dt { "p99" } dd { (shown(report.latency, |it| it.p99_ms)) } }
                div { dt { "ours, p99" } dd { (shown(report.added, |it| it.p99_ms)) } }
            }
            @if refused.iter().any(|(_, count)| *count > 0) {
                p .note.warn {
                    "Wise refused: "
                    @for (place, (what, count)) in refused.iter().filter(|(_, count)| *count > 0).enumerate() {
                        @if place > 0 { ", " }
                        (grouped(*count)) " × " (what)
                    }
                }
            }
        }
    }
}

fn shown(quantiles: Option<Quantiles>, which: impl Fn(Quantiles) -> f64) -> String {
    quantiles.map_or_else(|| "–".to_owned(), |quantiles| latency(which(quantiles)))
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_second(count: Option<u64>, slot: u64) -> f64 {
    count.unwrap_or(0) as f64 / slot.max(1) as f64
}
