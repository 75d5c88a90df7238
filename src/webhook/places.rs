//! How many connections a door has at once, all together and from one sender.
//!
//! Anybody on the internet may connect. A place that is taken is held for the time of a handshake, a
//! head and a body at most; so whoever wants to keep Wise out must come from several networks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::listener::Peer;

/// Connections at once. A newcomer beyond them is closed: in the kernel's queue it would wait for
/// longer than Wise does.
pub(super) const CONNECTIONS: usize = 256;

/// Of them, connections of one sender. Wise needs one for each delivery that is on its way.
pub(super) const OF_ONE: usize = 64;

/// The places of a door.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

/// A connection's place; dropping it gives it back.
#[derive(Debug)]
#[must_use = "dropping it frees the place of a connection that may still be open"]
pub(super) struct Place {
    places: Arc<Places>,
    sender: IpAddr,
}

/// There is no place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoPlace {
    Full,
    /// This sender has as many as one may have.
    OneSender,
}

impl Places {
    pub(super) fn enter(self: &Arc<Self>, peer: Peer) -> Result<Place, NoPlace> {
        let sender = sender(peer);
        let mut taken = self.taken();
        if taken.all >= CONNECTIONS {
            return Err(NoPlace::Full);
        }
        let own = taken.by.entry(sender).or_default();
        if *own >= OF_ONE {
            return Err(NoPlace::OneSender);
        }
        *own += 1;
        taken.all += 1;
        drop(taken);
        Ok(Place {
            places: Arc::clone(self),
            sender,
        })
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all = taken.all.saturating_sub(1);
        // Nothing is kept of who has left.
        let left = taken.by.get_mut(&self.sender).map(|own| {
            *own = own.saturating_sub(1);
            *own
        });
        if left == Some(0) {
            taken.by.remove(&self.sender);
        }
    }
}

/// Who counts as one: an IPv4 address, or an IPv6 network of 64 bits, which one subscriber has alone.
fn sender(peer: Peer) -> IpAddr {
    let address = match peer {
        Peer::Tcp(address) => address.ip().to_canonical(),
        // No webhook listens there.
        Peer::Unix { .. } => return Ipv6Addr::UNSPECIFIED.into(),
    };
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(network).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Peer {
        Peer::Tcp((address.parse::<IpAddr>().unwrap(), 1).into())
    }

    #[test]
    fn one_sender_leaves_room_for_others_and_places_come_back() {
        let places = Arc::new(Places::default());
        let held: Vec<_> = (0..OF_ONE)
            .map(|number| {
                places
                    .enter(from(&format!("2001:db8::{number:x}")))
                    .unwrap()
            })
            .collect();
        let again = |address: &str| places.enter(from(address)).map(drop);
        assert_eq!(again("2001:db8::ffff:1"), Err(NoPlace::OneSender));
        assert_eq!(again("2001:db8:0:1::1"), Ok(()));
        assert_eq!(again("192.0.2.1"), Ok(()));
        drop(held);
        assert!(places.taken().by.is_empty());
        assert_eq!(again("2001:db8::ffff:1"), Ok(()));
        // An IPv4 address is itself in either spelling.
        let held: Vec<_> = (0..OF_ONE)
            .map(|_| places.enter(from("192.0.2.1")).unwrap())
            .collect();
        assert_eq!(again("::ffff:192.0.2.1"), Err(NoPlace::OneSender));
        assert_eq!(again("192.0.2.2"), Ok(()));
        drop(held);
        let held: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                places
                    .enter(from(&format!("10.0.0.{}", number % 8)))
                    .unwrap()
            })
            .collect();
        assert_eq!(again("192.0.2.1"), Err(NoPlace::Full));
        drop(held);
        assert_eq!(again("192.0.2.1"), Ok(()));
        assert_eq!(places.taken().all, 0);
    }
}
