//! Somebody is asked, and the identical request leaves once more.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use super::*;
use crate::house::PATIENCE;
use crate::wire::Wire;

pub const SECRET_PATH: &str = "/approve/sEcReTrOoM";

/// What a webhook was asked, and where its answer comes from.
pub struct Asked {
    pub fields: HeaderMap,
    pub question: Value,
    pub answer: oneshot::Sender<StatusCode>,
}

/// Somebody who approves at a URL, by the hand of the test.
pub struct Approver {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// How many came, and how many connections have ended.
    pub came: watch::Receiver<usize>,
    ended: watch::Receiver<usize>,
}

impl Approver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (tell, came) = watch::channel(0);
        let (over, ended) = watch::channel(0);
        let (tell, over, all) = (Arc::new(tell), Arc::new(over), Arc::clone(&asked));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tell, over, all) = (Arc::clone(&tell), Arc::clone(&over), Arc::clone(&all));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (tell, all) = (Arc::clone(&tell), Arc::clone(&all));
                    async move {
                        assert_eq!(request.uri().path(), SECRET_PATH);
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let (answer, said) = oneshot::channel();
                        all.lock().unwrap().push(Asked {
                            fields: head.headers,
                            question: serde_json::from_slice(&body).unwrap(),
                            answer,
                        });
                        tell.send_modify(|came| *came += 1);
                        let mut answer = Response::new(Full::new(Bytes::new()));
                        *answer.status_mut() = said.await.unwrap_or(StatusCode::GONE);
                        Ok::<_, Infallible>(answer)
                    }
                });
                tokio::spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                    over.send_modify(|ended| *ended += 1);
                });
            }
        });
        Self {
            address,
            asked,
            came,
            ended,
        }
    }

    /// Waits until so many questions came in all, and takes the newest.
    pub async fn asked(&self, count: usize) -> Asked {
        let mut came = self.came.clone();
        let enough = came.wait_for(|came| *came >= count);
        let _ = tokio::time::timeout(PATIENCE, enough)
            .await
            .expect("it is asked")
            .unwrap();
        self.asked.lock().unwrap().pop().unwrap()
    }

    /// Waits until so many questions are over, answered or not.
    pub async fn over(&self, count: usize) {
        let mut ended = self.ended.clone();
        let enough = ended.wait_for(|ended| *ended >= count);
        let _ = tokio::time::timeout(PATIENCE, enough)
            .await
            .expect("it is over")
            .unwrap();
    }

    /// A guarded house that asks here.
    pub async fn house(&self, plan: impl FnOnce(Plan<'_>) -> Plan<'_>) -> Guarded {
        let wise = house::wise().await;
        let site = self.site(plan(House::on(&wise))).await;
        let house = site.start().await;
        Guarded::new(wise, house).await
    }

    /// A site whose proxy will ask here.
    pub async fn site(&self, plan: Plan<'_>) -> Site {
        let toml = "[sca]\napproval_webhook = { file = \"hook\" }\n\
                    approval_authorization = { file = \"hook_key\" }\n";
        let site = plan.toml(toml).prepare().await;
        site.secret("hook", &format!("http://{}{SECRET_PATH}\n", self.address));
        site.secret("hook_key", "Bearer sEcReTkEy");
        site
    }
}

/// A program that writes down what it was asked, and ends as the test says through a pipe.
struct Program {
    asked: PathBuf,
    answer: PathBuf,
    words: String,
}

impl Program {
    fn new(site: &Site) -> Self {
        let [program, asked, answer] = ["approve", "asked", "answer"].map(|name| site.path(name));
        let text = format!(
            "#!/bin/sh\ncat > {0}\necho $$ > {0}.pid\nread code < {1}\nexit $code\n",
            asked.display(),
            answer.display()
        );
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&answer).status();
        assert!(made.unwrap().success());
        Self {
            asked,
            answer,
            words: format!("[sca]\napproval_command = [\"{}\"]\n", program.display()),
        }
    }

    /// Waits until the program runs and reads its answer, and gives it.
    async fn says(&self, code: u8) -> Value {
        let (told, heard) = oneshot::channel();
        let pipe = self.answer.clone();
        // A thread of its own: the opening waits for the reader, perhaps for ever.
        std::thread::spawn(move || {
            std::fs::write(pipe, format!("{code}\n")).unwrap();
            let _ = told.send(());
        });
        tokio::time::timeout(PATIENCE, heard)
            .await
            .expect("it is asked")
            .unwrap();
        serde_json::from_slice(&std::fs::read(&self.asked).unwrap()).unwrap()
    }
}

