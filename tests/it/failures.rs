//! What the application sees when a request cannot leave: malformed, unwelcome, without a token,
//! too much, too late. How the way to Wise fails is in `upstream_failures`.

use http::{Method, Request};
use wise_auth_proxy::simulator::{Disturb, Disturbance, InvalidGrantStatus, Outcome, Simulator};

use crate::failures_table::row;
use crate::house::{self, Answer, House, PROFILE};
use crate::wire::Wire;

/// The whole of a problem: what the application must be told, and nothing else.
pub struct Problem {
    pub status: u16,
    pub kind: &'static str,
    /// The error type of RFC 9209.
    pub error: &'static str,
    pub hint: &'static str,
    /// Fields beyond those that every problem has.
    pub fields: &'static [(&'static str, &'static str)],
}

/// Asserts that the answer is this problem, exactly, and shows no credential.
#[track_caller]
pub fn assert_problem(answer: &Answer, problem: &Problem) {
    assert_eq!(answer.status.as_u16(), problem.status, "{answer:?}");
    assert_eq!(answer.problem(), problem.kind);
    let document = answer.json();
    assert_eq!(document["status"], problem.status, "{document}");
    assert_eq!(document["hint"], problem.hint, "{document}");
    for text in ["title", "detail"] {
        assert!(
            document[text].as_str().is_some_and(|text| !text.is_empty()),
            "{document}"
        );
    }
    let status = format!(
        "wise-auth-proxy; error={}; details=\"{}\"",
        problem.error, problem.kind
    );
    let mut wanted = vec![
        ("content-type", "application/problem+json"),
        ("proxy-status", &status),
    ];
    wanted.extend(problem.fields);
    let ours = ["content-length", "date"];
    let mut fields: Vec<(&str, &str)> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .filter(|(name, _)| !ours.contains(name))
        .collect();
    wanted.sort_unstable();
    fields.sort_unstable();
    assert_eq!(fields, wanted, "never Wise's fields, and all of ours");
    let body = String::from_utf8_lossy(&answer.body);
    for secret in [house::PERSONAL_TOKEN, house::CLIENT_SECRET, "planted"] {
        assert!(!body.contains(secret), "a secret is shown: {body}");
    }
}

const MALFORMED: Problem = Problem {
    status: 400,
    kind: "bad-request",
    error: "http_request_error",
    hint: "see RFC 9112",
    fields: &[("connection", "close")],
};

const UNWELCOME: Problem = Problem {
    status: 400,
    kind: "bad-request",
    error: "http_request_error",
    hint: "send a well-formed HTTP/1.1 or HTTP/2 request",
    fields: &[("connection", "close")],
};

/// A house that needs no login.
async fn personal(wise: &Simulator) -> House {
    House::on(wise).lane("personal").logged_out().start().await
}

/// Sends bytes, reads one answer and the end of the connection.
async fn told(house: &House, bytes: impl AsRef<[u8]>) -> Answer {
    let mut wire = Wire::to(house.door).await;
    wire.send(bytes).await;
    let answer = wire.answer().await;
    assert_eq!(
        wire.rest().await,
        b"",
        "the connection is closed after {answer:?}"
    );
    answer
}

#[tokio::test]
async fn malformed_requests_are_refused_and_their_connection_is_closed() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    for request in [
        "GET /v1/me HTTP/1.1\r\nno colon here\r\nHost: localhost\r\n\r\n",
        "GET /v1/me\u{0} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET  /v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /v1/me HTTP/1.7\r\nHost: localhost\r\n\r\n",
        "GET /v1/me HTTP/1.1\r\nHost : localhost\r\n\r\n",
        "GET /v1/me HTTP/1.1\r\nHost: localhost\r\nfolded: a\r\n b\r\n\r\n",
        "POST /v1/me HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "POST /v1/me HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\nx",
        "POST /v1/me HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "POST /v1/me HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let answer = told(&house, request).await;
        println!("{request:?}");
        assert_problem(&answer, &MALFORMED);
        row("door-malformed")
            .shown(&house, &answer, wise.recorded().len())
            .await;
    }
    assert_eq!(wise.recorded().len(), 0, "none of it reaches Wise");
}

