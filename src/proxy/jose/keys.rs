//! Wise's public keys, fetched from Wise and kept by each worker.
//!
//! A fetch is a request of our own, with the client-credentials token, on the worker's own
//! connections. It goes on when the request that wanted the key is gone, and whoever wants the same
//! key meanwhile waits for the same fetch.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use futures_util::FutureExt as _;
use futures_util::future::Shared;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Request, StatusCode};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::jose::{Algorithm, EncryptingKey, VerifyingKey};
use crate::proxy::attempt::{self, Answer, Outgoing};
use crate::proxy::body::Download;
use crate::proxy::choice::Credential;
use crate::proxy::fault::Fault;
use crate::proxy::record::Record;
use crate::proxy::target::Target;
use crate::proxy::token;
use crate::proxy::worker::{View, Worker};
use crate::sync::spawn_local;
use crate::wise::Lane;
use crate::wise::jose::{PublishedKey, RSA_OAEP_256, Scope, WISE_KEYS};
use crate::wise::wire;

/// The key that bodies are encrypted to is asked for again after this long: a message to a key that
/// Wise has given up is one that Wise cannot read.
const FRESH: Duration = Duration::from_hours(1);

/// More keys than Wise has at a time, at two hosts.
const KEPT: usize = 32;

/// Longest answer that can hold a key.
const LONGEST: usize = 64 * 1024;

/// Said where keys cannot be asked for at all.
pub(super) const NO_LANE: &str = "no lane of the OAuth client's leads to Wise";

/// A key that is wanted of one of Wise's hosts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Wanted {
    lane: Lane,
    host: Authority,
    what: What,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    Encrypting,
    /// Of this version, or whichever signs now.
    Verifying(Algorithm, Option<u64>),
}

#[derive(Clone, Debug)]
enum Key {
    Encrypting(Arc<EncryptingKey>),
    Verifying(Arc<VerifyingKey>),
}

/// Why there is no key. Safe to show.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Lack {
    #[error("{0}")]
    NoAnswer(Box<Fault>),
    #[error("Wise answers {}", .0.as_u16())]
    Refused(StatusCode),
    #[error("Wise's answer holds no public key")]
    NoKey,
    #[error("keys are fetched with an OAuth client, and none is configured")]
    NoClient,
    #[error("the proxy is stopping")]
    Stopping,
}

type Fetching = Shared<oneshot::Receiver<Result<Key, Lack>>>;

/// The keys of Wise's that one worker knows.
#[derive(Debug, Default)]
pub(crate) struct WiseKeys {
    verifying: RefCell<Vec<Verifying>>,
    encrypting: RefCell<Vec<Encrypting>>,
    fetching: RefCell<Vec<(Wanted, Fetching)>>,
}

#[derive(Debug)]
struct Verifying {
    host: Authority,
    version: u64,
    key: Arc<VerifyingKey>,
}

#[derive(Debug)]
struct Encrypting {
    host: Authority,
    since: Instant,
    key: Arc<EncryptingKey>,
}

impl Wanted {
    /// The key that bodies are encrypted to, for requests of a lane; `None`: no
    /// lane is there that keys could be fetched in.
    pub(super) fn encrypting(view: &View, lane: Lane) -> Option<Self> {
        Self::of(view, lane, What::Encrypting)
    }

    /// The key that an answer was signed with, as its header names it.
    pub(super) fn verifying(
        view: &View,
        lane: Lane,
        algorithm: Algorithm,
        version: Option<u64>,
    ) -> Option<Self> {
        Self::of(view, lane, What::Verifying(algorithm, version))
    }

    fn of(view: &View, lane: Lane, what: What) -> Option<Self> {
        // The personal token opens no API of the OAuth client's: then by any lane that does.
        let lanes = [lane, Lane::OAuth, Lane::OAuthMtls];
        lanes.into_iter().find_map(|lane| {
            let way = view.snapshot.ways[lane.index()].as_ref()?;
            lane.is_oauth().then(|| Self {
                lane,
                host: way.authority.clone(),
                what,
            })
        })
    }

