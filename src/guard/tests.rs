//! The decision against a plain reading of what the documentation promises.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::properties::{Call, METHODS, ODD_METHODS, Plain, expected};
use super::*;
use crate::clock::{Clock as _, Manual};
use crate::config::{self, Config, FileChoice, Rule, Sources};
use crate::wise::Lane::{OAuth, OAuthMtls, Personal};
use crate::wise::operations::{OPERATIONS, Set};

fn policy(allow: Option<&[&str]>, deny: &[&str]) -> config::Policy {
    let rules = |texts: &[&str]| -> Vec<Rule> {
        let rules = texts.iter().map(|text| Rule::parse(text).unwrap());
        rules.collect()
    };
    config::Policy {
        name: "payouts".into(),
        allow: allow.map(rules),
        deny: rules(deny),
        ..config::Policy::default()
    }
}

fn judge(policy: &config::Policy, method: &str, target: &str) -> Option<Reason> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let compiled = policy::Policy::new(policy, &[], None);
    let asked = Asked::new(method, path);
    let profiles = profiles_named(path, query);
    compiled.admit(&asked, profiles, None).err()
}

fn reason(policy: &config::Policy, method: &str, target: &str) -> Option<&'static str> {
    judge(policy, method, target).map(|reason| reason.name())
}

fn built_in(name: &str) -> config::Policy {
    let mut all = config::Policy::built_in().into_iter();
    all.find(|policy| policy.name == name).unwrap()
}

#[test]
fn what_is_built_in_does_what_its_name_says() {
    let fund = "/v3/profiles/30000000/transfers/17/payments";
    for (name, method, path, refused) in [
        ("read-only", "GET", "/v1/me", None),
        ("read-only", "HEAD", "/v9/what/nobody/knows", None),
        ("read-only", "OPTIONS", "/v1/me", None),
        ("read-only", "POST", "/v1/transfers", Some("not-in-allow")),
        (
            "read-only",
            "GET",
            "/v1/simulation/transfers/17/processing",
            Some("not-in-allow"),
        ),
        ("no-funding", "POST", "/v1/transfers", None),
        ("no-funding", "GET", "/v1/transfers/17/payments", None),
        ("no-funding", "POST", fund, Some("denied")),
        (
            "no-funding",
            "POST",
            "/2026Q3/profiles/1/transfers/2/payments",
            Some("denied"),
        ),
        (
            "no-funding",
            "POST",
            "/profiles/1/transfers/2/payments",
            Some("denied"),
        ),
        (
            "no-funding",
            "POST",
            "/V3/Profiles/1/TRANSFERS/2/payments",
            Some("denied"),
        ),
        (
            "no-funding",
            "POST",
            "/gateway/v3/profiles/1/transfers/2/payments",
            Some("denied"),
        ),
        ("no-funding", "PUT", fund, Some("denied")),
        ("no-funding", "POST", "/gateway/v1/transfers", None),
        (
            "no-funding",
            "GET",
            "/gateway/v1/transfers/1/payments",
            None,
        ),
        ("no-funding", "post", fund, Some("ambiguous-path")),
        ("no-funding", "Post", fund, Some("ambiguous-path")),
        ("read-only", "get", "/v1/me", Some("ambiguous-path")),
        (
            "no-funding",
            "POST",
            "/v3/profiles/1/transfers/2/payments.json",
            Some("denied"),
        ),
        (
            "no-funding",
            "POST",
            "/v3/profiles/1/transfers/2/payments%20",
            Some("ambiguous-path"),
        ),
        ("quotes-only", "GET", "/v1/rates.json", Some("not-in-allow")),
        (
            "no-funding",
            "POST",
            "/v3/profiles/1/transfers/2/payments/",
            Some("ambiguous-path"),
        ),
        (
            "no-funding",
            "POST",
            "/v3/profiles/1/transfers/2/payments;x",
            Some("ambiguous-path"),
        ),
        (
            "no-funding",
            "POST",
            "/v3/profiles/1/transfers/2/payment%73",
            Some("ambiguous-path"),
        ),
        (
            "no-funding",
            "POST",
            "/v1/profiles/1/batch-groups/2/payment-initiations",
            Some("denied"),
        ),
        ("quotes-only", "POST", "/v3/profiles/1/quotes", None),
        ("quotes-only", "PATCH", "/2026Q3/profiles/1/quotes/2", None),
        ("quotes-only", "GET", "/v1/rates", None),
        ("quotes-only", "GET", "/v4/comparisons", None),
        ("quotes-only", "GET", "/v1/currencies", None),
        ("quotes-only", "GET", "/V1/currencies", Some("not-in-allow")),
        ("quotes-only", "GET", "/v1/me", Some("not-in-allow")),
        ("quotes-only", "POST", "/v1/transfers", Some("not-in-allow")),
    ] {
        assert_eq!(
            reason(&built_in(name), method, path),
            refused,
            "{name} {method} {path}"
        );
    }
}

