//! JOSE on the way: an application that sends plain JSON and gets plain JSON, while Wise takes and
//! gives nothing but what is signed or encrypted.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};
use wise_auth_proxy::simulator::{
    Disturb, Disturbance, JoseMethod, JoseRoute, Options, Recorded, SigningAlgorithm, Simulator,
    Tamper, Tampering, UrlClaim,
};

use crate::failures::{Problem, assert_problem};
use crate::failures_table::row;
use crate::house::{self, Answer, House, PROFILE, Plan, Site, post};
use crate::jose::{ALGORITHMS, PLAYGROUND, done, prepared, written};
use crate::wire::{Stub, Wire};

const METHODS: [(&str, JoseMethod); 3] = [
    ("jws", JoseMethod::Jws),
    ("jwe", JoseMethod::Jwe),
    ("jws+jwe", JoseMethod::JwsJwe),
];

const ASK: &str = "Wise may have carried the request out: ask Wise before repeating a payment; ";

/// A signature that fits no key of Wise's.
const FORGED: Problem = Problem {
    status: 502,
    kind: "jose-unverified",
    error: "http_protocol_error",
    hint: "Wise may have carried the request out: ask Wise before repeating a payment; see with \
           `wise-auth-proxy jose list` whose keys Wise hands out, and tell Wise",
    fields: &[],
};

fn quotes() -> String {
    format!("/v3/profiles/{PROFILE}/quotes")
}

fn quote() -> Request<Bytes> {
    let quote = json!({ "sourceCurrency": "EUR", "targetCurrency": "GBP", "sourceAmount": 10 });
    post(&quotes(), &quote)
}

fn play(path: &str) -> Request<Bytes> {
    post(
        &format!("{PLAYGROUND}{path}"),
        &json!({ "message": "hello" }),
    )
}

/// A site with keys that Wise knows, and a route.
async fn site(plan: Plan<'_>, algorithm: &str, rules: &str, method: &str) -> Site {
    // One worker, so that what it fetches can be counted.
    let site = plan.set("runtime.workers", "1").prepare().await;
    prepared(&site, algorithm).await;
    let config = std::fs::read_to_string(&site.config).unwrap();
    let route = format!("\n[[jose.route]]\nmatch = [{rules}]\nmethod = \"{method}\"\n");
    std::fs::write(&site.config, config + &route).unwrap();
    site
}

/// A proxy that carries quotes, and what the playground has, by this method, beside a Wise that takes
/// quotes by no other.
async fn house(wise: &Simulator, (name, method): (&str, JoseMethod)) -> House {
    let rules = "\"quotes\", \"POST /v1/auth/jose/playground/**\"";
    let house = site(House::on(wise), "ES256", rules, name)
        .await
        .start()
        .await;
    wise.change_faults(|faults| {
        faults.jose.required = vec![JoseRoute {
            prefix: "/v3/profiles/".into(),
            method,
        }];
    });
    wise.clear();
    house
}

fn tamper(wise: &Simulator, kind: Tamper, times: Option<u32>) {
    wise.change_faults(|faults| faults.jose.tamper = Some(Tampering { kind, times }));
}

/// What arrived, keys and tokens apart.
fn calls(wise: &Simulator) -> Vec<Recorded> {
    let mut calls = wise.recorded();
    calls.retain(|seen| {
        !seen.target.contains("/response/public-keys") && !seen.target.ends_with("/oauth/token")
    });
    calls
}

/// Fetches of keys.
fn fetches(wise: &Simulator) -> Vec<String> {
    let seen = wise.recorded().into_iter();
    let seen = seen.filter(|seen| seen.target.contains("/response/public-keys"));
    seen.map(|seen| seen.target).collect()
}

/// The answer is 200, plain JSON, and nothing says that it was anything else.
#[track_caller]
fn plain(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/json");
    let length = answer.headers["content-length"].to_str().unwrap();
    assert_eq!(length, answer.body.len().to_string());
    for gone in ["etag", "digest", "content-md5", "content-encoding"] {
        assert!(!answer.headers.contains_key(gone), "{answer:?}");
    }
    let mut names = answer.headers.keys();
    assert!(!names.any(|name| name.as_str().starts_with("x-tw-jose")));
    assert!(
        answer.headers.contains_key("x-trace-id"),
        "Wise's own fields pass"
    );
    answer.json()
}

#[track_caller]
fn one<'a>(seen: &'a Recorded, name: &'a str) -> Option<&'a str> {
    let mut values = seen.header(name);
    let value = values.next();
    assert_eq!(values.next(), None, "{name}");
    value
}

fn hex_digest(bytes: &[u8]) -> String {
    let hex = |byte: &u8| format!("{byte:02x}");
    digest(&SHA256, bytes).as_ref().iter().map(hex).collect()
}

