//! From nothing to a configuration: `init`, `migrate`, `doctor`, `config`, `demo`, `simulator`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::migrate::Guide;
use crate::cli::migrate::Start;
use crate::cli::migrate::Step;
use clap::Subcommand;

#[derive(clap::Args)]
pub(crate) struct DoctorArgs {
    /// Let nothing leave this machine: skips all that asks Wise or a name server
    #[arg(long)]
    pub(crate) offline: bool,

    /// One check takes no longer than this
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,

    /// Print every check with its id, its state and its facts as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Also write a report without secrets, to send to Wise or to us; never overwrites a file
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Keep names of people and ids of profiles in the report
    #[arg(long, requires = "report")]
    pub(crate) names: bool,
}

#[derive(clap::Args)]
pub(crate) struct MigrateArgs {
    #[command(subcommand)]
    pub(crate) command: MigrateCommand,
}

#[derive(Subcommand)]
pub(crate) enum MigrateCommand {
    /// List the steps of Wise's guide with what speaks for each, and the next command
    #[command(after_help = "\
Examples:
  wise-auth-proxy migrate status
  wise-auth-proxy migrate status --guide production
  wise-auth-proxy migrate status --json | jq -r .next.command")]
    Status(MigrateStatusArgs),
    /// Write down what only a person can know: flows, told, enforced or deleted
    #[command(after_help = "\
Examples:
  wise-auth-proxy migrate confirm told
  wise-auth-proxy migrate confirm told --undo")]
    Confirm(MigrateConfirmArgs),
}

#[derive(clap::Args, Default)]
pub(crate) struct MigrateStatusArgs {
    /// Half of the guide to judge by [default: production for that environment, else sandbox]
    #[arg(long, value_name = "HALF")]
    pub(crate) guide: Option<Guide>,

    /// Where you come from [default: as `init` was told]
    #[arg(long, value_name = "START")]
    pub(crate) from: Option<Start>,

    /// Ask nothing of Wise: only files and the running proxy
    #[arg(long)]
    pub(crate) offline: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct MigrateConfirmArgs {
    /// flows, told, enforced or deleted
    #[arg(value_parser = step)]
    pub(crate) step: Step,

    /// Take the word back
    #[arg(long)]
    pub(crate) undo: bool,

    /// Print what was written down as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn step(typed: &str) -> Result<Step, &'static str> {
    let mut steps = Step::ALL.into_iter();
    steps
        .find(|step| step.name() == typed && step.is_confirmed())
        .ok_or("the steps to confirm are flows, told, enforced and deleted")
}

/// What `init` need not ask.
#[derive(clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag that was typed or was not"
)]
pub(crate) struct InitArgs {
    /// sandbox or production
    #[arg(long, value_name = "NAME", conflicts_with = "simulator")]
    pub(crate) environment: Option<String>,

    /// Use the simulator that `simulator --dir PATH` runs, in the place of Wise
    #[arg(long, value_name = "PATH")]
    pub(crate) simulator: Option<PathBuf>,

    /// Where you come from: personal-token or client-credentials
    #[arg(long, value_name = "START")]
    pub(crate) from: Option<String>,

    /// The client id that Wise gave you; `later` while it has not
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<String>,

    /// How secrets are kept: files, env, systemd or exec
    #[arg(long, value_name = "HOW")]
    pub(crate) secrets: Option<String>,

    /// Take the client secret from this file; `-` is standard input
    #[arg(long, value_name = "PATH")]
    pub(crate) client_secret_file: Option<PathBuf>,

    /// With --secrets exec: the program that prints the client secret, and its arguments
    #[arg(long, value_name = "COMMAND")]
    pub(crate) client_secret_exec: Option<String>,

    /// Whether there is a personal token to fall back on: yes or no
    #[arg(long, value_name = "YES|NO")]
    pub(crate) personal_token: Option<String>,

    /// Take the personal token from this file; `-` is standard input
    #[arg(long, value_name = "PATH")]
    pub(crate) personal_token_file: Option<PathBuf>,

    /// With --secrets exec: the program that prints the personal token, and its arguments
    #[arg(long, value_name = "COMMAND")]
    pub(crate) personal_token_exec: Option<String>,

    /// Name of your company, for the certificate request
    #[arg(long, value_name = "NAME")]
    pub(crate) organisation: Option<String>,

    /// Its country in two capital letters, or `none`
    #[arg(long, value_name = "CC")]
    pub(crate) country: Option<String>,

    /// The redirect address, exactly as on file at Wise
    #[arg(long, value_name = "URI")]
    pub(crate) redirect_uri: Option<String>,

    /// A profile to authorise, as ID or NAME=ID; may be given several times
    #[arg(long, value_name = "[NAME=]ID")]
    pub(crate) profile: Vec<String>,

    /// Where your programs reach the proxy [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) door: Option<String>,

    /// Directory of grants and of the switch
    #[arg(long, value_name = "PATH")]
    pub(crate) state: Option<String>,

    /// Ask nothing; take the defaults
    #[arg(long)]
    pub(crate) yes: bool,

    /// Change files that are there without asking; each is kept as .bak
    #[arg(long)]
    pub(crate) force: bool,

    /// Print what was written as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct DemoArgs {
    /// Address of the proxy [default: 127.0.0.1:8080, or a free port if that is taken]
    #[arg(long, value_name = "ADDR")]
    pub(crate) door: Option<SocketAddr>,

    /// End after the story; fails if a single promise was broken
    #[arg(long)]
    pub(crate) once: bool,

    /// Print what was promised and found as JSON instead of the story
    #[arg(long, requires = "once")]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct SimulatorArgs {
    /// Address of the plain API host and the browser pages
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
    pub(crate) plain: SocketAddr,

    /// Address of the API host that asks for a client certificate
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8444")]
    pub(crate) mtls: SocketAddr,

    /// Address of the control API; whoever reaches it owns the simulator
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8445")]
    pub(crate) control: SocketAddr,

    /// Where its files go
    #[arg(long, value_name = "PATH", default_value = "simulator")]
    pub(crate) dir: PathBuf,

    /// The partner's client id [default: demo]
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<String>,

    /// A business profile of the account; may be given several times [default: 30000000]
    #[arg(long, value_name = "ID")]
    pub(crate) profile: Vec<u64>,

    /// JSON file with further options, such as {"faults": {"token": {"lifetime": 60}}};
    /// flags win over it
    #[arg(long, value_name = "PATH")]
    pub(crate) options: Option<PathBuf>,

    /// Print addresses and paths as JSON once it listens
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say everything that is wrong with the configuration
    #[command(after_help = "\
Examples:
  wise-auth-proxy config check
  wise-auth-proxy config check --secrets && wise-auth-proxy reload")]
    Check {
        /// Fetch every secret and read every certificate and key as well; runs the programs of
        /// { exec = … }
        #[arg(long)]
        secrets: bool,

        /// Print what was found as JSON, also where the configuration cannot be used
        #[arg(long)]
        json: bool,
    },
    /// Print every key with its value and where that comes from; secrets by their source
    #[command(after_help = "\
Examples:
  wise-auth-proxy config show
  wise-auth-proxy config show --json | jq '.\"switch.lane\"'")]
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON schema of the configuration file
    #[command(after_help = "\
Examples:
  wise-auth-proxy config schema > wise-auth-proxy.schema.json")]
    Schema,
}
