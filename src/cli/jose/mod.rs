//! `jose`: keys for signed and encrypted bodies, and whether Wise and we understand each other.

mod args;
mod keygen;
mod list;
mod partner;
mod play;
mod playground;
mod register;

use anyhow::anyhow;
use aws_lc_rs::digest::{SHA256, digest};

pub(crate) use self::args::JoseArgs;
use self::args::JoseCommand;
use super::args::Global;
use super::failure::{Exit, Failure};
use crate::jose::{JoseError, KeyFileError};
use crate::wise::jose::Scope;

pub(crate) fn run(global: &Global, command: &JoseCommand) -> Result<(), Failure> {
    match command {
        JoseCommand::Keygen(args) => keygen::run(global, args),
        JoseCommand::Register(args) => register::run(global, args),
        JoseCommand::List { json } => list::run(global, *json),
        JoseCommand::Test { json } => play::run(global, *json),
    }
}

/// The flag of keys of this scope.
fn flag(scope: Scope) -> &'static str {
    match scope {
        Scope::Signing => "--signing",
        Scope::Encryption => "--encryption",
    }
}

/// What such a key does: the word before "key", also in names of the configuration.
fn trade(scope: Scope) -> &'static str {
    match scope {
        Scope::Signing => "signing",
        Scope::Encryption => "encryption",
    }
}

/// SHA-256 of a public key, to compare keys by.
fn fingerprint(der: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut hex = String::with_capacity(64);
    for byte in digest(&SHA256, der).as_ref() {
        // Writing to a String cannot fail.
        let _ok = write!(hex, "{byte:02x}");
    }
    hex
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        Self::advised(
            Exit::Failed,
            &error,
            "run it as the user that the proxy runs as",
        )
    }
}

impl From<JoseError> for Failure {
    fn from(error: JoseError) -> Self {
        Self::new(Exit::Failed, anyhow!(error))
            .hint("this is a fault of the program or the machine: report it")
    }
}
