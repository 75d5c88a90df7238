//! Web pages, as browsers let them speak: none may use a door or read what the operator reads, and
//! no answer of ours allows one to.

use bytes::Bytes;
use http::{Method, Request};
use wise_auth_proxy::simulator::Simulator;

use crate::failures::{Problem, assert_problem};
use crate::house::{self, Answer, Connection, House};

/// What browsers add to requests of pages that are not of `{own}`, an authority.
pub const FOREIGN: &[&[(&str, &str)]] = &[
    // fetch(), forms and web sockets of a foreign page; of a sandboxed frame, a file, a redirect.
    &[("origin", "https://evil.example")],
    &[("origin", "null")],
    &[("origin", "file://")],
    &[("origin", "chrome-extension://abcdefgh")],
    // The name is ours, the port is somebody else's.
    &[
        ("origin", "http://localhost:3000"),
        ("sec-fetch-site", "same-site"),
    ],
    &[("origin", "http://127.0.0.1:3000")],
    &[
        ("origin", "https://api.wise.com"),
        ("sec-fetch-site", "cross-site"),
    ],
    &[("origin", "http://{own}.evil.example")],
    &[("origin", "http://evil.example/{own}")],
    &[("origin", "http://{own}@evil.example")],
    &[
        ("origin", "http://{own}"),
        ("origin", "https://evil.example"),
    ],
    &[("origin", "http://{own}, https://evil.example")],
    &[("origin", "{own}")],
    &[("origin", "")],
    // Images, scripts, frames and links carry no origin.
    &[
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-dest", "script"),
    ],
    &[
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-user", "?1"),
    ],
    &[
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-dest", "image"),
    ],
    &[
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "cross-site"),
    ],
    &[("sec-fetch-site", "what-may-come")],
    // A preflight (Private Network Access included).
    &[
        ("origin", "https://evil.example"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "content-type, x-wise-profile",
        ),
        ("access-control-request-private-network", "true"),
    ],
    &[
        ("origin", "https://evil.example"),
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
    ],
];

/// A program, a person at the address bar, a page of the door's own.
pub const OWN: &[&[(&str, &str)]] = &[
    &[],
    &[
        ("sec-fetch-site", "none"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-user", "?1"),
    ],
    &[
        ("sec-fetch-site", "same-origin"),
        ("origin", "http://{own}"),
    ],
    &[("origin", "http://{own}")],
];

pub fn request(method: &Method, path: &str, own: &str, fields: &[(&str, &str)]) -> Request<Bytes> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", own);
    for (name, value) in fields {
        request = request.header(*name, value.replace("{own}", own));
    }
    request.body(Bytes::new()).unwrap()
}

#[track_caller]
fn assert_no_allowance(answer: &Answer) {
    let mut names = answer.headers.keys();
    let allowing = names.find(|name| name.as_str().starts_with("access-control-"));
    assert_eq!(allowing, None, "{answer:?}");
}

async fn personal(wise: &Simulator) -> House {
    House::on(wise).lane("personal").logged_out().start().await
}

#[tokio::test]
async fn no_page_uses_a_door() {
    let wise = house::wise().await;
    let plan = House::on(&wise).lane("personal").logged_out();
    let door = "[[door]]\naddress = \"unix:app.sock\"\n";
    let house = plan.toml(door).start().await;
    let own = house.door.to_string();
    let foreign = Problem {
        status: 403,
        kind: "wrong-host",
        error: "http_request_denied",
        hint: "web pages may not use this proxy; call it from a program",
        fields: &[],
    };
    for fields in FOREIGN {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let answer = house
                .request(request(&method, "/v1/me", &own, fields))
                .await;
            assert_problem(&answer, &foreign);
            assert_no_allowance(&answer);
            // A page does not get that far by itself; what forwards its requests to the socket does.
            let answer = at_socket(&house, request(&method, "/v1/me", "localhost", fields)).await;
            assert_problem(&answer, &foreign);
            assert_no_allowance(&answer);
        }
    }
    assert_eq!(wise.recorded().len(), 0, "nothing reaches Wise");

    for fields in OWN {
        let answer = house
            .request(request(&Method::GET, "/v1/me", &own, fields))
            .await;
        assert_eq!(answer.status, 200, "{fields:?}");
        assert_no_allowance(&answer);
        let own = request(&Method::GET, "/v1/me", "localhost", fields);
        assert_eq!(at_socket(&house, own).await.status, 200, "{fields:?}");
    }
}

