//! The status page: what it shows, what it lets nobody do, and how it follows the proxy.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use wise_auth_proxy::simulator::Simulator;

use crate::browsers::{FOREIGN, OWN, request};
use crate::house::{self, Answer, Connection, House, PATIENCE, post};

const KEY: &str = "planted-admin-key-of-some-length";

/// What must not come out as markup.
const MARKUP: &str = r#"<img src=x onerror=alert(1)> & "quotes" '"#;

async fn personal(wise: &Simulator) -> House {
    House::on(wise).lane("personal").logged_out().start().await
}

/// A house whose page may change the lane.
async fn keyed(wise: &Simulator, lanes: &str) -> House {
    let site = House::on(wise)
        .lane("oauth-mtls")
        .logged_out()
        .set("switch.allow", lanes)
        .set("admin.key", "{ file = \"admin_key\" }")
        .prepare()
        .await;
    site.secret("admin_key", KEY);
    site.log_in(wise, "main", house::PROFILE).await;
    site.start().await
}

const ALL: &str = "personal,oauth,oauth-mtls";

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

async fn ask(house: &House, request: Request<Bytes>) -> Answer {
    let mut connection = Connection::to(house.admin).await;
    connection.request(request).await.unwrap()
}

/// The form as a browser sends it.
pub fn form(house: &House, lane: &str, reason: &str, key: &str) -> Request<Bytes> {
    let own = house.admin.to_string();
    let fields = [
        ("origin", "http://{own}"),
        ("sec-fetch-site", "same-origin"),
    ];
    let mut request = request(&Method::POST, "/lane", &own, &fields);
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("lane", lane), ("reason", reason), ("key", key)])
        .finish();
    *request.body_mut() = Bytes::from(body);
    let kind = "application/x-www-form-urlencoded".parse().unwrap();
    request.headers_mut().insert("content-type", kind);
    request
}

/// A page that follows.
struct Stream {
    response: Response<Incoming>,
    heard: String,
    _connection: Connection,
}

impl Stream {
    async fn open(house: &House, last: Option<&str>) -> Self {
        let mut request = Request::get("/events");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let mut connection = Connection::to(house.admin).await;
        let request = request.body(Bytes::new()).unwrap();
        Self {
            response: connection.open(request).await.unwrap(),
            heard: String::new(),
            _connection: connection,
        }
    }

    /// The next event as it was written; none at the end of the stream.
    async fn next(&mut self) -> Option<String> {
        let event = async {
            loop {
                if let Some((event, rest)) = self.heard.split_once("\n\n") {
                    let (event, rest) = (event.to_owned(), rest.to_owned());
                    self.heard = rest;
                    return Some(event);
                }
                let frame = self.response.frame().await?.unwrap();
                let data = frame.into_data().unwrap();
                self.heard.push_str(std::str::from_utf8(&data).unwrap());
            }
        };
        tokio::time::timeout(PATIENCE, event)
            .await
            .expect("an event comes")
    }

    /// The next event that says so.
    async fn until(&mut self, wanted: &str) -> String {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.contains(wanted) {
                return event;
            }
        }
    }
}

#[tokio::test]
async fn every_answer_of_the_admin_address_is_closed_to_pages_of_others() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let own = house.admin.to_string();
    for path in [
        "/",
        "/lane",
        "/page.css",
        "/page.js",
        "/icon.svg",
        "/status",
        "/metrics",
        "/livez",
        "/nothing",
    ] {
        for fields in OWN.iter().chain(FOREIGN) {
            let answer = ask(&house, request(&Method::GET, path, &own, fields)).await;
            let field = |name| {
                answer
                    .headers
                    .get(name)
                    .map(|value| value.to_str().unwrap())
            };
            let policy = field("content-security-policy").unwrap();
            assert!(
                policy.starts_with("default-src 'none';"),
                "{path}: {policy}"
            );
            assert!(
                policy.contains("frame-ancestors 'none'"),
                "{path}: {policy}"
            );
            assert!(!policy.contains("unsafe"), "{path}: {policy}");
            assert_eq!(field("cache-control"), Some("no-store"), "{path}");
            assert_eq!(field("x-content-type-options"), Some("nosniff"), "{path}");
            assert_eq!(field("referrer-policy"), Some("no-referrer"), "{path}");
        }
    }
    for path in ["/", "/events", "/lane", "/page.js"] {
        for fields in FOREIGN {
            let answer = ask(&house, request(&Method::GET, path, &own, fields)).await;
            assert_eq!(answer.status, 403, "{path} {fields:?}");
        }
        let answer = ask(&house, request(&Method::GET, path, "evil.example", &[])).await;
        assert_eq!(answer.status, 421, "{path}");
    }
}

