//! Webhook subscriptions: made, listed, tested and ended, by the real binary beside a simulated Wise.

use std::process::Output;

use serde_json::{Value, json};
use wise_auth_proxy::simulator::{Credential, Disturb, Disturbance, Simulator};

use crate::house::{
    CLIENT_ID, CLIENT_SECRET, House, PERSONAL_TOKEN, PROFILE, Site, wise, wise_options,
};

const URL: &str = "https://hooks.example.com/wise";
const STATE: &str = "transfers#state-change";
const REFUND: &str = "transfers#refund";

/// Another business profile, of a simulator that is told of it.
const OTHER: u64 = PROFILE + 1;

/// A site whose grant is logged in and whose proxy never runs: none of this needs one.
async fn site(wise: &Simulator) -> Site {
    House::on(wise).prepare().await
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

async fn run(site: &Site, args: &[&str]) -> Output {
    let args = [&["webhook"], args].concat();
    let output = site.cli(&args).await;
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    for secret in [CLIENT_SECRET, PERSONAL_TOKEN, "Bearer "] {
        assert!(!said.contains(secret), "{args:?}: {said}");
    }
    output
}

/// A command that must succeed; its standard output.
async fn done(site: &Site, args: &[&str]) -> String {
    let output = run(site, args).await;
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

async fn json(site: &Site, args: &[&str]) -> Value {
    serde_json::from_str(&done(site, &[args, &["--json"]].concat()).await).unwrap()
}

/// A command that must fail with this code; what it said.
async fn fails(site: &Site, code: i32, args: &[&str]) -> String {
    let output = run(site, args).await;
    let said = told(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(said.contains("error: "), "{args:?}: {said}");
    assert!(said.contains("hint: "), "{args:?}: {said}");
    said
}

async fn subscribe(site: &Site, event: &str, more: &[&str]) -> String {
    let args = [&["subscribe", event, "--url", URL], more].concat();
    done(site, &args).await.trim().to_owned()
}

/// Method, path and credential of every call about subscriptions.
fn calls(wise: &Simulator) -> Vec<(String, String, Credential)> {
    let recorded = wise.recorded();
    let about = recorded
        .into_iter()
        .filter(|call| call.target.contains("/subscriptions"));
    about
        .map(|call| (call.method, call.target, call.credential))
        .collect()
}

fn methods(wise: &Simulator) -> Vec<String> {
    calls(wise).into_iter().map(|(method, ..)| method).collect()
}

#[tokio::test]
async fn an_application_subscription_is_made_with_the_clients_own_token_and_a_profiles_with_the_users()
 {
    let wise = wise().await;
    let site = site(&wise).await;
    let application = subscribe(&site, STATE, &["--mtls", "--name", "money moves"]).await;
    let profile = PROFILE.to_string();
    let of_profile = subscribe(&site, REFUND, &["--profile", &profile]).await;
    assert_ne!(application, of_profile);

    let of_client = format!("/v3/applications/{CLIENT_ID}/subscriptions");
    let of_user = format!("/v3/profiles/{PROFILE}/subscriptions");
    for (_, path, credential) in calls(&wise) {
        let fits = matches!(credential, Credential::Client { live: true, .. } if path == of_client)
            || matches!(credential, Credential::User { live: true, .. } if path == of_user);
        assert!(fits, "{path} with {credential:?}");
    }
    assert_eq!(methods(&wise), ["GET", "POST", "GET", "POST"]);

    let list = json(&site, &["list"]).await;
    let found = list["subscriptions"].as_array().unwrap();
    let of = |id: &str| found.iter().find(|one| one["id"] == id).unwrap();
    let first = of(&application);
    assert_eq!(
        first["scope"],
        json!({"domain": "application", "id": CLIENT_ID})
    );
    assert_eq!(first["name"], "money moves");
    assert_eq!(
        (&first["event"], &first["url"]),
        (&json!(STATE), &json!(URL))
    );
    assert_eq!(
        (&first["version"], &first["mtls"]),
        (&json!("4.0.0"), &json!(true))
    );
    assert_eq!(first["can_move"], false);
    let second = of(&of_profile);
    assert_eq!(second["scope"], json!({"domain": "profile", "id": profile}));
    assert_eq!(
        (&second["can_move"], &second["moved_to"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(second["mtls"], Value::Null);
    assert_eq!(list["unread"], json!([]));
    // A refresh would have ended the token that a proxy serves.
    assert_eq!(wise.generation(PROFILE), Some(1));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    let wise = wise().await;
    let site = site(&wise).await;
    wise.clear();
    let exchanges = wise.exchange_count();
    for (event, url, more, wanted) in [
        (
            STATE,
            "http://hooks.example.com/",
            &[][..],
            "does not begin with https://",
        ),
        (
            STATE,
            "https://192.0.2.1/",
            &[],
            "an IP address in the place of a domain name",
        ),
        (STATE, "https://[2001:db8::1]/", &[], "an IP address"),
        (
            STATE,
            "https://hooks.example.com:8443/",
            &[],
            "a port other than 443",
        ),
        (
            STATE,
            "https://hooks.example.com/?key=1",
            &[],
            "has a query",
        ),
        (
            STATE,
            "https://me:hunter2@hooks.example.com/",
            &[],
            "a user name or a password",
        ),
        (STATE, "https://intranet/", &[], "no domain name"),
        (STATE, "hooks.example.com", &[], "is no URL"),
        (
            "transfer#state",
            URL,
            &[],
            "there are transfers#active-cases",
        ),
        ("nonsense", URL, &[], "webhook events"),
        ("balances#credit", URL, &[], "it is for profiles alone"),
        (
            "users#state-change",
            URL,
            &["--profile", "30000000"],
            "it is for applications alone",
        ),
        (STATE, URL, &["--version", "3.0.0"], "it has 2.0.0, 4.0.0"),
        ("new#event", URL, &["--unlisted"], "name one with --version"),
    ] {
        let args = [&["subscribe", event, "--url", url], more].concat();
        let said = fails(&site, 2, &args).await;
        assert!(said.contains(wanted), "{event} {url}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    // One that is wrong among others stops them all.
    fails(
        &site,
        2,
        &["subscribe", STATE, "users#nonsense", "--url", URL],
    )
    .await;
    assert_eq!(wise.recorded().len(), 0);
    assert_eq!(wise.exchange_count(), exchanges);
}

#[tokio::test]
async fn several_events_are_subscribed_to_at_once_and_none_of_them_twice() {
    let wise = wise().await;
    let site = site(&wise).await;
    let first = subscribe(&site, STATE, &[]).await;
    wise.clear();
    let args = [
        "subscribe",
        REFUND,
        STATE,
        REFUND,
        "--url",
        "https://HOOKS.example.com:443/wise",
    ];
    let output = run(&site, &args).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let ids = String::from_utf8(output.stdout.clone()).unwrap();
    let ids: Vec<_> = ids.lines().collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[1], first);
    assert!(told(&output).contains(&format!("there is a subscription already, {first}")));
    assert_eq!(methods(&wise), ["GET", "POST"]);

    let again = json(&site, &["subscribe", STATE, REFUND, "--url", URL]).await;
    let states = again["subscriptions"].as_array().unwrap().iter();
    let states: Vec<_> = states.map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["exists", "exists"]);
    assert_eq!(methods(&wise), ["GET", "POST", "GET"]);
    // Another receiver is another subscription.
    let elsewhere = [
        "subscribe",
        STATE,
        "--url",
        "https://hooks.example.com/other",
    ];
    assert_ne!(done(&site, &elsewhere).await.trim(), first);
}

#[tokio::test]
async fn an_old_one_is_replaced_on_request_and_the_new_one_comes_first() {
    let wise = wise().await;
    let site = site(&wise).await;
    let old = subscribe(&site, STATE, &["--version", "2.0.0"]).await;
    let output = run(&site, &["list"]).await;
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(table.contains("version is being retired"), "{table}");
    assert!(told(&output).contains("--replace"), "{}", told(&output));

    let args = [
        "subscribe",
        STATE,
        "--url",
        URL,
        "--version",
        "4.0.0",
        "--mtls",
    ];
    let said = fails(&site, 1, &args).await;
    let there = format!("{STATE} {old}: version 2.0.0, without a client certificate");
    assert!(said.contains(&there), "{said}");
    assert!(said.contains("--replace makes the new one"), "{said}");

    wise.clear();
    let replaced = json(&site, &[&args[..], &["--replace"]].concat()).await;
    let replaced = &replaced["subscriptions"][0];
    assert_eq!(
        (&replaced["state"], &replaced["replaced"]),
        (&json!("replaced"), &json!(old))
    );
    assert_eq!(methods(&wise), ["GET", "POST", "DELETE"]);
    let list = json(&site, &["list"]).await;
    let list = list["subscriptions"].as_array().unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(
        (&list[0]["id"], &list[0]["version"]),
        (&replaced["id"], &json!("4.0.0"))
    );
    assert_eq!(
        (&list[0]["mtls"], &list[0]["retiring"]),
        (&json!(true), &json!(false))
    );
    // Nothing is left to replace.
    let again = json(&site, &[&args[..], &["--replace"]].concat()).await;
    assert_eq!(again["subscriptions"][0]["state"], "exists");
}

/// Names the subscription in the configuration as the only one whose deliveries are taken.
fn take_only(site: &Site, id: &str) {
    let taking = format!(
        "[[webhook]]\nname = \"transfers\"\naddress = \"127.0.0.1:0\"\nsignature_key = \"key.pem\"\n\
         forward = \"http://127.0.0.1:9/\"\nsubscriptions = [\"{id}\"]\n"
    );
    let config = std::fs::read_to_string(&site.config).unwrap();
    let config = config.split("[[webhook]]").next().unwrap();
    std::fs::write(&site.config, format!("{config}{taking}")).unwrap();
}

/// What comes by the new one is refused until the configuration names it, and the old one would not be
/// there to bring it.
#[tokio::test]
async fn an_old_one_whose_deliveries_alone_are_taken_is_left_until_the_new_one_is_named() {
    let wise = wise().await;
    let site = site(&wise).await;
    let old = subscribe(&site, STATE, &["--version", "2.0.0"]).await;
    take_only(&site, &old);
    wise.clear();
    let args = [
        "subscribe",
        STATE,
        "--url",
        URL,
        "--version",
        "4.0.0",
        "--replace",
    ];
    let output = run(&site, &args).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(methods(&wise), ["GET", "POST"], "nothing is ended");
    let new = String::from_utf8(output.stdout.clone()).unwrap();
    let new = new.trim();
    let next = format!("next: put {new} beside {old} in webhook.subscriptions of `transfers`, ");
    let said = told(&output);
    assert!(said.contains(&next), "{said}");
    assert!(said.contains(&format!("webhook delete {old}")), "{said}");

    // Asked again it is said again, and done when it is done.
    let again = run(&site, &args).await;
    let hint = format!("put {new} into its webhook.subscriptions");
    assert!(told(&again).contains(&hint), "{}", told(&again));
    take_only(&site, new);
    let again = run(&site, &args).await;
    assert!(!told(&again).contains("next: "), "{}", told(&again));
    assert_eq!(methods(&wise), ["GET", "POST", "GET", "GET"]);

    // From another one of the old kind, for programs.
    let other = subscribe(&site, REFUND, &["--version", "2.0.0"]).await;
    take_only(&site, &other.to_uppercase());
    let args = [
        "subscribe",
        REFUND,
        "--url",
        URL,
        "--version",
        "4.0.0",
        "--replace",
    ];
    let beside = json(&site, &args).await;
    let beside = &beside["subscriptions"][0];
    assert_eq!(
        (&beside["state"], &beside["beside"], &beside["replaced"]),
        (&json!("beside"), &json!(other), &Value::Null)
    );
}

#[tokio::test]
async fn one_that_can_move_is_not_to_be_ended_before_the_other_is_taken() {
    let wise = wise().await;
    let site = site(&wise).await;
    let profiles = subscribe(&site, STATE, &["--grant", "main"]).await;
    take_only(&site, &profiles);
    let said = told(&run(&site, &["list"]).await);
    assert!(
        said.contains("its id into webhook.subscriptions, a reload, and then"),
        "{said}"
    );

    let applications = subscribe(&site, STATE, &[]).await;
    let said = told(&run(&site, &["list"]).await);
    let put =
        format!("put {applications} beside {profiles} in webhook.subscriptions of `transfers`");
    assert!(said.contains(&put), "{said}");
    assert!(!said.contains("comes twice"), "{said}");

    take_only(&site, &applications);
    let said = told(&run(&site, &["list"]).await);
    assert!(said.contains("each event comes twice until"), "{said}");
}

#[tokio::test]
async fn a_list_shows_every_profile_and_what_can_move() {
    let mut options = wise_options();
    options.business_profiles = vec![PROFILE, OTHER];
    let wise = Simulator::start(options).await.unwrap();
    let house = House::on(&wise)
        .grant("main", PROFILE)
        .grant("other", OTHER);
    let site = house.prepare().await;
    let application = subscribe(&site, STATE, &[]).await;
    let doubled = subscribe(&site, STATE, &["--grant", "main"]).await;
    let movable = subscribe(&site, REFUND, &["--grant", "other"]).await;
    let bound = subscribe(&site, "balances#credit", &["--grant", "other"]).await;

    let list = json(&site, &["list"]).await;
    let found = list["subscriptions"].as_array().unwrap();
    let of = |id: &str| found.iter().find(|one| one["id"] == *id).unwrap();
    let moves = |id: &str| {
        (
            of(id)["can_move"].as_bool().unwrap(),
            of(id)["moved_to"].clone(),
        )
    };
    assert_eq!(found.len(), 4);
    assert_eq!(moves(&application), (false, Value::Null));
    assert_eq!(moves(&doubled), (true, json!(application)));
    assert_eq!(moves(&movable), (true, Value::Null));
    assert_eq!(moves(&bound), (false, Value::Null));
    assert_eq!(of(&bound)["retiring"], true);

    let output = run(&site, &["list"]).await;
    let said = told(&output);
    assert!(
        said.contains(&format!("webhook subscribe '{REFUND}' --url {URL}")),
        "{said}"
    );
    assert!(
        said.contains(&format!("webhook delete {movable}")),
        "{said}"
    );
    assert!(said.contains("each event comes twice until"), "{said}");
    let of_other = json(&site, &["list", "--profile", &OTHER.to_string()]).await;
    assert_eq!(of_other["subscriptions"].as_array().unwrap().len(), 2);
    let of_client = json(&site, &["list", "--application"]).await;
    assert_eq!(of_client["subscriptions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_profile_that_cannot_be_asked_hides_no_other_and_is_named() {
    let wise = wise().await;
    let house = House::on(&wise)
        .grant("main", PROFILE)
        .grant("other", OTHER);
    let site = house.logged_out().prepare().await;
    site.log_in(&wise, "main", PROFILE).await;
    let id = subscribe(&site, REFUND, &["--grant", "main"]).await;

    let output = run(&site, &["list", "--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list["subscriptions"][0]["id"], id);
    assert_eq!(list["unread"][0]["whose"], format!("profile {OTHER}"));
    let said = told(&output);
    assert!(
        said.contains("nobody has logged in for grant other yet"),
        "{said}"
    );
    assert!(said.contains("login --grant other"), "{said}");

    let said = fails(&site, 2, &["list", "--grant", "mane"]).await;
    assert!(said.contains("the grants are: main, other"), "{said}");
    let said = fails(&site, 1, &["list", "--profile", "31"]).await;
    assert!(said.contains("no grant is for profile 31"), "{said}");
}

#[tokio::test]
async fn a_sample_is_delivered_under_the_id_that_is_shown() {
    let wise = wise().await;
    let site = site(&wise).await;
    let id = subscribe(&site, STATE, &[]).await;
    let shown = done(&site, &["test", &id]).await;
    let mut connection = crate::house::Connection::to(wise.control_address()).await;
    let request = http::Request::get("/webhooks/deliveries").body(bytes::Bytes::new());
    let journal = connection.request(request.unwrap()).await.unwrap().json();
    assert_eq!(journal[0]["id"], shown.trim());
    assert_eq!(
        (&journal[0]["test"], &journal[0]["subscription"]),
        (&json!(true), &json!(id))
    );
    let tested = json(&site, &["test", &id]).await;
    assert!(
        tested["deliveries"][0]["delivery_id"].is_string(),
        "{tested}"
    );

    let of_profile = subscribe(&site, STATE, &["--grant", "main"]).await;
    let said = fails(&site, 1, &["test", &of_profile]).await;
    assert!(
        said.contains("the application has no subscription"),
        "{said}"
    );
    assert!(said.contains("no test for profile subscriptions"), "{said}");
    let said = run(&site, &["test", "../../v1/me"]).await;
    assert_eq!(said.status.code(), Some(2));
}

#[tokio::test]
async fn a_subscription_is_ended_when_somebody_says_yes() {
    let wise = wise().await;
    let site = site(&wise).await;
    let application = subscribe(&site, STATE, &[]).await;
    let of_profile = subscribe(&site, REFUND, &["--grant", "main"]).await;
    wise.clear();
    let said = fails(&site, 2, &["delete", &application]).await;
    assert!(said.contains("--yes"), "{said}");
    assert_eq!(calls(&wise).len(), 0);

    let output = run(&site, &["delete", &of_profile, "--yes"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let what = format!("deleted: {REFUND} of profile {PROFILE} to {URL}");
    assert!(told(&output).contains(&what), "{}", told(&output));
    let gone = json(&site, &["delete", &application, "--yes"]).await;
    assert_eq!(gone["deleted"]["event"], STATE);
    assert_eq!(json(&site, &["list"]).await["subscriptions"], json!([]));
    let said = fails(&site, 1, &["delete", &application, "--yes"]).await;
    assert!(said.contains("Wise shows no subscription"), "{said}");
}

#[tokio::test]
async fn what_wise_says_is_said_in_plain_words() {
    let wise = wise().await;
    let site = site(&wise).await;
    let unlisted = [
        "subscribe",
        "new#event",
        "--version",
        "4.0.0",
        "--unlisted",
        "--url",
        URL,
    ];
    let said = fails(&site, 1, &unlisted).await;
    assert!(
        said.contains("new#event of application is not subscribed to"),
        "{said}"
    );
    assert!(
        said.contains("Wise answers 400 (trigger_on: Not an event"),
        "{said}"
    );

    // What went well before the failure is shown, and what failed is said.
    let args = [
        "subscribe",
        STATE,
        "new#event",
        "--version",
        "4.0.0",
        "--unlisted",
        "--url",
        URL,
    ];
    let output = run(&site, &args).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stdout.clone())
            .unwrap()
            .lines()
            .count(),
        1
    );
    assert!(told(&output).contains("Wise sends transfers#state-change"));

    let disturb = |kind| {
        wise.change_faults(|faults| {
            faults.resource.disturb = Some(Disturb {
                prefix: Some("/v3/applications".to_owned()),
                ..Disturb::always(kind)
            });
        });
    };
    for (kind, wanted, hint) in [
        (
            Disturbance::TooManyRequests,
            "Wise answers 429",
            "try again in a minute",
        ),
        (
            Disturbance::ServerError,
            "Wise answers 500",
            "try again later",
        ),
        (Disturbance::Html, "Wise answers 503", "try again later"),
        (Disturbance::Redirect, "Wise answers 302", "webhook events"),
        (
            Disturbance::Garbage,
            "holds no list of subscriptions",
            "webhook list",
        ),
        (Disturbance::DropBefore, "no answer", "webhook list"),
        (Disturbance::FalseUnauthorized, "Wise answers 401", "doctor"),
    ] {
        disturb(kind);
        let said = fails(&site, 1, &["list", "--application"]).await;
        assert!(said.contains(wanted), "{kind:?}: {said}");
        assert!(said.contains(hint), "{kind:?}: {said}");
        assert!(!said.contains("<html"), "{said}");
    }
}

#[tokio::test]
async fn an_order_whose_answer_is_lost_is_not_given_twice() {
    let wise = wise().await;
    let site = site(&wise).await;
    // The look at what there is goes well, the order's answer is lost.
    wise.change_faults(|faults| {
        faults.resource.disturb = Some(Disturb {
            method: Some("POST".to_owned()),
            ..Disturb::always(Disturbance::LoseAnswer)
        });
    });
    let said = fails(&site, 1, &["subscribe", STATE, "--url", URL]).await;
    assert!(said.contains("Wise may have done it or not"), "{said}");
    assert_eq!(methods(&wise), ["GET", "POST"]);
    wise.change_faults(|faults| faults.resource.disturb = None);
    let again = json(&site, &["subscribe", STATE, "--url", URL]).await;
    assert_eq!(again["subscriptions"][0]["state"], "exists");
}

#[tokio::test]
async fn a_token_that_the_proxy_renews_meanwhile_is_taken_up() {
    let wise = wise().await;
    let house = House::on(&wise).start().await;
    let id = {
        let args = [
            "webhook",
            "subscribe",
            STATE,
            "--url",
            URL,
            "--grant",
            "main",
        ];
        let output = house.cli(&args).await;
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    // The stored token is dead at Wise until the proxy has the next one, which a request tells it.
    wise.revoke_access(PROFILE);
    let (listed, answer) = tokio::join!(
        house.cli(&["webhook", "list", "--grant", "main", "--json"]),
        house.get("/v1/me"),
    );
    assert_eq!(answer.status, 200);
    assert!(listed.status.success(), "{}", told(&listed));
    let list: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(list["subscriptions"][0]["id"], id);
}

#[tokio::test]
async fn the_table_of_events_needs_no_configuration() {
    let wise = wise().await;
    let site = site(&wise).await;
    std::fs::remove_file(&site.config).unwrap();
    let table = done(&site, &["events"]).await;
    assert!(table.starts_with("event "), "{table}");
    assert!(table.contains("2.0.0 (retiring), 4.0.0"), "{table}");
    let events = json(&site, &["events"]).await;
    let events = events.as_array().unwrap();
    assert_eq!(table.lines().count(), events.len() + 1);
    let of = |name: &str| events.iter().find(|event| event["event"] == name).unwrap();
    assert_eq!(of("balances#credit")["application"], false);
    assert_eq!(of("users#state-change")["profile"], false);
    assert_eq!(of(STATE)["retiring"], json!(["2.0.0"]));
}
