//! Doors keep the places in which they were opened; a reload finds the rules of each by its address.

use crate::config::{Config, Door, DoorAddress, Policy};

/// A configuration whose doors are those that are open, in the order in which they were opened.
///
/// Whatever counts doors, the policies too, is made of this one.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    pub(crate) config: Config,
    /// By place: no door of the configuration any more. Until a restart it stays open under its last
    /// rules, for the callers of now.
    pub(crate) gone: Box<[bool]>,
    /// Sockets that should have another mode or owner.
    altered: Vec<String>,
    /// Doors of the configuration that are not open.
    pub(crate) waiting: Vec<Door>,
}

impl Seats {
    /// As the doors are opened.
    pub(crate) fn first(config: &Config) -> Self {
        Self {
            gone: config.doors.iter().map(|_| false).collect(),
            config: config.clone(),
            altered: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// The same places under another configuration.
    pub(crate) fn under(&self, config: &Config) -> Self {
        let mut waiting = config.doors.clone();
        let mut config = config.clone();
        let mut altered = Vec::new();
        let (doors, gone): (Vec<_>, Vec<_>) = (self.config.doors.iter())
            .map(|seated| {
                let place = place(&seated.address);
                // Where the kernel chooses ports several have one address: each is taken once.
                let found = waiting
                    .iter()
                    .position(|door| self::place(&door.address) == place);
                let door = found.map_or_else(|| seated.clone(), |found| waiting.remove(found));
                if door.address != seated.address {
                    altered.push(place);
                }
                let address = seated.address.clone();
                (Door { address, ..door }, found.is_none())
            })
            .unzip();
        for (door, _) in doors.iter().zip(&gone).filter(|(_, gone)| **gone) {
            // No door gets freer by going.
            let lost = (door.policy.iter())
                .filter(|name| !Policy::built_in().iter().any(|it| it.name == **name))
                .find(|name| !config.policies.iter().any(|it| it.name == **name));
            let mut known = self.config.policies.iter();
            let kept = lost.and_then(|name| known.find(|policy| policy.name == *name));
            config.policies.extend(kept.cloned());
        }
        config.doors = doors;
        Self {
            config,
            gone: gone.into(),
            altered,
            waiting,
        }
    }

    /// What of the doors wants a restart, as it is shown to people.
    pub(crate) fn wanting(&self) -> Vec<String> {
        let named = |door: &Door, why| format!("door {} ({why})", place(&door.address));
        let new = self.waiting.iter();
        let new = new.map(|door| named(door, "new, not open yet"));
        let open = self.config.doors.iter().zip(&self.gone);
        let gone = open.filter(|(_, gone)| **gone);
        let gone = gone.map(|(door, _)| named(door, "gone, still open"));
        let altered = self.altered.iter();
        let altered = altered.map(|place| format!("door {place} (mode or owner)"));
        new.chain(gone).chain(altered).collect()
    }
}

/// What tells a door from all others.
fn place(address: &DoorAddress) -> String {
    match address {
        DoorAddress::Tcp(address) => address.to_string(),
        DoorAddress::Unix { path, .. } => format!("unix:{}", path.display()),
    }
}
