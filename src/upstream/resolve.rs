use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::sync::spawn_blocking;

/// So many names are looked up at once by one thread.
const AT_ONCE: usize = 4;

/// Who knows a way from before waits for a lookup no longer, and takes that.
const PATIENCE: Duration = Duration::from_secs(1);

/// A lookup that takes longer never ends, as it seems: the next one does not wait for it.
const LONGEST: Duration = Duration::from_secs(30);

thread_local! {
    /// A lookup that hangs cannot be called off, and keeps its blocking thread: the others are for
    /// what must not wait for a resolver.
    static LOOKUPS: Arc<Semaphore> = Arc::new(Semaphore::new(AT_ONCE));
}

/// Addresses of names, believed for a while and kept when a lookup fails or is slow.
///
/// The operating system resolves (`getaddrinfo`), so `/etc/hosts` and nsswitch are honoured. One
/// cache belongs to one thread of dialling; a dial is rare, so the lock is never fought over.
///
/// A lookup runs as a task of its own, one for a name at a time: one that takes longer than whoever
/// asked has time is still of use to the next.
#[derive(Debug)]
pub(crate) struct Resolver {
    ttl: Duration,
    ask: Ask,
    names: Arc<Mutex<Names>>,
}

/// Looks up a name, which may take as long as it likes.
type Ask = fn(String) -> BoxFuture<'static, io::Result<Addresses>>;

type Addresses = Arc<[IpAddr]>;

#[derive(Debug, Default)]
struct Names {
    known: HashMap<String, Answer>,
    /// Lookups that are under way.
    asked: HashMap<String, Lookup>,
}

/// Addresses, and when they were looked up.
type Answer = (Addresses, Instant);

/// A lookup under way.
#[derive(Clone, Debug)]
struct Lookup {
    began: Instant,
    outcome: watch::Receiver<Option<Result<Addresses, Arc<io::Error>>>>,
}

impl Lookup {
    /// What comes of it. Cancel safe: the lookup goes on.
    async fn outcome(mut self) -> io::Result<Addresses> {
        let over = self.outcome.wait_for(Option::is_some).await;
        let over = over.map_err(|_| io::Error::other("the lookup was interrupted"))?;
        match &*over {
            Some(Ok(addresses)) => Ok(Arc::clone(addresses)),
            Some(Err(error)) => Err(io::Error::new(error.kind(), Arc::clone(error))),
            None => Err(io::Error::other("the lookup was interrupted")),
        }
    }
}

