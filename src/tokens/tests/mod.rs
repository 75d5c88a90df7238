//! The room's promises, against a token endpoint of thirty lines.
//!
//! Time is tokio's, paused: it moves only when nothing else can.

mod custody;
mod enrolment;
mod model;
mod renewals;
mod trouble;

use crate::tokens::handle::RefreshError;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{self, Instant};

use super::*;
use crate::clock::Clock;
use crate::config::Tokens;
use crate::credentials::{FileStore, Record};
use crate::secret::Secret;
use crate::telemetry::events::Events;
use crate::wise::ProfileId;
use crate::wise::wire::TokenAnswer;

/// Both clocks, driven by tokio's; the wall can be set apart.
#[derive(Debug)]
pub(super) struct Paused {
    start: Instant,
    wall: Mutex<SystemTime>,
}

impl Paused {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            wall: Mutex::new(SystemTime::UNIX_EPOCH + secs(1_764_000_000)),
        })
    }

    /// Moves the wall clock alone.
    pub(super) fn shift_wall(&self, shift: impl FnOnce(SystemTime) -> SystemTime) {
        let mut wall = self.wall.lock().unwrap();
        *wall = shift(*wall);
    }
}

impl Clock for Paused {
    fn wall(&self) -> SystemTime {
        *self.wall.lock().unwrap() + self.start.elapsed()
    }

    fn boot(&self) -> Duration {
        secs(1_000) + self.start.elapsed()
    }
}

/// What becomes of a refresh token that has been used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rotate {
    /// It dies at once.
    Always,
    /// It may be used until the new one has been.
    Grace,
    /// It stays.
    Never,
}

/// What goes wrong with one exchange.
pub(super) enum Fault {
    /// Nobody is there.
    Down,
    /// Nobody answers the dialling, for ten seconds.
    NoConnection,
    /// Is carried out, but its answer gets lost.
    AnswerLost,
    /// Answers so, without doing anything.
    Says(ExchangeError),
    /// The same, after something else happened.
    Meanwhile(Box<dyn FnOnce() + Send>, ExchangeError),
    /// Succeeds, after something else happened.
    After(Box<dyn FnOnce() + Send>),
    /// Never ends.
    Hangs,
    /// Succeeds with this lifetime.
    ExpiresIn(Option<i64>),
    /// Succeeds with this access token.
    Access(&'static str),
    /// Succeeds, and its answer comes like this.
    Odd(fn(&mut TokenAnswer)),
}

/// How long a connection takes to open.
pub(super) const CONNECTING: Duration = Duration::from_millis(3);

/// A token endpoint in memory.
pub(super) struct Wise {
    rotate: Rotate,
    pub(super) latency: Mutex<Duration>,
    expires_in: Mutex<i64>,
    faults: Mutex<VecDeque<Fault>>,
    state: Mutex<Minted>,
    /// Told of every exchange that arrived.
    pub(super) arrived: Notify,
    running: AtomicUsize,
}

#[derive(Default)]
struct Minted {
    /// Refresh tokens that work, newest last.
    good: Vec<u64>,
    /// The only access token that works.
    access: u64,
    exchanges: Vec<Instant>,
    refused: u64,
    most_at_once: usize,
}

impl Wise {
    fn new(rotate: Rotate) -> Arc<Self> {
        Arc::new(Self {
            rotate,
            latency: Mutex::new(Duration::from_millis(20)),
            expires_in: Mutex::new(LIFE),
            faults: Mutex::default(),
            state: Mutex::default(),
            arrived: Notify::new(),
            running: AtomicUsize::new(0),
        })
    }

    pub(super) fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// Tokens live so many seconds from now on.
    pub(super) fn lives(&self, seconds: i64) {
        *self.expires_in.lock().unwrap() = seconds;
    }

    /// Down until [`Wise::mend`].
    pub(super) fn take_down(&self) {
        self.plan((0..10_000).map(|_| Fault::Down));
    }

    pub(super) fn mend(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Exchanges that minted tokens.
    pub(super) fn minted(&self) -> u64 {
        self.state.lock().unwrap().access
    }

    /// Every exchange that was tried, and when.
    pub(super) fn tries(&self) -> Vec<Instant> {
        self.state.lock().unwrap().exchanges.clone()
    }

    /// Exchanges with a refresh token that does not work.
    pub(super) fn refused(&self) -> u64 {
        self.state.lock().unwrap().refused
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.state.lock().unwrap().most_at_once
    }

    /// The header value that works now.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer access-{}", self.minted())
    }

