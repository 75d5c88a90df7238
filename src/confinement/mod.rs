//! What the process gives up on its own machine, at its start and for good: core dumps, rights
//! that a program could bring, files that it does not need.
//!
//! Most of this belongs to a thread and to those that it starts, so [`confine`] is called by the
//! first thread before there is a second. A bug that lets somebody run code in here finds a
//! process that opens no other files and starts no programs.

mod files;
mod memory;
mod places;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use self::files::Reach;
use crate::config::{Config, Loaded, Measure, SecretSource};
use crate::durable;

pub(crate) use memory::close as close_memory;

/// What is in force, what is not, and which files are within reach.
#[derive(Debug)]
pub(crate) struct Confinement {
    in_force: Vec<String>,
    left_out: Vec<(&'static str, Left)>,
    /// `None`: every file that the user may read.
    reach: Option<Reach>,
}

/// The start asked for more than can be had.
#[derive(Debug, thiserror::Error)]
#[error("{key} is \"required\", but {left}")]
pub(crate) struct ConfinementError {
    pub(crate) key: &'static str,
    pub(crate) left: Left,
}

/// Why a measure is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Left {
    #[error("it is \"off\"")]
    Off,
    #[error("this kernel has no Landlock, or it is disabled")]
    NoLandlock,
    #[error("{0} comes from a program (exec), which would be confined too")]
    Program(&'static str),
    #[error("{0} is a program, which would be confined too")]
    Command(&'static str),
    #[error("the system refused: {0}")]
    Refused(String),
    /// It may come yet, and then it must not be out of reach: tokens come before confinement.
    #[error("the store {} is not there and cannot be made: {source}", path.display())]
    NoStore { path: PathBuf, source: io::Error },
    #[error("the proxy is part of another program")]
    Guest,
}

/// What a reload names and cannot have.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum OutOfReach {
    #[error(
        "{key}: {} lies outside the directories that this process may read since its start \
         (hardening.files); restart the proxy to use it",
        path.display()
    )]
    File { key: &'static str, path: PathBuf },
    #[error(
        "{key} comes from a program (exec), and this process may start none since its start \
         (hardening.files); restart the proxy to use it"
    )]
    Program { key: &'static str },
}

/// Takes the measures that the configuration wants, for this thread and those that it will start.
///
/// Makes the store's directory where it is missing, because a rule needs something to stand on:
/// a store that is mounted later wants a restart.
pub(crate) fn confine(
    loaded: &Loaded,
    variables: &[(OsString, OsString)],
) -> Result<Confinement, ConfinementError> {
    let config = &loaded.config;
    let mut confinement = Confinement {
        in_force: Vec::new(),
        left_out: Vec::new(),
        reach: None,
    };
    let wanted = config.hardening;
    let files = match (wanted.files, program(config)) {
        (Measure::Off, _) => Err(Left::Off),
        (Measure::Auto | Measure::Required, Some(program)) => Err(program),
        (Measure::Auto | Measure::Required, None) => confine_files(loaded, variables),
    };
    let memory = match wanted.memory {
        Measure::Off => Err(Left::Off),
        Measure::Auto | Measure::Required => refused(memory::close()),
    };
    let privileges = match wanted.privileges {
        // Landlock is not to be had without.
        _ if files.is_ok() => Ok(()),
        Measure::Off => Err(Left::Off),
        Measure::Auto | Measure::Required => refused(rustix::thread::set_no_new_privs(true)),
    };
    let memory = memory.map(|()| "core dumps off".to_owned());
    confinement.note("hardening.memory", wanted.memory, memory)?;
    let privileges = privileges.map(|()| "no new privileges".to_owned());
    confinement.note("hardening.privileges", wanted.privileges, privileges)?;
    let files = files.map(|(abi, reach)| {
        confinement.reach = Some(reach);
        format!("files by Landlock ABI {abi}")
    });
    confinement.note("hardening.files", wanted.files, files)?;
    Ok(confinement)
}

