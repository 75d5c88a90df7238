//! Numbers and moments as people read them.

use maud::{Markup, html};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

const CLOCK: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]:[second]");
const DAY: &[BorrowedFormatItem<'_>] = format_description!("[day padding:none] [month repr:short]");
const DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[day padding:none] [month repr:long] [year]");

/// Seconds in one or two units; seconds only where they matter, so that a page rests.
pub(super) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |many, unit, rest, smaller| match rest {
        0 => format!("{many} {unit}"),
        _ => format!("{many} {unit} {rest} {smaller}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..600 => two(minutes, "min", seconds % 60, "s"),
        600..3600 => format!("{minutes} min"),
        3600..86_400 => two(hours, "h", minutes % 60, "min"),
        86_400..864_000 => two(days, "d", hours % 24, "h"),
        _ => format!("{days} d"),
    }
}

/// A moment: the time of day (UTC), and the day if it is not today's.
pub(super) fn moment(at: &str, today: &str) -> Markup {
    let shown = parse(at).map(|moment| {
        let clock = moment.format(CLOCK).unwrap_or_default();
        match parse(today) {
            Some(today) if today.date() != moment.date() => {
                format!("{} {clock}", moment.format(DAY).unwrap_or_default())
            }
            _ => clock,
        }
    });
    html! { time datetime=(at) { (shown.as_deref().unwrap_or(at)) } }
}

/// A sentence of the program's own; what stands in backticks is a command or a name.
pub(super) fn prose(text: &str) -> Markup {
    let parts: Vec<_> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! {
        @for (place, part) in parts.iter().enumerate() {
            @if place.is_multiple_of(2) { (part) } @else { code { (part) } }
        }
    }
}

/// A day, such as `24 November 2027`.
pub(super) fn date(at: &str) -> Markup {
    let shown = parse(at).and_then(|moment| moment.format(DATE).ok());
    html! { time datetime=(at) { (shown.as_deref().unwrap_or(at)) } }
}

/// Seconds from one moment to another; none if it is the other way round.
pub(super) fn seconds_between(from: &str, to: &str) -> Option<u64> {
    u64::try_from((parse(to)? - parse(from)?).whole_seconds()).ok()
}

/// Milliseconds in three digits or so.
pub(super) fn latency(ms: f64) -> String {
    match ms {
        ..1.0 => format!("{:.0} µs", ms * 1e3),
        1.0..10.0 => format!("{ms:.1} ms"),
        10.0..1000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1e3),
    }
}

/// A number for each second.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0".to_owned(),
        ..10.0 => format!("{per_second:.1}"),
        _ => format!("{per_second:.0}"),
    }
}

/// With a thin space between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

fn parse(at: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(at, &Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_the_units_that_matter() {
        let said = [0, 59, 61, 300, 599, 600, 3_599, 3_660, 90_000, 864_000].map(span);
        let right = [
            "0 s",
            "59 s",
            "1 min 1 s",
            "5 min",
            "9 min 59 s",
            "10 min",
            "59 min",
            "1 h 1 min",
            "1 d 1 h",
            "10 d",
        ];
        assert_eq!(said, right);
    }

    #[test]
    fn a_moment_of_another_day_says_which() {
        let today = "2026-11-25T12:00:00Z";
        let at = |at| moment(at, today).into_string();
        assert_eq!(
            at("2026-11-25T09:08:07.123456789Z"),
            r#"<time datetime="2026-11-25T09:08:07.123456789Z">09:08:07</time>"#
        );
        assert!(at("2026-11-05T09:08:07Z").contains(">5 Nov 09:08:07<"));
        assert!(at("no time").contains(">no time<"));
    }

    #[test]
    fn commands_in_a_sentence_are_told_from_it() {
        let shown = |text| prose(text).into_string();
        assert_eq!(shown("run `login` now"), "run <code>login</code> now");
        assert_eq!(
            shown("a `<b>` and more"),
            "a <code>&lt;b&gt;</code> and more"
        );
        assert_eq!(shown("one ` alone <b>"), "one ` alone &lt;b&gt;");
    }

    #[test]
    fn latencies_and_counts_are_short() {
        let said = [0.04, 1.25, 42.4, 999.0, 30_000.0].map(latency);
        assert_eq!(said, ["40 µs", "1.2 ms", "42 ms", "999 ms", "30.0 s"]);
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!([0.0, 0.2, 12.4].map(rate), ["0", "0.2", "12"]);
    }
}
