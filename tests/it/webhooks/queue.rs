//! An application that is down, slow or unwilling, and a disk that does not take it.

use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::disk::Mount;

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

#[tokio::test]
async fn what_is_refused_three_times_is_set_aside_until_somebody_wants_it_back() {
    let setup = Setup::new().await;
    let house = setup.site.start().await;
    let to = door(&house).await;
    setup.application.then(&[410, 410, 410]);
    for name in ["poison", "next"] {
        assert_eq!(setup.sender.send(to, name).await.status, OK);
    }
    setup.application.got(4).await;
    assert_eq!(
        setup.application.ids(),
        ["poison", "poison", "poison", "next"]
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
    let arrived = setup.application.got(5).await;
    assert_eq!(arrived[4].id(), "poison");
    assert_eq!(arrived[4].body, body("poison"));
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
    let big = |id: &str| setup.sender.delivery(id, &vec![b' '; 500_000]);
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
