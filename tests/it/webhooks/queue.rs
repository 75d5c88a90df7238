//! An application that is down, slow or unwilling, and a disk that does not take it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::disk::Mount;
use crate::doctor::doctor;

#[tokio::test]
async fn what_came_while_the_application_was_down_comes_once_and_in_order_over_a_kill() {
    let setup = Setup::new().await;
    setup.application.change(|mood| mood.down = true);
    let names = names(30);
    let house = setup.site.start().await;
    let to = door(&house).await;
    for name in &names[..20] {
        assert_eq!(setup.sender.send(to, name).await.status, OK);
    }
    let status = queued(&house, 20).await;
    let first = &status["webhooks"][0];
    assert!(first["oldest"].as_str().unwrap().ends_with('Z'), "{first}");
    // Tried in vain, more than once, and only the first of them.
    setup.application.turned_away(3).await;
    let status = house
        .status_until(|status| status["webhooks"][0]["trouble"].is_string())
        .await;
    let trouble = status["webhooks"][0]["trouble"].as_str().unwrap();
    assert!(trouble.contains("closed the connection"), "{trouble}");
    house.logs("a delivery waits").await;
    kill(&house).await;

    let house = setup.site.start().await;
    let to = door(&house).await;
    queued(&house, 20).await;
    for name in &names[20..] {
        assert_eq!(setup.sender.send(to, name).await.status, OK);
    }
    // What Wise had no answer for, as far as it knows.
    assert_eq!(setup.sender.send(to, &names[19]).await.status, OK);
    queued(&house, 30).await;
    setup.application.change(|mood| mood.down = false);
    let arrived = setup.application.got(30).await;
    queued(&house, 0).await;
    assert_eq!(setup.application.ids(), names);
    for (arrived, name) in arrived.iter().zip(&names) {
        assert_eq!(arrived.body, body(name));
    }
    house.logs("deliveries go on").await;
}

#[tokio::test]
async fn an_answer_of_another_time_keeps_the_order() {
    let setup = Setup::new().await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    setup.application.change(|mood| {
        mood.script.push_back((500, None));
        mood.script.push_back((302, None));
        mood.script.push_back((429, Some("0")));
    });
    for name in ["one", "two"] {
        assert_eq!(setup.sender.send(to, name).await.status, OK);
    }
    setup.application.got(5).await;
    queued(&house, 0).await;
    assert_eq!(setup.application.ids(), ["one", "one", "one", "one", "two"]);
    let page = "wise_proxy_webhook_forwards_total";
    for (outcome, count) in [("taken", 2.0), ("failed", 3.0), ("set_aside", 0.0)] {
        let counted = house.metric(page, &format!("outcome=\"{outcome}\"")).await;
        assert!((counted - count).abs() < 0.5, "{outcome}: {counted}");
    }
}

/// Waits until so many attempts have been noted as failed: from then on the clock may be moved.
#[cfg(feature = "failpoints")]
async fn failed(house: &House, count: u32) {
    let forwards = "wise_proxy_webhook_forwards_total";
    while house.metric(forwards, "outcome=\"failed\"").await < f64::from(count) - 0.5 {
        tokio::task::yield_now().await;
    }
}

