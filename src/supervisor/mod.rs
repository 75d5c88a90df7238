//! The service manager above this process, if there is one: the sockets that it hands in, and what
//! it is told. systemd's protocol, which others speak too.
//!
//! Everything that must be had of the outside is taken at the start, before the process is
//! confined. Nobody waits for the service manager: a start, a request or a stop must not hang on it.

mod handed;
mod line;

use std::ffi::{OsStr, OsString};
use std::io;

pub(crate) use handed::{Handed, handed_in};
pub(crate) use line::Supervisor;

/// What the service manager said cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SupervisorError {
    #[error("LISTEN_FDS is not a number of sockets")]
    Count,
    #[error(
        "descriptor {number}, which LISTEN_FDS promises, is not a listening stream socket: {source}"
    )]
    NoListener { number: usize, source: io::Error },
}

fn variable<'a>(variables: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsStr> {
    let mut set = variables.iter();
    set.find_map(|(key, value)| (key == name && !value.is_empty()).then_some(value.as_os_str()))
}

/// Whether a variable names this process. What was meant for a parent is none of our business.
fn is_ours(variables: &[(OsString, OsString)], name: &str) -> bool {
    let named = variable(variables, name).and_then(OsStr::to_str);
    named.and_then(|pid| pid.parse().ok()) == Some(std::process::id())
}
