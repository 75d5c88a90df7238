//! CONNECT: applications that say `https://` to Wise's own name, and meet the proxy.

use bytes::Bytes;
use http::Request;
use tokio::net::TcpStream;
use wise_auth_proxy::simulator::Simulator;

use crate::failures::{Problem, assert_problem};
use crate::failures_table::row;
use crate::house::{self, Answer, House, Plan, Site};
use crate::tls_client::Client;
use crate::wire::Wire;

const DOOR: &str = "[{ address = \"127.0.0.1:0\", connect = true }]";

/// A door that offers CONNECT to one caller, who has a key.
const ASKING: &str = "[{ address = \"127.0.0.1:0\", connect = true, callers = [\"payroll\"] }]";
const CALLER: &str = "[[caller]]\nname = \"payroll\"\nkey = { file = \"door_key\" }\n";
/// `x:planted-door-key` in base64.
const SHOWN: &str = "Proxy-Authorization: Basic eDpwbGFudGVkLWRvb3Ita2V5\r\n";

/// A house in lane `personal` whose door offers CONNECT, with what an application trusts.
async fn house_with(wise: &Simulator, door: &str) -> (House, Client) {
    house_of(plan(wise, door)).await
}

fn plan<'a>(wise: &'a Simulator, door: &str) -> Plan<'a> {
    let plan = House::on(wise).lane("personal").logged_out();
    plan.set("door", door).set("log.level", "debug")
}

async fn house_of(plan: Plan<'_>) -> (House, Client) {
    let site = plan.prepare().await;
    site.secret("door_key", "planted-door-key");
    let client = authority(&site).await;
    (site.start().await, client)
}

async fn authority(site: &Site) -> Client {
    let made = site.cli(&["ca", "init"]).await;
    assert!(made.status.success(), "{made:?}");
    Client::trusting(&std::fs::read_to_string(site.path("state/ca.pem")).unwrap())
}

/// `localhost` and the port of Wise's plain host.
fn authority_of(wise: &Simulator) -> String {
    wise.plain_url().trim_start_matches("https://").to_owned()
}

