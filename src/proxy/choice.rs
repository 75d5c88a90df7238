//! Which credential a request wants: the kind by its operation, the grant by its profile.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, Method};

use crate::config::Grant;
use crate::proxy::fault::Fault;
use crate::proxy::target::Target;
use crate::wise::headers::X_WISE_PROFILE;
use crate::wise::{CredentialKind, Lane, ProfileId, routes};

/// Whose token a request carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Credential {
    /// The personal token.
    Personal,
    /// The user token of the grant with this index.
    User(usize),
    /// The client-credentials token.
    Client,
}

impl Credential {
    pub(crate) fn kind(self) -> CredentialKind {
        match self {
            Self::Personal => CredentialKind::Personal,
            Self::User(_) => CredentialKind::User,
            Self::Client => CredentialKind::Client,
        }
    }
}

/// The grants, findable by profile. Index: order of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    names: Vec<String>,
    /// By grant, where it is known.
    profiles: Vec<Option<ProfileId>>,
    /// By grant: the configuration leaves its profile open.
    open: Vec<bool>,
    by_profile: HashMap<ProfileId, usize>,
    default: Option<usize>,
    /// The only grant, whose profile is not known yet: it stands for any.
    any: Option<usize>,
}

impl Directory {
    pub(crate) fn new(grants: &[Grant]) -> Self {
        let known = |(index, grant): (usize, &Grant)| Some((grant.profile.clone()?, index));
        let by_profile: HashMap<_, _> = grants.iter().enumerate().filter_map(known).collect();
        Self {
            names: grants.iter().map(|grant| grant.name.clone()).collect(),
            profiles: grants.iter().map(|grant| grant.profile.clone()).collect(),
            open: grants.iter().map(|it| it.profile.is_none()).collect(),
            default: grants.iter().position(|grant| grant.default),
            any: (grants.len() == 1 && by_profile.is_empty()).then_some(0),
            by_profile,
        }
    }

    /// The directory in which a grant acts for this profile, or for one that is not known; `None`
    /// where nothing is new in it.
    ///
    /// For grants whose profile the configuration leaves open: a login for another profile takes
    /// the place of the one before.
    pub(crate) fn learn(&self, index: usize, profile: Option<&ProfileId>) -> Option<Self> {
        let is_open = self.open.get(index).copied().unwrap_or_default();
        if !is_open || self.profile(index) == profile {
            return None;
        }
        let mut learned = self.clone();
        learned.by_profile.retain(|_, of| *of != index);
        learned.profiles[index] = profile.cloned();
        if let Some(profile) = profile {
            let known = learned.by_profile.entry(profile.clone());
            known.or_insert(index);
        }
        let is_alone = learned.names.len() == 1 && learned.by_profile.is_empty();
        learned.any = is_alone.then_some(0);
        Some(learned)
    }

    /// The grant's name; the client-credentials token goes by `client`.
    pub(crate) fn name(&self, credential: Credential) -> Option<&str> {
        match credential {
            Credential::Personal => None,
            Credential::User(index) => self.names.get(index).map(String::as_str),
            Credential::Client => Some("client"),
        }
    }

    /// The profile that a grant acts for, where it is known.
    pub(crate) fn profile(&self, grant: usize) -> Option<&ProfileId> {
        self.profiles.get(grant)?.as_ref()
    }

    /// Position of the grant with this name.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// Position of the credential's token in a snapshot; the client token comes last.
    pub(crate) fn slot(&self, credential: Credential) -> Option<usize> {
        match credential {
            Credential::Personal => None,
            Credential::User(index) => Some(index),
            Credential::Client => Some(self.names.len()),
        }
    }

