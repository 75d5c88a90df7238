//! What may be typed, and the help that says so.

mod credentials;
mod door;
mod running;
mod setup;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use super::audit::AuditArgs;
use super::failure::Failure;
use super::jose::JoseArgs;
use super::sca::ScaArgs;
use super::spelling;
use super::webhook::WebhookArgs;
use crate::config::{ConfigError, Loaded, Sources, load};

pub(crate) use credentials::*;
pub(crate) use door::*;
pub(crate) use running::*;
pub(crate) use setup::*;

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
   3  `policy test`: it would be refused
  64  the configuration is wrong
  65  the record of who called what is not as it was written (`audit verify`)
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

    /// A command as a person has to type it to mean the same configuration.
    pub(crate) fn typed(&self, command: &str) -> String {
        spelling::command(self.config_file(), command)
    }

    /// As [`Self::typed`], in backticks.
    pub(crate) fn spell(&self, command: &str) -> String {
        format!("`{}`", self.typed(command))
    }

    /// The configuration file that was named, if one was.
    pub(crate) fn config_file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// The configuration, or why there is none that can be used.
    pub(crate) fn try_load(&self) -> Result<Result<Loaded, ConfigError>, Failure> {
        Ok(load(&self.sources()?))
    }

    /// The configuration of this command line.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        Ok(load(&self.sources()?)?)
    }
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Ask the few things there are to know, and write a configuration and a checklist
    ///
    /// What a flag answers is not asked. Run again, it finds what it wrote, shows what would change
    /// and keeps the old file as .bak. Secrets are typed unseen, read from files or left for later.
    #[command(after_help = "\
Examples:
  wise-auth-proxy init
  wise-auth-proxy init --simulator simulator
  wise-auth-proxy init --environment production --config production.toml
  wise-auth-proxy init --yes --environment sandbox --client-id acme --organisation \"Acme Ltd\"
  wise-auth-proxy init --yes --force --client-secret-file - < secret.txt")]
    Init(Box<InitArgs>),

    /// Say how far the migration is, step by step, and what is next
    ///
    /// `status` judges Wise's migration guide by evidence: files, the running proxy, its audit log,
    /// and one question to Wise, which ends no token. What only a person can know is `confirm`ed.
    #[command(after_help = "\
Examples:
  wise-auth-proxy migrate status
  wise-auth-proxy migrate status --config production.toml --json | jq .next.command
  wise-auth-proxy migrate confirm told

`status` exits 0 however much is left to do; only where it cannot tell it exits otherwise: 64 for a
configuration that cannot be used, 77 where this user may not look, 1 for a store that is damaged.")]
    Migrate(MigrateArgs),

    /// Serve until SIGTERM or Ctrl-C; SIGHUP reads configuration and certificates again
    #[command(after_help = "\
Examples:
  wise-auth-proxy run
  wise-auth-proxy run --config production.toml --set log.format=json")]
    Run,

    /// Authorise a Wise profile for a grant, and store its tokens
    ///
    /// Prints the address of Wise's page on standard output. A person opens it, picks one profile
    /// and approves; Wise then sends the browser to the redirect address with a code that is good
    /// once. That address must be on file at Wise. If it is on this machine (http://127.0.0.1 or
    /// localhost), this command listens there; otherwise paste what the browser shows (--paste).
    ///
    /// A running proxy takes the new tokens within a second.
    #[command(after_help = "\
Examples:
  wise-auth-proxy login
  wise-auth-proxy login --grant main --paste --redirect-uri https://app.example/callback
  wise-auth-proxy login --code ABCDEF --redirect-uri https://app.example/callback
  wise-auth-proxy login --registration-code --email user@example.com < code.txt")]
    Login(LoginArgs),

    /// Make a private key and a request for a client certificate (CSR)
    ///
    /// The key never leaves this machine and is never overwritten. Wise puts the client id in the
    /// place of the common name.
    ///
    /// Once a year: --renew takes organisation, country and key type from the certificate in use
    /// and writes client.next.key and client.next.csr beside it. The proxy goes on with the old
    /// pair until `cert install` has the new one.
    #[command(after_help = "\
Examples:
  wise-auth-proxy csr --organisation \"Acme Ltd\" --country GB
  wise-auth-proxy csr --renew
  wise-auth-proxy csr --organisation \"Acme Ltd\" --key next.key --out next.csr
  wise-auth-proxy csr --renew --encrypt --passphrase-file passphrase

On key types: Wise takes RSA of 2048, 3072 or 4096 bits and 256 or 384 bit elliptic curves. rsa4096
is the default because Wise's own guide makes one. p256 costs a handshake the least; handshakes are
rare, since connections are kept.")]
    Csr(CsrArgs),

    /// Install, show or take back the client certificate
    #[command(after_help = "\