/// A guarded house that asks a program.
async fn by_program(plan: impl Fn(Plan<'_>) -> Plan<'_>) -> (Guarded, Program) {
    let wise = house::wise().await;
    let site = House::on(&wise).prepare().await;
    let program = Program::new(&site);
    let plan = plan(House::on(&wise)).inside(&site).toml(&program.words);
    let house = plan.start().await;
    (Guarded::new(wise, house).await, program)
}

fn status_asked(guarded: &Guarded) -> Vec<Recorded> {
    let mut asked = guarded.wise.recorded();
    asked.retain(|it| it.target == "/v1/one-time-token/status");
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_approves_and_the_request_leaves_with_the_token_alone() {
    for http in ["1.1", "2"] {
        let (guarded, program) = by_program(|plan| plan.set("upstream.http", http)).await;
        let funding = guarded.fund();
        let approving = async {
            // Who is asked has the user clear the challenge first; the simulator plays the user.
            guarded
                .wise
                .until(|wise| !wise.challenges().is_empty())
                .await;
            guarded
                .wise
                .until(|_| !status_asked(&guarded).is_empty())
                .await;
            let ott = word(&guarded.wise.challenges()[0]["oneTimeToken"]);
            while guarded.wise.approve(Some(&ott), None) == 0 {}
            (program.says(0).await, ott)
        };
        let (answer, (question, ott)) = tokio::join!(funding, approving);
        assert_paid(&answer);
        assert_eq!(guarded.statuses(), [403, 201]);
        let arrived = guarded.arrived();
        assert_eq!(field(&arrived[1], "x-2fa-approval"), [&*ott]);
        assert!(field(&arrived[1], "x-signature").is_empty());
        assert_eq!(others(&arrived[0]), others(&arrived[1]));
        assert_eq!(arrived[0].body, arrived[1].body);
        let asked = status_asked(&guarded);
        assert_eq!(asked.len(), 1);
        assert_eq!(field(&asked[0], "one-time-token"), [&*ott]);
        assert_eq!(
            asked[0].credential, arrived[0].credential,
            "the same user's"
        );

        assert_eq!(question["one_time_token"], *ott);
        assert_eq!(question["operation"], FUND);
        assert_eq!(question["action"], "TRANSFER__FUND");
        assert_eq!(question["method"], "POST");
        assert_eq!(question["path"], guarded.path);
        assert_eq!(question["profile"], PROFILE.to_string());
        assert_eq!(question["grant"], "main");
        assert_eq!(question["lane"], "oauth-mtls");
        assert_eq!(question["valid_for"], 3_600);
        assert!((guarded.paid().await - 1.0).abs() < 0.01);
        guarded.is_noted(&ott, &["approved"]).await;
        let left = guarded.house.status().await["confinement"]["left_out"].to_string();
        assert!(left.contains("sca.approval_command"), "{left}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_does_not_approve_leaves_wises_answer_as_it_was() {
    let (guarded, program) = by_program(|plan| plan).await;
    guarded
        .wise
        .change_faults(|faults| faults.resource.sca_body = true);
    let (answer, question) = tokio::join!(guarded.fund(), program.says(1));
    let ott = challenged(&answer);
    assert_eq!(question["one_time_token"], *ott, "Wise's own first answer");
    assert_eq!(question["challenges"], json!(["SMS"]));
    assert_eq!(
        answer.json()["message"],
        "You are forbidden to send this request"
    );
    assert!(answer.headers.contains_key("x-trace-id"));
    assert_eq!(guarded.statuses(), [403], "nothing was sent again");
    guarded.is_noted(&ott, &["refused"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_approves_by_its_status() {
    let approver = Approver::start().await;
    let guarded = approver.house(|plan| plan).await;
    let answering = async {
        let asked = approver.asked(1).await;
        assert_eq!(asked.fields["authorization"], "Bearer sEcReTkEy");
        assert_eq!(asked.fields["content-type"], "application/json");
        let ott = word(&asked.question["one_time_token"]);
        assert_eq!(guarded.wise.approve(Some(&ott), None), 1);
        asked.answer.send(StatusCode::NO_CONTENT).unwrap();
        ott
    };
    let (answer, ott) = tokio::join!(guarded.fund(), answering);
    assert_paid(&answer);
    guarded.is_noted(&ott, &["approved"]).await;
    guarded.is_noted("sEcReT", &[]).await;

    // Said yes without a human, Wise asks again, and that is the answer.
    let guarded = approver.house(|plan| plan).await;
    let answering = async {
        let asked = approver.asked(2).await;
        asked.answer.send(StatusCode::OK).unwrap();
        word(&asked.question["one_time_token"])
    };
    let (answer, ott) = tokio::join!(guarded.fund(), answering);
    assert_ne!(challenged(&answer), ott, "Wise's second answer");
    assert_eq!(guarded.statuses(), [403, 403], "no third");
    guarded.is_noted(&ott, &["approval_not_taken"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_yes_is_a_no() {
    let approver = Approver::start().await;
    let guarded = approver.house(|plan| plan).await;
    for (number, status) in [(1, 403), (2, 302), (3, 500)] {
        let answering = async {
            let asked = approver.asked(number).await;
            let status = StatusCode::from_u16(status).unwrap();
            asked.answer.send(status).unwrap();
        };
        let (answer, ()) = tokio::join!(guarded.fund(), answering);
        challenged(&answer);
    }
    // Nor is nobody at all.
    guarded
        .house
        .site
        .secret("hook", "http://127.0.0.1:9/nobody/sEcReTrOoM");
    let ott = challenged(&guarded.fund().await);
    assert_eq!(guarded.statuses(), [403; 4]);
    guarded
        .house
        .logs("nobody could be asked for an approval")
        .await;
    guarded.is_noted(&ott, &["refused"]).await;
    guarded.is_noted("sEcReT", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_are_asked_both_must_approve() {
    let approver = Approver::start().await;
    let wise = house::wise().await;
    let site = House::on(&wise).prepare().await;
    let program = Program::new(&site);
    site.secret("hook", &format!("http://{}{SECRET_PATH}", approver.address));
    let words = format!(
        "{}approval_webhook = {{ file = \"hook\" }}\n",
        program.words
    );
    let house = House::on(&wise).inside(&site).toml(&words).start().await;
    let guarded = Guarded::new(wise, house).await;

    let answering = async {
        approver.asked(1).await.answer.send(StatusCode::OK).unwrap();
        program.says(1).await;
    };
    let (answer, ()) = tokio::join!(guarded.fund(), answering);
    challenged(&answer);
    assert_eq!(guarded.statuses(), [403]);

    let answering = async {
        let asked = approver.asked(2).await;
        let ott = word(&asked.question["one_time_token"]);
        assert_eq!(guarded.wise.approve(Some(&ott), None), 1);
        program.says(0).await;
        asked.answer.send(StatusCode::OK).unwrap();
    };
    let (answer, ()) = tokio::join!(guarded.fund(), answering);
    assert_paid(&answer);
    assert!((guarded.paid().await - 1.0).abs() < 0.01);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_longer_than_the_configuration_says() {
    let approver = Approver::start().await;
    let guarded = approver
        .house(|plan| plan.set("sca.approval_wait", "1s"))
        .await;
    let ott = challenged(&guarded.fund().await);
    let question = approver.asked(1).await.question;
    assert_eq!(question["one_time_token"], *ott);
    // The question is withdrawn.
    approver.over(1).await;
    assert_eq!(guarded.statuses(), [403]);
    guarded.is_noted(&ott, &["timed_out"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_may_wait_get_wises_answer_and_who_waits_holds_no_connection() {
    let approver = Approver::start().await;
    let guarded = approver
        .house(|plan| {
            plan.set("sca.max_waiting", "1")
                .set("upstream.max_connections", "1")
                .set("upstream.warm_connections", "0")
                .set("upstream.http", "1.1")
                .set("runtime.workers", "1")
        })
        .await;
    let waiting = guarded.fund();
    let meanwhile = async {
        let asked = approver.asked(1).await;
        // The one connection that there may be is free.
        assert_eq!(guarded.house.get("/v1/me").await.status, 200);
        let other = challenged(&guarded.fund().await);
        asked.answer.send(StatusCode::FORBIDDEN).unwrap();
        other
    };
    let (answer, other) = tokio::join!(waiting, meanwhile);
    assert_ne!(challenged(&answer), other);
    guarded.is_noted(&other, &["too_many", "refused"]).await;
    // The place is free again.
    let answering = async {
        let asked = approver.asked(2).await;
        asked.answer.send(StatusCode::FORBIDDEN).unwrap();
    };
    challenged(&tokio::join!(guarded.fund(), answering).0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_goes_away_takes_its_question_with_it() {
    let approver = Approver::start().await;
    let guarded = approver
        .house(|plan| plan.set("sca.max_waiting", "1"))
        .await;
    let body = "{\"type\":\"BALANCE\"}";
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        guarded.path,
        body.len()
    );
    let leaves: [fn(Wire); 2] = [drop, Wire::reset];
    for (number, leaves) in (1..).zip(leaves) {
        let mut application = Wire::to(guarded.house.door).await;
        application.send(&head).await;
        let asked = approver.asked(number).await;
        leaves(application);
        approver.over(number).await;
        drop(asked);
        guarded.house.logs_times(number, " sca=abandoned").await;
        assert_eq!(
            guarded.statuses(),
            vec![403; number],
            "nothing was sent again"
        );
    }
    // One that only ends its side hears what Wise said.
    let mut application = Wire::to(guarded.house.door).await;
    application.send(&head).await;
    let _asked = approver.asked(3).await;
    application.half_close().await;
    let answer = application.read_to("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");

    let answering = async {
        let asked = approver.asked(4).await;
        asked.answer.send(StatusCode::FORBIDDEN).unwrap();
    };
    challenged(&tokio::join!(guarded.fund(), answering).0);
    assert!(guarded.paid().await.abs() < 0.01);
}

/// The program that was started for it ends, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_whose_question_is_withdrawn_is_killed() {
    let (guarded, program) = by_program(|plan| plan.set("sca.approval_wait", "1s")).await;
    challenged(&guarded.fund().await);
    let pid = std::fs::read_to_string(program.asked.with_extension("pid")).unwrap();
    let place = PathBuf::from(format!("/proc/{}", pid.trim()));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while place.exists() {
        assert!(tokio::time::Instant::now() < deadline, "it goes on");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_stops_gives_wises_answer_at_once() {
    let approver = Approver::start().await;
    let guarded = approver.house(|plan| plan).await;
    let stopping = async {
        let asked = approver.asked(1).await;
        guarded.house.signal("TERM");
        asked
    };
    let (answer, asked) = tokio::join!(guarded.fund(), stopping);
    let ott = challenged(&answer);
    assert_eq!(asked.question["one_time_token"], *ott);
    assert!(guarded.house.ended().await.success());
    guarded.house.logs(" sca=abandoned").await;
    assert!(
        !guarded.house.log().contains("still open at the end"),
        "{}",
        guarded.house.log()
    );
    assert_eq!(guarded.statuses(), [403]);
}

/// Wise ends a token when it is refreshed: what has waited leaves with the newest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_renewed_meanwhile_is_used() {
    let approver = Approver::start().await;
    let guarded = approver
        .house(|plan| plan.set("audit.file", "audit.log"))
        .await;
    let renewing = async {
        let asked = approver.asked(1).await;
        let renewed = guarded.house.cli(&["token", "refresh", "main"]).await;
        assert!(renewed.status.success(), "{renewed:?}");
        let ott = word(&asked.question["one_time_token"]);
        assert_eq!(guarded.wise.approve(Some(&ott), None), 1);
        asked.answer.send(StatusCode::OK).unwrap();
    };
    let (answer, ()) = tokio::join!(guarded.fund(), renewing);
    assert_paid(&answer);
    assert_eq!(guarded.statuses(), [403, 201], "no 401 between them");
    let arrived = guarded.arrived();
    assert_ne!(
        field(&arrived[0], "authorization"),
        field(&arrived[1], "authorization")
    );
    // The record names the token that was sent last.
    let generation = guarded.house.status().await["tokens"][0]["generation"].clone();
    assert!(guarded.house.stop().await.success());
    let record = recorded(&guarded);
    assert_eq!(record["generation"], generation, "{record}");
    assert_eq!(record["sca"], "approved");
}

/// Who cannot say what for asks nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_which_wise_says_nothing_is_not_asked_about() {
    use wise_auth_proxy::simulator::{Disturb, Disturbance};
    let approver = Approver::start().await;
    let guarded = approver.house(|plan| plan).await;
    guarded.wise.change_faults(|faults| {
        let mut disturb = Disturb::always(Disturbance::Garbage);
        disturb.prefix = Some("/v1/one-time-token".into());
        faults.resource.disturb = Some(disturb);
    });
    let ott = challenged(&guarded.fund().await);
    assert_eq!(*approver.came.borrow(), 0);
    assert_eq!(guarded.statuses(), [403]);
    guarded.is_noted(&ott, &["failed"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_personal_token_is_nobodys_to_approve() {
    let approver = Approver::start().await;
    let guarded = approver.house(|plan| plan.lane("personal")).await;
    let ott = challenged(&guarded.fund().await);
    assert_eq!(*approver.came.borrow(), 0);
    guarded.is_noted(&ott, &["passed"]).await;
}
