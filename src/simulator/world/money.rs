//! Amounts in hundredths and exchange rates in millionths: no floating point decides anything.

use serde_json::Number;
use serde_json::Value;
use serde_json::json;

/// Currencies this world knows, with what one euro buys, in millionths.
const PER_EURO: &[(&str, &str, i64)] = &[
    ("EUR", "Euro", 1_000_000),
    ("GBP", "British pound", 870_000),
    ("USD", "US dollar", 1_166_000),
    ("CHF", "Swiss franc", 935_000),
    ("PLN", "Polish złoty", 4_250_000),
    ("AUD", "Australian dollar", 1_780_000),
    ("CAD", "Canadian dollar", 1_620_000),
    ("SGD", "Singapore dollar", 1_500_000),
];

pub(super) const MILLION: i64 = 1_000_000;

pub(super) fn known() -> impl Iterator<Item = (&'static str, &'static str)> {
    PER_EURO.iter().map(|(code, name, _)| (*code, *name))
}

/// The currency as this world spells it.
pub(super) fn currency(code: &str) -> Option<&'static str> {
    PER_EURO
        .iter()
        .find(|(known, _, _)| *known == code)
        .map(|(known, _, _)| *known)
}

/// Millionths of `target` that one `source` buys.
pub(super) fn rate(source: &str, target: &str) -> Option<i64> {
    let per_euro = |code: &str| {
        PER_EURO
            .iter()
            .find(|(known, _, _)| *known == code)
            .map(|(_, _, rate)| *rate)
    };
    Some(per_euro(target)? * MILLION / per_euro(source)?)
}

/// `cents` exchanged at `rate`, rounded towards zero.
pub(super) fn exchanged(cents: i64, rate: i64) -> i64 {
    i64::try_from(i128::from(cents) * i128::from(rate) / i128::from(MILLION)).unwrap_or(i64::MAX)
}

/// What one must exchange at `rate` to get `cents`, rounded up.
pub(super) fn needed(cents: i64, rate: i64) -> i64 {
    let (cents, rate) = (i128::from(cents), i128::from(rate.max(1)));
    i64::try_from((cents * i128::from(MILLION) + rate - 1) / rate).unwrap_or(i64::MAX)
}

/// A JSON number as hundredths; digits beyond the second are cut off.
pub(super) fn cents(value: &Value) -> Option<i64> {
    let text = value.as_number()?.to_string();
    let (sign, digits) = text
        .strip_prefix('-')
        .map_or((1, text.as_str()), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction: String = fraction.chars().chain("00".chars()).take(2).collect();
    let whole: i64 = whole.parse().ok()?;
    Some(
        sign * whole
            .checked_mul(100)?
            .checked_add(fraction.parse().ok()?)?,
    )
}

/// Hundredths as a JSON number.
pub(super) fn number(cents: i64) -> Value {
    decimal(cents, 2)
}

/// Millionths as a JSON number.
pub(super) fn rate_number(rate: i64) -> Value {
    decimal(rate, 6)
}

/// `{"value":…,"currency":…}`
pub(super) fn amount(cents: i64, currency: &str) -> Value {
    json!({"value": number(cents), "currency": currency})
}

/// Hundredths as text, `-7.76`.
pub(super) fn text(cents: i64) -> String {
    plain(cents, 2)
}

fn decimal(value: i64, places: u32) -> Value {
    plain(value, places)
        .parse::<Number>()
        .map_or(Value::Null, Value::Number)
}

fn plain(value: i64, places: u32) -> String {
    let unit = 10_u64.pow(places);
    let (sign, size) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    let width = places as usize;
    format!("{sign}{}.{:0width$}", size / unit, size % unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_survive_the_way_in_and_out() {
        for (input, hundredths) in [
            ("100", 10_000),
            ("0.1", 10),
            ("-7.76", -776),
            ("12.345", 1_234),
        ] {
            let value: Value = serde_json::from_str(input).unwrap();
            assert_eq!(cents(&value), Some(hundredths), "{input}");
        }
        assert_eq!(text(-776), "-7.76");
        assert_eq!(cents(&number(1_234)), Some(1_234));
        assert_eq!(cents(&json!("100")), None, "a string is not an amount");
    }

    #[test]
    fn what_is_needed_buys_at_least_what_was_asked_for() {
        let rate = rate("GBP", "USD").unwrap();
        for cents in [1, 99, 10_000, 123_457] {
            assert!(exchanged(needed(cents, rate), rate) >= cents);
        }
    }
}
