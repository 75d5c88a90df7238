use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};

use super::{Left, OutOfReach};

/// The newest rules that were tried here. A newer kernel's further ones stay unused, an older
/// kernel's gaps stay open.
const NEWEST: ABI = ABI::V7;

/// A file, or a directory with everything beneath, and what may be done there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) rights: BitFlags<AccessFs>,
}

/// Leaves this thread, and those that it starts, the places and no other file. Says which version
/// of Landlock holds.
///
/// Paths that do not exist are passed over. Programs cannot be started any more, nor signals sent
/// out or abstract sockets reached. Ports are not limited: a lane may lead to any of them, the next
/// reload too, and whoever can reach 443 can reach everybody.
pub(super) fn confine(places: &[Place]) -> Result<ABI, Left> {
    let refused = |error: RulesetError| Left::Refused(error.to_string());
    let status = restrict(places).map_err(refused)?;
    match status {
        (RulesetStatus::NotEnforced, _)
        | (_, LandlockStatus::NotEnabled | LandlockStatus::NotImplemented) => Err(Left::NoLandlock),
        (
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced,
            LandlockStatus::Available { effective_abi, .. },
        ) => Ok(effective_abi.min(NEWEST)),
    }
}

fn restrict(places: &[Place]) -> Result<(RulesetStatus, LandlockStatus), RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for place in places {
        let Ok(open) = PathFd::new(&place.path) else {
            continue;
        };
        let rights = if place.path.is_dir() {
            place.rights
        } else {
            place.rights & AccessFs::from_file(NEWEST)
        };
        ruleset = ruleset.add_rule(PathBeneath::new(open, rights))?;
    }
    let status = ruleset.restrict_self()?;
    Ok((status.ruleset, status.landlock))
}

/// What may be read, told as the kernel tells it: by the directories themselves, whatever their
/// names are by now.
#[derive(Debug)]
pub(super) struct Reach {
    /// Device and inode.
    roots: Vec<(u64, u64)>,
    credentials: Option<PathBuf>,
}

impl Reach {
    pub(super) fn of(places: &[Place], credentials: Option<PathBuf>) -> Self {
        let readable = places
            .iter()
            .filter(|place| place.rights.contains(AccessFs::ReadFile));
        Self {
            roots: readable.filter_map(|place| identity(&place.path)).collect(),
            credentials,
        }
    }

    /// systemd's directory of credentials.
    pub(super) fn credentials(&self) -> Option<&Path> {
        self.credentials.as_deref()
    }

    /// A file that is not there is within reach: whoever reads it has a better message.
    pub(super) fn check(&self, key: &'static str, path: &Path) -> Result<(), OutOfReach> {
        let Ok(real) = fs::canonicalize(path) else {
            return Ok(());
        };
        let mut above = real.ancestors().filter_map(identity);
        if above.any(|found| self.roots.contains(&found)) {
            return Ok(());
        }
        let path = path.to_owned();
        Err(OutOfReach::File { key, path })
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}
