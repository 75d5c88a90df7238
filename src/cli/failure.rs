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

/// A command's failure. It is made of an error and a hint: there is none without.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
    /// At least one.
    hints: Vec<String>,
}

/// What happened, while nobody has said what to do next.
#[derive(Debug)]
#[must_use = "it becomes a failure with its hint"]
pub(crate) struct Unadvised {
    exit: Exit,
    error: anyhow::Error,
}

impl Unadvised {
    /// What to do next.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Failure {
        let Self { exit, error } = self;
        Failure {
            exit,
            error,
            hints: vec![hint.into()],
        }
    }

    /// What several parts say; `otherwise` where none says anything.
    pub(crate) fn hints(self, hints: Vec<String>, otherwise: &str) -> Failure {
        let mut failure = self.hint(otherwise);
        if !hints.is_empty() {
            failure.hints = hints;
        }
        failure
    }
}

impl Failure {
    #[allow(
        clippy::new_ret_no_self,
        reason = "without its hint it is none, and the hint reads best behind the error"
    )]
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Unadvised {
        Unadvised {
            exit,
            error: error.into(),
        }
    }

    pub(crate) fn usage(message: &'static str) -> Unadvised {
        Self::new(Exit::Usage, anyhow::Error::msg(message))
    }

    /// The system withholds a thread, a file or a signal that every command needs.
    pub(crate) fn starved(error: std::io::Error) -> Self {
        Self::new(Exit::Failed, error)
            .hint("see with `ulimit -a` whether this user may have more threads and open files")
    }

    /// What cannot happen has.
    pub(crate) fn impossible(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Exit::Failed, error).hint("this is a fault of the program: report it")
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

    /// Something else that may help.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(crate) fn hints(&self) -> &[String] {
        &self.hints
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
        let hint = error.hint().to_owned();
        Self::new(exit, error).hint(hint)
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
