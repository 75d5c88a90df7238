//! What an exchange does to the tokens before it.

use super::*;

const PROFILE: u64 = 30_000_000;
const HERE: &str = "http://127.0.0.1/callback";

fn opened(tokens: &mut Tokens, rules: &TokenFaults, now: SystemTime) -> Minted {
    let code = tokens.authorise(PROFILE, HERE, rules, now);
    tokens
        .exchange(
            &Ask::Code {
                code: &code,
                redirect_uri: HERE,
            },
            rules,
            None,
            now,
        )
        .unwrap()
}

fn renewed(tokens: &mut Tokens, token: &str, rules: &TokenFaults) -> Result<Minted, Refused> {
    tokens.exchange(&Ask::Refresh { token }, rules, None, SystemTime::UNIX_EPOCH)
}

fn refresh_of(minted: &Minted) -> String {
    minted.refresh.as_ref().unwrap().token.clone()
}

#[test]
fn a_refresh_ends_the_previous_access_token_at_once() {
    let (now, rules, mut tokens) = (
        SystemTime::UNIX_EPOCH,
        TokenFaults::default(),
        Tokens::default(),
    );
    let first = opened(&mut tokens, &rules, now);
    let second = renewed(&mut tokens, &refresh_of(&first), &rules).unwrap();
    assert!(!tokens.present(&first.access, now).unwrap().live);
    assert!(tokens.present(&second.access, now).unwrap().live);
    assert_eq!(second.generation, 2);
}

#[test]
fn the_previous_access_token_lives_on_when_the_switch_says_so() {
    let rules = TokenFaults {
        previous_access_dies: false,
        ..TokenFaults::default()
    };
    let (now, mut tokens) = (SystemTime::UNIX_EPOCH, Tokens::default());
    let first = opened(&mut tokens, &rules, now);
    renewed(&mut tokens, &refresh_of(&first), &rules).unwrap();
    assert!(tokens.present(&first.access, now).unwrap().live);
}

#[test]
fn without_rotation_the_refresh_token_keeps_its_value() {
    let rules = TokenFaults {
        rotation: Rotation::Never,
        ..TokenFaults::default()
    };
    let mut tokens = Tokens::default();
    let first = opened(&mut tokens, &rules, SystemTime::UNIX_EPOCH);
    let second = renewed(&mut tokens, &refresh_of(&first), &rules).unwrap();
    assert_eq!(refresh_of(&first), refresh_of(&second));
    assert!(!second.refresh.unwrap().changed);
}

#[test]
fn with_rotation_an_old_refresh_token_ends_the_whole_grant() {
    let (rules, mut tokens) = (TokenFaults::default(), Tokens::default());
    let first = opened(&mut tokens, &rules, SystemTime::UNIX_EPOCH);
    let second = renewed(&mut tokens, &refresh_of(&first), &rules).unwrap();
    let refused = renewed(&mut tokens, &refresh_of(&first), &rules)
        .err()
        .unwrap();
    assert_eq!(refused.presented, Some(1));
    assert!(renewed(&mut tokens, &refresh_of(&second), &rules).is_err());
    assert!(
        !tokens
            .present(&second.access, SystemTime::UNIX_EPOCH)
            .unwrap()
            .live
    );
}

#[test]
fn old_refresh_tokens_keep_working_when_the_switch_says_so() {
    let rules = TokenFaults {
        old_refresh_dies: false,
        ..TokenFaults::default()
    };
    let mut tokens = Tokens::default();
    let first = opened(&mut tokens, &rules, SystemTime::UNIX_EPOCH);
    renewed(&mut tokens, &refresh_of(&first), &rules).unwrap();
    assert!(renewed(&mut tokens, &refresh_of(&first), &rules).is_ok());
}

#[test]
fn with_grace_one_repeat_of_the_previous_refresh_token_is_forgiven() {
    let rules = TokenFaults {
        rotation: Rotation::Grace,
        ..TokenFaults::default()
    };
    let mut tokens = Tokens::default();
    let first = opened(&mut tokens, &rules, SystemTime::UNIX_EPOCH);
    renewed(&mut tokens, &refresh_of(&first), &rules).unwrap();
    let third = renewed(&mut tokens, &refresh_of(&first), &rules).unwrap();
    assert_eq!(third.generation, 3);
    assert!(
        renewed(&mut tokens, &refresh_of(&first), &rules).is_err(),
        "a second repeat"
    );
    assert!(
        renewed(&mut tokens, &refresh_of(&third), &rules).is_err(),
        "the grant has ended"
    );
}

