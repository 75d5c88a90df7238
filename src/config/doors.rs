//! Rules of doors, of the grants they name, and of the operator's own entrance.

use std::path::{Path, PathBuf};

use super::check::Check;
use super::file;
use super::leaf::{List, Parsed};
use super::values::{Listen, Mode};
use super::{Admin, Door, DoorAddress, DoorTls, Grant, Store};

/// Longest path of a unix socket (Linux, `sun_path` without its zero byte).
const SOCKET_PATH: usize = 107;

impl Check<'_> {
    pub(super) fn grants(&mut self, typed: &[file::Grant]) -> Vec<Grant> {
        let mut grants: Vec<Grant> = Vec::new();
        for (i, grant) in typed.iter().enumerate() {
            let Some(Parsed(name)) = &grant.name else {
                self.refuse(
                    &format!("grant.{i}.name"),
                    "give the grant a name, such as \"main\"",
                );
                continue;
            };
            let profile = grant.profile.clone().map(|Parsed(profile)| profile);
            let default = grant.default.is_some_and(|Parsed(default)| default);
            if grants.iter().any(|other| other.name == name.0) {
                self.refuse(&format!("grant.{i}.name"), "another grant has this name");
            }
            if profile.is_some() && grants.iter().any(|other| other.profile == profile) {
                self.refuse(
                    &format!("grant.{i}.profile"),
                    "another grant has this profile",
                );
            }
            if default && grants.iter().any(|other| other.default) {
                self.refuse(
                    &format!("grant.{i}.default"),
                    "another grant is the default; one can be",
                );
            }
            if profile.is_none() && typed.len() > 1 {
                self.refuse(
                    &format!("grant.{i}.profile"),
                    "with several grants each must say its profile: requests are told apart by it",
                );
            }
            grants.push(Grant {
                name: name.0.clone(),
                profile,
                default,
            });
        }
        if let [only] = grants.as_mut_slice() {
            only.default = true;
        }
        grants
    }

    pub(super) fn doors(&mut self, typed: &[file::Door], grants: &[file::Grant]) -> Vec<Door> {
        if typed.is_empty() {
            self.refuse("door", "name one door at least, or leave the key out");
        }
        let mut doors: Vec<Door> = Vec::new();
        for (i, door) in typed.iter().enumerate() {
            let key = |name: &str| format!("door.{i}.{name}");
            let known = |wanted: &str| {
                grants
                    .iter()
                    .filter_map(|grant| grant.name.as_ref())
                    .any(|Parsed(name)| name.0 == wanted)
            };
            let grant = door.grant.as_ref().map(|Parsed(name)| name.0.clone());
            if grant.as_deref().is_some_and(|name| !known(name)) {
                self.refuse(&key("grant"), "must be the name of a [[grant]]");
            }
            let Some(Parsed(listen)) = &door.address else {
                self.refuse(
                    &key("address"),
                    "say where the door listens, such as \"127.0.0.1:8080\"",
                );
                continue;
            };
            let exposed = is_set(door.expose);
            let tls = self.door_tls(&key("tls"), door.tls.as_ref());
            let asks =
                door.callers.is_some() || tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
            if exposed && !asks {
                self.refuse(
                    &key("callers"),
                    "is missing: a door beyond loopback must know who calls. Run \
                     `wise-auth-proxy caller add`, and name the caller here, or ask for client \
                     certificates with tls.client_ca",
                );
            }
            let address = match listen {
                Listen::Tcp(address) => {
                    for (name, given) in [
                        ("mode", door.mode.is_some()),
                        ("owner", door.owner.is_some()),
                    ] {
                        if given {
                            self.refuse(&key(name), "is for unix sockets; leave it out");
                        }
                    }
                    if !exposed && !address.ip().is_loopback() {
                        self.refuse(
                            &key("address"),
                            "is not a loopback address: whoever reaches it acts for you at Wise. \
                             Take 127.0.0.1, or say `expose = true` beside it",
                        );
                    }
                    DoorAddress::Tcp(*address)
                }
                Listen::Unix(path) => {
                    if exposed {
                        self.refuse(&key("expose"), "is for TCP addresses; leave it out");
                    }
                    let path = self.base.join(path);
                    self.socket(&key("address"), &path);
                    let Mode(mode) = door.mode.map_or(Mode(0o600), |Parsed(mode)| mode);
                    let owner = door.owner.clone().map(|Parsed(owner)| owner);
                    DoorAddress::Unix { path, mode, owner }
                }
            };
            let same = |other: &Door| match (&other.address, &address) {
                (DoorAddress::Tcp(other), DoorAddress::Tcp(address)) => {
                    other == address && address.port() != 0
                }
                (DoorAddress::Unix { path: other, .. }, DoorAddress::Unix { path, .. }) => {
                    other == path
                }
                _ => false,
            };
            if doors.iter().any(same) {
                self.refuse(&key("address"), "another door listens there");
            }
            doors.push(Door {
                address,
                hosts: (door.hosts.iter().flat_map(|hosts| &hosts.0))
                    .map(|host| host.0.clone())
                    .collect(),
                grant,
                callers: (door.callers.as_ref())
                    .map(|List(names)| names.iter().map(|name| name.0.clone()).collect()),
                policy: door.policy.clone().map(|Parsed(name)| name.0),
                lane: door.lane.map(|Parsed(lane)| lane),
                tls,
                connect: is_set(door.connect),
                stand_in: is_set(door.stand_in),
                proxy_protocol: is_set(door.proxy_protocol),
            });
        }
        doors
    }

    fn door_tls(&mut self, key: &str, typed: Option<&file::DoorTls>) -> Option<DoorTls> {
        let typed = typed?;
        for (name, missing) in [
            ("certificate", typed.certificate.is_none()),
            ("key", typed.key.is_none()),
        ] {
            if missing {
                self.refuse(&format!("{key}.{name}"), "say its PEM file");
            }
        }
        let path =
            |path: &Option<Parsed<PathBuf>>| path.as_ref().map(|Parsed(path)| self.base.join(path));
        Some(DoorTls {
            certificate: path(&typed.certificate)?,
            key: path(&typed.key)?,
            client_ca: path(&typed.client_ca),
        })
    }

    fn socket(&mut self, key: &str, path: &Path) {
        if path.as_os_str().len() > SOCKET_PATH {
            self.refuse(
                key,
                format!(
                    "a socket's absolute path can have {SOCKET_PATH} bytes; choose a shorter one"
                ),
            );
        }
    }

    pub(super) fn admin(&mut self, typed: &file::Admin, store: &Store, doors: &[Door]) -> Admin {
        let socket = match &typed.socket {
            Some(Parsed(path)) => self.base.join(path),
            None => store.path.join("admin.sock"),
        };
        self.socket("admin.socket", &socket);
        let address = typed.address.0.0;
        if address.is_some_and(|address| !address.ip().is_loopback()) {
            self.refuse("admin.address", "must be a loopback address, or \"off\"");
        }
        let taken = |door: &Door| match &door.address {
            DoorAddress::Tcp(door) => door.port() != 0 && address == Some(*door),
            DoorAddress::Unix { .. } => false,
        };
        if doors.iter().any(taken) {
            self.refuse("admin.address", "a door listens there");
        }
        let taken = |door: &Door| match &door.address {
            DoorAddress::Tcp(_) => false,
            DoorAddress::Unix { path, .. } => *path == socket,
        };
        if doors.iter().any(taken) {
            self.refuse("admin.socket", "a door listens there");
        }
        Admin {
            socket,
            address,
            key: self.source(typed.key.as_ref()),
        }
    }
}

fn is_set(flag: Option<Parsed<bool>>) -> bool {
    flag.is_some_and(|Parsed(flag)| flag)
}