#[tokio::test]
async fn an_application_that_knows_no_jose_is_served_by_a_wise_that_takes_nothing_else() {
    for method in METHODS {
        let wise = house::wise().await;
        let house = house(&wise, method).await;
        let made = plain(&house.request(quote()).await);
        let id = made["id"].as_str().unwrap();

        // Without a body, and with fields that are not true of what will come.
        let again = Request::get(format!("{}/{id}", quotes()))
            .header("accept-encoding", "gzip")
            .header("accept", "application/json, */*")
            .header("range", "bytes=0-3");
        assert_eq!(plain(&house.send(again).await)["id"], id);

        let calls = calls(&wise);
        assert_eq!(calls.len(), 2);
        for seen in &calls {
            assert_eq!(one(seen, "x-tw-jose-method"), Some(method.0));
            assert_eq!(one(seen, "accept"), Some("application/jose+json"));
            assert_eq!(one(seen, "accept-encoding"), Some("identity"));
            assert_eq!(one(seen, "range"), None);
            let kid = one(seen, "x-tw-jose-encryption-kid").map(str::to_owned);
            let ours = written(&house.site, "encryption_kid");
            assert_eq!(kid, (method.0 != "jws").then_some(ours));
        }
        let length = calls[0].body.bytes.to_string();
        assert_eq!(
            one(&calls[0], "content-type"),
            Some("application/jose+json")
        );
        assert_eq!(one(&calls[0], "content-length"), Some(&*length));
        assert_eq!(
            (one(&calls[1], "content-type"), calls[1].body.bytes),
            (None, 0)
        );

        house.logs_times(2, &format!(" jose={}", method.0)).await;
        let counted = format!("method=\"{}\",outcome=\"opened\"", method.0);
        let metric = "wise_proxy_jose_requests_total";
        assert!((house.metric(metric, &counted).await - 2.0).abs() < 0.1);
        assert_eq!(
            house.log().matches(" ACCESS ").count(),
            2,
            "{}",
            house.log()
        );
        house.logs("fetched a public key of Wise's").await;
    }
}

#[tokio::test]
async fn an_answer_under_the_requests_own_content_key_is_opened() {
    let wise = house::wise().await;
    for method in &METHODS[1..] {
        let house = house(&wise, *method).await;
        wise.change_faults(|faults| faults.jose.direct = true);
        plain(&house.request(quote()).await);
        tamper(&wise, Tamper::Signature, Some(1));
        let answer = house.request(quote()).await;
        assert_eq!(answer.problem(), "jose-unverified", "{answer:?}");
    }
    let house = house(&wise, METHODS[1]).await;
    let answer = plain(&house.request(play("jwe-direct-encryption")).await);
    assert_eq!(answer["message"], "jose-playground-response-hello");
}

#[tokio::test]
async fn every_algorithm_signs_and_verifies() {
    for algorithm in ALGORITHMS {
        let wise = house::wise().await;
        let rules = "\"POST /v1/auth/jose/playground/jws\"";
        let site = site(House::on(&wise).logged_out(), algorithm, rules, "jws").await;
        let nested = "[[jose.route]]\nmatch = [\"POST /v1/auth/jose/playground/jwsjwe\"]\n\
                      method = \"jws+jwe\"\n";
        let config = std::fs::read_to_string(&site.config).unwrap() + nested;
        std::fs::write(&site.config, config).unwrap();
        let house = site.start().await;
        wise.clear();
        for path in ["jws", "jwsjwe"] {
            let answer = plain(&house.request(play(path)).await);
            assert_eq!(
                answer["message"], "jose-playground-response-hello",
                "{algorithm}"
            );
        }
        let mut fetched = fetches(&wise);
        fetched.retain(|target| target.contains(&format!("algorithm={algorithm}&")));
        assert_eq!(fetched.len(), 1, "it is kept: {fetched:?}");
    }
}

