//! Under load: what an application must never notice.
//!
//! The load is 64 keep-alive connections that send small GETs, 2 KiB POSTs and 5 MiB bodies both
//! ways, as fast as the answers come. Every answer is compared with what Wise gives a client that
//! always has the right token.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::Request;
use serde_json::json;
use wise_auth_proxy::simulator::{Credential, Door, Options, Outcome, Simulator};

use crate::house::{self, Connection, House, post};

const CONNECTIONS: u64 = 64;
const BIG: usize = 5 * 1024 * 1024;
const PROFILES: [u64; 5] = [30_000_000, 30_000_001, 30_000_002, 30_000_003, 30_000_004];

/// A Wise with five business profiles whose access tokens live for three seconds.
async fn hasty_wise() -> Simulator {
    let wise = Simulator::start(Options {
        business_profiles: PROFILES.to_vec(),
        recorder_capacity: 400_000,
        ..house::wise_options()
    })
    .await
    .unwrap();
    wise.change_faults(|faults| faults.token.lifetime = 3);
    wise
}

/// Traffic until told to stop, and what came of it.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: tokio::task::JoinSet<Vec<String>>,
}

impl Load {
    fn on(house: &House) -> Self {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut tasks = tokio::task::JoinSet::new();
        let upload = Bytes::from(vec![7_u8; BIG]);
        let expected = hex(digest(&SHA256, &upload).as_ref());
        for number in 0..CONNECTIONS {
            let application = Application {
                door: house.door,
                number,
                upload: upload.clone(),
                digest: expected.clone(),
            };
            tasks.spawn(application.run(Arc::clone(&stop), Arc::clone(&done)));
        }
        Self { stop, done, tasks }
    }

    /// Stops the traffic. Returns the number of requests and everything that was wrong.
    async fn end(mut self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut wrong = Vec::new();
        while let Some(of_one) = self.tasks.join_next().await {
            wrong.extend(of_one.unwrap());
        }
        (self.done.load(Ordering::Relaxed), wrong)
    }
}

struct Application {
    door: std::net::SocketAddr,
    number: u64,
    upload: Bytes,
    digest: String,
}

