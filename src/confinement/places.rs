//! Which files the proxy needs: those that its configuration names, and what the system's
//! libraries look at behind its back.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use landlock::{AccessFs, BitFlags, make_bitflags};

use super::files::Place;
use crate::config::{AccessLog, DoorAddress, Loaded, SecretSource};

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});

/// A store's whole life: records are written beside their place, linked, renamed and removed; the
/// admin socket usually lies here too.
const KEEP: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile | MakeDir | RemoveDir | Refer
        | MakeSock
});

/// A socket is made, and at the end removed; its directory is locked meanwhile.
const LISTEN: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadDir | MakeSock | RemoveFile});

const APPEND: BitFlags<AccessFs> = make_bitflags!(AccessFs::{WriteFile | MakeReg});

/// A record is read at its end, mended, and begun anew where it was moved away.
const RECORD: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | MakeReg});

/// Name resolution and the roots of TLS. Whole directories: what lies there is replaced by
/// renaming, and a rule on a file would stay with the one that was replaced.
const SYSTEM: [&str; 16] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/opt/etc/ssl",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    // Our own figures for the metrics. Landlock keeps us from other processes' memory and
    // environment even here.
    "/proc",
    // How many cores there are, of which the default of `runtime.workers` is made at each reload.
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/dev/null",
    // Also where the system call would do: a static program does not find it in its libc.
    "/dev/random",
    "/dev/urandom",
];

/// Where links of the system lead elsewhere, it is there that the content is read.
const LINKS: [&str; 6] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// Everything that a running proxy opens, from its start to its end.
pub(super) fn needed(loaded: &Loaded, variables: &[(OsString, OsString)]) -> Vec<Place> {
    let config = &loaded.config;
    let mut read: Vec<PathBuf> = SYSTEM.map(PathBuf::from).to_vec();
    read.extend(LINKS.iter().flat_map(|link| around(Path::new(link))));
    read.extend(credentials(variables));
    // As rustls-native-certs understands them.
    let roots = variable(variables, "SSL_CERT_FILE");
    read.extend(roots.iter().flat_map(|file| around(Path::new(file))));
    let roots = variable(variables, "SSL_CERT_DIR");
    read.extend(roots.iter().flat_map(std::env::split_paths));
    let named = config.files().map(|(_, path)| path);
    read.extend(named.chain(loaded.path.as_deref()).flat_map(around));
    let sources = config.secrets().map(|(_, source)| source);
    for source in sources.chain(&config.store.seal_key) {
        match source {
            SecretSource::File(path) => read.extend(around(path)),
            SecretSource::Env(_) | SecretSource::Exec(_) | SecretSource::Credential(_) => {}
        }
    }
    let mut places: Vec<Place> = read.into_iter().map(|path| place(path, READ)).collect();

    places.push(place(&config.store.path, KEEP));
    let doors = config.doors.iter().filter_map(|door| match &door.address {
        DoorAddress::Unix { path, .. } => Some(path),
        DoorAddress::Tcp(_) => None,
    });
    for socket in doors.chain([&config.admin.socket]) {
        // Also the file system's root, where the operator wants it so.
        places.extend(socket.parent().map(|directory| place(directory, LISTEN)));
    }
    if let AccessLog::File(path) = &config.log.access {
        match path.metadata() {
            // /dev/stdout and its like: not all the devices beside it.
            Ok(found) if !found.is_file() => places.push(place(path, APPEND)),
            Ok(_) | Err(_) => places.extend(around(path).map(|around| place(around, APPEND))),
        }
    }
    if let Some(path) = &config.audit.file {
        places.extend(around(path).map(|around| place(around, RECORD)));
    }
    #[cfg(feature = "failpoints")]
    if let Some(script) = variable(variables, "FAILPOINTS") {
        // Where a test also has its traces written.
        places.extend(around(Path::new(&script)).map(|around| place(around, APPEND)));
    }
    // Pipes and the like are in no directory and in nobody's way, but no rule can stand on them.
    places.retain(|place| !is_nowhere(&place.path));
    places
}

/// systemd's directory of credentials.
pub(super) fn credentials(variables: &[(OsString, OsString)]) -> Option<PathBuf> {
    variable(variables, "CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

fn variable<'a>(variables: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsString> {
    let mut set = variables.iter();
    set.find_map(|(key, value)| (key == name).then_some(value))
}

fn place(path: impl Into<PathBuf>, rights: BitFlags<AccessFs>) -> Place {
    Place {
        path: path.into(),
        rights,
    }
}

/// The directory of a file, and the directory that its name leads to, because a file is replaced
/// by renaming another to its name. A file in the root directory stands for itself: a rule there
/// would be a rule for everything.
fn around(path: &Path) -> impl Iterator<Item = PathBuf> {
    let real = fs::canonicalize(path).ok();
    let both = [Some(path.to_owned()), real].into_iter().flatten();
    both.map(|path| match path.parent() {
        Some(directory) if directory.parent().is_some() => directory.to_owned(),
        Some(_) | None => path,
    })
}

/// Whether there is something that no path leads to, such as the pipe behind /dev/stdout.
fn is_nowhere(path: &Path) -> bool {
    path.metadata().is_ok() && fs::canonicalize(path).is_err()
}