    fn mint(&self, grant: &GrantRequest) -> Result<TokenAnswer, ExchangeError> {
        let mut state = self.state.lock().unwrap();
        let mut refresh = None;
        match grant {
            GrantRequest::ClientCredentials => {}
            GrantRequest::AuthorizationCode { .. } | GrantRequest::RegistrationCode { .. } => {
                let next = state.access + 1;
                state.good = vec![next];
                refresh = Some(next);
            }
            GrantRequest::RefreshToken(token) => {
                let number = token.expose().strip_prefix("refresh-").unwrap();
                let number: u64 = number.parse().unwrap();
                if !state.good.contains(&number) {
                    state.refused += 1;
                    return Err(ExchangeError::InvalidGrant { status: 400 });
                }
                let next = state.access + 1;
                match self.rotate {
                    Rotate::Always => state.good = vec![next],
                    Rotate::Grace => state.good = vec![number, next],
                    Rotate::Never => {}
                }
                refresh = (self.rotate != Rotate::Never).then_some(next);
            }
        }
        state.access += 1;
        Ok(TokenAnswer {
            access_token: format!("access-{}", state.access),
            token_type: Some("bearer".into()),
            refresh_token: refresh.map(|number| format!("refresh-{number}")),
            expires_in: Some(*self.expires_in.lock().unwrap()),
            refresh_token_expires_in: None,
        })
    }
}

impl Exchange for Wise {
    type Connection = ();

    async fn connect(&self) -> Result<(), ExchangeError> {
        let concerns_us = |fault: &mut Fault| matches!(fault, Fault::Down | Fault::NoConnection);
        let fault = self.faults.lock().unwrap().pop_front_if(concerns_us);
        let Some(fault) = fault else {
            time::sleep(CONNECTING).await;
            return Ok(());
        };
        self.state.lock().unwrap().exchanges.push(Instant::now());
        self.arrived.notify_one();
        if matches!(fault, Fault::NoConnection) {
            time::sleep(secs(10)).await;
        }
        Err(ExchangeError::NotSent("connection refused".into()))
    }

    async fn exchange_on(&self, (): (), grant: GrantRequest) -> Result<TokenAnswer, ExchangeError> {
        struct Running<'a>(&'a AtomicUsize);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let fault = self.faults.lock().unwrap().pop_front();
        {
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            let mut state = self.state.lock().unwrap();
            state.most_at_once = state.most_at_once.max(running);
            state.exchanges.push(Instant::now());
        }
        let _running = Running(&self.running);
        self.arrived.notify_one();
        let latency = *self.latency.lock().unwrap();
        match fault {
            None => {
                time::sleep(latency / 2).await;
                let answer = self.mint(&grant);
                time::sleep(latency / 2).await;
                answer
            }
            Some(Fault::Down | Fault::NoConnection) => {
                Err(ExchangeError::NotSent("connection reset".into()))
            }
            Some(Fault::AnswerLost) => {
                self.mint(&grant)?;
                Err(ExchangeError::AnswerLost("connection reset".into()))
            }
            Some(Fault::Says(error)) => Err(error),
            Some(Fault::Meanwhile(event, error)) => {
                event();
                Err(error)
            }
            Some(Fault::After(event)) => {
                event();
                self.mint(&grant)
            }
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::ExpiresIn(expires_in)) => {
                let mut answer = self.mint(&grant)?;
                answer.expires_in = expires_in;
                Ok(answer)
            }
            Some(Fault::Odd(bend)) => {
                let mut answer = self.mint(&grant)?;
                bend(&mut answer);
                Ok(answer)
            }
            Some(Fault::Access(text)) => {
                let mut answer = self.mint(&grant)?;
                answer.access_token = text.into();
                Ok(answer)
            }
        }
    }
}

/// One store, one Wise, any number of proxies.
pub(super) struct House {
    pub(super) dir: tempfile::TempDir,
    pub(super) wise: Arc<Wise>,
    pub(super) clock: Arc<Paused>,
    pub(super) policy: Tokens,
    tasks: JoinSet<()>,
}

/// A view, and what was on disk at the moment it was published.
pub(super) type Published = (TokenView, Option<Record>);

/// One proxy's keeper, as its requests see it.
pub(super) struct Proxy {
    pub(super) handle: KeeperHandle,
    pub(super) view: watch::Receiver<Option<TokenView>>,
    pub(super) unanswered: Arc<AtomicUsize>,
    pub(super) seen: Arc<Mutex<Vec<Published>>>,
    task: tokio::task::AbortHandle,
}

