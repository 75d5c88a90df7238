//! The wall between tokens and the network: what is asked of the token endpoint, and how it fails.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::secret::Secret;
use crate::wise::wire::TokenAnswer;

/// One POST to the token endpoint.
///
/// The implementor authenticates the client, follows no redirect (RFC 9700 §4.12), bounds the
/// answer, and never repeats a request by itself: a second use of a refresh token is a decision
/// of the keeper's.
pub(crate) trait Exchange: Send + Sync + 'static {
    /// A connection to the token endpoint, on which one thing may be asked.
    type Connection: Send + 'static;

    /// Opens a connection, bounded in time, and asks nothing yet: the tokens in use live on.
    ///
    /// Every error means that Wise has seen no request. Cancel safe.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, ExchangeError>> + Send;

    /// Sends the request once and reads its answer.
    ///
    /// Dropping the future gives the exchange up; Wise may have carried it out all the same.
    fn exchange_on(
        &self,
        connection: Self::Connection,
        grant: GrantRequest,
    ) -> impl Future<Output = Result<TokenAnswer, ExchangeError>> + Send;

    /// Both, for who has nothing to do in between.
    fn exchange(
        &self,
        grant: GrantRequest,
    ) -> impl Future<Output = Result<TokenAnswer, ExchangeError>> + Send {
        async move {
            let connection = self.connect().await?;
            self.exchange_on(connection, grant).await
        }
    }
}

/// The four grants (RFC 6749 §4, Wise "OAuth token").
#[derive(Clone)]
pub(crate) enum GrantRequest {
    /// A token for the partner application itself.
    ClientCredentials,
    /// First tokens, from the redirect of the authorisation page.
    AuthorizationCode {
        /// Good once, for half an hour.
        code: Secret,
        /// The same text that the authorisation page was given.
        redirect_uri: String,
    },
    /// First tokens of a user whom the partner made.
    RegistrationCode {
        /// The user's address.
        email: String,
        /// The code the partner chose when it made the user.
        registration_code: Secret,
    },
    /// The next tokens.
    RefreshToken(Secret),
}

/// Why an exchange brought no tokens. Every text is safe to show.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// Wise has certainly not seen it: DNS, connecting or TLS failed.
    #[error("the token endpoint cannot be reached: {0}")]
    NotSent(String),
    /// Wise may have carried it out; the answer did not arrive.
    #[error("the answer of the token endpoint was lost: {0}")]
    AnswerLost(String),
    /// The grant is over (RFC 6749 §5.2, Wise "Refresh tokens").
    #[error("Wise no longer accepts this grant (invalid_grant, status {status})")]
    InvalidGrant {
        /// 400 or 401: Wise documents both.
        status: u16,
    },
    /// Wise does not accept our client id and secret.
    #[error(
        "Wise does not accept the OAuth client ({error}, status {status}); check oauth.client_id, \
         oauth.client_secret and that they belong to this environment"
    )]
    InvalidClient {
        /// Status of the answer.
        status: u16,
        /// What Wise called it.
        error: ErrorCode,
    },
    /// Any other refusal: nothing that trying again would change.
    #[error("the token endpoint refused the request ({error}, status {status})")]
    Refused {
        /// Status of the answer.
        status: u16,
        /// What Wise called it.
        error: ErrorCode,
    },
    /// Too many requests.
    #[error("the token endpoint asks to slow down (429)")]
    Throttled {
        /// `Retry-After`, where given.
        retry_after: Option<Duration>,
    },
    /// The server's own trouble; it may have carried the exchange out.
    #[error("the token endpoint has trouble of its own (status {status})")]
    ServerTrouble {
        /// 408 or 5xx.
        status: u16,
        /// `Retry-After`, where given.
        retry_after: Option<Duration>,
    },
    /// An answer without usable tokens.
    #[error("the token endpoint's answer is unusable: {0}")]
    Garbled(Garbled),
}

impl ExchangeError {
    /// Sorts an answer other than 200 by its status and the `error` of its JSON body, if it has one.
    ///
    /// The body's word counts for more than 400 against 401, about which Wise's own pages differ.
    pub(crate) fn answered(
        status: u16,
        error: Option<&str>,
        retry_after: Option<Duration>,
    ) -> Self {
        let code = ErrorCode::read(error.unwrap_or_default());
        match status {
            300..=399 => Self::Garbled(Garbled::Redirect),
            429 => Self::Throttled { retry_after },
            408 | 500..=599 => Self::ServerTrouble {
                status,
                retry_after,
            },
            400..=499 if code.as_str() == "invalid_grant" => Self::InvalidGrant { status },
            400..=499 if code.as_str() == "invalid_client" || status == 401 => {
                Self::InvalidClient {
                    status,
                    error: code,
                }
            }
            400..=499 => Self::Refused {
                status,
                error: code,
            },
            _ => Self::Garbled(Garbled::Status(status)),
        }
    }
}

/// An `error` of RFC 6749 §5.2: at most 64 of the characters that the standard allows, so that it
/// may stand in a log line or a header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ErrorCode(Box<str>);

impl ErrorCode {
    /// Keeps the text if it is one; `unnamed` stands for anything else.
    pub(crate) fn read(text: &str) -> Self {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.: ".contains(&byte));
        Self(if fits { text } else { "unnamed" }.into())
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Garbled {
    /// HTML or other text; often a page of something in between.
    #[error("it is not JSON; is a gateway or a captive portal in between?")]
    NotJson,
    /// Nothing.
    #[error("it is empty")]
    Empty,
    /// Longer than any token answer.
    #[error("it is too long")]
    TooBig,
    /// We do not carry credentials elsewhere.
    #[error("it is a redirect, which is never followed; check wise.token_url")]
    Redirect,
    /// Neither tokens nor a refusal.
    #[error("its status is {0}")]
    Status(u16),
    /// Tokens of another kind.
    #[error("its token_type is not bearer")]
    NotBearer,
    /// A token no header can carry.
    #[error("a token in it is empty, too long or holds characters that no header can carry")]
    BadToken,
    /// A first answer must bring one.
    #[error("it brings no refresh token")]
    NoRefreshToken,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_sorted_by_its_words_and_then_by_its_status() {
        let sorted = |status, error| ExchangeError::answered(status, error, None);
        for status in [400, 401] {
            assert_eq!(
                sorted(status, Some("invalid_grant")),
                ExchangeError::InvalidGrant { status }
            );
            assert!(matches!(
                sorted(status, Some("invalid_client")),
                ExchangeError::InvalidClient { .. }
            ));
        }
        assert!(matches!(
            sorted(401, None),
            ExchangeError::InvalidClient { .. }
        ));
        assert!(matches!(
            sorted(400, Some("invalid_request")),
            ExchangeError::Refused { .. }
        ));
        assert!(
            matches!(
                sorted(500, Some("invalid_grant")),
                ExchangeError::ServerTrouble { .. }
            ),
            "a broken server must not end a grant"
        );
        assert_eq!(sorted(307, None), ExchangeError::Garbled(Garbled::Redirect));
        assert_eq!(
            ExchangeError::answered(429, None, Some(Duration::from_secs(7))),
            ExchangeError::Throttled {
                retry_after: Some(Duration::from_secs(7))
            }
        );
    }

    #[test]
    fn an_error_code_cannot_smuggle_text_into_a_message() {
        assert_eq!(ErrorCode::read("invalid_scope").as_str(), "invalid_scope");
        for odd in ["", "a\r\nb", "<script>", "\u{e9}", &"x".repeat(65)] {
            assert_eq!(ErrorCode::read(odd).as_str(), "unnamed");
        }
    }
}
