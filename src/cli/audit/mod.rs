//! `audit`: whether the record of who called what is as it was written, and what it says.

mod show;
mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;

use super::args::Global;
use super::failure::{Exit, Failure};
use crate::audit::first_line;
use crate::config::Loaded;

#[derive(clap::Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Prove that no line was changed, taken out, put in or moved, and that none is missing at the
    /// end
    ///
    /// Several files, such as rotated ones, are put in their order by the numbers of their lines.
    /// Where the configuration and its store can be read, the end is compared with what the store
    /// knows.
    #[command(after_help = "\
Examples:
  wise-auth-proxy audit verify
  wise-auth-proxy audit verify /var/log/wise-auth-proxy/audit.log*

Exit codes: 0 it is as it was written; 65 it is not, and the first line that is wrong is named; 1 or
77 it cannot be read; 64 no file is named, and the configuration cannot be used or names none.")]
    Verify(VerifyArgs),

    /// Print what the record says, oldest first
    #[command(after_help = "\
Examples:
  wise-auth-proxy audit show --since 1h --refused
  wise-auth-proxy audit show --caller payroll --json | tail -n 1")]
    Show(ShowArgs),
}

#[derive(clap::Args)]
pub(crate) struct VerifyArgs {
    /// Files of one record [default: audit.file]
    files: Vec<PathBuf>,

    /// A hash that was noted earlier, as `status` shows it: its line must be there; may be given
    /// several times
    #[arg(long, value_name = "HASH")]
    expect: Vec<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(crate) struct ShowArgs {
    /// Files of one record [default: audit.file]
    files: Vec<PathBuf>,

    /// Only requests of this caller
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,

    /// Only what happened in the last while, such as 1h or 7d
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    since: Option<Duration>,

    /// Only requests that the proxy itself did not serve
    #[arg(long)]
    refused: bool,

    /// Print the lines as they stand in the file
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(global: &Global, command: &AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Verify(args) => verify::run(global, args),
        AuditCommand::Show(args) => show::run(global, args),
    }
}

/// The files to read, in their order. Without a name: the one of the configuration.
fn files(named: &[PathBuf], loaded: Option<&Loaded>) -> Result<Vec<PathBuf>, Failure> {
    if named.is_empty() {
        let file = loaded.and_then(|loaded| loaded.config.audit.file.clone());
        let file = file.ok_or_else(|| {
            let error = anyhow::Error::msg("nothing is recorded here: audit.file is \"off\"");
            Failure::new(Exit::Config, error)
                .hint("name the file to read, or set audit.file and start the proxy again")
        })?;
        return Ok(vec![file]);
    }
    let number = |path: &PathBuf| {
        let first = first_line(path).map_err(|error| unreadable(path, error))?;
        // A file without a line is the newest: it was begun just now.
        Ok::<_, Failure>((first.unwrap_or(u64::MAX), path.clone()))
    };
    let mut numbered = named.iter().map(number).collect::<Result<Vec<_>, _>>()?;
    numbered.sort_by_key(|(first, _)| *first);
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

fn unreadable(path: &Path, error: io::Error) -> Failure {
    let (exit, hint) = if error.kind() == io::ErrorKind::PermissionDenied {
        let hint = "ask as the proxy's user, or as one of the group that may read it";
        (Exit::Permission, hint)
    } else if error.kind() == io::ErrorKind::NotFound {
        let hint =
            "the proxy makes it at its start; `wise-auth-proxy status` says whether it writes";
        (Exit::Failed, hint)
    } else {
        (Exit::Failed, "look at the file and its disk")
    };
    let error = anyhow::Error::new(error).context(format!("{} cannot be read", path.display()));
    Failure::new(exit, error).hint(hint)
}
