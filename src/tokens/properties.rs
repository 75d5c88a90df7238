//! What holds of every token answer: called by the fuzzers through `upstream`.

#![allow(clippy::expect_used, reason = "what does not hold must panic")]

use std::time::{Duration, SystemTime};

use super::exchange::Garbled;
use super::token::{ClientToken, Lifetime, Moment, UserTokens, salvaged};
use crate::credentials::Record;
use crate::secret::Secret;
use crate::wise::wire::TokenAnswer;

/// Either the answer is refused, or its tokens may stand in a header and its lives are bounded
/// and counted from before the request.
///
/// Returns whether a renewal would take it.
pub(crate) fn usable(answer: &TokenAnswer) -> bool {
    let old = old();
    let first = UserTokens::first(answer, asked());
    let next = UserTokens::next(answer, asked(), &old);
    let client = ClientToken::new(answer, asked());

    let brought = answer.refresh_token.as_deref();
    let brought = brought.filter(|text| !text.is_empty());
    match (&first, &next) {
        (Ok(_), Ok(_)) => assert!(brought.is_some()),
        (Err(Garbled::NoRefreshToken), _) => assert!(brought.is_none()),
        (first, next) => assert_eq!(first.as_ref().err(), next.as_ref().err()),
    }
    if let Ok(client) = &client {
        bearer(client.access.authorization(), &answer.access_token);
        lives(&client.life, answer.expires_in);
    }
    let Ok(tokens) = next else {
        if let Some(kept) = salvaged(answer, asked(), &old, old.generation + 1) {
            assert!(kept.supersedes(&old) && !old.supersedes(&kept));
            assert_eq!(Some(kept.refresh_token.expose()), brought);
            assert!(kept.expires <= asked().wall, "no access token came");
        }
        return false;
    };
    assert!(
        client.is_ok(),
        "a renewal asks for more than a client token"
    );
    bearer(tokens.access.authorization(), &answer.access_token);
    lives(&tokens.life, answer.expires_in);
    if let Some(ends) = tokens.refresh_expires() {
        assert!(ends <= asked().wall + CENTURY);
    }

    let record = tokens.succeed(&old, old.generation + 1);
    assert!(record.supersedes(&old) && !old.supersedes(&record));
    assert_eq!(record.grant, old.grant);
    assert!(record.access_token.matches(tokens.access.secret()));
    let refresh = brought.unwrap_or(old.refresh_token.expose());
    assert_eq!(record.refresh_token.expose(), refresh);
    assert!((1..=LONGEST).contains(&refresh.len()) && !refresh.contains(char::is_control));
    true
}

fn bearer(value: &http::HeaderValue, token: &str) {
    assert!(value.is_sensitive());
    assert_eq!(value.as_bytes(), format!("Bearer {token}").as_bytes());
    assert!((1..=LONGEST).contains(&token.len()));
    assert!(token.bytes().all(|byte| (b'!'..=b'~').contains(&byte)));
}

fn lives(life: &Lifetime, said: Option<i64>) {
    let length = life.length.as_secs();
    assert!((1..=24 * 3_600).contains(&length), "{life:?}");
    if let Some(said) = said {
        assert_eq!(i128::from(length), i128::from(said).clamp(1, 24 * 3_600));
    }
    assert_eq!(life.issued, asked().wall);
    assert_eq!(life.expires, asked().wall + life.length);
    assert_eq!(life.ends, asked().boot + life.length);
}

fn asked() -> Moment {
    Moment {
        wall: SystemTime::UNIX_EPOCH + Duration::from_hours(500_000),
        boot: Duration::from_secs(70),
    }
}

fn old() -> Record {
    Record {
        grant: "main".into(),
        profile: None,
        user: None,
        client_id: "acme".into(),
        generation: 6,
        granted: SystemTime::UNIX_EPOCH,
        access_token: Secret::new("old-access"),
        issued: SystemTime::UNIX_EPOCH,
        expires: SystemTime::UNIX_EPOCH,
        refresh_token: Secret::new("old-refresh"),
        refresh_expires: None,
    }
}

const LONGEST: usize = 16 * 1024;
const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);
