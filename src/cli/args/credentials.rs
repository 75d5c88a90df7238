//! Tokens, keys and certificates: `login`, `token`, `csr`, `cert`, and their passphrases.

use std::path::PathBuf;

use super::AdminArgs;
use crate::config::ProfileId;
use crate::tls::KeyType;
use clap::Subcommand;

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
    #[command(after_help = "\
Examples:
  wise-auth-proxy cert install client.pem
  wise-auth-proxy cert install bundle.p12 --passphrase-file passphrase")]
    Install(InstallArgs),
    /// Go back to the pair that the last installation replaced; again: forward
    #[command(after_help = "\
Examples:
  wise-auth-proxy cert rollback")]
    Rollback(RollbackArgs),
    /// Say whose certificate it is, how long it lasts and what is wrong with it
    #[command(after_help = "\
Examples:
  wise-auth-proxy cert show
  wise-auth-proxy cert show --json | jq .days_left")]
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
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
}

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Age, seconds left and state of each grant's tokens
    #[command(after_help = "\
Examples:
  wise-auth-proxy token show
  wise-auth-proxy token show main --json | jq .seconds_left")]
    Show {
        /// Name of one grant
        grant: Option<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Renew a grant's token now
    #[command(after_help = "\
Examples:
  wise-auth-proxy token refresh main")]
    Refresh {
        /// Name of the grant
        grant: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Delete a grant's tokens from the store, running proxy or not; it then needs a `login`
    #[command(after_help = "\
Examples:
  wise-auth-proxy token forget main")]
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
