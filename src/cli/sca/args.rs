//! What may be typed after `sca`.

use std::path::PathBuf;

use clap::Subcommand;

use crate::sca::KeySize;

#[derive(clap::Args)]
pub(crate) struct ScaArgs {
    #[command(subcommand)]
    pub(crate) command: ScaCommand,
}

#[derive(Subcommand)]
pub(crate) enum ScaCommand {
    /// Make the private key that signs one-time tokens, and print its public half for Wise
    ///
    /// The private key never leaves this machine. A file that is there is not overwritten. The public
    /// key stands on standard output: paste it into Wise's page, under Settings, API tokens, Manage
    /// public keys.
    #[command(after_help = "\
Examples:
  wise-auth-proxy sca keygen --out secrets/sca.key
  wise-auth-proxy sca keygen --out secrets/sca.key --write
  wise-auth-proxy sca keygen --bits 4096 --out secrets/sca.key > sca.pub.pem")]
    Keygen(KeygenArgs),
    /// Sign a made-up one-time token with the configured key, and verify that
    ///
    /// Asks Wise nothing, unless --ask names a path: that is requested in the lane in use with GET,
    /// signed if Wise asks for it, and what came of it is said. Ends with 1 if something failed.
    #[command(after_help = "\
Examples:
  wise-auth-proxy sca test
  wise-auth-proxy sca test --ask '/v1/profiles/30000000/balance-statements/7/statement.json?currency=EUR&intervalStart=2026-10-01T00:00:00Z&intervalEnd=2026-11-01T00:00:00Z&type=COMPACT'
  wise-auth-proxy sca test --json | jq -r .public_key_sha256")]
    Test(TestArgs),
    /// Ask Wise which challenges of a one-time token are still to be cleared
    ///
    /// The token is what a 403 said in `x-2fa-approval`. Ends with 0 if Wise knows it, cleared or not,
    /// and with 1 if not: it was used, or its time is over.
    #[command(after_help = "\
Examples:
  wise-auth-proxy sca status 9f5f5812-2609-4e48-8418-b64437c0c7cd
  pbpaste | wise-auth-proxy sca status -
  wise-auth-proxy sca status 9f5f5812-2609-4e48-8418-b64437c0c7cd --json | jq .challenges")]
    Status(StatusArgs),
}

#[derive(clap::Args)]
pub(crate) struct KeygenArgs {
    /// Where the key goes, mode 0600 [default: sca.key of the configuration]
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,

    /// How large the key is: 2048, 3072 or 4096
    #[arg(long, value_name = "N", default_value = "2048", value_parser = bits)]
    pub(crate) bits: KeySize,

    /// Write the file into the configuration as well, as sca.key
    #[arg(long)]
    pub(crate) write: bool,

    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Make this request of Wise, with GET: path and query
    #[arg(long, value_name = "PATH")]
    pub(crate) ask: Option<String>,

    /// The grant whose user token it carries, in OAuth lanes [default: the default grant]
    #[arg(long, value_name = "NAME", requires = "ask")]
    pub(crate) grant: Option<String>,

    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct StatusArgs {
    /// The one-time token; `-`: read it from standard input
    #[arg(value_name = "OTT")]
    pub(crate) token: String,

    /// The grant whose request it was [default: the default grant]
    #[arg(long, value_name = "NAME")]
    pub(crate) grant: Option<String>,

    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn bits(typed: &str) -> Result<KeySize, &'static str> {
    let size = typed.parse().ok().and_then(KeySize::of);
    size.ok_or("the sizes are 2048, 3072 and 4096")
}
