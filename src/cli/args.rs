//! What may be typed, and the help that says so.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};

use super::audit::AuditArgs;
use super::failure::Failure;
use super::jose::JoseArgs;
use super::migrate::{Guide, Start, Step};
use super::spelling;
use crate::config::{ConfigError, Lane, Loaded, ProfileId, Sources, load};
use crate::tls::KeyType;

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
    /// prepare the keys and prove them; the proxy itself does not sign or encrypt requests yet.
    #[command(after_help = "\
Examples:
  wise-auth-proxy jose keygen --signing ES512 --out secrets/jose-signing.key
  wise-auth-proxy jose register --signing --key secrets/jose-signing.key --algorithm ES512
  wise-auth-proxy jose list
  wise-auth-proxy jose test --json | jq .passed")]
    Jose(JoseArgs),

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
    Status(MigrateStatusArgs),
    /// Write down what only a person can know: flows, told, enforced or deleted
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
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag that was typed or was not"
)]
pub(crate) struct LoginArgs {
    /// The grant to fill [default: that of the profile, or the default grant]
    #[arg(long, value_name = "NAME")]
    pub(crate) grant: Option<String>,

    /// Id of the Wise profile [default: the one that Wise or the configuration says]
    #[arg(long, value_name = "ID")]
    pub(crate) profile: Option<ProfileId>,

    /// Where Wise sends the browser; exactly as on file at Wise [default: oauth.redirect_uri of the
    /// configuration, or http://127.0.0.1:8976/callback]
    #[arg(long, value_name = "URI")]
    pub(crate) redirect_uri: Option<String>,

    /// Read the address that the browser ended on from standard input
    #[arg(long, conflicts_with_all = ["code", "registration_code", "registration_code_file"])]
    pub(crate) paste: bool,

    /// A code that was got before; `-` reads it from standard input. Good once, with the redirect
    /// address it was made for
    #[arg(long, value_name = "CODE", requires = "redirect_uri")]
    #[arg(allow_hyphen_values = true)] // A code may begin with a hyphen.
    #[arg(conflicts_with_all = ["registration_code", "registration_code_file"])]
    pub(crate) code: Option<String>,

    /// For users that the partner made: read the registration code from standard input
    #[arg(long, requires = "email", conflicts_with = "registration_code_file")]
    pub(crate) registration_code: bool,

    /// As --registration-code, from a file that only its owner may read
    #[arg(long, value_name = "PATH", requires = "email")]
    pub(crate) registration_code_file: Option<PathBuf>,

    /// The user's address, for a registration code
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) email: Option<String>,

    /// Print the address only; open no browser
    #[arg(long)]
    pub(crate) no_browser: bool,

    /// Print the outcome as JSON; Wise's page then goes to standard error
    #[arg(long)]
    pub(crate) json: bool,
}

/// Loopback, so that nothing but this machine sees the code.
pub(crate) const LOGIN_REDIRECT: &str = "http://127.0.0.1:8976/callback";

#[derive(clap::Args)]
pub(crate) struct CsrArgs {
    /// Make the key that follows the one in use, beside it
    #[arg(long)]
    pub(crate) renew: bool,

    /// Name of the company, the subject's O; Wise wants it [with --renew: as in the certificate]
    #[arg(long, value_name = "NAME", required_unless_present = "renew")]
    pub(crate) organisation: Option<String>,

    /// Its country in two capital letters, such as GB [with --renew: as in the certificate]
    #[arg(long, value_name = "CC")]
    pub(crate) country: Option<String>,

    /// p256, p384, rsa2048, rsa3072 or rsa4096 [default: rsa4096, with --renew as in the
    /// certificate]
    #[arg(long, value_name = "TYPE", value_parser = key_type)]
    pub(crate) key_type: Option<KeyType>,

    /// Where the private key goes, mode 0600 [default: mtls.key of the configuration, with --renew
    /// beside it: client.next.key]
    #[arg(long, value_name = "PATH")]
    pub(crate) key: Option<PathBuf>,

    /// Where the CSR goes [default: beside the key, ending in .csr, and on standard output]
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,

    /// Encrypt the private key (PKCS#8) under a passphrase; not needed where the configuration
    /// names one, mtls.key_passphrase
    #[arg(long)]
    pub(crate) encrypt: bool,

    /// Print the outcome as JSON, with the request in it
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) passphrase: KeyPassphraseArgs,
}

fn key_type(typed: &str) -> Result<KeyType, &'static str> {
    let bare = |text: &str| text.replace('-', "");
    KeyType::ALL
        .into_iter()
        .find(|kind| bare(kind.name()) == bare(typed))
        .ok_or("the key types are p256, p384, rsa2048, rsa3072 and rsa4096")
}

#[derive(clap::Args)]
pub(crate) struct CertArgs {
    #[command(subcommand)]
    pub(crate) command: CertCommand,
}

#[derive(Subcommand)]
pub(crate) enum CertCommand {
    /// Check the certificate that Wise gave out and put it where the proxy reads it
    ///
    /// A running proxy takes the new pair without losing a request: what is under way ends on the
    /// old one. The pair before is kept beside it, as client.previous.pem and .key. A file in
    /// PKCS#12 (.p12, .pfx) brings its own key.
    #[command(visible_alias = "import")]
    Install(InstallArgs),
    /// Go back to the pair that the last installation replaced; again: forward
    Rollback(RollbackArgs),
    /// Say whose certificate it is, how long it lasts and what is wrong with it
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
pub(crate) struct InstallArgs {
    /// PEM file: the certificate, then any chain; or a PKCS#12 file; `-` is standard input
    pub(crate) file: PathBuf,