#[tokio::test]
async fn what_is_not_verified_is_refused_and_nothing_of_it_handed_on() {
    let wise = house::wise().await;
    let house = house(&wise, METHODS[0]).await;
    for (at, kind, id, look) in [
        (0, Tamper::Content, "jose-answer-forged", 2),
        (1, Tamper::Signature, "jose-answer-forged", 1),
        (2, Tamper::WrongKey, "jose-answer-forged", 1),
    ] {
        tamper(&wise, kind, Some(1));
        wise.clear();
        let answer = house.request(quote()).await;
        assert_problem(&answer, &FORGED);
        row(id).shown(&house, &answer, calls(&wise).len()).await;
        assert_eq!(fetches(&wise).len(), look, "{at}: {kind:?}, cold first");
        let said = answer.json()["detail"].to_string();
        assert!(said.contains("POST /v3/profiles/{id}/quotes"), "{said}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!text.contains("forged") && !text.contains("sourceCurrency"));
    }
    tamper(&wise, Tamper::NoAlgorithm, Some(1));
    wise.clear();
    let answer = house.request(quote()).await;
    assert_problem(&answer, &FORGED);
    assert_eq!(fetches(&wise).len(), 0, "no key could make it good");

    tamper(&wise, Tamper::Plain, Some(1));
    wise.clear();
    let answer = house.request(quote()).await;
    let hint = "see with `wise-auth-proxy jose test` whether Wise speaks JOSE with this client id, \
                and take the operation out of [[jose.route]] if it does not for this one";
    let hint = format!("{ASK}{hint}");
    assert_eq!(answer.json()["hint"], *hint);
    row("jose-answer-plain")
        .shown(&house, &answer, calls(&wise).len())
        .await;

    // And all is well once it is.
    plain(&house.request(quote()).await);
    let refused = "method=\"jws\",outcome=\"refused\"";
    let refused = house
        .metric("wise_proxy_jose_requests_total", refused)
        .await;
    assert!((refused - 5.0).abs() < 0.1, "{refused}");
    house.logs("problem=jose-unverified").await;
}

#[tokio::test]
async fn what_cannot_be_decrypted_is_refused_and_nothing_of_it_handed_on() {
    let wise = house::wise().await;
    for method in &METHODS[1..] {
        let house = house(&wise, *method).await;
        // Where it is signed too, what is spoilt is inside.
        for kind in [Tamper::Content, Tamper::Signature, Tamper::WrongKey] {
            tamper(&wise, kind, Some(1));
            wise.clear();
            let answer = house.request(quote()).await;
            let id = if method.0 == "jwe" {
                "jose-answer-undecryptable"
            } else {
                "jose-answer-forged"
            };
            row(id).shown(&house, &answer, calls(&wise).len()).await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!text.contains("sourceCurrency"), "{text}");
        }
        tamper(&wise, Tamper::Plain, Some(1));
        wise.clear();
        let answer = house.request(quote()).await;
        row("jose-answer-plain")
            .shown(&house, &answer, calls(&wise).len())
            .await;
        plain(&house.request(quote()).await);
    }
}

#[tokio::test]
async fn verification_that_stays_wrong_asks_once_more_each_time_and_no_more() {
    let wise = house::wise().await;
    let house = house(&wise, METHODS[0]).await;
    tamper(&wise, Tamper::WrongKey, None);
    let mut application = house.connect().await;
    for asked in 2..6 {
        let answer = application.request(quote()).await.unwrap();
        assert_problem(&answer, &FORGED);
        assert_eq!(fetches(&wise).len(), asked);
    }
    assert_eq!(calls(&wise).len(), 4, "and each request is sent once");
}

#[tokio::test]
async fn requests_that_need_the_same_key_at_once_make_one_fetch() {
    let wise = house::wise().await;
    let house = house(&wise, METHODS[2]).await;
    wise.change_faults(|faults| faults.resource.latency = 200);
    let four = futures_util::future::join_all((0..4).map(|_| house.request(quote()))).await;
    for answer in &four {
        plain(answer);
    }
    assert_eq!(fetches(&wise).len(), 2, "{:?}", fetches(&wise));
    house
        .metric_until("wise_proxy_jose_key_fetches_total", 2.0)
        .await;
}

#[tokio::test]
async fn wise_takes_other_keys_into_use_and_the_application_does_not_notice() {
    let wise = house::wise().await;
    let house = house(&wise, METHODS[2]).await;
    plain(&house.request(quote()).await);
    assert_eq!(wise.rotate_jose_key("ES256"), Some(2));
    wise.clear();
    plain(&house.request(quote()).await);
    plain(&house.request(quote()).await);
    let fetched = fetches(&wise);
    assert_eq!(fetched.len(), 1, "{fetched:?}");
    assert!(fetched[0].ends_with("&version=2"), "{fetched:?}");

    // Bodies to the earlier key are still read; and when they are not, the next request asks anew.
    assert_eq!(wise.rotate_jose_key("RSA_OAEP_256"), Some(2));
    plain(&house.request(quote()).await);
    wise.change_faults(|faults| faults.jose.earlier_keys = false);
    wise.clear();
    let answer = house.request(quote()).await;
    assert_eq!(answer.status, 500, "Wise's own: {answer:?}");
    assert!(!answer.headers.contains_key("proxy-status"));
    assert_eq!(
        (calls(&wise).len(), fetches(&wise).len()),
        (1, 0),
        "never sent twice"
    );
    plain(&house.request(quote()).await);
    assert_eq!(fetches(&wise).len(), 1);
}

#[tokio::test]
async fn an_answer_signed_in_another_algorithm_is_verified_in_that() {
    let wise = house::wise().await;
    let house = house(&wise, METHODS[0]).await;
    wise.change_faults(|faults| faults.jose.answer_algorithm = Some(SigningAlgorithm::Ps384));
    plain(&house.request(quote()).await);
    let fetched = fetches(&wise);
    // One of our own algorithm before anything is sent, and then the one that the answer needs.
    assert!(fetched[0].contains("algorithm=ES256"), "{fetched:?}");
    assert!(fetched[1].contains("algorithm=PS384"), "{fetched:?}");
}