    fn path(&self) -> String {
        let (scope, algorithm, version) = match self.what {
            What::Encrypting => (Scope::Encryption, RSA_OAEP_256, None),
            What::Verifying(algorithm, version) => (Scope::Signing, algorithm.name(), version),
        };
        let scope = scope.name();
        let version = version.map_or_else(String::new, |it| format!("&version={it}"));
        format!("{WISE_KEYS}?algorithm={algorithm}&scope={scope}{version}")
    }
}

impl WiseKeys {
    /// The key that bodies are encrypted to, if it is known and fresh.
    pub(super) fn known_encrypting(&self, wanted: &Wanted) -> Option<Arc<EncryptingKey>> {
        let known = self.encrypting.borrow();
        let mut known = known.iter().filter(|it| it.host == wanted.host);
        let fresh = known.find(|it| it.since.elapsed() < FRESH)?;
        Some(Arc::clone(&fresh.key))
    }

    /// Wise could not read what was encrypted to it, as it seems: the next request asks anew.
    pub(super) fn forget_encrypting(&self, wanted: &Wanted) {
        let mut known = self.encrypting.borrow_mut();
        known.retain(|it| it.host != wanted.host);
    }

    /// The key that an answer names; where it names no version, the newest that is known.
    pub(super) fn known_verifying(&self, wanted: &Wanted) -> Option<Arc<VerifyingKey>> {
        let What::Verifying(algorithm, version) = wanted.what else {
            return None;
        };
        let known = self.verifying.borrow();
        let fits = |it: &&Verifying| {
            it.host == wanted.host
                && it.key.algorithm() == algorithm
                && version.is_none_or(|version| version == it.version)
        };
        let newest = known.iter().filter(fits).max_by_key(|it| it.version)?;
        Some(Arc::clone(&newest.key))
    }

    /// Whether any key is known that verifies what this host signs, in whichever algorithm.
    pub(super) fn can_verify(&self, wanted: &Wanted) -> bool {
        let known = self.verifying.borrow();
        known.iter().any(|it| it.host == wanted.host)
    }

    fn keep(&self, wanted: &Wanted, version: u64, key: &Key) {
        let host = wanted.host.clone();
        match key {
            Key::Encrypting(key) => {
                let mut known = self.encrypting.borrow_mut();
                known.retain(|it| it.host != host && it.since.elapsed() < FRESH);
                known.push(Encrypting {
                    host,
                    since: Instant::now(),
                    key: Arc::clone(key),
                });
            }
            Key::Verifying(key) => {
                let mut known = self.verifying.borrow_mut();
                known.retain(|it| {
                    (&it.host, it.version, it.key.algorithm()) != (&host, version, key.algorithm())
                });
                if known.len() == KEPT {
                    known.remove(0);
                }
                known.push(Verifying {
                    host,
                    version,
                    key: Arc::clone(key),
                });
            }
        }
    }
}

/// Fetches the key that bodies are encrypted to.
pub(super) async fn fetch_encrypting(
    worker: &Rc<Worker>,
    wanted: &Wanted,
) -> Result<Arc<EncryptingKey>, Lack> {
    match fetch(worker, wanted).await? {
        Key::Encrypting(key) => Ok(key),
        Key::Verifying(_) => Err(Lack::NoKey),
    }
}

/// Fetches a key that verifies, whatever is known.
pub(super) async fn fetch_verifying(
    worker: &Rc<Worker>,
    wanted: &Wanted,
) -> Result<Arc<VerifyingKey>, Lack> {
    match fetch(worker, wanted).await? {
        Key::Verifying(key) => Ok(key),
        Key::Encrypting(_) => Err(Lack::NoKey),
    }
}

/// Waits for a fetch that is running, or starts one. Cancel safe: the fetch goes on.
async fn fetch(worker: &Rc<Worker>, wanted: &Wanted) -> Result<Key, Lack> {
    let running = {
        let mut fetching = worker.wise_keys.fetching.borrow_mut();
        let same = fetching.iter().find(|(other, _)| other == wanted);
        if let Some((_, running)) = same {
            running.clone()
        } else {
            let (tell, told) = oneshot::channel();
            let told = told.shared();
            fetching.push((wanted.clone(), told.clone()));
            let (worker, wanted) = (Rc::clone(worker), wanted.clone());
            spawn_local(async move {
                let outcome = ask(&worker, &wanted).await;
                let mut fetching = worker.wise_keys.fetching.borrow_mut();
                fetching.retain(|(other, _)| *other != wanted);
                drop(fetching);
                let _ = tell.send(outcome);
            });
            told
        }
    };
    running.await.unwrap_or(Err(Lack::Stopping))
}

