//! Who may come in, and what they may do.

use std::time::SystemTime;

use http::header::PROXY_AUTHORIZATION;
use http::{HeaderMap, Method, request};

use crate::config::{Door as DoorConfig, DoorAddress, Hosts};
use crate::guard::{CallerId, Callers, GuardError, Mint, Roster, Stranger};
use crate::proxy::fault::Fault;
use crate::proxy::peer::{Peer, Tunnel};
use crate::proxy::target::{Rules, Target};
use crate::proxy::ways::Ways;
use crate::tls::Acceptor;
use crate::wise::Lane;
use crate::wise::hosts::TOKEN_PATH;

/// A listening address with its rules, ready to judge requests.
#[derive(Debug)]
pub(crate) struct Door {
    rules: Rules,
    /// Whom it lets in; `None`: whoever reaches it.
    roster: Option<Roster>,
    /// Makes the tokens of a door that answers `POST /oauth/token` itself.
    mint: Option<Mint>,
    /// Grant of requests that name no profile, by index.
    pub(crate) grant: Option<usize>,
    /// The lane of its requests; `None`: that of the switch.
    pub(crate) lane: Option<Lane>,
    /// What a connection goes through before its first request.
    pub(crate) ways: Ways,
}

impl Door {
    /// `grant`: the position of the door's grant.
    pub(crate) fn new(
        door: &DoorConfig,
        hosts: &Hosts,
        callers: &Callers,
        grant: Option<usize>,
    ) -> Self {
        let accepted = door.callers.as_ref();
        Self {
            rules: Rules::new(door, hosts),
            roster: accepted.map(|accepted| Roster::new(callers, accepted)),
            mint: None,
            grant,
            lane: door.lane,
            ways: Ways::default(),
        }
    }

    /// The same door with further ways in.
    pub(crate) fn with_ways(self, ways: Ways) -> Self {
        Self { ways, ..self }
    }

    /// Has it answer `POST /oauth/token`, with tokens that are sealed under `secret`.
    pub(crate) fn standing_in(
        mut self,
        secret: &[u8; 32],
        address: &DoorAddress,
    ) -> Result<Self, GuardError> {
        let place = match address {
            DoorAddress::Tcp(address) => address.to_string(),
            DoorAddress::Unix { path, .. } => path.display().to_string(),
        };
        self.mint = Some(Mint::new(secret, &place)?);
        Ok(self)
    }

    /// Lets a request in and hands out its target, and its caller if the door knows callers.
    ///
    /// `callers`: those of the snapshot that the door is in.
    pub(crate) fn admit(
        &self,
        head: &request::Parts,
        peer: &Peer,
        callers: &Callers,
        now: SystemTime,
    ) -> Result<(Target, Option<CallerId>), Fault> {
        let target = self.rules.admit(head, peer.tunnel.as_ref())?;
        let caller = self.recognise(&head.headers, peer, callers, now)?;
        Ok((target, caller))
    }

    /// Lets somebody have a tunnel and hands out what is to be known inside, and the caller.
    pub(crate) fn admit_tunnel(
        &self,
        head: &request::Parts,
        peer: &Peer,
        callers: &Callers,
        now: SystemTime,
    ) -> Result<(Tunnel, Option<CallerId>), Fault> {
        let host = self.rules.admit_tunnel(head)?;
        let caller = self.recognise(&head.headers, peer, callers, now)?;
        let mut shown = head.headers.get(PROXY_AUTHORIZATION).cloned();
        if let Some(shown) = &mut shown {
            shown.set_sensitive(true);
        }
        Ok((Tunnel { host, shown }, caller))
    }

    /// Whether a connection can bring nobody in any more, whatever it asks: what it came by has
    /// ended or was taken away. Another one may.
    pub(super) fn has_closed_to(&self, peer: &Peer, now: SystemTime) -> bool {
        let tunnel = peer.tunnel.as_ref();
        let withdrawn = tunnel.is_some_and(|tunnel| !self.rules.offers(tunnel));
        let lapsed = peer.certificate.is_some() && peer.certified(&self.ways, now).is_none();
        withdrawn || lapsed || !self.is_certified(peer, now)
    }

    /// Whether the connection has the certificate that the door wants, if it wants one.
    fn is_certified(&self, peer: &Peer, now: SystemTime) -> bool {
        let tls = self.ways.tls.as_ref();
        let wanted = tls.is_some_and(Acceptor::requires_certificate);
        !wanted || peer.certified(&self.ways, now).is_some()
    }

    /// Finds out who calls; `None`: the door asks nobody.
    pub(super) fn recognise(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        callers: &Callers,
        now: SystemTime,
    ) -> Result<Option<CallerId>, Fault> {
        if !self.is_certified(peer, now) {
            return Err(Fault::CallerUnknown(Stranger::UNCERTIFIED));
        }
        let Some(roster) = &self.roster else {
            return Ok(None);
        };
        let mint = self.mint.as_ref();
        let caller = roster.identify(headers, peer.presence(&self.ways, now), now, callers, mint);
        caller.map(Some).map_err(Fault::CallerUnknown)
    }

    /// Whether the door answers this request itself, if its framing, host and origin are right.
    pub(super) fn stands_in_for(&self, head: &request::Parts) -> bool {
        self.mint.is_some() && head.method == Method::POST && is_token_endpoint(head.uri.path())
    }