Examples:
  wise-auth-proxy cert install downloaded.pem
  wise-auth-proxy cert install next.pem --key next.key
  wise-auth-proxy cert install acme.p12 --passphrase-file passphrase
  wise-auth-proxy cert show --json
  wise-auth-proxy cert rollback")]
    Cert(CertArgs),

    /// Give applications keys of their own, and change or take them back
    ///
    /// Keys are made here, printed once and kept as hashes in the configuration file, whose comments
    /// stay. A door with callers lets in nobody else.
    #[command(after_help = "\
Examples:
  wise-auth-proxy caller add payroll --door 127.0.0.1:8080 > payroll.key
  wise-auth-proxy caller add books --policy read-only --key-stdin < old_personal_token
  wise-auth-proxy caller rotate payroll --overlap 7d > payroll.key
  wise-auth-proxy caller list --json")]
    Caller(CallerArgs),

    /// Make, show or hand out the local authority of doors that offer CONNECT
    ///
    /// For applications that take `https_proxy` and whose base URL cannot be changed: they go on
    /// saying `https://api.wise.com`, trust this authority, and meet the proxy. It may vouch for
    /// Wise's hosts and nothing else, which its certificate says itself.
    #[command(after_help = "\
Examples:
  wise-auth-proxy ca init
  wise-auth-proxy ca show --json
  wise-auth-proxy ca export --for java
  wise-auth-proxy ca export --out wise-ca.pem --for python")]
    Ca(CaArgs),

    /// Make, register and try out keys for signed and encrypted bodies (JOSE)
    ///
    /// Wise agrees them with some partners, under the OAuth client's own credential. These commands
    /// prepare the keys and prove them; the proxy signs and encrypts where [[jose.route]] says so.
    #[command(after_help = "\
Examples:
  wise-auth-proxy jose keygen --signing ES512 --out secrets/jose-signing.key
  wise-auth-proxy jose register --signing --key secrets/jose-signing.key --algorithm ES512
  wise-auth-proxy jose list
  wise-auth-proxy jose test --json | jq .passed")]
    Jose(JoseArgs),

    /// Make and try out the key for strong customer authentication (SCA), and ask about a one-time
    /// token
    ///
    /// Where Wise wants a request to be strongly authenticated it answers 403 with a one-time token.
    /// Where the configuration says so, the proxy signs such tokens, or has somebody approve them;
    /// else the application gets the answer as it is.
    #[command(after_help = "\
Examples:
  wise-auth-proxy sca keygen --out secrets/sca.key --write
  wise-auth-proxy sca test
  wise-auth-proxy sca status 9f5f5812-2609-4e48-8418-b64437c0c7cd")]
    Sca(ScaArgs),
    /// Have Wise send events to a URL, see, try out and end what it sends, and what waits here
    ///
    /// Subscriptions of the application are made with the OAuth client's own credentials, those of a
    /// profile with its grant's user token. No proxy need run; where one runs, its tokens stay as
    /// they are.
    #[command(after_help = "\
Examples:
  wise-auth-proxy webhook subscribe 'transfers#state-change' --url https://hooks.example.com/wise
  wise-auth-proxy webhook list
  wise-auth-proxy webhook test 72195556-e5cb-495e-a010-b37a4f2a3043
  wise-auth-proxy webhook events --json | jq -r '.[].event'
  wise-auth-proxy webhook queue")]
    Webhook(WebhookArgs),

    /// Run a fake Wise on this machine, until Ctrl-C
    ///
    /// Invented people, invented money, no network. Writes into a directory what a proxy beside it
    /// needs: authority, client certificate, secrets and a configuration, all new at every start.
    #[command(after_help = "\
Examples:
  wise-auth-proxy simulator
  wise-auth-proxy simulator --profile 30000000 --profile 30000001 --dir /tmp/wise
  wise-auth-proxy simulator --plain 127.0.0.1:0 --mtls 127.0.0.1:0 --control 127.0.0.1:0 --json")]
    Simulator(SimulatorArgs),

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
    /// Requests in flight end on the lane they began. The lane survives restarts. If the proxy does
    /// not run, it starts on that lane.
    #[command(after_help = "\
Examples:
  wise-auth-proxy switch personal --reason \"payments answer 401\"
  wise-auth-proxy switch oauth-mtls --reason \"migration, step 2\"")]
    Switch(SwitchArgs),

    /// Say what the running proxy does: lane, tokens, certificate, traffic
    #[command(after_help = "\
Examples:
  wise-auth-proxy status
  wise-auth-proxy status --watch
  wise-auth-proxy status --json | jq .lane
  wise-auth-proxy status --watch --json | jq --unbuffered .reasons")]
    Status(StatusArgs),

    /// Prove everything that a request needs, in order, and say what to do about what fails
    ///
    /// Changes nothing and disturbs nothing: Wise hears reads and one exchange of client
    /// credentials, never a refresh. Works with and without a running proxy. What fails on a lane
    /// that is not in use is marked `!` instead of `✗`: a switch there would meet it.
    ///
    /// Ends with 0 if nothing failed, warnings or not, and with 1 if something did.
    #[command(after_help = "\
