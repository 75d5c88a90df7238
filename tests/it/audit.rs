//! The record of who called what: everything is in it, nothing can be changed without notice, and
//! no crash, full disk or rotation breaks its chain.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use http::Request;
use serde_json::Value;
use wise_auth_proxy::simulator::Simulator;

use crate::disk::Mount;
#[cfg(feature = "failpoints")]
use crate::failures_table::row;
use crate::house::{self, Connection, House, PROFILE, Plan, Site, post};

/// Ten lines that know of the record what docs/audit.md says, and nothing else.
const PYTHON: &str = r#"
import hashlib, json, sys

prev, seq = None, None
for line in sys.stdin.buffer:
    line = line.rstrip(b"\n")
    record = json.loads(line)
    hashed = line[: -len(b',"hash":"' + b"0" * 64 + b'"}')] + b"}"
    assert record["hash"] == hashlib.sha256(hashed).hexdigest(), line
    assert prev in (None, record["prev"]), line
    assert seq in (None, record["seq"] - 1), line
    prev, seq = record["hash"], record["seq"]
print(seq, prev)
"#;

/// What another program makes of the files: the last number and hash.
fn python(files: &[PathBuf]) -> (u64, String) {
    let mut child = Command::new("python3")
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text: Vec<u8> = files
        .iter()
        .flat_map(|path| fs::read(path).unwrap())
        .collect();
    child.stdin.take().unwrap().write_all(&text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "python3 refuses {files:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let (seq, hash) = said.trim().split_once(' ').unwrap();
    (seq.parse().unwrap(), hash.to_owned())
}

fn recorded(wise: &Simulator) -> Plan<'_> {
    House::on(wise)
        .set("audit.file", "logs/audit.log")
        .set("log.access", "off")
}

/// A site whose record has a directory of its own.
async fn settle(plan: Plan<'_>) -> Site {
    let site = plan.prepare().await;
    fs::create_dir(site.path("logs")).unwrap();
    site
}