impl Application {
    async fn run(self, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> Vec<String> {
        let mut connection = Connection::to(self.door).await;
        let mut wrong = Vec::new();
        for turn in self.number.. {
            if stop.load(Ordering::Relaxed) || wrong.len() > 20 {
                break;
            }
            let profile = PROFILES[usize::try_from(turn).unwrap() % PROFILES.len()];
            if let Err(what) = self.one(&mut connection, turn, profile).await {
                wrong.push(format!("connection {} turn {turn}: {what}", self.number));
                connection = Connection::to(self.door).await;
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        wrong
    }

    /// One request and what its answer must be.
    async fn one(
        &self,
        connection: &mut Connection,
        turn: u64,
        profile: u64,
    ) -> Result<(), String> {
        let request = match turn % 40 {
            0 => Request::post("/v1/simulator/echo").body(self.upload.clone()),
            20 => Request::get(format!("/v1/simulator/bytes/{BIG}")).body(Bytes::new()),
            n if n % 4 == 1 => {
                let id = format!("load-{}-{turn}", self.number);
                let body = json!({ "customerTransactionId": id, "padding": "x".repeat(1_990) });
                Ok(post("/v1/simulator/echo", &body))
            }
            _ => Request::get(format!("/v2/profiles/{profile}")).body(Bytes::new()),
        };
        let mut request = request.unwrap();
        let text = profile.to_string();
        request
            .headers_mut()
            .insert("x-wise-profile", text.parse().unwrap());
        let path = request.uri().path().to_owned();
        let answer = connection
            .request(request)
            .await
            .map_err(|error| format!("{path}: {error:?}"))?;
        let short = answer.body.slice(..answer.body.len().min(300));
        let fail = |what: &str| Err(format!("{path}: {what}: {} {short:?}", answer.status));
        if answer.status != 200 {
            return fail("status");
        }
        match turn % 40 {
            0 if answer.json()["sha256"] != self.digest.as_str() => fail("digest"),
            20 if answer.body.len() != BIG => fail("length"),
            n if n % 4 == 1 && n != 0 && answer.json()["bytes"].as_u64() < Some(1_990) => {
                fail("post")
            }
            _ => Ok(()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

async fn house_on(wise: &Simulator) -> House {
    // A busy machine may take longer for an exchange than the default lets requests wait, and for an
    // upload than it lets an exchange wait: one that cannot be repeated would hear of the dead token.
    let mut plan = House::on(wise).set("tokens.wait", "20s");
    plan = plan.set("tokens.quiet", "10s");
    for (index, profile) in PROFILES.into_iter().enumerate() {
        plan = plan.grant(&format!("grant{index}"), profile);
    }
    plan.start().await
}

/// So many in an ordinary run, or as many as `LOAD=full` wants.
fn measure(ordinary: usize, full: usize) -> usize {
    let wanted = std::env::var("LOAD").is_ok_and(|load| load == "full");
    if wanted { full } else { ordinary }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refreshes_under_load_are_never_noticed() {
    let refreshes = measure(80, 200);
    let wise = hasty_wise().await;
    let house = house_on(&wise).await;
    let load = Load::on(&house);

    let refreshed = |wise: &Simulator| {
        wise.exchanges()
            .iter()
            .filter(|exchange| exchange.grant_type == "refresh_token")
            .count()
    };
    wise.until(|wise| refreshed(wise) >= refreshes).await;
    let (requests, wrong) = load.end().await;

    assert!(
        wrong.is_empty(),
        "{} of {requests} answers: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    for exchange in wise.exchanges() {
        assert!(
            matches!(exchange.outcome, Outcome::Minted { .. }),
            "{exchange:?}"
        );
    }
    // One exchange a generation: the generation of each grant counts its exchanges.
    for profile in PROFILES {
        let of_grant = wise
            .exchanges()
            .iter()
            .filter(|exchange| exchange.profile == Some(profile))
            .count();
        assert_eq!(
            wise.generation(profile),
            Some(of_grant as u64),
            "profile {profile}"
        );
    }
    assert_eq!(
        wise.counters().repeated(),
        Vec::<&str>::new(),
        "a POST was carried out twice"
    );
    let replays = house.metric("wise_proxy_replays_total", "").await;
    println!(
        "{requests} requests, {} refreshes, {replays} replays",
        refreshed(&wise)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switching_and_reloading_under_load_fail_no_request_and_mix_no_lanes() {
    // Ten to each reload.
    let reloads = measure(15, 50);
    let switches = 10 * reloads;
    let wise = hasty_wise().await;
    let house = house_on(&wise).await;
    let load = Load::on(&house);

    let lanes = ["personal", "oauth", "oauth-mtls"];
    for turn in 0..switches {
        house.turn(lanes[turn % lanes.len()]).await;
        if turn % 10 == 0 {
            house.site.certificate(&wise, &format!("turn{turn}"));
            house.reload().await;
            // Ten may be active; what retired eight reloads ago has no request left on it.
            if let Some(old) = turn.checked_sub(80) {
                wise.revoke_certificate(&format!("turn{old}")).unwrap();
            }
        }
    }
    let (requests, wrong) = load.end().await;

    assert!(
        wrong.is_empty(),
        "{} of {requests} answers: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    let mut seen = HashSet::new();
    let mut serials = HashSet::new();
    for arrived in wise.recorded() {
        if arrived.target.starts_with("/oauth/") {
            continue;
        }
        let certificate = arrived
            .tls
            .as_ref()
            .and_then(|tls| tls.client_certificate.clone());
        serials.extend(
            certificate
                .as_ref()
                .map(|certificate| certificate.serial.clone()),
        );
        let lane = match (arrived.door, &arrived.credential, certificate.is_some()) {
            (Door::Plain, Credential::Personal, false) => "personal",
            (Door::Plain, Credential::User { .. }, false) => "oauth",
            (Door::Mtls, Credential::User { .. }, true) => "oauth-mtls",
            _ => panic!("a request in no lane: {arrived:?}"),
        };
        seen.insert(lane);
    }
    assert_eq!(seen.len(), 3, "every lane carried traffic: {seen:?}");
    assert!(
        serials.len() > reloads / 3,
        "certificates in use: {}",
        serials.len()
    );
    assert_eq!(
        wise.counters().repeated(),
        Vec::<&str>::new(),
        "a POST was carried out twice"
    );
    let switches = house.metric("wise_proxy_lane_switches_total", "").await;
    println!(
        "{requests} requests, {switches} switches, {} certificates seen",
        serials.len()
    );
}