/// Has what waits tried at once.
#[cfg(feature = "failpoints")]
async fn hurry(house: &House) {
    let retry = crate::house::post("/webhooks/transfers/retry", &serde_json::json!({}));
    assert_eq!(house.operate(retry).await.status, OK);
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn what_is_refused_three_times_is_set_aside_until_somebody_wants_it_back() {
    let setup = Setup::new().await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    setup.application.then(&[410; 5]);
    for name in ["poison", "next"] {
        assert_eq!(setup.sender.send(to, name).await.status, OK);
    }
    failed(&house, 1).await;
    // Within a minute of the first none counts, however often it is asked; then one, and none for two.
    for (count, boot) in [(2, 0), (3, 61), (4, 120)] {
        setup.site.failpoints(&format!("boot = {boot}"));
        hurry(&house).await;
        failed(&house, count).await;
    }
    setup.site.failpoints("boot = 182");
    hurry(&house).await;
    setup.application.got(6).await;
    assert_eq!(
        setup.application.ids(),
        ["poison", "poison", "poison", "poison", "poison", "next"]
    );
    let status = house
        .status_until(|status| status["webhooks"][0]["set_aside"] == 1)
        .await;
    let told = status["events"].to_string();
    assert!(
        told.contains("delivery_set_aside") && told.contains("410"),
        "{told}"
    );
    house.logs("a delivery was set aside").await;
    house
        .metric_until("wise_proxy_webhook_set_aside", 1.0)
        .await;
    // It is on the disk, and known.
    kill(&house).await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    assert_eq!(setup.sender.send(to, "poison").await.status, OK);
    let shown = house.cli(&["status"]).await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("transfers") && shown.contains("1 set aside"),
        "{shown}"
    );

    let examined = house.cli(&["doctor", "--offline"]).await;
    let examined = String::from_utf8(examined.stdout).unwrap();
    assert!(
        examined.contains("webhook.transfers.keys") && examined.contains("has refused 1"),
        "{examined}"
    );

    let listed = house.cli(&["webhook", "queue"]).await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    let row = listed.lines().last().unwrap();
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!((cells[0], cells[2], cells[4]), ("transfers", "0", "1"));
    let again = house
        .cli(&["webhook", "retry", "transfers", "--json"])
        .await;
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["retried"], 1);
    let arrived = setup.application.got(7).await;
    assert_eq!(arrived[6].id(), "poison");
    assert_eq!(arrived[6].body, body("poison"));
    house
        .status_until(|status| status["webhooks"][0]["set_aside"] == 0)
        .await;
    let list = Request::get("/webhooks").body(Bytes::new()).unwrap();
    assert_eq!(house.operate(list).await.json()[0]["name"], "transfers");
    let none = crate::house::post("/webhooks/other/retry", &serde_json::json!({}));
    assert_eq!(house.operate(none).await.status, 404);
    let none = house.cli(&["webhook", "retry", "transfers"]).await;
    let none = String::from_utf8(none.stderr).unwrap();
    assert!(none.contains("none was set aside"), "{none}");
    let nobody = house.cli(&["webhook", "retry", "other"]).await;
    assert!(!nobody.status.success(), "{nobody:?}");
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn what_was_set_aside_is_deleted_after_the_window_and_never_without_a_word() {
    const DAY: u64 = 24 * 60 * 60;
    let setup = Setup::new().await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    setup.application.then(&[410; 3]);
    assert_eq!(setup.sender.send(to, "poison").await.status, OK);
    for (count, boot) in [(1, 61), (2, 182)] {
        failed(&house, count).await;
        setup.site.failpoints(&format!("boot = {boot}"));
        hurry(&house).await;
    }
    house
        .metric_until("wise_proxy_webhook_set_aside", 1.0)
        .await;
    // A wall clock that is wrong deletes nothing.
    let wrong = 100 * DAY;
    setup
        .site
        .failpoints(&format!("boot = 182\nwall = {wrong}"));
    assert_eq!(setup.sender.send(to, "next").await.status, OK);
    setup.application.got(4).await;
    let status = queued(&house, 0).await;
    assert_eq!(status["webhooks"][0]["set_aside"], 1, "{status}");
    // Without any delivery: nobody has to send one for it.
    setup.site.failpoints(&format!("boot = {}", 16 * DAY));
    let status = house
        .status_until(|status| status["webhooks"][0]["set_aside"] == 0)
        .await;
    let told = status["events"].to_string();
    assert!(
        told.contains("delivery_expired") && told.contains("poison"),
        "{told}"
    );
    house.logs("that was set aside has been deleted").await;
    let forwards = "wise_proxy_webhook_forwards_total";
    let expired = house.metric(forwards, "outcome=\"expired\"").await;
    assert!((expired - 1.0).abs() < 0.5, "{expired}");
}

#[tokio::test]
async fn what_a_gateway_says_while_the_application_is_put_in_place_sets_nothing_aside() {
    let setup = Setup::new().await;
    setup.application.change(|mood| {
        let answers = [401, 403, 404, 405, 407].map(|status| (status, Some("0")));
        mood.script.extend(answers);
    });
    let house = setup.site.start().await;
    let to = door(&house).await;
    for name in ["one", "two"] {
        assert_eq!(setup.sender.send(to, name).await.status, OK);
    }
    setup.application.got(7).await;
    let status = queued(&house, 0).await;
    assert_eq!(status["webhooks"][0]["set_aside"], 0);
    let ids = ["one", "one", "one", "one", "one", "one", "two"];
    assert_eq!(setup.application.ids(), ids);
}