#[tokio::test]
async fn a_request_must_name_one_host() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    for (request, detail) in [
        ("GET /v1/me HTTP/1.1\r\n\r\n", "there is no Host field"),
        (
            "GET /v1/me HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
            "there is more than one Host field",
        ),
        (
            "GET /v1/me HTTP/1.1\r\nHost: l\u{f6}calhost\r\n\r\n",
            "Host is not a host",
        ),
        (
            "GET http://user@localhost/v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "the request target holds user information",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "the request target is neither origin-form nor absolute-form",
        ),
    ] {
        let answer = told(&house, request).await;
        assert_problem(&answer, &UNWELCOME);
        assert_eq!(answer.json()["detail"], detail);
        row("door-host-missing")
            .shown(&house, &answer, wise.recorded().len())
            .await;
    }
    assert_eq!(wise.recorded().len(), 0, "none of it reaches Wise");
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let too_long = Problem {
        status: 431,
        hint: "send fewer or shorter fields, or raise runtime.max_header_size",
        ..MALFORMED
    };
    let many = "a: b\r\n".repeat(300);
    let long = "x".repeat(65 * 1024);
    for fields in [many, format!("long: {long}\r\n")] {
        let request = format!("GET /v1/me HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        let answer = told(&house, request).await;
        assert_problem(&answer, &too_long);
        row("door-head-too-long")
            .shown(&house, &answer, wise.recorded().len())
            .await;
    }
    assert_eq!(wise.recorded().len(), 0, "none of it reaches Wise");
}

#[tokio::test]
async fn a_target_that_is_too_long_is_refused() {
    let wise = house::wise().await;
    let house = House::on(&wise).lane("personal").logged_out();
    let house = house
        .set("runtime.max_header_size", "128 KiB")
        .start()
        .await;
    let target = "x".repeat(66 * 1024);

    let answer = told(
        &house,
        format!("GET /{target} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    )
    .await;

    let too_long = Problem {
        status: 414,
        hint: "shorten path and query",
        ..MALFORMED
    };
    assert_problem(&answer, &too_long);
    row("door-target-too-long")
        .shown(&house, &answer, wise.recorded().len())
        .await;
    assert_eq!(wise.recorded().len(), 0, "it does not reach Wise");
}

#[tokio::test]
async fn a_broken_chunk_ends_the_request_and_is_not_made_whole() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let mut wire = Wire::to(house.door).await;
    wire.send(
        "POST /v1/simulator/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\nnonsense\r\n",
    )
    .await;

    let said = String::from_utf8(wire.rest().await).unwrap();

    assert!(!said.starts_with("HTTP/1.1 2"), "nothing was done: {said}");
    let whole = wise
        .recorded()
        .into_iter()
        .filter(|arrived| arrived.body.complete)
        .count();
    assert_eq!(whole, 0, "Wise must never take half a body for a whole one");
}

#[tokio::test]
async fn with_both_lengths_the_chunks_count_and_the_connection_ends() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let lengths = ["Content-Length: 5", "Transfer-Encoding: chunked"];
    for (first, second) in [(lengths[0], lengths[1]), (lengths[1], lengths[0])] {
        wise.clear();
        let smuggled = "GET /v1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let answer = told(
            &house,
            format!(
                "POST /v1/simulator/echo HTTP/1.1\r\nHost: localhost\r\n{first}\r\n{second}\r\n\r\n\
                 2\r\nhi\r\n0\r\n\r\n{smuggled}"
            ),
        )
        .await;

        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(
            answer.json()["bytes"],
            2,
            "RFC 9112 §6.3: the chunks are the body"
        );
        assert_eq!(wise.recorded().len(), 1, "what follows is nobody's request");
        assert_eq!(wise.recorded()[0].header("content-length").count(), 0);
    }
}