#[test]
fn what_is_denied_is_so_even_if_allowed_and_says_by_which_rule() {
    let policy = policy(Some(&["transfers"]), &["quotes", "funding"]);
    assert_eq!(judge(&policy, "POST", "/v1/transfers"), None);
    let denied = judge(&policy, "POST", "/v3/profiles/1/transfers/2/payments").unwrap();
    let rule = "funding".to_owned();
    assert_eq!(denied, Reason::Denied { position: 2, rule });
    let by_hand = self::policy(None, &["POST /v1/cards/*/freeze", "* /v1/secrets/**"]);
    for (target, refused) in [
        ("/v1/cards/7/Freeze.json", Some("denied")),
        ("/v1/cards/7.json/freeze", Some("denied")),
        ("/v1/cards.json/7/freeze", None),
        ("/v1/secrets/x.json", Some("denied")),
    ] {
        assert_eq!(reason(&by_hand, "POST", target), refused, "{target}");
    }
}

#[test]
fn a_policy_without_rules_about_paths_takes_every_path() {
    let free = policy(None, &[]);
    assert_eq!(reason(&free, "POST", "/v1//x/%2e%2e;"), None);
    let profiles = config::Policy {
        profiles: Some(vec!["17".parse().unwrap()]),
        ..policy(None, &[])
    };
    assert_eq!(reason(&profiles, "GET", "/v1//x"), Some("ambiguous-path"));
    for (target, refused) in [
        ("/v3/profiles/17/quotes?profile=17", None),
        ("/v3/profiles/%317/quotes", Some("ambiguous-path")),
        ("/v3/profiles/18/quotes?profile=17", Some("profile")),
        ("/v1/transfers?profile=17&profile=18", Some("profile")),
        ("/v1/transfers?profile=17;profileId=18", Some("profile")),
        ("/v1/transfers?%50rofile=%31%38", Some("profile")),
        ("/v1/transfers?profile=%31%37", None),
        ("/v1/transfers?profile=", Some("profile")),
        ("/v1/transfers", None),
    ] {
        assert_eq!(reason(&profiles, "GET", target), refused, "{target}");
    }
}

#[test]
fn a_lane_and_the_profile_of_a_token_are_judged_once_they_are_chosen() {
    let typed = config::Policy {
        profiles: Some(vec!["17".parse().unwrap()]),
        lanes: Some(
            [crate::wise::Lane::OAuth, crate::wise::Lane::Personal]
                .into_iter()
                .collect(),
        ),
        ..policy(None, &[])
    };
    let compiled = policy::Policy::new(&typed, &[], None);
    let (ours, other) = ("17".parse().unwrap(), "18".parse().unwrap());
    for (lane, acts_for, names, refused) in [
        (OAuth, ActsFor::One(Some(&ours)), false, None),
        (OAuth, ActsFor::One(Some(&other)), false, Some("grant")),
        (OAuth, ActsFor::One(None), true, Some("grant")),
        (OAuth, ActsFor::Nobody, false, None),
        (Personal, ActsFor::Any, true, None),
        (Personal, ActsFor::Any, false, Some("no-profile")),
        (OAuthMtls, ActsFor::One(Some(&ours)), true, Some("lane")),
    ] {
        let judged = compiled.send(lane, acts_for, names).err();
        assert_eq!(
            judged.map(|it| it.name()),
            refused,
            "{lane} {acts_for:?} {names}"
        );
    }
}

#[test]
fn a_body_is_judged_by_the_length_that_it_announces() {
    let typed = config::Policy {
        max_body: Some(100),
        ..policy(None, &[])
    };
    let compiled = policy::Policy::new(&typed, &[], None);
    let asked = Asked::new("POST", "/v1//transfers");
    for (body, fits) in [
        (None, true),
        (Some(100), true),
        (Some(101), false),
        (Some(u64::MAX), false),
    ] {
        let none = std::iter::empty::<Named<'_>>();
        assert_eq!(compiled.admit(&asked, none, body).is_ok(), fits, "{body:?}");
    }
}

