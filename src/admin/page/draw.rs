//! The few pictures of the page, as SVG. Colours are the style sheet's; a picture has a text that
//! says what it shows.

use std::fmt::Write as _;

use maud::{Markup, html};

use crate::telemetry::traffic::Slot;

/// Slots of a full chart, each `STEP` wide.
const SLOTS: u32 = 60;
const STEP: u32 = 5;
const WIDTH: u32 = SLOTS * STEP;
const HEIGHT: f64 = 40.0;

/// A life from its begin to its end: how much is over, and where a mark stands.
pub(super) fn life(over: f64, mark: Option<f64>, says: &str) -> Markup {
    let at = |share: f64| format!("{:.1}", share.clamp(0.0, 1.0) * 1000.0);
    html! {
        svg .life viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label=(says) {
            rect .whole width="1000" height="10" {}
            rect .over width=(at(over)) height="10" {}
            @if let Some(mark) = mark {
                rect .mark x=(at(mark - 0.0025)) width="5" height="10" {}
            }
        }
    }
}

/// Requests as bars, the failed part of each in its own colour.
pub(super) fn bars(series: &[Slot], most: u64, says: &str) -> Markup {
    let (mut whole, mut failed) = (String::new(), String::new());
    for (x, slot) in places(series) {
        bar(&mut whole, x, height(slot.requests, most));
        bar(&mut failed, x, height(slot.status_5xx, most));
    }
    chart(
        says,
        &html! {
            path .bar d=(whole) {}
            path .bad d=(failed) {}
        },
    )
}

/// Latency as a line, with a gap where nothing was asked.
pub(super) fn line(series: &[Slot], most: f64, says: &str) -> Markup {
    let mut path = String::new();
    let mut is_on_paper = false;
    for (x, slot) in places(series) {
        let Some(ms) = slot.p99_ms else {
            is_on_paper = false;
            continue;
        };
        let y = HEIGHT - ms / most.max(f64::MIN_POSITIVE) * (HEIGHT - 2.0) - 1.0;
        let pen = if is_on_paper { 'L' } else { 'M' };
        // Writing to a String cannot fail. The short stroke shows a point that stands alone.
        let _ = write!(path, "{pen}{x} {y:.1}h{}", STEP - 1);
        is_on_paper = true;
    }
    chart(says, &html! { path .line d=(path) {} })
}

fn chart(says: &str, content: &Markup) -> Markup {
    html! {
        svg .chart viewBox={ "0 0 " (WIDTH) " 40" } preserveAspectRatio="none" role="img"
            aria-label=(says) {
            path .ground d={ "M0 39.5H" (WIDTH) } {}
            (content)
        }
    }
}

/// From the left; the newest slot is at the right, whether or not there is a full row of them.
fn places(series: &[Slot]) -> impl Iterator<Item = (u32, &Slot)> {
    let missing = (SLOTS as usize).saturating_sub(series.len());
    let surplus = series.len().saturating_sub(SLOTS as usize);
    let slots = (0..SLOTS).skip(missing).zip(series.iter().skip(surplus));
    slots.map(|(place, slot)| (place * STEP, slot))
}

fn bar(path: &mut String, x: u32, height: f64) {
    if height > 0.0 {
        let _ = write!(path, "M{x} 40v-{height:.1}h{}v{height:.1}z", STEP - 1);
    }
}

/// What is there at all is seen.
#[allow(clippy::cast_precision_loss, reason = "a picture of forty pixels")]
fn height(count: u64, most: u64) -> f64 {
    if count == 0 {
        return 0.0;
    }
    (count as f64 / most.max(1) as f64 * HEIGHT).max(1.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(requests: u64, status_5xx: u64, p99_ms: Option<f64>) -> Slot {
        Slot {
            requests,
            status_5xx,
            p99_ms,
        }
    }

    #[test]
    fn the_newest_bar_stands_at_the_right_and_failures_stand_in_it() {
        let drawn = bars(&[slot(10, 0, None), slot(5, 5, None)], 10, "says").into_string();
        assert!(
            drawn.contains(r#"d="M290 40v-40.0h4v40.0zM295 40v-20.0h4v20.0z""#),
            "{drawn}"
        );
        assert!(
            drawn.contains(r#"class="bad" d="M295 40v-20.0h4v20.0z""#),
            "{drawn}"
        );
    }

    #[test]
    fn a_line_is_broken_where_nothing_was_asked() {
        let series = [
            slot(1, 0, Some(8.0)),
            slot(0, 0, None),
            slot(1, 0, Some(4.0)),
        ];
        let drawn = line(&series, 8.0, "says").into_string();
        assert!(drawn.contains(r#"d="M285 1.0h4M295 20.0h4""#), "{drawn}");
    }

    #[test]
    fn a_life_never_leaves_its_bar() {
        let drawn = life(7.0, Some(-3.0), "a \"text\" <b>").into_string();
        assert!(drawn.contains(r#"class="over" width="1000.0""#), "{drawn}");
        assert!(drawn.contains(r#"x="0.0""#), "{drawn}");
        assert!(drawn.contains("a &quot;text&quot; &lt;b&gt;"), "{drawn}");
    }
}
