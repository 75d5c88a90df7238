//! What `init` writes is a configuration, whatever was answered, and stays one when it is run again.

use std::path::Path;

use super::super::migrate::Start;
use super::answers::{Answers, Client, Grant, Place, Simulated, Source};
use super::before::Before;
use super::{patch, render};
use crate::config::{Config, FileChoice, Lane, Sources, load};

fn read(text: &str) -> Config {
    let sources = Sources {
        file: FileChoice::Text {
            name: "house.toml".to_owned(),
            text: text.to_owned(),
            directory: "/etc/house".into(),
        },
        variables: Vec::new(),
        flags: Vec::new(),
    };
    let loaded = load(&sources).unwrap_or_else(|error| panic!("{error}\n{text}"));
    loaded.config
}

fn before(text: &str) -> Before {
    Before::of(
        Path::new("/etc/house/wise-auth-proxy.toml"),
        Some(text.to_owned()),
    )
    .unwrap()
}

fn client() -> Client {
    Client {
        id: "ac\"me".to_owned(),
        secret: Source::File("secrets/client_secret".to_owned()),
        redirect: "https://app.example/cb".to_owned(),
        grants: vec![Grant {
            name: "main".to_owned(),
            profile: None,
        }],
    }
}

fn answers() -> Answers {
    Answers {
        place: Place::Sandbox,
        start: Start::PersonalToken,
        client: Some(client()),
        personal: Some(Source::File("secrets/personal_token".to_owned())),
        organisation: Some("Acme Ltd".to_owned()),
        country: None,
        door: "127.0.0.1:8080".to_owned(),
        state: "state".to_owned(),
        secrets: "secrets".to_owned(),
    }
}

fn simulated() -> Place {
    Place::Simulator(Box::new(Simulated {
        plain: "https://localhost:8443".to_owned(),
        mtls: "https://localhost:8444".to_owned(),
        authorise: "https://localhost:8443/oauth/authorize".to_owned(),
        extra_ca: "simulator/ca.pem".to_owned(),
        client_id: "demo".to_owned(),
        client_secret: Source::File("simulator/client_secret".to_owned()),
        personal_token: Source::File("simulator/personal_token".to_owned()),
    }))
}

/// Every kind of answer, in every place.
fn all() -> Vec<Answers> {
    let sources = [
        Source::File("a b/\"c\"".to_owned()),
        Source::Env("WISE_CLIENT_SECRET".to_owned()),
        Source::Credential("client_secret".to_owned()),
        Source::Exec(vec!["/usr/bin/pass".to_owned(), "show".to_owned()]),
    ];
    let grants = [
        client().grants,
        vec![
            Grant {
                name: "main".to_owned(),
                profile: Some("30000000".to_owned()),
            },
            Grant {
                name: "other".to_owned(),
                profile: Some("00ab-cd".to_owned()),
            },
        ],
    ];
    let mut all = Vec::new();
    for place in [Place::Sandbox, Place::Production, simulated()] {
        for source in &sources {
            for grants in &grants {
                for start in [Start::PersonalToken, Start::ClientCredentials] {
                    for personal in [None, Some(source.clone())] {
                        for has_client in [true, false] {
                            if !has_client && personal.is_none() {
                                continue;
                            }
                            let client = Client {
                                secret: source.clone(),
                                grants: grants.clone(),
                                ..client()
                            };
                            all.push(Answers {
                                place: place.clone(),
                                start,
                                client: has_client.then_some(client),
                                personal: personal.clone(),
                                ..answers()
                            });
                        }
                    }
                }
            }
        }
    }
    all
}

#[test]
fn whatever_is_answered_the_file_is_a_configuration() {
    for answers in all() {
        let config = read(&render::render(&answers));
        assert_eq!(config.environment.to_string(), answers.place.environment());
        assert_eq!(config.personal.is_some(), answers.personal.is_some());
        let id = config.oauth.map(|oauth| oauth.client_id);
        assert_eq!(id, answers.client.map(|client| client.id));
    }
}

#[test]
fn the_same_answers_change_nothing() {
    for answers in all() {
        let text = render::render(&answers);
        assert_eq!(patch::patched(&before(&text), &answers), text);
    }
}

#[test]
fn other_answers_make_the_same_of_an_old_file_as_of_none() {
    let all = all();
    // A fixed walk that meets every pair of kinds many times.
    for (number, from) in all.iter().enumerate() {
        let to = &all[(number * 7 + 3) % all.len()];
        if from.client.is_some() && to.client.is_none() {
            continue; // What Wise gave is not taken out again.
        }
        let old = render::render(from);
        let mut changed = read(&patch::patched(&before(&old), to));
        let mut fresh = read(&render::render(to));
        // The lane that a person chose stays where it can.
        (changed.switch.lane, fresh.switch.lane) = (Lane::OAuth, Lane::OAuth);
        assert_eq!(format!("{changed:?}"), format!("{fresh:?}"), "{old}");
    }
}