    /// Chooses for one request.
    ///
    /// A profile that the request names and no grant acts for is an error: falling back to another
    /// grant would move another account's money.
    pub(crate) fn choose(
        &self,
        lane: Lane,
        method: &Method,
        target: &Target,
        headers: &HeaderMap,
        door: Option<usize>,
    ) -> Result<Credential, Fault> {
        if lane == Lane::Personal {
            return Ok(Credential::Personal);
        }
        if routes::oauth_credential(method, target.path()) == CredentialKind::Client {
            return Ok(Credential::Client);
        }
        let index = match profile(target, headers)? {
            Some(profile) => match self.by_profile.get(profile).copied().or(self.any) {
                Some(index) => index,
                None => {
                    return Err(match profile.parse() {
                        Ok(profile) => Fault::NoGrantForProfile(profile),
                        Err(_) => Fault::BadRequest(
                            "the profile named by the request is not a profile id",
                        ),
                    });
                }
            },
            None => door.or(self.default).ok_or(Fault::NoGrant)?,
        };
        Ok(Credential::User(index))
    }
}

/// The profile that a request names: by our field, in its path, or in its query.
fn profile<'a>(target: &'a Target, headers: &'a HeaderMap) -> Result<Option<&'a str>, Fault> {
    if !headers.keys().any(may_be_profile) {
        return Ok(in_path(target.path()).or_else(|| in_query(target.query()?)));
    }
    if headers.contains_key("x_wise_profile") {
        // Not to know it would be to act for another account than the caller named.
        return Err(Fault::BadRequest(
            "the field is X-Wise-Profile, with hyphens",
        ));
    }
    let mut fields = headers.get_all(X_WISE_PROFILE).iter();
    if let Some(field) = fields.next() {
        if fields.next().is_some() {
            return Err(Fault::BadRequest(
                "there is more than one X-Wise-Profile field",
            ));
        }
        let text = field
            .to_str()
            .map_err(|_| Fault::BadRequest("X-Wise-Profile is not text"))?;
        return Ok(Some(text.trim()));
    }
    Ok(in_path(target.path()).or_else(|| in_query(target.query()?)))
}

/// Whether a field's name has the length of our field's: a look at each is cheaper than a search.
fn may_be_profile(name: &HeaderName) -> bool {
    name.as_str().len() == X_WISE_PROFILE.as_str().len()
}

/// The segment behind `/profiles/`, where it is an id and not a word such as `personal-profile`.
fn in_path(path: &str) -> Option<&str> {
    let mut segments = routes::unversioned(path)?.split('/');
    segments.find(|segment| *segment == "profiles")?;
    let segment = segments.next()?;
    segment
        .bytes()
        .any(|byte| byte.is_ascii_digit())
        .then_some(segment)
}

