//! `sca`: the key that signs one-time tokens, and what Wise says of one.

mod args;
mod keygen;
mod questioner;
mod status;
mod test;

use anyhow::anyhow;

pub(crate) use self::args::ScaArgs;
use self::args::ScaCommand;
use super::args::Global;
use super::failure::{Exit, Failure};
use crate::sca::KeyError;

pub(crate) fn run(global: &Global, command: &ScaCommand) -> Result<(), Failure> {
    match command {
        ScaCommand::Keygen(args) => keygen::run(global, args),
        ScaCommand::Test(args) => test::run(global, args),
        ScaCommand::Status(args) => status::run(global, args),
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unreadable(_) | KeyError::NoKey { .. } | KeyError::Unfit { .. } => {
                let otherwise = "run it as the user that the proxy runs as";
                Self::advised(Exit::Failed, &error, otherwise)
            }
            KeyError::Library => Self::new(Exit::Failed, anyhow!(error))
                .hint("this is a fault of the program or the machine: report it"),
        }
    }
}