    /// What [`Self::admit`] asks before it asks who calls.
    pub(super) fn is_well_directed(
        &self,
        head: &request::Parts,
        peer: &Peer,
        now: SystemTime,
    ) -> Result<(), Fault> {
        self.rules.admit(head, peer.tunnel.as_ref())?;
        if self.is_certified(peer, now) {
            Ok(())
        } else {
            Err(Fault::CallerUnknown(Stranger::UNCERTIFIED))
        }
    }

    pub(super) fn mint(&self) -> Option<&Mint> {
        self.mint.as_ref()
    }

    pub(super) fn roster(&self) -> Option<&Roster> {
        self.roster.as_ref()
    }
}

/// `/oauth/token`, also below a calendar version, as in `/2026Q3/oauth/token`.
fn is_token_endpoint(path: &str) -> bool {
    let is_version = |version: &str| {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let parts = version.split_once('Q');
        parts.is_some_and(|(year, quarter)| {
            year.len() == 4 && digits(year) && quarter.len() == 1 && digits(quarter)
        })
    };
    match path.strip_suffix(TOKEN_PATH) {
        Some("") => true,
        Some(version) => version.strip_prefix('/').is_some_and(is_version),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::{Caller, KeyHash, Origin};
    use crate::guard;

    fn callers() -> Callers {
        let hash = |key: &str, until| KeyHash {
            digest: guard::digest(key.as_bytes()),
            until,
        };
        Callers::read(&[Caller {
            name: "payroll".into(),
            key: None,
            hashes: vec![
                hash("open sesame", None),
                hash("old sesame", Some(SystemTime::UNIX_EPOCH)),
            ],
            users: Vec::new(),
            groups: Vec::new(),
            certificates: Vec::new(),
            policy: None,
        }])
        .unwrap()
    }

    fn door(callers: Option<&[&str]>) -> Door {
        let origin = Origin {
            host: "api.wise.com".into(),
            port: 443,
            tls: true,
        };
        let hosts = Hosts {
            plain: origin.clone(),
            mtls: origin,
            aliases: Vec::new(),
            authorise: String::new(),
            token_url: None,
        };
        let config = DoorConfig {
            callers: callers.map(|names| names.iter().map(|name| (*name).into()).collect()),
            ..DoorConfig::loopback(SocketAddr::from(([127, 0, 0, 1], 8080)))
        };
        Door::new(&config, &hosts, &self::callers(), None)
    }

    fn ask(method: &str, field: Option<(&str, &str)>) -> request::Parts {
        let mut request = http::Request::builder()
            .method(method)
            .uri("/v1/me")
            .header("host", "localhost");
        if let Some((name, value)) = field {
            request = request.header(name, value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn admit(door: &Door, head: &request::Parts) -> Result<Option<String>, Fault> {
        let callers = callers();
        let now = SystemTime::UNIX_EPOCH;
        let admitted = door.admit(head, &Peer::local(), &callers, now);
        admitted.map(|(_, caller)| caller.map(|id| callers.name(id).to_owned()))
    }

    #[test]
    fn a_door_with_callers_opens_to_a_key_in_every_place_a_client_can_put_it() {
        let door = door(Some(&["payroll"]));
        for field in [
            ("authorization", "Bearer open sesame"),
            ("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("authorization", "Basic b3BlbiBzZXNhbWU6"),
            ("proxy-authorization", "basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ] {
            let caller = admit(&door, &ask("GET", Some(field)));
            assert_eq!(caller.unwrap().as_deref(), Some("payroll"), "{field:?}");
        }
    }

    #[test]
    fn a_caller_without_a_key_is_unknown_and_told_what_to_show() {
        let door = door(Some(&["payroll"]));
        for (field, detail) in [
            (None, "is none that this door knows"),
            (
                Some(("authorization", "Bearer wrong")),
                "key that the caller shows is none",
            ),
            (
                Some(("authorization", "open sesame")),
                "is none that this door knows",
            ),
            (Some(("authorization", "Bearer old sesame")), "has ended"),
        ] {
            let fault = admit(&door, &ask("GET", field)).unwrap_err();
            assert_eq!(fault.status(), 407);
            assert!(fault.to_string().contains(detail), "{fault}");
            let headers = fault.headers();
            let asked: Vec<_> = headers.get_all("proxy-authenticate").iter().collect();
            let (bearer, basic) = (
                "Bearer realm=\"wise-auth-proxy\"",
                "Basic realm=\"wise-auth-proxy\", charset=\"UTF-8\"",
            );
            assert_eq!(asked, [bearer, basic]);
        }
    }

    #[test]
    fn a_door_without_callers_asks_nobody() {
        let door = door(None);
        assert_eq!(admit(&door, &ask("GET", None)).unwrap(), None);
    }

    #[test]
    fn the_token_endpoint_is_known_under_every_name_of_it() {
        for path in ["/oauth/token", "/2026Q3/oauth/token"] {
            assert!(is_token_endpoint(path), "{path}");
        }
        for path in [
            "/v1/oauth/token",
            "/oauth/token/",
            "/x/2026Q3/oauth/token",
            "/2026Q/oauth/token",
        ] {
            assert!(!is_token_endpoint(path), "{path}");
        }
    }
}