#[tokio::test]
async fn what_wise_refuses_is_told_as_wise_tells_it() {
    let wise = house::wise().await;
    let house = house(&wise, METHODS[0]).await;
    // The signature covers the path alone; a Wise that wants the query in it refuses.
    wise.change_faults(|faults| faults.jose.url = UrlClaim::Target);
    let (mut head, body) = quote().into_parts();
    head.uri = format!("{}?a=b", quotes()).parse().unwrap();
    let answer = house
        .request(Request::from_parts(head.clone(), body.clone()))
        .await;
    assert_eq!(answer.json()["error"], "jws_error");
    row("jose-error-plain")
        .shown(&house, &answer, calls(&wise).len())
        .await;
    wise.change_faults(|faults| faults.jose.url = UrlClaim::Path);
    plain(&house.request(Request::from_parts(head, body)).await);

    // A key that Wise has taken out of use.
    assert!(wise.deactivate_jose_key(&written(&house.site, "signing_kid")));
    let answer = house.request(quote()).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]),
        (400, &"jws_error".into())
    );
    assert!(!answer.headers.contains_key("proxy-status"));
}

#[tokio::test]
async fn errors_in_the_open_and_empty_answers_pass_and_sealed_errors_are_opened() {
    let wise = house::wise().await;
    let rules = "\"quotes\", \"* /v1/simulator/**\"";
    let site = site(House::on(&wise), "ES256", rules, "jws").await;
    let house = site.start().await;
    let wrong = || post(&quotes(), &json!({ "sourceCurrency": "EUR" }));
    let open = house.request(wrong()).await;
    assert!(open.status.is_client_error(), "{open:?}");
    assert!(!open.headers.contains_key("proxy-status"));
    wise.change_faults(|faults| faults.jose.errors = true);
    let sealed = house.request(wrong()).await;
    assert_eq!((sealed.status, sealed.json()), (open.status, open.json()));
    assert_eq!(sealed.headers["content-type"], "application/json");
    tamper(&wise, Tamper::Content, Some(1));
    assert_eq!(house.request(wrong()).await.problem(), "jose-unverified");

    for request in [
        Request::get("/v1/simulator/status/204"),
        Request::get("/v1/simulator/status/304"),
        Request::head("/v1/simulator/echo"),
    ] {
        let answer = house.send(request).await;
        assert!(
            answer.body.is_empty() && !answer.headers.contains_key("proxy-status"),
            "{answer:?}"
        );
    }
    let outcome = async |name: &str| {
        let labels = format!("method=\"jws\",outcome=\"{name}\"");
        house
            .metric("wise_proxy_jose_requests_total", &labels)
            .await
    };
    assert!((outcome("empty").await - 3.0).abs() < 0.1);
    assert!((outcome("plain_error").await - 1.0).abs() < 0.1);
    assert!((outcome("opened").await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn what_is_jose_already_passes_byte_for_byte_both_ways() {
    let wise = house::wise().await;
    let house = house(&wise, METHODS[0]).await;
    let body = Bytes::from_static(b"bm90.bWluZQ.c2lnbmVk");
    for (name, value) in [
        ("x-tw-jose-method", "jws"),
        ("content-type", "application/jose+json"),
    ] {
        wise.clear();
        let request = Request::post(quotes()).header(name, value);
        let answer = house.request(request.body(body.clone()).unwrap()).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
        assert!(!answer.headers.contains_key("proxy-status"));
        let calls = calls(&wise);
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].body.sha256, hex_digest(&body));
        assert_eq!(one(&calls[0], name), Some(value));
        assert_eq!(one(&calls[0], "accept"), None, "nothing is added");
    }
    // An answer in JOSE, to an application that speaks it.
    let kid = written(&house.site, "encryption_kid");
    let request = Request::get(format!("{PLAYGROUND}jwe"))
        .header("x-tw-jose-method", "jwe")
        .header("accept", "application/jose+json")
        .header("x-tw-jose-encryption-kid", kid);
    let answer = house.send(request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/jose+json");
    let parts = answer.body.split(|byte| *byte == b'.').count();
    assert_eq!(parts, 5);
    let counted = house.metric("wise_proxy_jose_requests_total", "").await;
    assert!(counted.abs() < 0.1, "none of it is ours: {counted}");
}

/// The same house, whose Wise is the stub, but for its token endpoint.
fn lead_to(site: &Site, wise: &Simulator, stub: &Stub) {
    let config = std::fs::read_to_string(&site.config).unwrap();
    let (real, stub) = (wise.plain_url(), stub.url());
    let there = format!("plain = \"{stub}\"\ntoken_url = \"{real}/oauth/token\"");
    let here = format!("plain = \"{real}\"");
    assert!(config.contains(&here));
    std::fs::write(&site.config, config.replace(&here, &there)).unwrap();
}

/// A proxy that signs quotes for a Wise whose every word is the test's.
async fn beside<'a>(
    wise: &'a Simulator,
    stub: &Stub,
    more: impl FnOnce(Plan<'a>) -> Plan<'a>,
) -> House {
    let plan = House::on(wise)
        .lane("oauth")
        .set("upstream.warm_connections", "0");
    let site = site(more(plan), "ES256", "\"quotes\"", "jws").await;
    lead_to(&site, wise, stub);
    site.start().await
}

/// The stub hands out a key, as a proxy wants one before it sends anything that is signed.
async fn hand_out_a_key(stub: &mut Stub) {
    let key = KeyPair::generate().unwrap().subject_public_key_info();
    let key = json!({ "version": 1, "keyMaterial": { "keyMaterial": STANDARD.encode(key) } });
    let (key, mut speaker) = (key.to_string(), stub.connection().await);
    let (head, _) = speaker.request().await.unwrap();
    assert!(head.contains("/response/public-keys"), "{head}");
    let fields = format!("Connection: close\r\nContent-Length: {}", key.len());
    speaker
        .send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{key}"))
        .await;
}

#[tokio::test]
async fn a_401_in_the_middle_sends_the_identical_message_once_more() {
    let wise = house::wise().await;
    let mut stub = Stub::start().await;
    let house = beside(&wise, &stub, |plan| plan).await;
    let speaking = async {
        hand_out_a_key(&mut stub).await;
        let mut seen = Vec::new();
        for said in ["401 Unauthorized\r\nContent-Length: 0", "204 No Content"] {
            let mut speaker = stub.connection().await;
            seen.push(speaker.request().await.unwrap());
            speaker
                .send(format!("HTTP/1.1 {said}\r\nConnection: close\r\n\r\n"))
                .await;
        }
        seen
    };
    let (answer, seen) = tokio::join!(house.request(quote()), speaking);
    assert_eq!(answer.status, 204, "{answer:?}");
    // ES256 never signs alike twice.
    assert_eq!(seen[0].1, seen[1].1);
    let signed = seen[0].1.split(|byte| *byte == b'.').count();
    assert_eq!(signed, 3);
    let fields = |head: &str| {
        let lines = head.lines().map(str::to_owned);
        let mut lines: Vec<_> = lines
            .filter(|line| !line.starts_with("authorization"))
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(fields(&seen[0].0), fields(&seen[1].0));
    house.logs("replayed=true").await;
    assert_eq!(stub.uncalled(), 0, "and no third time");
}

/// A status that has no body does not make one that comes all the same Wise's own.
#[tokio::test]
async fn what_comes_where_no_body_should_be_is_not_handed_on() {
    let wise = house::wise().await;
    let mut stub = Stub::start().await;
    let house = beside(&wise, &stub, |plan| plan).await;
    for (first, typed) in [(true, "application/json"), (false, "application/jose+json")] {
        let speaking = async {
            if first {
                hand_out_a_key(&mut stub).await;
            }
            let mut speaker = stub.connection().await;
            speaker.request().await.unwrap();
            let said = format!(
                "HTTP/1.1 205 Reset Content\r\nContent-Type: {typed}\r\nContent-Length: 13\r\n\
                 Connection: close\r\n\r\n{{\"paid\":true}}"
            );
            speaker.send(said).await;
        };
        let (answer, ()) = tokio::join!(house.request(quote()), speaking);
        assert_eq!(answer.problem(), "jose-unverified", "{answer:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("paid"));
    }
    let speaking = async {
        let mut speaker = stub.connection().await;
        speaker.request().await.unwrap();
        let empty = "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        speaker.send(empty).await;
    };
    let (answer, ()) = tokio::join!(house.request(quote()), speaking);
    assert_eq!((answer.status.as_u16(), answer.body.len()), (205, 0));
}

/// Requests in flight end on the lane they began in, and so do their answers.
#[tokio::test]
async fn an_answer_under_way_is_verified_though_its_lane_is_taken_away() {
    let options = Options {
        tls_plain: false,
        ..house::wise_options()
    };
    let wise = Simulator::start(options).await.unwrap();
    let mut stub = Stub::start().await;
    let house = beside(&wise, &stub, |plan| plan).await;
    let speaking = async {
        for is_quote in [false, true] {
            let mut speaker = stub.connection().await;
            let (head, body) = speaker.request().await.unwrap();
            assert_eq!(head.starts_with("POST "), is_quote, "{head}");
            let head = head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
            let mut real = Wire::to(wise.plain_address()).await;
            real.send([head.as_bytes(), &body].concat()).await;
            let said = real.rest().await;
            if is_quote {
                house.turn("personal").await;
                let config = std::fs::read_to_string(&house.site.config).unwrap();
                let personal = "lane = \"personal\"\nallow = [\"personal\"]";
                assert!(config.contains("lane = \"oauth\""));
                let config = config.replace("lane = \"oauth\"", personal);
                std::fs::write(&house.site.config, config).unwrap();
                house.reload().await;
            }
            speaker.send(said).await;
        }
    };
    let (answer, ()) = tokio::join!(house.request(quote()), speaking);
    assert!(plain(&answer)["id"].is_string(), "{answer:?}");
    assert_eq!(stub.uncalled(), 0, "no key was asked for again");
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_stalls_is_told_as_ever() {
    let wise = house::wise().await;
    let mut stub = Stub::start().await;
    let house = beside(&wise, &stub, |plan| {
        plan.set("upstream.body_idle_timeout", "300ms")
    })
    .await;
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/jose+json\r\nContent-Length: 900\r\n\r\n";
    for (closes, problem) in [(true, "upstream-broken"), (false, "upstream-timeout")] {
        let speaking = async {
            if closes {
                hand_out_a_key(&mut stub).await;
            }
            let mut speaker = stub.connection().await;
            speaker.request().await.unwrap();
            speaker.send(format!("{head}eyJhbGciOiJFUzI1NiJ9.")).await;
            (!closes).then_some(speaker)
        };
        let (answer, _open) = tokio::join!(house.request(quote()), speaking);
        assert_eq!(answer.problem(), problem);
        assert!(!String::from_utf8_lossy(&answer.body).contains("eyJ"));
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_or_compressed_is_refused_before_anything_leaves() {
    let wise = house::wise().await;
    let house = house(&wise, METHODS[0]).await;
    let long = Bytes::from(vec![b' '; 1024 * 1024 + 1]);
    let request = Request::post(quotes()).header("content-type", "application/json");
    let answer = house.request(request.body(long).unwrap()).await;
    assert_problem(
        &answer,
        &Problem {
            status: 413,
            kind: "body-too-large",
            error: "http_request_error",
            hint: "send less, or raise jose.max_body",
            fields: &[],
        },
    );
    row("jose-request-large")
        .shown(&house, &answer, calls(&wise).len())
        .await;

    // The same without a length.
    let mut wire = Wire::to(house.door).await;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        quotes()
    );
    wire.send(head).await;
    let chunk = [b"40000\r\n".as_slice(), &vec![b' '; 0x40000], b"\r\n"].concat();
    for _ in 0..5 {
        wire.try_send(&chunk).await;
    }
    let answer = wire.answer().await;
    row("jose-request-large")
        .shown(&house, &answer, calls(&wise).len())
        .await;

    let request = Request::post(quotes()).header("content-encoding", "gzip");
    let answer = house
        .request(request.body(Bytes::from_static(b"\x1f\x8b")).unwrap())
        .await;
    row("jose-request-encoded")
        .shown(&house, &answer, calls(&wise).len())
        .await;
    assert_eq!(answer.json()["hint"], "send the body without compression");

    let (mut head, body) = quote().into_parts();
    head.headers
        .insert("content-encoding", "identity".parse().unwrap());
    plain(&house.request(Request::from_parts(head, body)).await);
}

#[tokio::test]
async fn bodies_that_fill_a_workers_memory_are_refused_and_short_ones_go_on() {
    const MIB: usize = 1024 * 1024;
    let wise = house::wise().await;
    let plan = House::on(&wise).set("jose.max_body", "64 MiB");
    let house = site(plan, "ES256", "\"quotes\"", "jws").await.start().await;
    wise.clear();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        quotes(),
        64 * MIB
    );
    let mebibyte = vec![b' '; MIB];
    let mut filling = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::to(house.door).await;
        wire.send(&head).await;
        for _ in 0..60 {
            wire.send(&mebibyte).await;
        }
        filling.push(wire);
    }
    let mut one_more = Wire::to(house.door).await;
    one_more.send(&head).await;
    for _ in 0..63 {
        if !one_more.try_send(&mebibyte).await {
            break;
        }
    }
    let answer = one_more.answer().await;
    row("jose-full")
        .shown(&house, &answer, calls(&wise).len())
        .await;
    assert_eq!(answer.json()["hint"], "slow down, or send shorter bodies");
    assert_eq!(answer.headers["retry-after"], "1");

    // Those that came first are neither cut off nor in anybody's way.
    plain(&house.request(quote()).await);
    assert_eq!(calls(&wise).len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_too_long_or_compressed_is_refused() {
    let wise = house::wise().await;
    let rules = "\"POST /v1/auth/jose/playground/jws\", \"quotes\", \"* /v1/simulator/**\"";
    let plan = House::on(&wise).set("jose.max_body", "1 KiB");
    let house = site(plan, "ES256", rules, "jws").await.start().await;
    plain(&house.request(play("jws")).await);
    // Around what is inside there may be more than that.
    let long = json!({
        "sourceCurrency": "EUR",
        "targetCurrency": "GBP",
        "sourceAmount": 10,
        "note": "x".repeat(900),
    });
    plain(&house.request(post(&quotes(), &long)).await);
    // With a length, which is enough to know, and without.
    let reflected = |length: usize| {
        let request = Request::post("/v1/simulator/mirror");
        request.body(Bytes::from(vec![b'x'; length])).unwrap()
    };
    for long in ["70000", "70000?chunked"] {
        wise.clear();
        let answer = house.get(&format!("/v1/simulator/bytes/{long}")).await;
        row("jose-answer-large")
            .shown(&house, &answer, calls(&wise).len())
            .await;
        assert_eq!(answer.json()["hint"], format!("{ASK}raise jose.max_body"));
    }
    // Our own message, sent back: it is signed, and not by Wise.
    wise.clear();
    let answer = house.request(reflected(10)).await;
    row("jose-answer-forged")
        .shown(&house, &answer, calls(&wise).len())
        .await;
    wise.clear();
    let answer = house.get("/v1/simulator/gzip").await;
    row("jose-answer-encoded")
        .shown(&house, &answer, calls(&wise).len())
        .await;
    assert_eq!(answer.json()["hint"], format!("{ASK}tell Wise"));
}

#[tokio::test]
async fn without_wises_key_nothing_is_sent_or_nothing_is_handed_on() {
    let wise = house::wise().await;
    let no_key = |wise: &Simulator| {
        wise.change_faults(|faults| {
            let mut always = Disturb::always(Disturbance::ServerError);
            always.prefix = Some("/v1/auth/jose/response".into());
            faults.resource.disturb = Some(always);
        });
        wise.clear();
    };
    let encrypting = house(&wise, METHODS[1]).await;
    no_key(&wise);
    let answer = encrypting.request(quote()).await;
    assert_problem(
        &answer,
        &Problem {
            status: 503,
            kind: "jose-unsealed",
            error: "proxy_internal_error",
            hint: "nothing was sent, so it may be sent again; `wise-auth-proxy jose test` says what \
                   is in the way",
            fields: &[("retry-after", "5")],
        },
    );
    row("jose-no-key")
        .shown(&encrypting, &answer, calls(&wise).len())
        .await;

    wise.change_faults(|faults| faults.resource.disturb = None);
    plain(&encrypting.request(quote()).await);
    let signing = house(&wise, METHODS[0]).await;
    no_key(&wise);
    // Its answer could not be verified, whatever Wise did.
    let one = format!("{}/d378abf1-39f9-4c88-bd30-348ef8a7b431", quotes());
    for request in [quote(), Request::get(one).body(Bytes::new()).unwrap()] {
        let answer = signing.request(request).await;
        assert_eq!(answer.problem(), "jose-unsealed", "{answer:?}");
        row("jose-no-key")
            .shown(&signing, &answer, calls(&wise).len())
            .await;
    }
    // A key is known, and the answer wants another.
    wise.change_faults(|faults| faults.resource.disturb = None);
    plain(&signing.request(quote()).await);
    wise.change_faults(|faults| faults.jose.answer_algorithm = Some(SigningAlgorithm::Ps384));
    no_key(&wise);
    let answer = signing.request(quote()).await;
    let hint = "`wise-auth-proxy jose test` says what is in the way";
    assert_eq!(answer.json()["hint"], format!("{ASK}{hint}"));
    row("jose-no-key-to-verify")
        .shown(&signing, &answer, calls(&wise).len())
        .await;
    let failed = signing
        .metric("wise_proxy_jose_key_fetches_total", "failed")
        .await;
    assert!(failed >= 1.0);

    // A client token that Wise has ended is renewed for it.
    wise.change_faults(|faults| faults.resource.disturb = None);
    wise.revoke_client();
    plain(&signing.request(quote()).await);
}

#[tokio::test]
async fn an_application_that_hangs_up_half_way_has_asked_for_nothing() {
    let wise = house::wise().await;
    let house = house(&wise, METHODS[2]).await;
    let mut wire = Wire::to(house.door).await;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n",
        quotes()
    );
    wire.send(head).await;
    wire.send("{\"sourceCurrency\":").await;
    drop(wire);
    house.logs(" ACCESS POST /v3/profiles/{id}/quotes ").await;
    assert_eq!(calls(&wise).len(), 0);
    plain(&house.request(quote()).await);
}

#[tokio::test]
async fn a_body_that_stalls_is_told_as_ever() {
    let wise = house::wise().await;
    let rules = "\"quotes\"";
    let plan = House::on(&wise).set("upstream.answer_timeout", "300ms");
    let house = site(plan, "ES256", rules, "jws").await.start().await;
    wise.clear();
    let mut wire = Wire::to(house.door).await;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{",
        quotes()
    );
    wire.send(head).await;
    let answer = wire.answer().await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem()),
        (408, "request-timeout".into())
    );
    // It is the application that was waited for, and not we who took so long.
    house.logs(" ACCESS POST /v3/profiles/{id}/quotes ").await;
    let log = house.log();
    let line = log.lines().find(|line| line.contains(" ACCESS ")).unwrap();
    let micros = |name: &str| {
        let said = line.split(' ').find_map(|word| word.strip_prefix(name));
        said.unwrap_or_else(|| panic!("{name} {line}"))
            .parse::<u64>()
            .unwrap()
    };
    assert!(
        micros("total_us=") - micros("added_us=") >= 300_000,
        "{line}"
    );
    assert_eq!(calls(&wise).len(), 0);
}

#[tokio::test]
async fn a_policys_cap_holds_for_a_body_without_a_length() {
    let wise = house::wise().await;
    let policy = "[[policy]]\nname = \"short\"\nmax_body = \"10 B\"\n";
    let plan = House::on(&wise).toml(policy).set(
        "door",
        "[{ address = \"127.0.0.1:0\", policy = \"short\" }]",
    );
    let house = site(plan, "ES256", "\"quotes\"", "jws").await.start().await;
    wise.clear();
    let mut wire = Wire::to(house.door).await;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        quotes()
    );
    wire.send(head).await;
    wire.send("14\r\n{\"sourceAmount\":1234}\r\n0\r\n\r\n")
        .await;
    let answer = wire.answer().await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem()),
        (413, "body-too-large".into())
    );
    assert_eq!(answer.json()["policy"], "short");
    assert_eq!(calls(&wise).len(), 0);
}

