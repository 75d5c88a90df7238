//! Life under a service manager, in a pod, or under a script: what it is told, what it asks, and
//! how it ends.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
#[cfg(feature = "failpoints")]
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request};
use tokio::net::UnixDatagram;
use tokio::sync::watch;

use crate::house::{self, Connection, House, PATIENCE, PROFILE, Site, post};
use crate::wire::Wire;

/// A service manager that hears what it is told.
struct Ear {
    heard: watch::Receiver<Vec<(Instant, String)>>,
}

impl Ear {
    fn at(site: &Site) -> Self {
        let socket = UnixDatagram::bind(site.path("notify")).unwrap();
        let (tell, heard) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut bytes = [0; 4096];
            while let Ok(length) = socket.recv(&mut bytes).await {
                let message = String::from_utf8(bytes[..length].to_vec()).unwrap();
                tell.send_modify(|heard| heard.push((Instant::now(), message)));
            }
        });
        Self { heard }
    }

    fn so_far(&self) -> Vec<(Instant, String)> {
        self.heard.borrow().clone()
    }

    /// The first message from `after` on that holds `words`.
    async fn hears(&self, words: &str, after: Instant) -> (Instant, String) {
        let fits = |(at, message): &&(Instant, String)| *at >= after && message.contains(words);
        let mut heard = self.heard.clone();
        let told = heard.wait_for(|heard| heard.iter().any(|one| fits(&one)));
        let told = tokio::time::timeout(PATIENCE, told).await;
        let Ok(Ok(told)) = told else {
            panic!("never told {words:?}: {:?}", self.so_far());
        };
        told.iter().find(fits).unwrap().clone()
    }
}