fn records_in(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn records(site: &Site) -> Vec<Value> {
    records_in(&site.path("logs/audit.log"))
}

fn of_kind<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records
        .iter()
        .filter(|record| record["kind"] == kind)
        .collect()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// `audit verify`, which finds everything in order; its JSON.
async fn verified(site: &Site, files: &[&str]) -> Value {
    let paths: Vec<String> = files
        .iter()
        .map(|file| site.path(file).display().to_string())
        .collect();
    let mut args = vec!["audit", "verify", "--json"];
    args.extend(paths.iter().map(String::as_str));
    let output = site.cli(&args).await;
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn everything_that_happened_is_recorded_with_who_it_was_and_what_came_of_it() {
    let wise = house::wise().await;
    // Each worker hands over its own: of one they stand in the order of their ends.
    let site = settle(recorded(&wise).set("runtime.workers", "1")).await;
    let house = site.start().await;

    assert_eq!(house.get("/v1/me").await.status, 200);
    let path = format!("/v3/profiles/{PROFILE}/quotes?profile={PROFILE}&secret=planted-value");
    let quote =
        serde_json::json!({"sourceCurrency": "GBP", "targetCurrency": "EUR", "sourceAmount": 100});
    house.request(post(&path, &quote)).await;
    let foreign = Request::get("/v1/me").header("host", "evil.example");
    assert_eq!(house.send(foreign).await.problem(), "wrong-host");
    house.switch("personal").await;
    house.reload().await;
    let forgotten = house.cli(&["token", "forget", "main"]).await;
    assert!(forgotten.status.success(), "{}", said(&forgotten));
    assert_eq!(house.get("/v1/me").await.status, 200);
    let door = house.door.to_string();
    house.stop().await;

    let all = records(&site);
    let requests = of_kind(&all, "request");
    assert_eq!(requests.len(), 4, "{all:#?}");
    let first = requests[0];
    assert_eq!(first["door"], door);
    assert!(
        first["peer"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{first}"
    );
    assert_eq!(first["caller"], Value::Null);
    assert_eq!(first["method"], "GET");
    assert_eq!(first["path"], "/v1/me");
    assert_eq!(first["status"], 200);
    assert_eq!(first["lane"], "oauth-mtls");
    assert_eq!(first["credential"], "user");
    assert_eq!(first["grant"], "main");
    assert_eq!(first["profile"], PROFILE.to_string());
    assert_eq!(first["generation"], 1);
    assert_eq!(first["trace_id"].as_str().unwrap().len(), 32);
    assert_eq!(first["complete"], true);
    let shown = format!("/v3/profiles/{PROFILE}/quotes?profile={PROFILE}&secret=*");
    assert_eq!(requests[1]["path"], shown);
    assert_eq!(requests[1]["method"], "POST");
    let problems: Vec<_> = requests.iter().map(|request| &request["problem"]).collect();
    assert_eq!(problems[2], "wrong-host");
    assert_eq!(requests[2]["status"], 421);
    assert_eq!(requests[3]["lane"], "personal");
    assert_eq!(requests[3]["credential"], "personal");

    let events = of_kind(&all, "event");
    let event = |name: &str| {
        let found = events.iter().find(|event| event["event"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {events:#?}"))
    };
    assert!(event("started")["text"].as_str().unwrap().contains(&door));
    assert!(
        event("lane_switched")["text"]
            .as_str()
            .unwrap()
            .contains("personal")
    );
    assert_eq!(event("grant_forgotten")["grant"], "main");
    event("reloaded");
    event("stopping");
    assert_eq!(
        all.last().unwrap()["kind"],
        "stopped",
        "an orderly stop says so"
    );

    // Two programs that share nothing come to the same end, and so does the store.
    let files = [site.path("logs/audit.log")];
    let (seq, hash) = python(&files);
    let proof = verified(&site, &[]).await;
    assert_eq!(proof["summary"]["last_sequence"], seq);
    assert_eq!(proof["summary"]["last_hash"], hash);
    assert_eq!(proof["summary"]["first_sequence"], 1);
    assert_eq!(proof["store"], "compared");
    let mode = fs::metadata(&files[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!fs::read_to_string(&files[0]).unwrap().contains("planted"));
}

#[test]
fn the_page_has_the_program_that_these_tests_run() {
    let page = include_str!("../../docs/audit.md");
    assert!(page.contains(&format!("```python{PYTHON}```")), "{PYTHON}");
}

#[tokio::test]
async fn a_line_is_what_jq_prints_without_its_hash() {
    if Command::new("jq").arg("--version").output().is_err() {
        return house::skip("there is no jq");
    }
    let wise = house::wise().await;
    let site = settle(recorded(&wise).lane("personal").logged_out()).await;
    let house = site.start().await;
    house.get("/v1/a%20b?x=%22").await;
    let odd = house.cli(&[
        "switch",
        "oauth",
        "--reason",
        "a \"reason\" \\ with\ttabs – and é",
    ]);
    odd.await;
    house.stop().await;
    let path = site.path("logs/audit.log");
    let output = Command::new("jq")
        .args(["-c", "del(.hash)"])
        .arg(&path)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let cut = |line: &str| format!("{}}}", line.rsplit_once(",\"hash\":").unwrap().0);
    let expected: Vec<String> = text.lines().map(cut).collect();
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}

/// Applications that ask until the proxy is gone.
async fn besieged(house: &House) -> u64 {
    let one = async || {
        let mut answers = 0;
        let Ok(mut connection) = Connection::try_to(house.door).await else {
            return answers;
        };
        loop {
            let request = Request::get("/v1/me").body(bytes::Bytes::new()).unwrap();
            match connection.request(request).await {
                Ok(answer) => answers += u64::from(answer.status == 200),
                Err(_) => return answers,
            }
        }
    };
    let (one, two, three) = tokio::join!(one(), one(), one());
    one + two + three
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_under_load_tears_no_chain_and_the_next_start_says_what_it_found() {
    let wise = house::wise().await;
    let site = settle(recorded(&wise).lane("personal").logged_out()).await;
    let file = site.path("logs/audit.log");
    for round in 1..=5_u64 {
        let house = site.start().await;
        let kill = async {
            // Some hundred records on, and most of a second's worth not told to the store.
            let wanted = round * 300;
            while fs::read_to_string(&file).map_or(0, |text| text.lines().count() as u64) < wanted {
                tokio::task::yield_now().await;
            }
            house.signal("KILL");
        };
        tokio::join!(besieged(&house), kill);
        house.ended().await;
        if round == 3 {
            // A kill does not tear a line that the kernel has; a power cut does.
            let length = fs::metadata(&file).unwrap().len();
            let torn = fs::OpenOptions::new().write(true).open(&file).unwrap();
            torn.set_len(length - 17).unwrap();
        }
    }
    let house = site.start().await;
    house.stop().await;
    python(&[file]);
    let proof = verified(&site, &[]).await;
    assert!(
        proof["summary"]["lines"].as_u64() >= Some(1500),
        "{proof:#}"
    );
    let all = records(&site);
    let found = of_kind(&all, "recovered").len() + of_kind(&all, "mismatch").len();
    println!("{} lines, {found} found after kills", all.len());
    assert_eq!(proof["summary"]["recoveries"], 1);
    assert!(site.path("logs/audit.log.torn").exists());
}

/// Moments at which the writer may die.
#[cfg(feature = "failpoints")]
pub(crate) const POINTS: [&str; 2] = ["audit-write", "audit-sync"];

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_point_of_the_writer_leaves_a_chain_that_goes_on() {
    let wise = house::wise().await;
    let site = settle(recorded(&wise).lane("personal").logged_out()).await;
    let starts = || {
        let log = fs::read_to_string(site.path("logs/audit.log")).unwrap();
        log.matches("\"event\":\"started\"").count()
    };
    let mut begun = 0;
    for point in POINTS {
        for nth in [1, 3] {
            // Times are counted while there is a script: from the next one on, and not from the start.
            let _ = fs::remove_file(site.path("failpoints"));
            let house = site.start().await;
            assert_eq!(house.get("/v1/me").await.status, 200);
            // The start is recorded by now: nothing of before the script dies with the process.
            begun += 1;
            house.status_until(|_| starts() == begun).await;
            let trace = site.path(&format!("{point}-{nth}"));
            let script = format!("{point} = kill @{nth}\ntrace = {}", trace.display());
            site.failpoints(&script);
            let siege = tokio::time::timeout(house::PATIENCE, besieged(&house)).await;
            siege.unwrap_or_else(|_| panic!("{point} is never reached {nth} times"));
            house.ended().await;
            let reached = fs::read_to_string(&trace).unwrap();
            let times = reached.lines().filter(|name| *name == point).count();
            assert_eq!(times, nth, "it died there: {reached}");
            assert_eq!(reached.lines().last(), Some(point));
        }
    }
    fs::remove_file(site.path("failpoints")).unwrap();
    site.start().await.stop().await;
    python(&[site.path("logs/audit.log")]);
    verified(&site, &[]).await;
    assert_eq!(starts(), begun + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_under_load_loses_no_record_and_the_chain_goes_on_from_file_to_file() {
    let wise = house::wise().await;
    let site = settle(recorded(&wise).lane("personal").logged_out()).await;
    let house = site.start().await;
    let file = site.path("logs/audit.log");
    let rotate = async {
        for number in 1..=3 {
            while fs::read_to_string(&file).map_or(0, |text| text.lines().count()) < 150 {
                tokio::task::yield_now().await;
            }
            fs::rename(&file, site.path(&format!("logs/audit.log.{number}"))).unwrap();
            // As logrotate's `postrotate` does; the last time without, as it may be forgotten.
            if number < 3 {
                house.signal("HUP");
            }
            while !file.exists() {
                tokio::task::yield_now().await;
            }
        }
        house.signal("TERM");
    };
    let (answers, ()) = tokio::join!(besieged(&house), rotate);
    house.ended().await;

    let names = [
        "logs/audit.log",
        "logs/audit.log.2",
        "logs/audit.log.3",
        "logs/audit.log.1",
    ];
    let proof = verified(&site, &names).await;
    assert_eq!(proof["summary"]["first_sequence"], 1);
    let in_order = [
        "logs/audit.log.1",
        "logs/audit.log.2",
        "logs/audit.log.3",
        "logs/audit.log",
    ];
    let in_order = in_order.map(|name| site.path(name));
    python(&in_order);
    let all: Vec<Value> = in_order.iter().flat_map(|path| records_in(path)).collect();
    assert_eq!(of_kind(&all, "rotated").len(), 3);
    let served = of_kind(&all, "request")
        .into_iter()
        .filter(|request| request["status"] == 200);
    assert_eq!(served.count() as u64, answers, "each answer has its record");
}

#[tokio::test]
async fn a_restart_goes_on_with_the_chain_even_in_a_new_file() {
    let wise = house::wise().await;
    let site = settle(recorded(&wise).lane("personal").logged_out()).await;
    for number in 1..=2 {
        let house = site.start().await;
        assert_eq!(house.get("/v1/me").await.status, 200);
        house.stop().await;
        let moved = site.path(&format!("logs/audit.log.{number}"));
        fs::rename(site.path("logs/audit.log"), moved).unwrap();
    }
    site.start().await.stop().await;
    let proof = verified(
        &site,
        &["logs/audit.log", "logs/audit.log.1", "logs/audit.log.2"],
    )
    .await;
    assert_eq!(proof["summary"]["first_sequence"], 1);
    assert_eq!(proof["summary"]["mismatches"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_of_and_nothing_is_lost_once_there_is_room() {
    let wise = house::wise().await;
    let site = settle(recorded(&wise).lane("personal").logged_out()).await;
    let Some(_mount) = Mount::small(&site.path("logs")) else {
        return;
    };
    let house = site.start().await;
    assert_eq!(house.get("/v1/me").await.status, 200);
    let filler = site.path("logs/filler");
    fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    // What room is left in the last block is soon written.
    for _ in 0..30 {
        assert_eq!(house.get("/v1/me").await.status, 200);
    }
    house.logs("no room left to write the record").await;
    let status = house
        .status_until(|status| status["audit"]["error"].is_string())
        .await;
    assert_eq!(status["ready"], true, "it is not required: {status:#}");
    house.metric_until("wise_proxy_audit_failing", 1.0).await;
    let shown = said(&house.cli(&["status"]).await);
    assert!(shown.contains("NOT WRITTEN: no room left"), "{shown}");

    fs::remove_file(&filler).unwrap();
    house.logs("records are written again").await;
    house.metric_until("wise_proxy_audit_failing", 0.0).await;
    house.stop().await;
    let proof = verified(&site, &[]).await;
    assert_eq!(proof["summary"]["lost"], 0);
    assert_eq!(of_kind(&records(&site), "request").len(), 31);
}

/// A door that answers for the token endpoint.
#[cfg(feature = "failpoints")]
const STANDING_IN: &str = "[{ address = \"127.0.0.1:0\", stand_in = true }]";

#[cfg(feature = "failpoints")]
fn token() -> Request<bytes::Bytes> {
    let request = Request::post("/oauth/token");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let form = bytes::Bytes::from_static(b"grant_type=client_credentials");
    request.body(form).unwrap()
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_disk_that_hangs_ends_service_after_two_seconds_where_all_must_be_recorded() {
    let wise = house::wise().await;
    for point in POINTS {
        let plan = recorded(&wise)
            .lane("personal")
            .logged_out()
            .set("audit.required", "true")
            .set("door", STANDING_IN);
        let site = settle(plan).await;
        let house = site.start().await;
        site.failpoints(&format!("{point} = pause"));
        // Nobody knows at first that the answer will not come.
        assert_eq!(house.get("/v1/me").await.status, 200);
        let status = house
            .status_until(|status| status["audit"]["error"].is_string())
            .await;
        let error = status["audit"]["error"].as_str().unwrap();
        assert!(error.contains("does not answer"), "{point}: {error}");
        let refused = house.get("/v1/me").await;
        assert_eq!(refused.problem(), "audit-unavailable", "{point}");
        assert_eq!(house.request(token()).await.status, 503, "{point}");
        house.logs("audit.log does not answer; look at it").await;

        site.failpoints("");
        house.logs("the record's disk answers again").await;
        house
            .status_until(|status| status["audit"]["error"].is_null())
            .await;
        assert_eq!(house.get("/v1/me").await.status, 200);
        house.stop().await;
        assert_eq!(verified(&site, &[]).await["summary"]["lost"], 0);
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_stop_before_a_disk_that_hangs_says_how_much_is_lost() {
    let wise = house::wise().await;
    let site = settle(recorded(&wise).lane("personal").logged_out()).await;
    let house = site.start().await;
    house
        .status_until(|status| status["audit"]["sequence"].as_u64() > Some(0))
        .await;
    site.failpoints("audit-write = pause");
    for _ in 0..3 {
        assert_eq!(house.get("/v1/me").await.status, 200);
    }
    assert_eq!(house.stop().await.code(), Some(0));
    let said = "records are lost: the disk did not take them until the end lost=";
    house.logs(said).await;
    let log = house.log();
    let (_, lost) = log.split_once(said).unwrap_or_else(|| panic!("{log}"));
    let lost: u64 = lost.split_whitespace().next().unwrap().parse().unwrap();
    assert!(lost >= 3, "three requests and that it stopped: {log}");
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn nothing_is_served_that_cannot_be_recorded_where_it_must_be() {
    let wise = house::wise().await;
    for trouble in ["audit-write = ENOSPC", "audit-sync = EIO"] {
        let plan = recorded(&wise)
            .lane("personal")
            .logged_out()
            .set("audit.required", "true")
            .set("door", STANDING_IN);
        let site = settle(plan).await;
        let house = site.start().await;
        assert_eq!(house.get("/v1/me").await.status, 200);

        site.failpoints(trouble);
        // The one that finds out is served; those after it are not.
        let refused = loop {
            let answer = house.get("/v1/me").await;
            if answer.status != 200 {
                break answer;
            }
            tokio::task::yield_now().await;
        };
        let case = row("door-audit");
        assert_eq!(refused.headers["retry-after"], "1");
        let told = refused.json();
        assert!(
            told["hint"].as_str().unwrap().contains("audit.file"),
            "{told:#}"
        );
        let before = wise.recorded().len();
        case.shown(&house, &refused, 0).await;
        assert_eq!(house.get("/v1/me").await.status, 503);
        assert_eq!(wise.recorded().len(), before, "nothing left");
        let token = house.request(token()).await;
        assert_eq!(token.problem(), "audit-unavailable", "nor is a token given");

        site.failpoints("");
        house.logs("records are written again").await;
        assert_eq!(house.get("/v1/me").await.status, 200);
        assert_eq!(house.request(self::token()).await.status, 200);
        house.stop().await;
        let proof = verified(&site, &[]).await;
        assert_eq!(proof["summary"]["lost"], 0);
        let all = records(&site);
        let refusals = of_kind(&all, "request");
        assert!(
            refusals
                .iter()
                .any(|request| request["problem"] == "audit-unavailable")
        );
    }
}

#[tokio::test]
async fn a_required_record_that_cannot_be_written_is_no_start_and_says_what_to_do() {
    let wise = house::wise().await;
    let plan = recorded(&wise)
        .lane("personal")
        .logged_out()
        .set("audit.required", "true");
    let site = settle(plan).await;
    let file = site.path("logs/audit.log");
    let refused = async |words: &[&str]| {
        let output = site.cli(&["run"]).await;
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let text = said(&output);
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
    };
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
    refused(&["permissions 664", "chmod 600"]).await;
    fs::write(&file, "[door]\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    refused(&["holds something else", "name another audit.file"]).await;
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "[door]\n",
        "it is left alone"
    );
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    refused(&["is not a file"]).await;
    fs::remove_dir_all(site.path("logs")).unwrap();
    refused(&["directory of the record", "make it"]).await;

    fs::create_dir(site.path("logs")).unwrap();
    let house = site.start().await;
    let plan = recorded(&wise)
        .lane("personal")
        .logged_out()
        .set("audit.required", "true");
    let second = plan.beside(&house).prepare().await;
    let output = second.cli(&["run"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("another proxy writes to the record"),
        "{}",
        said(&output)
    );
    house.stop().await;
}

#[tokio::test]
async fn a_record_that_is_not_required_is_taken_up_once_it_can_be() {
    let wise = house::wise().await;
    let first = settle(recorded(&wise).lane("personal").logged_out()).await;
    let house = first.start().await;
    let second = recorded(&wise)
        .lane("personal")
        .logged_out()
        .beside(&house)
        .prepare()
        .await;
    let next = second.start().await;
    next.logs("another proxy writes to the record").await;
    assert_eq!(next.get("/v1/me").await.status, 200);
    // As in a rolling restart: the old one ends, the new one goes on with its chain.
    house.stop().await;
    next.logs("records are written again").await;
    next.stop().await;
    let proof = verified(&first, &[]).await;
    assert_eq!(proof["summary"]["lost"], 0);
    assert_eq!(of_kind(&records(&first), "request").len(), 1);
}

/// A record of some lines, of a proxy that has stopped.
async fn some_record(site: &Site) -> Vec<String> {
    let house = site.start().await;
    for number in 0..8 {
        house.get(&format!("/v1/transfers/{number}")).await;
    }
    house.stop().await;
    let text = fs::read_to_string(site.path("logs/audit.log")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn whatever_is_done_to_a_record_is_found_and_named() {
    let wise = house::wise().await;
    let site = settle(recorded(&wise).lane("personal").logged_out()).await;
    let lines = some_record(&site).await;
    let file = site.path("logs/audit.log");
    let verify = async |lines: &[String]| {
        fs::write(&file, lines.join("\n") + "\n").unwrap();
        site.cli(&["audit", "verify", "--json"]).await
    };
    assert_eq!(verify(&lines).await.status.code(), Some(0));

    let changed = |at: usize, from: &str, to: &str| {
        let mut lines = lines.clone();
        assert!(lines[at].contains(from), "{}", lines[at]);
        lines[at] = lines[at].replace(from, to);
        lines
    };
    let without = |at: usize| {
        let mut lines = lines.clone();
        lines.remove(at);
        lines
    };
    let swapped = {
        let mut lines = lines.clone();
        lines.swap(2, 5);
        lines
    };
    let inserted = {
        let mut lines = lines.clone();
        lines.insert(6, lines[3].clone());
        lines
    };
    let cut = lines[..lines.len() - 2].to_vec();
    for (what, lines, flaw, line) in [
        (
            "a path",
            changed(3, "/v1/transfers/", "/v1/transferz/"),
            "changed",
            Some(4),
        ),
        (
            "a hash",
            changed(4, "\"prev\":\"", "\"prev\":\"0"),
            "garbled",
            Some(5),
        ),
        ("a line gone", without(4), "taken_out", Some(5)),
        ("two swapped", swapped, "reordered", Some(3)),
        ("one twice", inserted, "inserted", Some(7)),
        ("the end gone", cut, "cut_off", None),
        ("all gone", vec![lines[0].clone()], "cut_off", None),
    ] {
        let output = verify(&lines).await;
        assert_eq!(output.status.code(), Some(65), "{what}: {}", said(&output));
        let proof: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(proof["intact"], false);
        assert_eq!(proof["broken"]["flaw"], flaw, "{what}: {proof:#}");
        assert_eq!(proof["broken"]["line"].as_u64(), line, "{what}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            told.contains("error: ") && told.contains("hint: "),
            "{told}"
        );
        assert!(told.contains("audit.log"), "{told}");
    }
}

#[tokio::test]
async fn a_record_written_anew_with_its_store_is_found_by_a_hash_that_was_noted() {
    let wise = house::wise().await;
    let site = settle(recorded(&wise).lane("personal").logged_out()).await;
    let house = site.start().await;
    assert_eq!(house.get("/v1/me").await.status, 200);
    let is_there = |status: &Value| status["audit"]["sequence"].as_u64() >= Some(2);
    let status = house.status_until(is_there).await;
    let noted = status["audit"]["hash"].as_str().unwrap().to_owned();
    let shown = said(&house.cli(&["status"]).await);
    assert!(shown.contains(&noted), "{shown}");
    house.stop().await;
    let expect = async || site.cli(&["audit", "verify", "--expect", &noted]).await;
    assert!(expect().await.status.success());

    fs::remove_file(site.path("logs/audit.log")).unwrap();
    for (path, _) in house::files(&site.path("state")) {
        if path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("audit-head")
        {
            fs::remove_file(path).unwrap();
        }
    }
    some_record(&site).await;
    verified(&site, &[]).await;
    let output = expect().await;
    assert_eq!(output.status.code(), Some(65));
    assert!(
        said(&output).contains("was written anew"),
        "{}",
        said(&output)
    );
}

#[tokio::test]
async fn a_tail_cut_off_before_a_start_is_told_of_at_the_start_and_for_ever() {
    let wise = house::wise().await;
    let site = settle(recorded(&wise).lane("personal").logged_out()).await;
    let lines = some_record(&site).await;
    let file = site.path("logs/audit.log");
    let kept = lines.len() - 4;
    fs::write(&file, lines[..kept].join("\n") + "\n").unwrap();
    let house = site.start().await;
    house
        .logs("the record does not end where the store says")
        .await;
    house.stop().await;
    let output = site.cli(&["audit", "verify"]).await;
    assert_eq!(output.status.code(), Some(65));
    let told = said(&output);
    let wanted = format!("line {}", kept + 1);
    assert!(
        told.contains(&wanted) && told.contains("4 lines before it were taken out"),
        "{told}"
    );
    assert_eq!(of_kind(&records(&site), "mismatch").len(), 1);
}

#[tokio::test]
async fn show_prints_what_was_asked_for() {
    let wise = house::wise().await;
    let plan = recorded(&wise).lane("personal").logged_out();
    let site = settle(plan.set("runtime.workers", "1")).await;
    let house = site.start().await;
    assert_eq!(house.get("/v1/me").await.status, 200);
    let foreign = Request::get("/v1/me").header("host", "evil.example");
    assert_eq!(house.send(foreign).await.status, 421);
    house.stop().await;
    let show = async |args: &[&str]| {
        let output = site.cli(&[&["audit", "show"], args].concat()).await;
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let refused = show(&["--refused"]).await;
    assert_eq!(refused.lines().count(), 1, "{refused}");
    assert!(
        refused.contains("GET /v1/me 421 personal wrong-host"),
        "{refused}"
    );
    let whole = fs::read_to_string(site.path("logs/audit.log")).unwrap();
    assert_eq!(show(&["--json"]).await, whole);
    assert_eq!(show(&["--json", "--since", "1h"]).await, whole);
    assert_eq!(show(&["--caller", "nobody"]).await, "");
    let all = show(&[]).await;
    assert!(
        all.contains("started: serving on") && all.contains("  stopped"),
        "{all}"
    );

    let missing = site.cli(&["audit", "show", "nowhere.log"]).await;
    assert_eq!(missing.status.code(), Some(1));
    assert!(said(&missing).contains("hint: "), "{}", said(&missing));
    let off = House::on(&wise)
        .lane("personal")
        .logged_out()
        .prepare()
        .await;
    let off = off.cli(&["audit", "verify"]).await;
    assert_eq!(off.status.code(), Some(64));
    assert!(
        said(&off).contains("audit.file is \"off\""),
        "{}",
        said(&off)
    );
}

#[tokio::test]
async fn doctor_says_whether_the_record_can_be_written_and_ends_as_it_should() {
    let wise = house::wise().await;
    let site = settle(recorded(&wise).lane("personal").logged_out()).await;
    let file = site.path("logs/audit.log");
    let look = async |more: &[&str]| {
        let command = [&["doctor", "--offline", "--json"], more].concat();
        let output = site.cli(&command).await;
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let checks = report["checks"].as_array().unwrap().clone();
        move |id: &str| {
            let found = checks.iter().find(|check| check["id"] == id);
            let found = found.unwrap_or_else(|| panic!("no {id} in {checks:#?}"));
            let text = [&found["text"], &found["hint"]].map(ToString::to_string);
            (found["state"].as_str().unwrap().to_owned(), text.concat())
        }
    };
    assert_eq!(
        look(&[]).await("audit.file").0,
        "skipped",
        "there is none yet"
    );
    let lines = some_record(&site).await;
    let seen = look(&[]).await;
    for id in ["audit.file", "audit.end"] {
        assert_eq!(seen(id).0, "good", "{:?}", seen(id));
    }
    assert!(
        seen("audit.end")
            .1
            .contains(&format!("line {}", lines.len()))
    );

    fs::write(&file, format!("{}\n{{\"seq\":", lines.join("\n"))).unwrap();
    assert_eq!(look(&[]).await("audit.end").0, "warning");
    fs::write(&file, lines[..4].join("\n") + "\n").unwrap();
    let seen = look(&[]).await;
    assert_eq!(seen("audit.end").0, "failed");
    assert!(
        seen("audit.end").1.contains("audit verify"),
        "{:?}",
        seen("audit.end")
    );
    fs::write(&file, "something else\n").unwrap();
    assert_eq!(look(&[]).await("audit.end").0, "failed");

    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let seen = look(&[]).await;
    assert_eq!(seen("audit.file").0, "warning", "it is not required");
    assert!(
        seen("audit.file").1.contains("chmod 600"),
        "{:?}",
        seen("audit.file")
    );
    let seen = look(&["--set", "audit.required=true"]).await;
    assert_eq!(seen("audit.file").0, "failed");
}
