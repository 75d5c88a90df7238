//! Wise's timestamp formats; it has several.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::PrimitiveDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const MILLISECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
const NANOSECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z");
const SECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
const SPACED: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
const HTTP: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);
const OFFSET: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]+0000");

/// `2025-04-11T03:43:28.148Z`
pub(super) fn milliseconds(time: SystemTime) -> String {
    format(time, MILLISECONDS)
}

/// `2023-12-06T18:28:14.206824830Z`
pub(super) fn nanoseconds(time: SystemTime) -> String {
    format(time, NANOSECONDS)
}

/// `2019-04-05T13:18:58Z`
pub(super) fn seconds(time: SystemTime) -> String {
    format(time, SECONDS)
}

/// `2017-11-24 10:47:49`
pub(super) fn spaced(time: SystemTime) -> String {
    format(time, SPACED)
}

/// Reads `2017-11-24 10:47:49`.
pub(super) fn read_spaced(text: &str) -> Option<SystemTime> {
    let time = PrimitiveDateTime::parse(text, SPACED).ok()?;
    Some(time.assume_utc().into())
}

/// Reads `Fri, 11 Apr 2025 03:43:28 GMT`.
pub(super) fn read_http(text: &str) -> Option<SystemTime> {
    let time = PrimitiveDateTime::parse(text, HTTP).ok()?;
    Some(time.assume_utc().into())
}

/// `2018-08-31T10:43:31+0000`
pub(super) fn offset(time: SystemTime) -> String {
    format(time, OFFSET)
}

/// `Fri, 11 Apr 2025 03:43:28 GMT`
pub(super) fn http(time: SystemTime) -> String {
    format(time, HTTP)
}

fn format(time: SystemTime, as_text: &[BorrowedFormatItem<'_>]) -> String {
    OffsetDateTime::from(time)
        .format(as_text)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_format_is_spelled_as_wise_spells_it() {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_744_343_008, 148_000_009);
        assert_eq!(milliseconds(time), "2025-04-11T03:43:28.148Z");
        assert_eq!(nanoseconds(time), "2025-04-11T03:43:28.148000009Z");
        assert_eq!(seconds(time), "2025-04-11T03:43:28Z");
        assert_eq!(spaced(time), "2025-04-11 03:43:28");
        assert_eq!(offset(time), "2025-04-11T03:43:28+0000");
        assert_eq!(http(time), "Fri, 11 Apr 2025 03:43:28 GMT");
        let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(1_744_343_008);
        assert_eq!(read_spaced("2025-04-11 03:43:28"), Some(whole));
        assert_eq!(read_http("Fri, 11 Apr 2025 03:43:28 GMT"), Some(whole));
        assert_eq!(read_spaced("2025-04-11T03:43:28Z"), None);
    }
}