impl Resolver {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self::asking(ttl, |host| ask(host).boxed())
    }

    fn asking(ttl: Duration, ask: Ask) -> Self {
        Self {
            ttl,
            ask,
            names: Arc::default(),
        }
    }

    /// The addresses of a host, which may itself be an address.
    ///
    /// Where an answer from before is at hand, that is taken when a new one fails or is slow;
    /// without one, the wait is as long as the lookup: who has less time bounds it. Cancel safe:
    /// the lookup goes on, and its answer is kept.
    pub(crate) async fn lookup(&self, host: &str, fixed: Option<IpAddr>) -> io::Result<Addresses> {
        if let Some(address) = fixed.or_else(|| host.parse().ok()) {
            return Ok(Arc::from([address]));
        }
        let (stale, lookup) = {
            let mut names = self.names();
            let stale = names.known.get(host).cloned();
            if let Some((addresses, at)) = &stale
                && at.elapsed() < self.ttl
            {
                return Ok(Arc::clone(addresses));
            }
            (stale, self.begin(&mut names, host))
        };
        let Some((last, _)) = stale else {
            return lookup.outcome().await;
        };
        // A resolver that is down must not stop a proxy that knows the way.
        let until = lookup.began + PATIENCE;
        let fresh = tokio::time::timeout_at(until, lookup.outcome()).await;
        Ok(fresh.ok().and_then(Result::ok).unwrap_or(last))
    }

    /// Asks anew what is no longer believed, and waits for the end of it.
    pub(crate) async fn renew(&self, host: &str) {
        if self.is_stale(host) {
            let lookup = self.begin(&mut self.names(), host);
            let _ = lookup.outcome().await;
        }
    }

    /// What the last lookup of a host brought.
    pub(crate) fn last(&self, host: &str) -> Option<Addresses> {
        let names = self.names();
        let last = names.known.get(host);
        last.map(|(addresses, _)| Arc::clone(addresses))
    }

    /// Whether the next lookup of a host asks anew.
    pub(crate) fn is_stale(&self, host: &str) -> bool {
        let names = self.names();
        let known = names.known.get(host);
        known.is_some_and(|(_, at)| at.elapsed() >= self.ttl)
    }

    /// Whether the first lookup of a host is not over yet.
    pub(crate) fn is_in_the_dark(&self, host: &str) -> bool {
        let names = self.names();
        names.asked.contains_key(host) && !names.known.contains_key(host)
    }

    /// Forgets a host whose addresses all failed, so that the next dial asks again.
    pub(crate) fn forget(&self, host: &str) {
        // Kept as a last resort, but no longer believed.
        if let Some((_, at)) = self.names().known.get_mut(host)
            && let Some(past) = Instant::now().checked_sub(self.ttl)
        {
            *at = past;
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lookup of a host that is under way, or a new one.
    fn begin(&self, names: &mut Names, host: &str) -> Lookup {
        let running = names.asked.get(host);
        // One whose task has gone down ends no more.
        let goes_on = |lookup: &&Lookup| {
            lookup.began.elapsed() < LONGEST && lookup.outcome.has_changed().is_ok()
        };
        if let Some(running) = running.filter(goes_on) {
            return running.clone();
        }
        let (tell, outcome) = watch::channel(None);
        let began = Instant::now();
        let lookup = Lookup { began, outcome };
        names.asked.insert(host.to_owned(), lookup.clone());
        let (asking, host, names) = (
            (self.ask)(host.to_owned()),
            host.to_owned(),
            Arc::clone(&self.names),
        );
        let work = async move {
            let found = asking.await.and_then(some);
            let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
            if names.asked.get(&host).is_some_and(|it| it.began == began) {
                names.asked.remove(&host);
            }
            if let Ok(addresses) = &found {
                let answer = (Arc::clone(addresses), Instant::now());
                names.known.insert(host, answer);
            }
            drop(names);
            tell.send_replace(Some(found.map_err(Arc::new)));
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "a lookup changes nothing, and a stop waits for none"
        )]
        tokio::spawn(work);
        lookup
    }
}

fn some(addresses: Addresses) -> io::Result<Addresses> {
    if addresses.is_empty() {
        let error = "the name has no address";
        return Err(io::Error::new(io::ErrorKind::NotFound, error));
    }
    Ok(addresses)
}

/// Asks the operating system.
async fn ask(host: String) -> io::Result<Addresses> {
    let lookups = LOOKUPS.with(Arc::clone);
    let place = lookups.acquire_owned().await.map_err(io::Error::other)?;
    let look = move || {
        // Until the lookup ends, whether or not somebody still waits for it.
        let _place = place;
        let found = (host.as_str(), 0).to_socket_addrs()?;
        Ok(found.map(|address| address.ip()).collect())
    };
    spawn_blocking(look).await.map_err(io::Error::other)?
}