/// A house on the personal token, under a service manager.
async fn told(wise: &wise_auth_proxy::simulator::Simulator, settings: &[(&str, &str)]) -> Site {
    let mut plan = House::on(wise)
        .lane("personal")
        .set("hardening.files", "required")
        .logged_out();
    for (key, value) in settings {
        plan = plan.set(key, value);
    }
    plan.prepare().await
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn with_variables(site: &Site, variables: &[(&str, &str)]) -> std::process::Command {
    let mut command = site.run();
    command.env("NOTIFY_SOCKET", site.path("notify"));
    command.envs(variables.iter().copied());
    command
}

#[tokio::test]
async fn the_service_manager_hears_of_the_start_when_the_doors_serve_and_of_the_lane() {
    let wise = house::wise().await;
    let site = told(&wise, &[]).await;
    let ear = Ear::at(&site);
    let begun = Instant::now();
    let house = site.start_as(with_variables(&site, &[])).await;
    let (_, first) = ear.hears("READY=1", begun).await;
    assert_eq!(first, "READY=1\nSTATUS=lane personal, ready\n");
    assert_eq!(house.get("/v1/me").await.status, 200);
    assert_eq!(ear.so_far()[0].1, first, "nothing came before it");

    // A lane that cannot serve is told as such, in one line, and is no reason to be restarted.
    house.switch("oauth-mtls").await;
    let (_, status) = ear
        .hears("STATUS=lane oauth-mtls, not ready: ", begun)
        .await;
    assert!(status.contains("grant main: "), "{status}");
    assert_eq!(status.lines().count(), 1, "{status}");
}

#[tokio::test]
async fn a_reload_at_a_signal_is_told_as_begun_and_over_whether_it_succeeds_or_not() {
    let wise = house::wise().await;
    let site = told(&wise, &[]).await;
    let ear = Ear::at(&site);
    let begun = Instant::now();
    let house = site.start_as(with_variables(&site, &[])).await;
    ear.hears("READY=1", begun).await;
    for broken in [false, true] {
        if broken {
            std::fs::write(&site.config, "nonsense = 1").unwrap();
        }
        let signalled = Instant::now();
        house.signal("HUP");
        let (reloading, message) = ear.hears("RELOADING=1", signalled).await;
        assert!(message.contains("\nMONOTONIC_USEC="), "{message}");
        ear.hears("READY=1", reloading).await;
    }
    house.logs("reload failed").await;
    assert_eq!(house.get("/v1/me").await.status, 200);
}

#[tokio::test]
async fn a_stop_is_told_with_the_time_that_it_may_take_and_ends_well() {
    let wise = house::wise().await;
    let site = told(&wise, &[("runtime.drain_timeout", "100s")]).await;
    let ear = Ear::at(&site);
    let begun = Instant::now();
    let house = site.start_as(with_variables(&site, &[])).await;
    let mut sending = in_flight(&wise, &house).await;
    house.signal("TERM");
    // 100 s to drain, 5 to dial, 10 to exchange, 15 to save, twice 5 for the rest.
    let (_, stopping) = ear.hears("STOPPING=1", begun).await;
    assert!(
        stopping.contains("EXTEND_TIMEOUT_USEC=140000000\n"),
        "{stopping}"
    );
    ear.hears("STATUS=stopping, requests in flight: 1\n", begun)
        .await;
    sending.send("world").await;
    let head = sending.read_to("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(house.ended().await.code(), Some(0));
}

/// A request whose body has half arrived at Wise.
async fn in_flight(wise: &wise_auth_proxy::simulator::Simulator, house: &House) -> Wire {
    let before = wise.recorded().len();
    let mut sending = Wire::to(house.door).await;
    sending
        .send(
            "POST /v1/simulator/mirror HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n\
             hello",
        )
        .await;
    wise.until(|wise| wise.recorded().len() > before).await;
    sending
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn whatever_hangs_in_the_process_keeps_the_watchdog_from_its_food() {
    let wise = house::wise().await;
    let period = Duration::from_secs(2);
    for part in ["worker-0", "worker-1", "control"] {
        let site = told(&wise, &[("runtime.reload_interval", "100ms")]).await;
        let ear = Ear::at(&site);
        let begun = Instant::now();
        let micros = period.as_micros().to_string();
        let command = with_variables(&site, &[("WATCHDOG_USEC", &micros)]);
        let house = site.start_as(command).await;
        let (fed, _) = ear.hears("WATCHDOG=1", begun).await;
        let (again, _) = ear
            .hears("WATCHDOG=1", fed + Duration::from_millis(1))
            .await;
        assert!(again - fed < period, "fed in time: {:?}", again - fed);

        site.failpoints(&format!("hold = {part}\n"));
        let held = Instant::now();
        // It comes to the place within a turn, and was well up to a turn before.
        let hungry = loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let last = ear.so_far().into_iter().rev();
            let (last, _) = last.clone().find(|(_, one)| one == "WATCHDOG=1\n").unwrap();
            if last.elapsed() > period {
                break last;
            }
            assert!(
                held.elapsed() < PATIENCE,
                "{part} hangs and the watchdog is fed"
            );
        };
        assert!(hungry < held + period, "{part}");

        // What hung and goes on is well again; systemd would not have waited.
        let released = Instant::now();
        site.failpoints("");
        ear.hears("WATCHDOG=1", released).await;
        assert_eq!(house.get("/v1/me").await.status, 200, "{part}");
        if part != "control" {
            let told = format!("{} has not come round", part.replace('-', " "));
            house.logs(&told).await;
        }
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_worker_that_hangs_is_not_alive_and_a_wise_that_is_gone_changes_nothing() {
    let wise = house::wise().await;
    let house = House::on(&wise).lane("oauth").logged_out().start().await;
    wise.close_connections();
    assert_eq!(
        house.admin("/readyz").await.status,
        503,
        "no grant, no token"
    );
    assert_eq!(house.admin("/livez").await.status, 200);
    assert_eq!(house.admin("/startupz").await.status, 200);

    house.site.failpoints("hold = worker-1\n");
    let begun = Instant::now();
    let dead = loop {
        let answer = house.admin("/livez").await;
        if answer.status == 503 {
            break String::from_utf8(answer.body.to_vec()).unwrap();
        }
        assert!(begun.elapsed() < PATIENCE, "it hangs and is called alive");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(
        dead.starts_with("worker 1 has not come round for 1"),
        "{dead}"
    );
    assert!(
        begun.elapsed() > Duration::from_secs(9),
        "not at the first pause"
    );
    assert_eq!(house.admin("/startupz").await.status, 200, "never no again");
    house.site.failpoints("");
    let wait = house.cli(&["wait", "--for", "live"]).await;
    assert!(wait.status.success(), "{}", said(&wait));
}

#[tokio::test]
async fn a_service_manager_that_is_not_there_is_no_reason_not_to_serve() {
    let wise = house::wise().await;
    let site = told(&wise, &[]).await;
    let house = site.start_as(with_variables(&site, &[])).await;
    house.logs("cannot be told anything").await;
    assert_eq!(house.get("/v1/me").await.status, 200);
    assert_eq!(house.stop().await.code(), Some(0));
}

#[tokio::test]
async fn an_abstract_notify_socket_is_reached_by_a_confined_proxy_too() {
    use std::os::linux::net::SocketAddrExt as _;
    let wise = house::wise().await;
    let site = told(&wise, &[]).await;
    let name = site.path("notify").display().to_string();
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let ear = std::os::unix::net::UnixDatagram::bind_addr(&address).unwrap();
    ear.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = site.run();
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let house = site.start_as(command).await;
    let hear = move || {
        let mut bytes = [0; 4096];
        let length = ear.recv(&mut bytes).unwrap();
        (ear, String::from_utf8(bytes[..length].to_vec()).unwrap())
    };
    let (ear, first) = tokio::task::spawn_blocking(hear).await.unwrap();
    assert!(first.starts_with("READY=1\n"), "{first}");
    house.switch("oauth").await;
    let next = move || {
        let mut bytes = [0; 4096];
        let length = ear.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let next = tokio::task::spawn_blocking(next).await.unwrap();
    assert!(
        next.starts_with("STATUS=lane oauth"),
        "long after the confinement: {next}"
    );
}

#[tokio::test]
async fn wait_returns_when_the_proxy_is_there_and_says_why_when_it_is_not() {
    let wise = house::wise().await;
    let site = House::on(&wise).logged_out().prepare().await;
    let nobody = site.cli(&["wait", "--timeout", "0s"]).await;
    assert_eq!(nobody.status.code(), Some(69));
    let config = site.config.display().to_string();
    let words = said(&nobody).replace(site.socket.to_str().unwrap(), "SOCKET");
    insta::assert_snapshot!(words.replace(&config, "CONFIG"), @r"
    error: not ready
    cause: no proxy listens on SOCKET
    hint: start it with `wise-auth-proxy run --config CONFIG`, or name the socket of one that runs with --socket
    ");

    // Asked before the start, answered after it.
    let (site, early) = (site.clone(), site);
    let early = tokio::spawn(async move { early.cli(&["wait", "--for", "started"]).await });
    let house = site.start().await;
    let early = early.await.unwrap();
    assert!(early.status.success(), "{}", said(&early));
    assert!(said(&early).contains("started after "), "{}", said(&early));

    for (state, code) in [("live", 0), ("started", 0), ("ready", 69)] {
        for url in [false, true] {
            let address = house.admin.to_string();
            let address = if url {
                format!("http://{address}/")
            } else {
                address
            };
            let asked = ["wait", "--for", state, "--timeout", "0s"];
            let there = house.cli(&asked).await;
            let outside = house
                .cli(&[&asked[..], &["--address", &address]].concat())
                .await;
            for answer in [there, outside] {
                assert_eq!(
                    answer.status.code(),
                    Some(code),
                    "{state}: {}",
                    said(&answer)
                );
            }
        }
    }
    let short = house.cli(&["wait", "--timeout", "300ms"]).await;
    assert_eq!(short.status.code(), Some(69));
    let words = said(&short);
    assert!(words.starts_with("waiting: grant main: "), "{words}");
    assert!(
        words.contains("error: not ready within 300ms\ncause: grant main: "),
        "{words}"
    );
    assert_eq!(
        words.matches("waiting: ").count(),
        1,
        "each reason once: {words}"
    );

    let (waiting, login) = tokio::join!(house.cli(&["wait", "--json"]), async {
        house.logs("serving").await;
        site.log_in(&wise, "main", PROFILE).await;
    });
    let () = login;
    assert!(waiting.status.success(), "{}", said(&waiting));
    let answer: serde_json::Value = serde_json::from_slice(&waiting.stdout).unwrap();
    assert_eq!(answer["state"], "ready");
}

#[tokio::test]
async fn wait_tells_a_door_from_the_admin_address_and_a_mistake_from_both() {
    let wise = house::wise().await;
    let house = House::on(&wise).lane("personal").logged_out().start().await;
    let door = house.door.to_string();
    let wrong = house
        .cli(&["wait", "--address", &door, "--timeout", "10s"])
        .await;
    assert_eq!(wrong.status.code(), Some(69));
    assert!(
        said(&wrong).contains("name the admin address, not a door"),
        "{}",
        said(&wrong)
    );
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let nobody = ["wait", "--address", &address, "--timeout", "0s"];
    let nobody = house.cli(&nobody).await;
    assert_eq!(nobody.status.code(), Some(69));
    let config = house.site.config.display().to_string();
    let words = said(&nobody).replace(&address, "ADDRESS");
    let words = words.replace(&config, "CONFIG");
    insta::assert_snapshot!(words, @"
    error: not ready
    cause: nothing listens at ADDRESS
    hint: start the proxy with `wise-auth-proxy run --config CONFIG`, or name the address that `wise-auth-proxy config show --config CONFIG` lists as admin.address
    ");
    for typed in ["8081", "http://127.0.0.1:8081/status", "https://", ""] {
        let refused = house.cli(&["wait", "--address", typed]).await;
        assert_eq!(
            refused.status.code(),
            Some(2),
            "{typed:?}: {}",
            said(&refused)
        );
    }
}

#[tokio::test]
async fn shutdown_answers_first_lets_requests_finish_and_returns_when_all_is_over() {
    let wise = house::wise().await;
    let house = House::on(&wise).lane("personal").logged_out().start().await;
    let mut sending = in_flight(&wise, &house).await;

    let site = house.site.clone();
    let waiting = tokio::spawn(async move { site.cli(&["shutdown", "--wait", "--json"]).await });
    house.logs("asked to stop").await;
    house.status_until(|status| status["ready"] == false).await;
    assert_eq!(house.admin("/readyz").await.status, 503);
    assert_eq!(
        house.admin("/livez").await.status,
        200,
        "it lives to its end"
    );
    let second = house.cli(&["shutdown"]).await;
    assert!(second.status.success(), "{}", said(&second));
    assert!(
        said(&second).contains("stopping already"),
        "{}",
        said(&second)
    );
    assert!(!waiting.is_finished(), "a request is in flight");

    sending.send("world").await;
    let head = sending.read_to("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let first = waiting.await.unwrap();
    assert!(!house.site.socket.exists(), "it returned after the end");
    assert!(first.status.success(), "{}", said(&first));
    let answer: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(
        answer,
        serde_json::json!({ "stopping": true, "already": false, "at_most_seconds": 70 })
    );
    assert_eq!(house.ended().await.code(), Some(0));

    let nobody = house.cli(&["shutdown"]).await;
    assert_eq!(nobody.status.code(), Some(69), "{}", said(&nobody));
}

#[tokio::test]
async fn quitquitquit_ends_the_proxy_over_the_socket_and_nothing_does_over_tcp() {
    let wise = house::wise().await;
    let house = House::on(&wise).lane("personal").logged_out().start().await;
    for path in ["/quitquitquit", "/shutdown"] {
        for method in [Method::POST, Method::GET] {
            let request = Request::builder().method(method).uri(path);
            let request = request.body(Bytes::new()).unwrap();
            let mut connection = Connection::to(house.admin).await;
            assert_eq!(connection.request(request).await.unwrap().status, 404);
        }
        let get = Request::get(path).body(Bytes::new()).unwrap();
        assert_eq!(
            house.operate(get).await.status,
            405,
            "a look changes nothing"
        );
    }
    assert_eq!(house.get("/v1/me").await.status, 200);
    let answer = house
        .operate(post("/quitquitquit", &serde_json::json!({})))
        .await;
    assert_eq!(answer.json()["stopping"], true);
    assert_eq!(house.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_cuts_off_what_the_first_lets_finish() {
    let wise = house::wise().await;
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        let house = House::on(&wise).lane("personal").logged_out().start().await;
        let mut sending = in_flight(&wise, &house).await;
        house.signal(first);
        house.logs("stopping").await;
        house.signal(second);
        let ended = house.ended().await;
        assert_eq!(ended.code(), Some(1), "{}", house.log());
        house
            .logs("a second signal: requests in flight are cut off")
            .await;
        house.logs("stopped before it was done").await;
        house.logs("stopped\n").await;
        let rest = sending.rest().await;
        assert!(
            !rest.ends_with(b"0\r\n\r\n"),
            "cut off, and not as if whole"
        );
    }
}

/// A proxy that is handed `socket`, as a service manager does it.
fn handed(site: &Site, socket: OwnedFd) -> (House, watch::Receiver<String>) {
    let run = site.run();
    let mut command = std::process::Command::new("/bin/sh");
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=app exec \"$0\" \"$@\" 3<&0 </dev/null";
    command
        .args(["-c", script])
        .arg(run.get_program())
        .args(run.get_args());
    command.env_clear().current_dir(site.directory.path());
    command.envs(
        run.get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    site.spawn_from(command, Stdio::from(socket))
}

/// A site with one more door, at an address that somebody else has opened.
async fn with_door(wise: &wise_auth_proxy::simulator::Simulator, door: &str) -> Site {
    let plan = House::on(wise).lane("personal").logged_out();
    let plan = plan.set("hardening.files", "required");
    plan.toml(&format!("[[door]]\n{door}\n")).prepare().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_restart_nobody_is_refused_at_a_door_that_was_handed_in() {
    let wise = house::wise().await;
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = door.local_addr().unwrap();
    let site = with_door(&wise, &format!("address = \"{address}\"")).await;
    let socket = || OwnedFd::from(door.try_clone().unwrap());

    let (house, seen) = handed(&site, socket());
    let first = house.expect(seen).await;
    first.logs(&address.to_string()).await;

    // Connects without end, each time anew; counts who was served and who was told that we leave.
    let stop = Arc::new(Mutex::new(false));
    let ended = Arc::clone(&stop);
    let customers = tokio::spawn(async move {
        let (mut served, mut turned_away) = (0, 0);
        while !*ended.lock().unwrap() {
            let mut connection = Connection::try_to(address).await.expect("never refused");
            let request = Request::get("/v1/me").body(Bytes::new()).unwrap();
            let answer = connection.request(request).await.expect("answered");
            if answer.status == 200 {
                served += 1;
            } else {
                // Let in when we had begun to leave.
                assert_eq!(answer.problem(), "shutting-down");
                turned_away += 1;
            }
        }
        (served, turned_away)
    });
    served_by(&wise, 20, &customers).await;
    assert_eq!(first.stop().await.code(), Some(0));
    // Nobody is there now, and still the door is open.
    let mut patient = Connection::try_to(address).await.expect("it is open");
    let waiting = tokio::spawn(async move {
        let request = Request::get("/v1/me").body(Bytes::new()).unwrap();
        patient.request(request).await.unwrap().status
    });
    let before = wise.recorded().len();
    let (house, seen) = handed(&site, socket());
    let second = house.expect(seen).await;
    assert_eq!(waiting.await.unwrap(), 200, "served by the next one");
    served_by(&wise, before + 20, &customers).await;
    *stop.lock().unwrap() = true;
    let (served, turned_away) = customers.await.expect("nobody was refused");
    assert!(served > 40, "{served}");
    assert!(
        turned_away <= 2,
        "one customer, one moment: {turned_away} of {served}"
    );
    assert_eq!(second.stop().await.code(), Some(0));
}

/// Waits until Wise has seen so many requests, or the customers have given up.
async fn served_by<T>(
    wise: &wise_auth_proxy::simulator::Simulator,
    wanted: usize,
    customers: &tokio::task::JoinHandle<T>,
) {
    wise.until(|wise| wise.recorded().len() > wanted || customers.is_finished())
        .await;
}

#[tokio::test]
async fn a_unix_door_that_was_handed_in_is_served_and_its_file_stays() {
    use std::os::unix::fs::PermissionsExt;
    let wise = house::wise().await;
    let site = with_door(&wise, "address = \"unix:app.sock\"\nmode = \"0660\"").await;
    let path = site.path("app.sock");
    let door = UnixListener::bind(&path).unwrap();
    let allow = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();

    // Looser than the door: anybody could pay.
    allow(0o666);
    let (house, _) = handed(&site, door.try_clone().unwrap().into());
    assert_eq!(house.ended().await.code(), Some(1));
    house.logs("say SocketMode=0660 in the socket unit").await;

    allow(0o660);
    let (house, seen) = handed(&site, door.try_clone().unwrap().into());
    let house = house.expect(seen).await;
    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::get("/v1/me").header("host", "localhost");
    let request = request.body(http_body_util::Empty::<Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    drop(sender);
    assert_eq!(house.stop().await.code(), Some(0));
    assert!(path.exists(), "it belongs to who opened it");
}

#[tokio::test]
async fn a_socket_for_no_door_or_that_does_not_listen_stops_the_start() {
    let wise = house::wise().await;
    let site = House::on(&wise)
        .lane("personal")
        .logged_out()
        .prepare()
        .await;
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap();
    let (house, _) = handed(&site, stranger.into());
    assert_eq!(house.ended().await.code(), Some(1));
    house
        .logs(&format!(
            "nothing in the configuration listens on {address}"
        ))
        .await;

    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    for not_a_listener in [
        OwnedFd::from(ours),
        std::fs::File::open("/dev/null").unwrap().into(),
    ] {
        let (house, _) = handed(&site, not_a_listener);
        assert_eq!(house.ended().await.code(), Some(1));
        house
            .logs("descriptor 3, which LISTEN_FDS promises, is not a listening")
            .await;
        house.logs("hint: look at the socket unit").await;
    }
}

#[tokio::test]
async fn the_admin_listeners_can_be_handed_in_as_well() {
    let wise = house::wise().await;
    let page = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = page.local_addr().unwrap();
    let plan = House::on(&wise).lane("personal").logged_out();
    let plan = plan.set("admin.address", &address.to_string());
    let (house, seen) = handed(&plan.prepare().await, page.into());
    let house = house.expect(seen).await;
    assert_eq!(house.admin, address);
    assert_eq!(house.admin("/readyz").await.status, 200);
}