#[tokio::test]
async fn the_page_is_whole_without_a_script() {
    let wise = house::wise().await;
    let house = House::on(&wise).start().await;
    assert_eq!(house.get("/v1/me").await.status, 200);
    let answer = house.admin("/").await;
    assert_eq!(answer.status, 200);
    let page = text(&answer);
    for wanted in [
        "<noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>",
        "<p class=\"huge\">oauth-mtls</p>",
        "As configured; it was never switched",
        "<p class=\"huge\">Ready</p>",
        "<h2>Tokens</h2>",
        "generation 1",
        "renewal in",
        "<h2>Client certificate</h2>",
        "days left",
        "<h2>Renewals</h2>",
        "<h2>Events</h2>",
        "wise-auth-proxy switch personal --reason",
    ] {
        assert!(page.contains(wanted), "{wanted:?} is missing:\n{page}");
    }
    // A style attribute or an inline script would need a weaker policy; all links stay here.
    for unwanted in [" style=", "<script>", "<style", "onclick", "//"] {
        let page = page.replace("http://", "").replace("application/", "");
        assert!(!page.contains(unwanted), "{unwanted:?} is there:\n{page}");
    }
    let mut socket = Request::get("/");
    socket = socket.header("host", "localhost");
    let answer = house.operate(socket.body(Bytes::new()).unwrap()).await;
    assert_eq!(answer.status, 200, "the socket has the page too");
}

#[tokio::test]
async fn what_others_wrote_is_shown_as_text() {
    let wise = house::wise().await;
    let house = House::on(&wise).start().await;
    let wish = json!({ "lane": "personal", "reason": MARKUP, "by": MARKUP });
    assert_eq!(house.operate(post("/switch", &wish)).await.status, 200);
    let page = text(&house.admin("/").await);
    assert!(!page.contains("<img"), "{page}");
    let escaped = "&lt;img src=x onerror=alert(1)&gt; &amp; &quot;quotes&quot; '";
    // The reason, who, and the event with both.
    assert!(page.matches(escaped).count() >= 3, "{page}");
    let mut stream = Stream::open(&house, None).await;
    let event = stream.until("personal").await;
    assert!(
        event.contains(escaped) && !event.contains("<img"),
        "{event}"
    );
}