#[test]
fn what_a_person_wrote_stays() {
    let text = "\
# ours
environment = \"sandbox\" # for now

[log] # loud
level = \"debug\"

[switch]
lane = \"personal\" # until May
allow = [\"personal\", \"oauth-mtls\"]

[personal]
token = { file = \"old/token\" }

[oauth]
client_id = \"old\"   # from Wise
client_secret = { env = \"SECRET\" }

[[grant]]
name = \"main\"

[mtls]
certificate = \"a.pem\"
key = \"a.key\"
";
    let mut answers = answers();
    answers.client.as_mut().unwrap().secret = Source::Env("SECRET".to_owned());
    answers.personal = Some(Source::File("old/token".to_owned()));
    let patched = patch::patched(&before(text), &answers);
    insta::assert_snapshot!(patched, @r#"
    # ours
    environment = "sandbox" # for now

    [log] # loud
    level = "debug"

    [switch]
    lane = "personal" # until May
    allow = ["personal", "oauth-mtls"]

    [personal]
    token = { file = "old/token" }

    [oauth]
    client_id = 'ac"me'   # from Wise
    client_secret = { env = "SECRET" }
    redirect_uri = "https://app.example/cb"

    [[grant]]
    name = "main"

    [mtls]
    certificate = "a.pem"
    key = "a.key"
    "#);
    assert_eq!(read(&patched).switch.lane, Lane::Personal);
}

#[test]
fn a_new_file_gives_each_key_its_reason() {
    insta::assert_snapshot!(render::render(&answers()), @r#"
    # Written by `wise-auth-proxy init`, which can be run again; yours to edit.
    # `wise-auth-proxy config show` prints every key that is in force and who set it, and
    # `wise-auth-proxy config schema` describes them all. Paths start at this file's directory.

    # Wise's sandbox: invented money. Production has a file of its own.
    environment = "sandbox"

    # Where your programs reach the proxy: this address in the place of Wise's, over plain HTTP.
    [[door]]
    address = "127.0.0.1:8080"

    # The lane of the first start: the one that you are on today. Afterwards the last
    # `switch` counts; it takes effect at once and survives restarts.
    [switch]
    lane = "personal"

    # The OAuth client that Wise gave you, and the redirect address as on file there.
    [oauth]
    client_id = 'ac"me'
    client_secret = { file = "secrets/client_secret" }
    redirect_uri = "https://app.example/cb"

    # The profile to act for; `login` fills it.
    [[grant]]
    name = "main"

    # The personal token: the way back, until the migration is behind you.
    [personal]
    token = { file = "secrets/personal_token" }

    # The client certificate and its key: `csr` makes the key, `cert install` puts the
    # certificate here.
    [mtls]
    certificate = "secrets/client.pem"
    key = "secrets/client.key"

    # Grants and the switch rest here. Keep it: refresh tokens are in it, sealed.
    [store]
    path = "state"

    # Everything else is at its default: config/default.toml gives each key and its reason.
    "#);
    insta::assert_snapshot!(render::render(&Answers { place: simulated(), client: None, ..answers() }), @r#"
    # Written by `wise-auth-proxy init`, which can be run again; yours to edit.
    # `wise-auth-proxy config show` prints every key that is in force and who set it, and
    # `wise-auth-proxy config schema` describes them all. Paths start at this file's directory.

    # A simulator on this machine, in the place of Wise.
    environment = "custom"

    # Its addresses and its authority. It makes a new authority at every start: run `init`,
    # `csr` and `cert install` again then.
    [wise]
    plain = "https://localhost:8443"
    mtls = "https://localhost:8444"
    authorise = "https://localhost:8443/oauth/authorize"
    extra_ca = "simulator/ca.pem"
    roots = "only-extra"

    # Where your programs reach the proxy: this address in the place of Wise's, over plain HTTP.
    [[door]]
    address = "127.0.0.1:8080"

    # The lane of the first start: the one that you are on today. Afterwards the last
    # `switch` counts; it takes effect at once and survives restarts.
    [switch]
    lane = "personal"

    # Wise has given no client id yet. Once it has, `wise-auth-proxy init` adds [oauth],
    # [[grant]] and [mtls] here.

    # The personal token: the way back, until the migration is behind you.
    [personal]
    token = { file = "secrets/personal_token" }

    # Grants and the switch rest here. Keep it: refresh tokens are in it, sealed.
    [store]
    path = "state"

    # Everything else is at its default: config/default.toml gives each key and its reason.
    "#);
}

#[test]
fn the_first_lane_is_where_the_company_is_today() {
    let lane = |personal: bool, start, before| {
        let personal = personal.then(|| Source::Env("X".to_owned()));
        let answers = Answers {
            start,
            personal,
            ..answers()
        };
        answers.lane(before)
    };
    let (token, client) = (Start::PersonalToken, Start::ClientCredentials);
    assert_eq!(lane(true, token, None), Lane::Personal);
    assert_eq!(lane(false, token, None), Lane::OAuthMtls);
    assert_eq!(lane(false, client, None), Lane::OAuth);
    assert_eq!(lane(true, token, Some(Lane::OAuthMtls)), Lane::OAuthMtls);
    assert_eq!(
        lane(false, token, Some(Lane::Personal)),
        Lane::OAuthMtls,
        "it is gone"
    );
}