fn confine_files(
    loaded: &Loaded,
    variables: &[(OsString, OsString)],
) -> Result<(landlock::ABI, Reach), Left> {
    let path = &loaded.config.store.path;
    durable::make_dir(path).map_err(|source| Left::NoStore {
        path: path.clone(),
        source,
    })?;
    let places = places::needed(loaded, variables);
    let abi = files::confine(&places)?;
    Ok((abi, Reach::of(&places, places::credentials(variables))))
}

fn refused<T>(done: rustix::io::Result<T>) -> Result<T, Left> {
    done.map_err(|error| Left::Refused(error.to_string()))
}

/// What wants a program to be started.
fn program(config: &Config) -> Option<Left> {
    let seal_key = config.store.seal_key.iter();
    let mut sources = seal_key
        .map(|source| ("store.seal_key", source))
        .chain(config.secrets());
    let found = sources.find(|(_, source)| matches!(source, SecretSource::Exec(_)));
    let notify = config.notify.command.as_ref().map(|_| "notify.command");
    let approval = config.sca.approval_command.as_ref();
    let command = notify.or(approval.map(|_| "sca.approval_command"));
    let command = command.map(Left::Command);
    found.map(|(key, _)| Left::Program(key)).or(command)
}

impl Confinement {
    /// Of a proxy that runs inside another program, which cannot be confined for its sake.
    pub(crate) fn of_guest() -> Self {
        Self {
            in_force: Vec::new(),
            left_out: vec![("hardening", Left::Guest)],
            reach: None,
        }
    }

    /// Notes what came of a measure; without one that is required there is no start.
    fn note(
        &mut self,
        key: &'static str,
        wanted: Measure,
        taken: Result<String, Left>,
    ) -> Result<(), ConfinementError> {
        match taken {
            Ok(words) => self.in_force.push(words),
            Err(left) if wanted == Measure::Required => {
                return Err(ConfinementError { key, left });
            }
            Err(left) => self.left_out.push((key, left)),
        }
        Ok(())
    }

    /// The measures taken, in words.
    pub(crate) fn in_force(&self) -> &[String] {
        &self.in_force
    }

    /// The measures not taken, each with the reason.
    pub(crate) fn left_out(&self) -> Vec<String> {
        let left = self.left_out.iter();
        left.map(|(key, left)| format!("{key}: {left}")).collect()
    }

    /// Whether something went wrong that an operator should look at.
    pub(crate) fn is_troubled(&self) -> bool {
        let mut left = self.left_out.iter();
        left.any(|(_, left)| match left {
            Left::Refused(_) | Left::NoStore { .. } => true,
            Left::Off | Left::NoLandlock | Left::Program(_) | Left::Command(_) | Left::Guest => {
                false
            }
        })
    }

    /// Whether everything that a reload reads of `config` is within reach.
    pub(crate) fn check(&self, config: &Config) -> Result<(), OutOfReach> {
        let Some(reach) = &self.reach else {
            return Ok(());
        };
        for (key, path) in config.files() {
            reach.check(key, path)?;
        }
        for (key, source) in config.secrets() {
            match source {
                SecretSource::File(path) => reach.check(key, path)?,
                SecretSource::Credential(name) => {
                    if let Some(directory) = reach.credentials() {
                        reach.check(key, &directory.join(name))?;
                    }
                }
                SecretSource::Exec(_) => return Err(OutOfReach::Program { key }),
                SecretSource::Env(_) => {}
            }
        }
        Ok(())
    }

    /// Whether the configuration file itself is within reach: its name may lead elsewhere by now.
    pub(crate) fn check_file(&self, path: &Path) -> Result<(), OutOfReach> {
        let reach = self.reach.as_ref();
        reach.map_or(Ok(()), |reach| reach.check("the configuration", path))
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.in_force.join(", ");
        f.write_str(if taken.is_empty() { "nothing" } else { &taken })?;
        if self.left_out.is_empty() {
            return Ok(());
        }
        write!(f, "; left out: {}", self.left_out().join(", "))
    }
}

#[cfg(test)]
mod tests;
