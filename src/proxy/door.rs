//! Who may come in, and what they may do.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, request};

use crate::config::{Door as DoorConfig, Hosts};
use crate::proxy::fault::Fault;
use crate::proxy::peer::{Peer, Tunnel};
use crate::proxy::target::{Rules, Target};
use crate::proxy::ways::Ways;
use crate::secret::Secret;

/// A listening address with its rules, ready to judge requests.
#[derive(Debug)]
pub(crate) struct Door {
    rules: Rules,
    key: Option<Secret>,
    read_only: bool,
    /// Grant of requests that name no profile, by index.
    pub(crate) grant: Option<usize>,
    /// What a connection goes through before its first request.
    pub(crate) ways: Ways,
}

impl Door {
    /// `key` is what the door's `key` holds, already read; `grant` the position of its grant.
    pub(crate) fn new(
        door: &DoorConfig,
        hosts: &Hosts,
        key: Option<Secret>,
        grant: Option<usize>,
    ) -> Self {
        Self {
            rules: Rules::new(door, hosts),
            key,
            read_only: door.read_only,
            grant,
            ways: Ways::default(),
        }
    }

    /// The same door with further ways in.
    pub(crate) fn with_ways(self, ways: Ways) -> Self {
        Self { ways, ..self }
    }

    /// Lets a request in and hands out its target.
    pub(crate) fn admit(&self, head: &request::Parts, peer: &Peer) -> Result<Target, Fault> {
        let target = self.rules.admit(head, peer.tunnel.as_ref())?;
        self.recognise(&head.headers)?;
        let reads = [Method::GET, Method::HEAD, Method::OPTIONS];
        if self.read_only && !reads.contains(&head.method) {
            return Err(Fault::NotAllowed("this door is read-only"));
        }
        Ok(target)
    }

    /// Lets somebody have a tunnel and hands out what is to be known inside.
    pub(crate) fn admit_tunnel(&self, head: &request::Parts) -> Result<Tunnel, Fault> {
        let host = self.rules.admit_tunnel(head)?;
        self.recognise(&head.headers)?;
        let mut shown = head.headers.get(PROXY_AUTHORIZATION).cloned();
        if let Some(shown) = &mut shown {
            shown.set_sensitive(true);
        }
        Ok(Tunnel { host, shown })
    }

    /// Finds out who calls.
    fn recognise(&self, headers: &HeaderMap) -> Result<(), Fault> {
        match &self.key {
            Some(key) if !shows(headers, key) => Err(Fault::CallerUnknown),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether the caller shows the key: as a bearer token or as the password of basic credentials.
fn shows(headers: &HeaderMap, key: &Secret) -> bool {
    let fields = [PROXY_AUTHORIZATION, AUTHORIZATION];
    let mut shown = fields
        .iter()
        .flat_map(|name| headers.get_all(name))
        .filter_map(shown_key);
    shown.any(|shown| shown.matches(key))
}

fn shown_key(value: &HeaderValue) -> Option<Secret> {
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Secret::new(rest.trim()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = Secret::new(String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?);
    let (_, password) = pair.expose().split_once(':')?;
    Some(Secret::new(password))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::Origin;

    fn door(key: Option<&str>, read_only: bool) -> Door {
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
            read_only,
            ..DoorConfig::loopback(SocketAddr::from(([127, 0, 0, 1], 8080)))
        };
        Door::new(&config, &hosts, key.map(Secret::new), None)
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

    #[test]
    fn a_door_with_a_key_opens_to_it_in_every_place_a_client_can_put_it() {
        let door = door(Some("open sesame"), false);
        for field in [
            ("authorization", "Bearer open sesame"),
            ("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("proxy-authorization", "basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ] {
            assert!(
                door.admit(&ask("GET", Some(field)), &Peer::local()).is_ok(),
                "{field:?}"
            );
        }
    }

    #[test]
    fn a_caller_without_the_key_is_unknown() {
        let door = door(Some("open sesame"), false);
        for field in [
            None,
            Some(("authorization", "Bearer wrong")),
            Some(("authorization", "open sesame")),
        ] {
            let fault = door.admit(&ask("GET", field), &Peer::local()).unwrap_err();
            assert_eq!(fault.status(), 407);
            assert!(fault.headers().contains_key("proxy-authenticate"));
        }
    }

    #[test]
    fn a_read_only_door_refuses_what_could_move_money() {
        let door = door(None, true);
        assert!(door.admit(&ask("GET", None), &Peer::local()).is_ok());
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            assert_eq!(
                door.admit(&ask(method, None), &Peer::local())
                    .unwrap_err()
                    .status(),
                403,
                "{method}"
            );
        }
    }
}
