//! The steps of a request one at a time, for `benches/steps.rs`. Each is the very function that a
//! request runs; around it stands only what brings it its arguments.
//!
//! What is no step of ours has no place here: hyper, TLS, sockets, timers, the pool.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, StatusCode, request};

use crate::audit::Clerk;
use crate::clock::System;
use crate::config::{Config, LogFormat};
use crate::guard::{CallerId, Callers, Caps, Policies};
use crate::proxy::attempt::{self, Outgoing};
use crate::proxy::bearing::Bearing;
use crate::proxy::body::Upload;
use crate::proxy::choice::{Credential, Directory};
use crate::proxy::door::Door;
use crate::proxy::fault::Kind;
use crate::proxy::jose::Jose;
use crate::proxy::peer::Peer;
use crate::proxy::policy;
use crate::proxy::record::Record;
use crate::proxy::snapshot::{Published, Snapshot};
use crate::proxy::target::Target;
use crate::proxy::token::{self, Pass};
use crate::proxy::worker::{Shared, Worker};
use crate::sca::{KeySize, Office, OneTimeToken, SigningKey};
use crate::telemetry::access::AccessLog;
use crate::telemetry::log::Sink;
use crate::telemetry::meter::Meter;
use crate::tokens::{Absence, TokenView};
use crate::upstream::Endpoint;
use crate::wise::Lane;

/// A worker with a living token for each grant, and what its steps are asked about.
#[derive(Debug)]
pub struct Steps {
    worker: Rc<Worker>,
    came: Request<()>,
    target: Target,
    credential: Credential,
    peer: Peer,
    now: SystemTime,
}

/// A key that signs one-time tokens, which few requests need and no worker's thread does.
#[derive(Debug)]
pub struct Signature {
    key: SigningKey,
    token: OneTimeToken,
}

impl Signature {
    /// With a new key of 2048 bits.
    ///
    /// # Panics
    ///
    /// Where there is no randomness.
    #[allow(clippy::expect_used, reason = "a benchmark fails loudly")]
    pub fn of_2048_bits() -> Self {
        let pkcs8 = SigningKey::generate(KeySize::Bits2048).expect("a key");
        let token = OneTimeToken::parse("65a31b86-aa2e-47fd-a7a4-3710437ba270");
        Self {
            key: SigningKey::from_pkcs8(&pkcs8).expect("the same key"),
            token: token.expect("a token"),
        }
    }

    /// Signs a token; whether that went well.
    pub fn sign(&self) -> bool {
        self.key.sign(&self.token).is_ok()
    }
}

/// What is remembered about a request. Dropping it writes the access line.
#[derive(Debug)]
pub struct Noted(Record);

/// A request that may leave, with all that it needs for that.
pub struct Leaving {
    pass: Pass,
    head: request::Parts,
    target: Target,
}

impl std::fmt::Debug for Leaving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaving").finish_non_exhaustive()
    }
}

impl Steps {
    /// A worker as the configuration wants it, in lane `oauth-mtls`, that is asked `came` by
    /// applications. Access lines are written, to where nobody reads them.
    ///
    /// # Panics
    ///
    /// Where the configuration or the request are not as the steps need them.
    #[allow(clippy::expect_used, reason = "a benchmark fails loudly")]
    pub fn new(config: &Config, format: LogFormat, came: Request<()>) -> Self {
        let published = Published::new(snapshot(config));
        let shared = Shared {
            published,
            clock: Arc::new(System),
            keepers: Arc::new([]),
            tokens: config.tokens.clone(),
            connect_timeout: config.upstream.connect_timeout,
            caps: Caps::closed(),
            office: Office::without_approvals(),
        };
        let meter = Arc::new(Meter::new(config.grants.len(), Kind::NAMES.len()));
        let sink = Sink::file(Path::new("/dev/null")).expect("a sink");
        let access = AccessLog::new(Some(sink), format, Arc::clone(&meter));
        let worker = Rc::new(Worker::new(shared, meter, access, Clerk::off()));
        let (head, ()) = came.clone().into_parts();
        let view = worker.view();
        let now = worker.shared.clock.wall();
        let callers = &view.snapshot.callers;
        let (target, _) = view.snapshot.doors[0]
            .admit(&head, &Peer::local(), callers, now)
            .expect("a target");
        let directory = &view.snapshot.directory;
        let credential = directory
            .choose(
                view.snapshot.lane,
                &head.method,
                &target,
                &head.headers,
                None,
            )
            .expect("a credential");
        Self {
            worker,
            came,
            target,
            credential,
            peer: Peer::local(),
            now,
        }
    }

    /// The head of one request, as it comes.
    pub fn head(&self) -> request::Parts {
        self.came.clone().into_parts().0
    }

    /// Begins to remember a request.
    pub fn note(&self) -> Noted {
        Noted(Record::new(&self.worker, 0, &self.peer, &self.came))
    }

    /// Door and target. Returns whether the request may come in.
    pub fn admit(&self, head: &request::Parts) -> bool {
        let view = self.worker.view();
        let (doors, callers) = (&view.snapshot.doors, &view.snapshot.callers);
        doors[0].admit(head, &self.peer, callers, self.now).is_ok()
    }

