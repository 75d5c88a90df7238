//! What may be typed after `jose`.

use std::path::PathBuf;

use clap::Subcommand;

use crate::config::{SigningAlgorithm, is_key_id};

#[derive(clap::Args)]
pub(crate) struct JoseArgs {
    #[command(subcommand)]
    pub(crate) command: JoseCommand,
}

#[derive(Subcommand)]
pub(crate) enum JoseCommand {
    /// Make a private key that signs, or one that decrypts
    ///
    /// The key never leaves this machine. A file that is there is not overwritten.
    #[command(after_help = "\
Examples:
  wise-auth-proxy jose keygen --signing ES512 --out secrets/jose-signing.key
  wise-auth-proxy jose keygen --encryption --out secrets/jose-encryption.key")]
    Keygen(KeygenArgs),
    /// Give Wise the public half of a key, and write its id into the configuration
    ///
    /// Keys that were registered before stay valid at Wise: requests that are signed by one, and
    /// answers that are encrypted to one, go on. To change a key without a gap, make the new one in a
    /// file of its own and register it with --key: file and id enter the configuration together.
    ///
    /// The id stands on standard output.
    #[command(after_help = "\
Examples:
  wise-auth-proxy jose register
  wise-auth-proxy jose register --signing --valid-days 90
  wise-auth-proxy jose register --signing --key secrets/jose-signing-2.key --algorithm ES256")]
    Register(RegisterArgs),
    /// Say which public keys Wise signs and decrypts with at present, and which are ours
    ///
    /// Ours as the configuration names them: Wise does not tell which it has.
    #[command(after_help = "\
Examples:
  wise-auth-proxy jose list
  wise-auth-proxy jose list --json | jq '.ours'")]
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Make Wise's five playground calls, as far as the configured keys allow, and verify the answers
    ///
    /// They do nothing else: no money moves. Ends with 1 if one failed.
    #[command(after_help = "\
Examples:
  wise-auth-proxy jose test
  wise-auth-proxy jose test --json | jq -r '.calls[] | select(.state == \"failed\") | .detail'")]
    Test {
        /// Print what went well as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
pub(crate) struct KeygenArgs {
    /// Make a key that signs: ES256, ES384, ES512, PS256, PS384 or PS512
    #[arg(long, value_name = "ALG", value_parser = algorithm, num_args = 0..=1)]
    #[arg(
        default_missing_value = "ES512",
        required_unless_present = "encryption"
    )]
    pub(crate) signing: Option<SigningAlgorithm>,

    /// Make a key that decrypts answers: RSA of 3072 bits
    #[arg(long, conflicts_with = "signing")]
    pub(crate) encryption: bool,

    /// Where the key goes, mode 0600 [default: jose.signing_key or jose.encryption_key of the
    /// configuration]
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,

    /// Replace a key that is there; it cannot be had back
    #[arg(long)]
    pub(crate) force: bool,

    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(clap::Args)]
pub(crate) struct RegisterArgs {
    /// Register the key that signs [default: every key that is configured]
    #[arg(long, conflicts_with = "encryption")]
    pub(crate) signing: bool,

    /// Register the key that decrypts answers
    #[arg(long)]
    pub(crate) encryption: bool,

    /// How many days Wise is to take the key for
    #[arg(long, value_name = "N", default_value_t = 365)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub(crate) valid_days: u16,

    /// The id that it gets, a UUID [default: a new one]
    #[arg(long, value_name = "UUID", value_parser = kid)]
    pub(crate) kid: Option<String>,

    /// Register this file's key, and write the file into the configuration as well
    #[arg(long, value_name = "PATH")]
    pub(crate) key: Option<PathBuf>,

    /// How the key of --key signs [default: jose.signing_algorithm of the configuration]
    #[arg(long, value_name = "ALG", value_parser = algorithm, requires_all = ["key", "signing"])]
    pub(crate) algorithm: Option<SigningAlgorithm>,

    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn algorithm(typed: &str) -> Result<SigningAlgorithm, &'static str> {
    SigningAlgorithm::named(&typed.to_ascii_uppercase())
        .ok_or("the algorithms are ES256, ES384, ES512, PS256, PS384 and PS512")
}

fn kid(typed: &str) -> Result<String, &'static str> {
    let fits = is_key_id(typed).then(|| typed.to_ascii_lowercase());
    fits.ok_or("Wise wants a UUID, such as e87da464-8e5e-4380-8f2d-4e4e04052672")
}
