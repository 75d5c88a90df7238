//! Two and ten processes on one store, started, stopped and killed under load.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use wise_auth_proxy::simulator::{Outcome, Rotation, Simulator};

use super::{
    MODES, PATH, Script, is_served, kill, no_litter, no_payment_twice, payment, random, wise,
};
use crate::house::{Connection, House, PATIENCE, PROFILE, post};

/// How long a test goes on: `WISE_TEST_SECONDS`, or `ordinary`.
fn lasting(ordinary: u64) -> Duration {
    let seconds = std::env::var("WISE_TEST_SECONDS").map_or(ordinary, |text| {
        text.parse().expect("WISE_TEST_SECONDS is a number")
    });
    Duration::from_secs(seconds)
}

/// A process of the fleet, with applications that use it.
struct Member {
    house: House,
    script: Script,
    load: Mutex<JoinSet<()>>,
}

/// What the applications of a fleet have seen.
#[derive(Default)]
struct Seen {
    good: AtomicUsize,
    bad: Mutex<Vec<String>>,
}

impl Member {
    async fn start(wise: &Simulator, first: &House, seen: &Arc<Seen>) -> Self {
        let site = House::on(wise)
            .set("tokens.wait", "20s")
            .beside(first)
            .prepare()
            .await;
        let script = Script::new(&site);
        let house = site.scripted(&script.path).start().await;
        let mut load = JoinSet::new();
        for request in [get, payment] {
            load.spawn(ask(house.door, request, Arc::clone(seen)));
        }
        Self {
            house,
            script,
            load: Mutex::new(load),
        }
    }

    /// Waits until its applications have noticed that it is gone.
    async fn left(&self) {
        let mut load = std::mem::take(&mut *self.load.lock().unwrap());
        let noticed = async {
            while let Some(of_one) = load.join_next().await {
                of_one.unwrap();
            }
        };
        self.house.answers("a door that is gone", noticed).await;
    }

    /// The generation that it shows; `None` once it has gone.
    async fn generation(&self) -> Option<u64> {
        let request = Request::get("/status").body(Bytes::new()).unwrap();
        let asking = async {
            let mut admin = Connection::try_to(self.house.admin).await.ok()?;
            admin.request(request).await.ok()
        };
        let answer = self.house.answers("the status page", asking).await?;
        answer.json()["tokens"][0]["generation"].as_u64()
    }
}

/// Asks until the process goes, as often as an application might.
async fn ask(door: std::net::SocketAddr, request: fn() -> Request<Bytes>, seen: Arc<Seen>) {
    let Ok(mut connection) = Connection::try_to(door).await else {
        return;
    };
    while let Ok(answer) = connection.request(request()).await {
        if answer.status == 200 {
            seen.good.fetch_add(1, Ordering::Relaxed);
        } else if answer.body.windows(13).any(|text| text == b"shutting-down") {
            return;
        } else {
            seen.bad.lock().unwrap().push(format!("{answer:?}"));
        }
        sleep(Duration::from_millis(5)).await;
    }
}

fn get() -> Request<Bytes> {
    Request::get(PATH).body(Bytes::new()).unwrap()
}

/// A store that a login has filled, and the process that keeps its directory.
async fn store(wise: &Simulator) -> House {
    let house = House::on(wise).start().await;
    kill(&house).await;
    house
}

/// How often a refresh token was shown that had brought tokens before.
fn shown_twice(wise: &Simulator) -> usize {
    let (mut login, mut shown) = (0, BTreeMap::<_, Vec<Outcome>>::new());
    for exchange in wise.exchanges() {
        match (exchange.grant_type.as_str(), exchange.presented) {
            ("authorization_code", _) => login += 1,
            ("refresh_token", Some(generation)) => {
                let of_one = shown.entry((login, generation)).or_default();
                of_one.push(exchange.outcome);
            }
            _ => panic!("{exchange:?}"),
        }
    }
    shown.values().filter(|outcomes| outcomes.len() > 1).count()
}

/// The time until each of `members` shows the same generation, and one beyond `known`; `None` if
/// that does not come about within a second.
async fn caught_up(members: &[Arc<Member>], known: u64) -> Option<(u64, Duration)> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        // Nobody is left out: one that does not answer has not got it either.
        let mut shown = join_all(members.iter().map(|member| member.generation())).await;
        shown.dedup();
        if let [Some(one)] = shown[..]
            && one > known
        {
            return Some((one, start.elapsed()));
        }
        sleep(Duration::from_millis(10)).await;
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_renew_each_second_show_wise_no_refresh_token_twice() {
    let lasting = lasting(5);
    for (mode, exchanges, served, slowest) in join_all(MODES.map(|mode| pair(mode, lasting))).await
    {
        println!(
            "{mode:?}: {exchanges} exchanges in {lasting:?}, 0 tokens shown twice, {served} \
             answers, both had the newest within {slowest:?}"
        );
    }
}

