//! Who is told when something happens, and that it costs nobody anything.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use wise_auth_proxy::simulator::{Disturb, Disturbance};

use crate::house::{self, House, PATIENCE, PROFILE, Plan, post};

/// As chat rooms have them: who knows it may write there.
const SECRET_PATH: &str = "/services/T0/B0/sEcReTrOoM";
const KEY: &str = "Bearer sEcReTkEy";

/// A receiver of webhooks.
struct Receiver {
    address: SocketAddr,
    /// Statuses to answer with; 200 when there is none.
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
    got: watch::Receiver<Vec<(HeaderMap, Value)>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::new(Mutex::new(VecDeque::new()));
        let (tell, got) = watch::channel(Vec::new());
        let (tell, planned) = (Arc::new(tell), Arc::clone(&answers));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tell, planned) = (Arc::clone(&tell), Arc::clone(&planned));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (tell, planned) = (Arc::clone(&tell), Arc::clone(&planned));
                    async move {
                        assert_eq!(request.uri().path(), SECRET_PATH);
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let event = serde_json::from_slice(&body).unwrap();
                        let status = planned.lock().unwrap().pop_front();
                        tell.send_modify(|got| got.push((head.headers, event)));
                        let mut answer = Response::new(Full::new(Bytes::new()));
                        *answer.status_mut() = status.unwrap_or(StatusCode::OK);
                        Ok::<_, Infallible>(answer)
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self {
            address,
            answers,
            got,
        }
    }

    /// A house that tells this receiver.
    async fn house(&self, plan: Plan<'_>) -> House {
        let site = plan
            .toml("[notify]\nwebhook = { file = \"hook\" }\nauthorization = { file = \"hook_key\" }\n")
            .prepare()
            .await;
        site.secret("hook", &format!("http://{}{SECRET_PATH}\n", self.address));
        site.secret("hook_key", KEY);
        site.start().await
    }

    /// Waits for so many messages, and returns them.
    async fn messages(&self, number: usize) -> Vec<Value> {
        let mut got = self.got.clone();
        let enough = got.wait_for(|got| got.len() >= number);
        let got = tokio::time::timeout(PATIENCE, enough).await;
        let got = got.expect("the messages come").unwrap();
        got.iter().map(|(_, event)| event.clone()).collect()
    }
}

