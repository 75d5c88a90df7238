use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use rustix::net::sockopt;

use super::{SupervisorError, is_ours, variable};

/// Where the protocol has its first socket (`SD_LISTEN_FDS_START`).
const FIRST: usize = 3;

/// A listening stream socket that the service manager opened and keeps open.
#[derive(Debug)]
pub(crate) struct Handed {
    /// `FileDescriptorName=` of the socket unit, or its file name.
    pub(crate) name: Option<String>,
    pub(crate) socket: OwnedFd,
}

/// The sockets that were handed to this process, in their order. Empty without a service manager.
///
/// To be called once, by the first thread: the variables are taken away, so that no program that
/// is started later takes them for its own.
pub(crate) fn handed_in(
    variables: &[(OsString, OsString)],
) -> Result<Vec<Handed>, SupervisorError> {
    if !is_ours(variables, "LISTEN_PID") {
        return Ok(Vec::new());
    }
    let Some(count) = variable(variables, "LISTEN_FDS") else {
        return Ok(Vec::new());
    };
    let count = count.to_str().and_then(|count| count.parse::<usize>().ok());
    let mut sockets = ListenFd::from_env();
    if count != Some(sockets.len()) {
        return Err(SupervisorError::Count);
    }
    let names = names(variables);
    (0..sockets.len())
        .map(|index| {
            let name = names.get(index).cloned();
            let socket = take(&mut sockets, index).map_err(|source| {
                let number = FIRST + index;
                SupervisorError::NoListener { number, source }
            })?;
            Ok(Handed { name, socket })
        })
        .collect()
}

fn names(variables: &[(OsString, OsString)]) -> Vec<String> {
    let names = variable(variables, "LISTEN_FDNAMES").and_then(OsStr::to_str);
    names.map_or_else(Vec::new, |names| {
        names.split(':').map(str::to_owned).collect()
    })
}

fn take(sockets: &mut ListenFd, index: usize) -> io::Result<OwnedFd> {
    let tcp = sockets.take_tcp_listener(index);
    let socket = match tcp.map(|taken| taken.map(OwnedFd::from)) {
        Ok(taken) => taken,
        Err(_) => sockets.take_unix_listener(index)?.map(OwnedFd::from),
    };
    let socket = socket.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    // Of a socket that does not listen every accept fails; `Accept=yes` hands in such.
    if !sockopt::socket_acceptconn(&socket)? {
        return Err(io::Error::other(
            "it does not listen; the socket unit must say Accept=no",
        ));
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, String)]) -> Vec<(OsString, OsString)> {
        let set = pairs.iter();
        set.map(|(key, value)| (key.into(), value.into())).collect()
    }

    #[test]
    fn sockets_for_another_process_are_none_of_ours() {
        let parent = std::os::unix::process::parent_id().to_string();
        let variables = set(&[("LISTEN_PID", parent), ("LISTEN_FDS", "1".into())]);
        assert!(handed_in(&variables).unwrap().is_empty());
        let nobody = set(&[("LISTEN_FDS", "1".into())]);
        assert!(handed_in(&nobody).unwrap().is_empty());
    }

    #[test]
    fn names_are_told_apart_by_colons() {
        let variables = set(&[("LISTEN_FDNAMES", "app:metrics".into())]);
        assert_eq!(names(&variables), ["app", "metrics"]);
        assert!(names(&[]).is_empty());
    }
}
