//! Who calls, what they may do, and the authority behind CONNECT: `caller`, `policy`, `ca`.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Lane;
use crate::config::ProfileId;
use clap::Subcommand;

#[derive(clap::Args)]
pub(crate) struct CaArgs {
    #[command(subcommand)]
    pub(crate) command: CaCommand,
}

#[derive(Subcommand)]
pub(crate) enum CaCommand {
    /// Make the authority: a key (0600) and a certificate, where `[ca]` says
    ///
    /// An authority that is there is kept, unless --force says otherwise: applications trust it.
    #[command(after_help = "\
Examples:
  wise-auth-proxy ca init
  wise-auth-proxy ca init --days 365 --force")]
    Init(CaInitArgs),
    /// Say which hosts it may vouch for, how long it lasts and what is wrong with it
    #[command(after_help = "\
Examples:
  wise-auth-proxy ca show
  wise-auth-proxy ca show --json | jq .days_left")]
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print its certificate, and how to have it trusted
    #[command(after_help = "\
Examples:
  wise-auth-proxy ca export --out wise-auth-proxy-ca.pem
  wise-auth-proxy ca export --for node")]
    Export(CaExportArgs),
}

#[derive(clap::Args)]
pub(crate) struct CaInitArgs {
    /// How long it is to last
    #[arg(long, value_name = "N", default_value = "1825", value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,

    /// Replace the authority that is there; applications that trust it must be given the new one
    #[arg(long)]
    pub(crate) force: bool,

    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct CaExportArgs {
    /// Say on standard error how to have it trusted there
    #[arg(long = "for", value_name = "NAME", value_enum)]
    pub(crate) platform: Option<crate::cli::ca::Platform>,

    /// Write it there instead of to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// In DER instead of PEM
    #[arg(long, requires = "out")]
    pub(crate) der: bool,
}

#[derive(clap::Args)]
pub(crate) struct CallerArgs {
    #[command(subcommand)]
    pub(crate) command: CallerCommand,
}

#[derive(Subcommand)]
pub(crate) enum CallerCommand {
    /// Make a key for a new caller: the key goes to standard output, its hash into the configuration
    #[command(after_help = "\
Examples:
  wise-auth-proxy caller add payroll --door 127.0.0.1:8080 > payroll.key
  wise-auth-proxy caller add books --policy read-only --key-stdin < old_personal_token")]
    Add(AddCallerArgs),
    /// Make a caller a new key; the one before goes on for a while
    ///
    /// Hashes of keys that ended more than 30 days ago are dropped. A key that `caller.key` names is
    /// replaced by its hash, so that it can end.
    #[command(after_help = "\
Examples:
  wise-auth-proxy caller rotate payroll > payroll.key
  wise-auth-proxy caller rotate payroll --overlap 0s > payroll.key")]
    Rotate(RotateCallerArgs),
    /// Take a caller out of the configuration and out of every door
    #[command(after_help = "\
Examples:
  wise-auth-proxy caller remove payroll")]
    Remove {
        /// Its name
        name: String,
        /// Print what was done as JSON
        #[arg(long)]
        json: bool,
    },
    /// Say which callers there are, how they are known, where they come in and when their keys end
    #[command(after_help = "\
Examples:
  wise-auth-proxy caller list
  wise-auth-proxy caller list --json | jq -r '.[].name'")]
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
pub(crate) struct AddCallerArgs {
    /// Your name for it: lower-case letters, digits, hyphens or underscores
    pub(crate) name: String,

    /// What it may do: the name of a policy [default: everything]
    #[arg(long, value_name = "NAME")]
    pub(crate) policy: Option<String>,

    /// Address of a door that lets it in, as the configuration has it; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) door: Vec<String>,

    /// Take the key from standard input, such as an old personal token, instead of making one
    #[arg(long)]
    pub(crate) key_stdin: bool,

    /// Print what was done as JSON, with the key
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct RotateCallerArgs {
    /// Its name
    pub(crate) name: String,

    /// How long the keys before go on, such as 7d or 0s
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = overlap)]
    pub(crate) overlap: Duration,

    /// Print what was done as JSON, with the key
    #[arg(long)]
    pub(crate) json: bool,
}

fn overlap(typed: &str) -> Result<Duration, &'static str> {
    const LONGEST: Duration = Duration::from_hours(366 * 24);
    match humantime::parse_duration(typed) {
        Ok(overlap) if overlap <= LONGEST => Ok(overlap),
        Ok(_) => Err("at most a year"),
        Err(_) => Err("write a number and its unit, such as 7d or 12h"),
    }
}

#[derive(clap::Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// Whether a request would pass, which rule says so, and why; exit code 3 if it would be refused
    #[command(after_help = "\
Examples:
  wise-auth-proxy policy test POST /v1/transfers --caller payroll
  wise-auth-proxy policy test GET '/v1/transfers?profile=30000000' --lane personal")]
    Test(PolicyTestArgs),
    /// Every policy, the built-in ones included, and where it applies
    #[command(after_help = "\
Examples:
  wise-auth-proxy policy list
  wise-auth-proxy policy list --json | jq -r '.[].name'")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// The sets of operations that rules can name, or what is in one
    #[command(after_help = "\
Examples:
  wise-auth-proxy policy sets
  wise-auth-proxy policy sets funding")]
    Sets {
        /// Name of one, such as funding
        #[arg(value_name = "SET")]
        name: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
pub(crate) struct PolicyTestArgs {
    /// Method of the request, such as POST
    pub(crate) method: String,
    /// Path of the request, perhaps with its query
    pub(crate) path: String,
    /// Name of the caller; without it nobody in particular
    #[arg(long, value_name = "NAME")]
    pub(crate) caller: Option<String>,
    /// Address of the door, as in the configuration [default: the first that lets it in]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) door: Option<String>,
    /// Profile that X-Wise-Profile names
    #[arg(long, value_name = "ID")]
    pub(crate) profile: Option<ProfileId>,
    /// Lane of the request [default: the door's, or that of the first start]
    #[arg(long, value_name = "LANE")]
    pub(crate) lane: Option<Lane>,
    /// Length of the request's body, in bytes
    #[arg(long, value_name = "BYTES")]
    pub(crate) body_size: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