#[tokio::test]
async fn a_host_that_is_not_ours_is_misdirected() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let wrong = Problem {
        status: 421,
        kind: "wrong-host",
        error: "http_request_denied",
        hint: "use the door's address as base URL, or add the name to the door's `hosts`",
        fields: &[],
    };
    for host in ["evil.example", "localhost.evil.example", "10.0.0.1:8080"] {
        let answer = house
            .send(Request::get("/v1/me").header("host", host))
            .await;
        assert_problem(&answer, &wrong);
        row("door-wrong-host")
            .shown(&house, &answer, wise.recorded().len())
            .await;
    }
    assert_eq!(wise.recorded().len(), 0, "nothing reaches Wise");
}

#[tokio::test]
async fn web_pages_of_other_origins_are_refused() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let foreign = Problem {
        status: 403,
        kind: "wrong-host",
        error: "http_request_denied",
        hint: "web pages may not use this proxy; call it from a program",
        fields: &[],
    };
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let answer = house.send(Request::get("/v1/me").header(name, value)).await;
        assert_problem(&answer, &foreign);
        row("door-origin")
            .shown(&house, &answer, wise.recorded().len())
            .await;
    }
    assert_eq!(wise.recorded().len(), 0, "nothing reaches Wise");
}

#[tokio::test]
async fn it_is_no_open_proxy() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let foreign = Problem {
        status: 403,
        kind: "wrong-host",
        error: "http_request_denied",
        hint: "send other traffic around this proxy, for example with no_proxy",
        fields: &[],
    };
    for target in ["http://evil.example/v1/me", "https://evil.example/v1/me"] {
        let answer = house.send(Request::get(target)).await;
        assert_problem(&answer, &foreign);
        row("door-foreign-target")
            .shown(&house, &answer, wise.recorded().len())
            .await;
    }
    let refused = Problem {
        status: 403,
        kind: "not-allowed",
        error: "http_request_denied",
        hint: "send it through a door that allows it, or around this proxy",
        fields: &[],
    };
    let trace = house
        .send(Request::builder().method(Method::TRACE).uri("/v1/me"))
        .await;
    assert_problem(&trace, &refused);
    let mut wire = Wire::to(house.door).await;
    wire.send("CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n")
        .await;
    let no_tunnel = Problem {
        hint: "set `connect = true` for the door and make a local authority: `wise-auth-proxy ca init`",
        fields: &[("connection", "close")],
        ..refused
    };
    assert_problem(&wire.answer().await, &no_tunnel);
    assert_eq!(wise.recorded().len(), 0, "nothing reaches Wise");
}

#[tokio::test]
async fn a_door_with_callers_wants_a_key_of_theirs() {
    let wise = house::wise().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    let plan = plan.toml(
        "[[door]]\naddress = \"127.0.0.1:0\"\ncallers = [\"payroll\"]\n\
         [[caller]]\nname = \"payroll\"\nkey = { file = \"door_key\" }\n",
    );
    let site = plan.prepare().await;
    site.secret("door_key", "planted-door-key");
    let house = site.start().await;
    let address = second_door(&house).await;
    let unknown = Problem {
        status: 407,
        kind: "caller-unknown",
        error: "http_request_denied",
        hint: "send the caller's key as `Authorization: Bearer`, as a Basic password or in \
            `Proxy-Authorization`",
        fields: &[
            ("proxy-authenticate", "Bearer realm=\"wise-auth-proxy\""),
            (
                "proxy-authenticate",
                "Basic realm=\"wise-auth-proxy\", charset=\"UTF-8\"",
            ),
        ],
    };
    for field in [
        "X-Nothing: x",
        "Authorization: Bearer wrong",
        "Authorization: planted-door-key",
    ] {
        let mut wire = Wire::to(address).await;
        wire.send(format!(
            "GET /v1/me HTTP/1.1\r\nHost: localhost\r\n{field}\r\n\r\n"
        ))
        .await;
        let answer = wire.answer().await;
        assert_problem(&answer, &unknown);
        row("door-key")
            .shown(&house, &answer, wise.recorded().len())
            .await;
    }
    assert_eq!(wise.recorded().len(), 0, "nothing reaches Wise");

    let mut wire = Wire::to(address).await;
    wire.send(
        "GET /v1/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer planted-door-key\r\n\r\n",
    )
    .await;
    assert_eq!(wire.answer().await.status, 200);
    let arrived = wise.recorded();
    let shown: Vec<_> = arrived[0]
        .headers
        .0
        .iter()
        .map(|(_, value)| value)
        .collect();
    assert!(
        shown
            .iter()
            .all(|value| !value.contains("planted-door-key")),
        "the key stays here"
    );
}