const WORDS: [&str; 24] = [
    "v1",
    "v3",
    "V3",
    "2026Q3",
    "2026q3",
    "profiles",
    "Profiles",
    "17",
    "transfers",
    "payments",
    "quotes",
    "batch-payments",
    "hold-limit-breach",
    "balances",
    "simulation",
    "processing",
    "me",
    "balance-statements",
    "statement.json",
    "STATEMENT.pdf",
    "statement.",
    "oauth",
    "token",
    "rates",
];
const NASTY: [&str; 22] = [
    "",
    ".",
    "..",
    "%2e",
    "a%2Fb",
    "a;b",
    "a\\b",
    "%41",
    "%2",
    "%25",
    "%00",
    "a%20b",
    "%7B",
    "%+1",
    "%20",
    "me%09",
    "%C2%A0",
    "a%C3%A9",
    "%C3",
    "%E3%80%80x",
    "%EF%BB%BF",
    "%E2%82%AC%E2%80%83",
];
/// What some servers take for nothing.
const SUFFIXES: [&str; 10] = [
    ".json",
    ".",
    ".v2.XML",
    "%20",
    "%C2%A0",
    "%E2%80%83",
    "%C3%A9",
    "json",
    "%09",
    "%C0%80",
];

/// A method and a path: often those of one operation, or nearly.
fn call() -> impl Strategy<Value = (String, String)> {
    let any_method = || {
        prop_oneof![
            6 => prop::sample::select(&METHODS[..]),
            1 => prop::sample::select(&ODD_METHODS[..]),
        ]
    };
    let segment =
        prop_oneof![20 => prop::sample::select(&WORDS[..]), 1 => prop::sample::select(&NASTY[..])];
    let free = prop::collection::vec(segment, 0..7);
    let free = free.prop_map(|segments| format!("/{}", segments.join("/")));
    let free = (any_method(), free).prop_map(|(method, path)| (method.to_owned(), path));
    let known = (
        0..OPERATIONS.len(),
        prop_oneof![Just(None), any_method().prop_map(Some)],
        prop::sample::select(&["", "/v1", "/2026Q3", "/V3", "/v1/v1", "/gateway/v3", "/a/b"][..]),
    )
        .prop_map(|(at, method, version)| {
            let operation = &OPERATIONS[at];
            let filled = operation
                .path
                .split('{')
                .map(|part| match part.split_once('}') {
                    Some((_, rest)) => format!("17{rest}"),
                    None => part.to_owned(),
                });
            let path = format!("{version}{}", filled.collect::<String>());
            (method.unwrap_or(operation.method).to_owned(), path)
        });
    let shouted = (known.clone()).prop_map(|(method, path)| (method, path.to_uppercase()));
    let whispered = (known.clone()).prop_map(|(method, path)| (method.to_lowercase(), path));
    let ended = (known.clone(), prop::sample::select(&NASTY[..]))
        .prop_map(|((method, path), end)| (method, format!("{path}/{end}")));
    let suffixed = (known.clone(), prop::sample::select(&SUFFIXES[..]))
        .prop_map(|((method, path), suffix)| (method, format!("{path}{suffix}")));
    let paid: Vec<_> = OPERATIONS.iter().filter(|it| it.funds.is_some()).collect();
    let paid = (
        prop::sample::select(&["", "/gateway", "/gateway/v3", "/a/b/c/d/e/f"][..]),
        prop::sample::select(paid),
        prop::sample::select(&["", ".json", "/17"][..]),
        prop_oneof![3 => Just("POST"), 1 => any_method()],
    )
        .prop_map(|(before, operation, after, method)| {
            let path = operation.path.replace(['{', '}'], "1");
            (method.to_owned(), format!("{before}{path}{after}"))
        });
    prop_oneof![
        3 => free, 4 => known, 1 => shouted, 1 => whispered, 1 => ended, 2 => suffixed, 2 => paid
    ]
}

fn rule() -> impl Strategy<Value = String> {
    let sets: Vec<_> = Set::all()
        .into_iter()
        .map(|set| set.name().to_owned())
        .collect();
    let word = prop_oneof![3 => prop::sample::select(&WORDS[..]), 2 => Just("*")];
    let methods = prop::sample::select(&["*", "GET", "POST", "PATCH"][..]);
    let pattern = (methods, prop::collection::vec(word, 0..6), any::<bool>()).prop_map(
        |(method, words, goes_on)| {
            let end = if goes_on || words.is_empty() {
                vec!["**"]
            } else {
                Vec::new()
            };
            format!("{method} /{}", [words, end].concat().join("/"))
        },
    );
    let operation = (0..OPERATIONS.len()).prop_map(|at| {
        let path = OPERATIONS[at]
            .path
            .split('/')
            .map(|it| if it.starts_with('{') { "*" } else { it });
        let path = path
            .collect::<Vec<_>>()
            .join("/")
            .replace("{format}", "json");
        format!("{} {path}", OPERATIONS[at].method)
    });
    let funding = Just("funding".to_owned());
    prop_oneof![3 => prop::sample::select(sets), 3 => pattern, 3 => operation, 1 => funding]
}