/// An application that takes deliveries and whose answers end with their heads.
#[tokio::test]
async fn a_head_without_its_body_is_an_answer() {
    let setup = Setup::with("forward_timeout = \"3s\"").await;
    let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let forward = format!("http://{}/", slow.local_addr().unwrap());
    let text = std::fs::read_to_string(&setup.site.config).unwrap();
    let old = format!("http://{}/hooks/wise?from=proxy", setup.application.address);
    std::fs::write(&setup.site.config, text.replace(&old, &forward)).unwrap();
    let house = setup.site.start().await;
    let to = door(&house).await;
    for name in ["one", "two"] {
        assert_eq!(setup.sender.send(to, name).await.status, OK);
    }
    let mut open = Vec::new();
    for name in ["one", "two"] {
        let (mut stream, _) = slow.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let read = stream.read(&mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head[..read]).into_owned();
        assert!(
            head.contains(&format!("x-delivery-id: {name}\r\n")),
            "{head}"
        );
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        open.push(stream);
    }
    queued(&house, 0).await;
    let taken = house
        .metric("wise_proxy_webhook_forwards_total", "outcome=\"taken\"")
        .await;
    assert!((taken - 2.0).abs() < 0.5, "{taken}");
}

#[tokio::test]
async fn a_signed_body_is_one_delivery_under_however_many_ids() {
    let setup = Setup::new().await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    assert_eq!(setup.sender.send(to, "one").await.status, OK);
    setup.application.got(1).await;
    for name in ["two", "three"] {
        let replay = setup.sender.delivery(name, body("one").as_bytes());
        assert_eq!(ask(to, replay).await.status, OK);
    }
    assert_eq!(setup.sender.send(to, "four").await.status, OK);
    setup.application.got(2).await;
    queued(&house, 0).await;
    assert_eq!(setup.application.ids(), ["one", "four"]);
    let counted = house
        .metric(
            "wise_proxy_webhook_deliveries_total",
            "outcome=\"duplicate\"",
        )
        .await;
    assert!((counted - 2.0).abs() < 0.5, "{counted}");
}

#[tokio::test]
async fn a_webhook_that_lost_its_name_is_told_of_with_what_waits_there() {
    let setup = Setup::new().await;
    setup.application.change(|mood| mood.down = true);
    let house = setup.site.start().await;
    let to = door(&house).await;
    for name in ["one", "two"] {
        assert_eq!(setup.sender.send(to, name).await.status, OK);
    }
    house.stop().await;
    let text = std::fs::read_to_string(&setup.site.config).unwrap();
    let renamed = text.replace("name = \"transfers\"", "name = \"moved\"");
    std::fs::write(&setup.site.config, renamed).unwrap();
    let house = setup.site.start().await;
    house.logs("2 deliveries wait in").await;
    house.logs("configure one called transfers").await;
    house.stop().await;
    setup.application.change(|mood| mood.down = false);
    std::fs::write(&setup.site.config, text).unwrap();
    let _house = setup.site.start().await;
    setup.application.got(2).await;
    assert_eq!(setup.application.ids(), ["one", "two"]);
}

#[tokio::test]
async fn no_more_than_allowed_are_kept_and_wise_is_told_to_come_again() {
    let setup = Setup::with("max_queued = 2").await;
    setup.application.change(|mood| mood.down = true);
    let house = setup.site.start().await;
    let to = door(&house).await;
    for name in ["one", "two"] {
        assert_eq!(setup.sender.send(to, name).await.status, OK);
    }
    let answer = setup.sender.send(to, "three").await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (503, "queue-full")
    );
    assert_eq!(answer.headers["retry-after"], "60");
    // A duplicate is none more.
    assert_eq!(setup.sender.send(to, "two").await.status, OK);
    setup.application.change(|mood| mood.down = false);
    setup.application.got(2).await;
    queued(&house, 0).await;
    assert_eq!(setup.sender.send(to, "three").await.status, OK);
    setup.application.got(3).await;
    assert_eq!(setup.application.ids(), ["one", "two", "three"]);
}