#[test]
fn a_code_works_once_in_time_and_with_its_redirect_uri() {
    let (now, rules, mut tokens) = (
        SystemTime::UNIX_EPOCH,
        TokenFaults::default(),
        Tokens::default(),
    );
    let code = tokens.authorise(PROFILE, HERE, &rules, now);
    let ask = Ask::Code {
        code: &code,
        redirect_uri: HERE,
    };
    assert!(tokens.exchange(&ask, &rules, None, now).is_ok());
    assert!(tokens.exchange(&ask, &rules, None, now).is_err(), "used");

    let code = tokens.authorise(PROFILE, HERE, &rules, now);
    let ask = Ask::Code {
        code: &code,
        redirect_uri: "http://127.0.0.1/other",
    };
    assert!(
        tokens.exchange(&ask, &rules, None, now).is_err(),
        "other redirect"
    );

    let code = tokens.authorise(PROFILE, HERE, &rules, now);
    let ask = Ask::Code {
        code: &code,
        redirect_uri: HERE,
    };
    let late = now + Duration::from_mins(30);
    assert!(
        tokens.exchange(&ask, &rules, None, late).is_err(),
        "thirty minutes"
    );
}

#[test]
fn a_second_authorisation_ends_the_older_refresh_token_but_not_its_access_token() {
    let (now, rules, mut tokens) = (
        SystemTime::UNIX_EPOCH,
        TokenFaults::default(),
        Tokens::default(),
    );
    let first = opened(&mut tokens, &rules, now);
    let second = opened(&mut tokens, &rules, now);
    assert!(renewed(&mut tokens, &refresh_of(&first), &rules).is_err());
    assert!(tokens.present(&first.access, now).unwrap().live);
    assert!(renewed(&mut tokens, &refresh_of(&second), &rules).is_ok());
}

#[test]
fn several_client_tokens_live_side_by_side() {
    let (now, rules, mut tokens) = (
        SystemTime::UNIX_EPOCH,
        TokenFaults::default(),
        Tokens::default(),
    );
    let one = tokens
        .exchange(&Ask::ClientCredentials, &rules, None, now)
        .unwrap();
    let two = tokens
        .exchange(&Ask::ClientCredentials, &rules, None, now)
        .unwrap();
    assert!(one.refresh.is_none());
    assert!(tokens.present(&one.access, now).unwrap().live);
    assert!(tokens.present(&two.access, now).unwrap().live);
}

#[test]
fn a_registration_code_works_until_the_user_reclaims_the_account() {
    let (now, rules, mut tokens) = (
        SystemTime::UNIX_EPOCH,
        TokenFaults::default(),
        Tokens::default(),
    );
    tokens.register("a@example.com", "secret", 7);
    let ask = Ask::Registration {
        email: "a@example.com",
        code: "secret",
    };
    assert!(tokens.exchange(&ask, &rules, None, now).is_ok());
    assert!(
        tokens.exchange(&ask, &rules, None, now).is_ok(),
        "it may be used again"
    );
    tokens.reclaim("a@example.com");
    assert!(tokens.exchange(&ask, &rules, None, now).is_err());
}

#[test]
fn an_access_token_expires() {
    let rules = TokenFaults {
        lifetime: 3,
        ..TokenFaults::default()
    };
    let (now, mut tokens) = (SystemTime::UNIX_EPOCH, Tokens::default());
    let minted = opened(&mut tokens, &rules, now);
    assert!(
        tokens
            .present(&minted.access, now + Duration::from_millis(2_999))
            .unwrap()
            .live
    );
    assert!(
        !tokens
            .present(&minted.access, now + Duration::from_secs(3))
            .unwrap()
            .live
    );
}

#[test]
fn the_long_forms_have_five_parts_and_their_exact_length() {
    for (form, length) in [(TokenForm::Jwe, 800), (TokenForm::FourKib, 4_096)] {
        let token = token_text(form);
        assert_eq!((token.len(), token.split('.').count()), (length, 5));
    }
    assert_eq!(token_text(TokenForm::Uuid).len(), 36);
}
