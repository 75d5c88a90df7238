//! Times as a person reads them.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An RFC 3339 time as a moment.
pub(super) fn moment(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(Into::into)
}

/// A moment as RFC 3339, to the second.
pub(super) fn rfc3339(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at).replace_nanosecond(0);
    let at = at.ok().and_then(|at| at.format(&Rfc3339).ok());
    at.unwrap_or_default()
}

/// How long ago a noted time is.
pub(super) fn since(noted: Option<&str>, now: SystemTime) -> String {
    let at = noted.and_then(moment);
    match at.map(|at| now.duration_since(at).unwrap_or_default()) {
        None => noted.unwrap_or("at an unknown time").to_owned(),
        Some(ago) if ago < Duration::from_mins(2) => "just now".to_owned(),
        Some(ago) => format!("{} ago", span(ago)),
    }
}

/// A duration in its largest unit.
pub(super) fn span(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    let (count, unit) = match minutes {
        0..60 => (minutes, "minute"),
        60..2_880 => (minutes / 60, "hour"),
        _ => (minutes / 1_440, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_noted_time_is_told_in_its_largest_unit() {
        let now = moment("2026-11-22T10:00:00Z").unwrap();
        let told = |noted| since(Some(noted), now);
        assert_eq!(told("2026-11-22T09:59:30Z"), "just now");
        assert_eq!(told("2026-11-22T10:05:00Z"), "just now", "clocks differ");
        assert_eq!(told("2026-11-22T09:30:00Z"), "30 minutes ago");
        assert_eq!(told("2026-11-22T09:00:00Z"), "1 hour ago");
        assert_eq!(told("2026-11-20T10:00:00Z"), "2 days ago");
        assert_eq!(told("long ago"), "long ago");
        assert_eq!(since(None, now), "at an unknown time");
    }

    #[test]
    fn a_moment_is_written_as_it_is_read() {
        let at = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        assert_eq!(moment(&rfc3339(at)), Some(at));
    }
}
