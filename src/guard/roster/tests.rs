use std::time::Duration;

use super::*;
use crate::config;
use crate::guard::caller::tests::{hash, typed};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn tcp() -> listener::Peer {
    listener::Peer::Tcp(([127, 0, 0, 1], 40000).into())
}

fn unix(uid: u32, gid: u32) -> listener::Peer {
    listener::Peer::Unix { uid, gid }
}

fn callers() -> Callers {
    Callers::read(&[
        config::Caller {
            hashes: vec![hash("old key", Some(at(100))), hash("new key", None)],
            ..typed("keyed")
        },
        config::Caller {
            certificates: vec!["shop.internal".into()],
            ..typed("certified")
        },
        config::Caller {
            users: vec!["1001".into()],
            ..typed("user")
        },
        config::Caller {
            groups: vec!["2002".into()],
            ..typed("group")
        },
        config::Caller {
            hashes: vec![hash("key of another door", None)],
            ..typed("elsewhere")
        },
    ])
    .unwrap()
}

fn names() -> Vec<String> {
    ["keyed", "certified", "user", "group"]
        .map(str::to_owned)
        .to_vec()
}

/// Who calls at second 50, or why nobody does.
fn who(key: Option<&str>, from: listener::Peer, certificate: &[&str]) -> String {
    who_at(50, key, from, certificate)
}

fn who_at(second: u64, key: Option<&str>, from: listener::Peer, certificate: &[&str]) -> String {
    let callers = callers();
    let certificate: Vec<String> = certificate.iter().map(|name| (*name).into()).collect();
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let value = format!("Bearer {key}").parse().unwrap();
        headers.insert("authorization", value);
    }
    let presence = Presence {
        from: Some(&from),
        certificate: &certificate,
    };
    let roster = Roster::new(&callers, &names());
    match roster.identify(&headers, presence, at(second), &callers, None) {
        Ok(id) => callers.name(id).to_owned(),
        Err(stranger) => stranger.to_string(),
    }
}

#[test]
fn a_caller_is_known_by_any_of_its_ways() {
    assert_eq!(who(Some("new key"), tcp(), &[]), "keyed");
    assert_eq!(who(None, tcp(), &["x", "shop.internal"]), "certified");
    assert_eq!(who(None, unix(1001, 1001), &[]), "user");
    assert_eq!(who(None, unix(1, 2002), &[]), "group");
}

#[test]
fn a_known_key_counts_before_certificate_user_and_group_in_this_order() {
    let all = unix(1001, 2002);
    let certificate = ["shop.internal"];
    assert_eq!(who(Some("new key"), all, &certificate), "keyed");
    assert_eq!(who(Some("wrong"), all, &certificate), "certified");
    assert_eq!(who(Some("wrong"), all, &[]), "user");
    assert_eq!(who(None, all, &[]), "user");
    assert_eq!(who(Some("wrong"), unix(1, 2002), &[]), "group");
}

#[test]
fn a_key_is_good_until_its_end_and_then_says_that_it_has_ended() {
    assert_eq!(who_at(99, Some("old key"), tcp(), &[]), "keyed");
    let ended = "the key that the caller shows has ended";
    assert_eq!(who_at(100, Some("old key"), tcp(), &[]), ended);
    assert_eq!(who_at(100, Some("old key"), unix(1001, 0), &[]), "user");
}

#[test]
fn nobody_else_is_let_in() {
    let unknown = "the key that the caller shows is none that this door knows";
    for key in ["", "new ke", "new key ", "New key", "key of another door"] {
        let shown = who(Some(key), tcp(), &[]);
        // Blanks at the end of a field are not part of it.
        let expected = if key == "new key " { "keyed" } else { unknown };
        assert_eq!(shown, expected, "{key:?}");
    }
    let nothing = "the caller is none that this door knows";
    assert_eq!(who(None, tcp(), &[]), nothing);
    assert_eq!(who(None, tcp(), &["SHOP.internal", "shop"]), nothing);
    assert_eq!(who(None, unix(0, 0), &[]), nothing, "root is no exception");
    assert_eq!(who(None, unix(2002, 1001), &[]), nothing);
}

#[test]
fn a_member_of_a_group_by_the_machines_list_is_known_as_the_group_is() {
    let callers = Callers(Box::new([super::super::Caller {
        name: "group".to_owned(),
        hashes: Vec::new(),
        users: Vec::new(),
        groups: vec![2002],
        members: vec![1005],
        certificates: Vec::new(),
    }]));
    let roster = Roster::new(&callers, &["group".to_owned()]);
    let known = |uid, gid| {
        let presence = Presence {
            from: Some(&unix(uid, gid)),
            certificate: &[],
        };
        let headers = HeaderMap::new();
        let found = roster.identify(&headers, presence, at(0), &callers, None);
        found.is_ok()
    };
    assert!(known(1005, 100));
    assert!(!known(1006, 100));
}

#[test]
fn the_hint_names_the_ways_of_this_door_alone() {
    let callers = callers();
    let hint = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
        let roster = Roster::new(&callers, &names);
        roster.stranger(Why::NothingShown).hint()
    };
    assert_eq!(hint(&["user"]), "run as the caller's user or group");
    assert_eq!(
        hint(&["certified", "group"]),
        "connect with the caller's client certificate; or run as the caller's user or group"
    );
    assert!(hint(&["keyed"]).starts_with("send the caller's key as `Authorization: Bearer`"));
}

#[test]
fn a_token_of_the_stand_in_lives_and_dies_with_its_key() {
    let callers = callers();
    let roster = Roster::new(&callers, &names());
    let mint = Mint::new(&[1; 32], "door").unwrap();
    let mut headers = HeaderMap::new();
    let basic = "Basic YW55OmxlZ2FjeQ==".parse().unwrap();
    headers.insert("authorization", basic);
    let presence = Presence {
        from: Some(&tcp()),
        certificate: &[],
    };
    let known = roster.authenticate(&headers, Some(b"old key"), presence, at(50));
    let known = known.expect("the secret in the form is a key");
    let none = roster.authenticate(&headers, Some(b"wrong"), presence, at(50));
    assert_eq!(none, None);
    let ticket = Ticket::new(&callers, Some((known.caller, known.key)), at(10_000));
    let token = mint.make(Kind::Access, &ticket).unwrap();
    let bearer = token.bearer().unwrap();
    headers.insert("authorization", bearer);
    let call = |second, mint| {
        let found = roster.identify(&headers, presence, at(second), &callers, mint);
        found.map(|id| callers.name(id).to_owned())
    };
    assert_eq!(call(50, Some(&mint)).as_deref(), Ok("keyed"));
    assert!(call(50, None).is_err(), "at a door without a stand-in");
    let ended = call(100, Some(&mint)).unwrap_err();
    assert!(ended.to_string().contains("has ended"), "{ended}");
    assert!(ended.hint().contains("/oauth/token"), "{}", ended.hint());
    let again = roster.authenticate(&headers, None, presence, at(50));
    assert_eq!(again, None, "a token is no client secret");
}