fn kinds(messages: &[Value]) -> Vec<&str> {
    let kinds = messages.iter().map(|message| message["kind"].as_str());
    kinds.map(Option::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_change_and_the_end_of_a_grant_reach_the_webhook() {
    let wise = house::wise().await;
    let receiver = Receiver::start().await;
    let proxy = receiver.house(House::on(&wise)).await;

    proxy.switch("personal").await;
    let messages = receiver.messages(1).await;
    assert_eq!(messages[0]["kind"], "lane_switched");
    let text = messages[0]["text"].as_str().unwrap();
    assert!(text.contains("oauth-mtls to personal"), "{text}");

    wise.disconnect(PROFILE);
    let refresh = proxy
        .operate(post("/tokens/main/refresh", &json!({})))
        .await;
    assert_ne!(refresh.status, 200);
    let messages = receiver.messages(2).await;
    assert_eq!(kinds(&messages), ["lane_switched", "grant_dead"]);
    assert_eq!(messages[1]["grant"], "main");
    assert_eq!(messages[1]["severity"], "error");
    assert!(messages[1]["text"].as_str().unwrap().contains("login"));
    let (head, _) = receiver.got.borrow()[0].clone();
    assert_eq!(head["authorization"], KEY);
    assert_eq!(head["content-type"], "application/json");
    let notifications = "wise_proxy_notifications_total";
    proxy.metric_until(notifications, 2.0).await;
    assert!(proxy.metric(notifications, "\"delivered\"").await > 1.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_renewal_is_told_once_and_its_end_once() {
    let wise = house::wise().await;
    let receiver = Receiver::start().await;
    let proxy = receiver.house(House::on(&wise)).await;
    let refresh = || post("/tokens/main/refresh", &json!({}));

    let trouble = Disturb::always(Disturbance::ServerError);
    wise.change_faults(|faults| faults.token.disturb = Some(trouble));
    for _ in 0..3 {
        assert_ne!(proxy.operate(refresh()).await.status, 200);
    }
    wise.change_faults(|faults| faults.token.disturb = None);
    assert_eq!(proxy.operate(refresh()).await.status, 200);
    // Whatever was told before this is there by then: messages come in order.
    proxy.switch("personal").await;

    let messages = receiver.messages(3).await;
    let wanted = ["renewal_failed", "renewal_recovered", "lane_switched"];
    assert_eq!(kinds(&messages), wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_in_trouble_hears_it_again_and_delays_no_request() {
    let wise = house::wise().await;
    let receiver = Receiver::start().await;
    let proxy = receiver.house(House::on(&wise)).await;
    let busy = StatusCode::SERVICE_UNAVAILABLE;
    receiver.answers.lock().unwrap().push_back(busy);

    proxy.switch("personal").await;
    assert_eq!(proxy.get("/v2/profiles").await.status, 200);
    let messages = receiver.messages(2).await;
    assert_eq!(messages[0]["id"], messages[1]["id"], "the same message");
    assert_eq!(kinds(&messages), ["lane_switched"; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_just_before_a_stop_is_still_told() {
    let wise = house::wise().await;
    let receiver = Receiver::start().await;
    let events = "events = [\"lane_switched\", \"stopping\"]\n";
    let site = House::on(&wise)
        .toml("[notify]\nwebhook = { file = \"hook\" }\n")
        .toml(events)
        .prepare()
        .await;
    site.secret("hook", &format!("http://{}{SECRET_PATH}", receiver.address));
    let proxy = site.start().await;
    proxy.switch("personal").await;
    assert!(proxy.stop().await.success());
    let messages = receiver.messages(2).await;
    assert_eq!(kinds(&messages), ["lane_switched", "stopping"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_says_what_came_of_each_way_and_shows_no_secret() {
    let wise = house::wise().await;
    let receiver = Receiver::start().await;
    let proxy = receiver.house(House::on(&wise)).await;

    let done = proxy.cli(&["notify", "test"]).await;
    assert!(done.status.success(), "{done:?}");
    assert_eq!(receiver.messages(1).await[0]["kind"], "test");

    receiver
        .answers
        .lock()
        .unwrap()
        .push_back(StatusCode::NOT_FOUND);
    let failed = proxy.cli(&["notify", "test"]).await;
    assert_eq!(failed.status.code(), Some(1));
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(
        text.contains("webhook: the webhook answered 404 Not Found"),
        "{text}"
    );
    assert!(text.contains("hint:"), "{text}");
    for output in [text, proxy.log(), proxy.status().await.to_string()] {
        for secret in ["sEcReTrOoM", "sEcReTkEy"] {
            assert!(!output.contains(secret), "{output}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_receiver_a_trial_says_what_to_set() {
    let wise = house::wise().await;
    let proxy = House::on(&wise).start().await;
    let failed = proxy.cli(&["notify", "test"]).await;
    assert_eq!(failed.status.code(), Some(1));
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(text.contains("notify.webhook"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_in_the_clear_beyond_this_machine_is_refused() {
    let wise = house::wise().await;
    let site = House::on(&wise)
        .toml("[notify]\nwebhook = { file = \"hook\" }\n")
        .prepare()
        .await;
    site.secret("hook", "http://alerts.example/sEcReTrOoM");
    let proxy = site.start().await;
    let failed = proxy.cli(&["notify", "test"]).await;
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(text.contains("must be https"), "{text}");
    assert!(!text.contains("sEcReTrOoM"), "{text}");
}

/// A program cannot be confined with the proxy and be of use: that measure is left out, and said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_is_started_for_a_lane_change() {
    use std::os::unix::fs::PermissionsExt as _;
    let wise = house::wise().await;
    let site = House::on(&wise).prepare().await;
    let (program, out) = (site.path("page"), site.path("paged"));
    let text = format!(
        "#!/bin/sh\ncat > {0}.new && mv {0}.new {0}\n",
        out.display()
    );
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let command = format!("[notify]\ncommand = [\"{}\"]\n", program.display());
    let proxy = House::on(&wise).inside(&site).toml(&command).start().await;

    proxy.switch("personal").await;
    proxy
        .metric_until("wise_proxy_notifications_total", 1.0)
        .await;
    let event: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!(event["kind"], "lane_switched");
    let left = proxy.status().await["confinement"]["left_out"].to_string();
    assert!(left.contains("notify.command"), "{left}");
}

/// What is wrong already when the proxy starts is what a restart must not hide.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_near_its_end_is_told_at_every_start() {
    let wise = house::wise().await;
    wise.change_faults(|faults| faults.hub.certificate_lifetime = 5 * 86_400);
    let receiver = Receiver::start().await;
    let site = House::on(&wise)
        .toml("[notify]\nwebhook = { file = \"hook\" }\n")
        .prepare()
        .await;
    site.secret("hook", &format!("http://{}{SECRET_PATH}", receiver.address));
    for start in 1..=2 {
        let proxy = site.start().await;
        let messages = receiver.messages(start).await;
        assert_eq!(kinds(&messages), vec!["certificate_expiring"; start]);
        assert!(proxy.stop().await.success());
    }
}
