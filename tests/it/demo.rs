//! The first thing a newcomer runs keeps its promises, leaves nothing behind and shows no secret.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The simulated account's secrets; the demo's tokens are made at random.
const SECRETS: [&str; 2] = [
    "00000000-1111-4222-8333-444444444444",
    "simulated-client-secret",
];

const TITLES: [&str; 5] = [
    "One request, before and after",
    "A payment, carried out once",
    "A new token while requests run",
    "To the personal token and back",
    "Wise kills the token",
];

fn demo(temporary: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wise-auth-proxy"));
    command.env_clear().env("TMPDIR", temporary);
    command.arg("demo").args(args).stdin(Stdio::null());
    command
}

fn told(args: &[&str]) -> (Output, String) {
    let temporary = tempfile::tempdir().unwrap();
    let output = demo(temporary.path(), args).output().unwrap();
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "the demo left {left:?}");
    let story = String::from_utf8(output.stdout.clone()).unwrap();
    (output, story)
}

#[test]
fn the_demo_keeps_every_promise() {
    let (output, story) = told(&["--once", "--door", "127.0.0.1:0"]);
    assert!(output.status.success(), "{story}");
    assert!(!story.contains('✗'), "{story}");
    for (number, title) in (1..).zip(TITLES) {
        let mark = format!("\n✓ {number} {title}\n");
        assert!(story.contains(&mark), "no {mark:?} in {story}");
    }
    for shown in [
        "│ GET /v2/profiles HTTP/1.1\n",
        "client certificate CN=demo",
        "authorization: Bearer <user access token, generation 1>",
        "generation 1 → 2",
        "401 Unauthorized",
    ] {
        assert!(story.contains(shown), "no {shown:?} in {story}");
    }
    assert!(output.stderr.is_empty(), "the story reads undisturbed");
}

#[test]
fn the_demo_shows_no_secret_and_no_colours_to_a_pipe() {
    let (_, story) = told(&["--once", "--door", "127.0.0.1:0"]);
    assert!(!story.contains('\u{1b}'));
    for secret in SECRETS {
        assert!(!story.contains(secret), "{secret} in {story}");
    }
    // Every credential in a request is either the application's own or named by what it is.
    for line in story.lines().filter(|line| line.contains(": Bearer ")) {
        let named = line.ends_with('>') && line.contains("Bearer <");
        assert!(named || line.ends_with("Bearer anything"), "{line}");
    }
}

#[test]
fn the_demo_as_json_holds_every_promise_with_what_was_found() {
    let (output, story) = told(&["--once", "--json", "--door", "127.0.0.1:0"]);
    assert!(output.status.success(), "{story}");
    let verdict: Value = serde_json::from_str(&story).unwrap();
    assert_eq!(verdict["passed"], true, "{verdict:#}");
    let steps = verdict["steps"].as_array().unwrap();
    let titles: Vec<_> = steps
        .iter()
        .map(|step| step["title"].as_str().unwrap())
        .collect();
    assert_eq!(titles, TITLES);
    for step in steps {
        let checks = step["checks"].as_array().unwrap();
        assert!(checks.len() > 2, "{step:#}");
        assert!(
            checks
                .iter()
                .all(|check| check["expected"] == check["found"])
        );
    }
}

#[test]
fn the_demo_says_what_to_do_when_its_door_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (output, story) = told(&["--once", "--door", &address]);
    assert_eq!(output.status.code(), Some(1), "{story}");
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(talk.contains(&address) && talk.contains("--door"), "{talk}");
}

#[test]
fn the_demo_stays_up_to_be_tried_and_goes_without_a_trace() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = demo(temporary.path(), &["--door", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = |wanted: &str| {
        let line = lines.find(|line| line.as_ref().unwrap().contains(wanted));
        line.unwrap_or_else(|| panic!("the demo says nothing of {wanted:?}"))
            .unwrap()
    };
    let up = next("until Ctrl-C");
    let door = up
        .split("http://")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    next("tail -f ");

    let mut stream = TcpStream::connect(&door).unwrap();
    write!(
        stream,
        "GET /v2/profiles HTTP/1.1\r\nHost: {door}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "the demo left {left:?}");
}
