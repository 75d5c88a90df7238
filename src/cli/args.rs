//! What may be typed, and the help that says so.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::failure::Failure;
use crate::config::{Lane, Loaded, Sources, load};

/// Puts the live Wise token and client certificate on plain localhost requests, and switches back
/// in one command.
#[derive(Parser)]
#[command(name = "wise-auth-proxy", version, max_term_width = 100)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = "\
Exit codes:
   0  done
   1  failed
   2  the command line is wrong
  64  the configuration is wrong
  69  the proxy does not run, or does not answer
  77  not permitted

`wise-auth-proxy <COMMAND> --help` has examples.")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(clap::Args)]
pub(crate) struct Global {
    /// Configuration file [default: $WISE_PROXY_CONFIG, ./wise-auth-proxy.toml or
    /// /etc/wise-auth-proxy/config.toml]
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        help_heading = "Configuration"
    )]
    config: Option<PathBuf>,

    /// Sets a key over file and environment, such as log.level=debug; may be given several times
    #[arg(
        long,
        global = true,
        value_name = "KEY=VALUE",
        help_heading = "Configuration"
    )]
    set: Vec<String>,
}

impl Global {
    /// Refuses a `--set` that clap would drop without a word: with some before the command and
    /// some after it, only the latter survive.
    pub(crate) fn complete(&self, typed: impl Iterator<Item = OsString>) -> Result<(), Failure> {
        let typed = typed
            .take_while(|word| word != "--")
            .filter(|word| word == "--set" || word.as_encoded_bytes().starts_with(b"--set="))
            .count();
        if typed == self.set.len() {
            return Ok(());
        }
        Err(
            Failure::usage("--set stands before the command and after it")
                .hint("put every --set after the command"),
        )
    }

    /// Where this command line has its settings from.
    pub(crate) fn sources(&self) -> Result<Sources, Failure> {
        let flags: Option<Vec<_>> = self
            .set
            .iter()
            .map(|pair| pair.split_once('='))
            .map(|pair| pair.map(|(key, value)| (key.to_owned(), value.to_owned())))
            .collect();
        // Not quoted: the text may be a value without its key.
        let flags = flags.ok_or_else(|| {
            Failure::usage("a --set has no `=`")
                .hint("write --set KEY=VALUE, such as --set log.level=debug")
        })?;
        Ok(Sources::of_process(self.config.clone(), flags))
    }

    /// The configuration of this command line.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        Ok(load(&self.sources()?)?)
    }
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve until SIGTERM or Ctrl-C; SIGHUP reads configuration and certificates again
    #[command(after_help = "\
Examples:
  wise-auth-proxy run
  wise-auth-proxy run --config production.toml --set log.format=json")]
    Run,

    /// See all of it work, against a simulated Wise in this one process
    ///
    /// Needs nothing and leaves nothing: no account, no configuration, a temporary directory.
    /// Prints each step and what Wise received, then stays up for you to try.
    #[command(after_help = "\
Examples:
  wise-auth-proxy demo
  wise-auth-proxy demo --once
  wise-auth-proxy demo --once --json | jq .passed")]
    Demo(DemoArgs),

    /// Move every new request to another lane, at once and without a restart
    ///
    /// Requests in flight end on the lane they began. The lane survives restarts.
    #[command(after_help = "\
Examples:
  wise-auth-proxy switch personal --reason \"payments answer 401\"
  wise-auth-proxy switch oauth-mtls --reason \"migration, step 2\"")]
    Switch(SwitchArgs),

    /// Say what the running proxy does: lane, tokens, certificate, traffic
    #[command(after_help = "\
Examples:
  wise-auth-proxy status
  wise-auth-proxy status --json | jq .lane")]
    Status(AdminArgs),

    /// Look at, renew or forget the tokens of the running proxy; never shows one
    #[command(after_help = "\
Examples:
  wise-auth-proxy token show
  wise-auth-proxy token refresh main
  wise-auth-proxy token forget main")]
    Token(TokenArgs),

    /// Have the running proxy read configuration, certificate and secrets again, all or nothing
    #[command(after_help = "\
Examples:
  wise-auth-proxy config check && wise-auth-proxy reload")]
    Reload(AdminArgs),

    /// Check, show or describe the configuration
    #[command(after_help = "\
Examples:
  wise-auth-proxy config check --secrets
  wise-auth-proxy config show --json
  wise-auth-proxy config schema > wise-auth-proxy.schema.json")]
    Config(ConfigArgs),
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
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
}

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Age, seconds left and state of each grant's tokens
    Show {
        /// Name of one grant
        grant: Option<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Renew a grant's token now
    Refresh {
        /// Name of the grant
        grant: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Delete a grant's tokens from the store; it then needs a `login`
    Forget {
        /// Name of the grant
        grant: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say everything that is wrong with the configuration
    Check {
        /// Fetch every secret as well; runs the programs of { exec = … }
        #[arg(long)]
        secrets: bool,
    },
    /// Print every key with its value and where that comes from; secrets by their source
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON schema of the configuration file
    Schema,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_and_every_flag_a_help_text() {
        for command in Args::command().get_subcommands() {
            let name = command.get_name();
            let examples = command.get_after_help().map(ToString::to_string);
            assert!(
                examples.is_some_and(|text| text.contains(&format!("wise-auth-proxy {name}"))),
                "{name} has no example"
            );
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{name} {}",
                    argument.get_id()
                );
            }
        }
    }

    #[test]
    fn a_set_without_equals_sign_is_a_usage_error_that_does_not_repeat_it() {
        let args = Args::try_parse_from(["x", "config", "show", "--set", "MARKER"]);
        let failure = args.unwrap().global.sources().unwrap_err();
        assert_eq!(failure.exit, super::super::failure::Exit::Usage);
        assert!(!format!("{:?}", failure.error).contains("MARKER"));
    }

    #[test]
    fn no_set_is_dropped_without_a_word() {
        let complete = |typed: &[&str]| {
            let args = Args::try_parse_from(typed).unwrap();
            args.global
                .complete(typed.iter().map(OsString::from))
                .is_ok()
        };
        assert!(complete(&["x", "--set", "a=1", "config", "show"]));
        assert!(complete(&["x", "config", "--set=a=1", "show", "--json"]));
        assert!(complete(&[
            "x",
            "config",
            "show",
            "--set",
            "a=1",
            "--set=b=1"
        ]));
        assert!(!complete(&[
            "x", "--set", "a=1", "config", "show", "--set", "b=1"
        ]));
    }

    #[test]
    fn settings_of_the_command_line_reach_the_sources_in_order() {
        let args = Args::try_parse_from([
            "x", "config", "show", "--set", "a=1", "--config", "c.toml", "--set", "b.c=x=y",
        ]);
        let sources = args.unwrap().global.sources().unwrap();
        let wanted = [("a", "1"), ("b.c", "x=y")];
        let wanted = wanted.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(sources.flags, wanted);
    }
}
