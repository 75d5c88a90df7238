use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls_pki_types::ServerName;
use tokio::time::Instant;

/// Tickets that are kept whatever their age, for those who come back after a long silence.
const FEW: usize = 8;

/// How many TLS 1.3 tickets are kept for one endpoint, and for how long.
///
/// A ticket is good for one handshake, and rustls' own store keeps eight: when Wise closes more
/// connections than that at once, the rest would come back with whole handshakes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tickets {
    /// As many as connections may be open.
    pub(crate) most: usize,
    /// As long as a connection may live: an older ticket's connection has come back already.
    pub(crate) age: Duration,
}

impl Tickets {
    /// A store of its own, for one endpoint under one identity.
    pub(super) fn store(self) -> Resumption {
        Resumption::store(Arc::new(Sessions {
            tickets: self,
            known: Mutex::default(),
        }))
    }
}

/// What rustls knows of earlier connections to one server.
///
/// The newest ticket goes first: the older a ticket, the likelier its server has forgotten it.
/// rustls looks at a ticket's lifetime when it takes it.
struct Sessions {
    tickets: Tickets,
    known: Mutex<Option<Known>>,
}

struct Known {
    server: ServerName<'static>,
    group: Option<NamedGroup>,
    /// TLS 1.2 resumes one session any number of times.
    tls12: Option<Tls12ClientSessionValue>,
    /// With the time of their arrival, the oldest first.
    tls13: VecDeque<(Instant, Tls13ClientSessionValue)>,
}

impl Sessions {
    /// Looks at what is known of a server.
    fn of<T>(
        &self,
        server: &ServerName<'_>,
        look: impl FnOnce(&mut Known) -> Option<T>,
    ) -> Option<T> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .as_mut()
            .filter(|it| it.server == *server)
            .and_then(look)
    }

    /// Notes something about a server. An endpoint has one name; another takes its place.
    fn note(&self, server: &ServerName<'static>, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Known {
            server: server.clone(),
            group: None,
            tls12: None,
            tls13: VecDeque::new(),
        };
        let current = known.take().filter(|it| it.server == *server);
        change(known.insert(current.unwrap_or_else(fresh)));
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = known.as_ref().map_or(0, |known| known.tls13.len());
        // How many, and nothing of what is in them.
        f.debug_struct("Sessions")
            .field("tickets", &self.tickets)
            .field("kept", &kept)
            .finish_non_exhaustive()
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.note(&server, |known| known.group = Some(group));
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.of(server, |known| known.group)
    }

    fn set_tls12_session(&self, server: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.note(&server, |known| known.tls12 = Some(session));
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.of(server, |known| known.tls12.clone())
    }

    fn remove_tls12_session(&self, server: &ServerName<'static>) {
        self.of(server, |known| known.tls12.take());
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let (Tickets { most, age }, now) = (self.tickets, Instant::now());
        self.note(&server, |known| {
            let tickets = &mut known.tls13;
            tickets.push_back((now, ticket));
            while tickets.len() > FEW
                && tickets
                    .front()
                    .is_some_and(|(came, _)| tickets.len() > most || now - *came > age)
            {
                tickets.pop_front();
            }
        });
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.of(server, |known| known.tls13.pop_back())
            .map(|(_, ticket)| ticket)
    }
}