#[tokio::test]
async fn a_stop_ends_what_is_in_flight_and_keeps_the_rest() {
    let setup = Setup::with("forward_timeout = \"20s\"").await;
    // It takes the connection, and answers when it is told to.
    let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let forward = format!("http://{}/", slow.local_addr().unwrap());
    let text = std::fs::read_to_string(&setup.site.config).unwrap();
    let old = format!("http://{}/hooks/wise?from=proxy", setup.application.address);
    std::fs::write(&setup.site.config, text.replace(&old, &forward)).unwrap();
    let house = setup.site.start().await;
    let to = door(&house).await;
    for name in ["one", "two"] {
        assert_eq!(setup.sender.send(to, name).await.status, OK);
    }
    let (mut stream, _) = slow.accept().await.unwrap();
    house.signal("TERM");
    house.logs("stopping").await;
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(answer).await.unwrap();
    assert!(house.ended().await.success());
    std::fs::write(&setup.site.config, text).unwrap();
    let house = setup.site.start().await;
    setup.application.got(1).await;
    queued(&house, 0).await;
    assert_eq!(
        setup.application.ids(),
        ["two"],
        "the first was taken at the stop"
    );
}

#[tokio::test]
async fn a_damaged_queue_stops_no_payment_and_says_what_to_do() {
    let setup = Setup::new().await;
    setup.application.change(|mood| mood.down = true);
    let house = setup.site.start().await;
    assert_eq!(
        setup.sender.send(door(&house).await, "one").await.status,
        OK
    );
    house.stop().await;
    let file = setup.site.path("state/webhooks/transfers.redb");
    let whole = std::fs::read(&file).unwrap();
    setup.application.change(|mood| mood.down = false);
    let torn = || whole[..whole.len() / 2].to_vec();
    let flipped = || {
        let mut bytes = whole.clone();
        let at = bytes.windows(3).position(|it| it == b"one").unwrap();
        bytes[at] ^= 0x20;
        bytes
    };
    let overwritten = || vec![0x5a; whole.len()];
    for (what, bytes) in [
        ("torn", torn()),
        ("flipped", flipped()),
        ("overwritten", overwritten()),
    ] {
        println!("{what}");
        std::fs::write(&file, bytes).unwrap();
        let house = setup.site.start().await;
        assert_eq!(house.get("/v1/me").await.status, OK, "payments go on");
        let answer = setup.sender.send(door(&house).await, "two").await;
        let said = (answer.status.as_u16(), answer.problem());
        assert_eq!(
            said,
            (503, "queue-unavailable".to_owned()),
            "{}",
            house.log()
        );
        let status = house.status().await;
        let error = status["webhooks"][0]["error"].as_str().unwrap();
        assert!(
            error.contains("transfers.redb") && error.contains("move it away"),
            "{error}"
        );
        assert!(status["events"].to_string().contains("webhook_unkept"));
        let seen = doctor(&setup.site, &["--offline"]).await;
        let queue = "webhook.transfers.queue";
        assert_eq!(seen.state(queue), "failed", "{:#}", seen.check(queue));
        seen.says(queue, error, "answered 503 until then");
        house.logs("move it away").await;
        house.metric_until("wise_proxy_webhook_failing", 1.0).await;
        assert_eq!(house.admin("/readyz").await.status, OK);
        house.stop().await;
    }
    // Moved away under a running proxy, the next is begun by itself; and the whole one works again.
    let house = setup.site.start().await;
    std::fs::rename(&file, setup.site.path("damaged.redb")).unwrap();
    house.metric_until("wise_proxy_webhook_failing", 0.0).await;
    assert_eq!(
        setup.sender.send(door(&house).await, "two").await.status,
        OK
    );
    setup.application.got(1).await;
    queued(&house, 0).await;
    house.stop().await;
    std::fs::write(&file, whole).unwrap();
    let _house = setup.site.start().await;
    setup.application.got(2).await;
    assert_eq!(setup.application.ids(), ["two", "one"]);
}