/// Asks at the house's unix door.
async fn at_socket(house: &House, request: Request<Bytes>) -> Answer {
    let stream = tokio::net::UnixStream::connect(house.site.path("app.sock")).await;
    let mut connection = Connection::over(stream.unwrap()).await;
    connection.request(request).await.unwrap()
}

#[tokio::test]
async fn no_page_reads_what_the_operator_reads() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let own = house.admin.to_string();
    let ask = async |request| {
        let mut connection = Connection::to(house.admin).await;
        connection.request(request).await.unwrap()
    };
    for path in ["/livez", "/readyz", "/metrics", "/status"] {
        for fields in FOREIGN {
            let answer = ask(request(&Method::GET, path, &own, fields)).await;
            assert_eq!(answer.status, 403, "{path} {fields:?}");
            assert_no_allowance(&answer);
        }
        for fields in OWN {
            let answer = ask(request(&Method::GET, path, &own, fields)).await;
            assert_eq!(answer.status, 200, "{path} {fields:?}");
            assert_no_allowance(&answer);
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "localhost.",
            "0.0.0.0",
            "10.0.0.1",
            "",
        ] {
            let answer = ask(request(&Method::GET, path, host, &[])).await;
            assert_eq!(answer.status, 421, "{path} {host}");
        }
        for host in [
            "localhost",
            "localhost:1",
            "127.0.0.1",
            "[::1]",
            "[::1]:8081",
        ] {
            let answer = ask(request(&Method::GET, path, host, &[])).await;
            assert_eq!(answer.status, 200, "{path} {host}");
        }
    }
}

#[tokio::test]
async fn nothing_that_changes_something_is_reached_over_tcp() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let own = house.admin.to_string();
    for path in [
        "/switch",
        "/reload",
        "/tokens",
        "/tokens/main",
        "/tokens/main/refresh",
        "/store/look",
        "/shutdown",
        "/quitquitquit",
    ] {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            let mut connection = Connection::to(house.admin).await;
            let answer = connection
                .request(request(&method, path, &own, &[]))
                .await
                .unwrap();
            assert_eq!(answer.status, 404, "{method} {path}");
        }
    }
    // The page's own form: without `admin.key` it is not there, not even for a page of ours.
    for fields in OWN {
        for (method, status) in [
            (Method::GET, 404),
            (Method::POST, 404),
            (Method::PUT, 405),
            (Method::DELETE, 405),
        ] {
            let mut wish = request(&method, "/lane", &own, fields);
            *wish.body_mut() = Bytes::from("lane=oauth-mtls&reason=a+page%27s&key=");
            let form = "application/x-www-form-urlencoded".parse().unwrap();
            wish.headers_mut().insert("content-type", form);
            let mut connection = Connection::to(house.admin).await;
            let answer = connection.request(wish).await.unwrap();
            assert_eq!(answer.status, status, "{method} /lane {fields:?}");
        }
    }
    for path in ["/", "/livez", "/readyz", "/startupz", "/metrics", "/status"] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let mut connection = Connection::to(house.admin).await;
            let answer = connection
                .request(request(&method, path, &own, &[]))
                .await
                .unwrap();
            assert_eq!(answer.status, 405, "{method} {path}");
        }
    }
    assert_eq!(house.status().await["lane"], "personal", "nobody turned it");
}

#[tokio::test]
async fn no_page_turns_the_switch_through_the_socket() {
    use std::os::unix::fs::PermissionsExt as _;
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let mode = std::fs::metadata(&house.site.socket)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let wish = r#"{"lane":"oauth-mtls","reason":"a page's","by":"a page"}"#;
    for fields in FOREIGN {
        let mut request = request(&Method::POST, "/switch", "localhost", fields);
        *request.body_mut() = Bytes::from(wish);
        request
            .headers_mut()
            .insert("content-type", "application/json".parse().unwrap());
        let answer = house.operate(request).await;
        assert_eq!(answer.status, 403, "{fields:?}");
        assert_no_allowance(&answer);
    }
    assert_eq!(house.status().await["lane"], "personal", "nobody turned it");
}
