//! Which requests are carried as JOSE, and with which keys of ours: compiled when a configuration is
//! read.

use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, request};

use crate::config::{self, JoseMethod, LaneSet};
use crate::guard::{Asked, Care, Rules};
use crate::jose::{DecryptingKey, KeyFileError, SigningKey, read_decrypting, read_signing};
use crate::proxy::target::Target;
use crate::wise::Lane;
use crate::wise::headers::X_TW_JOSE_METHOD;

/// Headers, signature, encrypted key and tag of a message, amply.
const ROUND_IT: usize = 64 * 1024;

/// The routes of a configuration and our keys. Published with the doors.
#[derive(Debug, Default)]
pub(crate) struct Jose {
    pub(super) routes: Vec<Route>,
    pub(super) signing: Option<Arc<SigningKey>>,
    pub(super) decrypting: Option<Arc<DecryptingKey>>,
    /// The id under which Wise has the key that decrypts.
    pub(super) encryption_kid: Option<HeaderValue>,
    /// The largest body, of a request or an answer, as the application sees it.
    pub(super) max_body: usize,
}

#[derive(Debug)]
pub(super) struct Route {
    covers: Rules,
    method: JoseMethod,
    lanes: LaneSet,
}

impl Route {
    fn new(route: &config::JoseRoute) -> Self {
        Self {
            covers: Rules::new(&route.covers),
            method: route.method,
            lanes: route.lanes,
        }
    }
}

impl Jose {
    /// Adds a route, without the keys that it needs.
    #[cfg(feature = "benchmarks")]
    pub(super) fn add(&mut self, route: &config::JoseRoute) {
        self.routes.push(Route::new(route));
    }

    /// Reads the keys that routes need. Blocks on files.
    pub(crate) fn read(config: &config::Jose) -> Result<Self, KeyFileError> {
        let needs = |what: fn(JoseMethod) -> bool| {
            let mut methods = config.routes.iter().map(|route| route.method);
            methods.any(what)
        };
        let signing = config.signing.as_ref();
        let signing = signing.filter(|_| needs(JoseMethod::signs));
        let decrypting = config.decrypting.as_ref();
        let decrypting = decrypting.filter(|_| needs(JoseMethod::encrypts));
        let kid = decrypting.and_then(|key| key.kid.as_deref());
        let routes = config.routes.iter().map(Route::new);
        Ok(Self {
            routes: routes.collect(),
            signing: signing.map(read_signing).transpose()?.map(Arc::new),
            decrypting: decrypting.map(read_decrypting).transpose()?.map(Arc::new),
            // A UUID, as the configuration has checked.
            encryption_kid: kid.and_then(|kid| HeaderValue::from_str(kid).ok()),
            max_body: config.max_body,
        })
    }

    /// The longest answer that is read: what `max_body` becomes where it is signed and then encrypted,
    /// in base64 twice, with headers, key and signature. What is merely signed may be a third longer
    /// for it.
    pub(super) fn longest_answer(&self) -> usize {
        self.max_body / 9 * 16 + ROUND_IT
    }

    /// What is done to a request on its way; `None`: nothing, which without routes costs a branch.
    ///
    /// Rules are taken at their word (`Care::Exact`), as where something is allowed. What is JOSE
    /// already is the application's own business.
    pub(in crate::proxy) fn method_of(
        &self,
        lane: Lane,
        head: &request::Parts,
        target: &Target,
    ) -> Option<JoseMethod> {
        if self.routes.is_empty() {
            return None;
        }
        let mut here = self
            .routes
            .iter()
            .filter(|route| route.lanes.contains(lane));
        let first = here.next()?;
        let asked = Asked::new(head.method.as_str(), target.path());
        let mut here = std::iter::once(first).chain(here);
        let route = here.find(|route| route.covers.cover(&asked, Care::Exact))?;
        (!is_jose(&head.headers)).then_some(route.method)
    }
}