/// A policy as somebody types it.
fn written() -> impl Strategy<Value = Plain> {
    let profiles = prop::sample::subsequence(vec!["17".to_owned(), "18".to_owned()], 1..=2);
    (
        prop::option::of(prop::collection::vec(rule(), 1..4)),
        prop::collection::vec(rule(), 0..3),
        prop::option::weighted(0.3, profiles),
        prop::option::weighted(0.3, prop::sample::select(&[0, 10][..])),
    )
        .prop_map(|(allow, deny, profiles, max_body)| Plain {
            allow,
            deny,
            profiles,
            max_body,
        })
}

const QUERIES: [&str; 10] = [
    "profile=17",
    "profile=18",
    "profileId=17&PROFILE=18",
    "%70rofile=%31%38",
    "x=1;profile=18",
    "profile=17&profile=17",
    "profile=",
    "profile",
    "profiles=18&x=profile",
    "",
];

/// A configuration with a door and a caller, whose policies are still to be said.
fn two_who_judge() -> Config {
    let text = "environment = \"sandbox\"\n\
        [[door]]\naddress = \"127.0.0.1:0\"\ncallers = [\"payroll\"]\n\
        [[caller]]\nname = \"payroll\"\nkey = { env = \"KEY\" }\n\
        [switch]\nlane = \"personal\"\n[personal]\ntoken = { env = \"PERSONAL\" }\n";
    let sources = Sources {
        file: FileChoice::Text {
            name: "house.toml".to_owned(),
            text: text.to_owned(),
            directory: "/etc/house".into(),
        },
        variables: Vec::new(),
        flags: Vec::new(),
    };
    config::load(&sources).unwrap().config
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn every_decision_is_the_one_that_a_plain_reading_gives(
        one in written(),
        other in written(),
        of_door in prop::option::of(0..2_usize),
        of_caller in prop::option::of(prop::option::of(0..2_usize)),
        (method, path) in call(),
        query in prop::option::weighted(0.3, prop::sample::select(&QUERIES[..])),
        body in prop::option::of(prop::sample::select(&[0, 10, 11, u64::MAX][..])),
    ) {
        let both = [("one", one), ("other", other)];
        let parsed = |texts: &[String]| texts.iter().map(|it| Rule::parse(it).unwrap()).collect();
        let mut config = HOUSE.clone();
        config.policies = (both.iter())
            .map(|(name, plain)| config::Policy {
                name: (*name).into(),
                allow: plain.allow.as_deref().map(parsed),
                deny: parsed(&plain.deny),
                profiles: (plain.profiles.as_ref())
                    .map(|all| all.iter().map(|it| it.parse().unwrap()).collect()),
                max_body: plain.max_body.map(|most| usize::try_from(most).unwrap()),
                ..config::Policy::default()
            })
            .collect();
        let name = |at: usize| both[at].0.to_owned();
        config.doors[0].policy = of_door.map(name);
        config.callers[0].policy = of_caller.flatten().map(name);

        let policies = Policies::new(&config, None);
        let asked = Asked::new(&method, &path);
        let judged: Vec<_> = policies
            .of(0, of_caller.map(|_| 0))
            .map(|policy| {
                let judged = policy.admit(&asked, profiles_named(&path, query), body);
                (policy.name.as_str(), judged.err().map(|reason| reason.name()))
            })
            .collect();

        // The door's, then the caller's, each once.
        let mut bear: Vec<usize> = of_door.into_iter().chain(of_caller.flatten()).collect();
        bear.dedup();
        let call = Call { method: &method, path: &path, query, body };
        let plain: Vec<_> = (bear.into_iter())
            .map(|at| (both[at].0, expected(&both[at].1, &call)))
            .collect();
        prop_assert_eq!(judged, plain, "{:?} under {:?}", call, both);
    }
}

static HOUSE: LazyLock<Config> = LazyLock::new(two_who_judge);

// Fundings.

fn clock() -> Manual {
    Manual::at(SystemTime::UNIX_EPOCH + Duration::from_hours(490_000))
}

fn decide(ledger: &mut Ledger, clock: &Manual, of: &str, per_hour: u32) -> Verdict {
    let ask = [(of.to_owned(), per_hour)];
    ledger.decide(&ask, clock).remove(0)
}

