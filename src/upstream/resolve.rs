use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::sync::spawn_blocking;

/// So many names are looked up at once by one thread.
const AT_ONCE: usize = 4;

thread_local! {
    /// A lookup that hangs cannot be called off, and keeps its blocking thread: the others are for
    /// what must not wait for a resolver.
    static LOOKUPS: Arc<Semaphore> = Arc::new(Semaphore::new(AT_ONCE));
}

/// Addresses of names, believed for a while and kept when a lookup fails.
///
/// The operating system resolves (`getaddrinfo`), so `/etc/hosts` and nsswitch are honoured. One
/// cache belongs to one thread of dialling; a dial is rare, so the lock is never fought over.
#[derive(Debug)]
pub(crate) struct Resolver {
    ttl: Duration,
    known: Mutex<HashMap<String, Answer>>,
}

/// Addresses, and when they were looked up.
type Answer = (Arc<[IpAddr]>, Instant);

impl Resolver {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            known: Mutex::default(),
        }
    }

    /// The addresses of a host, which may itself be an address.
    pub(crate) async fn lookup(
        &self,
        host: &str,
        fixed: Option<IpAddr>,
    ) -> io::Result<Arc<[IpAddr]>> {
        if let Some(address) = fixed.or_else(|| host.parse().ok()) {
            return Ok(Arc::from([address]));
        }
        let stale = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(host).cloned()
        };
        if let Some((addresses, at)) = &stale
            && at.elapsed() < self.ttl
        {
            return Ok(Arc::clone(addresses));
        }
        match ask(host.to_owned()).await {
            Ok(addresses) => {
                if addresses.is_empty() {
                    return Err(io::Error::new(
                        io::ErrorKind::NotFound,
                        "the name has no address",
                    ));
                }
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(host.to_owned(), (Arc::clone(&addresses), Instant::now()));
                Ok(addresses)
            }
            // A resolver that is down must not stop a proxy that knows the way.
            Err(error) => stale.map(|(addresses, _)| addresses).ok_or(error),
        }
    }

    /// What the last lookup of a host brought.
    pub(crate) fn last(&self, host: &str) -> Option<Arc<[IpAddr]>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(host).map(|(addresses, _)| Arc::clone(addresses))
    }

    /// Whether the next lookup of a host asks anew.
    pub(crate) fn is_stale(&self, host: &str) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(host)
            .is_some_and(|(_, at)| at.elapsed() >= self.ttl)
    }

    /// Forgets a host whose addresses all failed, so that the next dial asks again.
    pub(crate) fn forget(&self, host: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Kept as a last resort, but no longer believed.
        if let Some((_, at)) = known.get_mut(host)
            && let Some(past) = Instant::now().checked_sub(self.ttl)
        {
            *at = past;
        }
    }
}

/// Asks the operating system.
async fn ask(host: String) -> io::Result<Arc<[IpAddr]>> {
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
        let mut known = self.known.lock().unwrap();
        known.insert(host.to_owned(), (Arc::from(addresses), Instant::now()));
    }
}