/// Whether the application speaks JOSE itself.
fn is_jose(headers: &HeaderMap) -> bool {
    let named = |name| headers.get_all(name).iter().any(names_jose);
    headers.contains_key(X_TW_JOSE_METHOD) || named(CONTENT_TYPE) || named(ACCEPT)
}

/// Whether a field names a media type that is JOSE's.
pub(super) fn names_jose(value: &HeaderValue) -> bool {
    let mut parts = value.as_bytes().split(|byte| matches!(byte, b',' | b';'));
    parts.any(|part| {
        let part = part.trim_ascii();
        part.eq_ignore_ascii_case(b"application/jose+json")
            || part.eq_ignore_ascii_case(b"application/jose")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{JoseRoute, Rule};
    use crate::proxy::target::target_of;

    fn routes(routes: &[(&str, JoseMethod, &[Lane])]) -> Jose {
        let routes = routes.iter().map(|(rule, method, lanes)| Route {
            covers: Rules::new(&[Rule::parse(rule).unwrap()]),
            method: *method,
            lanes: lanes.iter().copied().collect(),
        });
        Jose {
            routes: routes.collect(),
            ..Jose::default()
        }
    }

    fn carried(
        jose: &Jose,
        lane: Lane,
        asked: &str,
        field: Option<(&str, &str)>,
    ) -> Option<&'static str> {
        let (method, path) = asked.split_once(' ').unwrap();
        let mut request = http::Request::builder().method(method).uri(path);
        if let Some((name, value)) = field {
            request = request.header(name, value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let method = jose.method_of(lane, &head, &target_of(path));
        method.map(JoseMethod::name)
    }

    #[test]
    fn the_first_route_of_the_lane_counts_and_letters_count_as_they_are() {
        let jose = routes(&[
            ("POST /v1/quotes", JoseMethod::Jws, &[Lane::OAuth]),
            (
                "quotes",
                JoseMethod::JwsJwe,
                &[Lane::OAuth, Lane::OAuthMtls],
            ),
        ]);
        let at = |lane, asked| carried(&jose, lane, asked, None);
        assert_eq!(at(Lane::OAuth, "POST /v1/quotes"), Some("jws"));
        assert_eq!(at(Lane::OAuthMtls, "POST /v1/quotes"), Some("jws+jwe"));
        assert_eq!(at(Lane::Personal, "POST /v1/quotes"), None);
        assert_eq!(at(Lane::OAuth, "POST /v1/Quotes"), None);
        assert_eq!(at(Lane::OAuth, "POST /v1/transfers"), None);
    }

    #[test]
    fn what_is_jose_already_is_the_applications_own() {
        let jose = routes(&[("POST /v1/quotes", JoseMethod::Jws, &[Lane::OAuth])]);
        let with = |field| carried(&jose, Lane::OAuth, "POST /v1/quotes", Some(field));
        for field in [
            ("x-tw-jose-method", "jws"),
            ("content-type", "application/jose+json"),
            ("content-type", "Application/JOSE+json; charset=utf-8"),
            ("accept", "application/json, application/jose+json;q=0.9"),
        ] {
            assert_eq!(with(field), None, "{field:?}");
        }
        for field in [
            ("content-type", "application/json"),
            ("accept", "*/*"),
            (
                "x-tw-jose-encryption-kid",
                "e87da464-8e5e-4380-8f2d-4e4e04052672",
            ),
        ] {
            assert_eq!(with(field), Some("jws"), "{field:?}");
        }
    }

    #[test]
    fn no_key_is_read_that_no_route_needs() {
        let nowhere = config::JoseSigning {
            algorithm: crate::jose::Algorithm::Es512,
            path: "/nowhere/signing.key".into(),
            kid: None,
        };
        let mut config = config::Jose {
            signing: Some(nowhere),
            ..config::Jose::default()
        };
        assert!(Jose::read(&config).is_ok());
        config.routes.push(JoseRoute {
            covers: vec![Rule::parse("quotes").unwrap()],
            method: JoseMethod::Jws,
            lanes: Lane::ALL.into_iter().collect(),
        });
        assert!(Jose::read(&config).is_err());
    }
}