#[tokio::test]
async fn what_never_leaves_takes_nothing_from_the_cap_on_fundings() {
    let wise = house::wise().await;
    let policy = "[[policy]]\nname = \"payouts\"\nfundings_per_hour = 1\n";
    let plan = House::on(&wise).toml(policy).set(
        "door",
        "[{ address = \"127.0.0.1:0\", policy = \"payouts\" }]",
    );
    let house = site(plan, "ES256", "\"funding\"", "jws")
        .await
        .start()
        .await;
    let path = format!("/v3/profiles/{PROFILE}/transfers/1/payments");
    let fund = || post(&path, &json!({ "type": "BALANCE" }));
    wise.change_faults(|faults| {
        let mut always = Disturb::always(Disturbance::ServerError);
        always.prefix = Some("/v1/auth/jose/response".into());
        faults.resource.disturb = Some(always);
    });
    wise.clear();
    assert_eq!(
        house.request(fund()).await.problem(),
        "jose-unsealed",
        "no key"
    );
    wise.change_faults(|faults| faults.resource.disturb = None);
    let long = Request::post(&path).body(Bytes::from(vec![b' '; 1024 * 1024 + 1]));
    let answer = house.request(long.unwrap()).await;
    assert_eq!(answer.problem(), "body-too-large");
    assert_eq!(calls(&wise).len(), 0);

    let answer = house.request(fund()).await;
    assert!(!answer.headers.contains_key("proxy-status"), "{answer:?}");
    assert_eq!(calls(&wise).len(), 1, "it left");
    assert_eq!(house.request(fund()).await.problem(), "funding-cap");
    assert_eq!(calls(&wise).len(), 1);
}