    /// Who calls, by its place in the configuration; `None` at a door that asks nobody, and a status
    /// for whoever is unknown.
    pub fn recognise(
        &self,
        head: &request::Parts,
        door: usize,
    ) -> Result<Option<usize>, StatusCode> {
        let view = self.worker.view();
        let (door, callers) = (&view.snapshot.doors[door], &view.snapshot.callers);
        let caller = door.recognise(&head.headers, &self.peer, callers, self.now);
        let caller = caller.map_err(|fault| fault.status())?;
        Ok(caller.map(CallerId::index))
    }

    /// What the policies of a door and of a caller make of a request. Returns whether it may go on.
    pub fn judge(
        &self,
        noted: &mut Noted,
        head: &request::Parts,
        who: (usize, Option<usize>),
    ) -> bool {
        let (worker, view) = (&self.worker, self.worker.view());
        let record = &mut noted.0;
        Bearing::admit(worker, &view, who, head, &self.target, None, record).is_ok()
    }

    /// Kind of credential and grant. Returns whether there is one.
    pub fn choose(&self, head: &request::Parts) -> bool {
        let view = self.worker.view();
        let (lane, directory) = (view.snapshot.lane, &view.snapshot.directory);
        directory
            .choose(lane, &head.method, &self.target, &head.headers, None)
            .is_ok()
    }

    /// The snapshot's token, for a credential that is chosen already. Returns whether there is one.
    pub fn take(&self, noted: &mut Noted) -> bool {
        self.pass(noted).is_some()
    }

    fn pass(&self, noted: &mut Noted) -> Option<Pass> {
        let chosen = |_: &_| Ok((self.worker.view().snapshot.lane, self.credential));
        let taking = token::take(&self.worker, &chosen, true, &mut noted.0);
        taking.now_or_never().and_then(Result::ok)
    }

    /// Makes a request's fields fit to leave.
    pub fn fields(&self, head: &mut request::Parts) {
        policy::request(head, &self.worker.stamps);
    }

    /// A request that has come as far as its sending.
    ///
    /// # Panics
    ///
    /// Where there is no token.
    #[allow(clippy::expect_used, reason = "a benchmark fails loudly")]
    pub fn leaving(&self) -> Leaving {
        let mut head = self.head();
        self.fields(&mut head);
        Leaving {
            pass: self.pass(&mut self.note()).expect("a token"),
            head,
            target: self.target.clone(),
        }
    }

    /// The request as it goes onto a connection.
    ///
    /// # Panics
    ///
    /// Where the lane has no way out.
    #[allow(clippy::expect_used, reason = "a benchmark fails loudly")]
    pub fn prepare(&self, leaving: &mut Leaving, http2: bool) -> Request<impl Sized + use<>> {
        let Leaving { pass, head, target } = leaving;
        let mut outgoing = Outgoing {
            head,
            target: target.clone(),
            source: None,
        };
        let pool = pass.view.pools[pass.lane.index()].as_ref();
        let endpoint = pool.expect("a way out").endpoint();
        attempt::prepare(http2, endpoint, pass, &mut outgoing, Upload::empty())
    }

    /// A request whose token is taken.
    pub fn under_way(&self) -> Noted {
        let mut noted = self.note();
        self.take(&mut noted);
        noted.0.upstream = Duration::from_millis(1);
        noted
    }

    /// The head of the answer is here: notes and metrics.
    pub fn answered(&self, noted: &mut Noted, headers: &HeaderMap) {
        noted.0.answered(StatusCode::OK, headers);
    }

    /// Makes an answer's fields fit to be handed down.
    pub fn answer_fields(&self, headers: &mut HeaderMap) {
        policy::response(headers);
    }

    /// A request whose answer has been handed down, so that only its access line is missing.
    pub fn done(&self, headers: &HeaderMap) -> Noted {
        let mut noted = self.under_way();
        self.answered(&mut noted, headers);
        noted.0.complete = true;
        noted
    }
}

/// The snapshot that [`crate::proxy::Worker`]s read, with tokens that live for ever.
#[allow(clippy::expect_used, reason = "a benchmark fails loudly")]
fn snapshot(config: &Config) -> Snapshot {
    let origins = [&config.hosts.plain, &config.hosts.plain, &config.hosts.mtls];
    let ways = origins.map(|origin| {
        let way = Endpoint::new(origin, None, &config.upstream, None).expect("an endpoint");
        assert_eq!(way.scheme, Scheme::HTTPS);
        Some(Arc::new(way))
    });
    let live = |_| {
        let mut authorization =
            HeaderValue::from_static("Bearer 6f0ab2f6-6cf4-4e39-8b3c-0a4d0c5c9c11");
        authorization.set_sensitive(true);
        TokenView::Live {
            authorization,
            generation: 7,
            ends: Duration::MAX,
            renewing: false,
        }
    };
    let mut tokens: Vec<_> = config.grants.iter().map(live).collect();
    tokens.push(TokenView::Absent {
        reason: Absence::NotFetched,
        renewing: false,
    });
    let callers = Callers::read(&config.callers).expect("callers");
    let door = |door| Door::new(door, &config.hosts, &callers, None);
    Snapshot {
        lane: Lane::OAuthMtls,
        ways,
        personal: None,
        tokens,
        directory: Arc::new(Directory::new(&config.grants)),
        doors: config.doors.iter().map(door).collect(),
        policies: Arc::new(Policies::new(config, None)),
        callers: Arc::new(callers),
        jose: Arc::new(Jose::read(&config.jose).expect("keys")),
        upstream: Arc::new(config.upstream.clone()),
        signer: None,
        draining: false,
    }
}