#[tokio::test]
async fn traffic_renewals_and_events_are_in_the_status() {
    let wise = house::wise().await;
    let house = House::on(&wise).start().await;
    for _ in 0..3 {
        assert_eq!(house.get("/v1/me").await.status, 200);
    }
    let refreshed = house.cli(&["token", "refresh", "main"]).await;
    assert!(refreshed.status.success(), "{refreshed:?}");
    let status = house
        .status_until(|status| status["traffic"]["lanes"][2]["requests"] == 3)
        .await;
    let lane = &status["traffic"]["lanes"][2];
    assert_eq!(lane["lane"], "oauth-mtls");
    assert_eq!(lane["status_5xx"], 0);
    assert!(
        lane["latency"]["p99_ms"].as_f64().unwrap() > 0.0,
        "{lane:#}"
    );
    assert!(
        lane["requests_per_second"].as_f64().unwrap() > 0.0,
        "{lane:#}"
    );
    assert_eq!(status["traffic"]["lanes"][0]["requests"], 0);
    let history = status["refresh_history"].as_array().unwrap();
    let main = history
        .iter()
        .find(|ended| ended["grant"] == "main")
        .unwrap();
    assert_eq!(
        (&main["result"], &main["generation"]),
        (&json!("renewed"), &json!(2))
    );
    let kinds: Vec<_> = status["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["kind"])
        .collect();
    assert!(kinds.contains(&&json!("started")), "{kinds:?}");
}

#[tokio::test]
async fn a_page_that_follows_is_told_of_a_switch() {
    let wise = house::wise().await;
    let house = House::on(&wise).start().await;
    let mut stream = Stream::open(&house, None).await;
    let field = |name: &str| stream.response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(field("content-type"), "text/event-stream");
    assert_eq!(field("cache-control"), "no-store");
    let first = stream.next().await.unwrap();
    // Whoever comes gets every part, and when to come back.
    for wanted in [
        "event: parts\n",
        "id: ",
        "retry: 2000",
        "id=\"lane\"",
        "id=\"about\"",
    ] {
        assert!(first.contains(wanted), "{wanted:?} is missing: {first}");
    }
    house.turn("personal").await;
    let told = stream.until("<p class=\"huge\">personal</p>").await;
    assert!(
        !told.contains("id=\"certificate\""),
        "only what changed: {told}"
    );
    let ids: Vec<_> = [&first, &told]
        .map(|event| {
            let id = event
                .lines()
                .find_map(|line| line.strip_prefix("id: "))
                .unwrap();
            let (process, number) = id.split_once('-').unwrap();
            (process.to_owned(), number.parse::<u64>().unwrap())
        })
        .into();
    assert_eq!(ids[0].0, ids[1].0);
    assert!(ids[0].1 < ids[1].1, "{ids:?}");
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_is_alive() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let mut stream = Stream::open(&house, None).await;
    stream.next().await.unwrap();
    // Whatever else may change, the clock comes again and again.
    for _ in 0..2 {
        assert!(stream.next().await.unwrap().contains("id=\"clock\""));
    }
}

#[tokio::test]
async fn a_page_of_an_earlier_process_is_told_to_load_itself_anew() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let mut stream = Stream::open(&house, None).await;
    let first = stream.next().await.unwrap();
    let id = first
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .unwrap();
    let back = Stream::open(&house, Some(id)).await.next().await.unwrap();
    assert!(back.contains("event: parts\n"), "{back}");
    let stale = Stream::open(&house, Some("1-7"))
        .await
        .next()
        .await
        .unwrap();
    assert!(stale.contains("event: restarted\n"), "{stale}");
    assert!(
        stale.contains("\ndata: "),
        "browsers drop what has no data: {stale}"
    );
}

#[tokio::test]
async fn a_seventeenth_page_is_told_to_wait_until_another_leaves() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        let stream = Stream::open(&house, None).await;
        assert_eq!(stream.response.status(), 200);
        streams.push(stream);
    }
    let refused = house.admin("/events").await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers["retry-after"], "10");
    assert_eq!(
        house.admin("/").await.status,
        200,
        "the page itself is there"
    );
    streams.pop();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while Stream::open(&house, None).await.response.status() != 200 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the seat stays taken"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn pages_that_follow_do_not_hold_up_the_end() {
    let wise = house::wise().await;
    let house = personal(&wise).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = Stream::open(&house, None).await;
        stream.next().await.unwrap();
        streams.push(stream);
    }
    let begun = std::time::Instant::now();
    assert!(house.stop().await.success());
    // Tasks that do not end are given five seconds.
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    for mut stream in streams {
        while stream.next().await.is_some() {}
    }
}

#[tokio::test]
async fn without_an_admin_key_the_lane_cannot_be_changed_over_tcp() {
    let wise = house::wise().await;
    let house = House::on(&wise).start().await;
    let page = text(&house.admin("/").await);
    assert!(!page.contains("href=\"/lane\""), "{page}");
    assert_eq!(house.admin("/lane").await.status, 404);
    let answer = ask(&house, form(&house, "personal", "a page's", "")).await;
    assert_eq!(answer.status, 404);
    assert_eq!(house.status().await["lane"], "oauth-mtls");
}

