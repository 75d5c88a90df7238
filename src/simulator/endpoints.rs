//! From a request path to the operation it means, in both path styles: `/v3/…` and `/2026Q3/…`.

use super::table::ENDPOINTS;

/// One operation of Wise's reference.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoint {
    pub(super) method: &'static str,
    pub(super) age: Age,
    /// Without a version.
    pub(super) path: &'static str,
    pub(super) credentials: Credentials,
    /// Whether the reference marks it for strong customer authentication.
    pub(super) sca: bool,
    /// The first documented status.
    pub(super) status: u16,
}

impl Endpoint {
    pub(super) fn is_pdf(&self) -> bool {
        self.path
            .rsplit_once('.')
            .is_some_and(|(_, suffix)| suffix == "pdf")
    }
}

/// How an operation was addressed before the calendar scheme.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Age {
    /// `/vN`.
    V(u8),
    /// It has no older form.
    New,
    /// Its path never had a version.
    Unversioned,
}

/// Who may call an operation: a set of kinds of credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Credentials(u8);

impl Credentials {
    pub(super) const PERSONAL: Self = Self(1);
    pub(super) const USER: Self = Self(2);
    pub(super) const CLIENT: Self = Self(4);
    pub(super) const NONE: Self = Self(8);
    /// Any good token.
    pub(super) const ANY: Self = Self::PERSONAL.or(Self::USER).or(Self::CLIENT);

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn include(self, kind: Self) -> bool {
        self.0 & kind.0 == kind.0
    }
}

/// A path that names an operation, with its parameters.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) endpoint: &'static Endpoint,
    parameters: Vec<(&'static str, String)>,
}

impl Found {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The parameter as an id; zero, which names nothing, when it is not one.
    pub(super) fn id(&self, name: &str) -> u64 {
        self.text(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or_default()
    }
}

/// Why a path names no operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lost {
    /// No such path, or a version that is not served.
    Nowhere,
    /// The path exists with other methods.
    OtherMethod,
}

/// The calendar versions in service.
const ACTIVE: &[&str] = &["2026Q3", "2026Q4"];

/// A path's version and the rest of it; `None` for an unknown calendar version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Version {
    Numbered(u8),
    Calendar,
    Absent,
}

/// Finds the operation that `method` and `path` (without query) name.
pub(super) fn find(method: &str, path: &str) -> Result<Found, Lost> {
    let (version, rest) = split_version(path).ok_or(Lost::Nowhere)?;
    let segments: Vec<&str> = rest.split('/').skip(1).collect();
    let mut other_method = false;
    let mut best: Option<(usize, Found)> = None;
    for endpoint in ENDPOINTS {
        let served = match endpoint.age {
            Age::V(number) => version == Version::Numbered(number) || version == Version::Calendar,
            Age::New => version == Version::Calendar,
            Age::Unversioned => version == Version::Absent,
        };
        if !served {
            continue;
        }
        let Some((literals, parameters)) = matches(endpoint.path, &segments) else {
            continue;
        };
        if endpoint.method != method && !(method == "HEAD" && endpoint.method == "GET") {
            other_method = true;
            continue;
        }
        if best.as_ref().is_none_or(|(most, _)| literals > *most) {
            best = Some((
                literals,
                Found {
                    endpoint,
                    parameters,
                },
            ));
        }
    }
    match best {
        Some((_, found)) => Ok(found),
        None if other_method => Err(Lost::OtherMethod),
        None => Err(Lost::Nowhere),
    }
}

/// The path without its version when that version is served; `/oauth/token` needs none.
pub(super) fn without_version(path: &str) -> Option<&str> {
    split_version(path).map(|(_, rest)| rest)
}

fn split_version(path: &str) -> Option<(Version, &str)> {
    let unversioned = Some((Version::Absent, path));
    let Some(rest) = path.strip_prefix('/') else {
        return unversioned;
    };
    let (first, _) = rest.split_once('/').unwrap_or((rest, ""));
    let tail = path.get(first.len() + 1..).unwrap_or_default();
    if ACTIVE.contains(&first) {
        return Some((Version::Calendar, tail));
    }
    if let Some(number) = first
        .strip_prefix('v')
        .and_then(|number| number.parse().ok())
    {
        return Some((Version::Numbered(number), tail));
    }
    if is_calendar(first) {
        None
    } else {
        unversioned
    }
}

/// A year, a Q and a digit.
fn is_calendar(segment: &str) -> bool {
    segment.split_once('Q').is_some_and(|(year, quarter)| {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        year.len() == 4 && digits(year) && quarter.len() == 1 && digits(quarter)
    })
}

/// Matches segment by segment; returns how many were literal, and the parameters.
fn matches(
    template: &'static str,
    segments: &[&str],
) -> Option<(usize, Vec<(&'static str, String)>)> {
    let mut literals = 0;
    let mut parameters = Vec::new();
    let mut given = segments.iter();
    for expected in template.split('/').skip(1) {
        let segment = *given.next()?;
        let Some((prefix, name)) = expected.split_once('{') else {
            if expected != segment {
                return None;
            }
            literals += 1;
            continue;
        };
        let value = segment
            .strip_prefix(prefix)
            .filter(|value| !value.is_empty())?;
        let decoded = percent_encoding::percent_decode_str(value)
            .decode_utf8()
            .ok()?;
        parameters.push((name.trim_end_matches('}'), decoded.into_owned()));
    }
    given.next().is_none().then_some((literals, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_path_styles_name_the_same_operation() {
        let old = find("POST", "/v3/profiles/7/transfers/9/payments").unwrap();
        let new = find("POST", "/2026Q3/profiles/7/transfers/9/payments").unwrap();
        assert_eq!(old.endpoint.path, new.endpoint.path);
        assert_eq!((new.id("profileId"), new.id("transferId")), (7, 9));
        assert!(find("POST", "/2026Q4/profiles/7/transfers/9/payments").is_ok());
    }

    #[test]
    fn an_unknown_version_is_nowhere() {
        assert_eq!(find("GET", "/2027Q1/me").unwrap_err(), Lost::Nowhere);
        assert_eq!(find("GET", "/v9/me").unwrap_err(), Lost::Nowhere);
        assert_eq!(find("GET", "/me").unwrap_err(), Lost::Nowhere);
    }

    #[test]
    fn an_operation_without_an_older_form_answers_only_in_the_calendar_style() {
        assert!(find("POST", "/2026Q3/profiles/business-profile").is_ok());
        assert!(find("POST", "/v2/profiles/business-profile").is_err());
    }

    #[test]
    fn a_literal_segment_wins_over_a_parameter() {
        let found = find("GET", "/2026Q3/spend/profiles/1/cards/transactions/5").unwrap();
        assert_eq!(found.text("transactionId"), Some("5"));
        let suffix = find("GET", "/v1/profiles/1/balance-statements/2/statement.pdf").unwrap();
        assert_eq!(suffix.text("format"), Some("pdf"));
    }

    #[test]
    fn a_known_path_with_a_wrong_method_is_told_apart() {
        assert_eq!(find("DELETE", "/v1/me").unwrap_err(), Lost::OtherMethod);
    }

    #[test]
    fn no_two_operations_claim_the_same_method_version_and_path() {
        for (index, one) in ENDPOINTS.iter().enumerate() {
            for other in ENDPOINTS.iter().skip(index + 1) {
                assert!(
                    (one.method, one.age, one.path) != (other.method, other.age, other.path),
                    "twice: {} {}",
                    one.method,
                    one.path
                );
            }
        }
    }
}
