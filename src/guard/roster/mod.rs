//! Whom one door lets in.

use std::fmt;
use std::time::SystemTime;

use http::HeaderMap;

use crate::guard::key::{self, Identity, Key, KeyId, Look};
use crate::guard::token::{Kind, Mint, Ticket};
use crate::guard::{CallerId, Callers};
use crate::listener;

/// What a door knows of a connection, whatever its requests say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presence<'a> {
    /// `None`: somebody else speaks for whoever that is.
    pub(crate) from: Option<&'a listener::Peer>,
    /// Names in the client certificate, which was verified.
    pub(crate) certificate: &'a [String],
}

/// The callers of one door.
#[derive(Debug)]
pub(crate) struct Roster {
    keys: Box<[Key]>,
    certificates: Box<[(String, CallerId)]>,
    users: Box<[(u32, CallerId)]>,
    groups: Box<[(u32, CallerId)]>,
    /// Users that belong to the groups by the machine's own list.
    members: Box<[(u32, CallerId)]>,
}

/// Whoever calls is none of the door's callers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stranger {
    why: Why,
    by_key: bool,
    by_certificate: bool,
    by_user: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Why {
    NothingShown,
    WrongKey,
    EndedKey,
    EndedToken,
    ForeignToken,
}

impl Roster {
    /// `accepted`: names of the door's callers. Those that are not there know nobody.
    pub(crate) fn new(callers: &Callers, accepted: &[String]) -> Self {
        let accepted: Vec<_> = accepted
            .iter()
            .filter_map(|name| callers.find(name))
            .collect();
        let numbers = |of: fn(&super::Caller) -> &[u32]| -> Box<[(u32, CallerId)]> {
            let pairs = accepted.iter();
            pairs
                .flat_map(|(id, caller)| of(caller).iter().map(|number| (*number, *id)))
                .collect()
        };
        Self {
            keys: accepted
                .iter()
                .flat_map(|(id, caller)| caller.hashes.iter().map(|hash| Key::new(*hash, *id)))
                .collect(),
            certificates: accepted
                .iter()
                .flat_map(|(id, caller)| caller.certificates.iter().map(|it| (it.clone(), *id)))
                .collect(),
            users: numbers(|caller| &caller.users),
            groups: numbers(|caller| &caller.groups),
            members: numbers(|caller| &caller.members),
        }
    }

    /// Says who calls: by a key that the request shows, else by certificate, user or group.
    ///
    /// `mint`: of a door whose own tokens are keys as well.
    pub(crate) fn identify(
        &self,
        headers: &HeaderMap,
        presence: Presence<'_>,
        now: SystemTime,
        callers: &Callers,
        mint: Option<&Mint>,
    ) -> Result<CallerId, Stranger> {
        let mut why = Why::NothingShown;
        let by_key = key::shown(headers, |shown| {
            let look = match mint {
                Some(mint) if key::is_stand_in(shown) => {
                    let ticket = mint.check(Kind::Access, shown, now);
                    ticket.and_then(|ticket| self.holder(&ticket, now, callers))
                }
                Some(_) | None => self.look_up(shown, now, &mut why).map(|it| it.caller),
            };
            if look.is_none() && why == Why::NothingShown {
                why = match mint {
                    _ if !key::is_stand_in(shown) => Why::WrongKey,
                    Some(_) => Why::EndedToken,
                    None => Why::ForeignToken,
                };
            }
            look
        });
        by_key
            .or_else(|| self.by_presence(presence))
            .ok_or_else(|| self.stranger(why))
    }

    /// As [`Self::identify`], for a client of the stand-in: by the secret in its form as well, and
    /// never by a token.
    pub(crate) fn authenticate(
        &self,
        headers: &HeaderMap,
        secret: Option<&[u8]>,
        presence: Presence<'_>,
        now: SystemTime,
    ) -> Option<Identity> {
        let mut why = Why::NothingShown;
        let mut look = |shown: &[u8]| self.look_up(shown, now, &mut why);
        let by_key = key::shown(headers, &mut look).or_else(|| secret.and_then(&mut look));
        by_key.or_else(|| {
            let caller = self.by_presence(presence)?;
            Some(Identity {
                caller,
                key: KeyId::NONE,
                until: None,
            })
        })
    }

    /// Whose a token is, if it has the key still that it was made for.
    pub(crate) fn holder(
        &self,
        ticket: &Ticket,
        now: SystemTime,
        callers: &Callers,
    ) -> Option<CallerId> {
        let mut keys = self.keys.iter();
        let key = keys.find(|key| key.id == ticket.key && key.lives(now))?;
        (callers.name(key.of) == ticket.caller).then_some(key.of)
    }

    fn look_up(&self, shown: &[u8], now: SystemTime, why: &mut Why) -> Option<Identity> {
        match key::look_up(&self.keys, shown, now) {
            Look::Known(identity) => Some(identity),
            Look::Ended => {
                *why = Why::EndedKey;
                None
            }
            Look::Unknown => None,
        }
    }

    fn by_presence(&self, presence: Presence<'_>) -> Option<CallerId> {
        let mut certificates = self.certificates.iter();
        if let Some((_, id)) = certificates.find(|(name, _)| presence.certificate.contains(name)) {
            return Some(*id);
        }
        let Some(listener::Peer::Unix { uid, gid }) = presence.from else {
            return None;
        };
        let of = |list: &[(u32, CallerId)], wanted: u32| {
            let mut list = list.iter();
            list.find(|(number, _)| *number == wanted)
                .map(|(_, id)| *id)
        };
        of(&self.users, *uid)
            .or_else(|| of(&self.groups, *gid))
            .or_else(|| of(&self.members, *uid))
    }

    fn stranger(&self, why: Why) -> Stranger {
        Stranger {
            why,
            by_key: !self.keys.is_empty(),
            by_certificate: !self.certificates.is_empty(),
            by_user: !(self.users.is_empty() && self.groups.is_empty()),
        }
    }
}

impl Stranger {
    /// At a door that asks for a certificate and nothing else.
    pub(crate) const UNCERTIFIED: Self = Self {
        why: Why::NothingShown,
        by_key: false,
        by_certificate: true,
        by_user: false,
    };

    /// What would make it known at this door.
    pub(crate) fn hint(self) -> String {
        let by_key = match self.why {
            Why::EndedToken => "have the application ask this door's /oauth/token for a new token",
            Why::ForeignToken => {
                "take the token to the door that gave it, or send the caller's key here"
            }
            Why::EndedKey => {
                "give the application its new key: `wise-auth-proxy caller rotate` makes one"
            }
            Why::NothingShown | Why::WrongKey => {
                "send the caller's key as `Authorization: Bearer`, as a Basic password or in \
                 `Proxy-Authorization`"
            }
        };
        let ways = [
            (self.by_key, by_key),
            (
                self.by_certificate,
                "connect with the caller's client certificate",
            ),
            (self.by_user, "run as the caller's user or group"),
        ];
        let ways: Vec<_> = ways
            .into_iter()
            .filter_map(|(is, way)| is.then_some(way))
            .collect();
        ways.join("; or ")
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.why {
            Why::NothingShown => "the caller is none that this door knows",
            Why::WrongKey => "the key that the caller shows is none that this door knows",
            Why::EndedKey => "the key that the caller shows has ended",
            Why::ForeignToken => {
                "the token that the caller shows is of another door: this one gives none"
            }
            Why::EndedToken => {
                "the token that the caller shows is none of this door's, or has ended"
            }
        })
    }
}

#[cfg(test)]
mod tests;
