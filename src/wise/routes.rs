//! Which credential an endpoint wants (Wise, API reference of August 2026: the security scheme of
//! each operation).
//!
//! Most of the API wants the user token. What is listed here wants the client-credentials token
//! and answers 403 to anything else. Both path styles are known: `/v3/…` and calendar versions
//! such as `/2026Q3/…`.

use std::fmt;

use http::Method;

/// Who a request speaks as.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum CredentialKind {
    /// The personal token of an account holder.
    Personal,
    /// An OAuth access token that acts for one profile.
    User,
    /// An OAuth access token that acts for the partner application itself.
    Client,
}

impl CredentialKind {
    /// Every kind.
    pub(crate) const ALL: [Self; 3] = [Self::Personal, Self::User, Self::Client];

    /// The name used in logs and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Personal => "personal",
            Self::User => "user",
            Self::Client => "client",
        }
    }

    /// Position in [`CredentialKind::ALL`], for tables kept by kind.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Personal => 0,
            Self::User => 1,
            Self::Client => 2,
        }
    }
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The OAuth credential that the endpoint wants: [`CredentialKind::Client`] for what only the
/// partner application may call, [`CredentialKind::User`] for all the rest.
///
/// Allocates nothing; the path is compared segment by segment.
pub(crate) fn oauth_credential(method: &Method, path: &str) -> CredentialKind {
    let Some(path) = unversioned(path) else {
        return CredentialKind::User;
    };
    let listed = CLIENT_ONLY
        .iter()
        .any(|endpoint| endpoint.allows(method) && matches(endpoint.path, path));
    if listed {
        CredentialKind::Client
    } else {
        CredentialKind::User
    }
}

/// The path behind its version prefix: `/v1`, `/v12` or `/2026Q3`. `None` where there is none.
pub(crate) fn unversioned(path: &str) -> Option<&str> {
    let rest = path.strip_prefix('/')?;
    let end = rest.find('/')?;
    let (version, tail) = rest.split_at(end);
    is_version(version.as_bytes()).then_some(tail)
}

pub(crate) fn is_version(segment: &[u8]) -> bool {
    match segment {
        [b'v', digits @ ..] => {
            (1..=3).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
        }
        [y1, y2, y3, y4, b'Q', b'1'..=b'4'] => {
            [y1, y2, y3, y4].iter().all(|digit| digit.is_ascii_digit())
        }
        _ => false,
    }
}

pub(super) struct Endpoint {
    /// Empty: any method.
    pub(super) methods: &'static [Method],
    /// `*` stands for one segment, a trailing `**` for one or more.
    pub(super) path: &'static str,
}

impl Endpoint {
    fn allows(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    // Nearly all differ in the first letter already.
    let (first, found) = (pattern.as_bytes().get(1), path.as_bytes().get(1));
    if first != found && first != Some(&b'*') {
        return false;
    }
    let mut segments = path.split('/');
    for wanted in pattern.split('/') {
        match (wanted, segments.next()) {
            ("**", Some(segment)) => return !segment.is_empty(),
            ("*", Some(segment)) if !segment.is_empty() => {}
            (literal, Some(segment)) if literal == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

pub(super) const CLIENT_ONLY: &[Endpoint] = &[
    Endpoint {
        methods: &[Method::POST],
        path: "/user/signup/registration_code",
    },
    Endpoint {
        methods: &[Method::POST],
        path: "/users/exists",
    },
    Endpoint {
        methods: &[Method::POST],
        path: "/settlements",
    },
    Endpoint {
        methods: &[Method::POST],
        path: "/profiles/*/contacts",
    },
    Endpoint {
        methods: &[Method::POST],
        path: "/quotes",
    },
    Endpoint {
        methods: &[],
        path: "/auth/jose/**",
    },
    Endpoint {
        methods: &[Method::GET],
        path: "/auth/jwt-public-key",
    },
    Endpoint {
        methods: &[Method::POST],
        path: "/application/users/*/phone-numbers",
    },
    Endpoint {
        methods: &[Method::DELETE],
        path: "/application/users/*/phone-numbers/*",
    },
    Endpoint {
        methods: &[],
        path: "/applications/*/subscriptions",
    },
    Endpoint {
        methods: &[],
        path: "/applications/*/subscriptions/**",
    },
    Endpoint {
        methods: &[],
        path: "/spend/applications/**",
    },
    Endpoint {
        methods: &[],
        path: "/cases",
    },
    Endpoint {
        methods: &[],
        path: "/cases/*",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_the_partner_application_want_the_client_token_in_both_path_styles() {
        for (method, path) in [
            (Method::POST, "/v1/user/signup/registration_code"),
            (Method::POST, "/2026Q3/user/signup/registration_code"),
            (Method::GET, "/v3/applications/acme/subscriptions"),
            (
                Method::DELETE,
                "/2026Q4/applications/acme/subscriptions/72195556",
            ),
            (
                Method::POST,
                "/v3/applications/acme/subscriptions/72195556/test-notifications",
            ),
            (Method::GET, "/v1/cases/17"),
            (Method::POST, "/v3/quotes"),
            (Method::GET, "/v1/auth/jose/response/public-keys"),
            (
                Method::GET,
                "/v3/spend/applications/acme/spend-controls/rules",
            ),
        ] {
            assert_eq!(
                oauth_credential(&method, path),
                CredentialKind::Client,
                "{method} {path}"
            );
        }
    }

    #[test]
    fn everything_else_wants_the_user_token() {
        for (method, path) in [
            (Method::GET, "/v1/me"),
            (Method::GET, "/v3/quotes/11144c35"),
            (Method::POST, "/v3/profiles/30000000/quotes"),
            (Method::GET, "/v3/profiles/30000000/subscriptions"),
            (Method::GET, "/cases/17"),
            (Method::GET, "/v3/applications//subscriptions"),
            (Method::GET, "/v1/cases/17/notes"),
            (Method::GET, "/2026Q5/cases"),
            (Method::GET, "/"),
            (Method::GET, ""),
        ] {
            assert_eq!(
                oauth_credential(&method, path),
                CredentialKind::User,
                "{method} {path}"
            );
        }
    }
}
