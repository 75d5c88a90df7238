use std::sync::LazyLock;

use http::{HeaderName, HeaderValue, Method};

use super::{all, fields, map};
use crate::config::Grant;
use crate::proxy::choice::{Credential, Directory};
use crate::proxy::target::target_of;
use crate::wise::routes::{self, oauth_credential};
use crate::wise::{CredentialKind, Lane};

static X_WISE_PROFILE: HeaderName = HeaderName::from_static("x-wise-profile");

const PROFILES: [&str; 3] = ["100", "200", "b1a7e6c2-0000-4000-8000-00000000000f"];

/// A request goes out as the grant of the profile that it names, or not at all; only a request
/// that names none goes out as the door's grant or the default one.
///
/// The input is a byte (the lowest bit: whether the door has a grant), path and query, and lines
/// `name: value`.
pub(crate) fn credential_choice(input: &[u8]) {
    let Some((&mode, rest)) = input.split_first() else {
        return;
    };
    let mut lines = rest.split(|byte| *byte == b'\n');
    let Some(target) = lines
        .next()
        .and_then(|line| std::str::from_utf8(line).ok())
        .filter(|line| line.starts_with('/') && !line.contains('#'))
        .and_then(|line| line.parse::<http::uri::PathAndQuery>().ok())
    else {
        return;
    };
    let target = target_of(target.as_str());
    let came = fields(lines);
    let headers = map(&came);
    let door = (mode & 1 == 1).then_some(1);
    let (method, path) = (Method::POST, target.path());
    let choose = |lane| DIRECTORY.choose(lane, &method, &target, &headers, door);

    let personal = choose(Lane::Personal).expect("one token for everything");
    assert_eq!(personal, Credential::Personal);
    let chosen = choose(Lane::OAuth);
    let same = match (&chosen, choose(Lane::OAuthMtls)) {
        (Ok(one), Ok(other)) => *one == other,
        (Err(one), Err(other)) => one.to_string() == other.to_string(),
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    };
    assert!(same, "both OAuth lanes speak as the same party");

    if oauth_credential(&method, path) == CredentialKind::Client {
        assert_eq!(chosen.expect("for any profile"), Credential::Client);
        return;
    }
    if came.iter().any(|(name, _)| name == "x_wise_profile") {
        let fault = chosen.expect_err("a field that can be read in two ways");
        assert_eq!(fault.status(), 400);
        return;
    }
    let header: Vec<&HeaderValue> = all(&came, &X_WISE_PROFILE).collect();
    let named = match header.as_slice() {
        [] => in_path(path).or_else(|| in_query(target.query().unwrap_or_default())),
        [one] => Some(one.as_bytes().trim_ascii().to_vec()),
        [_, _, ..] => {
            let fault = chosen.expect_err("two profiles");
            assert_eq!(fault.status(), 400);
            return;
        }
    };
    match named {
        None => assert_eq!(
            chosen.expect("the default"),
            Credential::User(door.unwrap_or(0))
        ),
        Some(named) => {
            let known = PROFILES
                .iter()
                .position(|profile| profile.as_bytes() == named);
            match (known, chosen) {
                (Some(index), Ok(credential)) => {
                    assert_eq!(credential, Credential::User(index));
                }
                (None, Err(fault)) => {
                    assert!([400, 503].contains(&fault.status().as_u16()), "{fault}");
                }
                (Some(_), Err(fault)) => panic!("a grant is there: {fault}"),
                (None, Ok(other)) => panic!("{other:?} is not who was named"),
            }
        }
    }
}

static DIRECTORY: LazyLock<Directory> = LazyLock::new(|| {
    let grants = PROFILES.iter().enumerate().map(|(index, profile)| Grant {
        name: format!("grant-{index}"),
        profile: profile.parse().ok(),
        default: index == 0,
    });
    Directory::new(&grants.collect::<Vec<_>>())
});

/// The segment behind the first `profiles` of a versioned path, where it has a digit.
fn in_path(path: &str) -> Option<Vec<u8>> {
    routes::unversioned(path)?;
    let mut segments = path.split('/').skip(2);
    segments.find(|segment| *segment == "profiles")?;
    let id = segments.next()?;
    id.contains(|letter: char| letter.is_ascii_digit())
        .then(|| id.as_bytes().to_vec())
}

/// The first `profile` or `profileId`, if it says anything.
fn in_query(query: &str) -> Option<Vec<u8>> {
    query
        .split('&')
        .find_map(|pair| {
            let value = pair
                .strip_prefix("profile=")
                .or_else(|| pair.strip_prefix("profileId="))?;
            Some(value.as_bytes().to_vec())
        })
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn id() -> impl Strategy<Value = String> {
        let ids = [
            &PROFILES[..],
            &["", "300", "1%30%30", "0100", "me", "100,200", "../200"],
        ];
        select(ids.concat()).prop_map(str::to_owned)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn no_request_goes_out_as_another_profile_than_it_names(
            door in any::<u8>(),
            version in select(vec!["/v1", "/v3", "/2026Q3", "/2026Q5", ""]),
            path in prop::option::of((select(vec!["/profiles/", "/spend/profiles/", "/x/"]), id())),
            rest in select(vec!["", "/quotes", "/contacts", "/profiles/200"]),
            query in prop::collection::vec((select(vec!["profile", "profileId", "Profile", "x"]), id()), 0..3),
            header in prop::collection::vec(id(), 0..3),
        ) {
            let path = path.map_or(String::new(), |(before, id)| format!("{before}{id}"));
            let query = query.into_iter().map(|(name, id)| format!("{name}={id}"));
            let query = query.collect::<Vec<_>>().join("&");
            let names = ["\nx-wise-profile", "\nX-Wise-Profile", "\nx_wise_profile"].iter().cycle();
            let names = names.skip(usize::from(door));
            let header = header.into_iter().zip(names).map(|(id, name)| format!("{name}: {id}"));
            let text = format!("{version}{path}{rest}/?{query}{}", header.collect::<String>());
            credential_choice(&[&[door], text.as_bytes()].concat());
        }
    }
}