    /// The key that its CSR was made with; it moves in too [default: mtls.key of the configuration,
    /// or what `csr --renew` made beside it]
    #[arg(long, value_name = "PATH")]
    pub(crate) key: Option<PathBuf>,

    /// Where the certificate goes [default: mtls.certificate of the configuration]
    #[arg(long, value_name = "PATH")]
    pub(crate) certificate: Option<PathBuf>,

    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) passphrase: KeyPassphraseArgs,
}

#[derive(clap::Args)]
pub(crate) struct RollbackArgs {
    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) passphrase: KeyPassphraseArgs,
}

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
    Init(CaInitArgs),
    /// Say which hosts it may vouch for, how long it lasts and what is wrong with it
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print its certificate, and how to have it trusted
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
    pub(crate) platform: Option<super::ca::Platform>,

    /// Write it there instead of to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// In DER instead of PEM
    #[arg(long, requires = "out")]
    pub(crate) der: bool,
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
    /// Delete a grant's tokens from the store, running proxy or not; it then needs a `login`
    Forget {
        /// Name of the grant
        grant: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Write the tokens of grants into one file, sealed under a passphrase, for another host
    ///
    /// A grant lives on one host: two end each other's tokens. --move forgets it here, after the
    /// file is safe on disk. A crash in between leaves it in both places: run `token forget` here
    /// before the import there.
    #[command(after_help = "\
Examples:
  wise-auth-proxy token export main --move --out main.grants
  wise-auth-proxy token export --all --out all.grants --passphrase-file passphrase
  head -c 24 /dev/urandom | base64 > passphrase")]
    Export(ExportArgs),
    /// Take the tokens of grants out of a file of `token export`
    ///
    /// All or nothing: the client, the grants and the profiles must be those of this configuration,
    /// and what the store holds must be older. A running proxy takes them within a second.
    #[command(after_help = "\
Examples:
  wise-auth-proxy token import main.grants
  wise-auth-proxy token import all.grants --passphrase-file passphrase --json")]
    Import(ImportArgs),
    /// Go back to the record before, where the stored one is damaged; that one is kept aside
    #[command(after_help = "\
Examples:
  wise-auth-proxy token restore main")]
    Restore(RestoreArgs),
}

#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    /// Name of one grant [default: the only one]
    #[arg(conflicts_with = "all")]
    pub(crate) grant: Option<String>,

    /// Every grant that has tokens
    #[arg(long)]
    pub(crate) all: bool,

    /// Where the file goes, mode 0600; never overwrites one
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,

    /// Forget the grants here once the file is written
    #[arg(long = "move")]
    pub(crate) forget: bool,

    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,

    /// Print what was exported as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct ImportArgs {
    /// The file
    pub(crate) file: PathBuf,

    /// Overwrite tokens that are as new as the file's, newer, or cannot be opened
    #[arg(long)]
    pub(crate) replace: bool,

    #[command(flatten)]
    pub(crate) passphrase: PassphraseArgs,

    /// Print what was stored as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct RestoreArgs {
    /// Name of the grant
    pub(crate) grant: String,

    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where a passphrase comes from; standard input if nothing is said.
#[derive(clap::Args)]
pub(crate) struct PassphraseArgs {
    /// File with the passphrase, that only its owner may read [default: standard input]
    #[arg(long, value_name = "PATH", conflicts_with = "passphrase_env")]
    pub(crate) passphrase_file: Option<PathBuf>,

    /// Environment variable that holds the passphrase
    #[arg(long, value_name = "NAME")]
    pub(crate) passphrase_env: Option<String>,
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
    Test(PolicyTestArgs),
    /// Every policy, the built-in ones included, and where it applies
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// The sets of operations that rules can name, or what is in one
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
    /// Address of the door, as in the configuration [default: the first]
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

#[derive(clap::Args)]
pub(crate) struct NotifyArgs {
    #[command(subcommand)]
    pub(crate) command: NotifyCommand,
}

#[derive(Subcommand)]
pub(crate) enum NotifyCommand {
    /// Have the running proxy tell every receiver that this is a trial
    Test {
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// Where the passphrase of a key or of a PKCS#12 file comes from.
#[derive(clap::Args)]
pub(crate) struct KeyPassphraseArgs {
    /// File with the passphrase of the key or PKCS#12 file, that only its owner may read [default:
    /// mtls.key_passphrase for a key, else standard input]
    #[arg(long, value_name = "PATH", conflicts_with = "passphrase_env")]
    passphrase_file: Option<PathBuf>,

    /// Environment variable that holds it
    #[arg(long, value_name = "NAME")]
    passphrase_env: Option<String>,
}

impl KeyPassphraseArgs {
    /// Whether it is named.
    pub(crate) fn is_given(&self) -> bool {
        self.passphrase_file.is_some() || self.passphrase_env.is_some()
    }

    /// As for an export file.
    pub(crate) fn source(&self) -> PassphraseArgs {
        PassphraseArgs {
            passphrase_file: self.passphrase_file.clone(),
            passphrase_env: self.passphrase_env.clone(),
        }
    }
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

        /// Print what was found as JSON, also where the configuration cannot be used
        #[arg(long)]
        json: bool,
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