impl House {
    pub(super) fn new(rotate: Rotate) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            wise: Wise::new(rotate),
            clock: Paused::new(),
            policy: Tokens {
                renew_at: 0.5,
                wait: secs(2),
                quiet: Duration::from_millis(300),
                forced_interval: secs(30),
                exchange_timeout: secs(10),
            },
            tasks: JoinSet::new(),
        }
    }

    pub(super) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(super) fn store(&self) -> Arc<FileStore> {
        Arc::new(FileStore::open(&self.state(), None).unwrap())
    }

    pub(super) fn on_disk(&self) -> Option<Record> {
        self.store().load("main").unwrap()
    }

    /// What the `login` command does.
    pub(super) async fn login(&self) -> Result<Enrolled, EnrolError> {
        let who = Enrolment {
            grant: "main".into(),
            profile: Some("30000000".parse().unwrap()),
            client_id: "acme".into(),
            timeout: secs(10),
        };
        let proof = Proof::AuthorizationCode {
            code: Secret::new("code"),
            redirect_uri: "http://127.0.0.1:9/".into(),
        };
        enrol(
            self.store(),
            self.wise.as_ref(),
            self.clock.as_ref(),
            who,
            proof,
        )
        .await
    }

    /// Starts a proxy with a store handle of its own, as another process has.
    pub(super) fn start(&mut self) -> Proxy {
        self.start_as(Subject::User {
            grant: "main".into(),
            profile: Some("30000000".parse().unwrap()),
            client_id: "acme".into(),
        })
    }

    pub(super) fn start_as(&mut self, subject: Subject) -> Proxy {
        let (send, view) = watch::channel(None);
        let unanswered = Arc::new(AtomicUsize::new(0));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let store = self.store();
        let hooks = Hooks {
            publish: Box::new({
                let (store, seen) = (Arc::clone(&store), Arc::clone(&seen));
                move |view: TokenView, _profile: Option<&ProfileId>| {
                    let stored = store.load("main").ok().flatten();
                    seen.lock().unwrap().push((view.clone(), stored));
                    send.send_replace(Some(view));
                }
            }),
            unanswered: Box::new({
                let unanswered = Arc::clone(&unanswered);
                move || unanswered.load(Ordering::SeqCst)
            }),
            events: Events::new(Arc::clone(&self.clock) as Arc<dyn Clock>),
        };
        let (handle, task) = keeper(
            subject,
            Some(store),
            Arc::clone(&self.wise),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            self.policy.clone(),
            hooks,
        );
        Proxy {
            handle,
            view,
            unanswered,
            seen,
            task: self.tasks.spawn(task),
        }
    }

    /// A house where somebody has logged in, and its first proxy, serving.
    pub(super) async fn serving(rotate: Rotate) -> (Self, Proxy) {
        let mut house = Self::new(rotate);
        house.login().await.ok().unwrap();
        let mut proxy = house.start();
        proxy.until_live(1).await;
        (house, proxy)
    }
}

impl Proxy {
    /// Waits for a view; patient for a simulated day.
    pub(super) async fn until(&mut self, wanted: impl Fn(&TokenView) -> bool) -> TokenView {
        let found = time::timeout(
            secs(100_000),
            self.view
                .wait_for(|view| view.as_ref().is_some_and(&wanted)),
        );
        found
            .await
            .expect("the awaited view was never published")
            .unwrap()
            .clone()
            .unwrap()
    }

    /// Waits for a living token of this generation or a later one, with the gate open.
    pub(super) async fn until_live(&mut self, generation: u64) -> TokenView {
        self.until(|view| {
            matches!(view, TokenView::Live { generation: found, renewing: false, .. }
                if *found >= generation)
        })
        .await
    }

    pub(super) async fn until_dead(&mut self) -> String {
        let view = self
            .until(|view| matches!(view, TokenView::Dead { .. }))
            .await;
        let TokenView::Dead { reason } = view else {
            unreachable!("that is what was waited for")
        };
        reason
    }

    /// Every view so far.
    pub(super) fn views(&self) -> Vec<TokenView> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|(view, _)| view.clone()).collect()
    }

    pub(super) async fn until_absent(&mut self, wanted: Absence) {
        self.until(|view| matches!(view, TokenView::Absent { reason, .. } if *reason == wanted))
            .await;
    }

    /// What a request sends now.
    pub(super) fn authorization(&self) -> Option<String> {
        match self.view.borrow().as_ref()? {
            TokenView::Live { authorization, .. } => {
                Some(authorization.to_str().unwrap().to_owned())
            }
            TokenView::Absent { .. } | TokenView::Dead { .. } => None,
        }
    }

    /// Kills the process.
    pub(super) fn kill(&self) {
        self.task.abort();
    }
}

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Twenty minutes: each simulated half second costs a look at the disk.
pub(super) const LIFE: i64 = 1_199;
