//! Answers of Wise's that the simulator never gives: each is seen by the check whose question it
//! answers.

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{Seen, doctor, plan};
use crate::house::{self, PROFILE};

const ME: &str = "/v1/me";
const PROFILES: &str = "/v2/profiles";

/// Status and further fields, and the body.
type Said = (&'static str, &'static str);

const MTLS: &str = "lane.oauth-mtls";
const ACCEPTED: &str = "grant.main.accepted";

/// A host that answers whoever has a token, to one path in its own words, and never says the time.
async fn says(path: &'static str, said: Said) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A look at the port alone asks nothing.
            tokio::spawn(answer(stream, path, said));
        }
    });
    port
}

async fn answer(stream: TcpStream, own: &str, said: Said) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let read = stream.read_line(&mut head).await.ok()?;
        if read == 0 {
            return None;
        }
    }
    let path = head.split(' ').nth(1)?;
    let is_known = head
        .to_ascii_lowercase()
        .contains("\r\nauthorization: bearer ");
    let profiles = format!("[{{\"id\": {PROFILE}}}]");
    let (status, body) = match path {
        _ if !is_known => ("401 Unauthorized", "{}"),
        path if path == own => said,
        ME => ("200 OK", "{\"name\": \"Ada Example\"}"),
        _ => ("200 OK", &*profiles),
    };
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.get_mut().write_all(answer.as_bytes()).await.ok()
}

/// What doctor sees where only the mutual-TLS lane leads to such a host.
async fn meets(path: &'static str, said: Said) -> Seen {
    let wise = house::wise().await;
    let port = says(path, said).await;
    let site = plan(&wise)
        .set("switch.allow", "[\"oauth-mtls\"]")
        .prepare()
        .await;
    let mtls = format!("wise.mtls=http://localhost:{port}");
    let token = format!("wise.token_url={}/oauth/token", wise.plain_url());
    doctor(&site, &["--set", &mtls, "--set", &token]).await
}

#[tokio::test]
async fn what_wise_says_on_a_lane_is_told_by_what_it_means() {
    for (said, state, text, hint) in [
        (
            ("403 Forbidden", "{}"),
            "failed",
            "refuses this token under this certificate (403)",
            "`wise-auth-proxy cert show",
        ),
        (
            ("403 Forbidden\r\nX-2FA-Approval-Result: REJECTED", "{}"),
            "failed",
            "strong customer authentication even for a read",
            "ask Wise why",
        ),
        (
            ("500 Internal Server Error", "{}"),
            "warning",
            "/v2/profiles answers 500",
            "again in a while",
        ),
        (
            ("200 OK", "{\"profiles\": []}"),
            "failed",
            "answers 200 OK and no list",
            "no page of something in between",
        ),
        (
            ("404 Not Found", "{}"),
            "failed",
            "/v2/profiles answers 404",
            "check the host names",
        ),
    ] {
        let seen = meets(PROFILES, said).await;
        assert_eq!(seen.state(MTLS), state, "{:#}", seen.check(MTLS));
        seen.says(MTLS, text, hint);
        assert_eq!(seen.state(ACCEPTED), "good", "the token itself is taken");
        // The same list says whose the profile is.
        let others = seen.checks().iter().filter(|check| {
            let id = check["id"].as_str().unwrap();
            let elsewhere = [
                "proxy.running",
                "store.filesystem",
                "grant.main.profile",
                MTLS,
            ];
            check["state"] != "good" && !elsewhere.contains(&id)
        });
        assert_eq!(others.count(), 0, "{:#}", seen.whole);
    }
}

#[tokio::test]
async fn what_wise_says_of_a_token_is_told_by_what_it_means() {
    for (said, state, text, hint) in [
        (
            ("403 Forbidden", "{}"),
            "failed",
            "refuses this token under this certificate (403)",
            "login --grant main",
        ),
        (
            ("200 OK", "<html>"),
            "failed",
            "/v1/me answers 200 OK and no JSON",
            "no page of something in between",
        ),
        (
            ("500 Internal Server Error", "{}"),
            "warning",
            "/v1/me answers 500",
            "again in a while",
        ),
    ] {
        let seen = meets(ME, said).await;
        seen.only(&[(ACCEPTED, state)]);
        seen.says(ACCEPTED, text, hint);
    }
}

#[tokio::test]
async fn a_host_that_says_no_time_is_a_warning() {
    let wise = house::wise().await;
    let port = says("/nowhere", ("200 OK", "")).await;
    let site = plan(&wise).prepare().await;
    let plain = format!("wise.plain=http://localhost:{port}");
    let token = format!("wise.token_url={}/oauth/token", wise.mtls_url());
    let seen = doctor(&site, &["--set", &plain, "--set", &token]).await;
    seen.only(&[("clock.wise", "warning")]);
    seen.says("clock.wise", "localhost says no time", "`date -u`");
}