#[tokio::test]
async fn whoever_knows_the_admin_key_changes_the_lane_and_is_written_down() {
    let wise = house::wise().await;
    let house = keyed(&wise, ALL).await;
    let page = text(&house.admin("/").await);
    assert!(page.contains("href=\"/lane\""), "{page}");
    let lane = house.admin("/lane").await;
    assert_eq!(lane.headers["referrer-policy"], "same-origin");
    assert!(text(&lane).contains("name=\"key\""));

    let answer = ask(&house, form(&house, "personal", "the sun is out", KEY)).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    assert_eq!(answer.headers["location"], "/");
    let status = house.status().await;
    assert_eq!(status["lane"], "personal");
    assert_eq!(status["switched"]["by"], "status page");
    assert_eq!(status["switched"]["reason"], "the sun is out");
    let log = std::fs::read_to_string(house.site.path("state/switch.log")).unwrap();
    let entry: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(entry, status["switched"]);
}

#[tokio::test]
async fn a_form_that_says_too_little_changes_nothing_and_says_so() {
    let wise = house::wise().await;
    let house = keyed(&wise, ALL).await;
    for (lane, reason, code, says) in [
        ("personal", "  ", 400, "Say why"),
        ("personal-mtls", "a wrong lane", 400, "Choose a lane"),
        ("", "no lane", 400, "Choose a lane"),
    ] {
        let answer = ask(&house, form(&house, lane, reason, KEY)).await;
        assert_eq!(answer.status, code, "{lane} {reason}");
        assert!(text(&answer).contains(says), "{answer:?}");
    }
    let mut other = form(&house, "personal", "as JSON", KEY);
    let kind = "application/json".parse().unwrap();
    other.headers_mut().insert("content-type", kind);
    assert_eq!(ask(&house, other).await.status, 415);
    let long = form(&house, "personal", &"long ".repeat(2_000), KEY);
    assert_eq!(ask(&house, long).await.status, 415);
    assert_eq!(house.status().await["switched"], Value::Null);
}

#[tokio::test]
async fn a_lane_that_is_not_available_stays_so() {
    let wise = house::wise().await;
    let house = keyed(&wise, "oauth-mtls").await;
    let answer = ask(&house, form(&house, "personal", "the way back", KEY)).await;
    assert_eq!(answer.status, 409);
    assert!(text(&answer).contains("Nothing was changed"), "{answer:?}");
    assert_eq!(house.status().await["lane"], "oauth-mtls");
}

#[tokio::test]
async fn a_wrong_key_changes_nothing_and_after_five_none_is_looked_at() {
    let wise = house::wise().await;
    let house = keyed(&wise, ALL).await;
    for wrong in [
        "",
        "wrong",
        KEY.trim_end_matches('h'),
        &format!("{KEY} "),
        "<b>",
    ] {
        let answer = ask(&house, form(&house, "personal", MARKUP, wrong)).await;
        assert_eq!(answer.status, 403, "{wrong:?}");
        let page = text(&answer);
        assert!(page.contains("This is not the admin key"), "{page}");
        // What was typed is there for the second try, but for the key.
        assert!(
            page.contains("&lt;img src=x") && !page.contains("<img"),
            "{page}"
        );
        assert!(
            wrong.is_empty() || !page.contains(&format!("value=\"{wrong}\"")),
            "{page}"
        );
    }
    let answer = ask(
        &house,
        form(&house, "personal", "the right one, too late", KEY),
    )
    .await;
    assert_eq!(answer.status, 429);
    let wait: u64 = answer.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(house.status().await["switched"], Value::Null);
    house
        .logs("a wrong admin key was shown on the status page")
        .await;
    // The command is not held up by somebody's guesses.
    house.turn("oauth-mtls").await;
}

#[tokio::test]
async fn only_the_page_s_own_form_is_heard() {
    let wise = house::wise().await;
    let house = keyed(&wise, ALL).await;
    let own = house.admin.to_string();
    let silent: &[&[(&str, &str)]] = &[&[], &[("sec-fetch-site", "none")]];
    for fields in FOREIGN.iter().chain(silent) {
        let mut forged = request(&Method::POST, "/lane", &own, fields);
        let right = form(&house, "personal", "another page's", KEY);
        *forged.body_mut() = right.body().clone();
        let kind = right.headers()["content-type"].clone();
        forged.headers_mut().insert("content-type", kind);
        let answer = ask(&house, forged).await;
        assert_eq!(answer.status, 403, "{fields:?}");
    }
    for host in ["evil.example", "10.0.0.1"] {
        let mut named = form(&house, "personal", "another name's", KEY);
        named.headers_mut().insert("host", host.parse().unwrap());
        named
            .headers_mut()
            .insert("origin", format!("http://{host}").parse().unwrap());
        assert_eq!(ask(&house, named).await.status, 421, "{host}");
    }
    assert_eq!(house.status().await["switched"], Value::Null);
    let answer = ask(&house, form(&house, "personal", "our own", KEY)).await;
    assert_eq!(
        answer.status, 303,
        "none of them counted as a wrong key: {answer:?}"
    );
}