async fn pair(mode: Rotation, lasting: Duration) -> (Rotation, usize, usize, Duration) {
    let wise = wise(mode).await;
    wise.change_faults(|faults| faults.token.lifetime = 2);
    let (first, seen) = (store(&wise).await, Arc::default());
    let members = [
        Arc::new(Member::start(&wise, &first, &seen).await),
        Arc::new(Member::start(&wise, &first, &seen).await),
    ];
    let (mut known, _) = caught_up(&members, 0).await.expect("both are there");
    let (end, mut slowest) = (Instant::now() + lasting, Duration::ZERO);
    while Instant::now() < end {
        let before = wise.exchange_count();
        let next = wise.until(|wise| wise.exchange_count() > before);
        timeout(PATIENCE, next).await.expect("they go on renewing");
        let (newest, lag) = caught_up(&members, known).await.expect("within a second");
        assert_eq!(Some(newest), wise.generation(PROFILE));
        (known, slowest) = (newest, slowest.max(lag));
    }
    for member in &members {
        assert_eq!(member.house.stop().await.code(), Some(0));
        member.left().await;
    }
    let exchanges = wise.exchanges();
    for exchange in &exchanges {
        assert!(
            matches!(exchange.outcome, Outcome::Minted { .. }),
            "{exchange:?}"
        );
    }
    assert_eq!(shown_twice(&wise), 0);
    assert_eq!(*seen.bad.lock().unwrap(), Vec::<String>::new());
    no_payment_twice(&wise);
    (
        mode,
        exchanges.len(),
        seen.good.load(Ordering::Relaxed),
        slowest,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_processes_that_come_and_go_at_random_make_one_exchange_a_generation() {
    let lasting = lasting(3);
    for mode in MODES {
        Fleet::new(mode).await.sail(lasting).await;
    }
}

/// Ten places for processes on one store.
struct Fleet {
    wise: Simulator,
    first: House,
    seen: Arc<Seen>,
    places: Mutex<Vec<Option<Arc<Member>>>>,
    /// Comings and goings, to know whether the same were there all the time.
    changes: AtomicUsize,
    starts: AtomicUsize,
    stops: AtomicUsize,
    kills: AtomicUsize,
    /// Kills between a question to Wise and the record of its answer.
    in_hand: AtomicUsize,
    logins: AtomicUsize,
    over: AtomicBool,
    mode: Rotation,
}

impl Fleet {
    async fn new(mode: Rotation) -> Self {
        let wise = wise(mode).await;
        wise.change_faults(|faults| faults.token.lifetime = 2);
        let first = store(&wise).await;
        Self {
            wise,
            first,
            seen: Arc::default(),
            places: Mutex::new(vec![None; 10]),
            changes: AtomicUsize::new(0),
            starts: AtomicUsize::new(0),
            stops: AtomicUsize::new(0),
            kills: AtomicUsize::new(0),
            in_hand: AtomicUsize::new(0),
            logins: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            mode,
        }
    }

    async fn sail(self, lasting: Duration) {
        let changing = async {
            for place in 0..10 {
                self.change(place).await;
            }
            let end = Instant::now() + lasting;
            while Instant::now() < end {
                self.wise
                    .change_faults(|faults| faults.token.latency = random(40));
                self.change(usize::try_from(random(10)).unwrap()).await;
                self.mourn().await;
                sleep(Duration::from_millis(random(200))).await;
            }
            self.over.store(true, Ordering::Relaxed);
        };
        let ((), lags) = tokio::join!(changing, self.watch());
        self.mourn().await;
        let living = self.living();
        let (mut good, count) = (0, |of: &AtomicUsize| of.load(Ordering::Relaxed));
        for member in &living {
            good += usize::from(is_served(&self.wise, &member.house).await);
            assert_eq!(member.house.stop().await.code(), Some(0));
            member.left().await;
        }
        assert_eq!(good, living.len(), "who lives has a living token");
        let (in_hand, twice) = (count(&self.in_hand), shown_twice(&self.wise));
        assert!(
            twice <= in_hand,
            "{twice} tokens shown twice, {in_hand} excused"
        );
        let bad = self.seen.bad.lock().unwrap();
        assert!(in_hand > 0 || bad.is_empty(), "{bad:#?}");
        no_payment_twice(&self.wise);
        no_litter(&self.first.site);
        println!(
            "{:?}: {} starts, {} stops, {} kills ({in_hand} with an answer in hand), {} \
             exchanges, {twice} tokens shown twice, {} logins, {} answers and {} others, newest \
             token everywhere within {:?} ({} times)",
            self.mode,
            count(&self.starts),
            count(&self.stops),
            count(&self.kills),
            self.wise.exchange_count(),
            count(&self.logins),
            count(&self.seen.good),
            bad.len(),
            lags.iter().max().unwrap_or(&Duration::ZERO),
            lags.len(),
        );
        assert!(!lags.is_empty(), "nobody looked");
    }

    fn living(&self) -> Vec<Arc<Member>> {
        let places = self.places.lock().unwrap();
        places.iter().flatten().map(Arc::clone).collect()
    }

    /// Fills an empty place; empties a full one by a stop or a kill, unless few are left.
    async fn change(&self, place: usize) {
        let living = self.living().len();
        let member = self.places.lock().unwrap()[place].clone();
        let Some(member) = member else {
            let member = Member::start(&self.wise, &self.first, &self.seen).await;
            self.places.lock().unwrap()[place] = Some(Arc::new(member));
            self.changes.fetch_add(1, Ordering::Relaxed);
            self.starts.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if living <= 2 {
            return;
        }
        self.places.lock().unwrap()[place] = None;
        self.changes.fetch_add(1, Ordering::Relaxed);
        if random(2) == 0 {
            assert_eq!(member.house.stop().await.code(), Some(0));
            self.stops.fetch_add(1, Ordering::Relaxed);
        } else {
            kill(&member.house).await;
            self.kills.fetch_add(1, Ordering::Relaxed);
            let in_hand = usize::from(member.script.died_with_the_answer());
            self.in_hand.fetch_add(in_hand, Ordering::Relaxed);
        }
        member.left().await;
    }

    /// Logs in again where a kill with an answer in hand has cost the grant.
    async fn mourn(&self) {
        if self.wise.generation(PROFILE).is_some() {
            return;
        }
        let (lost, logins) = (&self.in_hand, &self.logins);
        assert!(
            self.mode == Rotation::Always
                && lost.load(Ordering::Relaxed) > logins.load(Ordering::Relaxed),
            "a grant was lost that could have been kept: {:#?}",
            self.wise.exchanges()
        );
        logins.fetch_add(1, Ordering::Relaxed);
        self.first.site.log_in(&self.wise, "main", PROFILE).await;
    }

    /// After each exchange: how long it takes until everybody has the newest token. Where somebody
    /// came or went meanwhile, it may have taken the newest token along, and nothing is said.
    async fn watch(&self) -> Vec<Duration> {
        // The login's.
        let (mut lags, mut known) = (Vec::new(), 1);
        while !self.over.load(Ordering::Relaxed) {
            let (before, changes) = (
                self.wise.exchange_count(),
                self.changes.load(Ordering::Relaxed),
            );
            let next = self.wise.until(|wise| wise.exchange_count() > before);
            if timeout(Duration::from_millis(500), next).await.is_err() {
                continue;
            }
            let caught_up = caught_up(&self.living(), known).await;
            let same = self.changes.load(Ordering::Relaxed) == changes;
            match caught_up {
                Some((newest, lag)) => {
                    known = newest;
                    lags.push(lag);
                }
                None => assert!(!same, "somebody has no new token after a second"),
            }
        }
        lags
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_an_exchange_takes_five_seconds_nobody_makes_another() {
    join_all(MODES.map(async |mode| {
        let wise = wise(mode).await;
        let (first, seen) = (store(&wise).await, Arc::default());
        let one = Member::start(&wise, &first, &seen).await;
        let other = Member::start(&wise, &first, &seen).await;
        wise.change_faults(|faults| faults.token.latency = 5_000);

        let refresh = || post("/tokens/main/refresh", &json!({}));
        let (a, b) = tokio::join!(one.house.operate(refresh()), other.house.operate(refresh()));

        for answer in [a, b] {
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.json()["generation"], 2);
        }
        assert_eq!(wise.exchange_count(), 2, "the login and one for both");
        assert_eq!(*seen.bad.lock().unwrap(), Vec::<String>::new());
        no_payment_twice(&wise);
    }))
    .await;
}