#[tokio::test]
async fn a_reload_brings_a_new_key_and_a_broken_one_changes_nothing() {
    let wise = house::wise().await;
    let house = house(&wise, METHODS[0]).await;
    plain(&house.request(quote()).await);
    let make = [
        "jose",
        "keygen",
        "--signing",
        "ES384",
        "--out",
        "second.key",
    ];
    done(&house.site, &make).await;
    let register = [
        "jose",
        "register",
        "--signing",
        "--key",
        "second.key",
        "--algorithm",
        "ES384",
    ];
    done(&house.site, &register).await;
    house.reload().await;
    house.logs("changed=\"jose\"").await;
    wise.clear();
    plain(&house.request(quote()).await);
    assert!(
        fetches(&wise)[0].contains("algorithm=ES384"),
        "it signs with the new key"
    );

    house.site.secret("second.key", "no key");
    let reload = Request::builder().method(Method::POST).uri("/reload");
    let reload = reload.body(Bytes::from_static(b"{}")).unwrap();
    let answer = house.operate(reload).await;
    assert_ne!(answer.status, 200, "{answer:?}");
    plain(&house.request(quote()).await);
}

#[tokio::test]
async fn in_another_lane_nothing_is_signed() {
    let wise = house::wise().await;
    let plan = House::on(&wise).lane("personal");
    let house = site(plan, "ES256", "\"quotes\"", "jws+jwe")
        .await
        .start()
        .await;
    wise.clear();
    let request = quote();
    let body = request.body().clone();
    assert_eq!(house.request(request).await.status, 200);
    let calls = calls(&wise);
    assert_eq!(calls[0].body.sha256, hex_digest(&body), "as it came");
    assert_eq!(one(&calls[0], "x-tw-jose-method"), None);
    house.turn("oauth").await;
    plain(&house.request(quote()).await);
}
