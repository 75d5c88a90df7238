//! The running proxy: `status`, `wait`, `switch`, `shutdown`, `notify`.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Lane;
use clap::Subcommand;

/// How to reach the running proxy.
#[derive(clap::Args)]
pub(crate) struct AdminArgs {
    /// Admin socket of the proxy; with it no configuration is read [default: admin.socket of the
    /// configuration]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,

    /// Print the answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,

    /// Stay and follow the proxy until Ctrl-C: in place in a terminal, else one line for each
    /// change; with --json one document a line
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(clap::Args)]
pub(crate) struct WaitArgs {
    /// How long to wait; 0s looks once
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// What to wait for
    #[arg(long = "for", value_name = "STATE", default_value = "ready")]
    pub(crate) state: State,

    /// Ask this admin address instead of the admin socket, such as 127.0.0.1:8081
    #[arg(long, value_name = "ADDRESS", conflicts_with = "socket")]
    pub(crate) address: Option<String>,

    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

/// What a process can be asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum State {
    /// Its doors are open
    Started,
    /// Its threads turn
    Live,
    /// It can serve every request of the lane in use
    Ready,
}

fn duration(typed: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(typed).map_err(|_| "write a number and its unit, such as 30s or 2m")
}

#[derive(clap::Args)]
pub(crate) struct ShutdownArgs {
    /// Return only when the proxy has ended
    #[arg(long)]
    pub(crate) wait: bool,

    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(clap::Args)]
pub(crate) struct SwitchArgs {
    /// personal, oauth or oauth-mtls
    pub(crate) lane: Lane,

    /// Why; goes to the audit log
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,

    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(clap::Args)]
pub(crate) struct NotifyArgs {
    #[command(subcommand)]
    pub(crate) command: NotifyCommand,
}

#[derive(Subcommand)]
pub(crate) enum NotifyCommand {
    /// Have the running proxy tell every receiver that this is a trial
    #[command(after_help = "\
Examples:
  wise-auth-proxy notify test
  wise-auth-proxy notify test --json")]
    Test {
        #[command(flatten)]
        admin: AdminArgs,
    },
}