#[test]
fn so_many_fundings_pass_in_any_hour_and_room_is_made_as_the_oldest_ends() {
    let store = tempfile::tempdir().unwrap();
    let (mut ledger, clock) = (Ledger::at(store.path()), clock());
    for _ in 0..2 {
        assert_eq!(decide(&mut ledger, &clock, "caller a", 2), Verdict::Granted);
        clock.advance(Duration::from_mins(10));
    }
    let wait = Duration::from_mins(40);
    assert_eq!(
        decide(&mut ledger, &clock, "caller a", 2),
        Verdict::Capped(wait)
    );
    assert_eq!(decide(&mut ledger, &clock, "caller b", 2), Verdict::Granted);
    clock.advance(Duration::from_secs(40 * 60 - 1));
    assert_eq!(
        decide(&mut ledger, &clock, "caller a", 2),
        Verdict::Capped(Duration::from_secs(1))
    );
    clock.advance(Duration::from_secs(1));
    assert_eq!(decide(&mut ledger, &clock, "caller a", 2), Verdict::Granted);
    assert!(matches!(
        decide(&mut ledger, &clock, "caller c", 0),
        Verdict::Capped(_)
    ));
}

#[test]
fn a_ledger_is_taken_up_where_it_was_left_whatever_the_clock_did() {
    let store = tempfile::tempdir().unwrap();
    let first = clock();
    decide(&mut Ledger::at(store.path()), &first, "door unix:/a b", 1);
    // The file ends in a line that a crash cut short.
    let path = store.path().join(ledger::FILE);
    let torn = std::fs::read_to_string(&path).unwrap() + "17645";
    std::fs::write(&path, torn).unwrap();

    let later = Manual::at(first.wall() + Duration::from_mins(59));
    let mut again = Ledger::at(store.path());
    assert_eq!(
        decide(&mut again, &later, "door unix:/a b", 1),
        Verdict::Capped(Duration::from_mins(1))
    );
    // A clock that was a year ahead does not close the door for a year.
    let behind = Manual::at(first.wall() - Duration::from_hours(24 * 365));
    let mut odd = Ledger::at(store.path());
    assert_eq!(
        decide(&mut odd, &behind, "door unix:/a b", 1),
        Verdict::Capped(Duration::from_hours(1))
    );
    assert_eq!(
        decide(&mut again, &later, "caller new", 1),
        Verdict::Granted
    );
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn two_processes_with_one_store_count_together() {
    let store = tempfile::tempdir().unwrap();
    let clock = clock();
    let (mut one, mut other) = (Ledger::at(store.path()), Ledger::at(store.path()));
    assert_eq!(decide(&mut one, &clock, "caller a", 2), Verdict::Granted);
    assert_eq!(decide(&mut other, &clock, "caller a", 2), Verdict::Granted);
    assert!(matches!(
        decide(&mut one, &clock, "caller a", 2),
        Verdict::Capped(_)
    ));
    assert!(matches!(
        decide(&mut other, &clock, "caller a", 2),
        Verdict::Capped(_)
    ));
}

#[test]
fn what_cannot_be_written_down_does_not_leave_and_does_not_count() {
    let store = tempfile::tempdir().unwrap();
    let (mut ledger, clock) = (Ledger::at(store.path()), clock());
    let path = store.path().join(ledger::FILE);
    std::fs::create_dir(&path).unwrap();
    for _ in 0..3 {
        let verdict = decide(&mut ledger, &clock, "caller a", 1);
        assert!(matches!(verdict, Verdict::Unrecorded(_)), "{verdict:?}");
    }
    std::fs::remove_dir(&path).unwrap();
    assert_eq!(decide(&mut ledger, &clock, "caller a", 1), Verdict::Granted);
    assert!(matches!(
        decide(&mut ledger, &clock, "caller a", 1),
        Verdict::Capped(_)
    ));
}

#[test]
fn a_long_ledger_is_cleared_of_what_is_over_and_of_nothing_else() {
    let store = tempfile::tempdir().unwrap();
    let clock = clock();
    let now = clock
        .wall()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let old = format!(
        "{} caller somebody-with-a-long-name-that-fills-the-file\n",
        now - 3_700_000
    );
    let path = store.path().join(ledger::FILE);
    std::fs::write(
        &path,
        old.repeat(5000) + &format!("{} caller a\n", now - 60_000),
    )
    .unwrap();
    let mut ledger = Ledger::at(store.path());
    assert_eq!(decide(&mut ledger, &clock, "caller a", 2), Verdict::Granted);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2, "{}", text.len());
    assert!(matches!(
        decide(&mut Ledger::at(store.path()), &clock, "caller a", 2),
        Verdict::Capped(_)
    ));
}