#[tokio::test]
async fn a_read_only_door_lets_nothing_change() {
    let wise = house::wise().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    let house = plan
        .toml("[[door]]\naddress = \"127.0.0.1:0\"\npolicy = \"read-only\"\n")
        .start()
        .await;
    let address = second_door(&house).await;
    let refused = Problem {
        status: 403,
        kind: "not-allowed",
        error: "http_request_denied",
        hint: "see why: `wise-auth-proxy policy test METHOD PATH`; the rules are `allow` and `deny` \
               of the policy `read-only`",
        fields: &[],
    };
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let mut wire = Wire::to(address).await;
        wire.send(format!(
            "{method} /v1/quotes HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ))
        .await;
        let answer = wire.answer().await;
        assert_problem(&answer, &refused);
        row("door-policy")
            .shown(&house, &answer, wise.recorded().len())
            .await;
    }
    assert_eq!(wise.recorded().len(), 0, "nothing reaches Wise");
    let mut wire = Wire::to(address).await;
    wire.send("GET /v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(wire.answer().await.status, 200);
}

/// Where the second door listens.
async fn second_door(house: &House) -> std::net::SocketAddr {
    let status = house.status().await;
    let doors = status["doors"].as_array().unwrap();
    doors[1].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_profile_without_a_grant_is_named_and_not_replaced_by_another() {
    let wise = house::wise().await;
    let house = House::on(&wise).start().await;
    wise.clear();
    let no_grant = Problem {
        status: 503,
        kind: "no-grant",
        error: "proxy_configuration_error",
        hint: "authorise it: `wise-auth-proxy login --profile 999`",
        fields: &[],
    };
    for request in [
        Request::get("/v2/profiles/999"),
        Request::get("/2026Q3/transfers?profile=999"),
        Request::get("/v1/me").header("x-wise-profile", "999"),
    ] {
        let answer = house.send(request).await;
        assert_problem(&answer, &no_grant);
        assert_eq!(answer.json()["detail"], "no grant acts for profile 999");
        row("door-no-grant")
            .shown(&house, &answer, wise.recorded().len())
            .await;
    }
    assert_eq!(wise.recorded().len(), 0, "nothing reaches Wise");
}

#[tokio::test]
async fn before_the_first_login_there_is_no_grant() {
    let wise = house::wise().await;
    let house = House::on(&wise).logged_out().start().await;

    let answer = house.get("/v1/me").await;

    let no_grant = Problem {
        status: 503,
        kind: "no-grant",
        error: "proxy_configuration_error",
        hint: "authorise one: `wise-auth-proxy login`",
        fields: &[],
    };
    assert_problem(&answer, &no_grant);
    row("door-never-logged-in")
        .shown(&house, &answer, wise.recorded().len())
        .await;
    assert_eq!(
        (wise.recorded().len(), wise.exchange_count()),
        (0, 0),
        "nothing reaches Wise"
    );
    assert_eq!(house.admin("/readyz").await.status, 503);
}

#[tokio::test]
async fn a_dead_grant_asks_for_a_login_and_is_never_tried_again() {
    for status in [
        InvalidGrantStatus::BadRequest,
        InvalidGrantStatus::Unauthorized,
    ] {
        let wise = house::wise().await;
        wise.change_faults(|faults| faults.token.invalid_grant_status = status);
        let house = House::on(&wise).start().await;
        assert_eq!(wise.disconnect(PROFILE), 1);
        let before = wise.exchange_count();

        // Wise refuses the token, then the refresh: its own 401 is the answer to this one.
        let first = house.get("/v1/me").await;
        assert_eq!(first.status, 401, "{first:?}");
        assert_eq!(first.json()["error"], "invalid_token");
        let case = row("token-invalid-grant");
        case.told(&first);
        let exchanges = wise.exchanges();
        assert_eq!(exchanges.len(), before + 1);
        let Outcome::Refused { error, .. } = &exchanges[before].outcome else {
            panic!("{exchanges:?}")
        };
        assert_eq!(error, "invalid_grant");

        wise.clear();
        let dead = Problem {
            status: 503,
            kind: "reauthorisation-required",
            error: "proxy_configuration_error",
            hint: "authorise again: `wise-auth-proxy login --grant main`; until then \
                   `wise-auth-proxy switch personal --reason …` if that lane is configured",
            fields: &[],
        };
        for _ in 0..2 {
            assert_problem(&house.get("/v1/me").await, &dead);
        }
        let answer = house.get("/v1/me").await;
        assert_problem(&answer, &dead);
        case.told(&answer);
        let asked = house.cli(&["token", "refresh", "main"]).await;
        assert!(!asked.status.success(), "not even when asked to");
        assert_eq!(wise.recorded().len(), 0, "nothing more reaches Wise");
        assert_eq!(
            wise.exchange_count(),
            before + 1,
            "the keeper makes no further attempt"
        );
        let next = &house.status().await["tokens"][0]["next_renewal_in"];
        case.exchanged(wise.exchange_count() - before, next.as_u64());
        case.operator(&house).await;
        assert_eq!(house.stop().await.code(), Some(0));
    }
}

#[tokio::test]
async fn without_a_token_and_its_endpoint_it_says_when_to_come_back_and_recovers() {
    let wise = house::wise().await;
    wise.change_faults(|faults| faults.token.lifetime = 2);
    let house = House::on(&wise).start().await;
    wise.change_faults(|faults| {
        faults.token.disturb = Some(Disturb::always(Disturbance::DropBefore));
    });
    house
        .status_until(|status| {
            let token = &status["tokens"][0];
            token["state"] == "absent" && token["generation"] != 0
        })
        .await;
    wise.clear();

    let answer = house.get("/v1/me").await;

    let unavailable = Problem {
        status: 503,
        kind: "token-unavailable",
        error: "proxy_internal_error",
        hint: "the proxy keeps trying; see `wise-auth-proxy status`",
        fields: &[("retry-after", "5")],
    };
    assert_problem(&answer, &unavailable);
    let requests = wise.recorded();
    assert!(
        requests
            .iter()
            .all(|seen| seen.target.ends_with("/oauth/token")),
        "{requests:?}"
    );

    wise.change_faults(|faults| {
        faults.token.disturb = None;
        faults.token.lifetime = 600;
    });
    house.status_until(|status| status["ready"] == true).await;
    assert_eq!(
        house.get("/v1/me").await.status,
        200,
        "nobody had to do anything"
    );
}

#[tokio::test]
async fn too_much_at_once_is_refused_at_once_and_what_waits_is_served() {
    let wise = house::wise().await;
    wise.change_faults(|faults| {
        faults.resource.disturb = Some(Disturb::times(Disturbance::Hang, 1));
    });
    let plan = House::on(&wise).lane("personal").logged_out();
    let house = plan
        .set("runtime.workers", "1")
        .set("upstream.http", "1.1")
        .set("upstream.max_connections", "1")
        .set("upstream.max_waiting", "1")
        .start()
        .await;
    let busy = house.get("/v1/me?busy");
    let others = async {
        wise.until(|wise| wise.recorded().len() == 1).await;
        let (first, second) = (house.get("/v1/me?a"), house.get("/v1/me?b"));
        let (mut first, mut second) = (Box::pin(first), Box::pin(second));
        let (refused, waiting) = tokio::select! {
            refused = &mut first => (refused, second),
            refused = &mut second => (refused, first),
        };
        let overloaded = Problem {
            status: 503,
            kind: "overloaded",
            error: "connection_limit_reached",
            hint: "slow down, or raise upstream.max_connections",
            fields: &[("retry-after", "1")],
        };
        assert_problem(&refused, &overloaded);
        let arrived = wise.recorded().len() - 1;
        let case = row("door-overloaded");
        case.shown(&house, &refused, arrived).await;
        assert_eq!(wise.recorded().len(), 1, "neither has reached Wise");
        wise.close_connections();
        assert_eq!(waiting.await.status, 200, "it had a place in the line");
    };
    let (busy, ()) = tokio::join!(busy, others);
    assert_eq!(busy.problem(), "upstream-broken");
    assert_eq!(
        wise.recorded().len(),
        2,
        "one refused, two sent, none twice"
    );
}

#[tokio::test]
async fn a_stop_turns_away_what_comes_after_it() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    // Half a head: too much for the connection to be idle, too little to be a request.
    let mut late = Wire::to(house.door).await;
    late.send("GET /v1/me HTTP/1.1\r\nHost: local").await;
    late.taken().await;

    house.signal("TERM");
    house.logs("stopping").await;
    while tokio::net::TcpStream::connect(house.door).await.is_ok() {}
    late.send("host\r\n\r\n").await;

    let answer = late.answer().await;
    let shutting_down = Problem {
        status: 503,
        kind: "shutting-down",
        error: "proxy_internal_error",
        hint: "try again; another instance may serve",
        fields: &[("connection", "close"), ("retry-after", "1")],
    };
    assert_problem(&answer, &shutting_down);
    assert_eq!(late.rest().await, b"", "the connection ends");
    assert_eq!(house.ended().await.code(), Some(0));
    let case = row("door-stopping");
    case.told(&answer);
    case.sent(wise.recorded().len(), 0);
    case.farewell(&house).await;
}

#[tokio::test]
async fn a_stop_serves_what_waits_for_a_token() {
    let wise = house::wise().await;
    wise.change_faults(|faults| faults.token.latency = 1_000);
    let plan = House::on(&wise).lane("oauth").logged_out();
    let house = plan.set("tokens.wait", "10m").start().await;
    let mut waiting = Wire::to(house.door).await;
    waiting
        .send("GET /v3/applications/acme/subscriptions HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    wise.until(|wise| wise.exchange_count() == 1).await;

    house.signal("TERM");
    house.logs("stopping").await;

    assert_eq!(
        waiting.answer().await.status,
        200,
        "it came before the stop"
    );
    assert_eq!(house.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let mut idle = Wire::to(house.door).await;
    idle.send("GET /v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(idle.answer().await.status, 200);
    let mut sending = Wire::to(house.door).await;
    sending
        .send(
            "POST /v1/simulator/mirror HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n\
             hello",
        )
        .await;
    wise.until(|wise| wise.recorded().len() == 2).await;

    house.signal("TERM");

    assert_eq!(
        idle.rest().await,
        b"",
        "an idle connection is closed at once"
    );
    sending.send("world").await;
    let head = sending.read_to("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let body = String::from_utf8(sending.rest().await).unwrap();
    let letters: String = body.chars().filter(char::is_ascii_alphabetic).collect();
    assert_eq!(letters, "helloworld", "whole: {body:?}");
    assert!(body.ends_with("0\r\n\r\n"), "and ended as such: {body:?}");
    assert_eq!(house.ended().await.code(), Some(0));
    assert!(
        tokio::net::TcpStream::connect(house.door).await.is_err(),
        "the door is closed"
    );
}
