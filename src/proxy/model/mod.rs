//! The snapshot, and those who wait for it, under a model checker. See [`crate::sync`].

mod keepers;
mod publications;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Request};

use crate::audit::Clerk;
use crate::clock::Manual;
use crate::config::{self, Grant, HttpVersion, LogFormat, Origin};
use crate::guard::Caps;
use crate::proxy::choice::{Credential, Directory};
use crate::proxy::peer::Peer;
use crate::proxy::record::Record;
use crate::proxy::snapshot::{Published, Snapshot};
use crate::proxy::token::{Pass, take};
use crate::proxy::worker::{Shared, View, Worker};
use crate::sca::Office;
use crate::telemetry::access::AccessLog;
use crate::telemetry::meter::Meter;
use crate::tokens::{Absence, KeeperHandle, TokenView};
use crate::upstream::Endpoint;
use crate::wise::Lane;

const FIRST: Credential = Credential::User(0);
const SECOND: Credential = Credential::User(1);

fn upstream() -> config::Upstream {
    const LONG: Duration = Duration::from_secs(20);
    config::Upstream {
        http: HttpVersion::Http1,
        resolve: std::collections::BTreeMap::default(),
        via: None,
        connect_timeout: LONG,
        answer_timeout: LONG,
        body_idle_timeout: LONG,
        max_connections: 1,
        warm_connections: 0,
        max_waiting: 1,
        idle_timeout: LONG,
        max_age: LONG,
        dns_ttl: LONG,
        replay_limit: 0,
        replay_budget: 0,
    }
}

/// What a reload publishes: hosts and personal token that tell which reload they came with.
fn reload(snapshot: &mut Snapshot, number: u64) {
    let origin = Origin {
        host: format!("host-{number}"),
        port: 443,
        tls: false,
    };
    let way = Arc::new(Endpoint::new(&origin, None, &snapshot.upstream, None).unwrap());
    snapshot.ways = Lane::ALL.map(|_| Some(Arc::clone(&way)));
    snapshot.personal = Some(format!("Bearer personal-{number}").parse().unwrap());
}

fn live(generation: u64, renewing: bool) -> TokenView {
    TokenView::Live {
        authorization: HeaderValue::try_from(format!("Bearer access-{generation}")).unwrap(),
        generation,
        ends: Duration::MAX,
        renewing,
    }
}

/// Two grants with a token each, and the client token that nobody has asked for.
fn first() -> Snapshot {
    let grants = ["main", "branch"].map(|name| Grant {
        name: name.into(),
        profile: None,
        default: name == "main",
    });
    let not_fetched = TokenView::Absent {
        reason: Absence::NotFetched,
        renewing: false,
    };
    let mut snapshot = Snapshot {
        lane: Lane::OAuth,
        ways: [const { None }; Lane::ALL.len()],
        personal: None,
        tokens: vec![live(1, false), live(1, false), not_fetched],
        directory: Arc::new(Directory::new(&grants)),
        doors: Arc::new([]),
        policies: Arc::default(),
        callers: Arc::default(),
        jose: Arc::default(),
        upstream: Arc::new(upstream()),
        signer: None,
        draining: false,
    };
    reload(&mut snapshot, 0);
    snapshot
}

/// A worker of its own, as each thread has one.
fn worker(published: &Published, keepers: &[KeeperHandle]) -> Rc<Worker> {
    let shared = Shared {
        published: published.clone(),
        clock: still(),
        keepers: keepers.into(),
        tokens: tokens(),
        connect_timeout: Duration::ZERO,
        caps: Caps::closed(),
        office: Office::without_approvals(),
    };
    let meter = Arc::new(Meter::new(2, 0));
    let access = AccessLog::new(None, LogFormat::Human, Arc::clone(&meter));
    Rc::new(Worker::new(shared, meter, access, Clerk::off()))
}

/// Both clocks at rest: no token ends.
fn still() -> Arc<Manual> {
    Arc::new(Manual::at(
        SystemTime::UNIX_EPOCH + Duration::from_hours(490_000),
    ))
}

fn tokens() -> config::Tokens {
    config::Tokens {
        renew_at: 0.5,
        // So long that who is not woken is missed.
        wait: Duration::from_hours(1_000),
        quiet: Duration::ZERO,
        forced_interval: Duration::from_secs(30),
        exchange_timeout: Duration::from_hours(1_000),
    }
}

async fn pass(worker: &Rc<Worker>, credential: Credential) -> Pass {
    let mut record = Record::new(worker, 0, &Peer::local(), &Request::new(()));
    let choose = |view: &View| Ok((view.snapshot.lane, credential));
    take(worker, &choose, true, &mut record).await.unwrap()
}

fn generation(token: &TokenView) -> u64 {
    match token {
        TokenView::Live { generation, .. } => *generation,
        TokenView::Absent { .. } | TokenView::Dead { .. } => 0,
    }
}

/// Hosts, pools and personal token are of one reload, header value and generation of one token.
fn assert_whole(view: &View) {
    let personal = view.personal.as_ref().unwrap().to_str().unwrap();
    let (_, number) = personal.rsplit_once('-').unwrap();
    for (way, pool) in view.snapshot.ways.iter().zip(&view.pools) {
        let way = way.as_ref().unwrap();
        assert_eq!(way.origin.host, format!("host-{number}"));
        assert_eq!(pool.as_ref().unwrap().endpoint().id, way.id);
    }
    for token in &view.tokens {
        if let TokenView::Live {
            authorization,
            generation,
            ..
        } = token
        {
            assert_eq!(authorization, &format!("Bearer access-{generation}"));
        }
    }
}