/// Fetches, notes and keeps a key.
async fn ask(worker: &Rc<Worker>, wanted: &Wanted) -> Result<Key, Lack> {
    let outcome = ask_wise(worker, wanted).await;
    let fetches = &worker.meter.jose_keys;
    match &outcome {
        Ok((version, key)) => {
            fetches[0].add(1);
            worker.wise_keys.keep(wanted, *version, key);
            let what = match wanted.what {
                What::Encrypting => RSA_OAEP_256,
                What::Verifying(algorithm, _) => algorithm.name(),
            };
            let lane = wanted.lane.name();
            tracing::info!(
                algorithm = what,
                version,
                lane,
                "fetched a public key of Wise's"
            );
        }
        // Told by whoever needs it.
        Err(_) => fetches[1].add(1),
    }
    outcome.map(|(_, key)| key)
}

async fn ask_wise(worker: &Rc<Worker>, wanted: &Wanted) -> Result<(u64, Key), Lack> {
    // Without OAuth there is nobody to ask for a token.
    if worker.shared.keepers.is_empty() {
        return Err(Lack::NoClient);
    }
    let failed = |fault| Lack::NoAnswer(Box::new(fault));
    let path = PathAndQuery::try_from(wanted.path()).map_err(|_| Lack::NoKey)?;
    let mut head = Request::new(()).into_parts().0;
    for (name, value) in [(ACCEPT, "application/json"), (ACCEPT_ENCODING, "identity")] {
        head.headers.insert(name, HeaderValue::from_static(value));
    }
    head.headers.insert(USER_AGENT, worker.stamps.user_agent());
    let mut outgoing = Outgoing {
        head: &mut head,
        target: Target::of_ours(path),
        source: None,
    };
    let mut record = Record::of_ours(worker, wanted.lane);
    let chosen = |_: &View| Ok((wanted.lane, Credential::Client));
    let pass = token::take(worker, &chosen, true, &mut record).await;
    let mut pass = pass.map_err(failed)?;
    let answer = attempt::send(worker, &pass, &mut outgoing, &mut record).await;
    let mut answer = answer.map_err(failed)?;
    if answer.status() == StatusCode::UNAUTHORIZED && token::renewed(worker, &mut pass).await {
        answer.discard();
        let again = attempt::send(worker, &pass, &mut outgoing, &mut record).await;
        answer = again.map_err(failed)?;
    }
    if answer.status() != StatusCode::OK {
        let status = answer.status();
        answer.discard();
        return Err(Lack::Refused(status));
    }
    let silence = pass.view.snapshot.upstream.body_idle_timeout;
    let text = read(answer, silence).await?;
    let published: PublishedKey = wire::object(&text).ok_or(Lack::NoKey)?;
    let der = STANDARD.decode(&published.material.der);
    let der = der.map_err(|_| Lack::NoKey)?;
    let key = match wanted.what {
        What::Encrypting => EncryptingKey::from_der(None, &der)
            .map(Arc::new)
            .map(Key::Encrypting),
        What::Verifying(algorithm, _) => VerifyingKey::from_der(algorithm, &der)
            .map(Arc::new)
            .map(Key::Verifying),
    };
    Ok((published.version, key.map_err(|_| Lack::NoKey)?))
}

/// All of a short answer.
async fn read(answer: Answer, silence: Duration) -> Result<BytesMut, Lack> {
    let Answer { response, lease } = answer;
    let mut download = Download::new(response, silence);
    let mut text = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| download.poll_frame(cx)).await {
        let frame = frame.map_err(|_| Lack::NoAnswer(Box::new(Fault::UpstreamBroken)))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if text.len() + data.len() > LONGEST {
            return Err(Lack::NoKey);
        }
        text.extend_from_slice(&data);
    }
    if let Some(lease) = lease {
        lease.finish();
    }
    Ok(text)
}