#[tokio::test]
async fn a_new_admin_key_is_in_force_with_the_reload() {
    let wise = house::wise().await;
    let house = keyed(&wise, ALL).await;
    let new = "planted-another-admin-key";
    house.site.secret("admin_key", new);
    house.reload().await;
    let old = ask(&house, form(&house, "personal", "the old key", KEY)).await;
    assert_eq!(old.status, 403);
    let answer = ask(&house, form(&house, "personal", "the new key", new)).await;
    assert_eq!(answer.status, 303);
}

#[tokio::test]
async fn a_key_that_could_be_guessed_is_refused_at_the_start() {
    let wise = house::wise().await;
    let site = House::on(&wise)
        .logged_out()
        .set("admin.key", "{ file = \"admin_key\" }")
        .prepare()
        .await;
    site.secret("admin_key", "fifteen-letters");
    let output = site.cli(&["run"]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("admin.key is too short"), "{said}");
    assert!(!said.contains("fifteen-letters"), "{said}");
}

#[tokio::test]
async fn the_status_is_followed_line_by_line_where_there_is_no_terminal() {
    let wise = house::wise().await;
    let house = House::on(&wise).start().await;
    let plain = Following::start(&house, &["status", "--watch"]);
    let json = Following::start(&house, &["status", "--watch", "--json"]);
    plain.until(|line| line.ends_with("  ready")).await;
    let first = json.until(|_| true).await;
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(first["lane"], "oauth-mtls");
    house.turn("personal").await;
    plain
        .until(|line| line.contains("lane switched: oauth-mtls to personal, by test"))
        .await;
    let line = json
        .until(|line| line.contains("\"lane\":\"personal\""))
        .await;
    assert!(
        serde_json::from_str::<Value>(&line).is_ok(),
        "one document a line: {line}"
    );
    for following in [plain, json] {
        assert!(
            following.interrupt().await.success(),
            "Ctrl-C is a good end"
        );
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_run_cannot_be_followed() {
    let wise = house::wise().await;
    let site = House::on(&wise).logged_out().prepare().await;
    let output = site.cli(&["status", "--watch"]).await;
    assert_eq!(output.status.code(), Some(69));
}

/// `status --watch` at work.
struct Following {
    child: std::process::Child,
    lines: tokio::sync::watch::Receiver<Vec<String>>,
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Following {
    fn start(house: &House, args: &[&str]) -> Self {
        use std::io::BufRead as _;
        let mut command = house.site.command();
        command.args(args).arg("--config").arg(&house.site.config);
        let piped = command.stdout(std::process::Stdio::piped());
        let mut child = piped.stdin(std::process::Stdio::null()).spawn().unwrap();
        let (tell, lines) = tokio::sync::watch::channel(Vec::new());
        let out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                tell.send_modify(|lines: &mut Vec<String>| lines.push(line));
            }
        });
        Self { child, lines }
    }

    async fn until(&self, wanted: impl Fn(&str) -> bool) -> String {
        let mut lines = self.lines.clone();
        let found = lines.wait_for(|lines| lines.iter().any(|line| wanted(line)));
        let found = tokio::time::timeout(PATIENCE, found).await;
        let found = found.unwrap_or_else(|_| panic!("only {:?}", self.lines.borrow()));
        let found = found.unwrap();
        found.iter().find(|line| wanted(line)).unwrap().clone()
    }

    async fn interrupt(mut self) -> std::process::ExitStatus {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let ended = async {
            loop {
                match self.child.try_wait().unwrap() {
                    Some(status) => return status,
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("it ends")
    }
}