Examples:
  wise-auth-proxy doctor
  wise-auth-proxy doctor --json | jq -r '.checks[] | select(.state == \"failed\") | .id'
  wise-auth-proxy doctor --offline
  wise-auth-proxy doctor --report report.txt")]
    Doctor(DoctorArgs),

    /// Look at, renew, move or forget tokens; never shows one
    #[command(after_help = "\
Examples:
  wise-auth-proxy token show
  wise-auth-proxy token refresh main
  wise-auth-proxy token forget main
  wise-auth-proxy token export main --move --out main.grants")]
    Token(TokenArgs),

    /// Have the running proxy read configuration, certificate and secrets again, all or nothing
    #[command(after_help = "\
Examples:
  wise-auth-proxy config check && wise-auth-proxy reload")]
    Reload(AdminArgs),

    /// Wait until the proxy is ready, and say why if it does not get there
    ///
    /// `started`: its doors are open. `live`: its threads turn; whether Wise answers does not
    /// matter. `ready`: it can serve every request of the lane in use. For start scripts, and for
    /// health checks of containers: with --timeout 0s it looks once.
    #[command(after_help = "\
Examples:
  wise-auth-proxy wait && ./application
  wise-auth-proxy wait --for live --timeout 0s
  wise-auth-proxy wait --address 127.0.0.1:8081 --timeout 2m")]
    Wait(WaitArgs),

    /// Have the running proxy end in order: requests in flight finish, tokens are saved
    ///
    /// As SIGTERM does, for who can reach the admin socket but not the process: the last container
    /// of a Kubernetes job, for instance. `curl --unix-socket SOCKET -X POST
    /// http://localhost/quitquitquit` does the same.
    #[command(after_help = "\
Examples:
  wise-auth-proxy shutdown
  wise-auth-proxy shutdown --wait")]
    Shutdown(ShutdownArgs),

    /// Verify or read the record of who called what
    ///
    /// The record is the file of `audit.file`. Each line has the hash of the one before; docs/audit.md
    /// has the format. A hash that is noted elsewhere, as `status` shows it, proves even against
    /// whoever may write the file and the store.
    #[command(after_help = "\
Examples:
  wise-auth-proxy audit verify
  wise-auth-proxy audit verify /var/log/wise-auth-proxy/audit.log*
  wise-auth-proxy audit verify --expect 3f5a… --json | jq .intact
  wise-auth-proxy audit show --since 1h --refused")]
    Audit(AuditArgs),

    /// Say what policies make of a request, and what they are made of
    ///
    /// Comes from the configuration alone: no proxy need run, and nothing is sent.
    #[command(after_help = "\
Examples:
  wise-auth-proxy policy test POST /v1/transfers
  wise-auth-proxy policy test POST /v3/profiles/30000000/transfers/17/payments --caller payroll
  wise-auth-proxy policy test GET '/v1/transfers?profile=30000000' --lane personal --json
  wise-auth-proxy policy list
  wise-auth-proxy policy sets funding")]
    Policy(PolicyArgs),

    /// Try out whether notifications arrive
    #[command(after_help = "\
Examples:
  wise-auth-proxy notify test
  wise-auth-proxy notify test --json")]
    Notify(NotifyArgs),

    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  wise-auth-proxy completions bash > /etc/bash_completion.d/wise-auth-proxy
  wise-auth-proxy completions zsh > ~/.zfunc/_wise-auth-proxy
  wise-auth-proxy completions fish > ~/.config/fish/completions/wise-auth-proxy.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },

    /// Print the manual page, or write one for each command
    #[command(after_help = "\
Examples:
  wise-auth-proxy man | man -l -
  wise-auth-proxy man --out /usr/local/share/man/man1")]
    Man {
        /// Directory for a page each
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },

    /// Print a page of the reference in Markdown, as docs/reference holds it
    #[command(hide = true)]
    #[command(after_help = "\
Examples:
  wise-auth-proxy reference commands")]
    Reference {
        /// The page
        page: super::reference::Page,
    },

    /// Check, show or describe the configuration
    #[command(after_help = "\
Examples:
  wise-auth-proxy config check --secrets
  wise-auth-proxy config show --json
  wise-auth-proxy config schema > wise-auth-proxy.schema.json")]
    Config(ConfigArgs),
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
            is_explained(&format!("wise-auth-proxy {}", command.get_name()), command);
        }
    }

    /// It, and every command below it.
    fn is_explained(typed: &str, command: &clap::Command) {
        let help = command.get_after_help().map(ToString::to_string);
        let examples = help
            .as_deref()
            .and_then(|text| text.split_once("Examples:\n"));
        assert!(
            examples.is_some_and(|(_, text)| text.contains(typed)),
            "`{typed}` has no example"
        );
        for argument in command.get_arguments() {
            let id = argument.get_id();
            assert!(argument.get_help().is_some(), "{typed} {id}");
        }
        for below in command.get_subcommands() {
            is_explained(&format!("{typed} {}", below.get_name()), below);
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