fn in_query(query: &str) -> Option<&str> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(name, _)| matches!(*name, "profile" | "profileId"));
    named
        .next()
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::target::target_of;

    fn directory() -> Directory {
        let grant = |name: &str, profile: &str, default| Grant {
            name: name.into(),
            profile: Some(profile.parse().unwrap()),
            default,
        };
        Directory::new(&[grant("main", "100", true), grant("branch", "200", false)])
    }

    fn choose(
        method: &Method,
        target: &str,
        header: Option<&str>,
        door: Option<usize>,
    ) -> Result<Credential, Fault> {
        let mut headers = HeaderMap::new();
        if let Some(profile) = header {
            headers.insert(X_WISE_PROFILE, profile.parse().unwrap());
        }
        directory().choose(Lane::OAuthMtls, method, &target_of(target), &headers, door)
    }

    #[test]
    fn the_profile_is_taken_from_header_then_path_then_query_then_door_then_default() {
        let get = |target, header, door| choose(&Method::GET, target, header, door).unwrap();
        assert_eq!(
            get("/v2/profiles/100?profile=100", Some("200"), Some(0)),
            Credential::User(1)
        );
        assert_eq!(
            get("/v2/profiles/200?profile=100", None, Some(0)),
            Credential::User(1)
        );
        assert_eq!(
            get("/2026Q3/spend/profiles/200/cards", None, None),
            Credential::User(1)
        );
        assert_eq!(
            get("/v1/transfers?limit=3&profile=200", None, Some(0)),
            Credential::User(1)
        );
        assert_eq!(
            get("/v2/accounts?profileId=200", None, None),
            Credential::User(1)
        );
        assert_eq!(get("/v1/me", None, Some(1)), Credential::User(1));
        assert_eq!(get("/v1/me", None, None), Credential::User(0));
    }

    #[test]
    fn a_profile_field_that_can_be_read_in_two_ways_is_malformed() {
        for fields in [
            &[("x-wise-profile", "100"), ("x-wise-profile", "200")][..],
            &[("x_wise_profile", "200")],
            &[("x_wise_profile", "200"), ("x-wise-profile", "100")],
            &[("x-wise-profile", "100, 200")],
            &[("x-wise-profile", "")],
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
            let (target, method) = (target_of("/v1/me"), Method::GET);
            let lane = Lane::OAuthMtls;
            let chosen = directory().choose(lane, &method, &target, &headers, None);
            assert_eq!(chosen.unwrap_err().status(), 400, "{fields:?}");
        }
    }

    #[test]
    fn a_profile_without_a_grant_is_an_error_that_names_it() {
        let fault = choose(&Method::GET, "/v2/profiles/300", None, None).unwrap_err();
        assert!(matches!(&fault, Fault::NoGrantForProfile(profile) if profile.as_str() == "300"));
        let document = String::from_utf8(fault.document().to_vec()).unwrap();
        assert!(document.contains("login --profile 300"), "{document}");
    }

    #[test]
    fn a_login_for_another_profile_takes_the_place_of_the_one_before() {
        let open = Grant {
            name: "main".into(),
            profile: None,
            default: true,
        };
        let choose = |directory: &Directory, path: &str| {
            let (target, headers) = (target_of(path), HeaderMap::new());
            directory.choose(Lane::OAuth, &Method::GET, &target, &headers, None)
        };
        let [one, two]: [ProfileId; 2] = ["1", "2"].map(|id| id.parse().unwrap());
        let fresh = Directory::new(&[open]);
        assert!(
            choose(&fresh, "/v2/profiles/1").is_ok(),
            "it stands for any"
        );
        let first = fresh.learn(0, Some(&one)).unwrap();
        assert!(choose(&first, "/v2/profiles/1").is_ok());
        let second = first.learn(0, Some(&two)).unwrap();
        assert!(choose(&second, "/v2/profiles/2").is_ok());
        assert!(
            choose(&second, "/v2/profiles/1").is_err(),
            "another account now"
        );
        assert!(second.learn(0, Some(&two)).is_none());
        let third = second.learn(0, None).unwrap();
        assert_eq!(third.profile(0), None);
        assert!(
            choose(&third, "/v2/profiles/1").is_ok(),
            "whose it is, is not known yet"
        );
        assert!(
            directory().learn(0, Some(&two)).is_none() && directory().learn(0, None).is_none(),
            "the configuration's word stands"
        );
    }

    #[test]
    fn words_behind_profiles_are_not_ids() {
        let chosen = choose(&Method::POST, "/v2/profiles/personal-profile", None, None).unwrap();
        assert_eq!(chosen, Credential::User(0));
    }

    #[test]
    fn the_personal_lane_carries_the_personal_token_for_everything() {
        let headers = HeaderMap::new();
        for path in ["/v2/profiles/300", "/v3/applications/acme/subscriptions"] {
            let chosen = directory()
                .choose(
                    Lane::Personal,
                    &Method::GET,
                    &target_of(path),
                    &headers,
                    None,
                )
                .unwrap();
            assert_eq!(chosen, Credential::Personal);
        }
    }

    #[test]
    fn what_only_the_partner_application_may_call_gets_the_client_token() {
        let chosen = choose(
            &Method::GET,
            "/v3/applications/acme/subscriptions",
            None,
            None,
        )
        .unwrap();
        assert_eq!(chosen, Credential::Client);
    }
}