#[cfg(test)]
impl Resolver {
    /// Puts an answer into the cache.
    pub(crate) fn learn(&self, host: &str, addresses: &[IpAddr]) {
        let answer = (Arc::from(addresses), Instant::now());
        self.names().known.insert(host.to_owned(), answer);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::Ipv4Addr;

    use tokio::time::{sleep, timeout};

    use super::*;

    const NAME: &str = "wise.test";
    const TTL: Duration = Duration::from_secs(20);
    const OLD: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const NEW: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    thread_local! {
        /// Lookups of this test that have begun.
        static BEGUN: Cell<u32> = const { Cell::new(0) };
    }

    /// A name server that takes so many seconds; glibc waits five for the first of two.
    fn slow<const SECONDS: u64>(_host: String) -> BoxFuture<'static, io::Result<Addresses>> {
        BEGUN.set(BEGUN.get() + 1);
        let answer = async {
            sleep(Duration::from_secs(SECONDS)).await;
            Ok(Arc::from([NEW]))
        };
        answer.boxed()
    }

    fn silent(_host: String) -> BoxFuture<'static, io::Result<Addresses>> {
        BEGUN.set(BEGUN.get() + 1);
        std::future::pending().boxed()
    }

    /// A resolver that knows an address which is no longer believed.
    async fn with_a_past(ask: Ask) -> Resolver {
        let resolver = Resolver::asking(TTL, ask);
        resolver.learn(NAME, &[OLD]);
        sleep(TTL).await;
        resolver
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_server_that_says_nothing_costs_those_who_know_the_way_a_second() {
        let resolver = with_a_past(silent).await;
        let began = Instant::now();
        assert_eq!(*resolver.lookup(NAME, None).await.unwrap(), [OLD]);
        assert_eq!(began.elapsed(), PATIENCE);
        assert_eq!(*resolver.lookup(NAME, None).await.unwrap(), [OLD]);
        assert_eq!(began.elapsed(), PATIENCE, "once, not each time");
        assert_eq!(BEGUN.get(), 1);
        sleep(LONGEST).await;
        assert_eq!(*resolver.lookup(NAME, None).await.unwrap(), [OLD]);
        assert_eq!(BEGUN.get(), 2, "one that never ends is not waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_late_is_used_from_then_on() {
        let resolver = with_a_past(slow::<7>).await;
        assert_eq!(*resolver.lookup(NAME, None).await.unwrap(), [OLD]);
        sleep(Duration::from_secs(7)).await;
        assert!(!resolver.is_stale(NAME));
        assert_eq!(*resolver.lookup(NAME, None).await.unwrap(), [NEW]);
        assert_eq!(BEGUN.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_lookup_outlives_those_who_had_no_time_for_it() {
        let resolver = Resolver::asking(TTL, slow::<7>);
        for patience in [5, 1] {
            let patience = Duration::from_secs(patience);
            let asked = timeout(patience, resolver.lookup(NAME, None)).await;
            assert!(asked.is_err() && resolver.is_in_the_dark(NAME));
        }
        let began = Instant::now();
        assert_eq!(*resolver.lookup(NAME, None).await.unwrap(), [NEW]);
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        assert!(!resolver.is_in_the_dark(NAME));
        assert_eq!(BEGUN.get(), 1, "one at a time");
    }

    #[tokio::test(start_paused = true)]
    async fn who_follows_a_name_waits_for_a_slow_answer() {
        let resolver = with_a_past(slow::<7>).await;
        resolver.renew(NAME).await;
        assert_eq!(*resolver.last(NAME).unwrap(), [NEW]);
        resolver.renew(NAME).await;
        assert_eq!(BEGUN.get(), 1, "what is believed is not asked again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_fails_leaves_the_last_addresses_and_is_made_again() {
        let resolver = with_a_past(|_host| {
            BEGUN.set(BEGUN.get() + 1);
            async { Err(io::Error::other("SERVFAIL")) }.boxed()
        });
        let resolver = resolver.await;
        for begun in 1..=2 {
            assert_eq!(*resolver.lookup(NAME, None).await.unwrap(), [OLD]);
            assert_eq!(BEGUN.get(), begun);
        }
        let unknown = resolver.lookup("other.test", None).await.unwrap_err();
        assert_eq!(unknown.to_string(), "SERVFAIL");
    }
}