/// Opens a tunnel to Wise's host.
async fn tunnel(house: &House, wise: &Simulator, fields: &str) -> TcpStream {
    let mut wire = Wire::to(house.door).await;
    let host = authority_of(wise);
    wire.send(format!(
        "CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"
    ))
    .await;
    let head = wire.read_to("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    wire.into_stream()
}

/// What is answered to one CONNECT.
async fn refused(house: &House, head: &str, problem: &Problem) -> Wire {
    let mut wire = Wire::to(house.door).await;
    wire.send(head).await;
    assert_problem(&wire.answer().await, problem);
    wire
}

fn ask(wise: &Simulator, path: &str) -> Request<Bytes> {
    Request::get(path)
        .header("host", authority_of(wise))
        .body(Bytes::new())
        .unwrap()
}

#[tokio::test]
async fn an_application_that_says_wise_s_name_is_served_in_a_tunnel() {
    let wise = house::wise().await;
    let (house, client) = house_with(&wise, DOOR).await;
    let io = tunnel(&house, &wise, "").await;
    let mut inside = client.http1(io, "localhost").await.unwrap();
    for _ in 0..3 {
        let answer = inside.request(ask(&wise, "/v1/me")).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let io = tunnel(&house, &wise, "").await;
    let request = Request::get(format!("https://{}/v1/me", authority_of(&wise)))
        .body(Bytes::new())
        .unwrap();
    let (status, _) = client.http2(io, "localhost", request).await;
    assert_eq!(status, 200);
    let seen = wise.recorded();
    assert_eq!(seen.len(), 4);
    for request in seen {
        let bearer = format!("Bearer {}", house::PERSONAL_TOKEN);
        assert_eq!(request.header("authorization").next(), Some(&*bearer));
    }
}

#[tokio::test]
async fn a_tunnel_that_rests_is_woken() {
    let wise = house::wise().await;
    let (house, client) = house_with(&wise, DOOR).await;
    let io = tunnel(&house, &wise, "").await;
    let mut inside = client.http1(io, "localhost").await.unwrap();
    for pause in [0, 150, 150] {
        // Longer than it takes a connection to be put to rest.
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        let answer = inside.request(ask(&wise, "/v1/me")).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn nothing_but_wise_s_hosts_is_offered_a_tunnel() {
    let wise = house::wise().await;
    let (house, _) = house_with(&wise, DOOR).await;
    let foreign = Problem {
        status: 403,
        kind: "wrong-host",
        error: "http_request_denied",
        hint: "send other traffic around this proxy, for example with no_proxy",
        fields: &[("connection", "close")],
    };
    for target in [
        "evil.example:443",
        "localhost.evil.example:443",
        "169.254.169.254:80",
        "127.0.0.1:443",
        "[::1]:443",
        "localhost:22",
        "localhost:6379",
    ] {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let mut wire = refused(&house, &head, &foreign).await;
        assert_eq!(wire.rest().await, b"");
    }
    let malformed = Problem {
        status: 400,
        kind: "bad-request",
        error: "http_request_error",
        hint: "send a well-formed HTTP/1.1 or HTTP/2 request",
        fields: &[("connection", "close")],
    };
    for head in [
        "CONNECT localhost HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "CONNECT localhost:443 HTTP/1.1\r\n\r\n",
        "CONNECT localhost:443 HTTP/1.1\r\nHost: a b\r\n\r\n",
        "CONNECT https://localhost:443/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "CONNECT user@localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        refused(&house, head, &malformed).await;
    }
    let page = Problem {
        status: 403,
        kind: "wrong-host",
        error: "http_request_denied",
        hint: "web pages may not use this proxy; call it from a program",
        fields: &[("connection", "close")],
    };
    for field in ["Origin: https://evil.example", "Sec-Fetch-Site: cross-site"] {
        let head =
            format!("CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n{field}\r\n\r\n");
        refused(&house, &head, &page).await;
    }
    for (head, status, hint) in [
        ("CONNECT\r\n\r\n", 400, "see RFC 9112"),
        (
            "CONNECT localhost:443 HTTP/1.1\r\nno colon\r\n\r\n",
            400,
            "see RFC 9112",
        ),
        // Whose end is where its reader thinks it is.
        (
            "CONNECT localhost:443 HTTP/1.1\nHost: localhost:443\n\nGET / HTTP/1.1\r\n\r\n",
            400,
            "see RFC 9112",
        ),
    ] {
        let mut wire = Wire::to(house.door).await;
        wire.send(head).await;
        let answer = wire.answer().await;
        assert_eq!(answer.status.as_u16(), status, "{head}");
        assert_eq!(answer.json()["hint"], hint, "{head}");
    }
    let mut wire = Wire::to(house.door).await;
    let long = "x".repeat(70 * 1024);
    wire.say(format!(
        "CONNECT localhost:443 HTTP/1.1\r\nA: {long}\r\n\r\n"
    ))
    .await;
    assert_eq!(wire.answer().await.status, 431);
    assert_eq!(wise.recorded().len(), 0, "nothing reaches Wise");
    let refusals = house.metric("wise_proxy_faults_total", "wrong-host").await;
    assert!((refusals - 9.0).abs() < 0.5, "{refusals}");
    house.logs("CONNECT").await;
}

#[tokio::test]
async fn who_was_known_at_connect_is_known_inside() {
    let wise = house::wise().await;
    let (house, client) = house_of(plan(&wise, ASKING).toml(CALLER)).await;
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
    let host = authority_of(&wise);
    let bare = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    // The connection stays open for the key, as Java and curl want it.
    let mut wire = refused(&house, &bare, &unknown).await;
    wire.send(&bare).await;
    assert_problem(&wire.answer().await, &unknown);
    wire.send(format!(
        "CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{SHOWN}\r\n"
    ))
    .await;
    let head = wire.read_to("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut inside = client.http1(wire.into_stream(), "localhost").await.unwrap();
    let answer = inside.request(ask(&wise, "/v1/me")).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let sent = &wise.recorded()[0];
    assert_eq!(sent.header("proxy-authorization").count(), 0);

    // A key that is withdrawn opens nothing any more, not even inside.
    house.site.secret("door_key", "planted-another-key");
    house.reload().await;
    let answer = inside.request(ask(&wise, "/v1/me")).await.unwrap();
    assert_eq!(answer.status, 407);
    assert_eq!(wise.recorded().len(), 1);
    assert!(!house.log().contains("planted"), "{}", house.log());
}

#[tokio::test]
async fn a_tunnel_serves_its_host_and_no_other() {
    let wise = house::wise().await;
    let (house, client) = house_with(&wise, DOOR).await;
    let io = tunnel(&house, &wise, "").await;
    let mut inside = client.http1(io, "localhost").await.unwrap();
    for (host, status) in [
        ("127.0.0.1", 421),
        ("api.wise.com", 421),
        ("evil.example", 421),
        ("LOCALHOST", 200),
    ] {
        let request = Request::get("/v1/me").header("host", host);
        let answer = inside
            .request(request.body(Bytes::new()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status.as_u16(), status, "{host}");
    }
    for (name, value, status) in [
        ("origin", "https://localhost", 200),
        ("origin", "http://localhost", 403),
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-origin", 200),
    ] {
        let request = Request::get("/v1/me").header("host", "localhost");
        let request = request.header(name, value).body(Bytes::new()).unwrap();
        let answer = inside.request(request).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{name}: {value}");
    }
    let again = Request::builder().method("CONNECT").uri("localhost:443");
    let answer = inside
        .request(again.body(Bytes::new()).unwrap())
        .await
        .unwrap();
    let open_already = Problem {
        status: 403,
        kind: "not-allowed",
        error: "http_request_denied",
        hint: "send the request itself; the tunnel is open already",
        fields: &[("connection", "close")],
    };
    assert_problem(&answer, &open_already);
    assert_eq!(
        answer.json()["detail"],
        "CONNECT is not offered inside a tunnel"
    );
    assert_eq!(wise.recorded().len(), 3);

    // No certificate for another name, whatever is asked for inside.
    let io = tunnel(&house, &wise, "").await;
    let other = client.shake(io, "api.wise.com", &["http/1.1"]).await;
    assert!(other.is_err());
    house
        .logs("an application asked for another name inside a tunnel")
        .await;
}

#[tokio::test]
async fn what_is_no_tls_is_refused_inside_a_tunnel() {
    let wise = house::wise().await;
    let (house, _) = house_with(&wise, DOOR).await;
    let mut wire = Wire::of(tunnel(&house, &wise, "").await);
    wire.send("GET /v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let without = Problem {
        status: 400,
        kind: "bad-request",
        error: "http_request_error",
        hint: "say https:// instead of http://",
        fields: &[("connection", "close")],
    };
    assert_problem(&wire.answer().await, &without);
    assert_eq!(wire.rest().await, b"");
    assert_eq!(wise.recorded().len(), 0, "nothing reaches Wise");
}

#[tokio::test]
async fn connect_where_it_is_not_offered_says_what_to_set() {
    let wise = house::wise().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    let closed = plan.start().await;
    let problem = |hint| Problem {
        status: 403,
        kind: "not-allowed",
        error: "http_request_denied",
        hint,
        fields: &[("connection", "close")],
    };
    let head = "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n";
    let hint =
        "set `connect = true` for the door and make a local authority: `wise-auth-proxy ca init`";
    refused(&closed, head, &problem(hint)).await;

    // Behind another request, at once: hyper has read it.
    let (open, _) = house_with(&wise, DOOR).await;
    let mut wire = Wire::to(open.door).await;
    wire.send(format!(
        "GET /v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n{head}"
    ))
    .await;
    assert_eq!(wire.answer().await.status, 200);
    let late = problem("open a connection of its own for it");
    assert_problem(&wire.answer().await, &late);

    let stream = TcpStream::connect(open.door).await.unwrap();
    let (mut streams, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().method("CONNECT").uri("localhost:443");
    let (answer, _) = streams
        .send_request(request.body(()).unwrap(), true)
        .unwrap();
    let (head, mut body) = answer.await.unwrap().into_parts();
    let mut seen = Vec::new();
    while let Some(piece) = body.data().await {
        seen.extend(piece.unwrap());
    }
    let answer = Answer {
        status: head.status,
        headers: head.headers,
        body: seen.into(),
    };
    let over_http2 = Problem {
        fields: &[],
        ..problem("ask for the tunnel over HTTP/1.1; inside, HTTP/2 is welcome")
    };
    assert_problem(&answer, &over_http2);
    assert_eq!(wise.recorded().len(), 1, "only the request before");
}

#[tokio::test]
async fn what_fails_about_a_tunnel_is_told_as_the_table_says() {
    let wise = house::wise().await;
    let (house, client) = house_of(plan(&wise, ASKING).toml(CALLER)).await;
    let closed = plan(&wise, "[{ address = \"127.0.0.1:0\" }]").start().await;
    let host = authority_of(&wise);
    for (id, house, target, fields) in [
        ("tunnel-caller", &house, &*host, ""),
        ("tunnel-foreign", &house, "evil.example:443", SHOWN),
        ("tunnel-not-offered", &closed, &*host, SHOWN),
    ] {
        let mut wire = Wire::to(house.door).await;
        wire.send(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n"
        ))
        .await;
        let answer = wire.answer().await;
        row(id).shown(house, &answer, wise.recorded().len()).await;
    }
    let io = tunnel(&house, &wise, SHOWN).await;
    let mut inside = client.http1(io, "localhost").await.unwrap();
    let request = Request::get("/v1/me").header("host", "127.0.0.1");
    let request = request.body(Bytes::new()).unwrap();
    let answer = inside.request(request).await.unwrap();
    row("tunnel-other-host")
        .shown(&house, &answer, wise.recorded().len())
        .await;
}

#[tokio::test]
async fn a_tunnel_ends_with_the_setting_that_offered_it() {
    let wise = house::wise().await;
    let site = House::on(&wise).lane("personal").logged_out();
    let site = site.prepare().await;
    let without = std::fs::read_to_string(&site.config).unwrap();
    let with = without.replace("[[door]]\n", "[[door]]\nconnect = true\n");
    std::fs::write(&site.config, with).unwrap();
    let client = authority(&site).await;
    let house = site.start().await;
    let io = tunnel(&house, &wise, "").await;
    let mut inside = client.http1(io, "localhost").await.unwrap();
    let answer = inside.request(ask(&wise, "/v1/me")).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let io = tunnel(&house, &wise, "").await;
    let (mut streams, ended) = client.http2_kept(io, "localhost").await;

    std::fs::write(&house.site.config, without).unwrap();
    house.reload().await;
    let answer = inside.request(ask(&wise, "/v1/me")).await.unwrap();
    let withdrawn = Problem {
        status: 403,
        kind: "not-allowed",
        error: "http_request_denied",
        hint: "set `connect = true` for the door and make a local authority: `wise-auth-proxy ca init`",
        fields: &[("connection", "close")],
    };
    assert_problem(&answer, &withdrawn);
    assert_eq!(
        answer.json()["detail"],
        "this door does not offer the tunnel any more"
    );
    assert!(inside.request(ask(&wise, "/v1/me")).await.is_err());
    let request = Request::get(format!("https://{}/v1/me", authority_of(&wise)));
    let request = request.body(http_body_util::Full::default()).unwrap();
    assert_eq!(streams.send_request(request).await.unwrap().status(), 403);
    let over = tokio::time::timeout(house::PATIENCE, ended).await;
    over.expect("HTTP/2 is told to go as well").unwrap();
    assert_eq!(wise.recorded().len(), 1);
}

#[tokio::test]
async fn who_asked_for_a_tunnel_and_what_came_of_it_is_recorded() {
    let wise = house::wise().await;
    let plan = plan(&wise, ASKING).toml(CALLER);
    let plan = plan.set("audit.file", "audit.log");
    let plan = plan.set("log.access", "stderr");
    let (house, client) = house_of(plan.set("runtime.workers", "1")).await;
    let host = authority_of(&wise);
    for target in [&*host, "planted:password@evil.example:443"] {
        let mut wire = Wire::to(house.door).await;
        wire.send(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"
        ))
        .await;
        assert!(wire.answer().await.status.is_client_error());
    }
    let io = tunnel(&house, &wise, SHOWN).await;
    let mut inside = client.http1(io, "localhost").await.unwrap();
    let answer = inside.request(ask(&wise, "/v1/me")).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    drop(inside);
    house.logs(" ACCESS GET /v1/me 200 ").await;
    let (site, log) = (house.site.clone(), house.log());
    house.stop().await;

    let text = std::fs::read_to_string(site.path("audit.log")).unwrap();
    assert!(!text.contains("planted"), "{text}");
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let said: Vec<String> = lines
        .filter(|line: &serde_json::Value| line["kind"] == "request")
        .map(|line| {
            let member = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
            let (caller, problem) = (member("caller"), member("problem"));
            let asked = format!("{} {}", member("method"), member("path"));
            format!("{caller} {asked} {} {problem}", line["status"])
        })
        .collect();
    let connect = format!("CONNECT {host}");
    let wanted = [
        format!("- {connect} 407 caller-unknown"),
        "- CONNECT evil.example:443 400 bad-request".to_owned(),
        format!("payroll {connect} 200 -"),
        "payroll GET /v1/me 200 -".to_owned(),
    ];
    assert_eq!(said, wanted, "{text}");
    // An opened tunnel is no request to Wise.
    let opened = log.lines().filter(|line| line.contains(" ACCESS CONNECT "));
    assert_eq!(opened.count(), 2, "{log}");
}

#[tokio::test]
async fn a_tunnel_that_nobody_speaks_in_is_closed() {
    let wise = house::wise().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    let plan = plan
        .set("door", DOOR)
        .set("runtime.header_timeout", "300ms");
    let site = plan.prepare().await;
    let client = authority(&site).await;
    let house = site.start().await;
    // Half a head; no handshake; half a handshake.
    let mut wire = Wire::to(house.door).await;
    wire.send("CONNECT localhost:443 HTTP/1.1\r\nHost: loc")
        .await;
    assert_eq!(wire.rest().await, b"");
    for begun in [&b""[..], &[22, 3, 1, 2, 0, 1, 0]] {
        let mut wire = Wire::of(tunnel(&house, &wise, "").await);
        wire.send(begun).await;
        assert_eq!(wire.rest().await, b"");
    }
    // The handshake done, and no request.
    let io = tunnel(&house, &wise, "").await;
    let mut quiet = client.shake(io, "localhost", &["http/1.1"]).await.unwrap();
    let mut seen = Vec::new();
    let ending = tokio::io::AsyncReadExt::read_to_end(&mut quiet, &mut seen);
    let _ended = tokio::time::timeout(house::PATIENCE, ending)
        .await
        .expect("it ends");
    assert_eq!(seen, b"");
    house
        .metric_until("wise_proxy_downstream_connections", 0.0)
        .await;
}

#[tokio::test]
async fn a_stop_lets_tunnels_finish_what_is_under_way() {
    let wise = house::wise().await;
    let (house, client) = house_with(&wise, DOOR).await;
    let io = tunnel(&house, &wise, "").await;
    let mut busy = client.http1(io, "localhost").await.unwrap();
    let io = tunnel(&house, &wise, "").await;
    let mut idle = client.http1(io, "localhost").await.unwrap();
    assert_eq!(
        idle.request(ask(&wise, "/v1/me")).await.unwrap().status,
        200
    );
    wise.change_faults(|faults| faults.resource.latency = 500);
    let asking = busy.request(ask(&wise, "/v1/me"));
    let stopping = async {
        while wise.recorded().len() < 2 {
            tokio::task::yield_now().await;
        }
        house.signal("TERM");
    };
    let (answer, ()) = tokio::join!(asking, stopping);
    assert_eq!(answer.unwrap().status, 200);
    assert!(house.ended().await.success());
    assert!(idle.request(ask(&wise, "/v1/me")).await.is_err());
}
