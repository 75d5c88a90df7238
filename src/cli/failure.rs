//! How a command fails: what happened, what to do next, and the exit code.

use super::admin_client::AdminError;
use crate::config::ConfigError;

/// Why the process ends, as its exit code says it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// Tried and failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A policy would refuse it.
    Refused = 3,
    /// The configuration is wrong.
    Config = 64,
    /// The record of who called what is not as it was written.
    Broken = 65,
    /// The proxy does not run or does not answer.
    Unavailable = 69,
    /// Not permitted.
    Permission = 77,
}

/// A command's failure.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
    pub(crate) hints: Vec<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            error: error.into(),
            hints: Vec::new(),
        }
    }

    pub(crate) fn usage(message: &'static str) -> Self {
        Self::new(Exit::Usage, anyhow::Error::msg(message))
    }

    /// From an error whose message ends in what to do, after its last semicolon.
    pub(crate) fn advised(
        exit: Exit,
        error: &(dyn std::error::Error + Send + Sync),
        otherwise: &str,
    ) -> Self {
        let text = error.to_string();
        let (text, hint) = text.rsplit_once("; ").unwrap_or((&text, otherwise));
        Self::new(exit, anyhow::Error::msg(text.to_owned())).hint(hint)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = error.hint();
        Self::new(Exit::Config, error).hint(hint)
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        let exit = match &error {
            AdminError::NotRunning { .. }
            | AdminError::NobodyThere { .. }
            | AdminError::Unreachable { .. }
            | AdminError::Broken { .. }
            | AdminError::TimedOut => Exit::Unavailable,
            AdminError::Denied { .. } => Exit::Permission,
            AdminError::Refused { .. } => Exit::Failed,
        };
        let hint = error.hint();
        let failure = Self::new(exit, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::args::Args;

    /// The code after this one in the table of `--help`. A new one does not compile without its place.
    const fn next(exit: Exit) -> Option<Exit> {
        match exit {
            Exit::Failed => Some(Exit::Usage),
            Exit::Usage => Some(Exit::Refused),
            Exit::Refused => Some(Exit::Config),
            Exit::Config => Some(Exit::Broken),
            Exit::Broken => Some(Exit::Unavailable),
            Exit::Unavailable => Some(Exit::Permission),
            Exit::Permission => None,
        }
    }

    #[test]
    fn the_help_lists_every_exit_code_and_no_other() {
        let help = Args::command().render_long_help().to_string();
        let (_, table) = help.split_once("Exit codes:\n").unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        let rows = table.lines().map(str::trim).map(|row| {
            let (code, meaning) = row.split_once("  ").unwrap();
            assert!(!meaning.is_empty(), "{row}");
            code.parse::<u8>().unwrap()
        });
        let codes = std::iter::successors(Some(Exit::Failed), |exit| next(*exit));
        let codes = codes.map(|exit| exit as u8);
        assert!(rows.eq([0].into_iter().chain(codes)), "{table}");
    }
}