#[tokio::test]
async fn a_full_disk_refuses_what_it_cannot_keep_and_goes_on_once_there_is_room() {
    let setup = Setup::new().await;
    let queues = setup.site.path("state/webhooks");
    std::fs::create_dir_all(&queues).unwrap();
    let options = ["-t", "tmpfs", "-o", "size=4m,mode=0700", "none"];
    let Some(_mount) = Mount::new(&options, &queues) else {
        return;
    };
    setup.application.change(|mood| mood.down = true);
    let house = setup.site.start().await;
    let to = door(&house).await;
    let big = |id: &str| {
        let body = format!("{id}{}", " ".repeat(500_000));
        setup.sender.delivery(id, body.as_bytes())
    };
    let mut kept = Vec::new();
    let refused = loop {
        let id = format!("big-{}", kept.len());
        let answer = ask(to, big(&id)).await;
        if answer.status != OK {
            assert_eq!(answer.problem(), "queue-unavailable");
            assert_eq!(answer.headers["retry-after"], "60");
            break id;
        }
        kept.push(id);
        assert!(kept.len() < 20, "the disk is never full");
    };
    assert!(!kept.is_empty());
    house.logs("deliveries cannot be kept").await;
    // What is kept goes on, and makes room for what Wise sends again.
    setup.application.change(|mood| mood.down = false);
    setup.application.got(kept.len()).await;
    queued(&house, 0).await;
    assert_eq!(ask(to, big(&refused)).await.status, OK);
    kept.push(refused);
    setup.application.got(kept.len()).await;
    assert_eq!(setup.application.ids(), kept);
}

#[tokio::test]
async fn a_second_proxy_on_the_store_waits_for_the_queue() {
    let setup = Setup::new().await;
    let first = setup.site.start().await;
    let mut other = setup.site.clone();
    other.socket = setup.site.path("other.sock");
    other.config = setup.site.path("other.toml");
    let text = std::fs::read_to_string(&setup.site.config).unwrap();
    let (one, two) = (setup.site.socket.display(), other.socket.display());
    let text = text.replace(&one.to_string(), &two.to_string());
    std::fs::write(&other.config, text).unwrap();
    let second = other.start().await;
    let to = door(&second).await;
    let answer = setup.sender.send(to, "one").await;
    assert_eq!(answer.problem(), "queue-unavailable");
    let status = second.status().await;
    let error = status["webhooks"][0]["error"].as_str().unwrap();
    assert!(error.contains("another process"), "{error}");
    first.stop().await;
    second.metric_until("wise_proxy_webhook_failing", 0.0).await;
    assert_eq!(setup.sender.send(to, "one").await.status, OK);
    setup.application.got(1).await;
}

#[tokio::test]
async fn a_reload_moves_the_application_and_another_webhook_wants_a_restart() {
    let setup = Setup::new().await;
    setup.application.change(|mood| mood.down = true);
    let house = setup.site.start().await;
    let to = door(&house).await;
    assert_eq!(setup.sender.send(to, "one").await.status, OK);
    setup.application.turned_away(1).await;
    let other = Application::start().await;
    let text = std::fs::read_to_string(&setup.site.config).unwrap();
    let (here, there) = (setup.application.address, other.address);
    let text = text.replace(&here.to_string(), &there.to_string());
    std::fs::write(&setup.site.config, &text).unwrap();
    let done = house
        .operate(crate::house::post("/reload", &serde_json::json!({})))
        .await
        .json();
    assert_eq!(done["changed"], serde_json::json!(["webhook"]));
    assert_eq!(done["needs_restart"], serde_json::json!([]));
    other.got(1).await;
    let more = text.replace(
        "[[webhook]]\n",
        "[[webhook]]\nname = \"more\"\naddress = \"127.0.0.1:0\"\nsignature_key = \"wise.pub\"\n\
         forward = \"http://127.0.0.1:1/\"\n[[webhook]]\n",
    );
    std::fs::write(&setup.site.config, more).unwrap();
    let done = house
        .operate(crate::house::post("/reload", &serde_json::json!({})))
        .await
        .json();
    assert_eq!(done["needs_restart"], serde_json::json!(["webhook"]));
    assert_eq!(setup.sender.send(to, "two").await.status, OK);
    other.got(2).await;
}
